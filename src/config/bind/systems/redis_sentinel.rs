//! Redis under Sentinels.

use std::time::Duration;

use super::Binder;
use crate::base::Place;
use crate::config::model::{ClusterKind, Endpoint, RedisLogin, RedisSentinelOptions, RedisTarget};
use crate::config::read::Placed;
use crate::config::spec;

/// With `down-after-milliseconds` as Redis has it, Sentinels take a master for down after 30 s;
/// most set 5 s or less. A failover itself takes some 2 s, and 10 s more for the old master.
const TIME_TO_TRUTH: Duration = Duration::from_secs(10);

impl Binder<'_> {
    pub(in super::super) fn redis_sentinel(
        &mut self,
        name: &Placed<String>,
        frame: spec::Frame,
        own: spec::RedisSentinel,
        place: Place,
    ) {
        let tls = own.tls.map(|tls| self.access(Some(tls)));
        let options = RedisSentinelOptions {
            master: own.master,
            servers: self.redis_login(own.servers),
            sentinels: self.redis_login(own.sentinels),
            tls,
        };
        let kind = ClusterKind::RedisSentinel(options);
        let group_place = place.clone();
        self.declare(name, kind, TIME_TO_TRUTH, frame, place, Self::redis_target);
        self.count_sentinels(name, &group_place);
    }

    pub(super) fn redis_login(&mut self, login: spec::RedisLogin) -> RedisLogin {
        if let (Some(user), None) = (&login.user, &login.password) {
            self.mistakes.error(&user.place, "a user of Redis logs in with a password: give `password` too");
        }
        RedisLogin {
            user: login.user.map(|user| user.value),
            password: login.password.map(|secret| self.secret(secret)),
        }
    }

    /// `sentinel://host:port` or `redis://host:port`.
    fn redis_target(&mut self, text: &Placed<String>) -> Option<Endpoint> {
        let (sentinel, rest) = match text.value.split_once("://") {
            Some(("sentinel", rest)) => (true, rest),
            Some(("redis", rest)) => (false, rest),
            _ => {
                self.mistakes
                    .error(&text.place, format!("`{}` is neither a Sentinel nor a server", text.value))
                    .help("write it like \"sentinel://redis1.example.com:26379\" or \"redis://redis1.example.com:6379\"");
                return None;
            }
        };
        let address = self.host_port(&Placed { value: rest.to_owned(), place: text.place.clone() })?;
        Some(Endpoint::Redis(RedisTarget { address, sentinel }))
    }

    /// Every group needs Sentinels, three at the best, and servers.
    fn count_sentinels(&mut self, name: &Placed<String>, place: &Place) {
        let Some(cluster) = self.clusters.id(&name.value) else { return };
        for group in self.clusters[cluster].groups.clone() {
            let is_sentinel = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Redis(t) if t.sentinel);
            let members = &self.groups[group].members;
            let sentinels = members.iter().filter(|member| is_sentinel(&member.endpoint)).count();
            let (servers, group) = (members.len() - sentinels, self.groups.name(group).to_string());
            match (sentinels, servers) {
                (0, _) | (_, 0) => {
                    self.mistakes
                        .error(place, format!("`{group}` has {sentinels} Sentinels and {servers} servers"))
                        .help("list both: \"sentinel://…\" those that vote, \"redis://…\" those that have the data");
                }
                (n, _) if n < 3 || n % 2 == 0 => {
                    self.mistakes.warn(place, format!("`{group}` has {n} Sentinels: three or five are best"));
                }
                _ => {}
            }
        }
    }
}
