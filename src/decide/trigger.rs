//! When a workflow starts by itself.
//!
//! ```text
//!   idle ──the region turns──► holding ──hold over──► due ──engine takes it──► ran
//!    ▲                           │  ▲                  │                        │
//!    │◄──── it turns back ───────┘  └── blocked ◄──────┘ refused: why           │
//!    └───────────────────────── it turns back ──────────────────────────────────┘
//! ```
//! Level-triggered: what counts is what is so, not what was seen happening. A restart in the
//! middle of an outage finds the region as it is and holds again, in full; whether this
//! occasion already ran is written in the journal.

use std::time::Duration;

use crate::base::{Health, Mono, RegionId};
use crate::config::{Config, Trigger};
use crate::region::{Known, RegionState, Seat};

/// A trigger as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum TriggerState {
    /// The region is not what it waits for.
    #[default]
    Idle,
    /// It is, for less than the hold-down.
    Holding {
        /// Which turn of the region this is.
        occasion: u64,
        /// Since when, as this process saw it.
        since: Mono,
    },
    /// It would start, and must not.
    Blocked {
        /// Which turn of the region this is.
        occasion: u64,
        /// Since when, as this process saw it.
        since: Mono,
        /// What stands against it.
        why: String,
    },
    /// It has started for this turn.
    Ran {
        /// Which turn of the region this is.
        occasion: u64,
    },
}

impl TriggerState {
    /// In one word, for labels.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Holding { .. } => "holding",
            Self::Blocked { .. } => "blocked",
            Self::Ran { .. } => "ran",
        }
    }

    /// The workflow will start unless something changes.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Holding { .. } | Self::Blocked { .. })
    }

    /// It waits for a region that was bad at first.
    pub fn is_of_turn_0(&self) -> bool {
        matches!(self, Self::Holding { occasion: 0, .. } | Self::Blocked { occasion: 0, .. })
    }

    /// Moves on with what the region is now; tells the occasion if the workflow is due.
    /// `wavers`: the newest results speak against what is concluded.
    pub fn step(&mut self, trigger: &Trigger, region: &RegionState, wavers: bool, now: Mono) -> Option<u64> {
        let Some(occasion) = region.known().and_then(|known| occasion(trigger, known)) else {
            *self = Self::Idle;
            return None;
        };
        let since = match self {
            // It has not turned back since: `degraded` may have become `no_quorum`.
            Self::Ran { occasion: ran } => {
                *ran = occasion;
                return None;
            }
            Self::Holding { occasion: held, since } | Self::Blocked { occasion: held, since, .. }
                if *held == occasion =>
            {
                *since
            }
            _ => {
                *self = Self::Holding { occasion, since: now };
                now
            }
        };
        // A veiled region may be anything by now, and one that has begun to answer may be back
        // before the role has moved: it keeps its turn, and starts nothing.
        let sure = region.unknown_since().is_none() && region.measured() && !wavers;
        (sure && occasion > 0 && now.since(since) >= trigger.hold).then_some(occasion)
    }

    /// It must not start.
    pub fn block(&mut self, why: String) {
        if let Self::Holding { occasion, since } | Self::Blocked { occasion, since, .. } = *self {
            *self = Self::Blocked { occasion, since, why };
        }
    }

    /// It has started for this turn, which may be over by now: then that says nothing of the
    /// next one.
    pub fn ran(&mut self, occasion: u64) {
        if let Self::Holding { occasion: held, .. } | Self::Blocked { occasion: held, .. } = self
            && *held == occasion
        {
            *self = Self::Ran { occasion };
        }
    }

    /// When the hold-down is over, counted from now.
    pub fn due_in(&self, trigger: &Trigger, now: Mono) -> Option<Duration> {
        match self {
            Self::Holding { since, .. } => Some(trigger.hold.saturating_sub(now.since(*since))),
            _ => None,
        }
    }
}

/// Which turn of the region the trigger is looking at, if the region is what it waits for.
///
/// A region that never flipped has turned nothing. What is found bad at first starts nothing either
/// (see [`objection`]), but shows: turn 0 waits, and is never due.
fn occasion(trigger: &Trigger, known: &Known) -> Option<u64> {
    if !trigger.turns.contains(&known.health) {
        return None;
    }
    if known.health.is_bad() && !known.armed {
        return Some(0);
    }
    if known.generation == 0 {
        return None;
    }
    match trigger.turns.iter().all(|health| health.is_bad()) {
        true => known.episode,
        false => Some(known.generation),
    }
}

/// Whether it moves away from the region that turns, or to it. Whoever names `healthy` waits for
/// a region to come back; `degraded` without it is on the way down.
pub fn leaves(trigger: &Trigger) -> bool {
    !trigger.turns.contains(&Health::Healthy)
}

/// What of the region itself stands against starting a workflow on it.
pub fn objection(config: &Config, trigger: &Trigger, region: &RegionState) -> Option<String> {
    let known = region.known()?;
    let flipped = config.regions.name(trigger.region);
    if !known.armed {
        return Some(format!("{flipped} was never seen healthy: role changes are not armed for it"));
    }
    if known.why.cluster_loss {
        return Some(format!(
            "the loss is that of a whole cluster ({}), not of {flipped}: moving roles would not mend it",
            known.why
        ));
    }
    None
}

/// What stands against moving to a region: it must be known to serve, right now. A degraded
/// one will do if no healthy one is left.
pub fn target_objection(config: &Config, target: RegionId, seat: &Seat) -> Option<String> {
    if !seat.held && (seat.fully_fit() || (seat.fit() && !seat.veiled && seat.known.is_some())) {
        return None;
    }
    let name = config.regions.name(target);
    let health = seat.known.map_or("not measured yet", |health| health.word());
    let why = match seat {
        Seat { quarantined: true, .. } => "quarantined".to_owned(),
        Seat { drained: true, .. } => "drained".to_owned(),
        Seat { held: true, .. } => "held out by an operator".to_owned(),
        Seat { veiled: true, .. } => format!("unknown, last known {health}"),
        _ => health.to_owned(),
    };
    Some(format!("{name} is not fit to take over: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CheckId, Health, Now, Source, Timestamp};
    use crate::config::{self, Surroundings};
    use crate::decide::Senses;
    use crate::health::{Finding, Sample};
    use crate::region::{Assessment, Why};

    const SECOND: Duration = Duration::from_secs(1);
    const REGION: RegionId = RegionId(0);

    /// A trigger, the region it watches, and a clock.
    struct Bench {
        trigger: Trigger,
        state: TriggerState,
        region: RegionState,
        now: Now,
    }

    impl Bench {
        /// Waits for a region to turn bad, for two seconds.
        fn new() -> Self {
            Self::on(&[Health::NoQuorum, Health::Unreachable])
        }

        fn on(turns: &[Health]) -> Self {
            Self {
                trigger: Trigger { region: REGION, turns: turns.to_vec(), hold: 2 * SECOND },
                state: TriggerState::default(),
                region: RegionState::default(),
                now: Now { mono: Mono(100 * SECOND), wall: Timestamp::UNIX_EPOCH },
            }
        }

        /// Every second one letter of the region's health: `h`ealthy, `d`egraded, `n`o_quorum,
        /// `u`nreachable, `?` unknown; in capitals while its newest results speak against it.
        /// What comes of each: `.` idle, `h`olding, `b`locked, `!` due and started, `r` ran.
        fn run(&mut self, healths: &str) -> String {
            self.run_if(healths, |_| None)
        }

        /// The same, with something that may stand against a start.
        fn run_if(&mut self, healths: &str, against: impl Fn(&Self) -> Option<String>) -> String {
            let mut seen = String::new();
            for letter in healths.chars() {
                self.now = self.now.after(SECOND);
                let health = match letter.to_ascii_lowercase() {
                    'h' => Health::Healthy,
                    'd' => Health::Degraded,
                    'n' => Health::NoQuorum,
                    'u' => Health::Unreachable,
                    _ => Health::Unknown,
                };
                let cluster_loss = letter == 'N';
                let why = Why { words: "seen".to_owned(), cluster_loss, ..Why::default() };
                self.region.take(REGION, Assessment { health, why }, self.now);
                let wavers = letter == 'U';
                let due = self.state.step(&self.trigger, &self.region, wavers, self.now.mono);
                let mut mark = None;
                if let Some(occasion) = due {
                    match against(self) {
                        Some(why) => self.state.block(why),
                        None => {
                            self.state.ran(occasion);
                            mark = Some('!');
                        }
                    }
                }
                seen.push(mark.unwrap_or(match self.state {
                    TriggerState::Idle => '.',
                    TriggerState::Holding { .. } => 'h',
                    TriggerState::Blocked { .. } => 'b',
                    TriggerState::Ran { .. } => 'r',
                }));
            }
            seen
        }
    }

    #[test]
    fn starts_when_the_hold_down_is_over_and_once_per_episode() {
        assert_eq!(Bench::new().run("hhnnnnn"), "..hh!rr");
        // However its health wanders while it is bad.
        assert_eq!(Bench::new().run("hnunnunu"), ".hh!rrrr");
        // A return to serving ends the episode; the next loss is another.
        assert_eq!(Bench::new().run("hnnnnhnnn"), ".hh!r.hh!");
        assert_eq!(Bench::new().run("hnnnndnnn"), ".hh!r.hh!");
    }

    #[test]
    fn what_comes_back_within_the_hold_down_starts_nothing() {
        assert_eq!(Bench::new().run("hnnhnnhnn"), ".hh.hh.hh");
        // The time begins anew: it is not added up over turns.
        assert_eq!(Bench::new().run("hnnhnnn"), ".hh.hh!");
    }

    #[test]
    fn unknown_and_mending_keep_the_turn_and_start_nothing() {
        assert_eq!(Bench::new().run("h????"), ".....");
        assert_eq!(Bench::new().run("hn????n"), ".hhhhh!", "due as soon as it can be measured");
        assert_eq!(Bench::new().run("h??nnn"), "...hh!");
        // One that has begun to answer may be back before the role has moved.
        assert_eq!(Bench::new().run("huuUUUu"), ".hhhhh!");
        assert_eq!(Bench::new().run("huuUUh"), ".hhhh.");
        assert_eq!(Bench::new().run("hn??h"), ".hhh.");
    }

    #[test]
    fn what_is_found_bad_at_first_starts_nothing() {
        assert_eq!(Bench::new().run("nnnnn"), "hhhhh", "it shows, and is never due");
        assert_eq!(Bench::new().run("?nnnn"), ".hhhh");
        // Nor when it is bad in another way then: it never served.
        assert_eq!(Bench::new().run("nnuuu"), "hhhhh");
        assert_eq!(Bench::new().run("nnhnnn"), "hh.hh!");
    }

    #[test]
    fn after_a_restart_it_is_measured_first_and_held_in_full() {
        let mut before = Bench::new();
        assert_eq!(before.run("hnn"), ".hh");
        let known = before.region.known().unwrap().clone();
        let mut after = Bench { region: RegionState::restored(known), ..Bench::new() };
        for seconds in [0, 60] {
            let now = after.now.mono + seconds * SECOND;
            assert_eq!(after.state.step(&after.trigger, &after.region, false, now), None);
            assert_eq!(after.state.word(), "holding", "an earlier process's word starts nothing");
        }
        assert_eq!(after.run("???"), "hhh");
        assert_eq!(after.run("nnn"), "!rr");
        // The occasion is the same one that the first process saw: the journal knows it.
        assert_eq!(after.state, TriggerState::Ran { occasion: 1 });
    }

    #[test]
    fn a_trigger_on_other_turns_counts_every_turn() {
        let mut bench = Bench::on(&[Health::Degraded]);
        assert_eq!(bench.run("hdddhddd"), ".hh!.hh!");
        assert_eq!(bench.state, TriggerState::Ran { occasion: 3 });
        assert_eq!(Bench::on(&[Health::Degraded]).run("hnnn"), "....");
        // Back to healthy: the way home.
        assert_eq!(Bench::on(&[Health::Healthy]).run("hhhnnhhhh"), ".....hh!r");
    }

    #[test]
    fn blocked_for_as_long_as_something_stands_against_it() {
        let mut bench = Bench::new();
        let against = |_: &Bench| Some("the store fails".to_owned());
        assert_eq!(bench.run_if("hnnnn", against), ".hhbb");
        let TriggerState::Blocked { why, .. } = &bench.state else { panic!("{:?}", bench.state) };
        assert_eq!(why, "the store fails");
        assert_eq!(bench.state.due_in(&bench.trigger, bench.now.mono), None, "nothing to wake up for");
        // It is not held anew when that is gone, and not blocked any more when the region is well.
        assert_eq!(bench.run("nn"), "!r");
        let mut bench = Bench::new();
        bench.run_if("hnnnn", against);
        assert_eq!(bench.run_if("hnn", against), ".hh");
    }

    #[test]
    fn says_when_it_is_due() {
        let mut bench = Bench::new();
        bench.run("hn");
        assert_eq!(bench.state.due_in(&bench.trigger, bench.now.mono), Some(2 * SECOND));
        bench.run("n");
        assert_eq!(bench.state.due_in(&bench.trigger, bench.now.mono), Some(SECOND));
        bench.run("nn");
        assert_eq!(bench.state.due_in(&bench.trigger, bench.now.mono), None, "it ran");
    }

    const CONFIG: &str = "\
version: 1
mode: act
site: {name: fra1}
listen: {dns: [\"127.0.0.1:0\"]}
defaults: {check: {interval: 1s, timeout: 500ms, fall: 2, rise: 3}}
regions:
  eu-west: {layers: {reach: [{tcp: {address: \"127.0.0.1:9\"}}]}}
  us-east: {layers: {reach: [{tcp: {address: \"127.0.0.1:10\"}}]}}
store: {embedded: {path: state}}
";

    fn config() -> Config {
        let around =
            Surroundings { directory: "/etc/pointsman".into(), state: None, runtime: None, processors: 2 };
        match config::parse(&Source::new("pointsman.yaml", CONFIG), &around) {
            Ok((config, _)) => config,
            Err(mistakes) => panic!("{}", mistakes.render(false)),
        }
    }

    #[test]
    fn a_region_that_was_never_healthy_is_not_armed() {
        let config = config();
        let mut bench = Bench::new();
        let object = |bench: &Bench| objection(&config, &bench.trigger, &bench.region);
        assert_eq!(object(&bench), None, "nothing is known, so that nothing is due either");
        assert_eq!(bench.run_if("ddnnnn", object), "..hhhh", "never due, so that nothing asks");
        bench.state.block(object(&bench).unwrap());
        let TriggerState::Blocked { why, .. } = &bench.state else { panic!("{:?}", bench.state) };
        assert_eq!(why, "eu-west was never seen healthy: role changes are not armed for it");
        assert_eq!(Bench::new().run_if("hdnnnn", object), "..hh!r");
    }

    #[test]
    fn the_loss_of_a_whole_cluster_moves_no_role() {
        let config = config();
        let object = |bench: &Bench| objection(&config, &bench.trigger, &bench.region);
        let mut bench = Bench::new();
        assert_eq!(bench.run_if("hNNNN", object), ".hhbb");
        let TriggerState::Blocked { why, .. } = &bench.state else { panic!("{:?}", bench.state) };
        assert!(why.starts_with("the loss is that of a whole cluster (seen), not of eu-west"), "{why}");
        // Once the others are back and it is not: its own loss.
        assert_eq!(bench.run_if("n", object), "!");
    }

    #[test]
    fn moves_only_to_where_it_is_known_to_be_served() {
        let config = config();
        let good = Seat {
            known: Some(Health::Healthy),
            veiled: false,
            drained: false,
            forced: false,
            held: false,
            quarantined: false,
            could_change_in: SECOND,
        };
        let why = |seat: Seat| target_objection(&config, RegionId(1), &seat);
        assert_eq!(why(good), None);
        assert_eq!(why(Seat { known: Some(Health::Degraded), ..good }), None, "if no healthy one is left");
        assert_eq!(
            why(Seat { known: Some(Health::NoQuorum), forced: true, ..good }),
            None,
            "a person vouches"
        );
        let not = |words: &str| Some(format!("us-east is not fit to take over: {words}"));
        assert_eq!(why(Seat { known: Some(Health::NoQuorum), ..good }), not("no_quorum"));
        assert_eq!(why(Seat { known: None, ..good }), not("not measured yet"));
        assert_eq!(why(Seat { veiled: true, ..good }), not("unknown, last known healthy"));
        assert_eq!(why(Seat { drained: true, ..good }), not("drained"));
        assert_eq!(why(Seat { held: true, ..good }), not("held out by an operator"));
        assert_eq!(why(Seat { quarantined: true, forced: true, ..good }), not("quarantined"));
    }

    /// What "mends" means: a broken check whose newest results pass, or bring nothing.
    #[test]
    fn a_region_mends_while_the_newest_results_speak_against_its_loss() {
        let config = config();
        let mut senses = Senses::new(&config, |_| None, |_| None, |_| None);
        let mut now = Now { mono: Mono(100 * SECOND), wall: Timestamp::UNIX_EPOCH };
        let mut mends = |letters: &str| {
            letters
                .chars()
                .map(|letter| {
                    now = now.after(SECOND);
                    let words = String::new();
                    let finding = match letter {
                        'p' => Finding::Pass(words),
                        'f' => Finding::Fail(words),
                        _ => Finding::Unknown(words),
                    };
                    senses.sample(&Sample { check: CheckId(0), finding, heard: true, took: SECOND }, now);
                    assert!(!senses.mends(&config, RegionId(1)), "nothing was heard of the other region");
                    if senses.mends(&config, REGION) { 'm' } else { '.' }
                })
                .collect::<String>()
        };
        assert_eq!(mends("pppf"), "....", "it serves: what wavers is not its loss");
        assert_eq!(mends("ff"), "..");
        assert_eq!(mends("pp"), "mm", "three passes make it healthy");
        assert_eq!(mends("f"), ".", "and one failure takes that back");
        assert_eq!(mends("?f"), "m.");
        assert_eq!(mends("ppp"), "mm.", "it is back");
    }
}
