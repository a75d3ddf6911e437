//! Kafka in KRaft mode: brokers are asked in Kafka's own protocol.
//!
//! Three questions over one connection. `Metadata` and `DescribeConfigs` are answered from the
//! broker's memory, isolated or not: they tell of partitions, and that the broker lives, and
//! nothing of a quorum (`ApiVersions` and `DescribeCluster` would tell even less; in KRaft the
//! `controller` among the metadata is just some broker). `DescribeQuorum` is passed on to the
//! controllers' leader. A broker that answers the first and leaves the last hanging knows of no
//! leader: the signature of an isolated minority.
//!
//! The leader's answer is not believed blindly: before 3.7 an isolated leader never resigns
//! (KAFKA-15489). It tells when each voter last fetched from it; without a majority of recent
//! ones it leads nobody.

use std::time::Duration;

use crate::cluster::{Facts, Part, RaftFacts, Scope, Shards};
use crate::config::{Credential, HostPort, KafkaOptions};
use crate::io::kafka::{Broker, Login, METADATA_TOPIC, Metadata, Quorum, Target, Topic, Voter};
use crate::io::{Class, Contact, Failure, Net, TrustFiles, read_secret};

/// A voter that has not fetched for longer does not follow: the leader itself gives up on a
/// majority after 3 s (`controller.quorum.fetch.timeout.ms` and a half).
const FOLLOWS_WITHIN_MS: i64 = 5000;

/// What a broker says.
pub(super) async fn status(
    net: &Net,
    options: &KafkaOptions,
    address: &HostPort,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let trust = TrustFiles { ca: options.access.ca.clone(), identity: options.access.identity.clone() };
    let login = match &options.access.credential {
        Some(Credential::Basic { user, password }) => {
            Some((user.as_str(), read_secret(password, contact.deadline()).await?))
        }
        _ => None,
    };
    let target = Target {
        address,
        tls: options.tls.then_some(&trust),
        login: login.as_ref().map(|(user, password)| Login { mechanism: options.mechanism, user, password }),
    };
    let mut broker = Broker::connect(contact, net, target).await?;
    let metadata = contact.bound(broker.metadata()).await??;
    let topics: Vec<&Topic> =
        metadata.topics.iter().filter(|topic| topic.error == 0 && watched(options, topic)).collect();
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    let min_isr = match names.is_empty() {
        true => Vec::new(),
        false => contact.bound(broker.min_isr(&names)).await??,
    };
    let quorum = match contact.bound(broker.quorum()).await {
        Ok(asked) => Some(asked?),
        // It has answered the questions before.
        Err(failure) if failure.class == Class::Silent => None,
        Err(failure) => return Err(failure),
    };
    // The list of all topics leaves out, without a word, those that we may not see. A broker that
    // knows of no leader may not know of them yet.
    let led = quorum.as_ref().is_some_and(|quorum| quorum.leader >= 0);
    if led && topics.is_empty() && !options.topics.is_empty() {
        return Err(Failure::denied(format!(
            "{address} shows us no topic `{}`: there is none, or we may not `Describe` it",
            options.topics.join("`, `")
        )));
    }
    Ok(Facts::Raft(facts(address, &metadata, &topics, &min_isr, quorum.as_ref())))
}

fn watched(options: &KafkaOptions, topic: &Topic) -> bool {
    let named = |pattern: &String| match pattern.strip_suffix('*') {
        Some(beginning) => topic.name.starts_with(beginning),
        None => topic.name == *pattern,
    };
    options.topics.is_empty() || options.topics.iter().any(named)
}

fn facts(
    address: &HostPort,
    metadata: &Metadata,
    topics: &[&Topic],
    min_isr: &[Option<usize>],
    quorum: Option<&Quorum>,
) -> RaftFacts {
    // Its id, where it is known by the name that we know it by.
    let itself = metadata
        .brokers
        .iter()
        .find(|(_, host, port)| *host == address.host && *port == i32::from(address.port));
    let mut facts = RaftFacts {
        cluster: metadata.cluster.clone(),
        member: itself.map_or_else(|| address.to_string(), |(id, ..)| id.to_string()),
        ..RaftFacts::default()
    };
    let mut parts: Vec<(String, Part)> = Vec::new();
    match quorum {
        None => facts.errors.push("DescribeQuorum hangs: no leader of the controllers".to_owned()),
        Some(quorum) => {
            let following = following(&quorum.voters);
            let majority = quorum.voters.len() / 2 + 1;
            facts.term = u64::try_from(quorum.epoch).unwrap_or(0);
            facts.index = u64::try_from(quorum.high_watermark).unwrap_or(0);
            // What this broker has applied is not told; that its controller has is what counts.
            facts.applied = facts.index;
            if quorum.leader < 0 {
                facts.errors.push("the controllers have no leader".to_owned());
            } else if following < majority {
                facts.errors.push(format!(
                    "controller {} leads {following} of {} voters",
                    quorum.leader,
                    quorum.voters.len()
                ));
            } else {
                facts.leader = Some(quorum.leader.to_string());
                facts.relayed = true;
                let part = if following == majority { Part::Critical } else { Part::Safe };
                parts.push((METADATA_TOPIC.to_owned(), part));
            }
        }
    }
    for (topic, min_isr) in topics.iter().zip(min_isr) {
        for partition in &topic.partitions {
            // Without the right to ask, or before 0.9's default: one replica will do.
            let least = min_isr.unwrap_or(1).max(1);
            let part = match partition.isr.len() {
                _ if partition.leader < 0 => Part::Lost,
                n if n < least => Part::Lost,
                n if n == least => Part::Critical,
                _ => Part::Safe,
            };
            parts.push((format!("{}-{}", topic.name, partition.number), part));
        }
    }
    facts.shards = Some(Shards::count(Scope::Whole, parts));
    facts
}

/// Voters that have fetched lately, by the clock of the leader, whose own time is the newest.
fn following(voters: &[Voter]) -> usize {
    let Some(present) = voters.iter().map(|voter| voter.fetched_ms).max().filter(|newest| *newest > 0) else {
        // None of them has a time yet.
        return voters.len();
    };
    voters.iter().filter(|voter| voter.fetched_ms >= present - FOLLOWS_WITHIN_MS).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::kafka::Partition;

    fn address() -> HostPort {
        HostPort { host: "10.0.0.1".to_owned(), port: 9092 }
    }

    fn metadata() -> Metadata {
        let broker = |n: i32| (n, format!("10.0.0.{n}"), 9092);
        Metadata {
            cluster: "c".to_owned(),
            brokers: vec![broker(1), broker(2), broker(3)],
            topics: Vec::new(),
        }
    }

    fn topic(partitions: &[(i32, &[i32])]) -> Topic {
        let partitions = partitions.iter().zip(0..).map(|((leader, isr), number)| Partition {
            number,
            leader: *leader,
            isr: isr.to_vec(),
        });
        Topic { error: 0, name: "orders".to_owned(), partitions: partitions.collect() }
    }

    /// Of three voters, the first leading at 100 s, the others as long ago as told in ms.
    fn quorum(ages: [i64; 2]) -> Quorum {
        let voter = |id, fetched_ms| Voter { id, end: 50, fetched_ms };
        let present = 100_000;
        Quorum {
            leader: 1,
            epoch: 7,
            high_watermark: 50,
            voters: vec![voter(1, present), voter(2, present - ages[0]), voter(3, present - ages[1])],
        }
    }

    fn told(topic: &Topic, min_isr: Option<usize>, quorum: Option<&Quorum>) -> RaftFacts {
        facts(&address(), &metadata(), &[topic], &[min_isr], quorum)
    }

    fn counts(facts: &RaftFacts) -> (u64, u64, u64) {
        let shards = facts.shards.as_ref().unwrap();
        (shards.total, shards.lost, shards.critical)
    }

    #[test]
    fn a_healthy_cluster() {
        let facts = told(&topic(&[(1, &[1, 2, 3]), (2, &[2, 3, 1])]), Some(2), Some(&quorum([10, 400])));
        assert_eq!((facts.member.as_str(), facts.leader.as_deref(), facts.term), ("1", Some("1"), 7));
        assert!(facts.relayed && facts.errors.is_empty());
        assert_eq!(counts(&facts), (3, 0, 0));
    }

    #[test]
    fn metadata_without_a_word_of_the_leader_proves_nothing() {
        // An isolated broker: its memory says that all partitions are led and in sync.
        let facts = told(&topic(&[(1, &[1, 2, 3])]), Some(2), None);
        assert_eq!((facts.leader, facts.relayed), (None, false));
        assert!(facts.errors[0].contains("hangs"));
        let none = Quorum { leader: -1, ..Quorum::default() };
        assert_eq!(told(&topic(&[]), None, Some(&none)).leader, None);
    }

    #[test]
    fn a_leader_that_nobody_fetches_from_leads_nobody() {
        // Before 3.7 it goes on calling itself the leader; the times tell.
        let facts = told(&topic(&[]), None, Some(&quorum([6000, 90_000])));
        assert_eq!(facts.leader, None);
        assert_eq!(facts.errors, ["controller 1 leads 1 of 3 voters"]);
        // One of two is behind: it leads, and can lose no other.
        let facts = told(&topic(&[]), None, Some(&quorum([10, 6000])));
        assert_eq!((facts.leader.as_deref(), counts(&facts)), (Some("1"), (1, 0, 1)));
        // A voter that never fetched.
        assert_eq!(counts(&told(&topic(&[]), None, Some(&quorum([10, 100_001])))), (1, 0, 1));
    }

    #[test]
    fn partitions_by_leader_and_in_sync_replicas() {
        let all: &[i32] = &[1, 2, 3];
        let topic = topic(&[(1, all), (1, &[1, 2]), (1, &[1]), (-1, &[3]), (-1, &[])]);
        let well = quorum([1, 1]);
        // The quorum's own part is one more of the total.
        assert_eq!(counts(&told(&topic, Some(2), Some(&well))), (6, 3, 1));
        assert_eq!(counts(&told(&topic, Some(3), Some(&well))), (6, 4, 1));
        assert_eq!(counts(&told(&topic, None, Some(&well))), (6, 2, 1), "one replica will do");
        let names = told(&topic, Some(2), Some(&well)).shards.unwrap().names;
        assert_eq!(names, ["orders-2", "orders-3", "orders-4"]);
    }
}
