//! Workflow × configuration × two regions → [`Plan`]: what will be done, to which targets.
//!
//! A plan is made once, when an execution is admitted, and frozen in the journal: every
//! attempt, by whichever process, addresses the same targets. Two candidates chosen by two
//! owners is how a database gets two writers even behind fencing tokens, because each token
//! is checked at another node.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::file::template;
use super::{
    ApplicationOp, CapacityOp, Care, DatabaseNode, DatabaseOp, DatabaseRole, DialOp, ExecutionId, Op, Shares,
    Side, Spec, Stage, Target, Text, Until, Workflow,
};
use crate::base::{ClusterId, RegionId};
use crate::config::{ClusterKind, Config, Endpoint, HeaderValue, parse_url};

/// The two ends of a move.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ends {
    /// The region that is moved to.
    pub activate: RegionId,
    /// The region that is left.
    pub deactivate: RegionId,
}

/// The ends as far as somebody has named them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// The region to move to.
    pub activate: Option<RegionId>,
    /// The region to leave.
    pub deactivate: Option<RegionId>,
}

/// What an execution will do. Resolved, complete, and the same for as long as it lasts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The workflow's name.
    pub workflow: String,
    /// The hash of its file as it was.
    pub hash: String,
    /// The region that is moved to.
    pub activate: String,
    /// The region that is left.
    pub deactivate: String,
    /// How long it may run before it is paused for an operator.
    pub timeout: Duration,
    /// In the order of the file.
    pub stages: Vec<PlannedStage>,
}

/// One stage of a [`Plan`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlannedStage {
    /// Its name.
    pub name: String,
    /// Positions of the stages that must be settled before it starts.
    pub needs: Vec<usize>,
    /// Limits and what happens past them.
    pub care: Care,
    /// What it does.
    pub op: Op,
}

/// Why no plan can be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Unplannable {
    /// What is missing.
    pub message: String,
    /// How to mend it, if there is a way to tell.
    pub help: Option<String>,
    /// The stage, as a position; `None` when it is the move itself.
    pub stage: Option<usize>,
}

impl Unplannable {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, stage: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Plan {
    /// The clusters whose roles it changes.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().filter_map(|stage| match &stage.op {
            Op::Database(database) => Some(database.cluster.as_str()),
            _ => None,
        })
    }

    /// The regions that it puts to use: moved to, made the writer's, or given traffic.
    pub fn uses(&self) -> impl Iterator<Item = &str> {
        let by_stage = self.stages.iter().flat_map(|stage| -> Vec<&str> {
            match &stage.op {
                Op::Database(database) if database.role == DatabaseRole::Writer => vec![&database.region],
                Op::Dial(dial) => dial
                    .shares
                    .iter()
                    .filter(|(_, share)| **share > 0)
                    .map(|(region, _)| region.as_str())
                    .collect(),
                _ => Vec::new(),
            }
        });
        std::iter::once(self.activate.as_str()).chain(by_stage)
    }

    /// Puts the execution's id into texts that ask for it. It is only known once the journal
    /// has taken the plan, because the id holds the index of that record.
    pub(super) fn name(&mut self, execution: &ExecutionId) {
        let value = |word: &str| (word == "execution").then(|| execution.to_string());
        for stage in &mut self.stages {
            template::each_text(&mut stage.op, &mut |text| *text = template::fill(text, &value));
        }
    }
}

impl Workflow {
    /// Completes the ends of a move. What is wished for comes first; a default that is the
    /// opposite of a wish gives way, so that the same file also moves back. `fit` tells which
    /// regions may be moved to.
    ///
    /// # Errors
    /// When an end cannot be told, or both are the same region.
    pub fn ends(
        &self,
        config: &Config,
        wish: Wish,
        fit: &dyn Fn(RegionId) -> bool,
    ) -> Result<Ends, Unplannable> {
        let named = match &self.activate {
            Target::Named(region) => Some(*region).filter(|region| Some(*region) != wish.deactivate),
            _ => None,
        };
        let activate = wish.activate.or(named);
        let deactivate = wish
            .deactivate
            .or(self.deactivate.filter(|region| Some(*region) != activate))
            .or(activate.and_then(|to| other(config, to)));
        let deactivate = deactivate.ok_or_else(|| {
            Unplannable::new("which region shall be left?").help("name it with `deactivate`")
        })?;
        let activate = match (activate, &self.activate) {
            (Some(region), _) => region,
            (None, Target::FirstFit(order)) => {
                let mut candidates = order.iter().copied().filter(|region| *region != deactivate);
                candidates.find(|region| fit(*region)).ok_or_else(|| {
                    Unplannable::new("no region that could be moved to is healthy")
                        .help("name one with `activate` if you must")
                })?
            }
            (None, _) => other(config, deactivate).ok_or_else(|| {
                Unplannable::new("which region shall be moved to?").help("name it with `activate`")
            })?,
        };
        if activate == deactivate {
            let name = config.regions.name(activate);
            return Err(Unplannable::new(format!("`{name}` cannot be both left and moved to")));
        }
        Ok(Ends { activate, deactivate })
    }

    /// Resolves every stage for a move.
    ///
    /// # Errors
    /// What the configuration lacks for it.
    pub fn plan(&self, config: &Config, ends: Ends) -> Result<Plan, Unplannable> {
        let mut stages = Vec::with_capacity(self.stages.len());
        for (position, stage) in self.stages.iter().enumerate() {
            let op =
                self.op(config, stage, ends).map_err(|why| Unplannable { stage: Some(position), ..why })?;
            let (name, needs) = (stage.name.clone(), stage.needs.clone());
            stages.push(PlannedStage { name, needs, care: stage.care, op });
        }
        Ok(Plan {
            workflow: self.name.clone(),
            hash: self.hash.clone(),
            activate: config.regions.name(ends.activate).to_string(),
            deactivate: config.regions.name(ends.deactivate).to_string(),
            timeout: self.timeout,
            stages,
        })
    }

    pub(super) fn op(&self, config: &Config, stage: &Stage, ends: Ends) -> Result<Op, Unplannable> {
        let mut op = match &stage.spec {
            Spec::Capacity { region, percent, hook, extra } => {
                capacity(config, region.of(ends), *percent, hook.as_ref(), extra)?
            }
            Spec::Database { cluster, role, region } => database(config, *cluster, *role, region.of(ends))?,
            Spec::Dial { service, shares } => {
                let policy = &config.services[*service].regions;
                let shares = match shares {
                    Shares::All(side) => BTreeMap::from([(side.of(ends), 100)]),
                    Shares::Percent(shares) => shares.clone(),
                };
                let name = config.services.name(*service);
                if let Some(stranger) = shares.keys().find(|region| !policy.contains(region)) {
                    let stranger = config.regions.name(*stranger);
                    return Err(Unplannable::new(format!(
                        "service `{name}` is not served by region `{stranger}`"
                    ))
                    .help("its policy and its answers must name the region"));
                }
                let shares =
                    shares.iter().map(|(region, share)| (config.regions.name(*region).to_string(), *share));
                Op::Dial(DialOp { service: name.to_string(), shares: shares.collect() })
            }
            Spec::Fixed(op) => op.clone(),
        };
        let value = |word: &str| match word {
            "activate" => Some(config.regions.name(ends.activate).to_string()),
            "deactivate" => Some(config.regions.name(ends.deactivate).to_string()),
            "stage" => Some(stage.name.clone()),
            "workflow" => Some(self.name.clone()),
            _ => None,
        };
        template::each_text(&mut op, &mut |text| *text = template::fill(text, &value));
        check_urls(&op)?;
        Ok(op)
    }
}

impl Side {
    /// The region it stands for in a move.
    pub fn of(self, ends: Ends) -> RegionId {
        match self {
            Self::Activated => ends.activate,
            Self::Deactivated => ends.deactivate,
            Self::Region(region) => region,
        }
    }
}

/// The other region, where there are two.
pub(super) fn other(config: &Config, region: RegionId) -> Option<RegionId> {
    let mut others = config.regions.ids().filter(|id| *id != region);
    others.next().filter(|_| others.next().is_none())
}

fn capacity(
    config: &Config,
    region: RegionId,
    percent: u32,
    hook: Option<&(String, BTreeMap<String, Text>)>,
    extra: &BTreeMap<String, serde_json::Value>,
) -> Result<Op, Unplannable> {
    let (name, settings) = (config.regions.name(region), &config.regions[region]);
    let (url, headers) = match (hook, &settings.capacity_hook) {
        (Some((url, headers)), _) => (url.clone(), headers.clone()),
        (None, Some(hook)) => {
            let HeaderValue::Plain(url) = &hook.url else {
                return Err(Unplannable::new(format!(
                    "the URL of region `{name}`'s capacity hook is a secret"
                ))
                .help("calls are kept in the journal: write the URL out, and keep the secret in a header"));
            };
            let headers = hook.headers.iter().map(|(name, value)| (name.clone(), Text::from(value)));
            (url.clone(), headers.collect())
        }
        (None, None) => {
            return Err(Unplannable::new(format!("nobody makes room in region `{name}`")).help(format!(
                "give the stage `hook: {{url: …}}`, or region `{name}` a `capacity_hook: {{url: …}}` in the configuration"
            )));
        }
    };
    let (region, capacity, extra) = (name.to_string(), settings.capacity, extra.clone());
    Ok(Op::Capacity(CapacityOp { region, percent, capacity, url, headers, extra }))
}

fn database(config: &Config, id: ClusterId, role: DatabaseRole, region: RegionId) -> Result<Op, Unplannable> {
    let (name, cluster) = (config.clusters.name(id), &config.clusters[id]);
    let ClusterKind::Postgres(options) = &cluster.kind else {
        return Err(Unplannable::new(format!("cluster `{name}` is {}, not PostgreSQL", cluster.kind.word())));
    };
    let mut nodes: Vec<DatabaseNode> = Vec::new();
    for group in cluster.groups.iter().map(|group| &config.groups[*group]) {
        if group.inside.is_some() {
            return Err(Unplannable::new(format!(
                "cluster `{name}` has a primary of its own in each region"
            ))
            .help(
                "the writer role moves only within one group over regions: list its nodes under `across`",
            ));
        }
        for member in &group.members {
            let Endpoint::Postgres(target) = &member.endpoint else { continue };
            let region = config.regions.name(member.region).to_string();
            if nodes.iter().any(|node| node.region == region) {
                return Err(Unplannable::new(format!("cluster `{name}` has two nodes in region `{region}`"))
                    .help("with one node in each region it is plain which one becomes the writer; inside a region let Patroni or the like decide"));
            }
            nodes.push(DatabaseNode { region, target: target.clone() });
        }
    }
    let region = config.regions.name(region).to_string();
    if !nodes.iter().any(|node| node.region == region) {
        return Err(Unplannable::new(format!("cluster `{name}` has no node in region `{region}`")));
    }
    Ok(Op::Database(DatabaseOp {
        cluster: name.to_string(),
        role,
        region,
        nodes,
        password: options.password.clone(),
        ca: options.ca.clone(),
        application: ApplicationOp {
            roles: options.application.roles.clone(),
            proof: options.application.proof.clone(),
            database: options.application.database.clone(),
        },
        unreachable_writer: options.unreachable_writer,
    }))
}

/// A URL may hold `${…}`, so it can only be checked once that is filled in.
fn check_urls(op: &Op) -> Result<(), Unplannable> {
    let urls: Vec<&str> = match op {
        Op::Capacity(capacity) => vec![&capacity.url],
        Op::Http(http) => {
            std::iter::once(http.url.as_str()).chain(http.observe.iter().map(|o| o.url.as_str())).collect()
        }
        Op::Wait(wait) => match &wait.until {
            Until::Http { url, .. } => vec![url],
            Until::Elapsed(_) | Until::Tcp { .. } => Vec::new(),
        },
        Op::Database(_) | Op::Dial(_) | Op::Exec(_) | Op::Notify(_) => Vec::new(),
    };
    for url in urls {
        parse_url(url).map_err(|unfit| Unplannable::new(unfit.message))?;
    }
    Ok(())
}
