//! What is learned of a cluster from round to round: its ring, who is where, and who hears whom.

use std::collections::BTreeMap;

use crate::base::Mono;
use crate::cluster::case::Case;
use crate::cluster::proofs::Proofs;
use crate::cluster::ring::Ranges;
use crate::cluster::{HostId, LinearizableResult, ReplicaFacts, Replication, Ring};
use crate::config::CassandraOptions;

/// What is remembered between rounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::cluster) struct Notes {
    /// The ring that a majority has told alike.
    pub(super) ring: Option<Ring>,
    /// How the keyspaces that matter are replicated, and the ranges that follow from it.
    pub(super) keyspaces: BTreeMap<String, (Replication, Vec<Ranges>)>,
    /// Which host of the ring each member is, and in which datacenter, by its own word.
    pub(super) hosts: BTreeMap<usize, (HostId, String)>,
    /// Where each host is, as the others say.
    pub(super) places: BTreeMap<HostId, String>,
    /// The newest beat that a member has of a host, and when it last changed.
    pub(super) beats: BTreeMap<(usize, HostId), ((i64, i64), Mono)>,
    /// When a read last passed through a member.
    pub(super) passed: BTreeMap<usize, Mono>,
    /// Members that answer locally and fail the read.
    pub(super) proofs: Proofs,
    /// Since when a member cannot find out who we are.
    pub(super) locked_out: BTreeMap<usize, Mono>,
    /// Why the last read failed.
    pub(super) complaint: String,
}

impl Notes {
    /// Takes in what this round brought.
    pub(super) fn learn(
        &mut self,
        options: &CassandraOptions,
        case: &Case<'_>,
        answered: &BTreeMap<usize, &ReplicaFacts>,
    ) {
        for (member, facts) in answered {
            if let Some(host) = facts.host {
                self.hosts.insert(*member, (host, facts.datacenter.clone()));
            }
            self.learn_beats(*member, facts, case.now);
            match facts.locked_out {
                Some(_) => drop(self.locked_out.entry(*member).or_insert(case.now)),
                None => drop(self.locked_out.remove(member)),
            }
        }
        self.locked_out.retain(|member, _| answered.contains_key(member));
        self.learn_ring(case.group.majority(), answered);
        self.learn_keyspaces(options);
        self.learn_read(case, answered);
    }

    fn learn_beats(&mut self, member: usize, facts: &ReplicaFacts, now: Mono) {
        let Some(beats) = &facts.beats else { return };
        for (host, beat) in beats {
            match self.beats.get_mut(&(member, *host)) {
                Some(known) if known.0 == *beat => {}
                Some(known) => *known = (*beat, now),
                None => drop(self.beats.insert((member, *host), (*beat, now))),
            }
        }
        self.beats.retain(|(of, host), _| *of != member || beats.contains_key(host));
    }

    /// The ring that a majority tells alike; it stays until another is told so.
    fn learn_ring(&mut self, majority: usize, answered: &BTreeMap<usize, &ReplicaFacts>) {
        let mut told: BTreeMap<&Ring, (usize, usize)> = BTreeMap::new();
        let rings = answered.iter().filter_map(|(member, facts)| Some((*member, facts.ring.as_ref()?)));
        for (member, ring) in rings {
            told.entry(ring).or_insert((0, member)).0 += 1;
        }
        if let Some((ring, (n, teller))) = told.into_iter().max_by_key(|(_, (n, _))| *n)
            && n >= majority
        {
            if self.ring.as_ref() != Some(ring) {
                self.ring = Some(ring.clone());
                self.keyspaces.clear();
            }
            self.places.clone_from(&answered[&teller].places);
        }
    }

    /// Which ranges there are of the keyspaces that matter.
    fn learn_keyspaces(&mut self, options: &CassandraOptions) {
        let Some(ring) = &self.ring else { return };
        let replication = |name: &String, given: Option<&BTreeMap<String, u32>>| match given {
            Some(given) => Some(Replication::ByDatacenter(given.clone())),
            None => ring.keyspaces.get(name).cloned(),
        };
        self.keyspaces.retain(|name, _| options.keyspaces.contains_key(name));
        for (name, keyspace) in &options.keyspaces {
            let Some(replication) = replication(name, keyspace.replication.as_ref()) else { continue };
            if self.keyspaces.get(name).is_none_or(|(known, _)| *known != replication) {
                let ranges = ring.ranges(&replication);
                self.keyspaces.insert(name.clone(), (replication, ranges));
            }
        }
    }

    fn learn_read(&mut self, case: &Case<'_>, answered: &BTreeMap<usize, &ReplicaFacts>) {
        self.proofs.note(case, |member| answered.contains_key(&member));
        let Some(read) = &case.round.linearizable else { return };
        let failed = match &read.result {
            LinearizableResult::Passed => {
                self.passed.insert(read.member, read.at);
                return;
            }
            LinearizableResult::NoQuorum(why) => why.clone(),
            LinearizableResult::Hung => format!("a read through {} hangs", case.place(read.member)),
            LinearizableResult::Unmeasured(_) => return,
        };
        // At a member that does not answer local questions it says nothing.
        if answered.contains_key(&read.member) {
            self.passed.remove(&read.member);
            self.complaint = failed;
        }
    }
}
