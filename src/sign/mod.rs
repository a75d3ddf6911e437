//! Keys and signatures of signed zones (DNSSEC, RFC 4033–4035), all in memory.
//!
//! A [`SigningKey`] makes signatures and the records that make it known (`key`). [`ZoneKeys`] is
//! what a signer needs to know of a zone's keys at one moment: which are published, which sign
//! what, and what the parent shall hear (`zone_keys`). Key files are read by `sys`. A [`Signer`]
//! signs sets of records (`rrset`), and NSEC records say what is not there (`nsec`).

mod key;
mod nsec;
mod rrset;
mod zone_keys;

pub use key::{
    Algorithm, DIGEST_SHA256, Flags, KeyError, Pkcs8, SIGNATURE_OCTETS, Signature, SigningKey, key_tag,
};
pub use nsec::{NXNAME_BITMAP, push_bitmap, push_nsec};
pub use rrset::{SetName, Signer, Validity, canonical};
pub use zone_keys::{KeyUse, SignatureTimes, ZoneKeys, ZoneKeysError};
