//! Signing messages, and finding out what a signature is worth (RFC 8945 §5).
//!
//! A request is signed over itself. The first message of an answer is signed over the request's
//! signature and itself, each one after it over the signature before and itself (§5.3.1): none
//! can be taken out, exchanged or put elsewhere.

use std::sync::Arc;

use ring::hmac;

use super::key::{Key, TsigKeys};
use crate::wire::{Class, HEADER_OCTETS, Rcode, Tsig};

/// Clocks may be this many seconds apart (RFC 8945 §10 recommends 300).
pub const FUDGE: u16 = 300;

/// What is wrong with a signature (RFC 8945 §3). The numbers are response codes that fit no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TsigError {
    /// The signature does not fit the message.
    BadSig = 16,
    /// We have no such key, or it is of another algorithm.
    BadKey = 17,
    /// It was signed too long ago, or will be.
    BadTime = 18,
    /// The signature fits and is shorter than we take.
    BadTrunc = 22,
}

impl TsigError {
    /// Its mnemonic.
    pub fn word(self) -> &'static str {
        match self {
            Self::BadSig => "BADSIG",
            Self::BadKey => "BADKEY",
            Self::BadTime => "BADTIME",
            Self::BadTrunc => "BADTRUNC",
        }
    }
}

/// What the signature of a request is worth.
#[derive(Debug)]
pub enum Checked {
    /// There is none.
    Unsigned,
    /// It is good.
    Good(Signature),
    /// It cannot be read, or is too short to be one: FORMERR.
    Malformed,
    /// It is not good: NOTAUTH, as [`Checked::refusal`] writes it.
    Bad {
        /// What is wrong.
        error: TsigError,
        /// The key, if there is one and the signature fits.
        key: Option<Arc<Key>>,
        /// The record.
        tsig: Box<Tsig>,
    },
}

/// A good signature of a request.
#[derive(Debug)]
pub struct Signature {
    /// The request without its signature.
    pub request: Vec<u8>,
    /// Signs the answer.
    pub signer: Signer,
}

/// Signs one message after the other.
#[derive(Clone, Debug)]
pub struct Signer {
    key: Arc<Key>,
    /// The signature before; none before a request.
    prior: Option<Vec<u8>>,
    /// The next one is the first message of an answer or a request.
    first: bool,
}

/// Looks at a request. `now` is in seconds since 1970.
pub fn check(message: &[u8], keys: &TsigKeys, now: u64) -> Checked {
    let (at, tsig) = match Tsig::find(message) {
        Ok(Some(found)) => found,
        Ok(None) => return Checked::Unsigned,
        Err(_) => return Checked::Malformed,
    };
    let Some(key) = keys.find(&tsig.key).filter(|key| key.algorithm() == tsig.algorithm) else {
        return Checked::Bad { error: TsigError::BadKey, key: None, tsig: Box::new(tsig) };
    };
    let full = key.mac_octets();
    // RFC 8945 §5.2.2.1: neither longer than the algorithm makes them nor too short to mean anything.
    if !(full / 2..=full).contains(&tsig.mac.len()) {
        return Checked::Malformed;
    }
    let request = tsig.stripped(message, at);
    let signed = [&request[..], &variables(&tsig)].concat();
    let bad = |error, key| Checked::Bad { error, key, tsig: Box::new(tsig.clone()) };
    if tsig.mac.len() < full {
        let mac = hmac::sign(key.secret(), &signed);
        return match equal(&mac.as_ref()[..tsig.mac.len()], &tsig.mac) {
            true => bad(TsigError::BadTrunc, Some(Arc::clone(key))),
            false => bad(TsigError::BadSig, None),
        };
    }
    if hmac::verify(key.secret(), &signed, &tsig.mac).is_err() {
        return bad(TsigError::BadSig, None);
    }
    // The time counts only once it is known to be the signer's (§5.2.3).
    if now.abs_diff(tsig.time) > u64::from(tsig.fudge) {
        return bad(TsigError::BadTime, Some(Arc::clone(key)));
    }
    let signer = Signer { key: Arc::clone(key), prior: Some(tsig.mac), first: true };
    Checked::Good(Signature { request, signer })
}

/// Compares in a time that does not tell where they differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

impl Checked {
    /// Turns an answer to a request whose signature is not good (header and question, nothing
    /// else) into the refusal that says what is wrong (RFC 8945 §5.2). `now` is in seconds since
    /// 1970.
    pub fn refusal(&self, reply: &mut Vec<u8>, now: u64) {
        let Self::Bad { error, key, tsig } = self else { return };
        if let Some(flags) = reply.get_mut(3) {
            *flags = *flags & 0xf0 | Rcode::NOTAUTH.0 as u8;
        }
        let [_, _, time @ ..] = now.to_be_bytes();
        let mut record =
            Tsig { mac: Vec::new(), error: *error as u16, other: Vec::new(), ..(**tsig).clone() };
        if *error == TsigError::BadTime {
            record.other = time.to_vec();
        }
        if let Some(key) = key {
            let prior = [&(tsig.mac.len() as u16).to_be_bytes()[..], &tsig.mac].concat();
            let signed = [prior, as_signed(reply, &record), variables(&record)].concat();
            record.mac = hmac::sign(key.secret(), &signed).as_ref().to_vec();
        }
        record.append(reply);
    }
}

impl Signer {
    /// Signs a request and then, by [`Signer::verify`], looks at its answer.
    pub fn of_request(key: &Arc<Key>) -> Self {
        Self { key: Arc::clone(key), prior: None, first: true }
    }

    /// The key.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// How many octets each signature adds to a message.
    pub fn octets(&self) -> usize {
        Tsig::octets(self.key.name(), self.key.algorithm(), self.key.mac_octets())
    }

    /// Signs a message. `now` is in seconds since 1970.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        let id = message.first_chunk().map_or(0, |two| u16::from_be_bytes(*two));
        let mut tsig = Tsig {
            key: self.key.name().to_vec(),
            algorithm: self.key.algorithm().to_vec(),
            time: now,
            fudge: FUDGE,
            mac: Vec::new(),
            original_id: id,
            error: 0,
            other: Vec::new(),
        };
        let signed = self.covered(message, &tsig);
        tsig.mac = hmac::sign(self.key.secret(), &signed).as_ref().to_vec();
        self.prior = Some(tsig.mac.clone());
        self.first = false;
        tsig.append(message);
    }

    /// What a signature covers.
    fn covered(&self, message: &[u8], tsig: &Tsig) -> Vec<u8> {
        let mut covered = Vec::with_capacity(message.len() + 256);
        if let Some(prior) = &self.prior {
            covered.extend((prior.len() as u16).to_be_bytes());
            covered.extend_from_slice(prior);
        }
        covered.extend_from_slice(message);
        match self.first {
            true => covered.extend(variables(tsig)),
            // From the second message on the timers alone (RFC 8945 §5.3.1).
            false => covered.extend(tsig.timers()),
        }
        covered
    }

    /// Looks at the answer to the request that was signed last. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// It is not signed, or not well; in words.
    pub fn verify(&self, answer: &[u8], now: u64) -> Result<(), String> {
        let (at, tsig) = match Tsig::find(answer) {
            Ok(Some(found)) => found,
            Ok(None) => return Err("the answer is not signed".to_owned()),
            Err(_) => return Err("the signature of the answer cannot be read".to_owned()),
        };
        if tsig.error != 0 {
            return Err(format!("our signature was refused: {}", Rcode(tsig.error)));
        }
        if tsig.key != self.key.name() || tsig.algorithm != self.key.algorithm() {
            return Err("the answer is signed with another key".to_owned());
        }
        let mut first = self.clone();
        first.first = true;
        let covered = first.covered(&tsig.stripped(answer, at), &tsig);
        if hmac::verify(self.key.secret(), &covered, &tsig.mac).is_err() {
            return Err("the signature does not fit the answer".to_owned());
        }
        if now.abs_diff(tsig.time) > u64::from(tsig.fudge) {
            return Err("the answer was signed at another time: compare the clocks".to_owned());
        }
        Ok(())
    }
}

/// A message as it is signed: with the id that the record names.
fn as_signed(message: &[u8], tsig: &Tsig) -> Vec<u8> {
    let mut signed = message.to_vec();
    if let Some(id) = signed.get_mut(..HEADER_OCTETS).and_then(|header| header.first_chunk_mut()) {
        *id = tsig.original_id.to_be_bytes();
    }
    signed
}

/// What of the record is signed along with the message (RFC 8945 §4.3.3).
fn variables(tsig: &Tsig) -> Vec<u8> {
    let mut variables = tsig.key.clone();
    variables.extend(Class::ANY.0.to_be_bytes());
    variables.extend([0; 4]);
    variables.extend_from_slice(&tsig.algorithm);
    variables.extend(tsig.timers());
    variables.extend(tsig.error.to_be_bytes());
    variables.extend((tsig.other.len() as u16).to_be_bytes());
    variables.extend_from_slice(&tsig.other);
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TsigAlgorithm;
    use crate::wire::{Name, RecordType, ask};

    const NOW: u64 = 1_800_000_000;

    fn key(name: &str, algorithm: TsigAlgorithm, secret: u8) -> Key {
        Key::new(Name::parse(name).unwrap(), algorithm, &[secret; 32])
    }

    fn request(key: &Arc<Key>, now: u64) -> (Vec<u8>, Vec<u8>, Signer) {
        let plain = ask(7, &Name::parse("x").unwrap(), RecordType::AXFR, None);
        let mut signer = Signer::of_request(key);
        let mut message = plain.clone();
        signer.sign(&mut message, now);
        (plain, message, signer)
    }

    #[test]
    fn each_algorithm_signs_and_verifies() {
        for algorithm in [TsigAlgorithm::Sha256, TsigAlgorithm::Sha384, TsigAlgorithm::Sha512] {
            let ring = TsigKeys::new([key("k", algorithm, 1)]);
            let key = ring.find(b"\x01k\x00").unwrap();
            let (plain, message, asker) = request(key, NOW);
            assert_eq!(message.len() - plain.len(), asker.octets());
            let Checked::Good(mut good) = check(&message, &ring, NOW + 300) else { panic!() };
            assert_eq!(good.request, plain);
            let mut answer = plain.clone();
            answer[2] |= 0x80;
            good.signer.sign(&mut answer, NOW);
            assert_eq!(asker.verify(&answer, NOW), Ok(()));
            // The second message of the same answer is signed over the first one's signature.
            let mut second = plain.clone();
            good.signer.sign(&mut second, NOW);
            assert!(asker.verify(&second, NOW).is_err());
            for at in 0..answer.len() {
                let mut forged = answer.clone();
                forged[at] ^= 1;
                // The message's own id is not signed, the one in the record is.
                assert_eq!(asker.verify(&forged, NOW).is_ok(), at < 2, "octet {at}");
            }
        }
    }

    fn error(message: &[u8], ring: &TsigKeys, now: u64) -> Option<TsigError> {
        match check(message, ring, now) {
            Checked::Bad { error, .. } => Some(error),
            _ => None,
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let ring =
            TsigKeys::new([key("k", TsigAlgorithm::Sha256, 1), key("other", TsigAlgorithm::Sha512, 1)]);
        let right = Arc::clone(ring.find(b"\x01k\x00").unwrap());
        let (_, message, _) = request(&right, NOW);
        assert!(matches!(check(&message, &ring, NOW - 300), Checked::Good(_)));
        assert_eq!(error(&message, &ring, NOW - 301), Some(TsigError::BadTime));
        assert_eq!(error(&message, &ring, NOW + 301), Some(TsigError::BadTime));
        let unknown = Arc::new(key("unknown", TsigAlgorithm::Sha256, 1));
        assert_eq!(error(&request(&unknown, NOW).1, &ring, NOW), Some(TsigError::BadKey));
        let other_algorithm = Arc::new(key("other", TsigAlgorithm::Sha256, 1));
        assert_eq!(error(&request(&other_algorithm, NOW).1, &ring, NOW), Some(TsigError::BadKey));
        let wrong = Arc::new(key("k", TsigAlgorithm::Sha256, 2));
        assert_eq!(error(&request(&wrong, NOW).1, &ring, NOW), Some(TsigError::BadSig));
        // A forged time is a bad signature, not a bad time.
        let mut forged = message.clone();
        let time_at = message.len() - 47;
        forged[time_at] ^= 0x40;
        assert_eq!(error(&forged, &ring, NOW), Some(TsigError::BadSig));
    }

    #[test]
    fn short_signatures_are_refused() {
        let ring = TsigKeys::new([key("k", TsigAlgorithm::Sha256, 1)]);
        let (plain, message, _) = request(ring.find(b"\x01k\x00").unwrap(), NOW);
        let (_, tsig) = Tsig::find(&message).unwrap().unwrap();
        let cut = |len: usize, first: u8| {
            let mut tsig = tsig.clone();
            tsig.mac.truncate(len);
            tsig.mac.iter_mut().take(1).for_each(|octet| *octet ^= first);
            let mut message = plain.clone();
            tsig.append(&mut message);
            message
        };
        assert_eq!(error(&cut(16, 0), &ring, NOW), Some(TsigError::BadTrunc));
        assert_eq!(error(&cut(16, 1), &ring, NOW), Some(TsigError::BadSig));
        for len in [0, 1, 15] {
            assert!(matches!(check(&cut(len, 0), &ring, NOW), Checked::Malformed), "{len}");
        }
        let mut long = tsig.clone();
        long.mac.push(0);
        let mut message = plain.clone();
        long.append(&mut message);
        assert!(matches!(check(&message, &ring, NOW), Checked::Malformed));
    }

    #[test]
    fn refusals_say_what_is_wrong_and_are_signed_where_they_can_be() {
        let ring = TsigKeys::new([key("k", TsigAlgorithm::Sha256, 1)]);
        let key = ring.find(b"\x01k\x00").unwrap();
        let (plain, message, asker) = request(key, NOW);
        let refuse = |checked: Checked, now: u64| {
            let mut reply = plain.clone();
            reply[2] |= 0x80;
            checked.refusal(&mut reply, now);
            let (_, tsig) = Tsig::find(&reply).unwrap().unwrap();
            assert_eq!(reply[3] & 15, Rcode::NOTAUTH.0 as u8);
            (reply, tsig)
        };
        let late = NOW + 1000;
        let (reply, tsig) = refuse(check(&message, &ring, late), late);
        // The client's time, ours beside it (RFC 8945 §5.2.3), and a signature over both.
        assert_eq!((tsig.error, tsig.time), (18, NOW));
        assert_eq!(tsig.other, late.to_be_bytes()[2..]);
        assert_eq!(tsig.mac.len(), 32);
        assert!(asker.verify(&reply, NOW).unwrap_err().contains("refused"));
        let (at, _) = Tsig::find(&reply).unwrap().unwrap();
        let covered = asker.covered(&tsig.stripped(&reply, at), &tsig);
        let covered = covered[..covered.len() - 8].to_vec();
        assert!(hmac::verify(key.secret(), &[covered, variables(&tsig)].concat(), &tsig.mac).is_ok());
        let strange = TsigKeys::default();
        let (_, tsig) = refuse(check(&message, &strange, NOW), NOW);
        assert_eq!((tsig.error, tsig.mac.len(), tsig.other.len()), (17, 0, 0));
    }
}
