//! One key: it signs, and it knows the records that make it known.

use std::fmt;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey,
};

use crate::wire::Name;

/// Both algorithms make signatures of this many octets (RFC 6605 §4, RFC 8080 §4).
pub const SIGNATURE_OCTETS: usize = 64;
/// The digest type of every DS and CDS record made here: SHA-256 (RFC 4509; RFC 8624 §3.3 makes it
/// the one that everybody must have).
pub const DIGEST_SHA256: u8 = 2;
/// The only value of the protocol field (RFC 4034 §2.1.2).
const PROTOCOL: u8 = 3;

/// A signature as it stands in an RRSIG record.
pub type Signature = [u8; SIGNATURE_OCTETS];

/// How keys sign: the two algorithms that are recommended for signing and small enough for UDP
/// (RFC 8624 §3.1).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 6605).
    #[default]
    EcdsaP256Sha256 = 13,
    /// Ed25519 (RFC 8080).
    Ed25519 = 15,
}

impl Algorithm {
    /// Its number (IANA, DNS Security Algorithm Numbers).
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The algorithm of a number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::EcdsaP256Sha256, Self::Ed25519].into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// As written in the configuration and in the state of keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ecdsap256sha256",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the flags field of a DNSKEY says (RFC 4034 §2.1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
pub enum Flags {
    /// A zone key: 256.
    Zone = 256,
    /// A zone key that the parent may point at: 257, the secure entry point.
    SecureEntryPoint = 257,
}

impl Flags {
    /// The field itself.
    pub fn number(self) -> u16 {
        self as u16
    }
}

/// A private key as a PKCS#8 document (RFC 5958), in DER. It never prints.
pub struct Pkcs8(Box<[u8]>);

/// PKCS#8 up to the private half of a P-256 key, and between its halves (RFC 5208, RFC 5915).
const P256_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 3, 1, 7, 4, 0x6d, 0x30, 0x6b, 2, 1, 1, 4, 0x20,
];
const P256_MIDDLE: [u8; 6] = [0xa1, 0x44, 3, 0x42, 0, 4];
/// PKCS#8 up to the private half of an Ed25519 key (RFC 8410 §7).
const ED25519_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

impl Pkcs8 {
    /// A P-256 key by its halves, as DNS software writes them: the number, and both coordinates.
    pub fn p256(private: &[u8; 32], public: &[u8; 64]) -> Self {
        Self::new([&P256_HEAD[..], private, &P256_MIDDLE, public].concat())
    }

    /// An Ed25519 key by its private half.
    pub fn ed25519(private: &[u8; 32]) -> Self {
        Self::new([&ED25519_HEAD[..], private].concat())
    }

    /// Takes a document in; it is looked at when a key is made of it.
    pub fn new(der: impl Into<Box<[u8]>>) -> Self {
        Self(der.into())
    }

    /// Gives the document to the one who must keep it.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pkcs8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(private key)")
    }
}

/// Why there is no key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The document is none, or is one of another kind of key.
    #[error("not a private key for {algorithm} in PKCS#8: {why}")]
    Rejected {
        /// What was expected.
        algorithm: Algorithm,
        /// What the library says.
        why: String,
    },
    /// The system gave no random octets.
    #[error("the system has no random octets to make a key of")]
    NoRandom,
    /// It does not verify its own signatures.
    #[error("the private and the public half do not belong together")]
    Halves,
}

/// A key that signs. Signing takes `&self`, locks nothing, and may happen on many threads at once.
pub struct SigningKey {
    pair: Pair,
    flags: Flags,
    dnskey: Box<[u8]>,
    tag: u16,
}

enum Pair {
    Ecdsa(Box<EcdsaKeyPair>, SystemRandom),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Makes a new key; the document is what must be kept of it.
    ///
    /// # Errors
    /// There is nothing random.
    pub fn generate(
        algorithm: Algorithm,
        flags: Flags,
        random: &dyn SecureRandom,
    ) -> Result<(Self, Pkcs8), KeyError> {
        let document = match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random);
                Pkcs8::new(made.map_err(|_| KeyError::NoRandom)?.as_ref())
            }
            // Any 32 octets are one (RFC 8032 §5.1.5). The library would write both halves, in a form
            // that OpenSSL 3.0 does not read.
            Algorithm::Ed25519 => {
                let private = ring::rand::generate::<[u8; 32]>(random).map_err(|_| KeyError::NoRandom)?;
                Pkcs8::ed25519(&private.expose())
            }
        };
        Ok((Self::from_pkcs8(algorithm, flags, document.reveal())?, document))
    }

    /// Takes a key out of its document. Its first signature is made and verified here, so that
    /// later ones cannot fail.
    ///
    /// # Errors
    /// The document is not one for this algorithm, or its halves do not match.
    pub fn from_pkcs8(algorithm: Algorithm, flags: Flags, document: &[u8]) -> Result<Self, KeyError> {
        let rejected = |why: &dyn fmt::Display| KeyError::Rejected { algorithm, why: why.to_string() };
        let pair = match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                let random = SystemRandom::new();
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document, &random);
                Pair::Ecdsa(Box::new(pair.map_err(|why| rejected(&why))?), random)
            }
            // The form without the public half is what openssl writes.
            Algorithm::Ed25519 => Pair::Ed25519(
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).map_err(|why| rejected(&why))?,
            ),
        };
        let public = pair.public();
        let mut dnskey = Vec::with_capacity(4 + public.len());
        dnskey.extend(flags.number().to_be_bytes());
        dnskey.extend([PROTOCOL, algorithm.number()]);
        dnskey.extend_from_slice(public);
        let tag = key_tag(&dnskey);
        let key = Self { pair, flags, dnskey: dnskey.into(), tag };
        let sample = b"a key must verify what it signs";
        match key.try_sign(sample) {
            Some(signature) if key.verifies(sample, &signature) => Ok(key),
            Some(_) => Err(KeyError::Halves),
            None => Err(KeyError::NoRandom),
        }
    }

    /// Signs octets. ECDSA mixes fresh random octets with the key and the message, so that two
    /// signatures of one message differ; Ed25519 gives the same one each time.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.try_sign(message)
            .expect("only missing randomness makes it fail, and getrandom(2) fails never once it has worked")
    }

    fn try_sign(&self, message: &[u8]) -> Option<Signature> {
        let signature = match &self.pair {
            Pair::Ecdsa(pair, random) => pair.sign(random, message).ok()?,
            Pair::Ed25519(pair) => pair.sign(message),
        };
        signature.as_ref().try_into().ok()
    }

    /// Whether a signature of a message is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.pair {
            Pair::Ecdsa(pair, _) => {
                let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key());
                public.verify(message, signature).is_ok()
            }
            Pair::Ed25519(pair) => {
                UnparsedPublicKey::new(&ED25519, pair.public_key()).verify(message, signature).is_ok()
            }
        }
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Ecdsa(..) => Algorithm::EcdsaP256Sha256,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// What kind of key it says it is.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// The number by which signatures and DS records name it; not unique.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The public half, as it stands in a DNSKEY record.
    pub fn public(&self) -> &[u8] {
        self.pair.public()
    }

    /// The RDATA of its DNSKEY record, and of its CDNSKEY record (RFC 7344 §3.2).
    pub fn dnskey_rdata(&self) -> &[u8] {
        &self.dnskey
    }

    /// The RDATA of its DS record with SHA-256 (RFC 4034 §5.1), and of its CDS record (RFC 7344 §3.1).
    pub fn ds_rdata(&self, owner: &Name) -> Vec<u8> {
        // Names are lower-case already: the canonical form.
        let digest = digest(&SHA256, &[owner.as_wire(), &self.dnskey].concat());
        let mut rdata = Vec::with_capacity(4 + 32);
        rdata.extend(self.tag.to_be_bytes());
        rdata.extend([self.algorithm().number(), DIGEST_SHA256]);
        rdata.extend_from_slice(digest.as_ref());
        rdata
    }
}

impl SigningKey {
    /// Whether a DS record means this key, whichever digest it has (RFC 4034 §5.1.4, RFC 6605 §2).
    pub fn is_named_by(&self, owner: &Name, ds: &[u8]) -> bool {
        let [tag @ .., algorithm, kind] = *ds.first_chunk::<4>().unwrap_or(&[0; 4]);
        let kind = match kind {
            1 => &SHA1_FOR_LEGACY_USE_ONLY,
            DIGEST_SHA256 => &SHA256,
            4 => &SHA384,
            _ => return false,
        };
        u16::from_be_bytes(tag) == self.tag
            && algorithm == self.algorithm().number()
            && digest(kind, &[owner.as_wire(), &self.dnskey].concat()).as_ref() == &ds[4..]
    }
}

impl Pair {
    fn public(&self) -> &[u8] {
        match self {
            // An uncompressed point begins with 4; DNSKEY has the coordinates alone (RFC 6605 §4).
            Self::Ecdsa(pair, _) => &pair.public_key().as_ref()[1..],
            Self::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {} {})", self.flags.number(), self.algorithm(), self.tag)
    }
}

/// The key tag of a DNSKEY's RDATA (RFC 4034 appendix B).
pub fn key_tag(dnskey: &[u8]) -> u16 {
    let sum: u32 = dnskey
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from))
        .fold(0, u32::wrapping_add);
    (sum.wrapping_add(sum >> 16) & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{RecordType, Words};

    /// The RDATA that a text means.
    fn rdata(rtype: RecordType, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        crate::wire::parse_rdata(rtype, &mut TextWords(text.split_whitespace()), b"\0", &mut out).unwrap();
        out
    }

    /// What base 64 means: the public half of a DNSKEY is any.
    fn base64(text: &str) -> Vec<u8> {
        rdata(RecordType::DNSKEY, &format!("256 3 15 {text}")).split_off(4)
    }

    struct TextWords<'a>(std::str::SplitWhitespace<'a>);

    impl<'a> Words<'a> for TextWords<'a> {
        fn next_word(&mut self) -> Result<Option<crate::wire::Word<'a>>, String> {
            let kind = crate::wire::WordKind::Plain;
            Ok(self.0.next().map(|text| crate::wire::Word { text: text.as_bytes(), kind }))
        }
    }

    #[test]
    fn the_examples_of_rfc_8080() {
        // §6.1, both keys: DNSKEY, DS and the signature of the same MX set.
        let owner = Name::parse("example.com").unwrap();
        let examples = [
            (
                "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
                "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
                "3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
                "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
            ),
            (
                "DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY=",
                "257 3 15 zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=",
                "35217 15 2 401781b934e392de492ec77ae2e15d70f6575a1c0bc59c5275c04ebe80c6614c",
                "zXQ0bkYgQTEFyfLyi9QoiY6D8ZdYo4wyUhVioYZXFdT410QPRITQSqJSnzQoSm5poJ7gD7AQR0O7KuI5k2pcBg==",
            ),
        ];
        for (private, dnskey, ds, signature) in examples {
            let document = Pkcs8::ed25519(&base64(private).try_into().unwrap());
            let key = SigningKey::from_pkcs8(Algorithm::Ed25519, Flags::SecureEntryPoint, document.reveal());
            let key = key.unwrap();
            assert_eq!(key.dnskey_rdata(), rdata(RecordType::DNSKEY, dnskey));
            assert_eq!(key.ds_rdata(&owner), rdata(RecordType::DS, ds));
            assert!(key.is_named_by(&owner, &rdata(RecordType::DS, ds)));
            assert!(!key.is_named_by(&Name::root(), &rdata(RecordType::DS, ds)));
            assert!(!key.is_named_by(&owner, b""));
            let signed = rdata(
                RecordType::RRSIG,
                &format!("MX 15 2 3600 1440021600 1438207200 {} example.com. {signature}", key.tag()),
            );
            let (head, signature) = signed.split_at(signed.len() - SIGNATURE_OCTETS);
            let mx = rdata(RecordType::MX, "10 mail.example.com.");
            let mut message = head.to_vec();
            message.extend_from_slice(owner.as_wire());
            message.extend([0, 15, 0, 1, 0, 0, 0x0e, 0x10, 0, mx.len() as u8]);
            message.extend_from_slice(&mx);
            assert_eq!(key.sign(&message), signature);
            assert!(key.verifies(&message, signature));
            message[0] ^= 1;
            assert!(!key.verifies(&message, signature));
        }
    }

    #[test]
    fn the_example_of_rfc_6605() {
        // §6.1. ECDSA signatures differ each time: the example's must verify, and so must ours.
        let dnskey = rdata(
            RecordType::DNSKEY,
            "257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
        );
        let private = base64("GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=");
        let document = Pkcs8::p256(&private.try_into().unwrap(), dnskey[4..].try_into().unwrap());
        let key =
            SigningKey::from_pkcs8(Algorithm::EcdsaP256Sha256, Flags::SecureEntryPoint, document.reveal())
                .unwrap();
        assert_eq!(key.dnskey_rdata(), dnskey);
        assert_eq!(key.tag(), 55648);
        let ds = "55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17";
        assert_eq!(key.ds_rdata(&Name::parse("example.net").unwrap()), rdata(RecordType::DS, ds));

        let signed = rdata(
            RecordType::RRSIG,
            "A 13 3 3600 20100909100439 20100812100439 55648 example.net. \
             qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
        );
        let (head, signature) = signed.split_at(signed.len() - SIGNATURE_OCTETS);
        let mut message = head.to_vec();
        message.extend_from_slice(Name::parse("www.example.net").unwrap().as_wire());
        message.extend([0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1]);
        assert!(key.verifies(&message, signature));
        assert!(key.verifies(&message, &key.sign(&message)));
    }

    #[test]
    fn what_was_made_reads_back() {
        for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519] {
            let (key, document) = SigningKey::generate(algorithm, Flags::Zone, &SystemRandom::new()).unwrap();
            let again = SigningKey::from_pkcs8(algorithm, Flags::Zone, document.reveal()).unwrap();
            assert_eq!(again.dnskey_rdata(), key.dnskey_rdata());
            assert!(again.verifies(b"words", &key.sign(b"words")));
            assert_eq!(format!("{document:?}"), "(private key)");
            assert_eq!(Algorithm::from_number(algorithm.number()), Some(algorithm));
            // The tag is the RDATA's: other flags, another tag.
            let other =
                SigningKey::from_pkcs8(algorithm, Flags::SecureEntryPoint, document.reveal()).unwrap();
            assert_ne!(other.tag(), key.tag());
        }
    }

    #[test]
    fn refuses_what_is_no_key() {
        let (_, document) =
            SigningKey::generate(Algorithm::Ed25519, Flags::Zone, &SystemRandom::new()).unwrap();
        let refused = SigningKey::from_pkcs8(Algorithm::EcdsaP256Sha256, Flags::Zone, document.reveal());
        assert!(refused.unwrap_err().to_string().contains("ecdsap256sha256"));
        let (_, document) =
            SigningKey::generate(Algorithm::EcdsaP256Sha256, Flags::Zone, &SystemRandom::new()).unwrap();
        let mut bad = document.reveal().to_vec();
        *bad.last_mut().unwrap() ^= 1;
        assert!(SigningKey::from_pkcs8(Algorithm::EcdsaP256Sha256, Flags::Zone, &bad).is_err());
        assert!(SigningKey::from_pkcs8(Algorithm::Ed25519, Flags::Zone, b"").is_err());
    }
}
