//! RabbitMQ 3.10 and later: quorum queues, each a raft group of its own, over the management API;
//! and a publish with confirmation over AMQP.
//!
//! Every node is asked whom it takes to be running and how the quorum queues do. While nodes are
//! unreachable the management API is slow (captured: 1.5 to 9 s); that is silence, not a verdict.
//! What lies and is not asked: `aliveness-test` (a classic queue on the node itself), the health
//! checks (`alarms`, `local-alarms`, `virtual-hosts`, `port-listener` pass without a quorum;
//! `node-is-quorum-critical` fails with one to spare), a connection with a passive declare. A
//! queue's `state: running` and `leader: itself` on an isolated leader are not looked at either:
//! how many of its members are `online` decides.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::api::Api;
use crate::cluster::{Facts, LinearizableResult, Part, PeerFacts, Scope, Shards};
use crate::config::{Credential, HostPort, RabbitmqOptions, RabbitmqPublish};
use crate::io::amqp::{self, Published, Target};
use crate::io::http::authority;
use crate::io::{Contact, Failure, Net, TrustFiles, read_secret};

/// A queue takes some 200 bytes, so that this is room for 20 000.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Complaints of a member that are kept.
const ERRORS_MAX: usize = 16;

/// What a node says of the nodes and the queues.
pub(super) async fn status(
    net: &Net,
    options: &RabbitmqOptions,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let api =
        Api { net, access: &options.access, base: url, system: "RabbitMQ", body_bytes_max: BODY_BYTES_MAX };
    let contact = &mut Contact::new(timeout);
    let overview: Overview = get(&api, contact, "/api/overview?columns=node,cluster_name").await?;
    let nodes: Vec<Node> = get(&api, contact, "/api/nodes?columns=name,running,partitions").await?;
    let columns = "/api/queues?columns=name,vhost,type,leader,members,online";
    let queues: Vec<Queue> = get(&api, contact, columns).await?;
    Ok(Facts::Peer(facts(options, overview, nodes, &queues)))
}

async fn get<T: serde::de::DeserializeOwned>(
    api: &Api<'_>,
    contact: &mut Contact,
    path: &str,
) -> Result<T, Failure> {
    api.json(&api.get(contact, path).await?)
}

fn facts(options: &RabbitmqOptions, overview: Overview, nodes: Vec<Node>, queues: &[Queue]) -> PeerFacts {
    let quorum_queues: Vec<&Queue> = queues.iter().filter(|queue| queue.kind == "quorum").collect();
    // The queues are asked for their members anew each time. A node that has just gone is called
    // running for up to the net tick time and a quarter (75 s by default); one that has come back
    // after a partition (`ignore`) is not, for ever, while its queues go on. What is `running`
    // counts for nodes without a queue.
    let sees = nodes.iter().filter(|node| {
        let mut its = quorum_queues.iter().filter(|queue| queue.members.contains(&node.name)).peekable();
        match its.peek() {
            None => node.running,
            Some(_) => its.any(|queue| queue.online.contains(&node.name)),
        }
    });
    let mut sees: BTreeSet<String> = sees.map(|node| node.name.clone()).collect();
    sees.insert(overview.node.clone());
    let errors = nodes
        .iter()
        .filter(|node| !node.partitions.is_empty())
        .map(|node| format!("{} has seen a partition from {}", node.name, node.partitions.join(", ")));
    let watched = quorum_queues.iter().filter(|queue| watched(options, queue));
    let parts = watched.map(|queue| (queue.place(), queue.part()));
    PeerFacts {
        cluster: overview.cluster_name,
        sees,
        errors: errors.take(ERRORS_MAX).collect(),
        shards: Some(Shards::count(Scope::Whole, parts)),
        member: overview.node,
        live: None,
    }
}

fn watched(options: &RabbitmqOptions, queue: &Queue) -> bool {
    let named = |pattern: &String| match pattern.strip_suffix('*') {
        Some(beginning) => queue.name.starts_with(beginning),
        None => queue.name == *pattern,
    };
    options.vhost.as_ref().is_none_or(|vhost| *vhost == queue.vhost)
        && (options.queues.is_empty() || options.queues.iter().any(named))
}

/// Publishes to the queue that is there for it, through this node.
pub(super) async fn linearizable(net: &Net, options: &RabbitmqOptions, url: &Url) -> LinearizableResult {
    let (Some(publish), Some(place)) = (&options.publish, authority(url)) else {
        return LinearizableResult::Unmeasured("no queue is configured to publish to".to_owned());
    };
    let mut contact = Contact::new(publish.timeout);
    match confirmed(net, options, publish, place, &mut contact).await {
        Ok(result) => result,
        // Not even published: that says nothing of a quorum.
        Err(failure) => LinearizableResult::Unmeasured(failure.words),
    }
}

async fn confirmed(
    net: &Net,
    options: &RabbitmqOptions,
    publish: &RabbitmqPublish,
    place: HostPort,
    contact: &mut Contact,
) -> Result<LinearizableResult, Failure> {
    let Some(Credential::Basic { user, password }) = &options.access.credential else {
        return Err(Failure::unmeasured("no user is configured"));
    };
    let password = read_secret(password, contact.deadline()).await?;
    let trust = TrustFiles { ca: options.access.ca.clone(), identity: options.access.identity.clone() };
    let address = HostPort { host: place.host, port: publish.port };
    let target = Target {
        address: &address,
        tls: publish.tls.then_some(&trust),
        user,
        password: &password,
        vhost: &publish.vhost,
        queue: &publish.queue,
    };
    Ok(match amqp::publish(contact, net, target).await? {
        Published::Confirmed => LinearizableResult::Passed,
        Published::Refused => LinearizableResult::NoQuorum(format!(
            "{address} refuses a message to `{}` (basic.nack)",
            publish.queue
        )),
        Published::Hung => LinearizableResult::Hung,
        Published::Unroutable => LinearizableResult::Unmeasured(format!(
            "{address} has no queue `{}` in the virtual host `{}`",
            publish.queue, publish.vhost
        )),
    })
}

#[derive(Deserialize, Debug)]
struct Overview {
    node: String,
    #[serde(default)]
    cluster_name: String,
}

#[derive(Deserialize, Debug)]
struct Node {
    name: String,
    running: bool,
    /// `null`, or left out, of a node that is not running or has told nothing yet.
    #[serde(default, deserialize_with = "list")]
    partitions: Vec<String>,
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default())
}

/// A queue of any type. Its object is read by hand, because an isolated node (3.10.8, captured)
/// writes `online` twice, first what it sees and then what was so before; and the last of equal
/// keys is what most readers keep.
#[derive(Debug, Default, PartialEq, Eq)]
struct Queue {
    name: String,
    vhost: String,
    kind: String,
    members: Vec<String>,
    online: Vec<String>,
    /// `null` while it knows of none.
    leader: Option<String>,
}

impl Queue {
    fn place(&self) -> String {
        match self.vhost.as_str() {
            "/" => self.name.clone(),
            vhost => format!("{vhost}/{}", self.name),
        }
    }

    fn part(&self) -> Part {
        let majority = self.members.len() / 2 + 1;
        let online = self.members.iter().filter(|member| self.online.contains(member)).count();
        match online {
            _ if self.leader.is_none() => Part::Lost,
            n if n < majority => Part::Lost,
            n if n == majority => Part::Critical,
            _ => Part::Safe,
        }
    }
}

impl<'de> Deserialize<'de> for Queue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Queue;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a queue")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Queue, A::Error> {
                let mut queue = Queue::default();
                let mut online: Option<Vec<String>> = None;
                while let Some(key) = map.next_key::<String>()? {
                    let mut names = || map.next_value::<Option<Vec<String>>>().map(Option::unwrap_or_default);
                    match key.as_str() {
                        "members" => queue.members = names()?,
                        // The shorter list of two is what it sees now.
                        "online" => {
                            let told = names()?;
                            if online.as_ref().is_none_or(|known| told.len() < known.len()) {
                                online = Some(told);
                            }
                        }
                        "name" => queue.name = map.next_value()?,
                        "vhost" => queue.vhost = map.next_value()?,
                        "type" => queue.kind = map.next_value()?,
                        "leader" => queue.leader = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                queue.online = online.unwrap_or_default();
                Ok(queue)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LostMax;

    fn told(node: &str, nodes: &str, queues: &str) -> PeerFacts {
        told_of(&RabbitmqOptions::default(), node, nodes, queues)
    }

    fn told_of(options: &RabbitmqOptions, node: &str, nodes: &str, queues: &str) -> PeerFacts {
        let overview = format!(r#"{{"cluster_name":"rabbit@localhost","node":"{node}"}}"#);
        let queues: Vec<Queue> = serde_json::from_str(queues).unwrap();
        let (overview, nodes) =
            (serde_json::from_str(&overview).unwrap(), serde_json::from_str(nodes).unwrap());
        facts(options, overview, nodes, &queues)
    }

    fn counts(facts: &PeerFacts) -> (u64, u64, u64) {
        let shards = facts.shards.as_ref().unwrap();
        (shards.total, shards.lost, shards.critical)
    }

    /// All captured from 3.10.8: three nodes and one queue.
    const ALL_RUN: &str = r#"[{"partitions":[],"name":"rabbit@qn1","running":true},{"partitions":[],"name":"rabbit@qn2","running":true},{"partitions":[],"name":"rabbit@qn3","running":true}]"#;

    #[test]
    fn a_healthy_cluster() {
        let queues = r#"[{"leader":"rabbit@qn1","members":["rabbit@qn1","rabbit@qn3","rabbit@qn2"],"name":"qq","online":["rabbit@qn1","rabbit@qn3","rabbit@qn2"],"type":"quorum","vhost":"/"},
            {"name":"amq.gen-x","type":"classic","vhost":"/"}]"#;
        let facts = told("rabbit@qn2", ALL_RUN, queues);
        assert_eq!((facts.sees.len(), facts.member.as_str()), (3, "rabbit@qn2"));
        assert_eq!(counts(&facts), (1, 0, 0), "a classic queue has no quorum to lose");
        assert!(facts.errors.is_empty());
    }

    #[test]
    fn an_isolated_leader_that_calls_all_nodes_running_sees_none_of_them() {
        // 9 s after the cut: its nodes are all running, its queue has a leader, and the list of
        // who is online comes twice; the second one is what was so before.
        let nodes = r#"[{"partitions":[],"name":"rabbit@qn1","running":true},{"name":"rabbit@qn2","running":true},{"name":"rabbit@qn3","running":true}]"#;
        let queues = r#"[{"leader":"rabbit@qn1","members":["rabbit@qn1","rabbit@qn3","rabbit@qn2"],"name":"qq","online":["rabbit@qn1"],"online":["rabbit@qn1","rabbit@qn3","rabbit@qn2"],"type":"quorum","vhost":"/"}]"#;
        let facts = told("rabbit@qn1", nodes, queues);
        assert_eq!(facts.sees, BTreeSet::from(["rabbit@qn1".to_owned()]));
        assert_eq!(counts(&facts), (1, 1, 0));
        // The other two at the same time: they call it running, and elect.
        let queues = r#"[{"leader":null,"members":["rabbit@qn1","rabbit@qn3","rabbit@qn2"],"name":"qq","online":["rabbit@qn3","rabbit@qn2"],"type":"quorum","vhost":"/"}]"#;
        let facts = told("rabbit@qn2", nodes, queues);
        assert_eq!(facts.sees.len(), 2);
        assert_eq!(counts(&facts), (1, 1, 0));
        // And once they have elected.
        let queues = queues.replace("\"leader\":null", "\"leader\":\"rabbit@qn3\"");
        assert_eq!(counts(&told("rabbit@qn2", nodes, &queues)), (1, 0, 1));
    }

    #[test]
    fn a_running_queue_with_a_leader_is_lost_with_its_members() {
        // The isolated leader later on: `state` and `leader` go on saying that all is well.
        let nodes = r#"[{"name":"rabbit@qn1","running":true,"partitions":[]},{"name":"rabbit@qn2","running":false,"partitions":null},{"name":"rabbit@qn3","running":false,"partitions":null}]"#;
        let queues = r#"[{"name":"qq","type":"quorum","vhost":"/","state":"running","leader":"rabbit@qn1","members":["rabbit@qn1","rabbit@qn2","rabbit@qn3"],"online":["rabbit@qn1"],"messages":104}]"#;
        let facts = told("rabbit@qn1", nodes, queues);
        assert_eq!((facts.sees.len(), counts(&facts)), (1, (1, 1, 0)));
        // The survivor of two that were killed.
        let queues = r#"[{"name":"qq","type":"quorum","vhost":"/","state":null,"leader":null,"members":["rabbit@qn1","rabbit@qn2","rabbit@qn3"],"online":["rabbit@qn2"],"messages":null}]"#;
        let facts = told(
            "rabbit@qn2",
            &nodes.replace("qn1", "qnx").replace("qn2", "qn1").replace("qnx", "qn2"),
            queues,
        );
        assert_eq!((facts.sees.len(), counts(&facts)), (1, (1, 1, 0)));
    }

    #[test]
    fn two_of_three_are_critical_and_no_more() {
        // `node-is-quorum-critical` answers 503 here, while publishes are confirmed.
        let nodes = r#"[{"name":"rabbit@qn1","running":true,"partitions":[]},{"name":"rabbit@qn2","running":false,"partitions":null},{"name":"rabbit@qn3","running":true,"partitions":[]}]"#;
        let queues = r#"[{"name":"qq","type":"quorum","vhost":"/","state":"running","leader":"rabbit@qn1","members":["rabbit@qn1","rabbit@qn2","rabbit@qn3"],"online":["rabbit@qn1","rabbit@qn3"],"messages":6}]"#;
        let facts = told("rabbit@qn1", nodes, queues);
        assert_eq!((facts.sees.len(), counts(&facts)), (2, (1, 0, 1)));
    }

    #[test]
    fn a_partition_that_was_is_complained_of() {
        let nodes = r#"[{"name":"rabbit@qn1","running":true,"partitions":["rabbit@qn2"]},{"name":"rabbit@qn2","running":true}]"#;
        assert_eq!(
            told("rabbit@qn1", nodes, "[]").errors,
            ["rabbit@qn1 has seen a partition from rabbit@qn2"]
        );
    }

    #[test]
    fn only_the_queues_that_are_asked_for() {
        let queue = |vhost: &str, name: &str| {
            format!(
                r#"{{"leader":null,"members":["a"],"name":"{name}","online":[],"type":"quorum","vhost":"{vhost}"}}"#
            )
        };
        let queues =
            format!("[{},{},{}]", queue("/", "orders.eu"), queue("shop", "orders.us"), queue("shop", "mail"));
        let lost = |vhost: Option<&str>, patterns: &[&str]| {
            let options = RabbitmqOptions {
                vhost: vhost.map(str::to_owned),
                queues: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
                parts_lost_max: LostMax::Count(0),
                ..RabbitmqOptions::default()
            };
            told_of(&options, "a", "[]", &queues).shards.unwrap().names
        };
        assert_eq!(lost(None, &[]), ["orders.eu", "shop/orders.us", "shop/mail"]);
        assert_eq!(lost(Some("shop"), &[]), ["shop/orders.us", "shop/mail"]);
        assert_eq!(lost(None, &["orders.*", "nothing"]), ["orders.eu", "shop/orders.us"]);
        assert_eq!(lost(Some("shop"), &["mail"]), ["shop/mail"]);
    }
}
