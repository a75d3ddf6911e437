use std::time::Duration;

use super::*;
use crate::base::{GroupId, Mono};
use crate::cluster::bench::{self, SECOND};
use crate::cluster::{Memory, Round, judge};
use crate::config::{
    Application, Cluster, ClusterKind, Endpoint, Group, HostPort, Member, PostgresOptions, PostgresTarget,
    PostgresTls, UnreachableWriter,
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
    assert!(lost.reason.contains("the writer host=db1") || lost.reason.contains("db1"), "{}", lost.reason);
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
