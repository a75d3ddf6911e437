//! What `demo --real` starts instead of the stand-ins: etcd and PostgreSQL, on loopback, small,
//! and gone when the demo is.

mod etcd;
mod postgres;
mod program;
mod tools;

pub use etcd::Etcd;
pub use postgres::Servers;
pub use tools::Tools;

/// How often something that is starting is looked at.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);
/// How long anything may take to start, on a machine with better things to do.
const START_MAX: std::time::Duration = std::time::Duration::from_secs(30);
