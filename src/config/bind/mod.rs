//! The shape of the file → [`Config`]: names resolve to ids, texts become values, limits apply.
//!
//! Every mistake is noted and binding goes on with the rest. A name that was declared but
//! could not be read is not reported a second time where it is used.

mod checks;
mod clusters;
mod conduct;
mod countries;
mod geo;
mod dnssec;
mod layers;
mod listen;
mod policies;
mod records;
mod schedule;
mod services;
mod systems;
mod values;
mod workflows;
mod zones;

pub use values::{Unfit, parse_host_port, parse_status, parse_url};

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::model::{
    Alertmanager, Check, Cluster, Config, DnsLimits, Group, Layers, Location, Mode, Region, Schedule,
    Service, Site, Store,
};
use super::read::{Entries, Placed, read};
use super::spec;
use super::yaml::{self, Node, Value};
use crate::base::{
    CheckId, ClusterId, GroupId, Index, Mistakes, Named, RegionId, SecretRef, ServiceId, Source, nearest,
};
use crate::wire::Name;

/// What a configuration file takes from its surroundings.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The directory that relative paths start from: that of the file.
    pub directory: PathBuf,
    /// Where state goes if the file does not say: `$STATE_DIRECTORY` under systemd.
    pub state: Option<PathBuf>,
    /// Where the control socket goes if the file does not say: `$RUNTIME_DIRECTORY` under systemd.
    pub runtime: Option<PathBuf>,
    /// How many processors there are, for the default number of threads.
    pub processors: usize,
}

impl Surroundings {
    fn path(&self, path: &Path) -> PathBuf {
        values::normal(&self.directory.join(path))
    }

    /// Where the control socket is, given what the file says.
    fn control(&self, named: Option<&Path>) -> PathBuf {
        match (named, &self.runtime) {
            (Some(path), _) => self.path(path),
            (None, Some(runtime)) => runtime.join("control.sock"),
            (None, None) => self.path(Path::new("control.sock")),
        }
    }
}

/// Reads a configuration file.
///
/// # Errors
/// Every mistake in it. Warnings come with the configuration.
pub fn parse(source: &Arc<Source>, around: &Surroundings) -> Result<(Config, Mistakes), Mistakes> {
    let tree = yaml::parse(source)?;
    let mut mistakes = Mistakes::default();
    let file: Option<spec::File> = read(&tree, &mut mistakes);
    let config = file.map(|file| {
        let mut binder = Binder::new(&tree, around, &mut mistakes);
        binder.file(file)
    });
    mistakes.unless_fatal(config)
}

/// Where the daemon of a configuration file takes orders. The file may be full of mistakes, as
/// long as it is YAML: a daemon that runs has read a better one, and must be reached all the same.
///
/// # Errors
/// It is not YAML.
pub fn control_socket(source: &Arc<Source>, around: &Surroundings) -> Result<PathBuf, Mistakes> {
    let tree = yaml::parse(source)?;
    let named = tree.get("listen").and_then(|listen| listen.get("control"));
    let named = named.and_then(|node| match &node.value {
        Value::Text(text) => Some(Path::new(text)),
        _ => None,
    });
    Ok(around.control(named))
}

/// What a file must say itself: nothing that we could assume would be harmless.
const REQUIRED: [(&str, &str); 4] = [
    ("version", "write `version: 1`"),
    (
        "mode",
        "write `mode: observe` (sense and tell), `answer` (serve DNS as well) or `act` (run workflows as well)",
    ),
    ("site", "give this daemon's site a name, as in `site: {name: fra1}`"),
    ("listen", "say where to serve, as in `listen: {dns: [\"0.0.0.0:53\"]}`"),
];

/// Builds a configuration, part by part.
struct Binder<'a> {
    around: &'a Surroundings,
    mistakes: &'a mut Mistakes,
    /// Names that stand in the file, whether or not they could be read: (section, name).
    declared: HashSet<(&'static str, String)>,
    defaults: Schedule,
    /// The name of this site.
    site: String,
    clusters: Named<ClusterId, Cluster>,
    groups: Named<GroupId, Group>,
    regions: Named<RegionId, Region>,
    checks: Named<CheckId, Check>,
    services: Named<ServiceId, Service>,
    alertmanagers: BTreeMap<String, Alertmanager>,
    /// Where secrets are kept, as they are met.
    secrets: RefCell<Vec<SecretRef>>,
    /// Zones that others may fetch, and nobody has said what they get of services' names.
    undecided: Vec<Name>,
}

impl<'a> Binder<'a> {
    fn new(tree: &Node, around: &'a Surroundings, mistakes: &'a mut Mistakes) -> Self {
        for (required, example) in REQUIRED {
            if tree.get(required).is_none() {
                mistakes.error(&tree.place, format!("`{required}` is missing")).help(example);
            }
        }
        let mut declared = HashSet::new();
        for section in ["clusters", "regions", "services", "keys", "alertmanagers"] {
            for key in tree.get(section).into_iter().flat_map(Node::keys) {
                declared.insert((section, key.text.clone()));
            }
        }
        Self {
            around,
            mistakes,
            declared,
            defaults: Schedule::DEFAULT,
            site: String::new(),
            clusters: Named::default(),
            groups: Named::default(),
            regions: Named::default(),
            checks: Named::default(),
            services: Named::default(),
            alertmanagers: BTreeMap::new(),
            secrets: RefCell::default(),
            undecided: Vec::new(),
        }
    }

    fn file(&mut self, file: spec::File) -> Config {
        if let Some(version) = file.version.filter(|version| version.value != 1) {
            self.mistakes
                .error(&version.place, format!("this program reads version 1, not {}", version.value))
                .help("write `version: 1`");
        }
        let (site, sites) = file.site.map_or_else(Default::default, |site| self.site(site, file.sites));
        self.site.clone_from(&site.name);
        let tls = file.tls.map(|tls| self.certificate(tls));
        let listen = file.listen.map_or_else(Default::default, |listen| self.listen(&listen, tls.as_ref()));
        let dns = self.dns(&file.dns);
        let conduct = self.conduct(&file.dns);
        let geo = self.geo(file.geo);
        let store = self.store(file.store);
        let keys = self.keys(file.keys);
        let zones = self.zones(file.zones, &keys, &sites, &store);
        self.dnssec_on_many_sites(&zones, &sites);
        self.no_part(&file.defaults.check);
        self.defaults = self.schedule(&file.defaults.check, &file.defaults.check.place, Schedule::DEFAULT);
        // Regions first by name alone: clusters and regions name each other.
        self.region_names(&file.regions);
        self.clusters(file.clusters);
        let alertmanagers = self.alertmanagers(file.alertmanagers);
        self.region_layers(file.regions);
        let self_check = file.self_check.and_then(|spec| self.self_check(spec));
        self.services(file.services, &zones);
        self.idle_alertmanagers(&alertmanagers);
        self.dynamic_names(&zones);
        let workflows = self.workflows(file.workflows);
        let aliases = self.aliases(file.aliases);
        let channels = self.channels(file.channels);
        Config {
            // Without one the file does not load; see `new`.
            mode: file.mode.unwrap_or(Mode::Observe),
            site,
            sites,
            listen,
            tls,
            dns,
            conduct,
            zones,
            keys,
            geo,
            clusters: std::mem::take(&mut self.clusters),
            groups: std::mem::take(&mut self.groups),
            alertmanagers: std::mem::take(&mut self.alertmanagers),
            regions: std::mem::take(&mut self.regions),
            checks: std::mem::take(&mut self.checks),
            self_check,
            services: std::mem::take(&mut self.services),
            workflows,
            aliases,
            channels,
            secrets: self.secrets.take(),
            store,
        }
    }

    fn site(&mut self, site: spec::Site, sites: Option<Vec<Placed<String>>>) -> (Site, Vec<String>) {
        self.word(&site.name, "a site");
        let name = site.name.value.clone();
        let location = site.location.map(|location| self.location(&location));
        let listed: Vec<String> = match sites {
            None => vec![name.clone()],
            Some(sites) => {
                let mut seen = HashSet::new();
                for site in &sites {
                    self.word(site, "a site");
                    if !seen.insert(site.value.clone()) {
                        self.mistakes.error(&site.place, format!("site `{}` is listed twice", site.value));
                    }
                }
                sites.into_iter().map(|site| site.value).collect()
            }
        };
        if !listed.contains(&name) {
            self.mistakes
                .error(&site.name.place, format!("`sites` does not list `{name}`"))
                .help("`sites` lists every site that shares this configuration, this one too");
        }
        (Site { name, location }, listed)
    }

    fn dns(&mut self, dns: &spec::Dns) -> DnsLimits {
        DnsLimits {
            udp_threads: self.within(&dns.udp_threads, 1..=256, self.around.processors.clamp(1, 256)),
            tcp_connections_max: self.within(&dns.tcp_connections_max, 1..=100_000, 1000),
            tcp_connections_per_client_max: self.within(&dns.tcp_connections_per_client_max, 1..=100_000, 20),
            tcp_idle: dns.tcp_idle.map_or(Duration::from_secs(10), |span| span.0),
            open_after: dns.open_after.map_or(Duration::from_secs(10), |span| span.0),
        }
    }

    fn within(
        &mut self,
        value: &Option<Placed<usize>>,
        allowed: std::ops::RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        let Some(value) = value else { return default };
        if !allowed.contains(&value.value) {
            let (low, high) = (allowed.start(), allowed.end());
            self.mistakes.error(&value.place, format!("{} is not between {low} and {high}", value.value));
            return default;
        }
        value.value
    }

    fn region_names(&mut self, regions: &Entries<spec::Region>) {
        for (name, region) in regions.iter() {
            self.word(name, "a region");
            let region = Region {
                location: region.location.as_ref().map(|location| self.location(location)),
                capacity: region.capacity,
                capacity_hook: region.capacity_hook.as_ref().and_then(|hook| self.hook(hook)),
                layers: Layers::new(),
                place: name.place.clone(),
            };
            if self.regions.push(name, region).is_err() {
                self.mistakes.error(&name.place, "too many regions");
            }
        }
    }

    fn region_layers(&mut self, regions: Entries<spec::Region>) {
        for (name, region) in regions.0 {
            let Some(id) = self.regions.id(&name) else { continue };
            self.regions[id].layers = self.layers(None, id, region.layers);
            if !self.regions[id].layers.values().any(|layer| !layer.votes.is_empty()) {
                self.mistakes
                    .warn(
                        &name.place,
                        format!("no checks decide on region `{}`: its health stays unknown", name.value),
                    )
                    .help("give it at least `layers: {reach: [{tcp: {address: …}}]}`");
            }
        }
    }

    fn location(&mut self, location: &Placed<spec::Location>) -> Location {
        let spec::Location { latitude, longitude } = location.value;
        if !(-90.0..=90.0).contains(&latitude) {
            self.mistakes.error(&location.place, format!("latitude {latitude} is not between -90 and 90"));
        }
        if !(-180.0..=180.0).contains(&longitude) {
            self.mistakes
                .error(&location.place, format!("longitude {longitude} is not between -180 and 180"));
        }
        Location { latitude, longitude }
    }

    fn store(&mut self, store: Option<spec::Store>) -> Store {
        let path = match (store, &self.around.state) {
            (Some(spec::Store::Embedded(embedded)), _) => self.path(&embedded.path),
            (None, Some(state)) => state.clone(),
            (None, None) => self.path(Path::new("state")),
        };
        Store::Embedded { path }
    }

    // ── names ──

    fn region(&mut self, name: &Placed<String>) -> Option<RegionId> {
        let found = self.regions.id(&name.value);
        self.known(found, "regions", "region", name)
    }

    fn cluster(&mut self, name: &Placed<String>) -> Option<ClusterId> {
        let found = self.clusters.id(&name.value);
        self.known(found, "clusters", "cluster", name)
    }

    fn service(&mut self, name: &Placed<String>) -> Option<ServiceId> {
        let found = self.services.id(&name.value);
        self.known(found, "services", "service", name)
    }

    fn known<I: Index>(
        &mut self,
        found: Option<I>,
        section: &'static str,
        kind: &str,
        name: &Placed<String>,
    ) -> Option<I> {
        if found.is_none() && !self.declared.contains(&(section, name.value.clone())) {
            let names = self.declared.iter().filter(|(in_section, _)| *in_section == section);
            let near = nearest(&name.value, names.map(|(_, name)| name.as_str()));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it under `{section}:`"),
            };
            self.mistakes.error(&name.place, format!("there is no {kind} `{}`", name.value)).help(help);
        }
        found
    }

    /// Names end up in metric labels, paths and commands: letters, digits, `-`, `_` and `.` only.
    fn word(&mut self, name: &Placed<String>, what: &str) {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.value.is_empty() || name.value.len() > 63 || !name.value.bytes().all(fine) {
            self.mistakes
                .error(&name.place, format!("`{}` cannot name {what}", name.value))
                .help("up to 63 letters, digits, `-`, `_` and `.`");
        }
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.around.path(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Failback, Policy, SwitchedBy};

    fn load(text: &str) -> Result<(Config, Mistakes), Mistakes> {
        let around =
            Surroundings { directory: "/etc/pointsman".into(), state: None, runtime: None, processors: 2 };
        parse(&Source::new("pointsman.yaml", text), &around)
    }

    fn example() -> String {
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/pointsman.yaml")).unwrap()
    }

    fn messages(result: Result<(Config, Mistakes), Mistakes>) -> Vec<String> {
        result
            .map_or_else(|mistakes| mistakes, |(_, warnings)| warnings)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_example_loads_as_it_stands() {
        let (config, warnings) =
            load(&example()).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
        assert!(warnings.is_empty(), "{}", warnings.render(false));
        let names: Vec<_> = config.groups.names().collect();
        assert_eq!(names, ["sessions/eu-west", "sessions/us-east", "petstore-db"]);
        let checks: Vec<_> = config.checks.names().collect();
        assert_eq!(checks[..3], ["eu-west/reach/tcp", "eu-west/service/http", "eu-west/quorum/sessions"]);
        let petstore = config.services.get("petstore").unwrap();
        assert_eq!((petstore.switched_by, petstore.failback), (SwitchedBy::Workflow, Failback::Manual));
        assert!(matches!(&petstore.policy, Policy::Failover(parts) if parts.len() == 2));
        assert_eq!(config.state_directory(), Path::new("/etc/state"));
    }

    #[test]
    fn every_mistake_is_reported_at_once_and_once() {
        let text = example()
            .replace("mode: act ", "mode: acting ")
            .replace(
                "reach:   [{tcp: {address: \"127.0.0.1:9001\"}}]",
                "reach: [{tpc: {address: \"127.0.0.1:9001\"}}]",
            )
            .replace(
                "[200]}}]\n      quorum:  [sessions]\n  us-east",
                "[20]}}]\n      quorum:  [session]\n  us-east",
            )
            .replace("a: [198.51.100.10]", "a: [198.51.100.300]")
            .replace("interval: 5s", "interval: 5")
            .replace("turns: [no_quorum, unreachable]", "turns: [unknown]")
            .replace(
                "failover: [eu-west, us-east]}\n    switched_by",
                "failover: [eu-west, us-esat]}\n    switched_by",
            );
        let found = messages(load(&text));
        let expected = [
            ("unknown kind `acting`", "`observe`, `answer`, `act`"),
            ("`5` has no unit", "write 5s"),
            ("unknown kind `tpc`", "did you mean `tcp`?"),
            ("`20` is not a status code", "200-299"),
            ("there is no cluster `session`", "did you mean `sessions`?"),
            ("`198.51.100.300` is not an IPv4 address", ""),
            ("there is no region `us-esat`", "did you mean `us-east`?"),
            ("region `us-east` is not in the policy", ""),
            ("unknown changes nothing", "no_quorum"),
        ];
        for (what, cure) in &expected {
            let hits: Vec<_> = found.iter().filter(|message| message.contains(what)).collect();
            assert_eq!(hits.len(), 1, "{what}: {found:#?}");
            assert!(hits[0].contains(cure), "{hits:?}");
            assert!(hits[0].starts_with("pointsman.yaml:"), "{hits:?}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn refuses_what_would_be_dangerous() {
        for (from, to, complaint) in [
            ("failback: manual", "failback: {auto: {after: 1m}}", "cannot fail back by itself"),
            ("user=pointsman\"], us", "user=pointsman password=x\"], us", "must not carry a password"),
            ("user=pointsman\"], us", "user=pointsman sslmode=prefer\"], us", "`prefer` is not offered"),
            ("timeout: 2s", "timeout: 7s", "does not fit into an interval"),
            ("turns: [no_quorum, ", "turns: [healthy, ", "both on a loss and on a return"),
            ("sites: [fra1]", "sites: [ams1]", "does not list `fra1`"),
            ("aaaa: [\"2001:db8::10\"]}", "aaaa: []}", ""),
            ("{a: [192.0.2.10], aaaa: [\"2001:db8::10\"]}", "{}", "gives no records"),
            (
                "ttl: {min: 5s, max: 60s}\n    all",
                "ttl: {min: 90s, max: 60s}\n    all",
                "`max` is below `min`",
            ),
            (
                "names: [petstore.gtm.example.com]",
                "names: [petstore.example.com]",
                "lies in none of the zones",
            ),
            ("names: [petstore.gtm.example.com]", "names: [storefront.gtm.example.com]", "already belongs"),
        ] {
            let text = example().replacen(from, to, 1);
            assert_ne!(text, example(), "{from}");
            let found = messages(load(&text));
            let hit = found.iter().any(|message| !complaint.is_empty() && message.contains(complaint));
            assert_eq!(hit, !complaint.is_empty(), "{to}: {found:#?}");
        }
    }
}
