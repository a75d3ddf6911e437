//! What a service answers, and why each other region is not it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Choice, Membership, Pick, Seat};
use crate::base::{Health, Mono, Named, RegionId, Token};
use crate::config::{AllDown, Failback, Policy, Region, Service, SwitchedBy};

/// What a choice depends on.
#[derive(Debug)]
pub struct Scene<'a> {
    /// All regions, for their names.
    pub regions: &'a Named<RegionId, Region>,
    /// What decides about each region's place.
    pub seats: &'a Named<RegionId, Seat>,
    /// Whether each region of the policy has its place.
    pub members: &'a BTreeMap<RegionId, Membership>,
    /// The shares dialled, if any were.
    pub dial: Option<&'a Dial>,
    /// What was answered last.
    pub serving: Option<&'a Pick>,
    /// A workflow that will dial this service is running.
    pub change_ahead: bool,
    /// The present.
    pub now: Mono,
}

/// The shares of traffic that a workflow or an operator has set.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Dial {
    /// Region names and their shares; a region that is not listed gets none.
    pub shares: BTreeMap<String, u32>,
    /// The token of the call that set it: an older one changes nothing.
    pub token: Token,
    /// Who: an execution and its stage, or an operator.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Dial {
    /// The share of a region.
    pub fn share(&self, region: &str) -> u32 {
        self.shares.get(region).copied().unwrap_or(0)
    }
}

/// The rule that a choice came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The dial of a service that a workflow switches; not dialled yet, its policy's first choice.
    Dial {
        /// Somebody has dialled.
        dialled: bool,
    },
    /// The policy, among regions that may serve.
    Policy {
        /// Which regions may.
        among: Among,
        /// A dial bends it.
        dialled: bool,
    },
    /// Nobody is fit.
    AllDown,
}

/// Regions that a policy chooses among; each only if there is none of those before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Among {
    /// Those that have their place.
    Members,
    /// Those that are healthy and wait for failback.
    Waiting,
    /// Those that are degraded.
    Degraded,
}

/// Decides what a service answers.
pub fn choose(service: &Service, scene: &Scene<'_>) -> (Choice, Rule) {
    let (pick, rule) = match service.switched_by {
        SwitchedBy::Workflow => by_dial(service, scene),
        SwitchedBy::Health => by_health(service, scene),
    };
    let ttl = ttl(service, scene, &pick);
    (Choice { pick, ttl }, rule)
}

/// The shares a service starts with before anybody dials: what its policy prefers.
pub fn initial_dial(policy: &Policy) -> Vec<(RegionId, u32)> {
    match policy {
        Policy::Failover(regions) => regions.first().map(|region| (*region, 100)).into_iter().collect(),
        Policy::Weighted(weights) => weights.iter().filter(|(_, weight)| *weight > 0).copied().collect(),
        Policy::All(regions) => regions.iter().map(|region| (*region, 100)).collect(),
    }
}

/// Answers follow the dial alone: clients must never be sent to a standby because it is healthy.
fn by_dial(service: &Service, scene: &Scene<'_>) -> (Pick, Rule) {
    match dialled(service, scene, |_| true) {
        Some(shares) => (Pick::One(shares), Rule::Dial { dialled: true }),
        None => (Pick::One(initial_dial(&service.policy)), Rule::Dial { dialled: false }),
    }
}

/// The shares of the dial above zero, among these regions; `None` if nothing is left of it.
fn dialled(
    service: &Service,
    scene: &Scene<'_>,
    among: impl Fn(RegionId) -> bool,
) -> Option<Vec<(RegionId, u32)>> {
    let dial = scene.dial?;
    let mut shares = Vec::new();
    service.policy.each(|region| {
        let share = dial.share(scene.regions.name(region));
        if share > 0 && among(region) {
            shares.push((region, share));
        }
    });
    (!shares.is_empty()).then_some(shares)
}

/// Answers follow health, among the regions that have their place. If none has: those that wait
/// for failback, then those that are degraded, and only then the all-down policy.
fn by_health(service: &Service, scene: &Scene<'_>) -> (Pick, Rule) {
    let mut regions = Vec::new();
    service.policy.each(|region| regions.push(region));
    for among in [Among::Members, Among::Waiting, Among::Degraded] {
        let may = |region: RegionId| match among {
            Among::Members => scene.members.get(&region).is_none_or(Membership::is_in),
            Among::Waiting => scene.seats[region].fully_fit(),
            Among::Degraded => scene.seats[region].fit(),
        };
        if !regions.iter().any(|region| may(*region)) {
            continue;
        }
        // A dial bends the policy of a service that follows health; it never empties it.
        if let Some(shares) = dialled(service, scene, may) {
            return (Pick::One(shares), Rule::Policy { among, dialled: true });
        }
        regions.retain(|region| may(*region));
        return (by_policy(service, scene, regions), Rule::Policy { among, dialled: false });
    }
    (all_down(service, scene, regions), Rule::AllDown)
}

/// The policy, among regions that may serve; there is at least one.
fn by_policy(service: &Service, scene: &Scene<'_>, among: Vec<RegionId>) -> Pick {
    match &service.policy {
        Policy::Failover(_) => {
            // A degraded region serves on, but is not chosen as a target while a healthy one exists.
            let serves_or_healthy = |region: &&RegionId| {
                scene.serving.is_some_and(|pick| pick.has(**region))
                    || scene.seats[**region].known != Some(Health::Degraded)
            };
            let region = among.iter().find(serves_or_healthy).or(among.first()).copied();
            Pick::One(region.map(|region| (region, 1)).into_iter().collect())
        }
        Policy::Weighted(weights) => {
            let may = |weight: &&(RegionId, u32)| among.contains(&weight.0);
            let above_zero: Vec<_> =
                weights.iter().filter(may).filter(|(_, weight)| *weight > 0).copied().collect();
            match above_zero.is_empty() {
                false => Pick::One(above_zero),
                // Weight 0 is a last resort, not an exclusion.
                true => Pick::One(among.into_iter().map(|region| (region, 1)).collect()),
            }
        }
        Policy::All(_) => Pick::All(among),
    }
}

/// No region is fit. What is owed still comes first: a quarantined region is left out as long
/// as that leaves anybody.
fn all_down(service: &Service, scene: &Scene<'_>, regions: Vec<RegionId>) -> Pick {
    let free: Vec<RegionId> =
        regions.iter().copied().filter(|region| !scene.seats[*region].quarantined).collect();
    let among = if free.is_empty() { regions } else { free };
    match service.all_down {
        AllDown::ServeAll => Pick::All(among),
        AllDown::ServeFirst => Pick::One(among.first().map(|region| (*region, 1)).into_iter().collect()),
        AllDown::Nodata => Pick::Nodata,
        AllDown::Servfail => Pick::Servfail,
    }
}

/// The TTL is the time in which the answer cannot change, within the service's bounds: a cache
/// that honours it is never further behind than the detection itself. (gdnsd's monitors work
/// this way.)
fn ttl(service: &Service, scene: &Scene<'_>, pick: &Pick) -> u32 {
    let mut soonest = Duration::MAX;
    if scene.change_ahead {
        soonest = Duration::ZERO;
    } else {
        service.policy.each(|region| {
            let seat = &scene.seats[region];
            let change = match scene.members.get(&region) {
                _ if pick.has(region) => seat.could_change_in,
                Some(member @ Membership::Out { .. }) if service.switched_by == SwitchedBy::Health => {
                    match (member.returns_in(service.failback, scene.now), service.failback) {
                        (Some(left), _) => left,
                        (None, Failback::Auto { after }) => seat.could_change_in.saturating_add(after),
                        (None, Failback::Manual) => Duration::MAX,
                    }
                }
                // It has its place already and another comes first: it changes nothing.
                _ => Duration::MAX,
            };
            soonest = soonest.min(change);
        });
    }
    soonest.clamp(service.ttl.min, service.ttl.max).as_secs() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Place, Source};
    use crate::config::{Objectives, Records, TtlBounds};

    const SECOND: Duration = Duration::from_secs(1);
    const A: RegionId = RegionId(0);
    const B: RegionId = RegionId(1);
    const C: RegionId = RegionId(2);

    fn service(policy: Policy, switched_by: SwitchedBy) -> Service {
        Service {
            names: Vec::new(),
            answers: [A, B, C].map(|region| (region, Records::default())).into(),
            policy,
            switched_by,
            ttl: TtlBounds { min: 5 * SECOND, max: 60 * SECOND },
            all_down: AllDown::ServeAll,
            failback: Failback::Auto { after: 30 * SECOND },
            objectives: Objectives::default(),
            place: Place::whole(&Source::new("", "")),
        }
    }

    /// Three regions, each a letter: `h`ealthy, `d`egraded, `n`o quorum, `u`nknown but last known
    /// healthy, `w`aiting for failback, `D`egraded and out, `q`uarantined, `?` never measured.
    fn try_it(service: &Service, states: &str, dial: Option<&Dial>, serving: &[RegionId]) -> (Choice, Rule) {
        let mut regions = Named::default();
        let mut seats = Named::default();
        let mut members = BTreeMap::new();
        for (id, (name, state)) in [A, B, C].into_iter().zip(["a", "b", "c"].into_iter().zip(states.chars()))
        {
            let place = Place::whole(&Source::new("", ""));
            let region = Region {
                location: None,
                capacity: None,
                capacity_hook: None,
                layers: BTreeMap::new(),
                place,
            };
            regions.push(name, region).ok();
            let known = match state {
                'h' | 'u' | 'w' | 'q' => Some(Health::Healthy),
                'd' | 'D' => Some(Health::Degraded),
                '?' => None,
                _ => Some(Health::NoQuorum),
            };
            let seat = Seat {
                known,
                veiled: matches!(state, 'u' | '?'),
                drained: false,
                forced: false,
                held: false,
                quarantined: state == 'q',
                could_change_in: 10 * SECOND,
            };
            seats.push(name, seat).ok();
            let fit_since = (state == 'w').then_some(Mono(SECOND));
            let out = Membership::Out { had_place: true, fit_since, released: false };
            members.insert(id, if "hdu?".contains(state) { Membership::In } else { out });
        }
        let scene = Scene {
            regions: &regions,
            seats: &seats,
            members: &members,
            dial,
            serving: Some(&Pick::All(serving.to_vec())),
            change_ahead: false,
            now: Mono(11 * SECOND),
        };
        choose(service, &scene)
    }

    fn failover(states: &str, serving: &[RegionId]) -> Vec<RegionId> {
        let service = service(Policy::Failover(vec![A, B, C]), SwitchedBy::Health);
        try_it(&service, states, None, serving).0.pick.regions()
    }

    #[test]
    fn failover_takes_the_first_that_has_its_place() {
        assert_eq!(failover("hhh", &[]), [A]);
        assert_eq!(failover("nhh", &[A]), [B]);
        assert_eq!(failover("nnh", &[A]), [C]);
        // Unknown changes nothing; never measured has done nothing wrong.
        assert_eq!(failover("uhh", &[A]), [A]);
        assert_eq!(failover("???", &[]), [A]);
        // Healthy again and waiting: another serves.
        assert_eq!(failover("whh", &[B]), [B]);
    }

    #[test]
    fn a_degraded_region_serves_on_and_is_no_target() {
        assert_eq!(failover("dhh", &[A]), [A]);
        assert_eq!(failover("ndh", &[A]), [C]);
        assert_eq!(failover("ndn", &[A]), [B]);
        assert_eq!(failover("Dhh", &[B]), [B]);
    }

    #[test]
    fn never_empty() {
        assert_eq!(failover("nwn", &[A]), [B]);
        assert_eq!(failover("nDn", &[A]), [B]);
        assert_eq!(failover("nnn", &[A]), [A, B, C]);
        // What is owed comes first, as long as anybody else is left.
        assert_eq!(failover("qnn", &[]), [B, C]);
        assert_eq!(failover("qqq", &[]), [A, B, C]);
        // Every combination of states answers something.
        let letters = "hdnuwDq?";
        for (a, b, c) in letters
            .chars()
            .flat_map(|a| letters.chars().flat_map(move |b| letters.chars().map(move |c| (a, b, c))))
        {
            let states = String::from_iter([a, b, c]);
            for policy in [
                Policy::Failover(vec![A, B, C]),
                Policy::All(vec![A, B, C]),
                Policy::Weighted(vec![(A, 5), (B, 0), (C, 1)]),
            ] {
                for switched_by in [SwitchedBy::Health, SwitchedBy::Workflow] {
                    let dial = Dial { shares: [("b".to_owned(), 100)].into(), ..Dial::default() };
                    for dial in [None, Some(&dial)] {
                        let service = service(policy.clone(), switched_by);
                        let (choice, _) = try_it(&service, &states, dial, &[]);
                        assert!(!choice.pick.regions().is_empty(), "{states} {policy:?}");
                        let total: u32 = match &choice.pick {
                            Pick::One(shares) => shares.iter().map(|(_, share)| share).sum(),
                            _ => 1,
                        };
                        assert!(total > 0, "{states} {policy:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn weights_count_among_the_fit() {
        let service = service(Policy::Weighted(vec![(A, 3), (B, 1), (C, 0)]), SwitchedBy::Health);
        let pick = |states: &str| try_it(&service, states, None, &[]).0.pick;
        assert_eq!(pick("hhh"), Pick::One(vec![(A, 3), (B, 1)]));
        assert_eq!(pick("nhh"), Pick::One(vec![(B, 1)]));
        assert_eq!(pick("nnh"), Pick::One(vec![(C, 1)]));
    }

    #[test]
    fn a_workflow_switched_service_follows_the_dial_alone() {
        let service = service(Policy::Failover(vec![A, B, C]), SwitchedBy::Workflow);
        assert_eq!(try_it(&service, "nhh", None, &[]).0.pick.regions(), [A]);
        let dial = Dial { shares: [("b".to_owned(), 100), ("a".to_owned(), 0)].into(), ..Dial::default() };
        assert_eq!(try_it(&service, "hnh", Some(&dial), &[]).0.pick.regions(), [B]);
        // A dial that names no region we know is no dial.
        let stranger = Dial { shares: [("z".to_owned(), 100)].into(), ..Dial::default() };
        assert_eq!(try_it(&service, "hhh", Some(&stranger), &[]).0.pick.regions(), [A]);
    }

    #[test]
    fn a_dial_bends_health_and_never_empties() {
        let service = service(Policy::Failover(vec![A, B, C]), SwitchedBy::Health);
        let dial = Dial { shares: [("b".to_owned(), 70), ("c".to_owned(), 30)].into(), ..Dial::default() };
        let pick = |states: &str| try_it(&service, states, Some(&dial), &[]).0.pick;
        assert_eq!(pick("hhh"), Pick::One(vec![(B, 70), (C, 30)]));
        assert_eq!(pick("hnh"), Pick::One(vec![(C, 30)]));
        assert_eq!(pick("hnn"), Pick::One(vec![(A, 1)]));
    }

    #[test]
    fn the_ttl_is_the_time_in_which_nothing_can_change() {
        let health = service(Policy::Failover(vec![A, B, C]), SwitchedBy::Health);
        let ttl = |states: &str| try_it(&health, states, None, &[]).0.ttl;
        assert_eq!(ttl("hhh"), 10, "A may break");
        assert_eq!(ttl("whh"), 10, "A returns in 20, B may break in 10");
        let mut slow = service(Policy::Failover(vec![A, B, C]), SwitchedBy::Health);
        slow.ttl = TtlBounds { min: 15 * SECOND, max: 60 * SECOND };
        assert_eq!(try_it(&slow, "hhh", None, &[]).0.ttl, 15, "never below the minimum");
        slow.ttl = TtlBounds { min: SECOND, max: 3 * SECOND };
        assert_eq!(try_it(&slow, "hhh", None, &[]).0.ttl, 3, "never above the maximum");
    }
}
