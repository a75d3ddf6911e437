use super::*;
use crate::base::{GroupId, RegionId};
use crate::cluster::bench::{self, SECOND};
use crate::cluster::{Memory, Round, judge};
use crate::config::{Cluster, ClusterKind, Group, HostPort, Member, RedisSentinelOptions, RedisTarget};

/// So many hosts with a Sentinel and a server each, Sentinels first.
struct Bench {
    cluster: Cluster,
    group: Group,
    memory: Memory,
    now: Mono,
}

impl Bench {
    fn new(hosts: u16, inside: bool) -> Self {
        let member = |host: u16, sentinel| {
            let address = HostPort { host: format!("h{host}"), port: 1 };
            let region = RegionId(if inside { 0 } else { host });
            Member { region, endpoint: Endpoint::Redis(RedisTarget { address, sentinel }) }
        };
        let members = (0..hosts).map(|host| member(host, true));
        let members = members.chain((0..hosts).map(|host| member(host, false)));
        Self {
            cluster: bench::cluster(ClusterKind::RedisSentinel(RedisSentinelOptions::default())),
            group: bench::group(members, inside),
            memory: Memory::default(),
            now: Mono(100 * SECOND),
        }
    }

    /// One round. Sentinels: `0`, `1` … name the server with this number, `a` names the first one
    /// in an older epoch, `c`ut off, `x` refused, `-` silent. Servers: `M`aster with
    /// replicas, `m`aster without, `w`ithout and refusing writes, `r`eplica, `u`nlinked one.
    fn round(&mut self, sentinels: &str, servers: &str) -> Judgement {
        self.now = self.now + SECOND;
        let sentinel = |state: char| {
            let named = state.to_digit(10).unwrap_or(0);
            let facts = SentinelFacts {
                reaches: state != 'c',
                words: "NOQUORUM 1 usable Sentinels. Not enough".to_owned(),
                master: format!("h{named}:1"),
                run_id: named.to_string(),
                epoch: if state == 'a' { 4 } else { 5 },
                down: false,
            };
            match state {
                'x' => NodeView::Refused("connection refused".to_owned()),
                '-' => NodeView::Silent("no answer".to_owned()),
                _ => NodeView::Answered(Facts::Sentinel(facts)),
            }
        };
        let server = |(n, state): (usize, char)| {
            let facts = RedisFacts {
                run_id: n.to_string(),
                master: "Mmw".contains(state),
                good_replicas: if state == 'M' { 2 } else { 0 },
                refuses_writes: state == 'w',
                linked: state == 'r',
                loading: false,
                offset: 50,
            };
            match state {
                'x' => NodeView::Refused("connection refused".to_owned()),
                '-' => NodeView::Silent("no answer".to_owned()),
                _ => NodeView::Answered(Facts::Redis(facts)),
            }
        };
        let views = sentinels.chars().map(sentinel).chain(servers.chars().enumerate().map(server));
        let round = Round { group: GroupId(0), views: views.collect(), linearizable: None, took: SECOND };
        judge(&self.cluster, &self.group, &round, &mut self.memory, self.now)
    }

    fn settled(&mut self, sentinels: &str, servers: &str) -> Standing {
        for _ in 0..8 {
            self.round(sentinels, servers);
        }
        self.round(sentinels, servers).verdict
    }
}

fn well(inside: bool) -> Bench {
    let mut bench = Bench::new(3, inside);
    assert_eq!(bench.settled("000", "Mrr"), Standing::Quorum);
    bench
}

#[test]
fn sentinels_and_replicas_are_both_needed() {
    assert_eq!(well(true).settled("00x", "Mrr"), Standing::Degraded);
    assert_eq!(well(true).settled("00-", "Mrr"), Standing::Degraded);
    assert_eq!(well(true).settled("000", "mxx"), Standing::Degraded);
    // A failover under way, and one that does not come.
    assert_eq!(well(true).round("000", "xrr").verdict, Standing::Electing);
    assert_eq!(well(true).settled("000", "xrr"), Standing::NoQuorum);
    // Out of our sight it may be writing.
    assert_eq!(well(true).settled("000", "-rr"), Standing::Unknown);
    assert_eq!(well(true).settled("000", "rrr"), Standing::NoQuorum);
    assert_eq!(well(true).settled("000", "wxx"), Standing::ReadOnly);
}

#[test]
fn an_isolated_master_that_says_ok_to_every_write_has_no_quorum() {
    // The captured lies: role:master, SET OK, get-master-addr naming itself.
    assert_eq!(well(true).round("c--", "m--").verdict, Standing::Electing);
    assert_eq!(well(true).settled("c--", "m--"), Standing::NoQuorum);
    assert_eq!(well(true).settled("cxx", "mxx"), Standing::NoQuorum);
    assert_eq!(well(true).settled("--c", "--r"), Standing::NoQuorum);
    assert_eq!(well(true).settled("---", "---"), Standing::Unreachable);
    assert_eq!(well(true).settled("0--", "M--"), Standing::Degraded);
    // Sentinels that are dead do not take the master with them.
    assert_eq!(well(true).settled("xxx", "Mrr"), Standing::Degraded);
    assert_eq!(well(true).settled("0xx", "Mrr"), Standing::Degraded);
    assert_eq!(well(true).settled("xxx", "xxx"), Standing::NoQuorum);
    assert_eq!(Bench::new(3, true).settled("xxx", "xxx"), Standing::Unknown);
}

#[test]
fn a_master_left_behind_is_the_split_brain_of_its_own_region() {
    let mut bench = well(false);
    let standings =
        |judgement: &Judgement| judgement.regions.values().map(|(standing, _)| *standing).collect::<Vec<_>>();
    // Cut off, and the others have elected anew.
    let judgement = bench.round("c11", "mMr");
    assert_eq!(judgement.verdict, Standing::Degraded);
    assert_eq!(standings(&judgement), [Standing::SplitBrain, Standing::Degraded, Standing::Degraded]);
    // Healed: every Sentinel is content at once, and the old one takes writes for ten seconds more.
    let judgement = bench.round("111", "mMr");
    assert_eq!(judgement.verdict, Standing::Quorum);
    assert_eq!(standings(&judgement), [Standing::SplitBrain, Standing::Quorum, Standing::Quorum]);
    assert_eq!(standings(&bench.round("111", "uMr"))[0], Standing::Recovering);
    assert_eq!(standings(&bench.round("111", "rMr")), [Standing::Quorum; 3]);
    // With `min-replicas-to-write` it is no split brain, and cut off all the same.
    bench.settled("c11", "wMr");
    assert_eq!(standings(&bench.round("c11", "wMr"))[0], Standing::NoQuorum);
    assert_eq!(standings(&bench.round("-11", "-Mr"))[0], Standing::Unknown);
    assert_eq!(standings(&bench.round("x11", "xMr"))[0], Standing::Degraded);
}

#[test]
fn inside_one_region_two_masters_that_last_are_a_split_brain() {
    let mut bench = well(true);
    assert_eq!(bench.round("c11", "mMr").verdict, Standing::Degraded);
    assert_eq!(bench.settled("c11", "mMr"), Standing::SplitBrain);
    assert_eq!(well(true).settled("c11", "wMr"), Standing::Degraded);
}

#[test]
fn votes_of_two_epochs_are_not_summed() {
    let mut bench = well(true);
    assert_eq!(bench.settled("aa1", "mMr"), Standing::SplitBrain);
    let mut bench = well(true);
    assert_eq!(bench.round("a1-", "mMr").verdict, Standing::Electing, "two masters, one vote each");
    assert_eq!(bench.settled("a1-", "mmr"), Standing::Unknown);
}

#[test]
fn words_say_what_was_seen() {
    let mut bench = well(true);
    let words = "3 of 3 Sentinels name h0:1 as the master of epoch 5, 2 replicas follow";
    assert_eq!(bench.round("000", "Mrr").reason, words);
    bench.settled("c--", "m--");
    let words = "1 of 3 Sentinels answer: NOQUORUM 1 usable Sentinels (2 silent)";
    assert_eq!(bench.round("c--", "m--").reason, words);
}
