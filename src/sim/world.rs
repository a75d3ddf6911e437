//! What the daemon would find out there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::base::{CheckId, GroupId, Mono, RegionId};
use crate::cluster::{
    CanaryFacts, ComponentFacts, ComponentView, Facts, HostId, NodeView, PatroniFacts, PeerFacts,
    PostgresFacts, RaftFacts, RedisFacts, ReplicaFacts, Replication, Ring, RingHost, Round, SentinelFacts,
};
use crate::config::{CassandraOptions, ClusterKind, Config, Endpoint, Group, Keyspace, Member};
use crate::health::{Finding, Sample};
use crate::workflow::{Act as CallAct, Call, Op, Outcome, Retry};

/// How long an agent takes.
const CALL_TAKES: Duration = Duration::from_secs(1);

/// Targets and agents, as the script left them.
#[derive(Debug, Default)]
pub struct World {
    checks: BTreeMap<String, String>,
    voters: BTreeMap<String, String>,
    agents: BTreeMap<String, VecDeque<String>>,
    /// Idempotency keys of what was applied, and how often.
    applied: BTreeMap<String, u32>,
}

impl World {
    /// What a check finds from now on.
    pub fn check(&mut self, name: &str, finds: &str) {
        self.checks.insert(name.to_owned(), finds.to_owned());
    }

    /// How a group's voters are from now on.
    pub fn group(&mut self, name: &str, letters: &str) {
        self.voters.insert(name.to_owned(), letters.to_owned());
    }

    /// How the next calls of a stage end.
    pub fn agent(&mut self, stage: &str, ends: &[String]) {
        self.agents.insert(stage.to_owned(), ends.iter().cloned().collect());
    }

    /// What a probe finds.
    pub fn sample(&self, config: &Config, check: CheckId) -> Sample {
        let finds = self.checks.get(&**config.checks.name(check)).map_or("pass", String::as_str);
        let (word, words) = finds.split_once(':').unwrap_or((finds, ""));
        let words = words.trim().to_owned();
        let finding = match word {
            "fail" | "silent" => Finding::Fail(words),
            "unknown" => Finding::Unknown(words),
            _ => Finding::Pass(words),
        };
        let heard = !matches!(word, "silent" | "unknown");
        let timeout = config.checks[check].schedule.timeout;
        Sample { check, finding, heard, took: if heard { Duration::from_millis(1) } else { timeout } }
    }

    /// What a round of a group brings.
    pub fn round(&self, config: &Config, id: GroupId, at: Mono) -> Round {
        let group = &config.groups[id];
        let kind = &config.clusters[group.cluster].kind;
        let (first, others) = match kind {
            ClusterKind::Postgres(_) | ClusterKind::Patroni(_) => ("w", "s"),
            ClusterKind::Galera(_) | ClusterKind::MysqlGr(_) => ("m", "m"),
            _ => ("L", "f"),
        };
        let well = || match kind {
            ClusterKind::RedisSentinel(_) => redis_well(group),
            _ => format!("{first}{}", others.repeat(group.members.len() - 1)),
        };
        let letters = self.voters.get(&**config.groups.name(id)).cloned().unwrap_or_else(well);
        let views = (0..group.members.len()).map(|member| {
            let letter = letters.chars().nth(member).unwrap_or('-');
            match (letter, kind) {
                ('x', _) => NodeView::Refused("connection refused".to_owned()),
                ('?', _) => NodeView::Denied("permission denied".to_owned()),
                (letter, ClusterKind::Canary(_)) => canary_view(letter),
                (letter, ClusterKind::Rabbitmq(_) | ClusterKind::Cockroachdb(_)) => {
                    peer_view(&letters, member, letter)
                }
                (_, ClusterKind::Cassandra(options)) => {
                    replica_view(config, options, group, (&letters, member), at)
                }
                (letter, ClusterKind::Postgres(_)) => postgres_view(letter),
                (letter, ClusterKind::Galera(_) | ClusterKind::MysqlGr(_)) => {
                    component_view(&letters, member, letter)
                }
                (letter, ClusterKind::RedisSentinel(_)) => redis_view(letter),
                (letter, ClusterKind::Patroni(_)) => patroni_view(&letters, letter),
                (letter, _) => raft_view(&letters, member, letter),
            }
        });
        Round { group: id, views: views.collect(), linearizable: None, took: Duration::from_millis(2) }
    }

    /// How a call ends, and after how long; none: never.
    pub fn call(&mut self, call: &Call) -> Option<(Duration, Outcome)> {
        let key = call.idempotency_key();
        if call.act == CallAct::Observe {
            let outcome = match self.applied.contains_key(&key) {
                true => applied("it was done"),
                false => not_applied("it was not done"),
            };
            return Some((CALL_TAKES, outcome));
        }
        // What is owed is paid by the same agent that left it.
        let stage = call.stage.split("/owed").next().unwrap_or_default();
        let ends = self.agents.get_mut(stage);
        let end = match ends {
            Some(ends) if ends.len() > 1 => ends.pop_front().unwrap_or_default(),
            Some(ends) => ends.front().cloned().unwrap_or_default(),
            None => "applied".to_owned(),
        };
        let outcome = match end.as_str() {
            "retry" => not_applied("not yet"),
            "never" => Outcome::NotApplied { reason: "it cannot be done".to_owned(), retry: Retry::Never },
            "unreachable" => Outcome::Unreachable { reason: "no answer".to_owned() },
            "ask" if !call.approved => Outcome::Ask { question: "may it be done?".to_owned() },
            "hangs" => return None,
            // Done, and the answer was lost on the way back.
            "unknown" => {
                *self.applied.entry(key).or_default() += 1;
                Outcome::Unknown { reason: "the connection broke".to_owned() }
            }
            // A hook that is asked twice with one key does it once; telling twice does no harm.
            _ if self.applied.contains_key(&key) && matches!(call.op, Op::Capacity(_) | Op::Notify(_)) => {
                applied("done already")
            }
            _ => {
                *self.applied.entry(key).or_default() += 1;
                applied("done")
            }
        };
        Some((CALL_TAKES, outcome))
    }

    /// What was applied more than once: it should be nothing.
    pub fn applied_twice(&self) -> impl Iterator<Item = &str> {
        self.applied.iter().filter(|(_, times)| **times > 1).map(|(key, _)| key.as_str())
    }
}

fn applied(detail: &str) -> Outcome {
    Outcome::Applied { detail: detail.to_owned(), outputs: BTreeMap::new(), owed: None }
}

fn not_applied(reason: &str) -> Outcome {
    Outcome::NotApplied { reason: reason.to_owned(), retry: Retry::Backoff }
}

fn raft_view(letters: &str, member: usize, letter: char) -> NodeView {
    let leader = letters.find('L').map(|at| (at + 1).to_string());
    let follows = match letter {
        'L' | 'f' | 'b' => leader,
        'n' => None,
        _ => return NodeView::Silent("no answer".to_owned()),
    };
    NodeView::Answered(Facts::Raft(RaftFacts {
        cluster: "world".to_owned(),
        member: (member + 1).to_string(),
        leader: follows,
        term: 2,
        index: 100,
        applied: if letter == 'b' { 50 } else { 100 },
        ..RaftFacts::default()
    }))
}

/// Members with a leader's or a follower's letter see each other; `n` sees itself only.
fn peer_view(letters: &str, member: usize, letter: char) -> NodeView {
    let together = |letter: char| "Lfb".contains(letter);
    let sees = letters
        .chars()
        .enumerate()
        .filter(|(other, others)| *other == member || (together(letter) && together(*others)));
    match letter {
        'L' | 'f' | 'b' | 'n' => NodeView::Answered(Facts::Peer(PeerFacts {
            cluster: "world".to_owned(),
            member: member.to_string(),
            sees: sees.map(|(other, _)| other.to_string()).collect(),
            ..PeerFacts::default()
        })),
        _ => NodeView::Silent("no answer".to_owned()),
    }
}

/// A datacenter for each region, with up to three replicas of everything. `n` hears nobody and is
/// heard by nobody; a `p`arted one hears, and is heard by, those of its own region only.
fn replica_view(
    config: &Config,
    options: &CassandraOptions,
    group: &Group,
    (letters, member): (&str, usize),
    at: Mono,
) -> NodeView {
    let letter_of = |member: usize| letters.chars().nth(member).unwrap_or('-');
    let letter = letter_of(member);
    if !"Lfpn".contains(letter) {
        return NodeView::Silent("no answer".to_owned());
    }
    let datacenters = datacenters(config, options, group);
    let mut sizes: BTreeMap<String, u32> = BTreeMap::new();
    for of in &group.members {
        *sizes.entry(datacenters[&of.region].clone()).or_default() += 1;
    }
    let each = sizes.into_iter().map(|(datacenter, size)| (datacenter, size.min(3))).collect();
    let replication = Replication::ByDatacenter(each);
    let hosts = group.members.iter().enumerate().map(|(n, of)| {
        let datacenter = datacenters[&of.region].clone();
        (n as HostId, RingHost { datacenter, rack: "r1".into(), tokens: vec![n as i128] })
    });
    let own = group.members[member].region;
    // The newest beat that has come through; of those who are not heard, the first.
    let beat = |other: usize| {
        let heard = match (letter, letter_of(other)) {
            _ if other == member => true,
            ('n', _) | (_, 'n') => false,
            (_, other_letter) if !"Lfp".contains(other_letter) => false,
            (letter, other_letter) if letter == 'p' || other_letter == 'p' => {
                group.members[other].region == own
            }
            _ => true,
        };
        (1, if heard { i64::try_from(at.0.as_secs()).unwrap_or(i64::MAX) } else { 0 })
    };
    NodeView::Answered(Facts::Replica(Box::new(ReplicaFacts {
        cluster: "world".to_owned(),
        host: Some(member as HostId),
        datacenter: datacenters[&own].clone(),
        ring: Some(Ring {
            hosts: hosts.collect(),
            keyspaces: options.keyspaces.keys().map(|name| (name.clone(), replication.clone())).collect(),
        }),
        beats: Some((0..group.members.len()).map(|other| (other as HostId, beat(other))).collect()),
        ..ReplicaFacts::default()
    })))
}

/// What the configuration calls datacenters, given to the regions in their order; of the same name
/// first, and the region's own name where there is none.
fn datacenters(config: &Config, options: &CassandraOptions, group: &Group) -> BTreeMap<RegionId, String> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for keyspace in options.keyspaces.values() {
        names.extend(keyspace.datacenter.as_deref());
        names.extend(keyspace.replication.iter().flat_map(|each| each.keys().map(String::as_str)));
    }
    let regions: BTreeSet<RegionId> = group.members.iter().map(|member| member.region).collect();
    let own = |region: &RegionId| config.regions.name(*region).to_string();
    for region in &regions {
        names.remove(own(region).as_str());
    }
    let mut left = names.into_iter();
    let known = |region: &RegionId| {
        let own = own(region);
        let named = |keyspace: &Keyspace| {
            keyspace.datacenter.as_ref() == Some(&own)
                || keyspace.replication.as_ref().is_some_and(|each| each.contains_key(&own))
        };
        options.keyspaces.values().any(named)
    };
    let name = |region: RegionId| match known(&region) {
        true => (region, own(&region)),
        false => (region, left.next().map_or_else(|| own(&region), str::to_owned)),
    };
    regions.into_iter().map(name).collect()
}

/// `n` takes a write and never answers; `r` says that it takes none.
fn canary_view(letter: char) -> NodeView {
    match letter {
        'n' => NodeView::Answered(Facts::Canary(CanaryFacts::Hung)),
        'r' => NodeView::Answered(Facts::Canary(CanaryFacts::ReadOnly("read-only".to_owned()))),
        '-' => NodeView::Silent("no answer".to_owned()),
        _ => NodeView::Answered(Facts::Canary(CanaryFacts::Passed)),
    }
}

fn postgres_view(letter: char) -> NodeView {
    let facts = PostgresFacts {
        system: 1,
        in_recovery: matches!(letter, 's' | 't'),
        read_only: false,
        fenced: letter == 'f',
        // A fenced writer was left behind on the older timeline.
        timeline: if letter == 'f' { 1 } else { 2 },
        received: 1000,
        replayed: 1000,
        streaming: matches!(letter, 's' | 'w'),
    };
    match letter {
        'w' | 's' | 't' | 'f' => NodeView::Answered(Facts::Postgres(facts)),
        _ => NodeView::Silent("no answer".to_owned()),
    }
}

fn component_view(letters: &str, member: usize, letter: char) -> NodeView {
    let inside = match letter {
        'm' => true,
        'c' => false,
        _ => return NodeView::Silent("no answer".to_owned()),
    };
    let size = letters.chars().filter(|letter| *letter == 'm').count();
    NodeView::Answered(Facts::Component(ComponentFacts {
        cluster: "world".to_owned(),
        member: (member + 1).to_string(),
        view: inside.then(|| ComponentView { number: 2, name: String::new(), size }),
        ready: inside,
        synced: inside,
        state: if inside { "in it" } else { "cut off" }.to_owned(),
        committed: 100,
        ..ComponentFacts::default()
    }))
}

/// Every Sentinel content, the first server the master.
fn redis_well(group: &Group) -> String {
    let mut master = true;
    let letter = |member: &Member| match &member.endpoint {
        Endpoint::Redis(target) if target.sentinel => 's',
        _ if std::mem::take(&mut master) => 'm',
        _ => 'r',
    };
    group.members.iter().map(letter).collect()
}

/// A Sentinel: `s`, or `c`ut off from the others. A server: the `m`aster, or a `r`eplica.
fn redis_view(letter: char) -> NodeView {
    NodeView::Answered(match letter {
        's' | 'c' => Facts::Sentinel(SentinelFacts {
            reaches: letter == 's',
            words: if letter == 's' { "OK" } else { "NOQUORUM" }.to_owned(),
            master: "world".to_owned(),
            run_id: "m".to_owned(),
            epoch: 2,
            down: false,
        }),
        'm' | 'r' => Facts::Redis(RedisFacts {
            run_id: letter.to_string(),
            master: letter == 'm',
            good_replicas: usize::from(letter == 'm'),
            linked: letter == 'r',
            offset: 100,
            ..RedisFacts::default()
        }),
        _ => return NodeView::Silent("no answer".to_owned()),
    })
}

/// The `w`riter, a `s`tandby.
fn patroni_view(letters: &str, letter: char) -> NodeView {
    let primary = match letter {
        'w' => true,
        's' => false,
        _ => return NodeView::Silent("no answer".to_owned()),
    };
    NodeView::Answered(Facts::Patroni(PatroniFacts {
        primary,
        running: true,
        state: "running".to_owned(),
        timeline: 2,
        streaming: if primary { letters.matches('s').count() } else { 0 },
        position: 1000,
        ..PatroniFacts::default()
    }))
}

/// A moment of virtual time as people write it.
pub fn show(at: Mono) -> String {
    crate::base::show_span(at.0)
}
