//! What Consul and Nomad tell of the raft library that they share.

use serde::Deserialize;

use crate::cluster::RaftFacts;

/// Servers of a raft configuration that are looked at.
const SERVERS_MAX: usize = 64;

/// `raft` among the statistics of an agent's own account. Numbers are texts here.
#[derive(Deserialize, Debug)]
pub(super) struct RaftStats {
    state: String,
    term: String,
    commit_index: String,
    applied_index: String,
    last_contact: String,
    /// `[{Suffrage:Voter ID:… Address:10.0.0.1:8300} {…}]`
    latest_configuration: String,
}

impl RaftStats {
    /// The address by which raft knows a server.
    pub(super) fn address_of(&self, id: &str) -> Option<&str> {
        servers(&self.latest_configuration).find(|server| server.id == id).map(|server| server.address)
    }

    /// The facts of the server `member`, whose id is `id`. It names nobody if `leader` is empty.
    /// `None`: a number is none.
    ///
    /// The index is that of what is committed, not the log's last: an entry that a lost leader could
    /// not commit goes away again.
    pub(super) fn facts(
        self,
        cluster: String,
        member: String,
        id: &str,
        leader: String,
    ) -> Option<RaftFacts> {
        let own = servers(&self.latest_configuration).find(|server| server.id == id);
        let learner = own.is_some_and(|own| own.suffrage != "Voter");
        // A server that leads takes itself for the leader, by the address that raft knows.
        let leader = Some(leader).filter(|leader| !leader.is_empty());
        let mut errors = Vec::new();
        if leader.is_none() {
            errors.push(format!("{}; last heard of a leader {} ago", self.state, self.last_contact));
        }
        Some(RaftFacts {
            cluster,
            member,
            leader,
            term: self.term.parse().ok()?,
            index: self.commit_index.parse().ok()?,
            applied: self.applied_index.parse().ok()?,
            learner,
            errors,
            ..RaftFacts::default()
        })
    }
}

/// A server of a raft configuration.
struct Server<'a> {
    suffrage: &'a str,
    id: &'a str,
    address: &'a str,
}

/// The servers of a raft configuration as Go prints it.
fn servers(text: &str) -> impl Iterator<Item = Server<'_>> {
    text.trim_matches(['[', ']']).split('{').take(SERVERS_MAX).filter_map(|server| {
        let mut words = server.split('}').next()?.split_whitespace();
        Some(Server {
            suffrage: words.next()?.strip_prefix("Suffrage:")?,
            id: words.next()?.strip_prefix("ID:")?,
            address: words.next()?.strip_prefix("Address:")?,
        })
    })
}
