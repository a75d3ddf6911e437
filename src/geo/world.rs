//! All that is known of all networks: layers of facts, one over the other.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::embed::embedded;
use super::facts::Facts;
use super::runs::{Bits, Runs, widest};
use crate::base::{Prefix, Timestamp};

/// Networks of one family that a world may tell apart. The largest databases on sale tell about
/// ten million.
pub const NETWORKS_MAX: usize = 1 << 25;

/// What a file looked like when it was read: another one under its name looks otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// When it was written last, in nanoseconds since 1970.
    pub modified: i128,
    /// In bytes.
    pub size: u64,
    /// Its number in the file system.
    pub inode: u64,
}

/// What a layer was read from.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Database {
    /// The file.
    pub file: String,
    /// What it says of itself, as `GeoLite2-City`; `networks` for a list.
    pub kind: String,
    /// When it was built, if it says so.
    pub built: Option<Timestamp>,
    /// Networks with facts in it: neighbours with the same facts count as one.
    pub networks: usize,
    /// What the file looked like.
    #[serde(skip)]
    pub stamp: Stamp,
}

/// What one database tells. Facts by number; the first are none.
#[derive(Clone, Debug)]
pub struct Layer {
    pub(super) database: Database,
    pub(super) facts: Vec<Facts>,
    pub(super) v4: Runs<u32>,
    pub(super) v6: Runs<u128>,
}

impl Layer {
    /// The same, read from a file that looked like this.
    #[must_use]
    pub fn stamped(mut self, stamp: Stamp) -> Self {
        self.database.stamp = stamp;
        self
    }
}

/// All that is known of all networks.
#[derive(Clone, Debug)]
pub struct World {
    facts: Vec<Facts>,
    pub(super) v4: Runs<u32>,
    pub(super) v6: Runs<u128>,
    databases: Vec<Database>,
}

/// What is known of an address.
#[derive(Clone, PartialEq, Debug)]
pub struct Known<'a> {
    /// The facts.
    pub facts: &'a Facts,
    /// The widest network around the address of which the same is known; an IPv4 network for an
    /// IPv6 address with an IPv4 address inside.
    pub network: Prefix,
    /// That IPv4 address.
    pub embedded: Option<Ipv4Addr>,
}

/// Why no world can be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WorldError {
    /// More than [`NETWORKS_MAX`].
    #[error(
        "the databases together tell {0} networks apart, and the limit is {NETWORKS_MAX}: use coarser ones"
    )]
    TooManyNetworks(usize),
}

impl Default for World {
    /// Nothing is known of anybody.
    fn default() -> Self {
        Self { facts: vec![Facts::default()], v4: Runs::all(0), v6: Runs::all(0), databases: Vec::new() }
    }
}

impl World {
    /// From layers; where two speak of the same, the later one is right.
    ///
    /// # Errors
    /// [`WorldError::TooManyNetworks`].
    pub fn build(layers: impl IntoIterator<Item = Layer>) -> Result<Self, WorldError> {
        let mut world = Self::default();
        for layer in layers {
            world.put(layer)?;
        }
        Ok(world)
    }

    fn put(&mut self, layer: Layer) -> Result<(), WorldError> {
        let mut known = Interned::default();
        let mut pairs: HashMap<(u32, u32), u32> = HashMap::new();
        let mut recent = ((0, 0), known.number(Facts::default()));
        let mut combine = |below: u32, above: u32| {
            // Neighbours are often alike.
            if recent.0 == (below, above) {
                return recent.1;
            }
            let number = *pairs.entry((below, above)).or_insert_with(|| {
                known.number(self.facts[below as usize].and(&layer.facts[above as usize]))
            });
            recent = ((below, above), number);
            number
        };
        let v4 = self.v4.overlay(&layer.v4, &mut combine);
        let v6 = self.v6.overlay(&layer.v6, &mut combine);
        let networks = v4.len().max(v6.len());
        if networks > NETWORKS_MAX {
            return Err(WorldError::TooManyNetworks(networks));
        }
        (self.v4, self.v6, self.facts) = (v4, v6, known.facts);
        self.databases.push(layer.database);
        Ok(())
    }

    /// What it was made of, from the bottom up.
    pub fn databases(&self) -> &[Database] {
        &self.databases
    }

    /// The distinct facts of all networks; the first are none.
    pub fn facts(&self) -> &[Facts] {
        &self.facts
    }

    /// Whether any network has facts like these. A rule for facts that no network has never holds.
    pub fn tells(&self, like: impl FnMut(&Facts) -> bool) -> bool {
        self.facts.iter().any(like)
    }

    /// Networks told apart, of IPv4 and of IPv6.
    pub fn networks(&self) -> (usize, usize) {
        (self.v4.len(), self.v6.len())
    }

    /// What is known of an address.
    pub fn know(&self, address: IpAddr) -> Known<'_> {
        let (embedded, address) = match address.to_canonical() {
            IpAddr::V6(v6) => match embedded(v6) {
                Some(v4) => (Some(v4), IpAddr::V4(v4)),
                None => (None, address),
            },
            v4 => (None, v4),
        };
        let (facts, len) = match address {
            IpAddr::V4(v4) => within(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => within(&self.v6, v6.to_bits()),
        };
        Known { facts: &self.facts[facts as usize], network: Prefix::around(address, len), embedded }
    }
}

fn within<A: Bits>(runs: &Runs<A>, address: A) -> (u32, u8) {
    let at = runs.find(address);
    let start = runs.left(at).expect("an address lies in a run");
    (runs.value(at), widest(address.left(), start, runs.left(at + 1)))
}

/// Facts by number: the same facts have the same number, and none are number 0 in a layer.
#[derive(Default)]
pub(super) struct Interned {
    pub(super) facts: Vec<Facts>,
    numbers: HashMap<Facts, u32>,
}

impl Interned {
    pub(super) fn number(&mut self, facts: Facts) -> u32 {
        if let Some(number) = self.numbers.get(&facts) {
            return *number;
        }
        let number = u32::try_from(self.facts.len()).expect("there are fewer facts than networks");
        self.facts.push(facts.clone());
        self.numbers.insert(facts, number);
        number
    }
}
