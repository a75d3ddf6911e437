//! The membership that counts, and those that contradict it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Member, Notes};
use crate::base::Mono;
use crate::cluster::ComponentView;
use crate::cluster::case::Case;

/// A claim to commit that others contradict may be an old one for so many times the time to truth.
const RIVAL_TRUTHS: u32 = 2;

/// The membership that counts, and who of those we reach is in it.
pub(super) struct Part<'a> {
    pub(super) view: &'a ComponentView,
    pub(super) members: Vec<Member<'a>>,
}

/// Since when a second part has claimed that it may commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rival(Option<Mono>);

impl<'a> Part<'a> {
    /// The membership that most members are in; of equal ones the newest. One at whose every member what
    /// takes the others fails is no match for one where it does not.
    pub(super) fn biggest(answered: &[Member<'a>], fails_at: impl Fn(usize) -> bool) -> Option<Self> {
        let mut parts: BTreeMap<&ComponentView, Vec<Member<'a>>> = BTreeMap::new();
        for (position, facts) in answered {
            if let Some(view) = &facts.view {
                parts.entry(view).or_default().push((*position, facts));
            }
        }
        let sound = |members: &[Member<'_>]| members.iter().any(|(position, _)| !fails_at(*position));
        let most =
            parts.into_iter().max_by_key(|(view, members)| (sound(members), members.len(), view.number));
        most.map(|(view, members)| Self { view, members })
    }

    pub(super) fn holds(&self, position: usize) -> bool {
        self.members.iter().any(|(member, _)| *member == position)
    }

    /// It holds a majority of a membership that has shrunk: it is no old claim of members whose others
    /// are gone, and a read can prove it.
    pub(super) fn has_shrunk(&self) -> bool {
        2 * self.members.len() > self.view.size
    }

    /// The member that takes writes, or the membership where all do.
    pub(super) fn leader(&self, case: &Case<'_>) -> String {
        let primary = self.members.iter().find_map(|(_, facts)| facts.primary.clone());
        let Some(primary) = primary else { return format!("membership {}", self.view.number) };
        match self.members.iter().find(|(_, facts)| facts.member == primary) {
            Some((position, _)) => case.place(*position).to_string(),
            None => primary,
        }
    }

    /// Two parts that both go on claiming the right to commit.
    pub(super) fn split(
        &self,
        case: &Case<'_>,
        notes: &mut Notes,
        answered: &[Member<'_>],
    ) -> Option<String> {
        let ComponentView { number, size, .. } = self.view;
        let names: BTreeSet<&str> = self.members.iter().map(|(_, facts)| facts.member.as_str()).collect();
        if names.len() > *size {
            let found = names.len();
            return Some(format!(
                "{found} members each claim to be in membership {number}, which has {size}"
            ));
        }
        let other = answered
            .iter()
            // One at which what takes the others fails is no rival: it only has not noticed.
            .filter(|(position, _)| !self.holds(*position) && !notes.proofs.fails_at(*position))
            .find_map(|(position, facts)| Some((position, facts.view.as_ref()?)));
        let Some((position, view)) = other else {
            notes.rival.0 = None;
            return None;
        };
        let since = case.now.since(*notes.rival.0.get_or_insert(case.now));
        (since > case.cluster.time_to_truth * RIVAL_TRUTHS).then(|| {
            let (place, theirs, n) = (case.place(*position), view.number, self.members.len());
            format!("{place} goes on in membership {theirs} by itself, and {n} others in {number}")
        })
    }
}
