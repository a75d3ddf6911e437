//! `pointsman demo`: the whole story on one machine, in under a minute.

mod etcd;
mod shop;

pub use etcd::Etcd;
pub use shop::Shop;
