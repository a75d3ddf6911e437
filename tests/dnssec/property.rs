//! Zones, services, states and questions at random: whatever is answered proves what it says, and
//! nothing leaves unsigned.

use std::collections::BTreeMap;

use pointsman::base::{Named, RegionId, ServiceId};
use pointsman::config::{Records, Service};
use pointsman::dns::{Counter, Transport};
use pointsman::region::Pick;
use pointsman::sign::Algorithm;
use pointsman::table::Image;
use pointsman::wire::{Rcode, RecordType};
use proptest::prelude::*;

use crate::signed::*;
use crate::zoo;

const APEX: &str = "example.com";
const TYPES: [u16; 14] = [1, 28, 2, 5, 6, 15, 16, 33, 39, 43, 47, 48, 65, 255];

/// What stands at a name.
#[derive(Clone, Debug)]
enum Stands {
    Addresses,
    Text,
    Mail(String),
    Alias(String),
    Cut(bool),
    Redirect(String),
}

impl Stands {
    fn lines(&self, name: &str) -> String {
        match self {
            Self::Addresses => format!("{name} A 192.0.2.1\n{name} A 192.0.2.2\n{name} AAAA 2001:db8::1\n"),
            Self::Text => format!("{name} TXT \"text\"\n{name} HTTPS 1 .\n"),
            Self::Mail(target) => format!("{name} MX 5 {target}\n{name} SRV 1 2 3 {target}\n"),
            Self::Alias(target) => format!("{name} CNAME {target}\n"),
            Self::Cut(true) => format!("{name} NS ns.{name}\n{name} DS 1 13 2 {}\n", "00".repeat(32)),
            Self::Cut(false) => format!("{name} NS ns.{name}\nns.{name} A 192.0.2.53\n{name} NS a\n"),
            Self::Redirect(target) => format!("{name} DNAME {target}\n"),
        }
    }
}

/// A name below the apex, of labels that meet often.
fn names(deepest: usize) -> impl Strategy<Value = String> {
    let label = prop_oneof![Just("a"), Just("b"), Just("c"), Just("ns")];
    (prop::collection::vec(label, 1..=deepest), prop::bool::weighted(0.2))
        .prop_map(|(labels, wild)| if wild { format!("*.{}", labels.join(".")) } else { labels.join(".") })
}

fn targets() -> impl Strategy<Value = String> {
    prop_oneof![6 => names(3), 1 => Just("elsewhere.".to_owned()), 2 => Just("s0".to_owned())]
}

fn stands() -> impl Strategy<Value = Stands> {
    prop_oneof![
        4 => Just(Stands::Addresses),
        2 => Just(Stands::Text),
        2 => targets().prop_map(Stands::Mail),
        3 => targets().prop_map(Stands::Alias),
        1 => any::<bool>().prop_map(Stands::Cut),
        1 => targets().prop_map(Stands::Redirect),
    ]
}

fn picks() -> impl Strategy<Value = Pick> {
    let region = || (0..3u16).prop_map(RegionId);
    prop_oneof![
        prop::collection::vec((region(), 1..5u32), 1..4).prop_map(Pick::One),
        prop::collection::vec(region(), 0..4).prop_map(Pick::All),
        Just(Pick::Nodata),
        Just(Pick::Servfail),
    ]
}

fn question() -> impl Strategy<Value = (String, u16, bool, u16)> {
    let name = prop_oneof![
        5 => names(4),
        2 => prop_oneof![Just("s0"), Just("s1.a"), Just("q.s2"), Just("s2"), Just("b.s1.a"), Just("Not.there")].prop_map(str::to_owned),
        1 => Just("@".to_owned()),
    ];
    (name, prop::sample::select(TYPES.to_vec()), any::<bool>(), 512..1300u16)
}

const CONFIG: &str = "\
version: 1
mode: answer
site: {name: test1}
listen: {dns: [], control: control.sock}
zones: [{name: example.com, file: zone}]
regions: {r0: {}, r1: {}, r2: {}}
services:
  s0:
    names: [s0.example.com]
    policy: {all: [r0, r1, r2]}
    answers:
      r0: {a: [192.0.2.10, 192.0.2.11], aaaa: ['2001:db8::10']}
      r1: {a: [192.0.2.11]}
      r2: {aaaa: ['2001:db8::12']}
  s1:
    names: [s1.a.example.com, s2.example.com]
    policy: {weighted: {r0: 1, r1: 2, r2: 3}}
    answers:
      r0: {a: [192.0.2.20]}
      r1: {a: [192.0.2.21]}
      r2: {a: [192.0.2.22]}
";

/// Of the second service two regions lead elsewhere.
fn services() -> Named<ServiceId, Service> {
    let config = zoo::config(CONFIG);
    let mut services = Named::default();
    for (name, service) in config.services.names().zip(config.services.values()) {
        let mut service = service.clone();
        for (region, target) in [(1, "there.elsewhere"), (2, "s0.example.com")] {
            if name == "s1" {
                let mut cname = Records::default();
                cname.add(RecordType::CNAME, crate::signed::name(target).as_wire());
                service.answers.insert(RegionId(region), cname);
            }
        }
        services.push(name, service).unwrap();
    }
    services
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaves_unsigned(
        zone in prop::collection::btree_map(names(3), stands(), 1..14),
        picks in prop::collection::vec(picks(), 2),
        questions in prop::collection::vec(question(), 40),
        second in any::<bool>(),
    ) {
        let services = services();
        let head = "$TTL 300\n@ SOA ns h 1 2 3 4 60\n@ NS ns.elsewhere.\n@ NS a\n";
        let text: String = zone.iter().map(|(name, stands)| stands.lines(name)).collect();
        let parsed = zoo::try_zone(APEX, &format!("{head}{text}"));
        prop_assume!(parsed.is_some());
        let Ok((image, _)) = Image::with_services(&[parsed.unwrap()], &services) else { return Err(TestCaseError::reject("a service has no place")) };
        let keys = if second { many_keys(APEX) } else { one_key(APEX, Algorithm::Ed25519) };
        let signed = sign(&image, &services, &[std::sync::Arc::clone(&keys)], NOW);
        let by_name: BTreeMap<_, _> = services.names().zip(&picks).collect();
        let table = table(&image, &services, &signed, &choices(&services, |name, _| by_name[name].clone(), 20));
        let mut asking = Asking::new(&table);
        let cuts = zone.iter().filter(|(_, stands)| matches!(stands, Stands::Cut(_)));
        let cuts = cuts.map(|(cut, _)| name(&format!("{cut}.{APEX}")).as_wire().to_vec()).collect();
        let validator = crate::validator::Validator { cuts, ..validator(&keys) };
        for (qname, rtype, udp, payload) in questions {
            let rtype = RecordType(rtype);
            let qname = if qname == "@" { name(APEX) } else { name(&format!("{qname}.{APEX}")) };
            let mut query = ask_signed(qname.as_wire(), rtype, false);
            let at = query.len() - 8;
            query[at..at + 2].copy_from_slice(&payload.to_be_bytes());
            let message = asking.send(&query, if udp { Transport::Udp } else { Transport::Tcp });
            prop_assert_eq!(asking.desk.counts[Counter::Unsigned], 0, "{}", &message);
            if message.rcode() == Rcode::SERVFAIL {
                prop_assert!(picks.contains(&Pick::Servfail), "{}", &message);
            } else if message.flags & 0x200 != 0 {
                prop_assert!(udp && message.sections.iter().all(Vec::is_empty), "{}", &message);
            } else if let Err(why) = validator.check(&message, qname.as_wire(), rtype) {
                return Err(TestCaseError::fail(format!("{why}\n{message}\nzone:\n{text}")));
            }
        }
    }
}
