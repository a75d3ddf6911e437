//! Judging PostgreSQL under Patroni: one primary that holds a lease in a store of its own, and
//! replicas that follow it.
//!
//! Patroni has no quorum of its own either. The rules, in order:
//! 1. The writer is the member that says it is the primary, runs, and has its lease; without the
//!    lease only in failsafe mode or while Patroni is paused. One that is `stopping` is none,
//!    whatever its `/leader` says.
//! 2. Two of them: split brain.
//! 3. One: quorum while a replica streams from it. In failsafe mode (the store is lost, and every
//!    member still reaches the primary) and in a pause nobody would take over: degraded.
//! 4. None: electing for the time to truth. Then it is lost if the last writer is known to be none
//!    any more, or no member is out of our sight; else unknown.
//! 5. A region whose members are not in the store's list, by the writer's word, is cut off.

use std::collections::BTreeMap;

use super::absent::{Absent, first_complaint, out_of_sight};
use super::memory::CatchUp;
use super::raft::nobody_answers;
use super::{Evidence, Facts, Judgement, Memory, NodeView, PatroniFacts, Round, Standing};
use crate::base::{Mono, RegionId, show_span};
use crate::config::{Cluster, Endpoint, Group};

type Server<'a> = (usize, &'a PatroniFacts);

pub(super) fn judge(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    now: Mono,
) -> Judgement {
    let answered: Vec<Server<'_>> = round
        .views
        .iter()
        .enumerate()
        .filter_map(|(position, view)| match view {
            NodeView::Answered(Facts::Patroni(facts)) => Some((position, facts)),
            _ => None,
        })
        .collect();
    let absent = Absent::count(&round.views);
    let writers: Vec<Server<'_>> = answered.iter().filter(|(_, facts)| writes(facts)).copied().collect();
    let writer = writers.first().copied();
    let followers = writer.map_or(0, |(_, facts)| facts.streaming);
    let evidence = Evidence {
        voters: group.members.len(),
        reached: answered.len(),
        agreeing: writers.len().min(1) + followers,
        margin: if writers.is_empty() { -1 } else { followers as i64 },
        leader: writer.map(|(position, _)| group.members[position].endpoint.to_string()),
        term: answered.iter().map(|(_, facts)| facts.timeline).max(),
        lag_max: writer.and_then(|(_, writer)| {
            let replicas = answered.iter().filter(|(_, facts)| !facts.primary && facts.running);
            replicas.map(|(_, facts)| writer.position.saturating_sub(facts.position)).max()
        }),
        ..Evidence::default()
    };
    let (verdict, reason) = match writers.as_slice() {
        [(position, facts)] => {
            memory.leaderless_since = None;
            memory.catching_up = None;
            memory.writer = Some(*position);
            let words =
                format!("{} is the writer; {followers} replicas stream", group.members[*position].endpoint);
            match (facts.failsafe, facts.paused) {
                (true, _) => {
                    (Standing::Degraded, format!("{words}; failsafe mode: the store of leases is lost"))
                }
                (_, true) => {
                    (Standing::Degraded, format!("{words}; Patroni is paused: nobody would take over"))
                }
                _ if followers == 0 => (Standing::Degraded, words),
                _ => (Standing::Quorum, words),
            }
        }
        [] => no_writer(cluster, group, round, memory, &answered, &absent, now),
        many => {
            let places: Vec<_> =
                many.iter().map(|(position, _)| group.members[*position].endpoint.to_string()).collect();
            (Standing::SplitBrain, format!("{} are both writers", places.join(" and ")))
        }
    };
    let regions = match (verdict, writer) {
        (Standing::Quorum | Standing::Degraded, Some(writer)) if group.inside.is_none() => {
            regions(cluster, group, round, memory, writer, (verdict, &reason), now)
        }
        _ => BTreeMap::new(),
    };
    Judgement { verdict, reason, evidence, regions }
}

fn writes(facts: &PatroniFacts) -> bool {
    facts.primary && facts.running && (!facts.unlocked || facts.failsafe || facts.paused)
}

fn no_writer(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    answered: &[Server<'_>],
    absent: &Absent,
    now: Mono,
) -> (Standing, String) {
    let complaint = first_complaint(&round.views);
    let all_refuse = absent.refused == group.members.len();
    if answered.is_empty() && !all_refuse {
        memory.leaderless_since = None;
        return nobody_answers(absent, complaint);
    }
    if all_refuse && !memory.seen_well {
        let words = "every member refuses connections; never seen otherwise: is the address right?";
        return (Standing::Unknown, words.to_owned());
    }
    let last = memory.writer.map(|position| (&round.views[position], &group.members[position].endpoint));
    let sure = answered.len() + absent.refused == group.members.len()
        || answered.iter().any(|(_, facts)| facts.unlocked);
    let (words, lost) = match last {
        Some((NodeView::Refused(_), place)) => (format!("the writer {place} refuses connections"), true),
        Some((NodeView::Answered(Facts::Patroni(facts)), place)) => {
            (format!("{place} is no longer the writer ({}), and no other is", facts.state), true)
        }
        Some((_, place)) => (format!("the writer {place} does not answer"), sure),
        None => {
            (format!("{} of {} members answer, none the writer", answered.len(), group.members.len()), sure)
        }
    };
    let since = memory.leaderless_for(now);
    match (since <= cluster.time_to_truth, lost) {
        (true, _) => (Standing::Electing, format!("{words}, for {}", show_span(since))),
        (false, true) => (Standing::NoQuorum, words),
        // It may be writing happily where we cannot see it.
        (false, false) => (Standing::Unknown, words),
    }
}

/// How each region stands beside a writer.
fn regions(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    (writer, told): Server<'_>,
    (verdict, reason): (Standing, &str),
    now: Mono,
) -> BTreeMap<RegionId, (Standing, String)> {
    let place = |position: usize| match &group.members[position].endpoint {
        Endpoint::Http(url) => {
            url.host_str().map(|host| format!("{host}:{}", url.port_or_known_default().unwrap_or_default()))
        }
        _ => None,
    };
    let listed = |position: usize| {
        place(position)
            .is_some_and(|place| told.members.iter().any(|member| member.place == place && member.running))
    };
    // Where Patroni knows the members by other addresses, its list tells us nothing.
    let telling = listed(writer);
    let mut regions = BTreeMap::new();
    for (region, local) in group.by_region() {
        let facts = |position: &usize| match &round.views[*position] {
            NodeView::Answered(Facts::Patroni(facts)) => Some(facts),
            _ => None,
        };
        let mut heard = local.iter().filter_map(|position| Some((*position, facts(position)?))).peekable();
        let standing = if heard.peek().is_some() {
            let in_it = heard.find(|(position, facts)| {
                *position == writer || (facts.running && !facts.primary && (!telling || listed(*position)))
            });
            match in_it {
                None => {
                    let words = "its members have no lease in the store by the writer's word";
                    memory.out_of_group(region, words, cluster.time_to_truth, now)
                }
                Some((position, facts)) => {
                    if memory.cut_off.remove(&region).is_some() {
                        memory.rejoining.insert(region, CatchUp::To(told.position));
                    }
                    let target = match memory.rejoining.get(&region) {
                        Some(CatchUp::To(target)) => *target,
                        _ => 0,
                    };
                    let behind = facts.timeline < told.timeline || facts.position < target;
                    if position != writer && target > 0 && behind {
                        let words = format!("back, at {} of {target}", facts.position);
                        (Standing::Recovering, words)
                    } else {
                        memory.rejoining.remove(&region);
                        (verdict, reason.to_owned())
                    }
                }
            }
        } else {
            out_of_sight(local.iter().map(|position| &round.views[*position]))
        };
        regions.insert(region, standing);
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::GroupId;
    use crate::cluster::bench::{self, SECOND};
    use crate::cluster::{PatroniMember, judge};
    use crate::config::{ClusterKind, Member, PatroniOptions};

    struct Bench {
        cluster: Cluster,
        group: Group,
        memory: Memory,
        now: Mono,
    }

    impl Bench {
        fn new(inside: bool) -> Self {
            let members = (0..3).map(|n| Member {
                region: RegionId(if inside { 0 } else { n }),
                endpoint: Endpoint::Http(format!("http://m{n}:8008").parse().unwrap()),
            });
            Self {
                cluster: bench::cluster(ClusterKind::Patroni(PatroniOptions::default())),
                group: bench::group(members, inside),
                memory: Memory::default(),
                now: Mono(100 * SECOND),
            }
        }

        /// One round; each letter is a member: the `W`riter with the replicas that the others are,
        /// `F`ailsafe, `P`aused, `r`eplica, `R`eplica that the store does not list, `u`nlocked
        /// replica, `s`topping primary, `x` refused, `-` silent.
        fn round(&mut self, states: &str) -> Judgement {
            self.now = self.now + SECOND;
            let streaming = states.matches('r').count();
            let listed: Vec<PatroniMember> = states
                .char_indices()
                .filter(|(_, state)| "WFPr".contains(*state))
                .map(|(n, _)| PatroniMember { place: format!("m{n}:8008"), running: true })
                .collect();
            let views = states.chars().map(|state| {
                let primary = "WFPs".contains(state);
                let facts = PatroniFacts {
                    primary,
                    running: state != 's',
                    state: if state == 's' { "stopping" } else { "running" }.to_owned(),
                    unlocked: matches!(state, 'u' | 'F' | 'P'),
                    failsafe: state == 'F',
                    paused: state == 'P',
                    system: "1".to_owned(),
                    timeline: 1,
                    streaming: if primary { streaming } else { 0 },
                    position: if state == 'R' { 50 } else { 100 },
                    members: if primary { listed.clone() } else { Vec::new() },
                };
                match state {
                    'x' => NodeView::Refused("connection refused".to_owned()),
                    '-' => NodeView::Silent("no answer".to_owned()),
                    _ => NodeView::Answered(Facts::Patroni(facts)),
                }
            });
            let round = Round { group: GroupId(0), views: views.collect(), linearizable: None, took: SECOND };
            judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
        }

        fn settled(&mut self, states: &str) -> Standing {
            for _ in 0..8 {
                self.round(states);
            }
            self.round(states).verdict
        }
    }

    fn well(inside: bool) -> Bench {
        let mut bench = Bench::new(inside);
        assert_eq!(bench.settled("Wrr"), Standing::Quorum);
        bench
    }

    #[test]
    fn one_writer_with_a_lease_and_a_replica_is_well() {
        assert_eq!(well(true).settled("Wrx"), Standing::Quorum);
        assert_eq!(well(true).settled("Wxx"), Standing::Degraded);
        assert_eq!(well(true).settled("Frr"), Standing::Degraded, "failsafe: it keeps taking writes");
        assert_eq!(well(true).settled("Prr"), Standing::Degraded);
        assert_eq!(well(true).settled("WWr"), Standing::SplitBrain);
    }

    #[test]
    fn replicas_that_answer_200_are_no_writer() {
        // The survivor of a killed majority: /replica, /health, /readiness 200 for ever.
        assert_eq!(well(true).round("xxr").verdict, Standing::Electing);
        assert_eq!(well(true).settled("xxr"), Standing::NoQuorum);
        // The primary is shutting down and says 200 at /leader.
        assert_eq!(well(true).settled("s--"), Standing::NoQuorum);
        assert_eq!(well(true).settled("rrr"), Standing::NoQuorum);
        // The writer is out of our sight, and the lease is held.
        assert_eq!(well(true).settled("-rr"), Standing::Unknown);
        // It is not held.
        assert_eq!(well(true).settled("-uu"), Standing::NoQuorum);
        assert_eq!(well(true).settled("---"), Standing::Unreachable);
        assert_eq!(well(true).settled("xxx"), Standing::NoQuorum);
        assert_eq!(Bench::new(true).settled("xxx"), Standing::Unknown);
    }

    #[test]
    fn only_the_region_that_is_cut_off_is_lost() {
        let mut bench = well(false);
        let standings = |judgement: &Judgement| {
            judgement.regions.values().map(|(standing, _)| *standing).collect::<Vec<_>>()
        };
        assert_eq!(standings(&bench.round("Wrr")), [Standing::Quorum; 3]);
        // A replica that answers 200 to everything, and has no key in the store.
        assert_eq!(standings(&bench.round("WRr"))[1], Standing::Electing);
        bench.settled("WRr");
        assert_eq!(standings(&bench.round("WRr")), [Standing::Quorum, Standing::NoQuorum, Standing::Quorum]);
        assert_eq!(standings(&bench.round("Wrr")), [Standing::Quorum; 3]);
        // The old writer is stopping, and another has taken over.
        bench.settled("sWr");
        assert_eq!(standings(&bench.round("sWr")), [Standing::NoQuorum, Standing::Quorum, Standing::Quorum]);
        assert_eq!(standings(&bench.round("-Wr"))[0], Standing::Unknown);
        assert_eq!(standings(&bench.round("xWr"))[0], Standing::Degraded);
    }
}
