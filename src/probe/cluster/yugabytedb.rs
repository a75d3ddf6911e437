//! YugabyteDB: the masters, a raft group; and the tablets, each a raft group of its own.
//!
//! Every master is asked two things at its web port:
//! - `/api/v1/is-leader`: 200 from the leader that holds its lease, which a majority gives for 2 s, and
//!   503 from all others. Answered from memory.
//! - `/api/v1/masters`: all masters with their roles. The answer is put together by asking each of the
//!   others for its own, so that a leader who cannot be reached from there is not in it; and it takes
//!   its time while one of them hangs.
//!
//! A leader that is cut off goes on calling itself `LEADER` in the second (nothing takes the role away
//! while it hears of no later term); without its lease it is none. No term is told by either.
//!
//! The leader is also asked for its tablets: `/api/v1/tablet-replication` has those without a leader
//! (told after `leaderless_tablet_alert_delay_secs`), `/api/v1/health-check` those with too few
//! replicas, `/api/v1/tablet-servers` how many leaders there are. From others these are passed on to
//! the leader, or an HTML page.
//!
//! Not asked, because they go on saying all is well: the pages `/` of masters and tablet servers,
//! `SELECT 1`, reads from followers (`yb_read_from_followers`), the state `RUNNING` of a replica.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use reqwest::Url;
use serde::Deserialize;

use super::api::Api;
use crate::cluster::{Facts, Part, RaftFacts, Scope, Shards};
use crate::config::YugabytedbOptions;
use crate::io::http::authority;
use crate::io::{Contact, Failure, Net};

/// A tablet takes some 120 bytes of the longest answer, so that this is room for 30 000 in trouble.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a master says.
pub(super) async fn status(
    net: &Net,
    options: &YugabytedbOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api =
        Api { net, access: &options.access, base: url, system: "YugabyteDB", body_bytes_max: BODY_BYTES_MAX };
    let contact = &mut Contact::new(timeout);
    let answer = api.get(contact, "/api/v1/is-leader").await?;
    let leads = match answer.status {
        StatusCode::OK => true,
        StatusCode::SERVICE_UNAVAILABLE => false,
        _ => return Err(api.complaint(&answer, "no master would")),
    };
    let masters: Masters = api.json(&api.get(contact, "/api/v1/masters").await?)?;
    let itself = authority(url).map(|place| place.to_string()).unwrap_or_default();
    let mut facts = facts(&itself, leads, &masters)
        .ok_or_else(|| Failure::rubbish(format!("{} lists no masters: is it one?", api.place())))?;
    if facts.leader.is_some() && leads {
        let lost: Replication = api.json(&api.get(contact, "/api/v1/tablet-replication").await?)?;
        let health: Health = api.json(&api.get(contact, "/api/v1/health-check").await?)?;
        let servers: Servers = api.json(&api.get(contact, "/api/v1/tablet-servers").await?)?;
        facts.shards = Some(shards(&lost, &health, &servers));
        if !health.dead_nodes.is_empty() {
            facts.errors.push(format!("{} tablet servers are dead", health.dead_nodes.len()));
        }
    }
    Ok(Facts::Raft(facts))
}

/// All masters, as one of them sees them.
#[derive(Deserialize)]
struct Masters {
    masters: Vec<Master>,
}

#[derive(Deserialize)]
struct Master {
    #[serde(default)]
    registration: Registration,
    /// Missing from one that could not be asked.
    role: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Registration {
    http_addresses: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    host: String,
    port: u16,
}

impl Master {
    /// Where its web port is: what all of them call it by.
    fn name(&self) -> Option<String> {
        self.registration.http_addresses.first().map(|place| format!("{}:{}", place.host, place.port))
    }
}

/// `itself`: host and port that it was asked at. `None`: it lists nobody.
fn facts(itself: &str, leads: bool, masters: &Masters) -> Option<RaftFacts> {
    if masters.masters.is_empty() {
        return None;
    }
    let leaders: Vec<String> = masters
        .masters
        .iter()
        .filter(|master| master.role.as_deref() == Some("LEADER"))
        .filter_map(Master::name)
        .collect();
    let own = masters.masters.iter().find(|master| master.name().as_deref() == Some(itself));
    let mut errors = Vec::new();
    let (member, leader) = match (leads, leaders.as_slice()) {
        // By the name that the others have for it too, where it is configured by another.
        (true, [one]) if own.is_none() => (one.clone(), Some(one.clone())),
        (true, _) => (itself.to_owned(), Some(itself.to_owned())),
        (false, [one]) if one == itself => {
            errors.push("calls itself the leader, and has no lease".to_owned());
            (itself.to_owned(), None)
        }
        (false, [one]) => (itself.to_owned(), Some(one.clone())),
        (false, []) => (itself.to_owned(), None),
        (false, several) => {
            errors.push(format!("{} call themselves the leader", several.join(" and ")));
            (itself.to_owned(), None)
        }
    };
    let learner = own
        .and_then(|own| own.role.as_deref())
        .is_some_and(|role| matches!(role, "LEARNER" | "NON_PARTICIPANT" | "READ_REPLICA"));
    Some(RaftFacts { member, leader, learner, errors, ..RaftFacts::default() })
}

/// Tablets without a leader.
#[derive(Deserialize)]
struct Replication {
    leaderless_tablets: Vec<Leaderless>,
}

#[derive(Deserialize)]
struct Leaderless {
    tablet_uuid: String,
}

/// Tablets with too few replicas, and tablet servers that no longer report.
#[derive(Deserialize)]
struct Health {
    dead_nodes: Vec<String>,
    under_replicated_tablets: Vec<String>,
}

/// Tablet servers, by placement and place.
type Servers = BTreeMap<String, BTreeMap<String, Server>>;

#[derive(Deserialize)]
struct Server {
    status: String,
    #[serde(default)]
    user_tablets_leaders: u64,
    #[serde(default)]
    system_tablets_leaders: u64,
}

fn shards(lost: &Replication, health: &Health, servers: &Servers) -> Shards {
    let mut parts: BTreeMap<&str, Part> = BTreeMap::new();
    for tablet in &health.under_replicated_tablets {
        parts.insert(tablet, Part::Critical);
    }
    for tablet in &lost.leaderless_tablets {
        parts.insert(&tablet.tablet_uuid, Part::Lost);
    }
    let leaderless = lost.leaderless_tablets.len() as u64;
    // A server that no longer reports is credited with the leaders that it last had.
    let alive = servers.values().flat_map(BTreeMap::values).filter(|server| server.status == "ALIVE");
    let led: u64 = alive.map(|server| server.user_tablets_leaders + server.system_tablets_leaders).sum();
    let mut shards = Shards::count(Scope::Whole, parts);
    shards.total = shards.total.max(led + leaderless);
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `/api/v1/masters` has them: who, and in which role.
    fn masters(roles: &[(u8, Option<&str>)]) -> Masters {
        let entry = |(n, role): &(u8, Option<&str>)| match role {
            Some(role) => serde_json::json!({
                "instance_id": {"permanent_uuid": format!("52cfc19881954ca0b866ea3571abe72{n}"),
                                "instance_seqno": 1674563401730224u64, "start_time_us": 1674563401730224u64},
                "registration": {
                    "private_rpc_addresses": [{"host": format!("yb-{n}.local"), "port": 7100}],
                    "http_addresses": [{"host": format!("yb-{n}.local"), "port": 7000}],
                    "cloud_info": {"placement_cloud": "local", "placement_region": "local", "placement_zone": "local"},
                    "placement_uuid": ""},
                "role": role}),
            // One that could not be asked.
            None => serde_json::json!({
                "error": {"code": "NETWORK_ERROR", "message": "Unable to get registration information"}}),
        };
        let entries: Vec<_> = roles.iter().map(entry).collect();
        serde_json::from_value(serde_json::json!({"masters": entries})).unwrap()
    }

    fn told(itself: &str, leads: bool, roles: &[(u8, Option<&str>)]) -> (String, Option<String>, usize) {
        let facts = facts(itself, leads, &masters(roles)).unwrap();
        (facts.member, facts.leader, facts.errors.len())
    }

    const WELL: [(u8, Option<&str>); 3] = [(1, Some("LEADER")), (2, Some("FOLLOWER")), (3, Some("FOLLOWER"))];

    #[test]
    fn a_leader_and_its_followers_name_it_alike() {
        let leader = Some("yb-1.local:7000".to_owned());
        assert_eq!(told("yb-1.local:7000", true, &WELL), ("yb-1.local:7000".into(), leader.clone(), 0));
        assert_eq!(told("yb-2.local:7000", false, &WELL), ("yb-2.local:7000".into(), leader.clone(), 0));
        // Configured by an address that the masters do not use.
        assert_eq!(told("10.0.0.1:7000", true, &WELL), ("yb-1.local:7000".into(), leader.clone(), 0));
        assert_eq!(told("10.0.0.2:7000", false, &WELL), ("10.0.0.2:7000".into(), leader, 0));
    }

    #[test]
    fn a_leader_without_a_lease_leads_nobody() {
        // Cut off: it goes on calling itself the leader, and cannot ask the others.
        let alone = [(1, Some("LEADER")), (2, None), (3, None)];
        assert_eq!(told("yb-1.local:7000", false, &alone), ("yb-1.local:7000".into(), None, 1));
        // The others have a new one, and the old one back, which has not noticed.
        let both = [(1, Some("LEADER")), (2, Some("LEADER")), (3, Some("FOLLOWER"))];
        assert_eq!(told("yb-3.local:7000", false, &both), ("yb-3.local:7000".into(), None, 1));
        assert_eq!(told("yb-2.local:7000", true, &both).1.as_deref(), Some("yb-2.local:7000"));
    }

    #[test]
    fn without_a_leader() {
        let alone = [(1, None), (2, Some("FOLLOWER")), (3, None)];
        assert_eq!(told("yb-2.local:7000", false, &alone), ("yb-2.local:7000".into(), None, 0));
        assert!(facts("x", false, &masters(&[])).is_none());
        let learner = facts("yb-3.local:7000", false, &masters(&[(1, Some("LEADER")), (3, Some("LEARNER"))]));
        assert!(learner.unwrap().learner);
    }

    #[test]
    fn tablets() {
        let health = |under: &[&str]| Health {
            dead_nodes: Vec::new(),
            under_replicated_tablets: under.iter().map(|tablet| (*tablet).to_owned()).collect(),
        };
        let lost: Replication = serde_json::from_str(
            r#"{"leaderless_tablets":[{"table_uuid":"t","tablet_uuid":"b","reason":"No valid leader reported for 130 seconds"}]}"#,
        )
        .unwrap();
        let none: Replication = serde_json::from_str(r#"{"leaderless_tablets":[]}"#).unwrap();
        let servers: Servers = serde_json::from_str(
            r#"{"":{"yb-1.local:9000":{"time_since_hb":"0.4s","status":"ALIVE","user_tablets_total":9,"user_tablets_leaders":3,"system_tablets_total":12,"system_tablets_leaders":4},
                    "yb-2.local:9000":{"time_since_hb":"90.4s","status":"DEAD","user_tablets_leaders":5,"system_tablets_leaders":4},
                    "yb-3.local:9000":{"status":"ALIVE","user_tablets_leaders":2,"system_tablets_leaders":1}}}"#,
        )
        .unwrap();
        let counts = |shards: Shards| (shards.total, shards.lost, shards.critical, shards.names);
        assert_eq!(counts(shards(&none, &health(&[]), &servers)), (10, 0, 0, vec![]));
        let some = shards(&none, &health(&["a", "b"]), &servers);
        assert_eq!(counts(some), (10, 0, 2, vec!["a".to_owned(), "b".to_owned()]));
        // What has no leader has too few replicas as well, and is counted once.
        let some = shards(&lost, &health(&["a", "b"]), &servers);
        assert_eq!(counts(some), (11, 1, 1, vec!["b".to_owned()]));
        // Of a broken-off answer nothing is made.
        assert!(serde_json::from_str::<Health>(r#"{"error":"Not found"#).is_err());
        assert!(serde_json::from_str::<Health>(r#"{"error":"Not found"}"#).is_err());
    }
}
