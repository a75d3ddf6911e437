//! The servers: how each is configured and started.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pointsman::decide::{Order, What};
use pointsman::io::Clock;
use pointsman::region::OverrideKind;
use pointsman::serve::mmsg::Batch;
use pointsman::wire::{Name, RecordType, ask};
use rustix::process::{Pid, Signal, kill_process_group};

use super::common::SERVER_CORE;
use super::zone::{self, Content};

/// Who.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Pointsman,
    Echo,
    Gdnsd,
    Knot,
    Nsd,
    PowerDns,
    Bind,
}

/// What Debian calls them, dnsperf and all.
const PACKAGES: [&str; 8] =
    ["gdnsd", "knot", "knot-module-geoip", "nsd", "pdns-server", "pdns-backend-bind", "bind9", "dnsperf"];
/// A zone of a million records takes seconds to load.
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(5);

/// Installs the peers, none of them as a service (root needed).
pub fn install() {
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        // Debian's way to say "do not start services" (invoke-rc.d(8)).
        fs::write(policy, "#!/bin/sh\nexit 101\n").expect("--install takes root");
        let _ = Command::new("chmod").arg("755").arg(policy).status();
    }
    let apt = Command::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(PACKAGES)
        .status();
    if ours {
        let _ = fs::remove_file(policy);
    }
    assert!(apt.is_ok_and(|status| status.success()), "apt-get could not install {PACKAGES:?}");
}

impl Kind {
    pub const ALL: [Kind; 7] =
        [Kind::Pointsman, Kind::Echo, Kind::Gdnsd, Kind::Knot, Kind::Nsd, Kind::PowerDns, Kind::Bind];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pointsman => "pointsman",
            Self::Echo => "echo",
            Self::Gdnsd => "gdnsd",
            Self::Knot => "knot",
            Self::Nsd => "nsd",
            Self::PowerDns => "powerdns",
            Self::Bind => "bind",
        }
    }

    /// gdnsd has neither signed zones nor, like NSD and BIND, all of the others' dynamic names.
    pub fn serves(self, content: Content) -> bool {
        match content {
            Content::Plain => true,
            Content::Dynamic => !matches!(self, Self::Nsd | Self::Bind),
            Content::Signed => matches!(self, Self::Pointsman | Self::Knot),
            Content::SignedDynamic => self == Self::Pointsman,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Pointsman => env!("CARGO_BIN_EXE_pointsman"),
            Self::Echo => "/proc/self/exe",
            Self::Gdnsd => "/usr/sbin/gdnsd",
            Self::Knot => "/usr/sbin/knotd",
            Self::Nsd => "/usr/sbin/nsd",
            Self::PowerDns => "/usr/sbin/pdns_server",
            Self::Bind => "/usr/sbin/named",
        }
    }
}

/// A server's files, written and waiting to be used.
pub struct Place {
    kind: Kind,
    directory: PathBuf,
    address: SocketAddr,
    /// The name that the first answer is waited for at.
    last: Name,
}

/// A server that answers.
pub struct Server {
    pub kind: Kind,
    pub address: SocketAddr,
    place: Place,
    child: Child,
    /// An order that is under way.
    order: Option<UnixStream>,
}

impl Place {
    /// Writes configuration and zone; `None`, with a remark, if the program is not there.
    pub fn prepare(kind: Kind, content: Content, names: usize) -> Option<Self> {
        if !Path::new(kind.program()).exists() {
            eprintln!("{} is not installed; --install gets it", kind.name());
            return None;
        }
        let directory =
            std::env::temp_dir().join(format!("pointsman-bench-{}-{}", std::process::id(), kind.name()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let prefix = if content.is_dynamic() { "dynamic" } else { "plain" };
        let last = Name::parse(&format!("{prefix}{}.example.com", names - 1)).unwrap();
        let place = Self { kind, directory, address: free_address(), last };
        match kind {
            Kind::Pointsman => place.pointsman(content, names),
            Kind::Echo => {}
            Kind::Gdnsd => place.gdnsd(content, names),
            Kind::Knot => place.knot(content, names),
            Kind::Nsd => place.nsd(content, names),
            Kind::PowerDns => place.powerdns(content, names),
            Kind::Bind => place.bind(content, names),
        }
        Some(place)
    }

    /// Starts the server and waits for its first answer; `None`, with what it said, if there is none.
    pub fn start(self) -> Option<Server> {
        let log = self.directory.join("log");
        let file = fs::File::create(&log).unwrap();
        let mut command = Command::new("taskset");
        let echo = std::env::current_exe().unwrap();
        command.args(["-c", SERVER_CORE]);
        match self.kind {
            Kind::Pointsman => {
                command.arg(self.kind.program()).arg("serve").arg("--config").arg(self.file("config.yaml"))
            }
            Kind::Echo => command.arg(echo).args(["--echo", &self.address.to_string()]),
            Kind::Gdnsd => command.arg(self.kind.program()).arg("-c").arg(&self.directory).arg("start"),
            Kind::Knot => command.arg(self.kind.program()).arg("-c").arg(self.file("knot.conf")),
            Kind::Nsd => command.arg(self.kind.program()).args(["-d", "-c"]).arg(self.file("nsd.conf")),
            Kind::PowerDns => {
                command.arg(self.kind.program()).arg(format!("--config-dir={}", self.directory.display()))
            }
            Kind::Bind => {
                command.arg(self.kind.program()).args(["-f", "-n", "1", "-c"]).arg(self.file("named.conf"))
            }
        };
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let child = command.spawn().expect("needs taskset(1)");
        let server = Server { kind: self.kind, address: self.address, place: self, child, order: None };
        if server.answers() {
            return Some(server);
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        let from = said.len().saturating_sub(2000);
        eprintln!("{} gave no answer within {START_MAX:?}; it said:\n{}", server.kind.name(), &said[from..]);
        None
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn pointsman(&self, content: Content, names: usize) {
        self.write("zone", &zone::text(content, names, |_| None));
        let mut text = format!(
            "version: 1\nmode: answer\nsite: {{name: bench}}\nlisten: {{dns: [\"{}\"], control: control.sock}}\n\
             dns: {{udp_threads: 1, open_after: 100ms}}\nstore: {{embedded: {{path: state}}}}\n\
             zones:\n  - name: example.com\n    file: zone\n",
            self.address
        );
        if content.is_signed() {
            text += "    dnssec: {}\n";
        }
        if content.is_dynamic() {
            let _ = writeln!(text, "geo: {{databases: [\"{}\"]}}", database().display());
            text += "regions: {eu: {}, us: {}}\nservices:\n";
        }
        for n in 0..names * usize::from(content.is_dynamic()) {
            let [_, a, b, c] = (n as u32).to_be_bytes();
            let _ = writeln!(
                text,
                "  s{n}: {{names: [dynamic{n}.example.com], answers: {{eu: {{a: [10.{a}.{b}.{c}]}}, us: {{a: [11.{a}.{b}.{c}]}}}}, \
                 policy: {{geo: {{rules: [{{countries: [SE], to: {{weighted: {{eu: 2, us: 1}}}}}}], default: {{failover: [us, eu]}}}}}}}}"
            );
        }
        self.write("config.yaml", &text);
    }

    fn gdnsd(&self, content: Content, names: usize) {
        let dynamic = |n| Some(format!("dynamic{n} 60 DYNA geoip!r{n}"));
        self.write("zones/example.com", &zone::text(content, names, dynamic));
        let directory = self.directory.display();
        let mut text = format!(
            "options => {{ listen => [ {} ], udp_threads => 1, tcp_threads => 1, run_dir => {directory}/run, \
             state_dir => {directory}/state }}\n",
            self.address
        );
        if content.is_dynamic() {
            let mut maps = String::new();
            let mut weights = String::new();
            for n in 0..names {
                let [_, a, b, c] = (n as u32).to_be_bytes();
                let _ = writeln!(
                    maps,
                    "r{n} => {{ map => m, service_types => up, dcmap => {{ se => %weighted!w{n}, us => %weighted!w{n} }} }}"
                );
                let _ = writeln!(
                    weights,
                    "w{n} => {{ service_types => up, x => [ 10.{a}.{b}.{c}, 2 ], y => [ 11.{a}.{b}.{c}, 1 ] }}"
                );
            }
            let _ = write!(
                text,
                "plugins => {{ geoip => {{ maps => {{ m => {{ geoip2_db => {}, datacenters => [se, us], \
                 map => {{ EU => {{ SE => [se, us] }}, default => [us, se] }} }} }}, resources => {{\n{maps}}} }}, \
                 weighted => {{\n{weights}}} }}\n",
                database().display()
            );
        }
        self.write("config", &text);
        for name in ["run", "state"] {
            fs::create_dir_all(self.file(name)).unwrap();
        }
    }

    fn knot(&self, content: Content, names: usize) {
        let dynamic = |n: usize| {
            let [_, a, b, c] = (n as u32).to_be_bytes();
            Some(format!("dynamic{n} 60 A 10.{a}.{b}.{c}"))
        };
        self.write("example.com.zone", &zone::text(content, names, dynamic));
        let directory = self.directory.display();
        let mut text = String::new();
        let mut further = String::new();
        if content.is_dynamic() {
            // It draws by weight or by country, not both: this is its country.
            let mut geo = String::new();
            for n in 0..names {
                let [_, a, b, c] = (n as u32).to_be_bytes();
                let _ = writeln!(
                    geo,
                    "dynamic{n}.example.com:\n  - geo: \"SE\"\n    A: 10.{a}.{b}.{c}\n  - geo: \"US\"\n    A: 11.{a}.{b}.{c}"
                );
            }
            self.write("geo.conf", &geo);
            let _ = write!(
                text,
                "module:\n  - id: geoip\nmod-geoip:\n  - id: default\n    config-file: {directory}/geo.conf\n    ttl: 60\n    \
                 mode: geodb\n    geodb-file: {}\n    geodb-key: country/iso_code\n",
                database().display()
            );
            text = text.replace("module:\n  - id: geoip\n", "");
            further.push_str("    module: mod-geoip/default\n");
        }
        if content.is_signed() {
            further.push_str("    dnssec-signing: on\n");
        }
        let edns = if content.is_dynamic() { "    edns-client-subnet: on\n" } else { "" };
        let text = format!(
            "server:\n    listen: {}@{}\n    rundir: {directory}\n    udp-workers: 1\n    tcp-workers: 1\n    \
             background-workers: 1\n{edns}log:\n  - target: stderr\n    any: warning\ndatabase:\n    storage: {directory}\n{text}\
             zone:\n  - domain: example.com\n    file: {directory}/example.com.zone\n    zonefile-sync: -1\n    \
             zonefile-load: whole\n    journal-content: none\n    semantic-checks: off\n{further}",
            self.address.ip(),
            self.address.port()
        );
        self.write("knot.conf", &text);
    }

    fn nsd(&self, content: Content, names: usize) {
        self.write("example.com.zone", &zone::text(content, names, |_| None));
        let directory = self.directory.display();
        let text = format!(
            "server:\n  ip-address: {}@{}\n  server-count: 1\n  username: \"\"\n  zonesdir: {directory}\n  database: \"\"\n  \
             pidfile: {directory}/pid\n  xfrdfile: {directory}/xfrd\n  zonelistfile: {directory}/list\n  xfrdir: {directory}\n  \
             rrl-ratelimit: 0\nremote-control:\n  control-enable: no\nzone:\n  name: example.com\n  zonefile: example.com.zone\n",
            self.address.ip(),
            self.address.port()
        );
        self.write("nsd.conf", &text);
    }

    fn powerdns(&self, content: Content, names: usize) {
        let dynamic = |n: usize| {
            let [_, a, b, c] = (n as u32).to_be_bytes();
            Some(format!(
                "dynamic{n} 60 LUA A \"pickwrandom({{{{2,'10.{a}.{b}.{c}'}},{{1,'11.{a}.{b}.{c}'}}}})\""
            ))
        };
        self.write("example.com.zone", &zone::text(content, names, dynamic));
        let directory = self.directory.display();
        self.write(
            "named.conf",
            &format!("zone \"example.com\" {{ type master; file \"{directory}/example.com.zone\"; }};\n"),
        );
        let text = format!(
            "launch=bind\nbind-config={directory}/named.conf\nlocal-address={}\nlocal-port={}\nsocket-dir={directory}\n\
             receiver-threads=1\ndistributor-threads=1\ndaemon=no\nguardian=no\nwebserver=no\nenable-lua-records=yes\n\
             edns-subnet-processing=yes\nloglevel=3\nsecurity-poll-suffix=\n",
            self.address.ip(),
            self.address.port()
        );
        self.write("pdns.conf", &text);
    }

    fn bind(&self, content: Content, names: usize) {
        self.write("example.com.zone", &zone::text(content, names, |_| None));
        let directory = self.directory.display();
        let text = format!(
            "options {{ directory \"{directory}\"; listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }}; recursion no; \
             pid-file \"{directory}/pid\"; session-keyfile \"{directory}/session\"; notify no; }};\ncontrols {{ }};\n\
             zone \"example.com\" {{ type primary; file \"{directory}/example.com.zone\"; }};\n",
            self.address.port(),
            self.address.ip()
        );
        self.write("named.conf", &text);
    }
}

impl Server {
    pub fn start(kind: Kind, content: Content, names: usize) -> Option<Self> {
        Place::prepare(kind, content, names)?.start()
    }

    /// All processes of the server.
    pub fn processes(&self) -> Vec<u32> {
        let group = self.child.id().to_string();
        let is_ours = |pid: &u32| {
            // pid (name) state parent group; the name may hold anything but ends at the last `)`.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let rest = stat.rsplit(')').next().unwrap_or_default();
            rest.split_whitespace().nth(2) == Some(&group)
        };
        let all = fs::read_dir("/proc").unwrap();
        all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    }

    /// Has Pointsman publish a new table: `turn` decides to whom the region's traffic goes. The
    /// order is only written: what it comes to is seen at the next turn, so that the client goes on.
    pub fn swap_tables(&mut self, turn: u64) {
        self.last_order_was_taken();
        let region = "us".to_owned();
        let what = match turn % 2 {
            1 => What::Override {
                region,
                kind: OverrideKind::Drain,
                expires: Clock.now().after(Duration::from_secs(3600)).wall,
                even_if_empty: false,
            },
            _ => What::Release { region },
        };
        let order = Order { owner: "bench".to_owned(), reason: "bench".to_owned(), what };
        let body = serde_json::to_string(&order).unwrap();
        let mut stream = UnixStream::connect(self.place.file("control.sock")).unwrap();
        let octets = body.len();
        let head = "POST /v1/orders HTTP/1.1\r\nhost: pointsman\r\nconnection: close\r\n\
                    content-type: application/json";
        stream.write_all(format!("{head}\r\ncontent-length: {octets}\r\n\r\n{body}").as_bytes()).unwrap();
        self.order = Some(stream);
    }

    fn last_order_was_taken(&mut self) {
        let Some(mut stream) = self.order.take() else { return };
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }

    /// Asks until there is an answer.
    fn answers(&self) -> bool {
        let began = Instant::now();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let query = ask(7, &self.place.last, RecordType::A, Some(1232));
        let mut buffer = [0; 4096];
        while began.elapsed() < START_MAX {
            let _ = socket.send_to(&query, self.address);
            match socket.recv(&mut buffer) {
                // NOERROR with an answer, or the echo's own.
                Ok(len) if len > 12 && (self.kind == Kind::Echo || buffer[3] & 15 == 0 && buffer[7] > 0) => {
                    return true;
                }
                // Refused, or not ready: it would be asked again at once otherwise.
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
            if !Path::new(&format!("/proc/{}", self.child.id())).exists() {
                return false;
            }
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process_group(group, Signal::TERM);
            let began = Instant::now();
            while began.elapsed() < STOP_MAX && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.place.directory);
    }
}

/// A port that is free for UDP and TCP.
fn free_address() -> SocketAddr {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free")
}

/// Where clients are, for all servers.
fn database() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/geoip/GeoLite2-Country-Test.mmdb")
}

/// The ceiling for sockets: a batch in, each message copied, the batch out.
pub fn echo() {
    let address = std::env::args().next_back().unwrap();
    let sockets = pointsman::serve::Sockets::bind(&[address.parse().unwrap()], 1).unwrap();
    let socket = sockets.udp_socket(0).unwrap();
    let mut batch = Batch::new(false);
    let _ = std::io::stdout().flush();
    loop {
        if batch.receive(&socket).is_ok() {
            let replies = batch.answer(|query, _, reply| {
                let reply = reply.get_mut(..query.len())?;
                reply.copy_from_slice(query);
                // dnsperf takes it for an answer, NOERROR.
                *reply.get_mut(2)? |= 0x80;
                Some(reply.len())
            });
            let _ = replies.send(&socket);
        }
    }
}
