//! Watching a real Kafka cluster in KRaft mode, from a host of its own.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::kafka::{Kafka, PORT};
use common::net::Net;
use common::served::Served;

const NODES: usize = 3;
const SITE: usize = NODES;
/// Three Java machines on a busy one.
const PATIENCE: Duration = Duration::from_secs(200);

const OPTIONS: &str = "\
interval: 3s
timeout: 3s
rise: 1
fall: 1";

fn scene(name: &str) -> Option<(Served, Kafka, Net)> {
    let net = Net::start(NODES + 1)?;
    let kafka = Kafka::start(&net, NODES)?;
    let members: Vec<_> = (0..NODES).map(|n| format!("{}:{PORT}", net.address(n))).collect();
    let served = Served::start(&net, SITE, name, "kafka", &members, OPTIONS);
    served.until("quorum", PATIENCE, &["no_quorum", "split_brain"]);
    Some((served, kafka, net))
}

#[test]
#[ignore = "long: part of `make test-long`"]
fn healthy_cut_healed_lost_and_back() {
    let Some((served, mut kafka, net)) = scene("kafka") else { return };
    let evidence = served.group()["evidence"].clone();
    // Six partitions, and what the controllers keep.
    assert_eq!((&evidence["parts_total"], &evidence["parts_lost"]), (&7.into(), &0.into()), "{evidence}");

    // One is cut off from the others, and not from us: it answers, from memory.
    net.cut(0, 1);
    net.cut(0, 2);
    served.until_health(0, "no_quorum", PATIENCE);
    served.until("degraded", PATIENCE, &["no_quorum", "split_brain"]);
    for region in [1, 2] {
        served.until_health(region, "degraded", PATIENCE);
    }
    net.heal(0);
    served.until("quorum", PATIENCE, &["no_quorum", "split_brain"]);
    served.until_health(0, "healthy", PATIENCE);

    kafka.kill(1);
    served.until("degraded", PATIENCE, &["no_quorum", "split_brain"]);
    kafka.kill(2);
    served.until("no_quorum", PATIENCE, &["split_brain"]);
    kafka.start_node(&net, 1);
    kafka.start_node(&net, 2);
    served.until("quorum", PATIENCE, &["split_brain"]);
}

#[test]
#[ignore = "long: part of `make test-long`"]
fn stopped_nodes() {
    let Some((served, kafka, _net)) = scene("kafka-stopped") else { return };
    kafka.pause(0);
    served.until("degraded", PATIENCE, &["no_quorum"]);
    kafka.pause(1);
    // Two may go on where only we do not see them; the one that answers does not.
    served.until_health(2, "no_quorum", PATIENCE);
    assert_eq!(served.standing(), "unknown", "{}", served.reason());
    kafka.resume(0);
    kafka.resume(1);
    served.until("quorum", PATIENCE, &["split_brain"]);
}
