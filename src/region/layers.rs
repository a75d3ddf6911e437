//! What the checks of one layer add up to, in three values.
//!
//! A layer is a weighted vote: it passes once what passes adds up to what is needed. `all`, `any`
//! and `at_least` are votes too. Then what is unknown needs no guessing:
//!
//! ```text
//!    passed ≥ needed              it passes, whatever the unknown ones are
//!    passed + unknown < needed    it fails, whatever they are
//!    else                         they would decide: unknown
//! ```
//! This is exact (Kleene's logic would not be, for formulas that name a check twice; a vote names
//! each once), and a test compares it with every completion of the unknowns.

use std::time::Duration;

use crate::base::CheckId;
use crate::config::LayerChecks;
use crate::health::Verdict;

/// The count of a vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    /// What the checks that pass add up to.
    pub passed: u64,
    /// What those add up to that cannot be measured.
    pub unknown: u64,
    /// What is needed.
    pub needed: u64,
}

impl Tally {
    /// Counts.
    pub fn of(layer: &LayerChecks, verdict: impl Fn(CheckId) -> Verdict) -> Self {
        let mut tally = Self { passed: 0, unknown: 0, needed: layer.needed };
        for (check, weight) in &layer.votes {
            match verdict(*check) {
                Verdict::Pass => tally.passed += u64::from(*weight),
                Verdict::Unknown => tally.unknown += u64::from(*weight),
                Verdict::Fail => {}
            }
        }
        tally
    }

    /// What the layer has come to.
    pub fn verdict(&self) -> Verdict {
        if self.passed >= self.needed {
            Verdict::Pass
        } else if self.passed + self.unknown < self.needed {
            Verdict::Fail
        } else {
            Verdict::Unknown
        }
    }
}

/// The soonest that a layer could cease to pass, if each check can fail after its own span.
pub fn breaks_in(
    layer: &LayerChecks,
    verdict: impl Fn(CheckId) -> Verdict,
    span: impl Fn(CheckId) -> Duration,
) -> Duration {
    let mut standing: Vec<(Duration, u64)> = layer
        .votes
        .iter()
        .filter(|(check, _)| verdict(*check) != Verdict::Fail)
        .map(|(check, weight)| (span(*check), u64::from(*weight)))
        .collect();
    let mut left: u64 = standing.iter().map(|(_, weight)| weight).sum();
    standing.sort_unstable();
    for (span, weight) in standing {
        left -= weight;
        if left < layer.needed {
            return span;
        }
    }
    Duration::MAX
}

/// The soonest that a layer could pass again, if each check can pass after its own span; zero if it
/// passes.
pub fn mends_in(
    layer: &LayerChecks,
    verdict: impl Fn(CheckId) -> Verdict,
    span: impl Fn(CheckId) -> Duration,
) -> Duration {
    let mut have = 0;
    let mut lacking = Vec::new();
    for (check, weight) in &layer.votes {
        match verdict(*check) {
            Verdict::Pass => have += u64::from(*weight),
            Verdict::Unknown | Verdict::Fail => lacking.push((span(*check), u64::from(*weight))),
        }
    }
    if have >= layer.needed {
        return Duration::ZERO;
    }
    lacking.sort_unstable();
    for (span, weight) in lacking {
        have += weight;
        if have >= layer.needed {
            return span;
        }
    }
    Duration::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn layer(weights: &[u32], needed: u64) -> LayerChecks {
        let votes: Vec<_> =
            weights.iter().enumerate().map(|(n, weight)| (CheckId(n as u32), *weight)).collect();
        LayerChecks { checks: votes.iter().map(|(check, _)| *check).collect(), votes, needed }
    }

    /// By the definition: every unknown once as a pass and once as a failure, in every combination.
    fn brute(weights: &[u32], verdicts: &[Verdict], needed: u64) -> Verdict {
        let unknown: Vec<usize> = (0..verdicts.len()).filter(|n| verdicts[*n] == Verdict::Unknown).collect();
        let mut outcomes = Vec::new();
        for completion in 0..1u32 << unknown.len() {
            let sum: u64 = (0..verdicts.len())
                .filter(|n| match unknown.iter().position(|at| at == n) {
                    Some(bit) => completion >> bit & 1 == 1,
                    None => verdicts[*n] == Verdict::Pass,
                })
                .map(|n| u64::from(weights[n]))
                .sum();
            outcomes.push(sum >= needed);
        }
        match (outcomes.contains(&true), outcomes.contains(&false)) {
            (true, false) => Verdict::Pass,
            (false, true) => Verdict::Fail,
            _ => Verdict::Unknown,
        }
    }

    #[test]
    fn three_values_are_exact() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut seen = [0u32; 3];
        for _ in 0..20_000 {
            let count = rng.usize(1..=6);
            let weights: Vec<u32> = (0..count).map(|_| rng.u32(1..=4)).collect();
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            // `all`, `any`, and everything between.
            let needed = rng.u64(1..=total);
            let verdicts: Vec<Verdict> = (0..count).map(|_| Verdict::ALL[rng.usize(0..3)]).collect();
            let found = Tally::of(&layer(&weights, needed), |check| verdicts[check.0 as usize]).verdict();
            assert_eq!(found, brute(&weights, &verdicts, needed), "{weights:?} {verdicts:?} {needed}");
            seen[found as usize] += 1;
        }
        assert!(seen.iter().all(|times| *times > 1000), "{seen:?}");
    }

    #[test]
    fn a_layer_that_nobody_decides_passes() {
        let none = layer(&[], 0);
        assert_eq!(Tally::of(&none, |_| Verdict::Fail).verdict(), Verdict::Pass);
        assert_eq!(breaks_in(&none, |_| Verdict::Pass, |_| SECOND), Duration::MAX);
        assert_eq!(mends_in(&none, |_| Verdict::Pass, |_| SECOND), Duration::ZERO);
    }

    /// No sequence of failures breaks the layer sooner than told, and one breaks it then.
    #[test]
    fn how_soon_it_could_turn_is_exact() {
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..5000 {
            let count = rng.usize(1..=6);
            let weights: Vec<u32> = (0..count).map(|_| rng.u32(1..=3)).collect();
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            let layer = layer(&weights, rng.u64(1..=total));
            let verdicts: Vec<Verdict> = (0..count).map(|_| Verdict::ALL[rng.usize(0..3)]).collect();
            let spans: Vec<Duration> = (0..count).map(|_| SECOND * rng.u32(1..=9)).collect();
            let verdict = |check: CheckId| verdicts[check.0 as usize];
            let span = |check: CheckId| spans[check.0 as usize];
            let after = |time: Duration, turned: Verdict| {
                Tally::of(&layer, |check| if span(check) <= time { turned } else { verdict(check) })
            };
            // What is unknown may be a pass by now: only what is left without the turned ones counts.
            let best = |time: Duration| {
                let tally = after(time, Verdict::Fail);
                tally.passed + tally.unknown >= tally.needed
            };
            let breaks = breaks_in(&layer, verdict, span);
            if best(Duration::ZERO) {
                assert!(
                    best(breaks - SECOND) && !best(breaks),
                    "{layer:?} {verdicts:?} {spans:?} {breaks:?}"
                );
            }
            let mends = mends_in(&layer, verdict, span);
            let passes = |time: Duration| after(time, Verdict::Pass).verdict() == Verdict::Pass;
            assert!(passes(mends), "{layer:?} {verdicts:?} {spans:?} {mends:?}");
            assert!(mends.is_zero() || !passes(mends - SECOND), "{layer:?} {verdicts:?} {spans:?} {mends:?}");
        }
    }
}
