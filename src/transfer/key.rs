//! Keys that two servers share (RFC 8945 §5.2, §6).

use std::fmt;
use std::sync::Arc;

use ring::hmac;

use crate::config::TsigAlgorithm;
use crate::wire::Name;

/// A secret of fewer octets is no secret: half of what the weakest algorithm puts out
/// (RFC 8945 §8 asks for as much as that; 128 bits are out of anybody's reach).
pub const SECRET_OCTETS_MIN: usize = 16;

/// A key by its name.
pub struct Key {
    name: Name,
    algorithm: TsigAlgorithm,
    secret: hmac::Key,
}

impl Key {
    /// A key from its secret octets.
    pub fn new(name: Name, algorithm: TsigAlgorithm, secret: &[u8]) -> Self {
        let hash = match algorithm {
            TsigAlgorithm::Sha256 => hmac::HMAC_SHA256,
            TsigAlgorithm::Sha384 => hmac::HMAC_SHA384,
            TsigAlgorithm::Sha512 => hmac::HMAC_SHA512,
        };
        Self { name, algorithm, secret: hmac::Key::new(hash, secret) }
    }

    /// Its name in wire form, lower-cased.
    pub fn name(&self) -> &[u8] {
        self.name.as_wire()
    }

    /// The name of its algorithm in wire form.
    pub fn algorithm(&self) -> &'static [u8] {
        match self.algorithm {
            TsigAlgorithm::Sha256 => b"\x0bhmac-sha256\x00",
            TsigAlgorithm::Sha384 => b"\x0bhmac-sha384\x00",
            TsigAlgorithm::Sha512 => b"\x0bhmac-sha512\x00",
        }
    }

    /// How long its signatures are.
    pub fn mac_octets(&self) -> usize {
        self.secret.algorithm().digest_algorithm().output_len()
    }

    pub(super) fn secret(&self) -> &hmac::Key {
        &self.secret
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:?})", self.name, self.algorithm)
    }
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct TsigKeys(Vec<Arc<Key>>);

impl TsigKeys {
    /// Takes keys in.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        Self(keys.into_iter().map(Arc::new).collect())
    }

    /// The key of this name, given in lower-cased wire form.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Key>> {
        self.0.iter().find(|key| key.name() == name)
    }
}
