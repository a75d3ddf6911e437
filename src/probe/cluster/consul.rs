//! Consul servers, over their HTTP API.
//!
//! `/v1/agent/self` is answered from the server's own memory, never blocks, and tells all that
//! raft knows at one moment: whom it takes for the leader, the term, the log. It wants
//! `agent:read`; without it `/v1/status/leader`, which wants nothing, tells the leader alone.
//!
//! Not asked, because they go on telling of a cluster that is lost: `/v1/status/peers`,
//! `/v1/agent/members`, `?stale` reads, `/v1/health`, DNS (stale by default). Nor autopilot:
//! it forgets servers that are gone, so that two of three look complete again.

use std::time::Duration;

use hyper::StatusCode;
use reqwest::Url;
use serde::Deserialize;

use super::api::{Api, excerpt};
use super::hashicorp::RaftStats;
use super::unanswered;
use crate::cluster::{Facts, LinearizableResult, RaftFacts};
use crate::config::ConsulOptions;
use crate::io::http::Answer;
use crate::io::{Contact, Failure, Net};

/// `/v1/agent/self` carries the whole running configuration: some 20 kB, more with many
/// listeners and addresses.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// A key that need not exist.
const CONSISTENT_READ: &str = "/v1/kv/pointsman?consistent";

/// What a server says of itself.
pub(super) async fn status(
    net: &Net,
    options: &ConsulOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api = api(net, options, url);
    let mut contact = Contact::new(timeout);
    let answer = api.get(&mut contact, "/v1/agent/self").await?;
    if answer.status == StatusCode::FORBIDDEN {
        let answer = api.get(&mut contact, "/v1/status/leader").await?;
        return Ok(Facts::Raft(leader_alone(&api, &answer)?));
    }
    let own: AgentSelf = api.json(&answer)?;
    own.facts(&api, &answer).map(Facts::Raft)
}

/// What a server tells anybody. An empty text: it knows of no leader.
fn leader_alone(api: &Api<'_>, answer: &Answer) -> Result<RaftFacts, Failure> {
    let leader: String = api.json(answer)?;
    if !(leader.is_empty() || leader.contains(':')) {
        return Err(api.odd(answer));
    }
    Ok(RaftFacts { leader: Some(leader).filter(|leader| !leader.is_empty()), ..RaftFacts::default() })
}

/// Reads a key through the leader, which asks a majority whether it still is the leader.
pub(super) async fn linearizable(net: &Net, options: &ConsulOptions, url: &Url) -> LinearizableResult {
    let mut contact = Contact::new(options.linearizable_timeout);
    let api = api(net, options, url);
    match api.get(&mut contact, CONSISTENT_READ).await {
        Ok(answer) => consistent(&api, &answer),
        Err(failure) => unanswered(failure, &contact),
    }
}

/// What the answer to a consistent read proves. Consul marks its own answers, found or not,
/// with a header, so that no other server's 404 passes for one.
fn consistent(api: &Api<'_>, answer: &Answer) -> LinearizableResult {
    let known = answer.headers.get("x-consul-knownleader").is_some_and(|known| known == "true");
    match answer.status {
        StatusCode::OK | StatusCode::NOT_FOUND if known => LinearizableResult::Passed,
        StatusCode::INTERNAL_SERVER_ERROR if excerpt(answer).contains("No cluster leader") => {
            LinearizableResult::NoQuorum(format!("{} says: No cluster leader", api.place()))
        }
        StatusCode::OK => LinearizableResult::Unmeasured(api.odd(answer).words),
        _ => LinearizableResult::Unmeasured(api.complaint(answer, &excerpt(answer)).words),
    }
}

fn api<'a>(net: &'a Net, options: &'a ConsulOptions, base: &'a Url) -> Api<'a> {
    Api { net, access: &options.access, base, system: "Consul", body_bytes_max: BODY_BYTES_MAX }
}

/// `/v1/agent/self`, as far as it matters here.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase")]
struct AgentSelf {
    config: OwnConfig,
    stats: Stats,
}

#[derive(Deserialize, Debug)]
struct OwnConfig {
    #[serde(rename = "Datacenter")]
    datacenter: String,
    #[serde(rename = "NodeID")]
    node_id: String,
}

#[derive(Deserialize, Debug)]
struct Stats {
    consul: ConsulStats,
    raft: Option<RaftStats>,
}

#[derive(Deserialize, Debug)]
struct ConsulStats {
    #[serde(default)]
    leader_addr: String,
}

impl AgentSelf {
    fn facts(self, api: &Api<'_>, answer: &Answer) -> Result<RaftFacts, Failure> {
        let Some(raft) = self.stats.raft else {
            return Err(Failure::unmeasured(format!(
                "{} is a Consul agent that is no server; list the servers",
                api.place()
            )));
        };
        let OwnConfig { datacenter, node_id } = self.config;
        let member = raft.address_of(&node_id).unwrap_or(&node_id).to_owned();
        raft.facts(datacenter, member, &node_id, self.stats.consul.leader_addr).ok_or_else(|| api.odd(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::answer;
    use super::*;
    use crate::io::Class;

    fn with_api<T>(of: impl FnOnce(&Api<'_>) -> T) -> T {
        let (net, options) = (Net::new(), ConsulOptions::default());
        let base = "http://consul.example:8500".parse().unwrap();
        of(&api(&net, &options, &base))
    }

    fn facts(body: &str) -> Result<RaftFacts, Failure> {
        let answer = answer(200, &[], body);
        with_api(|api| api.json::<AgentSelf>(&answer).and_then(|own| own.facts(api, &answer)))
    }

    /// As captured from 1.8.7; only what is not read is left out.
    fn agent_self(state: &str, term: u64, leader: &str, contact: &str, suffrage: &str) -> String {
        format!(
            r#"{{"Config":{{"Datacenter":"dc1","NodeName":"n1","NodeID":"5d0894cf-e5bf-9c01-5444-c3315be65378","Revision":"","Server":true,"Version":"1.8.7"}},
            "Stats":{{"agent":{{"checks":"0"}},"consul":{{"acl":"disabled","bootstrap":"false","known_datacenters":"1","leader":"false","leader_addr":"{leader}","server":"true"}},
            "raft":{{"applied_index":"71","commit_index":"71","fsm_pending":"0","last_contact":"{contact}","last_log_index":"72","last_log_term":"2","latest_configuration":"[{{Suffrage:{suffrage} ID:5d0894cf-e5bf-9c01-5444-c3315be65378 Address:10.77.20.1:8300}} {{Suffrage:Voter ID:523b86e5-a14c-0904-ce8a-84ddf04754d1 Address:10.77.20.3:8300}} {{Suffrage:Voter ID:3344f37a-d3c5-6fb9-1498-8cac70da2643 Address:10.77.20.2:8300}}]","latest_configuration_index":"0","num_peers":"2","state":"{state}","term":"{term}"}}}}}}"#
        )
    }

    #[test]
    fn reads_what_a_server_knows_of_itself() {
        let follows = facts(&agent_self("Follower", 2, "10.77.20.2:8300", "37.690769ms", "Voter")).unwrap();
        let RaftFacts { cluster, member, leader, term, index, applied, learner, errors, .. } = follows;
        assert_eq!((cluster.as_str(), member.as_str()), ("dc1", "10.77.20.1:8300"));
        assert_eq!((leader.as_deref(), term, learner), (Some("10.77.20.2:8300"), 2, false));
        // Not `last_log_index`: an entry that a lost leader could not commit goes away again.
        assert_eq!((index, applied, errors.len()), (71, 71, 0));
        let leads = facts(&agent_self("Leader", 2, "10.77.20.1:8300", "0", "Voter")).unwrap();
        assert_eq!(leads.leader.as_deref(), Some(leads.member.as_str()));
        let learns = facts(&agent_self("Follower", 2, "10.77.20.2:8300", "1ms", "Nonvoter")).unwrap();
        assert!(learns.learner);
    }

    #[test]
    fn a_server_without_a_leader_says_so() {
        // The isolated old leader, which goes on to answer `?stale` reads and DNS.
        let lost = facts(&agent_self("Candidate", 11, "", "57.639304622s", "Voter")).unwrap();
        assert_eq!((lost.leader, lost.term), (None, 11));
        assert_eq!(lost.errors, ["Candidate; last heard of a leader 57.639304622s ago"]);
        // Without the right to read the agent: the leader alone.
        let alone = |body| with_api(|api| leader_alone(api, &answer(200, &[], body)));
        assert_eq!(alone("\"\"").unwrap().leader, None);
        assert_eq!(alone("\"10.77.20.1:8300\"").unwrap().leader.as_deref(), Some("10.77.20.1:8300"));
        assert_eq!(alone("\"hello\"").unwrap_err().class, Class::Rubbish);
        assert_eq!(alone("{}").unwrap_err().class, Class::Rubbish);
    }

    #[test]
    fn an_agent_that_is_no_server_has_no_vote() {
        let client = r#"{"Config":{"Datacenter":"dc1","NodeID":"x"},"Stats":{"consul":{"known_servers":"3","server":"false"}}}"#;
        let failure = facts(client).unwrap_err();
        assert_eq!(failure.class, Class::Unmeasured);
        assert!(failure.words.contains("no server"), "{failure}");
    }

    #[test]
    fn only_a_read_through_the_leader_proves_a_quorum() {
        let read =
            |status, headers: &[_], body| with_api(|api| consistent(api, &answer(status, headers, body)));
        let known = ("x-consul-knownleader", "true");
        let index = ("x-consul-index", "12");
        assert_eq!(read(404, &[index, known], ""), LinearizableResult::Passed);
        assert_eq!(read(200, &[index, known], "[]"), LinearizableResult::Passed);
        // As captured from the isolated old leader: a stale read, and the consistent one.
        let stale = [("x-consul-knownleader", "false"), ("x-consul-lastcontact", "28961"), index];
        let found =
            r#"[{"LockIndex":0,"Key":"health","Flags":0,"Value":"MQ==","CreateIndex":12,"ModifyIndex":12}]"#;
        assert!(matches!(read(200, &stale, found), LinearizableResult::Unmeasured(_)));
        assert!(matches!(read(500, &[], "No cluster leader"), LinearizableResult::NoQuorum(_)));
        // Anybody's 404, an election, a right that is missing.
        assert!(matches!(read(404, &[], "404 page not found"), LinearizableResult::Unmeasured(_)));
        let moved = "rpc error making call: node is not the leader";
        assert!(matches!(read(500, &[], moved), LinearizableResult::Unmeasured(_)));
        assert!(matches!(read(403, &[], "Permission denied"), LinearizableResult::Unmeasured(_)));
    }
}
