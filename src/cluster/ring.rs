//! The token ring of Cassandra: which hosts keep a replica of which range, by the same walk that
//! Cassandra makes (`SimpleStrategy` and `NetworkTopologyStrategy.calculateNaturalReplicas`).

use std::collections::{BTreeMap, BTreeSet};

/// What a host is known by in the ring (`host_id`, a UUID).
pub type HostId = u128;

/// The hosts, and how keyspaces are replicated among them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ring {
    /// The hosts, by id.
    pub hosts: BTreeMap<HostId, RingHost>,
    /// How keyspaces are replicated, as the schema says.
    pub keyspaces: BTreeMap<String, Replication>,
}

/// A host of the ring.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct RingHost {
    /// Its datacenter.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// Where its ranges end; in order.
    pub tokens: Vec<i128>,
}

/// How a keyspace is replicated.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Replication {
    /// `SimpleStrategy`: so many hosts along the ring, whatever their datacenter.
    Simple(u32),
    /// `NetworkTopologyStrategy`: so many in each datacenter, on as many racks as there are.
    ByDatacenter(BTreeMap<String, u32>),
    /// A strategy that we do not know.
    Unknown(String),
}

impl Replication {
    /// As the schema has it: a class and its options.
    pub fn read(options: &BTreeMap<String, String>) -> Self {
        let class = options.get("class").map_or("", String::as_str);
        // Of `3/1` one replica is transient (CASSANDRA-14404): it counts for reads all the same.
        let count = |text: &str| text.split('/').next().and_then(|count| count.parse::<u32>().ok());
        let known = match class.rsplit('.').next().unwrap_or_default() {
            "SimpleStrategy" => options.get("replication_factor").and_then(|n| count(n)).map(Self::Simple),
            "NetworkTopologyStrategy" => options
                .iter()
                .filter(|(key, _)| *key != "class")
                .map(|(datacenter, n)| Some((datacenter.clone(), count(n)?)))
                .collect::<Option<_>>()
                .map(Self::ByDatacenter),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Unknown(class.to_owned()))
    }

    /// Replicas in all.
    pub fn total(&self) -> u32 {
        match self {
            Self::Simple(n) => *n,
            Self::ByDatacenter(each) => each.values().sum(),
            Self::Unknown(_) => 0,
        }
    }
}

/// Token ranges that the same hosts keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ranges {
    /// Who has a replica.
    pub hosts: BTreeSet<HostId>,
    /// Where the first of them ends.
    pub first: i128,
    /// How many there are.
    pub count: u64,
}

impl Ring {
    /// The ranges of a keyspace, put together by who keeps them.
    pub fn ranges(&self, replication: &Replication) -> Vec<Ranges> {
        let mut tokens: Vec<(i128, HostId)> =
            self.hosts.iter().flat_map(|(id, host)| host.tokens.iter().map(|token| (*token, *id))).collect();
        tokens.sort_unstable();
        let mut racks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut sizes: BTreeMap<&str, u32> = BTreeMap::new();
        for host in self.hosts.values().filter(|host| !host.tokens.is_empty()) {
            racks.entry(&host.datacenter).or_default().insert(&host.rack);
            *sizes.entry(&host.datacenter).or_default() += 1;
        }
        let mut found: BTreeMap<BTreeSet<HostId>, (i128, u64)> = BTreeMap::new();
        for (start, (token, _)) in tokens.iter().enumerate() {
            let walk = tokens[start..].iter().chain(&tokens[..start]).map(|(_, id)| *id);
            let hosts = match replication {
                Replication::Simple(n) => simple(walk, *n),
                Replication::ByDatacenter(each) => self.by_datacenter(walk, each, &racks, &sizes),
                Replication::Unknown(_) => BTreeSet::new(),
            };
            found.entry(hosts).or_insert((*token, 0)).1 += 1;
        }
        let mut ranges: Vec<Ranges> =
            found.into_iter().map(|(hosts, (first, count))| Ranges { hosts, first, count }).collect();
        ranges.sort_unstable_by_key(|range| range.first);
        ranges
    }

    fn by_datacenter(
        &self,
        walk: impl Iterator<Item = HostId>,
        each: &BTreeMap<String, u32>,
        racks: &BTreeMap<&str, BTreeSet<&str>>,
        sizes: &BTreeMap<&str, u32>,
    ) -> BTreeSet<HostId> {
        /// What is still looked for in one datacenter.
        struct Wanted<'a> {
            left: u32,
            repeats: i64,
            racks: BTreeSet<&'a str>,
        }
        let mut wanted: BTreeMap<&str, Wanted<'_>> = BTreeMap::new();
        for (datacenter, n) in each {
            let size = sizes.get(datacenter.as_str()).copied().unwrap_or(0);
            let racks = racks.get(datacenter.as_str()).map_or(0, BTreeSet::len);
            // A rack is used twice only where there are fewer racks than replicas.
            let repeats = i64::from(*n) - racks as i64;
            wanted.insert(datacenter, Wanted { left: (*n).min(size), repeats, racks: BTreeSet::new() });
        }
        let mut hosts = BTreeSet::new();
        let mut left: u32 = wanted.values().map(|wanted| wanted.left).sum();
        for id in walk {
            if left == 0 {
                break;
            }
            let Some(host) = self.hosts.get(&id).filter(|_| !hosts.contains(&id)) else { continue };
            let Some(wanted) = wanted.get_mut(host.datacenter.as_str()).filter(|wanted| wanted.left > 0)
            else {
                continue;
            };
            if !wanted.racks.insert(&host.rack) {
                if wanted.repeats <= 0 {
                    continue;
                }
                wanted.repeats -= 1;
            }
            wanted.left -= 1;
            left -= 1;
            hosts.insert(id);
        }
        hosts
    }
}

fn simple(walk: impl Iterator<Item = HostId>, n: u32) -> BTreeSet<HostId> {
    let mut hosts = BTreeSet::new();
    for id in walk {
        if hosts.len() >= n as usize {
            break;
        }
        hosts.insert(id);
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(hosts: &[(HostId, &str, &str, &[i128])]) -> Ring {
        let host = |(id, datacenter, rack, tokens): &(HostId, &str, &str, &[i128])| {
            let (datacenter, rack) = ((*datacenter).to_owned(), (*rack).to_owned());
            (*id, RingHost { datacenter, rack, tokens: tokens.to_vec() })
        };
        Ring { hosts: hosts.iter().map(host).collect(), keyspaces: BTreeMap::new() }
    }

    fn shown(ring: &Ring, replication: &Replication) -> Vec<(i128, Vec<HostId>, u64)> {
        let ranges = ring.ranges(replication);
        ranges.iter().map(|range| (range.first, range.hosts.iter().copied().collect(), range.count)).collect()
    }

    fn by(each: &[(&str, u32)]) -> Replication {
        Replication::ByDatacenter(each.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect())
    }

    #[test]
    fn along_the_ring() {
        let four = ring(&[
            (1, "a", "r", &[0, 100]),
            (2, "a", "r", &[10]),
            (3, "a", "r", &[20]),
            (4, "b", "r", &[30]),
        ]);
        assert_eq!(
            shown(&four, &Replication::Simple(2)),
            [(0, vec![1, 2], 2), (10, vec![2, 3], 1), (20, vec![3, 4], 1), (30, vec![1, 4], 1)]
        );
        // More replicas than hosts: every host.
        assert_eq!(shown(&four, &Replication::Simple(9)), [(0, vec![1, 2, 3, 4], 5)]);
        assert_eq!(
            shown(&four, &by(&[("a", 2), ("b", 1)])),
            [(0, vec![1, 2, 4], 3), (10, vec![2, 3, 4], 1), (20, vec![1, 3, 4], 1)]
        );
        assert_eq!(shown(&four, &by(&[("elsewhere", 3)])), [(0, vec![], 5)]);
    }

    /// Racks come first: two neighbours in one rack are not both chosen while another rack has none.
    #[test]
    fn across_racks() {
        let four = ring(&[
            (1, "a", "r1", &[0]),
            (2, "a", "r1", &[10]),
            (3, "a", "r2", &[20]),
            (4, "a", "r2", &[30]),
        ]);
        assert_eq!(
            shown(&four, &by(&[("a", 2)])),
            [(0, vec![1, 3], 2), (10, vec![2, 3], 1), (30, vec![1, 4], 1)]
        );
        // Three replicas on two racks: one rack has two.
        assert_eq!(
            shown(&four, &by(&[("a", 3)])),
            [(0, vec![1, 2, 3], 1), (10, vec![2, 3, 4], 1), (20, vec![1, 3, 4], 1), (30, vec![1, 2, 4], 1)]
        );
    }

    #[test]
    fn as_the_schema_writes_it() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let class = "org.apache.cassandra.locator.NetworkTopologyStrategy";
        assert_eq!(Replication::read(&map(&[("class", class), ("dc1", "3")])), by(&[("dc1", 3)]));
        assert_eq!(Replication::read(&map(&[("class", class), ("dc1", "3/1")])), by(&[("dc1", 3)]));
        let class = "org.apache.cassandra.locator.SimpleStrategy";
        let simple = map(&[("class", class), ("replication_factor", "2")]);
        assert_eq!(Replication::read(&simple), Replication::Simple(2));
        let class = "org.apache.cassandra.locator.LocalStrategy";
        assert_eq!(Replication::read(&map(&[("class", class)])), Replication::Unknown(class.to_owned()));
    }
}
