//! What is particular to each clustered system: one file per system, or per family of them.

mod canaries;
mod canary;
mod cassandra;
mod cockroachdb;
mod consul;
mod galera;
mod kafka;
mod mongodb;
mod mysql_gr;
mod patroni;
mod rabbitmq;
mod nats;
mod nomad;
mod raft_http;
mod redis_sentinel;
mod search;
mod tikv;
mod vault;
mod yugabytedb;
mod zookeeper;

use std::time::Duration;

use super::Binder;
use crate::base::{SecretRef, show_span};
use crate::config::model::{Endpoint, MysqlLogin, Schedule};
use crate::config::read::Placed;
use crate::config::spec;

impl Binder<'_> {
    /// `host:port` of a member.
    fn host(&mut self, text: &Placed<String>) -> Option<Endpoint> {
        self.host_port(text).map(Endpoint::Port)
    }

    /// Who logs in to a MySQL server.
    pub(super) fn mysql_login(
        &mut self,
        user: String,
        password: Option<SecretRef>,
        tls: Option<spec::Tls>,
    ) -> MysqlLogin {
        let tls = tls.map(|tls| self.access(Some(tls)));
        MysqlLogin { user, password: password.map(|secret| self.secret(secret)), tls }
    }

    /// The budget of a probe that takes a quorum; `why` it must not be shorter than the local one's.
    fn patience(
        &mut self,
        given: Option<Placed<spec::Span>>,
        default: Duration,
        times: &Schedule,
        why: &str,
    ) -> Duration {
        match given {
            None => default,
            Some(span) if span.value.0 < times.timeout => {
                let timeout = show_span(times.timeout);
                self.mistakes
                    .error(&span.place, format!("shorter than the local probe's {timeout}"))
                    .help(why.to_owned());
                default
            }
            Some(span) => span.value.0,
        }
    }
}
