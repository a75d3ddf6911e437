//! Members of a real Galera cluster: MariaDB with Galera 4, as Debian has them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::net::Net;
use super::scene::System;
use super::{Program, find, until};

const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";
/// Comes with the server.
const USER: &str = "mysql";
/// One statement per line, as a server reads them while it is set up. The role that watches has
/// no rights at all.
const USERS: &str = "FLUSH PRIVILEGES;\nCREATE USER watch@'%' IDENTIFIED BY 'w4tch';\nCREATE DATABASE shop;\n\
     CREATE TABLE shop.stock (id INT PRIMARY KEY, n BIGINT);\nINSERT INTO shop.stock VALUES (1, 0);\n";

pub struct Galera {
    server: PathBuf,
    client: PathBuf,
    arbitrator: Option<PathBuf>,
    /// Hosts with data; an arbitrator is on the last one, if there is one more.
    members: usize,
    /// Nobody has been started yet.
    first: bool,
}

impl Galera {
    /// `None`: not installed.
    pub fn find(members: usize, arbitrator: bool) -> Option<Self> {
        find("libgalera_smm.so", "galera-4", &["/usr/lib/galera"])?;
        find("rsync", "rsync", &[])?;
        let arbitrator = match arbitrator {
            true => Some(find("garbd", "galera-arbitrator-4", &["/usr/bin"])?),
            false => None,
        };
        Some(Self {
            server: find("mariadbd", "mariadb-server", &["/usr/sbin"])?,
            client: find("mariadb", "mariadb-client", &[])?,
            arbitrator,
            members,
            first: true,
        })
    }

    /// A server's empty data, with the users and tables of the tests, for the first one.
    pub fn seed(directory: &Path) {
        let seed = directory.join("seed");
        std::fs::write(directory.join("users.sql"), USERS).unwrap();
        let install = find("mariadb-install-db", "mariadb-server", &[]).expect("it comes with the server");
        let output = Command::new(install)
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", seed.display()))
            .arg(format!("--extra-file={}", directory.join("users.sql").display()))
            .args(["--user=root", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=8M"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn peers(&self, net: &Net) -> String {
        (0..self.members).map(|host| net.address(host)).collect::<Vec<_>>().join(",")
    }

    /// Asks a member as root over its socket.
    pub fn sql(&self, directory: &Path, host: usize, sql: &str) -> Option<String> {
        let output = Command::new(&self.client)
            .args(["--no-defaults", "-uroot", "-Nse", sql, "--connect-timeout=2", "-S"])
            .arg(directory.join(format!("n{host}/s")))
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub fn until_synced(&self, directory: &Path, host: usize) {
        until("a member to be synced", Duration::from_secs(60), || {
            let state = self.sql(directory, host, "SHOW STATUS LIKE 'wsrep_local_state_comment'");
            state.is_some_and(|state| state.ends_with("Synced"))
        });
    }
}

impl System for Galera {
    fn start(&mut self, net: &Net, host: usize, directory: &Path) -> Vec<Program> {
        let (own, log) = (directory.join(format!("n{host}")), directory.join(format!("n{host}.log")));
        let address = net.address(host);
        if host == self.members {
            let mut garbd = net.on(host, self.arbitrator.as_ref().unwrap().to_str().unwrap());
            garbd.args(["--group", "shop", "--address", &format!("gcomm://{}", self.peers(net))]);
            garbd.args(["--options", &format!("gmcast.listen_addr=tcp://{address}:4567")]);
            // It writes down who is in the group where it stands.
            garbd.current_dir(directory);
            return vec![Program::start(&mut garbd, "garbd", &log)];
        }
        if !own.exists() {
            if self.first {
                std::fs::rename(directory.join("seed"), &own).unwrap();
            } else {
                // The others are sent all there is.
                std::fs::create_dir(&own).unwrap();
            }
            let given = Command::new("chown").args(["-R", USER]).arg(&own).status().unwrap();
            assert!(given.success());
        }
        let provider = format!(
            "gmcast.listen_addr=tcp://{address}:4567;ist.recv_addr={address}:4568;gcache.size=16M;base_dir={}",
            own.display()
        );
        // Not as root: what rsync then sends to others could not be written there.
        let mut server = net.on(host, "setpriv");
        server.args([&format!("--reuid={USER}"), "--clear-groups"]).arg(&self.server);
        server.args(["--no-defaults", "--port=3306", "--skip-name-resolve"]);
        server.args([
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
            "--innodb-flush-log-at-trx-commit=0",
        ]);
        server.args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--wsrep-on=ON"]);
        server.args(["--wsrep-cluster-name=shop", "--wsrep-sst-method=rsync"]);
        server.arg(format!("--datadir={}", own.display()));
        server.arg(format!("--socket={}", own.join("s").display()));
        server.arg(format!("--pid-file={}", own.join("pid").display()));
        server.arg(format!("--bind-address={address}"));
        server.arg(format!("--wsrep-provider={PROVIDER}"));
        server.arg(format!("--wsrep-provider-options={provider}"));
        server.arg(format!("--wsrep-cluster-address=gcomm://{}", self.peers(net)));
        server.arg(format!("--wsrep-node-address={address}"));
        server.arg(format!("--wsrep-node-name=n{host}"));
        server.arg(format!("--wsrep-sst-receive-address={address}:4444"));
        if std::mem::take(&mut self.first) {
            server.arg("--wsrep-new-cluster");
        }
        vec![Program::start(&mut server, "mariadbd", &log)]
    }

    fn options(&self, directory: &Path) -> String {
        let password = directory.join("password");
        std::fs::write(&password, "w4tch\n").unwrap();
        let arbitrators = usize::from(self.arbitrator.is_some());
        format!(
            "  store:
    galera:
      user: watch
      password: {{file: \"{}\"}}
      arbitrators: {arbitrators}
      time_to_truth: 3s
      across:
MEMBERS
",
            password.display()
        )
    }

    fn members(&self, net: &Net, host: usize) -> Vec<String> {
        if host < self.members { vec![format!("{}:3306", net.address(host))] } else { Vec::new() }
    }
}
