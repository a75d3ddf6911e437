//! MySQL Group Replication: one short session per member and round.
//!
//! Every member lists the group as it sees it. A member that is cut off goes on listing itself as
//! `ONLINE` and `PRIMARY`, is not read-only and answers reads; what tells is that it lists half of
//! the members or more as `UNREACHABLE`. Its own row is believed only when it speaks against itself.
//! Not asked: a ping, `SELECT 1`, `@@super_read_only` as a sign of health, reads of tables.
//!
//! What takes the others is `START TRANSACTION` under the consistency `BEFORE`: it sends a message
//! through the group and waits until it is back. Without a majority it waits until there is one
//! again, and neither a timeout nor `KILL` ends it (seen with 9.7: the session stays, `Killed`, in
//! the hook). So it is looked first whether an earlier one still hangs there; then that is the
//! answer, and no second one is opened.

use std::time::Duration;

use super::mysql::{failed, open};
use crate::cluster::{ComponentFacts, ComponentView, Facts, LinearizableResult};
use crate::config::{HostPort, MysqlGrOptions};
use crate::io::mysql::{MysqlFailure, Row};
use crate::io::{Contact, Failure, Net};

/// A row for each member that this one knows of, with what this one says of itself beside.
const QUESTION: &str = "SELECT m.member_id, m.member_state, m.member_role, \
        IFNULL(s.view_id, ''), IFNULL(s.count_transactions_remote_in_applier_queue, 0), \
        @@global.server_uuid, @@global.super_read_only, @@global.gtid_executed, \
        IFNULL((SELECT variable_value FROM performance_schema.global_variables \
                WHERE variable_name = 'group_replication_group_name'), '') \
    FROM performance_schema.replication_group_members m \
    LEFT JOIN performance_schema.replication_group_member_stats s USING (member_id)";
/// An earlier probe that still hangs: by its words, ours or another site's. Everybody sees the
/// sessions of their own user.
const HANGING: &str = "SELECT COUNT(*) FROM information_schema.processlist \
    WHERE info = 'START TRANSACTION /* pointsman */' AND time >= 2";
const BEFORE: &str = "SET SESSION group_replication_consistency = 'BEFORE'";
const BEGIN: &str = "START TRANSACTION /* pointsman */";

/// ER_RUN_HOOK_ERROR, and "The server is not configured properly to be an active member": it has
/// left the group or lost it while waiting.
const FOR_WANT_OF_A_QUORUM: [u16; 2] = [3100, 3092];
/// ER_SERVER_OFFLINE_MODE: what a member does that has left the group (9.x by default).
const OFFLINE_MODE: u16 = 3032;

/// What a member says of itself and the others.
pub(super) async fn status(
    net: &Net,
    options: &MysqlGrOptions,
    address: &HostPort,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let mut contact = Contact::new(timeout);
    let asked = async {
        let mut session = open(&mut contact, net, &options.login, address).await?;
        session.query(&contact, QUESTION).await
    };
    let rows = match asked.await {
        Ok(rows) => rows,
        Err(MysqlFailure { code: Some(OFFLINE_MODE), .. }) => {
            let state = "offline mode".to_owned();
            return Ok(Facts::Component(ComponentFacts { state, ..ComponentFacts::default() }));
        }
        Err(error) => return Err(error.failure),
    };
    facts(&rows).map(Facts::Component).ok_or_else(|| {
        Failure::rubbish(format!("{address} is no member of Group Replication: it lists no members"))
    })
}

/// Sends a message through the group, and waits until it is back.
pub(super) async fn linearizable(
    net: &Net,
    options: &MysqlGrOptions,
    address: &HostPort,
) -> LinearizableResult {
    let mut contact = Contact::new(options.linearizable_timeout);
    let ready = async {
        let mut session = open(&mut contact, net, &options.login, address).await?;
        let hanging = session.query(&contact, HANGING).await?;
        session.query(&contact, BEFORE).await?;
        Ok::<_, MysqlFailure>((session, hanging))
    };
    let (mut session, hanging) = match ready.await {
        Ok(ready) => ready,
        Err(error) => return LinearizableResult::Unmeasured(error.failure.words),
    };
    if hanging.first().and_then(|row| row.first()?.as_deref()).is_none_or(|count| count != "0") {
        return LinearizableResult::Hung;
    }
    match session.query(&contact, BEGIN).await {
        Ok(_) => LinearizableResult::Passed,
        Err(error) => failed(&error, &FOR_WANT_OF_A_QUORUM),
    }
}

/// How a member lists another, or itself.
struct Listed<'a> {
    id: &'a str,
    state: &'a str,
    role: &'a str,
    view: &'a str,
    queue: u64,
}

fn facts(rows: &[Row]) -> Option<ComponentFacts> {
    let text = |row: &'_ Row, column: usize| row.get(column).cloned().flatten();
    let first = rows.first()?;
    let own = text(first, 5)?;
    let read_only = text(first, 6)? != "0";
    let executed = text(first, 7)?;
    let cluster = text(first, 8)?;
    let listed: Vec<Listed<'_>> = rows
        .iter()
        .map(|row| {
            let cell = |column: usize| row.get(column)?.as_deref();
            Some(Listed {
                id: cell(0)?,
                state: cell(1)?,
                role: cell(2)?,
                view: cell(3)?,
                queue: cell(4)?.parse().ok()?,
            })
        })
        .collect::<Option<_>>()?;

    let me = listed.iter().find(|member| member.id == own);
    let unreachable = listed.iter().filter(|member| member.state == "UNREACHABLE").count();
    let (state, view) = match me {
        None => ("not in the group", None),
        // It lists itself alone, in a state of its own: OFFLINE, ERROR.
        Some(me) if !matches!(me.state, "ONLINE" | "RECOVERING") => (me.state, None),
        Some(_) if 2 * unreachable >= listed.len() => ("most members UNREACHABLE", None),
        Some(me) => (me.state, view(me.view, listed.len())),
    };
    let online = me.is_some_and(|me| me.state == "ONLINE");
    let primaries: Vec<&Listed<'_>> = listed.iter().filter(|member| member.role == "PRIMARY").collect();
    Some(ComponentFacts {
        cluster,
        ready: view.is_some() && online,
        synced: online,
        view,
        state: state.to_owned(),
        // In multi-primary mode all are.
        primary: match primaries.as_slice() {
            [one] => Some(one.id.to_owned()),
            _ => None,
        },
        read_only,
        stalled: false,
        committed: transactions(&executed),
        queue: me.map_or(0, |me| me.queue),
        member: own,
    })
}

/// `17952474363871255:5`: which incarnation of the group, and how many changes it has seen.
fn view(id: &str, size: usize) -> Option<ComponentView> {
    let (name, number) = id.rsplit_once(':')?;
    Some(ComponentView { number: number.parse().ok()?, name: name.to_owned(), size })
}

/// How many transactions are in a GTID set: `uuid:1-5:7,uuid:tag:1-2`.
fn transactions(set: &str) -> u64 {
    let of_interval = |interval: &str| match interval.split_once('-') {
        Some((first, last)) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.checked_sub(first)?.saturating_add(1))
        }
        None => interval.parse::<u64>().ok().map(|_| 1),
    };
    let parts = set.split(',').flat_map(|source| source.trim().split(':').skip(1));
    parts.filter_map(of_interval).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "3552c86e-e580-11f1-b7ab-02fc00000001";
    const SECOND: &str = "37f74fd1-e580-11f1-a470-02fc00000001";
    const THIRD: &str = "39d8cf28-e580-11f1-a23d-02fc00000001";

    /// What the member `OWN` says, by the state and role of each member it lists.
    fn says(view: &str, members: &[(&str, &str, &str)]) -> ComponentFacts {
        let rows: Vec<Row> = members
            .iter()
            .map(|(id, state, role)| {
                let cells = [
                    *id,
                    *state,
                    *role,
                    view,
                    "0",
                    OWN,
                    "0",
                    "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1-13",
                    "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
                ];
                cells.iter().map(|cell| Some((*cell).to_owned())).collect()
            })
            .collect();
        facts(&rows).unwrap()
    }

    #[test]
    fn the_own_row_of_a_member_that_is_cut_off_lies() {
        // MySQL 9.7, captured: an isolated old primary, writable by its own word.
        let facts = says(
            "17952474363871255:5",
            &[
                (OWN, "ONLINE", "PRIMARY"),
                (SECOND, "UNREACHABLE", "SECONDARY"),
                (THIRD, "UNREACHABLE", "SECONDARY"),
            ],
        );
        assert_eq!((facts.view, facts.ready), (None, false));
        assert_eq!((facts.state.as_str(), facts.read_only), ("most members UNREACHABLE", false));
        // One of three may be missed; two of four may not: half is no majority.
        let facts = says(
            "17952474363871255:5",
            &[
                (OWN, "ONLINE", "PRIMARY"),
                (SECOND, "ONLINE", "SECONDARY"),
                (THIRD, "UNREACHABLE", "SECONDARY"),
            ],
        );
        let view = facts.view.unwrap();
        assert_eq!((view.number, view.name.as_str(), view.size), (5, "17952474363871255", 3));
        assert_eq!((facts.primary.as_deref(), facts.ready, facts.committed), (Some(OWN), true, 13));
        let facts = says(
            "1:5",
            &[
                (OWN, "ONLINE", "PRIMARY"),
                (SECOND, "ONLINE", "SECONDARY"),
                (THIRD, "UNREACHABLE", "SECONDARY"),
                ("4", "UNREACHABLE", "SECONDARY"),
            ],
        );
        assert_eq!(facts.view, None);
    }

    #[test]
    fn after_a_partition_has_healed_it_goes_through_error_and_recovering() {
        let facts = says("", &[(OWN, "ERROR", "")]);
        assert_eq!((facts.view, facts.ready, facts.state.as_str()), (None, false, "ERROR"));
        let facts = says(
            "17952474363871255:7",
            &[
                (OWN, "RECOVERING", "SECONDARY"),
                (SECOND, "ONLINE", "PRIMARY"),
                (THIRD, "ONLINE", "SECONDARY"),
            ],
        );
        assert!(facts.view.is_some() && !facts.ready && !facts.synced);
        assert_eq!(facts.primary.as_deref(), Some(SECOND));
        // A restarted one that has not joined yet, with mysqld answering.
        let facts = says("", &[(OWN, "OFFLINE", "")]);
        assert_eq!(facts.view, None);
    }

    #[test]
    fn counts_transactions() {
        assert_eq!(transactions(""), 0);
        assert_eq!(transactions("a-b:1-13"), 13);
        assert_eq!(transactions("a-b:1-5:7,\nc-d:3:9-10"), 9);
        assert_eq!(transactions("a-b:tag:1-2:other:4"), 3);
        assert_eq!(transactions("a-b:5-1"), 0);
    }
}
