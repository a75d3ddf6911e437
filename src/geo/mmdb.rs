//! MaxMind's database format (<https://maxmind.github.io/MaxMind-DB/>) → [`Layer`].
//!
//! The search tree is walked in order, with every step checked: a file that was cut off or
//! overwritten while it was copied must be an error, never a panic or a walk without end. Each
//! record is read once, however many networks share it.

use std::collections::HashMap;

use super::data::{Bad, Data};
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
    Format(u64),
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

/// Reads a database. `file` is what to call it.
///
/// # Errors
/// [`MmdbError`].
pub fn read_mmdb(file: &str, bytes: &[u8]) -> Result<Layer, MmdbError> {
    let about = Metadata::read(bytes)?;
    let mut walk = Walk::new(&about, bytes)?;
    let six = about.ip_version == 6;
    // In a tree for both families, IPv4 is at ::/96, and other places lead there as well.
    let inside = if six { walk.descend(96)? } else { 0 };
    let mut v4 = Runs::all(0);
    walk.networks(inside, 32, None, |bits, facts| v4.push((bits >> 96) as u32, facts))?;
    let mut v6 = Runs::all(0);
    if six {
        walk.networks(0, 128, Some(inside), |bits, facts| v6.push(bits, facts))?;
    }
    let kind = about.database_type.to_owned();
    if walk.known.facts.len() == 1 {
        return Err(MmdbError::Useless(kind));
    }
    let named = |facts: u32| facts != 0;
    let networks = v4.iter().filter(|(_, facts)| named(*facts)).count()
        + v6.iter().filter(|(_, facts)| named(*facts)).count();
    let built = i64::try_from(about.build_epoch).ok();
    let database = Database {
        file: file.to_owned(),
        kind,
        built: built.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        networks,
        stamp: Stamp::default(),
    };
    Ok(Layer { database, facts: walk.known.facts, v4, v6 })
}

/// What a file says of itself.
struct Metadata<'a> {
    /// Where it says so.
    begins: usize,
    build_epoch: u64,
    database_type: &'a str,
    ip_version: u64,
    node_count: u32,
    /// Bits of a pointer in the tree.
    record_size: usize,
}

impl<'a> Metadata<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, MmdbError> {
        let tail = bytes.len().saturating_sub(METADATA_MAX);
        let marker = bytes[tail..].windows(MARKER.len()).rposition(|window| window == MARKER);
        let begins = tail + marker.ok_or(MmdbError::NotMmdb)?;
        let data = Data(&bytes[begins + MARKER.len()..]);
        let senseless = |_| damaged("its metadata make no sense");
        let field =
            |key: &str| data.field(0, key).and_then(|at| at.ok_or(Bad::Unlike("there"))).map_err(senseless);
        let number = |key: &str| data.unsigned(field(key)?).map_err(senseless);
        let format = number("binary_format_major_version")?;
        if format != 2 {
            return Err(MmdbError::Format(format));
        }
        let (nodes, record_size, ip_version) =
            (number("node_count")?, number("record_size")?, number("ip_version")?);
        let node_count = u32::try_from(nodes).ok().filter(|nodes| *nodes > 0);
        let known = matches!(record_size, 24 | 28 | 32) && matches!(ip_version, 4 | 6);
        let node_count = node_count.filter(|_| known).ok_or_else(|| damaged("its metadata make no sense"))?;
        if nodes * record_size / 4 + SEPARATOR as u64 > begins as u64 {
            return Err(damaged(&format!("{} bytes are too few for its tree", bytes.len())));
        }
        Ok(Self {
            begins,
            build_epoch: number("build_epoch")?,
            database_type: data.text(field("database_type")?).map_err(senseless)?,
            ip_version,
            node_count,
            record_size: record_size as usize,
        })
    }
}

/// A walk through the tree, and the facts that were met.
struct Walk<'a> {
    about: &'a Metadata<'a>,
    tree: &'a [u8],
    data: Data<'a>,
    known: Interned,
    numbers: HashMap<u32, u32>,
    /// Nodes that may still be met: each is met once, apart from a few that lead there as well.
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
    fn new(about: &'a Metadata<'a>, bytes: &'a [u8]) -> Result<Self, MmdbError> {
        let (tree, rest) = bytes[..about.begins].split_at(about.node_count as usize * about.record_size / 4);
        let (separator, data) = rest.split_at(SEPARATOR);
        if separator.iter().any(|byte| *byte != 0) {
            return Err(damaged("its tree does not end where it should"));
        }
        let mut known = Interned::default();
        known.number(Facts::default());
        let left = u64::from(about.node_count) * 2 + 256;
        Ok(Self { about, tree, data: Data(data), known, numbers: HashMap::new(), left })
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
                    found(address, self.record(offset)?);
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
        let beyond = u64::from(pointer).checked_sub(u64::from(self.about.node_count));
        match beyond {
            None => Ok(Step::Node(pointer)),
            Some(0) => Ok(Step::Nothing),
            Some(beyond) => match beyond.checked_sub(SEPARATOR as u64) {
                Some(offset) if offset < self.data.0.len() as u64 => Ok(Step::Record(offset as u32)),
                _ => Err(damaged("its tree leads out of the file")),
            },
        }
    }

    /// Both pointers of a node of the tree.
    fn branches(&self, node: u32) -> [u32; 2] {
        let size = self.about.record_size / 4;
        pointers(&self.tree[node as usize * size..][..size])
    }

    /// The number of the facts in a record.
    fn record(&mut self, offset: u32) -> Result<u32, MmdbError> {
        if let Some(number) = self.numbers.get(&offset) {
            return Ok(*number);
        }
        let number = self.known.number(self.facts(offset as usize)?);
        self.numbers.insert(offset, number);
        Ok(number)
    }

    /// The facts in a record; other things it tells are passed over.
    fn facts(&self, record: usize) -> Result<Facts, MmdbError> {
        let text = |keys: &[&str]| self.get(record, keys, |at| self.data.text(at));
        let double = |keys: &[&str]| self.get(record, keys, |at| self.data.double(at));
        let part = self.get(record, &["subdivisions"], |at| match self.data.first(at)? {
            Some(first) => self.data.field(first, "iso_code")?.map(|at| self.data.text(at)).transpose(),
            None => Ok(None),
        })?;
        let asn = self.get(record, &["autonomous_system_number"], |at| self.data.unsigned(at))?;
        let (latitude, longitude) = (double(&["location", "latitude"])?, double(&["location", "longitude"])?);
        Ok(Facts {
            continent: text(&["continent", "code"])?.and_then(code),
            country: text(&["country", "iso_code"])?.and_then(code),
            subdivision: part.flatten().and_then(Subdivision::new),
            // 0 is reserved (RFC 7607): nobody's.
            asn: asn.and_then(|asn| u32::try_from(asn).ok()).filter(|asn| *asn != 0),
            location: latitude.zip(longitude).and_then(|(latitude, longitude)| location(latitude, longitude)),
            networks: Vec::new(),
        })
    }

    /// What stands at a path of a record, if it is there.
    fn get<T>(
        &self,
        record: usize,
        keys: &[&str],
        read: impl FnOnce(usize) -> Result<T, Bad>,
    ) -> Result<Option<T>, MmdbError> {
        let found = self.data.path(record, keys).and_then(|at| at.map(read).transpose());
        found.map_err(|bad| match bad {
            Bad::Damaged(what) => damaged(what),
            Bad::Unlike(what) => MmdbError::Foreign {
                kind: self.about.database_type.to_owned(),
                why: format!("`{}` is not {what}", keys.join("/")),
            },
        })
    }
}

/// The pointers in a node of 6, 7 or 8 octets.
fn pointers(node: &[u8]) -> [u32; 2] {
    let number = |octets: &[u8]| octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet));
    match node.len() {
        // The octet in the middle has the upper four bits of both.
        7 => {
            let [left, right] = [u32::from(node[3] >> 4), u32::from(node[3] & 15)];
            [left << 24 | number(&node[..3]), right << 24 | number(&node[4..])]
        }
        size => [number(&node[..size / 2]), number(&node[size / 2..])],
    }
}

fn damaged(what: &str) -> MmdbError {
    MmdbError::Damaged(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of the specification, "Node Layout".
    #[test]
    fn nodes_of_all_sizes_are_read() {
        assert_eq!(pointers(&[0xa2, 0xa1, 0xa0, 0xb2, 0xb1, 0xb0]), [0xa2_a1a0, 0xb2_b1b0]);
        assert_eq!(pointers(&[0xa2, 0xa1, 0xa0, 0xcd, 0xb2, 0xb1, 0xb0]), [0xca2_a1a0, 0xdb2_b1b0]);
        assert_eq!(pointers(&[0xa3, 0xa2, 0xa1, 0xa0, 0xb3, 0xb2, 0xb1, 0xb0]), [0xa3a2_a1a0, 0xb3b2_b1b0]);
    }
}
