//! Patroni, over its REST API: what every member says of itself, and of the others by the word of
//! the store that holds the leader's lease.
//!
//! `GET /patroni` is answered from memory and always with 200; `GET /cluster` is the leader's view
//! of who holds a key of their own there. Not asked, because they go on saying all is well:
//! `/replica`, `/read-only`, `/health`, `/liveness`, `/readiness` of a replica that is cut off or
//! whose primary is dead; `/primary` and `/leader` of a primary that is shutting down because it
//! lost its lease (200 for nine seconds more than PostgreSQL takes connections). `dcs_last_seen`
//! moves on although the store has no leader (3.0.2 with etcd's v3 API).

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::api::Api;
use crate::cluster::{Facts, PatroniFacts, PatroniMember};
use crate::config::PatroniOptions;
use crate::io::http::authority;
use crate::io::{Contact, Failure, Net};

/// A status of a leader lists its standbys, some 200 bytes each.
const BODY_BYTES_MAX: usize = 128 * 1024;
/// Members of a cluster that are looked at.
const MEMBERS_MAX: usize = 64;
/// What a copy that is being made calls itself, unless it is told another name.
const COPYING: &str = "pg_basebackup";

/// What a member says of itself and, if it leads, of the others.
pub(super) async fn status(
    net: &Net,
    options: &PatroniOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api =
        Api { net, access: &options.access, base: url, system: "Patroni", body_bytes_max: BODY_BYTES_MAX };
    let mut contact = Contact::new(timeout);
    let answer = api.get(&mut contact, "/patroni").await?;
    let own: Own = api.json(&answer)?;
    let leads = own.is_primary() && own.is_running();
    let cluster = match leads {
        // Only whom it can ask: without the store it answers with an error, or too late.
        true => api.get(&mut contact, "/cluster").await.ok().and_then(|answer| api.json(&answer).ok()),
        false => None,
    };
    facts(own, cluster).map(Facts::Patroni).ok_or_else(|| api.odd(&answer))
}

fn facts(own: Own, cluster: Option<Cluster>) -> Option<PatroniFacts> {
    let (primary, running) = (own.is_primary(), own.is_running());
    let Own { state, timeline, xlog, replication, pause, .. } = own;
    // Without its own block it is some other JSON API.
    own.patroni?;
    let listed = cluster.map_or_else(Vec::new, |cluster| cluster.members);
    // While a replica is being copied its copy streams, too: it can take nothing over yet, and may
    // never come to.
    let copied = |name: &str| listed.iter().any(|member| member.name == name && !member.is_running());
    let streaming = replication.iter().filter(|standby| {
        standby.state == "streaming"
            && standby.application_name != COPYING
            && !copied(&standby.application_name)
    });
    Some(PatroniFacts {
        primary,
        running,
        state,
        unlocked: own.cluster_unlocked,
        failsafe: own.failsafe_mode_is_active,
        paused: pause,
        system: own.database_system_identifier.unwrap_or_default(),
        timeline: timeline.unwrap_or(0),
        streaming: streaming.count(),
        position: xlog.map_or(0, |xlog| xlog.location.or(xlog.replayed_location).unwrap_or(0)),
        members: listed.iter().take(MEMBERS_MAX).filter_map(Listed::member).collect(),
    })
}

/// `GET /patroni`.
#[derive(Deserialize, Debug)]
struct Own {
    state: String,
    role: String,
    timeline: Option<u64>,
    xlog: Option<Xlog>,
    #[serde(default)]
    replication: Vec<Standby>,
    #[serde(default)]
    cluster_unlocked: bool,
    #[serde(default)]
    failsafe_mode_is_active: bool,
    #[serde(default)]
    pause: bool,
    database_system_identifier: Option<String>,
    patroni: Option<serde_json::Value>,
}

impl Own {
    fn is_primary(&self) -> bool {
        matches!(self.role.as_str(), "master" | "primary" | "leader" | "standby_leader")
    }

    fn is_running(&self) -> bool {
        self.state == "running"
    }
}

#[derive(Deserialize, Debug)]
struct Xlog {
    location: Option<u64>,
    replayed_location: Option<u64>,
}

#[derive(Deserialize, Debug)]
struct Standby {
    #[serde(default)]
    application_name: String,
    #[serde(default)]
    state: String,
}

/// `GET /cluster`.
#[derive(Deserialize, Debug)]
struct Cluster {
    members: Vec<Listed>,
}

#[derive(Deserialize, Debug)]
struct Listed {
    #[serde(default)]
    name: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    api_url: String,
}

impl Listed {
    fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "running" | "streaming")
    }

    fn member(&self) -> Option<PatroniMember> {
        let place = authority(&self.api_url.parse().ok()?)?.to_string();
        Some(PatroniMember { place, running: self.is_running() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> PatroniFacts {
        facts(serde_json::from_str(text).unwrap(), None).unwrap()
    }

    #[test]
    fn a_replica_without_a_primary_says_all_is_well() {
        // Patroni 3.0.2, captured 40 s after its primary and the majority of etcd were killed:
        // `/replica`, `/health`, `/liveness`, `/readiness` were 200, and this had no word of it.
        let facts = parse(
            r#"{"state": "running", "postmaster_start_time": "2026-11-21 07:49:10.256907+00:00",
                "role": "replica", "server_version": 150018, "xlog": {"received_location": 67249800,
                "replayed_location": 67249800, "replayed_timestamp": "2026-11-21 07:49:08.842150+00:00",
                "paused": false}, "timeline": 1, "dcs_last_seen": 1795247349,
                "database_system_identifier": "7710528514042048283",
                "patroni": {"version": "3.0.2", "scope": "q"}}"#,
        );
        assert_eq!((facts.primary, facts.running, facts.unlocked), (false, true, false));
        assert_eq!((facts.position, facts.timeline), (67_249_800, 1));
    }

    #[test]
    fn a_primary_that_lost_its_lease_is_stopping_while_leader_is_200() {
        let facts = parse(
            r#"{"state": "stopping", "role": "master", "cluster_unlocked": true,
                "dcs_last_seen": 1795247470, "database_system_identifier": "7710528514042048283",
                "patroni": {"version": "3.0.2", "scope": "q"}}"#,
        );
        assert!(facts.primary && !facts.running && facts.unlocked);
    }

    #[test]
    fn a_leader_tells_who_streams_and_how_it_holds_on() {
        let text = r#"{"state": "running", "role": "master", "server_version": 150018,
                "xlog": {"location": 67249200}, "timeline": 1, "pause": true,
                "failsafe_mode_is_active": true, "dcs_last_seen": 1795247349,
                "replication": [{"usename": "repl", "application_name": "n3", "state": "streaming"},
                                {"usename": "repl", "application_name": "n1", "state": "startup"}],
                "patroni": {"version": "3.0.2", "scope": "q"}}"#;
        let facts = parse(text);
        assert!(facts.primary && facts.running && facts.failsafe && facts.paused);
        assert_eq!((facts.streaming, facts.position), (1, 67_249_200));
        let other: Own = serde_json::from_str(r#"{"state": "running", "role": "master"}"#).unwrap();
        assert!(super::facts(other, None).is_none(), "some other API");
    }

    #[test]
    fn a_copy_that_is_being_made_is_no_replica() {
        let text = r#"{"state": "running", "role": "master", "timeline": 1, "patroni": {},
            "replication": [{"application_name": "n1", "state": "backup"},
                            {"application_name": "n1", "state": "streaming"},
                            {"application_name": "pg_basebackup", "state": "streaming"},
                            {"application_name": "n3", "state": "streaming"}]}"#;
        let cluster = |state: &str| {
            let text = format!(
                r#"{{"members": [{{"name": "n1", "state": "{state}", "api_url": "http://10.0.0.1:8008/patroni"}},
                                {{"name": "n2", "state": "running", "api_url": "http://10.0.0.2:8008/patroni"}}]}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let facts = |state| facts(serde_json::from_str(text).unwrap(), Some(cluster(state))).unwrap();
        let copying = facts("creating replica");
        assert_eq!((copying.streaming, copying.members[0].running), (1, false));
        assert_eq!(facts("streaming").streaming, 2);
        // Without the store's word only the name tells.
        assert_eq!(parse(text).streaming, 2);
    }
}
