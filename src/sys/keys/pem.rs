//! Private keys as text: PKCS#8 in PEM, and what BIND and ldns write.

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::sign::{Algorithm, Flags, Pkcs8};
use crate::wire::{Base64, write_base64};

/// Characters of base 64 to a line (RFC 7468 §2).
const LINE: usize = 64;
/// Writes a private key.
pub(super) fn write(key: &Pkcs8) -> String {
    let mut base64 = String::new();
    write_base64(key.reveal(), &mut base64).expect("a string takes everything");
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

/// Reads a private key.
pub(super) fn read(text: &[u8]) -> Result<Pkcs8, String> {
    PrivatePkcs8KeyDer::from_pem_slice(text)
        .map(|der| Pkcs8::new(der.secret_pkcs8_der()))
        .map_err(|why| format!("not a PKCS#8 key in PEM (`-----BEGIN PRIVATE KEY-----`): {why}"))
}

/// A key of another program.
pub(super) struct Foreign {
    pub(super) algorithm: Algorithm,
    pub(super) flags: Flags,
    pub(super) key: Pkcs8,
}

/// Reads the two files of a key that `dnssec-keygen` and `ldns-keygen` write: `.private`, and `.key` for
/// the public half and the flags.
pub(super) fn read_foreign(private: &str, public: &str) -> Result<Foreign, String> {
    let field = |name: &str| {
        private.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let number = field("Algorithm").and_then(|text| text.split_whitespace().next()?.parse().ok());
    let number: u8 = number.ok_or("the .private file names no algorithm")?;
    let algorithm = Algorithm::from_number(number).ok_or_else(|| {
        format!("algorithm {number} is not signed with here; ECDSAP256SHA256 (13) and ED25519 (15) are")
    })?;
    let secret = field("PrivateKey").and_then(|text| <[u8; 32]>::try_from(decode([text])?).ok());
    let secret = secret.ok_or("the .private file has no sound `PrivateKey:`")?;
    // "example. 3600 IN DNSKEY 257 3 13 base64 base64 ; comment", comments on lines of their own too.
    let line = public.lines().map(|line| line.split(';').next().unwrap_or_default());
    let mut words = line.flat_map(str::split_whitespace).skip_while(|word| *word != "DNSKEY").skip(1);
    let flags = match words.next() {
        Some("256") => Flags::Zone,
        Some("257") => Flags::SecureEntryPoint,
        other => return Err(format!("the .key file has flags {}, not 256 or 257", other.unwrap_or("none"))),
    };
    let public = decode(words.skip(2)).ok_or("the .key file has no sound public key")?;
    let none = "a half of the key is not of the length that it should be";
    let key = match algorithm {
        Algorithm::EcdsaP256Sha256 => Pkcs8::p256(&secret, public.as_slice().try_into().map_err(|_| none)?),
        Algorithm::Ed25519 => Pkcs8::ed25519(&secret),
    };
    Ok(Foreign { algorithm, flags, key })
}

fn decode<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Vec<u8>> {
    let (mut octets, mut base64) = (Vec::new(), Base64::default());
    let sound = words.into_iter().all(|word| base64.push(word.as_bytes(), &mut octets));
    (sound && base64.finish()).then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::SigningKey;

    #[test]
    fn what_is_written_reads_back() {
        for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519] {
            let random = ring::rand::SystemRandom::new();
            let (_, document) = SigningKey::generate(algorithm, Flags::Zone, &random).unwrap();
            let text = write(&document);
            assert!(text.lines().all(|line| line.len() <= LINE));
            assert_eq!(read(text.as_bytes()).unwrap().reveal(), document.reveal());
        }
        assert!(read(b"words").unwrap_err().contains("PEM"));
    }
}
