//! RabbitMQ: the management API and AMQP over TLS with client certificates, users with tags and rights.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pointsman::cluster::{NodeView, Standing};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::common::{Program, find, ports, until};
use crate::{House, RIGHT, START, WRONG};

const BIN: &str = "/usr/lib/rabbitmq/bin";

/// The server is started by a script, and starts others.
struct Server {
    program: Program,
    _names: Program,
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.program.pid()).unwrap()).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// A node by itself, on loopback, with these ports for its API and for AMQP.
fn start(house: &House, api: u16, amqp: u16) -> Option<Server> {
    find("rabbitmq-server", "rabbitmq-server", &[BIN])?;
    let epmd = find("epmd", "erlang-base", &[])?;
    let (home, n) = (house.path("home"), house.path("rabbitmq"));
    for directory in [&home, &n.join("log")] {
        std::fs::create_dir_all(directory).unwrap();
    }
    let cookie = home.join(".erlang.cookie");
    std::fs::write(&cookie, "POINTSMANTESTS").unwrap();
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o400);
    std::fs::set_permissions(&cookie, only_owner).unwrap();
    std::fs::write(n.join("plugins"), "[rabbitmq_management].\n").unwrap();
    let files = |key: &str| {
        format!(
            "{key}.cacertfile = {}\n{key}.certfile = {}\n{key}.keyfile = {}\n{key}.verify = verify_peer\n\
             {key}.fail_if_no_peer_cert = true\n",
            house.made.ca.display(),
            house.made.server.0.display(),
            house.made.server.1.display(),
        )
    };
    let text = format!(
        "listeners.tcp = none\nlisteners.ssl.1 = 0.0.0.0:{amqp}\n{}management.ssl.ip = 0.0.0.0\n\
         management.ssl.port = {api}\n{}vm_memory_high_watermark.absolute = 300MB\n\
         disk_free_limit.absolute = 10MB\n",
        files("ssl_options"),
        files("management.ssl"),
    );
    std::fs::write(n.join("rabbitmq.conf"), text).unwrap();
    let [names_port, distribution] = [(); 2].map(|()| ports::free().to_string());
    let mut names = Command::new(epmd);
    names.args(["-port", &names_port]).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    let names = Program::start(&mut names, "epmd", &house.path("epmd.log"));
    let mut command = Command::new(Path::new(BIN).join("rabbitmq-server"));
    command
        .env("HOME", &home)
        .env("RABBITMQ_HOME", "/usr/lib/rabbitmq")
        .env("RABBITMQ_NODENAME", "rabbit@localhost")
        .env("RABBITMQ_CONFIG_FILE", n.join("rabbitmq"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", n.join("plugins"))
        .env("RABBITMQ_MNESIA_BASE", n.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", n.join("log"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_PID_FILE", n.join("pid"))
        .env("RABBITMQ_DIST_PORT", distribution)
        .env("ERL_EPMD_PORT", names_port)
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("LANG", "C.UTF-8")
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}");
    let program = Program::start(&mut command, "rabbitmq-server", &house.path("rabbitmq.log"));
    Some(Server { program, _names: names })
}

/// Tells the management API something, as the user that a new node has.
fn tell(house: &House, curl: &Path, api: u16, path: &str, body: &str) -> bool {
    let mut command = Command::new(curl);
    command.args(["-s", "-f", "-m", "5", "-u", "guest:guest", "-X", "PUT", "-d", body]);
    command.args(["-H", "content-type: application/json"]).arg("--cacert").arg(&house.made.ca);
    command.arg("--cert").arg(&house.made.client.0).arg("--key").arg(&house.made.client.1);
    command.arg(format!("https://127.0.0.1:{api}/api/{path}")).output().unwrap().status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_users_over_tls() {
    let Some(curl): Option<PathBuf> = find("curl", "curl", &[]) else { return };
    let house = House::new("rabbitmq-logins");
    let [api, amqp] = [(); 2].map(|()| ports::free());
    let Some(_server) = start(&house, api, amqp) else { return };
    let queue = r#"{"durable":true,"arguments":{"x-queue-type":"quorum","x-max-length":1}}"#;
    until("the queue to be made", START, || {
        std::thread::sleep(Duration::from_millis(300));
        tell(&house, &curl, api, "queues/%2F/pointsman", queue)
    });
    // What docs/systems.md names; without the right to write; without the virtual host; without the tag.
    for (user, tag, write) in [
        ("pointsman", "monitoring", Some("^amq\\\\.default$")),
        ("mute", "monitoring", Some("^$")),
        ("outside", "monitoring", None),
        ("plain", "", Some(".*")),
    ] {
        let made = format!(r#"{{"password":"{RIGHT}","tags":"{tag}"}}"#);
        assert!(tell(&house, &curl, api, &format!("users/{user}"), &made));
        if let Some(write) = write {
            let rights = format!(r#"{{"configure":"^$","write":"{write}","read":"^$"}}"#);
            assert!(tell(&house, &curl, api, &format!("permissions/%2F/{user}"), &rights));
        }
    }
    let members = [format!("https://127.0.0.1:{api}")];
    let login = |user: &str| {
        format!(
            "user: {user}\npassword: {{file: SECRETS/password}}\ntls: {{CA, IDENTITY}}\n\
             publish: {{queue: pointsman, port: {amqp}, tls: true, timeout: 5s}}"
        )
    };
    let door = |options: &str| house.door("rabbitmq", &members, options);
    let right = door(&login("pointsman"));
    right.until_well().await;
    let parts = right.ask().await.judgement.evidence;
    assert_eq!((parts.parts_total, parts.parts_lost), (Some(1), Some(0)), "{parts:?}");
    house.write("password", WRONG);
    right.ask().await.is_unknown("answers 401");
    right.shown();
    house.write("password", RIGHT);
    right.well(&right.ask().await);
    assert!(right.shown().contains("a request that takes a quorum passes"));

    door(&login("mute")).ask().await.is_unproven("to exchange 'amq.default' in vhost '/' refused");
    door(&login("outside")).ask().await.is_unproven("access to vhost '/' refused");
    // Without the tag the API tells nothing, but what is confirmed is confirmed.
    let asked = door(&login("plain")).ask().await;
    assert!(matches!(&asked.views[0], NodeView::Denied(why) if why.contains("401")), "{asked:#?}");
    assert_eq!(asked.judgement.verdict, Standing::Degraded, "{asked:#?}");

    door(&login("pointsman").replace(", IDENTITY", ""))
        .ask()
        .await
        .is_unknown("does not accept our certificate");
    let strange = login("pointsman").replace("{CA", "{STRANGE");
    door(&strange).ask().await.is_unknown("a CA that is not trusted here");
    let elsewhere = [members[0].replace("127.0.0.1", "127.0.0.2")];
    let asked = house.door("rabbitmq", &elsewhere, &login("pointsman")).ask().await;
    asked.is_unknown("not valid for name \"127.0.0.2\"");
    // AMQP in clear text where TLS is spoken.
    let clear = login("pointsman").replace("tls: true", "tls: false");
    door(&clear).ask().await.is_unproven("speaks TLS: add `tls: true`");
}
