//! Vault with integrated storage (raft), over its HTTP API.
//!
//! A node is asked for its own health and for whom it takes for the active node; both are answered
//! from memory, want no token, and never block. Neither's word is good alone (captured from 1.21).
//! An active node that is cut off gives up within the raft leader's lease, 2.5 s, though not always:
//! one went on with 200 and `is_self` for 90 s after the partition had healed. A standby's
//! `/v1/sys/leader` repeats what it last read of the lock, and names an active node that is dead
//! for as long as it likes. Since 1.19 `/v1/sys/health` says whether the standby's heartbeats reach
//! the active node; one whose do not names nobody here.
//!
//! Not asked: `/v1/sys/health?standbyok=true`, which is about the process; `/v1/sys/seal-status`;
//! `/v1/auth/token/lookup-self` and other reads, which the active node answers from its own copy;
//! `/v1/sys/storage/raft/…` and `/v1/sys/ha-status`, which are passed on to the active node.

use std::time::Duration;

use hyper::StatusCode;
use reqwest::Url;
use serde::Deserialize;

use super::api::{Api, excerpt};
use super::unanswered;
use crate::cluster::{Facts, LinearizableResult, RaftFacts};
use crate::config::{Access, Credential, VaultOptions};
use crate::io::http::Answer;
use crate::io::{Contact, Failure, Net};

/// Both answers have some 500 bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// What the proof writes: one key that only the token itself can see, so that no mount is needed,
/// and no right beyond the policy `default`.
const CUBBYHOLE: &str = "/v1/cubbyhole/pointsman";
/// Codes of `/v1/sys/health`: active; standby; of a DR secondary; performance standby; standby
/// without heartbeats; not initialized; sealed; removed from the cluster.
const HEALTH_CODES: [u16; 8] = [200, 429, 472, 473, 474, 501, 503, 530];

/// What a node says of itself.
pub(super) async fn status(
    net: &Net,
    options: &VaultOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api = api(net, &options.access, url);
    let contact = &mut Contact::new(timeout);
    let health = health(&api, &api.get(contact, "/v1/sys/health").await?)?;
    if let Some(facts) = health.out_of_the_group() {
        return Ok(Facts::Raft(facts));
    }
    let answer = api.get(contact, "/v1/sys/leader").await?;
    let leader: Leader = api.json(&answer)?;
    if !leader.ha_enabled {
        return Err(Failure::unmeasured(format!("{} has no standbys: `ha_enabled` is false", api.place())));
    }
    Ok(Facts::Raft(facts(health, leader)))
}

fn api<'a>(net: &'a Net, access: &'a Access, base: &'a Url) -> Api<'a> {
    Api { net, access, base, system: "Vault", body_bytes_max: BODY_BYTES_MAX }
}

/// Most of its codes are no success; so it is Vault if it speaks like it.
fn health(api: &Api<'_>, answer: &Answer) -> Result<Health, Failure> {
    match api.parse(answer) {
        Ok(health) if HEALTH_CODES.contains(&answer.status.as_u16()) => Ok(health),
        _ if answer.status == StatusCode::OK => Err(api.odd(answer)),
        _ => Err(api.complaint(answer, &excerpt(answer))),
    }
}

fn facts(health: Health, told: Leader) -> RaftFacts {
    let active = told.is_self && !health.standby;
    let named = Some(told.leader_address).filter(|address| !address.is_empty());
    let leader = match (active, told.is_self) {
        (true, _) => named.clone(),
        // It is just becoming the active node, or ceasing to be it.
        (false, true) => None,
        (false, false) => named.filter(|_| health.hears_the_active_node()),
    };
    let mut errors = Vec::new();
    if !active && leader.is_none() {
        errors.push("its heartbeats do not reach an active node".to_owned());
    }
    if health.replication_dr_mode == "secondary" {
        errors.push("a DR secondary, which serves nobody".to_owned());
    }
    RaftFacts {
        cluster: health.cluster_id,
        // A standby does not tell how it is called.
        member: if active { leader.clone().unwrap_or_default() } else { String::new() },
        leader,
        index: told.raft_committed_index,
        applied: told.raft_applied_index,
        errors,
        ..RaftFacts::default()
    }
}

/// Writes a fixed key through the active node and a majority.
pub(super) async fn linearizable(net: &Net, options: &VaultOptions, url: &Url) -> LinearizableResult {
    let Some(token) = &options.token else {
        return LinearizableResult::Unmeasured("no token is configured for the proof".to_owned());
    };
    let credential = Some(Credential::Header("x-vault-token", token.clone()));
    let access = Access { credential, ..options.access.clone() };
    let api = api(net, &access, url);
    let mut contact = Contact::new(options.linearizable_timeout);
    match api.put(&mut contact, CUBBYHOLE, r#"{"pointsman":"was here"}"#).await {
        Ok(answer) => proof(&api, &answer),
        Err(failure) => unanswered(failure, &contact),
    }
}

fn proof(api: &Api<'_>, answer: &Answer) -> LinearizableResult {
    if answer.status == StatusCode::NO_CONTENT {
        return LinearizableResult::Passed;
    }
    let Ok(Complaint { errors }) = api.parse::<Complaint>(answer) else {
        return LinearizableResult::Unmeasured(api.complaint(answer, &excerpt(answer)).words);
    };
    let words = errors.join("; ");
    let nobody = ["active cluster node not found", "no active Vault instance found"];
    match nobody.iter().any(|text| words.contains(text)) {
        true => LinearizableResult::NoQuorum(format!("{} says: {words}", api.place())),
        false => LinearizableResult::Unmeasured(api.complaint(answer, &words).words),
    }
}

/// `GET /v1/sys/health`.
#[derive(Deserialize, Debug)]
struct Health {
    initialized: bool,
    sealed: bool,
    standby: bool,
    /// Left out while it is sealed.
    #[serde(default)]
    cluster_id: String,
    #[serde(default)]
    replication_dr_mode: String,
    /// From 1.19, with integrated storage.
    removed_from_cluster: Option<bool>,
    /// From 1.19, of a standby whose heartbeats once reached an active node.
    ha_connection_healthy: Option<bool>,
}

impl Health {
    /// Of one that runs, and takes no part in raft.
    fn out_of_the_group(&self) -> Option<RaftFacts> {
        let removed = self.removed_from_cluster == Some(true);
        let why = match (removed, self.initialized, self.sealed) {
            (true, ..) => "removed from the cluster",
            (_, false, _) => "not initialized",
            (_, _, true) => "sealed",
            _ => return None,
        };
        Some(RaftFacts {
            cluster: self.cluster_id.clone(),
            learner: removed,
            errors: vec![why.to_owned()],
            ..RaftFacts::default()
        })
    }

    /// Versions before 1.19 do not tell: they are taken at their word.
    fn hears_the_active_node(&self) -> bool {
        self.ha_connection_healthy.unwrap_or(self.removed_from_cluster.is_none())
    }
}

/// `GET /v1/sys/leader`.
#[derive(Deserialize, Debug)]
struct Leader {
    ha_enabled: bool,
    is_self: bool,
    leader_address: String,
    #[serde(default)]
    raft_committed_index: u64,
    #[serde(default)]
    raft_applied_index: u64,
}

#[derive(Deserialize, Debug)]
struct Complaint {
    errors: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::super::api;
    use super::*;
    use crate::io::Class;

    // All captured from 1.21.0.
    const ACTIVE: &str = r#"{"initialized":true,"sealed":false,"standby":false,"performance_standby":false,"replication_performance_mode":"disabled","replication_dr_mode":"disabled","server_time_utc":1795299856,"version":"1.21.0","enterprise":false,"cluster_name":"vault-cluster-3a52cdac","cluster_id":"193f5f80-0349-26cb-994d-f673c2373fd8","echo_duration_ms":0,"clock_skew_ms":0,"replication_primary_canary_age_ms":0,"removed_from_cluster":false}"#;
    const STANDBY: &str = r#"{"initialized":true,"sealed":false,"standby":true,"performance_standby":false,"replication_performance_mode":"disabled","replication_dr_mode":"disabled","server_time_utc":1795299856,"version":"1.21.0","enterprise":false,"cluster_name":"vault-cluster-3a52cdac","cluster_id":"193f5f80-0349-26cb-994d-f673c2373fd8","echo_duration_ms":1,"clock_skew_ms":0,"replication_primary_canary_age_ms":0,"removed_from_cluster":false,"ha_connection_healthy":true,"last_request_forwarding_heartbeat_ms":3621}"#;
    const LEADS: &str = r#"{"ha_enabled":true,"is_self":true,"active_time":"2026-11-21T22:23:58.714740461Z","leader_address":"http://10.77.9.1:8200","leader_cluster_address":"https://10.77.9.1:8201","performance_standby":false,"performance_standby_last_remote_wal":0,"raft_committed_index":41,"raft_applied_index":41}"#;
    const FOLLOWS: &str = r#"{"ha_enabled":true,"is_self":false,"active_time":"0001-01-01T00:00:00Z","leader_address":"http://10.77.9.1:8200","leader_cluster_address":"https://10.77.9.1:8201","performance_standby":false,"performance_standby_last_remote_wal":0,"raft_committed_index":41,"raft_applied_index":41}"#;
    const NOBODY: &str = r#"{"ha_enabled":true,"is_self":false,"active_time":"0001-01-01T00:00:00Z","leader_address":"","leader_cluster_address":"","performance_standby":false,"performance_standby_last_remote_wal":0,"raft_committed_index":43,"raft_applied_index":43}"#;
    const HEALTHY: &str = r#","ha_connection_healthy":true,"last_request_forwarding_heartbeat_ms":3621"#;

    fn answer(status: u16, body: &str) -> Answer {
        api::answer(status, &[], body)
    }

    fn with_api<T>(of: impl FnOnce(&Api<'_>) -> T) -> T {
        let (net, options) = (Net::new(), VaultOptions::default());
        of(&api(&net, &options.access, &"http://vault.example:8200".parse().unwrap()))
    }

    fn told(code: u16, body: &str, leader: &str) -> RaftFacts {
        let health = with_api(|api| health(api, &answer(code, body))).unwrap();
        health.out_of_the_group().unwrap_or_else(|| facts(health, serde_json::from_str(leader).unwrap()))
    }

    #[test]
    fn the_active_node_and_its_standbys() {
        let active = told(200, ACTIVE, LEADS);
        let name = Some("http://10.77.9.1:8200".to_owned());
        assert_eq!((&active.leader, Some(&active.member), active.index), (&name, name.as_ref(), 41));
        let standby = told(429, STANDBY, FOLLOWS);
        assert_eq!((&standby.leader, standby.member.as_str(), standby.errors.len()), (&name, "", 0));
        assert_eq!(standby.cluster, "193f5f80-0349-26cb-994d-f673c2373fd8");
    }

    #[test]
    fn a_standby_that_names_a_dead_active_node_names_nobody() {
        // Both others were killed 11 s ago: `/v1/sys/leader` says as always.
        let alone = STANDBY.replace("\"ha_connection_healthy\":true", "\"ha_connection_healthy\":false");
        let facts = told(474, &alone, FOLLOWS);
        assert_eq!((facts.leader, facts.errors.len()), (None, 1));
        // One that has started since has never had a heartbeat, and tells nothing of it.
        assert_eq!(told(429, &STANDBY.replace(HEALTHY, ""), FOLLOWS).leader, None);
        // Nor does an active node that has stepped down, and that one knows.
        assert_eq!(told(429, &STANDBY.replace(HEALTHY, ""), NOBODY).leader, None);
        // Before 1.19 nothing better is to be had.
        let old = STANDBY.replace(HEALTHY, "").replace(",\"removed_from_cluster\":false", "");
        assert!(told(429, &old, FOLLOWS).leader.is_some());
    }

    #[test]
    fn one_that_is_between_two_states_names_nobody() {
        assert_eq!(told(429, STANDBY, LEADS).leader, None, "not yet active");
        assert_eq!(told(200, ACTIVE, FOLLOWS).leader, None, "not active any more");
    }

    #[test]
    fn sealed_is_no_vote_and_removed_is_none_to_lose() {
        let sealed = r#"{"initialized":true,"sealed":true,"standby":true,"performance_standby":false,"replication_performance_mode":"unknown","replication_dr_mode":"unknown","server_time_utc":1795299954,"version":"1.21.0","enterprise":false,"echo_duration_ms":0,"clock_skew_ms":0,"replication_primary_canary_age_ms":0,"removed_from_cluster":false}"#;
        let facts = told(503, sealed, "");
        assert_eq!((facts.leader, facts.learner, facts.errors[0].as_str()), (None, false, "sealed"));
        let new = sealed.replace("\"initialized\":true", "\"initialized\":false");
        assert_eq!(told(501, &new, "").errors, ["not initialized"]);
        let removed = sealed.replace("\"removed_from_cluster\":false", "\"removed_from_cluster\":true");
        assert!(told(530, &removed, "").learner);
        let dr =
            STANDBY.replace("\"replication_dr_mode\":\"disabled\"", "\"replication_dr_mode\":\"secondary\"");
        assert_eq!(told(472, &dr, FOLLOWS).errors, ["a DR secondary, which serves nobody"]);
    }

    #[test]
    fn what_is_not_vaults_is_no_fact() {
        let class = |code, body| with_api(|api| health(api, &answer(code, body))).unwrap_err().class;
        assert_eq!(class(200, "{}"), Class::Rubbish);
        assert_eq!(class(200, r#"{"status":"ok"}"#), Class::Rubbish);
        assert_eq!(class(503, "no healthy upstream"), Class::Rubbish);
        assert_eq!(class(429, "slow down"), Class::Denied);
        assert_eq!(class(403, r#"{"errors":["permission denied"]}"#), Class::Denied);
        assert_eq!(class(404, ACTIVE), Class::Rubbish);
    }

    #[test]
    fn only_a_write_that_was_taken_proves_a_quorum() {
        let result = |status, body: &str| with_api(|api| proof(api, &answer(status, body)));
        assert_eq!(result(204, ""), LinearizableResult::Passed);
        for (status, body) in [
            (500, r#"{"errors":["local node not active but active cluster node not found"]}"#),
            (503, r#"{"errors":["no active Vault instance found"]}"#),
        ] {
            assert!(matches!(result(status, body), LinearizableResult::NoQuorum(_)), "{body}");
        }
        for (status, body) in [
            (200, "{}"),
            (307, ""),
            (403, r#"{"errors":["permission denied"]}"#),
            (503, r#"{"errors":["Vault is sealed"]}"#),
            (500, "oops"),
        ] {
            assert!(matches!(result(status, body), LinearizableResult::Unmeasured(_)), "{body}");
        }
    }
}
