//! Keys of signed zones: their files beside other programs' files, and their lives in a daemon that is
//! killed now and then, under a parent that is a name server of its own, while `delv` validates.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

mod common;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::daemon::{Daemon, Said};
use common::{Scratch, find, until};
use pointsman::base::Timestamp;
use pointsman::sign::{Algorithm, KeyRing, KeyState, Role};
use pointsman::sys::{KeyDirectory, signing_key};
use pointsman::wire::{Name, RecordType, ShowRdata};
use serde_json::Value;

/// Every wait of a rollover is a second or two here; machines may be slow.
const PATIENCE: Duration = Duration::from_secs(60);
const ZONE: &str = "gtm.example.com";
const CHILD: &str = "\
$ORIGIN gtm.example.com.
$TTL 1
@    IN SOA ns1 hostmaster.example.com. 1 3600 600 1209600 1
     IN NS  ns1
ns1  IN A   192.0.2.53
";
/// Waits of a second, so that a rollover can be watched.
const QUICK: &str = "dnskey_ttl: 1s, max_ttl: 1s, propagation: 0s, safety: 0s";

fn tool(program: &Path, arguments: &[&str], directory: &Path) -> String {
    let said: Said = Command::new(program).args(arguments).current_dir(directory).output().unwrap().into();
    assert!(said.succeeded(), "{} {arguments:?}: {said}", program.display());
    said.out
}

/// The fields of a DS record, its digest in one piece and in one case.
fn ds_fields(text: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.contains("DS")).unwrap_or_else(|| panic!("no DS in {text:?}"));
    let fields: Vec<_> =
        line.split(';').next().unwrap().split_whitespace().skip_while(|word| *word != "DS").collect();
    let (head, digest) = fields[1..].split_at(3);
    head.iter().map(ToString::to_string).chain([digest.concat().to_lowercase()]).collect()
}

// ── files ──

/// What others make of our keys, and we of theirs.
#[test]
fn key_files_fit_other_programs() {
    let Some(dsfromkey) = find("dnssec-dsfromkey", "bind9-utils", &["/usr/sbin"]) else { return };
    let Some(keygen) = find("dnssec-keygen", "bind9-utils", &["/usr/sbin"]) else { return };
    let Some(key2ds) = find("ldns-key2ds", "ldnsutils", &[]) else { return };
    let Some(ldns_keygen) = find("ldns-keygen", "ldnsutils", &[]) else { return };
    let Some(openssl) = find("openssl", "openssl", &[]) else { return };
    let scratch = Scratch::new("key-files");
    let here = scratch.path();
    let zone = Name::parse(ZONE).unwrap();
    let now = Timestamp::UNIX_EPOCH;
    for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519] {
        let path = here.join(algorithm.word());
        let directory = KeyDirectory::lock(&path).unwrap();
        let mut ring = KeyRing::new();
        let tag = directory.generate(&mut ring, algorithm, Role::Csk, now).unwrap();
        directory.save(&ring).unwrap();
        let key = signing_key(&path, &ring.keys[0]).unwrap();
        let show = |rtype, rdata: &[u8]| ShowRdata { rtype, rdata }.to_string();
        let file = here.join(format!("{}.key", algorithm.word()));
        let dnskey = show(RecordType::DNSKEY, key.dnskey_rdata());
        std::fs::write(&file, format!("{ZONE}. 3600 IN DNSKEY {dnskey}\n")).unwrap();
        let ours = format!("DS {}", show(RecordType::DS, &key.ds_rdata(&zone)));
        let bind = tool(&dsfromkey, &["-2", file.to_str().unwrap()], here);
        let ldns = tool(&key2ds, &["-n", "-2", file.to_str().unwrap()], here);
        assert_eq!(ds_fields(&ours), ds_fields(&bind));
        assert_eq!(ds_fields(&ours), ds_fields(&ldns));
        // openssl reads the private half, and finds the same public one in it.
        let pem = path.join(format!("{}-{tag:05}.pem", algorithm.number()));
        let text = tool(&openssl, &["pkey", "-in", pem.to_str().unwrap(), "-noout", "-text"], here);
        let octets = key.public().iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let told: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
        assert!(told.contains(&octets), "{text}");

        // And theirs, whoever made them.
        for (nth, made) in [
            tool(&keygen, &["-a", algorithm.word(), "-f", "KSK", ZONE], here),
            tool(&ldns_keygen, &["-a", &algorithm.word().to_uppercase(), "-k", ZONE], here),
        ]
        .into_iter()
        .enumerate()
        {
            let stem = made.trim();
            let path = here.join(format!("{}-{nth}", algorithm.word()));
            let directory = KeyDirectory::lock(&path).unwrap();
            let mut ring = KeyRing::new();
            let layout = pointsman::sign::Layout::Csk;
            let record =
                directory.import(&mut ring, layout, &here.join(format!("{stem}.private")), now).unwrap();
            directory.save(&ring).unwrap();
            assert_eq!(stem.rsplit('+').next().unwrap().parse(), Ok(record.tag));
            let key = signing_key(&path, &record).unwrap();
            let bind = tool(&dsfromkey, &["-2", &format!("{stem}.key")], here);
            let ours = format!("DS {}", show(RecordType::DS, &key.ds_rdata(&zone)));
            assert_eq!(ds_fields(&ours), ds_fields(&bind));
            assert!(
                directory.import(&mut ring, layout, &here.join(stem), now).is_err(),
                "it is there already"
            );
        }
    }
}

#[test]
fn keys_that_others_may_read_are_refused() {
    let daemon = daemon("key-modes", "{}", "");
    assert!(daemon.cli(&["keys", "generate", ZONE]).succeeded());
    let directory = daemon.directory().join("state/keys").join(ZONE);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let pem = pem_in(&directory);
    assert_eq!((mode(&directory), mode(&pem)), (0o700, 0o600));
    assert!(daemon.cli(&["check"]).succeeded());

    let set =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let refused = |cure: String| {
        let said = daemon.cli(&["check"]);
        assert_eq!(said.code, Some(1), "{said}");
        assert!(said.err.contains(&cure), "{said}");
    };
    set(&pem, 0o640);
    refused(format!("chmod 600 {}", pem.display()));
    set(&pem, 0o600);
    set(&directory, 0o770);
    refused(format!("chmod go-rwx {}", directory.display()));
    set(&directory, 0o700);
    let text = std::fs::read(&pem).unwrap();
    // Only root can give a file away.
    if std::os::unix::fs::chown(&pem, Some(12345), None).is_ok() {
        refused("belongs to user 12345; run: chown".to_owned());
        std::os::unix::fs::chown(&pem, Some(0), None).unwrap();
    }
    std::fs::write(&pem, "words").unwrap();
    refused("PEM".to_owned());
    std::fs::remove_file(&pem).unwrap();
    refused("cannot read".to_owned());
    std::fs::write(&pem, text).unwrap();
    set(&pem, 0o600);
    assert!(daemon.cli(&["check"]).succeeded());
}

#[test]
fn settings_that_cannot_be_are_told() {
    for (dnssec, words) in [
        ("{keys: csk, lifetime: {zsk: 90d}}", "there is no zsk"),
        ("{lifetime: {ksk: 1h}}", "shorter than one rollover takes"),
        ("{signature: {validity: 1d, refresh: 2d}}", "made anew 48h before their end"),
        ("{max_ttl: 0s}", "is not between 1s and 720h"),
        ("{algorithm: rsasha256}", "unknown kind `rsasha256`"),
        ("{parent: {servers: [ns1.example.com]}}", "is not an address"),
        ("", "write `{}` for the defaults"),
    ] {
        let daemon = daemon("key-settings", dnssec, "");
        let said = daemon.cli(&["check"]);
        assert!(said.code == Some(1) && said.err.contains(words), "{dnssec}: {said}");
        assert!(said.err.contains("pointsman.yaml:5:"), "{dnssec}: no place in {said}");
    }
    // A TTL that outlasts what rollovers wait for, told where it stands.
    let daemon = daemon("key-ttl", "{max_ttl: 1s}", "");
    daemon.write("child.zone", &CHILD.replace("ns1  IN", "ns1  300 IN"));
    let said = daemon.cli(&["check"]);
    assert!(said.code == Some(1) && said.err.contains("child.zone:5:"), "{said}");
}

// ── losses ──

/// What parents and caches rely on goes on being served, whatever becomes of the files.
#[test]
fn a_signed_zone_stays_signed_with_its_keys() {
    let settings = format!("{{{QUICK}, parent: {{servers: [], ds_ttl: 1s, propagation: 0s}}}}");
    let mut daemon = daemon("key-loss", &settings, "");
    daemon.start();
    until_states(&daemon, &["ready"]);
    let served = answered(daemon.dns(), RecordType::DNSKEY);
    assert_eq!(served.len(), 1);
    let directory = daemon.directory().join("state/keys").join(ZONE);
    let away = daemon.directory().join("away");
    let same = |daemon: &Daemon| assert_eq!(answered(daemon.dns(), RecordType::DNSKEY), served);
    let refused = |daemon: &Daemon, arguments: &[&str], words: &str| {
        let said = daemon.cli(arguments);
        assert!(!said.succeeded() && said.err.contains(words), "{arguments:?}: {said}");
    };
    let trouble = |daemon: &Daemon| daemon.status().signed_zones[0].trouble.clone();

    // The whole directory, and then the state alone.
    std::fs::rename(&directory, &away).unwrap();
    until("the loss to be told", PATIENCE, || {
        trouble(&daemon).is_some_and(|why| why.contains("put that directory back"))
    });
    refused(&daemon, &["reload"], "put that directory back");
    same(&daemon);
    assert!(!directory.exists(), "nothing is made in its place");
    std::fs::rename(&away, &directory).unwrap();
    until("it to be well", PATIENCE, || trouble(&daemon).is_none());
    let (state, kept) = (directory.join("keys.json"), directory.join("kept"));
    std::fs::rename(&state, &kept).unwrap();
    until("that loss to be told", PATIENCE, || {
        trouble(&daemon).is_some_and(|why| why.contains("put keys.json back"))
    });
    refused(&daemon, &["reload"], "put keys.json back");
    refused(&daemon, &["check"], "put keys.json back");
    same(&daemon);
    std::fs::write(&state, "{\"keys\": []}").unwrap();
    refused(&daemon, &["reload"], "put that directory back");
    same(&daemon);
    std::fs::rename(&kept, &state).unwrap();
    until("it to be well again", PATIENCE, || trouble(&daemon).is_none());

    // Without the section it would be served unsigned, where the parent may point at its key.
    let signed = std::fs::read_to_string(daemon.directory().join("pointsman.yaml")).unwrap();
    daemon.write("pointsman.yaml", &signed.replace(&format!(", dnssec: {settings}"), ""));
    refused(&daemon, &["reload"], "pointsman keys unsign");
    refused(&daemon, &["check"], "pointsman keys unsign");
    same(&daemon);
    std::fs::rename(&directory, &away).unwrap();
    refused(&daemon, &["reload"], "put that directory back");
    std::fs::rename(&away, &directory).unwrap();

    // Nor without the zone, unless its keys have left too.
    let without = signed.replace(&format!("{{name: {ZONE}, file: child.zone, dnssec: {settings}}}"), "");
    assert_ne!(without, signed);
    daemon.write("pointsman.yaml", &without);
    for order in ["reload", "check"] {
        refused(&daemon, &[order], "is no longer among the zones");
        refused(&daemon, &[order], "move the directory away");
    }
    same(&daemon);

    // Keys that are lost while no daemon runs are missed by the next one, which makes no others.
    daemon.write("pointsman.yaml", &signed);
    daemon.stop();
    std::fs::rename(&directory, &away).unwrap();
    let said = daemon.cli(&["serve"]);
    assert!(said.code == Some(1) && said.err.contains("put that directory back"), "{said}");
    assert!(said.err.contains(&format!("pointsman keys generate {ZONE}")), "{said}");
    assert!(!directory.exists(), "nothing is made in its place");
    std::fs::rename(&away, &directory).unwrap();
    daemon.start();
    same(&daemon);

    // The way that is told leads out.
    daemon.write("pointsman.yaml", &signed);
    for more in [None, Some("--ds-gone")] {
        let order: Vec<_> = ["keys", "unsign", ZONE].into_iter().chain(more).collect();
        let said = daemon.cli(&order);
        assert!(said.succeeded(), "{said}");
    }
    daemon.write("pointsman.yaml", &signed.replace(&format!(", dnssec: {settings}"), ""));
    let mut last = None;
    for _ in 0..60 {
        let said = daemon.cli(&["reload"]);
        let done = said.succeeded();
        last = Some(said);
        if done {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let last = last.unwrap();
    assert!(last.succeeded(), "{last}");
    assert!(answered(daemon.dns(), RecordType::DNSKEY).is_empty());
}

/// Whoever moves a zone to other servers takes its keys along.
#[test]
fn a_zone_leaves_with_its_keys() {
    let settings = format!("{{{QUICK}, parent: {{servers: []}}}}");
    let mut daemon = daemon("key-leaves", &settings, "");
    daemon.start();
    until_states(&daemon, &["ready"]);
    let directory = daemon.directory().join("state/keys").join(ZONE);
    let signed = std::fs::read_to_string(daemon.directory().join("pointsman.yaml")).unwrap();
    let entry = format!("{{name: {ZONE}, file: child.zone, dnssec: {settings}}}");
    daemon.write("pointsman.yaml", &signed.replace(&entry, ""));
    let said = daemon.cli(&["reload"]);
    assert!(!said.succeeded() && said.err.contains("is no longer among the zones"), "{said}");
    std::fs::rename(&directory, daemon.directory().join("away")).unwrap();
    let said = daemon.cli(&["reload"]);
    assert!(said.succeeded(), "{said}");
    // It may come back, with other keys.
    daemon.write("pointsman.yaml", &signed);
    let said = daemon.cli(&["reload"]);
    assert!(said.succeeded() && directory.exists(), "{said}");
}

/// What is refused leaves no keys behind.
#[test]
fn keys_are_made_only_when_all_secrets_are_there() {
    let daemon = daemon("key-refused", "{}", "keys: {t.example: {secret: {file: nowhere}}}\n");
    let said = daemon.cli(&["serve"]);
    assert!(said.code == Some(1) && said.err.contains("nowhere"), "{said}");
    assert!(!daemon.directory().join("state/keys").exists());
}

// ── several sites ──

#[test]
fn with_several_sites_keys_come_from_an_operator() {
    let mut daemon =
        daemon("key-sites", &format!("{{{QUICK}, parent: {{servers: []}}}}"), "sites: [fra1, iad1]\n");
    let said = daemon.cli(&["check"]);
    assert!(said.err.contains(&format!("pointsman keys generate {ZONE}")), "{said}");
    assert_eq!(said.code, Some(1));
    let said = daemon.cli(&["keys", "generate", ZONE]);
    assert!(said.succeeded() && said.out.contains("to all sites"), "{said}");
    daemon.start();
    let file = daemon.directory().join("state/keys").join(ZONE).join("keys.json");
    let before = std::fs::read(&file).unwrap();
    // Long enough for whatever would be due.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(std::fs::read(&file).unwrap(), before, "no daemon moves keys");
    let state = |daemon: &Daemon| keys(&daemon.cli_json(&["keys", "status", ZONE]))[0].1.clone();
    assert_eq!(state(&daemon), "published");
    assert!(daemon.cli(&["keys", "advance", ZONE]).succeeded());
    assert_eq!(state(&daemon), "ready");
    // What an operator distributes is taken over.
    let shown = || daemon.status().signed_zones.first().map(|zone| zone.keys[0].state);
    until("the daemon to follow the files", PATIENCE, || shown() == Some(KeyState::Ready));
    let said = daemon.cli(&["keys", "ds-seen", ZONE, "1"]);
    assert!(said.code == Some(1) && said.err.contains("there is no key 1"), "{said}");
}

// ── lives ──

/// A zone goes from its first key to its second under the eyes of a validator that starts at the
/// DS that the parent has at that moment, and of a daemon that is killed.
#[test]
fn a_key_is_rolled_while_everything_validates() {
    let Some(delv) = find("delv", "bind9-dnsutils", &[]) else { return };
    let mut parent = Parent::start();
    let dnssec = format!(
        "{{{QUICK}, parent: {{servers: [\"{}\"], ds_ttl: 1s, propagation: 0s, every: 1s}}}}",
        parent.daemon.dns()
    );
    let mut daemon = daemon("key-roll", &dnssec, "");
    daemon.start();
    assert!(daemon.directory().join("state/keys").join(ZONE).is_dir(), "made at the first start");
    until_states(&daemon, &["ready"]);
    let ds = daemon.cli(&["keys", "ds", ZONE]);
    assert!(ds.succeeded(), "{ds}");
    assert_eq!(answered(daemon.dns(), RecordType::CDS), [ds_rdata(&ds.out)]);
    assert_eq!(answered(daemon.dns(), RecordType::CDNSKEY), answered(daemon.dns(), RecordType::DNSKEY));
    parent.delegate(&ds.out);
    until_states(&daemon, &["active"]);
    let says = |daemon: &Daemon, word: &str| {
        daemon.metric(&format!("pointsman_dnssec_parent{{zone=\"{ZONE}.\",says=\"{word}\"}}"))
    };
    assert_eq!((says(&daemon, "agrees"), says(&daemon, "differs")), (Some(1.0), Some(0.0)));

    let eye = Eye::open(&delv, daemon.directory(), &ds.out, daemon.dns());
    let said = daemon.cli(&["keys", "roll", ZONE]);
    assert!(said.succeeded(), "{said}");
    let said = daemon.cli(&["keys", "roll", ZONE]);
    assert!(said.code == Some(1) && said.err.contains("one rollover at a time"), "{said}");
    until_states(&daemon, &["active", "ready"]);
    assert_eq!(answered(daemon.dns(), RecordType::DNSKEY).len(), 2);
    let new = daemon.cli(&["keys", "ds", ZONE]);
    assert_ne!(new.out, ds.out);
    assert_eq!(answered(daemon.dns(), RecordType::CDS), [ds_rdata(&new.out)]);
    // Killed in the midst of it, it goes on where it was.
    let before = eye.seen();
    eye.close();
    assert!(before > 0, "nothing was validated");
    daemon.kill();
    daemon.start();
    let eye = Eye::open(&delv, daemon.directory(), &ds.out, daemon.dns());
    until_states(&daemon, &["active", "ready"]);
    parent.delegate(&new.out);
    // Caches may still have the old DS for a second: it must lead somewhere as long.
    until_states(&daemon, &["retired", "active"]);
    eye.trust(&new.out);
    until_states(&daemon, &["removed", "active"]);
    until("it to leave the zone", PATIENCE, || answered(daemon.dns(), RecordType::DNSKEY).len() == 1);
    let seen = eye.seen();
    until("a few looks more", PATIENCE, || eye.seen() > seen + 3);
    eye.close();
    let text = daemon.cli(&["status"]).out;
    assert!(text.contains("removed") && text.contains("the parent pointed at"), "{text}");

    // A DS that leads nowhere is told, and stops nothing.
    parent.delegate(&ds.out);
    until("the difference to be told", PATIENCE, || says(&daemon, "differs") == Some(1.0));
    assert_eq!(answered(daemon.dns(), RecordType::DNSKEY).len(), 1);
    assert!(!daemon.event("dnssec.parent_differs").is_null());
    // The way back to unsigned, told to the parent and noticed there.
    parent.delegate(&new.out);
    assert!(daemon.cli(&["keys", "unsign", ZONE]).succeeded());
    until("the parent to be asked", PATIENCE, || answered(daemon.dns(), RecordType::CDS) == [vec![0; 5]]);
    assert_eq!(answered(daemon.dns(), RecordType::CDNSKEY), [vec![0, 0, 3, 0, 0]]);
    parent.delegate("");
    let free = || !daemon.cli_json::<Value>(&["keys", "status", ZONE])["unsigned_from"].is_null();
    until("it to be noticed", PATIENCE, free);
}

/// Two keys: the zone-signing one is replaced without a word from the parent.
#[test]
fn a_zone_signing_key_is_rolled() {
    let mut daemon = daemon(
        "key-zsk",
        &format!("{{keys: ksk_zsk, algorithm: ed25519, {QUICK}, parent: {{servers: []}}}}"),
        "",
    );
    daemon.start();
    until_states(&daemon, &["ready", "active"]);
    let signer = |daemon: &Daemon| {
        let view: Value = daemon.cli_json(&["keys", "status", ZONE]);
        let keys = view["keys"].as_array().unwrap();
        keys.iter().find(|key| key["signs_zone"] == true).unwrap()["tag"].clone()
    };
    let old = signer(&daemon);
    assert!(daemon.cli(&["keys", "roll", ZONE]).succeeded());
    until_states(&daemon, &["ready", "removed", "active"]);
    assert_ne!(signer(&daemon), old);
    let said = daemon.cli(&["keys", "roll", ZONE, "--role", "ksk"]);
    assert!(said.code == Some(1) && said.err.contains("no active ksk"), "{said}");
}

// ── the world around ──

fn daemon(name: &str, dnssec: &str, more: &str) -> Daemon {
    let daemon = Daemon::prepare(name);
    daemon.write("child.zone", CHILD);
    daemon.write(
        "pointsman.yaml",
        &format!(
            "version: 1
mode: answer
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}
zones: [{{name: {ZONE}, file: child.zone, dnssec: {dnssec}}}]
store: {{embedded: {{path: state}}}}
{more}"
        ),
    );
    daemon
}

fn pem_in(directory: &Path) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "pem")).unwrap()
}

/// Tags and states, in the order in which the keys were made.
fn keys(view: &Value) -> Vec<(u64, String)> {
    let keys = view["keys"].as_array().unwrap();
    keys.iter().map(|key| (key["tag"].as_u64().unwrap(), key["state"].as_str().unwrap().to_owned())).collect()
}

#[track_caller]
fn until_states(daemon: &Daemon, wanted: &[&str]) {
    let states = || {
        let view: Value = daemon.cli_json(&["keys", "status", ZONE]);
        (keys(&view).into_iter().map(|(_, state)| state).collect::<Vec<_>>(), view["in_force"] == true)
    };
    until(&format!("{wanted:?}"), PATIENCE, || {
        states() == (wanted.iter().map(ToString::to_string).collect(), true)
    });
}

/// The RDATA of a set as it is answered.
fn answered(server: SocketAddr, rtype: RecordType) -> Vec<Vec<u8>> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.connect(server).unwrap();
    let name = Name::parse(ZONE).unwrap();
    socket.send(&pointsman::wire::ask(7, &name, rtype, Some(1232))).unwrap();
    let mut octets = [0; 1232];
    let length = socket.recv(&mut octets).unwrap();
    let message = pointsman::wire::Message::read(&octets[..length]).unwrap();
    let records = message.sections[0].iter().filter(|record| record.rtype == rtype);
    records.map(|record| record.rdata.clone()).collect()
}

fn ds_rdata(line: &str) -> Vec<u8> {
    let fields = ds_fields(line);
    let number = |nth: usize| fields[nth].parse::<u16>().unwrap();
    let mut rdata = number(0).to_be_bytes().to_vec();
    rdata.extend([number(1) as u8, number(2) as u8]);
    let digest = fields[3].as_bytes().chunks(2);
    rdata.extend(digest.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()));
    rdata
}

/// A name server for example.com, in which the zone is delegated.
struct Parent {
    daemon: Daemon,
    serial: u32,
}

impl Parent {
    fn start() -> Self {
        let daemon = Daemon::prepare("key-parent");
        daemon.write(
            "pointsman.yaml",
            "version: 1
mode: answer
site: {name: parent}
listen: {dns: [\"127.0.0.1:0\"], control: control.sock}
zones: [{name: example.com, file: parent.zone}]
store: {embedded: {path: state}}
",
        );
        let mut parent = Self { daemon, serial: 0 };
        parent.write("");
        parent.daemon.start();
        parent
    }

    fn write(&mut self, ds: &str) {
        self.serial += 1;
        let serial = self.serial;
        let soa =
            format!("@ IN SOA ns1 hostmaster {serial} 3600 600 1209600 1\n@ IN NS ns1\nns1 IN A 192.0.2.1\n");
        let cut = "gtm IN NS ns1.gtm\nns1.gtm IN A 192.0.2.53\n";
        self.daemon.write(
            "parent.zone",
            &format!("$ORIGIN example.com.\n$TTL 1\n{soa}{cut}{}", ds.replace("86400", "1")),
        );
    }

    fn delegate(&mut self, ds: &str) {
        self.write(ds);
        let said = self.daemon.cli(&["reload"]);
        assert!(said.succeeded(), "{said}");
    }
}

/// Validates all the time, from the DS that it trusts.
struct Eye {
    anchors: PathBuf,
    seen: Arc<AtomicUsize>,
    shut: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Eye {
    fn open(delv: &Path, directory: &Path, ds: &str, server: SocketAddr) -> Self {
        let (anchors, delv) = (directory.join("anchors"), delv.to_owned());
        let (seen, shut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        trust(&anchors, ds);
        let (file, count, ends) = (anchors.clone(), Arc::clone(&seen), Arc::clone(&shut));
        let thread = std::thread::spawn(move || {
            let mut broken = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                for rtype in ["SOA", "DNSKEY"] {
                    let output = Command::new(&delv)
                        .arg(format!("@{}", server.ip()))
                        .args(["-p", &server.port().to_string()])
                        .args(["-a", file.to_str().unwrap(), &format!("+root={ZONE}"), ZONE, rtype])
                        .output()
                        .unwrap();
                    let said = Said::from(output);
                    if !said.out.contains("; fully validated") {
                        broken.push(format!("{rtype}: {said}"));
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            broken
        });
        Self { anchors, seen, shut, thread }
    }

    fn trust(&self, ds: &str) {
        trust(&self.anchors, ds);
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    fn close(self) {
        self.shut.store(true, Ordering::Relaxed);
        let broken = self.thread.join().unwrap();
        assert!(
            broken.is_empty(),
            "{} of {} looks: {}",
            broken.len(),
            self.seen.load(Ordering::Relaxed),
            broken[0]
        );
    }
}

fn trust(anchors: &Path, ds: &str) {
    let fields = ds_fields(ds);
    let [tag, algorithm, digest_type, digest] = &fields[..] else { panic!("{ds}") };
    let text =
        format!("trust-anchors {{ {ZONE}. static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};\n");
    let beside = anchors.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, anchors).unwrap();
}
