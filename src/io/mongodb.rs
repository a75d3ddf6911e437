//! A client for MongoDB: one connection, a few commands, bounded in time and memory (OP_MSG,
//! MongoDB 3.6 and later; "MongoDB Wire Protocol", "Driver Authentication").
//!
//! Not the vendor's own driver: that one watches the whole replica set by itself, on a clock of
//! its own, over connections that it keeps, and tells what it has made of the answers. A stale
//! primary, for one, it hides. Here one member is asked once, within one deadline, and what it
//! says is told as it is.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bson::{Document, Value};
use super::scram::{Hash, Scram};
use super::stream::{Wire, metered, secured, talk};
use super::{Close, Contact, Failure, Meter, Net, TrustFiles};
use crate::base::Secret;
use crate::config::{HostPort, MongodbMechanism};

/// Bytes that one connection may send us.
const SESSION_BYTES_MAX: u64 = 1024 * 1024;
/// One answer. The status of a replica set of fifty members has some 30 kB.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const HEADER_BYTES: usize = 16;
const OP_MSG: i32 = 2013;
const CHECKSUM_PRESENT: u32 = 1;
const CHECKSUM_BYTES: usize = 4;
/// Exchanges of a login: SCRAM has two, and a third that is empty.
const EXCHANGES_MAX: usize = 4;

/// Where users that are known by a certificate live.
const EXTERNAL: &str = "$external";

/// Why a command brought no answer that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{failure}")]
pub struct MongoFailure {
    /// What it means.
    pub failure: Failure,
    /// The server's own number for it, if it was the server that said so.
    pub code: Option<i64>,
}

impl From<Failure> for MongoFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, code: None }
    }
}

/// Who logs in.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// The user; a certificate has its own.
    pub user: Option<&'a str>,
    /// The password, which a certificate needs not.
    pub password: Option<&'a Secret>,
    /// The database that the user is defined in.
    pub database: &'a str,
    /// How; without, the best that the server has for this user.
    pub mechanism: Option<MongodbMechanism>,
}

/// A connection to a member.
pub struct Session<'a> {
    wire: Wire,
    meter: Meter,
    peer: &'a HostPort,
    asked: i32,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.peer)
    }
}

impl<'a> Session<'a> {
    /// Connects; over TLS where there is something to trust.
    ///
    /// # Errors
    /// The connection is refused, TLS fails, or not in time.
    pub async fn open(
        contact: &mut Contact,
        net: &Net,
        peer: &'a HostPort,
        tls: Option<&TrustFiles>,
    ) -> Result<Self, Failure> {
        let trust = match tls {
            Some(files) => Some(net.trust(files, contact.deadline()).await?),
            None => None,
        };
        let stream = contact.connect(net, peer, Close::Gracefully).await?;
        let (mut wire, meter) = metered(stream, SESSION_BYTES_MAX);
        if let Some(trust) = &trust {
            wire = secured(contact, trust, peer, wire).await?;
        }
        Ok(Self { wire, meter, peer, asked: 0 })
    }

    /// Sends a command to a database; the answer, if it is that it was done.
    ///
    /// # Errors
    /// It was not, or no answer comes in time, or one that is not MongoDB's.
    pub async fn command(
        &mut self,
        contact: &mut Contact,
        database: &str,
        command: Document,
    ) -> Result<Document, MongoFailure> {
        let deadline = contact.deadline();
        let command = command.with("$db", Value::Text(database.to_owned()));
        let answered = deadline.bound(self.exchange(&command)).await;
        if let Some(moment) = self.meter.first_at() {
            contact.heard_at(moment);
        }
        let answer = answered.unwrap_or_else(|_| Err(contact.silence()))?;
        match answer.is("ok") {
            true => Ok(answer),
            false => Err(complaint(self.peer, &answer)),
        }
    }

    async fn exchange(&mut self, command: &Document) -> Result<Document, Failure> {
        self.asked += 1;
        let message = message(self.asked, command);
        let (peer, heard) = (self.peer, self.meter.heard());
        let failed = |error: std::io::Error| talk(&error, peer, heard);
        self.wire.write_all(&message).await.map_err(failed)?;
        self.wire.flush().await.map_err(failed)?;
        let mut header = [0; HEADER_BYTES];
        self.wire.read_exact(&mut header).await.map_err(failed)?;
        let length = body_length(&header, self.asked).ok_or_else(|| odd(peer))?;
        let mut body = vec![0; length];
        self.wire.read_exact(&mut body).await.map_err(|error| talk(&error, peer, true))?;
        answer(&body).ok_or_else(|| odd(peer))
    }

    /// Logs in; `offered` are the mechanisms that the server has for this user, by its own word.
    ///
    /// # Errors
    /// It knows us not, or no answer comes in time. A server that does not prove that it knows the
    /// password itself is none of ours.
    pub async fn log_in(
        &mut self,
        contact: &mut Contact,
        login: &Login<'_>,
        offered: &[Value],
    ) -> Result<(), MongoFailure> {
        let has = |name: &str| offered.iter().any(|offer| matches!(offer, Value::Text(text) if text == name));
        let mechanism = login.mechanism.unwrap_or(match has("SCRAM-SHA-256") || offered.is_empty() {
            true => MongodbMechanism::ScramSha256,
            false => MongodbMechanism::ScramSha1,
        });
        let (user, password) = match (mechanism, login.user, login.password) {
            (MongodbMechanism::X509, user, _) => return self.log_in_by_certificate(contact, user).await,
            (_, Some(user), Some(password)) => (user, password),
            _ => return Err(Failure::unmeasured("a login without user or password").into()),
        };
        let (hash, name, password) = match mechanism {
            MongodbMechanism::ScramSha1 => {
                (Hash::Sha1, "SCRAM-SHA-1", password_of_sha1(user, password.reveal()))
            }
            _ => (Hash::Sha256, "SCRAM-SHA-256", prepared(password)?),
        };
        let scram =
            Scram::new(hash, user).ok_or_else(|| Failure::unmeasured("the system has no randomness"))?;
        let start = Document::default()
            .with("saslStart", Value::Number(1))
            .with("mechanism", Value::Text(name.to_owned()))
            .with("payload", Value::Bytes(scram.first().into_bytes()))
            .with(
                "options",
                Value::Document(Document::default().with("skipEmptyExchange", Value::Bool(true))),
            );
        let mut answer = self.command(contact, login.database, start).await?;
        let conversation = answer.get("conversationId").cloned().unwrap_or(Value::Number(1));
        let said = payload(&answer).ok_or_else(|| odd(self.peer))?;
        // On a thread of its own: hashing takes a while.
        let hashing = tokio::task::spawn_blocking(move || scram.answer(&said, &password));
        let proof = contact.bound(hashing).await?.map_err(|why| Failure::unmeasured(why.to_string()))?;
        let proof =
            proof.map_err(|why| Failure::rubbish(format!("{} does not log us in: {why}", self.peer)))?;
        let mut ours = proof.last.clone().into_bytes();
        let mut proven = false;
        for _ in 0..EXCHANGES_MAX {
            let next = Document::default()
                .with("saslContinue", Value::Number(1))
                .with("conversationId", conversation.clone())
                .with("payload", Value::Bytes(std::mem::take(&mut ours)));
            answer = self.command(contact, login.database, next).await?;
            proven = proven || payload(&answer).is_some_and(|said| proof.is_answered_by(&said));
            if !proven {
                let words = format!("{} does not prove that it knows the password of {user}", self.peer);
                return Err(Failure::rubbish(words).into());
            }
            if answer.is("done") {
                return Ok(());
            }
        }
        Err(odd(self.peer).into())
    }

    /// By the certificate that TLS has shown (MONGODB-X509).
    async fn log_in_by_certificate(
        &mut self,
        contact: &mut Contact,
        user: Option<&str>,
    ) -> Result<(), MongoFailure> {
        let mut command = Document::default()
            .with("authenticate", Value::Number(1))
            .with("mechanism", Value::Text("MONGODB-X509".to_owned()));
        if let Some(user) = user {
            command = command.with("user", Value::Text(user.to_owned()));
        }
        self.command(contact, EXTERNAL, command).await.map(drop)
    }
}

/// The `key` of SCRAM-SHA-1 as MongoDB has it: what its first way to log in kept on disk.
pub(super) fn password_of_sha1(user: &str, password: &str) -> String {
    use md5::{Digest, Md5};
    let digest = Md5::digest(format!("{user}:mongo:{password}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A password as SCRAM-SHA-256 wants it (SASLprep, RFC 4013).
fn prepared(password: &Secret) -> Result<String, Failure> {
    stringprep::saslprep(password.reveal())
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Failure::unmeasured("the password has characters that none may have (RFC 4013)"))
}

fn payload(answer: &Document) -> Option<String> {
    match answer.get("payload")? {
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

fn message(id: i32, command: &Document) -> Vec<u8> {
    let document = command.encode();
    // After the header: flags, and the one section of kind 0.
    let length = i32::try_from(HEADER_BYTES + 5 + document.len()).unwrap_or(i32::MAX);
    let mut message = Vec::with_capacity(HEADER_BYTES + 5 + document.len());
    for number in [length, id, 0, OP_MSG, 0] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(&document);
    message
}

/// How many bytes follow a header, if it is that of an answer to this.
fn body_length(header: &[u8; HEADER_BYTES], asked: i32) -> Option<usize> {
    let (fields, _) = header.as_chunks::<4>();
    let [length, _, to, code] = *fields else { return None };
    let length = usize::try_from(i32::from_le_bytes(length)).ok()?;
    let fits = (HEADER_BYTES + 10..=MESSAGE_BYTES_MAX).contains(&length);
    let ours = i32::from_le_bytes(to) == asked && i32::from_le_bytes(code) == OP_MSG;
    (fits && ours).then(|| length - HEADER_BYTES)
}

/// What is in an answer. Of the flags that must be known only the checksum's is.
fn answer(body: &[u8]) -> Option<Document> {
    let (flags, rest) = body.split_first_chunk::<4>()?;
    let flags = u32::from_le_bytes(*flags);
    let rest = match flags & 0xffff {
        0 => rest,
        CHECKSUM_PRESENT => rest.get(..rest.len().checked_sub(CHECKSUM_BYTES)?)?,
        _ => return None,
    };
    match rest.split_first()? {
        (0, document) => Document::decode(document),
        _ => None,
    }
}

fn odd(peer: &HostPort) -> Failure {
    Failure::rubbish(format!("{peer} answers what MongoDB would not"))
}

/// What the server says instead of doing what it was told (`error_codes.yml` of MongoDB).
fn complaint(peer: &HostPort, answer: &Document) -> MongoFailure {
    let code = answer.number("code");
    let name = answer.text("codeName").map_or_else(String::new, |name| format!(" ({name})"));
    let words = format!("{peer} says: {}{name}", answer.text("errmsg").unwrap_or("no"));
    let failure = match code {
        // Unauthorized, UserNotFound, AuthenticationFailed, MechanismUnavailable.
        Some(13 | 11 | 18 | 334) => Failure::denied(words),
        // ShutdownInProgress, InterruptedAtShutdown.
        Some(91 | 11600) => Failure::refused(words),
        // MaxTimeMSExpired, ExceededTimeLimit.
        Some(50 | 262) => Failure::silent(words),
        _ => Failure::rubbish(words),
    };
    MongoFailure { failure, code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Class;

    #[test]
    fn messages_have_the_form_of_the_manual() {
        let hello = Document::default().with("hello", Value::Number(1));
        let sent = message(7, &hello);
        assert_eq!(sent.len(), 16 + 4 + 1 + 16);
        assert_eq!(sent[..16], [37, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0]);
        assert_eq!(sent[16..21], [0; 5]);
        assert_eq!(answer(&sent[16..]), Some(hello.clone()));
        // With a checksum, which is not looked at: TCP has its own.
        let mut summed = sent[16..].to_vec();
        summed[0] = 1;
        summed.extend_from_slice(&[9; 4]);
        assert_eq!(answer(&summed), Some(hello));
        // More to come, a flag that nobody knows, a section of another kind.
        for (place, wrong) in [(0, 2), (0, 4), (4, 1)] {
            let mut body = sent[16..].to_vec();
            body[place] = wrong;
            assert_eq!(answer(&body), None);
        }
        let header = |length: i32, to: i32, code: i32| {
            let bytes: Vec<u8> = [length, 1, to, code].iter().flat_map(|n| n.to_le_bytes()).collect();
            body_length(&bytes.try_into().unwrap(), 7)
        };
        assert_eq!(header(37, 7, OP_MSG), Some(21));
        for (length, to, code) in
            [(37, 6, OP_MSG), (37, 7, 1), (25, 7, OP_MSG), (-1, 7, OP_MSG), (1 << 30, 7, OP_MSG)]
        {
            assert_eq!(header(length, to, code), None);
        }
    }

    #[test]
    fn complaints_are_no_sign_of_health() {
        let peer = HostPort { host: "db".to_owned(), port: 27017 };
        let class = |code: i64| {
            let answer = Document::default().with("code", Value::Number(code));
            complaint(&peer, &answer).failure.class
        };
        assert_eq!([13, 18].map(class), [Class::Denied; 2]);
        assert_eq!(class(11600), Class::Refused);
        assert_eq!(class(50), Class::Silent);
        assert_eq!([10107, 59, 76, 94].map(class), [Class::Rubbish; 4]);
    }

    #[test]
    fn passwords_are_prepared() {
        assert_eq!(password_of_sha1("user", "pencil"), "1c33006ec1ffd90f9cadcbcc0e118200");
        // RFC 4013 §3: a soft hyphen is mapped to nothing; a bell is prohibited.
        assert_eq!(prepared(&Secret::new("I\u{ad}X")).unwrap(), "IX");
        assert!(prepared(&Secret::new("\u{7}")).is_err());
    }
}
