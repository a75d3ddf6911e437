//! Redis servers under Sentinels, as Debian has them: one of each on every host.

use std::path::{Path, PathBuf};

use super::net::Net;
use super::scene::System;
use super::{Program, find};

pub struct Redis {
    server: PathBuf,
    /// Lines for every server.
    more: &'static str,
    hosts: usize,
}

impl Redis {
    /// `None`: not installed.
    pub fn find(hosts: usize, more: &'static str) -> Option<Self> {
        find("redis-sentinel", "redis-sentinel", &[])?;
        Some(Self { server: find("redis-server", "redis-server", &[])?, more, hosts })
    }
}

impl System for Redis {
    fn start(&mut self, net: &Net, host: usize, directory: &Path) -> Vec<Program> {
        let own = directory.join(format!("n{host}"));
        let (server, sentinel) = (own.join("redis.conf"), own.join("sentinel.conf"));
        let (address, first) = (net.address(host), net.address(0));
        // Both rewrite their files: a member that comes back has what it had.
        if !own.exists() {
            std::fs::create_dir(&own).unwrap();
            let replica = if host == 0 { String::new() } else { format!("replicaof {first} 6379\n") };
            let directory = own.display();
            let text = format!(
                "bind {address}\nport 6379\ndir {directory}\nrequirepass s3cret\nmasterauth s3cret\n\
                 repl-diskless-sync yes\nrepl-diskless-sync-delay 0\nsave \"\"\n{}\n{replica}",
                self.more
            );
            std::fs::write(&server, text).unwrap();
            let quorum = self.hosts / 2 + 1;
            let text = format!(
                "bind {address}\nport 26379\ndir {directory}\nprotected-mode no\n\
                 sentinel monitor shop {first} 6379 {quorum}\nsentinel auth-pass shop s3cret\n\
                 sentinel down-after-milliseconds shop 2000\nsentinel failover-timeout shop 6000\n"
            );
            std::fs::write(&sentinel, text).unwrap();
        }
        let start = |file: &Path, name: &str, sentinel: bool| {
            let mut command = net.on(host, self.server.to_str().unwrap());
            command.arg(file);
            if sentinel {
                command.arg("--sentinel");
            }
            Program::start(&mut command, name, &directory.join(format!("{name}-{host}.log")))
        };
        vec![start(&server, "redis", false), start(&sentinel, "sentinel", true)]
    }

    fn options(&self, directory: &Path) -> String {
        let password = directory.join("password");
        std::fs::write(&password, "s3cret\n").unwrap();
        format!(
            "  store:
    redis_sentinel:
      master: shop
      servers: {{password: {{file: \"{}\"}}}}
      time_to_truth: 4s
      across:
MEMBERS
",
            password.display()
        )
    }

    fn members(&self, net: &Net, host: usize) -> Vec<String> {
        let address = net.address(host);
        vec![format!("sentinel://{address}:26379"), format!("redis://{address}:6379")]
    }
}
