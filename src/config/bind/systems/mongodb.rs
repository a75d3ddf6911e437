//! MongoDB replica sets.

use std::time::Duration;

use super::Binder;
use crate::base::Place;
use crate::config::model::{ClusterKind, Endpoint, MongodbLogin, MongodbMechanism, MongodbOptions};
use crate::config::read::Placed;
use crate::config::spec;

/// A primary that is cut off steps down, and the others elect another, after
/// `electionTimeoutMillis`, 10 s by default and up to a seventh more by chance; and the election.
const TIME_TO_TRUTH: Duration = Duration::from_secs(15);
/// A linearizable read waits for one round trip to a majority.
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(5);

impl Binder<'_> {
    pub(in super::super) fn mongodb(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        mut own: spec::Mongodb,
        place: Place,
    ) {
        let times = self.times(&frame, &place);
        let help = "it takes a round trip to a majority of the members; leave it at 5s";
        let linearizable_timeout =
            self.patience(own.linearizable_timeout.take(), LINEARIZABLE_TIMEOUT, &times, help);
        let login = self.mongodb_login(&mut own);
        let without_vote: Vec<_> =
            own.without_vote.iter().filter_map(|text| Some((text, self.host_port(text)?))).collect();
        let options = MongodbOptions {
            set: own.set,
            login,
            without_vote: without_vote.iter().map(|(_, address)| address.clone()).collect(),
            majority_writes: own.majority_writes.unwrap_or(true),
            tls: own.tls.map(|tls| self.access(Some(tls))),
            linearizable_timeout,
        };
        self.declare(name, ClusterKind::Mongodb(options), TIME_TO_TRUTH, frame, place, Self::host);
        let Some(cluster) = self.clusters.id(&name.value) else { return };
        let groups = self.clusters[cluster].groups.clone();
        for (text, address) in without_vote {
            let listed = Endpoint::Port(address);
            if !groups.iter().any(|id| self.groups[*id].members.iter().any(|m| m.endpoint == listed)) {
                self.mistakes
                    .error(&text.place, format!("{listed} is not a member of `{}`", name.value))
                    .help("a member without a vote is listed among the members, and here again");
            }
        }
    }

    fn mongodb_login(&mut self, own: &mut spec::Mongodb) -> Option<MongodbLogin> {
        let mechanism = own.mechanism.take();
        let by_certificate = matches!(&mechanism, Some(given) if given.value == MongodbMechanism::X509);
        match (&own.user, &own.password) {
            _ if by_certificate => {
                let place = mechanism.as_ref().map(|given| given.place.clone())?;
                if !own.tls.as_ref().is_some_and(|tls| tls.cert.is_some() && tls.key.is_some()) {
                    self.mistakes
                        .error(&place, "`x509` logs in by a client certificate")
                        .help("give it: `tls: {ca: …, cert: …, key: …}`");
                }
                if let Some(password) = &own.password {
                    self.mistakes.error(&password.place, "`x509` takes no password");
                }
            }
            (Some(_), Some(_)) => {}
            (None, None) => {
                let stray = mechanism.as_ref().map(|given| &given.place);
                if let Some(place) = stray.or(own.database.as_ref().map(|given| &given.place)) {
                    self.mistakes.error(place, "nobody logs in: give `user` and `password` too");
                }
                return None;
            }
            (Some(lone), None) => {
                self.mistakes.error(&lone.place, "a user logs in with a password: give `password` too");
            }
            (None, Some(lone)) => {
                self.mistakes.error(&lone.place, "a password is that of a user: give `user` too");
            }
        }
        Some(MongodbLogin {
            user: own.user.take().map(|user| user.value),
            password: own.password.take().map(|secret| self.secret(secret.value)),
            database: own.database.take().map_or_else(|| "admin".to_owned(), |database| database.value),
            mechanism: mechanism.map(|given| given.value),
        })
    }
}
