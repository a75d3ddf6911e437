//! The nodes of a cluster as they were found, and whether what is asked for may be done with
//! them: everything that is refused, or asked about, before anything is changed.

use std::sync::Arc;

use super::node::{Missing, Node, open_all};
use super::record::{Record, Stage, not_stale, quoted};
use super::takeover::paused;
use super::words::{question, question_primary};
use super::{Task, not_applied, out_of_reach, stopped};
use crate::agent::Step;
use crate::config::UnreachableWriter;
use crate::io::Class;
use crate::workflow::{Outcome, Retry};

/// The nodes as they were found.
pub(super) struct Scene {
    pub target: Node,
    /// Other nodes that accept writes.
    pub primaries: Vec<Node>,
    /// Other nodes that do not.
    pub standbys: Vec<Node>,
    pub missing: Vec<Missing>,
}

impl Scene {
    /// Looks at every node, and refuses what could not end well.
    pub(super) async fn look(task: &Arc<Task>) -> Step<Self> {
        let (mut nodes, missing) = open_all(task, task.op.nodes.clone()).await;
        let Some(target) = choose(&nodes, &task.op.region) else {
            let own = missing.iter().find(|missing| missing.spec.region == task.op.region);
            return Err(own.map_or_else(
                || not_applied(format!("{} has no node that answers", task.op.region), Retry::Backoff),
                |own| out_of_reach(&own.spec.region, &own.failure),
            ));
        };
        let mut target = nodes.swap_remove(target);
        for node in std::iter::once(&target).chain(&nodes) {
            not_stale(node.record.as_ref(), node.region(), task)?;
        }
        target.lock(task).await?;
        // What was seen before the lock may have been in the middle of something.
        let refreshed = target.refresh(task.statement()).await.map(|_| ());
        refreshed.map_err(|error| stopped(&format!("cannot look at {}", target.region()), &error))?;
        one_history(&target, &nodes)?;
        let (standbys, primaries) = nodes.into_iter().partition::<Vec<_>, _>(|node| node.facts.in_recovery);
        let scene = Self { target, primaries, standbys, missing };
        scene.no_split()?;
        Ok(scene)
    }

    /// Two primaries that went on from the same promotion: nobody can tell which one is right.
    fn no_split(&self) -> Step<()> {
        let timeline = self.target.facts.timeline;
        let all = std::iter::once(&self.target).chain(&self.primaries);
        let rivals = all.filter(|node| !node.facts.in_recovery && node.facts.timeline == timeline);
        let rivals: Vec<&str> = rivals.map(Node::region).collect();
        if rivals.len() < 2 {
            return Ok(());
        }
        let regions = rivals.join(" and ");
        let why = format!(
            "{regions} are primaries on the same timeline {timeline}: a split brain, which only a person can judge"
        );
        Err(not_applied(why, Retry::Never))
    }

    /// Whether the target can be promoted, as far as can be seen before it is tried.
    pub(super) fn may_be_promoted(&self) -> Step<()> {
        let Node { facts, spec, .. } = &self.target;
        if facts.paused {
            return Err(not_applied(paused(&spec.region), Retry::Backoff));
        }
        let user = quoted(&spec.target.user);
        let missing = match (facts.may_promote, facts.may_alter_roles) {
            (true, true) if facts.may_write_down => return Ok(()),
            (true, true) => format!("GRANT CREATE ON DATABASE {} TO {user}", quoted(&spec.target.database)),
            (false, _) => format!("GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO {user}"),
            (true, false) => format!("ALTER ROLE {user} CREATEROLE"),
        };
        Err(not_applied(
            format!("{}: {user} has not the rights to promote it: {missing}", spec.region),
            Retry::Backoff,
        ))
    }

    /// Nodes that may be the writer and cannot be fenced, once it is settled that the promotion goes
    /// on without that: because the file says so, or an operator.
    pub(super) fn suspects(&self, task: &Task) -> Step<Vec<Missing>> {
        let facts = &self.target.facts;
        let left_behind =
            |node: &Node| node.record.as_ref().is_some_and(|record| fenced_by_another(record, task));
        if self.primaries.iter().any(|node| node.facts.timeline == facts.timeline && !left_behind(node)) {
            // The writer is known and answers; who is missing is a standby of it.
            return Ok(Vec::new());
        }
        never_denied(&self.missing)?;
        let ahead = self.standbys.iter().filter(|node| node.facts.received > facts.received);
        let ahead = ahead.max_by_key(|node| node.facts.received);
        match task.call.approved || (accepted(task, &self.missing) && ahead.is_none()) {
            true => Ok(self.missing.clone()),
            false => Err(Outcome::Ask { question: question(task, &self.target, &self.missing, ahead) }),
        }
    }

    /// The region's node is a primary already. Is it the one, or was it left behind by a promotion
    /// elsewhere? Only who is missing could tell.
    pub(super) fn undisputed(&self, task: &Task) -> Step<()> {
        let (target, missing) = (&self.target, &self.missing);
        if missing.is_empty() {
            return Ok(());
        }
        // This execution has promoted it: it says so, or it has gone beyond the fence that this
        // execution put up before.
        let ours = target.record.as_ref().filter(|record| record.is_of(&task.call));
        if ours.is_some_and(|record| record.stage == Stage::Writer || target.facts.timeline > record.timeline)
        {
            return Ok(());
        }
        never_denied(missing)?;
        let doubt = target.record.as_ref().is_some_and(|record| fenced_by_another(record, task));
        match task.call.approved || (accepted(task, missing) && !doubt) {
            true => Ok(()),
            false => Err(Outcome::Ask { question: question_primary(task, target, missing) }),
        }
    }
}

/// Refuses nodes of another database system, and a target that a promotion has left behind.
fn one_history(target: &Node, others: &[Node]) -> Step<()> {
    for node in others {
        let (new, other) = (target.region(), node.region());
        if node.facts.system != target.facts.system {
            let why = format!(
                "{new} and {other} are not of one database system ({} and {}): {new} is no standby of {other}",
                target.facts.system, node.facts.system
            );
            return Err(not_applied(why, Retry::Never));
        }
        if node.facts.timeline > target.facts.timeline {
            let why = format!(
                "{new} is on the older timeline {}, {other} on {}: what {new} has was left behind by a promotion; rewind it first (pg_rewind)",
                target.facts.timeline, node.facts.timeline
            );
            // A standby may yet follow to the newer one by itself; a primary never does.
            let retry = if target.facts.in_recovery { Retry::Backoff } else { Retry::Never };
            return Err(not_applied(why, retry));
        }
    }
    Ok(())
}

/// The region's node: the one that is the writer already, or else the one that has most.
fn choose(nodes: &[Node], region: &str) -> Option<usize> {
    let own = nodes.iter().enumerate().filter(|(_, node)| node.region() == region);
    own.max_by_key(|(n, node)| {
        let facts = &node.facts;
        (!facts.in_recovery, facts.timeline, facts.received, std::cmp::Reverse(*n))
    })
    .map(|(n, _)| n)
}

/// A node that keeps us from fencing it is alive: nobody can accept that risk.
fn never_denied(suspects: &[Missing]) -> Step<()> {
    match suspects.iter().find(|missing| missing.failure.class == Class::Denied) {
        None => Ok(()),
        Some(Missing { spec, failure }) => {
            let why = format!("{} may be the writer and cannot be fenced: {}", spec.region, failure.words);
            Err(not_applied(why, Retry::Backoff))
        }
    }
}

/// What can be accepted beforehand (`unreachable_writer: promote`) is that the old writer may
/// live on: not that we may be blind, or be the ones who are cut off.
fn accepted(task: &Task, suspects: &[Missing]) -> bool {
    let Some(first) = suspects.first() else { return true };
    let away = |missing: &Missing| matches!(missing.failure.class, Class::Refused | Class::Silent);
    task.op.unreachable_writer == UnreachableWriter::Promote
        && suspects.iter().all(|missing| away(missing) && missing.spec.region == first.spec.region)
}

/// A fence that another execution put up there: that one may have made somebody else the writer.
fn fenced_by_another(record: &Record, task: &Task) -> bool {
    record.stage != Stage::Writer && !record.is_of(&task.call)
}
