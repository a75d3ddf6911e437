//! Rise and fall: results in a row that make a verdict.
//!
//! ```text
//!              fall × Fail
//!      ┌──────┐ ───────────► ┌──────┐
//!      │ Pass │              │ Fail │      the first Pass or Fail ever is believed at once
//!      └──────┘ ◄─────────── └──────┘
//!              rise × Pass
//! ```
//! Unknown lies over both like a veil: `fall` of them in a row show as `Unknown`, and the first
//! result that is known again lifts it. They neither add to a streak nor break one, so that
//! what could not be measured changes nothing.
//!
//! What an earlier process or configuration has concluded is presumed: it shows as `Unknown`
//! until a result confirms it, and takes as many results to refute as if it were known.

use std::time::Duration;

use super::Finding;
use crate::base::Mono;
use crate::config::Schedule;

/// What a check concludes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It works.
    Pass,
    /// It could not be measured.
    Unknown,
    /// It does not work.
    Fail,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Verdict; 3] = [Verdict::Pass, Verdict::Unknown, Verdict::Fail];

    /// As written in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }
}

/// The recent results of one check, folded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    rise: u32,
    fall: u32,
    interval: Duration,
    /// Pass (`true`) or Fail, as last concluded; `None` before the first known result.
    known: Option<bool>,
    /// As concluded before this window began.
    presumed: Option<bool>,
    /// Enough has come in to say what is so, or that it cannot be said.
    seen: bool,
    /// Results in a row that speak against `known`, or against what is presumed.
    against: u32,
    /// Unknown results in a row.
    unknown: u32,
    /// When the first of them came.
    unknown_since: Option<Mono>,
    /// The words of the newest result, and those that the conclusion rests on.
    newest: String,
    reason: String,
}

impl Window {
    /// Nothing seen yet.
    pub fn new(schedule: &Schedule) -> Self {
        Self {
            rise: schedule.rise,
            fall: schedule.fall,
            interval: schedule.interval,
            known: None,
            presumed: None,
            seen: false,
            against: 0,
            unknown: 0,
            unknown_since: None,
            newest: String::new(),
            reason: "not measured yet".to_owned(),
        }
    }

    /// It is already known to pass, or to fail, though nothing was measured here.
    pub fn presume(&mut self, pass: bool) {
        self.presumed = Some(pass);
    }

    /// Takes in one result; tells whether the verdict changed.
    pub fn take(&mut self, finding: &Finding, now: Mono) -> bool {
        let before = self.verdict();
        finding.words().clone_into(&mut self.newest);
        match finding {
            Finding::Pass(words) => self.result(true, words),
            Finding::Fail(words) => self.result(false, words),
            Finding::Unknown(words) => {
                self.unknown = self.unknown.saturating_add(1);
                self.unknown_since.get_or_insert(now);
                if self.verdict() == Verdict::Unknown {
                    words.clone_into(&mut self.reason);
                }
            }
            Finding::Hold(words) => {
                self.lift();
                self.against = 0;
                words.clone_into(&mut self.reason);
            }
        }
        self.seen |= self.known.is_some() || matches!(finding, Finding::Unknown(_) | Finding::Hold(_));
        self.verdict() != before
    }

    fn result(&mut self, pass: bool, words: &str) {
        self.lift();
        let needed = if pass { self.rise } else { self.fall };
        let believed = self.known.or(self.presumed);
        if believed != Some(pass) {
            self.against += 1;
            if believed.is_some() && self.against < needed {
                return;
            }
        }
        self.known = Some(pass);
        self.against = 0;
        words.clone_into(&mut self.reason);
    }

    fn lift(&mut self) {
        self.unknown = 0;
        self.unknown_since = None;
    }

    /// Carries what was concluded over to a new schedule (reload).
    pub fn rescheduled(mut self, schedule: &Schedule) -> Self {
        (self.rise, self.fall, self.interval) = (schedule.rise, schedule.fall, schedule.interval);
        self
    }

    /// What it concludes.
    pub fn verdict(&self) -> Verdict {
        match self.known {
            Some(_) if self.unknown >= self.fall => Verdict::Unknown,
            Some(true) => Verdict::Pass,
            Some(false) => Verdict::Fail,
            None => Verdict::Unknown,
        }
    }

    /// Whether enough has come in to say what is so, or that it cannot be said.
    pub fn seen(&self) -> bool {
        self.seen
    }

    /// Whether results are coming in that may soon change the verdict.
    pub fn wavers(&self) -> bool {
        self.against > 0 || self.unknown > 0
    }

    /// For how long nothing could be measured.
    pub fn unknown_for(&self, now: Mono) -> Option<Duration> {
        self.unknown_since.map(|since| now.since(since))
    }

    /// The soonest that the verdict could change, were every coming result to speak against it.
    pub fn could_change_in(&self) -> Duration {
        let needed = if self.known == Some(true) { self.fall } else { self.rise };
        self.interval * needed.saturating_sub(self.against).max(1)
    }

    /// Why: the words of the result that the verdict rests on.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The words of the newest result, which may not have changed the verdict yet.
    pub fn newest(&self) -> &str {
        &self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn window() -> Window {
        Window::new(&Schedule { interval: SECOND, timeout: SECOND, rise: 3, fall: 2, ..Schedule::DEFAULT })
    }

    /// Feeds `p`ass, `f`ail, `u`nknown, `h`old; tells the verdict after each as a capital.
    fn run(window: &mut Window, results: &str) -> String {
        let mut verdicts = String::new();
        for (n, result) in results.chars().enumerate() {
            let words = format!("{result}{n}");
            let finding = match result {
                'p' => Finding::Pass(words),
                'f' => Finding::Fail(words),
                'u' => Finding::Unknown(words),
                _ => Finding::Hold(words),
            };
            window.take(&finding, Mono(SECOND * n as u32));
            verdicts.push(match window.verdict() {
                Verdict::Pass => 'P',
                Verdict::Fail => 'F',
                Verdict::Unknown => 'U',
            });
        }
        verdicts
    }

    #[test]
    fn counts_in_a_row() {
        assert_eq!(run(&mut window(), "pfpffppp"), "PPPPFFFP");
        assert_eq!(run(&mut window(), "fppfppp"), "FFFFFFP");
    }

    #[test]
    fn unknown_neither_adds_nor_breaks() {
        // One unknown between two failures: still two failures in a row.
        assert_eq!(run(&mut window(), "pfuf"), "PPPF");
        // A veil, lifted by the first known result.
        assert_eq!(run(&mut window(), "puup"), "PPUP");
        assert_eq!(run(&mut window(), "puuff"), "PPUPF");
        assert_eq!(run(&mut window(), "fuuppp"), "FFUFFP");
        // Never known: unknown, whatever the count.
        assert_eq!(run(&mut window(), "uup"), "UUP");
    }

    #[test]
    fn hold_keeps_what_was_concluded_and_never_counts_as_recovered() {
        assert_eq!(run(&mut window(), "ffpphppp"), "FFFFFFFP");
        assert_eq!(run(&mut window(), "phhh"), "PPPP");
    }

    #[test]
    fn what_was_known_before_takes_as_many_results_to_refute() {
        let presumed = |pass, results: &str| {
            let mut window = window();
            window.presume(pass);
            let verdicts = run(&mut window, results);
            (verdicts, window.seen())
        };
        assert_eq!(presumed(true, "p"), ("P".to_owned(), true));
        assert_eq!(presumed(true, "f"), ("U".to_owned(), false));
        assert_eq!(presumed(true, "fpff"), ("UPPF".to_owned(), true));
        assert_eq!(presumed(true, "ff"), ("UF".to_owned(), true));
        assert_eq!(presumed(true, "fuf"), ("UUF".to_owned(), true));
        assert_eq!(presumed(false, "ppp"), ("UUP".to_owned(), true));
        assert_eq!(presumed(false, "f"), ("F".to_owned(), true));
    }

    #[test]
    fn a_first_result_of_any_kind_ends_the_first_round() {
        for result in ["p", "f", "u", "h"] {
            let mut window = window();
            run(&mut window, result);
            assert!(window.seen(), "{result}");
        }
    }

    #[test]
    fn tells_when_it_could_change() {
        let mut window = window();
        run(&mut window, "p");
        assert_eq!(window.could_change_in(), SECOND * 2);
        run(&mut window, "f");
        assert_eq!(window.could_change_in(), SECOND);
        assert!(window.wavers());
        run(&mut window, "f");
        assert_eq!((window.could_change_in(), window.wavers()), (SECOND * 3, false));
        run(&mut window, "pp");
        assert_eq!(window.could_change_in(), SECOND);
    }
}
