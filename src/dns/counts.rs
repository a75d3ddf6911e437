//! What happened to queries, in plain numbers.

use std::ops::{AddAssign, Index};

use crate::wire::Rcode;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident $word:literal,)*) => {
        /// One thing that is counted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Counter {
            $($(#[$doc])* $name,)*
        }

        impl Counter {
            /// All of them, in the order they are kept.
            pub const ALL: &'static [Counter] = &[$(Self::$name,)*];

            /// As metrics call it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

counters! {
    /// Messages over UDP.
    Udp "udp",
    /// Messages over TCP.
    Tcp "tcp",
    /// Messages over TLS.
    Tls "tls",
    /// Messages over HTTPS.
    Https "https",
    /// Messages over QUIC.
    Quic "quic",
    /// Messages that got no answer: not a query, or shorter than a header.
    Dropped "dropped",
    /// Answers that say that there is more than fits.
    Truncated "truncated",
    /// Answers that lead to another zone's servers.
    Referral "referral",
    /// Answers that say that the name exists and has nothing of that type.
    Nodata "nodata",
    /// Answers whose addresses a service gave.
    Dynamic "dynamic",
    /// NOERROR, referrals and NODATA among them.
    NoError "noerror",
    /// FORMERR.
    FormErr "formerr",
    /// SERVFAIL.
    ServFail "servfail",
    /// NXDOMAIN.
    NxDomain "nxdomain",
    /// NOTIMP.
    NotImp "notimp",
    /// REFUSED.
    Refused "refused",
    /// YXDOMAIN: a DNAME made a name too long.
    YxDomain "yxdomain",
    /// NOTAUTH: a signature that is not good, or a notice of a zone that is not ours.
    NotAuth "notauth",
    /// BADVERS.
    BadVers "badvers",
    /// BADCOOKIE.
    BadCookie "badcookie",
    /// Queries with a cookie that we gave.
    CookieKnown "cookie_known",
    /// Queries of clients that have a cookie of their own, and none of ours yet.
    CookieNew "cookie_new",
    /// Queries with a cookie that is not ours, or no longer.
    CookieWrong "cookie_wrong",
    /// Answers withheld because there were too many alike.
    RateDropped "rate_dropped",
    /// Answers replaced, because there were too many alike, by a word to come over TCP.
    RateSlipped "rate_slipped",
    /// Answers over UDP that the system did not take. Counted by the server, like the rest.
    Unsent "unsent",
    /// Whole zones handed to secondary servers.
    TransferWhole "transfer_axfr",
    /// Differences between two versions of a zone handed to secondary servers.
    TransferDifference "transfer_ixfr",
    /// The same asked for in one datagram, whatever came of it.
    TransferUdp "transfer_ixfr_udp",
    /// Zones that somebody asked for and did not get.
    TransferRefused "transfer_refused",
    /// Transfers that ended early: the client left, or did not read on.
    TransferBroken "transfer_broken",
    /// TCP connections.
    TcpAccepted "tcp_accepted",
    /// TCP connections that were one too many, over all or from one client.
    TcpRefused "tcp_refused",
    /// TCP connections closed because the client sent rubbish, or did not read its answers.
    TcpBroken "tcp_broken",
    /// TLS connections, before their handshake.
    TlsAccepted "tls_accepted",
    /// TLS connections that were one too many.
    TlsRefused "tls_refused",
    /// TLS connections closed because of a failed handshake, rubbish, or unread answers.
    TlsBroken "tls_broken",
    /// HTTPS connections, before their handshake.
    HttpsAccepted "https_accepted",
    /// HTTPS connections that were one too many.
    HttpsRefused "https_refused",
    /// HTTPS connections closed because of a failed handshake or a breach of HTTP/2.
    HttpsBroken "https_broken",
    /// HTTPS requests that were no DNS queries (RFC 8484 §4.1), told by their status.
    HttpsUnfit "https_unfit",
    /// QUIC connections, before their handshake.
    QuicAccepted "quic_accepted",
    /// QUIC connections that were one too many.
    QuicRefused "quic_refused",
    /// QUIC connections closed because of a failed handshake or a breach of RFC 9250.
    QuicBroken "quic_broken",
    /// Connections closed because what a balancer told with PROXY made no sense, or because
    /// somebody else spoke in its place.
    ProxyRefused "proxy_refused",
    /// Signatures made for a question: over what does not exist, or what a wildcard stands for.
    SealMade "signature_made",
    /// Such signatures that had been made before.
    SealFound "signature_found",
    /// Questions whose signature was one too many for this second.
    SealRefused "signature_refused",
    /// Questions that were SERVFAIL because a signature was missing.
    Unsigned "signature_missing",
}

/// How many counters there are.
pub const COUNTERS: usize = Counter::ALL.len();

/// How often each of these happened. Plain integers: whoever counts has them to itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts(pub [u64; COUNTERS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; COUNTERS])
    }
}

impl Counts {
    /// Counts one more.
    #[inline]
    pub fn add(&mut self, counter: Counter) {
        self.0[counter as usize] += 1;
    }

    /// Counts an answer by its code.
    #[inline]
    pub(super) fn add_rcode(&mut self, rcode: Rcode) {
        self.add(match rcode {
            Rcode::NOERROR => Counter::NoError,
            Rcode::FORMERR => Counter::FormErr,
            Rcode::NXDOMAIN => Counter::NxDomain,
            Rcode::NOTIMP => Counter::NotImp,
            Rcode::REFUSED => Counter::Refused,
            Rcode::YXDOMAIN => Counter::YxDomain,
            Rcode::NOTAUTH => Counter::NotAuth,
            Rcode::BADVERS => Counter::BadVers,
            Rcode::BADCOOKIE => Counter::BadCookie,
            _ => Counter::ServFail,
        });
    }

    /// Messages that came in.
    pub fn messages(&self) -> u64 {
        [Counter::Udp, Counter::Tcp, Counter::Tls, Counter::Https, Counter::Quic]
            .into_iter()
            .map(|transport| self[transport])
            .sum()
    }

    /// Each counter with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.iter().copied().zip(self.0)
    }
}

impl Index<Counter> for Counts {
    type Output = u64;
    fn index(&self, counter: Counter) -> &u64 {
        &self.0[counter as usize]
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}
