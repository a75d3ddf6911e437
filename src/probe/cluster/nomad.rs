//! Nomad servers, over their HTTP API.
//!
//! `/v1/agent/self` is answered from the server's own memory, never blocks, and tells all that raft
//! knows at one moment. It wants `agent:read`.
//!
//! Not asked: `/v1/status/leader`, which other than Consul's is passed on to the leader and hangs
//! without one; `/v1/agent/health`; `?stale` reads; `/v1/operator/autopilot/health`, which forgets
//! servers that are gone. Nor a plain read as proof: the leader answers it without asking anybody.

use std::net::IpAddr;
use std::time::Duration;

use hyper::StatusCode;
use reqwest::Url;
use serde::Deserialize;

use super::api::{Api, excerpt};
use super::hashicorp::RaftStats;
use super::unanswered;
use crate::cluster::{Facts, LinearizableResult, RaftFacts};
use crate::config::NomadOptions;
use crate::io::http::Answer;
use crate::io::{Contact, Failure, Net};

/// `/v1/agent/self` carries the whole running configuration: some 10 kB.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// What the proof writes. The path is the variable's.
const ITEMS: &str = r#"{"Items":{"pointsman":"was here"}}"#;

/// What a server says of itself.
pub(super) async fn status(
    net: &Net,
    options: &NomadOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api = api(net, options, url);
    let answer = api.get(&mut Contact::new(timeout), "/v1/agent/self").await?;
    facts(&api, &answer).map(Facts::Raft)
}

fn facts(api: &Api<'_>, answer: &Answer) -> Result<RaftFacts, Failure> {
    let AgentSelf { member, stats } = api.json(answer)?;
    let (Some(raft), Some(nomad)) = (stats.raft, stats.nomad) else {
        return Err(Failure::unmeasured(format!(
            "{} is a Nomad agent that is no server; list the servers",
            api.place()
        )));
    };
    let Tags { id, region, rpc_addr, port } = member.tags;
    // How raft calls it wherever it leads.
    let address = match rpc_addr.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{rpc_addr}:{port}"),
    };
    raft.facts(region, address, &id, nomad.leader_addr).ok_or_else(|| api.odd(answer))
}

/// Writes a variable through the leader and a majority.
pub(super) async fn linearizable(net: &Net, options: &NomadOptions, url: &Url) -> LinearizableResult {
    let Some(variable) = &options.variable else {
        return LinearizableResult::Unmeasured("no variable is configured for the proof".to_owned());
    };
    let api = api(net, options, url);
    let mut contact = Contact::new(options.linearizable_timeout);
    match api.put(&mut contact, &format!("/v1/var/{variable}"), ITEMS).await {
        Ok(answer) => proof(&api, &answer),
        Err(failure) => unanswered(failure, &contact),
    }
}

/// A write that was taken is told with raft's index of it, so that no other server's 200 passes for
/// one.
fn proof(api: &Api<'_>, answer: &Answer) -> LinearizableResult {
    let index =
        answer.headers.get("x-nomad-index").and_then(|index| index.to_str().ok()?.parse::<u64>().ok());
    match answer.status {
        StatusCode::OK if index.is_some_and(|index| index > 0) => LinearizableResult::Passed,
        StatusCode::OK => LinearizableResult::Unmeasured(api.odd(answer).words),
        StatusCode::INTERNAL_SERVER_ERROR if excerpt(answer).contains("No cluster leader") => {
            LinearizableResult::NoQuorum(format!("{} says: No cluster leader", api.place()))
        }
        _ => LinearizableResult::Unmeasured(api.complaint(answer, &excerpt(answer)).words),
    }
}

fn api<'a>(net: &'a Net, options: &'a NomadOptions, base: &'a Url) -> Api<'a> {
    Api { net, access: &options.access, base, system: "Nomad", body_bytes_max: BODY_BYTES_MAX }
}

/// `/v1/agent/self`, as far as it matters here.
#[derive(Deserialize, Debug)]
struct AgentSelf {
    #[serde(default)]
    member: Member,
    stats: Stats,
}

/// A client agent has none.
#[derive(Deserialize, Debug, Default)]
struct Member {
    #[serde(rename = "Tags", default)]
    tags: Tags,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Tags {
    id: String,
    region: String,
    rpc_addr: String,
    port: String,
}

#[derive(Deserialize, Debug)]
struct Stats {
    nomad: Option<NomadStats>,
    raft: Option<RaftStats>,
}

#[derive(Deserialize, Debug)]
struct NomadStats {
    #[serde(default)]
    leader_addr: String,
}

#[cfg(test)]
mod tests {
    use super::super::api::answer;
    use super::*;
    use crate::io::Class;

    fn with_api<T>(of: impl FnOnce(&Api<'_>) -> T) -> T {
        let (net, options) = (Net::new(), NomadOptions::default());
        let base = "http://nomad.example:4646".parse().unwrap();
        of(&api(&net, &options, &base))
    }

    /// In the form of 1.4.3.
    fn agent_self(address: &str, leader: &str, state: &str, suffrage: &str) -> String {
        format!(
            r#"{{"config":{{"Datacenter":"dc1","Region":"global"}},
            "member":{{"Addr":"10.0.0.2","Name":"n2.global","Port":4648,"Status":"alive","Tags":{{"rpc_addr":"{address}",
              "expect":"3","role":"nomad","region":"global","build":"1.4.3","port":"4647","dc":"dc1","raft_vsn":"3","id":"d78cdda9"}}}},
            "stats":{{"nomad":{{"leader":"false","leader_addr":"{leader}","bootstrap":"false","known_regions":"1","server":"true"}},
              "raft":{{"term":"3","applied_index":"384","num_peers":"2","state":"{state}","commit_index":"385","last_contact":"7.2s","last_log_index":"390",
                "latest_configuration":"[{{Suffrage:Voter ID:0a1b Address:10.0.0.1:4647}} {{Suffrage:{suffrage} ID:d78cdda9 Address:10.0.0.2:4647}}]"}}}}}}"#
        )
    }

    #[test]
    fn reads_what_a_server_knows_of_itself() {
        let facts = |body: &str| with_api(|api| facts(api, &answer(200, &[], body)));
        let follows = facts(&agent_self("10.0.0.2", "10.0.0.1:4647", "Follower", "Voter")).unwrap();
        assert_eq!((follows.cluster.as_str(), follows.member.as_str()), ("global", "10.0.0.2:4647"));
        assert_eq!(
            (follows.leader.as_deref(), follows.term, follows.learner),
            (Some("10.0.0.1:4647"), 3, false)
        );
        assert_eq!((follows.index, follows.applied), (385, 384));
        let leads = facts(&agent_self("fd00::2", "[fd00::2]:4647", "Leader", "Voter")).unwrap();
        assert_eq!(leads.leader.as_deref(), Some(leads.member.as_str()));
        assert!(facts(&agent_self("10.0.0.2", "10.0.0.1:4647", "Follower", "Nonvoter")).unwrap().learner);
        let lost = facts(&agent_self("10.0.0.2", "", "Candidate", "Voter")).unwrap();
        assert_eq!(
            (lost.leader, lost.errors),
            (None, vec!["Candidate; last heard of a leader 7.2s ago".to_owned()])
        );
        // A client agent, a right that is missing, and somebody else.
        let client =
            facts(r#"{"config":{},"stats":{"client":{"known_servers":"10.0.0.1:4647"},"runtime":{}}}"#);
        assert!(client.unwrap_err().words.contains("list the servers"));
        let denied = with_api(|api| super::facts(api, &answer(403, &[], "Permission denied")));
        assert_eq!(denied.unwrap_err().class, Class::Denied);
        assert_eq!(facts("{}").unwrap_err().class, Class::Rubbish);
    }

    #[test]
    fn only_a_write_that_was_taken_proves_a_quorum() {
        let proof =
            |status, headers: &[_], body| with_api(|api| super::proof(api, &answer(status, headers, body)));
        let index = ("x-nomad-index", "391");
        assert_eq!(proof(200, &[index], "null"), LinearizableResult::Passed);
        assert!(matches!(proof(500, &[], "No cluster leader"), LinearizableResult::NoQuorum(_)));
        // Anybody's 200, a right that is missing, an election.
        for (status, headers, body) in [
            (200, [("x-nomad-index", "0")], "null"),
            (200, [("x-other", "391")], "{}"),
            (403, [("x-nomad-index", "0")], "Permission denied"),
            (500, [("x-nomad-index", "0")], "rpc error: leadership lost while committing log"),
        ] {
            assert!(
                matches!(proof(status, &headers, body), LinearizableResult::Unmeasured(_)),
                "{status} {body}"
            );
        }
    }
}
