//! Asking etcd as the user whom the common name of our certificate names. That goes over gRPC
//! alone: with authentication switched on, etcd's JSON gateway refuses whoever shows such a name
//! (3.4, 3.5), because it could not pass it on.

use super::{BODY_BYTES_MAX, GatewayError, Header, Status};
use crate::cluster::LinearizableResult;
use crate::io::grpc::{self, Value, fields};
use crate::io::http::{Answer, whole_exchange};
use crate::io::{Contact, Failure, TrustFiles};
use crate::probe::cluster::api::{Api, excerpt};
use crate::probe::cluster::unanswered;

/// Whether the gateway would tell one who shows who he is, and we have a certificate for that.
pub(super) fn is_wanted(api: &Api<'_>, answer: &Answer) -> bool {
    api.access.identity.is_some() && for_want_of_a_name(&excerpt(answer))
}

/// Whether nobody asked: the gateway passes no common name on, and complains if it is shown one.
pub(super) fn for_want_of_a_name(words: &str) -> bool {
    words.contains("user name is empty") || words.contains("CommonName of client")
}

/// `Maintenance/Status`.
pub(super) async fn status(api: &Api<'_>, contact: &mut Contact) -> Result<Status, Failure> {
    match call(api, contact, "/etcdserverpb.Maintenance/Status", &[]).await? {
        Ok(message) => read_status(&message)
            .ok_or_else(|| Failure::rubbish(format!("{} answers what is not etcd's status", api.place()))),
        Err(error) => {
            let words = format!("{} says: {}", api.place(), error.message);
            Err(match error.about_credentials() {
                true => Failure::denied(words),
                false => Failure::rubbish(words),
            })
        }
    }
}

/// `KV/Range` of the key that etcd's own health check reads.
pub(super) async fn linearizable(api: &Api<'_>, contact: &mut Contact) -> LinearizableResult {
    let mut message = Vec::new();
    grpc::field(1, b"health", &mut message);
    match call(api, contact, "/etcdserverpb.KV/Range", &message).await {
        Ok(Ok(_)) => LinearizableResult::Passed,
        Ok(Err(error)) => {
            let words = format!("{} says: {}", api.place(), error.message);
            match error.for_want_of_a_quorum() {
                true => LinearizableResult::NoQuorum(words),
                false => LinearizableResult::Unmeasured(words),
            }
        }
        Err(failure) => unanswered(failure, contact),
    }
}

/// Calls a method: the message it answers with, or what it complains of.
async fn call(
    api: &Api<'_>,
    contact: &mut Contact,
    method: &str,
    message: &[u8],
) -> Result<Result<Vec<u8>, GatewayError>, Failure> {
    let url = api.at(method)?;
    let trust = TrustFiles { ca: api.access.ca.clone(), identity: api.access.identity.clone() };
    let request = grpc::call(&url, &trust, message, BODY_BYTES_MAX);
    let exchange = whole_exchange(contact, api.net, request).await?;
    match (grpc::status(&exchange), grpc::message(&exchange.answer.body)) {
        (Some((0, _)), Some(message)) => Ok(Ok(message.to_vec())),
        (Some((code @ 1.., message)), _) => Ok(Err(GatewayError { code: code.into(), message })),
        _ => Err(api.odd(&exchange.answer)),
    }
}

/// `StatusResponse` (etcd, api/etcdserverpb/rpc.proto).
fn read_status(message: &[u8]) -> Option<Status> {
    let mut status = Status::default();
    for field in fields(message)? {
        match field {
            (1, Value::Octets(header)) => {
                for field in fields(header)? {
                    match field {
                        (1, Value::Number(id)) => status.header.cluster_id = id,
                        (2, Value::Number(id)) => status.header.member_id = id,
                        _ => {}
                    }
                }
            }
            (4, Value::Number(id)) => status.leader = id,
            (5, Value::Number(index)) => status.raft_index = index,
            (6, Value::Number(term)) => status.raft_term = term,
            (7, Value::Number(index)) => status.raft_applied_index = index,
            (8, Value::Octets(words)) => status.errors.push(String::from_utf8_lossy(words).into_owned()),
            (10, Value::Number(truth)) => status.is_learner = truth != 0,
            _ => {}
        }
    }
    let Header { cluster_id, member_id } = status.header;
    (cluster_id != 0 && member_id != 0).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_status() {
        let mut message = Vec::new();
        grpc::field(1, &[0x08, 7, 0x10, 9, 0x18, 1], &mut message);
        grpc::field(2, b"3.4.23", &mut message);
        message.extend_from_slice(&[0x18, 5, 0x20, 9, 0x28, 12, 0x30, 3, 0x38, 11]);
        grpc::field(8, b"etcdserver: no leader", &mut message);
        message.extend_from_slice(&[0x50, 1]);
        let status = read_status(&message).unwrap();
        assert_eq!((status.header.cluster_id, status.header.member_id, status.leader), (7, 9, 9));
        assert_eq!((status.raft_index, status.raft_term, status.raft_applied_index), (12, 3, 11));
        assert_eq!((status.errors, status.is_learner), (vec!["etcdserver: no leader".to_owned()], true));
        // Another service's answer.
        assert!(read_status(&[]).is_none());
        assert!(read_status(b"\x08\x01").is_none());
    }
}
