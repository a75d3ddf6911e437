//! Elasticsearch and OpenSearch.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{ClusterKind, Credential, Endpoint, SearchDialect, SearchOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// A leader that has gone silent is given up after three checks of 10 s, and the first state that
/// its successor publishes waits another 30 s for it (seen with OpenSearch 2.19: until then the
/// new leader itself says that there is none).
const TIME_TO_TRUTH: Duration = Duration::from_secs(75);
/// For a change of the state to be published, on a busy leader too.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(8);

impl Binder<'_> {
    pub(in crate::config::bind) fn search(
        &mut self,
        dialect: SearchDialect,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Search,
        place: Place,
    ) {
        let linearizable_timeout = self.linearizable_timeout(
            own.linearizable_timeout,
            &frame,
            &place,
            LINEARIZABLE_TIMEOUT,
            "a change has to reach a majority of the nodes; leave it at 8s",
        );
        let mut access = self.access(own.tls);
        access.credential = match (own.user, own.password, own.api_key) {
            (Some(user), Some(password), None) => {
                Some(Credential::Basic { user, password: self.secret(password) })
            }
            (None, None, Some(key)) => Some(Credential::ApiKey(self.secret(key))),
            (None, None, None) => None,
            _ => {
                self.mistakes
                    .error(&name.place, "either both `user` and `password`, or `api_key`, or none of them");
                None
            }
        };
        self.beginnings(&own.indices);
        if let Some(index) = &own.proof_index {
            // What an index may be called, and nothing that means more than one.
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
            let begins = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.';
            if !index.value.starts_with(begins) || !index.value.chars().all(plain) {
                self.mistakes
                    .error(&index.place, format!("`{}` is no name of an index", index.value))
                    .help("lower-case letters, digits, `-`, `_` and `.`; it is one index, not a pattern");
            }
        }
        let options = SearchOptions {
            dialect,
            access,
            indices: own.indices.into_iter().map(|pattern| pattern.value).collect(),
            parts_lost_max: own.parts_lost_max.unwrap_or_default(),
            proof_index: own.proof_index.map(|index| index.value),
            linearizable_timeout,
        };
        self.declare(name, ClusterKind::Search(options), TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }
}
