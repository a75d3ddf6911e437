//! Who a probe speaks to: which targets share a fate, and which are unrelated.
//!
//! Whether this site sees at all can only be told by comparing targets that have nothing in common
//! but the way from here. Those of one region share its fate; so do regions that are probed at one
//! address. What is left is a list of *witnesses*, and beside them the anchors that the operator
//! chose for this purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bounds::JITTER;
use crate::base::{CheckId, GroupId, Index, Named, RegionId};
use crate::config::{CheckKind, Config, Endpoint, Schedule};

/// Whom a target belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    /// The witness of this number.
    Witness(usize),
    /// The site's own anchors.
    Anchor,
    /// It is not asked, and tells by itself: its silence needs the word of others like any, and it
    /// vouches for nobody, because what reaches us does not show that we reach anybody. The number
    /// is that of its region's witness.
    Teller(Option<usize>),
}

/// A target that is probed again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Whom it belongs to.
    pub who: Who,
    /// From one result to the next, at most.
    pub pace: Duration,
    /// From a loss to as many results as it takes to believe it, at most.
    pub patience: Duration,
    /// Silences in a row that make it fail.
    pub fall: u32,
}

/// All targets of a configuration, by whom they belong to.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// Of checks; none for those that tell nothing of the way to their region.
    pub checks: Named<CheckId, Option<Target>>,
    /// Of groups of voters, as far as they lie in each region.
    pub groups: BTreeMap<(GroupId, RegionId), Target>,
    /// The regions of each witness.
    pub witnesses: Vec<Vec<RegionId>>,
    /// How many anchors there are, and how many must answer; none: nothing is configured.
    pub anchors: Option<(usize, usize)>,
}

impl Outlook {
    /// Sorts the targets of a configuration.
    pub fn of(config: &Config) -> Self {
        let mut hosts: Vec<BTreeSet<String>> = vec![BTreeSet::new(); config.regions.len()];
        for check in config.checks.values() {
            if let (Some(region), Some(host)) = (check.region, host_of(&check.kind)) {
                hosts[region.position()].insert(plain(host));
            }
        }
        for group in config.groups.values() {
            for member in &group.members {
                let host = host_of_member(&member.endpoint).map(plain);
                hosts[member.region.position()].extend(host);
            }
        }
        // Regions that are probed at one address share its fate, and so does what shares with them.
        let mut fates: Vec<usize> = (0..hosts.len()).collect();
        for a in 0..hosts.len() {
            for b in 0..a {
                if fates[a] != fates[b] && !hosts[a].is_disjoint(&hosts[b]) {
                    let (old, new) = (fates[a], fates[b]);
                    fates.iter_mut().filter(|fate| **fate == old).for_each(|fate| *fate = new);
                }
            }
        }
        let mut witnesses: Vec<Vec<RegionId>> = Vec::new();
        let mut of_region = Vec::new();
        let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
        for region in config.regions.ids() {
            let fate = fates[region.position()];
            // Who is never probed is no witness.
            let probed = hosts.iter().zip(&fates).any(|(hosts, other)| *other == fate && !hosts.is_empty());
            let number = probed.then(|| {
                *numbers.entry(fate).or_insert_with(|| {
                    witnesses.push(Vec::new());
                    witnesses.len() - 1
                })
            });
            if let Some(number) = number {
                witnesses[number].push(region);
            }
            of_region.push(number);
        }
        let checks = config.checks.map(|id, check| {
            let who = match check.region {
                Some(region) if matches!(check.kind, CheckKind::Push(_)) => {
                    Who::Teller(of_region[region.position()])
                }
                Some(region) => {
                    host_of(&check.kind)?;
                    Who::Witness(of_region[region.position()]?)
                }
                None => {
                    config.self_check.as_ref().filter(|own| own.anchors.contains(&id)).map(|_| Who::Anchor)?
                }
            };
            Some(target(who, &check.schedule))
        });
        let mut groups = BTreeMap::new();
        for (id, group) in config.groups.iter() {
            for member in &group.members {
                let Some(number) = of_region[member.region.position()] else { continue };
                if host_of_member(&member.endpoint).is_none() {
                    continue;
                }
                let schedule = &config.clusters[group.cluster].schedule;
                groups.insert((id, member.region), target(Who::Witness(number), schedule));
            }
        }
        let anchors = config.self_check.as_ref().map(|own| (own.anchors.len(), own.at_least as usize));
        Self { checks, groups, witnesses, anchors }
    }

    /// The witness that a region belongs to.
    pub fn witness_of(&self, region: RegionId) -> Option<usize> {
        self.witnesses.iter().position(|regions| regions.contains(&region))
    }

    /// All targets.
    pub fn targets(&self) -> impl Iterator<Item = Target> + '_ {
        self.checks.values().flatten().chain(self.groups.values()).copied()
    }

    /// The longest that a silence of this witness waits for the word of others while one of them
    /// answers, slowly, at its next turn; zero if there is nobody to ask.
    pub fn confirmation(&self, witness: usize) -> Duration {
        let paces = |who: &dyn Fn(Who) -> bool| {
            let mut paces: Vec<Duration> =
                self.targets().filter(|target| who(target.who)).map(|target| target.pace).collect();
            paces.sort_unstable();
            paces
        };
        let pace = match self.anchors {
            Some((_, at_least)) => paces(&|who| who == Who::Anchor).get(at_least.saturating_sub(1)).copied(),
            None => {
                let others = |who| who != Who::Witness(witness) && !matches!(who, Who::Teller(_));
                paces(&others).first().copied()
            }
        };
        pace.unwrap_or_default().min(CONFIRM_MAX)
    }
}

/// A silence waits for the word of others no longer than this.
pub const CONFIRM_MAX: Duration = Duration::from_secs(60);

fn target(who: Who, schedule: &Schedule) -> Target {
    let interval = schedule.interval.mul_f64(1.0 + JITTER);
    Target {
        who,
        pace: interval + schedule.timeout,
        patience: interval * schedule.fall + schedule.timeout,
        fall: schedule.fall,
    }
}

/// The host that a check really goes to; none if its result says nothing of the way there.
fn host_of(kind: &CheckKind) -> Option<&str> {
    match kind {
        CheckKind::Tcp(check) => Some(&check.address.host),
        CheckKind::Tls(check) => Some(&check.address.host),
        CheckKind::Http(check) => match &check.connect {
            Some(connect) => Some(&connect.host),
            None => check.url.host_str(),
        },
        CheckKind::Grpc(check) => match &check.connect {
            Some(connect) => Some(&connect.host),
            None => check.url.host_str(),
        },
        CheckKind::Dns(check) => Some(&check.server.host),
        CheckKind::Icmp(check) => Some(&check.host),
        // What a program or a Prometheus server says came another way; voters are asked as a group.
        CheckKind::Exec(_)
        | CheckKind::Prometheus(_)
        | CheckKind::Push(_)
        | CheckKind::Alertmanager(_)
        | CheckKind::Cluster(_) => None,
    }
}

fn host_of_member(endpoint: &Endpoint) -> Option<&str> {
    match endpoint {
        Endpoint::Http(url) => url.host_str(),
        Endpoint::Postgres(target) => Some(&target.address.host),
        Endpoint::Port(at) => Some(&at.host),
        Endpoint::Redis(target) => Some(&target.address.host),
        // What a program says came another way.
        Endpoint::Named(_) => None,
    }
}

/// One spelling for one host. All of this machine's own addresses are one.
fn plain(host: &str) -> String {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let own = host == "localhost" || host == "::1" || host.strip_prefix("127.").is_some_and(is_rest);
    if own { "localhost".to_owned() } else { host }
}

fn is_rest(rest: &str) -> bool {
    rest.split('.').count() == 3 && rest.split('.').all(|part| part.parse::<u8>().is_ok())
}
