//! Sockets ↔ [`dns::answer`](crate::dns::answer): the UDP fast path, and connections of all kinds.
//!
//! [`Sockets`] are bound, or adopted, before privileges are dropped; a [`Server`] then runs a
//! thread per UDP socket (`udp`, over `mmsg`), one for TCP and one for what is encrypted
//! (`streams`). Connections come in by a `door` (behind which `proxy` tells for whom, and
//! `secure` hides what is said) and take a seat in the `hall`; then messages are taken off a
//! `stream`, out of `https` requests, or off `quic` streams. All read the table through one
//! pointer, and publish what they count (`published`).

pub mod mmsg;
mod door;
mod hall;
mod https;
pub mod proxy;
mod published;
mod quic;
mod secure;
mod server;
mod socket;
mod stream;
mod streams;
mod udp;

pub use hall::Broken;
pub use secure::renew;
pub use server::Server;
pub use socket::{BindError, Sockets};
