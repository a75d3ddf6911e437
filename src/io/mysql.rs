//! A client for MySQL and MariaDB: short sessions that ask a few questions in text, bounded in
//! time and memory, and end when dropped.
//!
//! What of the protocol (MySQL Internals, "Client/Server Protocol") is spoken: handshake v10, TLS
//! before any credential, `mysql_native_password`, `caching_sha2_password` (its full exchange only
//! over TLS, where the password goes as it is; without TLS only a password that the server has in
//! its cache is enough), `COM_QUERY` with results as text. Compression, prepared statements and
//! files are not.
//!
//! ```text
//! greeting → [SSL request → TLS] → login → { auth switch → answer | more data → answer }* → OK
//!                                                                                         ↘ ERR
//! ```

use std::fmt;
use std::io;

use ring::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::{Wire, metered, secured, talk};
use super::{Close, Contact, Failure, Meter, Net, TrustFiles, read_secret};
use crate::base::{Secret, SecretRef};
use crate::config::HostPort;

/// Bytes that one session may send us. What we ask for has a few lines.
const SESSION_BYTES_MAX: u64 = 1024 * 1024;
/// One packet: a row, or a message.
const PACKET_BYTES_MAX: usize = 256 * 1024;
/// Rows of one answer.
const ROWS_MAX: usize = 1024;
/// Columns of one answer.
const COLUMNS_MAX: usize = 64;
/// Packets of a login before it is done.
const LOGIN_STEPS_MAX: usize = 8;

/// `utf8mb4_general_ci`: known to every server since 5.5.
const CHARSET: u8 = 45;
/// What we send at most, as the protocol wants to be told.
const SENT_BYTES_MAX: u32 = 1 << 24;

// Capability flags.
const LONG_PASSWORD: u32 = 1;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";

/// Where to log in, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Where.
    pub address: &'a HostPort,
    /// Who.
    pub user: &'a str,
    /// The password.
    pub password: Option<&'a SecretRef>,
    /// Over TLS, with the server's name verified.
    pub tls: Option<&'a TrustFiles>,
}

/// Why a login or a question failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MysqlFailure {
    /// Classified, with words for a person.
    pub failure: Failure,
    /// The error number, if it is the server's own word.
    pub code: Option<u16>,
}

impl fmt::Display for MysqlFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl std::error::Error for MysqlFailure {}

impl From<Failure> for MysqlFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, code: None }
    }
}

/// A row of an answer: texts, or nothing for NULL.
pub type Row = Vec<Option<String>>;

/// A session of a server. Dropping it closes the connection.
pub struct Session {
    wire: Wire,
    meter: Meter,
    address: HostPort,
    sequence: u8,
    /// The server's own number of this session.
    pub id: u32,
    /// What the server calls its version.
    pub version: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.address)
    }
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// It cannot be reached, does not let us in, or not within the contact's budget.
    pub async fn open(contact: &mut Contact, net: &Net, login: &Login<'_>) -> Result<Self, MysqlFailure> {
        let password = match login.password {
            Some(place) => Some(read_secret(place, contact.deadline()).await?),
            None => None,
        };
        let trusted = match login.tls {
            Some(files) => Some(net.trust(files, contact.deadline()).await?),
            None => None,
        };
        let stream = contact.connect(net, login.address, Close::Gracefully).await?;
        let (wire, meter) = metered(stream, SESSION_BYTES_MAX);
        let mut session =
            Self { wire, meter, address: login.address.clone(), sequence: 0, id: 0, version: String::new() };
        let deadline = contact.deadline();
        let packet = match deadline.bound(session.receive()).await {
            Ok(packet) => packet?,
            Err(_) => return Err(contact.silence().into()),
        };
        if let Some(moment) = session.meter.first_at() {
            contact.heard_at(moment);
        }
        if packet.first() == Some(&0xff) {
            return Err(session.complaint(&packet, classify_login));
        }
        let greeting = Greeting::parse(&packet).ok_or_else(|| session.odd())?;
        (session.id, session.version) = (greeting.id, greeting.version.clone());
        let mut flags = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
        if let Some(trust) = &trusted {
            if greeting.flags & SSL == 0 {
                let words = format!("{} does not offer TLS", login.address);
                return Err(Failure::rubbish(words).into());
            }
            flags |= SSL;
            let mut request = login_head(flags);
            contact.bound(session.send(&mut request)).await??;
            let Self { wire, .. } = session;
            let wire = secured(contact, trust, login.address, wire).await?;
            session = Self {
                wire,
                meter: session.meter,
                address: session.address,
                sequence: session.sequence,
                id: greeting.id,
                version: greeting.version.clone(),
            };
        }
        let tls_left_out = trusted.is_none() && greeting.flags & SSL != 0;
        match deadline.bound(session.log_in(login, flags, greeting, password.as_ref())).await {
            // MariaDB with `require_secure_transport`, or a user who must come over TLS.
            Ok(Err(mut denied)) if tls_left_out && denied.code == Some(1045) => {
                denied.failure.words += "; it offers TLS, and may want it: add `tls`";
                Err(denied)
            }
            Ok(done) => done.map(|()| session),
            Err(_) => Err(contact.silence().into()),
        }
    }

    async fn log_in(
        &mut self,
        login: &Login<'_>,
        flags: u32,
        greeting: Greeting,
        password: Option<&Secret>,
    ) -> Result<(), MysqlFailure> {
        let secret = password.map_or("", Secret::reveal);
        // Whatever the server prefers, unless we do not know it: then it is told so, and switches.
        let mut plugin = if greeting.plugin == SHA2 { SHA2 } else { NATIVE };
        let mut nonce = greeting.nonce;
        let mut packet = login_head(flags);
        packet.extend_from_slice(login.user.as_bytes());
        packet.push(0);
        let proof = scramble(plugin, secret, &nonce);
        packet.push(u8::try_from(proof.len()).unwrap_or(0));
        packet.extend_from_slice(&proof);
        packet.extend_from_slice(plugin.as_bytes());
        packet.push(0);
        self.send(&mut packet).await?;
        for _ in 0..LOGIN_STEPS_MAX {
            let packet = self.receive().await?;
            match packet.split_first() {
                Some((0x00, _)) => return Ok(()),
                Some((0xff, _)) => return Err(self.complaint(&packet, classify_login)),
                // Another way to prove who we are, with a nonce of its own.
                Some((0xfe, rest)) => {
                    let mut parts = rest.splitn(2, |byte| *byte == 0);
                    let wanted = parts.next().unwrap_or_default();
                    plugin = match wanted {
                        name if name == SHA2.as_bytes() => SHA2,
                        name if name == NATIVE.as_bytes() => NATIVE,
                        other => {
                            let other = String::from_utf8_lossy(other).into_owned();
                            let words = format!(
                                "{} wants {} to log in by {other}, which we do not know",
                                self.address, login.user
                            );
                            return Err(Failure::denied(words).into());
                        }
                    };
                    let given = parts.next().unwrap_or_default();
                    nonce = given.strip_suffix(&[0]).unwrap_or(given).to_vec();
                    self.send(&mut scramble(plugin, secret, &nonce)).await?;
                }
                // caching_sha2_password: 3 is "found in the cache", and OK follows.
                Some((0x01, [3])) if plugin == SHA2 => {}
                // 4 is "not there: the password itself, please".
                Some((0x01, [4])) if plugin == SHA2 && login.tls.is_some() => {
                    let mut clear = secret.as_bytes().to_vec();
                    clear.push(0);
                    self.send(&mut clear).await?;
                }
                Some((0x01, [4])) if plugin == SHA2 => {
                    let words = format!(
                        "{} wants the password of {} itself, which is only sent over TLS: configure `tls`",
                        self.address, login.user
                    );
                    return Err(Failure::denied(words).into());
                }
                _ => return Err(self.odd()),
            }
        }
        Err(self.odd())
    }

    /// Asks one question; the rows of its answer.
    ///
    /// # Errors
    /// It fails, or the contact's budget is used up.
    pub async fn query(&mut self, contact: &Contact, sql: &str) -> Result<Vec<Row>, MysqlFailure> {
        match contact.deadline().bound(self.ask(sql)).await {
            Ok(answered) => answered,
            Err(_) => Err(contact.silence().into()),
        }
    }

    async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, MysqlFailure> {
        self.sequence = 0;
        let mut packet = vec![0x03];
        packet.extend_from_slice(sql.as_bytes());
        self.send(&mut packet).await?;
        let packet = self.receive().await?;
        let columns = match packet.first() {
            Some(0x00) => return Ok(Vec::new()),
            Some(0xff) => return Err(self.complaint(&packet, classify_query)),
            // 0xfb asks for a file of ours.
            Some(count @ 1..=250) if packet.len() == 1 && usize::from(*count) <= COLUMNS_MAX => {
                usize::from(*count)
            }
            _ => return Err(self.odd()),
        };
        for _ in 0..columns {
            self.receive().await?;
        }
        if !is_end(&self.receive().await?) {
            return Err(self.odd());
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.receive().await?;
            match packet.first() {
                _ if is_end(&packet) => return Ok(rows),
                Some(0xff) => return Err(self.complaint(&packet, classify_query)),
                _ if rows.len() == ROWS_MAX => {
                    let words = format!("{} answers with more than {ROWS_MAX} rows", self.address);
                    return Err(Failure::rubbish(words).into());
                }
                _ => rows.push(row(&packet, columns).ok_or_else(|| self.odd())?),
            }
        }
    }

    /// Sends a packet, whose header is put before it.
    async fn send(&mut self, payload: &mut Vec<u8>) -> Result<(), Failure> {
        let length = u32::try_from(payload.len()).expect("what we send is short").to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], self.sequence];
        packet.append(payload);
        self.sequence = self.sequence.wrapping_add(1);
        let sent = async {
            self.wire.write_all(&packet).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|error| talk(&error, &self.address, false))
    }

    async fn receive(&mut self) -> Result<Vec<u8>, Failure> {
        let failed = |error: io::Error, heard| talk(&error, &self.address, heard);
        let heard = self.meter.heard();
        let mut header = [0; 4];
        self.wire.read_exact(&mut header).await.map_err(|error| match error.kind() {
            // Between two packets: it is gone, and has not said half a word.
            io::ErrorKind::UnexpectedEof => failed(error, false),
            _ => failed(error, heard),
        })?;
        let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
        if length > PACKET_BYTES_MAX {
            return Err(self.odd().failure);
        }
        self.sequence = header[3].wrapping_add(1);
        let mut payload = vec![0; length];
        self.wire.read_exact(&mut payload).await.map_err(|error| failed(error, true))?;
        Ok(payload)
    }

    /// It speaks, and what it says is another protocol.
    fn odd(&self) -> MysqlFailure {
        Failure::rubbish(format!("{} answers what a MySQL server would not", self.address)).into()
    }

    /// An ERR packet: number, `#` and SQL state, words.
    fn complaint(&self, packet: &[u8], classify: fn(u16, String) -> Failure) -> MysqlFailure {
        let (Some(code), Some(rest)) = (packet.get(1..3), packet.get(3..)) else { return self.odd() };
        let code = u16::from_le_bytes([code[0], code[1]]);
        let rest = match rest.first() {
            Some(b'#') => rest.get(6..).unwrap_or_default(),
            _ => rest,
        };
        let said: String =
            String::from_utf8_lossy(rest).chars().filter(|c| !c.is_control()).take(200).collect();
        let words = format!("{} says: {said} (error {code})", self.address);
        MysqlFailure { failure: classify(code, words), code: Some(code) }
    }
}

/// What a server says instead of letting us in (MySQL, "Server Error Message Reference").
fn classify_login(code: u16, words: String) -> Failure {
    match code {
        // Shutting down.
        1053 | 1077 | 1079 => Failure::refused(words),
        // It knows us not, blocks us, or has no room for us.
        _ => Failure::denied(words),
    }
}

fn classify_query(code: u16, words: String) -> Failure {
    match code {
        1053 | 1077 | 1079 => Failure::refused(words),
        // No rights to ask, or no room for an answer.
        1044 | 1045 | 1142 | 1143 | 1203 | 1226 | 1227 => Failure::denied(words),
        // Interrupted, killed, or its own timeout.
        1205 | 1317 | 1927 | 3024 => Failure::silent(words),
        _ => Failure::rubbish(words),
    }
}

/// The first 32 bytes of a login, which are an SSL request if nothing follows.
fn login_head(flags: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(128);
    head.extend_from_slice(&flags.to_le_bytes());
    head.extend_from_slice(&SENT_BYTES_MAX.to_le_bytes());
    head.push(CHARSET);
    head.resize(32, 0);
    head
}

/// What a server says first.
#[derive(PartialEq, Eq, Debug)]
struct Greeting {
    version: String,
    id: u32,
    flags: u32,
    nonce: Vec<u8>,
    plugin: String,
}

impl Greeting {
    fn parse(packet: &[u8]) -> Option<Self> {
        let (10, rest) = packet.split_first().map(|(version, rest)| (*version, rest))? else { return None };
        let end = rest.iter().position(|byte| *byte == 0)?;
        let version = String::from_utf8_lossy(&rest[..end]).into_owned();
        let rest = rest.get(end + 1..)?;
        let id = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        let mut nonce = rest.get(4..12)?.to_vec();
        let low = u16::from_le_bytes(rest.get(13..15)?.try_into().ok()?);
        let high = u16::from_le_bytes(rest.get(18..20)?.try_into().ok()?);
        let length = usize::from(*rest.get(20)?);
        // Ten bytes of nothing, then the rest of the nonce, 13 bytes at the least, the last a zero.
        let more = length.saturating_sub(8).max(13);
        let second = rest.get(31..31 + more)?;
        nonce.extend_from_slice(second.strip_suffix(&[0]).unwrap_or(second));
        let plugin = rest.get(31 + more..)?.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            version,
            id,
            flags: u32::from(low) | u32::from(high) << 16,
            nonce,
            plugin: String::from_utf8_lossy(plugin).into_owned(),
        })
    }
}

/// An EOF packet, which also ends a list.
fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// Proves that we know a password to one who has sent this nonce.
fn scramble(plugin: &str, password: &str, nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let algorithm = if plugin == SHA2 { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY };
    let hash = |parts: &[&[u8]]| -> Digest {
        let mut context = Context::new(algorithm);
        for part in parts {
            context.update(part);
        }
        context.finish()
    };
    let once = hash(&[password.as_bytes()]);
    let twice = hash(&[once.as_ref()]);
    // The two differ in what comes first.
    let mask = match plugin {
        SHA2 => hash(&[twice.as_ref(), nonce]),
        _ => hash(&[nonce, twice.as_ref()]),
    };
    once.as_ref().iter().zip(mask.as_ref()).map(|(one, other)| one ^ other).collect()
}

/// A row of texts, each with its length before it.
fn row(mut packet: &[u8], columns: usize) -> Option<Row> {
    let mut row = Vec::with_capacity(columns);
    for _ in 0..columns {
        let (first, rest) = packet.split_first()?;
        let (length, rest) = match first {
            0xfb => {
                row.push(None);
                packet = rest;
                continue;
            }
            0xfc => (u64::from(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?)), rest.get(2..)?),
            0xfd => {
                let bytes = rest.get(..3)?;
                (u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])), rest.get(3..)?)
            }
            0xfe | 0xff => return None,
            short => (u64::from(*short), rest),
        };
        let length = usize::try_from(length).ok()?;
        row.push(Some(String::from_utf8_lossy(rest.get(..length)?).into_owned()));
        packet = rest.get(length..)?;
    }
    packet.is_empty().then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_greeting() {
        // As MariaDB 10.11 sends it (its version carries an old prefix).
        let mut packet = vec![10];
        packet.extend_from_slice(b"5.5.5-10.11.19-MariaDB\0");
        packet.extend_from_slice(&7u32.to_le_bytes());
        packet.extend_from_slice(b"abcdefgh\0");
        packet.extend_from_slice(&[0xfe, 0xf7, 45, 2, 0, 0xff, 0x81, 21]);
        packet.extend_from_slice(&[0; 10]);
        packet.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
        let greeting = Greeting::parse(&packet).unwrap();
        assert_eq!((greeting.id, greeting.nonce.as_slice()), (7, b"abcdefghijklmnopqrst".as_slice()));
        assert_eq!((greeting.plugin.as_str(), greeting.flags), (NATIVE, 0x81ff_f7fe));
        for cut in 0..packet.len() - NATIVE.len() - 1 {
            assert_eq!(Greeting::parse(&packet[..cut]), None, "{cut}");
        }
        assert_eq!(Greeting::parse(b"SSH-2.0-OpenSSH_9.2p1"), None);
    }

    #[test]
    fn proves_what_the_servers_can_verify() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // A server keeps H(H(password)); from the proof it gets H(password) back, and hashes it.
        let nonce = b"01234567890123456789";
        for (plugin, algorithm) in [(NATIVE, &SHA1_FOR_LEGACY_USE_ONLY), (SHA2, &SHA256)] {
            let hash = |bytes: &[u8]| ring::digest::digest(algorithm, bytes).as_ref().to_vec();
            let kept = hash(&hash(b"secret"));
            let mask = match plugin {
                SHA2 => hash(&[kept.clone(), nonce.to_vec()].concat()),
                _ => hash(&[nonce.to_vec(), kept.clone()].concat()),
            };
            let proof = scramble(plugin, "secret", nonce);
            let once: Vec<u8> = proof.iter().zip(&mask).map(|(one, other)| one ^ other).collect();
            assert_eq!(hex(&hash(&once)), hex(&kept), "{plugin}");
            assert!(scramble(plugin, "", nonce).is_empty());
        }
    }

    #[test]
    fn reads_rows() {
        let packet = [b"\x03abc".as_slice(), b"\xfb", b"\xfc\x04\x00long", b"\x00"].concat();
        let expected = vec![Some("abc".to_owned()), None, Some("long".to_owned()), Some(String::new())];
        assert_eq!(row(&packet, 4), Some(expected));
        assert_eq!(row(&packet, 3), None);
        for cut in 0..packet.len() {
            assert_eq!(row(&packet[..cut], 4), None);
        }
    }
}
