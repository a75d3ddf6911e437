//! Zones: their files, serials, who may fetch them, and the keys that takes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Binder;
use crate::base::Prefix;
use crate::config::model::{
    DynamicNames, NotifyTarget, Permission, SerialPolicy, Store, TransferRules, TsigKey, ZoneFile,
};
use crate::config::read::{Entries, Placed};
use crate::config::spec;
use crate::wire::Name;

/// Where name servers listen.
const DNS_PORT: u16 = 53;
/// A zone lists at most so many who may fetch it, and as many who are told.
const PEERS_MAX: usize = 256;

impl Binder<'_> {
    pub(super) fn keys(&mut self, keys: Entries<spec::TsigKey>) -> Vec<TsigKey> {
        let mut bound: Vec<TsigKey> = Vec::new();
        for (name, key) in keys.0 {
            let parsed = match Name::parse(&name.value) {
                Ok(parsed) => parsed,
                Err(why) => {
                    self.mistakes
                        .error(&name.place, format!("`{}` cannot name a key: {why}", name.value))
                        .help("a key has a name like a host, the same on both sides");
                    continue;
                }
            };
            if bound.iter().any(|other| other.name == parsed) {
                self.mistakes.error(&name.place, format!("key {parsed} is listed twice"));
                continue;
            }
            let secret = self.secret(key.secret);
            bound.push(TsigKey { name: parsed, algorithm: key.algorithm, secret, place: name.place });
        }
        bound
    }

    pub(super) fn zones(
        &mut self,
        zones: Vec<spec::Zone>,
        keys: &[TsigKey],
        sites: &[String],
        store: &Store,
    ) -> Vec<ZoneFile> {
        let mut bound: Vec<ZoneFile> = Vec::new();
        for mut zone in zones {
            if bound.iter().any(|other| other.name == zone.name.value) {
                self.mistakes.error(&zone.name.place, format!("zone {} is listed twice", zone.name.value));
                continue;
            }
            let file = self.path(&zone.file.value);
            let dnssec = zone.dnssec.take().map(|dnssec| self.dnssec(&zone.name, dnssec, store));
            let primary = self.primary(&zone, sites);
            let dynamic_names = zone.transfer.dynamic_names.as_ref();
            if let Some(dynamic) =
                dynamic_names.filter(|dynamic| dynamic.value == DynamicNames::CurrentAnswer)
                && zone.serial.value == SerialPolicy::Keep
            {
                // A signed zone keeps the serial of its file: the usual cure is none there.
                let cure = match dnssec {
                    Some(_) => "a signed zone keeps the serial in its file: write `dynamic_names: leave_out`",
                    None => "let the zone count by itself: `serial: increment`",
                };
                self.mistakes
                    .error(&dynamic.place, "the serial in the zone's file does not move when an answer does")
                    .help(cure);
            }
            if dnssec.is_some() && zone.serial.value != SerialPolicy::Keep {
                self.mistakes
                    .error(
                        &zone.serial.place,
                        "the signature of a signed zone's SOA record is made for the serial in its file",
                    )
                    .help("keep the serial in the file, or leave signing to a server that fetches this zone");
            }
            let transfer = TransferRules {
                allow: zone.transfer.allow.iter().filter_map(|who| self.permission(who, keys)).collect(),
                notify: zone.transfer.notify.iter().filter_map(|who| self.notify_target(who, keys)).collect(),
                dynamic_names: dynamic_names.map_or(DynamicNames::default(), |dynamic| dynamic.value),
                unsigned: zone.transfer.unsigned,
            };
            if let Some(dnssec) = dnssec.as_ref().filter(|_| !transfer.allow.is_empty() && !transfer.unsigned)
            {
                self.mistakes
                    .warn(
                        &dnssec.place,
                        format!("{} is signed here: those under `allow` get nothing", zone.name.value),
                    )
                    .help("`unsigned: true` under `transfer:` gives it without signatures to a server that signs it itself");
            }
            if zone.transfer.allow.len().max(zone.transfer.notify.len()) > PEERS_MAX {
                let message = format!("more than {PEERS_MAX} servers for one zone");
                self.mistakes.error(&zone.name.place, message);
            }
            if zone.transfer.allow.is_empty() && !zone.transfer.notify.is_empty() {
                let place = &zone.transfer.notify[0].address.place;
                self.mistakes
                    .warn(
                        place,
                        format!("servers are told of changes to {} and may not fetch it", zone.name.value),
                    )
                    .help("list them under `allow` too");
            }
            if dynamic_names.is_none() && !zone.transfer.allow.is_empty() {
                self.undecided.push(zone.name.value.clone());
            }
            bound.push(ZoneFile {
                name: zone.name.value,
                file,
                dnssec,
                serial: zone.serial.value,
                primary,
                transfer: Arc::new(transfer),
                place: zone.file.place,
            });
        }
        bound
    }

    /// With several sites one of them counts the versions: two counters would disagree.
    fn primary(&mut self, zone: &spec::Zone, sites: &[String]) -> Option<String> {
        let Some(primary) = &zone.primary else {
            if zone.serial.value != SerialPolicy::Keep && sites.len() > 1 {
                self.mistakes
                    .error(&zone.serial.place, "with several sites one of them has to keep the serial")
                    .help(format!("name it: `primary: {}`", sites[0]));
            }
            return None;
        };
        if !sites.contains(&primary.value) {
            self.mistakes
                .error(&primary.place, format!("there is no site `{}`", primary.value))
                .help(format!("`sites` lists {}", sites.join(", ")));
        } else if zone.serial.value == SerialPolicy::Keep {
            self.mistakes
                .warn(&primary.place, "`primary` means nothing while the serial comes from the zone's file")
                .help("drop it, or let the zone count by itself: `serial: increment`");
        }
        Some(primary.value.clone())
    }

    fn permission(&mut self, who: &Placed<spec::Permission>, keys: &[TsigKey]) -> Option<Permission> {
        if who.prefix.is_none() && who.key.is_none() {
            self.mistakes
                .error(&who.place, "this would let everybody fetch the zone")
                .help("say from where, or with which key: `{prefix: 192.0.2.0/24, key: NAME}`");
            return None;
        }
        let from = match &who.prefix {
            None => None,
            Some(prefix) => match prefix.value.parse::<Prefix>() {
                Ok(parsed) => Some(parsed),
                Err(why) => {
                    self.mistakes.error(&prefix.place, why.to_string());
                    return None;
                }
            },
        };
        let key = match &who.key {
            None => None,
            Some(key) => Some(self.key(key, keys)?),
        };
        Some(Permission { from, key })
    }

    fn notify_target(&mut self, who: &spec::NotifyTarget, keys: &[TsigKey]) -> Option<NotifyTarget> {
        let key = match &who.key {
            None => None,
            Some(key) => Some(self.key(key, keys)?),
        };
        let text = &who.address.value;
        let address = text.parse::<SocketAddr>();
        let address = address.or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)));
        match address {
            Ok(address) => Some(NotifyTarget { address, key }),
            Err(_) => {
                self.mistakes
                    .error(&who.address.place, format!("`{text}` is not an address"))
                    .help("write it like \"192.0.2.53\", \"192.0.2.53:5353\" or \"[2001:db8::53]:53\"");
                None
            }
        }
    }

    fn key(&mut self, name: &Placed<String>, keys: &[TsigKey]) -> Option<Name> {
        let wanted = Name::parse(&name.value).ok();
        let found = keys.iter().find(|key| Some(&key.name) == wanted.as_ref());
        if found.is_none() && !self.declared.contains(&("keys", name.value.clone())) {
            let near = crate::base::nearest(
                &name.value,
                self.declared.iter().filter(|(section, _)| *section == "keys").map(|(_, name)| name.as_str()),
            );
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it under `keys:`".to_owned(),
            };
            self.mistakes.error(&name.place, format!("there is no key `{}`", name.value)).help(help);
        }
        found.map(|key| key.name.clone())
    }

    /// What becomes of services' names in zones that others fetch has to be said, and is told.
    pub(super) fn dynamic_names(&mut self, zones: &[ZoneFile]) {
        for zone in zones.iter().filter(|zone| !zone.transfer.allow.is_empty()) {
            let owner = |name: &Name| {
                let above = zones.iter().filter(|zone| name.is_at_or_under(&zone.name));
                above.max_by_key(|zone| zone.name.as_wire().len()).map(|zone| &zone.name)
            };
            let names: Vec<_> = self
                .services
                .values()
                .flat_map(|service| &service.names)
                .filter(|(name, _)| owner(name) == Some(&zone.name))
                .map(|(name, _)| name)
                .collect();
            let Some(first) = names.first() else { continue };
            let some = match names.len() {
                1 => format!("{first} comes"),
                many => format!("{first} and {} more names come", many - 1),
            };
            if self.undecided.contains(&zone.name) {
                self.mistakes
                    .error(
                        &zone.place,
                        format!("{some} from a service: what do secondary servers of {} get?", zone.name),
                    )
                    .help(match zone.dnssec {
                        Some(_) => "`dynamic_names: leave_out` (nothing)",
                        None => "`dynamic_names: leave_out` (nothing) or `current_answer` (the answer of the moment)",
                    });
                continue;
            }
            match zone.transfer.dynamic_names {
                DynamicNames::LeaveOut => self
                    .mistakes
                    .warn(&zone.place, format!("{some} from a service, and secondary servers of {} do not have it", zone.name))
                    .help("whoever asks them is told that it does not exist; delegate the names to this server alone"),
                DynamicNames::CurrentAnswer => self
                    .mistakes
                    .warn(
                        &zone.place,
                        format!("{some} from a service: secondary servers of {} give everybody the answer of the moment", zone.name),
                    )
                    .help("they know neither shares nor clients, and move when they have fetched the next version"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::base::{Mistakes, Source};
    use crate::config::{Config, DynamicNames, SerialPolicy, Surroundings, parse};

    fn load(zone: &str) -> Result<(Config, Mistakes), Mistakes> {
        let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
        let text = format!(
            "\
version: 1
mode: answer
site: {{name: a}}
sites: [a, b]
listen: {{dns: [\"127.0.0.1:53\"]}}
keys: {{peer: {{algorithm: hmac-sha256, secret: {{env: X}}}}}}
regions: {{r: {{layers: {{reach: [{{tcp: {{address: \"127.0.0.1:1\"}}}}]}}}}}}
zones:
  - {{name: x.test, file: x.zone, {zone}}}
services:
  s: {{names: [s.x.test], policy: {{failover: [r]}}, answers: {{r: {{a: [192.0.2.1]}}}}}}
"
        );
        parse(&Source::new("c.yaml", text), &around)
    }

    fn said(zone: &str) -> String {
        let mistakes = load(zone).map_or_else(|mistakes| mistakes, |(_, warnings)| warnings);
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn rules_are_taken_as_written() {
        let zone = "serial: increment, primary: b, transfer: {allow: [{prefix: 192.0.2.0/24, key: peer}], \
                    notify: [{address: 192.0.2.53}, {address: \"[2001:db8::1]:5353\", key: peer}], dynamic_names: current_answer}";
        let (config, warnings) = load(zone).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
        let zone = &config.zones[0];
        assert_eq!((zone.serial, zone.primary.as_deref()), (SerialPolicy::Increment, Some("b")));
        assert_eq!(zone.transfer.dynamic_names, DynamicNames::CurrentAnswer);
        let addresses: Vec<_> =
            zone.transfer.notify.iter().map(|target| target.address.to_string()).collect();
        assert_eq!(addresses, ["192.0.2.53:53", "[2001:db8::1]:5353"]);
        assert!(warnings.render(false).contains("the answer of the moment"), "{}", warnings.render(false));
        assert_eq!(said("serial: keep"), "", "nothing is handed out, nothing need be said");
    }

    #[test]
    fn mistakes_have_cures() {
        for (zone, complaint, cure) in [
            ("transfer: {allow: [{}]}", "would let everybody", "say from where"),
            ("transfer: {allow: [{key: pear}]}", "there is no key `pear`", "did you mean `peer`?"),
            ("transfer: {allow: [{prefix: 192.0.2.1/24}]}", "has bits set after its length", ""),
            (
                "transfer: {allow: [{key: peer}]}",
                "what do secondary servers of x.test. get?",
                "leave_out` (nothing)",
            ),
            ("transfer: {allow: [{key: peer}], dynamic_names: leave_out}", "do not have it", "delegate"),
            (
                "transfer: {allow: [{key: peer}], dynamic_names: current_answer}",
                "does not move",
                "serial: increment",
            ),
            ("transfer: {notify: [{address: ns1.example.}]}", "is not an address", "192.0.2.53:5353"),
            ("transfer: {notify: [{address: 192.0.2.53}]}", "may not fetch it", "`allow` too"),
            ("serial: increment", "one of them has to keep the serial", "primary: a"),
            ("serial: unixtime, primary: c", "there is no site `c`", "a, b"),
            ("primary: a", "means nothing", "serial: increment"),
            (
                "transfer: {allow: [{key: peer}], dynamic_names: current_answer}, dnssec: {}",
                "does not move",
                "write `dynamic_names: leave_out`",
            ),
            (
                "transfer: {allow: [{key: peer}], dynamic_names: leave_out}, dnssec: {}",
                "x.test. is signed here: those under `allow` get nothing",
                "`unsigned: true`",
            ),
            ("serial: increment, primary: a, dnssec: {}", "signed zone's SOA record", "keep the serial"),
        ] {
            let said = said(zone);
            assert!(said.contains(complaint) && said.contains(cure), "{zone}: {said}");
            assert!(said.contains("c.yaml:"), "{said}");
        }
    }

    #[test]
    fn signed_zones_get_advice_that_they_can_follow() {
        for dynamic in ["", ", dynamic_names: current_answer"] {
            let said =
                said(&format!("transfer: {{allow: [{{key: peer}}], unsigned: true{dynamic}}}, dnssec: {{}}"));
            assert!(said.contains("leave_out") && !said.contains("serial: increment"), "{said}");
            assert!(!said.contains("get nothing") && !said.contains("or `current_answer`"), "{said}");
        }
    }
}
