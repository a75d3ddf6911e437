//! Why a service answers what it answers, region by region, in words for a person.

use super::choose::{Among, Rule, Scene};
use super::{Choice, Pick};
use crate::base::{Health, RegionId};
use crate::config::{AllDown, Service, SwitchedBy};

/// Why one region is answered, or is not.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Reason {
    /// The region.
    pub region: String,
    /// It is answered.
    pub chosen: bool,
    /// Of the shares, if the pick is by lot.
    pub share: Option<u32>,
    /// In words.
    pub words: String,
}

/// The rule that decided, in words.
pub fn rule_words(service: &Service, scene: &Scene<'_>, rule: Rule) -> String {
    let by = |dialled: bool| match scene.dial {
        Some(dial) if dialled => format!("dialled by {}: {}", dial.by, dial.reason),
        _ => format!("policy {}", service.policy.word()),
    };
    match rule {
        Rule::Dial { dialled: true } => by(true),
        Rule::Dial { dialled: false } => "not dialled yet: the policy's first choice".to_owned(),
        Rule::Policy { among: Among::Members, dialled } => by(dialled),
        Rule::Policy { among: Among::Waiting, dialled } => {
            format!(
                "no region has its place; one that waits for failback is better than none; {}",
                by(dialled)
            )
        }
        Rule::Policy { among: Among::Degraded, dialled } => {
            format!("no region is healthy; a degraded one is better than none; {}", by(dialled))
        }
        Rule::AllDown => format!("no region is fit: all_down is {}", all_down_word(service.all_down)),
    }
}

fn all_down_word(policy: AllDown) -> &'static str {
    match policy {
        AllDown::ServeAll => "serve_all",
        AllDown::ServeFirst => "serve_first",
        AllDown::Nodata => "nodata",
        AllDown::Servfail => "servfail",
    }
}

/// For every region of the policy, in its order.
pub fn reasons(service: &Service, scene: &Scene<'_>, choice: &Choice, rule: Rule) -> Vec<Reason> {
    let mut reasons = Vec::new();
    service.policy.each(|region| {
        let words = match service.switched_by {
            SwitchedBy::Workflow => dial_words(scene, choice, region),
            SwitchedBy::Health => health_words(service, scene, choice, rule, region),
        };
        let share = match &choice.pick {
            Pick::One(shares) if shares.len() > 1 => {
                shares.iter().find(|(id, _)| *id == region).map(|(_, share)| *share)
            }
            _ => None,
        };
        let chosen = choice.pick.has(region);
        reasons.push(Reason { region: scene.regions.name(region).to_string(), chosen, share, words });
    });
    reasons
}

fn dial_words(scene: &Scene<'_>, choice: &Choice, region: RegionId) -> String {
    let seat = &scene.seats[region];
    let mut words = match choice.pick.has(region) {
        true => "dialled here".to_owned(),
        false => "dialled to 0: a workflow or an operator moves this service, health does not".to_owned(),
    };
    if let Some(health) = seat.known.filter(|health| *health != Health::Healthy) {
        words.push_str(&format!("; it is {health}"));
    }
    if seat.quarantined {
        words.push_str("; quarantined: it owes an obligation");
    }
    words
}

fn health_words(
    service: &Service,
    scene: &Scene<'_>,
    choice: &Choice,
    rule: Rule,
    region: RegionId,
) -> String {
    let seat = &scene.seats[region];
    let health = match (seat.known, seat.veiled) {
        (Some(health), false) => health.to_string(),
        (Some(health), true) => format!("unknown, last known {health}"),
        (None, _) => "not measured yet".to_owned(),
    };
    let waiting =
        scene.members.get(&region).and_then(|member| member.words(service.failback, seat.held, scene.now));
    let chosen = choice.pick.has(region);
    let detail = if seat.quarantined {
        "quarantined: it owes an obligation".to_owned()
    } else if seat.drained {
        "drained by an operator".to_owned()
    } else if seat.forced {
        "forced by an operator".to_owned()
    } else if chosen && rule == Rule::AllDown {
        "answered by the all-down policy".to_owned()
    } else if let Some(waiting) = waiting {
        waiting
    } else if chosen {
        "chosen".to_owned()
    } else if scene.dial.is_some_and(|dial| dial.share(scene.regions.name(region)) == 0) {
        "dialled to 0".to_owned()
    } else {
        let mut preferred = Vec::new();
        service.policy.each(|other| {
            if choice.pick.has(other) {
                preferred.push(&**scene.regions.name(other));
            }
        });
        format!("fit, but {} comes first", preferred.join(", "))
    };
    format!("{health}; {detail}")
}
