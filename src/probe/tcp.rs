//! Opens a TCP connection, with TLS over it if that is asked for; says something and listens, if that
//! is asked for; and closes it.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::finding;
use super::tls::{hear_refusal, server_name};
use crate::config::{Match, TcpCheck, TcpTls, shown};
use crate::health::Finding;
use crate::io::{Clock, Close, Contact, Failure, Net, TrustFiles, show};

/// Bytes that are listened to. Banners and replies to a ping have a few hundred.
const HEARD_BYTES_MAX: usize = 16 * 1024;

pub(super) async fn probe(net: &Net, check: &TcpCheck, contact: &mut Contact) -> Finding {
    let connected = contact.connect(net, &check.address, Close::Abruptly).await;
    match (connected, &check.tls, &check.expect) {
        (Err(failure), _, _) => finding(failure),
        (Ok(_), None, None) => {
            Finding::Pass(format!("connected in {}", show(contact.phases.connected.unwrap_or_default())))
        }
        // Boxed, so that the thousands that only connect do not carry the room for it.
        (Ok(stream), None, Some(expect)) => Box::pin(talk(check, expect, stream, contact)).await,
        (Ok(stream), Some(tls), _) => {
            let secured = Box::pin(secure(net, check, tls, stream, contact)).await;
            match (secured, &check.expect) {
                (Err(failure), _) => finding(failure),
                (Ok(_), None) => {
                    let (took, phases) = (show(contact.took()), contact.phases.words());
                    Finding::Pass(format!("TLS established in {took} ({phases})"))
                }
                (Ok(stream), Some(expect)) => Box::pin(talk(check, expect, stream, contact)).await,
            }
        }
    }
}

async fn secure(
    net: &Net,
    check: &TcpCheck,
    tls: &TcpTls,
    stream: TcpStream,
    contact: &mut Contact,
) -> Result<Box<TlsStream<TcpStream>>, Failure> {
    let name = server_name(&tls.server_name)?;
    let files = TrustFiles { ca: tls.ca.clone(), identity: tls.identity.clone() };
    let trust = net.trust(&files, contact.deadline()).await?;
    let mut stream = contact.secure(&trust, name, &check.address, stream).await?;
    // Who expects something hears of a refusal instead.
    if tls.identity.is_some() && check.expect.is_none() {
        hear_refusal(&mut stream, &check.address, contact).await?;
    }
    Ok(Box::new(stream))
}

async fn talk(
    check: &TcpCheck,
    expect: &Match,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    contact: &mut Contact,
) -> Finding {
    let of_talk = |error: &std::io::Error, heard| Failure::of_talk(error, &check.address, heard);
    if !check.send.is_empty() {
        contact.note("send", || format!("`{}`", shown(&check.send)));
        match contact.bound(stream.write_all(&check.send)).await {
            Err(silence) => return finding(silence),
            Ok(Err(error)) => return finding(of_talk(&error, false)),
            Ok(Ok(())) => {}
        }
    }
    let mut heard = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = match contact.bound(stream.read(&mut chunk)).await {
            Err(silence) if heard.is_empty() => return finding(silence),
            Err(_) => {
                let budget = show(contact.took());
                return not_heard(expect, &heard, &format!("within {budget}"));
            }
            Ok(Err(error)) if heard.is_empty() => return finding(of_talk(&error, false)),
            // As good as closed: what was said before counts.
            Ok(Err(_)) | Ok(Ok(0)) => break,
            Ok(Ok(read)) => read,
        };
        contact.heard_at(Clock.mono());
        contact.note("hear", || format!("`{}`", shown(&chunk[..read])));
        heard.extend_from_slice(&chunk[..read.min(HEARD_BYTES_MAX - heard.len())]);
        if expect.holds(&heard) {
            let (took, phases) = (show(contact.took()), contact.phases.words());
            return Finding::Pass(format!("heard {} in {took} ({phases})", expect.shown()));
        }
        if heard.len() == HEARD_BYTES_MAX {
            return not_heard(expect, &heard, &format!("in the first {HEARD_BYTES_MAX} bytes"));
        }
    }
    if heard.is_empty() {
        return Finding::Fail(format!("{} closed the connection without a word", check.address));
    }
    not_heard(expect, &heard, "before the connection was closed")
}

fn not_heard(expect: &Match, heard: &[u8], when: &str) -> Finding {
    Finding::Fail(format!("no {} {when}: it said `{}`", expect.shown(), shown(heard)))
}
