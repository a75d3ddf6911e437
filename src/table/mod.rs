//! Zones × configuration × choices → [`Table`]: compiled for answering, immutable, published
//! through one pointer.
//!
//! The static part, an [`Image`], holds every name of every zone, each with its records as they
//! are sent (`set`, `node`); it is built once per load (`build`) and shared by all tables of
//! that load. A flip compiles the [`Answers`] of the services it touches and makes a new table
//! of the rest.
//!
//! Signed zones have their signatures beside the image (`sign`, `signed`) and beside the answers
//! of services (`union`).

mod answers;
mod buckets;
mod build;
mod compile;
mod contents;
mod image;
mod manners;
mod node;
mod published;
mod set;
mod sign;
mod signed;
mod union;

pub use answers::{Answers, Client, Drawn, SetId, Variant};
pub use compile::Compiler;
pub use contents::{Change, Contents, lines};
pub use image::{Apex, Found, Image};
pub use manners::{COOKIE_SECRET_OCTETS, CookieSecret, Manners};
pub use node::Node;
pub use published::Table;
pub use set::{FRAME, POINTER_MAX, Placement, QUESTION_AT, Set, TTL_AT, push_record};
pub use sign::{Canonical, Signing};
pub use signed::{Block, Part, Signed, SignedZone};
pub use union::Unions;

#[cfg(test)]
mod tests;
