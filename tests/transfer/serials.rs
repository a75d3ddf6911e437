//! Zones whose versions are counted here, by the clock, or by somebody else.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::daemon::Daemon;
use crate::common::until;
use crate::world::{configuration, dig, zone};

const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon with one zone in this file, by these rules, and more.
fn prepare(name: &str, text: &str, rules: &str, more: &str) -> Daemon {
    let daemon = Daemon::prepare(name);
    daemon.write("transfer.key", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=");
    daemon.write("d.zone", text);
    let zones = format!("  - {{name: d.test, file: d.zone, {rules}}}\n");
    daemon.write("pointsman.yaml", &configuration(&zones, more));
    daemon
}

/// A service in two regions, the first of them checked like this.
fn shop(east: &str) -> String {
    format!("regions: {{east: {east}, west: {{}}}}\n{SERVICES}")
}

const SERVICES: &str = "\
services:
  shop:
    names: [shop.d.test]
    policy: {failover: [east, west]}
    answers: {east: {a: [192.0.2.1]}, west: {a: [192.0.2.2]}}
    failback: {auto: {after: 500ms}}
";

fn serial(daemon: &Daemon) -> u32 {
    let said = dig(daemon.dns(), &["+noall", "+answer", "d.test", "SOA"]).unwrap();
    said.split_whitespace().nth(6).and_then(|serial| serial.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

#[allow(clippy::disallowed_methods, reason = "serials are compared with the clock")]
fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32
}

/// `serial: unixtime`: the time of the change, never twice and never back, whatever was before.
#[test]
fn serials_tell_the_time() {
    let rules = "serial: unixtime, transfer: {allow: [{prefix: 127.0.0.0/8}], dynamic_names: current_answer}";
    let east = TcpListener::bind("127.0.0.1:0").unwrap();
    let check = format!(
        "{{layers: {{reach: [{{tcp: {{address: \"{}\", interval: 100ms, timeout: 90ms, rise: 1, fall: 1}}}}]}}}}",
        east.local_addr().unwrap()
    );
    let mut daemon = prepare("unixtime", &zone("d.test", 7, 1, ""), rules, &shop(&check));
    if dig(([127, 0, 0, 1], 1).into(), &["-v"]).is_none() {
        return;
    }
    let before = now();
    daemon.start();
    let first = serial(&daemon);
    assert!((before..=now()).contains(&first), "{first} at {before}");
    // A flip is a change, and so is what follows it in the same second.
    let order = |words: &[&str]| {
        let said = daemon.cli(&[&["region"], words, &["--reason", "a test"]].concat());
        assert!(said.succeeded(), "{said}");
    };
    let answers = |address: &str| until(address, PATIENCE, || daemon.addresses("shop.d.test") == [address]);
    order(&["drain", "east", "--expires", "1h"]);
    answers("192.0.2.2");
    let second = serial(&daemon);
    assert!(second > first && second <= now().max(first + 1), "{second} after {first}");
    order(&["release", "east"]);
    answers("192.0.2.1");
    let third = serial(&daemon);
    assert!(third > second && third <= now().max(second + 1), "{third} after {second}");
    let said = dig(daemon.dns(), &["d.test", &format!("IXFR={first}"), "+noall", "+answer"]).unwrap();
    assert_eq!(said.lines().count(), 4, "there and back, nothing has changed: {said}");
    // What is not there is told by the same record.
    let said = dig(daemon.dns(), &["+noall", "+authority", "nothing.d.test", "A"]).unwrap();
    assert!(said.contains(&format!(" {third} 60 5 ")), "{said}");
    // A file that is ahead of the clock is followed, and one that is behind is not.
    let ahead = now() + 1_000_000;
    for (wanted, file) in [(ahead, ahead), (ahead + 1, 8)] {
        daemon.write("d.zone", &zone("d.test", file, wanted as usize % 7 + 2, ""));
        assert!(daemon.cli(&["reload"]).succeeded());
        assert_eq!(serial(&daemon), wanted);
    }
    // A crash may have told serials that nobody wrote down: the next process is above them all.
    daemon.kill();
    daemon.start();
    assert!(serial(&daemon) > ahead + 1);
}

/// Where another site counts, this one answers questions, and hands out and tells nothing.
#[test]
fn the_primary_is_another_site() {
    let Some(_) = dig(([127, 0, 0, 1], 1).into(), &["-v"]) else { return };
    let told = UdpSocket::bind("127.0.0.1:0").unwrap();
    told.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let notify = told.local_addr().unwrap();
    for (primary, hands_out) in [("ams1", false), ("fra1", true)] {
        let rules = format!(
            "serial: increment, primary: {primary}, transfer: {{allow: [{{prefix: 127.0.0.0/8}}], \
             notify: [{{address: \"{notify}\"}}], dynamic_names: current_answer}}"
        );
        let mut daemon = prepare(primary, &zone("d.test", 7, 1, ""), &rules, &shop("{}"));
        let text = std::fs::read_to_string(daemon.config()).unwrap();
        daemon.write("pointsman.yaml", &text.replace("site: {", "sites: [ams1, fra1]\nsite: {"));
        daemon.start();
        assert_eq!(daemon.addresses("shop.d.test"), ["192.0.2.1"]);
        assert_eq!(serial(&daemon), 7, "the file's");
        for asked in [&["d.test", "AXFR"][..], &["d.test", "IXFR=6"], &["d.test", "IXFR=6", "+notcp"]] {
            let said = dig(daemon.dns(), &[asked, &["+noall", "+answer"]].concat()).unwrap();
            assert_eq!(said.contains(" SOA") || said.contains("\tSOA"), hands_out, "{asked:?}: {said}");
            assert_eq!(said.contains("192.0.2.1"), hands_out && asked.len() == 2, "{asked:?}: {said}");
        }
        let heard = told.recv(&mut [0; 512]);
        assert_eq!(heard.is_ok(), hands_out);
        let why = "site ams1 keeps its serial, and fra1 does not";
        assert_eq!(daemon.log().contains(why), !hands_out, "{}", daemon.log());
    }
}
