//! Network namespaces: hosts of their own on a switch of their own, on this machine. Nothing in
//! them reaches the machine's own network, nor the other way round.

use std::future::Future;
use std::os::fd::AsFd;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::find;

/// Hosts on one switch. They are gone, with whatever runs in them still to be killed by its
/// owner, when this is dropped.
pub struct Net {
    names: Vec<String>,
}

impl Net {
    /// A switch with so many hosts, numbered from 0. `None`: the machine does not let us, or
    /// lacks a program; the reason was said.
    pub fn start(hosts: usize) -> Option<Self> {
        find("ip", "iproute2", &["/usr/sbin", "/sbin"])?;
        find("iptables", "iptables", &["/usr/sbin", "/sbin"])?;
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("pm{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let hub = format!("{prefix}hub");
        // A container without CAP_SYS_ADMIN is no fault of the program's, so it never fails here.
        let made = ip(&["netns", "add", &hub]);
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr);
            eprintln!("ignored: needs root and network namespaces: {}", why.trim());
            return None;
        }
        let mut net = Self { names: vec![hub.clone()] };
        let link = ip(&["-n", &hub, "link", "add", "switch", "type", "bridge"]);
        if !link.status.success() {
            let why = String::from_utf8_lossy(&link.stderr);
            eprintln!("ignored: needs root and bridges in network namespaces: {}", why.trim());
            return None;
        }
        must(&["-n", &hub, "link", "set", "switch", "up"]);
        for n in 0..hosts {
            let host = format!("{prefix}h{n}");
            must(&["netns", "add", &host]);
            net.names.push(host.clone());
            let port = format!("port{n}");
            must(&["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &host]);
            must(&["-n", &hub, "link", "set", &port, "master", "switch", "up"]);
            must(&["-n", &host, "link", "set", "lo", "up"]);
            must(&["-n", &host, "addr", "add", &format!("{}/24", net.address(n)), "dev", "eth0"]);
            must(&["-n", &host, "link", "set", "eth0", "up"]);
        }
        Some(net)
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> String {
        format!("10.77.0.{}", host + 1)
    }

    /// Gives a host further addresses, and lets it look for every address there is on the switch.
    pub fn settle(&self, host: usize, addresses: &[&str]) {
        let name = &self.names[host + 1];
        for address in addresses {
            // No waiting until nobody else claims it (RFC 4862 section 5.4): nobody does.
            let (family, length, more) =
                if address.contains(':') { ("-6", 128, Some("nodad")) } else { ("-4", 32, None) };
            let prefix = format!("{address}/{length}");
            let mut words = vec![family, "-n", name, "addr", "add", &prefix, "dev", "eth0"];
            words.extend(more);
            must(&words);
        }
        for family in ["-4", "-6"] {
            must(&[family, "-n", name, "route", "add", "default", "dev", "eth0"]);
        }
    }

    /// A command that will run on a host. The program takes the place of `ip`, so that its
    /// process id is the child's.
    pub fn on(&self, host: usize, program: &str) -> Command {
        let mut command = ip_command();
        command.args(["netns", "exec", &self.names[host + 1], program]);
        command
    }

    /// Runs something on a host, on a thread of its own, until it is done.
    pub fn within<T: Send + 'static>(
        &self,
        host: usize,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let path = format!("/run/netns/{}", self.names[host + 1]);
        let namespace = std::fs::File::open(path).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work)
        })
    }

    /// From now on nothing passes between two hosts, in either direction; connections that are
    /// open hang, as behind a cut cable.
    pub fn cut(&self, one: usize, other: usize) {
        let other = self.address(other);
        self.iptables(one, &["-A", "INPUT", "-s", &other, "-j", "DROP"]);
        self.iptables(one, &["-A", "OUTPUT", "-d", &other, "-j", "DROP"]);
    }

    /// From now on what a host sends to a port of another gets lost.
    pub fn cut_port(&self, from: usize, to: usize, port: u16) {
        let (to, port) = (self.address(to), port.to_string());
        self.iptables(from, &["-A", "OUTPUT", "-d", &to, "-p", "tcp", "--dport", &port, "-j", "DROP"]);
    }

    /// Undoes every cut that was made at a host.
    pub fn heal(&self, host: usize) {
        self.iptables(host, &["-F"]);
    }

    fn iptables(&self, host: usize, arguments: &[&str]) {
        let output = self.on(host, "iptables").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

/// `ip`; Debian keeps it, and `iptables`, where not everybody's `PATH` leads.
fn ip_command() -> Command {
    let mut command = Command::new("ip");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn ip(arguments: &[&str]) -> Output {
    ip_command().args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn must(arguments: &[&str]) {
    let output = ip(arguments);
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
