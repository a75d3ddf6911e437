//! Server cookies (RFC 7873), in the form that servers of one address can share (RFC 9018 §4):
//!
//! ```text
//! version 8 │ reserved 24 │ when 32 │ SipHash-2-4 of the client's cookie, these and its address 64
//! ```
//! A client that returns ours can hear us, so it is where it says: nobody impersonates it.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::table::CookieSecret;
use crate::wire::{CLIENT_COOKIE_OCTETS, Cookie};

/// Ours have so many octets (RFC 9018 §4).
const SERVER_COOKIE_OCTETS: usize = 16;
/// The client's and ours together, as they are told.
pub(super) const COOKIE_OCTETS: usize = CLIENT_COOKIE_OCTETS + SERVER_COOKIE_OCTETS;
/// The only version there is.
const VERSION: u8 = 1;
/// A cookie is honoured for an hour … (RFC 9018 §4.3)
const AGE_MAX: i32 = 3600;
/// … and from a server whose clock is ahead by five minutes at most.
const AHEAD_MAX: i32 = 300;
/// One older than half an hour is replaced (RFC 9018 §4.3).
const FRESH: i32 = 1800;

/// Whether a client has shown that it is where it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// It has no cookies, or we have none.
    Stranger,
    /// It has a cookie of its own, and none of ours.
    New,
    /// It has returned something that is not ours, or is no longer.
    Wrong,
    /// It has returned ours.
    Known,
}

/// Judges what a client has sent, and makes what it is told: its own cookie, and ours.
///
/// `secrets` is not empty: the first makes cookies, all are honoured.
#[inline]
pub(super) fn greet(
    cookie: &Cookie<'_>,
    client: IpAddr,
    now: u32,
    secrets: &[CookieSecret],
) -> (Standing, Option<[u8; COOKIE_OCTETS]>) {
    let Some((first, others)) = secrets.split_first() else { return (Standing::Stranger, None) };
    let standing = match cookie.server.split_first_chunk::<8>() {
        None => Standing::New,
        Some((head, hash)) => {
            let [version, _, _, _, when @ ..] = *head;
            // Serial number arithmetic (RFC 1982), so that 2106 is a year like any other.
            let age = now.wrapping_sub(u32::from_be_bytes(when)) as i32;
            let made_with =
                |secret: &CookieSecret| hash == seal(&cookie.client, head, client, secret).as_slice();
            if version != VERSION || !(-AHEAD_MAX..=AGE_MAX).contains(&age) {
                Standing::Wrong
            } else if made_with(first) {
                if age <= FRESH {
                    return (Standing::Known, Some(told(&cookie.client, head, hash)));
                }
                Standing::Known
            } else if others.iter().any(made_with) {
                Standing::Known
            } else {
                Standing::Wrong
            }
        }
    };
    let [a, b, c, d] = now.to_be_bytes();
    let head = [VERSION, 0, 0, 0, a, b, c, d];
    (standing, Some(told(&cookie.client, &head, &seal(&cookie.client, &head, client, first))))
}

/// The hash that only servers can make that have the secret (RFC 9018 §4.4).
fn seal(own: &[u8; CLIENT_COOKIE_OCTETS], head: &[u8; 8], client: IpAddr, secret: &CookieSecret) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    hasher.write(own);
    hasher.write(head);
    match client {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.finish().to_le_bytes()
}

fn told(own: &[u8; CLIENT_COOKIE_OCTETS], head: &[u8; 8], hash: &[u8]) -> [u8; COOKIE_OCTETS] {
    let mut told = [0; COOKIE_OCTETS];
    for (place, octet) in told.iter_mut().zip(own.iter().chain(head).chain(hash)) {
        *place = *octet;
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn secret(text: &str) -> CookieSecret {
        CookieSecret(hex(text).try_into().unwrap())
    }

    /// What is told to a client that sends this, as text, and how it stands.
    fn try_it(sent: &str, client: &str, now: u32, secrets: &[CookieSecret]) -> (Standing, String) {
        let sent = hex(sent);
        let (own, server) = sent.split_first_chunk().unwrap();
        let cookie = Cookie { client: *own, server };
        let (standing, told) = greet(&cookie, client.parse().unwrap(), now, secrets);
        let told = told.map(|told| told.iter().map(|octet| format!("{octet:02x}")).collect());
        (standing, told.unwrap_or_default())
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const WHEN: u32 = 1_559_731_985;

    #[test]
    fn makes_the_cookies_of_rfc_9018_appendix_a() {
        let secrets = [secret(SECRET)];
        let made = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        assert_eq!(
            try_it("2464c4abcf10c957", "198.51.100.100", WHEN, &secrets),
            (Standing::New, made.to_owned())
        );
        // A.2: the same, returned 40 minutes later, is good, and renewed.
        let renewed = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";
        assert_eq!(
            try_it(made, "198.51.100.100", 1_559_734_385, &secrets),
            (Standing::Known, renewed.to_owned())
        );
        // A.3: reserved bits are taken as they come.
        let (standing, _) = try_it(
            "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
            "203.0.113.203",
            1_559_727_985,
            &secrets,
        );
        assert_eq!(standing, Standing::Known);
        // A.4: IPv6, and a secret that has been replaced.
        let (old, new) =
            (secret("dd3bdf9344b678b185a6f5cb60fca715"), secret("445536bcd2513298075a5d379663c962"));
        let client = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let made = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        let renewed = "22681ab97d52c298010000005cf7c609a6bb79d16625507a";
        assert_eq!(try_it(made, client, 1_559_741_961, &[new, old]), (Standing::Known, renewed.to_owned()));
        assert_eq!(try_it(made, client, 1_559_741_961, &[new]).0, Standing::Wrong);
    }

    #[test]
    fn a_cookie_is_good_for_its_client_and_its_hour() {
        let secrets = [secret(SECRET)];
        let made = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let standing = |sent: &str, client: &str, now: u32| try_it(sent, client, now, &secrets).0;
        for (after, expected) in [
            (0, Standing::Known),
            (3600, Standing::Known),
            (3601, Standing::Wrong),
            (-300, Standing::Known),
            (-301, Standing::Wrong),
            (i32::MIN, Standing::Wrong),
        ] {
            let now = WHEN.wrapping_add_signed(after);
            assert_eq!(standing(made, "198.51.100.100", now), expected, "{after}");
        }
        assert_eq!(standing(made, "198.51.100.101", WHEN), Standing::Wrong);
        // Fresh, it goes back as it is; half an hour old, it is replaced.
        assert_eq!(try_it(made, "198.51.100.100", WHEN + 1800, &secrets).1, made);
        assert_ne!(try_it(made, "198.51.100.100", WHEN + 1801, &secrets).1, made);
        // Any bit matters, and so does the length.
        for at in 0..made.len() {
            let digit = if &made[at..=at] == "0" { "1" } else { "0" };
            let other = format!("{}{digit}{}", &made[..at], &made[at + 1..]);
            assert_ne!(standing(&other, "198.51.100.100", WHEN), Standing::Known, "{other}");
        }
        for len in (32..48).step_by(2) {
            assert_eq!(standing(&made[..len], "198.51.100.100", WHEN), Standing::Wrong, "{len}");
        }
        assert_eq!(standing(&format!("{made}00"), "198.51.100.100", WHEN), Standing::Wrong);
        // Without a secret there are no cookies.
        assert_eq!(try_it(made, "198.51.100.100", WHEN, &[]), (Standing::Stranger, String::new()));
    }
}
