//! Watching a real Cassandra cluster, from a host of its own.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::cassandra::{Cassandra, PORT, SHOP};
use common::daemon::{BINARY, Daemon};
use common::net::Net;
use common::served::Served;
use common::{now, until};
use pointsman::config::Level;
use pointsman::io::cql::Answer;

/// Java machines on a busy one.
const PATIENCE: Duration = Duration::from_secs(240);

const OPTIONS: &str = "\
interval: 2s
timeout: 2s
rise: 1
fall: 1
user: pointsman
password: {file: password}
keyspaces: {orders: {level: local_quorum}}
parts_lost_max: 0
canary: {table: pointsman.canary}";

/// Three nodes of one datacenter, in a region each; three replicas of everything.
fn scene(name: &str) -> Option<(Served, Cassandra, Net)> {
    let net = Net::start(4)?;
    let cassandra = Cassandra::start(&net, &[0, 0, 0])?;
    let members: Vec<_> = (0..3).map(|n| format!("{}:{PORT}", net.address(n))).collect();
    let served = Served::start(&net, 3, name, "cassandra", &members, OPTIONS);
    served.until("quorum", PATIENCE, &["no_quorum", "split_brain"]);
    Some((served, cassandra, net))
}

#[test]
#[ignore = "long: part of `make test-long`"]
fn healthy_cut_healed_lost_and_back() {
    let Some((served, mut cassandra, net)) = scene("cassandra") else { return };
    let evidence = served.group()["evidence"].clone();
    assert_eq!((&evidence["parts_total"], &evidence["parts_lost"]), (&3.into(), &0.into()), "{evidence}");
    assert_eq!(evidence["margin"], 1, "{evidence}");

    // One is cut off from the others, and not from us: it takes connections, and calls our password
    // wrong.
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

    cassandra.kill(1);
    served.until("degraded", PATIENCE, &["no_quorum", "split_brain"]);
    cassandra.kill(2);
    served.until("no_quorum", PATIENCE, &["split_brain"]);
    cassandra.start_node(&net, 1);
    cassandra.start_node(&net, 2);
    served.until("quorum", PATIENCE, &["split_brain"]);
}

#[test]
#[ignore = "long: part of `make test-long`"]
fn stopped_nodes() {
    let Some((served, cassandra, _net)) = scene("cassandra-stopped") else { return };
    cassandra.pause(1);
    served.until("degraded", PATIENCE, &["no_quorum"]);
    cassandra.pause(2);
    served.until("no_quorum", PATIENCE, &["split_brain"]);
    cassandra.resume(1);
    cassandra.resume(2);
    served.until("quorum", PATIENCE, &["split_brain"]);
}

/// The example of docs/sensing.md: two regions with a datacenter each.
fn two_regions(net: &Net, site: usize) -> Served {
    let members = |nodes: [usize; 3]| {
        let places: Vec<_> = nodes.iter().map(|n| format!("\"{}:{PORT}\"", net.address(*n))).collect();
        places.join(", ")
    };
    let options: String = OPTIONS.lines().map(|line| format!("      {line}\n")).collect();
    let text = format!(
        "version: 1
mode: act
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone}}]
clusters:
  watched:
    cassandra:
      across:
        r0: [{}]
        r1: [{}]
{options}regions:
  r0: {{layers: {{quorum: [watched]}}}}
  r1: {{layers: {{quorum: [watched]}}}}
services:
  shop:
    names: [shop.gtm.example.com]
    policy: {{all: [r0, r1]}}
    answers: {{r0: {{a: [192.0.2.1]}}, r1: {{a: [192.0.2.2]}}}}
    ttl: {{min: 1s, max: 5s}}
    all_down: serve_all
    failback: {{auto: {{after: 1s}}}}
store: {{embedded: {{path: state}}}}
",
        members([0, 1, 2]),
        members([3, 4, 5]),
    );
    let mut daemon = Daemon::prepare("cassandra-two");
    daemon.write("pointsman.yaml", &text);
    daemon.write("password", "guest");
    daemon.start_by(net.on(site, BINARY));
    let served = Served { daemon };
    served.until("quorum", PATIENCE, &["no_quorum", "split_brain"]);
    served
}

#[test]
#[ignore = "long: part of `make test-long`"]
fn parted_datacenters_both_serve_and_their_writes_diverge() {
    const SITE: usize = 6;
    let Some(net) = Net::start(SITE + 1) else { return };
    let Some(mut cassandra) = Cassandra::start(&net, &[0, 0, 0, 1, 1, 1]) else { return };
    let served = two_regions(&net, SITE);
    for region in [0, 1] {
        served.until_health(region, "healthy", PATIENCE);
    }
    let both_healthy = || {
        for region in ["r0", "r1"] {
            let health = served.daemon.health(region);
            assert_eq!(health, "healthy", "{region}: {}", served.group());
        }
    };
    let sides = || served.group()["evidence"]["sides"].as_u64();
    assert_eq!(sides(), Some(1));

    // The datacenters are parted from each other, and neither of them from us.
    for one in 0..3 {
        for other in 3..6 {
            net.cut(one, other);
        }
    }
    until("the parting to be seen", PATIENCE, || {
        both_healthy();
        sides() == Some(2)
    });
    let seen = now();
    while now() - seen < Duration::from_secs(45) {
        both_healthy();
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(served.standing(), "degraded", "{}", served.reason());
    assert!(served.reason().contains("do not hear each other"), "{}", served.reason());
    assert!(served.daemon.metrics().contains("pointsman_cluster_sides{group=\"watched\"} 2"));
    // Each side takes writes, and neither knows those of the other.
    let write = |node: usize, words: &str| {
        let statement = format!("UPDATE orders.orders SET words = '{words}' WHERE id = 1");
        let written = cassandra.ask(&net, node, SHOP, &statement, Level::LocalQuorum);
        assert!(matches!(written, Some(Answer::Rows(_))), "{written:?}");
    };
    let read = |node: usize| {
        let question = "SELECT words FROM orders.orders WHERE id = 1";
        match cassandra.ask(&net, node, SHOP, question, Level::LocalQuorum) {
            Some(Answer::Rows(rows)) => {
                let cell = rows.first().and_then(|row| row.first().cloned().flatten());
                String::from_utf8(cell.unwrap_or_default()).unwrap()
            }
            other => format!("{other:?}"),
        }
    };
    write(0, "from the first");
    write(3, "from the second");
    assert_eq!((read(0), read(3)), ("from the first".into(), "from the second".into()));
    both_healthy();

    for one in 0..3 {
        net.heal(one);
    }
    until("the datacenters to hear each other", PATIENCE, || {
        both_healthy();
        sides() == Some(1)
    });
    served.until("quorum", PATIENCE, &["no_quorum", "split_brain"]);
    until("the writes to come together", PATIENCE, || read(0) == "from the second" && read(3) == read(0));

    // Out of our sight, and of nobody else's.
    for node in 3..6 {
        net.cut(SITE, node);
    }
    let cut = now();
    while now() - cut < Duration::from_secs(45) {
        assert_ne!(served.daemon.health("r1"), "no_quorum", "{}", served.group());
        assert_eq!(served.daemon.health("r0"), "healthy", "{}", served.group());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(served.daemon.health("r1"), "unknown");
    net.heal(SITE);
    served.until_health(1, "healthy", PATIENCE);

    // Two of three replicas of one datacenter are gone: it is lost, and the other is not.
    cassandra.kill(4);
    served.until_health(1, "degraded", PATIENCE);
    cassandra.kill(5);
    served.until_health(1, "no_quorum", PATIENCE);
    assert_eq!(served.daemon.health("r0"), "healthy");
    cassandra.start_node(&net, 4);
    cassandra.start_node(&net, 5);
    served.until_health(1, "healthy", PATIENCE);
    served.until("quorum", PATIENCE, &["no_quorum", "split_brain"]);
}
