//! What the operating system gives and takes: logging, systemd, sockets passed in, files read,
//! and a new process in place of the old one.

mod handover;
mod keys;
mod load;
mod log;
mod passed;
mod systemd;

pub use handover::{Predecessor, Succession, Successor};
pub use keys::load_keys;
pub use load::{control_socket, load, load_config, load_zone, reload_zone};
pub use log::{Format, start as start_logging};
pub use passed::Passed;
pub use systemd::Systemd;
