//! Other authoritative servers, each with the same zones, on loopback.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pointsman::wire::{Message, Name, Rcode, RecordType, ask};

use super::zones::Made;
use crate::common::{Program, Scratch, find, now, ports};

/// How long one takes to load everything, on a machine under load.
const START: Duration = Duration::from_secs(30);
/// How long one may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
const SYSTEM: &[&str] = &["/usr/sbin", "/sbin"];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Knot,
    Nsd,
    Bind,
}

/// A server that runs until it is dropped.
pub struct Peer {
    pub kind: Kind,
    address: SocketAddr,
    udp: UdpSocket,
    _program: Program,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Knot, Self::Nsd, Self::Bind];

    fn find(self) -> Option<PathBuf> {
        match self {
            Self::Knot => find("knotd", "knot", SYSTEM),
            Self::Nsd => find("nsd", "nsd", SYSTEM),
            Self::Bind => find("named", "bind9", SYSTEM),
        }
    }

    /// Its configuration. Everything that would make it say less than it could is off.
    fn config(self, home: &Path, port: u16, zones: &[Made]) -> String {
        let home = home.display();
        let files = zones.iter().enumerate().map(|(nth, made)| (&made.apex, format!("{home}/{nth}.zone")));
        let mut text = match self {
            Self::Knot => format!(
                "server:\n  rundir: {home}/knot\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
                 database:\n  storage: {home}/knot\n\
                 log:\n  - target: stderr\n    any: warning\n\
                 template:\n  - id: default\n    storage: {home}/knot\n    semantic-checks: off\n    zonefile-sync: -1\n    journal-content: none\n\
                 zone:\n"
            ),
            Self::Nsd => format!(
                "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: {home}\n  database: \"\"\n\
                 \x20 pidfile: {home}/nsd/pid\n  xfrdfile: {home}/nsd/xfrd\n  zonelistfile: {home}/nsd/list\n  xfrdir: {home}/nsd\n\
                 \x20 rrl-ratelimit: 0\n  minimal-responses: no\n  refuse-any: no\n  ipv4-edns-size: 4096\n  server-count: 1\n\
                 \x20 hide-version: yes\n\
                 remote-control:\n  control-enable: no\n"
            ),
            Self::Bind => format!(
                "options {{ directory \"{home}/named\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
                 recursion no; pid-file none; session-keyfile none; lock-file none; notify no; empty-zones-enable no;\n\
                 minimal-responses no; minimal-any no; dnssec-validation no; answer-cookie no; max-udp-size 4096;\n\
                 check-integrity no; check-names primary ignore; check-mx ignore; check-mx-cname ignore;\n\
                 check-srv-cname ignore; check-sibling no; check-wildcard no; check-dup-records ignore;\n\
                 check-spf ignore; zero-no-soa-ttl no; rrset-order {{ order none; }}; }};\ncontrols {{ }};\n"
            ),
        };
        for (apex, file) in files {
            match self {
                Self::Knot => writeln!(text, "  - domain: {apex}\n    file: {file}"),
                Self::Nsd => writeln!(text, "zone:\n  name: \"{apex}\"\n  zonefile: {file}"),
                Self::Bind => writeln!(text, "zone \"{apex}\" {{ type primary; file \"{file}\"; }};"),
            }
            .unwrap();
        }
        text
    }

    fn command(self, program: &Path, config: &Path) -> Command {
        let mut command = Command::new(program);
        match self {
            Self::Knot => command.arg("-c").arg(config),
            Self::Nsd => command.arg("-d").arg("-c").arg(config),
            Self::Bind => command.args(["-g", "-4", "-n", "1", "-c"]).arg(config),
        };
        command
    }
}

impl Peer {
    /// Starts one on the zones, which lie in `home` by their numbers; `None` if it is not there.
    pub fn start(kind: Kind, scratch: &Scratch, zones: &[Made]) -> Option<Self> {
        let program = kind.find()?;
        let home = scratch.path();
        for directory in ["knot", "nsd", "named"] {
            std::fs::create_dir_all(home.join(directory)).unwrap();
        }
        let port = ports::free_for_both();
        let config = home.join(format!("{kind:?}.conf"));
        std::fs::write(&config, kind.config(home, port, zones)).unwrap();
        let log = home.join(format!("{kind:?}.log"));
        let mut program = Program::start(&mut kind.command(&program, &config), &format!("{kind:?}"), &log);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect(address).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let mut waiting = zones.iter().peekable();
        let deadline = now() + START;
        while let Some(made) = waiting.peek() {
            assert!(!program.has_ended(), "{kind:?} has ended: {}", said());
            assert!(now() < deadline, "{kind:?} does not serve {}:\n{}\n{}", made.apex, made.text, said());
            let soa = ask(1, &Name::parse(&made.apex).unwrap(), RecordType::SOA, None);
            let mut buffer = [0; 4096];
            let served = udp.send(&soa).and_then(|_| udp.recv(&mut buffer)).is_ok_and(|len| {
                Message::read(&buffer[..len]).is_ok_and(|reply| reply.rcode() == Rcode::NOERROR)
            });
            if served {
                waiting.next();
            } else {
                std::thread::sleep(PAUSE);
            }
        }
        // Answers to questions asked too early may still come.
        while udp.recv(&mut [0; 4096]).is_ok() {}
        udp.set_read_timeout(Some(ANSWER)).unwrap();
        Some(Self { kind, address, udp, _program: program })
    }

    /// Asks one question.
    pub fn ask(&self, query: &[u8], over_tcp: bool) -> Vec<u8> {
        if over_tcp {
            return self.ask_tcp(query).unwrap_or_else(|why| panic!("{:?} over TCP: {why}", self.kind));
        }
        self.udp.send(query).unwrap();
        let mut buffer = vec![0; 65_535];
        loop {
            let len = self.udp.recv(&mut buffer).unwrap_or_else(|why| panic!("{:?}: {why}", self.kind));
            if buffer[..2] == query[..2] {
                buffer.truncate(len);
                return buffer;
            }
        }
    }

    fn ask_tcp(&self, query: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&self.address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat())?;
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    }
}
