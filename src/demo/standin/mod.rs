//! Stand-ins in this process for what `demo --real` starts: the demo needs nothing installed.

mod etcd;
mod pair;

pub use etcd::Etcd;
pub use pair::Pair;
