//! What can be seen of the daemon. Copies only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::daemon::Daemon;
use super::trigger::TriggerState;
use super::{Senses, Setup, Traffic, view};
use crate::base::{Generation, Mono, Now, Prefix, show_span};
use crate::config::Config;
use crate::table::Table;
use crate::workflow::{ExecutionView, ObligationView};

impl Daemon {
    /// What it is set up to do.
    pub fn setup(&self) -> &Arc<Setup> {
        &self.setup
    }

    /// What it senses.
    pub fn senses(&self) -> &Senses {
        &self.senses
    }

    /// What moves its traffic.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Every region's health is known, be it by an earlier process's word.
    pub fn knows_every_region(&self) -> bool {
        self.senses.regions.values().all(|region| region.known().is_some())
    }

    /// The table that is served; none before the first conclusion.
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.table.as_ref()
    }

    /// The number of the newest table.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What keeps workflows from starting and going on.
    pub fn automation(&self) -> view::Automation {
        let because: Vec<String> =
            self.gate().reason().into_iter().chain(self.engine.held().map(str::to_owned)).collect();
        let mut seen = BTreeSet::new();
        let because: Vec<String> = because.into_iter().filter(|why| seen.insert(why.clone())).collect();
        view::Automation { enabled: because.is_empty(), because }
    }

    /// Why the store takes nothing, if it does not.
    pub fn store_trouble(&self) -> Option<&str> {
        self.storeless.as_deref().or(self.outbox.failing())
    }

    /// Why newer data on where clients are cannot be taken over, if they cannot.
    pub fn geo_trouble(&self) -> Option<&str> {
        self.geo_trouble.as_deref()
    }

    /// Facts that never reached the journal because the store stayed away for too long.
    pub fn facts_given_up(&self) -> u64 {
        self.outbox.given_up()
    }

    /// Everything that was to be written is written.
    pub fn is_settled(&self) -> bool {
        self.storeless.is_some() || self.outbox.is_settled()
    }

    /// Executions that are not over, and the newest that are.
    pub fn executions(&self, now: Now, settled_max: usize) -> Vec<ExecutionView> {
        let mut views: Vec<_> = self.engine.settled().rev().take(settled_max).cloned().collect();
        views.reverse();
        views.extend(self.engine.executions(now));
        views
    }

    /// One execution, by its id or as much of it as is without doubt.
    pub fn execution(&self, name: &str, now: Now) -> Option<ExecutionView> {
        self.engine.execution(name, now)
    }

    /// What is owed.
    pub fn obligations(&self, now: Now) -> Vec<ObligationView> {
        self.engine.obligations(now).collect()
    }

    /// How the trigger of a workflow stands: in one word, and in words.
    pub fn trigger_words(&self, workflow: usize, now: Mono) -> (String, String) {
        let use_ = &self.setup.config.workflows[workflow];
        let Some(trigger) = &use_.when else {
            return ("manual".to_owned(), "started by a person".to_owned());
        };
        let state = &self.watches[workflow].state;
        let region = self.setup.config.regions.name(trigger.region);
        let words = match state {
            TriggerState::Idle => String::new(),
            TriggerState::Holding { .. } => {
                let left = state.due_in(trigger, now).unwrap_or_default();
                match left.is_zero() {
                    true => format!("{region} turned; it starts as soon as {region} can be measured"),
                    false => format!("{region} turned; it starts in {}", show_span(round_up(left))),
                }
            }
            TriggerState::Blocked { why, .. } => why.clone(),
            TriggerState::Ran { .. } => format!("it has run for this turn of {region}"),
        };
        (state.word().to_owned(), words)
    }

    /// Everything, at one moment.
    pub fn status(&self, serving: bool, now: Now) -> view::Status {
        let config: &Config = &self.setup.config;
        let owed: Vec<ObligationView> = self.obligations(now);
        let obligations = |region: &str| -> Vec<String> {
            let here = owed.iter().filter(|obligation| obligation.region == region);
            here.map(|obligation| format!("{} (obligation {})", obligation.what, obligation.id)).collect()
        };
        view::Status {
            site: config.site.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now.wall,
            mode: config.mode,
            generation: self.generation,
            serving,
            blind: self.senses.sight.blind().map(|blind| blind.words.clone()),
            anchors: view::anchors(config, &self.senses, now),
            automation: self.automation(),
            regions: view::regions(config, &self.senses, &self.traffic, obligations, now),
            groups: view::groups(config, &self.senses),
            services: config
                .services
                .ids()
                .map(|id| view::service(&self.setup, &self.senses, &self.traffic, id, None, now))
                .collect(),
            workflows: self
                .setup
                .workflows
                .iter()
                .enumerate()
                .map(|(position, workflow)| {
                    let (state, words) = self.trigger_words(position, now.mono);
                    let use_ = &config.workflows[position];
                    let trigger = use_.when.as_ref().map(|trigger| {
                        let turns: Vec<_> = trigger.turns.iter().map(|health| health.word()).collect();
                        let region = config.regions.name(trigger.region);
                        format!("{region} turns {} for {}", turns.join(" or "), show_span(trigger.hold))
                    });
                    view::WorkflowView { name: workflow.name.clone(), trigger, state, words }
                })
                .collect(),
            zones: self.zones(),
            signed_zones: self.signed_zones.clone(),
            geo: self.geo(),
        }
    }

    /// Zones, as secondary servers see them.
    pub fn zones(&self) -> Vec<view::ServedZone> {
        let Some(table) = &self.table else { return Vec::new() };
        let image = table.image();
        let views = table.zones().iter().map(|zone| view::ServedZone {
            name: zone.name.to_string(),
            serial: zone.serial.0,
            records: image.zone(zone.name.as_wire()).map_or(0, |number| image.records(number)),
            steps: zone.history.len(),
            transfers: !zone.rules.allow.is_empty(),
            withheld: zone.withheld.clone(),
        });
        views.collect()
    }

    fn geo(&self) -> Option<view::GeoView> {
        let databases = self.setup.world.databases().to_vec();
        let trouble = self.geo_trouble.clone();
        (!databases.is_empty() || trouble.is_some()).then_some(view::GeoView { databases, trouble })
    }

    /// One service, as it stands for a client, by one of its names or by its own.
    pub fn explain(&self, name: &str, client: Option<&Prefix>, now: Now) -> Option<view::ServiceView> {
        let by_name = crate::wire::Name::parse(name).ok().and_then(|name| self.setup.service_of(&name));
        let id = by_name.or_else(|| self.setup.config.services.id(name))?;
        let blind = self.senses.sight.blind().map(|blind| blind.words.clone());
        let view = view::service(&self.setup, &self.senses, &self.traffic, id, client, now);
        Some(view::ServiceView { blind, ..view })
    }
}

fn round_up(span: Duration) -> Duration {
    Duration::from_secs(span.as_millis().div_ceil(1000) as u64)
}
