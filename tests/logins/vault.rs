//! Vault: a listener that wants a client certificate, and a token for the proof.

use std::process::Command;
use std::time::Duration;

use crate::common::{Program, find, find_foreign, ports, until};
use crate::{House, START, WRONG};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn vault_by_token_over_tls() {
    let Some(vault) = find_foreign("vault", "vault 1.21.0, built with Go") else { return };
    let Some(curl) = find("curl", "curl", &[]) else { return };
    let house = House::new("vault-logins");
    let [api, cluster] = [(); 2].map(|()| ports::free());
    std::fs::create_dir_all(house.path("data")).unwrap();
    let text = format!(
        "storage \"raft\" {{\n  path = {data:?}\n  node_id = \"m0\"\n  performance_multiplier = 1\n}}\n\
         listener \"tcp\" {{\n  address = \"0.0.0.0:{api}\"\n  cluster_address = \"127.0.0.1:{cluster}\"\n  \
         tls_cert_file = {cert:?}\n  tls_key_file = {key:?}\n  tls_client_ca_file = {ca:?}\n  \
         tls_require_and_verify_client_cert = true\n}}\n\
         api_addr = \"https://127.0.0.1:{api}\"\ncluster_addr = \"https://127.0.0.1:{cluster}\"\ndisable_mlock = true\n",
        data = house.path("data"),
        cert = house.made.server.0,
        key = house.made.server.1,
        ca = house.made.ca,
    );
    let mut command = Command::new(vault);
    command.arg("server").arg(format!("-config={}", house.write("vault.hcl", &text).display()));
    let _program = Program::start(&mut command, "vault", &house.path("vault.log"));
    let at = format!("https://127.0.0.1:{api}");
    let ask = |method: &str, token: &str, path: &str, body: &str| {
        let mut command = Command::new(&curl);
        command.args(["-s", "-m", "9", "-X", method, "-H", &format!("x-vault-token: {token}"), "-d", body]);
        command.arg("--cacert").arg(&house.made.ca).arg("--cert").arg(&house.made.client.0);
        command.arg("--key").arg(&house.made.client.1).arg(format!("{at}/v1/{path}"));
        serde_json::from_slice::<serde_json::Value>(&command.output().unwrap().stdout).unwrap_or_default()
    };
    let mut made = serde_json::Value::Null;
    until("Vault to be made", START, || {
        std::thread::sleep(Duration::from_millis(200));
        made = ask("PUT", "", "sys/init", r#"{"secret_shares":1,"secret_threshold":1}"#);
        made["root_token"].is_string()
    });
    ask("PUT", "", "sys/unseal", &serde_json::json!({"key": made["keys"][0]}).to_string());
    let root = made["root_token"].as_str().unwrap();
    let token = |policies: &str| {
        let mut token = String::new();
        until("Vault to give out a token", START, || {
            std::thread::sleep(Duration::from_millis(200));
            let given = ask("PUT", root, "auth/token/create", policies);
            token = given["auth"]["client_token"].as_str().unwrap_or_default().to_owned();
            !token.is_empty()
        });
        token
    };
    let right = token(r#"{"policies":["default"],"no_parent":true}"#);
    ask(
        "PUT",
        root,
        "sys/policies/acl/little",
        r#"{"policy":"path \"auth/token/lookup-self\" { capabilities = [\"read\"] }"}"#,
    );
    let little = token(r#"{"policies":["little"],"no_default_policy":true,"no_parent":true}"#);
    let keeps = |text: &str| assert!(!text.contains(&right) && !text.contains(&little), "{text}");

    house.write("token", &right);
    let members = [at.clone()];
    let door = |options: &str| house.door("vault", &members, options);
    let with = door("token: {file: SECRETS/token}\ntls: {CA, IDENTITY}");
    with.until_well().await;
    for wrong in [WRONG, &little] {
        house.write("token", wrong);
        let asked = with.ask().await;
        asked.is_unproven("permission denied");
        keeps(&format!("{asked:?}"));
        keeps(&with.shown());
    }
    house.write("token", &right);
    with.well(&with.ask().await);
    keeps(&with.shown());

    let asked = door("token: {file: SECRETS/token}\ntls: {CA}").ask().await;
    asked.is_unknown("does not accept our certificate");
    let asked = door("token: {file: SECRETS/token}\ntls: {STRANGE, IDENTITY}").ask().await;
    asked.is_unknown("a CA that is not trusted here");
    let elsewhere = [at.replace("127.0.0.1", "127.0.0.2")];
    let asked = house.door("vault", &elsewhere, "tls: {CA, IDENTITY}").ask().await;
    asked.is_unknown("not valid for name \"127.0.0.2\"");
}
