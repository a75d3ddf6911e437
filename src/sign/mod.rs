//! Keys and signatures of signed zones (DNSSEC, RFC 4033–4035), all in memory.
//!
//! A [`SigningKey`] makes signatures and the records that make it known (`key`). [`ZoneKeys`] is
//! what a signer needs to know of a zone's keys at one moment: which are published, which sign
//! what, and what the parent shall hear (`zone_keys`). What the operator wants of keys is a
//! [`KeyPolicy`] (`policy`); what is remembered of each (`life`) moves on by the clock, and by what
//! is seen at the parent (`rollover`); what the parent says is held against it (`parent`), and a
//! [`ZoneView`] shows it (`view`). Key files are read by `sys`.
//! A [`Signer`] signs sets of records (`rrset`), and NSEC records say what is not there (`nsec`).

mod key;
mod life;
mod nsec;
mod parent;
mod policy;
mod rollover;
mod rrset;
#[cfg(test)]
mod tests;
mod view;
mod zone_keys;

pub use key::{
    Algorithm, DIGEST_SHA256, Flags, KeyError, Pkcs8, SIGNATURE_OCTETS, Signature, SigningKey, key_tag,
};
pub use life::{KEPT_AFTER_REMOVAL, KeyRecord, KeyState, Life, Refused, Turn, Unsign, Wait, WaitFor};
pub use nsec::{NXNAME_BITMAP, push_bitmap, push_nsec};
pub use parent::{ParentSays, ParentView};
pub use policy::{KeyPolicy, Layout, Lifetimes, Role, Timing};
pub use rollover::KeyRing;
pub use rrset::{SetName, Signer, Validity, canonical};
pub use view::{KeyView, ZoneView};
pub use zone_keys::{KeyUse, SignatureTimes, ZoneKeys, ZoneKeysError};
