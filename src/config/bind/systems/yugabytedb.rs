//! YugabyteDB.

use std::time::Duration;

use super::Binder;
use crate::base::Place;
use crate::config::model::{ClusterKind, Endpoint, YugabytedbOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// A leader's lease lasts 2 s, and followers elect another after 3 s without word from it; a master
/// that asks others for their roles waits for those that hang.
const TIME_TO_TRUTH: Duration = Duration::from_secs(12);

impl Binder<'_> {
    pub(in super::super) fn yugabytedb(
        &mut self,
        name: &Placed<String>,
        mut frame: spec::Frame,
        own: spec::Yugabytedb,
        place: Place,
    ) {
        // The list of masters waits for those that hang: that is when it matters.
        frame.timeout = frame
            .timeout
            .or(Some(spec::Span(frame.interval.map_or(self.defaults.interval, |interval| interval.0))));
        let options = YugabytedbOptions {
            access: self.access(own.tls),
            parts_lost_max: own.parts_lost_max.unwrap_or_default(),
        };
        let kind = ClusterKind::Yugabytedb(options);
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }
}
