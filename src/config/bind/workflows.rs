//! Workflow files and their triggers, aliases, and the channels of notifications.

use std::collections::BTreeMap;

use super::Binder;
use crate::base::Health;
use crate::config::model::{Alias, HeaderValue, Hook, Trigger, WorkflowUse};
use crate::config::read::{Entries, Placed};
use crate::config::spec;
use crate::config::yaml::Value;

impl Binder<'_> {
    pub(super) fn workflows(&mut self, workflows: Vec<spec::WorkflowUse>) -> Vec<WorkflowUse> {
        workflows.into_iter().map(|workflow| self.workflow(workflow)).collect()
    }

    fn workflow(&mut self, workflow: spec::WorkflowUse) -> WorkflowUse {
        let when = workflow.when.and_then(|trigger| self.trigger(&trigger));
        let activate = workflow.activate.as_ref().and_then(|name| self.region(name));
        let deactivate = workflow.deactivate.as_ref().and_then(|name| self.region(name));
        if let (Some(to), Some(from), Some(name)) = (activate, deactivate, &workflow.activate)
            && to == from
        {
            self.mistakes.error(&name.place, "`activate` and `deactivate` name the same region");
        }
        WorkflowUse {
            file: self.path(&workflow.file),
            when,
            activate,
            deactivate,
            place: workflow.file.place,
        }
    }

    fn trigger(&mut self, trigger: &spec::Trigger) -> Option<Trigger> {
        if trigger.turns.is_empty() {
            self.mistakes
                .error(&trigger.region.place, "`turns` is empty: nothing would ever start the workflow");
        }
        for health in &trigger.turns {
            if health.value == Health::Unknown {
                self.mistakes
                    .error(&health.place, "unknown changes nothing, so nothing can start on it")
                    .help(
                        "name the health that was found: `no_quorum`, `unreachable`, `degraded` or `healthy`",
                    );
            }
        }
        let named = |wanted: fn(Health) -> bool| trigger.turns.iter().find(|health| wanted(health.value));
        if let (Some(_), Some(bad)) = (named(|health| health == Health::Healthy), named(Health::is_bad)) {
            self.mistakes.error(&bad.place, "a workflow cannot start both on a loss and on a return").help(
                "one leaves the region, the other moves to it: make it two workflows, with a trigger each",
            );
        }
        Some(Trigger {
            region: self.region(&trigger.region)?,
            turns: trigger.turns.iter().map(|health| health.value).collect(),
            hold: trigger.hold.0,
        })
    }

    pub(super) fn aliases(&mut self, aliases: Entries<spec::Alias>) -> BTreeMap<String, Alias> {
        let mut bound = BTreeMap::new();
        for (name, alias) in aliases.0 {
            let target = Alias {
                cluster: alias.cluster.as_ref().and_then(|name| self.cluster(name)),
                region: alias.region.as_ref().and_then(|name| self.region(name)),
                service: alias.service.as_ref().and_then(|name| self.service(name)),
            };
            if alias.cluster.is_none() && alias.region.is_none() && alias.service.is_none() {
                self.mistakes
                    .error(&name.place, format!("alias `{}` stands for nothing", name.value))
                    .help("give it a `cluster`, a `region` or a `service`");
            }
            bound.insert(name.value, target);
        }
        bound
    }

    pub(super) fn channels(&mut self, channels: Entries<spec::Channel>) -> BTreeMap<String, Hook> {
        let mut bound = BTreeMap::new();
        for (name, channel) in channels.0 {
            self.word(&name, "a channel");
            let spec::Channel::Webhook(webhook) = channel;
            bound.extend(self.hook(&webhook).map(|hook| (name.value, hook)));
        }
        bound
    }

    pub(super) fn hook(&mut self, hook: &spec::Webhook) -> Option<Hook> {
        let url = match &hook.url.value {
            Value::Text(text) => {
                let text = Placed { value: text.clone(), place: hook.url.place.clone() };
                HeaderValue::Plain(self.url(&text)?.to_string())
            }
            _ => self.header(&hook.url)?,
        };
        let headers = hook
            .headers
            .iter()
            .filter_map(|(name, node)| Some((name.to_ascii_lowercase(), self.header(node)?)))
            .collect();
        Some(Hook { url, headers })
    }
}
