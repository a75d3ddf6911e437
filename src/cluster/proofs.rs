//! Local answers beside proofs that hang: the signature of a member that is cut off.
//!
//! A member that answers what it knows itself lives. If a read or write that takes the others hangs
//! at it, or is refused for want of a quorum, it is in no quorum, whatever it says of itself: an
//! active node of Vault that was cut off called itself one for 90 s, and every isolated member of
//! every system that was captured goes on answering from memory.
//!
//! 1. It must go on for longer than the time to truth, from the first failure to the last: a single
//!    one is no more than a slow moment.
//! 2. A pass takes back what was held against the member that it went through. For the group it
//!    proves a quorum, so that what failed before it counts no more.
//! 3. On one of several members it may hang for reasons of its own: for the group it must at each.
//! 4. Denied, throttled, not to be reached: says nothing, and is no failure to add to others.
//! 5. At a member that does not answer local questions it says nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::LinearizableResult;
use super::case::Case;
use crate::base::{Mono, show_span};

/// What became of the reads and writes that take a quorum, by the member that they went through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Proofs {
    /// The first failure and the last since one passed there.
    failing: BTreeMap<usize, (Mono, Mono)>,
    /// When one last passed anywhere.
    passed: Option<Mono>,
}

impl Proofs {
    /// Takes in the newest. `answers`: whether a member answers locally.
    pub(super) fn note(&mut self, case: &Case<'_>, answers: impl Fn(usize) -> bool) {
        self.failing.retain(|member, _| answers(*member));
        let Some(proof) = &case.round.linearizable else { return };
        match proof.result {
            LinearizableResult::Passed => {
                self.passed = self.passed.max(Some(proof.at));
                self.failing.remove(&proof.member);
            }
            LinearizableResult::Unmeasured(_) => drop(self.failing.remove(&proof.member)),
            LinearizableResult::Hung | LinearizableResult::NoQuorum(_) => {
                if answers(proof.member) {
                    self.failing.entry(proof.member).or_insert((proof.at, proof.at)).1 = proof.at;
                }
            }
        }
    }

    /// These without those that are cut off from where it passes.
    pub(super) fn sound(&self, case: &Case<'_>, members: &BTreeSet<usize>) -> BTreeSet<usize> {
        members.iter().copied().filter(|member| self.fail_among(case, [*member]).is_none()).collect()
    }

    /// The last one through this member failed.
    pub(super) fn fails_at(&self, member: usize) -> bool {
        self.failing.contains_key(&member)
    }

    /// For how long, in words, it has failed through each of these and passed nowhere, if for longer
    /// than the truth takes.
    pub(super) fn fail_throughout(
        &self,
        case: &Case<'_>,
        members: impl IntoIterator<Item = usize>,
    ) -> Option<String> {
        self.lasting(case, members, self.passed)
    }

    /// The same, whatever passes elsewhere: these are cut off from where it does.
    pub(super) fn fail_among(
        &self,
        case: &Case<'_>,
        members: impl IntoIterator<Item = usize>,
    ) -> Option<String> {
        self.lasting(case, members, None)
    }

    fn lasting(
        &self,
        case: &Case<'_>,
        members: impl IntoIterator<Item = usize>,
        passed: Option<Mono>,
    ) -> Option<String> {
        let failing = members.into_iter().map(|member| {
            let (first, last) = self.failing.get(&member)?;
            passed.is_none_or(|passed| *last > passed).then_some((passed.max(Some(*first))?, *last))
        });
        let failing = failing.collect::<Option<Vec<_>>>()?;
        let first = failing.iter().map(|(first, _)| *first).min()?;
        let last = failing.iter().map(|(_, last)| *last).max()?;
        let lasted = last.since(first) > case.cluster.time_to_truth;
        lasted.then(|| show_span(case.now.since(first)))
    }
}
