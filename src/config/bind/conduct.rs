//! `dns:` as far as it is about clients.

use super::{Binder, Placed, spec};
use crate::base::Prefix;
use crate::config::{
    COOKIE_SECRETS_MAX, Chaos, Conduct, CookieHandling, Cookies, EXEMPT_MAX, IDENTITY_OCTETS_MAX, RateLimit,
};

/// No processor makes more signatures in a second.
const SIGNATURES_MAX: usize = 1_000_000;
/// No socket takes more answers in a second.
const RATE_MAX: usize = 1_000_000;
/// By default a network gets so many times of all answers what it gets of one kind.
const ALL_TO_ALIKE: usize = 10;
const ALL_MAX: usize = RATE_MAX * ALL_TO_ALIKE;
/// A day: whoever is silenced for longer is a case for the firewall.
const WINDOW_SECONDS_MAX: u64 = 86_400;

impl Binder<'_> {
    pub(super) fn conduct(&mut self, dns: &spec::Dns) -> Conduct {
        let chaos = Chaos {
            id: self.identity(dns.chaos.id.as_ref()),
            version: self.identity(dns.chaos.version.as_ref()),
        };
        Conduct {
            nsid: self.identity(dns.nsid.as_ref()),
            chaos,
            cookies: self.cookies(&dns.cookies),
            // What every client takes, up to what we send at all.
            unverified_udp_max: dns
                .unverified_udp_max
                .as_ref()
                .map(|_| self.within(&dns.unverified_udp_max, 512..=1232, 1232) as u16),
            rate_limit: dns.rate_limit.as_ref().map(|limit| self.rate_limit(limit)),
            signatures_per_second: dns
                .signatures_per_second
                .as_ref()
                .map(|_| self.within(&dns.signatures_per_second, 1..=SIGNATURES_MAX, 1) as u32),
        }
    }

    fn identity(&mut self, text: Option<&Placed<String>>) -> Option<String> {
        let text = text?;
        let len = text.value.len();
        if len == 0 || len > IDENTITY_OCTETS_MAX {
            self.mistakes
                .error(&text.place, format!("this has {len} octets, not 1 to {IDENTITY_OCTETS_MAX}"))
                .help("a short name such as the site's; leave the key out to tell nothing");
            return None;
        }
        Some(text.value.clone())
    }

    fn cookies(&mut self, cookies: &spec::Cookies) -> Cookies {
        if let Some(surplus) = cookies.secrets.get(COOKIE_SECRETS_MAX) {
            self.mistakes
                .error(&surplus.place, format!("more than {COOKIE_SECRETS_MAX} secrets"))
                .help("the one that makes cookies first, then those that are still or already honoured");
        }
        if cookies.handling == CookieHandling::Off
            && let Some(unused) = cookies.secrets.first()
        {
            self.mistakes
                .error(&unused.place, "a secret, and `handling: off`")
                .help("leave out the one or the other");
        }
        let secrets = cookies.secrets.iter();
        let secrets = secrets.map(|secret| (self.secret(secret.value.clone()), secret.place.clone()));
        Cookies { handling: cookies.handling, secrets: secrets.collect() }
    }

    fn rate_limit(&mut self, limit: &spec::RateLimit) -> RateLimit {
        let window = limit.window.as_ref().map_or(15, |window| {
            let seconds = window.value.0.as_secs();
            if !(1..=WINDOW_SECONDS_MAX).contains(&seconds) || window.value.0.subsec_nanos() > 0 {
                self.mistakes.error(&window.place, "the window is not a number of seconds from 1s to 1d");
                return 1;
            }
            seconds as u32
        });
        if let Some(surplus) = limit.exempt.get(EXEMPT_MAX) {
            self.mistakes.error(&surplus.place, format!("more than {EXEMPT_MAX} networks"));
        }
        let mut exempt = Vec::new();
        for text in &limit.exempt {
            match text.value.parse::<Prefix>() {
                Ok(prefix) => exempt.push(prefix),
                Err(why) => {
                    self.mistakes
                        .error(&text.place, why.to_string())
                        .help("a network such as 192.0.2.0/24, or an address");
                }
            }
        }
        let alike = self.within(&Some(limit.responses_per_second.clone()), 1..=RATE_MAX, 1);
        let all = self.within(&limit.all_per_second, 1..=ALL_MAX, alike * ALL_TO_ALIKE);
        if let Some(placed) = limit.all_per_second.as_ref().filter(|_| all < alike) {
            self.mistakes
                .error(&placed.place, format!("{all} answers in all are fewer than the {alike} of one kind"))
                .help(format!("{} or so: a resolver asks for many names at once", alike * ALL_TO_ALIKE));
        }
        RateLimit {
            responses_per_second: alike as u32,
            all_per_second: all as u32,
            slip: self.within(&limit.slip, 0..=100, 2) as u32,
            window,
            ipv4_prefix: self.within(&limit.ipv4_prefix, 8..=32, 24) as u8,
            ipv6_prefix: self.within(&limit.ipv6_prefix, 16..=128, 56) as u8,
            exempt,
        }
    }
}
