//! The hash by which names are found.

// Odd constants with about as many ones as zeros (digits of π and e).
const SEED: u64 = 0x243f_6a88_85a3_08d3;
const MIX_A: u64 = 0x1319_8a2e_0370_7345;
const MIX_B: u64 = 0xb7e1_5162_8aed_2a6b;

/// Hashes a name in lower-cased wire form, sixteen octets at a time.
///
/// Multiply and fold, as wyhash and its kin do: a name of usual length costs two
/// multiplications, where the standard library's keyed hash costs five times as much. It needs
/// no key: the table holds the operator's names, and those who ask cannot add to it, so nobody
/// can make its chains long.
#[inline]
pub fn hash_name(name: &[u8]) -> u64 {
    let len = name.len();
    let mut state = SEED ^ len as u64;
    if len >= 16 {
        let mut at = 0;
        while at + 16 < len {
            state = fold(word(name, at) ^ MIX_A, word(name, at + 8) ^ state);
            at += 16;
        }
        // The last sixteen overlap those before them.
        state = fold(word(name, len - 16) ^ MIX_A, word(name, len - 8) ^ state);
    } else if len >= 8 {
        state = fold(word(name, 0) ^ MIX_A, word(name, len - 8) ^ state);
    } else {
        let short = name.iter().fold(0, |value, octet| value << 8 | u64::from(*octet));
        state = fold(short ^ MIX_A, state);
    }
    fold(state, MIX_B)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn word(octets: &[u8], at: usize) -> u64 {
    let eight = octets.get(at..).and_then(|rest| rest.first_chunk());
    eight.map_or(0, |eight| u64::from_le_bytes(*eight))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::wire::Name;

    #[test]
    fn spreads_names_that_differ_little() {
        let mut seen = HashSet::new();
        let mut buckets = vec![0u32; 1024];
        for n in 0..100_000 {
            let name = Name::parse(&format!("host{n:06}.example.com")).unwrap();
            let hash = hash_name(name.as_wire());
            assert!(seen.insert(hash), "collision at {name}");
            buckets[(hash >> 54) as usize] += 1;
        }
        // 98 expected in each; six standard deviations.
        assert!(buckets.iter().all(|count| (38..=158).contains(count)), "{buckets:?}");
    }

    #[test]
    fn every_octet_and_the_length_count() {
        for len in 1..64usize {
            let name = vec![7u8; len];
            let hash = hash_name(&name);
            for at in 0..len {
                let mut other = name.clone();
                other[at] ^= 1;
                assert_ne!(hash_name(&other), hash, "octet {at} of {len}");
            }
            assert_ne!(hash_name(&vec![7u8; len + 1]), hash);
        }
    }
}
