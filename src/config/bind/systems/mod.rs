//! Systems whose binding is more than a few lines: one file each.

mod kafka;
mod rabbitmq;
