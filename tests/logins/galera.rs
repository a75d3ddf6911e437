//! Galera: a server that takes no connection without TLS, and a user who must show a certificate.

use std::process::Command;

use crate::common::galera::Galera;
use crate::common::{Program, find, ports, until};
use crate::{House, RIGHT, START, WRONG};

#[tokio::test(flavor = "multi_thread")]
async fn galera_users_over_tls() {
    let Some(galera) = Galera::find(1, false) else { return };
    let Some(server) = find("mariadbd", "mariadb-server", &["/usr/sbin"]) else { return };
    let house = House::new("galera-logins");
    Galera::seed(house.scratch.path());
    let own = house.path("n0");
    std::fs::rename(house.path("seed"), &own).unwrap();
    assert!(Command::new("chown").args(["-R", "mysql"]).arg(&own).status().unwrap().success());
    let [port, group, transfer] = [(); 3].map(|()| ports::free());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=mysql", "--clear-groups"]).arg(server);
    command.args(["--no-defaults", "--bind-address=0.0.0.0", "--binlog-format=ROW", "--skip-name-resolve"]);
    command.args(["--innodb-autoinc-lock-mode=2", "--innodb-flush-log-at-trx-commit=0"]);
    command.args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--wsrep-on=ON"]);
    command.args([
        "--wsrep-new-cluster",
        "--wsrep-cluster-address=gcomm://",
        "--require-secure-transport=ON",
    ]);
    command.arg("--wsrep-provider=/usr/lib/galera/libgalera_smm.so").arg(format!("--port={port}"));
    command.arg(format!(
        "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group};\
         ist.recv_addr=127.0.0.1:{transfer};gcache.size=16M;base_dir={}",
        own.display()
    ));
    command.arg("--wsrep-node-address=127.0.0.1");
    command.arg(format!("--datadir={}", own.display())).arg(format!("--socket={}", own.join("s").display()));
    command.arg(format!("--pid-file={}", own.join("pid").display()));
    command.arg(format!("--ssl-ca={}", house.made.ca.display()));
    command.arg(format!("--ssl-cert={}", house.made.server.0.display()));
    command.arg(format!("--ssl-key={}", house.made.server.1.display()));
    let _program = Program::start(&mut command, "mariadbd", &house.path("mariadbd.log"));
    let users = format!(
        "CREATE USER pointsman@'%' IDENTIFIED BY '{RIGHT}'; \
         CREATE USER shown@'%' IDENTIFIED BY '{RIGHT}' REQUIRE X509; \
         CREATE USER locked@'%' IDENTIFIED BY '{RIGHT}' ACCOUNT LOCK"
    );
    until("the users to be made", START, || galera.sql(house.scratch.path(), 0, &users).is_some());

    let members = [format!("127.0.0.1:{port}")];
    let login = |user: &str| format!("user: {user}\npassword: {{file: SECRETS/password}}\ntls: {{CA}}");
    let door = |options: &str| house.door("galera", &members, options);
    let right = door(&login("pointsman"));
    right.until_well().await;
    house.write("password", WRONG);
    right.ask().await.is_unknown("Access denied for user 'pointsman'");
    right.shown();
    house.write("password", RIGHT);
    right.well(&right.ask().await);
    assert!(right.shown().contains("a request that takes a quorum passes"));

    door(&login("shown").replace("{CA}", "{CA, IDENTITY}")).until_well().await;
    door(&login("shown")).ask().await.is_unknown("Access denied for user 'shown'");
    door(&login("locked")).ask().await.is_unknown("account is locked");
    door(&login("nobody")).ask().await.is_unknown("Access denied for user 'nobody'");
    let clear = login("pointsman").replace("\ntls: {CA}", "");
    door(&clear).ask().await.is_unknown("it offers TLS, and may want it: add `tls`");
    door(&login("pointsman").replace("CA", "STRANGE"))
        .ask()
        .await
        .is_unknown("a CA that is not trusted here");
    let elsewhere = [format!("127.0.0.2:{port}")];
    let asked = house.door("galera", &elsewhere, &login("pointsman")).ask().await;
    asked.is_unknown("not valid for name \"127.0.0.2\"");
}
