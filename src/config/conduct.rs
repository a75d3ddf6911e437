//! How clients are treated: what they are told beside answers, by what they are known, and what
//! happens to those who ask too much. All of it may change while the daemon runs.

use crate::base::{Place, Prefix, SecretRef};

/// A text that a server tells of itself has at most so many octets: every reply has room for it.
pub const IDENTITY_OCTETS_MAX: usize = 64;
/// So many secrets of cookies are in use at once: the one before, the present, the one to come.
pub const COOKIE_SECRETS_MAX: usize = 3;
/// So many networks are exempt from the rate limit at most; they are looked through one by one.
pub const EXEMPT_MAX: usize = 256;

/// How clients are treated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conduct {
    /// Who we are, for those who ask with their queries (RFC 5001). Not told by default.
    pub nsid: Option<String>,
    /// Who we are, for those who ask in the class CHAOS.
    pub chaos: Chaos,
    /// Cookies.
    pub cookies: Cookies,
    /// An answer over UDP to a client that has not shown that it is where it says has at most
    /// so many octets, and else sends it to TCP.
    pub unverified_udp_max: Option<u16>,
    /// Response rate limiting. Off by default: the clients of a traffic manager are few large
    /// resolvers, which a limit that fits others would hit first.
    pub rate_limit: Option<RateLimit>,
    /// Signatures that each thread makes in a second at the most, over names that do not exist or
    /// that wildcards stand for; questions beyond that are sent to TCP. None: a default.
    pub signatures_per_second: Option<u32>,
}

/// Who we are, in the class CHAOS (RFC 4892). What is not set is REFUSED.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chaos {
    /// The answer to `id.server` and `hostname.bind`.
    pub id: Option<String>,
    /// The answer to `version.server` and `version.bind`.
    pub version: Option<String>,
}

/// Cookies (RFC 7873, RFC 9018): a client that returns the one that we gave it is where it says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cookies {
    /// What they are used for.
    pub handling: CookieHandling,
    /// 128 bits each as 32 hexadecimal digits: the first one makes cookies, all are honoured.
    /// Without any, each start of the daemon has a random one.
    pub secrets: Vec<(SecretRef, Place)>,
}

/// What cookies are used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CookieHandling {
    /// Given to clients that have one of their own. Who returns it is not rate-limited.
    #[default]
    Offer,
    /// Also, over UDP nobody is answered without: BADCOOKIE to those that have one of their own,
    /// and to the rest a word to come over TCP. For times of attack.
    Require,
    /// Passed over: for a site that shares its address with servers that do not know our secret.
    Off,
}

/// Response rate limiting: of answers that are alike to clients that are near each other, no
/// more than so many leave over UDP; nor of all answers to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Answers per second, to one network of clients, about one name, of one kind.
    pub responses_per_second: u32,
    /// Answers per second to one network of clients, about whatever it be.
    pub all_per_second: u32,
    /// Of the answers withheld every so manieth becomes a word to come over TCP; 0: none.
    pub slip: u32,
    /// Who has asked too much has to be quiet for at most so many seconds.
    pub window: u32,
    /// IPv4 clients with so many leading bits in common are one.
    pub ipv4_prefix: u8,
    /// IPv6 clients with so many leading bits in common are one.
    pub ipv6_prefix: u8,
    /// Networks without limit.
    pub exempt: Vec<Prefix>,
}
