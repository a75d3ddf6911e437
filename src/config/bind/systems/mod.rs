//! What is particular to each clustered system: one file per system, or per family of them.

mod consul;
mod zookeeper;
