//! ZooKeeper servers.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{ClusterKind, Endpoint, ZooKeeperOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// A leader that is cut off goes on saying so for `syncLimit` × `tickTime`: 10 s by default.
const TIME_TO_TRUTH: Duration = Duration::from_secs(12);
/// A session that was asked of it hangs for as long.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(12);

impl Binder<'_> {
    pub(in crate::config::bind) fn zookeeper(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::ZooKeeper,
        place: Place,
    ) {
        let linearizable_timeout = self.linearizable_timeout(
            own.linearizable_timeout,
            &frame,
            &place,
            LINEARIZABLE_TIMEOUT,
            "a server that is cut off gives up after syncLimit ticks, 10s by default; leave it at 12s",
        );
        let tls = own.tls.is_some();
        let options = ZooKeeperOptions { tls, access: self.access(own.tls), linearizable_timeout };
        let kind = ClusterKind::ZooKeeper(options);
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.host_port(text).map(Endpoint::Port)
        });
    }
}
