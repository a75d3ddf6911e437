//! Vault.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{ClusterKind, Endpoint, VaultOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// A standby gives the active node up after two heartbeats of 5 s that failed, and tells so with the
/// next one (seen with 1.21: 11 s); then an election, for which the default
/// `performance_multiplier` of 5 allows some seconds.
const TIME_TO_TRUTH: Duration = Duration::from_secs(20);
/// For a write that is passed on to the active node.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(8);

impl Binder<'_> {
    pub(in crate::config::bind) fn vault(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Vault,
        place: Place,
    ) {
        let linearizable_timeout = self.linearizable_timeout(
            own.linearizable_timeout,
            &frame,
            &place,
            LINEARIZABLE_TIMEOUT,
            "a write has to reach the active node and a majority; leave it at 8s",
        );
        let options = VaultOptions {
            access: self.access(own.tls),
            token: own.token.map(|token| self.secret(token)),
            linearizable_timeout,
        };
        self.declare(name, ClusterKind::Vault(options), TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }
}
