//! Canaries: over HTTP, and DynamoDB.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{Canary, CanaryOptions, ClusterKind, Credential, DynamodbOptions, Endpoint};
use crate::config::read::Placed;
use crate::config::spec;

/// A canary knows nothing of elections: a write may fail for as long as most systems take.
pub(super) const TIME_TO_TRUTH: Duration = Duration::from_secs(15);
/// DynamoDB's own clients give up on a try after seconds, and try again.
const DYNAMODB_TIME_TO_TRUTH: Duration = Duration::from_secs(20);
const VALUE: &str = "{value}";

impl Binder<'_> {
    pub(in crate::config::bind) fn canary(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Canary,
        place: Place,
    ) {
        let mut access = self.access(own.tls);
        access.credential = match (own.token, own.user, own.password) {
            (Some(token), None, None) => Some(Credential::Bearer(self.secret(token))),
            (None, Some(user), Some(password)) => {
                Some(Credential::Basic { user, password: self.secret(password) })
            }
            (None, None, None) => None,
            _ => {
                self.mistakes
                    .error(&name.place, "either `token`, or both `user` and `password`, or none of them");
                None
            }
        };
        let body = match own.body {
            None => VALUE.to_owned(),
            Some(body) => {
                if !body.value.contains(VALUE) {
                    self.mistakes
                        .error(&body.place, "the body does not hold `{value}`")
                        .help("it is where the value to be read back goes");
                }
                body.value
            }
        };
        let options = CanaryOptions { access, method: own.method, body, read_query: own.read_query };
        let kind = ClusterKind::Canary(Box::new(Canary::Http(options)));
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.url(text).map(Endpoint::Http)
        });
    }

    pub(in crate::config::bind) fn dynamodb(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Dynamodb,
        place: Place,
    ) {
        let options = DynamodbOptions {
            access: self.access(own.tls),
            region: own.region,
            table: own.table,
            key: own.key.unwrap_or_else(|| "id".to_owned()),
            key_id: self.secret(own.access_key_id),
            secret: self.secret(own.secret_access_key),
            session_token: own.session_token.map(|token| self.secret(token)),
        };
        let kind = ClusterKind::Canary(Box::new(Canary::Dynamodb(options)));
        self.declare(name, kind, DYNAMODB_TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }
}
