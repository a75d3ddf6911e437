//! A workflow file → [`Workflow`], or every mistake at once.
//!
//! `shape` is the file verbatim, `spec` resolves what each agent is told, `template` knows the
//! words in `${…}`, and `lint` looks at the whole.

mod care;
mod graph;
mod hash;
mod lint;
mod shape;
mod spec;
pub(super) mod template;

use std::path::Path;
use std::sync::Arc;

use self::care::Limits;
use self::spec::Reader;
use super::plan::other;
use super::{Care, Form, Shares, Side, Spec, Stage, Target, Workflow};
use crate::base::{Mistakes, Place, RegionId, Source};
use crate::config::read::{Placed, read};
use crate::config::yaml::{self, Key, Node, Value};
use crate::config::{Config, WorkflowUse};

/// More stages than this are several workflows.
const STAGES_MAX: usize = 64;

/// Keys that only `version: 1` has, at the top and in a stage.
const TOP_KEYS: [&str; 5] = ["version", "name", "description", "timeout", "defaults"];
const STAGE_KEYS: [&str; 7] =
    ["name", "needs", "description", "timeout", "attempt_timeout", "retry", "on_failure"];

/// Reads a workflow file for one use of it in the configuration.
///
/// # Errors
/// Every mistake in it, and every contradiction to the configuration. Warnings come with the
/// workflow.
pub fn parse(
    source: &Arc<Source>,
    use_: &WorkflowUse,
    config: &Config,
) -> Result<(Workflow, Mistakes), Mistakes> {
    let tree = yaml::parse(source)?;
    let mut mistakes = Mistakes::default();
    let workflow = Parser { source, use_, config, mistakes: &mut mistakes }.file(&tree);
    mistakes.unless_fatal(workflow)
}

struct Parser<'a> {
    source: &'a Arc<Source>,
    use_: &'a WorkflowUse,
    config: &'a Config,
    mistakes: &'a mut Mistakes,
}

/// A stage with its name, as far as it could be read.
struct Draft {
    name: Placed<String>,
    needs: Option<Vec<Placed<String>>>,
    description: Option<String>,
    care: Care,
    /// What was written in so many words, and not left to a default.
    written: Written,
    spec: Option<Spec>,
    /// The spec as it stands in the file.
    node: Option<Node>,
}

/// Which limits the file itself gives.
#[derive(Clone, Copy)]
struct Written {
    limits: bool,
    attempt_timeout: bool,
    needs: bool,
}

impl Parser<'_> {
    fn file(&mut self, tree: &Node) -> Option<Workflow> {
        let form = if tree.get("version").is_some() { Form::Version1 } else { Form::Article };
        let file = match form {
            Form::Version1 => read::<shape::File>(tree, self.mistakes)?,
            Form::Article => {
                let tree = self.without(tree, &TOP_KEYS);
                let article: shape::Article = read(&tree, self.mistakes)?;
                let version = Placed { value: 1, place: tree.place.clone() };
                let (name, description, timeout) = (None, None, None);
                let defaults = shape::Defaults::default();
                shape::File { version, name, description, timeout, defaults, stages: article.stages }
            }
        };
        if file.version.value != 1 {
            self.mistakes
                .error(
                    &file.version.place,
                    format!("this program reads version 1, not {}", file.version.value),
                )
                .help("write `version: 1`");
            return None;
        }
        let name = match &file.name {
            Some(name) => name.clone(),
            None => {
                let stem = Path::new(self.source.name()).file_stem().unwrap_or_default();
                let value = stem.to_string_lossy().into_owned();
                Placed { value, place: Place::whole(self.source) }
            }
        };
        self.word(&name, "a workflow");
        let drafts = self.stages(&file.stages, form, &file.defaults);
        let stages = self.graph(drafts)?;
        let timeout = match &file.timeout {
            Some(timeout) => self.span(timeout, "timeout"),
            // Enough for every stage to use up its own, one after the other.
            None => stages.iter().map(|(stage, _)| stage.care.timeout).sum(),
        };
        let (stages, drafts): (Vec<Stage>, Vec<lint::Hints>) = stages.into_iter().unzip();
        let mut workflow = Workflow {
            name: name.value,
            description: file.description,
            form,
            timeout,
            activate: self.target(&stages),
            deactivate: self.deactivate(),
            stages,
            hash: String::new(),
            place: Place::whole(self.source),
        };
        workflow.hash = hash::hash(&workflow, self.config);
        lint::lint(&workflow, &drafts, &file.stages, self.use_, self.config, self.mistakes);
        Some(workflow)
    }

    /// The article's form with a key of version 1 in it: says so once, and reads on without it.
    fn without(&mut self, node: &Node, keys: &[&str]) -> Node {
        let Value::Map(entries) = &node.value else { return node.clone() };
        let mut kept = Vec::new();
        for (key, value) in entries {
            if keys.contains(&key.text.as_str()) {
                self.mistakes
                    .error(&key.place, format!("`{}` needs `version: 1`", key.text))
                    .help("write `version: 1` at the top; without it, stages hold `agent` and `spec` alone and run in the file's order");
            } else {
                kept.push((key.clone(), value.clone()));
            }
        }
        Node { place: node.place.clone(), value: Value::Map(kept) }
    }

    fn stages(&mut self, stages: &Node, form: Form, defaults: &shape::Defaults) -> Vec<Draft> {
        let listed: Vec<(Option<&Key>, &Node)> = match &stages.value {
            Value::Map(entries) => entries.iter().map(|(key, node)| (Some(key), node)).collect(),
            Value::List(items) => items.iter().map(|node| (None, node)).collect(),
            Value::Null => Vec::new(),
            other => {
                self.mistakes
                    .error(&stages.place, format!("expected stages, found {}", other.kind()))
                    .help("a mapping from names to stages, or a list of stages that each have a `name`");
                return Vec::new();
            }
        };
        if listed.is_empty() {
            self.mistakes.error(&stages.place, "there are no stages: the workflow would do nothing");
        }
        if listed.len() > STAGES_MAX {
            self.mistakes.error(&stages.place, format!("{} stages; at most {STAGES_MAX}", listed.len()));
            return Vec::new();
        }
        listed.into_iter().filter_map(|(key, node)| self.stage(key, node, form, defaults)).collect()
    }

    fn stage(
        &mut self,
        key: Option<&Key>,
        node: &Node,
        form: Form,
        defaults: &shape::Defaults,
    ) -> Option<Draft> {
        let stage = match form {
            Form::Version1 => read::<shape::Stage>(node, self.mistakes)?,
            Form::Article => {
                let keys = if key.is_some() { &STAGE_KEYS[..] } else { &STAGE_KEYS[1..] };
                let node = self.without(node, keys);
                let (name, node) = lift_name(node, key);
                let mut stage = shape::Stage::from(read::<shape::ArticleStage>(&node, self.mistakes)?);
                stage.name = name;
                stage
            }
        };
        let name = match (key, stage.name) {
            (Some(key), None) => Placed { value: key.text.clone(), place: key.place.clone() },
            (None, Some(name)) => name,
            (Some(_), Some(name)) => {
                self.mistakes.error(&name.place, "the key is the stage's name; `name` is for lists");
                name
            }
            (None, None) => {
                self.mistakes
                    .error(&node.place, "`name` is missing")
                    .help("each stage of a list needs a `name`");
                return None;
            }
        };
        self.word(&name, "a stage");
        let directory = self.use_.file.parent().unwrap_or(Path::new(""));
        let mut reader = Reader { config: self.config, directory, mistakes: self.mistakes };
        let agent = stage.agent.value;
        let spec = reader.spec(agent, stage.spec.as_ref(), &stage.agent.place);
        let limits = Limits {
            timeout: stage.timeout,
            attempt_timeout: stage.attempt_timeout,
            retry: stage.retry,
            on_failure: stage.on_failure.map(|on_failure| on_failure.value),
        };
        let written = Written {
            limits: limits.timeout.is_some()
                || limits.attempt_timeout.is_some()
                || limits.retry.is_some()
                || defaults.timeout.is_some()
                || defaults.attempt_timeout.is_some()
                || defaults.retry.is_some(),
            attempt_timeout: limits.attempt_timeout.is_some(),
            needs: stage.needs.is_some(),
        };
        let care = self.care(&limits, defaults, form, agent, spec.as_ref());
        let (needs, description) = (stage.needs, stage.description);
        Some(Draft { name, needs, description, care, written, spec, node: stage.spec })
    }

    /// Names end up in ids, idempotency keys, metric labels and commands.
    fn word(&mut self, name: &Placed<String>, what: &str) {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.value.is_empty() || name.value.len() > 63 || !name.value.bytes().all(fine) {
            self.mistakes
                .error(&name.place, format!("`{}` cannot name {what}", name.value))
                .help("up to 63 letters, digits, `-`, `_` and `.`");
        }
    }

    /// How the region to move to is found when nobody names it.
    fn target(&mut self, stages: &[Stage]) -> Target {
        if let Some(region) = self.use_.activate {
            return Target::Named(region);
        }
        if self.config.regions.len() == 2 {
            return Target::Other;
        }
        // The services that are dialled to the activated region: what all of them are served
        // by, in the order that the first of them prefers. Only `failover` is an order.
        let mut services = stages.iter().filter_map(|stage| match &stage.spec {
            Spec::Dial { service, shares: Shares::All(Side::Activated) } => {
                Some(&self.config.services[*service])
            }
            _ => None,
        });
        let Some(mut order) = services.next().and_then(|service| service.policy.order()) else {
            return Target::Asked;
        };
        for service in services {
            order.retain(|region| service.regions.contains(region));
        }
        Target::FirstFit(order)
    }

    /// The region to leave: named, or the one whose flip starts the workflow, or, when that
    /// one is moved to, the other one.
    fn deactivate(&self) -> Option<RegionId> {
        let flipped = self.use_.when.as_ref().map(|trigger| trigger.region);
        let flipped = flipped.filter(|region| Some(*region) != self.use_.activate);
        let opposite = || other(self.config, self.use_.activate?);
        self.use_.deactivate.or(flipped).or_else(opposite)
    }
}

/// Takes `name` out of a stage of the list form, which both forms of the file have.
fn lift_name(node: Node, key: Option<&Key>) -> (Option<Placed<String>>, Node) {
    let Node { place, value: Value::Map(mut entries) } = node else { return (None, node) };
    let at = entries.iter().position(|(key, _)| key.text == "name").filter(|_| key.is_none());
    let name = at.map(|at| match entries.remove(at) {
        (_, Node { place, value: Value::Text(value) }) => Placed { value, place },
        (_, other) => Placed { value: other.place.text().to_owned(), place: other.place },
    });
    (name, Node { place, value: Value::Map(entries) })
}

#[cfg(test)]
mod tests;
