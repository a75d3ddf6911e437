//! A workflow as its file says it, checked against the configuration: names are ids, numbers
//! have their defaults, and the stages stand in an order without cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DatabaseRole, Op, Text};
use crate::base::{ClusterId, Place, RegionId, ServiceId};

/// A workflow file that was read and found sound.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// Its name: part of the id of each of its executions.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// In which of the two forms the file is written.
    pub form: Form,
    /// How long an execution may run before it is paused for an operator.
    pub timeout: Duration,
    /// In the order of the file. A stage's `needs` are positions in this list.
    pub stages: Vec<Stage>,
    /// Over all of the above but the descriptions, and over the order: a file that was sorted
    /// is another workflow.
    pub hash: String,
    /// How the region to move to is found when nobody names it.
    pub activate: Target,
    /// The region to leave when nobody names it.
    pub deactivate: Option<RegionId>,
    /// The file.
    pub place: Place,
}

impl Workflow {
    /// The clusters whose writer role it moves or takes away. Two executions that change one
    /// cluster never run at once.
    pub fn clusters(&self) -> BTreeSet<ClusterId> {
        self.stages.iter().filter_map(|stage| stage.spec.cluster()).collect()
    }

    /// The stages that must be settled before one may start, directly or through others.
    pub(super) fn ancestors(&self, stage: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut ahead = self.stages[stage].needs.clone();
        while let Some(next) = ahead.pop() {
            if found.insert(next) {
                ahead.extend(&self.stages[next].needs);
            }
        }
        found
    }
}

/// The two forms of a workflow file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `stages:` alone, each with `agent` and `spec`: one after the other, in the file's order.
    Article,
    /// `version: 1`.
    Version1,
}

/// How the region to move to is found when nobody names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// The configuration names it.
    Named(RegionId),
    /// There are two regions: the other one.
    Other,
    /// The first fit one, in the order of the policies of the services that are dialled.
    FirstFit(Vec<RegionId>),
    /// Only a person can say.
    Asked,
}

/// One stage.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name: part of the idempotency key of its calls.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Positions of the stages that must be settled before it starts.
    pub needs: Vec<usize>,
    /// Limits and what happens past them.
    pub care: Care,
    /// What it does.
    pub spec: Spec,
    /// Where the file has it.
    pub place: Place,
}

/// How patient the engine is with a stage, and what it does when the stage fails.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Care {
    /// From its first call to its end, with every retry and every wait between.
    pub timeout: Duration,
    /// For one call.
    pub attempt_timeout: Duration,
    /// How often, and how long between.
    pub retry: RetryPolicy,
    /// What a failure means for the rest.
    pub on_failure: OnFailure,
}

/// How often to try, and how long to wait between two attempts.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// The first attempt counts.
    pub max_attempts: u32,
    /// After the first attempt.
    pub initial_interval: Duration,
    /// Each wait is so many times the one before …
    pub multiplier: f64,
    /// … but never longer than this.
    pub max_interval: Duration,
    /// Whether waits are drawn by lot.
    pub jitter: Jitter,
}

impl RetryPolicy {
    /// What holds when a file says nothing. Exponential, and spread out fully, because a region
    /// that comes back must not be met by everyone at once.
    pub const DEFAULT: Self = Self {
        max_attempts: 5,
        initial_interval: Duration::from_secs(1),
        multiplier: 2.0,
        max_interval: Duration::from_secs(30),
        jitter: Jitter::Full,
    };

    /// The longest wait after this many attempts.
    pub fn ceiling(&self, attempts: u32) -> Duration {
        let steps = attempts.saturating_sub(1).min(i32::MAX as u32) as i32;
        let seconds = self.initial_interval.as_secs_f64() * self.multiplier.powi(steps);
        // Past the range of a Duration it is past `max_interval` as well.
        Duration::try_from_secs_f64(seconds).map_or(self.max_interval, |wait| wait.min(self.max_interval))
    }

    /// The wait after this many attempts.
    pub fn wait(&self, attempts: u32, rng: &mut fastrand::Rng) -> Duration {
        let ceiling = self.ceiling(attempts);
        match self.jitter {
            Jitter::None => ceiling,
            Jitter::Full => ceiling.mul_f64(rng.f64()),
        }
    }
}

/// Whether waits are drawn by lot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// No: each is as long as it may be.
    None,
    /// Yes: anything from nothing to as long as it may be.
    Full,
}

/// What the failure of a stage means for the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The execution ends as failed, once nothing is under way any more.
    Abort,
    /// The rest goes on as if it had succeeded; the execution ends with an exception.
    Continue,
    /// The execution waits for an operator: retry, skip or cancel.
    Pause,
}

/// A side of the move, or a region by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The region that is moved to.
    Activated,
    /// The region that is left.
    Deactivated,
    /// This one, whatever the move.
    Region(RegionId),
}

/// What a stage does, before it is known between which regions.
#[derive(Clone, PartialEq, Debug)]
pub enum Spec {
    /// Makes room.
    Capacity {
        /// Where.
        region: Side,
        /// Of what the region has when it is whole.
        percent: u32,
        /// Whom to ask; by default the region's own hook.
        hook: Option<(String, BTreeMap<String, Text>)>,
        /// Passed on as it is.
        extra: BTreeMap<String, serde_json::Value>,
    },
    /// Gives the writer role to a region's node, or takes it away.
    Database {
        /// Of which cluster.
        cluster: ClusterId,
        /// What the node shall be.
        role: DatabaseRole,
        /// Whose node.
        region: Side,
    },
    /// Sets shares of traffic.
    Dial {
        /// Of which service.
        service: ServiceId,
        /// Who gets what.
        shares: Shares,
    },
    /// Anything that does not depend on the regions but through `${…}` in its texts.
    Fixed(Op),
}

/// Who gets what share of a service's traffic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shares {
    /// One region gets all of it.
    All(Side),
    /// Percents, which add up to 100.
    Percent(BTreeMap<RegionId, u32>),
}

impl Spec {
    /// The agent's name, as in the file.
    pub fn agent(&self) -> &'static str {
        match self {
            Self::Capacity { .. } => "capacity",
            Self::Database { .. } => "database",
            Self::Dial { .. } => "dial",
            Self::Fixed(op) => op.agent(),
        }
    }

    /// The cluster whose roles it changes.
    pub fn cluster(&self) -> Option<ClusterId> {
        match self {
            Self::Database { cluster, .. } => Some(*cluster),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_ceiling_and_stay_below_it() {
        let policy = RetryPolicy { max_interval: Duration::from_secs(5), ..RetryPolicy::DEFAULT };
        let ceilings: Vec<_> = (1..=5).map(|n| policy.ceiling(n).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 5, 5]);
        assert_eq!(policy.ceiling(u32::MAX), Duration::from_secs(5));
        let mut rng = fastrand::Rng::with_seed(1);
        let waits: Vec<_> = (0..1000).map(|_| policy.wait(3, &mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(4)));
        let mean = waits.iter().sum::<Duration>() / 1000;
        assert!(mean > Duration::from_millis(1800) && mean < Duration::from_millis(2200), "{mean:?}");
        let plain = RetryPolicy { jitter: Jitter::None, ..policy };
        assert_eq!(plain.wait(3, &mut rng), Duration::from_secs(4));
    }
}
