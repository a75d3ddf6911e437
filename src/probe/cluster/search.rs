//! Elasticsearch 7 and later, and OpenSearch, over their REST API.
//!
//! A node is asked for the state of the cluster as it has it (`local=true`), which never blocks: who
//! is elected, in which term, the number of the state, and who has a vote. A node takes a state in
//! only once a majority of the voters has accepted it, so that no node can name a leader that was
//! never elected. For the parts the shards' health, as the same state has it.
//!
//! Not asked, because they go on telling of a cluster that is lost: `GET /`, `_cat/nodes?local`,
//! searches, the counts in `_cluster/health` (an isolated leader calls it green for half a minute;
//! `status: red` with no leader and with one lost shard are the same word). A document that is
//! written proves no quorum either: without a leader OpenSearch goes on taking them wherever a shard
//! has its copies (`cluster.no_cluster_manager_block: metadata_write`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hyper::StatusCode;
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::api::Api;
use super::unanswered;
use crate::cluster::{Facts, LinearizableResult, Part, RaftFacts, Scope, Shards};
use crate::config::{SearchDialect, SearchOptions};
use crate::io::http::Answer;
use crate::io::{Contact, Failure, Net};

/// A shard takes some 60 bytes and an index as many more: room for 100 000 shards.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Blocks that are kept as complaints.
const ERRORS_MAX: usize = 16;
/// What stands for a cluster's id before there is a cluster.
const NO_CLUSTER: &str = "_na_";

const OWN: &str = "/_nodes/_local/os?filter_path=nodes.*.roles";
/// With the metadata of no index: who has many of them would put megabytes together in vain.
const STATE: &str = "metadata,version,blocks/pointsman?local=true&ignore_unavailable=true&allow_no_indices=true\
                     &expand_wildcards=none&filter_path=cluster_uuid,version,master_node,cluster_manager_node,\
                     blocks.global,metadata.cluster_coordination";
const HEALTH: &str = "/_cluster/health?local=true&level=shards&filter_path=cluster_name,\
                      indices.*.number_of_replicas,indices.*.shards.*.primary_active,\
                      indices.*.shards.*.active_shards";

/// What a node says of itself, of the cluster and of its shards.
pub(super) async fn status(
    net: &Net,
    options: &SearchOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api = api(net, options, url);
    let contact = &mut Contact::new(timeout);
    let own: Own = get(&api, contact, OWN).await?;
    let elected = match options.dialect {
        SearchDialect::Elasticsearch => "master_node",
        SearchDialect::Opensearch => "cluster_manager_node",
    };
    let state: State = get(&api, contact, &format!("/_cluster/state/{elected},{STATE}")).await?;
    let health: Health = get(&api, contact, HEALTH).await?;
    facts(options, own, state, health).map(Facts::Raft).ok_or_else(|| {
        Failure::rubbish(format!("{} answers what is not {}'s: not one node", api.place(), api.system))
    })
}

async fn get<T: DeserializeOwned>(api: &Api<'_>, contact: &mut Contact, path: &str) -> Result<T, Failure> {
    api.json(&api.get(contact, path).await?)
}

fn api<'a>(net: &'a Net, options: &'a SearchOptions, base: &'a Url) -> Api<'a> {
    let system = match options.dialect {
        SearchDialect::Elasticsearch => "Elasticsearch",
        SearchDialect::Opensearch => "OpenSearch",
    };
    Api { net, access: &options.access, base, system, body_bytes_max: BODY_BYTES_MAX }
}

/// `None`: it does not speak of one node, which is itself.
fn facts(options: &SearchOptions, own: Own, state: State, health: Health) -> Option<RaftFacts> {
    let mut nodes = own.nodes.into_iter();
    let (Some((member, node)), None) = (nodes.next(), nodes.next()) else { return None };
    let coordination = state.metadata.cluster_coordination;
    Some(RaftFacts {
        cluster: Some(state.cluster_uuid).filter(|id| id != NO_CLUSTER).unwrap_or_default(),
        learner: !node.roles.iter().any(|role| matches!(role.as_str(), "master" | "cluster_manager")),
        member,
        leader: state.elected,
        term: coordination.term,
        index: state.version,
        applied: state.version,
        electorate: coordination.last_committed_config,
        errors: state.blocks.global.into_values().map(|block| block.description).take(ERRORS_MAX).collect(),
        shards: Some(shards(options, health)),
        ..RaftFacts::default()
    })
}

fn shards(options: &SearchOptions, health: Health) -> Shards {
    let parts = health.indices.into_iter().filter(|(name, _)| watched(options, name));
    let parts = parts.flat_map(|(name, index)| {
        let replicas = index.number_of_replicas;
        index
            .shards
            .into_iter()
            .map(move |(number, shard)| (format!("{name}[{number}]"), shard.part(replicas)))
    });
    Shards::count(Scope::Whole, parts)
}

fn watched(options: &SearchOptions, index: &str) -> bool {
    let named = |pattern: &String| match pattern.strip_suffix('*') {
        Some(beginning) => index.starts_with(beginning),
        None => index == pattern,
    };
    options.indices.is_empty() || options.indices.iter().any(named)
}

/// Changes a note in the mapping of an index that is there for it, through this node. The leader
/// must have a majority accept the new state before it may say that it is done.
pub(super) async fn linearizable(net: &Net, options: &SearchOptions, url: &Url) -> LinearizableResult {
    let Some(index) = &options.proof_index else {
        return LinearizableResult::Unmeasured("no index is configured for the proof".to_owned());
    };
    // A change that changes nothing is acknowledged by a leader that has nobody behind it.
    let body = format!(r#"{{"_meta":{{"pointsman":"{:016x}"}}}}"#, fastrand::u64(..));
    let leader = match options.dialect {
        SearchDialect::Elasticsearch => "master",
        SearchDialect::Opensearch => "cluster_manager",
    };
    // It gives up before we do, so as to say why.
    let patience = options.linearizable_timeout.as_millis() * 3 / 4;
    let path = format!("/{index}/_mapping?{leader}_timeout={patience}ms&timeout={patience}ms");
    let mut contact = Contact::new(options.linearizable_timeout);
    let api = api(net, options, url);
    match api.put(&mut contact, &path, &body).await {
        Ok(answer) => proof(&api, &answer),
        Err(failure) => unanswered(failure, &contact),
    }
}

fn proof(api: &Api<'_>, answer: &Answer) -> LinearizableResult {
    if answer.status == StatusCode::OK {
        return match api.parse::<Acknowledged>(answer) {
            Ok(Acknowledged { acknowledged: true }) => LinearizableResult::Passed,
            // Perhaps done, and not by all in time.
            Ok(_) => LinearizableResult::Unmeasured(format!("{} did it and lacks answers", api.place())),
            Err(failure) => LinearizableResult::Unmeasured(failure.words),
        };
    }
    let Ok(Complaint { error }) = api.parse::<Complaint>(answer) else {
        return LinearizableResult::Unmeasured(api.odd(answer).words);
    };
    let words = match &error.reason {
        Some(reason) => format!("{}: {reason}", error.kind),
        None => error.kind.clone(),
    };
    match error.kind.as_str() {
        "master_not_discovered_exception"
        | "cluster_manager_not_discovered_exception"
        | "not_master_exception"
        | "not_cluster_manager_exception"
        | "failed_to_commit_cluster_state_exception" => {
            LinearizableResult::NoQuorum(format!("{} says {words}", api.place()))
        }
        // A leader whose followers are silent, or one with too much to do.
        "process_cluster_event_timeout_exception" => LinearizableResult::Hung,
        _ => LinearizableResult::Unmeasured(api.complaint(answer, &words).words),
    }
}

/// `GET /_nodes/_local`: the node that is asked, by its id.
#[derive(Deserialize, Debug)]
struct Own {
    nodes: BTreeMap<String, Node>,
}

#[derive(Deserialize, Debug)]
struct Node {
    #[serde(default)]
    roles: Vec<String>,
}

/// `GET /_cluster/state`.
#[derive(Deserialize, Debug)]
struct State {
    cluster_uuid: String,
    version: u64,
    /// The id of the elected node; `null` while it knows of none. It must be there: a state that
    /// does not say so is not one without a leader.
    #[serde(alias = "master_node", alias = "cluster_manager_node", deserialize_with = "said")]
    elected: Option<String>,
    #[serde(default)]
    blocks: Blocks,
    metadata: Metadata,
}

fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

#[derive(Deserialize, Debug, Default)]
struct Blocks {
    #[serde(default)]
    global: BTreeMap<String, Block>,
}

#[derive(Deserialize, Debug)]
struct Block {
    description: String,
}

#[derive(Deserialize, Debug)]
struct Metadata {
    cluster_coordination: Coordination,
}

#[derive(Deserialize, Debug)]
struct Coordination {
    term: u64,
    last_committed_config: BTreeSet<String>,
}

/// `GET /_cluster/health?level=shards`.
#[derive(Deserialize, Debug)]
struct Health {
    #[serde(default)]
    indices: BTreeMap<String, Index>,
}

#[derive(Deserialize, Debug)]
struct Index {
    #[serde(default)]
    number_of_replicas: u64,
    #[serde(default)]
    shards: BTreeMap<String, Shard>,
}

#[derive(Deserialize, Debug)]
struct Shard {
    primary_active: bool,
    /// The primary among them.
    active_shards: u64,
}

impl Shard {
    fn part(&self, replicas: u64) -> Part {
        match (self.primary_active, self.active_shards) {
            (false, _) => Part::Lost,
            // Who asks for no copies has accepted that.
            (true, 0 | 1) if replicas > 0 => Part::Critical,
            (true, _) => Part::Safe,
        }
    }
}

#[derive(Deserialize, Debug)]
struct Acknowledged {
    acknowledged: bool,
}

#[derive(Deserialize, Debug)]
struct Complaint {
    error: Reason,
}

#[derive(Deserialize, Debug)]
struct Reason {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::api;
    use super::*;
    use crate::io::Class;

    const OWN_OF_N0: &str = r#"{"nodes":{"QoSU93pVSmabTc-PdHWubA":{"name":"n0","roles":["cluster_manager","data","ingest","remote_cluster_client"]}}}"#;
    const FOLLOWS: &str = r#"{"cluster_name":"t","cluster_uuid":"V1qTCM9gSFWFkZiDAPcfQA","version":16,"cluster_manager_node":"sMbbqa3ESry64raMrIE5DQ","metadata":{"cluster_coordination":{"term":1,"last_committed_config":["gcVOzz_VQcWZ14RDeLBo-A","sMbbqa3ESry64raMrIE5DQ","QoSU93pVSmabTc-PdHWubA"],"last_accepted_config":["gcVOzz_VQcWZ14RDeLBo-A","sMbbqa3ESry64raMrIE5DQ","QoSU93pVSmabTc-PdHWubA"],"voting_config_exclusions":[]}}}"#;
    const ALONE: &str = r#"{"cluster_name":"t","cluster_uuid":"V1qTCM9gSFWFkZiDAPcfQA","version":17,"cluster_manager_node":null,"blocks":{"global":{"2":{"description":"no cluster-manager","retryable":true,"levels":["metadata_write"]}}},"metadata":{"cluster_coordination":{"term":1,"last_committed_config":["gcVOzz_VQcWZ14RDeLBo-A","sMbbqa3ESry64raMrIE5DQ","QoSU93pVSmabTc-PdHWubA"],"last_accepted_config":["gcVOzz_VQcWZ14RDeLBo-A","sMbbqa3ESry64raMrIE5DQ","QoSU93pVSmabTc-PdHWubA"],"voting_config_exclusions":[]}}}"#;
    const GREEN: &str = r#"{"status":"green","timed_out":false,"discovered_master":true,"discovered_cluster_manager":true,"indices":{"pointsman":{"number_of_replicas":0,"shards":{"0":{"primary_active":true,"active_shards":1}}},"orders":{"number_of_replicas":1,"shards":{"0":{"primary_active":true,"active_shards":2},"1":{"primary_active":true,"active_shards":2},"2":{"primary_active":true,"active_shards":2}}}}}"#;

    fn answer(status: u16, body: &str) -> Answer {
        api::answer(status, &[], body)
    }

    fn with_api<T>(of: impl FnOnce(&Api<'_>) -> T) -> T {
        let (net, options) = (Net::new(), SearchOptions::default());
        of(&api(&net, &options, &"http://search.example:9200".parse().unwrap()))
    }

    fn read<T: DeserializeOwned>(body: &str) -> Result<T, Failure> {
        with_api(|api| api.json(&answer(200, body)))
    }

    fn told(options: &SearchOptions, state: &str, health: &str) -> RaftFacts {
        let (own, state) = (read(OWN_OF_N0).unwrap(), read(state).unwrap());
        facts(options, own, state, read(health).unwrap()).unwrap()
    }

    fn counts(facts: &RaftFacts) -> (u64, u64, u64) {
        let shards = facts.shards.as_ref().unwrap();
        (shards.total, shards.lost, shards.critical)
    }

    #[test]
    fn reads_what_a_node_says() {
        // As captured from OpenSearch 2.19.1: three nodes, an index with a copy and one without.
        let facts = told(&SearchOptions::default(), FOLLOWS, GREEN);
        assert_eq!((facts.member.as_str(), facts.term, facts.index), ("QoSU93pVSmabTc-PdHWubA", 1, 16));
        assert_eq!(facts.leader.as_deref(), Some("sMbbqa3ESry64raMrIE5DQ"));
        assert_eq!((facts.electorate.len(), facts.learner, counts(&facts)), (3, false, (4, 0, 0)));
        // From Elasticsearch 7.17.28, before it has found the others.
        let fresh = r#"{"cluster_name":"t","cluster_uuid":"_na_","version":0,"master_node":null,"blocks":{"global":{"1":{"description":"state not recovered / initialized","retryable":true,"disable_state_persistence":true,"levels":["read","write","metadata_read","metadata_write"]},"2":{"description":"no master","retryable":true,"levels":["write","metadata_write"]}}},"metadata":{"cluster_coordination":{"term":0,"last_committed_config":[],"last_accepted_config":[],"voting_config_exclusions":[]}}}"#;
        let facts = told(&SearchOptions::default(), fresh, r#"{"cluster_name":"t"}"#);
        assert_eq!((facts.cluster.as_str(), facts.leader, facts.errors.len()), ("", None, 2));
    }

    #[test]
    fn a_node_without_a_leader_has_none_whatever_its_shards_say() {
        // The survivor of two that were killed: every primary is active by its word, and it takes
        // documents; a leader there is none.
        let health = r#"{"status":"red","timed_out":false,"discovered_master":false,"discovered_cluster_manager":false,"indices":{"pointsman":{"number_of_replicas":0,"shards":{"0":{"primary_active":true,"active_shards":1}}},"orders":{"number_of_replicas":1,"shards":{"0":{"primary_active":true,"active_shards":1},"1":{"primary_active":true,"active_shards":1},"2":{"primary_active":true,"active_shards":2}}}}}"#;
        let facts = told(&SearchOptions::default(), ALONE, health);
        assert_eq!(
            (facts.leader.as_deref(), facts.errors.as_slice()),
            (None, &["no cluster-manager".into()][..])
        );
        assert_eq!(counts(&facts), (4, 0, 2));
    }

    #[test]
    fn red_is_a_lost_primary_and_yellow_the_last_copy() {
        let of = |replicas: u64, active: bool, copies: u64| {
            let text = format!(
                r#"{{"indices":{{"a":{{"number_of_replicas":{replicas},"shards":{{"0":{{"primary_active":{active},"active_shards":{copies}}}}}}}}}}}"#
            );
            counts(&told(&SearchOptions::default(), FOLLOWS, &text))
        };
        assert_eq!(of(1, false, 0), (1, 1, 0));
        assert_eq!(of(2, false, 1), (1, 1, 0), "a copy that is no primary takes no writes");
        assert_eq!(of(1, true, 1), (1, 0, 1));
        assert_eq!(of(2, true, 2), (1, 0, 0), "yellow, and can lose another");
        assert_eq!(of(0, true, 1), (1, 0, 0), "nobody asked for a copy");
    }

    #[test]
    fn only_the_indices_that_are_asked_for() {
        let of = |patterns: &[&str]| {
            let indices = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            counts(&told(&SearchOptions { indices, ..SearchOptions::default() }, FOLLOWS, GREEN)).0
        };
        assert_eq!((of(&["orders"]), of(&["o*"]), of(&["order"]), of(&["x", "p*"])), (3, 3, 0, 1));
    }

    #[test]
    fn what_is_not_said_is_no_fact() {
        for state in [
            "{}",
            r#"{"status":"ok"}"#,
            // Asked in the other dialect: nothing of whom it elected.
            r#"{"cluster_uuid":"x","version":3,"metadata":{"cluster_coordination":{"term":1,"last_committed_config":[]}}}"#,
            r#"{"cluster_uuid":"x","version":3,"master_node":null}"#,
        ] {
            assert_eq!(read::<State>(state).unwrap_err().class, Class::Rubbish, "{state}");
        }
        assert!(read::<Own>(r#"{"cluster_name":"t"}"#).is_err());
        let two = r#"{"nodes":{"a":{"roles":[]},"b":{"roles":[]}}}"#;
        let state = read(FOLLOWS).unwrap();
        assert!(facts(&SearchOptions::default(), read(two).unwrap(), state, read("{}").unwrap()).is_none());
        let data = r#"{"nodes":{"a":{"roles":["data","ingest"]}}}"#;
        let state = read(FOLLOWS).unwrap();
        let facts = facts(&SearchOptions::default(), read(data).unwrap(), state, read("{}").unwrap());
        assert!(facts.unwrap().learner, "a node that cannot be elected has no vote");
        let class = |status| with_api(|api| api.json::<State>(&answer(status, "{}")).unwrap_err().class);
        assert_eq!((class(401), class(403), class(429)), (Class::Denied, Class::Denied, Class::Denied));
        assert_eq!((class(503), class(404)), (Class::Rubbish, Class::Rubbish));
    }

    #[test]
    fn a_change_of_the_state_proves_a_quorum_and_nothing_less() {
        let result = |status, body: &str| with_api(|api| proof(api, &answer(status, body)));
        let error = |kind: &str, reason: &str| {
            let reason = format!(r#"{{"type":"{kind}","reason":{reason}}}"#);
            format!(
                r#"{{"error":{{"root_cause":[{reason}],{}}},"status":503}}"#,
                &reason[1..reason.len() - 1]
            )
        };
        assert_eq!(result(200, r#"{"acknowledged":true}"#), LinearizableResult::Passed);
        for said in [r#"{"acknowledged":false}"#, "{}", "ok"] {
            assert!(matches!(result(200, said), LinearizableResult::Unmeasured(_)), "{said}");
        }
        for kind in ["master_not_discovered_exception", "cluster_manager_not_discovered_exception"] {
            assert!(matches!(result(503, &error(kind, "null")), LinearizableResult::NoQuorum(_)));
        }
        // An isolated leader, captured.
        let stuck =
            r#""failed to process cluster event (put-mapping [pointsman/Htt-MyYrSNWBqCfzynztRg]) within 2s""#;
        let stuck = error("process_cluster_event_timeout_exception", stuck);
        assert_eq!(result(503, &stuck), LinearizableResult::Hung);
        let missing = error("index_not_found_exception", r#""no such index [pointsman]""#);
        assert!(matches!(result(404, &missing), LinearizableResult::Unmeasured(_)));
        let denied = error("security_exception", r#""no permissions""#);
        assert!(matches!(result(403, &denied), LinearizableResult::Unmeasured(_)));
    }
}
