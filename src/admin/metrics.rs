//! The recorder of metrics, and its text for Prometheus.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;

use crate::control::telemetry::DURATION_BUCKETS;

/// A gauge that nobody has set for this long speaks of something that is gone: a region that
/// was taken out of the configuration. Every scrape sets all that are not.
const GONE_AFTER: Duration = Duration::from_secs(600);

/// What was recorded.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Installs the recorder for this process.
///
/// # Errors
/// One is installed already.
pub fn install() -> Result<Metrics, String> {
    let recorder = PrometheusBuilder::new()
        .idle_timeout(MetricKindMask::GAUGE, Some(GONE_AFTER))
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)
        .map_err(|why| why.to_string())?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|why| why.to_string())?;
    Ok(Metrics { handle })
}

impl Metrics {
    /// As Prometheus reads it.
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}
