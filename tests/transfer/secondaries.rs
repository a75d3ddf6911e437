//! Real secondaries: Knot, NSD and BIND stay in sync through reloads, flips and a restart.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::daemon::Daemon;
use crate::common::shop::Shop;
use crate::common::{Program, Scratch, ports, until};
use crate::world::{ODD, SECRET, configuration, dig, fetch, tool, with_key, write_key, zone};

/// From a change to the newest version everywhere: a notice, a question, a transfer, a reload of
/// NSD; on a machine that does other things too.
const SYNC: Duration = Duration::from_secs(40);

const ZONES: [&str; 2] = ["a.test", "d.test"];

/// A secondary server of both zones.
pub struct Secondary {
    name: &'static str,
    address: SocketAddr,
    _program: Program,
    scratch: Scratch,
}

impl Secondary {
    /// Starts one of each that is installed.
    fn start_all(primary: SocketAddr, ports: [u16; 3]) -> Vec<Self> {
        let [knot, nsd, bind] = ports;
        let all = [
            Self::start("knot", "knotd", "knot", knot, &["-c"], |at| knot_config(at, knot, primary)),
            Self::nsd(nsd, |at| nsd_config(at, nsd, primary)),
            Self::bind(bind, |at| bind_config(at, bind, primary)),
        ];
        all.into_iter().flatten().collect()
    }

    pub fn nsd(port: u16, config: impl FnOnce(&Path) -> String) -> Option<Self> {
        Self::start("nsd", "nsd", "nsd", port, &["-d", "-c"], config)
    }

    pub fn bind(port: u16, config: impl FnOnce(&Path) -> String) -> Option<Self> {
        Self::start("bind", "named", "bind9", port, &["-g", "-X", "none", "-c"], config)
    }

    fn start(
        name: &'static str,
        program: &str,
        package: &str,
        port: u16,
        arguments: &[&str],
        config: impl FnOnce(&Path) -> String,
    ) -> Option<Self> {
        let mut command: Command = tool(program, package)?;
        let scratch = Scratch::new(name);
        let file = scratch.path().join("server.conf");
        std::fs::write(&file, config(scratch.path())).unwrap();
        command.args(arguments).arg(&file);
        let program = Program::start(&mut command, name, &scratch.path().join("log"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Some(Self { name, address, _program: program, scratch })
    }

    fn log(&self) -> String {
        let read = |file: &str| std::fs::read_to_string(self.scratch.path().join(file)).unwrap_or_default();
        read("log") + &read("nsd.log")
    }
}

fn knot_config(directory: &Path, port: u16, primary: SocketAddr) -> String {
    let directory = directory.display();
    let zones = ZONES.map(|zone| format!("  - domain: {zone}\n    storage: \"{directory}\"\n    master: primary\n    acl: [notified, fetched]\n"));
    format!(
        "\
server:
    rundir: \"{directory}\"
    listen: 127.0.0.1@{port}
    background-workers: 1
    udp-workers: 1
    tcp-workers: 1
database:
    storage: \"{directory}/db\"
    journal-db-max-size: 16M
log:
  - target: stderr
    any: info
key:
  - id: transfer-key
    algorithm: hmac-sha256
    secret: {SECRET}
remote:
  - id: primary
    address: 127.0.0.1@{}
    key: transfer-key
acl:
  - id: notified
    address: 127.0.0.1
    key: transfer-key
    action: notify
  - id: fetched
    address: 127.0.0.0/8
    action: transfer
zone:
{}",
        primary.port(),
        zones.concat()
    )
}

fn nsd_config(directory: &Path, port: u16, primary: SocketAddr) -> String {
    let from = format!("127.0.0.1@{} transfer-key", primary.port());
    nsd_zones(directory, port, "", ZONES.map(|zone| (zone, &from[..])))
}

/// `server`: more of its section; each zone comes from there.
pub fn nsd_zones<const N: usize>(
    directory: &Path,
    port: u16,
    server: &str,
    zones: [(&str, &str); N],
) -> String {
    let directory = directory.display();
    let zones = zones.map(|(zone, from)| {
        format!(
            "\
zone:
    name: {zone}
    zonefile: {zone}.zone
    request-xfr: {from}
    allow-notify: 127.0.0.1 transfer-key
    provide-xfr: 127.0.0.0/8 NOKEY
"
        )
    });
    format!(
        "\
server:
    ip-address: 127.0.0.1@{port}
    zonesdir: \"{directory}\"
    database: \"\"
    xfrdfile: \"{directory}/xfrd.state\"
    xfrdir: \"{directory}\"
    zonelistfile: \"{directory}/zone.list\"
    pidfile: \"{directory}/nsd.pid\"
    logfile: \"{directory}/nsd.log\"
    verbosity: 2
    username: \"\"
    chroot: \"\"
    server-count: 1
    xfrd-reload-timeout: 0
{server}remote-control:
    control-enable: no
key:
    name: transfer-key
    algorithm: hmac-sha256
    secret: \"{SECRET}\"
{}",
        zones.concat()
    )
}

fn bind_config(directory: &Path, port: u16, primary: SocketAddr) -> String {
    let from = format!("127.0.0.1 port {} key transfer-key", primary.port());
    bind_zones(directory, port, "", ZONES.map(|zone| (zone, &from[..])))
}

/// `more`: statements before the zones; each zone comes from there.
pub fn bind_zones<const N: usize>(
    directory: &Path,
    port: u16,
    more: &str,
    zones: [(&str, &str); N],
) -> String {
    let directory = directory.display();
    let zones = zones.map(|(zone, from)| {
        format!(
            "zone \"{zone}\" {{ type secondary; file \"{directory}/{zone}.db\"; primaries {{ {from}; }}; allow-notify {{ key transfer-key; }}; }};\n"
        )
    });
    format!(
        "\
options {{
    directory \"{directory}\";
    managed-keys-directory \"{directory}\";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    session-keyfile \"{directory}/session.key\";
    recursion no;
    notify no;
    dnssec-validation no;
    allow-transfer {{ 127.0.0.0/8; }};
    min-refresh-time 1;
    min-retry-time 1;
}};
controls {{ }};
key transfer-key {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};
{more}{}",
        zones.concat()
    )
}

fn serial(server: SocketAddr, zone: &str) -> Option<u32> {
    let said = dig(server, &["+noall", "+answer", zone, "SOA"])?;
    said.split_whitespace().nth(6)?.parse().ok()
}

/// Waits until every secondary has this version of a zone, and compares it record by record.
#[track_caller]
pub fn in_sync(daemon: &Daemon, secondaries: &[Secondary], zone: &str, wanted: u32) {
    let key = with_key("transfer-key", "hmac-sha256", SECRET);
    let ours = fetch(daemon.dns(), zone, &["-y", &key]).unwrap();
    assert_eq!(ours.0, wanted, "{zone}: our own version");
    for secondary in secondaries {
        let start = crate::common::now();
        while serial(secondary.address, zone) != Some(wanted) {
            let waited = crate::common::now() - start;
            assert!(
                waited < SYNC,
                "{} has no {zone} {wanted}: {}\n{}",
                secondary.name,
                secondary.log(),
                daemon.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let theirs = fetch(secondary.address, zone, &[]).unwrap();
        let (missing, surplus): (Vec<_>, Vec<_>) =
            (ours.1.difference(&theirs.1).collect(), theirs.1.difference(&ours.1).collect());
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "{} {zone} {wanted}: missing {missing:#?}, surplus {surplus:#?}",
            secondary.name
        );
    }
}

fn setup(name: &str, own: u16, ports: [u16; 3], shop: &Shop) -> Daemon {
    let daemon = Daemon::prepare(name);
    write_key(&daemon);
    let notify = ports.map(|port| format!("{{address: \"127.0.0.1:{port}\", key: transfer-key}}")).join(", ");
    let transfer = format!("allow: [{{key: transfer-key}}], notify: [{notify}]");
    let zones = format!(
        "  - {{name: a.test, file: a.zone, transfer: {{{transfer}}}}}
  - {{name: d.test, file: d.zone, serial: increment, transfer: {{{transfer}, dynamic_names: current_answer}}}}
"
    );
    let services = format!(
        "\
regions:
  east: {{layers: {{service: [{{http: {{url: \"{}\", status: [200], interval: 100ms, timeout: 90ms, rise: 1, fall: 1}}}}]}}}}
  west: {{layers: {{service: [{{http: {{url: \"{}\", status: [200], interval: 100ms, timeout: 90ms, rise: 1, fall: 1}}}}]}}}}
services:
  shop:
    names: [shop.d.test, www.shop.d.test]
    policy: {{failover: [east, west]}}
    answers: {{east: {{a: [192.0.2.1], aaaa: [\"2001:db8::1\"]}}, west: {{a: [192.0.2.2]}}}}
    ttl: {{min: 5s, max: 5s}}
    failback: {{auto: {{after: 1s}}}}
",
        shop.url("/healthz"),
        shop.url("/gate")
    );
    let text = configuration(&zones, &services).replace("127.0.0.1:0", &format!("127.0.0.1:{own}"));
    daemon.write("pointsman.yaml", &text);
    daemon
}

/// Reloads, IXFR steps, a flip as a version of its own, a restart in between, and a change too big
/// to be told as a difference: after each of them all three have what we have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_nsd_and_bind_stay_in_sync() {
    if dig(SocketAddr::from(([127, 0, 0, 1], 1)), &["-v"]).is_none() {
        return;
    }
    let shop = Shop::start().await;
    shop.open_gate();
    let own = ports::free_for_both();
    let peers = std::array::from_fn(|_| ports::free_for_both());
    let mut daemon = setup("sync", own, peers, &shop);
    let d = "text IN TXT \"static\"\nshop IN MX 10 ns1\n";
    daemon.write("a.zone", &zone("a.test", 1, 500, ODD));
    daemon.write("d.zone", &zone("d.test", 100, 5, d));
    daemon.start();
    let secondaries = Secondary::start_all(SocketAddr::from(([127, 0, 0, 1], own)), peers);
    if secondaries.is_empty() {
        return;
    }
    in_sync(&daemon, &secondaries, "a.test", 1);
    let first = serial(daemon.dns(), "d.test").unwrap();
    assert!(first >= 100);
    in_sync(&daemon, &secondaries, "d.test", first);
    let shop_of = |secondary: &Secondary| crate::common::client::addresses(secondary.address, "shop.d.test");
    for secondary in &secondaries {
        assert_eq!(shop_of(secondary), ["192.0.2.1"], "{}", secondary.name);
    }

    // Versions of the file, some of them over several numbers, around the end of all numbers.
    let mut rng = fastrand::Rng::with_seed(7);
    let mut hosts = 500;
    for version in [2, 3, 9, 0x7000_0000, 0xe000_0000, 5] {
        hosts = hosts + rng.usize(0..40) - rng.usize(0..30);
        let more: String =
            (0..rng.usize(1..30)).map(|n| format!("extra{n} IN TXT \"{}\"\n", rng.u32(..))).collect();
        daemon.write("a.zone", &zone("a.test", version, hosts, &format!("{ODD}{more}")));
        assert!(daemon.cli(&["reload", "--zone", "a.test"]).succeeded());
        in_sync(&daemon, &secondaries, "a.test", version);
    }
    let metric =
        |event: &str| daemon.metric(&format!("pointsman_query_events_total{{event=\"{event}\"}}")).unwrap();
    let differences = metric("transfer_ixfr") + metric("transfer_ixfr_udp");
    assert!(differences >= 6.0, "{differences} differences; {}", daemon.log());
    assert!(daemon.metric("pointsman_notify_total{outcome=\"told\"}").unwrap() >= 6.0);

    // One that has been away finds all steps in one: dig asks for what has changed since 2.
    let key = with_key("transfer-key", "hmac-sha256", SECRET);
    let said = dig(daemon.dns(), &["a.test", "IXFR=2", "+noall", "+answer", "-y", &key]).unwrap();
    let soas = said.lines().filter(|line| line.contains("SOA")).count();
    assert_eq!(soas, 4, "one difference, condensed: {said}");

    // A flip is a version: the next number, told at once, and answered by whoever asks for the SOA.
    let before = serial(daemon.dns(), "d.test").unwrap();
    shop.set_healthy(false);
    until("the flip", SYNC, || daemon.addresses("shop.d.test") == ["192.0.2.2"]);
    let flipped = serial(daemon.dns(), "d.test").unwrap();
    assert_eq!(flipped, before + 1);
    in_sync(&daemon, &secondaries, "d.test", flipped);
    for secondary in &secondaries {
        assert_eq!(shop_of(secondary), ["192.0.2.2"], "{}", secondary.name);
    }

    // A restart that changes nothing is no new version; one after a crash is.
    daemon.stop();
    daemon.start();
    assert_eq!(serial(daemon.dns(), "d.test"), Some(flipped), "{}", daemon.log());
    daemon.kill();
    daemon.start();
    let after = serial(daemon.dns(), "d.test").unwrap();
    assert!(after > flipped, "{after} after {flipped}");
    in_sync(&daemon, &secondaries, "d.test", after);
    shop.set_healthy(true);
    until("the way back", SYNC, || daemon.addresses("shop.d.test") == ["192.0.2.1"]);
    let back = serial(daemon.dns(), "d.test").unwrap();
    assert!(back > after);
    in_sync(&daemon, &secondaries, "d.test", back);

    // Static names of the same zone change too, and its file's number does not: we count.
    daemon.write("d.zone", &zone("d.test", 100, 7, d));
    daemon.hang_up();
    until("the reload", SYNC, || !daemon.addresses("host6.d.test").is_empty());
    in_sync(&daemon, &secondaries, "d.test", serial(daemon.dns(), "d.test").unwrap());

    // Too much for a difference.
    daemon.write("a.zone", &zone("a.test", 6, 30_000, "other IN A 192.0.2.9\n"));
    assert!(daemon.cli(&["reload"]).succeeded());
    in_sync(&daemon, &secondaries, "a.test", 6);
}
