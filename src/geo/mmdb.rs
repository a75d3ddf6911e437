//! MaxMind's database format (<https://maxmind.github.io/MaxMind-DB/>) → [`Layer`].
//!
//! The search tree is walked here, in order and with every step checked: a file that was cut off
//! or overwritten while it was copied must be an error, never a panic or a walk without end. Each
//! record is decoded once, by `maxminddb`, however many networks share it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;

use super::facts::{Facts, Subdivision, code, location};
use super::runs::Runs;
use super::world::{Database, Interned, Layer, NETWORKS_MAX, Stamp};
use crate::base::Timestamp;

/// Precedes the metadata, which end the file.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// The metadata lie in the last 128 KiB (specification, "Database Metadata").
const METADATA_MAX: usize = 128 * 1024;
/// Zeros between the tree and the data.
const SEPARATOR: usize = 16;

/// Why a file is of no use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MmdbError {
    /// No metadata at its end.
    #[error("not a MaxMind database, or cut off: it does not end with the metadata of one")]
    NotMmdb,
    /// A later format.
    #[error("format {0} is not known here: 2.x is")]
    Format(u16),
    /// The parts do not fit together.
    #[error("damaged: {0}; fetch it again")]
    Damaged(String),
    /// A record is not made like those of GeoIP2 and GeoLite2.
    #[error("a {kind} database is not made like GeoIP2 or GeoLite2: {why}")]
    Foreign {
        /// What it says of itself.
        kind: String,
        /// What does not fit.
        why: String,
    },
    /// It tells other things.
    #[error(
        "a {0} database tells of nobody's continent, country, subdivision, location or AS: use a Country, City or ASN database"
    )]
    Useless(String),
    /// More than [`NETWORKS_MAX`].
    #[error("it tells more than {NETWORKS_MAX} networks apart: use a coarser one")]
    TooManyNetworks,
}

/// The part of a record that is of use here.
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    continent: Continent<'a>,
    #[serde(borrow)]
    country: Iso<'a>,
    #[serde(borrow)]
    subdivisions: Vec<Iso<'a>>,
    autonomous_system_number: Option<u32>,
    location: Option<Coordinates>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Continent<'a> {
    code: Option<&'a str>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Iso<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Coordinates {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl Record<'_> {
    fn facts(&self) -> Facts {
        let place = self.location.as_ref().and_then(|at| location(at.latitude?, at.longitude?));
        Facts {
            continent: self.continent.code.and_then(code),
            country: self.country.iso_code.and_then(code),
            subdivision: self.subdivisions.first().and_then(|part| Subdivision::new(part.iso_code?)),
            // 0 is reserved (RFC 7607): nobody's.
            asn: self.autonomous_system_number.filter(|asn| *asn != 0),
            location: place,
            networks: Vec::new(),
        }
    }
}

/// Reads a database. `file` is what to call it.
///
/// # Errors
/// [`MmdbError`].
pub fn read_mmdb(file: &str, bytes: &[u8]) -> Result<Layer, MmdbError> {
    let reader = open(bytes)?;
    let mut walk = Walk::new(&reader, bytes)?;
    let six = reader.metadata.ip_version == 6;
    // In a tree for both families, IPv4 is at ::/96, and other places lead there as well.
    let inside = if six { walk.descend(96)? } else { 0 };
    let mut v4 = Runs::all(0);
    walk.networks(inside, 32, None, |bits, facts| v4.push((bits >> 96) as u32, facts))?;
    let mut v6 = Runs::all(0);
    if six {
        walk.networks(0, 128, Some(inside), |bits, facts| v6.push(bits, facts))?;
    }
    let kind = reader.metadata.database_type.clone();
    if walk.known.facts.len() == 1 {
        return Err(MmdbError::Useless(kind));
    }
    let named = |facts: u32| facts != 0;
    let networks = v4.iter().filter(|(_, facts)| named(*facts)).count()
        + v6.iter().filter(|(_, facts)| named(*facts)).count();
    let built = i64::try_from(reader.metadata.build_epoch).ok();
    let database = Database {
        file: file.to_owned(),
        kind,
        built: built.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        networks,
        stamp: Stamp::default(),
    };
    Ok(Layer { database, facts: walk.known.facts, v4, v6 })
}

/// A reader over all of the file, once its metadata fit the file.
fn open(bytes: &[u8]) -> Result<Reader<&[u8]>, MmdbError> {
    let tail = bytes.len().saturating_sub(METADATA_MAX);
    let marker = bytes[tail..].windows(MARKER.len()).rposition(|window| window == MARKER);
    let metadata = tail + marker.ok_or(MmdbError::NotMmdb)?;
    // The reader looks for IPv4 in the tree as soon as it has read the metadata, and takes it for
    // granted that the tree is there. So it gets the metadata with an empty tree first.
    let alone = [&[0; SEPARATOR], &bytes[metadata..]].concat();
    let alone = Reader::from_source(alone).map_err(|why| MmdbError::Damaged(why.to_string()))?;
    let about = &alone.metadata;
    let tree = u64::from(about.node_count) * u64::from(about.record_size) / 4;
    if about.binary_format_major_version != 2 {
        return Err(MmdbError::Format(about.binary_format_major_version));
    }
    if !matches!(about.ip_version, 4 | 6) || about.node_count == 0 {
        return Err(MmdbError::Damaged("its metadata make no sense".to_owned()));
    }
    if tree + SEPARATOR as u64 > metadata as u64 {
        return Err(MmdbError::Damaged(format!("{} bytes are too few for its tree", bytes.len())));
    }
    Reader::from_source(bytes).map_err(|why| MmdbError::Damaged(why.to_string()))
}

/// A walk through the tree, and the facts that were met.
struct Walk<'a> {
    reader: &'a Reader<&'a [u8]>,
    tree: &'a [u8],
    nodes: u32,
    /// Bytes of the data.
    data: usize,
    known: Interned,
    numbers: HashMap<u32, u32>,
    /// Steps that are left: each node is met once, apart from a few that lead there as well.
    left: u64,
}

/// What a pointer of the tree leads to.
enum Step {
    Node(u32),
    Nothing,
    /// A record at an offset in the data.
    Record(u32),
}

impl<'a> Walk<'a> {
    fn new(reader: &'a Reader<&'a [u8]>, bytes: &'a [u8]) -> Result<Self, MmdbError> {
        let nodes = reader.metadata.node_count;
        let size = nodes as usize * usize::from(reader.metadata.record_size) / 4;
        let (tree, rest) = bytes.split_at(size);
        if rest[..SEPARATOR].iter().any(|byte| *byte != 0) {
            return Err(damaged("its tree does not end where it should"));
        }
        let mut known = Interned::default();
        known.number(Facts::default());
        let left = u64::from(nodes) * 2 + 256;
        Ok(Self { reader, tree, nodes, data: rest.len() - SEPARATOR, known, numbers: HashMap::new(), left })
    }

    /// What leads to `::/len`, or to the network that it lies in.
    fn descend(&self, len: u8) -> Result<u32, MmdbError> {
        let mut pointer = 0;
        for _ in 0..len {
            match self.step(pointer)? {
                Step::Node(node) => pointer = self.branches(node)[0],
                Step::Nothing | Step::Record(_) => break,
            }
        }
        Ok(pointer)
    }

    /// Calls `found` with each network behind a pointer, in order: its first address at the left
    /// of 128 bits and the number of its facts, 0 for none. A node may be left out.
    fn networks(
        &mut self,
        pointer: u32,
        bits: u8,
        without: Option<u32>,
        mut found: impl FnMut(u128, u32),
    ) -> Result<(), MmdbError> {
        let mut networks = 0;
        // Branches that are still to be followed, the next one last.
        let mut stack = vec![(pointer, 0u128, 0u8)];
        while let Some((pointer, address, depth)) = stack.pop() {
            match self.step(pointer)? {
                Step::Node(node) if Some(node) == without => found(address, 0),
                Step::Nothing => found(address, 0),
                Step::Record(offset) => {
                    networks += 1;
                    if networks > NETWORKS_MAX {
                        return Err(MmdbError::TooManyNetworks);
                    }
                    found(address, self.record(offset, address, bits)?);
                }
                Step::Node(_) if depth >= bits => return Err(damaged("its tree is too deep")),
                Step::Node(node) => {
                    self.left =
                        self.left.checked_sub(1).ok_or_else(|| damaged("its tree leads back into itself"))?;
                    let [zero, one] = self.branches(node);
                    stack.push((one, address | 1 << (127 - depth), depth + 1));
                    stack.push((zero, address, depth + 1));
                }
            }
        }
        Ok(())
    }

    fn step(&self, pointer: u32) -> Result<Step, MmdbError> {
        let beyond = u64::from(pointer).checked_sub(u64::from(self.nodes));
        match beyond {
            None => Ok(Step::Node(pointer)),
            Some(0) => Ok(Step::Nothing),
            Some(beyond) => match beyond.checked_sub(SEPARATOR as u64) {
                Some(offset) if offset < self.data as u64 => Ok(Step::Record(offset as u32)),
                _ => Err(damaged("its tree leads out of the file")),
            },
        }
    }

    /// Both pointers of a node of the tree.
    fn branches(&self, node: u32) -> [u32; 2] {
        let size = usize::from(self.reader.metadata.record_size) / 4;
        let bytes = &self.tree[node as usize * size..][..size];
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        match size {
            6 => [number(&bytes[..3]), number(&bytes[3..])],
            // The fourth byte has the upper four bits of both.
            7 => {
                let [upper, lower] = [u32::from(bytes[3] >> 4), u32::from(bytes[3] & 15)];
                [upper << 24 | number(&bytes[..3]), lower << 24 | number(&bytes[4..])]
            }
            _ => [number(&bytes[..4]), number(&bytes[4..])],
        }
    }

    /// The number of the facts in a record, which some address leads to.
    fn record(&mut self, offset: u32, address: u128, bits: u8) -> Result<u32, MmdbError> {
        if let Some(number) = self.numbers.get(&offset) {
            return Ok(*number);
        }
        let address: IpAddr = match bits {
            32 => Ipv4Addr::from_bits((address >> 96) as u32).into(),
            _ => Ipv6Addr::from_bits(address).into(),
        };
        let record = self.reader.lookup(address).and_then(|found| found.decode::<Record>());
        let facts = match record {
            Ok(record) => record.unwrap_or_default().facts(),
            Err(why @ MaxMindDbError::Decoding { .. }) => {
                let kind = self.reader.metadata.database_type.clone();
                return Err(MmdbError::Foreign { kind, why: why.to_string() });
            }
            Err(why) => return Err(damaged(&why.to_string())),
        };
        let number = self.known.number(facts);
        self.numbers.insert(offset, number);
        Ok(number)
    }
}

fn damaged(what: &str) -> MmdbError {
    MmdbError::Damaged(what.to_owned())
}
