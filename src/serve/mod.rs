//! Sockets ↔ [`dns::answer`](crate::dns::answer): the UDP fast path and TCP.
//!
//! [`Sockets`] are bound, or adopted, before privileges are dropped; a [`Server`] then runs a
//! thread per UDP socket (`udp`, over `mmsg`) and one for TCP (`tcp`). All read the table
//! through one pointer, and publish what they count (`published`).

pub mod mmsg;
mod hall;
mod published;
mod server;
mod socket;
mod stream;
mod tcp;
mod udp;

pub use server::Server;
pub use socket::{BindError, Sockets};
