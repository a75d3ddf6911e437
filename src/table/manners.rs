//! How clients are treated, with everything at hand that this takes: part of the table, so that
//! a reload changes it for all threads at once.

use std::fmt;
use std::time::Duration;

use crate::config::{Conduct, Config, CookieHandling};

/// Secrets of cookies have 128 bits: SipHash takes no other (RFC 9018 §4.4).
pub const COOKIE_SECRET_OCTETS: usize = 16;

/// What cookies are made with. It never prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CookieSecret(pub [u8; COOKIE_SECRET_OCTETS]);

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How clients are treated.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// As it is configured.
    pub conduct: Conduct,
    /// The first makes cookies, all are honoured. Empty: there are no cookies.
    pub cookie_secrets: Vec<CookieSecret>,
    /// For how long a connection may be idle, in units of 100 ms (RFC 7828 §3.1).
    pub keepalive: u16,
}

impl Manners {
    /// Those of a configuration. Without a secret there are no cookies.
    pub fn new(config: &Config, cookie_secrets: Vec<CookieSecret>) -> Self {
        let units = config.dns.tcp_idle.as_millis() / Duration::from_millis(100).as_millis();
        let off = config.conduct.cookies.handling == CookieHandling::Off;
        Self {
            conduct: config.conduct.clone(),
            cookie_secrets: if off { Vec::new() } else { cookie_secrets },
            keepalive: u16::try_from(units).unwrap_or(u16::MAX),
        }
    }
}
