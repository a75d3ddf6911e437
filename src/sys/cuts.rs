//! Zones below zones: whether the one above knows of the cut.
//!
//! Where a server has both, it answers from the lower one whatever the upper one says. Others see
//! the difference: secondary servers of the upper zone alone, and whoever validates. A proof that
//! the lower zone has no DS record is the NSEC record of a delegation only if it lists NS (RFC 4035
//! §5.2); without, it proves that there is no delegation, and all of the lower zone is bogus.

use crate::base::Mistakes;
use crate::config::Config;
use crate::wire::{Name, RecordType};
use crate::zone::Zone;

/// A zone with another above it must be delegated there.
pub(super) fn check_cuts(zones: &[Zone], config: &Config, mistakes: &mut Mistakes) {
    for child in zones {
        let apex = child.apex();
        let above = zones.iter().filter(|zone| zone.apex() != apex && apex.is_at_or_under(zone.apex()));
        let Some(parent) = above.max_by_key(|zone| zone.apex().as_wire().len()) else { continue };
        if parent.set(apex.as_wire(), RecordType::NS).is_some() {
            continue;
        }
        let Some(file) = config.zones.iter().find(|file| file.name == *apex) else { continue };
        let upper = parent.apex();
        let is_signed = config.zones.iter().any(|file| file.name == *upper && file.dnssec.is_some());
        let message = format!("the zone {upper} has no NS record at {apex}, which is a zone here too");
        let mistake = match is_signed {
            true => mistakes
                .error(&file.place, format!("{message}: {upper} is signed, and proves that there is none")),
            false => mistakes.warn(&file.place, message),
        };
        mistake.help(format!("delegate it in the file of {upper}, with the NS records of {apex}'s own file"));
        warn_occluded(parent, apex, mistakes);
    }
}

/// Records of the upper zone at or below the lower one's apex are never given.
fn warn_occluded(parent: &Zone, apex: &Name, mistakes: &mut Mistakes) {
    let owners = parent.owners().filter(|owner| crate::wire::is_at_or_under(owner.name(), apex.as_wire()));
    let Some(set) = owners.flat_map(|owner| owner.sets()).find(|set| set.rtype() != RecordType::DS) else {
        return;
    };
    // One is enough: the others stand beside it.
    let message =
        format!("this lies in the zone {apex}, which is served from its own file: it is never answered");
    mistakes.warn(&set.place(0), message).help("move it to that file");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Severity, Source};
    use crate::config::{Surroundings, parse};

    const APEX: &str = "$TTL 60\n@ SOA ns h 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n";

    /// What is said of a zone with these records above another.
    fn said(dnssec: &str, records: &str) -> Vec<(Severity, String)> {
        let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
        let text = format!(
            "\
version: 1
mode: answer
site: {{name: a}}
listen: {{dns: [\"127.0.0.1:53\"]}}
zones:
  - {{name: x.test, file: x.zone{dnssec}}}
  - {{name: sub.x.test, file: sub.zone}}
"
        );
        let (config, _) = parse(&Source::new("c.yaml", text), &around).unwrap();
        let zone = |name: &str, more: &str| {
            let source = Source::new(name, format!("{APEX}{more}"));
            let read = crate::zone::parse(&source, &Name::parse(name).unwrap(), &mut |_| Err(String::new()));
            read.unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false))).0
        };
        let mut mistakes = Mistakes::default();
        check_cuts(&[zone("x.test", records), zone("sub.x.test", "")], &config, &mut mistakes);
        mistakes.iter().map(|mistake| (mistake.severity, mistake.to_string())).collect()
    }

    #[test]
    fn a_cut_is_known_above() {
        let delegated = "sub NS ns.sub\nns.sub A 192.0.2.53\n";
        assert_eq!(said("", delegated), []);
        assert_eq!(said(", dnssec: {}", delegated), []);
    }

    #[test]
    fn without_a_delegation_a_signed_zone_denies_the_one_below() {
        for (dnssec, severity) in [("", Severity::Warning), (", dnssec: {}", Severity::Error)] {
            let said = said(dnssec, "");
            let [(found, text)] = &said[..] else { panic!("{said:?}") };
            assert_eq!(*found, severity);
            assert!(text.starts_with("c.yaml:7:"), "{text}");
            assert!(text.contains("x.test. has no NS record at sub.x.test."), "{text}");
        }
    }

    #[test]
    fn what_lies_below_is_never_answered() {
        let said = said("", "www A 192.0.2.1\na.sub A 192.0.2.2\nb.sub A 192.0.2.3\n");
        let lost: Vec<_> = said.iter().filter(|(_, text)| text.contains("never answered")).collect();
        let [(Severity::Warning, text)] = &lost[..] else { panic!("{said:?}") };
        assert!(text.starts_with("x.test:6:"), "{text}");
    }
}
