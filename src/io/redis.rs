//! A client for Redis and its Sentinels: one connection, a few commands, their replies, bounded in
//! time and memory (RESP2, redis.io "Redis serialization protocol specification").

use std::pin::Pin;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::stream::{Wire, metered, secured, talk};
use super::{Close, Contact, Failure, Net, TrustFiles, read_secret};
use crate::base::{Secret, SecretRef};
use crate::config::HostPort;

/// Bytes that one connection may send us. `INFO` has some 6 kB, more with many replicas.
const SESSION_BYTES_MAX: u64 = 512 * 1024;
/// A line that is not a bulk: a number, a length, or an error.
const LINE_BYTES_MAX: usize = 4096;
/// A bulk string.
const BULK_BYTES_MAX: usize = 256 * 1024;
/// Elements of an array.
const ARRAY_MAX: usize = 1024;
/// Arrays inside arrays.
const DEPTH_MAX: usize = 4;

/// Where to ask, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Where.
    pub address: &'a HostPort,
    /// An ACL user; without, the password is that of the default user.
    pub user: Option<&'a str>,
    /// The password.
    pub password: Option<&'a SecretRef>,
    /// Over TLS, with the server's name verified.
    pub tls: Option<&'a TrustFiles>,
}

/// A reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A status or a bulk string.
    Text(String),
    /// An error, as the server words it: `NOQUORUM 1 usable Sentinels. …`.
    Error(String),
    /// A number.
    Number(i64),
    /// Nothing.
    Nil,
    /// Several.
    Array(Vec<Reply>),
}

/// Sends commands, all at once, and brings a reply to each.
///
/// # Errors
/// The server cannot be reached, does not let us in, speaks another protocol, or not in time. An
/// error in reply to a command is a reply.
pub async fn ask(
    contact: &mut Contact,
    net: &Net,
    login: &Login<'_>,
    commands: &[&[&str]],
) -> Result<Vec<Reply>, Failure> {
    let password = match login.password {
        Some(place) => Some(read_secret(place, contact.deadline()).await?),
        None => None,
    };
    let trust = match login.tls {
        Some(files) => Some(net.trust(files, contact.deadline()).await?),
        None => None,
    };
    let peer = login.address;
    let stream = contact.connect(net, peer, Close::Gracefully).await?;
    let (mut wire, meter) = metered(stream, SESSION_BYTES_MAX);
    if let Some(trust) = &trust {
        wire = secured(contact, trust, peer, wire).await?;
    }
    let mut request = Vec::new();
    if let Some(password) = &password {
        let mut auth = vec!["AUTH"];
        auth.extend(login.user);
        auth.push(password.reveal());
        write(&mut request, &auth);
    }
    commands.iter().for_each(|command| write(&mut request, command));
    let exchange = async {
        let failed = |error: std::io::Error| talk(&error, peer, meter.heard());
        wire.write_all(&request).await.map_err(failed)?;
        wire.flush().await.map_err(failed)?;
        let mut reader = BufReader::new(wire);
        if let Some(password) = &password {
            match read(&mut reader, peer, DEPTH_MAX).await? {
                Reply::Text(word) if word == "OK" => {}
                Reply::Error(words) => {
                    return Err(Failure::denied(format!("{peer} says: {}", without(&words, password))));
                }
                _ => return Err(odd(peer)),
            }
        }
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            let reply = read(&mut reader, peer, DEPTH_MAX).await?;
            if let Reply::Error(words) = &reply
                && is_denial(words)
            {
                return Err(Failure::denied(format!("{peer} says: {words}")));
            }
            replies.push(reply);
        }
        Ok(replies)
    };
    let asked = contact.deadline().bound(exchange).await;
    if let Some(moment) = meter.first_at() {
        contact.heard_at(moment);
    }
    asked.unwrap_or_else(|_| Err(contact.silence()))
}

/// A server that does not know `AUTH` (a Sentinel before 5.0.1, `rename-command`) says what it does not
/// know, with the words behind it, of which the password is one.
fn without(words: &str, password: &Secret) -> String {
    match words.contains(password.reveal()) {
        true => "it does not know AUTH, or not so many words behind it".to_owned(),
        false => words.to_owned(),
    }
}

/// It knows us not, or has no room for us.
fn is_denial(words: &str) -> bool {
    const DENIALS: [&str; 5] = ["NOAUTH", "NOPERM", "WRONGPASS", "DENIED", "ERR max number of clients"];
    DENIALS.iter().any(|denial| words.starts_with(denial))
}

fn write(request: &mut Vec<u8>, command: &[&str]) {
    request.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for word in command {
        request.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

fn odd(peer: &HostPort) -> Failure {
    Failure::rubbish(format!("{peer} answers what Redis would not"))
}

type Reading<'a> = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>;

fn read<'a>(reader: &'a mut BufReader<Wire>, peer: &'a HostPort, depth: usize) -> Reading<'a> {
    Box::pin(async move {
        let mut line = Vec::new();
        let mut limited = (&mut *reader).take(LINE_BYTES_MAX as u64);
        let length = limited.read_until(b'\n', &mut line).await.map_err(|error| talk(&error, peer, false))?;
        if length == 0 {
            return Err(Failure::refused(format!("{peer} closed the connection without an answer")));
        }
        let line = line.strip_suffix(b"\r\n").ok_or_else(|| odd(peer))?;
        let (kind, rest) = line.split_first().ok_or_else(|| odd(peer))?;
        let text = String::from_utf8_lossy(rest).into_owned();
        let number = || text.parse::<i64>().map_err(|_| odd(peer));
        match kind {
            b'+' => Ok(Reply::Text(text)),
            b'-' => Ok(Reply::Error(text)),
            b':' => number().map(Reply::Number),
            b'$' if text == "-1" => Ok(Reply::Nil),
            b'*' if text == "-1" => Ok(Reply::Nil),
            b'$' => {
                let length = usize::try_from(number()?).map_err(|_| odd(peer))?;
                if length > BULK_BYTES_MAX {
                    return Err(odd(peer));
                }
                let mut bytes = vec![0; length + 2];
                reader.read_exact(&mut bytes).await.map_err(|error| talk(&error, peer, true))?;
                let bytes = bytes.strip_suffix(b"\r\n").ok_or_else(|| odd(peer))?;
                Ok(Reply::Text(String::from_utf8_lossy(bytes).into_owned()))
            }
            b'*' => {
                let length = usize::try_from(number()?).map_err(|_| odd(peer))?;
                if length > ARRAY_MAX || depth == 0 {
                    return Err(odd(peer));
                }
                let mut replies = Vec::with_capacity(length);
                for _ in 0..length {
                    replies.push(read(reader, peer, depth - 1).await?);
                }
                Ok(Reply::Array(replies))
            }
            _ => Err(odd(peer)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(bytes: &'static [u8]) -> Result<Reply, Failure> {
        let (mut ours, theirs) = tokio::io::duplex(4096);
        ours.write_all(bytes).await.unwrap();
        drop(ours);
        let peer = HostPort { host: "r".to_owned(), port: 6379 };
        let mut reader = BufReader::new(Box::new(theirs) as Wire);
        read(&mut reader, &peer, DEPTH_MAX).await
    }

    #[tokio::test]
    async fn reads_replies_and_nothing_else() {
        let text = |text: &str| Reply::Text(text.to_owned());
        assert_eq!(parse(b"+PONG\r\n").await.unwrap(), text("PONG"));
        assert_eq!(parse(b"-ERR x\r\n").await.unwrap(), Reply::Error("ERR x".to_owned()));
        assert_eq!(parse(b"$5\r\na\r\nbc\r\n").await.unwrap(), text("a\r\nbc"));
        assert_eq!(parse(b"$-1\r\n").await.unwrap(), Reply::Nil);
        let role = parse(b"*3\r\n$6\r\nmaster\r\n:1508\r\n*0\r\n").await.unwrap();
        assert_eq!(role, Reply::Array(vec![text("master"), Reply::Number(1508), Reply::Array(Vec::new())]));
        let rubbish: [&'static [u8]; 6] = [
            b"HTTP/1.1 400 Bad Request\r\n",
            b"+no end",
            b"$999999999\r\n",
            b"*99999\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*0\r\n",
            b"$3\r\nab",
        ];
        for bytes in rubbish {
            let failure = parse(bytes).await.unwrap_err();
            assert_ne!(failure.class, super::super::Class::Silent, "{failure}");
        }
        assert!(parse(b"").await.unwrap_err().words.contains("closed"));
    }

    #[test]
    fn writes_commands() {
        let mut request = Vec::new();
        write(&mut request, &["SENTINEL", "CKQUORUM", "shop"]);
        assert_eq!(request, b"*3\r\n$8\r\nSENTINEL\r\n$8\r\nCKQUORUM\r\n$4\r\nshop\r\n");
    }
}
