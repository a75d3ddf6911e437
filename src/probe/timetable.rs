//! Which target is due when. Pure: time and randomness are arguments.
//!
//! A target is either waiting for its time or being probed, never both:
//! ```text
//!            take_due           done
//!  waiting ───────────► probed ──────► waiting, one gap after its last start
//! ```
//! The first probes of all targets are spread over a short time, so that thousands do not
//! start at once. The gap after that is drawn from almost nothing to a whole interval, which
//! spreads them evenly over it; all later ones are shorter than the interval by the target's
//! jitter at most, so that targets drift apart rather than together, and by what little it comes
//! early to be probed together with another. No gap is ever longer than the interval: the promised
//! detection time rests on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::base::Mono;

/// The first round of all targets takes this long for each of them …
const FIRST_ROUND_EACH: Duration = Duration::from_micros(200);
/// … and at most this long altogether.
const FIRST_ROUND_MAX: Duration = Duration::from_secs(3);
/// The first gap is at least this part of the interval.
const FIRST_GAP_MIN: f64 = 0.1;
/// Targets that are due so soon after another are probed with it: to be woken up for each of
/// thousands costs more than some of them take. At most this part of the interval early …
const EARLY: u32 = 50;
/// … and at most so much. Too short for a herd: it is a fraction of what a round trip may take.
const EARLY_MAX: Duration = Duration::from_millis(20);

/// How often a target is probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    /// By how much a gap may be shorter, but the first.
    pub(super) jitter: Duration,
}

impl Pace {
    fn early(self) -> Duration {
        (self.interval / EARLY).min(EARLY_MAX)
    }
}

/// A target's place in the table.
pub(super) type Slot = usize;

#[derive(Debug)]
pub(super) struct Timetable {
    waiting: BinaryHeap<Reverse<(Mono, Slot)>>,
    targets: Vec<Target>,
}

#[derive(Debug)]
struct Target {
    pace: Pace,
    /// When its probe was due last; for one that waits, when it is due next.
    due: Mono,
    /// Its first round is over.
    settled: bool,
}

/// Where a target stands in its rhythm, to be taken over into another table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Phase {
    due: Mono,
    /// Its first round is over.
    settled: bool,
}

impl Timetable {
    /// Puts targets into the table, each with its pace and, if it was in another table
    /// before, its phase.
    pub(super) fn new(
        targets: impl IntoIterator<Item = (Pace, Option<Phase>)>,
        now: Mono,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let targets: Vec<_> = targets.into_iter().collect();
        let fresh = targets.iter().filter(|(_, phase)| phase.is_none()).count();
        let spread =
            FIRST_ROUND_EACH.saturating_mul(u32::try_from(fresh).unwrap_or(u32::MAX)).min(FIRST_ROUND_MAX);
        let targets: Vec<Target> = targets
            .into_iter()
            .map(|(pace, phase)| match phase {
                Some(Phase { due, settled }) => Target { pace, due: due.min(now + pace.interval), settled },
                None => {
                    Target { pace, due: now + spread.min(pace.interval).mul_f64(rng.f64()), settled: false }
                }
            })
            .collect();
        let waiting = targets.iter().enumerate().map(|(slot, target)| Reverse((target.due, slot))).collect();
        Self { waiting, targets }
    }

    /// When the next target is due, if any waits.
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.waiting.peek().map(|Reverse((due, _))| *due)
    }

    /// Whether a target is due, or as good as that.
    pub(super) fn is_due(&self, now: Mono) -> bool {
        self.waiting.peek().is_some_and(|Reverse((due, slot))| *due <= now + self.targets[*slot].pace.early())
    }

    /// Takes the target that has been due longest. It waits again after [`Timetable::done`].
    pub(super) fn take_due(&mut self, now: Mono) -> Option<Slot> {
        if !self.is_due(now) {
            return None;
        }
        let Reverse((due, slot)) = self.waiting.pop()?;
        // One that comes early is due so much earlier next time, too: no gap is ever longer.
        self.targets[slot].due = due.min(now);
        Some(slot)
    }

    /// The probe of a target has ended: it waits for its next time. Times that have passed
    /// meanwhile are left out.
    pub(super) fn done(&mut self, slot: Slot, now: Mono, rng: &mut fastrand::Rng) {
        let target = &mut self.targets[slot];
        let Pace { interval, jitter } = target.pace;
        let shortest = match target.settled {
            true => interval.saturating_sub(jitter),
            false => interval.mul_f64(FIRST_GAP_MIN),
        };
        target.settled = true;
        let gap = shortest + interval.saturating_sub(shortest).mul_f64(rng.f64());
        target.due = (target.due + gap).max(now);
        self.waiting.push(Reverse((target.due, slot)));
    }

    /// Where a target stands. One whose probe was broken off is due again at once.
    pub(super) fn phase(&self, slot: Slot) -> Phase {
        let target = &self.targets[slot];
        Phase { due: target.due, settled: target.settled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// With a jitter of a twentieth.
    fn every(interval: Duration) -> Pace {
        Pace { interval, jitter: interval / 20 }
    }

    fn rng() -> fastrand::Rng {
        fastrand::Rng::with_seed(7)
    }

    /// Runs a table on virtual time; tells when each probe started.
    fn run(table: &mut Timetable, from: Mono, until: Mono, takes: Duration) -> Vec<(Mono, Slot)> {
        let (mut starts, mut now, mut rng) = (Vec::new(), from, rng());
        while let Some(due) = table.next_due().filter(|due| *due < until) {
            now = now.max(due);
            let taken: Vec<Slot> = std::iter::from_fn(|| table.take_due(now)).collect();
            for slot in taken {
                starts.push((now, slot));
                table.done(slot, now + takes, &mut rng);
            }
        }
        starts
    }

    #[test]
    fn the_first_round_comes_soon_and_not_all_at_once() {
        let interval = SECOND * 10;
        let mut table =
            Timetable::new((0..30_000).map(|_| (every(interval), None)), Mono::default(), &mut rng());
        let starts = run(&mut table, Mono::default(), Mono(SECOND * 60), Duration::ZERO);
        let first = starts.iter().filter(|(at, _)| *at < Mono(FIRST_ROUND_MAX));
        let mut seen: Vec<_> = first.map(|(_, slot)| slot).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 30_000, "all have been probed once within the bound");
        // After it has settled, no tenth of a second has much more than its share of 300.
        let mut tenths = std::collections::BTreeMap::<u128, usize>::new();
        for (at, _) in starts.iter().filter(|(at, _)| *at > Mono(SECOND * 20)) {
            *tenths.entry(at.0.as_millis() / 100).or_default() += 1;
        }
        assert!(tenths.values().all(|count| (150..450).contains(count)), "{tenths:?}");
    }

    #[test]
    fn no_gap_is_longer_than_the_interval() {
        let mut table = Timetable::new([(every(SECOND * 5), None)], Mono::default(), &mut rng());
        let starts = run(&mut table, Mono::default(), Mono(SECOND * 1000), SECOND);
        for (n, pair) in starts.windows(2).enumerate() {
            let gap = pair[1].0.since(pair[0].0);
            let least = if n == 0 { 0.5 } else { 4.75 };
            assert!(gap <= SECOND * 5 && gap >= SECOND.mul_f64(least), "gap {n}: {gap:?}");
        }
        assert!(starts.len() > 200);
    }

    #[test]
    fn gaps_are_as_uneven_as_the_jitter_says() {
        for (jitter, least) in [(Duration::ZERO, 5.0), (SECOND, 4.0), (SECOND * 2, 3.0)] {
            let pace = Pace { interval: SECOND * 5, jitter };
            let mut table = Timetable::new([(pace, None)], Mono::default(), &mut rng());
            let starts = run(&mut table, Mono::default(), Mono(SECOND * 2000), Duration::ZERO);
            let gaps: Vec<f64> =
                starts.windows(2).skip(1).map(|pair| pair[1].0.since(pair[0].0).as_secs_f64()).collect();
            let shortest = gaps.iter().copied().fold(f64::MAX, f64::min);
            let longest = gaps.iter().copied().fold(0.0, f64::max);
            assert!(shortest >= least - 1e-6 && longest <= 5.0 + 1e-6, "{jitter:?}: {shortest} {longest}");
            // All of the room is used.
            assert!(shortest < least + 0.1 && longest > 4.9, "{jitter:?}: {shortest} {longest}");
        }
    }

    #[test]
    fn those_due_nearly_together_are_probed_together_and_never_late() {
        let pace = Pace { interval: SECOND, jitter: Duration::ZERO };
        let mut table = Timetable::new((0..4_000).map(|_| (pace, None)), Mono::default(), &mut rng());
        let starts = run(&mut table, Mono::default(), Mono(SECOND * 60), Duration::ZERO);
        let late = starts.iter().filter(|(at, _)| *at >= Mono(SECOND * 50));
        let mut wakes = std::collections::BTreeMap::<Mono, usize>::new();
        late.for_each(|(at, _)| *wakes.entry(*at).or_default() += 1);
        assert!((450..=500).contains(&wakes.len()), "woken up {} times in 10 s", wakes.len());
        assert!(wakes.values().all(|probed| *probed < 200), "{wakes:?}");
        let mut last = vec![None; 4_000];
        for (at, slot) in starts {
            if let Some(before) = last[slot].replace(at) {
                assert!(at.since(before) <= SECOND, "target {slot} waited {:?}", at.since(before));
            }
        }
    }

    #[test]
    fn a_target_is_never_due_while_it_is_probed() {
        let mut table = Timetable::new([(every(SECOND), None)], Mono::default(), &mut rng());
        let later = Mono(SECOND * 100);
        let slot = table.take_due(later).unwrap();
        assert_eq!((table.next_due(), table.take_due(later)), (None, None));
        table.done(slot, later, &mut rng());
        // The times it has missed are not made up for.
        assert_eq!(table.take_due(later), Some(slot));
        assert_eq!(table.take_due(later), None);
    }

    #[test]
    fn another_table_keeps_the_phase() {
        let mut table = Timetable::new([(every(SECOND * 10), None); 2], Mono::default(), &mut rng());
        let now = Mono(SECOND);
        while let Some(slot) = table.take_due(now) {
            table.done(slot, now, &mut rng());
        }
        let phases = [table.phase(0), table.phase(1)];
        let again = Timetable::new(phases.map(|phase| (every(SECOND * 10), Some(phase))), now, &mut rng());
        assert_eq!([again.phase(0), again.phase(1)], phases);
        // A shorter interval holds at once.
        let shorter = Timetable::new([(every(SECOND), Some(phases[0]))], now, &mut rng());
        assert!(shorter.next_due().unwrap() <= now + SECOND);
    }
}
