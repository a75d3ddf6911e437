//! `pointsman probe`: what an operator sees of a check, and the configuration behind it.

use std::time::Duration;

use serde_json::Value;

use crate::common::daemon;
use crate::common::{Scratch, ports};
use crate::nginx::Nginx;

fn configuration(nginx: &Nginx, refusing: u16) -> String {
    let (plain, tls, ca) = (nginx.plain, nginx.tls, nginx.certificates.ca.display());
    format!(
        r#"version: 1
mode: observe
site: {{name: here}}
listen: {{dns: ["127.0.0.1:5353"]}}
defaults: {{check: {{interval: 2s, timeout: 1s, jitter: 20%, source: 127.0.0.7}}}}
clusters:
  sessions:
    etcd:
      inside: {{eu-west: ["http://127.0.0.1:{refusing}", "http://127.0.0.2:{refusing}", "http://127.0.0.3:{refusing}"]}}
regions:
  eu-west:
    layers:
      reach:
        - tcp: {{address: "127.0.0.1:{plain}", send: "GET /healthz HTTP/1.0\r\n\r\n", expect: {{matches: "^HTTP/1.1 200"}}}}
        - tls: {{address: "127.0.0.1:{tls}", server_name: localhost, ca: {ca}, min_version: 1.3}}
      service:
        - http:
            url: "https://localhost:{tls}/healthz"
            ca: {ca}
            version: 2
            expect: {{json: {{/status: green, /nodes/0/role: {{matches: "^(leader|follower)$"}}}}}}
        - http: {{url: "http://127.0.0.1:{plain}/twice", redirects: 1}}
        - exec: {{argv: [/bin/sh, -c, "echo LOAD OK; exit 3"], codes: nagios}}
      quorum: [sessions]
"#
    )
}

#[test]
fn shows_what_it_sees_phase_by_phase() {
    let Some(nginx) = Nginx::start() else { return };
    let scratch = Scratch::new("probe");
    let file = scratch.path().join("pointsman.yaml");
    std::fs::write(&file, configuration(&nginx, ports::free())).unwrap();
    let run = |arguments: &[&str]| daemon::pointsman(&file, &[&["probe"], arguments].concat());

    let said = run(&["eu-west/service/http"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for words in [
        "eu-west/service/http\n",
        "resolve    localhost → ",
        "connect    to 127.0.0.1:",
        // `source` comes from the defaults.
        " from 127.0.0.7:",
        "TLS        TLSv1.3, ",
        "h2, certificate until 2045-01-01T",
        "request    GET https://localhost:",
        "answer     HTTP/2.0, status 200 OK",
        "  pass: status 200 in ",
    ] {
        assert!(said.out.contains(words), "no `{words}` in\n{}", said.out);
    }

    // All below a name; the worst decides, and a failure is worse than what cannot be measured.
    let said = run(&["eu-west/reach"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert_eq!(said.out.matches("  pass: ").count(), 2, "{}", said.out);
    let said = run(&["eu-west/service"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains("  fail: more than 1 redirects"), "{}", said.out);
    assert!(said.out.contains("  unknown: `/bin/sh` exited with 3"), "{}", said.out);
    assert_eq!(run(&["eu-west/service/exec"]).code, Some(3));

    // A cluster shows each voter's own words.
    let said = run(&["sessions", "--output", "json"]);
    let groups: Value = serde_json::from_str(&said.out).unwrap();
    let voters = groups[0]["voters"].as_array().unwrap();
    assert_eq!(groups[0]["group"], "sessions/eu-west");
    assert_eq!(voters.len(), 3);
    for voter in voters {
        assert_eq!(voter["says"], "refused");
        assert!(voter["words"].as_str().unwrap().starts_with("connection refused by 127.0.0."), "{voter}");
    }
    assert_ne!(said.code, Some(0));
    assert_ne!(groups[0]["standing"], "quorum");

    let said = run(&["eu-west/reach/tcp", "--output", "json"]);
    let checks: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(checks[0]["finding"], "pass");
    let phases: Vec<&str> = checks[0]["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["phase"].as_str().unwrap())
        .collect();
    assert_eq!(phases[..3], ["connect", "send", "hear"]);
    assert!(checks[0]["took_ms"].as_f64().unwrap() < Duration::from_secs(1).as_millis() as f64);

    // Proxies are for those who browse: a check that goes through one checks the proxy.
    let mut command = daemon::binary();
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let check = "eu-west/service/http";
    let output = command.arg("--config").arg(&file).args(["probe", check]).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    // A name that is none.
    let said = run(&["eu-west/service/htp"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("did you mean `eu-west/service/http`?"), "{}", said.err);
}

#[test]
fn a_configuration_says_what_is_wrong_with_its_checks() {
    let mistakes = |check: &str| {
        let text = format!(
            "version: 1\nmode: observe\nsite: {{name: here}}\nlisten: {{dns: [\"127.0.0.1:5353\"]}}\n\
             regions:\n  eu:\n    layers:\n      reach:\n        - {check}\n"
        );
        let around = pointsman::config::Surroundings {
            directory: std::env::temp_dir(),
            state: None,
            runtime: None,
            processors: 2,
        };
        match pointsman::config::parse(&pointsman::base::Source::new("test.yaml", text), &around) {
            Ok(_) => String::new(),
            Err(mistakes) => mistakes.render(false),
        }
    };
    for (check, words) in [
        (r#"tcp: {address: "a:1", send: x}"#, "`send` without `expect`"),
        (r#"tcp: {address: "a:1", expect: {equals: x}}"#, "has no end to compare with"),
        (r#"tcp: {address: "a:1", expect: {matches: "("}}"#, "is not a regular expression"),
        (r#"tcp: {address: "a:1", expect: {matches: "(?:a{9999}){9999}"}}"#, "is not a regular expression"),
        (r#"tcp: {address: "a:1", expect: ""}"#, "an empty text is in every answer"),
        (r#"tcp: {address: "a:1", send: {hex: 0dz}, expect: x}"#, "not hexadecimal"),
        (r#"tcp: {address: "a:1", send: {base64: "%"}, expect: x}"#, "not base 64"),
        (r#"tcp: {address: "a:1", jitter: 60%}"#, "more than half the interval"),
        (r#"tcp: {address: "a:1", jitter: 5}"#, "`5` is not a jitter"),
        (r#"tcp: {address: "a:1", source: eth0}"#, "`eth0` is not an address"),
        (r#"tcp: {address: "a:1", source: [192.0.2.1, 192.0.2.2]}"#, "second address of the same family"),
        (r#"tcp: {address: "a:1", source: 0.0.0.0}"#, "nothing can come from 0.0.0.0"),
        (r#"tls: {address: "a:1", min_version: 1.1}"#, "`1.1` is not a version of TLS to ask for"),
        (r#"http: {url: "http://a/", version: 3}"#, "`3` is not a version of HTTP that we speak"),
        (r#"http: {url: "http://a/", method: HEAD, expect: {body: x}}"#, "HEAD has no body"),
        (r#"http: {url: "http://a/", expect: {json: {status: x}}}"#, "`status` is not a JSON pointer"),
        (r#"http: {url: "http://a/", redirects: 11}"#, "11 is not between 0 and 10"),
        (r#"http: {url: "http://a/", body_bytes_max: 0}"#, "0 is not between 1 and"),
        (r#"grpc: {url: "http://a/x"}"#, "a base URL, without a path"),
        (r#"dns: {server: "a", name: b, type: X}"#, "`X` is not a type of records"),
        (r#"dns: {server: "a", name: b, expect: {rcode: NOPE}}"#, "`NOPE` is not a response code"),
        (r#"dns: {server: "a", name: b, expect: {contains: [x]}}"#, "`x` is not an A record"),
        (
            r#"dns: {server: "a", name: b, expect: {contains: [192.0.2.1], equals: []}}"#,
            "either `contains` or `equals`",
        ),
        (r#"icmp: {host: "127.0.0.1:80"}"#, "`127.0.0.1:80` is not a host"),
        (r#"icmp: {host: a, count: 3, lost_max: 3}"#, "3 is not between 0 and 2"),
        (r#"exec: {argv: []}"#, "there is no program to run"),
        (r#"exec: {argv: [a], codes: posix}"#, "posix"),
    ] {
        let told = mistakes(check);
        assert!(told.contains(words), "{check}: no `{words}` in\n{told}");
    }
}
