//! Cassandra: every node is asked in CQL what it knows of itself and of the ring.
//!
//! All that is asked is answered from the node's own memory and tables, isolated or not, and so
//! none of it is believed to tell who lives: `system.peers` and `system_schema` tell who keeps what,
//! and `system_views.gossip_info` (4.1 and later) the newest heartbeat of each host that has
//! reached the node. What lies and is not asked: `nodetool status`, the node's own up and down of
//! its peers, `OPTIONS`, a TCP connection, reads and writes at `ONE` or `ANY` (hints make the
//! latter succeed with every replica gone).
//!
//! A login is a read at `LOCAL_QUORUM` of `system_auth` in itself. Without replicas of it nodes say
//! "Bad credentials"; that is told apart from a denial.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{Facts, HostId, LinearizableResult, ReplicaFacts, Replication, Ring, RingHost};
use crate::config::{CassandraOptions, Credential, HostPort, Level};
use crate::io::cql::{self, Answer, Complaint, Login, Row, Session, Target, elements};
use crate::io::{Class, Contact, Failure, Net, TrustFiles, read_secret};

const LOCAL: &str = "SELECT cluster_name, host_id, data_center, rack, tokens, rpc_address FROM system.local";
const PEERS: &str = "SELECT host_id, data_center, rack, tokens, native_address FROM system.peers_v2";
/// Before 4.0.
const OLD_PEERS: &str = "SELECT host_id, data_center, rack, tokens, rpc_address FROM system.peers";
const KEYSPACES: &str = "SELECT keyspace_name, replication FROM system_schema.keyspaces";
/// Since 4.1.
const BEATS: &str = "SELECT host_id, generation, heartbeat FROM system_views.gossip_info";
/// Since 5.0.
const HINTS: &str = "SELECT host_id, files FROM system_views.pending_hints";
/// Where the roles are.
const ROLES: &str = "system_auth";
/// The canary's rows, that need not be there: so many, for as many token ranges.
const ROWS: i32 = 1024;

/// What a node says.
pub(super) async fn status(
    net: &Net,
    options: &CassandraOptions,
    address: &HostPort,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let password = password(options, contact).await?;
    let trust = TrustFiles { ca: options.access.ca.clone(), identity: options.access.identity.clone() };
    let target = Target {
        address,
        tls: options.tls.then_some(&trust),
        plain: password.as_ref().map(|(user, password)| (*user, password)),
    };
    let mut session = match cql::log_in(contact, net, target).await? {
        Login::In(session) => session,
        Login::Lost(why) => {
            return Ok(Facts::Replica(Box::new(ReplicaFacts {
                locked_out: Some(why),
                ..ReplicaFacts::default()
            })));
        }
    };
    let questions = [LOCAL, PEERS, KEYSPACES, BEATS, HINTS];
    let mut answers = ask(&mut session, contact, &questions).await?;
    if matches!(&answers[1], Answer::Error(complaint) if complaint.code == Complaint::INVALID) {
        answers.splice(1..2, ask(&mut session, contact, &[OLD_PEERS]).await?);
    }
    facts(options, answers)
        .map(|facts| Facts::Replica(Box::new(facts)))
        .map_err(|(class, words)| Failure { class, words: format!("{address} {words}") })
}

async fn ask(
    session: &mut Session<'_>,
    contact: &mut Contact,
    questions: &[&str],
) -> Result<Vec<Answer>, Failure> {
    let questions: Vec<_> = questions.iter().map(|question| (*question, Level::One)).collect();
    session.ask(contact, &questions).await
}

async fn password<'a>(
    options: &'a CassandraOptions,
    contact: &Contact,
) -> Result<Option<(&'a str, crate::base::Secret)>, Failure> {
    Ok(match &options.access.credential {
        Some(Credential::Basic { user, password }) => {
            Some((user, read_secret(password, contact.deadline()).await?))
        }
        _ => None,
    })
}

fn facts(options: &CassandraOptions, answers: Vec<Answer>) -> Result<ReplicaFacts, (Class, String)> {
    let mut errors = Vec::new();
    let mut rows = answers.into_iter().map(|answer| match answer {
        Answer::Rows(rows) => Ok(rows),
        Answer::Error(complaint) => Err(complaint),
    });
    let mut next = || rows.next().expect("an answer to each question");
    let [local, peers, keyspaces, beats, hints] = [next(), next(), next(), next(), next()];
    let odd = |what: &str| (Class::Rubbish, format!("answers {what} with what makes no sense"));
    let refused = |complaint: Complaint| {
        let class = match complaint.code {
            Complaint::INVALID => Class::Rubbish,
            // Overloaded, bootstrapping, unauthorized, …
            _ => Class::Denied,
        };
        (class, format!("does not answer: {}", complaint.line()))
    };
    let local = local.map_err(refused)?;
    let own = local.first().ok_or_else(|| odd("system.local"))?;
    let (host, itself, place) = member(&own[1..]).ok_or_else(|| odd("system.local"))?;

    let mut hosts = BTreeMap::from([(host, itself)]);
    let mut places = BTreeMap::from([(host, place)]);
    let peers = peers.map_err(refused)?;
    for peer in &peers {
        // One that has never told its id is none yet.
        let Some((host, peer, place)) = member(peer) else { continue };
        hosts.insert(host, peer);
        places.insert(host, place);
    }
    let matters = |name: &String| name == ROLES || options.keyspaces.contains_key(name);
    let keyspaces = keyspaces.map_err(refused)?;
    let keyspaces: BTreeMap<String, Replication> =
        keyspaces.iter().filter_map(replication).filter(|(name, _)| matters(name)).collect();
    for (name, keyspace) in &options.keyspaces {
        match keyspaces.get(name) {
            _ if keyspace.replication.is_some() => {}
            None => errors.push(format!("there is no keyspace `{name}`")),
            Some(Replication::Unknown(class)) => {
                errors.push(format!("`{name}` is replicated by `{class}`, which is not known here"));
            }
            Some(_) => {}
        }
    }

    let mut optional = |asked: Result<Vec<Row>, Complaint>, what: &str| match asked {
        Ok(rows) => Some(rows),
        Err(complaint) => {
            // That there is no such table in this version is no complaint.
            if complaint.code == Complaint::UNAUTHORIZED {
                errors.push(format!("we may not read {what}"));
            }
            None
        }
    };
    let beats = optional(beats, "system_views.gossip_info");
    let hints = optional(hints, "system_views.pending_hints").unwrap_or_default();
    Ok(ReplicaFacts {
        cluster: text(own.first()).unwrap_or_default(),
        host: Some(host),
        datacenter: hosts[&host].datacenter.clone(),
        ring: Some(Ring { hosts, keyspaces }),
        places,
        beats: beats.map(|rows| rows.iter().filter_map(beat).collect()),
        hints: hints.iter().filter_map(hint).collect(),
        locked_out: None,
        errors,
    })
}

/// Id, datacenter, rack, tokens, address.
fn member(row: &[Option<Vec<u8>>]) -> Option<(HostId, RingHost, String)> {
    let tokens = row.get(3)?.as_deref()?;
    let tokens = elements(tokens, 1)?.into_iter().map(|token| std::str::from_utf8(token).ok()?.parse().ok());
    // ByteOrderedPartitioner has tokens that are no numbers.
    let mut tokens = tokens.collect::<Option<Vec<i128>>>()?;
    tokens.sort_unstable();
    let datacenter = text(row.get(1))?;
    let rack = text(row.get(2))?;
    let place = row.get(4).and_then(|cell| address(cell.as_deref()?)).unwrap_or_default();
    Some((id(row.first()?.as_deref()?)?, RingHost { datacenter, rack, tokens }, place))
}

fn replication(row: &Row) -> Option<(String, Replication)> {
    let pairs = elements(row.get(1)?.as_deref()?, 2)?;
    let options = pairs.chunks_exact(2).map(|pair| {
        (String::from_utf8_lossy(pair[0]).into_owned(), String::from_utf8_lossy(pair[1]).into_owned())
    });
    Some((text(row.first())?, Replication::read(&options.collect())))
}

/// Here the id is written out.
fn beat(row: &Row) -> Option<(HostId, (i64, i64))> {
    let written = text(row.first())?;
    let host = HostId::from_str_radix(&written.replace('-', ""), 16).ok()?;
    Some((host, (number(row.get(1))?, number(row.get(2))?)))
}

fn hint(row: &Row) -> Option<(HostId, u64)> {
    Some((id(row.first()?.as_deref()?)?, u64::try_from(number(row.get(1))?).ok()?))
}

fn text(cell: Option<&Option<Vec<u8>>>) -> Option<String> {
    String::from_utf8(cell?.clone()?).ok()
}

fn id(cell: &[u8]) -> Option<HostId> {
    Some(HostId::from_be_bytes(cell.try_into().ok()?))
}

fn number(cell: Option<&Option<Vec<u8>>>) -> Option<i64> {
    let cell = cell?.as_deref()?;
    match cell.len() {
        4 => Some(i32::from_be_bytes(cell.try_into().ok()?).into()),
        8 => Some(i64::from_be_bytes(cell.try_into().ok()?)),
        _ => None,
    }
}

fn address(cell: &[u8]) -> Option<String> {
    match cell.len() {
        4 => Some(std::net::Ipv4Addr::from(<[u8; 4]>::try_from(cell).ok()?).to_string()),
        16 => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(cell).ok()?).to_string()),
        _ => None,
    }
}

/// Reads at the level of the canary through this node, each time another row, so that in time every
/// range has its turn.
pub(super) async fn linearizable(
    net: &Net,
    options: &CassandraOptions,
    address: &HostPort,
) -> LinearizableResult {
    let mut contact = Contact::new(options.linearizable_timeout);
    match read(net, options, address, &mut contact).await {
        Ok(result) => result,
        Err(failure) => super::unanswered(failure, &contact),
    }
}

async fn read(
    net: &Net,
    options: &CassandraOptions,
    address: &HostPort,
    contact: &mut Contact,
) -> Result<LinearizableResult, Failure> {
    let Some(canary) = &options.canary else {
        return Err(Failure::unmeasured("no table is configured to read"));
    };
    let password = password(options, contact).await?;
    let trust = TrustFiles { ca: options.access.ca.clone(), identity: options.access.identity.clone() };
    let target = Target {
        address,
        tls: options.tls.then_some(&trust),
        plain: password.as_ref().map(|(user, password)| (*user, password)),
    };
    let mut session = match cql::log_in(contact, net, target).await? {
        Login::In(session) => session,
        // It has not come to the read.
        Login::Lost(why) => {
            return Ok(LinearizableResult::Unmeasured(format!("{address} lets nobody in: {why}")));
        }
    };
    let (keyspace, table, column) = (&canary.keyspace, &canary.table, &canary.column);
    let question = format!(
        "SELECT \"{column}\" FROM \"{keyspace}\".\"{table}\" WHERE \"{column}\" = {}",
        fastrand::i32(0..ROWS)
    );
    let answers = session.ask(contact, &[(question.as_str(), canary.level)]).await?;
    Ok(match answers.into_iter().next() {
        Some(Answer::Rows(_)) => LinearizableResult::Passed,
        Some(Answer::Error(complaint)) => refusal(address, canary.level, &complaint),
        None => LinearizableResult::Unmeasured(format!("{address} does not answer")),
    })
}

/// Only the want of replicas is one. An overloaded node, a table that is not there, a right that
/// we lack say nothing.
fn refusal(address: &HostPort, level: Level, complaint: &Complaint) -> LinearizableResult {
    let words = format!("{address} fails a read at {}: {}", level.word(), complaint.line());
    match complaint.code {
        Complaint::UNAVAILABLE | Complaint::READ_TIMEOUT | Complaint::READ_FAILURE => {
            LinearizableResult::NoQuorum(words)
        }
        _ => LinearizableResult::Unmeasured(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Keyspace;

    fn cell(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }

    fn set(elements: &[&str]) -> Option<Vec<u8>> {
        let mut cell = (elements.len() as i32).to_be_bytes().to_vec();
        for element in elements {
            cell.extend_from_slice(&(element.len() as i32).to_be_bytes());
            cell.extend_from_slice(element.as_bytes());
        }
        Some(cell)
    }

    fn map(pairs: &[&str]) -> Option<Vec<u8>> {
        let mut cell = set(pairs).unwrap();
        cell[..4].copy_from_slice(&(pairs.len() as i32 / 2).to_be_bytes());
        Some(cell)
    }

    const ONE: HostId = 0x2b51_4c0b_5a8f_498d_a267_a5db_0582_1baa;
    const TWO: HostId = 0xe312_129c_b492_4943_b0a4_7f80_2de6_816c;

    fn complaint(code: u32, words: &str) -> Complaint {
        Complaint { code, words: words.to_owned(), replicas: None }
    }

    /// As captured from two nodes of 5.0.4.
    fn told() -> Vec<Answer> {
        let class = "org.apache.cassandra.locator.NetworkTopologyStrategy";
        let one = ONE.to_be_bytes();
        let two = TWO.to_be_bytes();
        vec![
            Answer::Rows(vec![vec![
                cell(b"orders"),
                cell(&one),
                cell(b"dc1"),
                cell(b"r1"),
                set(&["-9223372036854775708"]),
                cell(&[127, 0, 91, 1]),
            ]]),
            Answer::Rows(vec![
                vec![
                    cell(&two),
                    cell(b"dc1"),
                    cell(b"r1"),
                    set(&["-6148914691236517106"]),
                    cell(&[127, 0, 91, 2]),
                ],
                // It is joining, and has told nothing yet.
                vec![None, None, None, None, None],
            ]),
            Answer::Rows(vec![
                vec![cell(b"orders"), map(&["class", class, "dc1", "3"])],
                vec![cell(b"system_auth"), map(&["class", class, "dc1", "3"])],
                vec![cell(b"other"), map(&["class", class, "dc1", "1"])],
            ]),
            Answer::Rows(vec![vec![
                cell(b"e312129c-b492-4943-b0a4-7f802de6816c"),
                cell(&1_795_297_560i32.to_be_bytes()),
                cell(&88i32.to_be_bytes()),
            ]]),
            Answer::Rows(vec![vec![cell(&two), cell(&3i32.to_be_bytes())]]),
        ]
    }

    fn options() -> CassandraOptions {
        let keyspaces = BTreeMap::from([("orders".to_owned(), Keyspace::default())]);
        CassandraOptions { keyspaces, ..CassandraOptions::default() }
    }

    #[test]
    fn what_a_node_tells() {
        let facts = facts(&options(), told()).unwrap();
        let ring = facts.ring.unwrap();
        assert_eq!(
            (facts.cluster.as_str(), facts.host, facts.datacenter.as_str()),
            ("orders", Some(ONE), "dc1")
        );
        assert_eq!(ring.hosts[&ONE].tokens, [-9_223_372_036_854_775_708]);
        assert_eq!(ring.hosts.keys().copied().collect::<Vec<_>>(), [ONE, TWO]);
        assert_eq!(facts.places[&TWO], "127.0.91.2");
        let three = Replication::ByDatacenter(BTreeMap::from([("dc1".to_owned(), 3)]));
        assert_eq!(
            ring.keyspaces,
            BTreeMap::from([("orders".into(), three.clone()), ("system_auth".into(), three)])
        );
        assert_eq!(facts.beats, Some(BTreeMap::from([(TWO, (1_795_297_560, 88))])));
        assert_eq!(facts.hints, BTreeMap::from([(TWO, 3)]));
        assert_eq!(facts.errors, [""; 0]);
    }

    #[test]
    fn tables_that_are_not_there_and_rights_that_we_lack() {
        let mut old = told();
        old[3] = Answer::Error(complaint(Complaint::INVALID, "keyspace system_views does not exist"));
        old[4] = old[3].clone();
        let told_by_old = facts(&options(), old).unwrap();
        assert_eq!((told_by_old.beats, told_by_old.errors.len()), (None, 0));
        let mut poor = told();
        poor[3] = Answer::Error(complaint(Complaint::UNAUTHORIZED, "no SELECT permission"));
        assert_eq!(facts(&options(), poor).unwrap().errors, ["we may not read system_views.gossip_info"]);
        let mut busy = told();
        busy[0] = Answer::Error(complaint(0x1001, "overloaded"));
        assert_eq!(facts(&options(), busy).unwrap_err().0, Class::Denied);
        let mut strange = told();
        strange[0] = Answer::Rows(Vec::new());
        assert_eq!(facts(&options(), strange).unwrap_err().0, Class::Rubbish);
        let mut without = options();
        without.keyspaces.insert("gone".to_owned(), Keyspace::default());
        assert_eq!(facts(&without, told()).unwrap().errors, ["there is no keyspace `gone`"]);
    }

    #[test]
    fn only_the_want_of_replicas_fails_a_read() {
        let at = HostPort { host: "c1".to_owned(), port: 9042 };
        let of = |code| refusal(&at, Level::LocalQuorum, &complaint(code, "words"));
        for code in [0x1000, 0x1200, 0x1300] {
            assert!(matches!(of(code), LinearizableResult::NoQuorum(_)), "{code:x}");
        }
        // Server error, overloaded, bootstrapping, unauthorized, invalid.
        for code in [0x0000, 0x1001, 0x1002, 0x2100, 0x2200] {
            assert!(matches!(of(code), LinearizableResult::Unmeasured(_)), "{code:x}");
        }
    }
}
