//! NATS JetStream servers.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{ClusterKind, Endpoint, NatsOptions, NatsPublish};
use crate::config::read::Placed;
use crate::config::spec;

/// A meta leader that is cut off calls itself one for up to 14 s (captured: 11 to 14).
const TIME_TO_TRUTH: Duration = Duration::from_secs(15);
/// Without a quorum a message is never acknowledged; with one, in milliseconds.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(5);
const CLIENT_PORT: u16 = 4222;

impl Binder<'_> {
    pub(in crate::config::bind) fn nats(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Nats,
        place: Place,
    ) {
        let linearizable_timeout = self.linearizable_timeout(
            own.linearizable_timeout,
            &frame,
            &place,
            LINEARIZABLE_TIMEOUT,
            "leave it at 5s",
        );
        let publish = own.publish.map(|publish| self.nats_publish(publish));
        let access = self.access(own.tls);
        let streams_lost_max = own.streams_lost_max;
        let kind = ClusterKind::Nats(NatsOptions { access, linearizable_timeout, publish, streams_lost_max });
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }

    fn nats_publish(&mut self, publish: spec::NatsPublish) -> NatsPublish {
        let subject = publish.subject;
        // A wildcard or a space would make another command of it.
        let plain = |c: char| c.is_ascii_graphic() && c != '*' && c != '>';
        if subject.value.is_empty() || !subject.value.chars().all(plain) {
            self.mistakes
                .error(&subject.place, "not a subject to publish to")
                .help("words with dots between them, like pointsman.probe");
        }
        NatsPublish {
            subject: subject.value,
            port: publish.port.unwrap_or(CLIENT_PORT),
            user: publish.user,
            password: publish.password.map(|secret| self.secret(secret)),
            token: publish.token.map(|secret| self.secret(secret)),
            tls: publish.tls,
        }
    }
}
