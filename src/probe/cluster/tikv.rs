//! TiKV, by its placement drivers (PD).
//!
//! A PD is a member of an etcd with an API of its own on the same port, so that it is asked as etcd is:
//! its status, and apart from that a read through the leader and a majority. Without PD's quorum
//! nothing gets a timestamp, and no transaction begins.
//!
//! The leader is also asked how the stores do, of whose data PD knows where each replica lies. A store
//! is `Disconnected` after 20 s without a heartbeat, `Down` after 30 minutes. Fewer of them than
//! replicas can be lost end no region; with more, their regions are listed, and those without a
//! majority of voters on other stores are lost. A region that has lost its majority tells PD nothing
//! any more: what PD counts as `down-peer` or `pending-peer` is the word of leaders, so it is the
//! regions of which nobody speaks that are gone.
//!
//! Not asked, because they go on saying all is well: PD's `/pd/api/v1/ping` (an empty handler), its
//! `/pd/api/v1/health` (one member's view of the others), and TiKV's own `/status` (that the process
//! lives).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::api::Api;
use super::etcd;
use crate::cluster::{Facts, Part, Scope, Shards};
use crate::config::TikvOptions;
use crate::io::{Contact, Failure, Net};

/// A region takes some 500 bytes of the longest answer, so that this is room for 60 000 of one store.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Stores that do not answer whose regions are listed.
const STORES_MAX: usize = 16;

/// What a PD says.
pub(super) async fn status(
    net: &Net,
    options: &TikvOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api =
        Api { net, access: &options.pd.access, base: url, system: "PD", body_bytes_max: BODY_BYTES_MAX };
    let contact = &mut Contact::new(timeout);
    let mut facts = etcd::facts(&api, contact).await?;
    if facts.leader.as_ref() == Some(&facts.member) {
        let stores: Stores = api.json(&api.get(contact, "/pd/api/v1/stores").await?)?;
        let total: Count = api.json(&api.get(contact, "/pd/api/v1/stats/region").await?)?;
        let bears: Replication = api.json(&api.get(contact, "/pd/api/v1/config/replicate").await?)?;
        let away = Away::of(&stores);
        if !away.ids.is_empty() {
            facts.errors.push(format!("{} stores send no heartbeat", away.ids.len()));
        }
        let mut listed = BTreeMap::new();
        if away.ids.len() > bears.losses() {
            if away.ids.len() > STORES_MAX {
                facts.errors.push(format!("lost regions are counted on {STORES_MAX} of them only"));
            }
            for id in away.ids.iter().take(STORES_MAX) {
                let path = format!("/pd/api/v1/regions/store/{id}");
                let answer = api.get(contact, &path).await?;
                if answer.cut {
                    // Nothing is guessed: where stores of one zone are away, no region may be lost.
                    facts.errors.push("their regions are too many to count the lost ones".to_owned());
                    listed.clear();
                    break;
                }
                let regions: Regions = api.json(&answer)?;
                listed.extend(regions.regions.into_iter().map(|region| (region.id, region)));
            }
        }
        facts.shards = Some(shards(total.count, &bears, &away, &listed));
    }
    Ok(Facts::Raft(facts))
}

#[derive(Deserialize)]
struct Stores {
    stores: Vec<Store>,
}

#[derive(Deserialize)]
struct Store {
    store: Meta,
    #[serde(default)]
    status: StoreStatus,
}

#[derive(Deserialize)]
struct Meta {
    id: u64,
    state_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StoreStatus {
    region_count: u64,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Replication {
    max_replicas: usize,
}

impl Replication {
    /// Stores that any region can do without.
    fn losses(&self) -> usize {
        self.max_replicas.saturating_sub(1) / 2
    }
}

#[derive(Deserialize)]
struct Regions {
    regions: Vec<Region>,
}

#[derive(Deserialize)]
struct Region {
    id: u64,
    #[serde(default)]
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    store_id: u64,
    #[serde(default)]
    is_learner: bool,
}

/// Stores that send no heartbeat.
struct Away {
    ids: BTreeSet<u64>,
    /// Replicas that lie on them.
    replicas: u64,
}

impl Away {
    fn of(stores: &Stores) -> Self {
        let away = || {
            stores.stores.iter().filter(|store| matches!(&*store.store.state_name, "Disconnected" | "Down"))
        };
        Self {
            ids: away().map(|store| store.store.id).collect(),
            replicas: away().map(|store| store.status.region_count).sum(),
        }
    }
}

/// `listed`: the regions of the stores that are away, where these are more than can be spared.
fn shards(total: u64, bears: &Replication, away: &Away, listed: &BTreeMap<u64, Region>) -> Shards {
    if listed.is_empty() {
        // Each of the regions there has lost one replica of those that it can spare.
        let critical = match !away.ids.is_empty() && away.ids.len() >= bears.losses() {
            true => away.replicas.min(total),
            false => 0,
        };
        return Shards { scope: Scope::Whole, total, critical, ..Shards::default() };
    }
    let parts = listed.values().map(|region| {
        let voters: Vec<_> = region.peers.iter().filter(|peer| !peer.is_learner).collect();
        let majority = voters.len() / 2 + 1;
        let left = voters.iter().filter(|peer| !away.ids.contains(&peer.store_id)).count();
        let part = match left {
            left if left < majority => Part::Lost,
            left if left == majority => Part::Critical,
            _ => Part::Safe,
        };
        (format!("region {}", region.id), part)
    });
    let counted = Shards::count(Scope::Whole, parts);
    Shards { total: counted.total.max(total), ..counted }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PD's `server/api` writes them (`StoresInfo`, `RegionsInfo`): stores by state and number of
    /// regions, and regions by the stores of their voters, a learner as a negative number.
    fn stores(states: &[(&str, u64)]) -> Stores {
        let entry = |(n, (state, regions)): (usize, &(&str, u64))| {
            serde_json::json!({
                "store": {"id": n + 1, "address": format!("tikv-{n}:20160"), "labels": [{"key": "zone", "value": "z1"}],
                          "version": "7.5.0", "state_name": state},
                "status": {"capacity": "100GiB", "available": "90GiB", "leader_count": 1, "region_count": regions,
                           "last_heartbeat_ts": "2024-01-01T00:00:00Z", "uptime": "1h0m0s"}})
        };
        let entries: Vec<_> = states.iter().enumerate().map(entry).collect();
        serde_json::from_value(serde_json::json!({"count": entries.len(), "stores": entries})).unwrap()
    }

    fn listed(regions: &[&[i64]]) -> BTreeMap<u64, Region> {
        let peer = |(n, store): (usize, &i64)| {
            serde_json::json!({"id": n + 100, "store_id": store.unsigned_abs(), "is_learner": *store < 0,
                               "role_name": if *store < 0 { "Learner" } else { "Voter" }})
        };
        let region = |(n, stores): (usize, &&[i64])| {
            let peers: Vec<_> = stores.iter().enumerate().map(peer).collect();
            serde_json::json!({"id": n + 1, "start_key": "", "end_key": "", "epoch": {"conf_ver": 5, "version": 1},
                               "peers": peers, "leader": {"role_name": "Voter"}, "approximate_size": 1})
        };
        let regions: Vec<_> = regions.iter().enumerate().map(region).collect();
        let body = serde_json::json!({"count": regions.len(), "regions": regions});
        let regions: Regions = serde_json::from_value(body).unwrap();
        regions.regions.into_iter().map(|region| (region.id, region)).collect()
    }

    fn counted(replicas: usize, states: &[(&str, u64)], regions: &[&[i64]]) -> (u64, u64, u64) {
        let bears: Replication = serde_json::from_value(serde_json::json!({
            "max-replicas": replicas, "location-labels": "", "strictly-match-label": "false"}))
        .unwrap();
        let away = Away::of(&stores(states));
        let shards = shards(90, &bears, &away, &listed(regions));
        (shards.total, shards.lost, shards.critical)
    }

    #[test]
    fn fewer_stores_than_replicas_can_be_spared_end_nothing() {
        assert_eq!(counted(3, &[("Up", 90), ("Up", 90), ("Up", 90)], &[]), (90, 0, 0));
        assert_eq!(counted(3, &[("Up", 90), ("Disconnected", 70), ("Up", 90)], &[]), (90, 0, 70));
        assert_eq!(counted(5, &[("Up", 90), ("Down", 90), ("Up", 90), ("Up", 90), ("Up", 90)], &[]).2, 0);
        // On its way out, or out already: that is no loss.
        assert_eq!(counted(3, &[("Up", 90), ("Offline", 70), ("Tombstone", 0)], &[]), (90, 0, 0));
        // One replica, one store: all that it has is lost, as is seen below.
        assert_eq!(counted(1, &[("Up", 45), ("Down", 45)], &[&[2], &[2]]), (90, 2, 0));
    }

    #[test]
    fn a_region_is_lost_without_a_majority_of_its_voters() {
        let states = [("Up", 60), ("Down", 60), ("Disconnected", 60), ("Up", 60), ("Up", 60)];
        // Both on stores that are away; one; none of the voters but a learner; five of which two, or
        // three, are away.
        assert_eq!(counted(3, &states, &[&[1, 2, 3]]).1, 1);
        assert_eq!(counted(3, &states, &[&[1, 2, 4]]), (90, 0, 1));
        assert_eq!(counted(3, &states, &[&[1, 4, 5, -2]]), (90, 0, 0));
        assert_eq!(counted(3, &states, &[&[1, 2, 3, 4, 5], &[2, 3, -1]]), (90, 1, 1));
        // While members are exchanged there may be four: two are no majority.
        assert_eq!(counted(3, &states, &[&[1, 2, 3, 4]]).1, 1);
    }

    #[test]
    fn what_is_no_list_is_none() {
        assert!(serde_json::from_str::<Stores>(r#"{"error":"no leader"}"#).is_err());
        assert!(serde_json::from_str::<Count>("null").is_err());
        assert!(serde_json::from_str::<Replication>("{}").is_err());
    }
}
