//! The `prometheus` check against a real Prometheus.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use pointsman::base::CheckId;
use pointsman::config::CheckKind;
use pointsman::health::Finding;
use pointsman::io::Net;
use pointsman::probe;

use common::servers::certificates;
use common::{Program, Scratch, config, find, ports, until_async};

const TIMEOUT: Duration = Duration::from_secs(5);
const PASSWORD: &str = "hunter2";
/// Of that password, by bcrypt.
const HASH: &str = "$2b$04$l5cWQADtXctca/lsCl0y6.fs/y99JG/B7OTSwiw5wDnaYGNQeC.7i";

/// The check that these lines say, made once, with our certificate.
async fn run(port: u16, directory: &std::path::Path, more: &str) -> Finding {
    let at = directory.display();
    run_as(port, directory, &format!(", cert: {at}/client.pem, key: {at}/client.key"), more).await
}

/// The same, with this much said of who we are.
async fn run_as(port: u16, directory: &std::path::Path, identity: &str, more: &str) -> Finding {
    let text = format!(
        "version: 1\nmode: observe\nsite: {{name: a}}\nlisten: {{dns: [\"127.0.0.1:53\"]}}\nregions:\n  r:\n    layers:\n      \
         service:\n        - prometheus:\n            url: \"https://127.0.0.1:{port}/\"\n            tls: {{ca: {}{identity}}}\n            timeout: 5s\n            {}\n",
        directory.join("ca.pem").display(),
        more.replace('\n', "\n            ")
    );
    let config = config(&text);
    let kind: CheckKind = config.checks[CheckId(0)].kind.clone();
    probe::check(&Net::new(), CheckId(0), &kind, TIMEOUT).await.unwrap().finding
}

#[tokio::test]
async fn a_real_prometheus_is_asked_over_tls_with_a_password() {
    let Some(prometheus) = find("prometheus", "prometheus", &[]) else { return };
    let scratch = Scratch::new("prometheus");
    let at = |name: &str| scratch.path().join(name);
    let port = ports::free();
    certificates(scratch.path());
    std::fs::write(at("password"), PASSWORD).unwrap();
    std::fs::write(at("wrong"), "guess").unwrap();
    std::fs::write(
        at("web.yml"),
        format!("tls_server_config: {{cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}}\nbasic_auth_users: {{probe: \"{HASH}\"}}\n"),
    )
    .unwrap();
    std::fs::write(
        at("prometheus.yml"),
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: itself\n    scheme: https\n    \
             tls_config: {{insecure_skip_verify: true, cert_file: client.pem, key_file: client.key}}\n    basic_auth: {{username: probe, password: {PASSWORD}}}\n    \
             static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]\n  - job_name: gone\n    \
             static_configs: [{{targets: [\"127.0.0.1:{}\"]}}]\n",
            ports::free()
        ),
    )
    .unwrap();
    let mut command = std::process::Command::new(prometheus);
    command
        .arg(format!("--config.file={}", at("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", at("data").display()))
        .arg(format!("--web.config.file={}", at("web.yml").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _prometheus = Program::start(&mut command, "prometheus", &at("prometheus.log"));

    let basic = format!("basic: {{user: probe, password: {{file: {}}}}}", at("password").display());
    let ask = async |more: &str| run(port, scratch.path(), &format!("{basic}\n{more}")).await;
    until_async("both targets to be scraped", Duration::from_secs(60), async || {
        matches!(ask("query: count(up)\nbelow: 2").await, Finding::Pass(_))
    })
    .await;
    let words = |finding: &Finding| format!("{}: {}", finding.word(), finding.words());

    let up = ask("query: 'up{job=\"itself\"}'\nbelow: 1").await;
    assert_eq!(words(&up), "pass: 1 is not below 1");
    let any = ask("query: up\nbelow: 1").await;
    assert!(words(&any).starts_with("fail: 0 is below 1 (1 of 2 series are below; the worst: {"), "{any:?}");
    assert!(words(&any).contains("job=gone"), "{any:?}");
    let all = ask("query: up\nbelow: 1\nseries: all").await;
    assert!(matches!(all, Finding::Pass(_)), "{all:?}");
    // What a quorum cannot say: load, lag, an error ratio.
    let rate =
        ask("query: 'sum(rate(prometheus_http_requests_total[1m])) > bool 1e9'\nabove: 0\nno_data: pass")
            .await;
    assert!(matches!(rate, Finding::Pass(_)), "{rate:?}");
    let scalar = ask("query: scalar(sum(up))\nabove: 0.5").await;
    assert_eq!(words(&scalar), "fail: 1 is above 0.5");
    let none = ask("query: absent_metric\nabove: 1").await;
    assert_eq!(words(&none), "unknown: the query has no result");
    let none = ask("query: absent_metric\nabove: 1\nno_data: fail").await;
    assert_eq!(words(&none), "fail: the query has no result");
    let bad = ask("query: 'sum('\nabove: 1").await;
    assert!(words(&bad).starts_with("unknown: Prometheus refuses the query (status 400)"), "{bad:?}");
    let range = ask("query: 'up[1m]'\nabove: 1").await;
    assert_eq!(words(&range), "unknown: the query gives ranges, not values");

    // A credential that is refused says nothing of the target; nor does a Prometheus that is gone.
    let wrong = format!("basic: {{user: probe, password: {{file: {}}}}}", at("wrong").display());
    let denied = run(port, scratch.path(), &format!("{wrong}\nquery: up\nbelow: 1")).await;
    assert!(words(&denied).starts_with("unknown: status 401"), "{denied:?}");
    let nobody = run_as(port, scratch.path(), "", &format!("{basic}\nquery: up\nbelow: 1")).await;
    assert!(words(&nobody).contains("does not accept our certificate"), "{nobody:?}");
    let gone = run(ports::free(), scratch.path(), "query: up\nbelow: 1").await;
    assert!(matches!(gone, Finding::Unknown(_)), "{gone:?}");
}
