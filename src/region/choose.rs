//! What a service answers, and why each other region is not it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::choice::{Outcome, Sticky};
use super::{Choice, Membership, Pick, Seat, Tree};
use crate::base::{Health, Mono, Named, RegionId, Token};
use crate::config::{AllDown, Failback, Region, Service, SwitchedBy};

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
    pub serving: Serving<'a>,
    /// A workflow that will dial this service is running.
    pub change_ahead: bool,
    /// The present.
    pub now: Mono,
}

/// What was answered last.
#[derive(Clone, Copy, Debug)]
pub enum Serving<'a> {
    /// This, to the same classes of clients.
    Choice(&'a Choice),
    /// Some of these, to clients who were told apart otherwise.
    Regions(&'a [RegionId]),
}

impl Serving<'_> {
    /// Whether this class of clients was answered this region.
    fn has(&self, class: usize, region: RegionId) -> bool {
        match self {
            Self::Choice(choice) => {
                choice.outcome(class as u16).is_some_and(|outcome| outcome.pick.has(region))
            }
            Self::Regions(regions) => regions.contains(&region),
        }
    }
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
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

impl Rule {
    /// The policy as on a quiet day.
    pub const POLICY: Self = Self::Policy { among: Among::Members, dialled: false };
}

/// Regions that a policy chooses among; each only if there is none of those before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Among {
    /// Those that have their place.
    Members,
    /// Those that are healthy and wait for failback.
    Waiting,
    /// Those that are degraded.
    Degraded,
}

/// The share of a region that nobody dialled and that gets everything.
const WHOLE: u32 = 100;
/// With so many classes outcomes are looked up, not looked through.
const FEW: usize = 16;

/// Decides what a service answers. `trees` is what its policy is for each class of clients.
pub fn choose(service: &Service, trees: &[Tree], scene: &Scene<'_>) -> Choice {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(1);
    let mut known: HashMap<Outcome, u16> = HashMap::new();
    let mut classes = Vec::with_capacity(if trees.len() > 1 { trees.len() } else { 0 });
    for (class, tree) in trees.iter().enumerate() {
        let outcome = decide(service, tree, class, scene);
        let there = match trees.len() {
            0..=FEW => outcomes.iter().position(|there| *there == outcome).map(|at| at as u16),
            _ => known.get(&outcome).copied(),
        };
        let position = there.unwrap_or_else(|| {
            if trees.len() > FEW {
                known.insert(outcome.clone(), outcomes.len() as u16);
            }
            outcomes.push(outcome);
            (outcomes.len() - 1) as u16
        });
        if trees.len() > 1 {
            classes.push(position);
        }
    }
    if outcomes.len() == 1 {
        classes.clear();
    }
    let mut choice = Choice { outcomes, classes, ttl: 0 };
    choice.ttl = ttl(service, scene, &choice);
    choice
}

fn decide(service: &Service, tree: &Tree, class: usize, scene: &Scene<'_>) -> Outcome {
    let (pick, rule) = match service.switched_by {
        SwitchedBy::Workflow => by_dial(service, tree, scene),
        SwitchedBy::Health => by_health(service, tree, class, scene),
    };
    Outcome { pick, rule }
}

/// What a policy prefers, were every region fit: what a service starts with before anybody dials.
/// What it would give together, it gives by lot: a dial has shares.
pub fn initial(tree: &Tree) -> Pick {
    match tree.grasp(&|_| true, &|_| true) {
        Some(Pick::All(regions)) => Pick::One(regions.into_iter().map(|region| (region, WHOLE)).collect()),
        Some(pick) => pick.only().map_or(pick, |region| Pick::One(vec![(region, WHOLE)])),
        None => Pick::Servfail,
    }
}

/// Answers follow the dial alone: clients must never be sent to a standby because it is healthy.
fn by_dial(service: &Service, tree: &Tree, scene: &Scene<'_>) -> (Pick, Rule) {
    match dialled(&service.regions, tree, scene, |_| true) {
        Some(pick) => (pick, Rule::Dial { dialled: true }),
        None => (initial(tree), Rule::Dial { dialled: false }),
    }
}

/// The shares of the dial above zero, among these of the regions; `None` if nothing is left of
/// it. Where the policy itself is sticky, each client draws the same of them every time.
fn dialled(
    regions: &[RegionId],
    tree: &Tree,
    scene: &Scene<'_>,
    may: impl Fn(RegionId) -> bool,
) -> Option<Pick> {
    let dial = scene.dial?;
    let mut shares = Vec::new();
    for region in regions {
        let share = dial.share(scene.regions.name(*region));
        if share > 0 && may(*region) {
            shares.push((*region, share));
        }
    }
    if shares.is_empty() {
        return None;
    }
    if let Tree::Sticky { among, prefix, salt } = tree {
        let label = |region: RegionId| {
            among.iter().find(|(_, _, part)| *part == Tree::Region(region)).map(|(label, ..)| *label)
        };
        let bound =
            shares.iter().map(|(region, share)| Some((label(*region)?, *share, Pick::certain(*region))));
        if let Some(among) = bound.collect() {
            return Pick::sticky(Sticky { among, prefix: *prefix, salt: *salt });
        }
    }
    Some(Pick::One(shares))
}

/// Answers follow health, among the regions that have their place. If the policy has none of them
/// for a client: among those that wait for failback, then among those that are degraded, and only
/// then by the all-down policy.
fn by_health(service: &Service, tree: &Tree, class: usize, scene: &Scene<'_>) -> (Pick, Rule) {
    // A degraded region serves on, but is not chosen as a target while a healthy one exists.
    let stays = |region: RegionId| {
        scene.seats[region].known != Some(Health::Degraded) || scene.serving.has(class, region)
    };
    let mut own = None;
    for among in [Among::Members, Among::Waiting, Among::Degraded] {
        let may = |region: RegionId| match among {
            Among::Members => scene.members.get(&region).is_none_or(Membership::is_in),
            Among::Waiting => scene.seats[region].fully_fit(),
            Among::Degraded => scene.seats[region].fit(),
        };
        // A dial bends the policy of a service that follows health: it neither empties it nor
        // leads clients where the policy would never lead them.
        if scene.dial.is_some() {
            let own = own.get_or_insert_with(|| tree.regions());
            if let Some(pick) = dialled(own, tree, scene, may) {
                return (pick, Rule::Policy { among, dialled: true });
            }
        }
        if let Some(pick) = tree.grasp(&may, &stays) {
            return (pick, Rule::Policy { among, dialled: false });
        }
    }
    (all_down(service, scene, tree.regions()), Rule::AllDown)
}

impl Tree {
    /// What the policy gives among regions that `may` serve; `None` if none of its regions may.
    /// `stays`: what a list of preferences passes over, as long as it has something better.
    fn grasp(&self, may: &impl Fn(RegionId) -> bool, stays: &impl Fn(RegionId) -> bool) -> Option<Pick> {
        match self {
            Self::Region(region) => may(*region).then(|| Pick::certain(*region)),
            Self::First(parts) => {
                let mut second = None;
                for part in parts {
                    match part {
                        Self::Region(region) if !may(*region) => {}
                        Self::Region(region) if stays(*region) => return Some(Pick::certain(*region)),
                        part => {
                            let Some(pick) = part.grasp(may, stays) else { continue };
                            let mut any_stays = false;
                            pick.each_region(&mut |region| any_stays |= stays(region));
                            if any_stays {
                                return Some(pick);
                            }
                            second.get_or_insert(pick);
                        }
                    }
                }
                second
            }
            Self::Lot(parts) => {
                let fit = parts.iter().filter_map(|(weight, part)| Some((part.grasp(may, stays)?, *weight)));
                Pick::lot(weighed(fit.collect(), |(_, weight)| weight))
            }
            Self::Sticky { among, prefix, salt } => {
                let fit = among
                    .iter()
                    .filter_map(|(label, weight, part)| Some((*label, *weight, part.grasp(may, stays)?)));
                let among = weighed(fit.collect(), |(_, weight, _)| weight);
                Pick::sticky(Sticky { among, prefix: *prefix, salt: *salt })
            }
            Self::All(parts) => {
                let mut regions = Vec::new();
                for region in
                    parts.iter().filter_map(|part| part.grasp(may, stays)).flat_map(|pick| pick.regions())
                {
                    if !regions.contains(&region) {
                        regions.push(region);
                    }
                }
                (!regions.is_empty()).then_some(Pick::All(regions))
            }
        }
    }
}

/// Those with weight. Weight 0 is a last resort, not an exclusion: if nothing else is left, all
/// count the same.
fn weighed<P>(mut parts: Vec<P>, weight: impl Fn(&mut P) -> &mut u32) -> Vec<P> {
    if parts.iter_mut().any(|part| *weight(part) > 0) {
        parts.retain_mut(|part| *weight(part) > 0);
    } else {
        parts.iter_mut().for_each(|part| *weight(part) = 1);
    }
    parts
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
fn ttl(service: &Service, scene: &Scene<'_>, choice: &Choice) -> u32 {
    let mut soonest = Duration::MAX;
    if scene.change_ahead {
        soonest = Duration::ZERO;
    } else {
        for region in &service.regions {
            let seat = &scene.seats[*region];
            let change = match scene.members.get(region) {
                _ if choice.has(*region) => seat.could_change_in,
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
        }
    }
    soonest.clamp(service.ttl.min, service.ttl.max).as_secs() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Place, Source};
    use crate::config::{Objectives, Policy, Records, TtlBounds};

    const SECOND: Duration = Duration::from_secs(1);
    const A: RegionId = RegionId(0);
    const B: RegionId = RegionId(1);
    const C: RegionId = RegionId(2);

    fn service(policy: Policy, switched_by: SwitchedBy) -> Service {
        Service {
            names: Vec::new(),
            answers: [A, B, C].map(|region| (region, Records::default())).into(),
            regions: policy.regions(),
            layers: BTreeMap::new(),
            nearest: Vec::new(),
            rules: Vec::new(),
            policy,
            ecs: true,
            salt: 0,
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
    fn try_it(service: &Service, states: &str, dial: Option<&Dial>, serving: &[RegionId]) -> (Outcome, u32) {
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
                layers: crate::config::Layers::new(),
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
            serving: Serving::Regions(serving),
            change_ahead: false,
            now: Mono(11 * SECOND),
        };
        let tree = Tree::of(service, &crate::geo::Facts::default());
        let choice = choose(service, &[tree], &scene);
        (choice.outcomes[0].clone(), choice.ttl)
    }

    fn list() -> Policy {
        Policy::Failover([A, B, C].map(Policy::Region).into())
    }

    fn weights(weights: [u32; 3]) -> Policy {
        Policy::Weighted(weights.into_iter().zip([A, B, C].map(Policy::Region)).collect())
    }

    fn failover(states: &str, serving: &[RegionId]) -> Vec<RegionId> {
        let service = service(list(), SwitchedBy::Health);
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
            for policy in [list(), Policy::All([A, B, C].map(Policy::Region).into()), weights([5, 0, 1])] {
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
        let service = service(weights([3, 1, 0]), SwitchedBy::Health);
        let pick = |states: &str| try_it(&service, states, None, &[]).0.pick;
        assert_eq!(pick("hhh"), Pick::One(vec![(A, 3), (B, 1)]));
        assert_eq!(pick("nhh"), Pick::One(vec![(B, 1)]));
        assert_eq!(pick("nnh"), Pick::One(vec![(C, 1)]));
    }

    #[test]
    fn a_workflow_switched_service_follows_the_dial_alone() {
        let service = service(list(), SwitchedBy::Workflow);
        assert_eq!(try_it(&service, "nhh", None, &[]).0.pick.regions(), [A]);
        let dial = Dial { shares: [("b".to_owned(), 100), ("a".to_owned(), 0)].into(), ..Dial::default() };
        assert_eq!(try_it(&service, "hnh", Some(&dial), &[]).0.pick.regions(), [B]);
        // A dial that names no region we know is no dial.
        let stranger = Dial { shares: [("z".to_owned(), 100)].into(), ..Dial::default() };
        assert_eq!(try_it(&service, "hhh", Some(&stranger), &[]).0.pick.regions(), [A]);
    }

    #[test]
    fn a_dial_bends_health_and_never_empties() {
        let service = service(list(), SwitchedBy::Health);
        let dial = Dial { shares: [("b".to_owned(), 70), ("c".to_owned(), 30)].into(), ..Dial::default() };
        let pick = |states: &str| try_it(&service, states, Some(&dial), &[]).0.pick;
        assert_eq!(pick("hhh"), Pick::One(vec![(B, 70), (C, 30)]));
        assert_eq!(pick("hnh"), Pick::One(vec![(C, 30)]));
        assert_eq!(pick("hnn"), Pick::One(vec![(A, 1)]));
    }

    #[test]
    fn the_ttl_is_the_time_in_which_nothing_can_change() {
        let health = service(list(), SwitchedBy::Health);
        let ttl = |states: &str| try_it(&health, states, None, &[]).1;
        assert_eq!(ttl("hhh"), 10, "A may break");
        assert_eq!(ttl("whh"), 10, "A returns in 20, B may break in 10");
        let mut slow = service(list(), SwitchedBy::Health);
        slow.ttl = TtlBounds { min: 15 * SECOND, max: 60 * SECOND };
        assert_eq!(try_it(&slow, "hhh", None, &[]).1, 15, "never below the minimum");
        slow.ttl = TtlBounds { min: SECOND, max: 3 * SECOND };
        assert_eq!(try_it(&slow, "hhh", None, &[]).1, 3, "never above the maximum");
    }
}
