use std::time::Duration;

use super::*;
use crate::base::{GroupId, Mono, RegionId};
use crate::cluster::bench::{self, SECOND};
use crate::cluster::{Linearizable, Memory, NodeView, Round, judge};
use crate::config::{Cluster, ClusterKind, Endpoint, EtcdOptions, Group, Member};

/// A group of `n` voters, spread over regions as told, its memory, and a clock.
struct Bench {
    cluster: Cluster,
    group: Group,
    memory: Memory,
    now: Mono,
    read: Option<LinearizableResult>,
    /// Voters by the word of everybody, where the system lists them.
    electorate: BTreeSet<String>,
}

impl Bench {
    fn new(regions: &[u16], inside: bool) -> Self {
        let members = regions.iter().enumerate().map(|(n, region)| Member {
            region: RegionId(*region),
            endpoint: Endpoint::Http(format!("http://m{n}:2379").parse().unwrap()),
        });
        Self {
            cluster: bench::cluster(ClusterKind::Etcd(EtcdOptions::default())),
            group: bench::group(members, inside),
            memory: Memory::default(),
            now: Mono(100 * SECOND),
            read: None,
            electorate: BTreeSet::new(),
        }
    }

    /// One round; each letter is a voter: `L`eads, `f`ollows, `n`o leader, `o`ld leader of a
    /// lower term, `O`ld leader itself, `x` refused, `-` silent, `?` denied, `l`earner.
    fn round(&mut self, states: &str) -> Judgement {
        self.now = self.now + SECOND;
        let leads = (states.find('L').unwrap_or(9) + 1).to_string();
        let views = states.chars().enumerate().map(|(n, state)| {
            let member = (n + 1).to_string();
            let facts = |leader: Option<&str>, term: u64| {
                NodeView::Answered(Facts::Raft(RaftFacts {
                    cluster: "ours".to_owned(),
                    member: member.clone(),
                    leader: leader.map(str::to_owned),
                    term,
                    index: 50,
                    applied: 50,
                    learner: state == 'l',
                    electorate: self.electorate.clone(),
                    ..RaftFacts::default()
                }))
            };
            match state {
                'L' | 'f' | 'l' => facts(Some(&leads), 5),
                'n' => facts(None, 5),
                'o' => facts(Some("88"), 4),
                'O' => facts(Some(&member), 4),
                'x' => NodeView::Refused("refused".into()),
                '?' => NodeView::Denied("denied".into()),
                _ => NodeView::Silent("silent".into()),
            }
        });
        let linearizable = self.read.clone().map(|result| Linearizable { at: self.now, member: 0, result });
        let round = Round { group: GroupId(0), views: views.collect(), linearizable, took: Duration::ZERO };
        judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
    }

    /// The verdict after the time to truth.
    fn settled(&mut self, states: &str) -> Standing {
        for _ in 0..7 {
            self.round(states);
        }
        self.round(states).verdict
    }
}

fn well(n: usize) -> Bench {
    let mut bench = Bench::new(&vec![0; n], true);
    assert_eq!(bench.settled(&("L".to_owned() + &"f".repeat(n - 1))), Standing::Quorum);
    bench
}

/// Every state of five members, of which one, three or five have a vote by the word of all.
#[test]
fn a_list_of_voters_counts_once_a_majority_of_it_confirms_it() {
    let letters = ['L', 'f', 'n', 'x', '-'];
    for voters in [vec![1], vec![0, 1, 2], vec![1, 3, 4], vec![0, 1, 2, 3, 4]] {
        for code in 0..letters.len().pow(5) {
            let states: String =
                (0..5u32).map(|place| letters[code / letters.len().pow(place) % letters.len()]).collect();
            let count = |wanted: char| states.matches(wanted).count();
            if count('L') > 1 || (count('f') > 0 && count('L') == 0) {
                continue;
            }
            let mut bench = well(5);
            bench.electorate = voters.iter().map(|n| (n + 1).to_string()).collect();
            bench.round("Lffff");
            let among = |wanted: &str| {
                voters.iter().filter(|n| wanted.contains(states.as_bytes()[**n] as char)).count()
            };
            let majority = voters.len() / 2 + 1;
            let expected = if among("Lf") > majority {
                Standing::Quorum
            } else if among("Lf") == majority {
                Standing::Degraded
            } else if among("x") >= majority {
                Standing::NoQuorum
            } else if among("Lf") > 0 {
                Standing::Unknown
            } else if count('L') + count('f') + count('n') > 0 {
                Standing::NoQuorum
            } else {
                Standing::Unreachable
            };
            let settled = bench.settled(&states);
            assert_eq!(settled, expected, "{states} of {voters:?}");
        }
    }
}

#[test]
fn a_list_that_nobody_confirms_changes_nothing() {
    let listed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    // A follower of a leader that is silent lists itself alone.
    let mut bench = well(5);
    bench.electorate = listed(&["5"]);
    assert_eq!(bench.settled("----o"), Standing::Unknown);
    // One that is cut off, and knows of no leader.
    assert_eq!(bench.settled("----n"), Standing::NoQuorum);
    // A leader whose list has voters that nobody of us has ever seen: they may be anywhere.
    let mut bench = well(3);
    bench.electorate = listed(&["1", "2", "7", "8", "9"]);
    assert_eq!(bench.settled("Lff"), Standing::Quorum, "as configured");
    bench.electorate = listed(&["1", "2", "3", "8", "9"]);
    assert_eq!(bench.settled("Lff"), Standing::Degraded, "three of five, and none to spare");
    // What was confirmed holds while there is no leader, and no member that left counts again.
    let mut bench = well(5);
    bench.electorate = listed(&["1", "2", "3"]);
    assert_eq!(bench.settled("Lffxx"), Standing::Quorum);
    assert_eq!(bench.round("nnxxx").verdict, Standing::Electing, "three refuse, one of them a voter");
    assert_eq!(bench.settled("Lfxxx"), Standing::Degraded);
    assert_eq!(bench.round("nxxnn").verdict, Standing::NoQuorum, "two of three voters refuse");
    // Until more are listed, and confirm it.
    bench.electorate = listed(&["1", "2", "3", "4", "5"]);
    assert_eq!(bench.settled("Lffff"), Standing::Quorum);
    assert_eq!(bench.round("Lffff").evidence.margin, 2);
}

#[test]
fn a_voter_that_never_showed_up_may_be_any_of_the_listed() {
    let mut bench = Bench::new(&[0; 5], true);
    bench.memory = Memory::well();
    bench.electorate = (1..=3).map(|n: u8| n.to_string()).collect();
    // The third has not been seen, so that either of those that refuse may be it.
    let judged = bench.round("Lf--x");
    assert_eq!((judged.verdict, judged.evidence.voters), (Standing::Degraded, 3));
    assert_eq!(bench.settled("nx--x"), Standing::NoQuorum);
    let judged = bench.round("Lffx-");
    assert_eq!((judged.verdict, judged.evidence.margin, judged.evidence.reached), (Standing::Quorum, 1, 3));
}

#[test]
fn electing_has_its_time_and_no_more() {
    let mut bench = well(3);
    for second in 1..=6 {
        assert_eq!(bench.round("xnn").verdict, Standing::Electing, "after {second}s");
    }
    assert_eq!(bench.round("xnn").verdict, Standing::NoQuorum);
    // A new leader within the time: nothing happened.
    let mut bench = well(3);
    bench.round("xnn");
    assert_eq!(bench.round("xLf").verdict, Standing::Degraded);
}

#[test]
fn followers_that_name_a_dead_leader_prove_nothing_until_the_time_is_up() {
    let mut bench = well(3);
    // The old leader (id 88) is silent and two voters still name it.
    assert_eq!(bench.round("-oo").verdict, Standing::Electing);
    // They would have given up on it long ago if it were dead.
    assert_eq!(bench.settled("-oo"), Standing::Degraded);
}

#[test]
fn a_linearizable_read_that_passed_overrules_and_a_hung_one_does_not() {
    let mut bench = well(5);
    bench.read = Some(LinearizableResult::Passed);
    assert_eq!(bench.settled("f----"), Standing::Degraded);
    bench.read = Some(LinearizableResult::Hung);
    assert_eq!(bench.settled("n----"), Standing::NoQuorum);
    let mut bench = well(5);
    bench.read = Some(LinearizableResult::Hung);
    assert_eq!(bench.settled("Lffff"), Standing::Quorum);
}

#[test]
fn never_sums_votes_over_terms_and_sees_two_leaders_of_one_term() {
    assert_eq!(well(5).settled("LfxOo"), Standing::Unknown);
    assert_eq!(well(5).settled("LffOo"), Standing::Degraded);
    let mut bench = well(3);
    let mut round = |leaders: [u64; 3]| {
        bench.now = bench.now + SECOND;
        let views = leaders.iter().zip(1..).map(|(leader, member): (_, u64)| {
            NodeView::Answered(Facts::Raft(RaftFacts {
                member: member.to_string(),
                leader: Some(leader.to_string()),
                term: 5,
                ..RaftFacts::default()
            }))
        });
        let round = Round { group: GroupId(0), views: views.collect(), linearizable: None, took: SECOND };
        judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now).verdict
    };
    assert_eq!(round([1, 2, 2]), Standing::SplitBrain);
}

/// One round of voters that tell whom they take for the leader, and neither their own name nor
/// the term.
fn nameless(bench: &mut Bench, leaders: [&str; 3]) -> Judgement {
    bench.now = bench.now + SECOND;
    let views = leaders.map(|leader| {
        let leader = Some(leader.to_owned()).filter(|leader| !leader.is_empty());
        NodeView::Answered(Facts::Raft(RaftFacts { leader, ..RaftFacts::default() }))
    });
    let round = Round { group: GroupId(0), views: views.to_vec(), linearizable: None, took: SECOND };
    judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now)
}

#[test]
fn a_leader_that_does_not_tell_its_name_is_believed_in_time() {
    let mut bench = Bench::new(&[0, 0, 0], true);
    for _ in 0..6 {
        assert_eq!(nameless(&mut bench, ["a", "a", "a"]).verdict, Standing::Electing);
    }
    for _ in 0..9 {
        assert_eq!(nameless(&mut bench, ["a", "a", "a"]).verdict, Standing::Quorum);
    }
    // An election is an election, however long it went well before.
    for _ in 0..5 {
        assert_eq!(nameless(&mut bench, ["", "", ""]).verdict, Standing::Electing);
    }
    // The next leader has to prove itself anew; what never was lost is never called so.
    for _ in 0..3 {
        assert_ne!(nameless(&mut bench, ["b", "b", "b"]).verdict, Standing::NoQuorum);
    }
    assert_eq!(nameless(&mut bench, ["b", "b", "b"]).verdict, Standing::Quorum);
    for _ in 0..6 {
        assert_eq!(nameless(&mut bench, ["", "", ""]).verdict, Standing::Electing);
    }
    assert_eq!(nameless(&mut bench, ["", "", ""]).verdict, Standing::NoQuorum);
}

#[test]
fn followers_that_do_not_say_whom_they_follow() {
    let mut bench = Bench::new(&[0, 0, 0], true);
    // A letter and a term each: `L`eads, `f`ollows somebody, `n`o leader, `-` silent.
    let mut round = |states: [(char, u64); 3]| {
        bench.now = bench.now + SECOND;
        let views = states.iter().zip(["a", "b", "c"]).map(|((state, term), member)| {
            let leader = match state {
                'L' => Some(member.to_owned()),
                'f' => Some(String::new()),
                '-' => return NodeView::Silent(String::new()),
                _ => None,
            };
            let member = member.to_owned();
            NodeView::Answered(Facts::Raft(RaftFacts { member, leader, term: *term, ..RaftFacts::default() }))
        });
        let round = Round { group: GroupId(0), views: views.collect(), linearizable: None, took: SECOND };
        let judgement = judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now);
        (judgement.verdict, judgement.evidence.agreeing)
    };
    // Nothing has happened yet in the new epoch: the followers are still in the one before.
    assert_eq!(round([('L', 1), ('f', 0), ('f', 0)]), (Standing::Quorum, 3));
    assert_eq!(round([('L', 1), ('f', 1), ('n', 0)]), (Standing::Degraded, 2));
    // The old leader has not noticed: its followers are gone to another.
    assert_eq!(round([('L', 1), ('L', 2), ('f', 1)]), (Standing::Degraded, 2));
    // It follows somebody who is newer than the only one that claims to lead.
    assert_eq!(round([('L', 1), ('-', 0), ('f', 2)]), (Standing::Electing, 1));
    // Two follow somebody whom we cannot reach: believed in time, in one epoch alone.
    for _ in 0..6 {
        round([('-', 0), ('f', 2), ('f', 2)]);
    }
    assert_eq!(round([('-', 0), ('f', 2), ('f', 2)]), (Standing::Degraded, 2));
    for _ in 0..8 {
        round([('-', 0), ('f', 2), ('f', 1)]);
    }
    assert_eq!(round([('-', 0), ('f', 2), ('f', 1)]), (Standing::Unknown, 1));
    for _ in 0..8 {
        round([('n', 0), ('n', 0), ('-', 0)]);
    }
    assert_eq!(round([('n', 0), ('n', 0), ('-', 0)]).0, Standing::NoQuorum);
}

#[test]
fn an_old_leader_without_a_term_is_no_split() {
    let mut bench = Bench::new(&[0, 0, 0], true);
    let mut round = |leaders: [&str; 3]| {
        bench.now = bench.now + SECOND;
        let views = leaders.iter().zip(["a", "b", "c"]).map(|(leader, member)| {
            let (leader, member) = (Some((*leader).to_owned()), member.to_owned());
            NodeView::Answered(Facts::Raft(RaftFacts { member, leader, ..RaftFacts::default() }))
        });
        let round = Round { group: GroupId(0), views: views.collect(), linearizable: None, took: SECOND };
        let judgement = judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now);
        (judgement.verdict, judgement.evidence.leader)
    };
    assert_eq!(round(["a", "a", "a"]).0, Standing::Quorum);
    assert_eq!(round(["a", "b", "b"]), (Standing::Degraded, Some("http://m1:2379".to_owned())));
    assert_eq!(round(["a", "b", "c"]).0, Standing::Electing);
}

#[test]
fn a_group_never_seen_well_is_not_lost_when_it_refuses() {
    let mut bench = Bench::new(&[0, 0, 0], true);
    let judgement = bench.round("xxx");
    assert_eq!(judgement.verdict, Standing::Unknown);
    assert!(judgement.reason.contains("is the address right?"), "{}", judgement.reason);
}

#[test]
fn learners_have_no_vote() {
    // Three voters and a learner: two voters are a majority of three.
    let mut bench = Bench::new(&[0, 0, 0, 0], true);
    assert_eq!(bench.settled("Lffl"), Standing::Quorum);
    assert_eq!(bench.settled("Lfxl"), Standing::Degraded);
    assert_eq!(bench.settled("nxxl"), Standing::NoQuorum);
    // It stays known as one while it is silent.
    assert_eq!(bench.settled("Lfx-"), Standing::Degraded);
}

#[test]
fn catches_up_before_it_counts() {
    let mut bench = well(3);
    assert_eq!(bench.settled("nxx"), Standing::NoQuorum);
    bench.now = bench.now + SECOND;
    let facts = |member: u64, applied: u64| {
        NodeView::Answered(Facts::Raft(RaftFacts {
            member: member.to_string(),
            leader: Some("1".to_owned()),
            term: 6,
            index: 90,
            applied,
            ..RaftFacts::default()
        }))
    };
    let mut round = |applied: [u64; 3]| {
        let views = applied.iter().zip(1..).map(|(applied, member)| facts(member, *applied)).collect();
        let round = Round { group: GroupId(0), views, linearizable: None, took: SECOND };
        judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now).verdict
    };
    assert_eq!(round([90, 50, 50]), Standing::Recovering);
    assert_eq!(round([90, 90, 50]), Standing::Quorum);
    assert_eq!(round([90, 50, 50]), Standing::Quorum, "lag alone is not a recovery");
}

#[test]
fn only_the_region_that_is_cut_off_is_lost() {
    let mut bench = Bench::new(&[0, 1, 2], false);
    let standings =
        |judgement: &Judgement| judgement.regions.values().map(|(standing, _)| *standing).collect::<Vec<_>>();
    let healthy = bench.round("Lff");
    assert_eq!(standings(&healthy), [Standing::Quorum; 3]);
    let cut = bench.round("nLf");
    assert_eq!(cut.verdict, Standing::Degraded);
    assert_eq!(standings(&cut), [Standing::Electing, Standing::Degraded, Standing::Degraded]);
    bench.settled("nLf");
    let cut = bench.round("nLf");
    assert_eq!(standings(&cut), [Standing::NoQuorum, Standing::Degraded, Standing::Degraded]);
    // A dead process is not a partition; silence is not evidence.
    assert_eq!(standings(&bench.round("xLf"))[0], Standing::Degraded);
    assert_eq!(standings(&bench.round("-Lf"))[0], Standing::Unknown);
    // Back again.
    bench.settled("fLf");
    assert_eq!(standings(&bench.round("fLf")), [Standing::Quorum; 3]);
    // A minority that knows of no leader says nothing of the others, which are silent.
    bench.settled("n--");
    assert_eq!(standings(&bench.round("n--")), [Standing::NoQuorum, Standing::Unknown, Standing::Unknown]);
    bench.settled("Lff");
    // Lost as a whole: everybody's loss, and nobody's alone.
    bench.settled("nxx");
    assert_eq!(standings(&bench.round("nxx")), [Standing::NoQuorum; 3]);
}

#[test]
fn what_answers_for_another_cluster_is_no_partition() {
    let mut bench = Bench::new(&[0, 1, 2], false);
    bench.settled("Lff");
    let facts = |cluster: &str, member: &str, leader: &str, term: u64| RaftFacts {
        cluster: cluster.to_owned(),
        member: member.to_owned(),
        leader: Some(leader.to_owned()),
        term,
        ..RaftFacts::default()
    };
    for _ in 0..8 {
        bench.now = bench.now + SECOND;
        let answers = [facts("theirs", "1", "1", 5), facts("ours", "2", "2", 6), facts("ours", "3", "2", 6)];
        let views = answers.map(|facts| NodeView::Answered(Facts::Raft(facts))).to_vec();
        let round = Round { group: GroupId(0), views, linearizable: None, took: SECOND };
        let judgement = judge(&bench.cluster, &bench.group, &round, &mut bench.memory, bench.now);
        assert_eq!(judgement.verdict, Standing::Degraded);
        assert_eq!(judgement.regions[&RegionId(0)].0, Standing::Unknown);
        assert_eq!(judgement.regions[&RegionId(1)].0, Standing::Degraded);
    }
}

#[test]
fn words_say_what_was_seen() {
    let mut bench = well(3);
    let reason = |judgement: Judgement| judgement.reason;
    assert_eq!(reason(bench.round("Lff")), "3 of 3 voters follow http://m0:2379 in term 5");
    assert_eq!(
        reason(bench.round("Lfx")),
        "2 of 3 voters follow http://m0:2379 in term 5; none can be spared (1 refused)"
    );
    bench.settled("n--");
    assert_eq!(reason(bench.round("n--")), "1 of 3 voters answer and know of no leader (2 silent)");
    assert_eq!(reason(bench.round("xx-")), "2 of 3 voters refuse connections");
}
