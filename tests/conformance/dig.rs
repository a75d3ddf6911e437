//! `pointsman query --zone` prints what dig prints of the daemon's answer, to the tab.

use std::path::Path;
use std::process::Command;

use crate::common::daemon::{Daemon, pointsman};
use crate::common::find;

/// One of everything; no set of several addresses, which come in another order every time.
const ZONE: &str = r#"
$ORIGIN example.com.
$TTL 300
@       SOA   ns1 hostmaster 1 1h 10m 2w 30
@       NS    ns1
@       MX    10 mail
ns1     A     192.0.2.53
ns1     AAAA  2001:db8::53
mail    A     192.0.2.25
www     A     192.0.2.80
*.wild  TXT   "by a wildcard"
alias   CNAME www
away    CNAME www.elsewhere.
old     DNAME wild
lab     NS    ns.lab
lab     DS    1 13 2 abababababababababababababababababababababababababababababababab
ns.lab  A     192.0.2.54
text    TXT   "a b" "c\"d" "\195\164;$@\\" ""
x\.y    A     192.0.2.1
q\032q  A     192.0.2.2
\$a\;b  A     192.0.2.3
a-name-of-more-than-thirty-two-octets.below A 192.0.2.4
web     HTTPS 1 . alpn=h2,h3 port=443 ipv4hint=192.0.2.80 ipv6hint=2001:db8::80
web     HTTPS 0 www
svc     SVCB  2 www mandatory=alpn alpn=h2 no-default-alpn key65000=ab
odd     CAA   0 issue "ca.example; policy=ev"
odd     LOC   52 22 23.000 N 4 53 32.000 E -2.00m 1m 10000m 10m
odd     CERT  PKIX 1 0 AwEAAbd0
odd     SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789
odd     TLSA  3 1 1 0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3
odd     NAPTR 10 20 "U" "E2U+sip" "!^.*$!sip:x@y!" .
odd     EUI48 00-00-5e-00-53-2a
odd     URI   10 1 "https://www.example/a?b=c"
odd     CSYNC 66 3 A NS AAAA
odd     HINFO "PDP-11" "UNIX \; V7"
odd     SRV   0 5 5060 www
odd     RP    hostmaster text
odd     OPENPGPKEY mQINBFit2ioBEADhbjgmmQINBFit2ioBEADhbjgmmQINBFit2ioBEADhbjgmmQINBFit2ioBEADhbjgmmQINBFit2ioBEADhbjg=
odd     RRSIG A 13 3 300 20301231235959 20250101000000 1 example.com. q83vAA==
odd     NSEC  www A TYPE65280
odd     DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==
odd     NSEC3PARAM 1 0 0 -
odd     TYPE65280 \# 4 0a000001
odd     TYPE65281 \# 0
big     TXT   "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
big     TXT   "1123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
big     TXT   "2123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
"#;

const CONFIG: &str = "\
version: 1
mode: answer
site: {name: test1}
listen: {dns: ['127.0.0.1:0'], control: control.sock}
zones: [{name: example.com, file: example.com.zone}]
";

const ODD: &[&str] = &[
    "CAA",
    "LOC",
    "CERT",
    "SSHFP",
    "TLSA",
    "NAPTR",
    "EUI48",
    "URI",
    "CSYNC",
    "HINFO",
    "SRV",
    "RP",
    "OPENPGPKEY",
    "RRSIG",
    "NSEC",
    "DNSKEY",
    "NSEC3PARAM",
    "TYPE65280",
    "TYPE65281",
    "A",
];

/// Name and type, what dig is told, what we are told.
type Asked<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str]);

const ASKED: &[Asked<'_>] = &[
    ("example.com", "SOA", &[], &[]),
    ("example.com", "NS", &["+dnssec"], &["--dnssec"]),
    ("example.com", "MX", &["+noedns"], &["--no-edns"]),
    ("www.example.com", "A", &["+tcp"], &["--tcp"]),
    ("www.example.com", "A", &["+subnet=192.0.2.0/24"], &["--subnet", "192.0.2.0/24"]),
    ("www.example.com", "A", &["+subnet=2001:db8::/56"], &["--subnet", "2001:db8::/56"]),
    ("www.example.com", "AAAA", &[], &[]),
    ("nothing.example.com", "A", &[], &[]),
    ("a.wild.example.com", "TXT", &[], &[]),
    ("alias.example.com", "A", &[], &[]),
    ("away.example.com", "A", &[], &[]),
    ("a.old.example.com", "TXT", &[], &[]),
    ("www.lab.example.com", "A", &[], &[]),
    ("lab.example.com", "DS", &[], &[]),
    ("text.example.com", "TXT", &[], &[]),
    ("x\\.y.example.com", "A", &[], &[]),
    ("q\\032q.example.com", "A", &[], &[]),
    ("\\$a\\;b.example.com", "A", &[], &[]),
    ("a-name-of-more-than-thirty-two-octets.below.example.com", "A", &[], &[]),
    ("web.example.com", "HTTPS", &[], &[]),
    ("svc.example.com", "SVCB", &[], &[]),
    ("www.example.com", "ANY", &["+notcp"], &["--udp"]),
    ("www.elsewhere", "A", &[], &[]),
    ("big.example.com", "TXT", &["+bufsize=512"], &["--bufsize", "512"]),
    ("big.example.com", "TXT", &["+noedns", "+ignore"], &["--no-edns", "--udp"]),
    ("big.example.com", "TXT", &["+bufsize=1232"], &["--bufsize", "1232"]),
];

#[test]
fn prints_what_dig_prints_of_the_daemon() {
    let Some(dig) = find("dig", "bind9-dnsutils", &[]) else { return };
    let mut daemon = Daemon::prepare("dig");
    daemon.write("example.com.zone", ZONE);
    daemon.write("pointsman.yaml", CONFIG);
    daemon.start();
    let mut wrong = Vec::new();
    let odd = ODD.iter().map(|rtype| ("odd.example.com", *rtype, &[][..], &[][..]));
    for (name, rtype, to_dig, to_us) in ASKED.iter().copied().chain(odd) {
        let server = daemon.dns();
        let mut command = Command::new(&dig);
        command.arg(format!("@{}", server.ip())).arg("-p").arg(server.port().to_string());
        command.args("+noall +comments +question +answer +authority +additional +norecurse".split(' '));
        command.args(["+nocookie", "+nosplit", "+time=5", "+tries=2"]).args(to_dig).args([name, rtype]);
        command.env("HOME", daemon.directory()).env("LC_ALL", "C");
        let theirs = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let zone = daemon.directory().join("example.com.zone");
        let arguments = [&["query", "--zone", zone.to_str().unwrap(), name, rtype][..], to_us].concat();
        let said = pointsman(Path::new("/nowhere"), &arguments);
        assert!(said.succeeded(), "{arguments:?}: {said}");
        let (theirs, ours) = (body(&theirs), body(&said.out));
        assert!(ours.contains("->>HEADER<<-"), "{said}");
        if ours != theirs {
            wrong.push(format!("{name} {rtype} {to_us:?}\nwe:\n{ours}\ndig:\n{theirs}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// From the header on, the number of the message apart, without what dig says of itself.
fn body(text: &str) -> String {
    let lines = text.lines().filter(|line| {
        let of_itself = [";; Got answer:", ";; Warning", ";; MSG SIZE", "; <<>>", ";; global", "; ("];
        !of_itself.iter().any(|start| line.starts_with(start))
    });
    let lines = lines.map(|line| match line.split_once(", id: ") {
        Some((before, _)) => before.to_owned(),
        None => line.to_owned(),
    });
    let lines: Vec<_> = lines.collect();
    lines.join("\n").trim().to_owned()
}

#[test]
fn says_the_same_to_scripts() {
    let scratch = crate::common::Scratch::new("query-json");
    let zone = scratch.path().join("zone");
    std::fs::write(&zone, ZONE).unwrap();
    let zone = zone.to_str().unwrap();
    let arguments = ["query", "--zone", zone, "lab.example.com", "NS", "--output", "json", "--dnssec"];
    let said = pointsman(Path::new("/nowhere"), &arguments);
    assert!(said.succeeded(), "{said}");
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["status"], &json["transport"]), (&"NOERROR".into(), &"udp".into()));
    assert_eq!(json["flags"], serde_json::json!(["qr"]), "a referral has no authority");
    assert_eq!(json["edns"]["dnssec_ok"], true);
    assert_eq!(json["answer"], serde_json::json!([]));
    assert_eq!(
        json["additional"],
        serde_json::json!([
            {"name": "ns.lab.example.com.", "ttl": 300, "class": "IN", "type": "A", "data": "192.0.2.54"}
        ])
    );
    assert_eq!(json["question"]["type"], "NS");
    // What does not fit a datagram is asked for again, as dig does.
    let arguments = ["query", "--zone", zone, "big.example.com", "TXT", "--bufsize", "512", "-o", "json"];
    let json: serde_json::Value =
        serde_json::from_str(&pointsman(Path::new("/nowhere"), &arguments).out).unwrap();
    assert_eq!((&json["transport"], json["answer"].as_array().unwrap().len()), (&"tcp".into(), 3));
}

/// `--origin` is offered where it helps, and only there.
#[test]
fn a_file_that_leaves_its_apex_open_is_told_how_to_name_it() {
    let daemon = Daemon::prepare("origin");
    let ask = |name: &str, text: &str, more: &[&str]| {
        daemon.write(name, text);
        let file = daemon.directory().join(name);
        let arguments =
            [&["query", "--zone", file.to_str().unwrap(), "www.example.com", "A"][..], more].concat();
        let said = pointsman(Path::new("/nowhere"), &arguments);
        assert!(!said.succeeded(), "{name}: {said}");
        said.err.contains("--origin")
    };
    let soa = "@ 300 SOA ns1.example.org. h.example.org. 1 1h 10m 2w 30\n@ 300 NS ns1.example.org.\n";
    let broken = "www 300 AAA 192.0.2.1\n";
    let outside = "ns1.example.net. 300 A 192.0.2.1\n";
    assert!(ask("open.zone", &format!("{soa}{outside}{broken}"), &[]));
    assert!(!ask("named.zone", &format!("{soa}{outside}"), &["--origin", "example.com"]));
    assert!(!ask("stated.zone", &format!("$ORIGIN example.com.\n{soa}{outside}"), &[]));
    assert!(!ask("broken.zone", &format!("{soa}{broken}"), &[]));
}
