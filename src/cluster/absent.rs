//! Members that brought no facts: how many, and why.

use std::collections::BTreeMap;

use super::case::Case;
use super::past::Past;
use super::{NodeView, Standing};
use crate::base::RegionId;
use crate::config::SilentMeans;

/// Counts of how members failed to answer, and words about them.
#[derive(Default, Debug)]
pub(super) struct Absent {
    pub(super) refused: usize,
    pub(super) silent: usize,
    pub(super) denied: usize,
    pub(super) rubbish: usize,
    pub(super) unmeasured: usize,
}

impl Absent {
    pub(super) fn count<'a>(views: impl IntoIterator<Item = &'a NodeView>) -> Self {
        let mut absent = Self::default();
        for view in views {
            match view {
                NodeView::Answered(_) => {}
                NodeView::Refused(_) => absent.refused += 1,
                NodeView::Silent(_) => absent.silent += 1,
                NodeView::Denied(_) => absent.denied += 1,
                NodeView::Rubbish(_) => absent.rubbish += 1,
                NodeView::Unmeasured(_) => absent.unmeasured += 1,
            }
        }
        absent
    }

    /// "2 silent, 1 refused", or an empty text.
    pub(super) fn words(&self) -> String {
        let counts = [
            (self.refused, "refused"),
            (self.silent, "silent"),
            (self.denied, "denied us"),
            (self.rubbish, "answered rubbish"),
            (self.unmeasured, "could not be asked"),
        ];
        let parts: Vec<_> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        parts.join(", ")
    }

    /// How a group stands that can commit, in these words, and may lose so many more.
    pub(super) fn beside(&self, margin: i64, words: String) -> (Standing, String) {
        match margin {
            1.. => (Standing::Quorum, words),
            _ => (Standing::Degraded, format!("{words}; none can be spared{}", self.aside())),
        }
    }

    /// Its words in brackets, to follow others.
    pub(super) fn aside(&self) -> String {
        match self.words() {
            words if words.is_empty() => words,
            words => format!(" ({words})"),
        }
    }
}

/// How a region stands whose members bring no facts, in a group that goes on. Dead processes are no
/// partition: clients there still reach the others.
pub(super) fn out_of_sight<'a>(local: impl IntoIterator<Item = &'a NodeView>) -> (Standing, String) {
    let local: Vec<_> = local.into_iter().collect();
    let absent = Absent::count(local.iter().copied());
    match absent.refused == local.len() {
        true => (Standing::Degraded, "its members refuse connections; the group goes on".to_owned()),
        false => (Standing::Unknown, format!("its members: {}; the group goes on", absent.words())),
    }
}

/// How a group stands of whose voters, or what `they` are called, nobody answers: it cannot be reached
/// from here, which says nothing about its quorum.
pub(super) fn nobody_answers(they: &str, absent: &Absent, views: &[NodeView]) -> (Standing, String) {
    let words = absent.words();
    let complaint = first_complaint(views).map_or(String::new(), |why| format!(": {why}"));
    let unclear = absent.denied + absent.rubbish + absent.unmeasured;
    match unclear {
        0 => (Standing::Unreachable, format!("no {they} answers ({words}){complaint}")),
        _ => (Standing::Unknown, format!("no {they} could be judged ({words}){complaint}")),
    }
}

/// Whether a group that lies across regions may have its quorum where only we cannot see it: of so many
/// voters so many spoke, and the others could be a majority.
pub(super) fn may_go_on(case: &Case<'_>, voters: usize, spoke: usize) -> bool {
    let across = case.group.inside.is_none() && case.cluster.silent_means == SilentMeans::Unknown;
    across && voters.saturating_sub(spoke) > voters / 2
}

/// Those that spoke, which is to say that they answered or refused, have no quorum: it is lost, unless
/// the others may go on out of our sight. Then nothing is known of the group, and only those regions
/// are lost that said so themselves.
///
/// Inside one region, and for a region, the silence of a voter counts as its loss if another one there
/// is cut off by its own word: two have looked for it, that one and we.
pub(super) fn without_quorum(
    case: &Case<'_>,
    past: &mut Past,
    (voters, spoke): (usize, usize),
    words: String,
) -> (Standing, String, BTreeMap<RegionId, (Standing, String)>) {
    let mut regions = BTreeMap::new();
    if !may_go_on(case, voters, spoke) {
        return (Standing::NoQuorum, words, regions);
    }
    for (region, local) in case.group.by_region() {
        let standing = if case.views_of(&local).any(|view| matches!(view, NodeView::Answered(_))) {
            past.cut_off.entry(region).or_insert(case.now);
            (Standing::NoQuorum, words.clone())
        } else {
            let absent = Absent::count(case.views_of(&local)).words();
            (Standing::Unknown, format!("its voters: {absent}; a minority elsewhere has no majority"))
        };
        regions.insert(region, standing);
    }
    (Standing::Unknown, format!("{words}; the others may go on out of sight"), regions)
}

/// The first words of a view that tells why it brought no facts.
pub(super) fn first_complaint<'a>(views: impl IntoIterator<Item = &'a NodeView>) -> Option<&'a str> {
    views.into_iter().find_map(|view| match view {
        NodeView::Answered(_) => None,
        NodeView::Refused(why)
        | NodeView::Silent(why)
        | NodeView::Denied(why)
        | NodeView::Rubbish(why)
        | NodeView::Unmeasured(why) => Some(why.as_str()),
    })
}
