//! Judging a PostgreSQL cluster: one writer, and standbys that follow it.
//!
//! PostgreSQL has no quorum of its own; what plays its part is exactly one server that accepts
//! writes of applications. Two are a split brain. None is `electing` for as long as a restart may
//! take, and then lost. A server that is fenced accepts none, whatever it says of itself: it is
//! what a promotion elsewhere has left behind, or is about to.

use std::collections::BTreeMap;

use super::absent::{Absent, first_complaint};
use super::{Evidence, Facts, Judgement, Memory, NodeView, PostgresFacts, Round, Standing};
use crate::base::{Mono, RegionId, show_span};
use crate::config::{Cluster, Group};

type Server<'a> = (usize, &'a PostgresFacts);

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
            NodeView::Answered(Facts::Postgres(facts)) => Some((position, facts)),
            _ => None,
        })
        .collect();
    let absent = Absent::count(&round.views);
    let timeline = answered.iter().map(|(_, facts)| facts.timeline).max();
    let writers: Vec<Server<'_>> = answered.iter().filter(|(_, facts)| writes(facts)).copied().collect();
    let writer = writers.first().copied();
    let followers = answered
        .iter()
        .filter(|(_, facts)| facts.in_recovery && facts.streaming)
        .filter(|(_, facts)| writer.is_none_or(|(_, writer)| writer.system == facts.system))
        .count();
    let end = writer.map(|(_, facts)| facts.received);

    let evidence = Evidence {
        voters: group.members.len(),
        reached: answered.len(),
        agreeing: writers.len().min(1) + followers,
        margin: if writers.is_empty() { -1 } else { followers as i64 },
        leader: writer.map(|(position, _)| group.members[position].endpoint.to_string()),
        term: timeline.map(u64::from),
        lag_max: end.and_then(|end| {
            let standbys = answered.iter().filter(|(_, facts)| facts.in_recovery);
            standbys.map(|(_, facts)| end.saturating_sub(facts.replayed)).max()
        }),
        ..Evidence::default()
    };

    let (verdict, reason) = match writers.as_slice() {
        [one] => {
            memory.leaderless_since = None;
            memory.catching_up = None;
            memory.writer = Some(one.0);
            let place = &group.members[one.0].endpoint;
            if one.1.read_only {
                (Standing::ReadOnly, format!("{place} is the writer and read-only by default"))
            } else if followers > 0 {
                (Standing::Quorum, format!("{place} is the writer; {followers} standby follows"))
            } else {
                (Standing::Degraded, format!("{place} is the writer; no standby follows"))
            }
        }
        [] => no_writer(cluster, group, round, memory, &answered, &absent, now),
        many => {
            let places: Vec<_> =
                many.iter().map(|(position, _)| group.members[*position].endpoint.to_string()).collect();
            (Standing::SplitBrain, format!("{} all accept writes", places.join(" and ")))
        }
    };
    let regions = match verdict {
        Standing::Quorum | Standing::Degraded if group.inside.is_none() => {
            regions(group, round, (verdict, &reason))
        }
        Standing::NoQuorum | Standing::Unknown if group.inside.is_none() => {
            without_writer(group, round, memory.writer, (verdict, &reason))
        }
        _ => BTreeMap::new(),
    };
    Judgement { verdict, reason, evidence, regions }
}

/// Whether applications can write there. The timelines say nothing about it: while the new writer
/// does not answer, a fenced one would be on the newest that is known, and would hide the loss.
fn writes(facts: &PostgresFacts) -> bool {
    !facts.in_recovery && !facts.fenced
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
    let complaint = first_complaint(&round.views).map_or(String::new(), |why| format!(": {why}"));
    if answered.is_empty() && absent.refused < group.members.len() {
        memory.leaderless_since = None;
        let words = absent.words();
        return match absent.denied + absent.rubbish + absent.unmeasured {
            0 => (Standing::Unreachable, format!("no server answers ({words}){complaint}")),
            _ => (Standing::Unknown, format!("no server could be judged ({words}){complaint}")),
        };
    }
    let last = memory.writer.map(|position| (&round.views[position], &group.members[position].endpoint));
    let words = match last {
        Some((NodeView::Refused(_), place)) => format!("the writer {place} refuses connections"),
        Some((NodeView::Answered(_), place)) => format!("{place} is no longer the writer, and no other is"),
        Some((_, place)) => {
            // It may be writing happily where we cannot see it.
            memory.leaderless_since = None;
            return (Standing::Unknown, format!("the writer {place} does not answer{complaint}"));
        }
        None if absent.refused == group.members.len() => {
            let words = "every server refuses connections; never seen otherwise: is the address right?";
            return (Standing::Unknown, words.to_owned());
        }
        None if absent.refused + answered.len() < group.members.len() => {
            memory.leaderless_since = None;
            let words = absent.words();
            return (
                Standing::Unknown,
                format!("the writer may be one that could not be asked ({words}){complaint}"),
            );
        }
        None => {
            let fenced = answered.iter().find(|(_, facts)| facts.fenced);
            match fenced.map(|(position, _)| &group.members[*position].endpoint) {
                Some(place) => format!("{place} is fenced, and no other is the writer"),
                None => {
                    format!("{} of {} servers answer, all in recovery", answered.len(), group.members.len())
                }
            }
        }
    };
    let since = memory.leaderless_for(now);
    match since <= cluster.time_to_truth {
        true => (Standing::Electing, format!("{words}, for {}", show_span(since))),
        false => (Standing::NoQuorum, words),
    }
}

/// The writer is gone, or out of sight, and standbys answer. Then the cluster is not lost as a
/// whole, as a raft group without its majority is: a standby can be promoted. Its region is
/// degraded, and fit to take over; the loss, or the doubt, is that of the others.
fn without_writer(
    group: &Group,
    round: &Round,
    writer: Option<usize>,
    (verdict, reason): (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let answers = |position: usize| matches!(round.views[position], NodeView::Answered(_));
    let gone = match writer {
        // Somebody has taken the role away, and may be about to give it to another.
        Some(position) if answers(position) => return BTreeMap::new(),
        Some(position) => Some(group.members[position].region),
        None => None,
    };
    let standby = |position: usize| match &round.views[position] {
        NodeView::Answered(Facts::Postgres(facts)) => facts.in_recovery,
        _ => false,
    };
    let positions = 0..group.members.len();
    if positions.clone().all(answers) || !positions.clone().any(standby) {
        return BTreeMap::new();
    }
    let mut regions: BTreeMap<RegionId, (Standing, String)> = BTreeMap::new();
    for position in positions {
        let member = &group.members[position];
        let standing = regions.entry(member.region).or_insert_with(|| (verdict, reason.to_owned()));
        if standby(position) && gone != Some(member.region) {
            let words = format!("{} is a standby and can be promoted; {reason}", member.endpoint);
            *standing = (Standing::Degraded, words);
        }
    }
    regions
}

/// A region stands as the group does while its server writes or follows.
fn regions(
    group: &Group,
    round: &Round,
    (verdict, reason): (Standing, &str),
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions: BTreeMap<RegionId, (Standing, String)> = BTreeMap::new();
    for (member, view) in group.members.iter().zip(&round.views) {
        let place = &member.endpoint;
        let standing = match view {
            NodeView::Answered(Facts::Postgres(facts)) if !facts.in_recovery && facts.fenced => {
                (Standing::Degraded, format!("{place} is fenced and must be rewound"))
            }
            NodeView::Answered(Facts::Postgres(facts)) if facts.in_recovery && !facts.streaming => {
                (Standing::Recovering, format!("{place} does not follow the writer"))
            }
            NodeView::Answered(_) => (verdict, reason.to_owned()),
            NodeView::Refused(why) => (Standing::Degraded, format!("{why}; the writer goes on")),
            NodeView::Silent(why)
            | NodeView::Denied(why)
            | NodeView::Rubbish(why)
            | NodeView::Unmeasured(why) => (Standing::Unknown, format!("{why}; the writer goes on")),
        };
        // Several servers in one region: the best of them counts.
        regions
            .entry(member.region)
            .and_modify(|known| {
                if standing.0 < known.0 {
                    known.clone_from(&standing);
                }
            })
            .or_insert(standing);
    }
    regions
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::GroupId;
    use crate::cluster::bench::{self, SECOND};
    use crate::cluster::judge;
    use crate::config::{
        Application, ClusterKind, Endpoint, HostPort, Member, PostgresOptions, PostgresTarget, PostgresTls,
        UnreachableWriter,
    };

    /// Servers in regions of their own, what is remembered of them, and a clock.
    struct Bench {
        cluster: Cluster,
        group: Group,
        memory: Memory,
        now: Mono,
    }

    impl Bench {
        fn new(servers: u16) -> Self {
            let members = (0..servers).map(|n| Member {
                region: RegionId(n),
                endpoint: Endpoint::Postgres(PostgresTarget {
                    address: HostPort { host: format!("db{n}"), port: 5432 },
                    user: "pointsman".into(),
                    database: "postgres".into(),
                    tls: PostgresTls::Disable,
                }),
            });
            let options = PostgresOptions {
                password: None,
                ca: None,
                unreachable_writer: UnreachableWriter::Ask,
                application: Application::default(),
            };
            Self {
                cluster: bench::cluster(ClusterKind::Postgres(options)),
                group: bench::group(members, false),
                memory: Memory::default(),
                now: Mono(100 * SECOND),
            }
        }

        /// One round; each letter is a server: `W`riter, `R`ead-only writer, `O`ld writer of an
        /// older timeline, `F`enced one, `S`tandby that follows, `s` one that does not, `x`
        /// refused, `-` silent, `?` denied.
        fn round(&mut self, states: &str) -> Judgement {
            self.now = self.now + SECOND;
            let views = states.chars().map(|state| {
                let standby = matches!(state, 'S' | 's');
                let facts = PostgresFacts {
                    system: 7,
                    in_recovery: standby,
                    read_only: state == 'R',
                    fenced: state == 'F',
                    timeline: if matches!(state, 'O' | 'F') { 1 } else { 2 },
                    received: 100,
                    replayed: if standby { 90 } else { 100 },
                    streaming: state == 'S',
                };
                match state {
                    'x' => NodeView::Refused("refused".into()),
                    '-' => NodeView::Silent("silent".into()),
                    '?' => NodeView::Denied("denied".into()),
                    _ => NodeView::Answered(Facts::Postgres(facts)),
                }
            });
            let round =
                Round { group: GroupId(0), views: views.collect(), linearizable: None, took: Duration::ZERO };
            judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
        }

        /// The judgement after the time to truth.
        fn settled(&mut self, states: &str) -> Judgement {
            for _ in 0..7 {
                self.round(states);
            }
            self.round(states)
        }
    }

    /// The first server writes and the others follow it.
    fn well(servers: u16) -> Bench {
        let mut bench = Bench::new(servers);
        let states = "W".to_owned() + &"S".repeat(usize::from(servers) - 1);
        assert_eq!(bench.settled(&states).verdict, Standing::Quorum);
        bench
    }

    fn standings(judgement: &Judgement) -> Vec<Standing> {
        judgement.regions.values().map(|(standing, _)| *standing).collect()
    }

    #[test]
    fn every_combination_of_two_and_three() {
        let letters = ['W', 'R', 'O', 'F', 'S', 's', 'x', '-', '?'];
        for n in [2u16, 3] {
            for code in 0..letters.len().pow(u32::from(n)) {
                let states: String = (0..u32::from(n))
                    .map(|place| letters[code / letters.len().pow(place) % letters.len()])
                    .collect();
                let count = |wanted: &str| states.chars().filter(|state| wanted.contains(*state)).count();
                let expected = match count("WRO") {
                    0 if count("FSs") == 0 && count("x") < usize::from(n) => match count("?") {
                        0 => Standing::Unreachable,
                        _ => Standing::Unknown,
                    },
                    // The writer may be writing where we cannot see it.
                    0 if states.starts_with(['-', '?']) => Standing::Unknown,
                    0 => Standing::NoQuorum,
                    1 if count("R") == 1 => Standing::ReadOnly,
                    1 if count("S") > 0 => Standing::Quorum,
                    1 => Standing::Degraded,
                    _ => Standing::SplitBrain,
                };
                let judgement = well(n).settled(&states);
                assert_eq!(judgement.verdict, expected, "{states}: {}", judgement.reason);
                let evidence = judgement.evidence;
                assert_eq!(evidence.reached, count("WROFSs"), "{states}");
                assert_eq!(evidence.margin < 0, count("WRO") == 0, "{states}");
            }
        }
    }

    #[test]
    fn no_writer_is_electing_for_as_long_as_a_restart_may_take() {
        for states in ["xS", "sS", "FS"] {
            let mut bench = well(2);
            for second in 1..=6 {
                assert_eq!(bench.round(states).verdict, Standing::Electing, "{states} after {second}s");
            }
            assert_eq!(bench.round(states).verdict, Standing::NoQuorum, "{states}");
        }
        // A restart in time: nothing happened, and the time starts anew.
        let mut bench = well(2);
        for _ in 0..5 {
            bench.round("xS");
        }
        assert_eq!(bench.round("WS").verdict, Standing::Quorum);
        assert_eq!(bench.round("xS").verdict, Standing::Electing);
        // What cannot be seen does not count towards it.
        let mut bench = well(2);
        for _ in 0..5 {
            bench.round("xS");
        }
        assert_eq!(bench.round("-S").verdict, Standing::Unknown);
        assert_eq!(bench.round("xS").verdict, Standing::Electing);
    }

    #[test]
    fn the_loss_of_a_new_writer_is_not_hidden_by_the_fenced_old_one() {
        let mut bench = well(2);
        assert_eq!(bench.settled("FW").verdict, Standing::Degraded, "moved over; nothing follows yet");
        let lost = bench.settled("Fx");
        assert_eq!(lost.verdict, Standing::NoQuorum);
        assert!(
            lost.reason.contains("the writer host=db1") || lost.reason.contains("db1"),
            "{}",
            lost.reason
        );
        assert_eq!(bench.settled("F-").verdict, Standing::Unknown, "it may be writing");
        // A daemon that has just been started knows of no writer, and sees none.
        let fresh = Bench::new(2).settled("Fx");
        assert_eq!(fresh.verdict, Standing::NoQuorum);
        assert!(fresh.reason.contains("is fenced, and no other is the writer"), "{}", fresh.reason);
        // On the same timeline as the new writer for a moment: fenced all the same.
        assert_eq!(bench.round("FO").verdict, Standing::Degraded);
    }

    #[test]
    fn what_was_never_seen_with_a_writer() {
        assert_eq!(Bench::new(2).settled("xx").verdict, Standing::Unknown);
        assert!(Bench::new(2).settled("xx").reason.contains("is the address right?"));
        assert_eq!(Bench::new(2).settled("Ss").verdict, Standing::NoQuorum, "nobody writes, that is certain");
        // As after a restart of ours: a server that only we cannot reach may be the writer.
        assert_eq!(Bench::new(2).settled("-S").verdict, Standing::Unknown);
        assert_eq!(Bench::new(3).settled("?Sx").verdict, Standing::Unknown);
        assert_eq!(Bench::new(3).settled("xSx").verdict, Standing::NoQuorum);
        assert_eq!(Bench::new(2).settled("--").verdict, Standing::Unreachable);
        assert_eq!(Bench::new(2).settled("-?").verdict, Standing::Unknown);
    }

    #[test]
    fn each_region_stands_as_its_server_does() {
        use Standing::{Degraded, NoQuorum, Quorum, Recovering, SplitBrain, Unknown};
        for (states, expected) in [
            ("WSS", [Quorum, Quorum, Quorum]),
            ("WSs", [Quorum, Quorum, Recovering]),
            ("WSx", [Quorum, Quorum, Degraded]),
            ("WS-", [Quorum, Quorum, Unknown]),
            ("WS?", [Quorum, Quorum, Unknown]),
            ("Wsx", [Degraded, Recovering, Degraded]),
            ("FWS", [Degraded, Quorum, Quorum]),
            ("OWS", [SplitBrain, SplitBrain, SplitBrain]),
            // The writer is gone: the others can take over, as far as they answer.
            ("xSS", [NoQuorum, Degraded, Degraded]),
            ("xS-", [NoQuorum, Degraded, NoQuorum]),
            ("xxx", [NoQuorum, NoQuorum, NoQuorum]),
            ("-SS", [Unknown, Degraded, Degraded]),
            ("?s-", [Unknown, Degraded, Unknown]),
            // Somebody else is moving the role.
            ("sSS", [NoQuorum, NoQuorum, NoQuorum]),
            ("FSS", [NoQuorum, NoQuorum, NoQuorum]),
        ] {
            assert_eq!(standings(&well(3).settled(states)), expected, "{states}");
        }
        // After a restart of ours: whoever is not a standby was the writer.
        assert_eq!(standings(&Bench::new(2).settled("xS")), [NoQuorum, Degraded]);
        assert_eq!(standings(&Bench::new(2).settled("-S")), [Unknown, Degraded]);
        assert_eq!(standings(&Bench::new(2).settled("Ss")), [NoQuorum, NoQuorum], "nobody was");
        // A standby beside the writer that is gone: the region has lost its writer all the same.
        let mut bench = well(3);
        bench.group.members[1].region = RegionId(0);
        assert_eq!(standings(&bench.settled("xSS")), [NoQuorum, Degraded]);
    }

    #[test]
    fn the_best_server_of_a_region_counts() {
        use Standing::{Degraded, Quorum, Recovering};
        for (states, expected) in [("WsS", Quorum), ("WSs", Quorum), ("Wsx", Degraded), ("Ws-", Recovering)] {
            let mut bench = well(3);
            bench.group.members[2].region = RegionId(1);
            let judgement = bench.settled(states);
            assert_eq!(judgement.regions[&RegionId(1)].0, expected, "{states}");
        }
    }

    #[test]
    fn a_follower_of_another_database_does_not_count() {
        let mut bench = well(2);
        let facts = |system: u64, in_recovery: bool| {
            NodeView::Answered(Facts::Postgres(PostgresFacts {
                system,
                in_recovery,
                streaming: true,
                timeline: 2,
                ..PostgresFacts::default()
            }))
        };
        bench.now = bench.now + SECOND;
        let views = vec![facts(7, false), facts(8, true)];
        let round = Round { group: GroupId(0), views, linearizable: None, took: SECOND };
        let judgement = judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now);
        assert_eq!((judgement.verdict, judgement.evidence.margin), (Standing::Degraded, 0));
    }

    #[test]
    fn lag_is_counted_from_the_writer() {
        let evidence = well(3).round("WSS").evidence;
        assert_eq!((evidence.lag_max, evidence.term, evidence.margin), (Some(10), Some(2), 2));
        assert_eq!(well(3).round("xSS").evidence.lag_max, None);
    }
}
