//! Files → [`Setup`], or every mistake in any of them, at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::cuts::check_cuts;
use super::geo::load_world;
use super::keys::{check_dropped, load_keys, prepare_keys};
use super::secrets::cookie_secrets;
use super::tsig::load_transfer_keys;
use crate::base::{Mistakes, Place, Source, Timestamp, show_span};
use crate::config::{self, Config, Surroundings};
use crate::decide::Setup;
use crate::io::{Clock, Identity, PemFiles, Unusable, is_open_to_everybody};
use crate::region::idle_rules;
use crate::table::{CookieSecret, Image, Manners};
use crate::wire::{Name, RecordType};
use crate::workflow::{self, Workflow};
use crate::zone::{self, Zone};

/// Reads a configuration with everything it names, and changes nothing.
///
/// # Errors
/// Every mistake in the configuration, its zones, its keys and its workflows. Warnings come with
/// the setup.
pub fn load(path: &Path) -> Result<(Arc<Setup>, Mistakes), Mistakes> {
    load_with(path, None, |_, _| Ok(Mistakes::default()), |_, _| Vec::new())
}

/// Reads a configuration in order to serve it: keys of signed zones are made where they are
/// missing, and moved on where that is due, if everything else is sound. Secrets are read, which
/// need not be where a configuration is merely looked at. It may follow a setup that is served.
///
/// # Errors
/// As for [`load`]; or keys can be neither made nor moved, or secrets cannot be read or are none.
pub fn load_to_serve(path: &Path, before: Option<&Setup>) -> Result<(Arc<Setup>, Mistakes), Mistakes> {
    let served = before.map(|before| &*before.config);
    let mut transfer_keys = Arc::default();
    // All secrets are read before anything is written: what is refused leaves nothing behind.
    let secrets = |config: &Config, mistakes: &mut Mistakes| {
        match load_transfer_keys(config) {
            Ok(keys) => transfer_keys = keys,
            Err(more) => mistakes.extend(more),
        }
        cookie_secrets(config, mistakes)
    };
    let prepare = |config: &Config, now| prepare_keys(config, served, now);
    let (setup, warnings) = load_with(path, served, prepare, secrets)?;
    Ok((setup.armed(transfer_keys, before), warnings))
}

fn load_with(
    path: &Path,
    before: Option<&Config>,
    prepare: impl FnOnce(&Config, Timestamp) -> Result<Mistakes, Mistakes>,
    secrets: impl FnOnce(&Config, &mut Mistakes) -> Vec<CookieSecret>,
) -> Result<(Arc<Setup>, Mistakes), Mistakes> {
    let (config, mut mistakes) = load_config(path)?;
    check_certificate(&config, &mut mistakes);
    let cookie_secrets = secrets(&config, &mut mistakes);
    let zones = load_zones(&config, &mut mistakes);
    let workflows = load_workflows(&config, &mut mistakes);
    let world = load_world(&config.geo).map(|(world, warnings)| {
        mistakes.extend(warnings);
        world
    });
    let world = world.unwrap_or_else(|more| {
        mistakes.extend(more);
        Arc::default()
    });
    check_ttls(&zones, &config, &mut mistakes);
    check_unsigned(&zones, &config, &mut mistakes);
    check_dropped(&config, before, Clock.now().wall, &mut mistakes);
    check_cuts(&zones, &config, &mut mistakes);
    if mistakes.fatal() {
        return Err(mistakes.sorted());
    }
    match Image::build(&zones, &config) {
        Ok((image, more)) => {
            mistakes.extend(more);
            let now = Clock.now().wall;
            let keys = prepare(&config, now).and_then(|prepared| {
                mistakes.extend(prepared);
                load_keys(&config, now)
            });
            let keys = keys.map_err(|more| {
                mistakes.extend(more);
                std::mem::take(&mut mistakes).sorted()
            })?;
            let manners = Manners::new(&config, cookie_secrets);
            mistakes.extend(idle_rules(&config.services, &world));
            let setup = Setup::new(Arc::new(config), image, workflows, keys).with_world(world);
            let setup = setup.map_err(|more| {
                mistakes.extend(more);
                std::mem::take(&mut mistakes).sorted()
            })?;
            let setup = setup.with_manners(manners);
            mistakes.extend(setup.broken_objectives());
            mistakes.unless_fatal(Some(setup)).map(|(setup, warnings)| (setup, warnings.sorted()))
        }
        Err(more) => {
            mistakes.extend(more);
            Err(mistakes.sorted())
        }
    }
}

/// A zone that is signed here must not bring signatures along, nor the keys that made them.
fn check_unsigned(zones: &[Zone], config: &Config, mistakes: &mut Mistakes) {
    const OURS: [RecordType; 7] = [
        RecordType::RRSIG,
        RecordType::NSEC,
        RecordType::NSEC3,
        RecordType::NSEC3PARAM,
        RecordType::DNSKEY,
        RecordType::CDS,
        RecordType::CDNSKEY,
    ];
    for zone in zones {
        let is_signed = |file: &&config::ZoneFile| file.name == *zone.apex() && file.dnssec.is_some();
        if !config.zones.iter().any(|file| is_signed(&file)) {
            continue;
        }
        let mut sets = zone.owners().flat_map(|owner| owner.sets());
        if let Some(set) = sets.find(|set| OURS.contains(&set.rtype())) {
            let message = format!("a record of type {} in a zone that is signed here", set.rtype());
            mistakes.error(&set.place(0), message).help(
                "leave out all records that signing makes (RRSIG, NSEC, NSEC3, NSEC3PARAM, DNSKEY, CDS, CDNSKEY), \
                 or drop `dnssec:` to serve the zone as its file has it",
            );
        }
    }
}

/// A rollover waits until nothing in caches needs the old key. That is known only if no set of a
/// signed zone is kept for longer than its `max_ttl`.
fn check_ttls(zones: &[Zone], config: &Config, mistakes: &mut Mistakes) {
    let signed = |name: &crate::wire::Name| {
        let zone = config.zones.iter().filter(|zone| name.is_at_or_under(&zone.name));
        zone.max_by_key(|zone| zone.name.as_wire().len())?.dnssec.as_ref()
    };
    let too_long = |ttl: Duration, dnssec: &config::Dnssec| ttl > dnssec.policy.timing.max_ttl;
    let seconds = |ttl: u32| Duration::from_secs(ttl.into());
    let help = "lower that TTL, or raise `max_ttl` under `dnssec:`; rollovers take that much longer then";
    for zone in zones {
        let Some(dnssec) = signed(zone.apex()) else { continue };
        let sets = zone.owners().flat_map(|owner| owner.sets());
        // One is enough: the others are as easily found.
        if let Some(set) = sets.into_iter().find(|set| too_long(seconds(set.ttl()), dnssec)) {
            let max = show_span(dnssec.policy.timing.max_ttl);
            mistakes
                .error(
                    &set.place(0),
                    format!(
                        "a TTL of {} in a signed zone whose `max_ttl` is {max}",
                        show_span(seconds(set.ttl()))
                    ),
                )
                .help(help);
        }
    }
    for service in config.services.values() {
        for (name, place) in &service.names {
            let Some(dnssec) = signed(name).filter(|dnssec| too_long(service.ttl.max, dnssec)) else {
                continue;
            };
            let max = show_span(dnssec.policy.timing.max_ttl);
            mistakes
                .error(
                    place,
                    format!(
                        "a `ttl: max` of {} in a signed zone whose `max_ttl` is {max}",
                        show_span(service.ttl.max)
                    ),
                )
                .help(help);
        }
    }
}

/// Reads a configuration alone.
///
/// # Errors
/// Every mistake in it.
pub fn load_config(path: &Path) -> Result<(Config, Mistakes), Mistakes> {
    config::parse(&read(path)?, &surroundings(path))
}

/// Where the daemon of a configuration takes orders, even if the file has mistakes by now.
///
/// # Errors
/// It cannot be read, or is not YAML.
pub fn control_socket(path: &Path) -> Result<PathBuf, Mistakes> {
    config::control_socket(&read(path)?, &surroundings(path))
}

/// Reads one zone file.
///
/// # Errors
/// Every mistake in it and in what it includes.
pub fn load_zone(path: &Path, origin: &Name) -> Result<(Zone, Mistakes), Mistakes> {
    parse_zone(&read(path)?, path, origin)
}

/// Reads the file of one zone of a setup, and compiles it with the others as they are served: what
/// is wrong with their files, or new in them, does not matter.
///
/// # Errors
/// There is no such zone, or every mistake in its file.
pub fn reload_zone(setup: &Setup, name: &Name) -> Result<(Setup, Mistakes), Mistakes> {
    let config = &setup.config;
    let mut mistakes = Mistakes::default();
    let mut zones = Vec::new();
    for zone in &config.zones {
        if zone.name != *name {
            zones.push(setup.image.restored(&zone.name));
            continue;
        }
        let read =
            named(&zone.file, &zone.place).and_then(|source| parse_zone(&source, &zone.file, &zone.name));
        let (read, warnings) = read.map_err(Mistakes::sorted)?;
        mistakes.extend(warnings);
        zones.push(read);
    }
    check_cuts(&zones, config, &mut mistakes);
    if mistakes.fatal() {
        return Err(mistakes.sorted());
    }
    let (image, more) = Image::build(&zones, config).map_err(Mistakes::sorted)?;
    mistakes.extend(more);
    Ok((setup.with_image(image), mistakes.sorted()))
}

fn parse_zone(source: &Arc<Source>, path: &Path, origin: &Name) -> Result<(Zone, Mistakes), Mistakes> {
    let home = path.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    zone::parse(source, origin, &mut |include: &Path| {
        // The zone reader lets no absolute path and no `..` through; a link may still lead out.
        let file = home.join(include);
        let real = file.canonicalize().map_err(|why| why.to_string())?;
        let real_home = home.canonicalize().map_err(|why| why.to_string())?;
        if !real.starts_with(&real_home) {
            return Err(format!("{} leads out of {}", file.display(), home.display()));
        }
        let text = std::fs::read_to_string(&real).map_err(|why| why.to_string())?;
        Ok(Source::new(file.display().to_string(), text))
    })
}

/// Looks whether clients could be shown the certificate that the configuration names.
fn check_certificate(config: &Config, mistakes: &mut Mistakes) {
    let Some(files) = &config.tls else { return };
    match Identity::read(&PemFiles::from(files)) {
        Ok(identity) if identity.ends() <= Clock.now().wall => {
            mistakes
                .warn(&files.certificate_place, format!("the certificate expired at {}", identity.ends()))
                .help("clients that check certificates will not connect; once it is renewed it is taken into use by itself");
        }
        Ok(_) => {}
        Err(Unusable::Certificate(why)) => drop(mistakes.error(&files.certificate_place, why)),
        Err(Unusable::Key(why)) => drop(mistakes.error(&files.key_place, why)),
    }
    if is_open_to_everybody(&files.key) {
        mistakes
            .warn(&files.key_place, format!("everybody on this machine can read {}", files.key.display()))
            .help("`chmod o-rw` it; a group that the daemon is in may read it");
    }
}

fn load_zones(config: &Config, mistakes: &mut Mistakes) -> Vec<Zone> {
    let mut zones = Vec::new();
    for zone in &config.zones {
        let loaded =
            named(&zone.file, &zone.place).and_then(|source| parse_zone(&source, &zone.file, &zone.name));
        match loaded {
            Ok((loaded, warnings)) => {
                mistakes.extend(warnings);
                zones.push(loaded);
            }
            Err(more) => mistakes.extend(more),
        }
    }
    zones
}

fn load_workflows(config: &Config, mistakes: &mut Mistakes) -> Vec<Workflow> {
    let mut workflows: Vec<Workflow> = Vec::new();
    for use_ in &config.workflows {
        let read = named(&use_.file, &use_.place).and_then(|source| workflow::parse(&source, use_, config));
        match read {
            Ok((workflow, warnings)) => {
                mistakes.extend(warnings);
                if workflows.iter().any(|other| other.name == workflow.name) {
                    mistakes
                        .error(&use_.place, format!("there are two workflows named `{}`", workflow.name))
                        .help("a workflow is named by its `name:`, or by its file");
                }
                workflows.push(workflow);
            }
            Err(more) => mistakes.extend(more),
        }
    }
    workflows
}

/// Reads a file that the configuration names: if it cannot be read, the mistake is there.
fn named(path: &Path, place: &Place) -> Result<Arc<Source>, Mistakes> {
    std::fs::read_to_string(path).map(|text| Source::new(path.display().to_string(), text)).map_err(|why| {
        let mut mistakes = Mistakes::default();
        mistakes
            .error(place, format!("cannot read {}: {why}", path.display()))
            .help("a relative path starts at the directory of the configuration file");
        mistakes
    })
}

fn read(path: &Path) -> Result<Arc<Source>, Mistakes> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Source::new(name, text)),
        Err(why) => Err(Mistakes::unreadable(&name, why)),
    }
}

fn surroundings(path: &Path) -> Surroundings {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let first = |variable: &str| {
        let value = std::env::var(variable).ok()?;
        value.split(':').next().filter(|path| !path.is_empty()).map(PathBuf::from)
    };
    // The unit's configuration means the unit's directories, also to a person at a shell.
    let the_units =
        |path: &str| (directory == Some(Path::new("/etc/pointsman"))).then(|| PathBuf::from(path));
    Surroundings {
        directory: directory.map_or_else(|| PathBuf::from("."), Path::to_path_buf),
        state: first("STATE_DIRECTORY").or_else(|| the_units("/var/lib/pointsman")),
        runtime: first("RUNTIME_DIRECTORY").or_else(|| the_units("/run/pointsman")),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    }
}
