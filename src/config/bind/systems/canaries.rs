//! Canaries by a program, by SQL, by keys and values.
//!
//! Each writes once in every round, to each of its members: members are ways in, one for a region
//! or a few, not every server there is.

use std::time::Duration;

use super::canary::TIME_TO_TRUTH;
use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{
    Canary, ClusterKind, Endpoint, EtcdCanary, EtcdOptions, MysqlCanary, PostgresCanary, RedisCanary, Row,
    SpannerCanary, SpannerIdentity,
};
use crate::config::read::Placed;
use crate::config::spec;

/// Between two writes through one way in: a canary is not to be a load.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Ways in of one group.
const WAYS_MAX: usize = 8;
/// The table of rows, one for each site.
const TABLE: &str = "pointsman_canary";
/// What keys begin with; the name of the site follows.
const KEY: &str = "pointsman/canary/";
/// Spanner's own clients try again for seconds.
const SPANNER_TIME_TO_TRUTH: Duration = Duration::from_secs(20);
/// Where a machine in Google's cloud asks who it is.
const METADATA_SERVER: &str = "http://metadata.google.internal";
/// Replicas that may be waited for.
const REPLICAS_MAX: u32 = 16;

impl Binder<'_> {
    pub(in crate::config::bind) fn canary_exec(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::CanaryExec,
        place: Place,
    ) {
        let spec::CanaryExec { argv, env, codes } = own;
        let Some(check) = self.exec(spec::ExecCheck { argv, env, codes }) else { return };
        self.writes(name, Canary::Exec(check), TIME_TO_TRUTH, frame, place, |binder, text| {
            let fine = !text.value.is_empty() && !text.value.chars().any(char::is_control);
            if !fine {
                binder.mistakes.error(&text.place, "a member of a canary by a program needs a name");
            }
            fine.then(|| Endpoint::Named(text.value.clone()))
        });
    }

    pub(in crate::config::bind) fn canary_postgres(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::CanaryPostgres,
        place: Place,
    ) {
        let canary = PostgresCanary {
            password: own.password.map(|secret| self.secret(secret)),
            ca: own.ca.map(|path| self.path(&path)),
            row: self.row(own.table),
        };
        self.writes(name, Canary::Postgres(canary), TIME_TO_TRUTH, frame, place, Self::postgres_target);
    }

    pub(in crate::config::bind) fn canary_mysql(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::CanaryMysql,
        place: Place,
    ) {
        if !own.table.value.contains('.') {
            self.mistakes
                .error(&own.table.place, "the table needs its database")
                .help("write it like `pointsman.canary`");
        }
        let login = self.mysql_login(own.user, own.password, own.tls);
        let canary = MysqlCanary { login, row: self.row(Some(own.table)) };
        self.writes(name, Canary::Mysql(canary), TIME_TO_TRUTH, frame, place, Self::host);
    }

    pub(in crate::config::bind) fn canary_redis(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::CanaryRedis,
        place: Place,
    ) {
        if own.replicas.value > REPLICAS_MAX {
            self.mistakes
                .error(&own.replicas.place, format!("at most {REPLICAS_MAX} replicas can be waited for"));
        }
        let canary = RedisCanary {
            login: self.redis_login(spec::RedisLogin { user: own.user, password: own.password }),
            tls: own.tls.map(|tls| self.access(Some(tls))),
            key: self.canary_key(own.key),
            replicas: own.replicas.value,
        };
        self.writes(name, Canary::Redis(canary), TIME_TO_TRUTH, frame, place, Self::host);
    }

    pub(in crate::config::bind) fn canary_etcd(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::CanaryEtcd,
        place: Place,
    ) {
        let user = self.etcd_user(own.username, own.password);
        let options = EtcdOptions { access: self.access(own.tls), user, ..EtcdOptions::default() };
        let canary = EtcdCanary { options, key: self.canary_key(own.key) };
        self.writes(name, Canary::Etcd(canary), TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }

    pub(in crate::config::bind) fn spanner(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::Spanner,
        place: Place,
    ) {
        let parts: Vec<&str> = own.database.value.split('/').collect();
        let plain = |part: &&&str| {
            let fine = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            !part.is_empty() && part.chars().all(fine)
        };
        let named = matches!(*parts, ["projects", _, "instances", _, "databases", _]);
        if !named || !parts.iter().all(|part| plain(&part)) {
            self.mistakes
                .error(&own.database.place, format!("`{}` is not a database of Spanner", own.database.value))
                .help("write it like `projects/shop/instances/prod/databases/orders`");
        }
        let metadata_server = own.metadata_server.as_ref().and_then(|text| self.base_url(text));
        let identity = match (own.service_account, metadata_server, own.anonymous) {
            (Some(account), None, false) => SpannerIdentity::Account(self.secret(account)),
            (None, None, true) => SpannerIdentity::Nobody,
            (None, server, false) => SpannerIdentity::Machine(
                server.unwrap_or_else(|| METADATA_SERVER.parse().expect("it is a URL")),
            ),
            _ => {
                self.mistakes
                    .error(&name.place, "either `service_account`, or `metadata_server`, or `anonymous`")
                    .help("without any of them the machine's own account is used");
                SpannerIdentity::Nobody
            }
        };
        let canary = SpannerCanary {
            access: self.access(own.tls),
            database: own.database.value,
            row: self.row(own.table),
            identity,
        };
        let canary = Canary::Spanner(canary);
        self.writes(name, canary, SPANNER_TIME_TO_TRUTH, frame, place, |binder, text| {
            binder.base_url(text).map(Endpoint::Http)
        });
    }

    /// Takes a canary in, whose writes are to be few.
    fn writes(
        &mut self,
        name: &Placed<String>,
        canary: Canary,
        truth: Duration,
        frame: spec::Frame,
        place: Place,
        endpoint: impl FnMut(&mut Self, &Placed<String>) -> Option<Endpoint>,
    ) {
        if self.times(&frame, &place).interval < INTERVAL_MIN {
            self.mistakes
                .error(&place, "a canary writes in every round: not more often than once in a second")
                .help("give it an `interval` of its own, such as 5s");
        }
        let group_place = place.clone();
        let kind = ClusterKind::Canary(Box::new(canary));
        self.declare(name, kind, truth, frame, place, endpoint);
        let Some(cluster) = self.clusters.id(&name.value) else { return };
        for group in self.clusters[cluster].groups.clone() {
            let ways = self.groups[group].members.len();
            if ways > WAYS_MAX {
                let group = self.groups.name(group).to_string();
                self.mistakes
                    .error(
                        &group_place,
                        format!("`{group}` writes through {ways} members in every round; at most {WAYS_MAX}"),
                    )
                    .help("list ways in, one for a region or a few, rather than every server");
            }
        }
    }

    /// The row of this site in a table, whose name stands in statements as it is.
    fn row(&mut self, table: Option<Placed<String>>) -> Row {
        let plain = |name: &str| {
            let mut letters = name.bytes();
            letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
                && letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if let Some(table) = &table
            && (table.value.split('.').count() > 2 || !table.value.split('.').all(plain))
        {
            self.mistakes
                .error(&table.place, format!("`{}` is not a table that needs no quotes", table.value))
                .help("letters, digits and `_`, perhaps with a schema before it: `ops.pointsman_canary`");
        }
        let table = table.map_or_else(|| TABLE.to_owned(), |table| table.value);
        Row { table, site: self.site.clone() }
    }

    /// The key of this site.
    fn canary_key(&mut self, beginning: Option<Placed<String>>) -> String {
        if let Some(beginning) = &beginning
            && (beginning.value.is_empty() || beginning.value.chars().any(|c| c.is_control() || c == ' '))
        {
            self.mistakes.error(&beginning.place, "a key has no spaces, and is not empty");
        }
        let beginning = beginning.map_or_else(|| KEY.to_owned(), |key| key.value);
        format!("{beginning}{}", self.site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Source;
    use crate::config::{Config, Surroundings, parse};

    fn load(cluster: &str) -> Result<Config, String> {
        let text = format!(
            "version: 1\nmode: observe\nsite: {{name: fra1}}\nlisten: {{dns: [\"127.0.0.1:53\"]}}\n\
             clusters:\n  watched:\n{cluster}\n\
             regions: {{eu: {{layers: {{quorum: [watched]}}}}}}\n"
        );
        let around = Surroundings { directory: "/etc".into(), state: None, runtime: None, processors: 2 };
        let loaded = parse(&Source::new("pointsman.yaml", text.as_str()), &around);
        loaded.map(|(config, _)| config).map_err(|mistakes| mistakes.render(false))
    }

    fn canary(cluster: &str) -> Canary {
        let config = load(cluster).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        match &config.clusters.values().next().unwrap().kind {
            ClusterKind::Canary(canary) => (**canary).clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_site_has_a_row_and_a_key_of_its_own() {
        let Canary::Postgres(of) = canary("    canary_postgres: {inside: {eu: [\"host=a user=b\"]}}") else {
            panic!()
        };
        assert_eq!(of.row, Row { table: "pointsman_canary".to_owned(), site: "fra1".to_owned() });
        let Canary::Redis(of) = canary("    canary_redis: {inside: {eu: [\"a:1\"]}, replicas: 2}") else {
            panic!()
        };
        assert_eq!((of.key.as_str(), of.replicas), ("pointsman/canary/fra1", 2));
    }

    #[test]
    fn what_would_be_a_load_or_a_hole_is_refused() {
        let many: Vec<String> = (0..9).map(|n| format!("\"a{n}:1\"")).collect();
        for (cluster, complaint) in [
            (
                "canary_redis: {inside: {eu: [\"a:1\"]}, replicas: 1, interval: 500ms, timeout: 400ms}",
                "once in a second",
            ),
            (&*format!("canary_redis: {{inside: {{eu: [{}]}}, replicas: 1}}", many.join(", ")), "at most 8"),
            ("canary_redis: {inside: {eu: [\"a:1\"]}}", "replicas"),
            ("canary_redis: {inside: {eu: [\"a:1\"]}, replicas: 17}", "at most 16"),
            ("canary_redis: {inside: {eu: [\"a:1\"]}, replicas: 1, key: \"a b\"}", "no spaces"),
            (
                "canary_postgres: {inside: {eu: [\"host=a user=b\"]}, table: \"a; drop table b\"}",
                "needs no quotes",
            ),
            ("canary_postgres: {inside: {eu: [\"host=a user=b\"]}, table: a.b.c}", "needs no quotes"),
            ("canary_mysql: {inside: {eu: [\"a:1\"]}, user: b, table: canary}", "needs its database"),
            ("canary_exec: {inside: {eu: [a]}, argv: []}", "no program to run"),
            ("canary_exec: {inside: {eu: [\"\"]}, argv: [a]}", "needs a name"),
            ("spanner: {inside: {eu: [\"http://a\"]}, database: orders}", "not a database of Spanner"),
            (
                "spanner: {inside: {eu: [\"http://a\"]}, database: projects/a/instances/b/databases/..%2fc}",
                "not a database of Spanner",
            ),
            (
                "spanner: {inside: {eu: [\"http://a\"]}, database: projects/a/instances/b/databases/c, \
                 anonymous: true, service_account: {env: A}}",
                "either `service_account`",
            ),
            ("canary_etcd: {inside: {eu: [\"http://a:1\"]}, username: b}", "both `username` and `password`"),
        ] {
            let mistakes = load(&format!("    {cluster}")).map(|_| ()).unwrap_err();
            assert!(mistakes.contains(complaint), "{cluster}: {mistakes}");
        }
    }
}
