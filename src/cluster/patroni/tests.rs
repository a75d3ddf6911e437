use super::*;
use crate::base::{GroupId, Mono};
use crate::cluster::bench::{self, SECOND};
use crate::cluster::{Memory, PatroniMember, Round, judge};
use crate::config::{Cluster, ClusterKind, Group, Member, PatroniOptions};

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
    let standings =
        |judgement: &Judgement| judgement.regions.values().map(|(standing, _)| *standing).collect::<Vec<_>>();
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
