//! Layers, bottom-up → the health of a region. The first layer that does not pass is the reason:
//! passing the lower layers is what makes a failure of a higher one believable.

use crate::base::{Health, Mono, Named, RegionId};
use crate::cluster::Standing;
use crate::config::{Check, CheckKind, Config, Layer, Schedule, SilentMeans};
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

/// Puts the layers of a region together.
pub fn assess(
    config: &Config,
    region: RegionId,
    checks: &Named<crate::base::CheckId, CheckState>,
) -> Assessment {
    let mut degraded = None;
    for layer in Layer::ALL {
        let ids = config.layer(region, layer);
        let worst = |wanted: Verdict| ids.iter().copied().find(|id| checks[*id].verdict() == wanted);
        let why = |id| Why {
            layer: Some(layer),
            check: Some(checks.name(id).to_string()),
            words: checks[id].reason().to_owned(),
            cluster_loss: checks[id].group_lost,
        };
        if let Some(id) = worst(Verdict::Fail) {
            let health = match layer {
                Layer::Reach | Layer::Service => Health::Unreachable,
                Layer::Quorum => Health::NoQuorum,
                // It serves what it has, and is behind.
                Layer::Replication => Health::Degraded,
            };
            return Assessment { health, why: why(id) };
        }
        if let Some(id) = worst(Verdict::Unknown) {
            return Assessment { health: Health::Unknown, why: Why { cluster_loss: false, ..why(id) } };
        }
        degraded = degraded.or_else(|| ids.iter().copied().find(|id| checks[*id].degraded()).map(why));
    }
    match degraded {
        Some(why) => Assessment { health: Health::Degraded, why: Why { cluster_loss: false, ..why } },
        None if config.regions[region].layers.is_empty() => Assessment {
            health: Health::Unknown,
            why: Why { words: "no checks are configured".to_owned(), ..Why::default() },
        },
        None => Assessment {
            health: Health::Healthy,
            why: Why { words: "every layer passes".to_owned(), ..Why::default() },
        },
    }
}
