//! CockroachDB: thousands of ranges, each a raft group of its own, and among them the ranges that the
//! system itself lives on.
//!
//! Every node is asked for `/_status/vars`, its metrics, which wants no login. Five of them tell:
//! - `liveness_livenodes`. A node renews a record of its own every few seconds, in a range that takes a
//!   majority, and counts the nodes whose record is valid; it says 0 when its own is not ("will be 0 if
//!   this node is not itself live"). Anything above 0 is a proof that is seconds old that this node
//!   reaches a quorum of the system's ranges.
//! - `ranges`, `ranges_unavailable`, `ranges_underreplicated`, by store. Each range is counted by one
//!   node alone: by that of its lease, or else of its first live replica (`calcRangeCounter` in
//!   replica_metrics.go). So they are added up. **A node that is not live counts none**: where all is
//!   lost, `ranges_unavailable` is 0 everywhere. What such a node says is left out.
//!
//! Not asked, because they go on saying all is well: `/health`, `/health?ready=1` (200 from a node that
//! is parted from all others, cockroachdb/cockroach#116194), `SELECT 1`, `AS OF SYSTEM TIME` reads, which
//! any replica may answer.
//!
//! What takes a quorum is a read of the operator's choice over SQL, from the table's leaseholder, in a
//! transaction that cannot write.

use std::time::Duration;

use reqwest::Url;

use super::api::Api;
use super::unanswered;
use crate::cluster::{Facts, LinearizableResult, PeerFacts, Scope, Shards};
use crate::config::{CockroachdbOptions, CockroachdbSql, HostPort, PostgresTls};
use crate::io::http::authority;
use crate::io::postgres::{Login, Session, SqlFailure};
use crate::io::{Class, Contact, Failure, Net};

/// A node has some thousands of metrics, with their histograms 1 to 2 MB.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// RangeUnavailable, "some data from the cluster cannot be accessed (e.g. because all replicas awol)".
const RANGE_UNAVAILABLE: &str = "58C00";
/// The server's own limit is shorter than ours, so that it ends what nobody waits for.
const SERVER_SHARE: f64 = 0.8;

/// What a node says.
pub(super) async fn status(
    net: &Net,
    options: &CockroachdbOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api = Api {
        net,
        access: &options.access,
        base: url,
        system: "CockroachDB",
        body_bytes_max: BODY_BYTES_MAX,
    };
    let contact = &mut Contact::new(timeout);
    let answer = api.get(contact, "/_status/vars").await?;
    if answer.status.as_u16() != 200 {
        let words = String::from_utf8_lossy(&answer.body).chars().take(80).collect::<String>();
        return Err(api.complaint(&answer, &words));
    }
    if answer.cut {
        let words = format!("{} answers with more than {BODY_BYTES_MAX} bytes", api.place());
        return Err(Failure::rubbish(words));
    }
    let facts = facts(&api.place(), &String::from_utf8_lossy(&answer.body));
    facts.map(Facts::Peer).ok_or_else(|| api.odd(&answer))
}

/// Sums of the metrics that tell something, over the stores of a node.
#[derive(Default)]
struct Metrics {
    live: Option<u64>,
    ranges: Option<u64>,
    unavailable: u64,
    underreplicated: u64,
}

fn metrics(text: &str) -> Metrics {
    let mut metrics = Metrics::default();
    for line in text.lines() {
        // The labels of one store: `ranges{store="1"} 64`.
        let name_end = line.find(['{', ' ']).unwrap_or(line.len());
        let count = || {
            let number: f64 = line.rsplit_once(' ')?.1.parse().ok()?;
            // Also false for what is not a number.
            (0.0..1e15).contains(&number).then_some(number as u64)
        };
        let add = |sum: Option<u64>| count().map(|count| sum.unwrap_or(0) + count).or(sum);
        match &line[..name_end] {
            "liveness_livenodes" => metrics.live = add(metrics.live),
            "ranges" => metrics.ranges = add(metrics.ranges),
            "ranges_unavailable" => metrics.unavailable += count().unwrap_or(0),
            "ranges_underreplicated" => metrics.underreplicated += count().unwrap_or(0),
            _ => {}
        }
    }
    metrics
}

/// `None`: these are the metrics of something else.
fn facts(place: &str, text: &str) -> Option<PeerFacts> {
    let Metrics { live, ranges, unavailable, underreplicated } = metrics(text);
    let (live, total) = (live?, ranges?);
    let shards = Shards {
        scope: Scope::Own,
        total,
        lost: unavailable.min(total),
        // A range that is unavailable has too few replicas as well.
        critical: underreplicated.min(total).saturating_sub(unavailable),
        names: Vec::new(),
    };
    Some(PeerFacts {
        member: place.to_owned(),
        live: Some(live),
        shards: (live > 0).then_some(shards),
        ..PeerFacts::default()
    })
}

/// Reads what the operator has chosen, through a node.
pub(super) async fn linearizable(net: &Net, options: &CockroachdbOptions, url: &Url) -> LinearizableResult {
    let (Some(sql), Some(place)) = (&options.sql, authority(url)) else {
        return LinearizableResult::Unmeasured("no read is configured".to_owned());
    };
    let address = HostPort { host: place.host, port: sql.port };
    let contact = &mut Contact::new(sql.timeout);
    match read(net, options, sql, &address, contact).await {
        Ok(()) => LinearizableResult::Passed,
        Err(error) => failed(error, contact),
    }
}

async fn read(
    net: &Net,
    options: &CockroachdbOptions,
    sql: &CockroachdbSql,
    address: &HostPort,
    contact: &mut Contact,
) -> Result<(), SqlFailure> {
    let login = Login {
        address,
        pinned: None,
        user: &sql.user,
        database: &sql.database,
        tls: if sql.tls { PostgresTls::Require } else { PostgresTls::Disable },
        ca: options.access.ca.as_deref(),
        password: sql.password.as_ref(),
        application_name: "pointsman",
    };
    let session = Session::open(contact, net, &login).await?;
    let deadline = contact.deadline();
    let limit = deadline.left().mul_f64(SERVER_SHARE).as_millis().max(1);
    // A read that somebody has mistaken for a write fails.
    let bounds = format!("SET statement_timeout = '{limit}ms'; SET default_transaction_read_only = on");
    session.simple(&bounds, deadline).await?;
    session.simple(&sql.read, deadline).await.map(drop)
}

/// What it means that the read failed. Logging in takes a quorum too: users are in a table.
fn failed(error: SqlFailure, contact: &Contact) -> LinearizableResult {
    match error.state.as_ref().map(|state| state.code()) {
        Some(RANGE_UNAVAILABLE) => LinearizableResult::NoQuorum(error.failure.words),
        // The server's own limit (57014) has come first.
        _ if error.failure.class == Class::Silent => unanswered(error.failure, contact),
        _ => LinearizableResult::Unmeasured(error.failure.words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a node of two stores shows them (CockroachDB 23.1), with others around.
    fn vars(live: &str, stores: [[u64; 3]; 2]) -> String {
        let mut text = String::from(
            "# HELP node_id node ID with labels for advertised RPC and HTTP addresses\n\
             # TYPE node_id gauge\n\
             node_id{advertise_addr=\"n1:26257\",http_addr=\"n1:8080\",sql_addr=\"n1:26257\"} 1\n\
             # HELP liveness_livenodes Number of live nodes in the cluster (will be 0 if this node is not itself live)\n\
             # TYPE liveness_livenodes gauge\n",
        );
        text += &format!("liveness_livenodes {live}\nliveness_heartbeatsuccesses 4711\n");
        for (name, n) in [("ranges", 0), ("ranges_unavailable", 1), ("ranges_underreplicated", 2)] {
            text += &format!("# HELP {name} Number of ranges\n# TYPE {name} gauge\n");
            for (store, counts) in stores.iter().enumerate() {
                text += &format!("{name}{{store=\"{}\"}} {}\n", store + 1, counts[n]);
            }
        }
        text + "ranges_overreplicated{store=\"1\"} 0\nrangevalbytes{store=\"1\"} 9.1e+08\n"
    }

    fn told(live: &str, stores: [[u64; 3]; 2]) -> (Option<u64>, Option<(u64, u64, u64)>) {
        let facts = facts("http://n1:8080", &vars(live, stores)).unwrap();
        (facts.live, facts.shards.map(|shards| (shards.total, shards.lost, shards.critical)))
    }

    #[test]
    fn ranges_are_added_up_over_the_stores() {
        assert_eq!(told("3", [[40, 0, 0], [24, 0, 0]]), (Some(3), Some((64, 0, 0))));
        // Those that are unavailable are under-replicated too.
        assert_eq!(told("2", [[40, 1, 30], [24, 2, 20]]), (Some(2), Some((64, 3, 47))));
        assert_eq!(told("3.0", [[1, 0, 0], [0, 9, 9]]), (Some(3), Some((1, 1, 0))));
    }

    #[test]
    fn no_range_is_unavailable_by_a_node_that_is_not_live() {
        // Two of three killed, or parted from the rest: this node counts nothing at all.
        assert_eq!(told("0", [[0, 0, 0], [0, 0, 0]]), (Some(0), None));
        assert_eq!(told("0", [[40, 0, 0], [24, 0, 0]]), (Some(0), None));
    }

    #[test]
    fn the_metrics_of_something_else() {
        assert!(facts("n", "go_goroutines 7\n").is_none());
        assert!(facts("n", "").is_none());
        // A pod that speaks SQL only.
        assert!(facts("n", "sql_conns 3\nliveness_livenodes 3\n").is_none());
        assert!(facts("n", "ranges{store=\"1\"} NaN\nliveness_livenodes 3\n").is_none());
        assert!(facts("n", "ranges{store=\"1\"} -1\nliveness_livenodes 3\n").is_none());
    }

    #[test]
    fn what_a_read_that_fails_means() {
        let contact = Contact::new(Duration::from_secs(1));
        let mut connected = Contact::new(Duration::from_secs(1));
        connected.phases.connected = Some(Duration::ZERO);
        let of = |code: Option<&str>, failure: Failure| SqlFailure {
            failure,
            state: code.map(tokio_postgres::error::SqlState::from_code),
            routine: None,
        };
        let says = |error: SqlFailure, contact: &Contact| failed(error, contact);
        let lost = says(of(Some("58C00"), Failure::rubbish("replica unavailable")), &connected);
        assert!(matches!(lost, LinearizableResult::NoQuorum(_)));
        assert_eq!(says(of(Some("57014"), Failure::silent("t")), &connected), LinearizableResult::Hung);
        assert_eq!(says(of(None, Failure::silent("t")), &connected), LinearizableResult::Hung);
        for (error, contact) in [
            (of(None, Failure::silent("t")), &contact),
            (of(Some("28P01"), Failure::denied("who?")), &connected),
            (of(Some("42P01"), Failure::rubbish("no such table")), &connected),
            (of(None, Failure::refused("gone")), &connected),
        ] {
            assert!(matches!(says(error, contact), LinearizableResult::Unmeasured(_)));
        }
    }
}
