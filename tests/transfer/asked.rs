//! What `dig` gets.

use crate::common::daemon::Daemon;
use crate::world::{BELOW, ODD, SECRET, WRONG, configuration, dig, fetch, tool, with_key, write_key, zone};

fn key() -> String {
    with_key("transfer-key", "hmac-sha256", SECRET)
}

/// A daemon with one zone that whoever has the key may fetch, and its child zone for nobody.
fn start(name: &str, hosts: usize, more: &str) -> Daemon {
    let mut daemon = Daemon::prepare(name);
    write_key(&daemon);
    daemon.write("a.zone", &zone("a.test", 1, hosts, more));
    daemon.write("child.zone", &zone("child.a.test", 7, 3, ""));
    let zones = "  - {name: a.test, file: a.zone, transfer: {allow: [{key: transfer-key}, {prefix: 192.0.2.0/24}, {key: strong-key}]}}
  - {name: child.a.test, file: child.zone}
";
    daemon.write("pointsman.yaml", &configuration(zones, ""));
    daemon.start();
    daemon
}

/// Everything in the file goes out and comes back: types, glue, what is hidden, the other side of a
/// cut to a zone of our own. `named-checkzone` reads the same file.
#[test]
fn a_transfer_is_the_zone_file() {
    let cut = "child IN NS ns.child\nns.child IN A 192.0.2.99\n";
    let daemon = start("whole", 2000, &format!("{ODD}{BELOW}{cut}"));
    let Some((serial, got)) = fetch(daemon.dns(), "a.test", &["-y", &key()]) else { return };
    assert_eq!(serial, 1);
    let Some(mut check) = tool("named-checkzone", "bind9-utils") else { return };
    let file = daemon.directory().join("a.zone");
    let out = daemon.directory().join("a.canonical");
    let checked = check
        .args(["-i", "none", "-k", "ignore", "-o"])
        .arg(&out)
        .args(["-D", "a.test"])
        .arg(file)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let canonical = std::fs::read_to_string(out).unwrap();
    let (_, expected) = crate::world::records(&canonical).unwrap();
    let lower = |lines: &std::collections::BTreeSet<String>| -> Vec<String> {
        // Our owners are lower-cased, the file's keep their case.
        let mut lines: Vec<_> = lines
            .iter()
            .map(|line| {
                let (owner, rest) = line.split_once(' ').unwrap();
                format!("{} {rest}", owner.to_lowercase())
            })
            .collect();
        lines.sort();
        lines
    };
    pretty(&lower(&got), &lower(&expected));
    // The message count shows that it was cut into several, each signed.
    let said = dig(daemon.dns(), &["a.test", "AXFR", "-y", &key()]).unwrap();
    let messages: usize =
        said.split("messages ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap();
    assert!((2..20).contains(&messages), "{messages}");
    assert!(!said.contains("Couldn't verify"), "{said}");
}

fn pretty(got: &[String], expected: &[String]) {
    let missing: Vec<_> = expected.iter().filter(|line| !got.contains(line)).collect();
    let surplus: Vec<_> = got.iter().filter(|line| !expected.contains(line)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:#?}\nsurplus {surplus:#?}");
}

#[test]
fn only_who_is_listed_gets_a_zone() {
    let daemon = start("listed", 10, "");
    let dns = daemon.dns();
    let Some(said) = dig(dns, &["a.test", "AXFR"]) else { return };
    assert!(said.contains("Transfer failed"), "{said}");
    let refused = |arguments: &[&str]| dig(dns, arguments).unwrap();
    let wrong = with_key("transfer-key", "hmac-sha256", WRONG);
    assert!(refused(&["a.test", "AXFR", "-y", &wrong]).contains("BADSIG"), "wrong secret");
    let strange = with_key("strange-key", "hmac-sha256", SECRET);
    assert!(refused(&["a.test", "AXFR", "-y", &strange]).contains("BADKEY"), "unknown key");
    let other = with_key("transfer-key", "hmac-sha512", SECRET);
    assert!(refused(&["a.test", "AXFR", "-y", &other]).contains("BADKEY"), "another algorithm");
    let strong = with_key("strong-key", "hmac-sha512", SECRET);
    assert!(fetch(dns, "a.test", &["-y", &strong]).is_some(), "hmac-sha512");
    assert!(fetch(dns, "a.test", &["-y", &key()]).is_some(), "hmac-sha256");
    // The child has a list of its own: none. And what is not ours is not ours.
    let child = refused(&["child.a.test", "AXFR", "-y", &key()]);
    assert!(child.contains("Transfer failed"), "{child}");
    let metric = |event: &str| daemon.metric(&format!("pointsman_query_events_total{{event=\"{event}\"}}"));
    assert_eq!(metric("transfer_refused"), Some(5.0));
    assert_eq!(metric("transfer_axfr"), Some(2.0));
    assert!(daemon.log().contains("may not fetch a.test"), "{}", daemon.log());
}

/// Ordinary questions with a signature are answered with one (RFC 8945 §5.3), over UDP and TCP.
#[test]
fn signed_questions_get_signed_answers() {
    let daemon = start("signed", 10, "");
    let dns = daemon.dns();
    for transport in ["+notcp", "+tcp"] {
        let Some(said) = dig(dns, &["host1.a.test", "A", transport, "-y", &key()]) else { return };
        assert!(said.contains("198.18.0.1") && said.contains("TSIG"), "{said}");
        assert!(!said.contains("Couldn't verify") && said.contains("NOERROR"), "{said}");
        let wrong = with_key("transfer-key", "hmac-sha256", WRONG);
        let said = dig(dns, &["host1.a.test", "A", transport, "-y", &wrong]).unwrap();
        assert!(
            said.contains("BADSIG") && said.contains("NOTAUTH") && !said.contains("198.18.0.1"),
            "{said}"
        );
    }
    let Some(mut kdig) = tool("kdig", "knot-dnsutils") else { return };
    let port = dns.port().to_string();
    let said = kdig.args(["@127.0.0.1", "-p", &port, "-y", &key(), "a.test", "AXFR"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("host9.a.test.") && !said.contains(";; ERROR"), "{said}");
}

/// Zones that a server is told of and does not follow are answered (RFC 1996 §3.10).
#[test]
fn a_notice_gets_an_answer() {
    let daemon = start("notice", 1, "");
    let port = daemon.dns().port().to_string();
    let Some(mut kdig) = tool("kdig", "knot-dnsutils") else { return };
    let said = kdig.args(["@127.0.0.1", "-p", &port, "a.test", "NOTIFY=7"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("opcode: NOTIFY; status: REFUSED"), "{said}");
    let mut kdig = tool("kdig", "knot-dnsutils").unwrap();
    let said = kdig.args(["@127.0.0.1", "-p", &port, "b.test", "NOTIFY=7"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("opcode: NOTIFY; status: NOTAUTH"), "{said}");
}

/// One zone is reloaded though another one's file is broken; all together are not.
#[test]
fn a_zone_is_reloaded_by_itself() {
    let daemon = start("reload", 3, "");
    daemon.write("a.zone", &zone("a.test", 2, 4, ""));
    daemon.write("child.zone", "rubbish");
    let said = daemon.cli(&["reload"]);
    assert!(!said.succeeded() && said.err.contains("child.zone:1:"), "{said}");
    assert!(daemon.addresses("host3.a.test").is_empty());
    let said = daemon.cli(&["reload", "--zone", "a.test"]);
    assert!(said.succeeded() && said.out.contains("a.test"), "{said}");
    assert_eq!(daemon.addresses("host3.a.test"), ["198.18.0.3"]);
    assert_eq!(daemon.addresses("host2.child.a.test"), ["198.18.0.2"], "served from what was read before");
    let said = daemon.cli(&["reload", "--zone", "child.a.test"]);
    assert!(!said.succeeded() && said.err.contains("child.zone:1:"), "{said}");
    assert!(said.err.contains("the zone that is served stays"), "{said}");
    assert_eq!(daemon.addresses("host2.child.a.test"), ["198.18.0.2"]);
    let said = daemon.cli(&["reload", "--zone", "b.test"]);
    assert!(!said.succeeded() && said.err.contains("there is no zone b.test"), "{said}");
    let status = daemon.status();
    let shown: Vec<_> =
        status.zones.iter().map(|zone| (zone.name.as_str(), zone.serial, zone.records)).collect();
    assert_eq!(shown, [("a.test.", 2, 7), ("child.a.test.", 7, 6)]);
    // The same serial for another content: taken, and said to be of no use to secondaries.
    daemon.write("a.zone", &zone("a.test", 2, 5, ""));
    let said = daemon.cli(&["reload", "--zone", "a.test"]);
    assert!(said.succeeded(), "{said}");
    let doubt =
        "the serial in its file is 2, which is not newer than 2: secondary servers keep what they have";
    assert!(said.out.contains(doubt), "{said}");
    // The same file again is no news.
    let said = daemon.cli(&["reload", "--zone", "a.test"]);
    assert!(said.succeeded() && !said.out.contains("not newer"), "{said}");
    assert_eq!(daemon.addresses("host4.a.test"), ["198.18.0.4"]);
    assert!(daemon.log().contains("secondary servers keep what they have"), "{}", daemon.log());
}
