//! Sends echo requests, and counts the replies.

use std::time::Duration;

use super::finding;
use crate::base::Mono;
use crate::config::IcmpCheck;
use crate::health::Finding;
use crate::io::icmp::Echo;
use crate::io::{Clock, Contact, Failure, Net, show};

/// Requests are so far apart at most; closer, if the timeout wants it.
const APART_MAX: Duration = Duration::from_millis(100);
/// What is still out once enough replies are in is waited for so much longer than the slowest of
/// them took, and a little.
const LATE_FACTOR: u32 = 2;
const LATE_MIN: Duration = Duration::from_millis(10);

pub(super) async fn probe(net: &Net, check: &IcmpCheck, contact: &mut Contact) -> Finding {
    ping(net, check, contact).await.unwrap_or_else(finding)
}

async fn ping(net: &Net, check: &IcmpCheck, contact: &mut Contact) -> Result<Finding, Failure> {
    // A port is none of its business; the resolver wants one.
    let addresses = net.resolver().resolve(&check.host, 0, contact.deadline()).await?;
    let peer = addresses.first().map(std::net::SocketAddr::ip);
    let peer = peer.ok_or_else(|| Failure::unmeasured(format!("{} has no address", check.host)))?;
    contact.phases.resolved = Some(contact.took());
    if check.host != peer.to_string() {
        contact.note("resolve", || format!("{} → {peer}", check.host));
    }
    let echo = Echo::open(peer, net.source().towards(peer)).await?;
    contact.note("open", || echo.kind().words().to_owned());

    let count = usize::from(check.count);
    let needed = count - usize::from(check.lost_max);
    let apart = APART_MAX.min(contact.deadline().left() / (2 * u32::from(check.count)));
    let mut sent: Vec<Mono> = Vec::with_capacity(count);
    let mut times: Vec<Option<Duration>> = vec![None; count];
    let mut closed = None;
    while !contact.deadline().over() {
        let back = times.iter().flatten().count();
        let slowest = times.iter().flatten().max().copied().unwrap_or_default();
        let next = match sent.last() {
            None => Duration::ZERO,
            Some(last) if sent.len() < count => apart.saturating_sub(Clock.mono().since(*last)),
            Some(_) if back == count => break,
            Some(last) if back >= needed => {
                let patience = slowest * LATE_FACTOR + LATE_MIN;
                match patience.checked_sub(Clock.mono().since(*last)) {
                    Some(wait) => wait,
                    None => break,
                }
            }
            Some(_) => contact.deadline().left(),
        };
        tokio::select! {
            biased;
            reply = echo.reply() => match reply {
                Ok(sequence) => {
                    let slot = usize::from(sequence);
                    if let (Some(at), Some(None)) = (sent.get(slot), times.get(slot)) {
                        let took = Clock.mono().since(*at);
                        times[slot] = Some(took);
                        contact.heard_at(Clock.mono());
                        contact.note("reply", || format!("{} of {count} in {}", slot + 1, show(took)));
                    }
                }
                // Whoever says that there is no way may be wrong the next time.
                Err(failure) => {
                    contact.note("reply", || failure.words.clone());
                    closed = Some(failure);
                    tokio::time::sleep(apart.min(contact.deadline().left())).await;
                }
            },
            () = tokio::time::sleep(next) => {
                if sent.len() < count {
                    echo.send(u16::try_from(sent.len()).unwrap_or(u16::MAX)).await?;
                    sent.push(Clock.mono());
                }
            }
        }
    }
    let back: Vec<Duration> = times.into_iter().flatten().collect();
    let slowest = show(back.iter().max().copied().unwrap_or_default());
    Ok(match back.len() {
        back if back >= needed => {
            Finding::Pass(format!("{back} of {count} echoes, the slowest in {slowest}"))
        }
        0 => match closed {
            Some(failure) => return Err(failure),
            None => {
                Finding::Fail(format!("no echo from {peer} to {count} requests in {}", show(contact.took())))
            }
        },
        back => Finding::Fail(format!("only {back} of {count} echoes from {peer}, wanted {needed}")),
    })
}
