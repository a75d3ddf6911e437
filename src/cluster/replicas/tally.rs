//! What the token ranges come to: of each, do its replicas have the consistency level?

use super::sight::{Seen, Sight};
use crate::cluster::ring::Ranges;
use crate::cluster::{HostId, Replication, Ring, Shards};
use crate::config::Level;

/// Names of ranges that are kept for the words of a judgement.
const NAMES_MAX: usize = 3;

/// What the token ranges come to, as seen by one member.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) shards: Shards,
    /// Lost, if what is in doubt is.
    pub(super) feared: Shards,
    /// Of the range that fares worst.
    pub(super) margin: i64,
}

impl Tally {
    /// Worse first.
    pub(super) fn badness(&self) -> (u64, u64, u64) {
        (self.shards.lost, self.feared.lost, self.shards.critical)
    }
}

impl Sight<'_> {
    /// Counts the ranges of all keyspaces. `None`: the ring is not known.
    pub(super) fn tally(&self, from: Option<usize>, local: &[usize]) -> Option<Tally> {
        let ring = self.notes.ring.as_ref()?;
        let seen = self.seen(from, ring);
        let own = local.iter().copied().filter(|member| from.is_none_or(|from| from == *member));
        let own = own.filter_map(|member| self.notes.hosts.get(&member)).map(|(_, own)| own).next();
        let mut tally = Tally { shards: Shards::default(), feared: Shards::default(), margin: i64::MAX };
        let mut critical = Vec::new();
        for (name, keyspace) in &self.options.keyspaces {
            let (replication, ranges) = self.notes.keyspaces.get(name)?;
            let datacenter = keyspace.datacenter.as_ref().or(own);
            for range in ranges {
                let sets = needed(keyspace.level, replication, ring, range, datacenter.map(String::as_str));
                let (mut up_margin, mut doubt_margin) = (i64::MAX, i64::MAX);
                for (required, hosts) in sets {
                    let count = |state: Seen| hosts.iter().filter(|host| seen[*host] == state).count() as i64;
                    let up = count(Seen::Up) - i64::from(required);
                    up_margin = up_margin.min(up);
                    doubt_margin = doubt_margin.min(up + count(Seen::Doubt));
                }
                let part = || format!("{name} up to {}", range.first);
                tally.shards.total += range.count;
                tally.margin = tally.margin.min(up_margin);
                if doubt_margin < 0 {
                    tally.shards.lost += range.count;
                    tally.shards.names.push(part());
                }
                if up_margin < 0 {
                    tally.feared.lost += range.count;
                    tally.feared.names.push(part());
                }
                if up_margin == 0 {
                    tally.shards.critical += range.count;
                    critical.push(part());
                }
            }
        }
        tally.feared.total = tally.shards.total;
        if tally.shards.lost == 0 {
            tally.shards.names = critical;
        }
        for names in [&mut tally.shards.names, &mut tally.feared.names] {
            names.truncate(NAMES_MAX);
        }
        (tally.shards.total > 0).then_some(tally)
    }
}

/// How many of which replicas it takes (`ConsistencyLevel.blockFor` and `InOurDc` of Cassandra).
fn needed(
    level: Level,
    replication: &Replication,
    ring: &Ring,
    range: &Ranges,
    datacenter: Option<&str>,
) -> Vec<(u32, Vec<HostId>)> {
    let majority = |n: u32| n / 2 + 1;
    let within = |name: &str| -> Vec<HostId> {
        let inside = |host: &&HostId| ring.hosts.get(host).is_some_and(|host| host.datacenter == name);
        range.hosts.iter().filter(inside).copied().collect()
    };
    let all = || range.hosts.iter().copied().collect::<Vec<_>>();
    let local = || within(datacenter.unwrap_or_default());
    let local_majority = || match replication {
        Replication::ByDatacenter(each) => {
            majority(each.get(datacenter.unwrap_or_default()).copied().unwrap_or(0))
        }
        other => majority(other.total()),
    };
    match (level, replication) {
        (Level::One, _) => vec![(1, all())],
        (Level::Two, _) => vec![(2, all())],
        (Level::Three, _) => vec![(3, all())],
        (Level::All, _) => vec![(replication.total(), all())],
        (Level::LocalOne, _) => vec![(1, local())],
        (Level::LocalQuorum | Level::LocalSerial, _) => vec![(local_majority(), local())],
        (Level::EachQuorum, Replication::ByDatacenter(each)) => each
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(datacenter, n)| (majority(*n), within(datacenter)))
            .collect(),
        (Level::Quorum | Level::Serial | Level::EachQuorum, _) => {
            vec![(majority(replication.total()), all())]
        }
    }
}
