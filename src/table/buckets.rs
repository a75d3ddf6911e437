//! Which of several things each client is bound to: weighted rendezvous hashing, worked out
//! ahead for a fixed number of buckets of clients.
//!
//! Each thing has a score in each bucket, from its name and the bucket's number alone, and the
//! best score has the bucket (Thaler and Ravishankar 1998; weights as in Schindelhauer and
//! Schomaker 2005: −log(u) / weight, the lowest wins). Where a thing is gone, only its buckets
//! go to others; when it is back, only they return. Nothing here is drawn at random and nothing
//! is rounded by a floating point unit, so that all sites come to the same, and after a restart too.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{Prefix, mix};
use crate::config::StickyPrefix;

/// Buckets of clients: a share is kept to about one part in a hundred of them.
pub(super) const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 12;
/// Sets of things that are remembered: services mostly have the same regions.
const REMEMBERED_MAX: usize = 256;

/// Buckets that were worked out before.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    known: HashMap<Vec<(u64, u32)>, Arc<[u8; BUCKETS]>>,
}

impl Buckets {
    /// The position of the thing that each bucket is bound to. Things are given by the hash of
    /// their name and their weight, which is above zero; there are at most 256.
    pub(super) fn of(&mut self, things: &[(u64, u32)]) -> Arc<[u8; BUCKETS]> {
        if let Some(known) = self.known.get(things) {
            return Arc::clone(known);
        }
        let mut buckets = [0; BUCKETS];
        for (number, bucket) in buckets.iter_mut().enumerate() {
            *bucket = winner(number as u64, things) as u8;
        }
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        let buckets = Arc::new(buckets);
        self.known.insert(things.to_vec(), Arc::clone(&buckets));
        buckets
    }
}

/// The bucket of a client.
#[inline]
pub(super) fn bucket_of(client: &Prefix, prefix: StickyPrefix, salt: u64) -> usize {
    let network = client.shortened(if client.is_ipv4() { prefix.ipv4 } else { prefix.ipv6 });
    let hash = match network.first() {
        std::net::IpAddr::V4(v4) => mix(salt ^ mix(u64::from(v4.to_bits()))),
        std::net::IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            mix(mix(salt ^ mix((bits >> 64) as u64)).wrapping_add(bits as u64))
        }
    };
    (hash >> (u64::BITS - BUCKET_BITS)) as usize
}

fn winner(bucket: u64, things: &[(u64, u32)]) -> usize {
    let scores = things.iter().map(|(name, weight)| (cost(mix(name ^ mix(bucket))), *weight, *name));
    let mut best: Option<(usize, u64, u32, u64)> = None;
    for (position, (cost, weight, name)) in scores.enumerate() {
        let better = best.is_none_or(|(_, least, of, named)| {
            // cost / weight < least / of, without dividing; equal ones as named.
            let (mine, theirs) = (u128::from(cost) * u128::from(of), u128::from(least) * u128::from(weight));
            mine < theirs || (mine == theirs && name < named)
        });
        if better {
            best = Some((position, cost, weight, name));
        }
    }
    best.map_or(0, |(position, ..)| position)
}

/// −log2 of a number taken as a fraction of 2⁶⁴, with 32 bits behind the point.
fn cost(number: u64) -> u64 {
    const DIGITS: u32 = 32;
    let number = number | 1;
    let whole = u64::from(number.leading_zeros());
    // From 1 to 2, with 63 bits behind the point: squaring brings out one binary digit of the
    // logarithm after the other.
    let mut rest = number << whole;
    let mut digits = 0u64;
    for _ in 0..DIGITS {
        let square = u128::from(rest) * u128::from(rest);
        let carries = square >> 127 == 1;
        digits = digits << 1 | u64::from(carries);
        rest = if carries { (square >> 64) as u64 } else { (square >> 63) as u64 };
    }
    // The number is 2^(63 − whole) times the fraction, out of 2^64.
    ((whole + 1) << DIGITS) - digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn things(weights: &[(&str, u32)]) -> Vec<(u64, u32)> {
        weights.iter().map(|(name, weight)| (crate::base::stable_hash(name.as_bytes()), *weight)).collect()
    }

    fn shares(things: &[(u64, u32)]) -> Vec<f64> {
        let buckets = Buckets::default().of(things);
        let count = |position| buckets.iter().filter(|bucket| usize::from(**bucket) == position).count();
        (0..things.len()).map(|position| count(position) as f64 / BUCKETS as f64).collect()
    }

    #[test]
    fn costs_are_logarithms() {
        for number in [u64::MAX, 1 << 63, 3 << 62, 0x1234_5678_9abc_def1, 1 << 40 | 1, 12345, 1] {
            let expected = 64.0 - (number as f64).log2();
            let is = cost(number) as f64 / f64::from(2.0f32.powi(32));
            assert!((is - expected).abs() < 1e-6, "{number}: {is} for {expected}");
        }
    }

    #[test]
    fn weights_are_kept() {
        // Five standard deviations of 4096 draws.
        for weights in [&[("a", 1), ("b", 1)][..], &[("a", 70), ("b", 30)], &[("a", 1), ("b", 2), ("c", 97)]]
        {
            let things = things(weights);
            let total: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
            for (is, (name, weight)) in shares(&things).into_iter().zip(weights) {
                let wanted = f64::from(*weight) / total;
                let slack = 5.0 * (wanted * (1.0 - wanted) / BUCKETS as f64).sqrt();
                assert!((is - wanted).abs() < slack, "{name} of {weights:?}: {is}");
            }
        }
    }

    #[test]
    fn only_clients_of_what_is_gone_move() {
        let all = things(&[("a", 5), ("b", 3), ("c", 2), ("d", 1)]);
        let mut buckets = Buckets::default();
        let before = buckets.of(&all);
        for gone in 0..all.len() {
            let mut left = all.clone();
            left.remove(gone);
            let after = buckets.of(&left);
            for (before, after) in before.iter().zip(after.iter()) {
                let (before, after) = (all[usize::from(*before)], left[usize::from(*after)]);
                assert!(before == after || before == all[gone]);
            }
        }
        // The order in which they are listed makes no difference.
        let mut turned = all.clone();
        turned.reverse();
        let other = buckets.of(&turned);
        assert!(
            before.iter().zip(other.iter()).all(|(a, b)| all[usize::from(*a)] == turned[usize::from(*b)])
        );
    }

    #[test]
    fn a_heavier_weight_only_takes() {
        let (light, heavy) = (things(&[("a", 1), ("b", 1)]), things(&[("a", 2), ("b", 1)]));
        let mut buckets = Buckets::default();
        let (before, after) = (buckets.of(&light), buckets.of(&heavy));
        assert!(before.iter().zip(after.iter()).all(|(before, after)| before == after || *after == 0));
    }

    #[test]
    fn stays_as_it_is() {
        // What every site and every version must agree on.
        let buckets = Buckets::default().of(&things(&[("eu-west", 1), ("us-east", 1), ("ap-south", 1)]));
        // Worked out once more in another language.
        assert_eq!(buckets[..16], [0, 0, 1, 1, 0, 1, 1, 2, 2, 2, 2, 0, 0, 0, 1, 0]);
        let client = |text: &str| Prefix::host(text.parse().unwrap());
        let salt = crate::base::stable_hash(b"storefront");
        let of = |text| bucket_of(&client(text), StickyPrefix::default(), salt);
        assert_eq!([of("192.0.2.1"), of("192.0.2.255"), of("192.0.3.1")], [42, 42, 3692]);
        assert_eq!(
            [of("2001:db8:0:1::1"), of("2001:db8:0:ff::1"), of("2001:db8:0:100::")],
            [2094, 2094, 2062]
        );
    }
}
