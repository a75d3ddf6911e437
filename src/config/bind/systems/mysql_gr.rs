//! MySQL Group Replication.

use std::time::Duration;

use super::Binder;
use crate::base::Place;
use crate::config::model::{ClusterKind, MysqlGrOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// Members that are gone are UNREACHABLE after 5 s (captured at defaults); from then on this is the
/// time that those that are left may take to agree anew.
const TIME_TO_TRUTH: Duration = Duration::from_secs(6);
/// A read that waits for others that are gone waits forever: this is when we stop.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(5);

impl Binder<'_> {
    pub(in super::super) fn mysql_gr(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::MysqlGr,
        place: Place,
    ) {
        let times = self.times(&frame, &place);
        let help = "it waits for what the group still has to apply; leave it at 5s";
        let linearizable_timeout =
            self.patience(own.linearizable_timeout, LINEARIZABLE_TIMEOUT, &times, help);
        let options =
            MysqlGrOptions { login: self.mysql_login(own.user, own.password, own.tls), linearizable_timeout };
        self.declare(name, ClusterKind::MysqlGr(options), TIME_TO_TRUTH, frame, place, Self::host);
    }
}
