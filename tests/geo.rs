//! Databases that tell where clients are, as an operator meets them: asked on the command line,
//! replaced under a daemon that serves, broken, and mended.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::daemon::Daemon;
use common::{find, until};
use pointsman::decide::view::GeoView;
use pointsman::wire::{Message, Name, RecordType, ask};
use serde_json::{Value, json};

/// The files are looked at every 100 ms; machines may be slow.
const PATIENCE: Duration = Duration::from_secs(20);
/// The querier ends by itself after so many questions, about a minute.
const QUESTIONS_MAX: u32 = 30_000;

const CONFIG: &str = r#"
version: 1
mode: answer
site: {name: test}
listen: {dns: ["127.0.0.1:0"], control: control.sock}
dns: {udp_threads: 1, open_after: 200ms}
zones: [{name: gtm.example.com, file: gtm.example.com.zone}]
geo: {databases: [geo.mmdb], networks: [networks.txt], check_every: 100ms}
store: {embedded: {path: state}}
"#;

fn database(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/geoip").join(name).with_extension("mmdb")
}

/// Puts a finished file into a place, as an updater does.
fn replace(daemon: &Daemon, bytes: &[u8]) {
    let (new, place) = (daemon.directory().join("geo.mmdb.new"), daemon.directory().join("geo.mmdb"));
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, place).unwrap();
}

fn prepare(name: &str, database_name: &str) -> Daemon {
    let daemon = Daemon::prepare(name);
    daemon.write("pointsman.yaml", CONFIG);
    daemon.write("networks.txt", "192.0.2.0/24 office # all of it\n192.0.2.128/25 lab\n");
    replace(&daemon, &std::fs::read(database(database_name)).unwrap());
    daemon
}

fn geo(daemon: &Daemon) -> GeoView {
    daemon.status().geo.unwrap()
}

fn kinds(daemon: &Daemon) -> Vec<String> {
    geo(daemon).databases.into_iter().map(|database| database.kind).collect()
}

/// Asks without a break, each question once; how many were asked, and how many not answered.
struct Querier {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<(u32, u32)>,
}

impl Querier {
    fn start(daemon: &Daemon) -> Self {
        let (server, stop) = (daemon.dns(), Arc::<AtomicBool>::default());
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(server).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let name = Name::parse("ns1.gtm.example.com").unwrap();
            let (mut asked, mut lost, mut buffer) = (0, 0, [0; 1500]);
            while asked < QUESTIONS_MAX && !stopped.load(Ordering::Relaxed) {
                let id = asked as u16;
                socket.send(&ask(id, &name, RecordType::A, None)).unwrap();
                asked += 1;
                let answer = socket.recv(&mut buffer).ok().and_then(|len| Message::read(&buffer[..len]).ok());
                lost += u32::from(!answer.is_some_and(|answer| answer.to_string().contains("192.0.2.53")));
                thread::sleep(Duration::from_millis(2));
            }
            (asked, lost)
        });
        Self { stop, thread }
    }

    fn end(self) -> (u32, u32) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn databases_are_replaced_while_the_daemon_serves() {
    let mut daemon = prepare("geo-live", "GeoLite2-Country-Test");
    daemon.start();
    assert_eq!(kinds(&daemon), ["GeoLite2-Country", "networks"]);
    assert_eq!(daemon.metric("pointsman_geo_reload_success"), Some(1.0));
    let querier = Querier::start(&daemon);

    replace(&daemon, &std::fs::read(database("GeoLite2-City-Test")).unwrap());
    until("the City database to be taken over", PATIENCE, || kinds(&daemon)[0] == "GeoLite2-City");
    assert!(daemon.event("geo.reloaded")["message"].as_str().unwrap().contains("GeoLite2-City"));
    let view = geo(&daemon);
    assert!(view.trouble.is_none() && view.databases[0].built.is_some(), "{view:?}");

    // Cut off: the one before goes on.
    let asn = std::fs::read(database("GeoLite2-ASN-Test")).unwrap();
    replace(&daemon, &asn[..asn.len() / 2]);
    until("the broken file to be noticed", PATIENCE, || geo(&daemon).trouble.is_some());
    let view = geo(&daemon);
    let trouble = view.trouble.unwrap();
    assert!(trouble.contains("not a MaxMind database, or cut off"), "{trouble}");
    assert!(trouble.contains("pointsman.yaml:8:"), "{trouble}");
    assert_eq!(view.databases[0].kind, "GeoLite2-City");
    assert_eq!(daemon.metric("pointsman_geo_reload_success"), Some(0.0));
    let told = daemon.cli(&["status"]);
    assert!(told.out.contains("newer files cannot be taken over"), "{told}");
    let checked = daemon.cli(&["check"]);
    assert!(checked.code == Some(1) && checked.err.contains("cut off"), "{checked}");

    // So does a list with a mistake in it.
    replace(&daemon, &asn);
    until("the ASN database to be taken over", PATIENCE, || kinds(&daemon)[0] == "GeoLite2-ASN");
    assert_eq!(geo(&daemon).trouble, None);
    daemon.write("networks.txt", "192.0.2.0/24 office\n192.0.2.1/24 lab\n");
    until("the broken list to be noticed", PATIENCE, || geo(&daemon).trouble.is_some());
    let trouble = geo(&daemon).trouble.unwrap();
    assert!(trouble.contains("networks.txt:2:1: 192.0.2.1/24 has bits set"), "{trouble}");
    std::fs::remove_file(daemon.directory().join("networks.txt")).unwrap();
    until("the missing list to be noticed", PATIENCE, || {
        geo(&daemon).trouble.is_some_and(|trouble| trouble.contains("cannot read"))
    });
    daemon.write("networks.txt", "2001:db8::/32 six\n192.0.2.0/24 office\n10.0.0.0/8 inside\n");
    until("the mended list to be taken over", PATIENCE, || geo(&daemon).databases[1].networks == 3);
    assert_eq!(geo(&daemon).trouble, None);
    assert_eq!(daemon.metric("pointsman_geo_reload_success"), Some(1.0));

    // SIGHUP reads them as well, whatever the watch has seen.
    replace(&daemon, &std::fs::read(database("GeoLite2-Country-Test")).unwrap());
    let said = daemon.cli(&["reload"]);
    assert!(said.succeeded(), "{said}");
    assert_eq!(kinds(&daemon)[0], "GeoLite2-Country");

    let (asked, lost) = querier.end();
    assert!(asked > 100, "only {asked} questions were asked");
    assert_eq!(lost, 0, "of {asked}");
    daemon.stop();
}

#[test]
fn an_operator_asks_what_is_known_of_an_address() {
    let daemon = prepare("geo-ask", "GeoLite2-City-Test");
    let said: Value = daemon.cli_json(&["geo", "81.2.69.142", "192.0.2.200", "2002:5102:458e::1"]);
    let [gb, lab, inside] = &said["addresses"].as_array().unwrap()[..] else { panic!("{said}") };
    assert_eq!(gb["country"], "GB");
    assert_eq!(gb["subdivision"], "GB-ENG");
    assert_eq!(gb["location"], json!({"latitude": 51.5142, "longitude": -0.0931}));
    assert_eq!(lab["networks"], json!(["lab"]));
    assert_eq!(lab["network"], "192.0.2.128/25");
    assert_eq!((&inside["stands_for"], &inside["country"]), (&json!("81.2.69.142"), &json!("GB")));
    let said = daemon.cli(&["geo", "203.0.113.1"]);
    assert!(said.succeeded() && said.out.contains("nothing"), "{said}");
    assert!(said.out.contains("GeoLite2-City"), "{said}");

    // Every broken file is told of at its place.
    replace(&daemon, b"hello\n");
    daemon.write("networks.txt", "192.0.2.0/24\n");
    let said = daemon.cli(&["geo", "203.0.113.1"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("not a MaxMind database") && said.err.contains("a label is missing"), "{said}");
    daemon.write(
        "pointsman.yaml",
        &CONFIG.replace("[geo.mmdb], networks: [networks.txt]", "[no.mmdb, no.mmdb]"),
    );
    let said = daemon.cli(&["check"]);
    assert!(said.err.contains("is listed twice"), "{said}");
    daemon.write("pointsman.yaml", &CONFIG.replace("[geo.mmdb], networks: [networks.txt]", "[no.mmdb]"));
    let said = daemon.cli(&["check"]);
    assert!(said.err.contains("cannot read") && said.err.contains("no.mmdb"), "{said}");
}

/// What `dig` prints for a client in this network.
fn dig(program: &Path, server: SocketAddr, client: &str) -> String {
    let port = server.port().to_string();
    let arguments = ["@127.0.0.1", "-p", &port, "+time=5", "+tries=1", "-r", "shop.gtm.example.com", "A"];
    let output = Command::new(program).args(arguments).arg(format!("+subnet={client}")).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What never holds is said by `check`, with what may have been meant.
#[test]
fn rules_for_nobody_are_told() {
    let daemon = prepare("geo-words", "GeoLite2-City-Test");
    let layers =
        "{layers: {reach: [{tcp: {address: \"127.0.0.1:9\"}}]}, location: {latitude: 1, longitude: 2}}";
    let services = format!(
        "regions: {{eu: {layers}, us: {layers}}}
services:
  shop:
    names: [shop.gtm.example.com]
    answers: {{eu: {{a: [192.0.2.1]}}, us: {{a: [192.0.2.2]}}}}
    policy:
      geo:
        rules:
          - {{networks: [lib], to: eu}}
          - {{countries: [UK, QQ, XK], to: eu}}
        default: {{nearest: [eu, us]}}
"
    );
    let check = |config: &str| {
        daemon.write("pointsman.yaml", &format!("{config}{services}"));
        let said = daemon.cli(&["check"]);
        assert!(said.succeeded(), "{said}");
        said.err
    };
    let said = check(CONFIG);
    for words in [
        "nothing tells which clients are lib",
        "did you mean `lab`?",
        "`UK` is no code of a country in ISO 3166",
        "did you mean `GB`?",
        "`QQ` is no code",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("`XK` is") && !said.contains("nothing tells where clients are"), "{said}");
    // Country databases have no locations; nor has no database.
    for geo in ["databases: [country.mmdb]", "databases: []"] {
        std::fs::copy(database("GeoLite2-Country-Test"), daemon.directory().join("country.mmdb")).unwrap();
        let said = check(&CONFIG.replace("databases: [geo.mmdb]", geo));
        assert!(said.contains("the first fit region is `nearest` to everybody"), "{geo}: {said}");
        assert!(said.contains("pointsman.yaml:20:"), "{said}");
    }
}

#[test]
fn clients_are_led_elsewhere_once_a_database_says_so() {
    let Some(program) = find("dig", "bind9-dnsutils", &[]) else { return };
    let well = TcpListener::bind("127.0.0.1:0").unwrap();
    let check = format!(
        "{{layers: {{reach: [{{tcp: {{address: \"{}\", interval: 100ms, rise: 1}}}}]}}}}",
        well.local_addr().unwrap()
    );
    let mut daemon = prepare("geo-led", "GeoLite2-City-Test");
    let services = format!(
        "regions: {{eu: {check}, us: {check}}}
services:
  shop:
    names: [shop.gtm.example.com]
    policy: {{geo: {{rules: [{{networks: [lab], to: eu}}, {{countries: [GB], to: eu}}], default: us}}}}
    answers: {{eu: {{a: [192.0.2.1]}}, us: {{a: [192.0.2.2]}}}}
"
    );
    daemon.write(
        "pointsman.yaml",
        &format!("{CONFIG}{services}").replace("open_after: 200ms", "open_after: 10s"),
    );
    daemon.start();
    let server = daemon.dns();
    let led = |client: &str, address: &str, scope: &str| {
        let said = dig(&program, server, client);
        let scoped = format!("CLIENT-SUBNET: {client}/{scope}");
        said.lines().any(|line| line.ends_with(address)) && said.lines().any(|line| line.ends_with(&scoped))
    };
    let shown = |client: &str| dig(&program, server, client);
    until("both regions to be healthy", PATIENCE, || {
        daemon.health("eu") == "healthy" && daemon.health("us") == "healthy"
    });
    assert!(led("81.2.69.142/32", "192.0.2.1", "31"), "{}", shown("81.2.69.142/32"));
    assert!(led("192.0.2.128/25", "192.0.2.1", "25"), "{}", shown("192.0.2.128/25"));
    assert!(led("192.0.2.0/25", "192.0.2.2", "25"), "{}", shown("192.0.2.0/25"));
    // 81 and 89 part after four bits.
    assert!(led("89.160.20.0/24", "192.0.2.2", "5"), "{}", shown("89.160.20.0/24"));

    // A database without countries: all but the lab go to the default.
    replace(&daemon, &std::fs::read(database("GeoLite2-ASN-Test")).unwrap());
    until("clients to be led elsewhere", PATIENCE, || led("81.2.69.142/32", "192.0.2.2", "1"));
    assert!(led("192.0.2.128/25", "192.0.2.1", "25"), "{}", shown("192.0.2.128/25"));
    // A list without the lab: all clients are alike.
    daemon.write("networks.txt", "192.0.2.0/24 office\n");
    until("the list to be taken over", PATIENCE, || led("192.0.2.128/25", "192.0.2.2", "0"));
    assert!(led("81.2.69.142/32", "192.0.2.2", "0"), "{}", shown("81.2.69.142/32"));
}
