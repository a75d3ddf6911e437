//! Keys of all zones of a configuration: made where they are missing, moved on where it is time.

use std::sync::Arc;

use super::directory::{KeyDirectory, zone_keys};
use crate::base::{Mistakes, Timestamp};
use crate::config::{Config, Dnssec, Mode, ZoneFile};
use crate::sign::{KeyPolicy, KeyRing, Role, Turn, ZoneKeys};
use crate::wire::Name;

/// What became of a zone's keys.
#[derive(Debug)]
pub struct Moved {
    /// Keys that were made: tag and role.
    pub made: Vec<(u16, Role)>,
    /// Keys that have moved on.
    pub turns: Vec<Turn>,
    /// What came of it.
    pub ring: KeyRing,
}

/// Moves a zone's keys on: makes those that are missing or due, and lets pass what has waited long
/// enough. What has changed is on the disk afterwards, and not in force.
///
/// # Errors
/// A sentence with the cure; then nothing has changed.
pub fn step_keys(directory: &KeyDirectory, policy: &KeyPolicy, now: Timestamp) -> Result<Moved, String> {
    let before = directory.ring()?;
    let mut ring = before.clone();
    if let Some(why) = unlike(&ring, policy) {
        return Err(why);
    }
    let mut made = Vec::new();
    while let Some(role) = ring.wants(policy, now) {
        made.push((directory.generate(&mut ring, policy.algorithm, role, now)?, role));
    }
    let turns = ring.step(policy, now);
    if ring != before {
        directory.save(&ring)?;
    }
    Ok(Moved { made, turns, ring })
}

/// Keys of another kind than the configuration asks for: nothing leads from the one to the other
/// without a while in which some validators see a broken zone.
fn unlike(ring: &KeyRing, policy: &KeyPolicy) -> Option<String> {
    let mut keys = ring.keys.iter().filter(|key| key.state().0 < crate::sign::KeyState::Removed);
    let other =
        keys.find(|key| key.algorithm != policy.algorithm || !policy.layout.roles().contains(&key.role))?;
    Some(format!(
        "key {} is a {} for {}, and the configuration asks for other ones: take `algorithm` and `keys` back, \
         or go unsigned first (`pointsman keys unsign`) and begin anew in another directory",
        other.tag, other.role, other.algorithm
    ))
}

/// Makes and moves the keys of all zones, before they are loaded to be served. With several sites
/// nothing is made or moved: every site has the files that an operator gave it.
///
/// # Errors
/// Where a zone's keys cannot be made or moved. Warnings say what was made.
pub fn prepare_keys(config: &Config, now: Timestamp) -> Result<Mistakes, Mistakes> {
    let mut mistakes = Mistakes::default();
    // A daemon that only observes serves nothing: no change could ever be in force.
    if config.sites.len() > 1 || config.mode == Mode::Observe {
        return Ok(mistakes);
    }
    for (zone, dnssec) in signed_zones(config) {
        let moved = KeyDirectory::lock(&dnssec.directory)
            .and_then(|directory| step_keys(&directory, &dnssec.policy, now));
        match moved {
            Ok(Moved { made, .. }) if made.is_empty() => {}
            Ok(Moved { made, .. }) => {
                let keys: Vec<_> = made.iter().map(|(tag, role)| format!("{role} {tag}")).collect();
                let (keys, directory) = (keys.join(", "), dnssec.directory.display());
                mistakes
                    .warn(&dnssec.place, format!("{} has new keys in {directory}: {keys}", zone.name))
                    .help("keep a copy of that directory; `pointsman keys status` tells when the parent must hear of them");
            }
            Err(why) => drop(mistakes.error(&dnssec.place, why)),
        }
    }
    mistakes.unless_fatal(Some(())).map(|((), warnings)| warnings)
}

/// Reads the keys of all zones, for the signer. On one site a zone without any is left out: the
/// daemon makes them when it starts.
///
/// # Errors
/// Where keys cannot be read, or are missing with several sites.
pub fn load_keys(config: &Config, now: Timestamp) -> Result<Vec<Arc<ZoneKeys>>, Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut loaded = Vec::new();
    let many = config.sites.len() > 1;
    for (zone, dnssec) in signed_zones(config) {
        match keys_of(&zone.name, dnssec, many, now) {
            Ok(Some(keys)) => loaded.push(Arc::new(keys)),
            Ok(None) if !many => {}
            Ok(None) => {
                let (name, directory) = (&zone.name, dnssec.directory.display());
                mistakes
                    .error(&dnssec.place, format!("{name} has no keys in {directory}, and with several sites no daemon makes any"))
                    .help(format!(
                        "run `pointsman keys generate {name}` at one site, and give the directory to all the others"
                    ));
            }
            Err(why) => drop(mistakes.error(&dnssec.place, why)),
        }
    }
    mistakes.unless_fatal(Some(loaded)).map(|(loaded, _)| loaded)
}

fn keys_of(zone: &Name, dnssec: &Dnssec, many: bool, now: Timestamp) -> Result<Option<ZoneKeys>, String> {
    let Some(mut ring) = KeyDirectory::peek(&dnssec.directory)?.filter(|ring| !ring.keys.is_empty()) else {
        return Ok(None);
    };
    if let Some(why) = unlike(&ring, &dnssec.policy) {
        return Err(why);
    }
    // Keys that were made for a first start that has not been: as they will be after it.
    if !many && !ring.keys.iter().any(|key| key.state().0.is_published()) {
        ring.in_force = true;
        ring.step(&dnssec.policy, now);
    }
    if !ring.keys.iter().any(|key| key.state().0.is_published()) {
        return Ok(None);
    }
    zone_keys(zone, dnssec, &ring).map(Some)
}

/// The zones that are signed.
pub fn signed_zones(config: &Config) -> impl Iterator<Item = (&ZoneFile, &Dnssec)> {
    config.zones.iter().filter_map(|zone| Some((zone, zone.dnssec.as_ref()?)))
}
