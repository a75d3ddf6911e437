//! Watching a real RabbitMQ cluster with a quorum queue, from a host of its own.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::net::Net;
use common::rabbitmq::{MANAGEMENT, Rabbitmq};
use common::served::Served;

const NODES: usize = 3;
const SITE: usize = NODES;
/// Elections, net ticks and a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

const OPTIONS: &str = "\
user: guest
password: {file: password}
interval: 4s
rise: 1
fall: 1
time_to_truth: 6s
publish: {queue: pointsman, timeout: 3s}";

fn scene(name: &str) -> Option<(Served, Rabbitmq, Net)> {
    let net = Net::start(NODES + 1)?;
    let rabbitmq = Rabbitmq::start(&net, NODES)?;
    let members: Vec<_> = (0..NODES).map(|n| format!("http://{}:{MANAGEMENT}", net.address(n))).collect();
    let watch = Served::start(&net, SITE, name, "rabbitmq", &members, OPTIONS);
    watch.until("quorum", PATIENCE, &["no_quorum", "split_brain"]);
    Some((watch, rabbitmq, net))
}

#[test]
fn healthy_cut_healed_lost_and_back() {
    let Some((watch, mut rabbitmq, net)) = scene("rabbitmq") else { return };
    let group = watch.group();
    assert_eq!((&group["evidence"]["parts_total"], &group["evidence"]["parts_lost"]), (&1.into(), &0.into()));

    // One is cut off from the others, and not from us: they go on, it does not.
    net.cut(0, 1);
    net.cut(0, 2);
    watch.until_health(0, "no_quorum", PATIENCE);
    watch.until("degraded", PATIENCE, &["no_quorum"]);
    for region in [1, 2] {
        watch.until_health(region, "degraded", PATIENCE);
    }
    // What the partition has left behind (`cluster_partition_handling = ignore`) ends with a restart.
    net.heal(0);
    rabbitmq.kill(0);
    rabbitmq.bring_back(&net, &[0]);
    watch.until("quorum", PATIENCE, &["no_quorum"]);
    watch.until_health(0, "healthy", PATIENCE);

    // Two are killed.
    rabbitmq.kill(1);
    rabbitmq.kill(2);
    watch.until("no_quorum", PATIENCE, &["split_brain"]);
    rabbitmq.bring_back(&net, &[1, 2]);
    watch.until("quorum", PATIENCE, &["split_brain"]);
}

/// Also who stops where it stands, which looks like a cut cable to the others and to us.
#[test]
#[ignore = "long: part of `make test-long`"]
fn stopped_nodes() {
    let Some((watch, rabbitmq, _net)) = scene("rabbitmq-stopped") else { return };
    rabbitmq.pause(2);
    watch.until("degraded", PATIENCE, &["no_quorum"]);
    rabbitmq.pause(1);
    // Two may go on where only we do not see them; the one that answers does not.
    watch.until_health(0, "no_quorum", PATIENCE);
    assert_eq!(watch.standing(), "unknown", "{}", watch.reason());
    rabbitmq.resume(1);
    rabbitmq.resume(2);
    watch.until("quorum", PATIENCE, &["split_brain"]);
}

/// We reach one node only, and by it the others: nothing is lost, and nothing is said to be.
#[test]
#[ignore = "long: part of `make test-long`"]
fn a_checker_that_sees_one_node_only() {
    let Some((watch, _rabbitmq, net)) = scene("rabbitmq-alone") else { return };
    net.cut(SITE, 1);
    net.cut(SITE, 2);
    // Publishing through the one that is left goes on proving the quorum.
    watch.until("degraded", PATIENCE, &["no_quorum", "unreachable"]);
    watch.stays(&["degraded", "unknown"], Duration::from_secs(20));
    net.heal(SITE);
    watch.until("quorum", PATIENCE, &["no_quorum"]);
}
