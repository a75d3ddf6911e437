//! Checks of the values that a Prometheus server has.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{Beyond, Credential, PrometheusCheck};
use crate::config::spec;

/// An answer is evaluated as it is asked for: one that is a minute old comes from elsewhere.
const STALE_AFTER: Duration = Duration::from_secs(60);

impl Binder<'_> {
    pub(super) fn prometheus(
        &mut self,
        own: spec::PrometheusCheck,
        place: &Place,
    ) -> Option<PrometheusCheck> {
        let url = self.url(&own.url);
        if url.as_ref().is_some_and(|url| url.query().is_some()) {
            self.mistakes.error(&own.url.place, "the URL of a Prometheus server has no query of its own");
        }
        if own.query.value.trim().is_empty() {
            self.mistakes.error(&own.query.place, "`query` is empty").help("write an expression in PromQL");
        }
        let beyond = match (own.above, own.below) {
            (Some(above), None) => Some(Beyond::Above(above.value)),
            (None, Some(below)) => Some(Beyond::Below(below.value)),
            (None, None) | (Some(_), Some(_)) => {
                self.mistakes
                    .error(place, "a value fails on one side of a bound")
                    .help("write either `above: N` or `below: N`");
                None
            }
        };
        let mut access = self.access(own.tls);
        access.credential = match (own.bearer, own.basic) {
            (Some(_), Some(basic)) => {
                self.mistakes
                    .error(&basic.user.place, "one credential is shown, not two")
                    .help("write either `bearer` or `basic`");
                None
            }
            (Some(token), None) => Some(Credential::Bearer(self.secret(token))),
            (None, Some(basic)) => {
                Some(Credential::Basic { user: basic.user.value, password: self.secret(basic.password) })
            }
            (None, None) => None,
        };
        Some(PrometheusCheck {
            url: url?,
            query: own.query.value,
            beyond: beyond?,
            series: own.series,
            no_data: own.no_data,
            stale_after: own.stale_after.map_or(STALE_AFTER, |span| span.0),
            access,
        })
    }
}
