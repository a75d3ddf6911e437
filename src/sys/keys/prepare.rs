//! Keys of all zones of a configuration: made where they are missing, moved on where it is time.

use std::path::Path;
use std::sync::Arc;

use super::directory::{KeyDirectory, zone_keys};
use super::known::Known;
use crate::base::{Mistakes, Place, Source, Timestamp};
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
/// nothing is made or moved: every site has the files that an operator gave it. Nor is a key made
/// for a zone that is signed already, by the configuration before or by what an earlier daemon has
/// noted: its keys are lost.
///
/// # Errors
/// Where a zone's keys cannot be made or moved. Warnings say what was made.
pub fn prepare_keys(config: &Config, before: Option<&Config>, now: Timestamp) -> Result<Mistakes, Mistakes> {
    let mut mistakes = Mistakes::default();
    // A daemon that only observes serves nothing: no change could ever be in force.
    if config.sites.len() > 1 || config.mode == Mode::Observe {
        return Ok(mistakes);
    }
    let known = Known::read(config).map_err(|why| about(config, why))?;
    for (zone, dnssec) in signed_zones(config) {
        let moved = still_there(&zone.name, dnssec, before, &known, now).and_then(|()| {
            let directory = KeyDirectory::lock(&dnssec.directory)?;
            step_keys(&directory, &dnssec.policy, now)
        });
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
    if !mistakes.fatal() {
        let zones = signed_zones(config).map(|(zone, dnssec)| (&zone.name, dnssec.directory.as_path()));
        Known::new(zones).save(config).map_err(|why| about(config, why))?;
    }
    mistakes.unless_fatal(Some(())).map(|((), warnings)| warnings)
}

/// What has no better place than where state is kept.
fn about(config: &Config, what: String) -> Mistakes {
    let mut mistakes = Mistakes::default();
    mistakes.error(&elsewhere(config.state_directory()), what);
    mistakes
}

fn elsewhere(path: &Path) -> Place {
    Place::whole(&Source::new(path.display().to_string(), ""))
}

/// Refuses to begin anew for a zone whose keys are in use.
fn still_there(
    zone: &Name,
    dnssec: &Dnssec,
    before: Option<&Config>,
    known: &Known,
    now: Timestamp,
) -> Result<(), String> {
    let served = signed_before(before, zone);
    let Some(old) = served.map(|served| served.directory.as_path()).or_else(|| known.directory(zone)) else {
        return Ok(());
    };
    if peek_keys(&dnssec.directory)?.is_some() {
        return Ok(());
    }
    if peek_keys(old)?.is_some_and(|ring| is_free(&ring, &policy_of(served, &ring), now)) {
        return Ok(());
    }
    let lost = lost(zone, &dnssec.directory);
    Err(match served {
        Some(_) => lost,
        None => format!(
            "{lost}; if the parent points at none of them, `pointsman keys generate {zone}` makes others"
        ),
    })
}

/// By what a zone's keys live. Without a configuration before, the times are those that were kept
/// with the keys.
fn policy_of(before: Option<&Dnssec>, ring: &KeyRing) -> KeyPolicy {
    match before {
        Some(before) => before.policy,
        None => KeyPolicy { timing: ring.timing.unwrap_or_default(), ..KeyPolicy::default() },
    }
}

/// What is told where a zone is served with keys whose files are gone.
pub fn lost(zone: &Name, directory: &Path) -> String {
    format!(
        "{zone} is signed with keys that are no longer in {}: put that directory back, or a copy of it; \
         other keys would not fit what the parent points at",
        directory.display()
    )
}

/// Looks whether a zone is to be served without signatures, or not at all, while others still rely
/// on them: a parent that points at its keys, or a cache that knows of that (RFC 6781 §4.4). What is
/// known of it is in the keys' directory, where the configuration before says it is, or an earlier
/// daemon has noted, or where it would be.
pub(in crate::sys) fn check_dropped(
    config: &Config,
    before: Option<&Config>,
    now: Timestamp,
    mistakes: &mut Mistakes,
) {
    if config.mode == Mode::Observe {
        return;
    }
    let known = match Known::read(config) {
        Ok(known) => known,
        Err(why) => return mistakes.extend(about(config, why)),
    };
    check_removed(config, before, &known, now, mistakes);
    for zone in config.zones.iter().filter(|zone| zone.dnssec.is_none()) {
        let name = &zone.name;
        let before = signed_before(before, name);
        let usual = config.store.key_directory(name);
        let noted = known.directory(name).unwrap_or(&usual);
        let directory = before.map_or(noted, |before| &before.directory);
        let words = match peek_keys(directory) {
            Ok(None) if before.is_none() => continue,
            Ok(Some(ring)) if is_free(&ring, &policy_of(before, &ring), now) => continue,
            Ok(None) => lost(name, directory),
            Ok(Some(_)) => format!(
                "{name} has no `dnssec:`, and by the keys in {} it is signed: validators would \
                 take its answers without signatures for forged ones",
                directory.display()
            ),
            Err(why) => why,
        };
        mistakes.error(&zone.place, words).help(format!(
            "take `dnssec:` back, run `pointsman keys unsign {name}`, and drop it when `pointsman keys status` says \
             that the zone may go unsigned"
        ));
    }
}

/// The same for zones that the configuration no longer has. Whoever moves one to other servers
/// takes the keys along, and then there is nothing here to rely on.
fn check_removed(
    config: &Config,
    before: Option<&Config>,
    known: &Known,
    now: Timestamp,
    mistakes: &mut Mistakes,
) {
    let served: Vec<_> = before
        .filter(|before| before.mode != Mode::Observe)
        .into_iter()
        .flat_map(signed_zones)
        .map(|(zone, dnssec)| (zone.name.clone(), dnssec.directory.as_path()))
        .collect();
    let noted = known.zones().filter(|(zone, _)| served.iter().all(|(other, _)| other != zone));
    for (name, directory) in served.iter().cloned().chain(noted) {
        if config.zones.iter().any(|zone| zone.name == name) {
            continue;
        }
        let policy = |ring: &KeyRing| policy_of(signed_before(before, &name), ring);
        let words = match peek_keys(directory) {
            Ok(None) => continue,
            Ok(Some(ring)) if is_free(&ring, &policy(&ring), now) => continue,
            Ok(Some(_)) => format!(
                "{name} is no longer among the zones, and by the keys in {} its parent may point at it as signed",
                directory.display()
            ),
            Err(why) => why,
        };
        mistakes.error(&elsewhere(directory), words).help(format!(
            "take the zone back, run `pointsman keys unsign {name}`, and take it out when `pointsman keys status` \
             says that it may go unsigned; or, if other servers sign it with these keys now, move the directory away"
        ));
    }
}

/// How a zone is signed that is served by the configuration before.
fn signed_before<'a>(before: Option<&'a Config>, zone: &Name) -> Option<&'a Dnssec> {
    let before = before.filter(|before| before.mode != Mode::Observe)?;
    signed_zones(before).find(|(signed, _)| signed.name == *zone).map(|(_, dnssec)| dnssec)
}

/// The state of the keys in a directory, if there are any.
fn peek_keys(directory: &Path) -> Result<Option<KeyRing>, String> {
    Ok(KeyDirectory::peek(directory)?.filter(|ring| !ring.keys.is_empty()))
}

/// Whether nobody relies on any of these keys: none was ever in the zone, or the parent has
/// forgotten them for long enough.
fn is_free(ring: &KeyRing, policy: &KeyPolicy, now: Timestamp) -> bool {
    let in_zone = ring.keys.iter().any(|key| key.state().0.is_published());
    !in_zone || ring.free_at(policy, now).is_some_and(|free| free <= now)
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
