//! Consul: HTTPS with client certificates, and ACLs that deny by default.

use std::process::Command;
use std::time::Duration;

use pointsman::cluster::Standing;

use crate::common::{Program, find, find_foreign, ports, until};
use crate::{House, START, WRONG};

const MASTER: &str = "s3cr3t0f-0000-4000-8000-000000000001";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn consul_by_token_over_tls() {
    let Some(consul) = find_foreign("consul", "consul 1.8.7 of Debian 11") else { return };
    let Some(curl) = find("curl", "curl", &[]) else { return };
    let house = House::new("consul-logins");
    let [https, server, lan, wan] = [(); 4].map(|()| ports::free());
    let text = format!(
        r#"{{"server": true, "bootstrap_expect": 1, "node_name": "m0", "bind_addr": "127.0.0.1", "client_addr": "0.0.0.0",
"ports": {{"http": -1, "https": {https}, "grpc": -1, "dns": -1, "server": {server}, "serf_lan": {lan}, "serf_wan": {wan}}},
"ca_file": {ca:?}, "cert_file": {cert:?}, "key_file": {key:?}, "verify_incoming_https": true,
"data_dir": {data:?}, "performance": {{"raft_multiplier": 1}}, "disable_update_check": true,
"acl": {{"enabled": true, "default_policy": "deny", "tokens": {{"master": "{MASTER}"}}}}}}"#,
        ca = house.made.ca,
        cert = house.made.server.0,
        key = house.made.server.1,
        data = house.path("data"),
    );
    let mut command = Command::new(consul);
    command.arg("agent").arg("-config-file").arg(house.write("consul.json", &text));
    let _program = Program::start(&mut command, "consul", &house.path("consul.log"));
    let at = format!("https://127.0.0.1:{https}");
    let tell = |path: &str, body: &str| {
        let mut command = Command::new(&curl);
        command.args(["-s", "-m", "5", "-X", "PUT", "-H", &format!("x-consul-token: {MASTER}"), "-d", body]);
        command.arg("--cacert").arg(&house.made.ca).arg("--cert").arg(&house.made.client.0);
        command.arg("--key").arg(&house.made.client.1).arg(format!("{at}/v1/{path}"));
        let answer = command.output().unwrap().stdout;
        serde_json::from_slice::<serde_json::Value>(&answer).unwrap_or_default()
    };
    // What docs/systems.md names, and one right less.
    let token = |name: &str, rules: &str| {
        let mut secret = String::new();
        until("Consul to make a token", START, || {
            std::thread::sleep(Duration::from_millis(200));
            let policy = serde_json::json!({"Name": name, "Rules": rules}).to_string();
            tell("acl/policy", &policy);
            let token = serde_json::json!({"Policies": [{"Name": name}]}).to_string();
            secret = tell("acl/token", &token)["SecretID"].as_str().unwrap_or_default().to_owned();
            !secret.is_empty()
        });
        secret
    };
    let agent = r#"agent_prefix "" { policy = "read" }"#;
    let right = token("right", &format!(r#"{agent} key "pointsman" {{ policy = "read" }}"#));
    let half = token("half", agent);
    house.write("token", &right);
    let members = [at.clone()];
    let door = |options: &str| house.door("consul", &members, options);
    let with = door("token: {file: SECRETS/token}\ntls: {CA, IDENTITY}");
    with.until_well().await;
    let keeps = |text: &str| assert!(!text.contains(&right) && !text.contains(&half), "{text}");

    // A token that is gone: what everybody is told is believed after a while. One without the right to the key.
    house.write("token", WRONG);
    let asked = with.ask().await;
    let words = format!("{asked:?}");
    asked.is_unproven_and(&[Standing::Electing], "ACL not found");
    keeps(&words);
    house.write("token", &half);
    let asked = with.ask().await;
    asked.is_unproven("Permission denied");
    keeps(&format!("{asked:?}"));
    keeps(&with.shown());
    house.write("token", &right);
    with.well(&with.ask().await);
    keeps(&with.shown());

    let asked = door("token: {file: SECRETS/token}\ntls: {CA}").ask().await;
    asked.is_unknown("does not accept our certificate");
    let asked = door("token: {file: SECRETS/token}\ntls: {STRANGE, IDENTITY}").ask().await;
    asked.is_unknown("a CA that is not trusted here");
    let elsewhere = [at.replace("127.0.0.1", "127.0.0.2")];
    let asked =
        house.door("consul", &elsewhere, "token: {file: SECRETS/token}\ntls: {CA, IDENTITY}").ask().await;
    asked.is_unknown("not valid for name \"127.0.0.2\"");
    let asked = door("token: {file: SECRETS/nowhere}\ntls: {CA, IDENTITY}").ask().await;
    asked.is_unknown("cannot read the secret in");
}
