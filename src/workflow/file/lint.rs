//! What only shows when a workflow is looked at as a whole, and beside the configuration.
//!
//! Errors are contradictions that would send clients where nobody answers, or that could
//! never run. Warnings load.

use std::collections::BTreeSet;

use super::super::plan::{Ends, Plan, other};
use super::Written;
use crate::base::{Mistakes, RegionId, show_span};
use crate::config::yaml::{Key, Node, Value};
use crate::config::{Config, Failback, Store, SwitchedBy, WorkflowUse};
use crate::workflow::{DatabaseRole, OnFailure, Op, Shares, Side, Spec, Stage, Target, Workflow};

/// So many keys in lexicographic order are no accident.
const SORTED_MIN: usize = 3;

/// What the file said of a stage in so many words.
pub(super) struct Hints {
    pub written: Written,
    pub node: Option<Node>,
}

pub(super) fn lint(
    workflow: &Workflow,
    hints: &[Hints],
    stages: &Node,
    use_: &WorkflowUse,
    config: &Config,
    mistakes: &mut Mistakes,
) {
    roles(workflow, config, mistakes);
    moves(workflow, use_, config, mistakes);
    order(workflow, hints, mistakes);
    sorted(stages, mistakes);
    for (stage, hints) in workflow.stages.iter().zip(hints) {
        unobservable(stage, mistakes);
        too_long(stage, hints, mistakes);
        failures(stage, mistakes);
        if let Some(node) = &hints.node {
            credentials(None, node, mistakes);
        }
    }
}

/// A workflow that moves a writer must be the only one that moves the clients, and there must
/// be one place that decides.
fn roles(workflow: &Workflow, config: &Config, mistakes: &mut Mistakes) {
    let Some(changing) = workflow.stages.iter().find(|stage| stage.spec.cluster().is_some()) else { return };
    let Store::Embedded { .. } = &config.store;
    if config.sites.len() > 1 {
        mistakes
            .error(
                &changing.place,
                format!("`{}` changes a role, and {} sites share this configuration", changing.name, config.sites.len()),
            )
            .help("with the embedded store each site would decide alone, and two could promote: let one site run the workflow, with a configuration whose `sites` lists it alone");
    }
    for stage in &workflow.stages {
        let Spec::Dial { service: id, .. } = &stage.spec else { continue };
        let (name, service) = (config.services.name(*id), &config.services[*id]);
        if service.switched_by == SwitchedBy::Health {
            mistakes
                .error(
                    &stage.place,
                    format!("service `{name}` follows the health of its regions, and this workflow moves its writer"),
                )
                .help("clients would be sent to a standby: write `switched_by: workflow` at the service");
        } else if let Failback::Auto { .. } = service.failback {
            mistakes
                .error(
                    &stage.place,
                    format!("service `{name}` fails back by itself, and this workflow moves its writer"),
                )
                .help(
                    "clients would be sent back to a demoted writer: write `failback: manual` at the service",
                );
        }
    }
}

/// Every move that can come about by itself must be possible.
fn moves(workflow: &Workflow, use_: &WorkflowUse, config: &Config, mistakes: &mut Mistakes) {
    let place = &use_.place;
    if config.regions.len() < 2 {
        mistakes
            .error(place, "a workflow moves from one region to another; the configuration has not got two");
        return;
    }
    if use_.when.is_some() && workflow.deactivate.is_none() {
        mistakes
            .error(place, "the region that flips is moved to, and nothing tells which one is left")
            .help("name it with `deactivate`");
        return;
    }
    if use_.when.is_some() && workflow.activate == Target::Asked {
        mistakes
            .error(place, "there are more than two regions, and nothing tells which one to move to")
            .help("name it with `activate`, or dial a service whose policy is `failover`: its order then decides");
        return;
    }
    let mut tried = 0;
    let mut failed = Vec::new();
    for ends in possible(workflow, config) {
        tried += 1;
        match workflow.plan(config, ends) {
            Ok(plan) => consistent(workflow, &plan, mistakes),
            Err(why) => failed.push((ends, why)),
        }
    }
    // Run by hand only, it is enough that one direction works.
    let fatal = use_.when.is_some() || failed.len() == tried;
    for (ends, why) in failed {
        let stage = why.stage.map_or(place, |stage| &workflow.stages[stage].place);
        if fatal {
            mistakes.error(stage, why.message).maybe_help(why.help);
        } else {
            let (to, from) = (config.regions.name(ends.activate), config.regions.name(ends.deactivate));
            let message = format!("cannot move from `{from}` to `{to}`: {}", why.message);
            mistakes.warn(stage, message).maybe_help(why.help);
        }
    }
}

fn possible(workflow: &Workflow, config: &Config) -> Vec<Ends> {
    let from: Vec<RegionId> = match workflow.deactivate {
        Some(region) => vec![region],
        None => config.regions.ids().collect(),
    };
    let mut moves = Vec::new();
    for deactivate in from {
        let to: Vec<RegionId> = match &workflow.activate {
            Target::Named(region) => vec![*region],
            Target::Other => other(config, deactivate).into_iter().collect(),
            Target::FirstFit(order) => order.clone(),
            Target::Asked => Vec::new(),
        };
        let to = to.into_iter().filter(|activate| *activate != deactivate);
        moves.extend(to.map(|activate| Ends { activate, deactivate }));
    }
    moves
}

/// One writer, and no traffic to a region whose writer role is taken away.
fn consistent(workflow: &Workflow, plan: &Plan, mistakes: &mut Mistakes) {
    let databases: Vec<_> = plan
        .stages
        .iter()
        .zip(&workflow.stages)
        .filter_map(|(planned, stage)| match &planned.op {
            Op::Database(database) => Some((database, stage)),
            _ => None,
        })
        .collect();
    for (n, (database, stage)) in databases.iter().enumerate() {
        for (earlier, first) in &databases[..n] {
            if earlier.cluster != database.cluster {
                continue;
            }
            let (cluster, region) = (&database.cluster, &database.region);
            match (earlier.role, database.role) {
                (DatabaseRole::Writer, DatabaseRole::Writer) => {
                    let message =
                        format!("`{}` and `{}` both make a writer of `{cluster}`", first.name, stage.name);
                    mistakes.error(&stage.place, message).help("one writer: one workflow makes one");
                }
                (a, b) if a != b && earlier.region == *region => {
                    mistakes.error(
                        &stage.place,
                        format!(
                            "`{}` and `{}` want opposite roles of `{cluster}` in `{region}`",
                            first.name, stage.name
                        ),
                    );
                }
                _ => {}
            }
        }
    }
    let demoted: BTreeSet<&str> = databases
        .iter()
        .filter(|(database, _)| database.role == DatabaseRole::Reader)
        .map(|(database, _)| database.region.as_str())
        .collect();
    for (planned, stage) in plan.stages.iter().zip(&workflow.stages) {
        let Op::Dial(dial) = &planned.op else { continue };
        for (region, share) in &dial.shares {
            if *share > 0 && demoted.contains(region.as_str()) {
                mistakes
                    .warn(
                        &stage.place,
                        format!("sends traffic to `{region}`, whose database becomes a reader"),
                    )
                    .help("fine for a service that only reads");
            }
        }
    }
}

fn order(workflow: &Workflow, hints: &[Hints], mistakes: &mut Mistakes) {
    let database = |stage: &Stage| match &stage.spec {
        Spec::Database { cluster, role, region } => Some((*cluster, *role, *region)),
        _ => None,
    };
    for (position, stage) in workflow.stages.iter().enumerate() {
        let ancestors = workflow.ancestors(position);
        if let Some((cluster, DatabaseRole::Reader, _)) = database(stage)
            && !hints[position].written.needs
            && let Some(promote) = workflow.stages[..position]
                .iter()
                .find(|other| matches!(database(other), Some((of, DatabaseRole::Writer, _)) if of == cluster))
        {
            mistakes
                .warn(&stage.place, format!("`{}` promotes before `{}` demotes", promote.name, stage.name))
                .help("the old writer is fenced before the promotion whatever the order; say that it is meant with `needs`, or demote first");
        }
        let Spec::Dial { shares, .. } = &stage.spec else { continue };
        for (at, promote) in workflow.stages.iter().enumerate() {
            let Some((_, DatabaseRole::Writer, side)) = database(promote) else { continue };
            let sent = match (shares, side) {
                (Shares::All(to), side) => *to == side,
                (Shares::Percent(shares), Side::Region(region)) => {
                    shares.get(&region).is_some_and(|share| *share > 0)
                }
                (Shares::Percent(_), _) => true,
            };
            if sent && !ancestors.contains(&at) {
                mistakes
                    .warn(&stage.place, format!("`{}` does not wait for `{}`", stage.name, promote.name))
                    .help(format!(
                        "clients could arrive before the region has its writer: add `{}` to its `needs`",
                        promote.name
                    ));
            }
        }
    }
}

/// A mapping has no order for most tools; a formatter that sorts it makes another workflow.
fn sorted(stages: &Node, mistakes: &mut Mistakes) {
    let keys: Vec<&str> = stages.keys().map(|key| key.text.as_str()).collect();
    if keys.len() >= SORTED_MIN && keys.is_sorted() {
        mistakes
            .warn(&stages.place, "the stages are in lexicographic order: was this file sorted by a formatter?")
            .help("the order is the order of execution; if it is meant, write the stages as a list, each with its `name`");
    }
}

fn unobservable(stage: &Stage, mistakes: &mut Mistakes) {
    let Spec::Fixed(op) = &stage.spec else { return };
    let blind = match op {
        Op::Exec(exec) => exec.observe.is_none() && !exec.idempotent,
        Op::Http(http) => http.observe.is_none() && !http.idempotent,
        _ => false,
    };
    if blind {
        mistakes
            .warn(&stage.place, format!("if the outcome of `{}` gets lost, it waits for an operator", stage.name))
            .help("tell how to find out with `observe`, or that doing it twice does no harm with `idempotent: true`");
    }
}

fn too_long(stage: &Stage, hints: &Hints, mistakes: &mut Mistakes) {
    // A wait is one long attempt by default, and what nobody wrote is nobody's mistake.
    let waits = matches!(&stage.spec, Spec::Fixed(Op::Wait(_))) && !hints.written.attempt_timeout;
    if !hints.written.limits || waits {
        return;
    }
    let (care, retry) = (&stage.care, &stage.care.retry);
    let pauses: std::time::Duration = (1..retry.max_attempts).map(|n| retry.ceiling(n)).sum();
    let worst = care.attempt_timeout.saturating_mul(retry.max_attempts).saturating_add(pauses);
    if worst > care.timeout {
        mistakes
            .warn(
                &stage.place,
                format!(
                    "{} attempts of {} with the waits between take up to {}: the timeout of {} cuts them short",
                    retry.max_attempts,
                    show_span(care.attempt_timeout),
                    show_span(worst),
                    show_span(care.timeout)
                ),
            )
            .help("lengthen `timeout`, or shorten `attempt_timeout` or `retry`");
    }
}

fn failures(stage: &Stage, mistakes: &mut Mistakes) {
    match (&stage.spec, stage.care.on_failure) {
        (Spec::Database { role: DatabaseRole::Writer, .. }, OnFailure::Continue) => {
            mistakes
                .error(
                    &stage.place,
                    format!("`{}` makes the writer; the rest cannot go on without it", stage.name),
                )
                .help("clients would be sent to a standby: write `on_failure: pause`");
        }
        (Spec::Fixed(Op::Notify(_)), OnFailure::Abort | OnFailure::Pause) => {
            mistakes
                .warn(
                    &stage.place,
                    format!("a notification that fails stops everything that needs `{}`", stage.name),
                )
                .help("leave `on_failure` out: a notification then never fails a failover");
        }
        _ => {}
    }
}

/// Keys whose value is a secret, more often than not.
const SECRET_KEYS: [&str; 8] =
    ["password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "private_key"];
/// How well-known credentials begin.
const SECRET_STARTS: [&str; 8] =
    ["Bearer ", "Basic ", "AKIA", "ghp_", "glpat-", "xoxb-", "xoxp-", "sk_live_"];

/// A spec is frozen in the journal and shown by the API: a secret in it is out.
fn credentials(key: Option<&Key>, node: &Node, mistakes: &mut Mistakes) {
    match &node.value {
        Value::Text(text) if looks_secret(key, text) => {
            mistakes
                .error(&node.place, "this looks like a credential, and specs are kept in the journal")
                .help("write a reference instead: `{file: …}`, `{env: …}` or `{credential: …}`, in `headers` or `env`");
        }
        // `{file: …}` and its like are references, not secrets.
        Value::Map(entries) => {
            let reference = matches!(entries.as_slice(), [(key, _)] if ["file", "env", "credential"].contains(&key.text.as_str()));
            if !reference {
                entries.iter().for_each(|(key, value)| credentials(Some(key), value, mistakes));
            }
        }
        Value::List(items) => items.iter().for_each(|item| credentials(key, item, mistakes)),
        _ => {}
    }
}

fn looks_secret(key: Option<&Key>, text: &str) -> bool {
    let text = text.trim();
    // What is filled in at admission was no secret before.
    if text.is_empty() || text.contains("${") {
        return false;
    }
    let is_secret = |name: &str| {
        let name = name.trim_start_matches('-').to_ascii_lowercase().replace('-', "_");
        SECRET_KEYS.iter().any(|word| name == *word || name.ends_with(&format!("_{word}")))
    };
    let by_start = SECRET_STARTS.iter().any(|start| {
        // Words of a message may begin like that; a credential is one word.
        text.strip_prefix(start).is_some_and(|rest| rest.len() >= 8 && !rest.contains(char::is_whitespace))
    });
    // `--password=…`, `token=…`
    let by_argument = text.split_once('=').is_some_and(|(name, value)| !value.is_empty() && is_secret(name));
    key.is_some_and(|key| is_secret(&key.text)) || by_start || by_argument || text.starts_with("-----BEGIN")
}
