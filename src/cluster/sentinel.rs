//! Judging Redis under Sentinels: Sentinels that vote on who the master is, and servers that are
//! or are not what they were voted to be.
//!
//! Redis itself has no quorum: a master that is cut off takes writes for ever, and they are lost
//! when it is back. So the rules, in order:
//! 1. The master is the one that a majority of the configured Sentinels names in one
//!    configuration epoch, of those that say that they reach a majority themselves.
//! 2. Quorum: that, and the named server says that it is the master. What it may lose is the
//!    smaller of the Sentinels above a majority and the replicas that have lately been heard.
//! 3. Another server that says it is a master, and takes writes, was left behind. Where the
//!    group lies over regions only its own region is a split brain, and at once: what is written
//!    there will be lost. Inside one region the group is one, if that goes on for the time to truth.
//! 4. Sentinels without a majority, and one master that most servers follow: degraded. Nobody would
//!    replace it, and nothing is lost yet.
//! 5. Otherwise no quorum, after the time to truth, if a majority of Sentinels says so or refuses
//!    connections.
//! 6. The named master does not answer us: unknown. It may be writing where we cannot see it.

use std::collections::BTreeMap;

use super::absent::{Absent, first_complaint, out_of_sight};
use super::memory::CatchUp;
use super::raft::nobody_answers;
use super::{Evidence, Facts, Judgement, Memory, NodeView, RedisFacts, Round, SentinelFacts, Standing};
use crate::base::{Mono, RegionId, show_span};
use crate::config::{Cluster, Endpoint, Group};

type Server<'a> = (usize, &'a RedisFacts);
type Sentinel<'a> = (usize, &'a SentinelFacts);

/// What a majority of Sentinels, or most of those that we reach, say.
struct Named<'a> {
    run_id: &'a str,
    address: &'a str,
    epoch: u64,
    by: Vec<usize>,
}

pub(super) fn judge(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    now: Mono,
) -> Judgement {
    let is_sentinel = |position: usize| is_sentinel(group, position);
    let votes: Vec<NodeView> = round
        .views
        .iter()
        .enumerate()
        .filter(|(n, _)| is_sentinel(*n))
        .map(|(_, view)| view.clone())
        .collect();
    let absent = Absent::count(&votes);
    let (voters, majority) = (votes.len(), votes.len() / 2 + 1);
    let sentinels: Vec<Sentinel<'_>> = answered(round, |facts| match facts {
        Facts::Sentinel(facts) => Some(facts),
        _ => None,
    });
    let servers: Vec<Server<'_>> = answered(round, |facts| match facts {
        Facts::Redis(facts) => Some(facts),
        _ => None,
    });
    let named = named(&sentinels);
    let agreeing = named.as_ref().map_or(0, |named| named.by.len());
    let agreed = named.as_ref().filter(|named| named.by.len() >= majority);
    let master = agreed.and_then(|named| server_of(group, round, &servers, named));
    let masters: Vec<Server<'_>> =
        servers.iter().filter(|(_, facts)| facts.master && !facts.loading).copied().collect();

    let spare = agreeing as i64 - majority as i64;
    let mut evidence = Evidence {
        voters,
        reached: sentinels.len(),
        agreeing,
        margin: spare,
        leader: named.as_ref().map(|named| named.address.to_owned()),
        term: named.as_ref().map(|named| named.epoch),
        lag_max: lag_max(&servers),
        ..Evidence::default()
    };

    let (verdict, reason) = match (agreed, master) {
        (Some(named), Some((position, facts))) if facts.master && !facts.loading => {
            memory.leaderless_since = None;
            let place = &group.members[position].endpoint;
            let others = servers_of(group) - 1;
            if others > 0 {
                evidence.margin = spare.min(facts.good_replicas as i64);
            }
            let stale = masters
                .iter()
                .find(|(other, facts)| *other != position && !facts.refuses_writes)
                .filter(|_| group.inside.is_some());
            let since = match stale {
                None => {
                    memory.rival_since = None;
                    None
                }
                Some((other, _)) => Some((*other, now.since(*memory.rival_since.get_or_insert(now)))),
            };
            match since {
                Some((other, since)) if since > cluster.time_to_truth => {
                    let other = &group.members[other].endpoint;
                    let words = format!(
                        "{place} is the master of epoch {}, and {other} still takes writes as one",
                        named.epoch
                    );
                    (Standing::SplitBrain, words)
                }
                _ => reigning(memory, place, named, facts, &evidence, others, &absent),
            }
        }
        (Some(named), Some((position, _))) => {
            let place = &group.members[position].endpoint;
            let words = format!("{place} was made the master of epoch {} and is not", named.epoch);
            missing(cluster, memory, words, Standing::NoQuorum, now)
        }
        (Some(named), None) => {
            let words = format!("the master {} does not answer", named.address);
            // It refuses, or it is not to be seen from here.
            let gone = position_of(group, named)
                .is_some_and(|position| matches!(round.views[position], NodeView::Refused(_)));
            let then = if gone { Standing::NoQuorum } else { Standing::Unknown };
            missing(cluster, memory, words, then, now)
        }
        (None, _) => {
            let followed = masters.iter().find(|(_, facts)| {
                masters.len() == 1 && !facts.refuses_writes && facts.good_replicas + 1 > servers_of(group) / 2
            });
            let lost = sentinels.iter().filter(|(_, facts)| !facts.reaches).count() + absent.refused;
            match followed.filter(|(_, facts)| servers_of(group) == 1 || facts.good_replicas > 0) {
                Some((position, _)) if !sentinels.is_empty() || absent.refused >= majority => {
                    memory.leaderless_since = None;
                    let place = &group.members[*position].endpoint;
                    let words = format!(
                        "{place} is the master and is followed; {agreeing} of {voters} Sentinels could replace it"
                    );
                    (Standing::Degraded, words)
                }
                _ if sentinels.is_empty() && absent.refused < majority => {
                    memory.leaderless_since = None;
                    nobody_answers(&absent, first_complaint(&votes))
                }
                _ if lost >= majority || sentinels.iter().all(|(_, facts)| !facts.reaches) => {
                    if memory.seen_well || !sentinels.is_empty() {
                        let words = words_of_loss(&sentinels, voters, &absent);
                        missing(cluster, memory, words, Standing::NoQuorum, now)
                    } else {
                        let words = "never seen otherwise: is the address right?";
                        (
                            Standing::Unknown,
                            format!("{} of {voters} Sentinels refuse connections; {words}", absent.refused),
                        )
                    }
                }
                _ => {
                    let words =
                        format!("only {agreeing} of {voters} Sentinels name one master ({})", absent.words());
                    missing(cluster, memory, words, Standing::Unknown, now)
                }
            }
        }
    };
    let regions = match group.inside {
        Some(_) => BTreeMap::new(),
        None => regions(cluster, group, round, memory, agreed, (verdict, &reason), now),
    };
    Judgement { verdict, reason, evidence, regions }
}

fn is_sentinel(group: &Group, position: usize) -> bool {
    matches!(&group.members[position].endpoint, Endpoint::Redis(target) if target.sentinel)
}

fn servers_of(group: &Group) -> usize {
    (0..group.members.len()).filter(|position| !is_sentinel(group, *position)).count()
}

fn answered<'a, T>(round: &'a Round, of: impl Fn(&'a Facts) -> Option<T>) -> Vec<(usize, T)> {
    let views = round.views.iter().enumerate();
    views
        .filter_map(|(position, view)| match view {
            NodeView::Answered(facts) => Some((position, of(facts)?)),
            _ => None,
        })
        .collect()
}

/// The master of the newest epoch that most of the Sentinels name which reach a majority.
fn named<'a>(sentinels: &[Sentinel<'a>]) -> Option<Named<'a>> {
    let mut choices: BTreeMap<(u64, &str), Named<'a>> = BTreeMap::new();
    for (position, facts) in sentinels.iter().filter(|(_, facts)| facts.reaches && !facts.down) {
        let SentinelFacts { run_id, master, epoch, .. } = facts;
        let choice = choices.entry((*epoch, master)).or_insert(Named {
            run_id,
            address: master,
            epoch: *epoch,
            by: Vec::new(),
        });
        choice.by.push(*position);
    }
    choices.into_values().max_by_key(|named| (named.by.len(), named.epoch))
}

/// The server that the Sentinels mean: by the id of its run, or by its address.
fn server_of<'a>(
    group: &Group,
    round: &Round,
    servers: &[Server<'a>],
    named: &Named<'_>,
) -> Option<Server<'a>> {
    let by_id = servers.iter().find(|(_, facts)| facts.run_id == named.run_id);
    let by_address = || {
        let position = position_of(group, named)?;
        let answered = matches!(round.views[position], NodeView::Answered(_));
        servers.iter().find(|(server, _)| answered && *server == position)
    };
    by_id.or_else(by_address).copied()
}

fn position_of(group: &Group, named: &Named<'_>) -> Option<usize> {
    group.members.iter().position(|member| match &member.endpoint {
        Endpoint::Redis(target) => !target.sentinel && target.address.to_string() == named.address,
        _ => false,
    })
}

/// The named master is one.
fn reigning(
    memory: &mut Memory,
    place: &Endpoint,
    named: &Named<'_>,
    facts: &RedisFacts,
    evidence: &Evidence,
    others: usize,
    absent: &Absent,
) -> (Standing, String) {
    if facts.refuses_writes {
        return (Standing::ReadOnly, format!("{place} is the master and refuses writes: too few replicas"));
    }
    if memory.catching_up.is_some() && others > 0 && facts.good_replicas == 0 {
        return (Standing::Recovering, format!("{place} is the master again; no replica follows yet"));
    }
    memory.catching_up = None;
    let words = format!(
        "{} of {} Sentinels name {place} as the master of epoch {}, {} replicas follow",
        evidence.agreeing, evidence.voters, named.epoch, facts.good_replicas
    );
    let absent = absent.words();
    match evidence.margin {
        1.. => (Standing::Quorum, words),
        _ if absent.is_empty() => (Standing::Degraded, format!("{words}; none can be spared")),
        _ => (Standing::Degraded, format!("{words}; none can be spared ({absent})")),
    }
}

/// Something is missing: electing for the time to truth, and `then` afterwards.
fn missing(
    cluster: &Cluster,
    memory: &mut Memory,
    words: String,
    then: Standing,
    now: Mono,
) -> (Standing, String) {
    let since = memory.leaderless_for(now);
    match since <= cluster.time_to_truth {
        true => (Standing::Electing, format!("{words}, for {}", show_span(since))),
        false => (then, words),
    }
}

fn words_of_loss(sentinels: &[Sentinel<'_>], voters: usize, absent: &Absent) -> String {
    let said = sentinels.iter().find(|(_, facts)| !facts.reaches).map(|(_, facts)| {
        let end = facts.words.find('.').unwrap_or(facts.words.len());
        facts.words[..end].to_owned()
    });
    let others = absent.words();
    let others = if others.is_empty() { others } else { format!(" ({others})") };
    match said {
        Some(said) => format!("{} of {voters} Sentinels answer: {said}{others}", sentinels.len()),
        None => format!("{} of {voters} Sentinels refuse connections", absent.refused),
    }
}

fn lag_max(servers: &[Server<'_>]) -> Option<u64> {
    let end = servers.iter().map(|(_, facts)| facts.offset).max()?;
    servers.iter().map(|(_, facts)| end - facts.offset).max()
}

/// How each region stands.
fn regions(
    cluster: &Cluster,
    group: &Group,
    round: &Round,
    memory: &mut Memory,
    agreed: Option<&Named<'_>>,
    (verdict, reason): (Standing, &str),
    now: Mono,
) -> BTreeMap<RegionId, (Standing, String)> {
    let mut regions = BTreeMap::new();
    for (region, local) in group.by_region() {
        let views = || local.iter().map(|position| (*position, &round.views[*position]));
        let silent = |regions: &mut BTreeMap<_, _>| {
            let absent = Absent::count(views().map(|(_, view)| view));
            if absent.refused < local.len() {
                let words = format!("its members: {}", absent.words());
                regions.insert(region, (Standing::Unknown, words));
            }
        };
        let heard = views().any(|(_, view)| matches!(view, NodeView::Answered(_)));
        let (Some(named), true) = (agreed, verdict.is_measured()) else {
            // Lost as a whole, or not known: nothing is known of whom we do not hear.
            if !heard {
                silent(&mut regions);
            }
            continue;
        };
        let left_behind = views().find_map(|(position, view)| match view {
            NodeView::Answered(Facts::Redis(facts)) if facts.master && !facts.refuses_writes => {
                let meant = facts.run_id == named.run_id || position_of(group, named) == Some(position);
                (!meant).then(|| &group.members[position].endpoint)
            }
            _ => None,
        });
        let apart = views().any(|(position, view)| {
            matches!(view, NodeView::Answered(Facts::Sentinel(_))) && !named.by.contains(&position)
        });
        let inside = views().any(|(position, _)| named.by.contains(&position));
        let standing = if let Some(place) = left_behind {
            memory.cut_off.entry(region).or_insert(now);
            let words = format!("{place} still takes writes as a master, and {} is the one", named.address);
            (Standing::SplitBrain, words)
        } else if apart && !inside {
            let words = "its Sentinels are cut off from the majority";
            memory.out_of_group(region, words, cluster.time_to_truth, now)
        } else if heard {
            if memory.cut_off.remove(&region).is_some() {
                memory.rejoining.insert(region, CatchUp::ToBeSeen);
            }
            let behind = views().find_map(|(position, view)| match view {
                NodeView::Answered(Facts::Redis(facts)) if !facts.master && !facts.linked => {
                    Some(&group.members[position].endpoint)
                }
                _ => None,
            });
            match behind.filter(|_| memory.rejoining.contains_key(&region)) {
                Some(place) => {
                    (Standing::Recovering, format!("back; {place} does not follow the master yet"))
                }
                None => {
                    memory.rejoining.remove(&region);
                    (verdict, reason.to_owned())
                }
            }
        } else {
            out_of_sight(views().map(|(_, view)| view))
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
    use crate::cluster::judge;
    use crate::config::{ClusterKind, HostPort, Member, RedisSentinelOptions, RedisTarget};

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
        let standings = |judgement: &Judgement| {
            judgement.regions.values().map(|(standing, _)| *standing).collect::<Vec<_>>()
        };
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
}
