//! A hash that never changes.

/// Hashes octets. The values are part of what sites agree on without talking, now and after an
/// upgrade, so this function stays as it is: FNV-1a over 64 bits, finished with [`mix`].
pub fn stable_hash(octets: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    mix(octets.iter().fold(BASIS, |state, octet| (state ^ u64::from(*octet)).wrapping_mul(PRIME)))
}

/// Spreads a number over all 64 bits: the finisher of SplitMix64. It stays as it is, like
/// [`stable_hash`].
#[inline]
pub fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_as_it_is() {
        assert_eq!(stable_hash(b""), mix(0xcbf2_9ce4_8422_2325));
        // The test vectors of SplitMix64 with seed 1234567 (Vigna, prng.di.unimi.it).
        let step = 0x9e37_79b9_7f4a_7c15u64;
        assert_eq!(mix(1_234_567u64.wrapping_add(step)), 6_457_827_717_110_365_317);
        assert_eq!(mix(1_234_567u64.wrapping_add(step).wrapping_add(step)), 3_203_168_211_198_807_973);
    }
}
