//! Opens a TCP connection, and closes it.

use super::finding;
use crate::config::TcpCheck;
use crate::health::Finding;
use crate::io::{Close, Contact, Net, show};

pub(super) async fn probe(net: &Net, check: &TcpCheck, contact: &mut Contact) -> Finding {
    match contact.connect(net, &check.address, Close::Abruptly).await {
        Ok(_) => {
            Finding::Pass(format!("connected in {}", show(contact.phases.connected.unwrap_or_default())))
        }
        Err(failure) => finding(failure),
    }
}
