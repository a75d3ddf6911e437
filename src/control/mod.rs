//! The only owner of mutable state: drains one mailbox, folds, compiles once, publishes, journals.
//!
//! `run` is the loop, `calls` what agents are doing for it, `handle` how others write to it,
//! `restore` reads back what an earlier process left, `reload` and `change` take over another
//! configuration, `keys` looks after the keys of zones and `parent` asks what their parents say of
//! them, `signatures` signs zones in good time, `tell` and `telemetry` say what happened in logs and
//! metrics.

mod calls;
mod change;
mod geo;
mod handle;
mod keys;
mod parent;
mod reload;
mod restore;
mod run;
mod signatures;
mod tell;
mod unmeasured;
pub mod telemetry;

pub use handle::{Gone, Handle, Running, Told};
pub use reload::Reloader;
pub use restore::executions_on_disk;
pub use run::{End, Options, STOP_WAIT, start};
pub use signatures::sign;
