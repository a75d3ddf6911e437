//! Why a service answers what it answers, region by region, in words for a person.

use super::choose::{Among, Rule, Scene};
use super::tree::{distance, matching};
use super::{Outcome, Pick, Tree};
use crate::base::{Health, RegionId};
use crate::config::{AllDown, Policy, Service, SwitchedBy};
use crate::geo::Facts;

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

/// For every region of the policy, in its order, as it is for clients whose policy is this tree.
pub fn reasons(service: &Service, tree: &Tree, scene: &Scene<'_>, outcome: &Outcome) -> Vec<Reason> {
    let led = tree.regions();
    let preferred: Vec<&str> =
        outcome.pick.regions().into_iter().map(|region| &**scene.regions.name(region)).collect();
    let each = service.regions.iter().map(|&region| {
        let chosen = outcome.pick.has(region);
        let words = match service.switched_by {
            SwitchedBy::Workflow => dial_words(scene, chosen, region),
            SwitchedBy::Health => {
                let is_led = led.contains(&region);
                health_words(service, scene, outcome.rule, region, chosen, is_led, &preferred)
            }
        };
        Reason {
            region: scene.regions.name(region).to_string(),
            chosen,
            share: share(&outcome.pick, region),
            words,
        }
    });
    each.collect()
}

/// The share of a region where regions have shares; in percent where they are nested.
pub fn share(pick: &Pick, region: RegionId) -> Option<u32> {
    match pick {
        Pick::One(shares) if shares.len() > 1 => {
            shares.iter().find(|(id, _)| *id == region).map(|(_, share)| *share)
        }
        Pick::Lot(_) | Pick::Sticky(_) => {
            let shares = pick.shares();
            let share = shares.into_iter().find(|(id, _)| *id == region).map(|(_, share)| share);
            share.map(|share| (share * 100.0).round().max(1.0) as u32)
        }
        _ => None,
    }
}

/// How a policy comes to its regions for a client of whom this is known: each place where that
/// makes a difference, from the outside in. `name` names regions.
pub fn branch<'n>(policy: &Policy, facts: &Facts, name: &impl Fn(RegionId) -> &'n str) -> Vec<String> {
    let mut words = Vec::new();
    describe(policy, facts, name, &mut words);
    words
}

fn describe<'n>(
    policy: &Policy,
    facts: &Facts,
    name: &impl Fn(RegionId) -> &'n str,
    words: &mut Vec<String>,
) {
    match policy {
        Policy::Geo(geo) => {
            let holding = matching(geo, facts);
            for rule in &holding {
                let rule = &geo.rules[*rule];
                words.push(format!("{} → {}", rule.who, rule.to.text(name)));
                describe(&rule.to, facts, name, words);
            }
            let why = if holding.is_empty() { "no rule holds: default" } else { "else default" };
            words.push(format!("{why} → {}", geo.default.text(name)));
            describe(&geo.default, facts, name, words);
        }
        Policy::Nearest(regions) => words.push(match facts.location {
            None => "nobody knows where the client is: regions as listed".to_owned(),
            Some(client) => {
                let mut far: Vec<_> =
                    regions.iter().map(|(region, at)| (distance(client, *at), name(*region))).collect();
                far.sort_by(|(a, _), (b, _)| a.total_cmp(b));
                let far: Vec<_> = far.iter().map(|(km, region)| format!("{region} {km:.0} km")).collect();
                format!("nearest: {}", far.join(", "))
            }
        }),
        policy => policy.parts().for_each(|part| describe(part, facts, name, words)),
    }
}

fn dial_words(scene: &Scene<'_>, chosen: bool, region: RegionId) -> String {
    let seat = &scene.seats[region];
    let mut words = match chosen {
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
    rule: Rule,
    region: RegionId,
    chosen: bool,
    is_led: bool,
    preferred: &[&str],
) -> String {
    let seat = &scene.seats[region];
    let health = match (seat.known, seat.veiled) {
        (Some(health), false) => health.to_string(),
        (Some(health), true) => format!("unknown, last known {health}"),
        (None, _) => "not measured yet".to_owned(),
    };
    let waiting =
        scene.members.get(&region).and_then(|member| member.words(service.failback, seat.held, scene.now));
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
    } else if !is_led {
        "fit, but the policy does not lead these clients there".to_owned()
    } else {
        format!("fit, but {} comes first", preferred.join(", "))
    };
    format!("{health}; {detail}")
}
