//! How the nodes of a cluster see each other, as far as they tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Notes;
use crate::cluster::case::Case;
use crate::cluster::{HostId, NodeView, ReplicaFacts, Ring};
use crate::config::CassandraOptions;

/// A node beats once a second. One whose newest beat has not changed for so long is not heard.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// How a replica is seen by a member that would ask it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Up,
    Doubt,
    Down,
}

/// All that a judgement rests on.
pub(super) struct Sight<'a> {
    pub(super) options: &'a CassandraOptions,
    pub(super) case: Case<'a>,
    pub(super) answered: &'a BTreeMap<usize, &'a ReplicaFacts>,
    pub(super) notes: &'a Notes,
}

impl Sight<'_> {
    pub(super) fn host(&self, member: usize) -> Option<HostId> {
        self.notes.hosts.get(&member).map(|(host, _)| *host)
    }

    /// Whether a member has heard of a host lately. `None`: it does not tell.
    fn hears(&self, member: usize, host: HostId) -> Option<bool> {
        self.answered.get(&member)?.beats.as_ref()?;
        let schedule = &self.case.cluster.schedule;
        let within = HEARD_WITHIN.max(schedule.interval * 2 + schedule.timeout);
        let beat = self.notes.beats.get(&(member, host));
        Some(beat.is_some_and(|(_, changed)| self.case.now.since(*changed) <= within))
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
    pub(super) fn sides(&self) -> Vec<BTreeSet<usize>> {
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
        let said = self.notes.hosts.iter().find(|(_, (known, _))| *known == host);
        said.map(|(member, _)| *member).or_else(|| {
            let place = self.notes.places.get(&host)?;
            let unknown = |member: &usize| !self.notes.hosts.contains_key(member);
            (0..self.case.group.members.len())
                .filter(unknown)
                .find(|member| host_part(&self.case.place(*member).to_string()) == place)
        })
    }

    /// How every host of the ring is seen by this member; or from nowhere, where none of a region's
    /// members answers.
    pub(super) fn seen(&self, from: Option<usize>, ring: &Ring) -> BTreeMap<HostId, Seen> {
        let of: BTreeMap<HostId, Option<usize>> =
            ring.hosts.keys().map(|host| (*host, self.member_of(*host))).collect();
        // Hosts that may be any of the members that we have never heard from.
        let nameless: Vec<usize> = (0..self.case.group.members.len())
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
        let all =
            |so: fn(&NodeView) -> bool| members.iter().all(|member| so(&self.case.round.views[*member]));
        if all(|view| matches!(view, NodeView::Denied(_))) {
            // It is there to deny us.
            Seen::Up
        } else if all(|view| matches!(view, NodeView::Refused(_))) && !self.anybody_hears(host) {
            Seen::Down
        } else {
            Seen::Doubt
        }
    }
}

/// The address in `address:port`.
fn host_part(place: &str) -> &str {
    place.rsplit_once(':').map_or(place, |(host, _)| host).trim_matches(['[', ']'])
}
