//! The one function that serves every transport.

use std::net::IpAddr;

use super::chaos::identity;
use super::cookie::{Standing, greet};
use super::counts::{Counter, Counts};
use super::desk::Desk;
use super::explain::Explanation;
use super::limit::{Kind, Sentence};
use super::opt::Opt;
use super::reply::{PLAIN_UDP_PAYLOAD, Reply, UDP_PAYLOAD};
use super::resolve::{Stop, resolve};
use super::{transfer, tsig};
use crate::config::{CookieHandling, RateLimit};
use crate::table::Table;
use crate::wire::{Class, Edns, Fault, Opcode, Query, Question, Rcode, RecordType};

/// Who asks, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    /// From where.
    pub client: IpAddr,
    /// Over what.
    pub transport: Transport,
}

/// What a message came over: it decides how long the answer may be, and whether others can see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream, with the length before each message (RFC 7766).
    Tcp,
    /// The same within TLS (RFC 7858).
    Tls,
    /// One HTTP request each, over TLS (RFC 8484).
    Https,
    /// One QUIC stream each (RFC 9250).
    Quic,
}

impl Transport {
    /// Whether nobody on the way can read the messages, so that their length is worth hiding
    /// (RFC 7830).
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https | Self::Quic)
    }

    /// Whether the client has shown that it is where it says: its address cannot be forged.
    pub fn is_connected(self) -> bool {
        self != Self::Udp
    }

    /// What counts messages over it.
    #[inline]
    pub fn counter(self) -> Counter {
        match self {
            Self::Udp => Counter::Udp,
            Self::Tcp => Counter::Tcp,
            Self::Tls => Counter::Tls,
            Self::Https => Counter::Https,
            Self::Quic => Counter::Quic,
        }
    }
}

/// Answers a message, or decides not to (`None`). `out` holds the answer from its start on; an
/// answer is never longer than the client takes, nor than `out`.
///
/// No allocation, no lock, no clock, no panic: this is called for every packet that comes in.
#[inline]
pub fn answer(
    message: &[u8],
    out: &mut [u8],
    table: &Table,
    asker: &Asker,
    desk: &mut Desk,
) -> Option<usize> {
    desk.counts.add(asker.transport.counter());
    let length = reply(message, out, table, asker, desk);
    if length.is_none() {
        desk.counts.add(Counter::Dropped);
    }
    length
}

#[inline]
pub(super) fn reply(
    message: &[u8],
    out: &mut [u8],
    table: &Table,
    asker: &Asker,
    desk: &mut Desk,
) -> Option<usize> {
    match Query::read(message) {
        // What has changed in a zone is put together for whoever asks: it allocates, and only for an
        // address that may fetch the zone.
        Ok(query)
            if query.question.rtype == RecordType::IXFR
                && asker.transport == Transport::Udp
                && transfer::could_permit(&query.question, table, asker.client) =>
        {
            difference(message, &query, out, table, asker, desk)
        }
        Ok(query) if query.has_tsig => tsig::answer(message, &query, out, table, asker, desk),
        Ok(Query { question, edns, .. }) => {
            let (mut reply, standing) =
                start(message, question.octets, edns.as_ref(), out, table, asker, desk)?;
            match demand(table, asker, edns.as_ref(), standing) {
                Demand::Nothing => match refusal(&question) {
                    None => {
                        let limit = limited(table, asker, standing);
                        if let Err(stop) = resolve(&mut reply, &question, table, asker.client, limit, desk) {
                            end(&mut reply, stop, asker.transport, &mut desk.counts);
                        }
                    }
                    Some((rcode, explanation)) => refuse(&mut reply, &question, table, rcode, explanation),
                },
                Demand::Cookie => reply.set_rcode(Rcode::BADCOOKIE),
                Demand::Connection => reply.cut_short(),
            }
            finish(reply, table, asker, standing, desk)
        }
        Err(Fault::Silence) => None,
        Err(Fault::Told { rcode, question, edns }) => {
            let rcode = question.filter(|_| rcode == Rcode::NOTIMP).map_or(rcode, |question| {
                if is_notify(message) { notified(&question, table) } else { rcode }
            });
            let question = question.map_or(&[][..], |question| question.octets);
            let (mut reply, standing) = start(message, question, edns.as_ref(), out, table, asker, desk)?;
            reply.set_rcode(rcode);
            if rcode == Rcode::NOTIMP {
                reply.explain(Explanation::NotSupported);
            }
            finish(reply, table, asker, standing, desk)
        }
    }
}

/// Answers a request for what has changed in a zone that came in one datagram.
#[cold]
fn difference(
    message: &[u8],
    query: &Query<'_>,
    out: &mut [u8],
    table: &Table,
    asker: &Asker,
    desk: &mut Desk,
) -> Option<usize> {
    let edns = query.edns.as_ref();
    let (mut reply, standing) = start(message, query.question.octets, edns, out, table, asker, desk)?;
    // A key shows as much as a cookie does.
    match demand(table, asker, edns, standing) {
        Demand::Cookie if !query.has_tsig => {
            reply.set_rcode(Rcode::BADCOOKIE);
            return finish(reply, table, asker, standing, desk);
        }
        Demand::Connection if !query.has_tsig => {
            reply.cut_short();
            return finish(reply, table, asker, standing, desk);
        }
        _ => {}
    }
    let zone = transfer::zone_asked(&query.question, table)?;
    match judge((Kind::Transfer, u32::from(zone)), table, asker, standing, desk) {
        Sentence::Send => {}
        Sentence::Slip => {
            reply.cut_short();
            return reply.finish(&mut desk.counts);
        }
        Sentence::Drop => return None,
    }
    let known = standing == Standing::Known;
    let answer = transfer::datagram(message, query, table, asker, known, u64::from(desk.now))?;
    out.get_mut(..answer.len())?.copy_from_slice(&answer);
    desk.counts.add(Counter::TransferUdp);
    Some(answer.len())
}

/// A word to come over TCP, in place of an answer.
#[cold]
pub(super) fn slip(
    message: &[u8],
    query: &Query<'_>,
    out: &mut [u8],
    table: &Table,
    asker: &Asker,
    desk: &mut Desk,
) -> Option<usize> {
    let (mut reply, _) = start(message, query.question.octets, query.edns.as_ref(), out, table, asker, desk)?;
    reply.cut_short();
    reply.finish(&mut desk.counts)
}

fn is_notify(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| Opcode(flags >> 3 & 15) == Opcode::NOTIFY)
}

/// What to say to whoever tells us that a zone has changed: we have ours from a file, and nobody
/// tells us (RFC 1996 §3.10 wants such a message noted and not followed).
#[cold]
fn notified(question: &Question<'_>, table: &Table) -> Rcode {
    match transfer::zone_asked(question, table) {
        Some(_) => Rcode::REFUSED,
        None => Rcode::NOTAUTH,
    }
}

/// Says that there is more than could be put into the reply.
#[cold]
fn end(reply: &mut Reply<'_>, stop: Stop, transport: Transport, counts: &mut Counts) {
    match stop {
        Stop::Truncated => reply.set_truncated(),
        // Whoever asks in earnest asks again over TCP, and by then there are signatures again.
        Stop::Overdrawn if !transport.is_connected() => {
            reply.set_rcode(Rcode::NOERROR);
            reply.set_truncated();
        }
        // It is not sent: whoever gets something in its place is told to come over TCP.
        Stop::Withheld => {
            reply.set_rcode(Rcode::NOERROR);
            reply.set_truncated();
        }
        Stop::Overdrawn => return reply.fail(Rcode::SERVFAIL),
        Stop::Unsigned => {
            counts.add(Counter::Unsigned);
            return reply.fail(Rcode::SERVFAIL);
        }
    }
    if reply.wants_signatures() {
        reply.clear();
    }
}

/// Starts a reply as this client takes it, and finds out whether it is where it says.
#[inline]
fn start<'a>(
    message: &[u8],
    question: &[u8],
    edns: Option<&Edns<'a>>,
    out: &'a mut [u8],
    table: &'a Table,
    asker: &Asker,
    desk: &mut Desk,
) -> Option<(Reply<'a>, Standing)> {
    let manners = table.manners();
    let mut standing = Standing::Stranger;
    let opt = edns.map(|edns| {
        let mut opt = Opt::to(edns);
        let options = &edns.options;
        if let Some(cookie) = &options.cookie {
            (standing, opt.cookie) = greet(cookie, asker.client, desk.now, &manners.cookie_secrets);
            match standing {
                Standing::Stranger => {}
                Standing::New => desk.counts.add(Counter::CookieNew),
                Standing::Wrong => desk.counts.add(Counter::CookieWrong),
                Standing::Known => desk.counts.add(Counter::CookieKnown),
            }
        }
        if options.nsid {
            opt.nsid = manners.conduct.nsid.as_deref().unwrap_or_default();
        }
        // HTTP and QUIC have means of their own (RFC 9250 §5.5.2), datagrams no connection.
        if options.keepalive && matches!(asker.transport, Transport::Tcp | Transport::Tls) {
            opt.keepalive = Some(manners.keepalive).filter(|units| *units > 0);
        }
        // RFC 8467 §4: padding hides nothing where the message itself can be read.
        opt.padded = options.padding && asker.transport.is_encrypted();
        opt
    });
    let limit = match limit(asker.transport, edns) {
        limit if asker.transport.is_connected() || standing == Standing::Known => limit,
        limit => manners.conduct.unverified_udp_max.map_or(limit, |max| limit.min(usize::from(max))),
    };
    Reply::start(message, question, opt, out, limit).map(|reply| (reply, standing))
}

/// What a client has to show before it is answered.
enum Demand {
    /// Nothing more.
    Nothing,
    /// Our cookie, which it is given now (RFC 7873 §5.2.3).
    Cookie,
    /// That it is where it says, by coming over TCP: it knows no cookies.
    Connection,
}

#[inline]
fn demand(table: &Table, asker: &Asker, edns: Option<&Edns<'_>>, standing: Standing) -> Demand {
    let required = table.manners().conduct.cookies.handling == CookieHandling::Require
        && !table.manners().cookie_secrets.is_empty();
    if !required || asker.transport.is_connected() || standing == Standing::Known {
        return Demand::Nothing;
    }
    match edns.and_then(|edns| edns.options.cookie) {
        Some(_) => Demand::Cookie,
        None => Demand::Connection,
    }
}

/// Completes a reply, unless there were too many like it.
#[inline]
fn finish(
    mut reply: Reply<'_>,
    table: &Table,
    asker: &Asker,
    standing: Standing,
    desk: &mut Desk,
) -> Option<usize> {
    match judge(reply.about(), table, asker, standing, desk) {
        Sentence::Send => {}
        Sentence::Slip => reply.cut_short(),
        Sentence::Drop => return None,
    }
    reply.finish(&mut desk.counts)
}

/// What limits answers to this client; nothing if it is where it says.
#[inline]
fn limited<'t>(table: &'t Table, asker: &Asker, standing: Standing) -> Option<&'t RateLimit> {
    let rules = table.manners().conduct.rate_limit.as_ref();
    rules.filter(|_| !asker.transport.is_connected() && standing != Standing::Known)
}

/// Counts an answer that is about to go out, once, and tells what becomes of it.
#[inline]
pub(super) fn judge(
    about: (Kind, u32),
    table: &Table,
    asker: &Asker,
    standing: Standing,
    desk: &mut Desk,
) -> Sentence {
    let Some(rules) = limited(table, asker, standing) else { return Sentence::Send };
    let sentence = desk.limiter.judge(rules, asker.client, about, desk.now, &mut desk.rng);
    match sentence {
        Sentence::Send => {}
        Sentence::Slip => desk.counts.add(Counter::RateSlipped),
        Sentence::Drop => desk.counts.add(Counter::RateDropped),
    }
    sentence
}

/// How long the answer may be (RFC 6891 §6.2.3: less than 512 is taken as 512).
#[inline]
pub(super) fn limit(transport: Transport, edns: Option<&Edns<'_>>) -> usize {
    match (transport, edns) {
        (Transport::Udp, Some(edns)) => usize::from(edns.payload.clamp(PLAIN_UDP_PAYLOAD, UDP_PAYLOAD)),
        (Transport::Udp, None) => usize::from(PLAIN_UDP_PAYLOAD),
        _ => usize::from(u16::MAX),
    }
}

/// Answers a question that the zones do not answer: who we are, or that we do not.
#[cold]
fn refuse(
    reply: &mut Reply<'_>,
    question: &Question<'_>,
    table: &Table,
    rcode: Rcode,
    explanation: Option<Explanation>,
) {
    if let Some(text) = identity(question, &table.manners().conduct.chaos) {
        reply.set_authoritative();
        if reply.put_chaos(text).is_none() {
            reply.set_truncated();
        }
        return;
    }
    reply.set_rcode(rcode);
    if let Some(explanation) = explanation {
        reply.explain(explanation);
    }
}

/// Questions that are not answered from the zones.
#[inline]
fn refusal(question: &Question<'_>) -> Option<(Rcode, Option<Explanation>)> {
    match (question.class, question.rtype) {
        (Class::IN, rtype) if !rtype.is_meta() => None,
        // One of the sets at the name (RFC 8482 §4.1).
        (Class::IN, RecordType::ANY) => None,
        // Obsolete (RFC 1035 §3.2.3); the data types behind them are too.
        (Class::IN, RecordType::MAILA | RecordType::MAILB) => {
            Some((Rcode::NOTIMP, Some(Explanation::NotSupported)))
        }
        (Class::IN, RecordType::AXFR | RecordType::IXFR) => {
            Some((Rcode::REFUSED, Some(Explanation::Prohibited)))
        }
        // Exist in messages only (RFC 6895 §3.1); for NXNAME so says RFC 9824 §3.5.
        (Class::IN, _) => Some((Rcode::FORMERR, None)),
        // We have authority over nothing in another class; `ANY` would ask for all (RFC 1035 §3.2.5).
        _ => Some((Rcode::REFUSED, Some(Explanation::NotAuthoritative))),
    }
}
