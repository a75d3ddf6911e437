use crate::base::{GroupId, Mono, RegionId};
use crate::cluster::bench::{self, SECOND};
use crate::cluster::{
    Facts, Judgement, Linearizable, LinearizableResult, Memory, NodeView, RaftFacts, Round, Standing, judge,
};
use crate::config::{Cluster, ClusterKind, Endpoint, Group, HostPort, Member, MongodbOptions};

/// A replica set, one member to a region, its memory, and a clock.
struct Bench {
    cluster: Cluster,
    group: Group,
    memory: Memory,
    now: Mono,
    /// The primary's log, and what a majority has of it.
    log: (u64, u64),
    /// Followers tell their own term: there is a login.
    terms: bool,
    read: Option<LinearizableResult>,
}

fn place(n: usize) -> HostPort {
    HostPort { host: format!("db{n}"), port: 27017 }
}

impl Bench {
    fn new(members: usize, without_vote: &[usize]) -> Self {
        let kind = ClusterKind::Mongodb(MongodbOptions {
            set: None,
            login: None,
            without_vote: without_vote.iter().map(|n| place(*n)).collect(),
            majority_writes: true,
            tls: None,
            linearizable_timeout: SECOND,
        });
        let listed =
            (0..members).map(|n| Member { region: RegionId(n as u16), endpoint: Endpoint::Port(place(n)) });
        Self {
            cluster: bench::cluster(kind),
            group: bench::group(listed, false),
            memory: Memory::default(),
            now: Mono(100 * SECOND),
            log: (50, 50),
            terms: false,
            read: None,
        }
    }

    /// One round; each letter is a member: `P`rimary of term 5, its `s`econdary, `a`rbiter or
    /// member that is brought up to date (`r`), an `o`ld primary of term 4 and its secondary
    /// (`q`), a secondary or arbiter (`b`) that knows of `n`o primary, a secondary (`z`) or
    /// arbiter (`y`) that follows a primary that does not answer, `v`: has no vote, `x` refused, `-` silent, `?` denied.
    fn round(&mut self, states: &str) -> Judgement {
        self.now = self.now + SECOND;
        let name = |letter: char| states.find(letter).map(|n| n.to_string());
        let views = states.chars().enumerate().map(|(n, state)| {
            let leader = match state {
                'P' | 's' | 'a' | 'r' | 'v' => name('P'),
                'o' | 'q' => name('o'),
                'z' | 'y' => Some("gone".to_owned()),
                'x' => return NodeView::Refused("refused".into()),
                '?' => return NodeView::Denied("denied".into()),
                '-' => return NodeView::Silent("silent".into()),
                _ => None,
            };
            let arbiter = matches!(state, 'a' | 'b' | 'y');
            let (index, committed) = self.log;
            NodeView::Answered(Facts::Raft(RaftFacts {
                cluster: "rs0".to_owned(),
                member: n.to_string(),
                leader,
                term: match (state, self.terms) {
                    ('P', _) => 5,
                    ('o' | 'q', _) => 4,
                    // The last write that it has is of the term before; an arbiter has none.
                    ('a' | 'b' | 'y', false) => 0,
                    (_, false) => 4,
                    (_, true) => 5,
                },
                term_of_log: !self.terms && !matches!(state, 'P' | 'o'),
                index: if arbiter { 0 } else { index },
                applied: if arbiter { 0 } else { index },
                committed: matches!(state, 'P' | 'o').then_some(committed),
                arbiter,
                syncing: state == 'r',
                learner: state == 'v',
                ..RaftFacts::default()
            }))
        });
        let linearizable = self.read.clone().map(|result| Linearizable { at: self.now, member: 0, result });
        let round = Round { group: GroupId(0), views: views.collect(), linearizable, took: SECOND };
        judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
    }

    /// After the time to truth, while all that is written is committed.
    fn settled(&mut self, states: &str) -> Judgement {
        for _ in 0..7 {
            self.round(states);
        }
        self.round(states)
    }
}

fn well(states: &str) -> Bench {
    let mut bench = Bench::new(states.len(), &[]);
    bench.settled(states);
    bench
}

#[test]
fn every_combination_of_three_and_five() {
    let letters = ['P', 's', 'a', 'r', 'n', 'x', '-', '?'];
    for (n, terms) in [(3usize, false), (3, true), (4, false), (5, false)] {
        for code in 0..letters.len().pow(n as u32) {
            let states: String =
                (0..n as u32).map(|place| letters[code / letters.len().pow(place) % letters.len()]).collect();
            let count = |wanted: &[char]| states.chars().filter(|state| wanted.contains(state)).count();
            let agreeing = count(&['P', 's', 'a', 'r']);
            if count(&['P']) > 1 || (agreeing > 0 && count(&['P']) == 0) {
                continue;
            }
            let majority = n / 2 + 1;
            let mut bench = well(&("P".to_owned() + &"s".repeat(n - 1)));
            bench.terms = terms;
            let judged = bench.settled(&states);
            // Of those that are known to have data for sure a majority, or all that are left.
            let with = count(&['P', 's']);
            let copies = majority.min(n - count(&['a', 'r']));
            let expected = match agreeing {
                _ if agreeing > majority && with > copies => Standing::Quorum,
                _ if agreeing > majority && count(&['a', 'r']) == 0 => Standing::Quorum,
                _ if agreeing >= majority => Standing::Degraded,
                _ if count(&['x']) >= majority => Standing::NoQuorum,
                1.. => Standing::Unknown,
                0 if count(&['n']) > 0 && count(&['-', '?']) < majority => Standing::NoQuorum,
                // The others may go on out of sight.
                0 if count(&['n']) > 0 => Standing::Unknown,
                0 if count(&['?']) > 0 => Standing::Unknown,
                0 => Standing::Unreachable,
            };
            assert_eq!(judged.verdict, expected, "{states}: {}", judged.reason);
        }
    }
}

#[test]
fn a_primary_without_a_majority_of_copies_leads_on_and_is_lost() {
    // A primary, a secondary, an arbiter: neither of the first two can be spared.
    let mut bench = Bench::new(3, &[]);
    assert_eq!(bench.settled("Psa").verdict, Standing::Degraded);
    // The secondary is gone; two votes of three go on. Nobody has written anything yet.
    assert_eq!(bench.settled("Pxa").verdict, Standing::Degraded);
    // An idle primary writes a note now and then.
    bench.log = (60, 50);
    for _ in 0..6 {
        assert_eq!(bench.round("Pxa").verdict, Standing::Degraded);
    }
    let judged = bench.round("Pxa");
    assert_eq!((judged.verdict, judged.evidence.margin), (Standing::NoQuorum, -1));
    assert!(judged.reason.ends_with("nothing that it writes reaches a majority"), "{judged:?}");
    assert!(judged.regions.values().all(|(standing, _)| *standing == Standing::NoQuorum));
    // A read that a majority has confirmed says otherwise.
    bench.read = Some(LinearizableResult::Passed);
    assert_eq!(bench.round("Pxa").verdict, Standing::Degraded);
    bench.read = None;
    // The secondary is back.
    bench.log = (70, 70);
    assert_eq!(bench.settled("Psa").verdict, Standing::Degraded);
}

#[test]
fn a_busy_primary_is_always_a_little_behind() {
    let mut bench = well("Pss");
    for n in 0..20 {
        bench.log = (60 + n, 55 + n);
        assert_eq!(bench.round("Pss").verdict, Standing::Quorum);
    }
    // It stands still for less than the time to truth, time and again.
    for n in 0..20 {
        bench.log = (90 + n, 75 + n / 4);
        assert_eq!(bench.round("Pss").verdict, Standing::Quorum);
    }
}

#[test]
fn the_older_of_two_primaries_is_not_the_one() {
    for terms in [false, true] {
        let mut bench = well("Pssss");
        bench.terms = terms;
        let judged = bench.settled("oqPss");
        assert_eq!(judged.verdict, Standing::Degraded, "{}", judged.reason);
        assert_eq!((judged.evidence.agreeing, judged.evidence.term), (3, Some(5)));
        assert_eq!(judged.evidence.leader.as_deref(), Some("db2:27017"));
        let standings: Vec<Standing> = judged.regions.values().map(|(standing, _)| *standing).collect();
        use Standing::{Degraded, NoQuorum};
        assert_eq!(standings, [NoQuorum, NoQuorum, Degraded, Degraded, Degraded]);
        // The old one alone, which nobody has told, and the others out of sight.
        assert_eq!(bench.settled("oq---").verdict, Standing::Unknown);
        // It has noticed; the others may have elected another.
        let judged = bench.settled("nn---");
        assert_eq!(judged.verdict, Standing::Unknown);
        assert_eq!(judged.regions[&RegionId(0)].0, Standing::NoQuorum);
        assert_eq!(bench.settled("nnn--").verdict, Standing::NoQuorum);
    }
}

#[test]
fn secondaries_that_name_a_primary_out_of_sight_are_believed_in_time() {
    let mut bench = well("Pss");
    assert_eq!(bench.round("-zz").verdict, Standing::Electing);
    assert_eq!(bench.settled("-zz").verdict, Standing::Degraded);
    // One of the two knows of none.
    assert_eq!(bench.settled("-zn").verdict, Standing::Unknown);
    // An arbiter has no writes to tell the term by.
    assert_eq!(well("Pssa").settled("-zzy").verdict, Standing::Degraded);
}

#[test]
fn a_region_with_an_arbiter_alone_has_nothing_to_catch_up_with() {
    let mut bench = well("Pssa");
    bench.settled("Psn-");
    bench.settled("Pssb");
    let judged = bench.settled("Pssb");
    assert_eq!(judged.regions[&RegionId(3)].0, Standing::NoQuorum);
    let judged = bench.round("Pssa");
    assert_eq!(judged.regions[&RegionId(3)].0, judged.verdict, "{judged:?}");
}

#[test]
fn members_without_a_vote_do_not_count() {
    // Configured as such: it need not have been asked.
    let mut bench = Bench::new(4, &[3]);
    assert_eq!(bench.settled("Pss-").verdict, Standing::Quorum);
    assert_eq!(bench.settled("Psxv").evidence.voters, 3);
    assert_eq!(bench.settled("Psxv").verdict, Standing::Degraded);
    assert_eq!(bench.settled("nxxv").verdict, Standing::NoQuorum);
}

#[test]
fn a_set_of_a_few_with_data_and_more_arbiters_is_back_when_those_few_are() {
    let mut bench = well("Psaaa");
    bench.settled("nbbbb");
    assert_eq!(bench.settled("nbbbb").verdict, Standing::NoQuorum);
    assert_eq!(bench.settled("Psaaa").verdict, Standing::Degraded);
}
