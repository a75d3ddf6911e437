//! What a stage's `spec` says, by agent → [`Spec`]: closed and typed, every unknown key a mistake.
//!
//! Capacity alone passes on what it does not know, because its hook is the operator's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::shape::{self, Agent};
use super::template;
use crate::base::{ClusterId, Index, Mistakes, Named, Place, RegionId, SecretRef, ServiceId, nearest};
use crate::config::read::{Placed, read};
use crate::config::yaml::{Node, Value};
use crate::config::{
    Alias, ClusterKind, Config, HeaderValue, Unfit, parse_host_port, parse_status, parse_url,
};
use crate::workflow::{
    DatabaseRole, ExecOp, HttpObserve, HttpOp, NotifyOp, Op, Shares, Side, Spec, Text, Until, WaitOp,
};

const PERCENT_MAX: u32 = 1000;
const ARGUMENTS_MAX: usize = 256;
const CONSECUTIVE_MAX: u32 = 1000;
const INTERVAL: Duration = Duration::from_secs(2);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
const SUCCESS: (u16, u16) = (200, 299);
const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"];

/// Reads specs, with names resolved in the configuration.
pub(super) struct Reader<'a> {
    pub config: &'a Config,
    /// Paths of secrets start from the workflow file's directory.
    pub directory: &'a Path,
    pub mistakes: &'a mut Mistakes,
}

impl Reader<'_> {
    /// A stage that has no `spec` has an empty one.
    pub fn spec(&mut self, agent: Agent, spec: Option<&Node>, stage: &Place) -> Option<Spec> {
        let empty = Node { place: stage.clone(), value: Value::Map(Vec::new()) };
        let node = match spec {
            None | Some(Node { value: Value::Null, .. }) => &empty,
            Some(node) => node,
        };
        match agent {
            Agent::Capacity => self.capacity(node),
            Agent::Database => self.database(node),
            Agent::Dial => self.dial(node),
            Agent::Exec => self.exec(node),
            Agent::Http => self.http(node),
            Agent::Notify => self.notify(node),
            Agent::Wait => self.wait(node),
        }
    }

    fn capacity(&mut self, node: &Node) -> Option<Spec> {
        let spec: shape::Capacity = read(node, self.mistakes)?;
        let percent = spec.percent.as_ref().map_or(100, |percent| percent.value);
        if let Some(written) = &spec.percent
            && !(1..=PERCENT_MAX).contains(&percent)
        {
            self.mistakes
                .error(&written.place, format!("{percent} is not between 1 and {PERCENT_MAX} percent"));
        }
        let extra = self.passed_on(node);
        let named = spec.region.as_ref().and_then(|name| self.region(name));
        let by_cluster = node.get("cluster").and_then(|cluster| {
            let Value::Text(name) = &cluster.value else { return None };
            Some((cluster, self.config.aliases.get(name)?.region?))
        });
        if let (Some(named), Some((cluster, other))) = (named, by_cluster)
            && named != other
        {
            let (named, other) = (self.config.regions.name(named), self.config.regions.name(other));
            self.mistakes.error(
                &cluster.place,
                format!("`cluster` stands for region `{other}`, and `region` says `{named}`"),
            );
        }
        let region = named.or(by_cluster.map(|(_, region)| region)).map_or(Side::Activated, Side::Region);
        let hook = spec.hook.map(|hook| {
            self.template(&hook.url);
            (hook.url.value, self.headers(&hook.headers))
        });
        Some(Spec::Capacity { region, percent, hook, extra })
    }

    /// What a capacity spec says beyond what we know.
    fn passed_on(&mut self, node: &Node) -> BTreeMap<String, serde_json::Value> {
        let Value::Map(entries) = &node.value else { return BTreeMap::new() };
        let mut extra = BTreeMap::new();
        for (key, value) in entries {
            if shape::Capacity::KEYS.contains(&key.text.as_str()) {
                continue;
            }
            if let Some(near) = nearest(&key.text, shape::Capacity::KEYS) {
                self.mistakes
                    .warn(&key.place, format!("`{}` is passed on to the hook as it is", key.text))
                    .help(format!("did you mean `{near}`?"));
            }
            let value = self.json(value);
            extra.insert(key.text.clone(), value);
        }
        extra
    }

    fn json(&mut self, node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => {
                self.template(&Placed { value: text.clone(), place: node.place.clone() });
                text.clone().into()
            }
            Value::List(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.text.clone(), self.json(value)));
                serde_json::Value::Object(entries.collect())
            }
        }
    }

    fn database(&mut self, node: &Node) -> Option<Spec> {
        let spec: shape::Database = read(node, self.mistakes)?;
        let region = spec.region.as_ref().map(|name| self.region(name));
        let (cluster, by_alias) = self.cluster(&spec.cluster)?;
        let kind = &self.config.clusters[cluster].kind;
        if !matches!(kind, ClusterKind::Postgres(_)) {
            let (name, system) = (self.config.clusters.name(cluster), kind.word());
            self.mistakes
                .error(&spec.cluster.place, format!("`{name}` is {system}, which chooses its own leader"))
                .help("the database agent moves the writer role of PostgreSQL clusters");
            return None;
        }
        let region = match (region, by_alias) {
            (Some(named), None) => Some(named?),
            (Some(Some(named)), Some(alias)) if named != alias => {
                let (named, alias) = (self.config.regions.name(named), self.config.regions.name(alias));
                self.mistakes.error(
                    &spec.cluster.place,
                    format!("`cluster` stands for region `{alias}`, and `region` says `{named}`"),
                );
                None
            }
            (_, by_alias) => by_alias,
        };
        let side = match (region, spec.role) {
            (Some(region), _) => Side::Region(region),
            (None, DatabaseRole::Writer) => Side::Activated,
            (None, DatabaseRole::Reader) => Side::Deactivated,
        };
        Some(Spec::Database { cluster, role: spec.role, region: side })
    }

    fn dial(&mut self, node: &Node) -> Option<Spec> {
        let spec: shape::Dial = read(node, self.mistakes)?;
        let service = match (&spec.service, &spec.endpoint) {
            (Some(name), None) | (None, Some(name)) => self.service(name),
            (Some(_), Some(endpoint)) => {
                self.mistakes.error(&endpoint.place, "both `service` and `endpoint`: which of them?");
                None
            }
            (None, None) => {
                // What stands there and did not fit was told already.
                if node.get("service").or(node.get("endpoint")).is_none() {
                    self.mistakes
                        .error(&node.place, "`service` is missing")
                        .help("name the service to dial (`endpoint` also reads an alias)");
                }
                None
            }
        };
        let shares = match (spec.region, spec.shares) {
            (None, None) => Some(Shares::All(Side::Activated)),
            (Some(name), None) => self.region(&name).map(|region| Shares::All(Side::Region(region))),
            (None, Some(shares)) => self.shares(&shares),
            (Some(name), Some(_)) => {
                self.mistakes.error(&name.place, "both `region` and `shares`: which of them?");
                None
            }
        };
        let (service, shares) = (service?, shares?);
        Some(Spec::Dial { service, shares })
    }

    fn shares(&mut self, shares: &Placed<crate::config::read::Entries<Placed<u32>>>) -> Option<Shares> {
        let mut bound = BTreeMap::new();
        let mut whole = true;
        for (name, percent) in shares.iter() {
            match self.region(name) {
                Some(region) if bound.insert(region, percent.value).is_some() => {
                    self.mistakes.error(&name.place, format!("region `{}` is named twice", name.value));
                }
                Some(_) => {}
                None => whole = false,
            }
        }
        let sum: u64 = shares.iter().map(|(_, percent)| u64::from(percent.value)).sum();
        if sum != 100 {
            self.mistakes.error(&shares.place, format!("the shares add up to {sum} percent, not to 100"));
            return None;
        }
        whole.then_some(Shares::Percent(bound))
    }

    fn exec(&mut self, node: &Node) -> Option<Spec> {
        let spec: shape::Exec = read(node, self.mistakes)?;
        let argv = self.argv(&spec.command);
        let observe = spec.observe.as_ref().map(|observe| self.argv(observe));
        let mut env = BTreeMap::new();
        for (name, value) in &spec.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                self.mistakes.error(&value.place, format!("`{name}` cannot name an environment variable"));
            }
            env.extend(self.text(value).map(|text| (name.clone(), text)));
        }
        Some(Spec::Fixed(Op::Exec(ExecOp { argv, env, observe, idempotent: spec.idempotent })))
    }

    fn argv(&mut self, argv: &Placed<Vec<Placed<String>>>) -> Vec<String> {
        if argv.first().is_none_or(|program| program.value.is_empty()) {
            self.mistakes
                .error(&argv.place, "a command needs a program")
                .help("write [\"/path/to/program\", \"argument\"]");
        }
        if argv.len() > ARGUMENTS_MAX {
            self.mistakes.error(&argv.place, format!("more than {ARGUMENTS_MAX} arguments"));
        }
        for argument in argv.iter() {
            self.template(argument);
            if argument.value.contains('\0') {
                self.mistakes.error(&argument.place, "an argument cannot hold a NUL byte");
            }
        }
        argv.iter().map(|argument| argument.value.clone()).collect()
    }

    fn http(&mut self, node: &Node) -> Option<Spec> {
        let spec: shape::Http = read(node, self.mistakes)?;
        self.template(&spec.url);
        let method = spec.method.as_ref().map_or("POST", |method| method.value.as_str());
        if let Some(written) = &spec.method
            && !METHODS.contains(&method)
        {
            self.mistakes
                .error(&written.place, format!("`{method}` is not a method we send"))
                .help(format!("one of {}", METHODS.join(", ")));
        }
        if let Some(body) = &spec.body {
            self.template(body);
            if matches!(method, "GET" | "HEAD") {
                self.mistakes.error(&body.place, format!("{method} carries no body (RFC 9110 §9.3.1)"));
            }
        }
        let headers = self.headers(&spec.headers);
        let expect = self.statuses(spec.expect.as_deref());
        let observe = spec.observe.map(|observe| {
            self.template(&observe.url);
            let mut code = |written: Option<Placed<u16>>, default| match written {
                Some(code) if !(100..=599).contains(&code.value) => {
                    self.mistakes.error(&code.place, format!("`{}` is not a status code", code.value));
                    default
                }
                Some(code) => code.value,
                None => default,
            };
            let (applied, not_applied) = (code(observe.applied, 200), code(observe.not_applied, 404));
            if applied == not_applied {
                self.mistakes.error(
                    &observe.url.place,
                    format!("{applied} cannot mean both that it has happened and that it has not"),
                );
            }
            HttpObserve { url: observe.url.value, applied, not_applied }
        });
        // RFC 9110 §9.2.2.
        let idempotent = spec.idempotent.unwrap_or(matches!(method, "GET" | "HEAD" | "PUT" | "DELETE"));
        let body = spec.body.map(|body| body.value);
        let method = method.to_owned();
        Some(Spec::Fixed(Op::Http(HttpOp {
            method,
            url: spec.url.value,
            headers,
            body,
            expect,
            observe,
            idempotent,
        })))
    }

    fn statuses(&mut self, written: Option<&[Node]>) -> Vec<(u16, u16)> {
        let Some(nodes) = written else { return vec![SUCCESS] };
        let mut ranges = Vec::new();
        for node in nodes {
            match parse_status(node) {
                Ok(range) => ranges.push((range.first, range.last)),
                Err(unfit) => unfit.note(&node.place, self.mistakes),
            }
        }
        ranges
    }

    fn wait(&mut self, node: &Node) -> Option<Spec> {
        let spec: shape::Wait = read(node, self.mistakes)?;
        let interval = spec.interval.as_ref().map_or(INTERVAL, |interval| interval.value.0);
        let consecutive = spec.consecutive.as_ref().map_or(1, |count| count.value);
        let until = match (spec.span, spec.until) {
            (Some(span), None) => {
                let idle = [
                    ("interval", spec.interval.as_ref().map(|interval| &interval.place)),
                    ("consecutive", spec.consecutive.as_ref().map(|count| &count.place)),
                ];
                for (key, place) in idle {
                    if let Some(place) = place {
                        self.mistakes.error(place, format!("`{key}` goes with `until`, not with `for`"));
                    }
                }
                Until::Elapsed(span.value.0)
            }
            (None, Some(shape::Until::Http(http))) => {
                let status = self.statuses(http.status.as_deref());
                Until::Http { url: self.value(&http.url, parse_url)?.to_string(), status }
            }
            (None, Some(shape::Until::Tcp(tcp))) => {
                Until::Tcp { address: self.value(&tcp.address, parse_host_port)? }
            }
            (Some(span), Some(_)) => {
                self.mistakes.error(&span.place, "both `for` and `until`: which of them?");
                return None;
            }
            (None, None) => {
                if node.get("for").or(node.get("until")).is_none() {
                    self.mistakes.error(&node.place, "nothing to wait for").help(
                        "write `for: 30s`, or `until: {http: {url: …}}`, or `until: {tcp: {address: …}}`",
                    );
                }
                return None;
            }
        };
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval)
            && let Some(written) = &spec.interval
        {
            self.mistakes.error(&written.place, "an interval is between 100ms and 1h");
        }
        if let Some(written) = &spec.consecutive
            && !(1..=CONSECUTIVE_MAX).contains(&consecutive)
        {
            self.mistakes
                .error(&written.place, format!("{consecutive} is not between 1 and {CONSECUTIVE_MAX}"));
        }
        Some(Spec::Fixed(Op::Wait(WaitOp { until, interval, consecutive })))
    }

    fn notify(&mut self, node: &Node) -> Option<Spec> {
        let spec: shape::Notify = read(node, self.mistakes)?;
        self.template(&spec.message);
        let Some(hook) = self.config.channels.get(&spec.channel.value) else {
            let near = nearest(&spec.channel.value, self.config.channels.keys().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it under `channels:` in the configuration".to_owned(),
            };
            self.mistakes
                .error(&spec.channel.place, format!("there is no channel `{}`", spec.channel.value))
                .help(help);
            return None;
        };
        let headers = hook.headers.iter().map(|(name, value)| (name.clone(), Text::from(value))).collect();
        Some(Spec::Fixed(Op::Notify(NotifyOp {
            channel: spec.channel.value,
            url: Text::from(&hook.url),
            headers,
            message: spec.message.value,
        })))
    }

    // ── texts ──

    fn template(&mut self, text: &Placed<String>) {
        if let Some(fault) = template::fault(&text.value) {
            self.mistakes
                .error(&text.place, fault)
                .help(format!("one of {}", template::WORDS.map(|word| format!("`${{{word}}}`")).join(", ")));
        }
    }

    fn value<T>(&mut self, text: &Placed<String>, parse: fn(&str) -> Result<T, Unfit>) -> Option<T> {
        parse(&text.value).map_err(|unfit| unfit.note(&text.place, self.mistakes)).ok()
    }

    fn headers(&mut self, headers: &BTreeMap<String, Node>) -> BTreeMap<String, Text> {
        let mut bound = BTreeMap::new();
        for (name, node) in headers {
            if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.mistakes.error(&node.place, format!("`{name}` cannot name a header"));
            }
            let text = self.text(node);
            if let Some(Text::Plain(value)) = &text
                && reqwest::header::HeaderValue::from_str(value).is_err()
            {
                self.mistakes.error(&node.place, "a header holds no line breaks or control characters");
            }
            bound.extend(text.map(|text| (name.to_ascii_lowercase(), text)));
        }
        bound
    }

    /// A text, or a reference to a secret.
    fn text(&mut self, node: &Node) -> Option<Text> {
        match &node.value {
            Value::Text(text) => {
                self.template(&Placed { value: text.clone(), place: node.place.clone() });
                Some(Text::Plain(text.clone()))
            }
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                Some(Text::Plain(node.place.text().to_owned()))
            }
            _ => Some(Text::Secret(match read(node, self.mistakes)? {
                SecretRef::File(path) => SecretRef::File(self.directory.join(path)),
                other => other,
            })),
        }
    }

    // ── names ──

    fn region(&mut self, name: &Placed<String>) -> Option<RegionId> {
        let config = self.config;
        self.named(name, "region", "regions", &config.regions, |alias| alias.region)
    }

    fn service(&mut self, name: &Placed<String>) -> Option<ServiceId> {
        let config = self.config;
        self.named(name, "service", "services", &config.services, |alias| alias.service)
    }

    /// A cluster, and the region that its alias says is meant.
    fn cluster(&mut self, name: &Placed<String>) -> Option<(ClusterId, Option<RegionId>)> {
        let config = self.config;
        let cluster = self.named(name, "cluster", "clusters", &config.clusters, |alias| alias.cluster)?;
        let direct = config.clusters.id(&name.value).is_some();
        let alias = config.aliases.get(&name.value).filter(|_| !direct);
        Some((cluster, alias.and_then(|alias| alias.region)))
    }

    fn named<I: Index, T>(
        &mut self,
        name: &Placed<String>,
        kind: &str,
        section: &str,
        things: &Named<I, T>,
        by_alias: impl Fn(&Alias) -> Option<I>,
    ) -> Option<I> {
        let alias = self.config.aliases.get(&name.value);
        if let Some(id) = things.id(&name.value).or_else(|| by_alias(alias?)) {
            return Some(id);
        }
        if alias.is_some() {
            self.mistakes
                .error(&name.place, format!("alias `{}` stands for no {kind}", name.value))
                .help(format!("give it a `{kind}` under `aliases:` in the configuration"));
            return None;
        }
        let aliases = self.config.aliases.iter().filter(|(_, alias)| by_alias(alias).is_some());
        let known = things.names().chain(aliases.map(|(name, _)| name.as_str()));
        let help = match nearest(&name.value, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it under `{section}:`, or as one of `aliases:`, in the configuration"),
        };
        self.mistakes.error(&name.place, format!("there is no {kind} `{}`", name.value)).help(help);
        None
    }
}

impl From<&HeaderValue> for Text {
    fn from(value: &HeaderValue) -> Self {
        match value {
            HeaderValue::Plain(text) => Self::Plain(text.clone()),
            HeaderValue::Secret(secret) => Self::Secret(secret.clone()),
        }
    }
}
