//! What the systems that speak MySQL's protocol have in common.

use std::collections::BTreeMap;

use crate::cluster::LinearizableResult;
use crate::config::{HostPort, MysqlLogin};
use crate::io::mysql::{Login, MysqlFailure, Row, Session};
use crate::io::{Class, Contact, Net, TrustFiles};

/// Logs in at a member.
pub(super) async fn open(
    contact: &mut Contact,
    net: &Net,
    login: &MysqlLogin,
    address: &HostPort,
) -> Result<Session, MysqlFailure> {
    let tls = login
        .tls
        .as_ref()
        .map(|access| TrustFiles { ca: access.ca.clone(), identity: access.identity.clone() });
    let login = Login { address, user: &login.user, password: login.password.as_ref(), tls: tls.as_ref() };
    Session::open(contact, net, &login).await
}

/// Rows of two columns, by the first; MySQL's own spelling of names varies in case.
pub(super) fn named(rows: Vec<Row>) -> BTreeMap<String, String> {
    let pair = |row: Row| {
        let mut columns = row.into_iter();
        Some((columns.next()??.to_ascii_lowercase(), columns.next()?.unwrap_or_default()))
    };
    rows.into_iter().filter_map(pair).collect()
}

/// What it means that a question failed that takes the others, after the login.
pub(super) fn failed(error: &MysqlFailure, for_want_of_a_quorum: &[u16]) -> LinearizableResult {
    match error.code {
        Some(code) if for_want_of_a_quorum.contains(&code) => {
            LinearizableResult::NoQuorum(error.failure.words.clone())
        }
        // Only a member that took the question can leave it hanging.
        None if error.failure.class == Class::Silent => LinearizableResult::Hung,
        _ => LinearizableResult::Unmeasured(error.failure.words.clone()),
    }
}
