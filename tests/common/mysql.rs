//! Members of a real MySQL group. Debian 12 has no MySQL: the programs are those of another
//! release, in a directory to change root to (`debootstrap sid DIR`, `mysql-server` in it), named by
//! `POINTSMAN_TEST_MYSQL_ROOT`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::net::Net;
use super::scene::System;
use super::{Program, until};

const GROUP: &str = "f3c1a5d2-0000-11f1-9aaa-0242ac110002";
const USERS: &str = "CREATE USER watch@'%' IDENTIFIED WITH caching_sha2_password BY 'w4tch';
GRANT SELECT ON performance_schema.replication_group_members TO watch@'%';
GRANT SELECT ON performance_schema.replication_group_member_stats TO watch@'%';
GRANT SELECT ON performance_schema.global_variables TO watch@'%';
CREATE USER repl@'%' IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO repl@'%';
";

pub struct Mysql {
    root: PathBuf,
    /// Inside it, where everything is.
    inside: String,
    hosts: usize,
}

impl Mysql {
    /// `None`: there is none, which was said.
    pub fn find(hosts: usize) -> Option<Self> {
        let root = std::env::var_os("POINTSMAN_TEST_MYSQL_ROOT").map(PathBuf::from);
        let Some(root) = root.filter(|root| root.join("usr/sbin/mysqld").exists()) else {
            super::lacks("MySQL 8 or 9 under POINTSMAN_TEST_MYSQL_ROOT");
            return None;
        };
        let inside = format!("/var/tmp/pointsman-test-{}", std::process::id());
        std::fs::create_dir_all(root.join(&inside[1..])).unwrap();
        Some(Self { root, inside, hosts })
    }

    /// Data with the users, and a certificate that names every host.
    pub fn seed(&self) {
        let place = self.root.join(&self.inside[1..]);
        std::fs::write(place.join("users.sql"), USERS).unwrap();
        super::servers::certificates(&place);
        let mut init = Command::new("chroot");
        init.arg(&self.root).args(["mysqld", "--no-defaults", "--initialize-insecure", "--user=root"]);
        init.arg(format!("--datadir={}/seed", self.inside));
        init.arg(format!("--init-file={}/users.sql", self.inside));
        let output = init.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Every server makes up a name of its own.
        let _ = std::fs::remove_file(place.join("seed/auto.cnf"));
    }

    fn sql(&self, host: usize, sql: &str) -> Output {
        let mut client = Command::new("chroot");
        client.arg(&self.root).args(["mysql", "--no-defaults", "-uroot", "-Nse", sql, "-S"]);
        client.arg(format!("{}/n{host}/s", self.inside));
        client.output().unwrap()
    }

    /// Founds the group, or joins it, as often as it takes: a member that died must first be
    /// expelled.
    pub fn join(&self, host: usize, found: bool) {
        until("the server to answer", Duration::from_secs(60), || {
            self.sql(host, "SELECT 1").status.success()
        });
        let start = "START GROUP_REPLICATION USER='repl', PASSWORD='repl'";
        let founding = format!(
            "SET GLOBAL group_replication_bootstrap_group=ON; {start}; \
             SET GLOBAL group_replication_bootstrap_group=OFF"
        );
        until("a member to be online", Duration::from_secs(90), || {
            self.sql(host, if found { &founding } else { start });
            std::thread::sleep(Duration::from_secs(1));
            let state = "SELECT member_state FROM performance_schema.replication_group_members \
                 WHERE member_id = @@server_uuid";
            String::from_utf8_lossy(&self.sql(host, state).stdout).trim() == "ONLINE"
        });
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.root.join(&self.inside[1..]));
    }
}

impl System for Mysql {
    fn start(&mut self, net: &Net, host: usize, directory: &Path) -> Vec<Program> {
        let place = self.root.join(&self.inside[1..]);
        let own = place.join(format!("n{host}"));
        if !own.exists() {
            let copied = Command::new("cp").arg("-r").arg(place.join("seed")).arg(&own).status().unwrap();
            assert!(copied.success());
        }
        let (address, inside) = (net.address(host), format!("{}/n{host}", self.inside));
        let seeds: Vec<_> = (0..self.hosts).map(|host| format!("{}:33061", net.address(host))).collect();
        let mut server = net.on(host, "chroot");
        server.arg(&self.root).args([
            "mysqld",
            "--no-defaults",
            "--user=root",
            "--mysqlx=OFF",
            "--port=3306",
        ]);
        server.args(["--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--skip-name-resolve"]);
        server.args(["--innodb-buffer-pool-size=32M", "--innodb-redo-log-capacity=16M"]);
        server
            .args(["--plugin-load-add=group_replication.so", "--loose-group_replication_start_on_boot=OFF"]);
        server.args(["--loose-group_replication_recovery_get_public_key=ON"]);
        server.args(["--loose-group_replication_ip_allowlist=10.0.0.0/8"]);
        server.arg(format!("--server-id={}", host + 1));
        server.arg(format!("--datadir={inside}")).arg(format!("--socket={inside}/s"));
        server.arg(format!("--pid-file={inside}/pid")).arg(format!("--bind-address={address}"));
        server.arg(format!("--report-host={address}"));
        server.arg(format!("--ssl-ca={}/ca.pem", self.inside));
        server.arg(format!("--ssl-cert={}/server.pem", self.inside));
        server.arg(format!("--ssl-key={}/server.key", self.inside));
        server.arg(format!("--loose-group_replication_group_name={GROUP}"));
        server.arg(format!("--loose-group_replication_local_address={address}:33061"));
        server.arg(format!("--loose-group_replication_group_seeds={}", seeds.join(",")));
        vec![Program::start(&mut server, "mysqld", &directory.join(format!("n{host}.log")))]
    }

    fn options(&self, directory: &Path) -> String {
        let password = directory.join("password");
        std::fs::write(&password, "w4tch\n").unwrap();
        format!(
            "  store:
    mysql_gr:
      user: watch
      password: {{file: \"{}\"}}
      tls: {{ca: \"{}\"}}
      time_to_truth: 4s
      across:
MEMBERS
",
            password.display(),
            self.root.join(&self.inside[1..]).join("ca.pem").display(),
        )
    }

    fn members(&self, net: &Net, host: usize) -> Vec<String> {
        vec![format!("{}:3306", net.address(host))]
    }
}
