//! Consul servers.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{ClusterKind, ConsulOptions, Credential, Endpoint};
use crate::config::read::Placed;
use crate::config::spec;

/// With the default `raft_multiplier` of 5 a server names a leader that is gone for up to 10 s
/// (captured: 2.8 s isolated leader, 5.3 s survivor, 8.8 s isolated follower).
const TIME_TO_TRUTH: Duration = Duration::from_secs(12);
/// Consul gives up on a request that finds no leader after `rpc_hold_timeout`, 7 s.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(8);

impl Binder<'_> {
    pub(in crate::config::bind) fn consul(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Consul,
        place: Place,
    ) {
        let linearizable_timeout = self.linearizable_timeout(
            own.linearizable_timeout,
            &frame,
            &place,
            LINEARIZABLE_TIMEOUT,
            "Consul takes up to 7s to give up on a read without leader; leave it at 8s",
        );
        let mut access = self.access(own.tls);
        access.credential = own.token.map(|token| Credential::Header("x-consul-token", self.secret(token)));
        let kind = ClusterKind::Consul(ConsulOptions { access, linearizable_timeout });
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }
}
