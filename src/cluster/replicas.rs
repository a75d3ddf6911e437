//! Judging a system without a leader, whose every token range has replicas of its own: Cassandra.
//!
//! There is no quorum of the whole. Whether a read or write finds the replicas that its consistency
//! level takes depends on the range and on who asks, so that each region is judged by itself, from
//! the best of its own members that answers:
//! 1. The ring and the replication are those that a majority of the configured members tells alike
//!    (or the configuration, for the replication). What a majority once told stays true while fewer
//!    answer.
//! 2. A replica counts that answers for itself, and that hears the member that would ask it, and is
//!    heard by it: heartbeats that one node has of another can be old, and never too new, because
//!    only the node itself makes them. What a node thinks of its peers (up, down) is not asked.
//! 3. A replica that is silent to us while others still hear it is in doubt, and so are those of
//!    which nobody tells. In doubt the read at the level decides: one that passes proves the
//!    ranges that are in doubt, one that goes on failing at every member of the region disproves
//!    them. Otherwise it is unknown.
//! 4. More ranges lost than is tolerated: electing, and lost after the time to truth. Fewer, or some
//!    that one more loss would end: degraded.
//! 5. A read that goes on failing at every member of a region disproves the best ring. One that
//!    passes excuses none of the ranges that are lost, for it went through one of them only; but if
//!    all of them are said to be lost, then what was said is wrong.
//! 6. A login that fails for want of replicas is no denial: the member is there, and tells nothing.
//! 7. Regions that do not hear each other, each with its level, go on apart: nobody is lost, and
//!    what they write diverges. The group says so (`sides`), its regions stand.
//! 8. A region that was lost is back once nobody keeps hints for its members any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::absent::{Absent, first_complaint, out_of_sight};
use super::kin::of_one_cluster;
use super::memory::CatchUp;
use super::raft::nobody_answers;
use super::ring::Ranges;
use super::shards::{Found, found};
use super::{
    Evidence, Facts, HostId, Judgement, LinearizableResult, Memory, NodeView, ReplicaFacts, Replication,
    Ring, Round, Shards, Standing,
};
use crate::base::{Mono, RegionId, show_span};
use crate::config::{CassandraOptions, Cluster, Group, Level, Member};

/// A node beats once a second. One whose newest beat has not changed for so long is not heard.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// Where Cassandra keeps the roles.
const ROLES: &str = "system_auth";
/// Names of ranges that are kept for the words of a judgement.
const NAMES_MAX: usize = 3;

/// What is remembered between rounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Learned {
    /// The ring that a majority has told alike.
    ring: Option<Ring>,
    /// How the keyspaces that matter are replicated, and the ranges that follow from it.
    keyspaces: BTreeMap<String, (Replication, Vec<Ranges>)>,
    /// Which host of the ring each member is, and in which datacenter, by its own word.
    hosts: BTreeMap<usize, (HostId, String)>,
    /// Where each host is, as the others say.
    places: BTreeMap<HostId, String>,
    /// The newest beat that a member has of a host, and when it last changed.
    beats: BTreeMap<(usize, HostId), ((i64, i64), Mono)>,
    /// When a read last passed through a member.
    passed: BTreeMap<usize, Mono>,
    /// Since when a member cannot find out who we are.
    locked_out: BTreeMap<usize, Mono>,
    /// Why the last read failed.
    complaint: String,
}

pub(super) fn judge(
    options: &CassandraOptions,
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    now: Mono,
) -> Judgement {
    let answered = answered(round);
    learn(options, group, round, &answered, memory, now);
    let learned = std::mem::take(&mut memory.learned);
    let sight = Sight { options, cluster, group, round, answered: &answered, learned: &learned, now };

    let mut regions = BTreeMap::new();
    let mut worst: Option<Tally> = None;
    for (region, local) in group.by_region() {
        let (standing, words, tally) = region_stands(&sight, memory, region, &local);
        if let Some(tally) = tally
            && worst.as_ref().is_none_or(|worst| worst.badness() < tally.badness())
        {
            worst = Some(tally);
        }
        regions.insert(region, (standing, words));
    }

    let sides = sight.sides();
    let mut evidence = Evidence {
        voters: group.members.len(),
        reached: answered.len(),
        agreeing: sides.iter().map(BTreeSet::len).max().unwrap_or(0),
        sides: (!sides.is_empty()).then_some(sides.len() as u64),
        ..Evidence::default()
    };
    if let Some(tally) = worst {
        evidence.margin = tally.margin;
        evidence.parts_total = Some(tally.shards.total);
        evidence.parts_lost = Some(tally.shards.lost);
        evidence.parts_critical = Some(tally.shards.critical);
    }
    let (verdict, reason) = match answered.is_empty() && regions.values().all(|(it, _)| !it.is_measured()) {
        true => nobody_answers(&Absent::count(&round.views), first_complaint(&round.views)),
        false => whole(&sight, &regions, &sides),
    };
    memory.learned = learned;
    let regions = if group.inside.is_none() { regions } else { BTreeMap::new() };
    Judgement { verdict, reason, evidence, regions }
}

/// The group stands as the best of its regions does, and is degraded if another does not stand.
fn whole(
    sight: &Sight<'_>,
    regions: &BTreeMap<RegionId, (Standing, String)>,
    sides: &[BTreeSet<usize>],
) -> (Standing, String) {
    let stands = |standing: Standing| standing <= Standing::Degraded;
    let best = regions.values().filter(|(standing, _)| standing.is_measured()).min();
    let worst = regions.values().max();
    match (best, worst) {
        (Some(best), Some(worst)) if stands(best.0) => {
            let worst = match stands(worst.0) {
                true => worst.1.clone(),
                false => format!("not in every region: {}", worst.1),
            };
            // One of the first and one of the second side, to have a name for each.
            match sides.get(1).and_then(|other| Some((sides[0].first()?, other.first()?))) {
                Some((one, other)) => {
                    let (one, other) = (&sight.member(*one).endpoint, &sight.member(*other).endpoint);
                    let words = "do not hear each other: what one side writes the other misses";
                    (Standing::Degraded, format!("{one} and {other} {words}; {worst}"))
                }
                None if regions.values().all(|(standing, _)| *standing == Standing::Quorum) => {
                    (Standing::Quorum, worst)
                }
                None => (Standing::Degraded, worst),
            }
        }
        // Where it was seen it fails. Of regions that could not be seen nothing is said.
        (Some(best), _) => best.clone(),
        (None, Some(worst)) => worst.clone(),
        _ => (Standing::Unknown, "no members".to_owned()),
    }
}

/// Members of the cluster that most answers come from.
fn answered(round: &Round) -> BTreeMap<usize, &ReplicaFacts> {
    let mut answers: Vec<(usize, &ReplicaFacts)> = Vec::new();
    for (position, view) in round.views.iter().enumerate() {
        if let NodeView::Answered(Facts::Replica(facts)) = view {
            answers.push((position, &**facts));
        }
    }
    of_one_cluster(&mut answers, |(_, facts)| &facts.cluster);
    answers.into_iter().collect()
}

/// Takes in what this round brought.
fn learn(
    options: &CassandraOptions,
    group: &Group,
    round: &Round,
    answered: &BTreeMap<usize, &ReplicaFacts>,
    memory: &mut Memory,
    now: Mono,
) {
    let learned = &mut memory.learned;
    for (member, facts) in answered {
        if let Some(host) = facts.host {
            learned.hosts.insert(*member, (host, facts.datacenter.clone()));
        }
        for (host, beat) in facts.beats.iter().flatten() {
            match learned.beats.get_mut(&(*member, *host)) {
                Some(known) if known.0 == *beat => {}
                Some(known) => *known = (*beat, now),
                None => drop(learned.beats.insert((*member, *host), (*beat, now))),
            }
        }
        if let Some(beats) = &facts.beats {
            learned.beats.retain(|(of, host), _| of != member || beats.contains_key(host));
        }
        match facts.locked_out {
            Some(_) => drop(learned.locked_out.entry(*member).or_insert(now)),
            None => drop(learned.locked_out.remove(member)),
        }
    }
    learned.locked_out.retain(|member, _| answered.contains_key(member));

    let mut told: BTreeMap<&Ring, (usize, usize)> = BTreeMap::new();
    for (member, ring) in answered.iter().filter_map(|(member, facts)| Some((*member, facts.ring.as_ref()?)))
    {
        told.entry(ring).or_insert((0, member)).0 += 1;
    }
    if let Some((ring, (n, teller))) = told.into_iter().max_by_key(|(_, (n, _))| *n)
        && n >= group.majority()
    {
        if learned.ring.as_ref() != Some(ring) {
            learned.ring = Some(ring.clone());
            learned.keyspaces.clear();
        }
        learned.places.clone_from(&answered[&teller].places);
    }
    if let Some(ring) = &learned.ring {
        let replication = |name: &String, given: Option<&BTreeMap<String, u32>>| match given {
            Some(given) => Some(Replication::ByDatacenter(given.clone())),
            None => ring.keyspaces.get(name).cloned(),
        };
        learned.keyspaces.retain(|name, _| options.keyspaces.contains_key(name));
        for (name, keyspace) in &options.keyspaces {
            let Some(replication) = replication(name, keyspace.replication.as_ref()) else { continue };
            if learned.keyspaces.get(name).is_none_or(|(known, _)| *known != replication) {
                let ranges = ring.ranges(&replication);
                learned.keyspaces.insert(name.clone(), (replication, ranges));
            }
        }
    }

    memory.stuck.retain(|member, _| answered.contains_key(member));
    let Some(read) = &round.linearizable else { return };
    let failed = match &read.result {
        LinearizableResult::Passed => {
            memory.stuck.remove(&read.member);
            learned.passed.insert(read.member, read.at);
            return;
        }
        LinearizableResult::NoQuorum(why) => why.clone(),
        LinearizableResult::Hung => {
            format!("a read through {} hangs", group.members[read.member].endpoint)
        }
        LinearizableResult::Unmeasured(_) => return,
    };
    // At a member that does not answer local questions it says nothing.
    if answered.contains_key(&read.member) {
        memory.stuck.entry(read.member).or_insert(read.at);
        learned.passed.remove(&read.member);
        learned.complaint = failed;
    }
}

/// How a replica is seen by a member that would ask it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    Up,
    Doubt,
    Down,
}

/// All that a judgement rests on.
struct Sight<'a> {
    options: &'a CassandraOptions,
    cluster: &'a Cluster,
    group: &'a Group,
    round: &'a Round,
    answered: &'a BTreeMap<usize, &'a ReplicaFacts>,
    learned: &'a Learned,
    now: Mono,
}

/// What the token ranges come to, as seen by one member.
#[derive(Clone, Debug)]
struct Tally {
    shards: Shards,
    /// Lost, if what is in doubt is.
    feared: Shards,
    /// Of the range that fares worst.
    margin: i64,
}

impl Tally {
    fn badness(&self) -> (u64, u64, u64) {
        (self.shards.lost, self.feared.lost, self.shards.critical)
    }
}

impl Sight<'_> {
    fn member(&self, position: usize) -> &Member {
        &self.group.members[position]
    }

    fn host(&self, member: usize) -> Option<HostId> {
        self.learned.hosts.get(&member).map(|(host, _)| *host)
    }

    /// Whether a member has heard of a host lately. `None`: it does not tell.
    fn hears(&self, member: usize, host: HostId) -> Option<bool> {
        self.answered.get(&member)?.beats.as_ref()?;
        let schedule = &self.cluster.schedule;
        let within = HEARD_WITHIN.max(schedule.interval * 2 + schedule.timeout);
        let beat = self.learned.beats.get(&(member, host));
        Some(beat.is_some_and(|(_, changed)| self.now.since(*changed) <= within))
    }

    fn anybody_hears(&self, host: HostId) -> bool {
        self.answered.keys().any(|member| self.hears(*member, host) == Some(true))
    }

    /// How one member that answers sees another.
    fn between(&self, one: usize, other: usize) -> Seen {
        if one == other {
            return Seen::Up;
        }
        let hears = |one: usize, other: usize| self.hears(one, self.host(other)?);
        match (hears(one, other), hears(other, one)) {
            (Some(false), _) | (_, Some(false)) => Seen::Down,
            (None, None) if [one, other].iter().any(|it| self.answered[it].locked_out.is_some()) => {
                Seen::Doubt
            }
            // Where nobody tells of heartbeats (before 4.1) only the read finds a partition.
            _ => Seen::Up,
        }
    }

    /// Members that answer, sorted by who hears whom.
    fn sides(&self) -> Vec<BTreeSet<usize>> {
        let mut sides: Vec<BTreeSet<usize>> = Vec::new();
        for member in self.answered.keys() {
            let touches =
                |side: &BTreeSet<usize>| side.iter().any(|other| self.between(*member, *other) != Seen::Down);
            let (joined, apart): (Vec<_>, Vec<_>) = sides.into_iter().partition(touches);
            sides = apart;
            sides.push(joined.into_iter().flatten().chain([*member]).collect());
        }
        sides.sort_unstable();
        sides
    }

    /// The member that a host of the ring is: by its own word, or by where others say it is.
    fn member_of(&self, host: HostId) -> Option<usize> {
        let said = self.learned.hosts.iter().find(|(_, (known, _))| *known == host);
        said.map(|(member, _)| *member).or_else(|| {
            let place = self.learned.places.get(&host)?;
            let unknown = |member: &usize| !self.learned.hosts.contains_key(member);
            (0..self.group.members.len())
                .filter(unknown)
                .find(|member| host_part(&self.member(*member).endpoint.to_string()) == place)
        })
    }

    /// How every host of the ring is seen by this member; or from nowhere, where none of a region's
    /// members answers.
    fn seen(&self, from: Option<usize>, ring: &Ring) -> BTreeMap<HostId, Seen> {
        let of: BTreeMap<HostId, Option<usize>> =
            ring.hosts.keys().map(|host| (*host, self.member_of(*host))).collect();
        // Hosts that may be any of the members that we have never heard from.
        let nameless: Vec<usize> = (0..self.group.members.len())
            .filter(|member| !of.values().any(|of| *of == Some(*member)))
            .collect();
        let unlisted = of.values().filter(|of| of.is_none()).count() > nameless.len();
        let mut seen = BTreeMap::new();
        for (host, member) in of {
            let hears = from.and_then(|from| self.hears(from, host));
            let state = match member {
                Some(member) if self.answered.contains_key(&member) => {
                    from.map_or(Seen::Up, |from| self.between(from, member))
                }
                _ if hears == Some(false) => Seen::Down,
                // It lives by its own beats, and is none of those that we were told to ask.
                None if unlisted && (hears == Some(true) || self.anybody_hears(host)) => Seen::Up,
                None if unlisted => Seen::Doubt,
                Some(member) => self.absent(&[member], host),
                None => self.absent(&nameless, host),
            };
            seen.insert(host, state);
        }
        seen
    }

    /// A host that brings no facts.
    fn absent(&self, members: &[usize], host: HostId) -> Seen {
        let all = |so: fn(&NodeView) -> bool| members.iter().all(|member| so(&self.round.views[*member]));
        if all(|view| matches!(view, NodeView::Denied(_))) {
            // It is there to deny us.
            Seen::Up
        } else if all(|view| matches!(view, NodeView::Refused(_))) && !self.anybody_hears(host) {
            Seen::Down
        } else {
            Seen::Doubt
        }
    }

    /// Counts the ranges of all keyspaces. `None`: the ring is not known.
    fn tally(&self, from: Option<usize>, local: &[usize]) -> Option<Tally> {
        let ring = self.learned.ring.as_ref()?;
        let seen = self.seen(from, ring);
        let own = local.iter().copied().filter(|member| from.is_none_or(|from| from == *member));
        let own = own.filter_map(|member| self.learned.hosts.get(&member)).map(|(_, own)| own).next();
        let mut tally = Tally { shards: Shards::default(), feared: Shards::default(), margin: i64::MAX };
        let mut critical = Vec::new();
        for (name, keyspace) in &self.options.keyspaces {
            let (replication, ranges) = self.learned.keyspaces.get(name)?;
            let datacenter = keyspace.datacenter.as_ref().or(own);
            for range in ranges {
                let sets = needed(keyspace.level, replication, ring, range, datacenter.map(String::as_str));
                let (mut up_margin, mut doubt_margin) = (i64::MAX, i64::MAX);
                for (required, hosts) in sets {
                    let count = |state: Seen| hosts.iter().filter(|host| seen[*host] == state).count() as i64;
                    let up = count(Seen::Up) - i64::from(required);
                    up_margin = up_margin.min(up);
                    doubt_margin = doubt_margin.min(up + count(Seen::Doubt));
                }
                let part = || format!("{name} up to {}", range.first);
                tally.shards.total += range.count;
                tally.margin = tally.margin.min(up_margin);
                if doubt_margin < 0 {
                    tally.shards.lost += range.count;
                    tally.shards.names.push(part());
                }
                if up_margin < 0 {
                    tally.feared.lost += range.count;
                    tally.feared.names.push(part());
                }
                if up_margin == 0 {
                    tally.shards.critical += range.count;
                    critical.push(part());
                }
            }
        }
        tally.feared.total = tally.shards.total;
        if tally.shards.lost == 0 {
            tally.shards.names = critical;
        }
        for names in [&mut tally.shards.names, &mut tally.feared.names] {
            names.truncate(NAMES_MAX);
        }
        (tally.shards.total > 0).then_some(tally)
    }

    /// "LOCAL_QUORUM", or the levels of several keyspaces.
    fn levels(&self) -> String {
        let levels: BTreeSet<&str> =
            self.options.keyspaces.values().map(|keyspace| keyspace.level.word()).collect();
        levels.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// A read has passed through one of these not long ago: a turn of all members takes this long.
    fn proven(&self, local: &[usize], after: Option<Mono>) -> Option<usize> {
        let turn = self.cluster.schedule.interval * (self.group.members.len() as u32 + 1);
        let within = turn.max(self.cluster.time_to_truth);
        local.iter().copied().find(|member| {
            let passed = self.learned.passed.get(member);
            passed.is_some_and(|at| self.now.since(*at) <= within && after.is_none_or(|after| *at > after))
        })
    }

    /// A read fails through each of these that answers, and has for longer than the time to truth.
    fn disproved(&self, local: &[usize], memory: &Memory) -> bool {
        let since = |member: &usize| memory.stuck.get(member).copied();
        self.lasting(local, since)
    }

    /// Each of these cannot find out who we are, though the roles are kept as safely as may be: it
    /// takes two or more replicas to be gone.
    fn all_locked_out(&self, local: &[usize]) -> bool {
        let roles = self.learned.ring.as_ref().and_then(|ring| ring.keyspaces.get(ROLES));
        let safe = match roles {
            Some(Replication::Simple(n)) => *n >= 3,
            Some(Replication::ByDatacenter(each)) => {
                each.values().all(|n| *n >= 3 || *n == 0) && each.values().any(|n| *n > 0)
            }
            _ => false,
        };
        safe && self.lasting(local, |member| self.learned.locked_out.get(member).copied())
    }

    fn lasting(&self, local: &[usize], since: impl Fn(&usize) -> Option<Mono>) -> bool {
        let answering = local.iter().filter(|member| self.answered.contains_key(member));
        let since: Option<Vec<Mono>> = answering.map(since).collect();
        let first = since.and_then(|since| since.into_iter().min());
        first.is_some_and(|first| self.now.since(first) > self.cluster.time_to_truth)
    }

    /// Files of hints that others keep for members of a region that answer again.
    fn hints(&self, local: &[usize]) -> u64 {
        let back = local.iter().filter(|member| self.answered.contains_key(member));
        let back: BTreeSet<HostId> = back.filter_map(|member| self.host(*member)).collect();
        let hints = self.answered.values().flat_map(|facts| &facts.hints);
        hints.filter(|(host, _)| back.contains(host)).map(|(_, files)| files).sum()
    }
}

/// The address in `address:port`.
fn host_part(place: &str) -> &str {
    place.rsplit_once(':').map_or(place, |(host, _)| host).trim_matches(['[', ']'])
}

/// How many of which replicas it takes (`ConsistencyLevel.blockFor` and `InOurDc` of Cassandra).
fn needed(
    level: Level,
    replication: &Replication,
    ring: &Ring,
    range: &Ranges,
    datacenter: Option<&str>,
) -> Vec<(u32, Vec<HostId>)> {
    let majority = |n: u32| n / 2 + 1;
    let within = |name: &str| -> Vec<HostId> {
        let inside = |host: &&HostId| ring.hosts.get(host).is_some_and(|host| host.datacenter == name);
        range.hosts.iter().filter(inside).copied().collect()
    };
    let all = || range.hosts.iter().copied().collect::<Vec<_>>();
    let local = || within(datacenter.unwrap_or_default());
    let local_majority = || match replication {
        Replication::ByDatacenter(each) => {
            majority(each.get(datacenter.unwrap_or_default()).copied().unwrap_or(0))
        }
        other => majority(other.total()),
    };
    match (level, replication) {
        (Level::One, _) => vec![(1, all())],
        (Level::Two, _) => vec![(2, all())],
        (Level::Three, _) => vec![(3, all())],
        (Level::All, _) => vec![(replication.total(), all())],
        (Level::LocalOne, _) => vec![(1, local())],
        (Level::LocalQuorum | Level::LocalSerial, _) => vec![(local_majority(), local())],
        (Level::EachQuorum, Replication::ByDatacenter(each)) => each
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(datacenter, n)| (majority(*n), within(datacenter)))
            .collect(),
        (Level::Quorum | Level::Serial | Level::EachQuorum, _) => {
            vec![(majority(replication.total()), all())]
        }
    }
}

/// How one region stands: as seen by the member of its own that sees the most.
fn region_stands(
    sight: &Sight<'_>,
    memory: &mut Memory,
    region: RegionId,
    local: &[usize],
) -> (Standing, String, Option<Tally>) {
    let truth = sight.cluster.time_to_truth;
    let coordinators: Vec<usize> =
        local.iter().copied().filter(|member| sight.answered.contains_key(member)).collect();
    let tally = match coordinators.is_empty() {
        // Nobody there to ask. Others may hear them, and what is not kept there may go on.
        true => sight.tally(None, local),
        false => coordinators
            .iter()
            .filter_map(|member| sight.tally(Some(*member), local))
            .min_by_key(Tally::badness),
    };
    let absent = Absent::count(local.iter().map(|member| &sight.round.views[*member])).words();
    let absent = if absent.is_empty() { absent } else { format!("; {absent}") };
    let (noun, lost_max) = ("token ranges", sight.options.parts_lost_max);
    let lost = tally.as_ref().map(|tally| found(&tally.shards, noun, lost_max));
    let feared = tally.as_ref().map(|tally| found(&tally.feared, noun, lost_max));

    if let (Some(Found::TooMany(words)), Some(tally)) = (&lost, &tally) {
        let began = *memory.cut_off.entry(region).or_insert(sight.now);
        let since = sight.now.since(began);
        let all = tally.shards.lost == tally.shards.total;
        if let Some(member) = sight.proven(&coordinators, Some(began)).filter(|_| all) {
            let words = format!("a read passes through {}, though {words}", sight.member(member).endpoint);
            return (Standing::Degraded, words, Some(tally.clone()));
        }
        let words = format!("{words} at {}{absent}", sight.levels());
        if since <= truth {
            let words = format!("{words}, for {}", show_span(since));
            return (Standing::Electing, words, Some(tally.clone()));
        }
        memory.rejoining.insert(region, CatchUp::ToBeSeen);
        return (Standing::NoQuorum, words, Some(tally.clone()));
    }
    let refuses = |view: &NodeView| matches!(view, NodeView::Refused(_));
    if tally.is_none() && memory.seen_well && sight.round.views.iter().all(refuses) {
        // Which ranges does not matter.
        let since = sight.now.since(*memory.cut_off.entry(region).or_insert(sight.now));
        let words = format!("all {} members refuse connections", sight.group.members.len());
        memory.rejoining.insert(region, CatchUp::ToBeSeen);
        return match since <= truth {
            true => (Standing::Electing, format!("{words}, for {}", show_span(since)), None),
            false => (Standing::NoQuorum, words, None),
        };
    }
    if sight.disproved(&coordinators, memory) {
        memory.rejoining.insert(region, CatchUp::ToBeSeen);
        let words = format!(
            "{} of {} members answer, but {}",
            coordinators.len(),
            local.len(),
            sight.learned.complaint
        );
        return (Standing::NoQuorum, words, tally);
    }
    let doubt = match feared {
        Some(Found::TooMany(words)) => {
            Some(format!("unless members are there that cannot be judged, {words} at {}", sight.levels()))
        }
        None => Some("no majority of the members tells one ring and the keyspaces in it".to_owned()),
        _ => None,
    };
    if let Some(doubt) = doubt {
        memory.cut_off.entry(region).or_insert(sight.now);
        if let Some(member) = sight.proven(&coordinators, None) {
            memory.cut_off.remove(&region);
            let words = format!("a read passes through {}{absent}", sight.member(member).endpoint);
            return (Standing::Degraded, words, tally);
        }
        if tally.is_some() && sight.all_locked_out(&coordinators) {
            memory.rejoining.insert(region, CatchUp::ToBeSeen);
            let words = format!("its members let nobody in for want of replicas; {doubt}");
            return (Standing::NoQuorum, words, tally);
        }
        return (Standing::Unknown, format!("{doubt}{absent}"), tally);
    }

    memory.cut_off.remove(&region);
    if coordinators.is_empty() {
        let (standing, words) = out_of_sight(local.iter().map(|member| &sight.round.views[*member]));
        return (standing, words, tally);
    }
    let hints = sight.hints(local);
    if memory.rejoining.contains_key(&region) && hints > 0 {
        let words =
            format!("its members are back; {hints} files of writes that they missed are still to come");
        return (Standing::Recovering, words, tally);
    }
    memory.rejoining.remove(&region);
    let whole = format!("{} of {} members answer{absent}", coordinators.len(), local.len());
    match lost {
        Some(Found::Some(words)) => {
            (Standing::Degraded, format!("{words} at {}; {whole}", sight.levels()), tally)
        }
        _ => (Standing::Quorum, format!("every token range has {}; {whole}", sight.levels()), tally),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::GroupId;
    use crate::cluster::bench::{self, SECOND};
    use crate::cluster::{Linearizable, RingHost, judge};
    use crate::config::{ClusterKind, Endpoint, HostPort, Keyspace, LostMax};

    /// Nodes of a cluster, each a member, each with one token.
    struct Bench {
        cluster: Cluster,
        group: Group,
        memory: Memory,
        now: Mono,
        ring: Ring,
        read: Option<(usize, LinearizableResult)>,
        beat: i64,
        /// As before 4.1.
        silent_on_beats: bool,
        hints: BTreeMap<HostId, u64>,
    }

    impl Bench {
        /// So many nodes in each datacenter, each datacenter a region, three replicas in each.
        fn new(sizes: &[u16], level: Level) -> Self {
            let place = |n: u128| Endpoint::Port(HostPort { host: format!("c{n}"), port: 9042 });
            let (mut members, mut hosts, mut n) = (Vec::new(), BTreeMap::new(), 0u128);
            for (region, size) in (0u16..).zip(sizes) {
                for _ in 0..*size {
                    members.push(Member { region: RegionId(region), endpoint: place(n) });
                    // Neighbours on the ring are in different datacenters.
                    let host = RingHost {
                        datacenter: format!("dc{region}"),
                        rack: "r".to_owned(),
                        tokens: vec![(n as i128 * 100) % 299 + n as i128],
                    };
                    hosts.insert(n, host);
                    n += 1;
                }
            }
            let each: BTreeMap<String, u32> = (0..sizes.len()).map(|n| (format!("dc{n}"), 3)).collect();
            let replication = Replication::ByDatacenter(each);
            let keyspaces = [("orders".to_owned(), replication.clone()), (ROLES.to_owned(), replication)];
            let keyspace = Keyspace { level, ..Keyspace::default() };
            let options = CassandraOptions {
                keyspaces: BTreeMap::from([("orders".to_owned(), keyspace)]),
                parts_lost_max: LostMax::Count(0),
                ..CassandraOptions::default()
            };
            let mut bench = Self {
                cluster: bench::cluster(ClusterKind::Cassandra(options)),
                group: bench::group(members, false),
                memory: Memory::default(),
                now: Mono(100 * SECOND),
                ring: Ring { hosts, keyspaces: keyspaces.into() },
                read: None,
                beat: 0,
                silent_on_beats: false,
                hints: BTreeMap::new(),
            };
            let well = "A".repeat(n as usize);
            bench.round(&well);
            bench.round(&well);
            bench
        }

        fn options(&mut self) -> &mut CassandraOptions {
            match &mut self.cluster.kind {
                ClusterKind::Cassandra(options) => options,
                _ => unreachable!(),
            }
        }

        /// One round. Those with one letter hear each other (`A`, `B`, …); `l` is heard by `A` and
        /// locked out, `x` refuses and is dead, `-` is silent and dead, `s` is silent to us and
        /// heard by `A`, `r` refuses us and is heard by `A`, `?` denies us and is heard by `A`.
        fn round(&mut self, states: &str) -> Judgement {
            self.now = self.now + SECOND;
            self.beat += 1;
            let side = |state: char| match state {
                'l' | 's' | 'r' | '?' => 'A',
                state => state,
            };
            let views = states.chars().enumerate().map(|(n, state)| match state {
                'x' | 'r' => NodeView::Refused("refused".into()),
                '-' | 's' => NodeView::Silent("silent".into()),
                '?' => NodeView::Denied("denied".into()),
                'l' => NodeView::Answered(Facts::Replica(Box::new(ReplicaFacts {
                    locked_out: Some("Cannot achieve consistency level LOCAL_QUORUM".into()),
                    ..ReplicaFacts::default()
                }))),
                _ => {
                    let host = n as HostId;
                    let beats = states.chars().enumerate().map(|(other, letter)| {
                        let heard = other == n || (side(letter) == state);
                        (other as HostId, (1, if heard { self.beat } else { 0 }))
                    });
                    NodeView::Answered(Facts::Replica(Box::new(ReplicaFacts {
                        cluster: "orders".into(),
                        host: Some(host),
                        datacenter: self.ring.hosts[&host].datacenter.clone(),
                        ring: Some(self.ring.clone()),
                        beats: (!self.silent_on_beats).then(|| beats.collect()),
                        hints: self.hints.clone(),
                        ..ReplicaFacts::default()
                    })))
                }
            });
            let views = views.collect();
            let read = self.read.clone();
            let linearizable = read.map(|(member, result)| Linearizable { at: self.now, member, result });
            let round = Round { group: GroupId(0), views, linearizable, took: SECOND };
            judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
        }

        /// Long enough for beats to grow old and the time to truth to pass.
        fn settled(&mut self, states: &str) -> Judgement {
            for _ in 0..20 {
                self.round(states);
            }
            self.round(states)
        }

        fn regions(&mut self, states: &str) -> Vec<Standing> {
            self.settled(states).regions.values().map(|(standing, _)| *standing).collect()
        }
    }

    use Standing::{Degraded, Electing, NoQuorum, Quorum, Recovering, Unknown, Unreachable};

    /// One datacenter of three, three replicas: every range is on every node, so that it is all a
    /// matter of counting. Every state of every node.
    #[test]
    fn every_combination_of_three() {
        let letters = ['A', 'B', 'x', '-', 's', 'r', '?'];
        for level in [Level::One, Level::LocalQuorum, Level::Serial, Level::All] {
            let required = match level {
                Level::One => 1,
                Level::All => 3,
                _ => 2,
            };
            for code in 0..letters.len().pow(3) {
                let states: String =
                    (0..3u32).map(|place| letters[code / letters.len().pow(place) % letters.len()]).collect();
                let count = |wanted: &str| states.chars().filter(|state| wanted.contains(*state)).count();
                let judged = Bench::new(&[3], level).settled(&states);
                // What the best of those who answer reaches, for sure and at the most.
                let views = [('A', count("A?"), count("sr")), ('B', count("B"), 0)];
                let views = views.into_iter().filter(|(letter, ..)| states.contains(*letter));
                // The members of the side of `B` neither hear nor reach those of `A`.
                let best = views
                    .map(|(_, up, doubt)| match (up >= required, up + doubt >= required) {
                        (true, _) if up == required => Degraded,
                        (true, _) => Quorum,
                        (false, true) => Unknown,
                        (false, false) => NoQuorum,
                    })
                    .min_by_key(|standing| match standing {
                        Quorum => 0,
                        Degraded => 1,
                        Unknown => 2,
                        _ => 3,
                    });
                let (refused, denied, silent) = (count("xr"), count("?"), count("-s"));
                let expected = match best {
                    Some(best) => best,
                    // Nobody tells anything: those that refuse are gone, those that deny are not.
                    None if denied + silent < required => NoQuorum,
                    None if silent == 3 => Unreachable,
                    None if refused == 0 && denied == 0 => Unreachable,
                    None => Unknown,
                };
                if best.is_none() && expected != NoQuorum {
                    assert!(!judged.verdict.is_measured(), "{level:?} {states}: {judged:?}");
                    continue;
                }
                let seen = judged.regions[&RegionId(0)].0;
                assert_eq!(seen, expected, "{level:?} {states}: {}", judged.reason);
                assert_eq!(judged.evidence.margin < 0, matches!(seen, NoQuorum | Unknown), "{states}");
            }
        }
    }

    /// Five nodes, three replicas: which two are lost matters.
    #[test]
    fn which_nodes_are_lost_decides_which_ranges_are() {
        for one in 0..5usize {
            for other in 0..one {
                let mut bench = Bench::new(&[5], Level::LocalQuorum);
                let states: String = (0..5).map(|n| if n == one || n == other { 'x' } else { 'A' }).collect();
                let judged = bench.settled(&states);
                let ranges = bench.ring.ranges(&bench.ring.keyspaces["orders"]);
                let has = |range: &Ranges, n: usize| range.hosts.contains(&(n as HostId));
                let lost = ranges.iter().filter(|range| has(range, one) && has(range, other)).count();
                assert!(lost > 0, "of three neighbours among five two always meet");
                assert_eq!(judged.evidence.parts_total, Some(5));
                assert_eq!(judged.evidence.parts_lost, Some(lost as u64), "{states}");
                assert_eq!(judged.verdict, NoQuorum, "{states}");
                // The same, tolerated.
                bench.options().parts_lost_max = LostMax::Percent(60);
                assert_eq!(bench.settled(&states).verdict, Degraded, "{states}");
            }
        }
        // Without 4 of 5, a part of the ring is whole at ONE, and another is not.
        let mut bench = Bench::new(&[5], Level::One);
        let judged = bench.settled("Axxxx");
        assert_eq!(judged.evidence.parts_lost, Some(2));
    }

    /// The example of the documentation: parted regions go on, and what they write diverges.
    #[test]
    fn parted_datacenters() {
        for (level, both) in [
            (Level::One, [Quorum, Quorum]),
            (Level::LocalOne, [Quorum, Quorum]),
            (Level::LocalQuorum, [Quorum, Quorum]),
            (Level::LocalSerial, [Quorum, Quorum]),
            // Six replicas, four of which are a majority: neither side has them.
            (Level::Quorum, [NoQuorum, NoQuorum]),
            (Level::Serial, [NoQuorum, NoQuorum]),
            (Level::EachQuorum, [NoQuorum, NoQuorum]),
            (Level::All, [NoQuorum, NoQuorum]),
        ] {
            let mut bench = Bench::new(&[3, 3], level);
            assert_eq!(bench.settled("AAAAAA").evidence.sides, Some(1));
            let judged = bench.settled("AAABBB");
            let regions: Vec<Standing> = judged.regions.values().map(|(standing, _)| *standing).collect();
            assert_eq!(regions, both, "{level:?}");
            assert_eq!(judged.evidence.sides, Some(2));
            if both == [Quorum, Quorum] {
                assert_eq!(judged.verdict, Degraded);
                assert!(judged.reason.contains("do not hear each other"), "{}", judged.reason);
            } else {
                assert_eq!(judged.verdict, NoQuorum);
            }
            assert_eq!(bench.settled("AAAAAA").verdict, if level == Level::All { Degraded } else { Quorum });
        }
        // Of three datacenters one alone has no majority of all.
        let mut bench = Bench::new(&[3, 3, 3], Level::Quorum);
        assert_eq!(bench.regions("AAAAAABBB"), [Quorum, Quorum, NoQuorum]);
    }

    #[test]
    fn regions_by_level() {
        for (level, states, expected) in [
            (Level::LocalQuorum, "AAAAAx", [Quorum, Degraded]),
            (Level::LocalQuorum, "AAAAxx", [Quorum, NoQuorum]),
            (Level::LocalQuorum, "AAAxxx", [Quorum, NoQuorum]),
            // Nobody there tells us anything: they may be well, and parted from both.
            (Level::LocalQuorum, "AAA---", [Quorum, Unknown]),
            (Level::LocalQuorum, "AAAsss", [Quorum, Unknown]),
            // Those who answer there know that the silent ones are gone.
            (Level::LocalQuorum, "AAAA--", [Quorum, NoQuorum]),
            (Level::LocalQuorum, "AAAAss", [Quorum, Unknown]),
            (Level::EachQuorum, "AAAAxx", [NoQuorum, NoQuorum]),
            (Level::EachQuorum, "AAAAAx", [Degraded, Degraded]),
            (Level::Quorum, "AAAAAx", [Quorum, Quorum]),
            (Level::Quorum, "AAAAxx", [Degraded, Degraded]),
            (Level::Quorum, "AAAxxx", [NoQuorum, NoQuorum]),
            (Level::One, "AAAxxx", [Quorum, Degraded]),
            (Level::All, "AAAAAx", [NoQuorum, NoQuorum]),
        ] {
            assert_eq!(Bench::new(&[3, 3], level).regions(states), expected, "{level:?} {states}");
        }
        // Clients everywhere go to the second datacenter.
        let mut bench = Bench::new(&[3, 3], Level::LocalQuorum);
        bench.options().keyspaces.get_mut("orders").unwrap().datacenter = Some("dc1".into());
        assert_eq!(bench.regions("AAAAxx"), [NoQuorum, NoQuorum]);
        assert_eq!(bench.regions("AAABBB"), [NoQuorum, Quorum]);
    }

    #[test]
    fn a_loss_counts_once_it_has_lasted() {
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        // Those who refuse may be starting anew; the others still have a fresh beat of them.
        let mut seen = Vec::new();
        for _ in 0..20 {
            let judged = bench.round("Axx").verdict;
            if seen.last() != Some(&judged) {
                seen.push(judged);
            }
        }
        assert_eq!(seen, [Unknown, NoQuorum], "the doubt has outlasted the time to truth");
        assert_eq!(bench.round("AAx").verdict, Degraded, "and is over at once");
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        bench.silent_on_beats = true;
        bench.settled("AAA");
        for _ in 0..6 {
            assert_eq!(bench.round("Axx").verdict, Electing);
        }
        assert_eq!(bench.round("Axx").verdict, NoQuorum);
    }

    /// Captured from 5.0.4: one node that is left of three calls our password wrong.
    #[test]
    fn a_login_that_fails_for_want_of_replicas_is_no_denial() {
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        assert_eq!(bench.settled("lxx").verdict, NoQuorum);
        // Where the roles have one replica, its loss locks us out everywhere and ends nothing else.
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        bench.ring.keyspaces.insert(ROLES.into(), Replication::Simple(1));
        bench.settled("AAA");
        assert_eq!(bench.settled("llx").verdict, Unknown);
        assert_eq!(bench.settled("lll").verdict, Unknown);
        // With three, two of them are gone from each that says so.
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        assert_eq!(bench.settled("lll").verdict, NoQuorum);
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        assert_eq!(bench.settled("AAl").verdict, Quorum, "the others hear it");
        assert_eq!(bench.settled("ABl").verdict, Degraded);
    }

    #[test]
    fn what_the_read_proves() {
        // The silent ones are heard by the one that answers: it is in doubt, and the read decides.
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        assert_eq!(bench.settled("Ass").verdict, Unknown);
        bench.read = Some((0, LinearizableResult::Passed));
        assert_eq!(bench.settled("Ass").verdict, Degraded);
        for failed in [LinearizableResult::Hung, LinearizableResult::NoQuorum("Unavailable".into())] {
            let mut bench = Bench::new(&[3], Level::LocalQuorum);
            bench.read = Some((0, failed.clone()));
            assert_eq!(bench.settled("Ass").verdict, NoQuorum);
            // Of three that answer and hear each other one fails it: that may be its own trouble.
            assert_eq!(bench.settled("AAA").verdict, Quorum);
            for member in [1, 2] {
                bench.read = Some((member, failed.clone()));
                bench.round("AAA");
            }
            let judged = bench.settled("AAA");
            assert_eq!(judged.verdict, NoQuorum, "{}", judged.reason);
            // One passes again.
            bench.read = Some((1, LinearizableResult::Passed));
            assert_eq!(bench.round("AAA").verdict, Quorum);
        }
        // One range that a read went through excuses none that is lost.
        let mut bench = Bench::new(&[5], Level::LocalQuorum);
        bench.read = Some((0, LinearizableResult::Passed));
        assert_eq!(bench.settled("AAAxx").verdict, NoQuorum);
        // But if all are, then something else is wrong than the cluster.
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        bench.silent_on_beats = true;
        bench.read = Some((0, LinearizableResult::Passed));
        assert_eq!(bench.settled("Axx").verdict, Degraded);
        // In the other datacenter it proves nothing.
        let mut bench = Bench::new(&[3, 3], Level::LocalQuorum);
        bench.read = Some((0, LinearizableResult::Passed));
        assert_eq!(bench.regions("AAAAss"), [Quorum, Unknown]);
        bench.read = Some((1, LinearizableResult::NoQuorum("Unavailable".into())));
        assert_eq!(bench.regions("AAAAAA"), [Quorum, Quorum]);
        // Nor does it undo what failed in the first one.
        for member in 0..3 {
            bench.read = Some((member, LinearizableResult::NoQuorum("Unavailable".into())));
            bench.round("AAAAAA");
        }
        bench.read = Some((3, LinearizableResult::Passed));
        assert_eq!(bench.regions("AAAAAA"), [NoQuorum, Quorum]);
    }

    #[test]
    fn before_there_were_beats_only_the_read_finds_a_partition() {
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        bench.silent_on_beats = true;
        assert_eq!(bench.settled("ABC").verdict, Quorum);
        for member in 0..3 {
            bench.read = Some((member, LinearizableResult::NoQuorum("Unavailable".into())));
            bench.round("ABC");
        }
        assert_eq!(bench.settled("ABC").verdict, NoQuorum);
    }

    #[test]
    fn a_stale_member_does_not_tell_the_ring() {
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        // A change of the replication that only a cut-off node has missed, or has alone.
        bench.ring.keyspaces.insert("orders".into(), Replication::Simple(1));
        assert_eq!(bench.settled("Axx").verdict, NoQuorum, "one of three does not say that one is enough");
        // From the start there is nobody to believe.
        bench.memory = Memory::default();
        let judged = bench.settled("Axx");
        assert_eq!(judged.verdict, Unknown, "{}", judged.reason);
        // Where all refuse, which was seen well by an earlier process, nothing needs to be known.
        assert!(!bench.settled("xxx").verdict.is_measured(), "never seen otherwise");
        bench.memory = Memory::well();
        assert_eq!(bench.settled("xxx").verdict, NoQuorum);
        assert_eq!(bench.settled("xx-").verdict, Unreachable);
        // The configuration knows better than any of them.
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        let replication = Some(BTreeMap::from([("dc0".to_owned(), 1)]));
        bench.options().keyspaces.get_mut("orders").unwrap().replication = replication;
        assert_eq!(bench.settled("Axx").evidence.parts_lost, Some(2));
    }

    #[test]
    fn back_once_nobody_keeps_hints_for_it() {
        let mut bench = Bench::new(&[3, 3], Level::LocalQuorum);
        assert_eq!(bench.regions("AAAAxx"), [Quorum, NoQuorum]);
        bench.hints = BTreeMap::from([(4, 2), (5, 1)]);
        assert_eq!(bench.regions("AAAAAA"), [Quorum, Recovering]);
        // Those for one that stays away hold nobody up.
        bench.hints = BTreeMap::from([(5, 1)]);
        assert_eq!(bench.regions("AAAAAx"), [Quorum, Degraded]);
        // Nor those of a short absence, in a region that was never lost.
        bench.hints = BTreeMap::from([(0, 7)]);
        assert_eq!(bench.regions("AAAAAA"), [Quorum, Quorum]);
    }

    #[test]
    fn nodes_that_are_not_listed_count_by_their_beats() {
        let mut bench = Bench::new(&[3], Level::LocalQuorum);
        bench.group.members.truncate(1);
        bench.memory = Memory::default();
        assert_eq!(bench.settled("AAA").verdict, Quorum);
        bench.read = None;
        assert_eq!(bench.settled("Axx").verdict, NoQuorum);
    }
}
