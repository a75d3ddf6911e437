//! PostgreSQL under Patroni.

use std::time::Duration;

use super::Binder;
use crate::base::Place;
use crate::config::model::{ClusterKind, Endpoint, PatroniOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// With Patroni's own `ttl` of 30 s and `loop_wait` of 10 s a lease runs out, and another takes
/// over, within this.
const TIME_TO_TRUTH: Duration = Duration::from_secs(45);

impl Binder<'_> {
    pub(in super::super) fn patroni(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Patroni,
        place: Place,
    ) {
        let kind = ClusterKind::Patroni(PatroniOptions { access: self.access(own.tls) });
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }
}
