//! Asks a gRPC server for its health (grpc.health.v1.Health/Check, gRPC "Health Checking
//! Protocol").
//!
//! The two messages have one field each, so they are written and read here by hand:
//! `HealthCheckRequest { service = 1 }` and `HealthCheckResponse { status = 1 }`.

use hyper::StatusCode;

use super::finding;
use crate::config::{GrpcCheck, shown};
use crate::health::Finding;
use crate::io::http::{Answer, Exchange, Request, whole_exchange};
use crate::io::{Contact, Failure, Net, TrustFiles, grpc, show};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// The answer has seven octets; more than this is none.
const ANSWER_BYTES_MAX: usize = 4096;

/// Codes of gRPC ("Status codes and their use in gRPC") that mean more than that it failed.
mod code {
    pub(super) const OK: u16 = 0;
    pub(super) const NOT_FOUND: u16 = 5;
    pub(super) const PERMISSION_DENIED: u16 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u16 = 8;
    pub(super) const UNIMPLEMENTED: u16 = 12;
    pub(super) const UNAUTHENTICATED: u16 = 16;
}

pub(super) async fn probe(net: &Net, check: &GrpcCheck, contact: &mut Contact) -> Finding {
    ask(net, check, contact).await.unwrap_or_else(finding)
}

async fn ask(net: &Net, check: &GrpcCheck, contact: &mut Contact) -> Result<Finding, Failure> {
    let trust = TrustFiles { ca: check.ca.clone(), identity: check.identity.clone() };
    let mut url = check.url.clone();
    url.set_path(PATH);
    contact.note("request", || match check.service.as_str() {
        "" => format!("{url} for the whole server"),
        service => format!("{url} for `{service}`"),
    });
    let call = grpc::call(&url, &trust, &request(&check.service), ANSWER_BYTES_MAX);
    let request = Request { connect: check.connect.as_ref(), ..call };
    let exchange = whole_exchange(contact, net, request).await?;
    contact.note("answer", || {
        let (status, answer) = (grpc::status(&exchange), &exchange.answer);
        let status = status.map_or("none".to_owned(), |(status, _)| status.to_string());
        format!("status {}, grpc-status {status}, {} bytes", answer.status, answer.body.len())
    });
    Ok(judge(check, &exchange, contact))
}

/// The message: field 1, a text.
fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        grpc::field(1, service.as_bytes(), &mut message);
    }
    message
}

/// The status that a server gives itself; `None` if what it sent is no such answer.
fn serving(body: &[u8]) -> Option<u64> {
    match grpc::message(body)? {
        // What has its default value is left out.
        [] => Some(0),
        [0x08, number @ ..] if number.len() <= 9 => {
            let (last, more) = number.split_last()?;
            let sound = *last < 0x80 && more.iter().all(|octet| *octet >= 0x80);
            sound.then(|| number.iter().rev().fold(0, |value, octet| value << 7 | u64::from(octet & 0x7f)))
        }
        _ => None,
    }
}

fn judge(check: &GrpcCheck, exchange: &Exchange, contact: &Contact) -> Finding {
    let answer = &exchange.answer;
    let Some((status, message)) = grpc::status(exchange) else { return not_grpc(answer) };
    let said = match message.as_str() {
        "" => String::new(),
        message => format!(": {}", shown(message.as_bytes())),
    };
    let service = match check.service.is_empty() {
        true => "the server".to_owned(),
        false => format!("`{}`", check.service),
    };
    match status {
        code::OK => match serving(&answer.body) {
            Some(1) => {
                let (took, phases) = (show(contact.took()), contact.phases.words());
                Finding::Pass(format!("{service} is SERVING in {took} ({phases})"))
            }
            Some(2) => Finding::Fail(format!("{service} is NOT_SERVING")),
            // Whoever balances by this protocol sends nothing to a server that says so.
            Some(0) => Finding::Fail(format!("{service} does not know its health (UNKNOWN)")),
            Some(3) => Finding::Fail(format!("{service} is not there (SERVICE_UNKNOWN)")),
            _ => Finding::Fail("the answer is not one of grpc.health.v1".to_owned()),
        },
        code::NOT_FOUND => Finding::Fail(format!("{service} is not registered for health{said}")),
        // It may be as well as can be: nobody has taught it to say so.
        code::UNIMPLEMENTED => Finding::Unknown(format!("it does not offer grpc.health.v1{said}")),
        code::PERMISSION_DENIED | code::UNAUTHENTICATED => {
            Finding::Unknown(format!("it does not let us ask (grpc-status {status}){said}"))
        }
        code::RESOURCE_EXHAUSTED => Finding::Unknown(format!("it throttles us (grpc-status {status}){said}")),
        _ => Finding::Fail(format!("it could not tell (grpc-status {status}){said}")),
    }
}

/// A proxy's answer, say (gRPC, "HTTP to gRPC Status Code Mapping").
fn not_grpc(answer: &Answer) -> Finding {
    let status = answer.status.as_u16();
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Finding::Unknown(format!("it does not let us ask (status {status})"))
        }
        StatusCode::TOO_MANY_REQUESTS => Finding::Unknown("status 429: the target throttles us".to_owned()),
        StatusCode::NOT_FOUND => Finding::Unknown("it does not offer grpc.health.v1 (status 404)".to_owned()),
        StatusCode::OK => Finding::Fail("it answers what is not gRPC: no grpc-status".to_owned()),
        _ => Finding::Fail(format!("status {status}, and no gRPC")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_protobuf_has_them() {
        assert!(request("").is_empty());
        assert_eq!(request("shop"), [0x0a, 4, b's', b'h', b'o', b'p']);
    }

    #[test]
    fn answers_are_read_and_rubbish_is_not() {
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving(&[0, 0, 0, 0, 3, 8, 0x80, 1]), Some(128));
        for rubbish in [
            &b""[..],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 2, 8, 0x80],
            &[0, 0, 0, 0, 2, 9, 1],
            &[0, 0, 0, 0, 11, 8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
            b"HTTP/1.1 200 OK",
        ] {
            assert_eq!(serving(rubbish), None, "{rubbish:?}");
        }
    }
}
