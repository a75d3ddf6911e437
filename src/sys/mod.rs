//! What the operating system gives and takes: logging, systemd, sockets passed in, files read,
//! and a new process in place of the old one.

mod cuts;
mod geo;
mod handover;
mod keys;
mod load;
mod log;
mod passed;
mod secrets;
mod systemd;
mod tsig;

pub use geo::{geo_stamps, load_world};
pub use handover::{Predecessor, Succession, Successor};
pub use keys::{
    KeyDirectory, Moved, load_keys, lost as lost_keys, prepare_keys, signed_zones, signing_key, step_keys,
    zone_keys,
};
pub use load::{control_socket, load, load_config, load_to_serve, load_zone, reload_zone};
pub use log::{Format, start as start_logging};
pub use passed::Passed;
pub use systemd::Systemd;
