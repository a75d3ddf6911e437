//! A cluster of three etcd members.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use super::program::{Program, command};
use super::tools::Tools;
use crate::demo::directory::Directory;
use crate::demo::ports;
use crate::io::http::{Request, exchange};
use crate::io::{Contact, Net, TrustFiles};

const MEMBERS: usize = 3;
/// A status takes milliseconds, once etcd answers at all.
const STATUS_MAX: Duration = Duration::from_secs(1);
const STATUS_BYTES_MAX: usize = 4096;

/// A running cluster. It ends on drop.
#[derive(Debug)]
pub struct Etcd {
    region: &'static str,
    binary: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    client: u16,
    peer: u16,
    program: Option<Program>,
}

impl Etcd {
    /// Starts a new cluster, and waits until all of its members follow a leader.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(tools: &Tools, directory: &Directory, region: &'static str) -> Result<Self, String> {
        let member = |_| Ok(Member { client: ports::free()?, peer: ports::free()?, program: None });
        let members = (0..MEMBERS).map(member).collect::<Result<_, String>>()?;
        let mut etcd = Self { region, binary: tools.etcd.clone(), members };
        for member in 0..MEMBERS {
            etcd.start_member(member, directory)?;
        }
        let net = Net::new();
        let urls = etcd.endpoints();
        for (member, url) in etcd.members.iter_mut().zip(urls) {
            if let Some(program) = &mut member.program {
                program.until_ready(async || has_leader(&net, &url).await).await?;
            }
        }
        Ok(etcd)
    }

    /// Base URLs of the members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://127.0.0.1:{}", member.client)).collect()
    }

    /// As `kill -9`.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut program) = self.members[member].program.take() {
            program.kill();
        }
    }

    /// Starts a member, or starts it again with what it had.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_member(&mut self, number: usize, directory: &Directory) -> Result<(), String> {
        let name = |n: usize| format!("etcd-{}-{n}", self.region);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(n, member)| format!("{}={}", name(n), url(member.peer)))
            .collect();
        let member = &self.members[number];
        let (client, peer) = (url(member.client), url(member.peer));
        let mut etcd = command(&self.binary, None);
        etcd.args(["--name", &name(number), "--data-dir"])
            .arg(directory.path().join(name(number)))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            // A token of its own keeps two demos' members from ever taking each other for theirs.
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-token", &cluster[0]])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
            .args(["--logger", "zap", "--log-level", "warn"])
            // Nothing of this must survive a power cut.
            .env("ETCD_UNSAFE_NO_FSYNC", "true");
        let program = Program::start(&mut etcd, &name(number), directory)?;
        self.members[number].program = Some(program);
        Ok(())
    }
}

/// Whether a member knows a leader; etcd leaves zero values out.
async fn has_leader(net: &Net, url: &str) -> bool {
    let Ok(url) = Url::parse(&format!("{url}/v3/maintenance/status")) else { return false };
    let trust = TrustFiles::default();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = Request {
        headers,
        body: Bytes::from_static(b"{}"),
        body_bytes_max: STATUS_BYTES_MAX,
        ..Request::new(Method::POST, &url, &trust)
    };
    let mut contact = Contact::new(STATUS_MAX);
    let Ok(answer) = exchange(&mut contact, net, request).await else { return false };
    serde_json::from_slice::<Value>(&answer.body).is_ok_and(|status| status.get("leader").is_some())
}
