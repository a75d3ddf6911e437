//! CockroachDB.

use std::time::Duration;

use super::Binder;
use crate::base::Place;
use crate::config::model::{ClusterKind, CockroachdbOptions, CockroachdbSql, Endpoint};
use crate::config::read::Placed;
use crate::config::spec;

/// A node's record of being alive is valid for 6 s (9 s before 23.1), and leases move after that.
const TIME_TO_TRUTH: Duration = Duration::from_secs(15);
/// A read waits for a lease to move. A range without a quorum says so by itself only after 60 s
/// (`kv.replica_circuit_breaker.slow_replication_threshold`).
const READ_TIMEOUT: Duration = Duration::from_secs(8);
/// CockroachDB's port for SQL.
const SQL_PORT: u16 = 26257;

impl Binder<'_> {
    pub(in super::super) fn cockroachdb(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Cockroachdb,
        place: Place,
    ) {
        let sql = own.sql.map(|sql| {
            // Any replica answers that, for as long as it likes.
            if sql.read.value.to_ascii_lowercase().contains("as of system time") {
                self.mistakes
                    .error(&sql.read.place, "a read of the past proves nothing: any replica may answer it")
                    .help("leave out `AS OF SYSTEM TIME`");
            }
            CockroachdbSql {
                port: sql.port.unwrap_or(SQL_PORT),
                user: sql.user,
                password: sql.password.map(|secret| self.secret(secret)),
                database: sql.database.unwrap_or_else(|| "defaultdb".to_owned()),
                read: sql.read.value,
                tls: sql.tls.unwrap_or(true),
                timeout: sql.timeout.map_or(READ_TIMEOUT, |span| span.0),
            }
        });
        let options = CockroachdbOptions {
            access: self.access(own.tls),
            parts_lost_max: own.parts_lost_max.unwrap_or_default(),
            sql,
        };
        let kind = ClusterKind::Cockroachdb(Box::new(options));
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }
}
