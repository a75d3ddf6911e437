//! TiKV, by its placement drivers.

use std::time::Duration;

use super::Binder;
use crate::base::Place;
use crate::config::model::{ClusterKind, Endpoint, EtcdOptions, TikvOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// A PD elects within 3 s (`lease`, `election-interval`), and 500 ms ticks of its etcd go before that.
const TIME_TO_TRUTH: Duration = Duration::from_secs(15);
/// Its etcd gives up on a read that finds no quorum after 7 s and more.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(8);

impl Binder<'_> {
    pub(in super::super) fn tikv(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Tikv,
        place: Place,
    ) {
        let linearizable_timeout = self.linearizable_timeout(
            own.linearizable_timeout,
            &frame,
            &place,
            LINEARIZABLE_TIMEOUT,
            "the etcd in PD takes up to 7s to give up on a read without quorum; leave it at 8s",
        );
        let options = TikvOptions {
            pd: EtcdOptions { access: self.access(own.tls), linearizable_timeout, user: None },
            parts_lost_max: own.parts_lost_max.unwrap_or_default(),
        };
        self.declare(name, ClusterKind::Tikv(options), TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }
}
