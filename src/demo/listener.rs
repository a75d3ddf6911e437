//! Listens to the daemon, and tells of it what belongs to the story.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedReceiver;

use super::timeline::{Timeline, Who};
use crate::base::Health;
use crate::control::Told;
use crate::decide::Event;

/// What the story and its listener tell each other. Clones share.
#[derive(Clone, Default, Debug)]
pub struct Shared {
    acts: Arc<AtomicU32>,
    told: Arc<Mutex<Heard>>,
}

/// What the listener has printed.
#[derive(Default, Debug)]
struct Heard {
    health: BTreeMap<String, Health>,
    answers: BTreeMap<String, Vec<String>>,
}

impl Shared {
    /// Something was done to the world: what was told before is news again.
    pub fn new_act(&self) {
        self.acts.fetch_add(1, Ordering::Relaxed);
    }

    /// A region has flipped to this health. On the way there it may have had others.
    pub fn has_become(&self, region: &str, health: Health) -> bool {
        self.heard().health.get(region) == Some(&health)
    }

    /// A service answers this region alone.
    pub fn answers(&self, service: &str, region: &str) -> bool {
        self.heard().answers.get(service).is_some_and(|regions| regions == &[region])
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: &Event) {
        let mut heard = self.heard();
        match event {
            Event::Flip { region, to, .. } => drop(heard.health.insert(region.clone(), *to)),
            Event::Answers { services, .. } => {
                for answer in services {
                    let regions = answer.regions.iter().map(|(region, _)| region.clone()).collect();
                    heard.answers.insert(answer.service.clone(), regions);
                }
            }
            _ => {}
        }
    }
}

/// Prints what the daemon tells; of samples only those that say something new, and after each
/// act once more, so that what has *not* changed shows as well.
pub async fn listen(timeline: Timeline, mut told: UnboundedReceiver<Told>, shared: Shared) {
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    let mut act = 0;
    let mut running = String::new();
    while let Some(told) = told.recv().await {
        let now = shared.acts.load(Ordering::Relaxed);
        if std::mem::replace(&mut act, now) != now {
            last.clear();
        }
        let mut new = |what: &str, says: &str| {
            last.insert(what.to_owned(), says.to_owned()).is_none_or(|was| was != says)
        };
        match told {
            Told::Sample { check, finding } => {
                if check.starts_with("eu-west") && new(&check, finding.word()) {
                    let words = format!("{check}: {}: {}", finding.word(), finding.words());
                    timeline.line(Who::Sample, "sample", &words);
                }
            }
            Told::Round { group, voters } => {
                let voters = voters.join(", ");
                if group.contains("eu-west") && new(&group, &voters) {
                    timeline.line(Who::Sample, "sample", &format!("{group}: {voters}"));
                }
            }
            Told::Event(event) => {
                timeline.event(&event);
                shared.hear(&event);
            }
            Told::Call { execution, stage, agent, outcome } => {
                if execution != running {
                    timeline.line(Who::Workflow, "workflow", &format!("{execution} runs"));
                    running = execution;
                }
                let words = match outcome {
                    None => format!("{stage} ({agent}) begins"),
                    Some(outcome) => format!("{stage} ({agent}) {outcome}"),
                };
                timeline.line(Who::Workflow, "stage", &words);
            }
        }
    }
}
