//! Zones for secondary servers: whole (AXFR, RFC 5936) or what has changed (IXFR, RFC 1995).
//!
//! [`open`] looks at a request once: who asks, signed with what, which version is there. What it
//! hands back holds the table that it was made with, so that a transfer that takes minutes is of
//! one version, whatever is published meanwhile. Messages are made one by one, as fast as whoever
//! sends them asks for the next.

use std::net::IpAddr;
use std::sync::Arc;

use super::answer::Asker;
use super::message::{Ending, Packer};
use super::reply::{PLAIN_UDP_PAYLOAD, UDP_PAYLOAD};
use crate::table::{Contents, Table};
use crate::transfer::{Checked, Records, Serial, Signer, ZoneState, check};
use crate::wire::{
    Class, Edns, HEADER_OCTETS, NAME_OCTETS_MAX, Query, Question, Rcode, RecordType, ShowName, name_len,
};

/// A message of a transfer over a stream is filled to this; a record that is longer gets one of its own.
const MESSAGE_OCTETS: usize = 16 * 1024;

/// What becomes of a request for a zone.
#[derive(Debug)]
pub enum Opened {
    /// One message says it all.
    Reply {
        /// The message.
        message: Vec<u8>,
        /// Why there is no transfer; none if the client has the newest version already.
        refused: Option<Refused>,
    },
    /// Messages to be sent one after the other.
    Stream(Box<Outgoing>),
}

/// Why a request was not granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The zone, as asked.
    pub zone: String,
    /// Why, in words.
    pub why: String,
}

/// A transfer under way.
#[derive(Debug)]
pub struct Outgoing {
    /// What the zone is taken from; none where there is no room for one.
    table: Option<Arc<Table>>,
    zone: u16,
    state: Arc<ZoneState>,
    /// Header and question, which each message starts with.
    head: Vec<u8>,
    ending: Ending,
    signer: Option<Signer>,
    /// Records that go next, and how much of them has gone.
    queue: Vec<u8>,
    sent: usize,
    rest: Rest,
    from: Option<Serial>,
    /// When it was asked for, in seconds since 1970.
    asked_at: u64,
}

/// What follows the records in the queue.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// The names of the zone from here on.
    Names(Contents),
    /// What services answer.
    Services,
    /// The SOA record once more.
    Last,
    /// Nothing.
    Done,
}

/// Looks at a message that came over a stream; `None` if it asks for something else than a zone,
/// or is malformed. `now` is in seconds since 1970.
pub fn open(message: &[u8], table: &Arc<Table>, asker: &Asker, now: u64) -> Option<Opened> {
    let asked_at = HEADER_OCTETS + name_len(message.get(HEADER_OCTETS..)?)?;
    let asked = RecordType(u16::from_be_bytes(*message.get(asked_at..)?.first_chunk()?));
    if !matches!(asked, RecordType::AXFR | RecordType::IXFR) {
        return None;
    }
    let query = Query::read(message).ok().filter(|query| query.question.class == Class::IN)?;
    Some(grant(message, &query, table, Kept::Table(table), asker, now))
}

/// The number of the zone that a question names.
pub(super) fn zone_asked(question: &Question<'_>, table: &Table) -> Option<u16> {
    let mut name = [0; NAME_OCTETS_MAX];
    let name = name.get_mut(..question.name.len())?;
    name.copy_from_slice(question.name);
    name.make_ascii_lowercase();
    table.image().zone(name)
}

/// Whether anybody at this address may fetch the zone, with the right key perhaps. Everybody else
/// is refused as any question is: without an allocation, and within the limit of rates.
pub(super) fn could_permit(question: &Question<'_>, table: &Table, client: IpAddr) -> bool {
    let zone = zone_asked(question, table).and_then(|zone| table.zones().get(zone));
    zone.is_some_and(|zone| zone.rules.allow.iter().any(|permission| permission.admits(client)))
}

/// Answers a request for what has changed in a zone that came in one datagram. Whole zones are not
/// sent this way; RFC 5936 §4.2 leaves it undefined. Whoever neither is `known` by a cookie nor has
/// a key may be somebody else than the address says, and gets the newest SOA record, no more.
#[cold]
pub(super) fn datagram(
    message: &[u8],
    query: &Query<'_>,
    table: &Table,
    asker: &Asker,
    known: bool,
    now: u64,
) -> Option<Vec<u8>> {
    // Putting a difference together may take milliseconds, and addresses are forged for nothing.
    let shown = known || query.has_tsig;
    let kept = if shown { Kept::Difference } else { Kept::Version };
    let mut outgoing = match grant(message, query, table, kept, asker, now) {
        Opened::Reply { message, .. } => return Some(message),
        Opened::Stream(outgoing) => outgoing,
    };
    let limit = usize::from(query.edns.as_ref().map_or(PLAIN_UDP_PAYLOAD, payload));
    if outgoing.from.is_some() {
        let signer = outgoing.signer.clone();
        let message = outgoing.message(limit, now);
        if message.is_some() && outgoing.is_over() {
            return message;
        }
        outgoing.signer = signer;
    }
    // The newest SOA record, so that the client comes back over TCP (RFC 1995 §2).
    outgoing.only_soa();
    outgoing.message(limit, now)
}

fn payload(edns: &Edns<'_>) -> u16 {
    edns.payload.clamp(PLAIN_UDP_PAYLOAD, UDP_PAYLOAD)
}

/// How much there can be to send.
#[derive(Clone, Copy)]
enum Kept<'t> {
    /// A whole zone, from this table.
    Table(&'t Arc<Table>),
    /// What has changed, if it fits.
    Difference,
    /// The newest SOA record.
    Version,
}

/// Looks at a request.
fn grant(
    message: &[u8],
    query: &Query<'_>,
    table: &Table,
    kept: Kept<'_>,
    asker: &Asker,
    now: u64,
) -> Opened {
    let asked = ShowName(query.question.name).to_string();
    let head = head(message, &query.question);
    let ending = Ending::to(query.edns.as_ref(), asker.transport.is_encrypted());
    let checked = if query.has_tsig { check(message, table.zones().keys(), now) } else { Checked::Unsigned };
    let refuse = |rcode: Rcode, signer: Option<Signer>, why: String| {
        let mut reply = Packer::new(&head, usize::from(PLAIN_UDP_PAYLOAD));
        reply.set_rcode(rcode);
        let mut message = reply.finish(ending, signer.as_ref().map_or(0, Signer::octets));
        if let Some(mut signer) = signer {
            signer.sign(&mut message, now);
        }
        Opened::Reply { message, refused: Some(Refused { zone: asked.clone(), why }) }
    };
    let signer = match &checked {
        Checked::Unsigned => None,
        Checked::Good(signature) => Some(signature.signer.clone()),
        Checked::Malformed => return refuse(Rcode::FORMERR, None, "the signature cannot be read".to_owned()),
        Checked::Bad { error, tsig, .. } => {
            let mut message = Packer::new(&head, usize::from(PLAIN_UDP_PAYLOAD)).finish(ending, 0);
            checked.refusal(&mut message, now);
            let why = format!("{} with key {}", error.word(), ShowName(&tsig.key));
            return Opened::Reply { message, refused: Some(Refused { zone: asked, why }) };
        }
    };
    let Some(zone) = zone_asked(&query.question, table) else {
        return refuse(Rcode::NOTAUTH, signer, "it is none of our zones".to_owned());
    };
    let key = signer.as_ref().map(|signer| signer.key().name().to_vec());
    let Some(state) = table.zones().get(zone).filter(|state| state.permits(asker.client, key.as_deref()))
    else {
        let with = key.map_or_else(|| "no key".to_owned(), |key| format!("key {}", ShowName(&key)));
        return refuse(Rcode::REFUSED, signer, format!("its `allow` does not list this client with {with}"));
    };
    if let Some(why) = &state.withheld {
        return refuse(Rcode::REFUSED, signer, why.clone());
    }
    let (table, rest) = match kept {
        Kept::Table(kept) => (Some(Arc::clone(kept)), Rest::Names(table.image().contents(zone))),
        Kept::Difference | Kept::Version => (None, Rest::Done),
    };
    let mut outgoing = Box::new(Outgoing {
        table,
        zone,
        state: Arc::clone(state),
        head: head.clone(),
        ending,
        signer,
        queue: state.soa.clone(),
        sent: 0,
        rest,
        from: None,
        asked_at: now,
    });
    if query.question.rtype == RecordType::IXFR {
        let Some(from) = version_of(message) else {
            let why = "the request does not say which version is there".to_owned();
            return refuse(Rcode::FORMERR, outgoing.signer, why);
        };
        if !state.serial.is_newer_than(from) {
            outgoing.only_soa();
            let message = outgoing.message(MESSAGE_OCTETS, now).unwrap_or_default();
            return Opened::Reply { message, refused: None };
        }
        let wanted = !matches!(kept, Kept::Version);
        outgoing.from = (wanted && outgoing.since(from)).then_some(from);
    }
    Opened::Stream(outgoing)
}

/// The start of each message of the answer: header and question.
pub(super) fn head(message: &[u8], question: &Question<'_>) -> Vec<u8> {
    const QR_AA: u8 = 0x84;
    const RD: u8 = 0x01;
    let mut head = vec![0; 12];
    if let (Some(to), Some([a, b, flags])) = (head.first_chunk_mut::<3>(), message.first_chunk::<3>()) {
        *to = [*a, *b, QR_AA | flags & RD];
    }
    head[5] = 1;
    head.extend_from_slice(question.octets);
    head
}

/// The serial in the authority section of an IXFR request (RFC 1995 §3).
fn version_of(message: &[u8]) -> Option<Serial> {
    let message = crate::wire::Message::read(message).ok()?;
    let [_, authority, _] = &message.sections;
    let soa = authority.iter().find(|record| record.rtype == RecordType::SOA)?;
    let [a, b, c, d, ..] = *soa.rdata.last_chunk::<20>()?;
    Some(Serial(u32::from_be_bytes([a, b, c, d])))
}

impl Outgoing {
    /// The zone.
    pub fn zone(&self) -> &ZoneState {
        &self.state
    }

    /// The version that the client has and that the difference starts from; none if it gets the
    /// whole zone.
    pub fn from(&self) -> Option<Serial> {
        self.from
    }

    /// The message that goes out in its place: SERVFAIL says to come again later.
    pub fn instead(mut self, rcode: Rcode) -> Vec<u8> {
        let mut packer = Packer::new(&self.head, usize::from(PLAIN_UDP_PAYLOAD));
        packer.set_rcode(rcode);
        let mut message = packer.finish(self.ending, self.signer.as_ref().map_or(0, Signer::octets));
        if let Some(signer) = &mut self.signer {
            // Nothing depends on the exact time: the client's clock was found right just now.
            signer.sign(&mut message, self.asked_at);
        }
        message
    }

    /// The next message; `None` when there are no more. `now` is in seconds since 1970.
    pub fn next(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.is_over() {
            return None;
        }
        // A record that is longer than usual messages are.
        self.message(MESSAGE_OCTETS, now).or_else(|| self.message(usize::from(u16::MAX), now))
    }

    /// Whether everything has gone.
    pub fn is_over(&mut self) -> bool {
        self.fill();
        self.sent == self.queue.len()
    }

    /// Takes the difference from an older version, if there is one that is shorter than the zone.
    fn since(&mut self, from: Serial) -> bool {
        let Some(difference) = self.state.history.since(from) else { return false };
        let soa = &self.state.soa;
        self.queue =
            [&soa[..], &difference.old_soa, &difference.deleted, soa, &difference.added, soa].concat();
        self.rest = Rest::Done;
        true
    }

    fn only_soa(&mut self) {
        self.queue = self.state.soa.clone();
        self.sent = 0;
        self.rest = Rest::Done;
    }

    /// Sees to it that there is a record in the queue, if there is one left.
    fn fill(&mut self) {
        while self.sent == self.queue.len() {
            self.queue.clear();
            self.sent = 0;
            let Some(table) = &self.table else { return };
            match &mut self.rest {
                Rest::Names(contents) => match contents.next(table.image()) {
                    Some(node) => node.push_records(&mut self.queue),
                    None => self.rest = Rest::Services,
                },
                Rest::Services => {
                    self.queue = self.state.dynamic_records(table, self.zone);
                    self.rest = Rest::Last;
                }
                Rest::Last => {
                    self.queue.extend_from_slice(&self.state.soa);
                    self.rest = Rest::Done;
                }
                Rest::Done => return,
            }
        }
    }

    /// A message of at most so many octets; `None` if not a single record fits, or none is left.
    fn message(&mut self, limit: usize, now: u64) -> Option<Vec<u8>> {
        let signature = self.signer.as_ref().map_or(0, Signer::octets);
        let mut packer = Packer::new(&self.head, limit.saturating_sub(signature));
        packer.reserve(self.ending);
        loop {
            self.fill();
            let Some(record) = Records(&self.queue[self.sent..]).next() else { break };
            if !packer.push(record) {
                break;
            }
            self.sent += record.octets.len();
        }
        if packer.is_empty() {
            return None;
        }
        let mut message = packer.finish(self.ending, signature);
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut message, now);
        }
        Some(message)
    }
}
