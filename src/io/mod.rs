//! What all parts of the rim share to reach the outside: clocks, secrets, names, connections,
//! TLS, and clients for AMQP, DNS, gRPC, HTTP, Kafka, MongoDB, MySQL, PostgreSQL and Redis.
//!
//! Everything here is bounded in time by a [`Deadline`] and in memory by a named limit, and
//! fails with a [`Failure`] that is classified once, for everybody. No proxy is ever taken from
//! the environment: a check that goes through a proxy checks the proxy.

pub mod amqp;
pub mod bson;
mod certificate;
mod clock;
mod contact;
pub mod dns;
mod failure;
mod farewell;
pub mod google;
pub mod grpc;
pub mod http;
pub mod icmp;
pub mod kafka;
mod meter;
pub mod mongodb;
pub mod mysql;
mod net;
pub mod postgres;
pub mod program;
pub mod redis;
mod resolve;
mod scram;
mod secret;
pub mod sigv4;
mod stream;
mod tls;
mod tokens;
pub mod web;
pub mod wire;

pub use certificate::{Certificate, Identity, PemFiles, Unusable, is_open_to_everybody};
pub use clock::{Clock, Deadline, Late};
pub use contact::{Close, Contact, Note, Phases, show};
pub use failure::{Class, Failure};
pub use farewell::Farewells;
pub use meter::{Meter, Metered};
pub use net::Net;
pub use resolve::Resolver;
pub use secret::{read_secret, read_secret_now};
pub use tls::{Trust, TrustFiles, not_after};
pub use tokens::{TokenPlace, Tokens};
