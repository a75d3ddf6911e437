//! A primary with keys and zones, and what others see of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use crate::common::daemon::Daemon;
use crate::common::find;

/// Secrets of the key that is right, and of one that is not.
pub const SECRET: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
pub const WRONG: &str = "b3RoZXI2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

/// A zone file: so many hosts, this serial, and what else it shall hold.
pub fn zone(origin: &str, serial: u32, hosts: usize, more: &str) -> String {
    let mut text = format!(
        "$ORIGIN {origin}.\n$TTL 300\n@ IN SOA ns1 hostmaster.example.com. {serial} 60 5 1209600 5\n  IN NS ns1\nns1 IN A 192.0.2.53\n"
    );
    for host in 0..hosts {
        text.push_str(&format!("host{host} IN A 198.18.{}.{}\n", host / 250 % 250, host % 250));
    }
    text + more
}

/// Records that a transfer has to carry over as they are: every type, a delegation with glue, what
/// lies hidden below it and below a DNAME, wildcards, escapes and case.
pub const ODD: &str = r#"
*.wild       IN TXT   "a wildcard" "in two texts"
sub          IN NS    ns.sub
             IN NS    ns.elsewhere.example.
ns.sub       IN A     192.0.2.54
deep.hidden.sub IN TXT "occluded"
away         IN DNAME elsewhere.example.
alias        IN CNAME host0
mail         IN MX    10 host0
             IN MX    20 mx.elsewhere.example.
_sip._tcp    IN SRV   0 5 5060 host1
svc          IN HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1
_dns         IN SVCB  1 ns1 alpn=dot port=853
caa          IN CAA   0 issue "ca.example"
_443._tcp    IN TLSA  3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ssh          IN SSHFP 4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
naptr        IN NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .
sub          IN DS    12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
loc          IN LOC   52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
uri          IN URI   10 1 "https://example.com/"
hinfo        IN HINFO "PC" "Linux"
rp           IN RP    admin.example.com. txt.example.com.
afsdb        IN AFSDB 1 host0
cert         IN CERT  PKIX 0 0 AQIDBA==
csync        IN CSYNC 66 3 A NS AAAA
kx           IN KX    10 host0
dhcid        IN DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=
nid          IN NID   10 1014:4fff:ff20:ee64
l32          IN L32   10 10.1.2.0
l64          IN L64   10 2001:1db8:1140:1000
lp           IN LP    10 l64
cds          IN CDS   12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
cdnskey      IN CDNSKEY 257 3 13 AQIDBA==
eui          IN EUI48 00-00-5e-00-53-2a
             IN EUI64 00-00-5e-ef-10-00-00-2a
openpgp      IN OPENPGPKEY AQIDBA==
smime        IN SMIMEA 3 0 0 01020304
unknown      IN TYPE65280 \# 4 01020304
esc\.aped    IN A     192.0.2.56
\000binary   IN A     192.0.2.57
UPPER        IN AAAA  2001:db8::1
ptr          IN PTR   host0
"#;

/// Writes the key's secret beside the configuration.
pub fn write_key(daemon: &Daemon) {
    daemon.write("transfer.key", SECRET);
}

/// What lies below a DNAME is handed out as well (RFC 5936 §3.5); Knot takes no such zone.
pub const BELOW: &str = "below.away IN A 192.0.2.55\n";

/// A configuration with these zones and services.
pub fn configuration(zones: &str, rest: &str) -> String {
    format!(
        "\
version: 1
mode: answer
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}
dns: {{udp_threads: 1, open_after: 5s}}
store: {{embedded: {{path: state}}}}
keys:
  transfer-key: {{algorithm: hmac-sha256, secret: {{file: transfer.key}}}}
  strong-key: {{algorithm: hmac-sha512, secret: {{file: transfer.key}}}}
zones:
{zones}
{rest}"
    )
}

/// A program of the test's package, or none.
pub fn tool(name: &str, package: &str) -> Option<Command> {
    let mut command = Command::new(find(name, package, &["/usr/sbin", "/sbin"])?);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    Some(command)
}

/// What `dig` prints for this.
pub fn dig(server: SocketAddr, arguments: &[&str]) -> Option<String> {
    let mut command = tool("dig", "bind9-dnsutils")?;
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]);
    command.args(["+norec", "+time=5", "+tries=1"]).args(arguments);
    let output = command.output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// A key as `dig -y` takes it.
pub fn with_key(name: &str, algorithm: &str, secret: &str) -> String {
    format!("{algorithm}:{name}:{secret}")
}

/// The records of a whole zone as a server hands them out, each once, and its serial; none if it
/// does not.
pub fn fetch(server: SocketAddr, zone: &str, more: &[&str]) -> Option<(u32, BTreeSet<String>)> {
    let said = dig(server, &[&["+noall", "+answer", "+onesoa", zone, "AXFR"], more].concat())?;
    records(&said)
}

/// The records in what `dig` prints.
pub fn records(said: &str) -> Option<(u32, BTreeSet<String>)> {
    let lines = said.lines().filter(|line| !line.starts_with(';') && !line.trim().is_empty());
    let lines: BTreeSet<String> =
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let soa = lines.iter().find(|line| line.contains(" IN SOA "))?;
    let serial = soa.split(' ').nth(6)?.parse().ok()?;
    Some((serial, lines))
}
