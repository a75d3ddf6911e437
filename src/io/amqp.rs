//! Just enough of AMQP 0-9-1 to publish one message to one queue and hear what becomes of it.
//!
//! ```text
//! → header  ← start  → start-ok  ← tune  → tune-ok, open  ← open-ok
//! → channel.open  ← open-ok  → confirm.select  ← select-ok
//! → publish (mandatory)  ← ack: a majority has it │ nack: it was refused
//!                        ← return, ack: no such queue
//! ```
//! Publisher confirms are RabbitMQ's extension of the protocol ("Consumer Acknowledgements and
//! Publisher Confirms"). References are to the AMQP 0-9-1 specification.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Close, Contact, Failure, Net, TrustFiles, failure};
use crate::base::Secret;
use crate::config::HostPort;

/// A frame that is longer is not one of those we ask for.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Frames until the answer; what goes beyond is not a conversation.
const FRAMES_MAX: usize = 64;
/// For how long to wait until the goodbye is returned: without it the server logs a warning.
const GOODBYE: Duration = Duration::from_millis(300);
/// How long the message may live: a queue that nobody reads must not grow for ever.
const MESSAGE_TTL_MS: &str = "60000";

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;

const START: (u16, u16) = (10, 10);
const START_OK: (u16, u16) = (10, 11);
const TUNE: (u16, u16) = (10, 30);
const TUNE_OK: (u16, u16) = (10, 31);
const OPEN: (u16, u16) = (10, 40);
const OPEN_OK: (u16, u16) = (10, 41);
const CLOSE: (u16, u16) = (10, 50);
const CLOSE_OK: (u16, u16) = (10, 51);
/// RabbitMQ's extension: it reads no more of us, for want of memory or disk.
const BLOCKED: (u16, u16) = (10, 60);
const CHANNEL_OPEN: (u16, u16) = (20, 10);
const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
const CHANNEL_CLOSE: (u16, u16) = (20, 40);
const PUBLISH: (u16, u16) = (60, 40);
const RETURN: (u16, u16) = (60, 50);
const ACK: (u16, u16) = (60, 80);
const NACK: (u16, u16) = (60, 120);
const CONFIRM_SELECT: (u16, u16) = (85, 10);
const CONFIRM_SELECT_OK: (u16, u16) = (85, 11);

/// Where to publish, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where.
    pub address: &'a HostPort,
    /// Over TLS, and whom to trust.
    pub tls: Option<&'a TrustFiles>,
    /// Who.
    pub user: &'a str,
    /// The password.
    pub password: &'a Secret,
    /// The virtual host.
    pub vhost: &'a str,
    /// The queue.
    pub queue: &'a str,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Published {
    /// `basic.ack`: the queue has it, a quorum queue on a majority of its members.
    Confirmed,
    /// `basic.nack`: the queue cannot take it.
    Refused,
    /// `basic.return`: there is no such queue.
    Unroutable,
    /// It was sent, and nothing came back within the budget.
    Hung,
}

/// Publishes one message and waits for its confirmation.
///
/// # Errors
/// It could not even be published.
pub async fn publish(contact: &mut Contact, net: &Net, target: Target<'_>) -> Result<Published, Failure> {
    let stream = contact.connect(net, target.address, Close::Gracefully).await?;
    match target.tls {
        None => talk(contact, stream, target).await,
        Some(files) => {
            let trust = net.trust(files, contact.deadline()).await?;
            let host = target.address.host.clone();
            let name = ServerName::try_from(host)
                .map_err(|_| Failure::unmeasured(format!("{} has no name for TLS", target.address)))?;
            let stream = contact.secure(&trust, name, target.address, stream).await?;
            talk(contact, stream, target).await
        }
    }
}

async fn talk<S>(contact: &mut Contact, stream: S, target: Target<'_>) -> Result<Published, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = contact.deadline();
    let mut channel = Channel { stream, peer: target.address, heard: false, left: FRAMES_MAX };
    deadline.bound(channel.open(target)).await.map_err(|_| contact.silence())??;
    let outcome = deadline.bound(channel.publish(target.queue)).await;
    let outcome = match outcome {
        Err(_) => Published::Hung,
        Ok(outcome) => outcome?,
    };
    // Whatever becomes of it, the answer is known.
    let _ = deadline.within(GOODBYE).bound(channel.close()).await;
    Ok(outcome)
}

/// A connection with its only channel.
struct Channel<'a, S> {
    stream: S,
    peer: &'a HostPort,
    heard: bool,
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<'_, S> {
    async fn open(&mut self, target: Target<'_>) -> Result<(), Failure> {
        self.send(b"AMQP\x00\x00\x09\x01").await?;
        self.expect(START).await?;
        let mut body = Writer::method(START_OK);
        // Else a wrong password ends in a closed socket, without a word (RabbitMQ,
        // "Authentication Failure Notification").
        body.long_bytes(&capabilities(&["authentication_failure_close", "connection.blocked"]));
        body.short("PLAIN");
        body.long_bytes(format!("\0{}\0{}", target.user, target.password.reveal()).as_bytes());
        body.short("en_US");
        self.frame(METHOD, 0, &body.0).await?;
        let tune = self.expect(TUNE).await?;
        // The server's own limits, and no heartbeats: the conversation is short.
        let limits = tune.get(4..10).ok_or_else(|| self.odd("a short tune"))?.to_vec();
        let mut body = Writer::method(TUNE_OK);
        body.0.extend_from_slice(&limits);
        body.0.extend_from_slice(&0u16.to_be_bytes());
        self.frame(METHOD, 0, &body.0).await?;
        let mut body = Writer::method(OPEN);
        body.short(target.vhost);
        body.short("");
        body.0.push(0);
        self.frame(METHOD, 0, &body.0).await?;
        self.expect(OPEN_OK).await?;
        let mut body = Writer::method(CHANNEL_OPEN);
        body.short("");
        self.frame(METHOD, 1, &body.0).await?;
        self.expect(CHANNEL_OPEN_OK).await?;
        let mut body = Writer::method(CONFIRM_SELECT);
        body.0.push(0);
        self.frame(METHOD, 1, &body.0).await?;
        self.expect(CONFIRM_SELECT_OK).await.map(drop)
    }

    async fn publish(&mut self, queue: &str) -> Result<Published, Failure> {
        const TEXT: &[u8] = b"pointsman";
        let mut body = Writer::method(PUBLISH);
        body.0.extend_from_slice(&0u16.to_be_bytes());
        // The default exchange routes by the queue's name.
        body.short("");
        body.short(queue);
        // Mandatory: give it back if there is no such queue.
        body.0.push(1);
        self.frame(METHOD, 1, &body.0).await?;
        // Section 4.2.6.1: class, weight, size, flags (expiration is bit 8), properties.
        let mut header = Writer(Vec::new());
        header.0.extend_from_slice(&60u16.to_be_bytes());
        header.0.extend_from_slice(&0u16.to_be_bytes());
        header.0.extend_from_slice(&(TEXT.len() as u64).to_be_bytes());
        header.0.extend_from_slice(&(1u16 << 8).to_be_bytes());
        header.short(MESSAGE_TTL_MS);
        self.frame(HEADER, 1, &header.0).await?;
        self.frame(BODY, 1, TEXT).await?;
        loop {
            match self.method().await? {
                (ACK, _) => return Ok(Published::Confirmed),
                (NACK, _) => return Ok(Published::Refused),
                (RETURN, _) => return Ok(Published::Unroutable),
                (BLOCKED, body) => {
                    let why = short_at(&body, 4).unwrap_or_default();
                    return Err(Failure::denied(format!("{} blocks publishers: {why}", self.peer)));
                }
                (other, body) => self.refuse(other, &body)?,
            }
        }
    }

    async fn close(&mut self) -> Result<(), Failure> {
        let mut body = Writer::method(CLOSE);
        body.0.extend_from_slice(&200u16.to_be_bytes());
        body.short("");
        body.0.extend_from_slice(&[0; 4]);
        self.frame(METHOD, 0, &body.0).await?;
        while self.method().await?.0 != CLOSE_OK {}
        Ok(())
    }

    /// Reads on until a method comes that is this one.
    async fn expect(&mut self, wanted: (u16, u16)) -> Result<Vec<u8>, Failure> {
        let (method, body) = self.method().await?;
        if method == wanted {
            return Ok(body);
        }
        self.refuse(method, &body)?;
        Err(self.odd(&format!("method {}.{} instead of {}.{}", method.0, method.1, wanted.0, wanted.1)))
    }

    /// The server closes the connection or the channel: why.
    fn refuse(&self, method: (u16, u16), body: &[u8]) -> Result<(), Failure> {
        if method != CLOSE && method != CHANNEL_CLOSE {
            return Ok(());
        }
        let code = body.get(4..6).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        let words = format!("{} says {code}: {}", self.peer, short_at(body, 6).unwrap_or_default());
        Err(match code {
            // CONNECTION_FORCED: an operator shuts it down.
            320 => Failure::refused(words),
            // ACCESS_REFUSED; NOT_ALLOWED (the virtual host).
            403 | 530 => Failure::denied(words),
            _ => Failure::rubbish(words),
        })
    }

    /// The next method, other frames passed over: heartbeats, and what comes back with a return.
    async fn method(&mut self) -> Result<((u16, u16), Vec<u8>), Failure> {
        loop {
            self.left = self.left.checked_sub(1).ok_or_else(|| self.odd("frame upon frame"))?;
            let (kind, body) = self.read().await?;
            if kind != METHOD {
                continue;
            }
            let Some(head) = body.get(..4) else { return Err(self.odd("a method without a number")) };
            let method = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
            return Ok((method, body));
        }
    }

    async fn read(&mut self) -> Result<(u8, Vec<u8>), Failure> {
        let mut head = [0; 7];
        self.read_exact(&mut head).await?;
        // It answers a protocol that it does not speak with the header of its own.
        if &head[..4] == b"AMQP" {
            return Err(self.odd("the header of another version"));
        }
        if failure::is_tls(&head) {
            return Err(Failure::rubbish(format!("{} speaks TLS: add `tls: true`", self.peer)));
        }
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        if !matches!(head[0], 1..=3 | 8) || size > FRAME_BYTES_MAX {
            return Err(self.odd("what is no frame"));
        }
        let mut body = vec![0; size + 1];
        self.read_exact(&mut body).await?;
        match body.pop() {
            Some(FRAME_END) => Ok((head[0], body)),
            _ => Err(self.odd("a frame without an end")),
        }
    }

    async fn read_exact(&mut self, into: &mut [u8]) -> Result<(), Failure> {
        match self.stream.read_exact(into).await {
            Ok(_) => {
                self.heard = true;
                Ok(())
            }
            Err(why) => Err(Failure::of_talk(&why, self.peer, self.heard)),
        }
    }

    async fn frame(&mut self, kind: u8, channel: u16, body: &[u8]) -> Result<(), Failure> {
        let mut bytes = Vec::with_capacity(body.len() + 8);
        bytes.push(kind);
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes.push(FRAME_END);
        self.send(&bytes).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|why| Failure::of_talk(&why, self.peer, self.heard))
    }

    fn odd(&self, what: &str) -> Failure {
        Failure::rubbish(format!("{} answers what is not AMQP 0-9-1: {what}", self.peer))
    }
}

/// The client's properties: a table with a table of what it understands (section 4.2.5.5).
fn capabilities(names: &[&str]) -> Vec<u8> {
    let mut inner = Writer(Vec::new());
    for name in names {
        inner.short(name);
        inner.0.extend_from_slice(b"t\x01");
    }
    let mut table = Writer(Vec::new());
    table.short("capabilities");
    table.0.push(b'F');
    table.long_bytes(&inner.0);
    table.short("product");
    table.0.push(b'S');
    table.long_bytes(b"pointsman");
    table.0
}

/// A short string at a position of a method's body.
fn short_at(body: &[u8], at: usize) -> Option<String> {
    let size = usize::from(*body.get(at)?);
    Some(String::from_utf8_lossy(body.get(at + 1..at + 1 + size)?).into_owned())
}

struct Writer(Vec<u8>);

impl Writer {
    fn method((class, method): (u16, u16)) -> Self {
        let mut bytes = class.to_be_bytes().to_vec();
        bytes.extend_from_slice(&method.to_be_bytes());
        Self(bytes)
    }

    /// A string of 255 bytes at most; names are checked where they are configured.
    fn short(&mut self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(255)];
        self.0.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn long_bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}
