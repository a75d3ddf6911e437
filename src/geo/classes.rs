//! Clients → classes: those that one policy treats alike are one class.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use super::embed::EMBEDDINGS;
use super::facts::Facts;
use super::runs::Runs;
use super::trie::{Trie, VALUE_MAX};
use super::world::World;
use crate::base::Prefix;

/// Classes of one policy: their numbers are `u16`.
pub const CLASSES_MAX: usize = 1 << 16;
/// Values of the IPv6 trie from here on are embeddings, not classes.
const EMBEDDED: u32 = CLASSES_MAX as u32;
const _: () = assert!(EMBEDDED + EMBEDDINGS.len() as u32 - 1 <= VALUE_MAX);

/// The class of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// The number of the class, from 0.
    pub number: u16,
    /// The length of the widest network around the client where every address is of this class:
    /// the scope of RFC 7871 §7.2.1. Such networks are equal or apart, as a cache needs them to be.
    pub scope: u8,
}

/// Why there are no classes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClassesError {
    /// More than [`CLASSES_MAX`].
    #[error("clients fall into more than {CLASSES_MAX} classes: let fewer regions or coarser facts decide")]
    TooMany,
    /// More networks than can be kept.
    #[error("the classes have too many networks: let fewer regions or coarser facts decide")]
    TooBig,
}

/// Which class each client belongs to. A lookup neither allocates nor fails.
#[derive(Clone, Debug)]
pub struct Classes {
    v4: Trie,
    v6: Trie,
}

impl Classes {
    /// One class for each distinct key that facts have, and the keys by number of class.
    ///
    /// # Errors
    /// [`ClassesError::TooMany`], [`ClassesError::TooBig`].
    pub fn build<K: Hash + Eq + Clone>(
        world: &World,
        mut key: impl FnMut(&Facts) -> K,
    ) -> Result<(Self, Vec<K>), ClassesError> {
        let mut keys = Vec::new();
        let mut numbers: HashMap<K, u32> = HashMap::new();
        let mut of_facts = Vec::with_capacity(world.facts().len());
        for facts in world.facts() {
            let key = key(facts);
            let next = keys.len();
            let number = *numbers.entry(key).or_insert_with_key(|key| {
                keys.push(key.clone());
                next as u32
            });
            if next >= CLASSES_MAX && keys.len() > CLASSES_MAX {
                return Err(ClassesError::TooMany);
            }
            of_facts.push(number);
        }
        let v4 = world.v4.map(|facts| of_facts[facts as usize]);
        let v6 = world.v6.map(|facts| of_facts[facts as usize]);
        let v6 = with_embeddings(&v6, &v4);
        let too_big = |_| ClassesError::TooBig;
        let classes = Self { v4: Trie::build(&v4).map_err(too_big)?, v6: Trie::build(&v6).map_err(too_big)? };
        Ok((classes, keys))
    }

    /// The class of a client, given by its address or by as much as is told of it. A network that
    /// spans several classes takes that of its first address; the scope says how much further
    /// that reaches, which may be less far.
    pub fn lookup(&self, client: &Prefix) -> Class {
        match client.first() {
            IpAddr::V4(v4) => self.find_v4(v4.to_bits()),
            IpAddr::V6(v6) => {
                let address = v6.to_bits();
                let (value, scope) = self.v6.find(address);
                match value.checked_sub(EMBEDDED) {
                    None => Class { number: value as u16, scope },
                    Some(which) => {
                        let embedding = &EMBEDDINGS[which as usize];
                        let inner = self.find_v4(embedding.inner(address));
                        Class { scope: embedding.skip + inner.scope, ..inner }
                    }
                }
            }
        }
    }

    fn find_v4(&self, address: u32) -> Class {
        let (number, scope) = self.v4.find(u128::from(address) << 96);
        Class { number: number as u16, scope }
    }

    /// What it takes in memory, in bytes.
    pub fn size(&self) -> usize {
        self.v4.size() + self.v6.size()
    }
}

/// Leads ranges with IPv4 addresses inside there; where all of IPv4 is one class, so are they.
fn with_embeddings(v6: &Runs<u128>, v4: &Runs<u32>) -> Runs<u128> {
    const NONE: u32 = 0;
    let whole = (v4.len() == 1).then(|| v4.value(0));
    let ranges = EMBEDDINGS.iter().zip(1..).map(|(range, number)| (range.first, range.last(), number));
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_unstable();
    v6.overlay(&Runs::nest(ranges.into_iter()), |class, embedding| match embedding {
        NONE => class,
        number => whole.unwrap_or(EMBEDDED + number - 1),
    })
}
