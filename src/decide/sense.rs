//! Samples and rounds → verdicts, standings, and flips of regions.

use crate::base::{CheckId, GroupId, Mono, Named, Now, RegionId};
use crate::cluster::{Judgement, Memory, Round, Standing, judge};
use crate::config::{CheckKind, Config, Group, Layer, SilentMeans};
use crate::health::{Sample, Verdict};
use crate::region::{CheckState, Flip, Known, RegionState, assess};

/// What this site senses.
#[derive(Debug)]
pub struct Senses {
    /// Every check.
    pub checks: Named<CheckId, CheckState>,
    /// Every group of voters.
    pub groups: Named<GroupId, GroupState>,
    /// Every region.
    pub regions: Named<RegionId, RegionState>,
}

/// A group and what was last made of it.
#[derive(Debug, Default, Clone)]
pub struct GroupState {
    memory: Memory,
    /// That it was seen well is in the store, or on its way there.
    kept: bool,
    /// The newest judgement, and when it was made.
    pub judgement: Option<(Judgement, Now)>,
    /// Since when it cannot be measured.
    pub unknown_since: Option<Mono>,
}

/// Something concluded that was not so before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A check's verdict.
    Verdict {
        /// Which.
        check: CheckId,
        /// Before.
        from: Verdict,
        /// Now.
        to: Verdict,
    },
    /// A group's verdict.
    Standing {
        /// Which.
        group: GroupId,
        /// Before.
        from: Option<Standing>,
        /// Now.
        to: Standing,
    },
}

impl GroupState {
    /// Going on from the endpoints under which an earlier process has seen the group well. Under
    /// others it may be mistyped.
    fn restored(group: &Group, well: Option<Vec<String>>) -> Self {
        match well.is_some_and(|well| well == endpoints(group)) {
            true => Self { memory: Memory::well(), kept: true, ..Self::default() },
            false => Self::default(),
        }
    }

    /// The endpoints under which it was seen well, if the store does not have them yet.
    pub(super) fn take_well(&mut self, group: &Group) -> Option<Vec<String>> {
        let news = self.memory.seen_well() && !std::mem::replace(&mut self.kept, self.memory.seen_well());
        news.then(|| endpoints(group))
    }

    /// The same under another configuration, where regions may have other ids.
    fn renumbered(&self, id: impl Fn(RegionId) -> Option<RegionId>) -> Self {
        let judgement = self.judgement.as_ref().map(|(judgement, at)| {
            let regions = judgement.regions.iter();
            let regions = regions.filter_map(|(region, standing)| Some((id(*region)?, standing.clone())));
            (Judgement { regions: regions.collect(), ..judgement.clone() }, *at)
        });
        Self { memory: self.memory.renumbered(id), judgement, ..*self }
    }
}

fn endpoints(group: &Group) -> Vec<String> {
    group.members.iter().map(|member| member.endpoint.to_string()).collect()
}

impl Senses {
    /// Knowing nothing, apart from what an earlier process knew of the regions, and under which
    /// endpoints it has seen the groups well.
    pub fn new(
        config: &Config,
        mut known: impl FnMut(&str) -> Option<Known>,
        mut well: impl FnMut(&str) -> Option<Vec<String>>,
    ) -> Self {
        let mut senses = Self {
            checks: config.checks.map(|_, check| CheckState::new(check)),
            groups: config.groups.map(|id, group| GroupState::restored(group, well(config.groups.name(id)))),
            regions: config.regions.map(|id, _| {
                known(config.regions.name(id)).map_or_else(RegionState::default, RegionState::restored)
            }),
        };
        senses.presume(config);
        senses
    }

    /// What is known of a region is presumed of its checks that have not been measured yet: one
    /// lost packet after a restart is no more of a failure than before it.
    fn presume(&mut self, config: &Config) {
        for (region, spec) in config.regions.iter() {
            let Some(known) = self.regions[region].known() else { continue };
            for check in spec.layers.values().flatten() {
                let blamed = known.why.check.as_deref() == Some(&**config.checks.name(*check))
                    && (known.health.is_bad() || known.why.layer == Some(Layer::Replication));
                if !self.checks[*check].window().seen() && (blamed || known.health.serves()) {
                    self.checks[*check].presume(!blamed);
                }
            }
        }
    }

    /// Goes on under a new configuration: what has the same name keeps what was concluded.
    /// `known`: what was known of regions that the old one did not have.
    pub fn reconfigured(
        &self,
        old: &Config,
        new: &Config,
        mut known: impl FnMut(&str) -> Option<Known>,
    ) -> Self {
        let same_target = |id: CheckId, name: &str| {
            old.checks.id(name).filter(|before| match (&old.checks[*before].kind, &new.checks[id].kind) {
                // The id of a cluster may be another one now.
                (CheckKind::Cluster(before), CheckKind::Cluster(now)) => {
                    old.clusters.name(*before) == new.clusters.name(*now)
                }
                (before, now) => format!("{before:?}") == format!("{now:?}"),
            })
        };
        let region = |before: RegionId| new.regions.id(old.regions.name(before));
        let mut senses = Self {
            checks: new.checks.map(|id, check| match same_target(id, new.checks.name(id)) {
                Some(before) => self.checks[before].clone().rescheduled(&check.schedule),
                None => CheckState::new(check),
            }),
            groups: new.groups.map(|id, group| {
                let before = old.groups.id(new.groups.name(id));
                let same = before.filter(|before| endpoints(&old.groups[*before]) == endpoints(group));
                same.map_or_else(GroupState::default, |before| self.groups[before].renumbered(region))
            }),
            regions: new.regions.map(|id, _| {
                let name = new.regions.name(id);
                match old.regions.id(name) {
                    Some(before) => self.regions[before].clone(),
                    None => known(name).map_or_else(RegionState::default, RegionState::restored),
                }
            }),
        };
        senses.presume(new);
        senses
    }

    /// Takes in the result of one probe.
    pub fn sample(&mut self, sample: &Sample, now: Now) -> Option<Change> {
        let check = sample.check;
        let state = &mut self.checks[check];
        let from = state.verdict();
        state.sample(sample, now.mono);
        let to = state.verdict();
        (from != to).then_some(Change::Verdict { check, from, to })
    }

    /// Takes in what one round of a group has brought: judges the group, then hands each
    /// region's standing to the checks that rest on it.
    pub fn round(&mut self, config: &Config, round: &Round, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        let group = &config.groups[round.group];
        let cluster = &config.clusters[group.cluster];
        let state = &mut self.groups[round.group];
        let judgement = judge(cluster, group, round, &mut state.memory, now.mono);
        let from = state.judgement.as_ref().map(|(judgement, _)| judgement.verdict);
        if from != Some(judgement.verdict) {
            changes.push(Change::Standing { group: round.group, from, to: judgement.verdict });
        }
        match judgement.verdict.is_measured() {
            true => state.unknown_since = None,
            false => drop(state.unknown_since.get_or_insert(now.mono)),
        }
        // A group across regions that is lost as a whole is nobody's loss in particular. It is not as
        // long as a region stands in it: that one can take over.
        let lost = match judgement.verdict {
            Standing::NoQuorum | Standing::ReadOnly | Standing::SplitBrain => true,
            Standing::Unreachable => cluster.silent_means == SilentMeans::NoQuorum,
            _ => false,
        };
        let stands = |(standing, _): &(Standing, String)| standing <= &Standing::Degraded;
        let group_lost = group.inside.is_none() && lost && !judgement.regions.values().any(stands);
        for (check, spec) in config.checks.iter() {
            if !matches!(spec.kind, CheckKind::Cluster(cluster) if cluster == group.cluster) {
                continue;
            }
            if group.inside.is_some_and(|inside| inside != spec.region) {
                continue;
            }
            let (standing, reason) = judgement
                .regions
                .get(&spec.region)
                .map_or((judgement.verdict, judgement.reason.as_str()), |(standing, reason)| {
                    (*standing, reason.as_str())
                });
            let state = &mut self.checks[check];
            let from = state.verdict();
            state.standing(standing, reason, cluster.silent_means, group_lost, now.mono);
            let to = state.verdict();
            if from != to {
                changes.push(Change::Verdict { check, from, to });
            }
        }
        self.groups[round.group].judgement = Some((judgement, now));
        changes
    }

    /// Puts the layers of every region together; tells the flips.
    pub fn flips(&mut self, config: &Config, now: Now) -> Vec<Flip> {
        let mut flips = Vec::new();
        for region in config.regions.ids() {
            let assessment = assess(config, region, &self.checks);
            flips.extend(self.regions[region].take(region, assessment, now));
        }
        flips
    }

    /// The newest results of what is broken in a region speak against its being broken.
    pub fn mends(&self, config: &Config, region: RegionId) -> bool {
        let mut checks = config.regions[region].layers.values().flatten().map(|id| &self.checks[*id]);
        checks.any(|check| check.verdict() == Verdict::Fail && check.window().wavers())
    }

    /// Every check and every group has brought at least one result: the first round is over.
    pub fn first_round_over(&self) -> bool {
        self.checks.values().all(|check| check.window().seen())
            && self.groups.values().all(|group| group.judgement.is_some())
    }

    /// The soonest that a region's health could change, were every coming result against it.
    pub fn could_change_in(&self, config: &Config, region: RegionId) -> std::time::Duration {
        let layers = config.regions[region].layers.values().flatten();
        let serving = self.regions[region].known_health().is_none_or(|health| !health.is_bad());
        let each = layers.map(|check| self.checks[*check].window()).filter(|window| {
            // While it serves, any check can break it; while it does not, the broken ones mend it.
            serving || window.verdict() != Verdict::Pass
        });
        let spans = each.map(crate::health::Window::could_change_in);
        match serving {
            true => spans.min(),
            false => spans.max(),
        }
        .unwrap_or(std::time::Duration::MAX)
    }
}
