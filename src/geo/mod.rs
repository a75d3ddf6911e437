//! Where clients are: databases and lists of networks → facts per network → classes of clients.
//!
//! ```text
//! .mmdb ──► mmdb ─┐                      Classes::build
//!                 ├─► Layer ─► World ──────────────────► Classes ─► Class { number, scope }
//! lists ──► cidr ─┘   runs     facts       key(facts)    trie        of one client
//! ```
//!
//! A [`World`] knows the [`Facts`] of every network. [`Classes`] forgets all of them but those
//! that make a difference to one policy: networks that the policy treats alike become one, and a
//! query is a lookup of a small number. `embed` knows the IPv6 addresses that IPv4 clients have.
//!
//! Nothing here opens a file; `sys` does.

mod cidr;
mod classes;
mod data;
mod embed;
mod facts;
mod mmdb;
mod runs;
#[cfg(test)]
mod tests;
mod trie;
mod world;

pub use cidr::{LABEL_MAX, parse_networks};
pub use classes::{CLASSES_MAX, Class, Classes, ClassesError};
pub use facts::{Code, Facts, Subdivision};
pub use mmdb::{MmdbError, read_mmdb};
pub use world::{Database, Known, Layer, NETWORKS_MAX, Stamp, World, WorldError};
