//! What makes two workflows the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::base::RegionId;
use crate::config::Config;
use crate::workflow::{Care, Form, Shares, Side, Spec, Target, Workflow};

/// SHA-256, in hexadecimal, over everything that has an effect, in its order.
pub(super) fn hash(workflow: &Workflow, config: &Config) -> String {
    #[derive(Serialize)]
    struct Content<'a> {
        name: &'a str,
        form: Form,
        timeout: Duration,
        activate: String,
        deactivate: Option<&'a str>,
        stages: Vec<StageContent<'a>>,
    }
    #[derive(Serialize)]
    struct StageContent<'a> {
        name: &'a str,
        needs: &'a [usize],
        care: &'a Care,
        agent: &'static str,
        spec: serde_json::Value,
    }
    let region = |side: &Side| match side {
        Side::Activated => "activated".to_owned(),
        Side::Deactivated => "deactivated".to_owned(),
        Side::Region(region) => format!("region {}", config.regions.name(*region)),
    };
    let name = |region: &RegionId| config.regions.name(*region).to_string();
    let spec = |spec: &Spec| match spec {
        Spec::Capacity { region: side, percent, hook, extra } => serde_json::json!({
            "region": region(side), "percent": percent, "hook": hook, "extra": extra,
        }),
        Spec::Database { cluster, role, region: side } => serde_json::json!({
            "cluster": **config.clusters.name(*cluster), "role": role, "region": region(side),
        }),
        Spec::Dial { service, shares } => {
            let shares: BTreeMap<String, u32> = match shares {
                Shares::All(side) => [(region(side), 100)].into(),
                Shares::Percent(shares) => {
                    shares.iter().map(|(region, share)| (name(region), *share)).collect()
                }
            };
            serde_json::json!({ "service": **config.services.name(*service), "shares": shares })
        }
        Spec::Fixed(op) => serde_json::json!(op),
    };
    let content = Content {
        name: &workflow.name,
        form: workflow.form,
        timeout: workflow.timeout,
        activate: match &workflow.activate {
            Target::Named(region) => name(region),
            Target::Other => "other".to_owned(),
            Target::FirstFit(order) => order.iter().map(name).collect::<Vec<_>>().join(" "),
            Target::Asked => "asked".to_owned(),
        },
        deactivate: workflow.deactivate.map(|region| &**config.regions.name(region)),
        stages: workflow
            .stages
            .iter()
            .map(|stage| StageContent {
                name: &stage.name,
                needs: &stage.needs,
                care: &stage.care,
                agent: stage.spec.agent(),
                spec: spec(&stage.spec),
            })
            .collect(),
    };
    let bytes = serde_json::to_vec(&content).expect("texts, numbers and lists always serialise");
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
