//! `keys`: the keys of signed zones, worked on as files. A daemon on the same files looks at them every
//! few seconds and does what is due.

use super::args::{Common, KeyRole, KeysCommand, Output};
use super::text::{Cell, Paint, ago, colour, complain, painted, print, print_json, table};
use super::{Done, Exit};
use crate::base::Timestamp;
use crate::config::{Config, Dnssec};
use crate::io::Clock;
use crate::sign::{KeyRing, KeyState, KeyView, ParentView, Role, Turn, WaitFor, ZoneView};
use crate::sys::{self, KeyDirectory};
use crate::wire::{Name, RecordType, ShowRdata};

pub(super) fn run(common: &Common, command: KeysCommand) -> Done {
    let (config, warnings) = sys::load_config(&common.config).map_err(|mistakes| {
        Exit::No(format!("{}{} has mistakes", mistakes.render(colour(true)), common.config.display()))
    })?;
    complain(&warnings.render(colour(true)));
    let desk = Desk { config, now: Clock.now().wall, output: common.output };
    match command {
        KeysCommand::List => desk.list(),
        KeysCommand::Status { zone } => desk.status(&zone),
        KeysCommand::Ds { zone } => desk.ds(&zone),
        KeysCommand::Generate { zone } => desk.generate(&zone),
        KeysCommand::Import { zone, files } => desk.change(&zone, |directory, ring, dnssec| {
            let layout = dnssec.policy.layout;
            let taken = files.iter().map(|file| directory.import(ring, layout, file, desk.now));
            let taken = taken.collect::<Result<Vec<_>, _>>()?;
            let tags: Vec<_> = taken.iter().map(|key| format!("{} {}", key.role, key.tag)).collect();
            Ok(format!("taken in as keys in use: {}", tags.join(", ")))
        }),
        KeysCommand::Roll { zone, role } => desk.roll(&zone, role),
        KeysCommand::DsSeen { zone, tag } => desk.change(&zone, |_, ring, _| {
            let turns = ring.ds_seen(tag, desk.now).map_err(|why| why.to_string())?;
            Ok(if turns.is_empty() { format!("the parent points at {tag}: known") } else { turned(&turns) })
        }),
        KeysCommand::Advance { zone } => desk.advance(&zone),
        KeysCommand::Unsign { zone, ds_gone, cancel } => desk.change(&zone, |_, ring, dnssec| {
            let said = match (ds_gone, cancel) {
                (_, true) => ring.stay_signed().map(|()| "it stays signed".to_owned()),
                (true, _) => ring.ds_gone(desk.now).map(|()| {
                    let free = ring.free_at(&dnssec.policy, desk.now).map_or(String::new(), shown);
                    format!("caches know of the DS until {free}; take `dnssec:` off the zone after that, not before")
                }),
                _ => ring.unsign(desk.now).map(|()| {
                    "CDS and CDNSKEY ask the parent to take its DS away, for which it may need your word too; \
                     when it is gone: `pointsman keys unsign --ds-gone`"
                        .to_owned()
                }),
            };
            said.map_err(|why| why.to_string())
        }),
    }
}

/// What the commands work with.
struct Desk {
    config: Config,
    now: Timestamp,
    output: Output,
}

impl Desk {
    /// A signed zone by its name.
    fn zone(&self, text: &str) -> Result<(&Name, &Dnssec), Exit> {
        let name =
            Name::parse(text).map_err(|why| Exit::No(format!("`{text}` is not a domain name: {why}")))?;
        let zone = self.config.zones.iter().find(|zone| zone.name == name);
        let zone = zone.ok_or_else(|| Exit::No(format!("the configuration has no zone {name}")))?;
        let unsigned =
            || Exit::No(format!("{name} is not signed; give it `dnssec: {{}}` in the configuration"));
        Ok((&zone.name, zone.dnssec.as_ref().ok_or_else(unsigned)?))
    }

    fn many_sites(&self) -> bool {
        self.config.sites.len() > 1
    }

    fn ring(&self, dnssec: &Dnssec) -> Result<KeyRing, Exit> {
        let ring = KeyDirectory::peek(&dnssec.directory).map_err(Exit::Missing)?;
        Ok(ring.unwrap_or_default())
    }

    fn view(&self, zone: &Name, dnssec: &Dnssec) -> Result<ZoneView, Exit> {
        Ok(ZoneView::of(zone, &self.ring(dnssec)?, &dnssec.policy, self.now))
    }

    /// Changes a zone's keys under their lock. Where no daemon moves them on, that happens here.
    fn change(
        &self,
        zone: &str,
        change: impl FnOnce(&KeyDirectory, &mut KeyRing, &Dnssec) -> Result<String, String>,
    ) -> Done {
        let (zone, dnssec) = self.zone(zone)?;
        let directory = KeyDirectory::lock(&dnssec.directory).map_err(Exit::Missing)?;
        let mut ring = directory.ring().map_err(Exit::Missing)?;
        let mut said =
            change(&directory, &mut ring, dnssec).map_err(|why| Exit::No(format!("{zone}: {why}")))?;
        if self.many_sites() {
            // What is changed counts from now on; `propagation` is how long it travels.
            ring.put_in_force(self.now);
            let turns = ring.step(&dnssec.policy, self.now);
            ring.put_in_force(self.now);
            if !turns.is_empty() {
                said = [said, turned(&turns)]
                    .into_iter()
                    .filter(|words| !words.is_empty())
                    .collect::<Vec<_>>()
                    .join("; ");
            }
        }
        directory.save(&ring).map_err(Exit::Missing)?;
        drop(directory);
        let view = ZoneView::of(zone, &ring, &dnssec.policy, self.now);
        match self.output {
            Output::Json => print_json(&view),
            Output::Text => {
                print(&format!("{zone} {said}\n"));
                if self.many_sites() {
                    print(&format!("now give {} to all sites\n", dnssec.directory.display()));
                }
                print(&format!("\n{}", show_zones(&[view], self.now, false)));
            }
        }
        Ok(())
    }

    fn generate(&self, zone: &str) -> Done {
        self.change(zone, |directory, ring, dnssec| {
            let mut made = Vec::new();
            while let Some(role) = ring.wants(&dnssec.policy, self.now) {
                let tag = directory.generate(ring, dnssec.policy.algorithm, role, self.now)?;
                made.push(format!("{role} {tag}"));
            }
            match made.is_empty() {
                true => Err("it has its keys; `pointsman keys roll` makes a successor".to_owned()),
                false => Ok(format!("has new keys: {}", made.join(", "))),
            }
        })
    }

    fn roll(&self, zone: &str, role: Option<KeyRole>) -> Done {
        self.change(zone, |directory, ring, dnssec| {
            let roles = dnssec.policy.layout.roles();
            let role = role.map_or(roles[roles.len() - 1], |role| match role {
                KeyRole::Csk => Role::Csk,
                KeyRole::Ksk => Role::Ksk,
                KeyRole::Zsk => Role::Zsk,
            });
            if !roles.contains(&role) {
                return Err(format!("it has no {role}"));
            }
            ring.can_roll(role).map_err(|why| why.to_string())?;
            let tag = directory.generate(ring, dnssec.policy.algorithm, role, self.now)?;
            Ok(format!("has a new {role}: {tag}"))
        })
    }

    fn advance(&self, zone: &str) -> Done {
        if !self.many_sites() {
            return Err(Exit::No("with one site the daemon moves keys on by itself".to_owned()));
        }
        self.change(zone, |directory, ring, dnssec| {
            // A lifetime that is over brings a successor here as it does on one site.
            let mut made = Vec::new();
            while let Some(role) = ring.wants(&dnssec.policy, self.now) {
                let tag = directory.generate(ring, dnssec.policy.algorithm, role, self.now)?;
                made.push(format!("has a new {role}: {tag}"));
            }
            Ok(made.join("; "))
        })
    }

    fn list(&self) -> Done {
        let views = sys::signed_zones(&self.config).map(|(zone, dnssec)| self.view(&zone.name, dnssec));
        self.show(views.collect::<Result<_, _>>()?)
    }

    fn status(&self, zone: &str) -> Done {
        let (zone, dnssec) = self.zone(zone)?;
        let view = self.view(zone, dnssec)?;
        if let Output::Json = self.output {
            print_json(&view);
            return Ok(());
        }
        print(&format!("keys in {}\n", dnssec.directory.display()));
        self.show(vec![view])
    }

    fn show(&self, views: Vec<ZoneView>) -> Done {
        match self.output {
            Output::Json => print_json(&views),
            Output::Text => print(&show_zones(&views, self.now, false)),
        }
        Ok(())
    }

    /// The DS records that the parent should have, as they stand in its zone file.
    fn ds(&self, zone: &str) -> Done {
        let (zone, dnssec) = self.zone(zone)?;
        let ring = self.ring(dnssec)?;
        let mut records = Vec::new();
        for record in ring.entries() {
            let key = sys::signing_key(&dnssec.directory, record).map_err(Exit::Missing)?;
            let rdata = key.ds_rdata(zone);
            records.push(ShowRdata { rtype: RecordType::DS, rdata: &rdata }.to_string());
        }
        if records.is_empty() {
            let coming = ring.keys.iter().find(|key| key.role.is_entry());
            let until = coming.and_then(|key| ring.wait_of(key.tag, &dnssec.policy, self.now)?.until);
            return Err(Exit::No(match until {
                Some(until) => format!(
                    "{zone} has no key that the parent may point at before {}: caches still hold what was before",
                    shown(until)
                ),
                None => format!(
                    "{zone} has no key that the parent may point at; `pointsman keys status {zone}` says why"
                ),
            }));
        }
        let ttl = dnssec.policy.timing.ds_ttl.as_secs();
        match self.output {
            Output::Json => print_json(&serde_json::json!({"zone": zone, "ttl": ttl, "ds": records})),
            Output::Text => {
                let lines = records.iter().map(|ds| format!("{zone} {ttl} IN DS {ds}\n"));
                print(&lines.collect::<String>());
            }
        }
        Ok(())
    }
}

/// The keys of zones, for people.
pub(super) fn show_zones(zones: &[ZoneView], now: Timestamp, with_parent: bool) -> String {
    let row = |zone: &ZoneView, key: &KeyView| -> Vec<Cell> {
        let paint = match key.state {
            KeyState::Active => Paint::Good,
            KeyState::Removed => Paint::Dim,
            _ => Paint::Warn,
        };
        vec![
            zone.zone.to_string().into(),
            key.record.tag.to_string().into(),
            key.record.role.word().into(),
            key.record.algorithm.word().into(),
            painted(key.state.word(), paint),
            ago(key.since, now).into(),
            waits(zone, key, now).into(),
        ]
    };
    let rows: Vec<_> =
        zones.iter().flat_map(|zone| zone.keys.iter().map(move |key| row(zone, key))).collect();
    let mut out = table(&["ZONE", "KEY", "ROLE", "ALGORITHM", "STATE", "SINCE", "WAITS FOR"], &rows);
    for zone in zones {
        if zone.keys.is_empty() {
            out.push_str(&format!("{} has no keys yet\n", zone.zone));
        }
        if let Some(trouble) = &zone.trouble {
            out.push_str(&format!("{}: {trouble}\n", zone.zone));
        }
        match (zone.unsign, zone.unsigned_from) {
            (None, _) => {}
            (Some(_), None) => {
                out.push_str(&format!("{} goes unsigned once its DS is gone at the parent\n", zone.zone))
            }
            (Some(_), Some(from)) => {
                out.push_str(&format!("{} may go unsigned from {} on\n", zone.zone, shown(from)));
            }
        }
        if with_parent {
            out.push_str(&format!("{}: {}\n", zone.zone, parent(&zone.parent, now)));
        }
    }
    out
}

fn parent(view: &ParentView, now: Timestamp) -> String {
    match view {
        ParentView::Unknown => "what the parent says is not known".to_owned(),
        ParentView::Without { at } => format!("the parent had no DS {} ago", ago(*at, now)),
        ParentView::Agrees { at, tags } => {
            let tags: Vec<_> = tags.iter().map(u16::to_string).collect();
            format!("the parent pointed at {} {} ago", tags.join(", "), ago(*at, now))
        }
        ParentView::Differs { at, why } => format!("{why} ({} ago)", ago(*at, now)),
    }
}

fn waits(zone: &ZoneView, key: &KeyView, now: Timestamp) -> String {
    let Some(wait) = key.waits else { return "-".to_owned() };
    let until = wait.until.map_or(String::new(), |until| match until <= now {
        true => ": due".to_owned(),
        false => format!(" until {}", shown(until)),
    });
    match wait.what {
        WaitFor::Service => "being answered with".to_owned(),
        WaitFor::Caches => format!("caches to learn of it{until}"),
        WaitFor::Parent => {
            let (name, tag) = (&zone.zone, key.record.tag);
            format!("its DS at the parent: keys ds {name}, then keys ds-seen {name} {tag}")
        }
        WaitFor::Successor => format!("its successor{until}"),
        WaitFor::Oblivion => format!("caches to forget it{until}"),
        WaitFor::Deletion => format!("deletion of its file{until}"),
    }
}

fn turned(turns: &[Turn]) -> String {
    let words = turns.iter().map(|turn| match turn.to {
        Some(state) => format!("{} {} is {} now", turn.role, turn.tag, state.word()),
        None => format!("{} {} is forgotten", turn.role, turn.tag),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
