//! `pointsman demo`: the whole story on one machine, in under a minute.

mod etcd;

pub use etcd::Etcd;
