//! Kafka.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{ClusterKind, Credential, Endpoint, KafkaOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// Controllers elect within 2 to 3 s, and a broker that is gone is missed after 9 s
/// (`broker.session.timeout.ms`). But brokers stick to a leader that has gone silent until their
/// question to it has timed out after 30 s (`controller.socket.timeout.ms`), and so does what is
/// asked through them (seen with 3.9.1: the leader cut off, the others knew of none for longer
/// than 15 s).
const TIME_TO_TRUTH: Duration = Duration::from_secs(60);

impl Binder<'_> {
    pub(in crate::config::bind) fn kafka(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Kafka,
        place: Place,
    ) {
        let tls = own.tls.is_some();
        let mut access = self.access(own.tls);
        access.credential = match (own.user, own.password) {
            (Some(user), Some(password)) => {
                Some(Credential::Basic { user, password: self.secret(password.value) })
            }
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                self.mistakes.error(&name.place, "a login needs both `user` and `password`");
                None
            }
        };
        if let Some(mechanism) = own.mechanism.as_ref().filter(|_| access.credential.is_none()) {
            self.mistakes
                .error(&mechanism.place, "a mechanism for nobody: `user` and `password` are missing");
        }
        self.beginnings(&own.topics);
        let options = KafkaOptions {
            access,
            mechanism: own.mechanism.map(|mechanism| mechanism.value).unwrap_or_default(),
            tls,
            topics: own.topics.into_iter().map(|pattern| pattern.value).collect(),
            parts_lost_max: own.parts_lost_max.unwrap_or_default(),
        };
        let kind = ClusterKind::Kafka(options);
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.host_port(text).map(Endpoint::Port)
        });
    }
}
