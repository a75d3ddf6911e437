//! What one member told, in words for a person.

use super::{CanaryFacts, Facts, NodeView, PeerFacts, Shards};

impl NodeView {
    /// In one word, for people: what the voter told, or how it failed to.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Answered(Facts::Raft(facts)) if facts.learner => "learner",
            Self::Answered(Facts::Raft(facts)) => match &facts.leader {
                Some(leader) if *leader == facts.member => "leads",
                Some(_) => "follows",
                None => "no leader",
            },
            Self::Answered(Facts::Postgres(facts)) => match (facts.in_recovery, facts.fenced) {
                (true, _) => "standby",
                (false, true) => "fenced",
                (false, false) => "writer",
            },
            Self::Answered(Facts::Peer(PeerFacts { live: Some(0), .. })) => "not live",
            Self::Answered(Facts::Peer(PeerFacts { live: Some(_), .. })) => "live",
            Self::Answered(Facts::Peer(facts)) if facts.sees.len() > 1 => "among others",
            Self::Answered(Facts::Peer(_)) => "alone",
            Self::Answered(Facts::Canary(CanaryFacts::Passed)) => "passes",
            Self::Answered(Facts::Canary(CanaryFacts::Failed(_))) => "fails",
            Self::Answered(Facts::Canary(CanaryFacts::ReadOnly(_))) => "read-only",
            Self::Answered(Facts::Canary(CanaryFacts::Hung)) => "hangs",
            Self::Answered(Facts::Component(facts)) => match (&facts.view, facts.ready) {
                (None, _) => "outside",
                (Some(_), false) => "joining",
                (Some(_), true) => "inside",
            },
            Self::Answered(Facts::Sentinel(facts)) => match facts.reaches {
                true => "reaches a majority",
                false => "cut off",
            },
            Self::Answered(Facts::Redis(facts)) => match (facts.loading, facts.master) {
                (true, _) => "loading",
                (false, true) => "master",
                (false, false) => "replica",
            },
            Self::Answered(Facts::Patroni(facts)) => match (facts.running, facts.primary) {
                (false, _) => "not running",
                (true, true) => "primary",
                (true, false) => "replica",
            },
            Self::Answered(Facts::Replica(facts)) => match &facts.locked_out {
                Some(_) => "lets nobody in",
                None => "answers",
            },
            Self::Refused(_) => "refused",
            Self::Silent(_) => "silent",
            Self::Denied(_) => "denied",
            Self::Rubbish(_) => "rubbish",
            Self::Unmeasured(_) => "not asked",
        }
    }
}

impl Facts {
    /// All of it, on one line for a person; what a system does not tell is left out.
    pub fn words(&self) -> String {
        let some = |name: &str, value: u64| (value > 0).then(|| format!("{name} {value}"));
        let parts: Vec<Option<String>> = match self {
            Self::Raft(facts) => vec![
                (!facts.member.is_empty()).then(|| format!("is {}", facts.member)),
                Some(match &facts.leader {
                    Some(leader) => format!("leader {leader}"),
                    None => "no leader".to_owned(),
                }),
                some("term", facts.term),
                some("index", facts.index),
                some("applied", facts.applied),
                facts.committed.map(|committed| format!("a majority has {committed}")),
                facts.arbiter.then(|| "arbiter".to_owned()),
                facts.syncing.then(|| "is being brought up to date".to_owned()),
                (!facts.errors.is_empty()).then(|| format!("complains: {}", facts.errors.join("; "))),
            ],
            Self::Postgres(facts) => vec![
                some("timeline", facts.timeline.into()),
                some("received", facts.received),
                some("replayed", facts.replayed),
                facts.read_only.then(|| "read only".to_owned()),
                Some(if facts.streaming { "streaming" } else { "not streaming" }.to_owned()),
                some("system", facts.system),
            ],
            Self::Canary(CanaryFacts::Passed) => vec![Some("a write came back".to_owned())],
            Self::Canary(CanaryFacts::Failed(why) | CanaryFacts::ReadOnly(why)) => vec![Some(why.clone())],
            Self::Canary(CanaryFacts::Hung) => vec![Some("a write or its read hangs".to_owned())],
            Self::Peer(facts) => vec![
                Some(format!("is {}", facts.member)),
                Some(match facts.live {
                    Some(0) => "is not live".to_owned(),
                    Some(live) => format!("knows of {live} that are live"),
                    None => {
                        format!("sees {}", facts.sees.iter().cloned().collect::<Vec<_>>().join(", "))
                    }
                }),
                (!facts.errors.is_empty()).then(|| format!("complains: {}", facts.errors.join("; "))),
            ],
            Self::Component(facts) => vec![
                Some(match &facts.view {
                    Some(view) => format!("membership {} of {}", view.number, view.size),
                    None => "in no membership that may commit".to_owned(),
                }),
                Some(facts.state.clone()).filter(|state| !state.is_empty()),
                (!facts.ready).then(|| "takes no statements".to_owned()),
                facts.primary.as_ref().map(|primary| format!("primary {primary}")),
                facts.read_only.then(|| "read only".to_owned()),
                facts.stalled.then(|| "held up by flow control".to_owned()),
                some("committed", facts.committed),
                some("queue", facts.queue),
            ],
            Self::Sentinel(facts) => vec![
                Some(facts.words.clone()),
                Some(format!("master {}", facts.master)),
                Some(format!("epoch {}", facts.epoch)),
                facts.down.then(|| "takes it for down".to_owned()),
            ],
            Self::Redis(facts) => vec![
                facts.master.then(|| format!("{} replicas heard from", facts.good_replicas)),
                (!facts.master).then(|| if facts.linked { "linked" } else { "not linked" }.to_owned()),
                facts.refuses_writes.then(|| "refuses writes".to_owned()),
                facts.loading.then(|| "loading".to_owned()),
                some("offset", facts.offset),
            ],
            Self::Patroni(facts) => vec![
                Some(facts.state.clone()),
                facts.unlocked.then(|| "no lease".to_owned()),
                facts.failsafe.then(|| "failsafe mode".to_owned()),
                facts.paused.then(|| "paused".to_owned()),
                some("timeline", facts.timeline),
                some("position", facts.position),
                facts.primary.then(|| format!("{} replicas stream", facts.streaming)),
            ],
            Self::Replica(facts) => vec![
                (!facts.datacenter.is_empty()).then(|| format!("in {}", facts.datacenter)),
                facts.locked_out.as_ref().map(|why| format!("lets nobody in: {why}")),
                facts.ring.as_ref().map(|ring| format!("knows {} hosts", ring.hosts.len())),
                some("files of hints for others", facts.hints.values().sum()),
                (!facts.errors.is_empty()).then(|| format!("complains: {}", facts.errors.join("; "))),
            ],
        };
        let parts = parts.into_iter().chain([self.shards().map(Shards::words)]);
        parts.flatten().collect::<Vec<_>>().join(", ")
    }
}
