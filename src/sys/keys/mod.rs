//! Key files: a directory per zone, with one private key per file and the state of all in another.
//!
//! ```text
//! keys/gtm.example.com/          0700
//!   keys.json                    who is what since when; no secrets
//!   13-55648.pem                 0600: PKCS#8, as openssl reads and writes it
//!   lock                         held by whoever changes something
//! ```
//! Beside the store lies `signed_zones.json`, which says for which zones there must be keys.
//!
//! Every file is written beside its name and takes it only when it is whole and on the disk. Files
//! belong to the owner of the directory, also when root made them: the daemon must be able to read
//! what `sudo pointsman keys roll` has made.

mod directory;
mod files;
mod known;
mod pem;
mod prepare;

pub use directory::{KeyDirectory, signing_key, zone_keys};
pub(super) use prepare::check_dropped;
pub use prepare::{Moved, load_keys, lost, prepare_keys, signed_zones, step_keys};
