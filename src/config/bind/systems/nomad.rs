//! Nomad servers.

use std::time::Duration;

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{ClusterKind, Credential, Endpoint, NomadOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// With the default `raft_multiplier` of 1 a leader that is cut off gives up within half a second and a
/// follower misses it after one to two; then an election. (By its documentation.)
const TIME_TO_TRUTH: Duration = Duration::from_secs(6);
/// Nomad gives up on a request that finds no leader after its RPC hold timeout, 5 s.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(8);
/// Characters of a variable's path. (Nomad: `^[a-zA-Z0-9-_~/]{1,128}$`)
const PATH_CHARS_MAX: usize = 128;

impl Binder<'_> {
    pub(in crate::config::bind) fn nomad(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Nomad,
        place: Place,
    ) {
        let linearizable_timeout = self.linearizable_timeout(
            own.linearizable_timeout,
            &frame,
            &place,
            LINEARIZABLE_TIMEOUT,
            "Nomad takes up to 5s to give up on a write without leader; leave it at 8s",
        );
        if let Some(variable) = &own.variable {
            let path = variable.value.as_str();
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_~/".contains(c);
            // What belongs to Nomad itself (`nomad/jobs/…`) can be seen by workloads.
            let reserved = path == "nomad" || path.starts_with("nomad/") || path.starts_with('/');
            if path.is_empty() || path.len() > PATH_CHARS_MAX || !path.chars().all(fits) || reserved {
                self.mistakes
                    .error(&variable.place, format!("`{path}` is no path of a variable of its own"))
                    .help(
                        "such as `pointsman`: letters, digits, `-`, `_`, `~` and `/`, and not below `nomad/`",
                    );
            }
        }
        let mut access = self.access(own.tls);
        access.credential = own.token.map(|token| Credential::Header("x-nomad-token", self.secret(token)));
        let variable = own.variable.map(|variable| variable.value);
        let kind = ClusterKind::Nomad(NomadOptions { access, variable, linearizable_timeout });
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }
}
