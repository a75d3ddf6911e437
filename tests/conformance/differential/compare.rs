//! Whether two replies to one question mean the same, and where they may differ.

use std::collections::BTreeSet;

use pointsman::wire::{Message, Name, Rcode, RecordType, is_at_or_under};

use super::peers::Kind;
use crate::reply::{ADDITIONAL, ANSWER, AUTHORITY, Reply};

/// As many links of a chain as the engine follows.
const LINKS_MAX: usize = 8;

/// What another server does differently, and what decides that it may, or that it is wrong.
/// EDNS options are not compared here: each server has its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Difference {
    /// The zone's NS records, with their addresses, stand beside an answer: allowed, not asked for
    /// (RFC 1034 §3.7, §4.3.2 step 6).
    ServersBesideAnswer,
    /// In a referral, addresses of servers that lie outside the delegated zone are left out: RFC
    /// 9471 §3.2 leaves the choice. Those inside (§3.1) must be there.
    SiblingGlue,
    /// Addresses of targets that a resolver can ask for as well: those of SVCB and HTTPS records (RFC
    /// 9460 §4.1: SHOULD; some add CNAME, SVCB and HTTPS records too) and of AFSDB records (RFC 1183
    /// §1), those that a wildcard gives, and those at a cut or below it, which are not ours to tell
    /// but as glue. RFC 1034 §4.3.2 step 6 asks for what "may be useful".
    OptionalTargets,
    /// No additional section in a datagram of 512 octets, even where it would fit.
    SmallDatagram,
    /// ANY is answered with all there is, or with another set than ours. RFC 8482 §4.1: one is
    /// enough, any of them.
    AnySet,
    /// ANY follows the CNAME that a DNAME made. RFC 1034 §4.3.2 step 3a: only "if QTYPE doesn't
    /// match CNAME", and ANY matches.
    AnyFollows,
    /// One of the two replies does not fit its datagram: how well a server compresses is its own
    /// affair, and what a truncated reply says is not to be used (RFC 2181 §9).
    Truncated,
    /// A chain that is a circle, or too long, ends after other many links, or in SERVFAIL. No RFC
    /// names a number; the resolver sees the circle by itself (RFC 1034 §3.6.2).
    LongChain,
    /// Asked for RRSIG, NSEC or NSEC3, a CNAME is not followed, since these may stand beside it (RFC
    /// 4035 §2.5). RFC 1034 §4.3.2 step 3a makes no such exception.
    ProofAtCname,
}

/// Who differs in what. What nobody shows any more fails the test.
pub const KNOWN: &[(Difference, &[Kind])] = {
    use Kind::{Bind, Knot, Nsd};
    &[
        (Difference::ServersBesideAnswer, &[Nsd, Bind]),
        (Difference::SiblingGlue, &[Bind]),
        (Difference::OptionalTargets, &[Knot, Nsd, Bind]),
        (Difference::SmallDatagram, &[Bind]),
        (Difference::AnySet, &[Knot, Nsd, Bind]),
        (Difference::AnyFollows, &[Knot, Nsd, Bind]),
        (Difference::Truncated, &[Knot, Nsd, Bind]),
        (Difference::LongChain, &[Knot, Nsd, Bind]),
        (Difference::ProofAtCname, &[Knot, Nsd, Bind]),
    ]
};

/// A question, and what is needed to judge answers to it.
pub struct Case<'a> {
    pub apex: &'a Name,
    pub rtype: RecordType,
    /// What we answer to the same question over TCP, if it came over UDP.
    pub whole: &'a Reply,
    /// How long a reply may be.
    pub limit: usize,
    /// The names that own records, and those of them that are delegated.
    pub owners: &'a BTreeSet<Name>,
    pub cuts: &'a BTreeSet<Name>,
}

/// Compares what a peer says with what we say; the differences that were met on the way.
///
/// # Errors
/// What remains different, in words.
pub fn compare(
    kind: Kind,
    case: &Case<'_>,
    ours: &Message,
    theirs: &Message,
) -> Result<BTreeSet<Difference>, String> {
    let mut met = BTreeSet::new();
    if ours.questions != theirs.questions || ours.id != theirs.id {
        return Err("the question is not given back as it was".into());
    }
    let edns = |message: &Message| message.opt.as_ref().map(|opt| (opt.version, opt.rcode_high, opt.flags));
    if edns(ours) != edns(theirs) {
        return Err(format!("EDNS: {:?}, {kind:?} {:?}", edns(ours), edns(theirs)));
    }
    let (mut ours, mut theirs) = (Reply::from(ours.clone()), Reply::from(theirs.clone()));
    if ours.flags.contains("tc") || theirs.flags.contains("tc") {
        // That ours is truncated for a reason is checked where we are asked.
        let aa = |reply: &Reply| reply.flags.contains("aa");
        met.insert(Difference::Truncated);
        return if aa(&ours) == aa(&theirs) { Ok(met) } else { Err("truncated, but AA differs".into()) };
    }
    if case.rtype == RecordType::ANY && !ours.sections[ANSWER].is_empty() {
        return any(&ours, &theirs).map(|difference| difference.into_iter().collect());
    }
    if is_at_cname(kind, case.rtype, &ours, &theirs) {
        met.insert(Difference::ProofAtCname);
        return Ok(met);
    }
    if is_long_chain(case.whole) && ours != theirs {
        let (one, other) = (&ours.sections[ANSWER], &theirs.sections[ANSWER]);
        let parts = one.is_subset(other) || other.is_subset(one);
        // With a few more turns a name that grows becomes too long, for one server and not the other.
        let gives_up = |rcode| matches!(rcode, Rcode::SERVFAIL | Rcode::YXDOMAIN);
        let code = gives_up(theirs.rcode) || ours.rcode == Rcode::YXDOMAIN || theirs.rcode == ours.rcode;
        met.insert(Difference::LongChain);
        return if parts && code { Ok(met) } else { Err("another chain".into()) };
    }
    additional(kind, case, &mut ours, &mut theirs, &mut met);
    if ours == theirs { Ok(met) } else { Err("different".into()) }
}

/// Whether a peer stops at a CNAME that we follow, asked for what may stand beside it.
fn is_at_cname(kind: Kind, rtype: RecordType, ours: &Reply, theirs: &Reply) -> bool {
    let stops = match kind {
        Kind::Bind | Kind::Knot => matches!(rtype, RecordType::NSEC | RecordType::RRSIG),
        Kind::Nsd => rtype == RecordType::NSEC3,
    };
    let (ours_answer, theirs_answer) = (&ours.sections[ANSWER], &theirs.sections[ANSWER]);
    let is_nodata = theirs.rcode == Rcode::NOERROR && types(theirs, AUTHORITY).contains("SOA");
    stops && is_nodata && theirs_answer.is_subset(ours_answer) && theirs_answer != ours_answer
}

fn any(ours: &Reply, theirs: &Reply) -> Result<Option<Difference>, String> {
    if ours == theirs {
        return Ok(None);
    }
    let (one, other) = (types(ours, ANSWER), types(theirs, ANSWER));
    if one.contains("DNAME")
        && one.contains("CNAME")
        && ours.sections[ANSWER].is_subset(&theirs.sections[ANSWER])
    {
        return Ok(Some(Difference::AnyFollows));
    }
    if ours.rcode != theirs.rcode || ours.flags != theirs.flags {
        return Err("code or flags of ANY".into());
    }
    let is_whole = |rtype: &String| only(ours, rtype) == only(theirs, rtype);
    match one.iter().next() {
        Some(rtype)
            if one.len() == 1 && (other.contains(rtype) && is_whole(rtype) || !other.contains(rtype)) =>
        {
            Ok(Some(Difference::AnySet))
        }
        _ => Err("another answer to ANY".into()),
    }
}

fn only<'r>(reply: &'r Reply, rtype: &str) -> BTreeSet<&'r String> {
    reply.sections[ANSWER].iter().filter(|line| type_of(line) == rtype).collect()
}

/// Whether our chain is a circle, grows until no name can be longer, or has as many links as we
/// follow.
fn is_long_chain(whole: &Reply) -> bool {
    let of_type = |rtype| whole.sections[ANSWER].iter().filter(move |line| type_of(line) == rtype);
    let owners: BTreeSet<_> = of_type("CNAME").map(|line| owner_of(line)).collect();
    // A circle has no way out: every target is an owner.
    let is_circle = !owners.is_empty() && of_type("CNAME").all(|line| owners.contains(data_of(line)));
    let grows = of_type("DNAME").any(|line| is_below(data_of(line), owner_of(line)));
    owners.len() >= LINKS_MAX || is_circle || (grows && whole.rcode == Rcode::YXDOMAIN)
}

/// Takes away what may be there or not: the zone's own servers, and addresses that a resolver can
/// ask for.
fn additional(
    kind: Kind,
    case: &Case<'_>,
    ours: &mut Reply,
    theirs: &mut Reply,
    met: &mut BTreeSet<Difference>,
) {
    let mut servers = BTreeSet::new();
    if theirs.flags.contains("aa") && !theirs.sections[ANSWER].is_empty() {
        let apex = case.apex.to_string();
        theirs.sections[AUTHORITY].retain(|line| {
            let is_server = owner_of(line) == apex && type_of(line) == "NS";
            if is_server {
                servers.insert(data_of(line).to_owned());
            }
            !is_server
        });
        if !servers.is_empty() {
            met.insert(Difference::ServersBesideAnswer);
        }
    }
    let cut = ours.sections[AUTHORITY].iter().find(|line| type_of(line) == "NS").map(|line| owner_of(line));
    let has = |rtypes: &[&str]| ours.sections[ANSWER].iter().any(|line| rtypes.contains(&type_of(line)));
    let is_service = has(&["SVCB", "HTTPS"]);
    let is_at_cut = |owner: &Name| case.cuts.iter().any(|cut| is_at_or_under(owner.as_wire(), cut.as_wire()));
    let is_optional = |line: &str| {
        let owner = Name::parse(owner_of(line)).expect("it was a name");
        let is_wild = !case.owners.contains(&owner) || owner.as_wire().starts_with(b"\x01*");
        is_service || is_wild || (cut.is_none() && is_at_cut(&owner)) || has(&["AFSDB"])
    };
    let [one, other] = [&ours.sections[ADDITIONAL], &theirs.sections[ADDITIONAL]];
    let missing = one.difference(other).map(|line| {
        let excuse = match (kind, cut) {
            (Kind::Bind, _) if case.limit <= 512 && other.is_empty() => Some(Difference::SmallDatagram),
            (Kind::Bind, Some(cut)) if !is_below(owner_of(line), cut) => Some(Difference::SiblingGlue),
            (_, None) if is_service => Some(Difference::OptionalTargets),
            _ => None,
        };
        (line.clone(), excuse)
    });
    let extra = other.difference(one).map(|line| {
        let excuse = match () {
            () if servers.contains(owner_of(line)) => Some(Difference::ServersBesideAnswer),
            () if is_optional(line) => Some(Difference::OptionalTargets),
            () => None,
        };
        (line.clone(), excuse)
    });
    let excused: Vec<_> =
        missing.chain(extra).filter_map(|(line, excuse)| excuse.map(|excuse| (line, excuse))).collect();
    for (line, excuse) in excused {
        met.insert(excuse);
        ours.sections[ADDITIONAL].remove(&line);
        theirs.sections[ADDITIONAL].remove(&line);
    }
}

fn is_below(name: &str, above: &str) -> bool {
    let wire = |text: &str| Name::parse(text).expect("it was a name").as_wire().to_vec();
    is_at_or_under(&wire(name), &wire(above))
}

fn types(reply: &Reply, section: usize) -> BTreeSet<String> {
    reply.sections[section].iter().map(|line| type_of(line).to_owned()).collect()
}

/// A record is one line, its parts between tabs: owner, TTL, class, type, data.
fn owner_of(line: &str) -> &str {
    line.split('\t').next().unwrap_or_default()
}

fn type_of(line: &str) -> &str {
    line.split('\t').nth(3).unwrap_or_default()
}

fn data_of(line: &str) -> &str {
    line.rsplit('\t').next().unwrap_or_default()
}
