//! A real recursive resolver, to which the zone is delegated.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Program, Scratch, find, ports, until};

/// An unbound that asks one authoritative server about one zone.
pub struct Unbound {
    pub address: SocketAddr,
    _program: Program,
    _scratch: Scratch,
}

impl Unbound {
    /// Whether it is installed; else the test that needs it passes with a remark.
    pub fn is_installed() -> bool {
        find("unbound", "unbound", &["/usr/sbin"]).is_some()
    }

    /// Starts it. `None`: it is not installed.
    pub fn start(zone: &str, authority: SocketAddr) -> Option<Self> {
        let at = format!("{}@{}", authority.ip(), authority.port());
        let stub = format!("stub-zone:\n  name: \"{zone}\"\n  stub-addr: {at}\n  stub-prime: no\n");
        // No validation of a zone that is not signed.
        Self::start_with("iterator", &stub)
    }

    /// Starts one that validates, and that concludes from NSEC records what it can (RFC 8198).
    pub fn validating(zone: &str, authority: SocketAddr, anchors: &[String]) -> Option<Self> {
        Self::validating_below(&[zone], authority, anchors)
    }

    /// The same for several zones of one server.
    pub fn validating_below(zones: &[&str], authority: SocketAddr, anchors: &[String]) -> Option<Self> {
        let at = format!("{}@{}", authority.ip(), authority.port());
        let anchors: String = anchors.iter().map(|record| format!("  trust-anchor: '{record}'\n")).collect();
        let stub = |zone| format!("stub-zone:\n  name: \"{zone}\"\n  stub-addr: {at}\n  stub-prime: no\n");
        let stub: String = zones.iter().map(stub).collect();
        Self::start_with("validator iterator", &format!("server:\n  aggressive-nsec: yes\n{anchors}{stub}"))
    }

    /// Starts one that asks over TLS, and checks the certificate.
    pub fn start_forwarding(zone: &str, authority: SocketAddr, host: &str, ca: &Path) -> Option<Self> {
        let at = format!("{}@{}#{host}", authority.ip(), authority.port());
        Self::start_with(
            "iterator",
            &format!(
                "server:\n  tls-cert-bundle: \"{}\"\n\
             forward-zone:\n  name: \"{zone}\"\n  forward-addr: {at}\n  forward-tls-upstream: yes\n",
                ca.display()
            ),
        )
    }

    fn start_with(modules: &str, authority: &str) -> Option<Self> {
        let binary = find("unbound", "unbound", &["/usr/sbin"])?;
        let scratch = Scratch::new("unbound");
        let (directory, port) = (scratch.path().display(), ports::free());
        // Nothing but what an ordinary resolver does: no serving of expired answers, no lower
        // bound for TTLs.
        let config = format!(
            "server:
  directory: \"{directory}\"
  chroot: \"\"
  username: \"\"
  pidfile: \"{directory}/unbound.pid\"
  use-syslog: no
  logfile: \"\"
  verbosity: 1
  num-threads: 1
  port: {port}
  interface: 127.0.0.1
  do-ip6: no
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  module-config: \"{modules}\"
{authority}
remote-control:
  control-enable: no
"
        );
        let file = scratch.path().join("unbound.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(binary);
        command.arg("-d").arg("-c").arg(&file);
        let log = scratch.path().join("unbound.log");
        let mut program = Program::start(&mut command, "unbound", &log);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until("unbound to answer", Duration::from_secs(30), || {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!program.has_ended(), "unbound has ended: {}", said());
            answers(address)
        });
        Some(Self { address, _program: program, _scratch: scratch })
    }
}

/// It answers a question that it can answer alone: `localhost.`, as RFC 6761 has it.
fn answers(address: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09localhost\x00\x00\x01\x00\x01";
    let _ = socket.send_to(question, address);
    socket.recv(&mut [0; 512]).is_ok()
}
