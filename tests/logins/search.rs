//! OpenSearch with its security plugin: TLS with client certificates, users with rights. And the header
//! that API keys go in, to a small server: Elasticsearch's own security cannot be had.

use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};

use crate::common::search::OPENSEARCH;
use crate::common::servers::Server;
use crate::common::{Program, find, ports, until};
use crate::{House, RIGHT, START, WRONG};

/// Of the right password, by bcrypt.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuJ4f4yAH0PU6.D.swlkD7SSizesz.VFW";

/// What docs/systems.md names, and less; all with the same password.
fn rights(house: &House) {
    let user = |name: &str| format!("{name}: {{hash: \"{HASH}\"}}\n");
    let users: String = ["admin", "pointsman", "halfway", "newcomer"].map(user).concat();
    let head = |kind: &str| format!("_meta: {{type: {kind}, config_version: 2}}\n");
    let write = |name: &str, kind: &str, text: &str| {
        house.write(&format!("opensearch-security/{name}.yml"), &(head(kind) + text));
    };
    write("internal_users", "internalusers", &users);
    write(
        "roles",
        "roles",
        "watcher:\n  cluster_permissions: [cluster_monitor]\n  index_permissions:\n    - index_patterns: [pointsman]\n      \
         allowed_actions: [\"indices:admin/mapping/put\"]\nonlooker:\n  cluster_permissions: [cluster_monitor]\n",
    );
    write(
        "roles_mapping",
        "rolesmapping",
        "all_access: {users: [admin]}\nwatcher: {users: [pointsman]}\nonlooker: {users: [halfway]}\n",
    );
}

fn start(house: &House, port: u16) -> Option<Program> {
    let java = find("java", "default-jre-headless", &[])?;
    let home = OPENSEARCH.secured_home()?;
    let rules = house.path("opensearch-security");
    std::fs::create_dir_all(&rules).unwrap();
    for file in std::fs::read_dir(home.join("plugins/opensearch-security/config")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), rules.join(file.file_name())).unwrap();
    }
    rights(house);
    let files = |layer: &str| {
        format!(
            "plugins.security.ssl.{layer}.pemcert_filepath: server.pem\n\
             plugins.security.ssl.{layer}.pemkey_filepath: server.key\n\
             plugins.security.ssl.{layer}.pemtrustedcas_filepath: ca.pem\n"
        )
    };
    let text = format!(
        "cluster.name: logins\nnode.name: m0\npath.data: {data}\npath.logs: {data}\nhttp.host: 0.0.0.0\n\
         http.port: {port}\ntransport.host: 127.0.0.1\ntransport.port: {transport}\ndiscovery.type: single-node\n\
         node.store.allow_mmap: false\nplugins.security.ssl.http.enabled: true\n\
         plugins.security.ssl.http.clientauth_mode: REQUIRE\nplugins.security.nodes_dn: [\"CN=server\"]\n\
         plugins.security.ssl.transport.enforce_hostname_verification: false\n\
         plugins.security.allow_default_init_securityindex: true\n{}{}",
        files("http"),
        files("transport"),
        data = house.path("data").display(),
        transport = ports::free(),
    );
    house.write("opensearch.yml", &text);
    let log = "appender.out.type = Console\nappender.out.name = out\nappender.out.layout.type = PatternLayout\n\
               appender.out.layout.pattern = %d %p %c{1.} %m%n\nrootLogger.level = info\n\
               rootLogger.appenderRef.out.ref = out\n";
    let log = house.write("log4j2.properties", log);
    let mut command = Command::new(java);
    command.args(["-Xms384m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg(format!("-Djava.io.tmpdir={}", house.scratch.path().display()));
    command.arg(format!("-Dlog4j.configurationFile={}", log.display()));
    command.args(["-cp", &format!("{0}/start:{0}/lib/*", home.display()), "Launcher"]);
    command.arg(&home).arg(house.scratch.path());
    Some(Program::start(&mut command, "opensearch", &house.path("opensearch.log")))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn opensearch_users_over_tls() {
    let Some(curl) = find("curl", "curl", &[]) else { return };
    let house = House::new("opensearch-logins");
    let port = ports::free();
    let Some(_program) = start(&house, port) else { return };
    let at = format!("https://127.0.0.1:{port}");
    until("OpenSearch to make an index", START, || {
        std::thread::sleep(Duration::from_millis(500));
        let mut command = Command::new(&curl);
        command.args(["-s", "-f", "-m", "9", "-X", "PUT", "-u", &format!("admin:{RIGHT}")]);
        command.args(["-H", "content-type: application/json"]).arg("--cacert").arg(&house.made.ca);
        command.arg("--cert").arg(&house.made.client.0).arg("--key").arg(&house.made.client.1);
        let settings = r#"{"settings": {"number_of_shards": 1, "number_of_replicas": 0}}"#;
        command.args(["-d", settings, &format!("{at}/pointsman")]).output().unwrap().status.success()
    });
    let members = [at.clone()];
    let login = |user: &str| {
        format!(
            "user: {user}\npassword: {{file: SECRETS/password}}\ntls: {{CA, IDENTITY}}\n\
             proof_index: pointsman\nindices: [pointsman]"
        )
    };
    let door = |options: &str| house.door("opensearch", &members, options);
    let right = door(&login("pointsman"));
    right.until_well().await;
    let parts = right.ask().await.judgement.evidence;
    assert_eq!((parts.parts_total, parts.parts_lost), (Some(1), Some(0)), "{parts:?}");
    house.write("password", WRONG);
    right.ask().await.is_unknown("answers 401: Unauthorized");
    right.shown();
    house.write("password", RIGHT);
    right.well(&right.ask().await);
    assert!(right.shown().contains("a request that takes a quorum passes"));

    door(&login("halfway")).ask().await.is_unproven("no permissions for [indices:admin/mapping/put]");
    door(&login("newcomer")).ask().await.is_unknown("no permissions for [cluster:monitor/");
    door("tls: {CA, IDENTITY}").ask().await.is_unknown("answers 401");
    door(&login("pointsman").replace(", IDENTITY", ""))
        .ask()
        .await
        .is_unknown("does not accept our certificate");
    let strange = login("pointsman").replace("{CA", "{STRANGE");
    door(&strange).ask().await.is_unknown("a CA that is not trusted here");
    let elsewhere = [at.replace("127.0.0.1", "127.0.0.2")];
    let asked = house.door("opensearch", &elsewhere, &login("pointsman")).ask().await;
    asked.is_unknown("not valid for name \"127.0.0.2\"");
}

/// One node that leads itself, as Elasticsearch 7.17 answers, to whoever shows the key.
async fn node_behind_a_key(method: Method, uri: Uri, headers: HeaderMap) -> (StatusCode, &'static str) {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if shown.strip_prefix("ApiKey ") != Some(RIGHT) {
        let denied = r#"{"error":{"root_cause":[{"type":"security_exception","reason":"unable to authenticate with provided credentials"}],"type":"security_exception","reason":"unable to authenticate with provided credentials"},"status":401}"#;
        return (StatusCode::UNAUTHORIZED, denied);
    }
    let asked = |beginning: &str| uri.path().starts_with(beginning);
    let answer = match method {
        Method::GET if asked("/_nodes/_local") => {
            r#"{"nodes":{"QoSU93pVSmabTc-PdHWubA":{"roles":["data","master"]}}}"#
        }
        Method::GET if asked("/_cluster/state/") => {
            r#"{"cluster_uuid":"V1qTCM9gSFWFkZiDAPcfQA","version":16,"master_node":"QoSU93pVSmabTc-PdHWubA","blocks":{},"metadata":{"cluster_coordination":{"term":1,"last_committed_config":["QoSU93pVSmabTc-PdHWubA"]}}}"#
        }
        Method::GET if asked("/_cluster/health") => r#"{"cluster_name":"t","indices":{}}"#,
        Method::PUT if asked("/pointsman/_mapping") => r#"{"acknowledged":true}"#,
        _ => return (StatusCode::NOT_FOUND, "{}"),
    };
    (StatusCode::OK, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch_by_api_key() {
    let house = House::new("elasticsearch-key");
    let server = Server::http(Router::new().fallback(node_behind_a_key)).await;
    let members = [server.url("")];
    let door =
        house.door("elasticsearch", &members, "api_key: {file: SECRETS/password}\nproof_index: pointsman");
    door.well(&door.ask().await);
    house.write("password", WRONG);
    door.ask().await.is_unknown("answers 401");
    door.shown();
    house.write("password", RIGHT);
    door.well(&door.ask().await);
    house.door("elasticsearch", &members, "proof_index: pointsman").ask().await.is_unknown("answers 401");
}
