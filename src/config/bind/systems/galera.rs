//! Galera clusters.

use std::time::Duration;

use super::Binder;
use crate::base::Place;
use crate::config::model::{ClusterKind, GaleraOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// A member that is cut off finds out within 6.5 s (captured at default timings of EVS) and says so
/// itself; from then on this is the time that members may take to agree anew.
const TIME_TO_TRUTH: Duration = Duration::from_secs(5);
/// A read that waits for others that are gone ends when the member finds out.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(8);
/// Arbitrators of one group. One makes an even number odd; more than that are strange already.
const ARBITRATORS_MAX: usize = 8;

impl Binder<'_> {
    pub(in super::super) fn galera(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Galera,
        place: Place,
    ) {
        let times = self.times(&frame, &place);
        let help = "a member takes up to 7s to find out that the others are gone; leave it at 8s";
        let linearizable_timeout =
            self.patience(own.linearizable_timeout, LINEARIZABLE_TIMEOUT, &times, help);
        if own.arbitrators > ARBITRATORS_MAX {
            self.mistakes
                .error(&place, format!("{} arbitrators; at most {ARBITRATORS_MAX}", own.arbitrators));
        }
        let options = GaleraOptions {
            login: self.mysql_login(own.user, own.password, own.tls),
            arbitrators: own.arbitrators.min(ARBITRATORS_MAX),
            linearizable_timeout,
        };
        self.declare(name, ClusterKind::Galera(options), TIME_TO_TRUTH, frame, place, Self::host);
    }
}
