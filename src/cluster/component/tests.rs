use super::*;
use crate::base::{GroupId, Mono, RegionId};
use crate::cluster::bench::{self, SECOND};
use crate::cluster::{ComponentView, Linearizable, Memory, NodeView, Round, judge};
use crate::config::{Cluster, ClusterKind, Endpoint, GaleraOptions, Group, HostPort};

struct Bench {
    cluster: Cluster,
    group: Group,
    memory: Memory,
    now: Mono,
    read: Option<(usize, LinearizableResult)>,
}

impl Bench {
    fn new(regions: &[u16], inside: bool, arbitrators: usize) -> Self {
        let members = regions.iter().enumerate().map(|(n, region)| crate::config::Member {
            region: RegionId(*region),
            endpoint: Endpoint::Port(HostPort { host: format!("m{n}"), port: 3306 }),
        });
        let options = GaleraOptions { arbitrators, ..GaleraOptions::default() };
        Self {
            cluster: bench::cluster(ClusterKind::Galera(options)),
            group: bench::group(members, inside),
            memory: Memory::default(),
            now: Mono(100 * SECOND),
            read: None,
        }
    }

    fn views(&mut self, views: Vec<NodeView>) -> Judgement {
        self.now = self.now + SECOND;
        let linearizable =
            self.read.clone().map(|(member, result)| Linearizable { at: self.now, member, result });
        let round = Round { group: GroupId(0), views, linearizable, took: SECOND };
        judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
    }

    /// One round; each letter is a member: a digit is in a membership of so many that may
    /// commit, `o` still in the old one with all, `j`oining, `c`ut off, `x` refused, `-` silent,
    /// `?` denied.
    fn round(&mut self, states: &str) -> Judgement {
        let all = self.group.members.len() + self.cluster.kind.arbitrators();
        let views = states.chars().enumerate().map(|(n, state)| {
            let view = |number, size| Some(ComponentView { number, name: String::new(), size });
            let facts = ComponentFacts {
                cluster: "ours".to_owned(),
                member: n.to_string(),
                ready: !matches!(state, 'c' | 'j'),
                synced: !matches!(state, 'c' | 'j'),
                state: if state == 'j' { "Joining" } else { "Synced" }.to_owned(),
                committed: 50,
                ..ComponentFacts::default()
            };
            let with = |view| NodeView::Answered(Facts::Component(ComponentFacts { view, ..facts.clone() }));
            match state {
                'x' => NodeView::Refused("connection refused".to_owned()),
                '-' => NodeView::Silent("no answer".to_owned()),
                '?' => NodeView::Denied("access denied".to_owned()),
                'c' => with(None),
                'o' => with(view(7, all)),
                'j' => with(view(8, all)),
                size => with(view(8, size.to_digit(10).unwrap() as usize)),
            }
        });
        let views = views.collect();
        self.views(views)
    }

    /// The verdict once every time that matters is over.
    fn settled(&mut self, states: &str) -> Standing {
        for _ in 0..11 {
            self.round(states);
        }
        self.round(states).verdict
    }
}

fn well(n: usize) -> Bench {
    let mut bench = Bench::new(&vec![0; n], true, 0);
    assert_eq!(bench.settled(&n.to_string().repeat(n)), Standing::Quorum);
    bench
}

#[test]
fn an_old_claim_is_not_counted_and_dies() {
    // Right after a partition: the one that is cut off goes on in the old membership.
    let mut bench = well(3);
    assert_eq!(bench.round("o22").verdict, Standing::Degraded);
    // Alone it is no quorum, nor a loss yet; then it finds out.
    let mut bench = well(3);
    assert_eq!(bench.round("o--").verdict, Standing::Electing);
    assert_eq!(bench.round("c--").verdict, Standing::Electing);
    assert_eq!(bench.settled("c--"), Standing::NoQuorum);
}

#[test]
fn two_parts_that_both_go_on_are_a_split_brain() {
    let mut bench = well(3);
    assert_ne!(bench.round("o22").verdict, Standing::SplitBrain);
    assert_eq!(bench.settled("o22"), Standing::SplitBrain);
    // Two that were each told to go on alone, with the same number.
    assert_eq!(well(3).round("11c").verdict, Standing::SplitBrain);
}

#[test]
fn a_membership_that_shrunk_in_good_order_is_proved_by_a_read() {
    let mut bench = well(3);
    bench.read = Some((0, LinearizableResult::Passed));
    assert_eq!(bench.settled("1xx"), Standing::Degraded);
    // Without the read nothing is known: not lost, as a claim of the old membership would be.
    let mut bench = well(3);
    assert_eq!(bench.settled("1xx"), Standing::Unknown);
    let mut bench = well(3);
    assert_eq!(bench.settled("oxx"), Standing::NoQuorum);
}

#[test]
fn members_that_answer_while_what_takes_the_others_hangs_have_no_quorum() {
    let mut bench = well(3);
    bench.read = Some((0, LinearizableResult::Hung));
    assert_eq!(bench.settled("3--"), Standing::NoQuorum);
    // On one of them it may hang for reasons of its own.
    let mut bench = well(3);
    bench.read = Some((0, LinearizableResult::Hung));
    assert_eq!(bench.settled("333"), Standing::Quorum);
    for member in 1..3 {
        bench.read = Some((member, LinearizableResult::Hung));
        bench.round("333");
    }
    assert_eq!(bench.settled("333"), Standing::NoQuorum);
    bench.read = Some((1, LinearizableResult::Passed));
    assert_eq!(bench.settled("333"), Standing::Quorum);
}

#[test]
fn arbitrators_vote_and_cannot_be_asked() {
    // Two members and an arbitrator.
    let mut bench = Bench::new(&[0, 0], true, 1);
    assert_eq!(bench.settled("33"), Standing::Quorum);
    assert_eq!(bench.settled("2x"), Standing::Degraded);
    assert_eq!(bench.settled("2c"), Standing::Degraded);
    // Silent, it may itself be the second of the two.
    assert_eq!(bench.settled("2-"), Standing::Unknown);
    assert_eq!(bench.settled("3-"), Standing::Degraded);
    assert_eq!(bench.settled("cx"), Standing::NoQuorum);
    // The arbitrator is gone.
    assert_eq!(bench.settled("22"), Standing::Degraded);
}

#[test]
fn catches_up_before_it_counts() {
    let mut bench = well(3);
    assert_eq!(bench.settled("ccc"), Standing::NoQuorum);
    let facts = |n: u64, committed, synced| {
        NodeView::Answered(Facts::Component(ComponentFacts {
            member: n.to_string(),
            view: Some(ComponentView { number: 9, name: String::new(), size: 3 }),
            ready: true,
            synced,
            committed,
            ..ComponentFacts::default()
        }))
    };
    let mut round = |second: (u64, bool)| {
        bench.views(vec![facts(0, 90, true), facts(1, second.0, second.1), facts(2, 50, true)]).verdict
    };
    assert_eq!(round((50, true)), Standing::Recovering);
    assert_eq!(round((90, false)), Standing::Recovering);
    assert_eq!(round((90, true)), Standing::Quorum);
    assert_eq!(round((50, true)), Standing::Quorum, "lag alone is not a recovery");
    assert_eq!(well(3).settled("jjx"), Standing::Recovering);
}

#[test]
fn only_the_region_that_is_cut_off_is_lost() {
    let mut bench = Bench::new(&[0, 1, 2], false, 0);
    let standings =
        |judgement: &Judgement| judgement.regions.values().map(|(standing, _)| *standing).collect::<Vec<_>>();
    assert_eq!(standings(&bench.round("333")), [Standing::Quorum; 3]);
    // Still in the old membership: not yet known.
    assert_eq!(standings(&bench.round("o22"))[0], Standing::Unknown);
    assert_eq!(standings(&bench.round("c22"))[0], Standing::Electing);
    bench.settled("c22");
    let cut = bench.round("c22");
    assert_eq!(standings(&cut), [Standing::NoQuorum, Standing::Degraded, Standing::Degraded]);
    // Back, and behind.
    assert_eq!(standings(&bench.round("j33"))[0], Standing::Recovering);
    assert_eq!(standings(&bench.round("333")), [Standing::Quorum; 3]);
    // A dead process is not a partition; silence is not evidence.
    assert_eq!(standings(&bench.round("x22"))[0], Standing::Degraded);
    assert_eq!(standings(&bench.round("-22"))[0], Standing::Unknown);
    // A minority that is cut off says nothing of the others, which are silent.
    bench.settled("c--");
    let judgement = bench.round("c--");
    assert_eq!(judgement.verdict, Standing::Unknown);
    assert_eq!(standings(&judgement), [Standing::NoQuorum, Standing::Unknown, Standing::Unknown]);
}

#[test]
fn a_group_that_refuses_writes_is_read_only() {
    let mut bench = well(3);
    let facts = |n: u64, read_only| {
        NodeView::Answered(Facts::Component(ComponentFacts {
            member: n.to_string(),
            view: Some(ComponentView { number: 9, name: String::new(), size: 3 }),
            ready: true,
            synced: true,
            primary: Some("0".to_owned()),
            read_only,
            ..ComponentFacts::default()
        }))
    };
    let mut round = |primary| bench.views(vec![facts(0, primary), facts(1, true), facts(2, true)]).verdict;
    assert_eq!(round(false), Standing::Quorum);
    assert_eq!(round(true), Standing::ReadOnly);
}

#[test]
fn words_say_what_was_seen() {
    let mut bench = well(3);
    assert_eq!(bench.round("333").reason, "3 of 3 voters are in membership 8");
    assert_eq!(
        bench.round("22x").reason,
        "2 of 3 voters are in membership 8; none can be spared (1 refused)"
    );
    bench.settled("c--");
    assert_eq!(
        bench.round("c--").reason,
        "1 of 3 voters answer, in no membership that may commit (Synced) (2 silent)"
    );
    assert_eq!(bench.round("xx-").reason, "2 of 3 voters refuse connections");
    let mut bench = Bench::new(&[0, 0, 0], true, 0);
    assert!(bench.round("xxx").reason.contains("is the address right?"));
}
