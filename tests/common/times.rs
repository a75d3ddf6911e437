//! How often randomised tests try.

/// So many tries, or the multiple of them that `POINTSMAN_TEST_TIMES` says (`make test-long`).
pub fn times(tries: u32) -> u32 {
    let factor = std::env::var("POINTSMAN_TEST_TIMES").ok().and_then(|factor| factor.parse().ok());
    tries.saturating_mul(factor.unwrap_or(1))
}
