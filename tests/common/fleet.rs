//! The members of a clustered system, each on a host of its own, and a checker on another: real
//! servers that can be killed, stopped where they stand, cut off from each other, and healed.
//!
//! The hosts are network namespaces, so that members have the ports they have in production,
//! and a partition is one: packets get lost between members that the checker still reaches.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use super::net::Net;
use super::{Program, Scratch};

/// How a member is started: on which network, which member, of how many, in which directory.
pub type Launch = Box<dyn Fn(&Net, usize, usize, &Path) -> Command>;

pub struct Fleet {
    // Programs go before the hosts that they run on.
    members: Vec<Option<Program>>,
    launch: Launch,
    pub net: Net,
    scratch: Scratch,
    name: &'static str,
}

impl Fleet {
    /// Starts so many members. `None`: the machine has no namespaces for us; that was said.
    pub fn start(name: &'static str, size: usize, launch: Launch) -> Option<Self> {
        let mut fleet = Self::prepare(name, size, launch)?;
        for n in 0..size {
            fleet.start_member(n);
        }
        Some(fleet)
    }

    /// The same with no member started yet.
    pub fn prepare(name: &'static str, size: usize, launch: Launch) -> Option<Self> {
        let net = Net::start(size + 1)?;
        let members = (0..size).map(|_| None).collect();
        Some(Self { members, launch, net, scratch: Scratch::new(name), name })
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The host from which everything is watched.
    pub fn checker(&self) -> usize {
        self.size()
    }

    pub fn address(&self, n: usize) -> String {
        self.net.address(n)
    }

    /// Starts a member, or starts it again with what it had.
    pub fn start_member(&mut self, n: usize) {
        let directory = self.scratch.path().join(format!("m{n}"));
        std::fs::create_dir_all(&directory).unwrap();
        let mut command = (self.launch)(&self.net, n, self.size(), &directory);
        let log = self.scratch.path().join(format!("m{n}.log"));
        self.members[n] = Some(Program::start(&mut command, self.name, &log));
    }

    /// As `kill -9`.
    pub fn kill(&mut self, n: usize) {
        self.members[n] = None;
    }

    /// Stops a member where it stands: the kernel goes on accepting connections for it.
    pub fn pause(&self, n: usize) {
        self.members[n].as_ref().unwrap().signal(Signal::STOP);
    }

    pub fn resume(&self, n: usize) {
        self.members[n].as_ref().unwrap().signal(Signal::CONT);
    }

    /// From now on nothing passes between these hosts and the others, but everything within.
    /// The checker may be among them; if it is not, it reaches everybody.
    pub fn part(&self, some: &[usize]) {
        let checker = self.checker();
        let others = (0..=checker).filter(|n| !some.contains(n));
        for other in others.filter(|n| *n != checker || some.contains(&checker)) {
            for one in some {
                self.net.cut(other, *one);
            }
        }
    }

    /// Undoes every partition.
    pub fn heal(&self) {
        for n in 0..=self.checker() {
            self.net.heal(n);
        }
    }
}
