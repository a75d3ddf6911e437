//! The client's side of SCRAM (RFC 5802; with SHA-256, RFC 7677), without channel binding. Both
//! sides prove that they know the password, and neither says it.
//!
//! ```text
//! client: n,,n=USER,r=NONCE
//! server: r=NONCE+THEIRS,s=SALT,i=ROUNDS
//! client: c=biws,r=NONCE+THEIRS,p=PROOF
//! server: v=SIGNATURE
//! ```

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::wire::{Base64, write_base64};

/// Rounds of hashing that a server may ask for. Fewer would be a weak server, or somebody in
/// between who wants the proof to be guessed (MongoDB's "Driver Authentication" wants 4096 too).
const ROUNDS_MIN: u32 = 4096;
/// More would let a server keep us busy: MongoDB asks for 15 000, and this takes some 0.1 s.
const ROUNDS_MAX: u32 = 200_000;
/// Salted passwords that are kept. Each server salts anew, and salting is what takes the time: some
/// 10 ms, for every member in every round.
const KEPT_MAX: usize = 256;

/// Which hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    /// SCRAM-SHA-1.
    Sha1,
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// What was begun.
pub(super) struct Scram {
    hash: Hash,
    nonce: String,
    first_bare: String,
}

/// The last word, and what the server must say to it.
pub(super) struct Proof {
    /// To be sent.
    pub(super) last: String,
    server_key: hmac::Key,
    exchange: String,
}

impl Scram {
    /// Begins with a nonce of its own. `None`: the system has no randomness for us.
    pub(super) fn new(hash: Hash, user: &str) -> Option<Self> {
        let mut random = [0; 24];
        SystemRandom::new().fill(&mut random).ok()?;
        Some(Self::with_nonce(hash, user, base64(&random)))
    }

    fn with_nonce(hash: Hash, user: &str, nonce: String) -> Self {
        // RFC 5802 §5.1, of user names.
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, first_bare: format!("n={user},r={nonce}"), nonce }
    }

    /// The first word.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Answers the server's first word. Takes its time: not for a thread that others wait for.
    ///
    /// # Errors
    /// It is not SCRAM, or asks for what we do not do.
    pub(super) fn answer(&self, server_first: &str, password: &str) -> Result<Proof, &'static str> {
        let mut nonce = None;
        let mut salt = None;
        let mut rounds = None;
        for field in server_first.split(',') {
            match field.split_once('=') {
                Some(("r", text)) => nonce = Some(text),
                Some(("s", text)) => salt = from_base64(text),
                Some(("i", text)) => rounds = text.parse::<u32>().ok(),
                Some(("m", _)) => return Err("it wants an extension of SCRAM that nobody knows"),
                _ => {}
            }
        }
        let (Some(nonce), Some(salt), Some(rounds)) = (nonce, salt, rounds) else {
            return Err("its first word is not SCRAM's");
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("it answers somebody else: the nonce is not ours");
        }
        let rounds = Some(rounds).filter(|rounds| (ROUNDS_MIN..=ROUNDS_MAX).contains(rounds));
        let Some(rounds) = rounds.and_then(NonZeroU32::new) else {
            return Err("it wants fewer than 4096 rounds, or more than 200000");
        };
        let salted = salted(self.hash, password, &salt, rounds);
        let salted = hmac::Key::new(self.hash.hmac(), &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let unproven = format!("c=biws,r={nonce}");
        let exchange = format!("{},{server_first},{unproven}", self.first_bare);
        let stored_key = hmac::Key::new(self.hash.hmac(), stored_key.as_ref());
        let signature = hmac::sign(&stored_key, exchange.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, mask)| key ^ mask).collect();
        let server_key = hmac::Key::new(self.hash.hmac(), hmac::sign(&salted, b"Server Key").as_ref());
        Ok(Proof { last: format!("{unproven},p={}", base64(&proof)), server_key, exchange })
    }
}

impl Proof {
    /// Whether the server's last word proves that it knows the password too.
    pub(super) fn is_answered_by(&self, server_last: &str) -> bool {
        let said = server_last.split(',').find_map(|field| field.strip_prefix("v=")).and_then(from_base64);
        said.is_some_and(|said| hmac::verify(&self.server_key, self.exchange.as_bytes(), &said).is_ok())
    }
}

/// By what it was made of, hashed; the oldest first.
static KEPT: Mutex<VecDeque<([u8; 32], Vec<u8>)>> = Mutex::new(VecDeque::new());

/// `Hi` of RFC 5802 §2.2.
fn salted(hash: Hash, password: &str, salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
    let mut made_of = digest::Context::new(&digest::SHA256);
    for part in [&[hash as u8], &rounds.get().to_le_bytes()[..], &(salt.len() as u64).to_le_bytes(), salt] {
        made_of.update(part);
    }
    made_of.update(password.as_bytes());
    let made_of: [u8; 32] = made_of.finish().as_ref().try_into().unwrap_or_default();
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, salted)) = kept().iter().find(|(known, _)| *known == made_of) {
        return salted.clone();
    }
    let mut salted = vec![0; hash.digest().output_len()];
    pbkdf2::derive(hash.pbkdf2(), rounds, salt, password.as_bytes(), &mut salted);
    let mut kept = kept();
    if kept.len() >= KEPT_MAX {
        kept.pop_front();
    }
    kept.push_back((made_of, salted.clone()));
    salted
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    write_base64(bytes, &mut text).expect("a string takes everything");
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut reader, mut bytes) = (Base64::default(), Vec::new());
    (reader.push(text.as_bytes(), &mut bytes) && reader.finish()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677() {
        let scram = Scram::with_nonce(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let first = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        // The second time from memory.
        for _ in 0..2 {
            let proof = scram.answer(&first, "pencil").unwrap();
            let p = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
            assert_eq!(proof.last, format!("c=biws,r={nonce},p={p}"));
            assert!(proof.is_answered_by("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        }
        let wrong = scram.answer(&first, "pencils").unwrap();
        assert!(!wrong.is_answered_by("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!wrong.is_answered_by("e=other-error") && !wrong.is_answered_by(""));
    }

    #[test]
    fn the_same_with_sha_512() {
        // As Python's `hashlib` and `hmac` have it; no RFC has an example.
        let scram = Scram::with_nonce(Hash::Sha512, "user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let first = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let proof = scram.answer(&first, "pencil").unwrap();
        let p = "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
        assert_eq!(proof.last, format!("c=biws,r={nonce},p={p}"));
        let v = "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";
        assert!(proof.is_answered_by(&format!("v={v}")) && !proof.is_answered_by("v=AAAA"));
    }

    #[test]
    fn the_example_of_mongodbs_specification() {
        let scram = Scram::with_nonce(Hash::Sha1, "user", "fyko+d2lbbFgONRv9qkxdawL".to_owned());
        let nonce = "fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE";
        let first = format!("r={nonce},s=rQ9ZY3MntBeuP3E1TDVC4w==,i=10000");
        let proof = scram.answer(&first, &super::super::mongodb::password_of_sha1("user", "pencil")).unwrap();
        assert_eq!(proof.last, format!("c=biws,r={nonce},p=MC2T8BvbmWRckDw8oWl5IVghwCY="));
        assert!(proof.is_answered_by("v=UMWeI25JD1yNYZRMpZ4VHvhZ9e0="));
    }

    #[test]
    fn is_not_talked_into_anything() {
        let scram = Scram::with_nonce(Hash::Sha256, "a=b,c", "ours".to_owned());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=ours");
        for odd in [
            "",
            "r=ours+theirs",
            "r=theirs,s=AAAA,i=4096",
            "r=ours,s=AAAA,i=4096",
            "r=ours+theirs,s=AAAA,i=1",
            "r=ours+theirs,s=AAAA,i=4294967295",
            "r=ours+theirs,s=not base 64,i=4096",
            "m=more,r=ours+theirs,s=AAAA,i=4096",
        ] {
            assert!(scram.answer(odd, "p").is_err(), "{odd}");
        }
        assert!(scram.answer("r=ours+theirs,s=AAAA,i=4096", "p").is_ok());
    }
}
