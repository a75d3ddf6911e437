//! What becomes of an operator's order: the rules that guard it, and what is told.

use std::sync::Arc;
use std::time::Duration;

use super::conclude::shares_words;
use super::daemon::{AUTOMATION, Daemon, Off, Said, Watch};
use super::trigger::TriggerState;
use super::{Event, OVERRIDE_SPAN_MAX, Order, What};
use crate::base::{Now, RegionId, ServiceId, Timestamp, Token, show_span};
use crate::config::SwitchedBy;
use crate::region::{Dial, Override, OverrideKind};
use crate::workflow::{By, Cause, DialOp, Wish};

impl Daemon {
    /// An operator's order.
    ///
    /// # Errors
    /// Why it is refused, and what would be accepted.
    pub fn order(&mut self, order: Order, now: Now) -> Result<Said, String> {
        let ticket = self.outbox.ticket();
        let done = |words: String| Said::Done { words, ticket };
        if order.reason.trim().is_empty() || order.owner.trim().is_empty() {
            return Err("an order needs an owner and a reason".to_owned());
        }
        let by = By { who: order.owner.clone(), why: order.reason.clone() };
        match order.what {
            What::Override { region, kind, expires, even_if_empty } => {
                let id = self.region(&region)?;
                expiry(expires, now)?;
                // One that gave way would be forgotten when the other ends.
                let other = self.traffic.override_of(id).filter(|other| other.kind != kind);
                if let Some(other) = other {
                    return Err(format!(
                        "there is another word on {region}: {other}; `pointsman region release {region}` takes it back"
                    ));
                }
                if kind == OverrideKind::Drain && !even_if_empty {
                    self.refuse_to_empty(id, &region)?;
                }
                let word =
                    Override { kind, owner: order.owner, reason: order.reason, since: now.wall, expires };
                self.outbox.put(format!("override/{region}"), &word);
                self.events.push(Event::Overridden {
                    region: region.clone(),
                    word: kind.word().to_owned(),
                    owner: word.owner.clone(),
                    reason: word.reason.clone(),
                    expires,
                });
                let said = format!("{region}: {word}");
                self.traffic.set_override(id, word);
                Ok(done(said))
            }
            What::Release { region } => {
                let id = self.region(&region)?;
                let held: Vec<_> = self.traffic.held_services(id).collect();
                let word = self.traffic.release(id);
                if word.is_none() && held.is_empty() {
                    return Err(format!(
                        "nothing holds {region}: no override, and no service waits to have it back"
                    ));
                }
                self.outbox.remove(format!("override/{region}"));
                self.events.push(Event::Released {
                    region: region.clone(),
                    word: word.as_ref().map(|word| word.kind.word().to_owned()),
                    owner: Some(order.owner),
                    reason: order.reason,
                });
                let names = |ids: &[&ServiceId]| {
                    let each: Vec<_> =
                        ids.iter().map(|id| &**self.setup.config.services.name(**id)).collect();
                    each.join(", ")
                };
                let mut said = format!("{region} is released");
                if let Some(word) = word {
                    said.push_str(&format!("; it was: {word}"));
                }
                let (follow, dialled): (Vec<_>, Vec<_>) = held
                    .iter()
                    .partition(|id| self.setup.config.services[**id].switched_by == SwitchedBy::Health);
                if !follow.is_empty() {
                    said.push_str(&format!("; it returns to {}", names(&follow)));
                }
                if !dialled.is_empty() {
                    said.push_str(&format!("; {} moves when it is dialled", names(&dialled)));
                }
                Ok(done(said))
            }
            What::Dial { service, shares } => {
                // Above every intent that is in the journal, below every one still to come.
                let token = Token { epoch: self.epoch, index: self.head + 1 };
                let dial = Dial { shares: shares.clone(), token, by: order.owner, reason: order.reason };
                let words = shares_words(&shares);
                self.dial(&DialOp { service: service.clone(), shares }, dial)?;
                Ok(done(format!("{service} is dialled: {words}")))
            }
            What::AutomationOff { expires } => {
                expiry(expires, now)?;
                let off = Off { owner: order.owner, reason: order.reason, expires };
                self.outbox.put(AUTOMATION.to_owned(), &off);
                let (owner, reason) = (Some(off.owner.clone()), off.reason.clone());
                self.events.push(Event::Automation { enabled: false, owner, reason });
                self.off = Some(off);
                let until = expires.strftime("%Y-%m-%dT%H:%M:%SZ");
                Ok(done(format!(
                    "automation is off until {until}: no workflow starts or goes on; answers still follow health"
                )))
            }
            What::AutomationOn => {
                if self.off.take().is_none() {
                    return Err("automation is on already".to_owned());
                }
                self.outbox.remove(AUTOMATION.to_owned());
                let (owner, reason) = (Some(order.owner), order.reason);
                self.events.push(Event::Automation { enabled: true, owner, reason });
                let held: Vec<_> = self.pending().collect();
                Ok(done(match held.is_empty() {
                    true => "automation is on".to_owned(),
                    false => format!("automation is on; this may start now: {}", held.join(", ")),
                }))
            }
            What::Run { workflow, activate, deactivate } => {
                self.run(&workflow, activate.as_deref(), &deactivate, by)
            }
            What::Steer { of, word } => {
                self.engine_moved = true;
                self.engine.order(of, word, by).map(Said::Later).map_err(|refusal| refusal.to_string())
            }
        }
    }

    /// The answer to an order that holds: once it is written, or once it shows that it cannot be.
    pub fn answer(&self, words: &str, ticket: u64) -> Option<String> {
        match self.storeless.as_deref().or(self.outbox.failing()) {
            Some(why) => Some(format!("{words}; not written down: a restart forgets it ({why})")),
            None => self.outbox.has_written(ticket).then(|| words.to_owned()),
        }
    }

    /// Workflows whose trigger is held or blocked.
    fn pending(&self) -> impl Iterator<Item = String> + '_ {
        let waits = |watch: &Watch| {
            matches!(watch.state, TriggerState::Holding { .. } | TriggerState::Blocked { .. })
        };
        self.setup
            .workflows
            .iter()
            .zip(&self.watches)
            .filter(move |(_, watch)| waits(watch))
            .map(|(workflow, _)| workflow.name.clone())
    }

    fn region(&self, name: &str) -> Result<RegionId, String> {
        let regions = &self.setup.config.regions;
        regions.id(name).ok_or_else(|| {
            let names: Vec<_> = regions.names().collect();
            format!("there is no region `{name}`; there are {}", names.join(", "))
        })
    }

    /// The guard rail of every drain: somebody must be left to serve.
    fn refuse_to_empty(&self, region: RegionId, name: &str) -> Result<(), String> {
        let emptied: Vec<_> = self
            .traffic
            .would_empty(&self.setup.config, &self.setup.audiences, region)
            .into_iter()
            .map(|id| self.setup.config.services.name(id).to_string())
            .collect();
        match emptied.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "without {name} there would be no fit region for {}; say --even-if-empty if you must",
                emptied.join(", ")
            )),
        }
    }

    fn run(&mut self, name: &str, activate: Option<&str>, deactivate: &str, by: By) -> Result<Said, String> {
        let setup = Arc::clone(&self.setup);
        let workflow = setup.workflows.iter().find(|workflow| workflow.name == name).ok_or_else(|| {
            let names: Vec<_> = setup.workflows.iter().map(|workflow| workflow.name.as_str()).collect();
            format!("there is no workflow `{name}`; there are {}", names.join(", "))
        })?;
        let wish = Wish {
            activate: activate.map(|name| self.region(name)).transpose()?,
            deactivate: Some(self.region(deactivate)?),
        };
        let ends = self.ends(workflow, wish)?;
        let plan = workflow.plan(&setup.config, ends).map_err(|why| why.to_string())?;
        let gate = self.gate();
        self.engine_moved = true;
        let receipt = self.engine.start(plan, Cause::Person(by), &gate, &mut self.rng);
        receipt.map(Said::Later).map_err(|refusal| refusal.to_string())
    }

    /// Sets the shares of a service, after every rule that guards them.
    pub(super) fn dial(&mut self, op: &DialOp, dial: Dial) -> Result<(), String> {
        let config = Arc::clone(&self.setup.config);
        let id =
            config.services.id(&op.service).ok_or_else(|| format!("there is no service `{}`", op.service))?;
        let regions = &config.services[id].regions;
        for (name, share) in &op.shares {
            let region = config.regions.id(name).filter(|region| regions.contains(region));
            let region =
                region.ok_or_else(|| format!("region `{name}` is not in the policy of `{}`", op.service))?;
            if *share > 0 && self.outside.quarantined.contains(&region) {
                return Err(format!("{name} is quarantined: it owes an obligation and must not serve"));
            }
        }
        if op.shares.values().all(|share| *share == 0) {
            return Err(format!("`{}` would be left without any share: never empty", op.service));
        }
        let event = Event::Dialled {
            service: op.service.clone(),
            shares: op.shares.clone(),
            by: dial.by.clone(),
            reason: dial.reason.clone(),
        };
        self.traffic.set_dial(&config, id, dial).map_err(|newer| {
            format!("stale: dialled meanwhile by {} with token {}", newer.by, newer.token)
        })?;
        self.keep_service(id);
        self.events.push(event);
        Ok(())
    }
}

fn expiry(expires: Timestamp, now: Now) -> Result<(), String> {
    let span = Duration::try_from(expires.duration_since(now.wall)).unwrap_or(Duration::ZERO);
    if span.is_zero() {
        return Err("it would be over before it began".to_owned());
    }
    if span > OVERRIDE_SPAN_MAX {
        return Err(format!(
            "at most {} at a time: what nobody remembers must not bind for ever",
            show_span(OVERRIDE_SPAN_MAX)
        ));
    }
    Ok(())
}
