//! Whether a region has its place in a service, and how it gets it back.
//!
//! ```text
//!            unfit, drained or quarantined
//!   ┌────┐ ─────────────────────────────────► ┌─────┐
//!   │ In │                                    │ Out │
//!   └────┘ ◄───────────────────────────────── └─────┘
//!            fit, and failback lets it: at once if it never had the place,
//!            after a time without a break, or when an operator releases it
//! ```

use std::time::Duration;

use crate::base::{Health, Mono, show_span};
use crate::config::Failback;

/// Whether a region has its place in a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Membership {
    /// It has.
    In,
    /// It lost it, or never had it.
    Out {
        /// It once had its place: what returns is a failback, with its rules.
        had_place: bool,
        /// Since when it is fit again.
        fit_since: Option<Mono>,
        /// An operator lets it back as soon as it is fit.
        released: bool,
    },
}

/// What decides about a region's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Its last known health.
    pub known: Option<Health>,
    /// It cannot be measured at present.
    pub veiled: bool,
    /// An operator drains it.
    pub drained: bool,
    /// An operator forces it.
    pub forced: bool,
    /// An operator holds it out.
    pub held: bool,
    /// It owes an obligation.
    pub quarantined: bool,
    /// The soonest that its health could change, were every coming result to speak against it.
    pub could_change_in: Duration,
}

impl Seat {
    /// Nothing speaks against its serving.
    pub fn fit(&self) -> bool {
        !self.drained
            && !self.quarantined
            && (self.forced || self.known.is_none_or(|health| !health.is_bad()))
    }

    /// It is known to be healthy right now, or an operator vouches for it.
    pub fn fully_fit(&self) -> bool {
        self.fit() && (self.forced || (self.known == Some(Health::Healthy) && !self.veiled))
    }
}

impl Membership {
    /// What a region starts with. What is unknown has its place: it has done nothing wrong.
    pub fn initial(seat: &Seat) -> Self {
        match seat.fit() {
            true => Self::In,
            false => Self::Out { had_place: false, fit_since: None, released: false },
        }
    }

    /// Out since before this process: what an earlier one wrote down.
    pub fn restored_out() -> Self {
        Self::Out { had_place: true, fit_since: None, released: false }
    }

    /// The next state. `alone`: no other region of the service is fully fit, so that a degraded
    /// one may take its place.
    pub fn step(&mut self, seat: &Seat, failback: Failback, alone: bool, now: Mono) {
        match self {
            Self::In if !seat.fit() => {
                *self = Self::Out { had_place: true, fit_since: None, released: false }
            }
            Self::In => {}
            Self::Out { had_place, fit_since, released } => {
                let may_return =
                    seat.fully_fit() || (alone && seat.fit() && !seat.veiled && seat.known.is_some());
                if !may_return {
                    // A veil neither counts nor breaks the count; a known unfitness breaks it.
                    if !seat.fit() || !seat.veiled {
                        *fit_since = None;
                    }
                    return;
                }
                let fit_for = now.since(*fit_since.get_or_insert(now));
                let back = !*had_place
                    || seat.forced
                    || (!seat.held
                        && (*released
                            || match failback {
                                Failback::Auto { after } => fit_for >= after,
                                Failback::Manual => false,
                            }));
                if back {
                    *self = Self::In;
                }
            }
        }
    }

    /// An operator lets it back.
    pub fn release(&mut self) {
        if let Self::Out { released, .. } = self {
            *released = true;
        }
    }

    /// Whether it has its place.
    pub fn is_in(&self) -> bool {
        matches!(self, Self::In)
    }

    /// Healthy again and not let back: only a person, or time, stands between.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Out { had_place: true, fit_since: Some(_), .. })
    }

    /// What outlives the process: it had its place and lost it.
    pub fn had_place_and_lost_it(&self) -> bool {
        matches!(self, Self::Out { had_place: true, .. })
    }

    /// When a fit region returns by itself, counted from now.
    pub fn returns_in(&self, failback: Failback, now: Mono) -> Option<Duration> {
        match (self, failback) {
            (Self::Out { fit_since: Some(since), .. }, Failback::Auto { after }) => {
                Some(after.saturating_sub(now.since(*since)))
            }
            _ => None,
        }
    }

    /// Why it is out, in words for a person; `None` if it is in.
    pub fn words(&self, failback: Failback, held: bool, now: Mono) -> Option<String> {
        let Self::Out { fit_since, .. } = self else { return None };
        let Some(since) = fit_since else { return Some("out until it is fit again".to_owned()) };
        let for_ = show_span(Duration::from_secs(now.since(*since).as_secs()));
        Some(match failback {
            _ if held => format!("held: fit for {for_}, and an operator holds it"),
            Failback::Auto { after } => {
                format!("held: fit for {for_}, returns after {}", show_span(after))
            }
            Failback::Manual => {
                format!("held: fit for {for_}, failback is manual; `pointsman region release` lets it back")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seat(known: Health) -> Seat {
        Seat {
            known: Some(known),
            veiled: false,
            drained: false,
            forced: false,
            held: false,
            quarantined: false,
            could_change_in: SECOND,
        }
    }

    fn run(membership: &mut Membership, failback: Failback, seats: &[Seat]) -> String {
        let mut letters = String::new();
        for (n, seat) in seats.iter().enumerate() {
            membership.step(seat, failback, false, Mono(SECOND * n as u32));
            letters.push(if membership.is_in() {
                'I'
            } else if membership.is_held() {
                'H'
            } else {
                'O'
            });
        }
        letters
    }

    const AFTER: Failback = Failback::Auto { after: Duration::from_secs(2) };

    #[test]
    fn returns_after_a_time_without_a_break() {
        let (good, bad) = (seat(Health::Healthy), seat(Health::NoQuorum));
        let veiled = Seat { veiled: true, ..good };
        assert_eq!(run(&mut Membership::In, AFTER, &[good, bad, good, good, good]), "IOHHI");
        assert_eq!(run(&mut Membership::In, AFTER, &[bad, good, good, bad, good, good, good]), "OHHOHHI");
        assert_eq!(run(&mut Membership::In, AFTER, &[bad, good, veiled, good, good]), "OHHII");
        assert_eq!(run(&mut Membership::In, AFTER, &[veiled, veiled]), "II");
    }

    #[test]
    fn a_degraded_region_keeps_its_place_and_does_not_get_it_back() {
        let (degraded, bad) = (seat(Health::Degraded), seat(Health::Unreachable));
        assert_eq!(
            run(&mut Membership::In, AFTER, &[degraded, degraded, bad, degraded, degraded, degraded]),
            "IIOOOO"
        );
        let mut membership = Membership::restored_out();
        for n in 0..3 {
            membership.step(&degraded, AFTER, true, Mono(SECOND * n));
        }
        assert!(membership.is_in(), "nobody better is there");
    }

    #[test]
    fn manual_waits_for_an_operator() {
        let good = seat(Health::Healthy);
        let mut membership = Membership::restored_out();
        assert_eq!(run(&mut membership, Failback::Manual, &[good; 9]), "HHHHHHHHH");
        membership.release();
        assert_eq!(run(&mut membership, Failback::Manual, &[good]), "I");
    }

    #[test]
    fn what_never_had_its_place_does_not_fail_back() {
        let (good, bad) = (seat(Health::Healthy), seat(Health::NoQuorum));
        let mut membership = Membership::initial(&bad);
        assert_eq!(run(&mut membership, Failback::Manual, &[bad, good]), "OI");
    }

    #[test]
    fn quarantine_and_operators_come_first() {
        let good = seat(Health::Healthy);
        let quarantined = Seat { quarantined: true, ..good };
        assert_eq!(run(&mut Membership::In, AFTER, &[quarantined, quarantined, good, good, good]), "OOHHI");
        assert_eq!(run(&mut Membership::In, AFTER, &[Seat { forced: true, ..seat(Health::NoQuorum) }]), "I");
        assert_eq!(run(&mut Membership::In, AFTER, &[Seat { drained: true, ..good }]), "O");
        let held = Seat { held: true, ..good };
        assert_eq!(run(&mut Membership::restored_out(), AFTER, &[held, held, held, held]), "HHHH");
        let forced_and_quarantined = Seat { forced: true, quarantined: true, ..good };
        assert_eq!(run(&mut Membership::In, AFTER, &[forced_and_quarantined]), "O");
    }
}
