//! Checks that run programs, and those that ping.

use std::path::Path;

use crate::config::bind::Binder;
use crate::config::model::{ExecCheck, GrpcCheck, IcmpCheck};
use crate::config::spec;

/// Echo requests of one check.
const COUNT_MAX: usize = 20;
const COUNT: usize = 3;

impl Binder<'_> {
    pub(in crate::config::bind) fn exec(&mut self, exec: spec::ExecCheck) -> Option<ExecCheck> {
        let Some(program) = exec.argv.value.first().filter(|program| !program.is_empty()) else {
            self.mistakes
                .error(&exec.argv.place, "there is no program to run")
                .help("write `argv: [/usr/local/bin/check, \"--fast\"]`; there is no shell to look it up in");
            return None;
        };
        let mut argv = exec.argv.value.clone();
        // A path is taken from where the configuration stands; a bare name from $PATH.
        if program.contains('/') {
            argv[0] = self.path(Path::new(program)).display().to_string();
        }
        let mut env = std::collections::BTreeMap::new();
        for (name, node) in &exec.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                self.mistakes.error(&node.place, format!("`{name}` is not the name of a variable"));
            } else if let Some(value) = self.header(node) {
                env.insert(name.clone(), value);
            }
        }
        Some(ExecCheck { argv, env, codes: exec.codes })
    }

    pub(super) fn icmp(&mut self, icmp: &spec::IcmpCheck) -> Option<IcmpCheck> {
        let host = icmp.host.value.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', ' ', '@']) || host.parse::<std::net::SocketAddr>().is_ok() {
            self.mistakes
                .error(&icmp.host.place, format!("`{}` is not a host", icmp.host.value))
                .help("write an address or a name, without a port");
            return None;
        }
        let count = self.within(&icmp.count, 1..=COUNT_MAX, COUNT);
        // One lost packet is no outage, of three or of twenty.
        let lost_max = self.within(&icmp.lost_max, 0..=count - 1, count / 2);
        Some(IcmpCheck { host: host.to_owned(), count: count as u8, lost_max: lost_max as u8 })
    }

    pub(super) fn grpc(&mut self, grpc: spec::GrpcCheck) -> Option<GrpcCheck> {
        let url = self.base_url(&grpc.url);
        let connect = grpc.connect.as_ref().and_then(|text| self.host_port(text));
        let ca = grpc.ca.map(|path| self.path(&path));
        let identity = self.client_certificate_for(url.as_ref(), grpc.cert, grpc.key);
        Some(GrpcCheck { url: url?, service: grpc.service, connect, ca, identity })
    }
}
