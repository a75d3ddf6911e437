//! RabbitMQ.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{ClusterKind, Credential, Endpoint, RabbitmqOptions, RabbitmqPublish};
use crate::config::read::Placed;
use crate::config::spec;

/// A queue elects a new leader within 5 s at default timings; nodes that are cut off are noticed
/// once questions about their queues time out (captured: after 5 to 9 s).
const TIME_TO_TRUTH: Duration = Duration::from_secs(15);
/// RabbitMQ never gives up on a confirmation; it takes as long as an election if there is one.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(8);
/// AMQP's ports (IANA), without and with TLS.
const PORTS: (u16, u16) = (5672, 5671);
/// Names are short strings in AMQP.
const NAME_BYTES_MAX: usize = 255;

impl Binder<'_> {
    pub(in crate::config::bind) fn rabbitmq(
        &mut self,
        name: &Placed<String>,
        mut frame: spec::Frame,
        own: spec::Rabbitmq,
        place: Place,
    ) {
        // The management API takes from 1.5 to 9 s while nodes are unreachable (captured): that is
        // when its answer matters, so it gets all the time there is.
        frame.timeout = frame
            .timeout
            .or(Some(spec::Span(frame.interval.map_or(self.defaults.interval, |interval| interval.0))));
        let mut access = self.access(own.tls);
        access.credential = Some(Credential::Basic { user: own.user, password: self.secret(own.password) });
        self.beginnings(&own.queues);
        let publish = own.publish.map(|publish| {
            let vhost = publish.vhost.as_ref();
            for name in [Some(&publish.queue), vhost].into_iter().flatten() {
                if name.value.is_empty() || name.value.len() > NAME_BYTES_MAX {
                    self.mistakes.error(
                        &name.place,
                        format!("a name in AMQP has between 1 and {NAME_BYTES_MAX} bytes"),
                    );
                }
            }
            RabbitmqPublish {
                vhost: vhost.map_or_else(|| "/".to_owned(), |vhost| vhost.value.clone()),
                queue: publish.queue.value,
                port: publish.port.unwrap_or(if publish.tls { PORTS.1 } else { PORTS.0 }),
                tls: publish.tls,
                timeout: publish.timeout.map_or(PUBLISH_TIMEOUT, |span| span.0),
            }
        });
        let options = RabbitmqOptions {
            access,
            vhost: own.vhost,
            queues: own.queues.into_iter().map(|pattern| pattern.value).collect(),
            parts_lost_max: own.parts_lost_max.unwrap_or_default(),
            publish,
        };
        let kind = ClusterKind::Rabbitmq(options);
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }

    /// Names of parts, or the beginnings of names with a `*` at the end.
    pub(in crate::config::bind) fn beginnings(&mut self, patterns: &[Placed<String>]) {
        for pattern in patterns {
            if pattern.value.strip_suffix('*').unwrap_or(&pattern.value).contains('*') {
                self.mistakes
                    .error(&pattern.place, format!("`{}` has a `*` that is not its end", pattern.value))
                    .help("a name, or the beginning of names and a `*`");
            }
        }
    }
}
