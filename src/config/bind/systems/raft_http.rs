//! Any system that elects a leader and tells of it in JSON over HTTP.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{
    ClusterKind, Credential, Endpoint, Pointers, RaftHttpOptions, RaftHttpQuorum, StatusRange,
};
use crate::config::read::Placed;
use crate::config::spec;

/// Of systems that we know nothing of: as with those that take their time.
const TIME_TO_TRUTH: Duration = Duration::from_secs(15);
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(8);

impl Binder<'_> {
    pub(in crate::config::bind) fn raft_http(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::RaftHttp,
        place: Place,
    ) {
        let linearizable_timeout = self.linearizable_timeout(
            own.linearizable_timeout,
            &frame,
            &place,
            LINEARIZABLE_TIMEOUT,
            "give it what the system itself takes to give up, and a second",
        );
        let mut access = self.access(own.tls);
        access.credential = own.token.map(|token| Credential::Bearer(self.secret(token)));
        let spec::Pointers { cluster, member, leader, term, index, applied, learner, voter } = own.pointers;
        let mut pointer = |text: Option<Placed<String>>| text.and_then(|text| self.pointer(text));
        let pointers = Pointers {
            cluster: pointer(cluster),
            member: pointer(member),
            leader: pointer(Some(leader)).unwrap_or_default(),
            term: pointer(term),
            index: pointer(index),
            applied: pointer(applied),
            learner: pointer(learner),
            voter: pointer(voter),
        };
        let options = RaftHttpOptions {
            access,
            path: self.path_of(own.path),
            body: own.body,
            expect: own.expect,
            pointers,
            linearizable_timeout,
            linearizable: own.linearizable.map(|quorum| self.quorum_request(quorum)),
        };
        let kind = ClusterKind::RaftHttp(Box::new(options));
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }

    fn quorum_request(&mut self, quorum: spec::RaftHttpQuorum) -> RaftHttpQuorum {
        let status = match &quorum.status {
            None => vec![StatusRange { first: 200, last: 200 }],
            Some(nodes) => nodes.iter().filter_map(|node| self.status(node)).collect(),
        };
        let place = &quorum.path.place;
        if status.is_empty() {
            self.mistakes.error(place, "`status` is empty: no answer would ever prove a quorum");
        }
        RaftHttpQuorum {
            path: self.path_of(quorum.path),
            body: quorum.body,
            status,
            expect: quorum.expect,
            no_quorum: quorum.no_quorum,
        }
    }

    /// A path, with a query if need be.
    fn path_of(&mut self, text: Placed<String>) -> String {
        let plain = |c: char| c.is_ascii_graphic() && c != '#';
        let fits = text.value.starts_with('/') && !text.value.starts_with("//");
        let fits = fits && text.value.chars().all(plain);
        if !fits {
            self.mistakes.error(&text.place, "not a path").help("like `/status`, with a query if need be");
        }
        text.value
    }

    /// RFC 6901 §3.
    fn pointer(&mut self, text: Placed<String>) -> Option<String> {
        if !text.value.starts_with('/') {
            self.mistakes
                .error(&text.place, "not a JSON pointer (RFC 6901)")
                .help("keys and list positions with a slash before each, like `/raft/leader`");
            return None;
        }
        Some(text.value)
    }
}
