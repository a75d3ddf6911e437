//! Clusters and their groups of voters.

use std::time::Duration;

use super::Binder;
use super::checks::schedule;
use crate::base::{ClusterId, Place, RegionId, show_span};
use crate::config::model::{
    Application, Cluster, ClusterKind, Endpoint, EtcdOptions, Group, HostPort, Member, PostgresOptions,
    PostgresTarget, PostgresTls, Schedule, SilentMeans,
};
use crate::config::read::{Entries, Placed};
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
                spec::Cluster::Etcd(etcd) => self.etcd(&name, etcd, place),
                spec::Cluster::Postgres(postgres) => self.postgres(&name, postgres, place),
            }
        }
    }

    fn etcd(&mut self, name: &Placed<String>, etcd: spec::Etcd, place: Place) {
        let times = schedule(etcd.interval, etcd.timeout, etcd.rise, etcd.fall);
        let times = self.schedule(&times, &place, self.defaults);
        let linearizable_timeout = match etcd.linearizable_timeout {
            None => ETCD_LINEARIZABLE_TIMEOUT,
            Some(span) if span.value.0 < times.timeout => {
                self.mistakes
                    .error(
                        &span.place,
                        format!("shorter than the local probe's {}", show_span(times.timeout)),
                    )
                    .help("etcd takes up to 7s to give up on a read without quorum; leave it at 8s");
                ETCD_LINEARIZABLE_TIMEOUT
            }
            Some(span) => span.value.0,
        };
        let mut options = EtcdOptions { linearizable_timeout, ..EtcdOptions::default() };
        if let Some(tls) = etcd.tls {
            options.ca = tls.ca.map(|path| self.path(&path));
            options.identity = match (tls.cert, tls.key) {
                (Some(cert), Some(key)) => Some((self.path(&cert.value), self.path(&key.value))),
                (None, None) => None,
                (Some(lone), None) | (None, Some(lone)) => {
                    self.mistakes.error(&lone.place, "a client certificate needs both `cert` and `key`");
                    None
                }
            };
        }
        let kind = ClusterKind::Etcd(options);
        let truth = etcd.time_to_truth.map_or(ETCD_TIME_TO_TRUTH, |span| span.0);
        let id = self.new_cluster(name, kind, times, truth, etcd.silent_means, place);
        self.sides(name, id, etcd.inside, etcd.across, |binder, text| {
            let url = binder.url(text)?;
            if url.path() != "/" || url.query().is_some() {
                binder.mistakes.error(&text.place, "an etcd endpoint is a base URL, without a path");
            }
            Some(Endpoint::Http(url))
        });
    }

    fn postgres(&mut self, name: &Placed<String>, postgres: spec::Postgres, place: Place) {
        let times = schedule(postgres.interval, postgres.timeout, postgres.rise, postgres.fall);
        let times = self.schedule(&times, &place, self.defaults);
        let options = PostgresOptions {
            password: postgres.password.map(|secret| self.secret(secret)),
            ca: postgres.ca.map(|path| self.path(&path)),
            unreachable_writer: postgres.unreachable_writer,
            application: Application {
                roles: postgres.application.roles.into_iter().map(|role| role.value).collect(),
                proof: postgres
                    .application
                    .proof
                    .map(|proof| (proof.user, proof.password.map(|secret| self.secret(secret)))),
                database: postgres.application.database,
            },
        };
        let kind = ClusterKind::Postgres(options);
        let truth = postgres.time_to_truth.map_or(POSTGRES_TIME_TO_TRUTH, |span| span.0);
        let id = self.new_cluster(name, kind, times, truth, postgres.silent_means, place);
        self.sides(name, id, postgres.inside, postgres.across, Self::postgres_target);
    }

    fn new_cluster(
        &mut self,
        name: &Placed<String>,
        kind: ClusterKind,
        schedule: Schedule,
        time_to_truth: Duration,
        silent_means: SilentMeans,
        place: Place,
    ) -> Option<ClusterId> {
        let cluster = Cluster { kind, groups: Vec::new(), schedule, time_to_truth, silent_means, place };
        let id = self.clusters.push(name, cluster);
        if id.is_err() {
            self.mistakes.error(&name.place, "too many clusters");
        }
        id.ok()
    }

    /// The groups of a cluster, from the members listed `inside` each region or `across` regions.
    fn sides(
        &mut self,
        name: &Placed<String>,
        cluster: Option<ClusterId>,
        inside: Sides,
        across: Sides,
        mut endpoint: impl FnMut(&mut Self, &Placed<String>) -> Option<Endpoint>,
    ) {
        let Some(cluster) = cluster else { return };
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
        match members.len() {
            0 => {
                self.mistakes.error(place, format!("`{name}` has no members"));
                return;
            }
            n if n > MEMBERS_MAX => {
                self.mistakes.error(place, format!("`{name}` has {n} members; at most {MEMBERS_MAX}"));
                return;
            }
            n if matches!(self.clusters[cluster].kind, ClusterKind::Etcd(_)) && n < 3 => {
                self.mistakes
                    .warn(place, format!("`{name}` has {n} voters: it can never afford to lose one"))
                    .help("it counts as `degraded` even at its best; list every voter, three or more");
            }
            n if matches!(self.clusters[cluster].kind, ClusterKind::Etcd(_)) && n % 2 == 0 => {
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
    fn postgres_target(&mut self, text: &Placed<String>) -> Option<Endpoint> {
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
