//! Target → sample, or what every voter of a group says: one file per kind of check, and one
//! per clustered system under `cluster`.
//!
//! A probe takes as long as its timeout at most, keeps a bounded part of what it is sent, and
//! tells facts with words for a person. [`Probes`] runs all of them, each at its time.

pub mod cluster;
mod dns;
mod exec;
mod grpc;
mod http;
mod icmp;
mod inbox;
mod prometheus;
mod schedule;
mod tcp;
mod timetable;
mod tls;

pub use inbox::{Inbox, Notification, Refusal, Said, Says};
pub use schedule::{Probes, Report};

use std::time::Duration;

use crate::base::CheckId;
use crate::config::CheckKind;
use crate::health::{Finding, Sample};
use crate::io::{Class, Contact, Failure, Net, Note};

/// Probes the target of one check, once. `None` for a cluster, which is probed as a group, and for
/// what tells by itself ([`Inbox`]).
pub async fn check(net: &Net, id: CheckId, kind: &CheckKind, timeout: Duration) -> Option<Sample> {
    let mut contact = Contact::new(timeout);
    let finding = probe(net, kind, &mut contact).await?;
    Some(sample(id, finding, &contact))
}

fn sample(check: CheckId, finding: Finding, contact: &Contact) -> Sample {
    let heard = matches!(finding, Finding::Pass(_) | Finding::Hold(_)) || contact.phases.is_answered();
    Sample { check, finding, heard, took: contact.took() }
}

/// The same for one who wants to see it phase by phase.
pub async fn look(
    net: &Net,
    id: CheckId,
    kind: &CheckKind,
    timeout: Duration,
) -> Option<(Sample, Vec<Note>)> {
    let mut contact = Contact::noting(timeout);
    let finding = probe(net, kind, &mut contact).await?;
    Some((sample(id, finding, &contact), contact.notes()))
}

async fn probe(net: &Net, kind: &CheckKind, contact: &mut Contact) -> Option<Finding> {
    Some(match kind {
        CheckKind::Tcp(check) => tcp::probe(net, check, contact).await,
        // Boxed, so that the thousands of TCP checks do not each carry the room for these.
        CheckKind::Tls(check) => Box::pin(tls::probe(net, check, contact)).await,
        CheckKind::Http(check) => Box::pin(http::probe(net, check, contact)).await,
        CheckKind::Grpc(check) => Box::pin(grpc::probe(net, check, contact)).await,
        CheckKind::Dns(check) => Box::pin(dns::probe(net, check, contact)).await,
        CheckKind::Icmp(check) => Box::pin(icmp::probe(net, check, contact)).await,
        CheckKind::Prometheus(check) => Box::pin(prometheus::probe(net, check, contact)).await,
        CheckKind::Exec(check) => Box::pin(exec::probe(net, check, contact)).await,
        CheckKind::Push(_) | CheckKind::Alertmanager(_) | CheckKind::Cluster(_) => return None,
    })
}

/// What a failure to get an answer says of the target. An answer that makes no sense is no
/// answer: whoever uses the service sees the same. Of a cluster's voter less may be concluded.
fn finding(failure: Failure) -> Finding {
    match failure.class {
        Class::Refused | Class::Silent | Class::Rubbish => Finding::Fail(failure.words),
        Class::Denied | Class::Unmeasured => Finding::Unknown(failure.words),
    }
}
