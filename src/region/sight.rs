//! Whether this site sees at all.
//!
//! A site whose own uplink is lost finds every region dead. So silence is never believed on its
//! own: it counts only if somebody unrelated has answered since.
//!
//! ```text
//!                     a target is silent
//!                             │
//!         nobody unrelated is probed at all ───────────────► believed at once
//!                             │
//!         somebody unrelated has answered since it was asked ► believed: our way out works
//!                             │
//!         nobody has, and everybody is silent by now ───────► blind: not measured
//!                             │
//!         nobody has for `patience` of the slowest ─────────► believed: there is nobody to ask
//!
//!             all witnesses dark, two of them together;
//!             or the anchors' quorum and a witness together
//!    ┌────────┐ ─────────────────────────────────────────► ┌───────┐
//!    │ sighted│                                            │ blind │
//!    └────────┘ ◄───────────────────────────────────────── └───────┘
//!             a witness (the anchors' quorum, where there are
//!             anchors) has answered everything for `steady`
//! ```
//!
//! *Witness*: a region, or several that share an address. It is *dark* once one of its targets was
//! silent as often in a row as it takes to fail, without any other of its targets answering in
//! between. *Together*: not further apart than the slowest of the targets needs to notice. A region
//! that has been dead for days is no sign of anything when the next one dies.
//!
//! Why all of them, and not most: with two of three regions dark, the third answers. If that is a
//! mass outage, its users must be led away now; if it is half of our uplink, they are led to a
//! region that works as well. The first mistake is an outage, the second one is not. Whoever wants
//! half an uplink told from a mass outage names anchors, which decide alone then: with their quorum
//! answering no site is ever blind, and without it every silence is suspect. Anchors that have been
//! dark for long before a region fell silent say nothing about that silence; then the witnesses
//! decide as if there were none.
//!
//! One witness and no anchors: never blind, because there is nothing to compare with.
//!
//! What answers is heard, whatever it answers: a refused connection or a status 500 came from there.
//! Anchors must pass, since whoever intercepts the way out may answer in their place.

use std::collections::BTreeMap;
use std::time::Duration;

use super::outlook::{CONFIRM_MAX, Outlook, Target, Who};
use crate::base::{CheckId, GroupId, Mono, RegionId};

/// Losses that are further apart than this are two losses, however slow the targets are.
const TOGETHER_MAX: Duration = Duration::from_secs(120);
/// A target that was silent for so long while others of its witness answered is broken itself.
const CHRONIC: Duration = Duration::from_secs(600);

/// What is listened to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// A check.
    Check(CheckId),
    /// The voters of a group that lie in a region.
    Voters(GroupId, RegionId),
}

/// One target, as heard.
#[derive(Clone, Copy, Debug)]
struct Ear {
    target: Target,
    answered: Option<Mono>,
    /// Silences since its witness was last heard, and when the first of them began.
    silences: u32,
    since: Option<Mono>,
}

/// Why this site takes itself for blind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blindness {
    /// Since when.
    pub since: Mono,
    /// What fell silent together, in words.
    pub words: String,
    /// Since when enough answers again.
    back: Option<Mono>,
}

/// What this site hears, and whether that can be believed.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    outlook: Outlook,
    names: Vec<String>,
    ears: BTreeMap<Source, Ear>,
    /// When each witness was last heard.
    heard: Vec<Option<Mono>>,
    blind: Option<Blindness>,
}

impl Sight {
    /// Nothing heard yet. `name` names regions.
    pub fn new<'n>(outlook: Outlook, name: impl Fn(RegionId) -> &'n str) -> Self {
        let checks = outlook.checks.iter().filter_map(|(id, target)| Some((Source::Check(id), (*target)?)));
        let voters =
            outlook.groups.iter().map(|((group, region), target)| (Source::Voters(*group, *region), *target));
        let ears = checks
            .chain(voters)
            .map(|(source, target)| (source, Ear { target, answered: None, silences: 0, since: None }))
            .collect();
        let names = outlook
            .witnesses
            .iter()
            .map(|regions| regions.iter().map(|region| name(*region)).collect::<Vec<_>>().join("+"))
            .collect();
        Self { heard: vec![None; outlook.witnesses.len()], names, ears, blind: None, outlook }
    }

    /// Goes on with what was heard under another configuration: `before` tells what a target was
    /// called there.
    pub fn resumed(mut self, old: &Self, before: impl Fn(Source) -> Option<Source>) -> Self {
        for (source, ear) in &mut self.ears {
            let Some(known) = before(*source).and_then(|source| old.ears.get(&source)) else { continue };
            *ear = Ear { target: ear.target, ..*known };
            if let Who::Witness(witness) = ear.target.who {
                self.heard[witness] = self.heard[witness].max(known.answered);
            }
        }
        self.blind = old.blind.clone();
        self
    }

    /// A target was asked at `started`, and has answered by now, or has not.
    pub fn hear(&mut self, source: Source, answered: bool, started: Mono, now: Mono) {
        let Some(ear) = self.ears.get_mut(&source) else { return };
        let who = ear.target.who;
        if answered {
            ear.answered = Some(now);
            (ear.silences, ear.since) = (0, None);
            if let Who::Witness(witness) = who {
                self.heard[witness] = Some(now);
                for ear in self.ears.values_mut().filter(|ear| ear.target.who == who) {
                    (ear.silences, ear.since) = (0, None);
                }
            }
            return;
        }
        // Somebody else of the same witness has answered since it was asked.
        if matches!(who, Who::Witness(witness) if self.heard[witness].is_some_and(|heard| heard > started)) {
            return;
        }
        ear.silences = ear.silences.saturating_add(1);
        ear.since.get_or_insert(started);
    }

    /// Nobody unrelated to this target is ever asked: its silence must be believed as it is.
    pub fn is_alone(&self, source: Source) -> bool {
        let Some(ear) = self.ears.get(&source) else { return true };
        ear.target.who == Who::Anchor || (self.outlook.anchors.is_none() && self.outlook.witnesses.len() < 2)
    }

    /// Whether a silence that began at `started` is the target's own: somebody unrelated has
    /// answered since.
    pub fn believes(&self, source: Source, started: Mono) -> bool {
        let Some(Ear { target: Target { who: Who::Witness(own), .. }, .. }) = self.ears.get(&source) else {
            return true;
        };
        if self.anchors_speak(started) {
            return self.anchors_answered().is_some_and(|at| at >= started);
        }
        let others = self.heard.iter().enumerate().filter(|(witness, _)| witness != own);
        others.filter_map(|(_, heard)| *heard).any(|heard| heard >= started)
    }

    /// When this silence of a target must be believed or not at the latest, counted from its end.
    pub fn patience(&self, source: Source) -> Duration {
        let own = self.ears.get(&source).map(|ear| ear.target.who);
        let others = self.ears.values().filter(|ear| Some(ear.target.who) != own);
        others.map(|ear| ear.target.patience).max().unwrap_or_default().min(CONFIRM_MAX)
    }

    /// When the silences of a target began that nobody has broken since.
    pub fn silent_since(&self, source: Source) -> Option<Mono> {
        self.ears.get(&source)?.since
    }

    /// Decides anew whether this site sees; true if that is otherwise than before.
    pub fn look(&mut self, now: Mono) -> bool {
        match self.blind.take() {
            None => {
                let words = self.darkness();
                self.blind = words.map(|words| Blindness { since: now, words, back: None });
                self.blind.is_some()
            }
            Some(mut blind) => {
                blind.back = match self.sees_enough(blind.since) {
                    true => blind.back.or(Some(now)),
                    false => None,
                };
                let over = blind.back.is_some_and(|back| now.since(back) >= self.steady());
                if !over {
                    self.blind = Some(blind);
                }
                over
            }
        }
    }

    /// Why it takes itself for blind, if it does.
    pub fn blind(&self) -> Option<&Blindness> {
        self.blind.as_ref()
    }

    // ── what is dark ──

    /// Since when a witness is dark.
    fn dark(&self, witness: usize) -> Option<Mono> {
        let heard = self.heard[witness];
        let of = self.ears.values().filter(|ear| ear.target.who == Who::Witness(witness));
        let credible = |ear: &&Ear| match (heard, ear.answered) {
            (None, _) => true,
            (Some(heard), Some(answered)) => heard.since(answered) <= CHRONIC,
            (Some(_), None) => false,
        };
        of.filter(credible).filter(|ear| ear.silences >= ear.target.fall).filter_map(|ear| ear.since).min()
    }

    /// Since when too few anchors pass; none if enough do, or may.
    fn anchors_dark(&self) -> Option<Mono> {
        let (count, at_least) = self.outlook.anchors?;
        let mut dark: Vec<Mono> = self
            .anchors()
            .filter(|ear| ear.silences >= ear.target.fall)
            .filter_map(|ear| ear.since)
            .collect();
        dark.sort_unstable();
        // With this one the quorum was gone.
        dark.get(count - at_least).copied()
    }

    /// When enough anchors had answered for the last time.
    fn anchors_answered(&self) -> Option<Mono> {
        let (_, at_least) = self.outlook.anchors?;
        let mut answered: Vec<Mono> = self.anchors().filter_map(|ear| ear.answered).collect();
        answered.sort_unstable_by(|a, b| b.cmp(a));
        answered.get(at_least - 1).copied()
    }

    /// Whether the anchors have a say about a silence that began at `started`: there are some, and
    /// they were not dark already.
    fn anchors_speak(&self, started: Mono) -> bool {
        self.outlook.anchors.is_some()
            && self.anchors_dark().is_none_or(|dark| dark + self.together() >= started)
    }

    fn anchors(&self) -> impl Iterator<Item = &Ear> {
        self.ears.values().filter(|ear| ear.target.who == Who::Anchor)
    }

    /// How far apart losses may be noticed that happen at once.
    fn together(&self) -> Duration {
        let paces = self.ears.values().map(|ear| ear.target.pace);
        paces.max().unwrap_or_default().min(TOGETHER_MAX)
    }

    /// For how long enough must answer before it is believed: time to ask everybody once.
    fn steady(&self) -> Duration {
        self.together()
    }

    /// Why it must take itself for blind, if it must.
    fn darkness(&self) -> Option<String> {
        let dark: Vec<(usize, Mono)> =
            (0..self.heard.len()).filter_map(|witness| Some((witness, self.dark(witness)?))).collect();
        let apart = |a: Mono, b: Mono| a.since(b).max(b.since(a));
        let newest = dark.iter().map(|(_, since)| *since).max()?;
        if self.anchors_speak(newest) {
            let anchors = self.anchors_dark()?;
            let with: Vec<&str> = dark
                .iter()
                .filter(|(_, since)| apart(*since, anchors) <= self.together())
                .map(|(witness, _)| self.names[*witness].as_str())
                .collect();
            return (!with.is_empty()).then(|| {
                format!("{} fell silent together with the anchors of `self_check`", with.join(", "))
            });
        }
        if dark.len() < 2 || dark.len() < self.heard.len() {
            return None;
        }
        let with: Vec<&str> = dark
            .iter()
            .filter(|(_, since)| apart(*since, newest) <= self.together())
            .map(|(witness, _)| self.names[*witness].as_str())
            .collect();
        (with.len() >= 2)
            .then(|| format!("{} fell silent together, and nobody else answers", with.join(", ")))
    }

    /// Whether enough answers again for the blindness that began then to be over.
    fn sees_enough(&self, since: Mono) -> bool {
        let mut clear = (0..self.heard.len()).map(|witness| self.is_clear(witness, since));
        match self.outlook.anchors {
            Some((_, at_least)) => {
                let passing = self.anchors().filter(|ear| ear.silences == 0 && ear.answered > Some(since));
                passing.count() >= at_least || clear.all(|clear| clear)
            }
            None => clear.any(|clear| clear),
        }
    }

    /// A witness was heard since then, and none of its targets was silent after that.
    fn is_clear(&self, witness: usize, since: Mono) -> bool {
        self.heard[witness] > Some(since) && self.dark(witness).is_none()
    }
}
