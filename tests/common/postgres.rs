//! Real PostgreSQL servers on loopback: a primary, and standbys that stream from it.
//!
//! Roles of every cluster: `postgres` (superuser, trusted, for the tests themselves), `repl`
//! (replication), `pointsman` (password `points`, the rights that the manual asks for and no
//! more), `app` (password `apples`, owns table `orders`), `web` (trusted, no password).

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pointsman::base::{Secret, SecretRef};
use pointsman::config::{HostPort, PostgresTarget, PostgresTls};
use rustix::process::Signal;
use tokio_postgres::NoTls;

use super::{Program, Scratch, find, now, ports, until};

const DEBIAN: &[&str] =
    &["/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"];

/// One PostgreSQL server.
pub struct Postgres {
    pub port: u16,
    name: String,
    data: PathBuf,
    scratch: Arc<Scratch>,
    program: Option<Program>,
    binaries: PathBuf,
}

impl Postgres {
    /// Makes a new database system and starts it. `None`: PostgreSQL is not installed.
    pub fn primary(name: &str) -> Option<Self> {
        Self::primary_with(name, &[])
    }

    /// The same, with lines for postgresql.conf.
    pub fn primary_with(name: &str, settings: &[&str]) -> Option<Self> {
        let binaries = find("initdb", "postgresql-15", DEBIAN)?;
        let binaries = binaries.canonicalize().unwrap().parent().unwrap().to_owned();
        let scratch = Arc::new(Scratch::new("postgres"));
        give_away(scratch.path());
        let data = scratch.path().join(name);
        let log = scratch.path().join("initdb.log");
        let mut initdb = command(&binaries.join("initdb"));
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-N", "--locale=C", "-E", "UTF8"]);
        run(&mut initdb, &log);
        std::fs::write(
            data.join("pg_hba.conf"),
            "host all postgres 127.0.0.1/32 trust\n\
             host all web 127.0.0.1/32 trust\n\
             host replication repl 127.0.0.1/32 trust\n\
             host all all 127.0.0.1/32 scram-sha-256\n",
        )
        .unwrap();
        let mut primary =
            Self { port: ports::free(), name: name.to_owned(), data, scratch, program: None, binaries };
        primary.configure(settings);
        primary.start();
        primary.sql(
            "CREATE ROLE repl REPLICATION LOGIN;
             CREATE ROLE pointsman LOGIN CREATEROLE PASSWORD 'points';
             GRANT pg_monitor, pg_signal_backend TO pointsman;
             GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO pointsman;
             GRANT CREATE ON DATABASE postgres TO pointsman;
             CREATE ROLE app LOGIN PASSWORD 'apples';
             CREATE ROLE web LOGIN;
             CREATE ROLE archive NOLOGIN;
             CREATE TABLE orders (id bigserial PRIMARY KEY, note text, at timestamptz DEFAULT clock_timestamp());
             ALTER TABLE orders OWNER TO app;
             GRANT ALL ON orders TO web;
             GRANT ALL ON SEQUENCE orders_id_seq TO web",
        );
        Some(primary)
    }

    fn configure(&self, settings: &[&str]) {
        let port = self.port;
        let mut lines = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
             fsync = off\nmax_connections = 40\nshared_buffers = 16MB\nwal_level = replica\nwal_log_hints = on\n\
             hot_standby = on\nmax_wal_senders = 8\nwal_keep_size = 256MB\nmax_prepared_transactions = 4\n\
             wal_retrieve_retry_interval = 200ms\nlog_line_prefix = '%m [%p] %u %a '\n",
        );
        for setting in settings {
            lines.push_str(setting);
            lines.push('\n');
        }
        std::fs::write(self.data.join("postgresql.conf"), lines).unwrap();
    }

    /// A standby that streams from this server, running.
    pub fn standby(&self, name: &str) -> Self {
        let mut standby = Self {
            port: ports::free(),
            name: name.to_owned(),
            data: self.scratch.path().join(name),
            scratch: Arc::clone(&self.scratch),
            program: None,
            binaries: self.binaries.clone(),
        };
        standby.copy_from(self);
        standby.start();
        standby
    }

    fn copy_from(&mut self, primary: &Self) {
        let _ = std::fs::remove_dir_all(&self.data);
        let mut copy = command(&self.binaries.join("pg_basebackup"));
        copy.arg("-D")
            .arg(&self.data)
            .args(["-X", "stream", "-c", "fast", "-R", "--no-sync"])
            .arg("-d")
            .arg(format!("host=127.0.0.1 port={} user=repl application_name={}", primary.port, self.name));
        run(&mut copy, &self.scratch.path().join("basebackup.log"));
        self.configure(&[]);
    }

    /// Rewinds a stopped old primary, so that it follows another one.
    pub fn rewind_to_follow(&mut self, primary: &Self) {
        let mut rewind = command(&self.binaries.join("pg_rewind"));
        rewind
            .arg("-D")
            .arg(&self.data)
            .args(["-R", "--no-sync", "--source-server"])
            .arg(format!("host=127.0.0.1 port={} user=postgres dbname=postgres", primary.port));
        run(&mut rewind, &self.scratch.path().join("rewind.log"));
        self.configure(&[]);
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self) {
        self.launch();
        let (postgres, this) = (self.binaries.join("psql"), &*self);
        until("PostgreSQL to start", Duration::from_secs(60), || {
            assert!(this.program.is_some());
            let mut ask = Command::new(&postgres);
            ask.args(["-X", "-At", "-c", "SELECT 1", &this.superuser()]).env("PGCONNECT_TIMEOUT", "2");
            ask.output().is_ok_and(|output| output.status.success())
        });
    }

    /// Starts it without waiting.
    pub fn launch(&mut self) {
        let mut server = command(&self.binaries.join("postgres"));
        server.arg("-D").arg(&self.data);
        let log = self.scratch.path().join(format!("{}.log", self.name));
        self.program = Some(Program::start(&mut server, &self.name, &log));
    }

    /// A connection string for the superuser.
    pub fn superuser(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port)
    }

    /// Runs SQL as the superuser; the last result's lines, columns separated by `|`.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }

    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-X", "-At", "-q", "-v", "ON_ERROR_STOP=1", &self.superuser(), "-c", sql]);
        let output = psql.env("PGCONNECT_TIMEOUT", "5").output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// Runs SQL as the superuser, without waiting for it to end.
    pub fn psql(&self, sql: &str) -> Program {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-X", "-q", &self.superuser(), "-c", sql]);
        Program::start(&mut psql, "psql", &self.scratch.path().join("psql.log"))
    }

    /// Every process of the server stops where it stands; the kernel goes on accepting
    /// connections for it.
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let postmaster = self.program.as_ref().unwrap();
        // The postmaster first: it must not notice what happens to its children.
        postmaster.signal(signal);
        for child in children(postmaster.pid()) {
            if let Some(pid) = rustix::process::Pid::from_raw(child) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }

    /// As if the machine lost power: every process is killed.
    pub fn kill(&mut self) {
        let Some(mut program) = self.program.take() else { return };
        let children = children(program.pid());
        program.kill();
        for child in children {
            if let Some(pid) = rustix::process::Pid::from_raw(child) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        let _ = std::fs::remove_file(self.data.join("postmaster.pid"));
        // The port is free again once the children are gone too.
        until("the server's processes to go", Duration::from_secs(20), || {
            std::net::TcpListener::bind(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// A fast shutdown, as for maintenance.
    pub fn shut_down(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.signal(Signal::INT);
            program.wait();
        }
    }

    /// A shutdown that waits for those who are logged in, and lets nobody else in.
    pub fn smart_shut_down(&self) {
        self.program.as_ref().unwrap().signal(Signal::TERM);
    }

    /// Adds lines to postgresql.conf; they hold from the next start.
    pub fn add_settings(&self, settings: &[&str]) {
        let path = self.data.join("postgresql.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{}\n", settings.join("\n"))).unwrap();
    }

    /// Starts it again with TLS, on every address of loopback, clear text no longer accepted.
    pub fn use_certificate(&mut self, (certificate, key): &(PathBuf, PathBuf)) {
        self.shut_down();
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.data.join(name);
            std::fs::copy(from, &to).unwrap();
            std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            give_away(&to);
        }
        std::fs::write(
            self.data.join("pg_hba.conf"),
            "host all postgres 127.0.0.0/8 trust\nhostssl all all 127.0.0.0/8 scram-sha-256\n",
        )
        .unwrap();
        self.add_settings(&["ssl = on", "listen_addresses = '127.0.0.1,127.0.0.2'"]);
        self.start();
    }

    /// Keeps the server from making files in its directory, such as the one that asks for a
    /// promotion, or lets it again.
    pub fn block_promotion(&self, block: bool) {
        let mode = if block { 0o500 } else { 0o700 };
        std::fs::set_permissions(&self.data, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }

    /// How to reach it as `pointsman`.
    pub fn target(&self) -> PostgresTarget {
        self.target_as("pointsman")
    }

    pub fn target_as(&self, user: &str) -> PostgresTarget {
        PostgresTarget {
            address: HostPort { host: "127.0.0.1".to_owned(), port: self.port },
            user: user.to_owned(),
            database: "postgres".to_owned(),
            tls: PostgresTls::Disable,
        }
    }

    /// A file that holds a password.
    pub fn password(&self, name: &str, value: &str) -> SecretRef {
        let path = self.scratch.path().join(format!("password-{name}"));
        std::fs::write(&path, Secret::new(value).reveal()).unwrap();
        SecretRef::File(path)
    }

    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// How often it was told to become the writer, as its own log has it.
    pub fn times_promoted(&self) -> usize {
        let log = self.scratch.path().join(format!("{}.log", self.name));
        std::fs::read_to_string(log).unwrap().matches("received promote request").count()
    }

    /// The timelines that it has begun or followed, after the first: one file for each.
    pub fn histories(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.data.join("pg_wal")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".history")).collect();
        names.sort();
        names
    }

    /// Waits until a standby has replayed what this server has written so far.
    pub fn wait_for(&self, standby: &Self) {
        let end = self.sql("SELECT pg_current_wal_lsn()");
        until("the standby to catch up", Duration::from_secs(30), || {
            standby.sql(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn")) == "t"
        });
    }

    /// An application that writes here in a loop, a few rows per connection, until told to stop.
    pub fn writer(&self, user: &'static str) -> Writer {
        Writer::start(self.port, user, 20)
    }

    /// One that keeps its connection for as long as it can.
    pub fn writer_that_stays(&self, user: &'static str) -> Writer {
        Writer::start(self.port, user, usize::MAX)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.block_promotion(false);
        self.kill();
    }
}

/// An application that connects and writes, over and over, and notes when each write was sent
/// and when it was acknowledged.
pub struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Write>>,
}

/// One acknowledged write.
#[derive(Clone, Debug)]
pub struct Write {
    pub sent: Instant,
    pub acknowledged: Instant,
    pub note: String,
}

impl Writer {
    fn start(port: u16, user: &'static str, per_connection: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut writes = Vec::new();
            let mut n = 0;
            while !stopped.load(Ordering::Relaxed) {
                let session = async {
                    let string = format!(
                        "host=127.0.0.1 port={port} user={user} password=apples dbname=postgres connect_timeout=2"
                    );
                    let (client, connection) = tokio_postgres::connect(&string, NoTls).await?;
                    tokio::spawn(connection);
                    for _ in 0..per_connection {
                        n += 1;
                        let note = format!("{port}-{n}");
                        let sent = now();
                        client.execute("INSERT INTO orders (note) VALUES ($1)", &[&note]).await?;
                        writes.push(Write { sent, acknowledged: now(), note });
                        if stopped.load(Ordering::Relaxed) {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    Ok::<(), tokio_postgres::Error>(())
                };
                if session.await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            writes
        });
        Self { stop, task }
    }

    /// Stops it; every write that was acknowledged.
    pub async fn stop(self) -> Vec<Write> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").current_dir("/");
    if let Some((user, group)) = servant() {
        command.uid(user).gid(group);
    }
    command
}

fn run(command: &mut Command, log: &Path) {
    let mut program = Program::start(command, "a tool of PostgreSQL", log);
    program.wait();
    let output = std::fs::read_to_string(log).unwrap_or_default();
    assert!(program.succeeded(), "{command:?}: {output}");
}

/// PostgreSQL refuses to run as root: then `postgres`, or else `nobody`, does.
fn servant() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let entry = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(entry("postgres").or_else(|| entry("nobody")).expect("a user that is not root"))
}

fn give_away(path: &Path) {
    if let Some((user, group)) = servant() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

fn children(parent: u32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(&parent.to_string())
    })
    .collect()
}
