//! Random zones × random questions, answered by our engine and by hickory-server's in-memory
//! authority: header, code and sections agree as sets.
//!
//! Where hickory does otherwise than the RFCs say, [`Difference`] names the class and the section
//! that decides, and [`Oracle`] puts its answer right, each in one place. Nothing else is
//! tolerated, and a class that no case needs any more fails the test. `ORACLE_CASES` sets how many
//! zones are tried.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::op::Message as TheirMessage;
use hickory_proto::rr::LowerName;
use hickory_server::net::BufDnsStreamHandle;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandle};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use pointsman::base::{Generation, Named};
use pointsman::dns::{Asker, Desk, Transport, answer};
use pointsman::table::{Image, Table};
use pointsman::wire::{Message, Name, Rcode, Record, RecordType, ask};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[path = "common/times.rs"]
mod times;
mod zoo;

/// What hickory does differently, and what decides that it is wrong, or that it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Difference {
    /// AA is set in referrals. RFC 1034 §4.3.2 step 3b: they lead out of authoritative data.
    ReferralIsAuthoritative,
    /// Asked for NS at or below a cut, it answers; RFC 1034 §4.3.2 step 3b wants a referral.
    ReferralInAnswer,
    /// The deepest of nested cuts wins. RFC 1034 §4.3.2 step 3 comes from above: what lies below a
    /// cut is not in the zone (§4.2.1).
    DeepestCutWins,
    /// Any wildcard further up answers, even for names that exist. RFC 4592 §3.3.1: the one at the
    /// closest encloser, and no other.
    AnyWildcardAnswers,
    /// A wildcard that lacks the type gives NXDOMAIN. RFC 4592 §2.2.1: the name is matched, so
    /// this is NODATA.
    WildcardNodata,
    /// A question for a name that starts with `*` and does not exist is not matched by wildcards.
    /// RFC 4592 §2.1.3 and §3.3.1: in a question the asterisk is a label like others.
    AsteriskAsked,
    /// A chain that ends in nothing is NOERROR without an SOA record. RFC 6604 §3: the code is that
    /// of the last name; RFC 2308 §2.1, §2.2: with the SOA record.
    ChainEndsInNothing,
    /// A chain that ends at a cut has the NS records in the answer. RFC 1034 §4.3.2 step 3b again.
    ChainEndsAtCut,
    /// The SOA record of negative answers has its own TTL. RFC 2308 §3: no more than MINIMUM.
    NegativeTtl,
    /// The zone's NS records come with its SOA record: allowed, not asked for (RFC 1034 §3.7).
    ServersBesideSoa,
    /// Addresses are added for the first target only, by the type asked for, and never from below
    /// a cut. RFC 1034 §4.3.2 step 6 leaves the choice; for glue RFC 9471 §3 does not.
    Additional,
}

const ALL: [Difference; 11] = [
    Difference::ReferralIsAuthoritative,
    Difference::ReferralInAnswer,
    Difference::DeepestCutWins,
    Difference::AnyWildcardAnswers,
    Difference::WildcardNodata,
    Difference::AsteriskAsked,
    Difference::ChainEndsInNothing,
    Difference::ChainEndsAtCut,
    Difference::NegativeTtl,
    Difference::ServersBesideSoa,
    Difference::Additional,
];

const APEX: &str = "z.";
const TTL: u32 = 300;
const NEGATIVE_TTL: u32 = 60;
/// As the engine has it.
const LINKS_MAX: usize = 8;

/// A record: owner and data in wire form.
type Entry = (Vec<u8>, RecordType, Vec<u8>);

/// What counts of a reply.
#[derive(Clone, PartialEq, Eq, Default)]
struct Reply {
    rcode: u16,
    authoritative: bool,
    answers: BTreeSet<Record>,
    authorities: BTreeSet<Record>,
    additionals: BTreeSet<Record>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let aa = if self.authoritative { " aa" } else { "" };
        write!(f, "{}{aa}", Rcode(self.rcode))?;
        for section in [&self.answers, &self.authorities, &self.additionals] {
            f.write_str("\n  --")?;
            section.iter().try_for_each(|record| write!(f, "\n  {record}"))?;
        }
        Ok(())
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        let authoritative = message.flag_words().any(|word| word == "aa");
        let rcode = message.rcode().0;
        let [answers, authorities, additionals] =
            message.sections.map(|section| section.into_iter().collect());
        Self { rcode, authoritative, answers, authorities, additionals }
    }
}

// ── hickory, put right ──

struct Oracle<'a> {
    entries: &'a [Entry],
    runtime: &'a tokio::runtime::Runtime,
    met: &'a mut BTreeSet<Difference>,
}

impl Oracle<'_> {
    /// What a server has to answer. Chains are walked here, a question to hickory for each name.
    fn reply(&mut self, name: &[u8], rtype: RecordType) -> Reply {
        let mut chain = Reply::default();
        let mut passed = vec![name.to_vec()];
        let mut name = name.to_vec();
        loop {
            let lead = self.one(&name, RecordType::CNAME);
            let is_cname = |record: &&Record| record.rtype == RecordType::CNAME && record.owner == name;
            let target = lead.answers.iter().find(is_cname).map(|record| record.rdata.clone());
            let Some(target) = target.filter(|_| rtype != RecordType::CNAME && passed.len() <= LINKS_MAX)
            else {
                // Too long a chain ends with the last link that we follow.
                let cut_short = passed.len() > LINKS_MAX && !lead.answers.is_empty();
                let last = if cut_short { Reply::default() } else { self.one(&name, rtype) };
                return self.chained(chain, last);
            };
            chain.authoritative = true;
            chain.answers.extend(lead.answers);
            if !target.ends_with(b"\x01z\x00") || passed.contains(&target) {
                return self.chained(chain, Reply::default());
            }
            passed.push(target.clone());
            name = target;
        }
    }

    fn chained(&mut self, chain: Reply, last: Reply) -> Reply {
        if chain.answers.is_empty() {
            return last;
        }
        if last.answers.is_empty() && !last.authorities.is_empty() {
            let at_cut = last.authorities.iter().any(|record| record.rtype == RecordType::NS);
            self.met.insert(if at_cut { Difference::ChainEndsAtCut } else { Difference::ChainEndsInNothing });
        }
        Reply { authoritative: true, answers: &chain.answers | &last.answers, ..last }
    }

    /// What a server has to answer for one name, no chain followed.
    fn one(&mut self, name: &[u8], rtype: RecordType) -> Reply {
        let cut = self.topmost_cut(name, rtype);
        let mut visible = self.entries.to_vec();
        if let Some(cut) = &cut {
            let deeper = |(owner, rtype, _): &Entry| {
                is_below(owner, cut) && !matches!(*rtype, RecordType::A | RecordType::AAAA)
            };
            if visible
                .iter()
                .any(|entry| deeper(entry) && entry.1 == RecordType::NS && is_at_or_below(name, &entry.0))
            {
                self.met.insert(Difference::DeepestCutWins);
            }
            visible.retain(|entry| !deeper(entry));
        }
        // Wildcards that must not answer are hidden behind another label; names stay as deep as
        // they are.
        let exists = self.exists(name);
        let source = (!exists).then(|| [b"\x01*", self.closest_encloser(name)].concat());
        for (owner, ..) in &mut visible {
            if owner.starts_with(b"\x01*") && *owner != name && Some(&*owner) != source.as_ref() {
                self.met.insert(Difference::AnyWildcardAnswers);
                owner[1] = b'#';
            }
        }
        // A literal asterisk that is matched like any other label.
        let stands_in = (name.starts_with(b"\x01*") && !exists).then(|| [b"\x01q", &name[2..]].concat());
        if stands_in.is_some() {
            self.met.insert(Difference::AsteriskAsked);
        }
        let mut reply = self.ask_hickory(&visible, stands_in.as_deref().unwrap_or(name), rtype);
        if let Some(stands_in) = stands_in {
            reply.answers = reply
                .answers
                .into_iter()
                .map(|record| {
                    if record.owner == stands_in { Record { owner: name.to_vec(), ..record } } else { record }
                })
                .collect();
        }
        self.put_right(&mut reply, rtype, cut, source);
        reply
    }

    fn put_right(
        &mut self,
        reply: &mut Reply,
        rtype: RecordType,
        cut: Option<Vec<u8>>,
        source: Option<Vec<u8>>,
    ) {
        if rtype == RecordType::SOA && reply.authorities.iter().any(|record| record.rtype == RecordType::NS) {
            let is_asked_for =
                |record: &Record| record.rtype != RecordType::NS || Some(&record.owner) == cut.as_ref();
            self.met.insert(Difference::ServersBesideSoa);
            reply.authorities.retain(is_asked_for);
        }
        if cut.is_some() {
            self.met.insert(Difference::ReferralIsAuthoritative);
            reply.authoritative = false;
            if !reply.answers.is_empty() {
                self.met.insert(Difference::ReferralInAnswer);
                reply.authorities = std::mem::take(&mut reply.answers);
            }
        } else if reply.answers.is_empty() {
            if source.is_some_and(|source| self.exists(&source)) && reply.rcode == Rcode::NXDOMAIN.0 {
                self.met.insert(Difference::WildcardNodata);
                reply.rcode = Rcode::NOERROR.0;
            }
            let authorities = std::mem::take(&mut reply.authorities);
            reply.authorities =
                authorities.into_iter().map(|record| Record { ttl: NEGATIVE_TTL, ..record }).collect();
            self.met.insert(Difference::NegativeTtl);
        }
        let wanted = self.additionals(reply);
        if wanted != reply.additionals {
            self.met.insert(Difference::Additional);
        }
        reply.additionals = wanted;
    }

    /// Addresses of what NS, MX and SRV records lead to. Those below a cut are told for name
    /// servers only.
    fn additionals(&self, reply: &Reply) -> BTreeSet<Record> {
        let mut wanted = BTreeSet::new();
        for record in reply.answers.iter().chain(&reply.authorities) {
            let Some(at) = record.rtype.target_at() else { continue };
            let target = &record.rdata[at..];
            if record.rtype != RecordType::NS && self.topmost_cut(target, RecordType::A).is_some() {
                continue;
            }
            let addresses = self.entries.iter().filter(|(owner, rtype, _)| {
                owner == target && matches!(*rtype, RecordType::A | RecordType::AAAA)
            });
            wanted.extend(addresses.map(record_of));
        }
        wanted
    }

    /// The highest delegation that this name lies at or below. DS records are asked for above it.
    fn topmost_cut(&self, name: &[u8], rtype: RecordType) -> Option<Vec<u8>> {
        let cuts = self.entries.iter().filter(|(owner, entry, _)| {
            *entry == RecordType::NS
                && owner != b"\x01z\x00"
                && is_at_or_below(name, owner)
                && !(rtype == RecordType::DS && owner == name)
        });
        cuts.map(|(owner, ..)| owner).min_by_key(|owner| owner.len()).cloned()
    }

    /// Whether there is this name, or one below it.
    fn exists(&self, name: &[u8]) -> bool {
        self.entries.iter().any(|(owner, ..)| is_at_or_below(owner, name))
    }

    fn closest_encloser<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        pointsman::wire::suffixes(name).skip(1).find(|above| self.exists(above)).unwrap_or(name)
    }

    fn ask_hickory(&self, entries: &[Entry], name: &[u8], rtype: RecordType) -> Reply {
        // Records go over as a message, and come back as one: no text in between.
        let mut message = vec![0; 12];
        message[6..8].copy_from_slice(&(entries.len() as u16).to_be_bytes());
        for (owner, rtype, rdata) in entries {
            message.extend_from_slice(owner);
            message.extend(rtype.0.to_be_bytes());
            message.extend([0, 1]);
            message.extend(TTL.to_be_bytes());
            message.extend((rdata.len() as u16).to_be_bytes());
            message.extend_from_slice(rdata);
        }
        let records = TheirMessage::from_vec(&message).unwrap().answers;
        let origin = hickory_proto::rr::Name::from_ascii(APEX).unwrap();
        let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
        );
        for record in records {
            assert!(zone.upsert_mut(record.clone(), 1), "{record}");
        }
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone)]);

        let query = ask(1, &Name::from_wire(name).unwrap(), rtype, None);
        let from = SocketAddr::from(([127, 0, 0, 1], 53));
        let request = Request::from_bytes(query, from, Protocol::Tcp).unwrap();
        let (stream, mut replies) = BufDnsStreamHandle::new(from);
        let handle = ResponseHandle::new(from, stream, Protocol::Tcp);
        self.runtime.block_on(catalog.handle_request::<_, TokioTime>(&request, handle));
        let reply = replies.get_mut().get_mut().try_recv().expect("it answers");
        Message::read(reply.bytes()).unwrap().into()
    }
}

fn is_at_or_below(name: &[u8], above: &[u8]) -> bool {
    pointsman::wire::is_at_or_under(name, above)
}

fn is_below(name: &[u8], above: &[u8]) -> bool {
    name != above && is_at_or_below(name, above)
}

fn record_of((owner, rtype, rdata): &Entry) -> Record {
    let class = pointsman::wire::Class::IN;
    Record { owner: owner.clone(), rtype: *rtype, class, ttl: TTL, rdata: rdata.clone() }
}

// ── ours ──

fn our_reply(table: &Table, name: &[u8], rtype: RecordType) -> Reply {
    let query = ask(1, &Name::from_wire(name).unwrap(), rtype, None);
    let asker = Asker { client: [127, 0, 0, 1].into(), transport: Transport::Tcp };
    let (mut out, mut desk) = (vec![0; 65_535], Desk::new(fastrand::Rng::with_seed(1), 0));
    let len = answer(&query, &mut out, table, &asker, &mut desk).expect("it answers");
    let message = Message::read(&out[..len]).unwrap();
    for section in &message.sections {
        let distinct: BTreeSet<_> = section.iter().collect();
        assert_eq!(distinct.len(), section.len(), "a record stands twice in {message}");
    }
    message.into()
}

// ── zones and questions ──

fn label() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "*"])
}

/// Up to four labels below the apex.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(label(), 0..=4)
        .prop_map(|labels| labels.iter().map(|label| format!("{label}.")).collect::<String>() + APEX)
}

/// Names in data: most in the zone, some not.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![6 => name(), 1 => Just("far.away.".to_owned())]
}

fn line() -> impl Strategy<Value = (String, String)> {
    let data = prop_oneof![
        4 => any::<u8>().prop_map(|n| format!("A 192.0.2.{n}")),
        2 => any::<u8>().prop_map(|n| format!("AAAA 2001:db8::{n:x}")),
        1 => Just("TXT x".to_owned()),
        1 => (0..3u16, target()).prop_map(|(n, target)| format!("MX {n} {target}")),
        1 => target().prop_map(|target| format!("SRV 0 0 1 {target}")),
        3 => target().prop_map(|target| format!("CNAME {target}")),
        3 => target().prop_map(|target| format!("NS {target}")),
        1 => Just("DS 1 8 2 00".to_owned()),
    ];
    (name(), data)
}

/// Lines that make a zone which may be loaded: CNAMEs alone, no wildcard delegated.
fn zone_text(lines: Vec<(String, String)>) -> String {
    let mut text = format!("$TTL {TTL}\n@ SOA ns.far.away. h 1 2 3 4 {NEGATIVE_TTL}\n@ NS ns.far.away.\n");
    let mut kept: Vec<(String, String)> = vec![(APEX.to_owned(), "SOA".to_owned())];
    for (owner, data) in lines {
        let is_cname = data.starts_with("CNAME");
        let beside = kept.iter().filter(|(other, _)| *other == owner);
        let clash = if is_cname {
            beside.count() > 0
        } else {
            beside.clone().any(|(_, data)| data.starts_with("CNAME"))
        };
        let odd =
            (data.starts_with("NS") && owner.starts_with('*')) || (data.starts_with("DS") && owner == APEX);
        if !clash && !odd && !kept.contains(&(owner.clone(), data.clone())) {
            text.push_str(&format!("{owner} {data}\n"));
            kept.push((owner, data));
        }
    }
    text
}

fn rtype() -> impl Strategy<Value = RecordType> {
    prop::sample::select(vec![1u16, 28, 2, 5, 6, 15, 16, 33, 43]).prop_map(RecordType)
}

#[test]
fn agrees_with_hickory() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let met = std::cell::RefCell::new(BTreeSet::new());
    let cases = times::times(600);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let zones = prop::collection::vec(line(), 0..14).prop_map(zone_text);
    let questions =
        prop::collection::vec((prop_oneof![12 => name(), 1 => Just("out.side.".to_owned())], rtype()), 16);
    runner
        .run(&(zones, questions), |(text, questions)| {
            let zone = zoo::zone("z", &text);
            let entries: Vec<Entry> = zone
                .owners()
                .flat_map(|owner| owner.sets().map(move |set| (owner, set)))
                .flat_map(|(owner, set)| {
                    set.rdatas().map(move |rdata| (owner.name().to_vec(), set.rtype(), rdata.to_vec()))
                })
                .collect();
            let (image, _) = Image::with_services(&[zone], &Named::default()).unwrap();
            let table = Table::new(Generation(1), image, Vec::new());
            for (name, rtype) in questions {
                let name = Name::parse(&name).unwrap();
                let ours = our_reply(&table, name.as_wire(), rtype);
                let mut oracle = Oracle { entries: &entries, runtime: &runtime, met: &mut met.borrow_mut() };
                let theirs = if name.to_string().ends_with(".z.") || name.to_string() == APEX {
                    oracle.reply(name.as_wire(), rtype)
                } else {
                    oracle.ask_hickory(&entries, name.as_wire(), rtype)
                };
                prop_assert_eq!(&ours, &theirs, "{} {}\n{}", name, rtype, text);
            }
            Ok(())
        })
        .unwrap_or_else(|why| panic!("{why}"));
    let unmet: Vec<_> = ALL.iter().filter(|difference| !met.borrow().contains(difference)).collect();
    assert!(unmet.is_empty(), "no case needs these any more: {unmet:?}");
}
