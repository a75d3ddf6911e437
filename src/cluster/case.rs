//! What there is to judge.

use super::{Facts, Linearizable, NodeView, Round, Standing};
use crate::base::{Mono, show_span};
use crate::config::{Cluster, Endpoint, Group};

use std::time::Duration;

/// One group, and what one round has brought of it.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) group: &'a Group,
    pub(super) round: &'a Round,
    pub(super) now: Mono,
}

impl<'a> Case<'a> {
    /// Members that answered with facts of one family, by position.
    pub(super) fn answers<T>(&self, of: impl Fn(&'a Facts) -> Option<T>) -> Vec<(usize, T)> {
        let views = self.round.views.iter().enumerate();
        let answers = views.filter_map(|(position, view)| match view {
            NodeView::Answered(facts) => Some((position, of(facts)?)),
            _ => None,
        });
        answers.collect()
    }

    /// What these members brought.
    pub(super) fn views_of(&self, members: &[usize]) -> impl Iterator<Item = &'a NodeView> {
        members.iter().map(|position| &self.round.views[*position])
    }

    /// Where a member is.
    pub(super) fn place(&self, position: usize) -> &'a Endpoint {
        &self.group.members[position].endpoint
    }

    /// The newest result of the probe that takes a quorum, if it is not older than so many rounds.
    pub(super) fn proof(&self, rounds: u32) -> Option<&'a Linearizable> {
        let within = self.cluster.schedule.interval * rounds;
        self.round.linearizable.as_ref().filter(|proof| self.now.since(proof.at) <= within)
    }

    /// What goes on since then has outlasted the time to truth: it is no election.
    pub(super) fn has_lasted(&self, since: Mono) -> bool {
        self.now.since(since) > self.cluster.time_to_truth
    }

    /// What has gone on for so long is an election within the time to truth, and `then` afterwards.
    pub(super) fn in_time(&self, lasting: Duration, words: String, then: Standing) -> (Standing, String) {
        match lasting <= self.cluster.time_to_truth {
            true => (Standing::Electing, format!("{words}, for {}", show_span(lasting))),
            false => (then, words),
        }
    }
}
