//! What the checkers of delegations say of a zone that is served here: zonemaster, which registries
//! run before they delegate, and dnsviz, which operators look at when a zone does not validate.
//!
//! A little internet in two network namespaces: a root and a parent on a BIND, signed by its tools,
//! and the daemon with the delegated zone at two names and four addresses. Neither checker may find
//! anything, and both must find a DS that leads nowhere, so that their silence says something.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::daemon::{BINARY, Daemon, Said};
use common::net::Net;
use common::{Program, find, until};
use serde_json::Value;

const ZONE: &str = "gtm.example.com";
const DAEMON: usize = 0;
/// The BIND, and the checkers beside it.
const WORLD: usize = 1;
// Outside of the registries of special addresses, where zonemaster lets no server be (its
// Address01), and in networks of their own. They lead nowhere but through the switch.
const DAEMON_ADDRESSES: [&str; 4] = ["45.10.1.53", "91.20.2.53", "2a0a:1::53", "2a0b:2::53"];
const WORLD_ADDRESSES: [&str; 9] = [
    "80.50.5.53",
    "81.60.6.53",
    "2a0e:5::53",
    "2a0f:6::53",
    "62.30.3.53",
    "77.40.4.53",
    "2a0c:3::53",
    "2a0d:4::53",
    "62.30.3.54",
];
/// Both checkers take some seconds; machines may be slow.
const PATIENCE: Duration = Duration::from_secs(40);
/// The same for one command, in seconds.
const COMMAND_SECONDS: &str = "40";

/// The delegated zone, as a careful operator would write it.
const CHILD: &str = "\
$ORIGIN gtm.example.com.
$TTL 3600
@       SOA   ns1 hostmaster.example.com. 2026112101 14400 3600 1209600 300
        NS    ns1
        NS    ns2
        MX    10 mail.example.com.
        TXT   \"v=spf1 mx -all\"
ns1     A     45.10.1.53
        AAAA  2a0a:1::53
ns2     A     91.20.2.53
        AAAA  2a0b:2::53
shop    CNAME storefront
*.wild  A     192.0.2.99
a.b     TXT   \"below a name without records\"
lab     NS    ns.lab
ns.lab  A     62.30.3.54
";
const LAB: &str = "\
$TTL 3600
@   SOA ns hostmaster.example.com. 1 14400 3600 1209600 300
    NS  ns
ns  A   62.30.3.54
";
const PARENT: &str = "\
$ORIGIN example.com.
$TTL 3600
@        SOA  ns1 hostmaster 1 14400 3600 1209600 300
         NS   ns1
         NS   ns2
         MX   10 mail
mail     A    62.30.3.25
ns1      A    62.30.3.53
         AAAA 2a0c:3::53
ns2      A    77.40.4.53
         AAAA 2a0d:4::53
gtm      NS   ns1.gtm
         NS   ns2.gtm
ns1.gtm  A    45.10.1.53
         AAAA 2a0a:1::53
ns2.gtm  A    91.20.2.53
         AAAA 2a0b:2::53
";
/// The root, with the reverse names of the daemon's addresses.
const ROOT: &str = "\
$TTL 86400
.                 SOA  a.root. hostmaster.example.com. 1 14400 3600 1209600 300
.                 NS   a.root.
.                 NS   b.root.
a.root.           A    80.50.5.53
a.root.           AAAA 2a0e:5::53
b.root.           A    81.60.6.53
b.root.           AAAA 2a0f:6::53
example.com.      NS   ns1.example.com.
example.com.      NS   ns2.example.com.
ns1.example.com.  A    62.30.3.53
ns1.example.com.  AAAA 2a0c:3::53
ns2.example.com.  A    77.40.4.53
ns2.example.com.  AAAA 2a0d:4::53
53.1.10.45.in-addr.arpa. PTR ns1.gtm.example.com.
53.2.20.91.in-addr.arpa. PTR ns2.gtm.example.com.
3.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.a.0.a.2.ip6.arpa. PTR ns1.gtm.example.com.
3.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.b.0.a.2.ip6.arpa. PTR ns2.gtm.example.com.
";
/// Where resolvers begin.
const HINTS: &str = "\
.       3600000 NS   a.root.
.       3600000 NS   b.root.
a.root. 3600000 A    80.50.5.53
a.root. 3600000 AAAA 2a0e:5::53
b.root. 3600000 A    81.60.6.53
b.root. 3600000 AAAA 2a0f:6::53
";
/// One process that is a server of the root at some addresses and of the rest at others.
const NAMED: &str = "\
options {
    directory \".\"; pid-file none; session-keyfile none; listen-on { any; }; listen-on-v6 { any; };
    recursion no; dnssec-validation no; notify no;
};
controls { };
view root {
    match-destinations { 80.50.5.53; 81.60.6.53; 2a0e:5::53; 2a0f:6::53; };
    zone \".\" { type primary; file \"root.signed\"; };
};
view rest {
    zone \"example.com\" { type primary; file \"example.com.signed\"; };
    zone \"lab.gtm.example.com\" { type primary; file \"lab.zone\"; };
};
";
const CONFIG: &str = "\
version: 1
mode: answer
site: {name: fra1}
listen: {dns: [\"45.10.1.53:53\", \"91.20.2.53:53\", \"[2a0a:1::53]:53\", \"[2a0b:2::53]:53\"], control: control.sock}
zones: [{name: gtm.example.com, file: gtm.example.com.zone, dnssec: DNSSEC}]
defaults: {check: {interval: 300ms, timeout: 250ms, fall: 2, rise: 2}}
regions:            # up as soon as the world is
  eu-west: {layers: {reach: [{tcp: {address: \"62.30.3.53:53\"}}]}}
  us-east: {layers: {reach: [{tcp: {address: \"77.40.4.53:53\"}}]}}
services:
  storefront:
    names: [storefront.gtm.example.com]
    policy: {failover: [eu-west, us-east]}
    answers:
      eu-west:
        a: [192.0.2.10]
        aaaa: [\"2001:db8::10\"]
        srv: [\"0 5 443 storefront\"]
        https: [\"1 . alpn=h2\"]
        txt: [\"region=eu-west\"]
      us-east: {a: [192.0.2.20]}
  media:
    names: [media.gtm.example.com]
    policy: {weighted: {eu-west: 70, us-east: 30}}
    answers: {eu-west: {a: [192.0.2.10]}, us-east: {a: [192.0.2.20]}}
  portal:
    names: [portal.gtm.example.com]
    policy: {sticky: {among: [eu-west, us-east]}}
    answers: {eu-west: {cname: storefront}, us-east: {cname: storefront}}
  apex:
    names: [gtm.example.com]
    policy: {all: [eu-west, us-east]}
    answers: {eu-west: {a: [192.0.2.10]}, us-east: {a: [192.0.2.20]}}
store: {embedded: {path: state}}
";

/// What dnsviz asks for at every name, beside DS and DNSKEY.
const TYPES: &str = "A,AAAA,NS,SOA,MX,TXT,SRV,HTTPS";

/// How the delegated zone is signed.
struct Keys {
    /// As `dnssec-keygen` calls it.
    algorithm: &'static str,
    /// What it is told to make each key.
    flags: &'static [&'static [&'static str]],
    /// As we are told of it.
    configured: &'static str,
}

const ONE_KEY: Keys =
    Keys { algorithm: "ECDSAP256SHA256", flags: &[&["-f", "KSK"]], configured: "{parent: {servers: []}}" };
const PAIR: Keys = Keys {
    algorithm: "ED25519",
    flags: &[&["-f", "KSK"], &[]],
    configured: "{algorithm: ed25519, keys: ksk_zsk, parent: {servers: []}}",
};

/// Programs go before the hosts that they run on.
struct Internet {
    _named: Program,
    daemon: Daemon,
    net: Net,
    zonemaster: PathBuf,
    dnsviz: PathBuf,
}

impl Internet {
    /// Everything up, with what the parent says of the child's key. `None`: something is missing,
    /// and was named.
    fn start(name: &str, keys: &Keys, parents_word: impl FnOnce(&str) -> String) -> Option<Self> {
        let named = find("named", "bind9", &["/usr/sbin"])?;
        let keygen = find("dnssec-keygen", "bind9-utils", &["/usr/sbin"])?;
        let signzone = find("dnssec-signzone", "bind9-utils", &["/usr/sbin"])?;
        let zonemaster = find("zonemaster-cli", "zonemaster-cli", &[])?;
        let dnsviz = find("dnsviz", "dnsviz", &[])?;
        let net = Net::start(2)?;
        net.settle(DAEMON, &DAEMON_ADDRESSES);
        net.settle(WORLD, &WORLD_ADDRESSES);

        let mut daemon = Daemon::prepare(name);
        let directory = daemon.directory().to_owned();
        daemon.write("gtm.example.com.zone", CHILD);
        daemon.write("pointsman.yaml", &CONFIG.replace("DNSSEC", keys.configured));
        let make = |algorithm: &str, zone: &str, flags: &[&str]| {
            let words = [&["-q", "-a", algorithm], flags, &[zone]].concat();
            run(Command::new(&keygen), &words, &directory).out.trim().to_owned()
        };
        let key = |zone: &str, flags: &[&str]| make("ECDSAP256SHA256", zone, flags);
        // Keys of which the parent knew before: for one that is new here, the DS is held back until
        // caches have lost what was before it.
        let old: Vec<_> = keys.flags.iter().map(|flags| make(keys.algorithm, ZONE, flags)).collect();
        let old: Vec<_> = old.iter().map(|key| directory.join(key).to_str().unwrap().to_owned()).collect();
        let files = old.iter().map(|file| &file[..]);
        let said = daemon.cli(&["keys", "import", ZONE].into_iter().chain(files).collect::<Vec<_>>());
        assert!(said.succeeded(), "{said}");
        let ds = daemon.cli(&["keys", "ds", ZONE]);
        assert!(ds.succeeded(), "{ds}");
        daemon.start_by(net.on(DAEMON, BINARY));

        daemon.write("example.com.zone", &format!("{PARENT}{}", parents_word(&ds.out)));
        for (name, text) in [("root.zone", ROOT), ("hints", HINTS), ("lab.zone", LAB), ("named.conf", NAMED)]
        {
            daemon.write(name, text);
        }
        // -g: with the DS records of the zones that were signed before, and with no others.
        for (zone, file, more) in [("example.com", "example.com", None), (".", "root", Some("-g"))] {
            key(zone, &["-f", "KSK"]);
            key(zone, &[]);
            let (signed, text) = (format!("{file}.signed"), format!("{file}.zone"));
            let mut words = vec!["-q", "-S", "-o", zone, "-f", &signed];
            words.extend(more);
            words.push(&text);
            run(Command::new(&signzone), &words, &directory);
        }
        let mut command = net.on(WORLD, named.to_str().unwrap());
        command.args(["-g", "-n", "1", "-c", "named.conf"]).current_dir(&directory);
        let log = directory.join("named.log");
        let mut named = Program::start(&mut command, "named", &log);
        until("the world to be served", PATIENCE, || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!named.has_ended(), "named has ended: {said}");
            said.lines().any(|line| line.ends_with(" running"))
        });
        until("both regions to be healthy", PATIENCE, || {
            ["eu-west", "us-east"].iter().all(|region| daemon.health(region) == "healthy")
        });
        Some(Self { _named: named, daemon, net, zonemaster, dnsviz })
    }

    fn file(&self, name: &str) -> String {
        self.daemon.directory().join(name).to_str().unwrap().to_owned()
    }

    /// What zonemaster remarks, line by line: all of it, and what is more than information.
    fn zonemaster(&self) -> (Vec<String>, Vec<String>) {
        let hints = self.file("hints");
        let words = ["--level", "INFO", "--raw", "--show-testcase", "--no-progress", "--hints", &hints, ZONE];
        let command = self.net.on(WORLD, "timeout");
        let program = [COMMAND_SECONDS, self.zonemaster.to_str().unwrap()];
        let said = within(command, &[&program, &words[..]].concat(), self.daemon.directory());
        let lines: Vec<_> = said.to_string().lines().map(str::to_owned).collect();
        // "0.54 INFO DNSSEC10 DS10_HAS_NSEC ns_ip_list=..."
        let is_finding = |line: &&String| line.split_whitespace().nth(1) != Some("INFO");
        let findings = lines.iter().filter(is_finding).cloned().collect();
        (lines, findings)
    }

    /// Lets dnsviz look at names of every kind, and all of the chain above them.
    fn probe(&self) {
        let names =
            ["", "storefront.", "media.", "portal.", "shop.", "nothing.", "x.wild.", "b.", "lab.", "x.lab."]
                .map(|label| format!("{label}{ZONE}"));
        let (hints, probe) = (self.file("hints"), self.file("probe.json"));
        // It has its hints from one place only. `ip netns exec` gives its program mounts of its own,
        // so that nobody else sees this.
        let script = "mount --bind \"$1\" /usr/share/dnsviz/hints/named.root && shift && exec \"$@\"";
        let mut words = vec![COMMAND_SECONDS, "sh", "-c", script, "sh", &hints];
        words.extend([self.dnsviz.to_str().unwrap(), "probe", "-A", "-E", "-a", "."]);
        words.extend(["-R", TYPES, "-o", &probe]);
        words.extend(names.iter().map(String::as_str));
        within(self.net.on(WORLD, "timeout"), &words, self.daemon.directory());
    }

    /// What dnsviz concludes, from some severity on; null if nothing.
    fn grok(&self, level: &str) -> Value {
        let words = ["grok", "-l", level, "-r", &self.file("probe.json")];
        let said = run(Command::new(&self.dnsviz), &words, self.daemon.directory());
        if said.out.trim().is_empty() { Value::Null } else { serde_json::from_str(&said.out).unwrap() }
    }
}

/// Runs a tool to its end, which must be a good one, in its time.
fn run(program: Command, words: &[&str], directory: &Path) -> Said {
    let mut command = Command::new("timeout");
    command.arg(COMMAND_SECONDS).arg(program.get_program());
    within(command, words, directory)
}

/// The same with a command that has its time limit.
fn within(mut command: Command, words: &[&str], directory: &Path) -> Said {
    let said: Said = command.args(words).current_dir(directory).output().unwrap().into();
    assert!(said.succeeded(), "{words:?}: {:?} {said}", said.code);
    said
}

/// How often a status is told, anywhere below.
fn count(value: &Value, status: &str) -> usize {
    match value {
        Value::Object(fields) => {
            let here = usize::from(fields.get("status").is_some_and(|told| told == status));
            here + fields.values().map(|value| count(value, status)).sum::<usize>()
        }
        Value::Array(values) => values.iter().map(|value| count(value, status)).sum(),
        _ => 0,
    }
}

#[test]
fn checkers_of_delegations_find_nothing() {
    let Some(internet) = Internet::start("delegated", &ONE_KEY, str::to_owned) else { return };
    find_nothing(&internet);
}

/// The same of a zone with one key for keys and one for data, of the other algorithm.
#[test]
fn checkers_of_delegations_find_nothing_in_a_pair_of_keys() {
    let Some(internet) = Internet::start("paired", &PAIR, str::to_owned) else { return };
    find_nothing(&internet);
    let dnskeys = internet.daemon.cli(&["keys", "status", ZONE]).out;
    assert!(dnskeys.contains("ksk") && dnskeys.contains("zsk") && dnskeys.contains("ed25519"), "{dnskeys}");
}

fn find_nothing(internet: &Internet) {
    let (lines, findings) = internet.zonemaster();
    assert!(findings.is_empty(), "zonemaster: {findings:#?}");
    // It came as far as to look at keys, denial, CDS, EDNS and the zone itself.
    for tag in ["HAS_PARENT", "ADDRESSES_MATCH", "ALGORITHM_OK", "DS10_HAS_NSEC", "DS15_HAS_CDS_AND_CDNSKEY"]
        .into_iter()
        .chain(["EDNS0_SUPPORT", "NO_UPWARD_REFERRAL", "CASE_QUERIES_RESULTS_OK", "ONE_SOA"])
    {
        let told = lines.iter().any(|line| line.split_whitespace().nth(3) == Some(tag));
        assert!(told, "no {tag}: {lines:#?}");
    }

    internet.probe();
    let findings = internet.grok("warning");
    assert!(findings.is_null(), "dnsviz: {findings:#}");
    let everything = internet.grok("info");
    assert_eq!(count(&everything, "INVALID") + count(&everything, "BOGUS"), 0);
    let delegation = |zone: &str| everything[zone]["delegation"]["status"].clone();
    assert_eq!(delegation("gtm.example.com."), "SECURE");
    assert_eq!(delegation("lab.gtm.example.com."), "INSECURE");
    for label in ["storefront", "media", "portal", "shop", "nothing", "x.wild", "b"] {
        let name = format!("{label}.{ZONE}.");
        assert!(count(&everything[&name], "VALID") > 0, "{name}: {:#}", everything[&name]);
    }
}

/// The same world but for one digit in the DS.
#[test]
fn checkers_of_delegations_find_a_wrong_ds() {
    let wrong = |ds: &str| {
        let mut ds = ds.trim_end().to_owned();
        let last = if ds.pop() == Some('0') { '1' } else { '0' };
        format!("{ds}{last}\n")
    };
    let Some(internet) = Internet::start("misdelegated", &ONE_KEY, wrong) else { return };
    let (lines, findings) = internet.zonemaster();
    let is_error = |line: &&String| line.split_whitespace().nth(1) == Some("ERROR");
    assert!(findings.iter().any(|line| is_error(&line)), "{lines:#?}");
    internet.probe();
    let findings = internet.grok("error");
    assert_eq!(findings["gtm.example.com."]["delegation"]["status"], "BOGUS", "{findings:#}");
}
