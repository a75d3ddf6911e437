//! A question × the table → the records that answer it (RFC 1034 §4.3.2).

use std::net::IpAddr;

use fastrand::Rng;

use super::counts::{Counter, Counts};
use super::desk::Desk;
use super::explain::Explanation;
use super::limit::{Kind, Limiter};
use super::notary::Notary;
use super::reply::{Owner, Reply, Section};
use super::seal::Denied;
use crate::config::RateLimit;
use crate::table::{Answers, Client, Drawn, Found, Node, Set, SetId, Signed, Table};
use crate::wire::{NAME_OCTETS_MAX, Question, Rcode, RecordType};

/// A chain of CNAMEs is followed for so many links; resolvers go on by themselves.
const LINKS_MAX: usize = 8;
/// Addresses of so many targets are added; more would only be cut off.
const TARGETS_MAX: usize = 16;

/// What ends a walk early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// A required part does not fit, and the reply says so.
    Truncated,
    /// There are no signatures left to make this second.
    Overdrawn,
    /// The client is owed no more answers of this kind, and nothing is signed for it.
    Withheld,
    /// A signature is missing, and unsigned nothing goes out.
    Unsigned,
}

pub(super) type Outcome = Result<(), Stop>;

/// Fills a reply. `limit` is what limits how many of them the client gets, if anything does.
#[inline]
pub(super) fn resolve(
    reply: &mut Reply<'_>,
    question: &Question<'_>,
    table: &Table,
    client: IpAddr,
    limit: Option<&RateLimit>,
    desk: &mut Desk,
) -> Outcome {
    let client = Client { address: client, told: reply.subnet().map(|subnet| subnet.prefix) };
    let Desk { rng, counts, notary, now, limiter } = desk;
    let mut name = [0; NAME_OCTETS_MAX];
    let Some(lowered) = name.get_mut(..question.name.len()) else { return Ok(()) };
    lowered.copy_from_slice(question.name);
    lowered.make_ascii_lowercase();
    let signed = table.signed().filter(|_| reply.wants_signatures());
    if signed.is_some() {
        notary.tell_time(*now, table.manners().conduct.signatures_per_second);
    }
    let mut walk = Walk {
        signed,
        notary,
        limit: limit.map(|rules| (&*limiter, rules, *now)),
        owner: reply.question(),
        reply,
        table,
        client,
        scope: 0,
        rng,
        counts,
        rtype: question.rtype,
        name: &mut name,
        links: 0,
        dnames: [0; LINKS_MAX],
    };
    walk.follow()
}

/// From the question along CNAMEs to the end.
pub(super) struct Walk<'w, 'a, 't> {
    pub(super) reply: &'w mut Reply<'a>,
    pub(super) table: &'t Table,
    client: Client,
    /// Of how many bits of the client's network the answer has come to depend.
    scope: u8,
    rng: &'w mut Rng,
    pub(super) counts: &'w mut Counts,
    pub(super) notary: &'w mut Notary,
    /// What limits the answers to the client, if anything does, and the time.
    limit: Option<(&'w Limiter, &'w RateLimit, u32)>,
    /// The signatures, if there are any and the client wants them.
    pub(super) signed: Option<&'t Signed>,
    pub(super) rtype: RecordType,
    /// The name that is answered now, lower-cased …
    pub(super) name: &'w mut [u8; NAME_OCTETS_MAX],
    /// … and where it stands in the reply.
    pub(super) owner: Owner,
    /// How many links of the chain are behind.
    links: usize,
    /// The nodes whose DNAME is in the reply.
    dnames: [u32; LINKS_MAX],
}

impl<'t> Walk<'_, '_, 't> {
    #[inline]
    fn follow(&mut self) -> Outcome {
        match self.locate() {
            Found::Elsewhere => {
                self.reply.set_rcode(Rcode::REFUSED);
                self.reply.explain(Explanation::NotAuthoritative);
                return Ok(());
            }
            Found::Cut(cut) => {
                self.reply.set_about(Kind::Referral, cut.number());
                return self.refer(&cut);
            }
            found => {
                self.reply.set_authoritative();
                match &found {
                    Found::Node(node) | Found::Dname(node) => self.reply.set_about(Kind::Name, node.number()),
                    Found::Missing(apex) => self.reply.set_about(Kind::Absent, apex.node.number()),
                    Found::Cut(_) | Found::Elsewhere => {}
                }
                if self.step(found)? {
                    return Ok(());
                }
            }
        }
        self.chain()
    }

    /// Goes on after the first link of a chain.
    #[inline(never)]
    fn chain(&mut self) -> Outcome {
        let mut before = [self.reply.question(); LINKS_MAX + 1];
        loop {
            let name = self.reply.name(self.owner);
            let (passed, free) = before.split_at_mut(self.links);
            if passed.iter().any(|owner| self.reply.name(*owner).eq_ignore_ascii_case(name)) {
                // It runs in a circle, which ends here.
                return Ok(());
            }
            if let Some(here) = free.first_mut() {
                *here = self.owner;
            }
            match self.locate() {
                // The rest is for others to answer.
                Found::Elsewhere => return Ok(()),
                Found::Cut(cut) => return self.refer(&cut),
                found => {
                    if self.step(found)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether there will be nobody to send a signature to: names at random, asked for in somebody
    /// else's name, shall not spend what everybody's signatures are made from.
    pub(super) fn is_withheld(&self) -> bool {
        self.limit.is_some_and(|(limiter, rules, now)| {
            limiter.withholds(rules, self.client.address, self.reply.about(), now)
        })
    }

    #[inline]
    fn locate(&self) -> Found<'t> {
        let len = self.owner.end - self.owner.at;
        let name = self.name.get(..len).unwrap_or_default();
        self.table.image().locate(name, self.rtype == RecordType::DS)
    }

    /// Answers for one name; `false` if it leads to another one.
    #[inline]
    fn step(&mut self, found: Found<'t>) -> Result<bool, Stop> {
        match found {
            Found::Node(node) => self.node(&node),
            Found::Missing(apex) => {
                self.reply.set_rcode(Rcode::NXDOMAIN);
                self.deny(&apex, u32::MAX, Denied::Name).map(|()| true)
            }
            Found::Dname(node) => self.redirect(&node),
            Found::Cut(_) | Found::Elsewhere => Ok(true),
        }
    }

    #[inline]
    fn node(&mut self, node: &Node<'t>) -> Result<bool, Stop> {
        if let Some(service) = node.service() {
            match self.table.answers(service) {
                Some(answers) if answers.gives(self.rtype) => {
                    if let Some(explanation) = Explanation::of(self.table.note(service)) {
                        self.reply.explain(explanation);
                    }
                    return self.service(node, answers);
                }
                Some(_) => {}
                None => {
                    self.reply.fail(Rcode::SERVFAIL);
                    return Ok(true);
                }
            }
        }
        match node.set(self.rtype) {
            Some(set) => self.put(node, &set),
            None => self.other(node),
        }
    }

    /// Records of a service. A type that the pick lacks is kept absent no longer than the others
    /// are kept: no negative answer outlives a flip.
    #[inline]
    fn service(&mut self, node: &Node<'t>, answers: &'t Answers) -> Result<bool, Stop> {
        self.counts.add(Counter::Dynamic);
        let is_any = self.rtype == RecordType::ANY;
        let beside = match is_any {
            true => node.sets().next(),
            false => node.set(self.rtype),
        };
        let (drawn, scope) = answers.draw(&self.client, self.rng);
        if scope > self.scope {
            self.scope = scope;
            self.reply.set_scope(scope);
        }
        match drawn {
            Drawn::Sets(variant) => {
                let asked = match is_any {
                    true => variant.sets().next(),
                    false => variant.set(self.rtype),
                };
                if let Some((id, set)) = asked {
                    return self.put_drawn(node, id, &set);
                }
                if let Some((id, cname)) = variant.set(RecordType::CNAME) {
                    return self.lead(node, &cname, Some(id));
                }
            }
            Drawn::Servfail if beside.is_none() => {
                self.reply.fail(Rcode::SERVFAIL);
                return Ok(true);
            }
            Drawn::Servfail | Drawn::Nodata => {}
        }
        match beside {
            Some(set) => self.put(node, &set),
            None => self.nodata(node, answers.ttl()),
        }
    }

    /// Puts a set of a service into the answer. Its targets are looked up now: what it was
    /// compiled from knows nothing of zones.
    #[inline]
    fn put_drawn(&mut self, node: &Node<'t>, id: SetId, set: &Set<'t>) -> Result<bool, Stop> {
        if matches!(set.rtype, RecordType::A | RecordType::AAAA) {
            self.reply.put_addresses(set, self.owner, self.rng).ok_or(Stop::Truncated)?;
            self.seal_drawn(node, id, set)?;
        } else {
            let at = self.reply.put_set(Section::Answer, set, self.owner).ok_or(Stop::Truncated)?;
            self.seal_drawn(node, id, set)?;
            let image = self.table.image();
            self.add_targets(set.target_names().filter_map(|(at, name)| Some((at, image.told(name)?))), at);
        }
        Ok(true)
    }

    /// A name that lacks the type asked for.
    fn other(&mut self, node: &Node<'t>) -> Result<bool, Stop> {
        if self.rtype == RecordType::ANY
            && let Some(set) = node.sets().next()
        {
            // One set of all there are (RFC 8482 §4.1).
            return self.put(node, &set);
        }
        if let Some(signed) = self.table.signed()
            && self.put_own(signed, node)?
        {
            return Ok(true);
        }
        if node.has_cname()
            && let Some(cname) = node.set(RecordType::CNAME)
        {
            return self.lead(node, &cname, None);
        }
        self.nodata(node, u32::MAX)
    }

    /// Puts a set into the answer, and addresses of its targets where there is room for them.
    #[inline]
    fn put(&mut self, node: &Node<'t>, set: &Set<'t>) -> Result<bool, Stop> {
        if matches!(set.rtype, RecordType::A | RecordType::AAAA) {
            self.reply.put_addresses(set, self.owner, self.rng).ok_or(Stop::Truncated)?;
            self.seal(Section::Answer, node, set, self.owner)?;
        } else {
            let at = self.reply.put_set(Section::Answer, set, self.owner).ok_or(Stop::Truncated)?;
            self.seal(Section::Answer, node, set, self.owner)?;
            let image = self.table.image();
            // What is signed says what was signed: the serial of the file.
            if set.rtype == RecordType::SOA && !self.is_sealed(node) {
                let name = self.name.get(..self.owner.end - self.owner.at);
                if let Some(zone) = name.and_then(|name| image.zone(name)) {
                    self.renumber(zone, set, at);
                }
            }
            let targets = set.targets().filter(|(_, node)| *node != 0);
            self.add_targets(targets.map(|(at, node)| (at, image.node(node))), at);
        }
        Ok(true)
    }

    /// Follows a CNAME record: the zone's, or one of the sets of a service.
    fn lead(&mut self, node: &Node<'t>, cname: &Set<'t>, drawn: Option<SetId>) -> Result<bool, Stop> {
        if self.is_long() {
            return Ok(true);
        }
        let at = self.reply.put_set(Section::Answer, cname, self.owner).ok_or(Stop::Truncated)?;
        let target = cname.first_data();
        let start = at + cname.records.len() - target.len();
        match drawn {
            Some(id) => self.seal_drawn(node, id, cname)?,
            None => self.seal(Section::Answer, node, cname, self.owner)?,
        }
        self.go_to(Owner { at: start, end: start + target.len() }, &[], target);
        Ok(false)
    }

    /// Follows a DNAME record that stands above the name (RFC 6672 §3.2).
    fn redirect(&mut self, node: &Node<'t>) -> Result<bool, Stop> {
        let Some(dname) = node.set(RecordType::DNAME).filter(|_| !self.is_long()) else { return Ok(true) };
        let above = self.owner.ancestor(node.name().len());
        // Names that grow with each turn come back to it, and no set stands in a message twice.
        if !self.dnames.contains(&node.number()) {
            self.reply.put_set(Section::Answer, &dname, above).ok_or(Stop::Truncated)?;
            self.seal(Section::Answer, node, &dname, above)?;
            if let Some(slot) = self.dnames.get_mut(self.links - 1) {
                *slot = node.number();
            }
        }
        let target = dname.first_data();
        let mut prefix = [0; NAME_OCTETS_MAX];
        let prefix_len = above.at - self.owner.at;
        if prefix_len + target.len() > NAME_OCTETS_MAX {
            self.reply.set_rcode(Rcode::YXDOMAIN);
            return Ok(true);
        }
        let Some(prefix) = prefix.get_mut(..prefix_len) else { return Ok(true) };
        prefix.copy_from_slice(self.reply.name(Owner { at: self.owner.at, end: above.at }));
        let owner = self.reply.put_cname(self.owner, dname.ttl(), prefix, target).ok_or(Stop::Truncated)?;
        // The synthesised CNAME may be what was asked for.
        if matches!(self.rtype, RecordType::CNAME | RecordType::ANY) {
            return Ok(true);
        }
        prefix.make_ascii_lowercase();
        self.go_to(owner, prefix, target);
        Ok(false)
    }

    /// Goes on with the name that stands at `owner`; its parts are given lower-cased.
    fn go_to(&mut self, owner: Owner, prefix: &[u8], rest: &[u8]) {
        if let Some((front, back)) = self.name.split_at_mut_checked(prefix.len())
            && let Some(back) = back.get_mut(..rest.len())
        {
            front.copy_from_slice(prefix);
            back.copy_from_slice(rest);
            self.owner = owner;
        }
    }

    /// Whether the chain has all the links that we follow; the resolver goes on from there.
    fn is_long(&mut self) -> bool {
        self.links += 1;
        self.links > LINKS_MAX
    }

    fn nodata(&mut self, node: &Node<'t>, ttl_max: u32) -> Result<bool, Stop> {
        self.counts.add(Counter::Nodata);
        match self.table.image().apex(node) {
            Some(apex) => self.deny(&apex, ttl_max, Denied::Type(*node)).map(|()| true),
            None => Ok(true),
        }
    }

    /// A zone that counts its own versions tells its own serial, which the image does not have.
    #[inline]
    pub(super) fn renumber(&mut self, zone: u16, soa: &Set<'t>, at: usize) {
        if let Some(serial) = self.table.zones().moved_serial(zone) {
            // The serial is the first of five numbers that end the record.
            self.reply.patch(at + soa.records.len().saturating_sub(20), &serial.0.to_be_bytes());
        }
    }

    /// Leads to the servers of a zone that is delegated. All addresses of servers that lie in
    /// that zone are there, or the reply says that some are missing (RFC 9471 §3.1); others are
    /// added as room allows (§3.2).
    #[inline(never)]
    fn refer(&mut self, cut: &Node<'t>) -> Outcome {
        self.counts.add(Counter::Referral);
        let Some(ns) = cut.set(RecordType::NS) else { return Ok(()) };
        let owner = self.owner.ancestor(cut.name().len());
        let at = self.reply.put_set(Section::Authority, &ns, owner).ok_or(Stop::Truncated)?;
        self.seal_cut(cut, owner)?;
        let image = self.table.image();
        let servers = || ns.targets().filter(|(_, node)| *node != 0).map(|(at, node)| (at, image.node(node)));
        for (target, node) in servers().filter(|(_, node)| node.is_within(cut)) {
            self.add_addresses(&node, at + target).ok_or(Stop::Truncated)?;
        }
        for (target, node) in servers().filter(|(_, node)| !node.is_within(cut)) {
            if self.add_addresses(&node, at + target).is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Adds addresses of the names that a set of NS, MX and such leads to, as far as they fit.
    /// `at` is where the set stands; each target says where in the set it does.
    fn add_targets(&mut self, targets: impl Iterator<Item = (usize, Node<'t>)>, at: usize) {
        let mut added = [0; TARGETS_MAX];
        for (nth, (target, node)) in targets.take(TARGETS_MAX).enumerate() {
            if added.contains(&node.number()) {
                continue;
            }
            if let Some(slot) = added.get_mut(nth) {
                *slot = node.number();
            }
            if self.add_addresses(&node, at + target).is_none() {
                return;
            }
        }
    }

    /// Adds the addresses of a name that stands at `at`; `None` if one of the families does
    /// not fit.
    fn add_addresses(&mut self, node: &Node<'t>, at: usize) -> Option<()> {
        for rtype in [RecordType::A, RecordType::AAAA] {
            let Some(set) = node.set(rtype) else { continue };
            let before = self.reply.mark();
            self.reply.put_glue(&set, at, node.name())?;
            if self.seal_beside(node, rtype, at).is_none() {
                self.reply.go_back(before);
                return None;
            }
        }
        Some(())
    }
}
