//! Clusters and their groups of voters.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::Binder;
use crate::base::{ClusterId, Place, RegionId, SecretRef, show_span};
use crate::config::model::{
    Access, Application, Cluster, ClusterKind, Endpoint, EtcdOptions, EtcdUser, Group, HostPort, Member,
    PostgresOptions, PostgresTarget, PostgresTls, Schedule, SearchDialect,
};
use crate::config::read::{Beside, Entries, Placed};
use crate::config::spec;

/// etcd names its leader again within 3 s of losing it at default timings (captured: 1.5 to
/// 2.0 s without quorum, 2.4 s when an old member comes back to a 3.4 cluster).
const ETCD_TIME_TO_TRUTH: Duration = Duration::from_secs(5);
/// etcd gives up on a read that finds no quorum after 7 s.
const ETCD_LINEARIZABLE_TIMEOUT: Duration = Duration::from_secs(8);
/// A restart of a primary that nobody replaces: give it this long.
const POSTGRES_TIME_TO_TRUTH: Duration = Duration::from_secs(10);
/// Voters of one group; etcd itself advises at most seven.
const MEMBERS_MAX: usize = 32;

type Sides = Option<Entries<Vec<Placed<String>>>>;

impl Binder<'_> {
    pub(super) fn clusters(&mut self, clusters: Entries<Placed<spec::Cluster>>) {
        for (name, cluster) in clusters.0 {
            self.word(&name, "a cluster");
            let place = name.place.clone();
            match cluster.value {
                spec::Cluster::Etcd(Beside { shared, own }) => self.etcd(&name, shared, own, place),
                spec::Cluster::Consul(Beside { shared, own }) => self.consul(&name, shared, own, place),
                spec::Cluster::Nomad(Beside { shared, own }) => self.nomad(&name, shared, own, place),
                spec::Cluster::ZooKeeper(Beside { shared, own }) => self.zookeeper(&name, shared, own, place),
                spec::Cluster::Nats(Beside { shared, own }) => self.nats(&name, shared, own, place),
                spec::Cluster::RaftHttp(Beside { shared, own }) => self.raft_http(&name, shared, own, place),
                spec::Cluster::Postgres(Beside { shared, own }) => self.postgres(&name, shared, own, place),
                spec::Cluster::Canary(Beside { shared, own }) => self.canary(&name, shared, own, place),
                spec::Cluster::Dynamodb(Beside { shared, own }) => self.dynamodb(&name, shared, own, place),
                spec::Cluster::CanaryExec(Beside { shared, own }) => {
                    self.canary_exec(&name, shared, own, place);
                }
                spec::Cluster::CanaryPostgres(Beside { shared, own }) => {
                    self.canary_postgres(&name, shared, own, place);
                }
                spec::Cluster::CanaryMysql(Beside { shared, own }) => {
                    self.canary_mysql(&name, shared, own, place);
                }
                spec::Cluster::CanaryRedis(Beside { shared, own }) => {
                    self.canary_redis(&name, shared, own, place);
                }
                spec::Cluster::Spanner(Beside { shared, own }) => self.spanner(&name, shared, own, place),
                spec::Cluster::CanaryEtcd(Beside { shared, own }) => {
                    self.canary_etcd(&name, shared, own, place);
                }
                spec::Cluster::Kafka(Beside { shared, own }) => self.kafka(&name, shared, own, place),
                spec::Cluster::Rabbitmq(Beside { shared, own }) => self.rabbitmq(&name, shared, own, place),
                spec::Cluster::Galera(Beside { shared, own }) => self.galera(&name, shared, own, place),
                spec::Cluster::Patroni(Beside { shared, own }) => self.patroni(&name, shared, own, place),
                spec::Cluster::RedisSentinel(Beside { shared, own }) => {
                    self.redis_sentinel(&name, shared, own, place);
                }
                spec::Cluster::Cassandra(Beside { shared, own }) => self.cassandra(&name, shared, own, place),
                spec::Cluster::Vault(Beside { shared, own }) => self.vault(&name, shared, own, place),
                spec::Cluster::Elasticsearch(Beside { shared, own }) => {
                    self.search(SearchDialect::Elasticsearch, &name, shared, own, place);
                }
                spec::Cluster::Opensearch(Beside { shared, own }) => {
                    self.search(SearchDialect::Opensearch, &name, shared, own, place);
                }
                spec::Cluster::Cockroachdb(Beside { shared, own }) => {
                    self.cockroachdb(&name, shared, own, place);
                }
                spec::Cluster::Yugabytedb(Beside { shared, own }) => {
                    self.yugabytedb(&name, shared, own, place);
                }
                spec::Cluster::Tikv(Beside { shared, own }) => self.tikv(&name, shared, own, place),
                spec::Cluster::Mongodb(Beside { shared, own }) => self.mongodb(&name, shared, own, place),
                spec::Cluster::MysqlGr(Beside { shared, own }) => self.mysql_gr(&name, shared, own, place),
            }
        }
    }

    fn etcd(&mut self, name: &Placed<String>, frame: spec::Frame, etcd: spec::Etcd, place: Place) {
        let linearizable_timeout = self.linearizable_timeout(
            etcd.linearizable_timeout,
            &frame,
            &place,
            ETCD_LINEARIZABLE_TIMEOUT,
            "etcd takes up to 7s to give up on a read without quorum; leave it at 8s",
        );
        let user = self.etcd_user(etcd.username, etcd.password);
        let options = EtcdOptions { access: self.access(etcd.tls), linearizable_timeout, user };
        self.declare(name, ClusterKind::Etcd(options), ETCD_TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }

    /// A user of etcd has both a name and a password.
    pub(super) fn etcd_user(
        &mut self,
        name: Option<Placed<String>>,
        password: Option<Placed<SecretRef>>,
    ) -> Option<EtcdUser> {
        let lone = match (name, password) {
            (Some(name), Some(password)) => {
                return Some(EtcdUser { name: name.value, password: self.secret(password.value) });
            }
            (None, None) => return None,
            (Some(Placed { place, .. }), None) | (None, Some(Placed { place, .. })) => place,
        };
        self.mistakes
            .error(&lone, "a user of etcd logs in with both `username` and `password`")
            .help("leave both out where the common name of a client certificate (`tls`) says who we are");
        None
    }

    fn postgres(&mut self, name: &Placed<String>, frame: spec::Frame, own: spec::Postgres, place: Place) {
        let options = PostgresOptions {
            password: own.password.map(|secret| self.secret(secret)),
            ca: own.ca.map(|path| self.path(&path)),
            unreachable_writer: own.unreachable_writer,
            application: Application {
                roles: own.application.roles.into_iter().map(|role| role.value).collect(),
                proof: own
                    .application
                    .proof
                    .map(|proof| (proof.user, proof.password.map(|secret| self.secret(secret)))),
                database: own.application.database,
            },
        };
        let kind = ClusterKind::Postgres(options);
        self.declare(name, kind, POSTGRES_TIME_TO_TRUTH, frame, place, Self::postgres_target);
    }

    /// The budget of the probe that takes a quorum; `help` says how long the system itself takes.
    pub(super) fn linearizable_timeout(
        &mut self,
        given: Option<Placed<spec::Span>>,
        frame: &spec::Frame,
        place: &Place,
        default: Duration,
        help: &'static str,
    ) -> Duration {
        let timeout = self.times(frame, place).timeout;
        match given {
            None => default,
            Some(span) if span.value.0 < timeout => {
                let words = format!("shorter than the local probe's {}", show_span(timeout));
                self.mistakes.error(&span.place, words).help(help);
                default
            }
            Some(span) => span.value.0,
        }
    }

    /// Whom to trust and what to show.
    pub(super) fn access(&mut self, tls: Option<spec::Tls>) -> Access {
        let Some(tls) = tls else { return Access::default() };
        let identity = self.client_certificate(tls.cert, tls.key);
        Access { ca: tls.ca.map(|path| self.path(&path)), identity, credential: None }
    }

    /// A client certificate and its key; one is nothing without the other.
    pub(super) fn client_certificate(
        &mut self,
        cert: Option<Placed<PathBuf>>,
        key: Option<Placed<PathBuf>>,
    ) -> Option<(PathBuf, PathBuf)> {
        match (cert, key) {
            (Some(cert), Some(key)) => Some((self.path(&cert.value), self.path(&key.value))),
            (None, None) => None,
            (Some(lone), None) | (None, Some(lone)) => {
                self.mistakes.error(&lone.place, "a client certificate needs both `cert` and `key`");
                None
            }
        }
    }

    /// The same for a URL, which must be one that it can be shown to.
    pub(super) fn client_certificate_for(
        &mut self,
        url: Option<&Url>,
        cert: Option<Placed<PathBuf>>,
        key: Option<Placed<PathBuf>>,
    ) -> Option<(PathBuf, PathBuf)> {
        if let (Some(cert), Some("http")) = (&cert, url.map(Url::scheme)) {
            self.mistakes
                .error(&cert.place, "a client certificate is shown over TLS, and this URL is in the clear")
                .help("write the URL with https, or leave `cert` and `key` out");
        }
        self.client_certificate(cert, key)
    }

    /// A URL whose path is ours to choose.
    pub(super) fn base_url(&mut self, text: &Placed<String>) -> Option<Url> {
        let url = self.url(text)?;
        if url.path() != "/" || url.query().is_some() {
            self.mistakes.error(&text.place, "an endpoint of a cluster is a base URL, without a path");
        }
        Some(url)
    }

    /// When the members are asked.
    pub(super) fn times(&mut self, frame: &spec::Frame, place: &Place) -> Schedule {
        let given = spec::Schedule {
            interval: frame.interval,
            timeout: frame.timeout,
            rise: frame.rise,
            fall: frame.fall,
            jitter: frame.jitter.clone(),
            source: frame.source.clone(),
            ..spec::Schedule::default()
        };
        self.schedule(&given, place, self.defaults)
    }

    /// Takes a cluster in, with its groups; `truth` is its time to truth where none is given, and
    /// `endpoint` reads one member.
    pub(super) fn declare(
        &mut self,
        name: &Placed<String>,
        kind: ClusterKind,
        truth: Duration,
        frame: spec::Frame,
        place: Place,
        endpoint: impl FnMut(&mut Self, &Placed<String>) -> Option<Endpoint>,
    ) {
        let cluster = Cluster {
            kind,
            groups: Vec::new(),
            schedule: self.times(&frame, &place),
            time_to_truth: frame.time_to_truth.map_or(truth, |span| span.0),
            silent_means: frame.silent_means,
            place,
        };
        match self.clusters.push(name, cluster) {
            Ok(id) => self.sides(name, id, frame.inside, frame.across, endpoint),
            Err(_) => drop(self.mistakes.error(&name.place, "too many clusters")),
        }
    }

    /// The groups of a cluster, from the members listed `inside` each region or `across` regions.
    fn sides(
        &mut self,
        name: &Placed<String>,
        cluster: ClusterId,
        inside: Sides,
        across: Sides,
        mut endpoint: impl FnMut(&mut Self, &Placed<String>) -> Option<Endpoint>,
    ) {
        let mut members_of = |binder: &mut Self, region: RegionId, texts: &[Placed<String>]| {
            let endpoints = texts.iter().filter_map(|text| endpoint(binder, text));
            endpoints.map(|endpoint| Member { region, endpoint }).collect::<Vec<_>>()
        };
        match (inside, across) {
            (Some(inside), None) => {
                for (region_name, texts) in &inside.0 {
                    let Some(region) = self.region(region_name) else { continue };
                    let members = members_of(self, region, texts);
                    let group = format!("{}/{}", name.value, region_name.value);
                    self.group(&group, cluster, Some(region), members, &region_name.place);
                }
            }
            (None, Some(across)) => {
                let mut members = Vec::new();
                for (region_name, texts) in &across.0 {
                    let Some(region) = self.region(region_name) else { continue };
                    members.extend(members_of(self, region, texts));
                }
                self.group(&name.value, cluster, None, members, &name.place);
            }
            (None, None) => {
                self.mistakes
                    .error(&name.place, format!("cluster `{}` has no members", name.value))
                    .help("list them under `inside` (a group of voters in each region) or `across` (one group over regions)");
            }
            (Some(_), Some(_)) => {
                self.mistakes
                    .error(
                        &name.place,
                        format!("cluster `{}` lists members both `inside` and `across`", name.value),
                    )
                    .help("a system has either a group of voters in each region or one group over regions");
            }
        }
    }

    fn group(
        &mut self,
        name: &str,
        cluster: ClusterId,
        inside: Option<RegionId>,
        members: Vec<Member>,
        place: &Place,
    ) {
        for (n, member) in members.iter().enumerate() {
            if members[..n].iter().any(|other| other.endpoint == member.endpoint) {
                self.mistakes.error(place, format!("{} is listed twice in `{name}`", member.endpoint));
            }
        }
        let kind = &self.clusters[cluster].kind;
        let votes = kind.votes();
        let voters = members.iter().filter(|member| !kind.voteless(&member.endpoint)).count();
        match voters + kind.arbitrators() {
            _ if members.is_empty() => {
                self.mistakes.error(place, format!("`{name}` has no members"));
                return;
            }
            _ if members.len() > MEMBERS_MAX => {
                let n = members.len();
                self.mistakes.error(place, format!("`{name}` has {n} members; at most {MEMBERS_MAX}"));
                return;
            }
            n if votes && n < 3 => {
                self.mistakes
                    .warn(place, format!("`{name}` has {n} voters: it can never afford to lose one"))
                    .help("it counts as `degraded` even at its best; list every voter, three or more");
            }
            n if votes && n % 2 == 0 => {
                self.mistakes.warn(place, format!("`{name}` has {n} voters: no safer than {}", n - 1));
            }
            _ => {}
        }
        if let Ok(id) = self.groups.push(name, Group { cluster, inside, members }) {
            self.clusters[cluster].groups.push(id);
        } else {
            self.mistakes.error(place, format!("there is already a group named `{name}`"));
        }
    }

    /// A libpq connection string (PostgreSQL, "Connection Strings"): `host=… port=… user=…`.
    pub(super) fn postgres_target(&mut self, text: &Placed<String>) -> Option<Endpoint> {
        let problem = |binder: &mut Self, message: String, help: &str| {
            binder.mistakes.error(&text.place, message).help(help);
        };
        const FORM: &str = "write it like \"host=db1.example.com port=5432 user=pointsman dbname=postgres\"";
        let mut host = None;
        let (mut port, mut user, mut database, mut tls) = (5432, None, None, PostgresTls::Disable);
        for part in text.value.split_whitespace() {
            let Some((key, value)) = part.split_once('=') else {
                problem(self, format!("`{part}` is not of the form key=value"), FORM);
                return None;
            };
            match (key, value) {
                ("host", host_name) if !host_name.is_empty() => host = Some(host_name.to_owned()),
                ("port", number) => match number.parse() {
                    Ok(number) if number != 0 => port = number,
                    _ => problem(self, format!("`{number}` is not a port"), FORM),
                },
                ("user", name) => user = Some(name.to_owned()),
                ("dbname", name) => database = Some(name.to_owned()),
                ("sslmode", "disable") => tls = PostgresTls::Disable,
                ("sslmode", "verify-full") => tls = PostgresTls::Require,
                ("sslmode", mode) => {
                    let help = "`disable`, or `verify-full` (give `ca: FILE` for a CA of your own): the others can be talked down to clear text";
                    problem(self, format!("sslmode `{mode}` is not offered"), help);
                }
                ("password", _) => problem(
                    self,
                    "a connection string must not carry a password".to_owned(),
                    "keep it apart: `password: {file: …}` beside the members",
                ),
                (key, _) => problem(self, format!("`{key}` is not a key we know"), FORM),
            }
        }
        let (Some(host), Some(user)) = (host, user) else {
            problem(self, "a PostgreSQL server needs `host` and `user`".to_owned(), FORM);
            return None;
        };
        let database = database.unwrap_or_else(|| "postgres".to_owned());
        Some(Endpoint::Postgres(PostgresTarget { address: HostPort { host, port }, user, database, tls }))
    }
}
