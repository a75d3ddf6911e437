//! Redis and its Sentinel: TLS ports that want certificates, ACL users with the rights they need.

use std::path::Path;
use std::process::Command;

use crate::common::{Program, find, ports, until};
use crate::{House, RIGHT, START, WRONG};

fn files(house: &House, port: u16) -> String {
    let (certificate, key) = &house.made.server;
    format!(
        "bind 0.0.0.0\nport 0\ntls-port {port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n\
         tls-auth-clients yes\ntls-replication yes\nprotected-mode no\n",
        certificate.display(),
        key.display(),
        house.made.ca.display(),
    )
}

fn launch(house: &House, server: &Path, name: &str, text: &str, sentinel: bool) -> Program {
    let directory = house.path(name);
    std::fs::create_dir_all(&directory).unwrap();
    let file = house.write(&format!("{name}.conf"), &format!("dir {}\n{text}", directory.display()));
    let mut command = Command::new(server);
    command.arg(file);
    if sentinel {
        command.arg("--sentinel");
    }
    Program::start(&mut command, name, &house.path(&format!("{name}.log")))
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_users_over_tls() {
    let Some(server) = find("redis-server", "redis-server", &[]) else { return };
    let house = House::new("redis-logins");
    let [port, watched, renamed] = [(); 3].map(|()| ports::free());
    // What docs/systems.md names, and less.
    let text = format!(
        "{}save \"\"\nuser default off\nuser sentinel on >{RIGHT} allchannels allkeys +@all\n\
         user pointsman on >{RIGHT} +info\nuser mute on >{RIGHT} +ping\n",
        files(&house, port)
    );
    let _redis = launch(&house, &server, "redis", &text, false);
    let text = format!(
        "{}sentinel monitor shop 127.0.0.1 {port} 1\nsentinel auth-user shop sentinel\n\
         sentinel auth-pass shop {RIGHT}\nuser default off\n\
         user pointsman on >{RIGHT} +sentinel|ckquorum +sentinel|master\nuser mute on >{RIGHT} +ping\n",
        files(&house, watched)
    );
    let _sentinel = launch(&house, &server, "sentinel", &text, true);
    let members = |host: &str| [format!("sentinel://{host}:{watched}"), format!("redis://{host}:{port}")];
    let login = |user: &str| {
        format!(
            "master: shop\ntls: {{CA, IDENTITY}}\nservers: {{user: {user}, password: {{file: SECRETS/password}}}}\n\
             sentinels: {{user: {user}, password: {{file: SECRETS/password}}}}"
        )
    };
    let door = |options: &str| house.door("redis_sentinel", &members("127.0.0.1"), options);
    let right = door(&login("pointsman"));
    right.until_well().await;
    house.write("password", WRONG);
    right.ask().await.is_unknown("WRONGPASS");
    right.shown();
    house.write("password", RIGHT);
    right.well(&right.ask().await);
    right.shown();

    door(&login("mute")).ask().await.is_unknown("NOPERM");
    door("master: shop\ntls: {CA, IDENTITY}").ask().await.is_unknown("NOAUTH");
    door(&login("pointsman").replace(", IDENTITY", ""))
        .ask()
        .await
        .is_unknown("does not accept our certificate");
    let strange = login("pointsman").replace("{CA", "{STRANGE");
    door(&strange).ask().await.is_unknown("a CA that is not trusted here");
    let elsewhere = house.door("redis_sentinel", &members("127.0.0.2"), &login("pointsman"));
    elsewhere.ask().await.is_unknown("not valid for name \"127.0.0.2\"");

    // A server that does not know `AUTH` says what it does not know: our password.
    let text = format!("bind 127.0.0.1\nport {renamed}\nsave \"\"\nrename-command AUTH \"\"\n");
    let _renamed = launch(&house, &server, "renamed", &text, false);
    until("a server to listen", START, || std::net::TcpStream::connect(("127.0.0.1", renamed)).is_ok());
    let members = [format!("sentinel://127.0.0.1:{renamed}"), format!("redis://127.0.0.1:{renamed}")];
    let clear = login("pointsman").replace("tls: {CA, IDENTITY}\n", "");
    let asked = house.door("redis_sentinel", &members, &clear).ask().await;
    asked.is_unknown("does not know AUTH");
}
