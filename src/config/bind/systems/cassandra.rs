//! Cassandra.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Binder;
use crate::base::Place;
use crate::config::model::{CassandraCanary, CassandraOptions, ClusterKind, Credential, Keyspace};
use crate::config::read::Placed;
use crate::config::spec;

/// Who stops hearing another says so after ten beats of its gossip, and a node that starts again
/// takes longer than that; Cassandra's own detector takes 10 to 20 s (`phi_convict_threshold` 8).
const TIME_TO_TRUTH: Duration = Duration::from_secs(15);
/// A login and a read, for each of which a coordinator gives its replicas 5 s
/// (`read_request_timeout`).
const LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(12);
/// Keyspaces of one cluster.
const KEYSPACES_MAX: usize = 32;

impl Binder<'_> {
    pub(in super::super) fn cassandra(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Cassandra,
        place: Place,
    ) {
        let times = self.times(&frame, &place);
        let help = "a coordinator gives its replicas 5s for the login and 5s for the read; leave it at 12s";
        let linearizable_timeout =
            self.patience(own.linearizable_timeout, LINEARIZABLE_TIMEOUT, &times, help);
        let tls = own.tls.is_some();
        let mut access = self.access(own.tls);
        access.credential = match (own.user, own.password) {
            (Some(user), Some(password)) => {
                Some(Credential::Basic { user, password: self.secret(password.value) })
            }
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                self.mistakes.error(&name.place, "Cassandra's login needs both `user` and `password`");
                None
            }
        };
        let options = CassandraOptions {
            access,
            tls,
            keyspaces: self.keyspaces(name, own.keyspaces.0),
            parts_lost_max: own.parts_lost_max.unwrap_or_default(),
            canary: own.canary.and_then(|canary| self.cassandra_canary(canary)),
            linearizable_timeout,
        };
        self.declare(name, ClusterKind::Cassandra(options), TIME_TO_TRUTH, frame, place, Self::host);
    }

    fn keyspaces(
        &mut self,
        name: &Placed<String>,
        given: Vec<(Placed<String>, Placed<spec::Keyspace>)>,
    ) -> BTreeMap<String, Keyspace> {
        if given.is_empty() || given.len() > KEYSPACES_MAX {
            self.mistakes
                .error(&name.place, format!("`{}` watches {} keyspaces", name.value, given.len()))
                .help(format!("name those that matter, 1 to {KEYSPACES_MAX} of them, with the consistency level that clients use"));
        }
        let mut keyspaces = BTreeMap::new();
        for (keyspace, Placed { value, place }) in given {
            let replication = value.replication.map(|replication| {
                if !replication.iter().any(|(_, replicas)| *replicas > 0) {
                    self.mistakes
                        .error(&place, format!("`{}` has no replicas anywhere", keyspace.value))
                        .help("write how many each datacenter has, like {eu: 3, us: 3}, or leave `replication` to the schema");
                }
                replication.0.into_iter().map(|(datacenter, replicas)| (datacenter.value, replicas)).collect()
            });
            let replication: Option<BTreeMap<String, u32>> = replication;
            if let (Some(datacenter), Some(replication)) = (&value.datacenter, &replication)
                && !replication.contains_key(&datacenter.value)
            {
                let words =
                    format!("`{}` has no replicas in `{}` (`replication`)", keyspace.value, datacenter.value);
                self.mistakes.error(&datacenter.place, words);
            }
            let datacenter = value.datacenter.map(|datacenter| datacenter.value);
            keyspaces.insert(keyspace.value, Keyspace { level: value.level, datacenter, replication });
        }
        keyspaces
    }

    /// `keyspace.table`.
    fn cassandra_canary(&mut self, canary: spec::CassandraCanary) -> Option<CassandraCanary> {
        let is_name = |name: &str| {
            let tame = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !name.is_empty() && name.len() <= 48 && name.chars().all(tame)
        };
        let column = canary.column.map_or_else(|| "id".to_owned(), |column| column.value);
        match canary.table.value.split_once('.') {
            Some((keyspace, table)) if is_name(keyspace) && is_name(table) && is_name(&column) => {
                Some(CassandraCanary {
                    keyspace: keyspace.to_owned(),
                    table: table.to_owned(),
                    column,
                    level: canary.level,
                })
            }
            _ => {
                self.mistakes
                    .error(&canary.table.place, format!("`{}` is no table that can be read", canary.table.value))
                    .help("write it like \"pointsman.canary\", a table with one primary key of type int, by default `id`");
                None
            }
        }
    }
}
