//! The parts of a sharded system: queues, partitions, tablets, ranges.
//!
//! A system that has its quorum as a whole may still have lost it for some of its parts: each is
//! a small group of its own, on its own choice of members. What members tell of them is judged on
//! top of the judgement of the whole:
//! 1. Only while the whole can commit: what a minority thinks of the parts is old.
//! 2. Only members that take part in the quorum count, and of their views the worst. All the
//!    stale answers that were captured are too good, never too bad: an isolated leader goes on
//!    calling its queues running. A view that is bad for a moment only, as while the leaders of
//!    many parts are elected anew, does not outlast the time to truth.
//! 3. More parts lost than the configuration tolerates: electing, and lost after the time to
//!    truth. Fewer, or some that one more loss would end: degraded.
//! 4. A linearizable probe proves the one part that it went through, so that it excuses no other.

#[cfg(test)]
mod tests;

use super::case::Case;
use super::{Evidence, Facts, Judgement, NodeView, PeerFacts, Round, Standing};
use crate::base::Mono;
use crate::config::LostMax;

/// Names of parts that are kept for the words of a judgement.
const NAMES_MAX: usize = 3;

/// What one member tells of the parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shards {
    /// Of which parts it speaks.
    pub scope: Scope,
    /// How many there are.
    pub total: u64,
    /// How many of them cannot take a write.
    pub lost: u64,
    /// How many of the others one more loss would end.
    pub critical: u64,
    /// Some of the lost ones, or else of the critical ones, by name.
    pub names: Vec<String>,
}

/// Of which parts a member speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// Of all that the system has: views are compared, and the worst of them counts.
    #[default]
    Whole,
    /// Of those that it answers for, and nobody else does: views are added up.
    Own,
}

/// How one part does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// It can lose one of its members.
    Safe,
    /// One more loss ends it.
    Critical,
    /// It cannot take a write.
    Lost,
}

impl Shards {
    /// Counts parts by name.
    pub fn count<N: Into<String>>(scope: Scope, parts: impl IntoIterator<Item = (N, Part)>) -> Self {
        let mut shards = Self { scope, ..Self::default() };
        let mut critical = Vec::new();
        for (name, part) in parts {
            shards.total += 1;
            let (n, names) = match part {
                Part::Safe => continue,
                Part::Critical => (&mut shards.critical, &mut critical),
                Part::Lost => (&mut shards.lost, &mut shards.names),
            };
            *n += 1;
            if names.len() < NAMES_MAX {
                names.push(name.into());
            }
        }
        if shards.lost == 0 {
            shards.names = critical;
        }
        shards
    }

    /// All of it, on one line for a person.
    pub fn words(&self) -> String {
        format!("{} parts, {} lost, {} critical", self.total, self.lost, self.critical)
    }

    /// Worse first by share of what is lost, then by what is critical.
    fn badness(&self) -> (u64, u64) {
        const PER: u64 = 1_000_000;
        let share = |n: u64| n.saturating_mul(PER) / self.total.max(1);
        (share(self.lost), share(self.critical))
    }

    fn add(&mut self, other: &Self) {
        if (self.lost == 0) != (other.lost == 0) {
            // Names of what is critical do not belong beside those of what is lost.
            if self.lost == 0 {
                self.names.clone_from(&other.names);
            }
        } else {
            self.names.extend(other.names.iter().cloned());
            self.names.truncate(NAMES_MAX);
        }
        self.total += other.total;
        self.lost += other.lost;
        self.critical += other.critical;
    }
}

/// Whether a member that told these facts takes part in the quorum that was found.
fn within(facts: &Facts, evidence: &Evidence) -> bool {
    match facts {
        // A system that tells no term has term 0, and none in the evidence.
        Facts::Raft(raft) => raft.leader.is_some() && raft.term == evidence.term.unwrap_or(0),
        Facts::Peer(PeerFacts { live: Some(live), .. }) => *live > 0,
        Facts::Peer(peer) => peer.sees.len() > evidence.voters / 2,
        _ => true,
    }
}

/// What the members of the quorum tell, put together. `None`: none of them speaks of parts.
fn gather(round: &Round, evidence: &Evidence) -> Option<Shards> {
    let mut whole: Option<&Shards> = None;
    let mut own: Option<Shards> = None;
    for view in &round.views {
        let NodeView::Answered(facts) = view else { continue };
        let Some(shards) = facts.shards().filter(|_| within(facts, evidence)) else { continue };
        match shards.scope {
            Scope::Whole if whole.is_none_or(|worst| worst.badness() < shards.badness()) => {
                whole = Some(shards);
            }
            Scope::Whole => {}
            Scope::Own => match &mut own {
                Some(sum) => sum.add(shards),
                None => own = Some(shards.clone()),
            },
        }
    }
    own.or_else(|| whole.cloned())
}

/// Weighs the parts on top of what was found of the whole. `lost_since`: since when more of them are
/// lost than is tolerated.
pub(super) fn weigh(case: &Case<'_>, lost_since: &mut Option<Mono>, judgement: &mut Judgement) {
    let Some((noun, lost_max)) = case.cluster.kind.parts() else { return };
    if !commits(judgement.verdict) {
        return;
    }
    let Some(shards) = gather(case.round, &judgement.evidence) else { return };
    judgement.evidence.parts_total = Some(shards.total);
    judgement.evidence.parts_lost = Some(shards.lost);
    judgement.evidence.parts_critical = Some(shards.critical);
    let (standing, words) = match found(&shards, noun, lost_max) {
        Found::Well => {
            *lost_since = None;
            return;
        }
        Found::Some(words) => {
            *lost_since = None;
            (Standing::Degraded, words)
        }
        Found::TooMany(words) => {
            let lasting = case.now.since(*lost_since.get_or_insert(case.now));
            case.in_time(lasting, words, Standing::NoQuorum)
        }
    };
    let margin = &mut judgement.evidence.margin;
    *margin = (*margin).min(if standing == Standing::Degraded { 0 } else { -1 });
    worsen(&mut judgement.verdict, &mut judgement.reason, standing, &words);
    for (known, reason) in judgement.regions.values_mut() {
        worsen(known, reason, standing, &words);
    }
}

fn commits(standing: Standing) -> bool {
    matches!(standing, Standing::Quorum | Standing::Degraded | Standing::Recovering)
}

/// A region, or the group, stands no better than the parts do.
fn worsen(known: &mut Standing, reason: &mut String, standing: Standing, words: &str) {
    let worse = match standing {
        Standing::Degraded => matches!(*known, Standing::Quorum | Standing::Degraded),
        _ => commits(*known),
    };
    if worse {
        *reason = match standing {
            // Why it was degraded before is still true.
            Standing::Degraded => format!("{words}; {reason}"),
            _ => words.to_owned(),
        };
        *known = standing;
    }
}

/// What the parts come to, in words.
pub(super) enum Found {
    /// None is lost, and none critical.
    Well,
    /// Some are, and that is tolerated.
    Some(String),
    /// More are lost than is tolerated.
    TooMany(String),
}

/// Holds the parts against what is tolerated.
pub(super) fn found(shards: &Shards, noun: &str, lost_max: LostMax) -> Found {
    let Shards { total, lost, critical, names, .. } = shards;
    let names = match names.len() as u64 {
        0 => String::new(),
        shown => {
            let more = if *(if *lost > 0 { lost } else { critical }) > shown { ", …" } else { "" };
            format!(" ({}{more})", names.join(", "))
        }
    };
    let words = match (lost, critical) {
        (0, 0) => return Found::Well,
        (0, _) => format!("{critical} of {total} {noun} can lose no further member{names}"),
        _ => format!("{lost} of {total} {noun} cannot take a write{names}"),
    };
    match lost_max.exceeded(*lost, *total) {
        true => Found::TooMany(words),
        false => Found::Some(words),
    }
}
