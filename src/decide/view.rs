//! The daemon's state as others see it: what `pointsman status` prints and the API answers.
//!
//! Everything here is a copy, made when asked for; nobody can change the daemon through it.

use serde::{Deserialize, Serialize};

use super::{Senses, Setup, Traffic};
use crate::base::{CheckId, Generation, Health, Index, Now, Prefix, RegionId, ServiceId, Timestamp};
use crate::cluster::{Evidence, Standing};
use crate::config::{Config, Layers, Mode, SwitchedBy};
use crate::geo::Database;
use crate::health::Verdict;
use crate::region::{Audience, Choice, Duty, Outcome, Pick, Reason, UNKNOWN, branch, share};
use crate::sign::ZoneView;

/// Everything, at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// This site.
    pub site: String,
    /// The program's version.
    pub version: String,
    /// When this was.
    pub at: Timestamp,
    /// How much the daemon may do.
    pub mode: Mode,
    /// The number of the table that is being served.
    pub generation: Generation,
    /// DNS is being served.
    pub serving: bool,
    /// Why this site takes itself for blind, if it does: it holds its answers, and starts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// The anchors by which it tells that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<CheckView>,
    /// What keeps workflows from starting and going on, if anything does.
    pub automation: Automation,
    /// Regions.
    pub regions: Vec<RegionView>,
    /// Groups of voters.
    pub groups: Vec<GroupView>,
    /// Services.
    pub services: Vec<ServiceView>,
    /// Workflows and what starts them.
    pub workflows: Vec<WorkflowView>,
    /// Zones, as secondary servers see them.
    #[serde(default)]
    pub zones: Vec<ServedZone>,
    /// Signed zones and their keys.
    #[serde(default)]
    pub signed_zones: Vec<ZoneView>,
    /// What tells where clients are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo: Option<GeoView>,
}

/// A zone, as secondary servers see it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServedZone {
    /// Its apex.
    pub name: String,
    /// The version that is told.
    pub serial: u32,
    /// How many records its file has.
    pub records: usize,
    /// From how many older versions a difference is kept.
    pub steps: usize,
    /// Somebody may fetch it.
    pub transfers: bool,
    /// Why nobody may at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

/// What tells where clients are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GeoView {
    /// The files, in the order in which they are laid over each other.
    pub databases: Vec<Database>,
    /// Why newer ones on disk cannot be taken over, if they cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Whether workflows may start and go on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Automation {
    /// They may.
    pub enabled: bool,
    /// Why not: each thing that stands against it.
    pub because: Vec<String>,
}

/// A region.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RegionView {
    /// Its name.
    pub name: String,
    /// What it is fit for.
    pub health: Health,
    /// The last known health, while it cannot be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_known: Option<Health>,
    /// Since when; none before it was first known.
    pub since: Option<Timestamp>,
    /// Why.
    pub why: String,
    /// What operators and rules say of it.
    pub duty: Duty,
    /// What stands behind the duty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duty_why: Option<String>,
    /// Counts its flips.
    pub generation: u64,
    /// Automatic role changes may act on it.
    pub armed: bool,
    /// This process has measured it; else what is shown is an earlier one's word.
    pub measured: bool,
    /// Obligations it owes.
    pub obligations: Vec<String>,
    /// Its checks, bottom-up.
    pub checks: Vec<CheckView>,
}

/// A check.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckView {
    /// Its name.
    pub name: String,
    /// Its layer.
    pub layer: String,
    /// What it concludes.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// The newest result, if it says something else than the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// For how long nothing could be measured, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_for: Option<f64>,
    /// It decides nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub monitoring_only: bool,
}

/// What a service's own layers say of a region.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlaceView {
    /// Which region.
    pub region: String,
    /// What it is fit for, as far as this service is concerned.
    pub health: Health,
    /// The last known of it, while it cannot be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_known: Option<Health>,
    /// Why.
    pub why: String,
    /// The checks, bottom-up.
    pub checks: Vec<CheckView>,
}

/// A group of voters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// What system it is.
    pub kind: String,
    /// How it stands; none before the first round.
    pub standing: Option<Standing>,
    /// Why.
    pub reason: String,
    /// What that rests on.
    pub evidence: Option<Evidence>,
    /// How each region stands in it, where that differs from region to region.
    pub regions: Vec<(String, Standing, String)>,
}

/// A service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Its dynamic names.
    pub names: Vec<String>,
    /// What moves it.
    pub switched_by: SwitchedBy,
    /// The regions it answers and their shares; no share: all together.
    pub answers: Vec<(String, Option<u32>)>,
    /// The rule that decided.
    pub rule: String,
    /// For how long a cache may keep the answer, in seconds.
    pub ttl: u32,
    /// For each region: why it is answered or not.
    pub regions: Vec<Reason>,
    /// The policy, as the configuration writes it.
    #[serde(default)]
    pub policy: String,
    /// The client that is answered so; none: clients of whom nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientView>,
    /// What clients elsewhere are answered, where that is something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<ElsewhereView>,
    /// What its own layers say, where it has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlaceView>,
    /// Why this site takes itself for blind, if it was asked about this service alone: its answers
    /// are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
}

/// A client, as a service's policy sees it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClientView {
    /// Its network.
    pub network: String,
    /// What is known of it.
    pub known: String,
    /// How the policy came to its regions, step by step.
    pub branch: Vec<String>,
    /// Of how many bits of its network the decision depends: what resolvers are told (RFC 7871).
    pub scope: u8,
}

/// What some other clients are answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ElsewhereView {
    /// The regions and their shares; no share: all together.
    pub answers: Vec<(String, Option<u32>)>,
    /// How many classes of clients are answered so.
    pub classes: usize,
}

/// A workflow and what starts it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkflowView {
    /// Its name.
    pub name: String,
    /// What starts it; none: a person.
    pub trigger: Option<String>,
    /// How the trigger stands: idle, holding, blocked, ran.
    pub state: String,
    /// What it waits for or what stands against it.
    pub words: String,
}

/// The regions, as they stand.
pub fn regions(
    config: &Config,
    senses: &Senses,
    traffic: &Traffic,
    obligations: impl Fn(&str) -> Vec<String>,
    now: Now,
) -> Vec<RegionView> {
    let duties = traffic.duties(config);
    let view = |region| {
        let state = &senses.regions[region];
        let known = state.known();
        let name = config.regions.name(region);
        let duty = duties[region];
        let obligations = obligations(name);
        let held = || {
            let services = traffic.held_services(region);
            services.map(|id| config.services.name(id).to_string()).collect::<Vec<_>>().join(", ")
        };
        let duty_why = match duty {
            Duty::Active => traffic.override_of(region).map(ToString::to_string),
            Duty::Held => Some(format!("healthy again; held out of {}", held())),
            Duty::Quarantined => Some(obligations.join("; ")),
            Duty::Drained | Duty::Forced => traffic.override_of(region).map(ToString::to_string),
        };
        let health = state.health();
        let unknown_since = state.unknown_since().map(|since| since.wall);
        RegionView {
            name: name.to_string(),
            health,
            last_known: (health == Health::Unknown).then(|| state.known_health()).flatten(),
            since: unknown_since.or_else(|| known.map(|known| known.since)),
            why: state.why().to_string(),
            duty,
            duty_why,
            generation: known.map_or(0, |known| known.generation),
            armed: known.is_some_and(|known| known.armed),
            measured: state.measured(),
            obligations,
            checks: check_views(config, senses, &config.regions[region].layers, now),
        }
    };
    config.regions.ids().map(view).collect()
}

/// What a service's own layers say of regions.
fn places(config: &Config, senses: &Senses, id: ServiceId, now: Now) -> Vec<PlaceView> {
    let view = |(region, layers): (&RegionId, &Layers)| {
        let state = &senses.places.get(&(id, *region))?;
        let health = state.health();
        Some(PlaceView {
            region: config.regions.name(*region).to_string(),
            health,
            last_known: (health == Health::Unknown).then(|| state.known_health()).flatten(),
            why: state.why().to_string(),
            checks: check_views(config, senses, layers, now),
        })
    };
    config.services[id].layers.iter().filter_map(view).collect()
}

/// Checks as they stand, bottom-up.
fn check_views(config: &Config, senses: &Senses, layers: &Layers, now: Now) -> Vec<CheckView> {
    let checks = layers.values().flat_map(|layer| &layer.checks);
    checks.map(|check| check_view(config, senses, *check, now)).collect()
}

/// The anchors of the site's own, as they stand.
pub fn anchors(config: &Config, senses: &Senses, now: Now) -> Vec<CheckView> {
    let anchors = config.self_check.iter().flat_map(|own| &own.anchors);
    anchors.map(|check| check_view(config, senses, *check, now)).collect()
}

fn check_view(config: &Config, senses: &Senses, check: CheckId, now: Now) -> CheckView {
    let state = &senses.checks[check];
    let window = state.window();
    CheckView {
        name: config.checks.name(check).to_string(),
        layer: config.checks[check].layer.word().to_owned(),
        verdict: state.verdict(),
        reason: state.reason().to_owned(),
        newest: (window.newest() != state.reason() && !window.newest().is_empty())
            .then(|| window.newest().to_owned()),
        unknown_for: window.unknown_for(now.mono).map(|span| span.as_secs_f64()),
        monitoring_only: config.checks[check].monitoring_only,
    }
}

/// The groups of voters, as they stand.
pub fn groups(config: &Config, senses: &Senses) -> Vec<GroupView> {
    let view = |(id, group): (_, &crate::config::Group)| {
        let judgement = senses.groups[id].judgement.as_ref().map(|(judgement, _)| judgement);
        let regions = judgement.map(|judgement| {
            let differing =
                judgement.regions.iter().filter(|(_, (standing, _))| *standing != judgement.verdict);
            let words = differing.map(|(region, (standing, reason))| {
                (config.regions.name(*region).to_string(), *standing, reason.clone())
            });
            words.collect()
        });
        GroupView {
            name: config.groups.name(id).to_string(),
            kind: config.clusters[group.cluster].kind.word().to_owned(),
            standing: judgement.map(|judgement| judgement.verdict),
            reason: judgement.map_or("not asked yet".to_owned(), |judgement| judgement.reason.clone()),
            evidence: judgement.map(|judgement| judgement.evidence.clone()),
            regions: regions.unwrap_or_default(),
        }
    };
    config.groups.iter().map(view).collect()
}

/// One service, as it stands, for a client or for clients of whom nothing is known.
pub fn service(
    setup: &Setup,
    senses: &Senses,
    traffic: &Traffic,
    id: ServiceId,
    client: Option<&Prefix>,
    now: Now,
) -> ServiceView {
    let config: &Config = &setup.config;
    let service = &config.services[id];
    let audience = &setup.audiences[id.position()];
    let class = client.map_or(UNKNOWN, |client| audience.class_of(client).number);
    let (rule, regions) = traffic.explain(config, senses, id, audience, class, now.mono).unwrap_or_default();
    let choice = traffic.choice(id);
    let name = |region: RegionId| &**config.regions.name(region);
    ServiceView {
        name: config.services.name(id).to_string(),
        names: service.names.iter().map(|(name, _)| name.to_string()).collect(),
        switched_by: service.switched_by,
        answers: answers(config, choice, class),
        rule,
        ttl: choice.map_or(0, |choice| choice.ttl),
        regions,
        policy: service.policy.text(&name),
        client: client.map(|client| {
            let facts = setup.world.know(client.first()).facts;
            let drawn = choice.and_then(|choice| choice.outcome(class)).map(|outcome| &outcome.pick);
            ClientView {
                network: client.to_string(),
                known: facts.to_string(),
                branch: branch(&service.policy, facts, &name),
                scope: scope(audience, choice, drawn, client),
            }
        }),
        blind: None,
        elsewhere: elsewhere(config, choice, class),
        places: places(config, senses, id, now),
    }
}

/// Of how many bits of a client's network the answer depends.
fn scope(audience: &Audience, choice: Option<&Choice>, pick: Option<&Pick>, client: &Prefix) -> u8 {
    let by_class = choice.is_some_and(|choice| !choice.classes.is_empty());
    let class = if by_class { audience.class_of(client).scope } else { 0 };
    let sticky = pick.and_then(Pick::sticky_prefix);
    let sticky = sticky.map_or(0, |prefix| if client.is_ipv4() { prefix.ipv4 } else { prefix.ipv6 });
    class.max(sticky)
}

/// What clients of other classes are answered, where that is something else.
pub fn elsewhere(config: &Config, choice: Option<&Choice>, class: u16) -> Vec<ElsewhereView> {
    let Some(choice) = choice else { return Vec::new() };
    let here = choice.outcome(class);
    let others = choice.outcomes.iter().enumerate().filter(|(_, outcome)| Some(*outcome) != here);
    let view = |(position, outcome): (usize, &Outcome)| ElsewhereView {
        answers: shares(config, &outcome.pick),
        classes: choice.classes.iter().filter(|other| usize::from(**other) == position).count(),
    };
    others.map(view).collect()
}

/// The regions that a class of clients is answered, with their shares; no share: all together.
pub fn answers(config: &Config, choice: Option<&Choice>, class: u16) -> Vec<(String, Option<u32>)> {
    let outcome = choice.and_then(|choice| choice.outcome(class));
    outcome.map_or_else(Vec::new, |outcome| shares(config, &outcome.pick))
}

fn shares(config: &Config, pick: &Pick) -> Vec<(String, Option<u32>)> {
    let name = |region: RegionId| config.regions.name(region).to_string();
    match pick {
        Pick::One(shares) => shares.iter().map(|(region, share)| (name(*region), Some(*share))).collect(),
        pick => pick.regions().into_iter().map(|region| (name(region), share(pick, region))).collect(),
    }
}
