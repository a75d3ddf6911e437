//! A client for PostgreSQL: sessions that are bounded in time and memory, and end when dropped.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::tls::{ChannelBinding, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Connection, NoTls, Row, SimpleQueryMessage, SimpleQueryRow};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Close, Contact, Deadline, Failure, Metered, Net, TrustFiles, failure, read_secret, show};
use crate::base::SecretRef;
use crate::config::{HostPort, PostgresTls};

/// Bytes that one session may send us. What we ask for has a few lines.
const SESSION_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// For how long a session that is no longer needed may take to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

/// Where to log in, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Where.
    pub address: &'a HostPort,
    /// Rather at this very address: one of those that the name stands for.
    pub pinned: Option<SocketAddr>,
    /// Who.
    pub user: &'a str,
    /// To which database.
    pub database: &'a str,
    /// Whether over TLS, with the server's name verified.
    pub tls: PostgresTls,
    /// Whom to trust, as a PEM file.
    pub ca: Option<&'a Path>,
    /// The password.
    pub password: Option<&'a SecretRef>,
    /// What to call the session in `pg_stat_activity`.
    pub application_name: &'a str,
}

/// Why SQL failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqlFailure {
    /// Classified, with words for a person.
    pub failure: Failure,
    /// The error code, if it is the server's own word.
    pub state: Option<SqlState>,
    /// The routine of the server that raised it: unlike its message, it is never translated.
    pub routine: Option<String>,
}

impl fmt::Display for SqlFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl std::error::Error for SqlFailure {}

impl From<Failure> for SqlFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, state: None, routine: None }
    }
}

impl SqlFailure {
    /// Whether the server's own error code is this one.
    pub fn is(&self, state: &SqlState) -> bool {
        self.state.as_ref() == Some(state)
    }

    /// Whether the server has refused the login because the role may not log in: what a fence
    /// is for. The code alone could also be pg_hba.conf's word; the routine tells them apart
    /// (`InitializeSessionUserId` in miscinit.c raises it since PostgreSQL 7.3).
    pub fn not_permitted_to_log_in(&self) -> bool {
        self.is(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
            && self.routine.as_deref() == Some("InitializeSessionUserId")
    }

    fn of_login(error: &tokio_postgres::Error, login: &Login<'_>, heard: bool) -> Self {
        let peer = login.address;
        if let Some(db) = error.as_db_error() {
            return Self::of_database(db, |words| classify_login(db.code(), peer, words));
        }
        // The client has no public name for this: it was asked for a password and has none.
        if login.password.is_none() && failure::innermost(error) == "password missing" {
            let words = format!("{peer} wants a password of {}, and none is configured", login.user);
            return Failure::denied(words).into();
        }
        Self::of_talk(error, peer, heard)
    }

    fn of_query(error: &tokio_postgres::Error, peer: &HostPort) -> Self {
        match error.as_db_error() {
            Some(db) => Self::of_database(db, |words| classify_query(db.code(), peer, words)),
            None => Self::of_talk(error, peer, false),
        }
    }

    fn of_talk(error: &tokio_postgres::Error, peer: &HostPort, heard: bool) -> Self {
        match error.is_closed() {
            true => Failure::refused(format!("{peer} closed the connection")).into(),
            false => Failure::of_talk(error, peer, heard).into(),
        }
    }

    fn of_database(db: &DbError, classify: impl FnOnce(&str) -> Failure) -> Self {
        let words = match (db.detail(), db.hint()) {
            (Some(detail), _) => format!("{} ({detail})", db.message()),
            (None, Some(hint)) => format!("{} ({hint})", db.message()),
            (None, None) => db.message().to_owned(),
        };
        Self {
            failure: classify(&words),
            state: Some(db.code().clone()),
            routine: db.routine().map(str::to_owned),
        }
    }
}

/// What the server says instead of letting us in (PostgreSQL, appendix A).
fn classify_login(code: &SqlState, peer: &HostPort, words: &str) -> Failure {
    let words = format!("{peer} says: {words}");
    match code.code() {
        // Starting up, shutting down, in recovery without hot standby: nobody gets in.
        "57P01" | "57P02" | "57P03" => Failure::refused(words),
        // Not the protocol we speak.
        "0A000" => Failure::rubbish(words),
        // It knows us not (class 28, 3D000), or has no room for us (class 53), or a pooler in
        // front of it says so in its own way (08P01).
        _ => Failure::denied(words),
    }
}

fn classify_query(code: &SqlState, peer: &HostPort, words: &str) -> Failure {
    let words = format!("{peer} says: {words}");
    match code.code() {
        "57P01" | "57P02" | "57P03" => Failure::refused(words),
        // Cancelled, by us or by an administrator: lock_timeout, statement_timeout.
        "57014" | "55P03" => Failure::silent(words),
        "42501" => Failure::denied(words),
        code if code.starts_with("53") => Failure::denied(words),
        _ => Failure::rubbish(words),
    }
}

/// A session of a PostgreSQL server. Dropping it ends it, also in the middle of a statement.
pub struct Session {
    client: Client,
    address: HostPort,
    peer: SocketAddr,
    /// Dropped with the session: tells the task that moves the bytes to end.
    _alive: oneshot::Sender<()>,
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
    pub async fn open(contact: &mut Contact, net: &Net, login: &Login<'_>) -> Result<Self, SqlFailure> {
        let mut config = tokio_postgres::Config::new();
        config.user(login.user).dbname(login.database).application_name(login.application_name).ssl_mode(
            match login.tls {
                PostgresTls::Disable => SslMode::Disable,
                PostgresTls::Require => SslMode::Require,
            },
        );
        if let Some(place) = login.password {
            config.password(read_secret(place, contact.deadline()).await?.reveal());
        }
        let to = match login.pinned {
            Some(address) => HostPort { host: address.ip().to_string(), port: address.port() },
            None => login.address.clone(),
        };
        let stream = contact.connect(net, &to, Close::Gracefully).await?;
        let peer = stream.peer_addr().map_err(|error| Failure::of_connect(&error, login.address))?;
        let (stream, meter) = Metered::new(stream, SESSION_BYTES_MAX);

        let (alive, dropped) = oneshot::channel();
        let opened = match login.tls {
            PostgresTls::Disable => {
                let connecting = config.connect_raw(stream, NoTls);
                contact.deadline().bound(connecting).await.map(|opened| {
                    opened.map(|(client, connection)| {
                        move_bytes(connection, dropped);
                        client
                    })
                })
            }
            PostgresTls::Require => {
                let tls = tls(contact, net, login).await?;
                let connecting = config.connect_raw(stream, tls);
                contact.deadline().bound(connecting).await.map(|opened| {
                    opened.map(|(client, connection)| {
                        move_bytes(connection, dropped);
                        client
                    })
                })
            }
        };
        if let Some(moment) = meter.first_at() {
            contact.heard_at(moment);
        }
        match opened {
            Err(_) => Err(contact.silence().into()),
            Ok(Err(error)) => Err(SqlFailure::of_login(&error, login, meter.heard())),
            Ok(Ok(client)) => Ok(Self { client, address: login.address.clone(), peer, _alive: alive }),
        }
    }

    /// The address it is connected to.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Runs one or more statements without parameters; the rows of the last that gave any, as text.
    ///
    /// # Errors
    /// They fail, or do not end in time.
    pub async fn simple(&self, sql: &str, deadline: Deadline) -> Result<Vec<SimpleQueryRow>, SqlFailure> {
        let messages = self.wait(self.client.simple_query(sql), deadline).await?;
        let mut rows = Vec::new();
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => rows.push(row),
                SimpleQueryMessage::RowDescription(_) => rows.clear(),
                _ => {}
            }
        }
        Ok(rows)
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// It fails, or does not end in time.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        deadline: Deadline,
    ) -> Result<Vec<Row>, SqlFailure> {
        self.wait(self.client.query(sql, params), deadline).await
    }

    /// Runs one statement that gives one row.
    ///
    /// # Errors
    /// It fails, gives another number of rows, or does not end in time.
    pub async fn row(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        deadline: Deadline,
    ) -> Result<Row, SqlFailure> {
        self.wait(self.client.query_one(sql, params), deadline).await
    }

    async fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
        deadline: Deadline,
    ) -> Result<T, SqlFailure> {
        let given = deadline.left();
        match deadline.bound(work).await {
            Ok(done) => done.map_err(|error| SqlFailure::of_query(&error, &self.address)),
            Err(_) => {
                let words = format!("no answer to a statement from {} within {}", self.address, show(given));
                Err(Failure::silent(words).into())
            }
        }
    }
}

/// Runs the task that moves a session's bytes: until the server ends it, or the session is
/// dropped and the goodbye said. (By itself it would wait for the answer to a statement that
/// nobody waits for any more, forever.)
fn move_bytes<S, T>(connection: Connection<S, T>, dropped: oneshot::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let mut connection = std::pin::pin!(connection);
        // Errors of the connection reach whoever waits for a statement.
        tokio::select! {
            _ = &mut connection => {}
            _ = dropped => drop(tokio::time::timeout(GOODBYE, connection).await),
        }
    });
}

async fn tls(contact: &Contact, net: &Net, login: &Login<'_>) -> Result<Tls, Failure> {
    let trust = net.trust(&TrustFiles::ca(login.ca), contact.deadline()).await?;
    let host = login.address.host.clone();
    let name = ServerName::try_from(host)
        .map_err(|_| Failure::unmeasured(format!("{} is not a name that TLS can verify", login.address)))?;
    Ok(Tls { connector: TlsConnector::from(trust.config()), name })
}

/// TLS for a PostgreSQL session, the server's name verified (`verify-full`).
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<Metered<TcpStream>> for Tls {
    type Stream = Secured;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured>> + Send>>;

    fn connect(self, stream: Metered<TcpStream>) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, stream).await.map(Secured) })
    }
}

struct Secured(TlsStream<Metered<TcpStream>>);

impl tokio_postgres::tls::TlsStream for Secured {
    /// None: the name in a certificate of a CA that we were told to trust is proof enough.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
