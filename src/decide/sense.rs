//! Samples and rounds → verdicts, standings, and flips of regions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::base::{CheckId, GroupId, Health, IdSet, Mono, Named, Now, RegionId, ServiceId};
use crate::cluster::{Judgement, Memory, NodeView, Round, Standing, judge};
use crate::config::{CheckKind, Config, Group, Layer, LayerChecks, Layers, SilentMeans};
use crate::health::{Finding, Sample, Verdict};
use crate::region::{
    Assessment, CheckState, Flip, Known, Outlook, RegionState, Sight, Source, Why, assess, breaks_in,
    mends_in,
};

/// What this site senses.
#[derive(Clone, Debug)]
pub struct Senses {
    /// Every check.
    pub checks: Named<CheckId, CheckState>,
    /// Every group of voters.
    pub groups: Named<GroupId, GroupState>,
    /// Every region.
    pub regions: Named<RegionId, RegionState>,
    /// Whether this site sees at all.
    pub sight: Sight,
    /// Silences that wait for the word of others.
    silences: BTreeMap<CheckId, VecDeque<Silence>>,
    /// Services with layers of their own, and what these have come to in each region.
    pub places: BTreeMap<(ServiceId, RegionId), RegionState>,
    /// Whose each check is.
    owners: Named<CheckId, Option<RegionId>>,
    /// Regions of whose checks something came in since they were last put together.
    stale: IdSet<RegionId>,
    /// Some of it has a bearing on what is decided; the rest are words.
    news: bool,
    /// The soonest that each region's health could change, as of when it was last put together.
    spans: Named<RegionId, Duration>,
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

/// Who turned.
#[derive(Debug, Default)]
pub struct Turns {
    /// Regions.
    pub regions: Vec<Flip>,
    /// Services' places in them.
    pub places: Vec<(ServiceId, Flip)>,
}

/// A failure that may be ours: nothing was heard.
#[derive(Clone, Debug)]
struct Silence {
    sample: Sample,
    started: Mono,
    ended: Mono,
}

/// Silences of one check that wait; those before count as not measured.
const SILENCES_MAX: usize = 64;

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
    /// Knowing nothing, apart from what an earlier process knew of the regions and of services'
    /// places in them (by `place_name`), and under which endpoints it has seen the groups well.
    pub fn new(
        config: &Config,
        mut known: impl FnMut(&str) -> Option<Known>,
        mut well: impl FnMut(&str) -> Option<Vec<String>>,
        mut placed: impl FnMut(&str) -> Option<Known>,
    ) -> Self {
        let mut senses = Self {
            sight: Sight::new(Outlook::of(config), |region| config.regions.name(region)),
            silences: BTreeMap::new(),
            owners: config.checks.map(|_, check| check.region),
            stale: config.regions.ids().collect(),
            news: true,
            spans: config.regions.map(|_, _| Duration::MAX),
            places: places(config, |service, region| {
                placed(&place_name(config, service, region))
                    .map_or_else(RegionState::default, RegionState::restored)
            }),
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
        let regions = config.regions.iter().map(|(id, region)| (self.regions[id].known(), &region.layers));
        let places = self.places.iter().filter_map(|((service, region), state)| {
            Some((state.known(), config.services[*service].layers.get(region)?))
        });
        let mut presumed = Vec::new();
        for (known, layers) in regions.chain(places) {
            let Some(known) = known else { continue };
            for check in layers.values().flat_map(LayerChecks::deciding) {
                let blamed = known.why.check.as_deref() == Some(&**config.checks.name(check))
                    && (known.health.is_bad() || known.why.layer == Some(Layer::Replication));
                if !self.checks[check].window().seen() && (blamed || known.health.serves()) {
                    presumed.push((check, !blamed));
                }
            }
        }
        for (check, pass) in presumed {
            self.checks[check].presume(pass);
        }
    }

    /// Goes on under a new configuration: what has the same name keeps what was concluded.
    /// `known`, `placed`: what was known of regions, and of places, that the old one did not have.
    pub fn reconfigured(
        &self,
        old: &Config,
        new: &Config,
        mut known: impl FnMut(&str) -> Option<Known>,
        mut placed: impl FnMut(&str) -> Option<Known>,
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
            sight: Sight::new(Outlook::of(new), |region| new.regions.name(region)).resumed(
                &self.sight,
                |source| match source {
                    Source::Check(id) => same_target(id, new.checks.name(id)).map(Source::Check),
                    Source::Voters(group, region) => Some(Source::Voters(
                        old.groups.id(new.groups.name(group))?,
                        old.regions.id(new.regions.name(region))?,
                    )),
                },
            ),
            // They are heard again soon enough.
            silences: BTreeMap::new(),
            owners: new.checks.map(|_, check| check.region),
            stale: new.regions.ids().collect(),
            news: true,
            spans: new.regions.map(|_, _| Duration::MAX),
            places: places(new, |service, region| {
                let before =
                    old.services.id(new.services.name(service)).zip(old.regions.id(new.regions.name(region)));
                match before.and_then(|before| self.places.get(&before)) {
                    Some(before) => before.clone(),
                    None => placed(&place_name(new, service, region))
                        .map_or_else(RegionState::default, RegionState::restored),
                }
            }),
        };
        senses.presume(new);
        senses
    }

    /// Takes in the result of one probe. What might be our own deafness waits for the word of others.
    pub fn sample(&mut self, sample: &Sample, now: Now) -> Option<Change> {
        let source = Source::Check(sample.check);
        let started = Mono(now.mono.0.saturating_sub(sample.took));
        // An anchor must pass: whoever intercepts the way out may answer in its place.
        let passes = matches!(sample.finding, Finding::Pass(_));
        let answered = if self.sight.is_anchor(source) { passes } else { sample.heard };
        self.sight.hear(source, answered, started, now.mono);
        let silent = !sample.heard && matches!(sample.finding, Finding::Fail(_));
        // What comes in from anybody may decide what the silence of others means.
        self.news |= silent || !answered || !self.silences.is_empty() || self.sight.blind().is_some();
        if !silent {
            // What was silent before it and is not decided yet was not measured.
            let earlier = self.silences.remove(&sample.check).unwrap_or_default();
            let from = self.checks[sample.check].verdict();
            for silence in earlier {
                self.fold(&unconfirmed(&silence.sample), silence.ended);
            }
            self.fold(sample, now.mono);
            return self.change(sample.check, from);
        }
        if self.sight.is_alone(source) {
            let from = self.checks[sample.check].verdict();
            self.fold(sample, now.mono);
            return self.change(sample.check, from);
        }
        let waiting = self.silences.entry(sample.check).or_default();
        if waiting.len() >= SILENCES_MAX {
            waiting.pop_front();
        }
        waiting.push_back(Silence { sample: sample.clone(), started, ended: now.mono });
        None
    }

    fn fold(&mut self, sample: &Sample, at: Mono) {
        let check = &mut self.checks[sample.check];
        let before = check.bearing();
        check.sample(sample, at);
        self.news |= check.bearing() != before;
        if let Some(region) = self.owners[sample.check] {
            self.stale.insert(region);
        }
    }

    /// Whether something has come in that may change what was decided. What has not can wait for
    /// the next tick: of thousands of checks that pass as before, nothing follows.
    pub fn has_news(&self) -> bool {
        self.news
    }

    fn change(&self, check: CheckId, from: Verdict) -> Option<Change> {
        let to = self.checks[check].verdict();
        (from != to).then_some(Change::Verdict { check, from, to })
    }

    /// Decides whether this site sees, and of the silences that wait, those that can be decided.
    /// Tells whether its sight has changed, and what else has.
    pub fn settle(&mut self, now: Mono) -> (bool, Vec<Change>) {
        let turned = self.sight.look(now);
        if turned {
            self.stale = self.regions.ids().collect();
        }
        let blind = self.sight.blind().is_some();
        let mut changes = Vec::new();
        let sight = &self.sight;
        let mut decided = Vec::new();
        for (check, waiting) in &mut self.silences {
            let source = Source::Check(*check);
            let is_late = |silence: &Silence| now.since(silence.ended) >= sight.patience(source);
            let believed = |silence: &Silence| {
                let late = || is_late(silence) && !sight.answers_since(source, silence.ended);
                !blind && (sight.believes(source, silence.started) || late())
            };
            // What cannot be decided waits, unless something later can: then it never will be.
            let count = match blind {
                true => waiting.len(),
                false => waiting.iter().rposition(believed).map_or(0, |last| last + 1),
            };
            let late = waiting.iter().filter(|silence| is_late(silence));
            let count = count.max(late.count());
            for silence in waiting.drain(..count) {
                decided.push(match believed(&silence) {
                    true => (silence.sample, silence.ended),
                    false => (unconfirmed(&silence.sample), silence.ended),
                });
            }
        }
        self.silences.retain(|_, waiting| !waiting.is_empty());
        for decided in decided.chunk_by(|(one, _), (next, _)| one.check == next.check) {
            let check = decided[0].0.check;
            let from = self.checks[check].verdict();
            for (sample, ended) in decided {
                self.fold(sample, *ended);
            }
            changes.extend(self.change(check, from));
        }
        (turned, changes)
    }

    /// Results that wait for the word of others.
    pub fn waiting(&self) -> usize {
        self.silences.values().map(VecDeque::len).sum()
    }

    /// Takes in what one round of a group has brought: judges the group, then hands each
    /// region's standing to the checks that rest on it.
    pub fn round(&mut self, config: &Config, round: &Round, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        let group = &config.groups[round.group];
        let cluster = &config.clusters[group.cluster];
        let state = &mut self.groups[round.group];
        let started = Mono(now.mono.0.saturating_sub(round.took));
        let mut silent_means = cluster.silent_means;
        for region in group.members.iter().map(|member| member.region).collect::<BTreeSet<_>>() {
            let source = Source::Voters(round.group, region);
            let views = group.members.iter().zip(&round.views);
            let heard = views.filter(|(member, _)| member.region == region).any(|(_, view)| is_heard(view));
            self.sight.hear(source, heard, started, now.mono);
            let since = self.sight.silent_since(source);
            // Silence of voters may be our own deafness as well.
            if let Some(since) = since.filter(|_| !self.sight.is_alone(source))
                && !self.sight.believes(source, since)
            {
                silent_means = SilentMeans::Unknown;
            }
        }
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
        // long as a region stands in it: that one can take over. Where a region is lost and of the
        // others nothing is known, it may be a part of such a loss.
        let lost = match judgement.verdict {
            Standing::NoQuorum | Standing::ReadOnly | Standing::SplitBrain | Standing::Unknown => true,
            Standing::Unreachable => silent_means == SilentMeans::NoQuorum,
            _ => false,
        };
        let stands = |(standing, _): &(Standing, String)| standing <= &Standing::Degraded;
        let group_lost = group.inside.is_none() && lost && !judgement.regions.values().any(stands);
        for (check, spec) in config.checks.iter() {
            if !matches!(spec.kind, CheckKind::Cluster(cluster) if cluster == group.cluster) {
                continue;
            }
            let Some(region) = spec.region else { continue };
            if group.inside.is_some_and(|inside| inside != region) {
                continue;
            }
            let (standing, reason) = judgement
                .regions
                .get(&region)
                .map_or((judgement.verdict, judgement.reason.as_str()), |(standing, reason)| {
                    (*standing, reason.as_str())
                });
            let state = &mut self.checks[check];
            let from = state.verdict();
            state.standing(standing, reason, silent_means, group_lost, now.mono);
            self.stale.insert(region);
            let to = state.verdict();
            if from != to {
                changes.push(Change::Verdict { check, from, to });
            }
        }
        self.groups[round.group].judgement = Some((judgement, now));
        self.news = true;
        changes
    }

    /// Puts the layers together of every region of which something has come in, and those that
    /// services have of their own there; tells who turned.
    pub fn turns(&mut self, config: &Config, now: Now) -> Turns {
        let stale = std::mem::take(&mut self.stale);
        self.news = false;
        let mut turns = Turns::default();
        let blinded = self.blinded();
        for region in stale.iter() {
            let layers = &config.regions[region].layers;
            let assessment = blinded.clone().unwrap_or_else(|| assess(layers, &self.checks));
            turns.regions.extend(self.regions[region].take(region, assessment, now));
            self.spans[region] = self.turns_in(layers, &self.regions[region]);
        }
        for ((service, region), state) in &mut self.places {
            let Some(layers) = config.services[*service].layers.get(region) else { continue };
            if stale.contains(*region) {
                let assessment = blinded.clone().unwrap_or_else(|| assess(layers, &self.checks));
                turns.places.extend(state.take(*region, assessment, now).map(|turn| (*service, turn)));
            }
        }
        turns
    }

    /// What a blind site can say of anybody.
    fn blinded(&self) -> Option<Assessment> {
        let blind = self.sight.blind()?;
        let words = format!("this site is blind: {}", blind.words);
        Some(Assessment { health: Health::Unknown, why: Why { words, ..Why::default() } })
    }

    /// The newest results of what is broken in a region speak against its being broken.
    pub fn mends(&self, config: &Config, region: RegionId) -> bool {
        let mut checks = config.regions[region].layers.values().flat_map(LayerChecks::deciding);
        checks.any(|check| {
            let check = &self.checks[check];
            check.verdict() == Verdict::Fail && check.window().wavers()
        })
    }

    /// Every check and every group has brought at least one result: the first round is over.
    pub fn first_round_over(&self) -> bool {
        self.checks.values().all(|check| check.window().seen())
            && self.groups.values().all(|group| group.judgement.is_some())
    }

    /// The soonest that a region's health could change, were every coming result against it.
    pub fn could_change_in(&self, region: RegionId) -> Duration {
        self.spans[region]
    }

    /// The same of what a service's own layers say of a region; none if it has none there.
    pub fn place_could_change_in(
        &self,
        config: &Config,
        service: ServiceId,
        region: RegionId,
    ) -> Option<Duration> {
        let layers = config.services[service].layers.get(&region)?;
        Some(self.turns_in(layers, self.places.get(&(service, region))?))
    }

    fn turns_in(&self, layers: &Layers, state: &RegionState) -> Duration {
        let verdict = |check: CheckId| self.checks[check].verdict();
        let span = |check: CheckId| self.checks[check].window().could_change_in();
        match state.known_health().is_none_or(|health| !health.is_bad()) {
            // While it serves, any layer can break it; while it does not, the broken ones mend it.
            true => layers.values().map(|layer| breaks_in(layer, verdict, span)).min(),
            false => {
                let mending = layers.values().map(|layer| mends_in(layer, verdict, span));
                mending.filter(|span| !span.is_zero()).max()
            }
        }
        .unwrap_or(Duration::MAX)
    }
}

/// The same result, as it is where nobody can say whose silence it was.
fn unconfirmed(sample: &Sample) -> Sample {
    let words = format!("{}; nobody else has answered since", sample.finding.words());
    Sample { finding: Finding::Unknown(words), ..sample.clone() }
}

/// Whether a voter has said anything at all, or refused to.
fn is_heard(view: &NodeView) -> bool {
    !matches!(view, NodeView::Silent(_) | NodeView::Unmeasured(_))
}

/// A state for each place that has layers.
fn places(
    config: &Config,
    mut state: impl FnMut(ServiceId, RegionId) -> RegionState,
) -> BTreeMap<(ServiceId, RegionId), RegionState> {
    let services = config.services.iter();
    let places = services.flat_map(|(id, service)| service.layers.keys().map(move |region| (id, *region)));
    places.map(|(service, region)| ((service, region), state(service, region))).collect()
}

/// What a service's place in a region is kept under.
pub fn place_name(config: &Config, service: ServiceId, region: RegionId) -> String {
    format!("{}/{}", config.services.name(service), config.regions.name(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        use crate::config::{Surroundings, parse};
        let text = "version: 1\nmode: act\nsite: {name: a}\nlisten: {dns: ['127.0.0.1:53']}\n\
            defaults: {check: {interval: 5s, timeout: 2s, fall: 2, rise: 3}}\nregions:\n  \
            eu: {layers: {reach: [{tcp: {address: 'a:1', rise: 2}}, {tcp: {address: 'a:2', fall: 3}}]}}\n  \
            us: {layers: {reach: {any: [{tcp: {address: 'b:1'}}, {tcp: {address: 'b:2', fall: 1}}]}}}\n";
        let around = Surroundings { directory: "/".into(), state: None, runtime: None, processors: 1 };
        parse(&crate::base::Source::new("c.yaml", text.to_owned()), &around).expect("it is in order").0
    }

    /// A result that is no news may wait, and regions that nothing was said of need not be looked
    /// at: whoever looks at all of them after each result finds the same.
    #[test]
    fn what_is_no_news_changes_nothing() {
        let config = config();
        let mut rng = fastrand::Rng::with_seed(11);
        let (mut quiet, mut loud) = (0, 0);
        for _ in 0..200 {
            let mut senses = Senses::new(&config, |_| None, |_| None, |_| None);
            let mut now = Now { mono: Mono::default(), wall: crate::base::Timestamp::UNIX_EPOCH };
            for _ in 0..100 {
                let check = CheckId(rng.u32(0..4));
                let words = rng.u32(..).to_string();
                let finding = match rng.u32(0..20) {
                    0..=1 => Finding::Fail(words),
                    2 => Finding::Unknown(words),
                    3 => Finding::Hold(words),
                    _ => Finding::Pass(words),
                };
                now = now.after(Duration::from_millis(rng.u64(1..500)));
                let heard = rng.u32(0..10) > 0;
                let took = Duration::from_millis(1);
                senses.sample(&Sample { check, finding, heard, took }, now);
                if !senses.has_news() {
                    quiet += 1;
                    let mut eager = senses.clone();
                    eager.stale = config.regions.ids().collect();
                    assert!(eager.settle(now.mono) == (false, Vec::new()), "nothing is decided by it");
                    let turns = eager.turns(&config, now);
                    assert!(turns.regions.is_empty(), "{:?}", turns.regions);
                    assert_eq!(
                        eager.spans.values().collect::<Vec<_>>(),
                        senses.spans.values().collect::<Vec<_>>()
                    );
                    continue;
                }
                loud += 1;
                senses.settle(now.mono);
                senses.turns(&config, now);
                for (region, spec) in config.regions.iter() {
                    if senses.blinded().is_none() {
                        let health = assess(&spec.layers, &senses.checks).health;
                        assert_eq!(senses.regions[region].health(), health);
                    }
                    assert_eq!(senses.spans[region], senses.turns_in(&spec.layers, &senses.regions[region]));
                }
            }
        }
        assert!(quiet > 1000 && loud > 1000, "{quiet} and {loud}");
    }
}
