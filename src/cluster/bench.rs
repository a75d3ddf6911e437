//! What the judges' tests have in common: a cluster and a group to judge.

use std::time::Duration;

use crate::base::{ClusterId, GroupId, Place, RegionId, Source};
use crate::config::{Cluster, ClusterKind, Group, Member, Schedule, SilentMeans};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Asked every second, with a time to truth of five.
pub(super) fn cluster(kind: ClusterKind) -> Cluster {
    Cluster {
        kind,
        groups: vec![GroupId(0)],
        schedule: Schedule { interval: SECOND, timeout: SECOND, rise: 2, fall: 2, ..Schedule::DEFAULT },
        time_to_truth: 5 * SECOND,
        silent_means: SilentMeans::Unknown,
        place: Place::whole(&Source::new("", "")),
    }
}

/// Its one group: inside the first region, or across those of its members.
pub(super) fn group(members: impl IntoIterator<Item = Member>, inside: bool) -> Group {
    let inside = inside.then_some(RegionId(0));
    Group { cluster: ClusterId(0), inside, members: members.into_iter().collect() }
}
