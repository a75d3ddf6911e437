//! Layers, bottom-up → the health of a region. The first layer that does not pass is the reason:
//! passing the lower layers is what makes a failure of a higher one believable.

use std::time::Duration;

use super::Tally;
use crate::base::{CheckId, Health, Mono, Named};
use crate::cluster::Standing;
use crate::config::{Check, CheckKind, Layer, Layers, Schedule, SilentMeans};
use crate::health::{Finding, Sample, Verdict, Window};

/// What one check has come to: its window, and for a cluster also the grade of its standing.
#[derive(Clone, Debug)]
pub struct CheckState {
    window: Window,
    /// Damps the way between `quorum` (passes) and `degraded` (fails), as the window does for
    /// the way between fit and unfit.
    grade: Option<Window>,
    standing: Option<Standing>,
    /// When it last failed, the group as a whole was lost, not just this region's part in it.
    group_lost: bool,
}

/// What of a check decides, but for what a cluster adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bearing {
    verdict: Verdict,
    could_change_in: Duration,
    wavers: bool,
    seen: bool,
}

impl CheckState {
    /// Nothing seen yet.
    pub fn new(check: &Check) -> Self {
        let window = Window::new(&check.schedule);
        let grade = matches!(check.kind, CheckKind::Cluster(_)).then(|| window.clone());
        Self { window, grade, standing: None, group_lost: false }
    }

    /// It is already known to pass, or to fail, though this process has not measured it.
    pub fn presume(&mut self, pass: bool) {
        self.window.presume(pass);
    }

    /// Takes in a sample; tells whether the verdict changed.
    pub fn sample(&mut self, sample: &Sample, now: Mono) -> bool {
        self.window.take(&sample.finding, now)
    }

    /// Takes in how the region stands in a group; tells whether the verdict changed.
    pub fn standing(
        &mut self,
        standing: Standing,
        reason: &str,
        silent_means: SilentMeans,
        group_lost: bool,
        now: Mono,
    ) -> bool {
        let words = reason.to_owned();
        let finding = match standing {
            Standing::Quorum | Standing::Degraded => Finding::Pass(words),
            Standing::Recovering => Finding::Hold(words),
            Standing::ReadOnly | Standing::NoQuorum | Standing::SplitBrain => Finding::Fail(words),
            Standing::Unreachable if silent_means == SilentMeans::NoQuorum => Finding::Fail(words),
            Standing::Electing | Standing::Unreachable | Standing::Unknown => Finding::Unknown(words),
        };
        let before = self.grade.as_ref().map(Window::verdict);
        if let Some(grade) = &mut self.grade {
            match standing {
                Standing::Quorum => drop(grade.take(&Finding::Pass(reason.to_owned()), now)),
                Standing::Degraded => drop(grade.take(&Finding::Fail(reason.to_owned()), now)),
                _ => {}
            }
        }
        self.standing = Some(standing);
        // What catches up, or cannot be measured, is still lost for the reason it was lost for.
        if matches!(finding, Finding::Fail(_)) {
            self.group_lost = group_lost;
        }
        self.window.take(&finding, now) || self.grade.as_ref().map(Window::verdict) != before
    }

    /// What it concludes.
    pub fn verdict(&self) -> Verdict {
        self.window.verdict()
    }

    /// It passes, and its cluster cannot afford to lose one more.
    pub fn degraded(&self) -> bool {
        self.grade.as_ref().is_some_and(|grade| grade.verdict() == Verdict::Fail)
    }

    /// The newest standing, for a cluster.
    pub fn newest_standing(&self) -> Option<Standing> {
        self.standing
    }

    /// The window behind the verdict.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// All of it that has a bearing on its region; the rest are words.
    pub fn bearing(&self) -> Bearing {
        Bearing {
            verdict: self.verdict(),
            could_change_in: self.window.could_change_in(),
            wavers: self.window.wavers(),
            seen: self.window.seen(),
        }
    }

    /// Why it is what it is.
    pub fn reason(&self) -> &str {
        match &self.grade {
            Some(grade) if self.degraded() && self.verdict() == Verdict::Pass => grade.reason(),
            _ => self.window.reason(),
        }
    }

    /// Carries what was concluded over to a new schedule.
    pub fn rescheduled(self, schedule: &Schedule) -> Self {
        Self {
            window: self.window.rescheduled(schedule),
            grade: self.grade.map(|grade| grade.rescheduled(schedule)),
            ..self
        }
    }
}

/// The reason of a health, as a value: it is logged, counted, journaled and shown.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Why {
    /// The first layer that does not pass; none if all do.
    pub layer: Option<Layer>,
    /// The check in it.
    pub check: Option<String>,
    /// What was seen, in words for a person.
    pub words: String,
    /// A group that spans regions is lost as a whole. Nobody's role may change on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster_loss: bool,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.check {
            Some(check) => write!(f, "{check}: {}", self.words),
            None => f.write_str(&self.words),
        }
    }
}

/// What the layers of a region add up to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assessment {
    /// `Unknown` if a layer could not be measured.
    pub health: Health,
    /// Why.
    pub why: Why,
}

/// Puts the layers of a region, or of a service in a region, together.
///
/// `reach` comes before `quorum`: voters that cannot be asked while the region cannot be reached
/// either say nothing of their quorum. The region is unreachable then, and if it cannot be told
/// whether it is, it is unknown: what failed above an unknown layer may have failed for its sake.
pub fn assess(layers: &Layers, checks: &Named<CheckId, CheckState>) -> Assessment {
    let mut degraded = None;
    for (layer, spec) in layers {
        let tally = Tally::of(spec, |check| checks[check].verdict());
        let first = |wanted: Verdict| spec.deciding().find(|id| checks[*id].verdict() == wanted);
        let why = |id: CheckId| Why {
            layer: Some(*layer),
            check: Some(checks.name(id).to_string()),
            words: checks[id].reason().to_owned(),
            cluster_loss: false,
        };
        // Of several that broke it the first is named, and how the vote went.
        let blame = |id: CheckId| match spec.needs_all() {
            true => why(id),
            false => {
                let Tally { passed, unknown, needed } = tally;
                let unknown = if unknown > 0 { format!(", {unknown} unknown") } else { String::new() };
                let why = why(id);
                let words =
                    format!("{} ({passed} of {} pass{unknown}; {needed} needed)", why.words, spec.total());
                Why { words, ..why }
            }
        };
        match tally.verdict() {
            Verdict::Pass => {
                // Without those that cannot afford one more loss it would not pass.
                let firm = Tally::of(spec, |id| match checks[id].degraded() {
                    true => Verdict::Fail,
                    false => checks[id].verdict(),
                });
                if firm.passed < firm.needed {
                    let first = spec.deciding().find(|id| checks[*id].degraded());
                    degraded = degraded.or_else(|| first.map(why));
                }
            }
            Verdict::Unknown => {
                let id = first(Verdict::Unknown).expect("something unknown decides");
                return Assessment { health: Health::Unknown, why: blame(id) };
            }
            Verdict::Fail => {
                let id = first(Verdict::Fail).expect("something has failed");
                let health = match layer {
                    Layer::Reach | Layer::Service => Health::Unreachable,
                    Layer::Quorum => Health::NoQuorum,
                    // It serves what it has, and is behind.
                    Layer::Replication => Health::Degraded,
                };
                // Where one check suffices to fail the layer, the first counts; in a vote a group
                // that is lost as a whole may be what tipped it.
                let lost = match spec.needs_all() {
                    true => checks[id].group_lost,
                    false => spec
                        .deciding()
                        .any(|id| checks[id].verdict() == Verdict::Fail && checks[id].group_lost),
                };
                return Assessment { health, why: Why { cluster_loss: lost, ..blame(id) } };
            }
        }
    }
    match degraded {
        Some(why) => Assessment { health: Health::Degraded, why },
        None if layers.values().all(|layer| layer.votes.is_empty()) => Assessment {
            health: Health::Unknown,
            why: Why { words: "no checks decide".to_owned(), ..Why::default() },
        },
        None => Assessment {
            health: Health::Healthy,
            why: Why { words: "every layer passes".to_owned(), ..Why::default() },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostPort, LayerChecks, TcpCheck};

    const SECOND: Duration = Duration::from_secs(1);

    /// Layers of checks, a letter for each: `p`asses, `f`ails, `?` unknown.
    fn health(layers: &[(Layer, &str, u64)]) -> (Health, String) {
        let schedule = Schedule { interval: SECOND, timeout: SECOND, rise: 1, fall: 1, ..Schedule::DEFAULT };
        let mut checks = Named::default();
        let mut bound = Layers::new();
        for (layer, letters, needed) in layers {
            let mut votes = Vec::new();
            for letter in letters.chars() {
                let address = HostPort { host: "a".to_owned(), port: 1 };
                let check = Check {
                    region: Some(crate::base::RegionId(0)),
                    layer: *layer,
                    monitoring_only: false,
                    kind: CheckKind::Tcp(TcpCheck { address, send: Vec::new(), expect: None, tls: None }),
                    schedule,
                };
                let mut state = CheckState::new(&check);
                let words = format!("{letter} seen");
                let finding = match letter {
                    'p' => Finding::Pass(words),
                    'f' => Finding::Fail(words),
                    _ => Finding::Unknown(words),
                };
                let id = CheckId(checks.len() as u32);
                state.sample(&Sample { check: id, finding, heard: true, took: SECOND }, Mono::default());
                votes.push((checks.push(&format!("{}-{}", layer.word(), votes.len()), state).unwrap(), 1));
            }
            let checks = votes.iter().map(|(check, _)| *check).collect();
            bound.insert(*layer, LayerChecks { checks, votes, needed: *needed });
        }
        let Assessment { health, why } = assess(&bound, &checks);
        (health, why.to_string())
    }

    use Layer::{Quorum, Reach, Replication, Service};

    #[test]
    fn the_lowest_layer_that_fails_is_the_reason() {
        let said = |layers: &[(Layer, &str, u64)]| health(layers);
        // Voters that are gone with the region are no lost quorum.
        assert_eq!(
            said(&[(Reach, "f", 1), (Quorum, "f", 1)]),
            (Health::Unreachable, "reach-0: f seen".to_owned())
        );
        assert_eq!(
            said(&[(Reach, "?", 1), (Quorum, "f", 1)]).0,
            Health::Unknown,
            "it may be unreachable: not to be told"
        );
        assert_eq!(said(&[(Reach, "p", 1), (Quorum, "f", 1)]).0, Health::NoQuorum);
        assert_eq!(said(&[(Reach, "p", 1), (Service, "p", 1), (Replication, "f", 1)]).0, Health::Degraded);
        assert_eq!(said(&[(Reach, "", 0)]), (Health::Unknown, "no checks decide".to_owned()));
    }

    #[test]
    fn a_vote_is_told_with_its_count() {
        assert_eq!(health(&[(Service, "pff", 1)]).0, Health::Healthy);
        assert_eq!(
            health(&[(Service, "pff", 2)]),
            (Health::Unreachable, "service-1: f seen (1 of 3 pass; 2 needed)".to_owned())
        );
        assert_eq!(
            health(&[(Service, "p?f", 2)]),
            (Health::Unknown, "service-1: ? seen (1 of 3 pass, 1 unknown; 2 needed)".to_owned())
        );
        assert_eq!(health(&[(Service, "p?f", 1)]).0, Health::Healthy, "whatever the unknown one is");
        assert_eq!(health(&[(Service, "?ff", 2)]).0, Health::Unreachable, "whatever the unknown one is");
    }
}
