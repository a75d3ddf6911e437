//! What another configuration changes, in words.

use crate::config::{Config, Mode};
use crate::decide::Setup;

/// What a running daemon cannot change.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut fixed = Vec::new();
    let mut check = |name: &'static str, same: bool| {
        if !same {
            fixed.push(name);
        }
    };
    check("`listen`", old.listen == new.listen);
    check("`tls` from or to none", old.tls.is_some() == new.tls.is_some());
    check("`dns`", old.dns == new.dns);
    check("`site`", old.site.name == new.site.name);
    check("`store`", old.state_directory() == new.state_directory());
    check("`mode` from or to `observe`", (old.mode == Mode::Observe) == (new.mode == Mode::Observe));
    fixed
}

/// What tells where clients are, in words.
pub(super) fn databases(setup: &Setup) -> String {
    let each = setup.world.databases().iter().map(|database| {
        let built = database.built.map(|built| format!(" built {}", built.strftime("%Y-%m-%d")));
        format!("{} ({}{})", database.file, database.kind, built.unwrap_or_default())
    });
    each.collect::<Vec<_>>().join(", ")
}

/// What is new in a configuration, in words.
pub(super) fn difference(old: &Config, new: &Config) -> String {
    let names = |what: &str, old: Vec<&str>, new: Vec<&str>| {
        let added: Vec<_> = new.iter().filter(|name| !old.contains(name)).copied().collect();
        let gone: Vec<_> = old.iter().filter(|name| !new.contains(name)).copied().collect();
        let mut words = Vec::new();
        if !added.is_empty() {
            words.push(format!("{what} added: {}", added.join(", ")));
        }
        if !gone.is_empty() {
            words.push(format!("{what} gone: {}", gone.join(", ")));
        }
        words
    };
    let zones = |config: &Config| config.zones.iter().map(|zone| zone.name.to_string()).collect::<Vec<_>>();
    let signed = |config: &Config| {
        let signed = config.zones.iter().filter(|zone| zone.dnssec.is_some());
        signed.map(|zone| zone.name.to_string()).collect::<Vec<_>>()
    };
    let (zones, signed) = ([zones(old), zones(new)], [signed(old), signed(new)]);
    let [old_zones, new_zones] = zones.each_ref().map(|names| names.iter().map(String::as_str).collect());
    let [old_signed, new_signed] = signed.each_ref().map(|names| names.iter().map(String::as_str).collect());
    let parts = [
        names("zones", old_zones, new_zones),
        names("signed zones", old_signed, new_signed),
        names("regions", old.regions.names().collect(), new.regions.names().collect()),
        names("clusters", old.clusters.names().collect(), new.clusters.names().collect()),
        names("services", old.services.names().collect(), new.services.names().collect()),
        names("checks", old.checks.names().collect(), new.checks.names().collect()),
    ];
    let words = parts.concat();
    match words.is_empty() {
        true => "taken over; no zone, region, cluster, service or check was added or removed".to_owned(),
        false => words.join("; "),
    }
}
