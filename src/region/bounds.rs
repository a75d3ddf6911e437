//! What a configuration guarantees: bounds that hold by construction, computed before anything
//! runs. `pointsman check` prints them, and the end-to-end test holds the daemon to them.

use std::time::Duration;

use super::{Outlook, breaks_in};
use crate::base::{CheckId, RegionId};
use crate::config::{CheckKind, Config, Failback, Layer, LayerChecks, Service, SwitchedBy};
use crate::health::Verdict;

/// Intervals are stretched by up to this share, so that probes of many sites drift apart.
pub const JITTER: f64 = 0.05;

/// How long it takes at most from the moment a target breaks to the verdict `fail`.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Detection {
    /// The check that is slowest to tell.
    pub check: String,
    /// For how long it may not tell.
    pub within: Duration,
}

/// What a service is promised.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Guarantee {
    /// The service.
    pub service: String,
    /// What moves it.
    pub switched_by: SwitchedBy,
    /// From the moment a region breaks to new answers, at most; for each region.
    pub detection: Vec<(String, Detection)>,
    /// The slowest of them.
    pub detection_max: Duration,
    /// A hold-down that a workflow adds before it starts; `None` if no workflow moves it.
    pub hold: Option<Duration>,
    /// The highest TTL that an answer has while its region may break.
    pub ttl: Duration,
    /// From the moment a region breaks until the last client that honours TTLs has left it, at
    /// most. For a service that a workflow switches, the workflow's own time comes on top.
    pub staleness_max: Duration,
    /// A region that was out stays out for at least this long; `None`: until a person lets it back.
    pub dwell_min: Option<Duration>,
}

/// How long a check may take to tell that its target has broken.
///
/// The target breaks right after a probe passed; then `fall` probes must fail, each up to one
/// stretched interval after the one before, and the last may take its whole timeout. A cluster
/// first has its time to truth: it starts with the first round that sees no leader, and is
/// over with the first round after it. Who reports itself may do so as seldom as once in its ttl.
pub fn detection(config: &Config, check: CheckId) -> Duration {
    let spec = &config.checks[check];
    let interval = spec.schedule.interval.mul_f64(1.0 + JITTER);
    let falling = interval * spec.schedule.fall + spec.schedule.timeout;
    match spec.kind {
        CheckKind::Cluster(cluster) => {
            interval + spec.schedule.timeout + config.clusters[cluster].time_to_truth + falling
        }
        // From the moment in which the alert fires.
        CheckKind::Alertmanager(ref alerts) => {
            let from = config.alertmanagers.get(&alerts.from);
            from.map_or(Duration::ZERO, |from| from.group_interval) + falling
        }
        // Who goes on reporting does so once in a ttl at least; who falls silent is noticed after it.
        CheckKind::Push(ref push) => {
            (push.ttl * spec.schedule.fall).max(push.ttl + interval * spec.schedule.fall)
        }
        _ => falling,
    }
}

/// The slowest check that decides on a service's place in a region, up to the quorum layer: one of
/// the region's, or one of its own there. In a layer that only needs some of its checks it is the
/// slowest of all that may have to fail. What is silent waits for the word of somebody unrelated on
/// top (see `sight`), which comes with their next result.
pub fn place_detection(config: &Config, service: &Service, region: RegionId) -> Option<Detection> {
    let outlook = Outlook::of(config);
    let waits = outlook.witness_of(region).map_or(Duration::ZERO, |witness| outlook.confirmation(witness));
    config
        .layers_of(service, region)
        .flat_map(LayerChecks::deciding)
        .filter(|check| config.checks[*check].layer < Layer::Replication)
        .map(|check| Detection {
            check: config.checks.name(check).to_string(),
            within: detection(config, check) + waits,
        })
        .max_by_key(|detection| detection.within)
}

/// What a service is promised. `hold`: the longest hold-down of the workflows that move it.
pub fn guarantee(config: &Config, name: &str, service: &Service, hold: Option<Duration>) -> Guarantee {
    let regions = &service.regions;
    let detection: Vec<(String, Detection)> = regions
        .iter()
        .filter_map(|region| {
            Some((config.regions.name(*region).to_string(), place_detection(config, service, *region)?))
        })
        .collect();
    let detection_max = detection.iter().map(|(_, detection)| detection.within).max().unwrap_or_default();
    // While every check passes, the answer cannot change before the fastest has failed `fall` times.
    let ttl = regions
        .iter()
        .filter_map(|region| {
            let span = |check: CheckId| {
                let schedule = config.checks[check].schedule;
                schedule.interval * schedule.fall
            };
            let layers = config.layers_of(service, *region);
            layers.map(|layer| breaks_in(layer, |_| Verdict::Pass, span)).min()
        })
        .max()
        .unwrap_or(Duration::MAX)
        .clamp(service.ttl.min, service.ttl.max);
    let rise = regions
        .iter()
        .filter_map(|region| {
            let checks = config.layers_of(service, *region).flat_map(LayerChecks::deciding);
            checks
                .map(|check| config.checks[check].schedule)
                .map(|schedule| schedule.interval * (schedule.rise - 1))
                .max()
        })
        .min()
        .unwrap_or_default();
    let dwell_min = match service.failback {
        Failback::Auto { after } => Some(rise + after),
        Failback::Manual => None,
    };
    let hold = hold.filter(|_| service.switched_by == SwitchedBy::Workflow);
    Guarantee {
        service: name.to_owned(),
        switched_by: service.switched_by,
        detection,
        detection_max,
        hold,
        ttl,
        staleness_max: detection_max + hold.unwrap_or_default() + ttl,
        dwell_min,
    }
}
