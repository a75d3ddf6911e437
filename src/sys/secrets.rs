//! Secrets that the table holds, read when a configuration is taken over.

use std::sync::OnceLock;

use ring::rand::SystemRandom;

use crate::base::{Mistakes, Secret};
use crate::config::{Config, CookieHandling};
use crate::io::read_secret_now;
use crate::table::{COOKIE_SECRET_OCTETS, CookieSecret};

/// The secrets that cookies are made with. If the configuration names none it is a random one,
/// the same until the process ends: a reload voids nobody's cookie.
pub(super) fn cookie_secrets(config: &Config, mistakes: &mut Mistakes) -> Vec<CookieSecret> {
    let cookies = &config.conduct.cookies;
    if cookies.handling == CookieHandling::Off {
        return Vec::new();
    }
    if cookies.secrets.is_empty() {
        return random_secret().into_iter().collect();
    }
    let mut secrets = Vec::new();
    for (place, said_at) in &cookies.secrets {
        match read_secret_now(place) {
            Ok(secret) => match parse(&secret) {
                Some(secret) => secrets.push(secret),
                None => {
                    mistakes
                        .error(said_at, format!("the secret in {place} is not 32 hexadecimal digits"))
                        .help("`openssl rand -hex 16` makes one");
                }
            },
            Err(why) => {
                mistakes.error(said_at, why.words);
            }
        }
    }
    secrets
}

fn parse(secret: &Secret) -> Option<CookieSecret> {
    let digits = secret.reveal().trim();
    let mut octets = [0; COOKIE_SECRET_OCTETS];
    if digits.len() != octets.len() * 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (octet, two) in octets.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()?;
    }
    Some(CookieSecret(octets))
}

/// `None` if the system has no randomness to give: then there are no cookies.
fn random_secret() -> Option<CookieSecret> {
    static SECRET: OnceLock<Option<CookieSecret>> = OnceLock::new();
    *SECRET.get_or_init(|| {
        let random = ring::rand::generate(&SystemRandom::new()).ok()?;
        Some(CookieSecret(random.expose()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_32_hexadecimal_digits() {
        let parse = |text: &str| parse(&Secret::new(text)).map(|secret| secret.0);
        let expected: [u8; 16] = std::array::from_fn(|nth| nth as u8 * 0x11);
        assert_eq!(parse("00112233445566778899aAbBcCdDeEfF"), Some(expected));
        assert_eq!(parse(" 00112233445566778899aabbccddeeff\n"), Some(expected));
        for bad in [
            "",
            "00112233445566778899aabbccddeef",
            "+0112233445566778899aabbccddeeff",
            "0x112233445566778899aabbccddeeff",
            "0011223344556677",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_random_secret_stays_until_the_process_ends() {
        let secret = random_secret().unwrap();
        assert!(random_secret() == Some(secret) && secret.0 != [0; 16]);
        assert_eq!(format!("{secret:?}"), "(secret)");
    }
}
