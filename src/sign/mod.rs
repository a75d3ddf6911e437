//! Keys and signatures of signed zones (DNSSEC, RFC 4033–4035), all in memory.
//!
//! A [`SigningKey`] makes signatures and the records that make it known (`key`). [`ZoneKeys`] is
//! what a signer needs to know of a zone's keys at one moment: which are published, which sign
//! what, and what the parent shall hear (`zone_keys`). Key files are read by `sys`.

mod key;
mod zone_keys;

pub use key::{
    Algorithm, DIGEST_SHA256, Flags, KeyError, Pkcs8, SIGNATURE_OCTETS, Signature, SigningKey, key_tag,
};
pub use zone_keys::{KeyUse, SignatureTimes, ZoneKeys, ZoneKeysError};
