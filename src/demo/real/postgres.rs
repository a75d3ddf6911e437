//! A PostgreSQL primary in eu-west and a standby in us-east that streams from it.
//!
//! Every role has a password, the same random one: whoever else is logged in on this machine
//! must not become a superuser of a server that runs as the user `postgres`.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;

use super::START_MAX;
use super::program::{Program, command};
use super::tools::Tools;
use crate::base::SecretRef;
use crate::config::{HostPort, PostgresTls};
use crate::demo::directory::Directory;
use crate::demo::ports;
use crate::demo::world::{REGIONS, Region};
use crate::io::postgres::{Login, Session, SqlFailure};
use crate::io::{Clock, Contact, Net};

const DATABASE: &str = "petstore";
/// For how long a login, or a write of the client's, may take.
const WRITE_MAX: Duration = Duration::from_secs(2);

/// Small, and quick to start: nothing of this must survive a power cut. With the hints in the
/// log an old primary can be rewound (PostgreSQL, pg_rewind), and it must still have the log
/// from before the promotion.
const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "shared_buffers=16MB",
    "max_connections=40",
    "wal_log_hints=on",
    "wal_keep_size=128MB",
    "wal_retrieve_retry_interval=200ms",
];

/// The rights that the `database` agent needs, an application role, and its table.
const ROLES: &str = "
CREATE ROLE repl REPLICATION LOGIN PASSWORD '{password}';
CREATE ROLE app LOGIN PASSWORD '{password}';
CREATE ROLE pointsman LOGIN CREATEROLE PASSWORD '{password}';
GRANT pg_monitor, pg_signal_backend TO pointsman;
GRANT app TO pointsman WITH ADMIN OPTION;
GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO pointsman;
GRANT CREATE ON DATABASE petstore TO pointsman;
CREATE TABLE orders (number bigint PRIMARY KEY, taken_in text NOT NULL);
ALTER TABLE orders OWNER TO app;";

/// Both servers. They end on drop.
#[derive(Debug)]
pub struct Servers {
    tools: Tools,
    directory: Arc<Directory>,
    ports: [u16; 2],
    programs: Mutex<[Option<Program>; 2]>,
    /// The client's sessions: kept for as long as they can be, as an application's pool does.
    sessions: Mutex<[Option<Session>; 2]>,
    net: Net,
}

impl Servers {
    /// Makes a database, starts the primary and a standby that follows it.
    ///
    /// # Errors
    /// Something of this fails.
    pub async fn start(tools: &Tools, directory: &Arc<Directory>) -> Result<Self, String> {
        let servers = Self {
            tools: tools.clone(),
            directory: Arc::clone(directory),
            ports: [ports::free()?, ports::free()?],
            programs: Mutex::default(),
            sessions: Mutex::default(),
            net: Net::new(),
        };
        let password = servers.prepare().map_err(|why| format!("cannot prepare for PostgreSQL: {why}"))?;
        let [west, east] = REGIONS;

        let mut initdb = servers.command("initdb");
        initdb.arg("-D").arg(servers.data(west)).arg("--pwfile").arg(servers.password_file());
        initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-N", "--locale=C", "-E", "UTF8"]);
        Program::run(&mut initdb, "initdb", directory).await?;
        servers.launch(west, "postgres", "SELECT 1").await?;
        servers.superuser(west, "postgres", &format!("CREATE DATABASE {DATABASE}")).await?;
        servers.superuser(west, DATABASE, &ROLES.replace("{password}", &password)).await?;

        let mut copy = servers.command("pg_basebackup");
        copy.arg("-D").arg(servers.data(east)).args(["-X", "stream", "-c", "fast", "--no-sync", "-d"]);
        copy.arg(format!("host=127.0.0.1 port={} user=repl", servers.port(west)));
        Program::run(&mut copy, "pg_basebackup", directory).await?;
        servers.follow(east).await?;
        Ok(servers)
    }

    /// The ports of both.
    pub fn ports(&self) -> [u16; 2] {
        self.ports
    }

    /// A client's write; whether it was taken.
    pub async fn write(&self, region: Region, number: i64) -> bool {
        const WRITE: &str = "INSERT INTO orders VALUES ($1, $2)";
        let session = &mut self.sessions.lock().await[region as usize];
        if session.is_none() {
            *session = self.log_in(region, DATABASE, "app").await.ok();
        }
        let Some(open) = session else { return false };
        let written = open.query(WRITE, &[&number, &region.name()], Clock.deadline(WRITE_MAX)).await;
        match written {
            Ok(_) => true,
            // A standby: the session may stay, and writes as soon as the server takes writes.
            Err(why) if why.is(&SqlState::READ_ONLY_SQL_TRANSACTION) => false,
            Err(_) => {
                *session = None;
                false
            }
        }
    }

    /// Rewinds the server of a region to the point where the other one was promoted, and starts
    /// it as that one's standby.
    ///
    /// # Errors
    /// Something of this fails.
    pub async fn rewind(&self, region: Region) -> Result<(), String> {
        // Until a checkpoint a server does not say on disk that it was promoted.
        self.superuser(region.other(), DATABASE, "CHECKPOINT").await?;
        if let Some(mut old) = self.programs.lock().await[region as usize].take() {
            // A fast shutdown: pg_rewind wants a server that has ended well.
            old.signal(Signal::INT);
            old.wait(START_MAX).await;
        }
        let mut rewind = self.command("pg_rewind");
        let source =
            format!("host=127.0.0.1 port={} user=postgres dbname={DATABASE}", self.port(region.other()));
        rewind.arg("-D").arg(self.data(region)).args(["--no-sync", "--source-server", &source]);
        Program::run(&mut rewind, "pg_rewind", &self.directory).await?;
        self.follow(region).await
    }

    /// How often a server of this pair was promoted: each time begins a timeline.
    ///
    /// # Errors
    /// The region's server cannot be asked.
    pub async fn promotions(&self, writer: Region) -> Result<u64, String> {
        const TIMELINE: &str =
            "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint - 1";
        self.count(writer, TIMELINE, &[]).await
    }

    /// How many of these writes a region's server has.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn holds(&self, region: Region, numbers: &[i64]) -> Result<u64, String> {
        self.count(region, "SELECT count(*) FROM orders WHERE number = ANY ($1)", &[&numbers]).await
    }

    async fn count(
        &self,
        region: Region,
        sql: &str,
        params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<u64, String> {
        let fail = |why: SqlFailure| format!("PostgreSQL in {}: {why}", region.name());
        let session = self.log_in(region, DATABASE, "postgres").await.map_err(fail)?;
        let row = session.row(sql, params, Clock.deadline(START_MAX)).await.map_err(fail)?;
        let count: i64 = row.try_get(0).map_err(|why| why.to_string())?;
        u64::try_from(count).map_err(|why| why.to_string())
    }

    /// Makes the directory and the files with the password, as the one who runs the servers.
    fn prepare(&self) -> std::io::Result<String> {
        let random = ring::rand::generate::<[u8; 16]>(&ring::rand::SystemRandom::new())
            .map_err(|_| std::io::Error::other("no randomness for a password"))?;
        let password = format!("{:032x}", u128::from_ne_bytes(random.expose()));
        let root = self.root();
        fs::DirBuilder::new().mode(0o700).create(&root)?;
        self.give_away(&root)?;
        for (path, text) in [
            (self.password_file(), password.clone()),
            // libpq, "The Password File": host, port, database, user.
            (root.join("pgpass"), format!("*:*:*:*:{password}")),
        ] {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            writeln!(file, "{text}")?;
            self.give_away(&path)?;
        }
        Ok(password)
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("postgres")
    }

    /// Where the password lies; the daemon's configuration names it too.
    pub fn password_file(&self) -> PathBuf {
        self.root().join("password")
    }

    fn data(&self, region: Region) -> PathBuf {
        self.root().join(region.name())
    }

    fn port(&self, region: Region) -> u16 {
        self.ports[region as usize]
    }

    fn give_away(&self, path: &Path) -> std::io::Result<()> {
        match self.tools.servant {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(&self.tools.postgres.join(program), self.tools.servant);
        command.env("PGPASSFILE", self.root().join("pgpass"));
        command
    }

    /// Starts a server as the other one's standby, and waits until it streams.
    async fn follow(&self, region: Region) -> Result<(), String> {
        let signal = self.data(region).join("standby.signal");
        let made = fs::File::create(&signal).and_then(|_| self.give_away(&signal));
        made.map_err(|why| format!("{}: {why}", signal.display()))?;
        self.launch(region, DATABASE, "SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'").await
    }

    /// Starts a server, and waits until it answers a question with a row.
    async fn launch(&self, region: Region, database: &str, question: &str) -> Result<(), String> {
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.data(region));
        let upstream = format!(
            "primary_conninfo=host=127.0.0.1 port={} user=repl application_name={}",
            self.port(region.other()),
            region.name()
        );
        for setting in SETTINGS.into_iter().chain([&*format!("port={}", self.port(region)), &*upstream]) {
            postgres.args(["-c", setting]);
        }
        let name = format!("postgres-{}", region.name());
        let mut program = Program::start(&mut postgres, &name, &self.directory)?;
        let answers = async || match self.log_in(region, database, "postgres").await {
            Ok(session) => {
                let rows = session.query(question, &[], Clock.deadline(WRITE_MAX)).await;
                rows.is_ok_and(|rows| !rows.is_empty())
            }
            Err(_) => false,
        };
        program.until_ready(answers).await?;
        self.programs.lock().await[region as usize] = Some(program);
        Ok(())
    }

    async fn superuser(&self, region: Region, database: &str, sql: &str) -> Result<(), String> {
        let fail = |why: SqlFailure| format!("PostgreSQL in {}: {why}", region.name());
        let session = self.log_in(region, database, "postgres").await.map_err(fail)?;
        session.simple(sql, Clock.deadline(START_MAX)).await.map(drop).map_err(fail)
    }

    async fn log_in(&self, region: Region, database: &str, user: &str) -> Result<Session, SqlFailure> {
        let address = HostPort { host: "127.0.0.1".to_owned(), port: self.port(region) };
        let login = Login {
            address: &address,
            pinned: None,
            user,
            database,
            tls: PostgresTls::Disable,
            ca: None,
            password: Some(&SecretRef::File(self.password_file())),
            application_name: "pointsman demo",
        };
        Session::open(&mut Contact::new(WRITE_MAX), &self.net, &login).await
    }
}
