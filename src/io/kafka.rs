//! Just enough of Kafka's protocol to ask a broker of topics and of the metadata quorum.
//!
//! A request is a size, a header (what, in which version, a number that comes back, who asks) and
//! fields; from some version on ("flexible") lengths are variable and tags may follow. The
//! versions used here are understood by 3.3 (KIP-836) and later, 4.x included (KIP-896 keeps those of 2.1).
//! Schemas: `clients/src/main/resources/common/message` of apache/kafka.

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::scram::{Hash, Scram};
use super::{Class, Close, Contact, Failure, Net, TrustFiles, failure};
use crate::base::Secret;
use crate::config::{HostPort, KafkaMechanism};

/// The metadata of some hundred thousand partitions.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
const CLIENT: &str = "pointsman";

const METADATA: (i16, i16) = (3, 7);
const SASL_HANDSHAKE: (i16, i16) = (17, 1);
const API_VERSIONS: (i16, i16) = (18, 0);
const DESCRIBE_CONFIGS: (i16, i16) = (32, 2);
const SASL_AUTHENTICATE: (i16, i16) = (36, 0);
const DESCRIBE_QUORUM: (i16, i16) = (55, 1);

const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const ILLEGAL_SASL_STATE: i16 = 34;

/// The topic that the controllers keep the metadata in.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
const MIN_ISR: &str = "min.insync.replicas";
const TOPIC: i8 = 2;

/// Where to ask, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where.
    pub address: &'a HostPort,
    /// Over TLS, and whom to trust.
    pub tls: Option<&'a TrustFiles>,
    /// Who, by SASL; nobody, or whom the client certificate names, without.
    pub login: Option<Login<'a>>,
}

/// Who logs in, and how.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// How the password is shown, or proved.
    pub mechanism: KafkaMechanism,
    /// Who.
    pub user: &'a str,
    /// The password.
    pub password: &'a Secret,
}

/// The cluster as a broker has it in memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster: String,
    /// The brokers: id, and where they want to be reached.
    pub brokers: Vec<(i32, String, i32)>,
    /// The topics.
    pub topics: Vec<Topic>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topic {
    /// An error code; 0 is none.
    pub error: i16,
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Partition {
    /// Its number.
    pub number: i32,
    /// The broker that leads it; -1 is none.
    pub leader: i32,
    /// The brokers that are in sync with the leader, itself among them.
    pub isr: Vec<i32>,
}

/// What the leader of the controllers says of their quorum.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Quorum {
    /// The controller that leads; -1 is none.
    pub leader: i32,
    /// In which epoch.
    pub epoch: i32,
    /// How far the metadata is committed.
    pub high_watermark: i64,
    /// The controllers that vote.
    pub voters: Vec<Voter>,
}

/// A controller that votes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Voter {
    /// Its id.
    pub id: i32,
    /// The end of its log, as the leader knows it.
    pub end: i64,
    /// When it last fetched from the leader, by the leader's clock, in ms since 1970; -1 is never.
    /// The leader's own is the present.
    pub fetched_ms: i64,
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Broker<S> {
    stream: S,
    peer: HostPort,
    number: i32,
    heard: bool,
    /// Without a login of SASL.
    anonymous: bool,
}

/// A stream of either kind.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Broker<Box<dyn Wire>> {
    /// Connects, and logs in where a user is given. Everything that is asked afterwards must be
    /// bounded by the contact's deadline.
    ///
    /// # Errors
    /// No connection, or no login.
    pub async fn connect(contact: &mut Contact, net: &Net, target: Target<'_>) -> Result<Self, Failure> {
        let stream = contact.connect(net, target.address, Close::Abruptly).await?;
        let stream: Box<dyn Wire> = match target.tls {
            None => Box::new(stream),
            Some(files) => {
                let trust = net.trust(files, contact.deadline()).await?;
                let name = ServerName::try_from(target.address.host.clone())
                    .map_err(|_| Failure::unmeasured(format!("{} has no name for TLS", target.address)))?;
                Box::new(contact.secure(&trust, name, target.address, stream).await?)
            }
        };
        let anonymous = target.login.is_none();
        let mut broker = Self { stream, peer: target.address.clone(), number: 0, heard: false, anonymous };
        match target.login {
            Some(login) => broker.log_in(contact, login).await?,
            // Whoever does not log in where that is wanted is hung up on, without a word, as if by a
            // broker that is gone. This is answered to everybody, so that the two can be told apart.
            None => drop(contact.bound(broker.ask(API_VERSIONS, &[])).await??),
        }
        Ok(broker)
    }
}

impl<S: Wire> Broker<S> {
    /// SASL within Kafka's own requests (KIP-152): PLAIN (RFC 4616), or SCRAM.
    async fn log_in(&mut self, contact: &Contact, login: Login<'_>) -> Result<(), Failure> {
        let Login { mechanism, user, password } = login;
        let mut request = Vec::new();
        string(&mut request, mechanism.word());
        let answer = contact.bound(self.ask(SASL_HANDSHAKE, &request)).await??;
        let mut reader = Reader(&answer);
        match (reader.i16(), reader.array(Reader::string)) {
            (Some(0), _) => {}
            (Some(UNSUPPORTED_SASL_MECHANISM), Some(offered)) => {
                let (peer, wanted) = (&self.peer, mechanism.word());
                let offered = offered.join(", ");
                return Err(Failure::denied(format!("{peer} does not offer {wanted}, but {offered}")));
            }
            (Some(ILLEGAL_SASL_STATE), _) => {
                let words = format!("{} wants no login on this port, which has no SASL", self.peer);
                return Err(Failure::denied(words));
            }
            _ => return Err(self.odd("a handshake of SASL")),
        }
        let hash = match mechanism {
            KafkaMechanism::Plain => {
                let token = format!("\0{user}\0{}", password.reveal());
                return contact.bound(self.token(user, token.as_bytes())).await?.map(drop);
            }
            KafkaMechanism::ScramSha256 => Hash::Sha256,
            KafkaMechanism::ScramSha512 => Hash::Sha512,
        };
        let scram =
            Scram::new(hash, user).ok_or_else(|| Failure::unmeasured("the system has no randomness"))?;
        let said = contact.bound(self.token(user, scram.first().as_bytes())).await??;
        let (said, password) = (String::from_utf8_lossy(&said).into_owned(), password.clone());
        let hashing = tokio::task::spawn_blocking(move || scram.answer(&said, password.reveal()));
        let proof = contact.bound(hashing).await?.map_err(|why| Failure::unmeasured(why.to_string()))?;
        let proof =
            proof.map_err(|why| Failure::rubbish(format!("{} does not log us in: {why}", self.peer)))?;
        let said = contact.bound(self.token(user, proof.last.as_bytes())).await??;
        match proof.is_answered_by(&String::from_utf8_lossy(&said)) {
            true => Ok(()),
            false => Err(Failure::denied(format!(
                "{} lets `{user}` in and does not know the password: it is not whom it seems to be",
                self.peer
            ))),
        }
    }

    /// Says something within SASL, and hears what the broker says to it.
    async fn token(&mut self, user: &str, token: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut request = length(token.len()).to_be_bytes().to_vec();
        request.extend_from_slice(token);
        let answer = self.ask(SASL_AUTHENTICATE, &request).await?;
        let mut reader = Reader(&answer);
        match (reader.i16(), reader.string()) {
            (Some(0), _) => reader.bytes().ok_or_else(|| self.odd("a word of SASL")),
            (_, why) => {
                let why = why.unwrap_or_default();
                Err(Failure::denied(format!("{} does not let `{user}` in: {why}", self.peer)))
            }
        }
    }

    /// What the broker has in memory of brokers and topics. No topic is created by asking.
    ///
    /// # Errors
    /// No answer, or none that makes sense.
    pub async fn metadata(&mut self) -> Result<Metadata, Failure> {
        // All topics: an array of length -1. Then: no creation.
        let answer = self.ask(METADATA, &[0xff, 0xff, 0xff, 0xff, 0]).await;
        let answer = answer.map_err(|failure| match self.anonymous && failure.class == Class::Rubbish {
            true => Failure::denied(format!(
                "{} hangs up on us, who have not logged in: give `user` and `password` if it wants SASL",
                self.peer
            )),
            false => failure,
        })?;
        read_metadata(&mut Reader(&answer)).ok_or_else(|| self.odd("metadata"))
    }

    /// `min.insync.replicas` of topics, in their order; `None` of one that we may not ask for.
    ///
    /// # Errors
    /// No answer, or none that makes sense.
    pub async fn min_isr(&mut self, topics: &[&str]) -> Result<Vec<Option<usize>>, Failure> {
        let mut request = length(topics.len()).to_be_bytes().to_vec();
        for topic in topics {
            request.push(TOPIC as u8);
            string(&mut request, topic);
            request.extend_from_slice(&1i32.to_be_bytes());
            string(&mut request, MIN_ISR);
        }
        // Without synonyms.
        request.push(0);
        let answer = self.ask(DESCRIBE_CONFIGS, &request).await?;
        let found = read_min_isr(&mut Reader(&answer)).ok_or_else(|| self.odd("configurations"))?;
        let of = |topic: &&str| found.iter().find(|(name, _)| name == topic).and_then(|(_, isr)| *isr);
        Ok(topics.iter().map(of).collect())
    }

    /// What the leader of the controllers says; a broker passes the question on, so that it takes
    /// a leader to answer it.
    ///
    /// # Errors
    /// No answer, or none that makes sense.
    pub async fn quorum(&mut self) -> Result<Quorum, Failure> {
        // One topic with one partition, 0; compact lengths are one more than they say.
        let mut request = vec![2, u8::try_from(METADATA_TOPIC.len() + 1).unwrap_or(u8::MAX)];
        request.extend_from_slice(METADATA_TOPIC.as_bytes());
        request.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
        let answer = self.ask(DESCRIBE_QUORUM, &request).await?;
        match read_quorum(&mut Reader(&answer)).ok_or_else(|| self.odd("a quorum"))? {
            Ok(quorum) => Ok(quorum),
            // CLUSTER_AUTHORIZATION_FAILED, TOPIC_AUTHORIZATION_FAILED
            Err(31 | 29) => Err(Failure::denied(format!("{} denies us DescribeQuorum", self.peer))),
            // NOT_LEADER_OR_FOLLOWER, REQUEST_TIMED_OUT, NOT_CONTROLLER: it found no leader.
            Err(6 | 7 | 41) => Ok(Quorum { leader: -1, ..Quorum::default() }),
            Err(code) => {
                Err(Failure::rubbish(format!("{} answers DescribeQuorum with error {code}", self.peer)))
            }
        }
    }

    async fn ask(&mut self, (key, version): (i16, i16), body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.number += 1;
        let flexible = key == DESCRIBE_QUORUM.0;
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&self.number.to_be_bytes());
        string(&mut frame, CLIENT);
        if flexible {
            frame.push(0);
        }
        frame.extend_from_slice(body);
        let size = length(frame.len() - 4).to_be_bytes();
        frame[..4].copy_from_slice(&size);
        let sent = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|why| Failure::of_talk(&why, &self.peer, self.heard))?;
        let mut size = [0; 4];
        self.read_exact(&mut size).await?;
        if failure::is_tls(&size) {
            return Err(Failure::rubbish(format!("{} speaks TLS: add `tls`", self.peer)));
        }
        let size = u32::from_be_bytes(size) as usize;
        if !(4..=FRAME_BYTES_MAX).contains(&size) {
            return Err(self.odd("what is no answer"));
        }
        let mut answer = vec![0; size];
        self.read_exact(&mut answer).await?;
        self.heard = true;
        let head = if flexible { 5 } else { 4 };
        if answer.len() < head || answer[..4] != self.number.to_be_bytes() {
            return Err(self.odd("the answer to another question"));
        }
        Ok(answer.split_off(head))
    }

    async fn read_exact(&mut self, into: &mut [u8]) -> Result<(), Failure> {
        let read = self.stream.read_exact(into).await;
        read.map(drop).map_err(|why| Failure::of_talk(&why, &self.peer, self.heard))
    }

    fn odd(&self, what: &str) -> Failure {
        Failure::rubbish(format!("{} answers what Kafka would not ({what})", self.peer))
    }
}

fn length(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// A string of 32767 bytes at most, which names are far from.
fn string(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(&i16::try_from(text.len()).unwrap_or(i16::MAX).to_be_bytes());
    into.extend_from_slice(text.as_bytes());
}

fn read_metadata(reader: &mut Reader<'_>) -> Option<Metadata> {
    let _throttled = reader.i32()?;
    let brokers = reader.array(|reader| {
        let broker = (reader.i32()?, reader.string()?, reader.i32()?);
        let _rack = reader.string()?;
        Some(broker)
    })?;
    let cluster = reader.string()?;
    let _controller = reader.i32()?;
    let topics = reader.array(|reader| {
        let (error, name) = (reader.i16()?, reader.string()?);
        let _internal = reader.take(1)?;
        let partitions = reader.array(|reader| {
            let _error = reader.i16()?;
            let (number, leader, _epoch) = (reader.i32()?, reader.i32()?, reader.i32()?);
            let _replicas = reader.array(Reader::i32)?;
            let isr = reader.array(Reader::i32)?;
            let _offline = reader.array(Reader::i32)?;
            Some(Partition { number, leader, isr })
        })?;
        Some(Topic { error, name, partitions })
    })?;
    Some(Metadata { cluster, brokers, topics })
}

fn read_min_isr(reader: &mut Reader<'_>) -> Option<Vec<(String, Option<usize>)>> {
    let _throttled = reader.i32()?;
    reader.array(|reader| {
        let (error, _words, _kind, name) =
            (reader.i16()?, reader.string()?, reader.take(1)?, reader.string()?);
        let values = reader.array(|reader| {
            let (name, value) = (reader.string()?, reader.string()?);
            let _flags = reader.take(3)?;
            let _synonyms = reader.array(|reader| {
                reader.string()?;
                reader.string()?;
                reader.take(1).map(drop)
            })?;
            Some((name, value))
        })?;
        let value = values.iter().find(|(name, _)| name == MIN_ISR).and_then(|(_, value)| value.parse().ok());
        Some((name, value.filter(|_| error == 0)))
    })
}

fn read_quorum(reader: &mut Reader<'_>) -> Option<Result<Quorum, i16>> {
    let error = reader.i16()?;
    if error != 0 {
        return Some(Err(error));
    }
    let mut topics = reader.compact_array(|reader| {
        let _name = reader.compact_string()?;
        let partitions = reader.compact_array(|reader| {
            let (_number, error) = (reader.i32()?, reader.i16()?);
            let (leader, epoch, high_watermark) = (reader.i32()?, reader.i32()?, reader.i64()?);
            let replicas = |reader: &mut Reader<'_>| {
                reader.compact_array(|reader| {
                    let voter = Voter { id: reader.i32()?, end: reader.i64()?, fetched_ms: reader.i64()? };
                    let _caught_up = reader.i64()?;
                    reader.tags()?;
                    Some(voter)
                })
            };
            let voters = replicas(reader)?;
            let _observers = replicas(reader)?;
            reader.tags()?;
            Some((error, Quorum { leader, epoch, high_watermark, voters }))
        })?;
        reader.tags()?;
        Some(partitions)
    })?;
    let (error, quorum) = topics.pop()?.pop()?;
    Some(if error == 0 { Ok(quorum) } else { Err(error) })
}

/// Reads fields; `None` once what is said does not fit what is there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_be_bytes)
    }

    /// A string; one that is absent is empty.
    fn string(&mut self) -> Option<String> {
        match usize::try_from(self.i16()?) {
            Err(_) => Some(String::new()),
            Ok(size) => Some(String::from_utf8_lossy(self.take(size)?).into_owned()),
        }
    }

    /// Bytes; none are as many as are absent.
    fn bytes(&mut self) -> Option<Vec<u8>> {
        match usize::try_from(self.i32()?) {
            Err(_) => Some(Vec::new()),
            Ok(size) => self.take(size).map(<[u8]>::to_vec),
        }
    }

    /// Seven bits a byte, the low ones first.
    fn varint(&mut self) -> Option<usize> {
        let mut value = 0usize;
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self.take(1)?.first()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn compact_string(&mut self) -> Option<String> {
        match self.varint()? {
            0 => Some(String::new()),
            size => Some(String::from_utf8_lossy(self.take(size - 1)?).into_owned()),
        }
    }

    /// Tagged fields, which are passed over.
    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let size = self.varint()?;
            self.take(size)?;
        }
        Some(())
    }

    fn array<T>(&mut self, item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        match usize::try_from(self.i32()?) {
            Err(_) => Some(Vec::new()),
            Ok(count) => self.items(count, item),
        }
    }

    fn compact_array<T>(&mut self, item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        match self.varint()? {
            0 => Some(Vec::new()),
            count => self.items(count - 1, item),
        }
    }

    /// No item is empty, so that there are no more of them than bytes.
    fn items<T>(&mut self, count: usize, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        if count > self.0.len() {
            return None;
        }
        (0..count).map(|_| item(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the schema: two voters, the first of them leading.
    fn a_quorum(error: i16) -> Vec<u8> {
        let mut bytes = vec![0, 0, 2, 19];
        bytes.extend_from_slice(METADATA_TOPIC.as_bytes());
        bytes.extend_from_slice(&[2, 0, 0, 0, 0]);
        bytes.extend_from_slice(&error.to_be_bytes());
        bytes.extend_from_slice(&1i32.to_be_bytes());
        bytes.extend_from_slice(&4i32.to_be_bytes());
        bytes.extend_from_slice(&77i64.to_be_bytes());
        bytes.push(3);
        for (id, fetched) in [(1i32, 5000i64), (2, -1)] {
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.extend_from_slice(&77i64.to_be_bytes());
            bytes.extend_from_slice(&fetched.to_be_bytes());
            bytes.extend_from_slice(&fetched.to_be_bytes());
            // A tag that we do not know.
            bytes.extend_from_slice(&[1, 9, 2, 0xaa, 0xbb]);
        }
        bytes.extend_from_slice(&[1, 0, 0, 0]);
        bytes
    }

    #[test]
    fn reads_a_quorum() {
        let bytes = a_quorum(0);
        let quorum = read_quorum(&mut Reader(&bytes)).unwrap().unwrap();
        assert_eq!((quorum.leader, quorum.epoch, quorum.high_watermark), (1, 4, 77));
        let voters: Vec<_> = quorum.voters.iter().map(|voter| (voter.id, voter.fetched_ms)).collect();
        assert_eq!(voters, [(1, 5000), (2, -1)]);
        assert_eq!(read_quorum(&mut Reader(&a_quorum(6))), Some(Err(6)));
    }

    #[test]
    fn what_is_cut_short_or_counts_too_much_is_not_read() {
        let bytes = a_quorum(0);
        for end in 0..bytes.len() - 1 {
            assert_eq!(read_quorum(&mut Reader(&bytes[..end])), None, "{end}");
        }
        // A count of two thousand millions in a few bytes.
        let lie = [0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert_eq!(read_metadata(&mut Reader(&lie)), None);
        assert_eq!(read_min_isr(&mut Reader(&lie)), None);
        assert_eq!(read_quorum(&mut Reader(&[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 1])), None);
    }
}
