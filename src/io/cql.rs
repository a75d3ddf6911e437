//! Just enough of Cassandra's native protocol to log in and ask a few questions of one node.
//!
//! Version 4 of the protocol (`doc/native_protocol_v4.spec` of apache/cassandra), which every node
//! from 2.2 to 5.0 speaks; version 5 only adds checksums around the frames. All questions are sent
//! at once, each in a stream of its own.
//!
//! A driver would be the wrong tool: it learns the ring from one node, then opens connections to
//! all others, balances and asks again by itself, where here each node is to speak for itself, once.

use super::wire::Wire;
use super::{Contact, Failure, Net, TrustFiles};
use crate::base::Secret;
use crate::config::{HostPort, Level};

/// What one contact may bring: the tokens of a ring of some hundred nodes with 256 each.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Columns of a row; the questions here have ten at the most.
const COLUMNS_MAX: usize = 64;
/// Collections inside collections, in the description of a column.
const DEPTH_MAX: usize = 8;
/// What an error says is cut here.
const WORDS_MAX: usize = 300;

const VERSION: u8 = 4;
const ANSWER: u8 = 0x80;
const WARNING: u8 = 0x08;
const TRACING: u8 = 0x02;

mod opcode {
    pub(super) const ERROR: u8 = 0x00;
    pub(super) const STARTUP: u8 = 0x01;
    pub(super) const READY: u8 = 0x02;
    pub(super) const AUTHENTICATE: u8 = 0x03;
    pub(super) const QUERY: u8 = 0x07;
    pub(super) const RESULT: u8 = 0x08;
    pub(super) const AUTH_RESPONSE: u8 = 0x0f;
    pub(super) const AUTH_SUCCESS: u8 = 0x10;
}

/// Where to ask, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where.
    pub address: &'a HostPort,
    /// Over TLS, and whom to trust.
    pub tls: Option<&'a TrustFiles>,
    /// For `PasswordAuthenticator`: who, and the password.
    pub plain: Option<(&'a str, &'a Secret)>,
}

/// How a login ended.
pub enum Login<'a> {
    /// We are in.
    In(Session<'a>),
    /// The node speaks, and cannot find out who we are: the roles are kept in Cassandra itself
    /// (`system_auth`), and their replicas do not answer. It calls this "Bad credentials".
    Lost(String),
}

/// A node that has let us in.
pub struct Session<'a> {
    wire: Wire<'a>,
    to: &'a HostPort,
}

/// An answer to a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Rows of cells; a cell may be null.
    Rows(Vec<Row>),
    /// What the node says instead.
    Error(Complaint),
}

/// The cells of a row, by the place of their column in the question.
pub type Row = Vec<Option<Vec<u8>>>;

/// An error (§9 of the specification), with what it tells of replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// The error's number.
    pub code: u32,
    /// In the node's words.
    pub words: String,
    /// How many replicas it takes, and how many there were: alive by the node's gossip, for
    /// `Unavailable`; that have answered, for a timeout or a failure.
    pub replicas: Option<(i32, i32)>,
}

impl Complaint {
    /// `Unavailable`: by its gossip the node knows too few replicas that live, and asks none.
    pub const UNAVAILABLE: u32 = 0x1000;
    /// `Read_timeout`: too few replicas have answered the node.
    pub const READ_TIMEOUT: u32 = 0x1200;
    /// `Read_failure`: replicas have failed.
    pub const READ_FAILURE: u32 = 0x1300;
    /// `Unauthorized`: we lack a right.
    pub const UNAUTHORIZED: u32 = 0x2100;
    /// `Invalid`: no such table, in this version of Cassandra.
    pub const INVALID: u32 = 0x2200;
    const BAD_CREDENTIALS: u32 = 0x0100;

    /// One line for a person.
    pub fn line(&self) -> String {
        let Self { code, words, replicas } = self;
        match (*code, replicas) {
            (Self::UNAVAILABLE, Some((required, alive))) => {
                format!("Unavailable, {alive} of {required} replicas are alive by its gossip")
            }
            (Self::READ_TIMEOUT, Some((required, heard))) => {
                format!("Read_timeout, {heard} of {required} replicas have answered it")
            }
            (Self::READ_FAILURE, Some((required, heard))) => {
                format!("Read_failure, {heard} of {required} replicas could answer it")
            }
            _ => format!("{words} (0x{code:04x})"),
        }
    }
}

/// Connects and logs in.
///
/// # Errors
/// The node cannot be reached, does not let us in, speaks another protocol, or not in time.
pub async fn log_in<'a>(contact: &mut Contact, net: &Net, target: Target<'a>) -> Result<Login<'a>, Failure> {
    let to = target.address;
    let wire = Wire::open(contact, net, to, target.tls, BYTES_MAX).await?;
    let mut session = Session { wire, to };
    let mut hello = Vec::new();
    hello.extend_from_slice(&1u16.to_be_bytes());
    string(&mut hello, "CQL_VERSION");
    string(&mut hello, "3.0.0");
    session.wire.send(contact, &frame(opcode::STARTUP, 0, &hello)).await?;
    let Frame { opcode, body, .. } = session.hear(contact).await?;
    match opcode {
        opcode::READY => return Ok(Login::In(session)),
        opcode::AUTHENTICATE => {}
        opcode::ERROR => {
            let words = session.complaint(&body)?.line();
            return Err(Failure::rubbish(format!("{to} takes no connection: {words}")));
        }
        _ => return Err(session.odd("the first word")),
    }
    let Some((user, password)) = target.plain else {
        return Err(Failure::denied(format!("{to} wants a user and a password")));
    };
    let token = format!("\0{user}\0{}", password.reveal());
    let mut answer = length(token.len()).to_be_bytes().to_vec();
    answer.extend_from_slice(token.as_bytes());
    session.wire.send(contact, &frame(opcode::AUTH_RESPONSE, 0, &answer)).await?;
    let Frame { opcode, body, .. } = match session.hear(contact).await {
        // It has spoken before: what it waits for is others.
        Err(failure) if contact.deadline().over() => return Ok(Login::Lost(failure.words)),
        heard => heard?,
    };
    match opcode {
        opcode::AUTH_SUCCESS => Ok(Login::In(session)),
        opcode::ERROR => {
            let complaint = session.complaint(&body)?;
            let line = complaint.line();
            match is_lost(&complaint) {
                true => Ok(Login::Lost(line)),
                false => Err(Failure::denied(format!("{to} does not let `{user}` in: {line}"))),
            }
        }
        _ => Err(Failure::denied(format!("{to} wants more than a user and a password"))),
    }
}

/// Whether a login failed for want of replicas of `system_auth` (captured from 5.0: "Unable to
/// perform authentication: Cannot achieve consistency level LOCAL_QUORUM", and "… Operation timed
/// out - received only 1 responses.", both as `Bad credentials`).
fn is_lost(complaint: &Complaint) -> bool {
    match complaint.code {
        Complaint::UNAVAILABLE | Complaint::READ_TIMEOUT | Complaint::READ_FAILURE => true,
        Complaint::BAD_CREDENTIALS => {
            let says = |words: &str| complaint.words.contains(words);
            says("Unable to perform authentication")
                && (says("consistency level") || says("timed out") || says("failed"))
        }
        _ => false,
    }
}

impl Session<'_> {
    /// Asks, all at once, each at its level; an answer to each.
    ///
    /// # Errors
    /// No answer, or none that makes sense.
    pub async fn ask(
        &mut self,
        contact: &mut Contact,
        questions: &[(&str, Level)],
    ) -> Result<Vec<Answer>, Failure> {
        let mut request = Vec::new();
        for (stream, (question, level)) in (0i16..).zip(questions) {
            let mut body = length(question.len()).to_be_bytes().to_vec();
            body.extend_from_slice(question.as_bytes());
            body.extend_from_slice(&consistency(*level).to_be_bytes());
            // No values, no paging.
            body.push(0);
            request.extend(frame(opcode::QUERY, stream, &body));
        }
        self.wire.send(contact, &request).await?;
        let mut answers: Vec<Option<Answer>> = vec![None; questions.len()];
        for _ in questions {
            let Frame { opcode, stream, body } = self.hear(contact).await?;
            let answer = match opcode {
                opcode::RESULT => Answer::Rows(rows(&body).ok_or_else(|| self.odd("rows"))?),
                opcode::ERROR => Answer::Error(self.complaint(&body)?),
                _ => return Err(self.odd("an answer")),
            };
            let place = usize::try_from(stream).ok().and_then(|stream| answers.get_mut(stream));
            *place.ok_or_else(|| self.odd("a stream"))? = Some(answer);
        }
        answers.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| self.odd("an answer"))
    }

    async fn hear(&mut self, contact: &mut Contact) -> Result<Frame, Failure> {
        let header: [u8; 9] =
            self.wire.take(contact, 9).await?.try_into().expect("as many as were asked for");
        let [version, flags, high, low, opcode, size @ ..] = header;
        let size = usize::try_from(i32::from_be_bytes(size)).ok().filter(|size| *size <= BYTES_MAX);
        // A node that does not speak this version says so in its own.
        let size = size.filter(|_| version & ANSWER != 0 && (version == VERSION | ANSWER || opcode == 0));
        let Some(size) = size else { return Err(self.odd("a frame")) };
        let mut body = self.wire.take(contact, size).await?;
        if flags & TRACING != 0 {
            body = body.get(16..).unwrap_or_default();
        }
        if flags & WARNING != 0 {
            let mut reader = Reader(body);
            let skipped = (|| {
                for _ in 0..reader.u16()? {
                    reader.string()?;
                }
                Some(reader.0)
            })();
            body = skipped.unwrap_or_default();
        }
        let body = body.to_vec();
        Ok(Frame { opcode, stream: i16::from_be_bytes([high, low]), body })
    }

    fn complaint(&self, body: &[u8]) -> Result<Complaint, Failure> {
        complaint(body).ok_or_else(|| self.odd("an error"))
    }

    fn odd(&self, what: &str) -> Failure {
        Failure::rubbish(format!("{} speaks no CQL that we know: {what} makes no sense", self.to))
    }
}

struct Frame {
    opcode: u8,
    stream: i16,
    body: Vec<u8>,
}

fn frame(opcode: u8, stream: i16, body: &[u8]) -> Vec<u8> {
    let [high, low] = stream.to_be_bytes();
    let mut frame = vec![VERSION, 0, high, low, opcode];
    frame.extend_from_slice(&length(body.len()).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend_from_slice(text.as_bytes());
}

fn consistency(level: Level) -> u16 {
    match level {
        Level::One => 0x1,
        Level::Two => 0x2,
        Level::Three => 0x3,
        Level::Quorum => 0x4,
        Level::All => 0x5,
        Level::LocalQuorum => 0x6,
        Level::EachQuorum => 0x7,
        Level::Serial => 0x8,
        Level::LocalSerial => 0x9,
        Level::LocalOne => 0xa,
    }
}

/// `<code><message>`, and for errors that speak of replicas
/// `<cl><required><alive>` or `<cl><received><blockfor>` (§9).
fn complaint(body: &[u8]) -> Option<Complaint> {
    let mut reader = Reader(body);
    let code = u32::from_be_bytes(reader.bytes(4)?.try_into().ok()?);
    let words: String = String::from_utf8_lossy(reader.string()?).chars().take(WORDS_MAX).collect();
    let replicas = match code {
        Complaint::UNAVAILABLE => {
            reader.u16()?;
            Some((reader.i32()?, reader.i32()?))
        }
        Complaint::READ_TIMEOUT | Complaint::READ_FAILURE => {
            reader.u16()?;
            let received = reader.i32()?;
            Some((reader.i32()?, received))
        }
        _ => None,
    };
    Some(Complaint { code, words, replicas })
}

/// A result of the kind `Rows` (§4.2.5.2); one of any other kind has none.
fn rows(body: &[u8]) -> Option<Vec<Row>> {
    const ROWS: i32 = 2;
    const ONE_TABLE: i32 = 0x1;
    const MORE_PAGES: i32 = 0x2;
    const NO_METADATA: i32 = 0x4;
    let mut reader = Reader(body);
    if reader.i32()? != ROWS {
        return Some(Vec::new());
    }
    let flags = reader.i32()?;
    let columns = usize::try_from(reader.i32()?).ok().filter(|columns| *columns <= COLUMNS_MAX)?;
    if flags & MORE_PAGES != 0 {
        reader.cell()?;
    }
    if flags & NO_METADATA == 0 {
        if flags & ONE_TABLE != 0 {
            reader.string()?;
            reader.string()?;
        }
        for _ in 0..columns {
            if flags & ONE_TABLE == 0 {
                reader.string()?;
                reader.string()?;
            }
            reader.string()?;
            reader.kind(DEPTH_MAX)?;
        }
    }
    let count = usize::try_from(reader.i32()?).ok()?;
    // Each cell takes four bytes at the least.
    if columns == 0 || count > reader.0.len() / (4 * columns) {
        return (count == 0).then(Vec::new);
    }
    (0..count).map(|_| (0..columns).map(|_| reader.cell()).collect()).collect()
}

/// The elements of a collection, as it stands in a cell (§6.12, §6.21): those of a set, or keys and
/// values of a map in turn.
pub fn elements(cell: &[u8], per: usize) -> Option<Vec<&[u8]>> {
    let mut reader = Reader(cell);
    let count = usize::try_from(reader.i32()?).ok()?.checked_mul(per)?;
    if count > reader.0.len() / 4 {
        return None;
    }
    (0..count)
        .map(|_| {
            let size = usize::try_from(reader.i32()?).ok()?;
            reader.bytes(size)
        })
        .collect()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.bytes(length.into())
    }

    /// A negative length is null.
    fn cell(&mut self) -> Option<Option<Vec<u8>>> {
        match usize::try_from(self.i32()?) {
            Ok(length) => Some(Some(self.bytes(length)?.to_vec())),
            Err(_) => Some(None),
        }
    }

    /// Passes over the description of a type (§4.2.5.2).
    fn kind(&mut self, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match self.u16()? {
            0x00 => drop(self.string()?),
            0x20 | 0x22 => self.kind(depth)?,
            0x21 => {
                self.kind(depth)?;
                self.kind(depth)?;
            }
            0x30 => {
                self.string()?;
                self.string()?;
                for _ in 0..self.u16()? {
                    self.string()?;
                    self.kind(depth)?;
                }
            }
            0x31 => {
                for _ in 0..self.u16()? {
                    self.kind(depth)?;
                }
            }
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u32, words: &str, more: &[u8]) -> Vec<u8> {
        let mut body = code.to_be_bytes().to_vec();
        string(&mut body, words);
        body.extend_from_slice(more);
        body
    }

    #[test]
    fn errors_tell_of_replicas() {
        // LOCAL_QUORUM takes 2, 1 is alive.
        let unavailable = error(0x1000, "Cannot achieve", &[0, 6, 0, 0, 0, 2, 0, 0, 0, 1]);
        let read = complaint(&unavailable).unwrap();
        assert_eq!(read.replicas, Some((2, 1)));
        assert_eq!(read.line(), "Unavailable, 1 of 2 replicas are alive by its gossip");
        // One has answered of two that it takes; the data itself was not among them.
        let timeout = error(0x1200, "Operation timed out", &[0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0]);
        assert_eq!(complaint(&timeout).unwrap().replicas, Some((2, 1)));
        let denied = error(0x2100, "User pm has no SELECT permission", &[]);
        assert_eq!(complaint(&denied).unwrap().line(), "User pm has no SELECT permission (0x2100)");
        for cut in 0..unavailable.len() {
            assert_eq!(complaint(&unavailable[..cut]), None, "{cut}");
        }
    }

    /// Captured from Cassandra 5.0.4.
    #[test]
    fn bad_credentials_may_mean_that_the_roles_are_lost() {
        let bad = |words: &str| complaint(&error(0x0100, words, &[])).unwrap();
        for lost in [
            "Unable to perform authentication: Cannot achieve consistency level LOCAL_QUORUM",
            "Unable to perform authentication: Operation timed out - received only 1 responses.",
        ] {
            assert!(is_lost(&bad(lost)), "{lost}");
        }
        assert!(!is_lost(&bad("Provided username pm and/or password are incorrect")));
    }

    #[test]
    fn rows_of_any_shape() {
        let mut body = vec![0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        for text in ["system", "local"] {
            string(&mut body, text);
        }
        string(&mut body, "tokens");
        body.extend_from_slice(&[0, 0x22, 0, 0x0d]);
        string(&mut body, "replication");
        body.extend_from_slice(&[0, 0x21, 0, 0x0d, 0, 0x30]);
        for text in ["ks", "type"] {
            string(&mut body, text);
        }
        body.extend_from_slice(&[0, 1]);
        string(&mut body, "field");
        body.extend_from_slice(&[0, 0x31, 0, 1, 0, 9]);
        body.extend_from_slice(&[0, 0, 0, 1]);
        let tokens = [0, 0, 0, 2, 0, 0, 0, 1, b'7', 0, 0, 0, 2, b'-', b'5'];
        body.extend_from_slice(&length(tokens.len()).to_be_bytes());
        body.extend_from_slice(&tokens);
        body.extend_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        let read = rows(&body).unwrap();
        assert_eq!(read, [vec![Some(tokens.to_vec()), None]]);
        assert_eq!(elements(&tokens, 1).unwrap(), [b"7".as_slice(), b"-5"]);
        assert_eq!(elements(&tokens, 2), None);
        for cut in 0..body.len() {
            assert_eq!(rows(&body[..cut]), None, "{cut}");
        }
        // A billion rows that are not there.
        let mut many = body.clone();
        let at = body.len() - 4 - tokens.len() - 4 - 4;
        many[at..at + 4].copy_from_slice(&1_000_000_000i32.to_be_bytes());
        assert_eq!(rows(&many), None);
    }

    #[test]
    fn a_type_that_has_no_end() {
        let mut endless = vec![0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        endless.extend_from_slice(&[0, 0x20].repeat(1000));
        assert_eq!(rows(&endless), None);
    }
}
