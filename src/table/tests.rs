use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;

use super::*;
use crate::base::{Generation, Mistakes, Named, Place, RegionId, ServiceId, Source};
use crate::config::{self, Config, Service, Surroundings};
use crate::region::{Audience, Choice, Pick};
use crate::wire::{Name, RecordType, ShowName};
use crate::zone::{self, Zone};

const HEAD: &str = "$TTL 300\n@ SOA ns h 1 2 3 4 60\n@ NS ns.elsewhere.\n";

fn zone(apex: &str, text: &str) -> Zone {
    let mut include = |_: &Path| Err("no files".to_owned());
    let source = Source::new(apex, format!("{HEAD}{text}"));
    zone::parse(&source, &name(apex), &mut include).unwrap_or_else(|wrong| panic!("{wrong}")).0
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn image(zones: &[(&str, &str)]) -> Arc<Image> {
    let zones: Vec<_> = zones.iter().map(|(apex, text)| zone(apex, text)).collect();
    Image::with_services(&zones, &Named::default()).unwrap_or_else(|wrong| panic!("{wrong}")).0
}

/// What is found, in a word or two.
fn found(image: &Image, text: &str) -> String {
    shown(image.locate(name(text).as_wire(), false))
}

fn shown(found: Found<'_>) -> String {
    match found {
        Found::Node(node) => format!("{}", ShowName(node.name())),
        Found::Cut(node) => format!("cut {}", ShowName(node.name())),
        Found::Dname(node) => format!("dname {}", ShowName(node.name())),
        Found::Missing(apex) => format!("missing in {}", apex.len),
        Found::Elsewhere => "elsewhere".into(),
    }
}

fn service(addresses: &[(u16, &str)]) -> Service {
    let names: String = addresses.iter().map(|(id, _)| format!("r{id}, ")).collect();
    let answers: String = addresses.iter().map(|(id, text)| format!("r{id}: {text}, ")).collect();
    let config =
        config(&format!("  s: {{names: [s.x], policy: {{all: [{names}]}}, answers: {{{answers}}}}}\n"));
    config.services[ServiceId(0)].clone()
}

fn config(services: &str) -> Config {
    let text = format!(
        "version: 1\nmode: answer\nsite: {{name: s1}}\nlisten: {{dns: [], control: c}}\nzones: [{{name: x, file: x}}]\n\
         regions: {{r0: {{}}, r1: {{}}, r2: {{}}}}\nservices:\n{services}"
    );
    let around = Surroundings { directory: PathBuf::new(), state: None, runtime: None, processors: 1 };
    config::parse(&Source::new("config", text), &around).unwrap_or_else(|wrong| panic!("{wrong}")).0
}

fn with_service(zones: &[Zone], at: &str) -> Result<(Arc<Image>, Mistakes), Mistakes> {
    let mut service = service(&[(0, "{a: [192.0.2.1]}")]);
    service.names = vec![(name(at), Place::new(&Source::new("config", at), 0..at.len()))];
    let mut services = Named::default();
    services.push("s", service).unwrap();
    Image::with_services(zones, &services)
}

// ── the image ──

#[test]
fn names_exist_or_have_a_reason_not_to() {
    let image =
        image(&[("x", "a A 192.0.2.1\nd.e.f A 192.0.2.1\n*.w A 192.0.2.1\nb.w TXT x\n*.deep.w TXT x")]);
    for (asked, expected) in [
        ("x", "x."),
        ("a.x", "a.x."),
        ("b.x", "missing in 3"),
        ("b.a.x", "missing in 3"),
        ("d.e.f.x", "d.e.f.x."),
        // Empty non-terminals exist (RFC 8020), and shield from wildcards (RFC 4592 §2.2.2).
        ("e.f.x", "e.f.x."),
        ("f.x", "f.x."),
        ("y.f.x", "missing in 3"),
        ("q.w.x", "*.w.x."),
        ("p.q.w.x", "*.w.x."),
        ("*.w.x", "*.w.x."),
        ("w.x", "w.x."),
        ("b.w.x", "b.w.x."),
        ("q.b.w.x", "missing in 3"),
        ("q.deep.w.x", "*.deep.w.x."),
        ("deep.w.x", "deep.w.x."),
        // Below the star itself there is nothing.
        ("q.*.w.x", "missing in 3"),
        ("a.a.a.a.a.a.a.a.a.x", "missing in 3"),
        ("y", "elsewhere"),
        (".", "elsewhere"),
        ("ax", "elsewhere"),
    ] {
        assert_eq!(found(&image, asked), expected, "{asked}");
    }
    assert_eq!(image.len(), 10);
}

#[test]
fn a_wildcard_that_merely_has_names_below_it_matches() {
    let image = image(&[("x", "a.*.w A 192.0.2.1")]);
    assert_eq!(found(&image, "q.w.x"), "*.w.x.");
    assert_eq!(found(&image, "q.a.w.x"), "*.w.x.");
    assert_eq!(found(&image, "b.*.w.x"), "missing in 3");
}

#[test]
fn delegations_and_dnames_cover_what_lies_below() {
    let text = "c NS ns.c\nns.c A 192.0.2.1\ninner.c NS x.\ndeep.inner.c A 192.0.2.1\nd DNAME elsewhere.\nd TXT x\nb.d A 192.0.2.1\n*.c A 192.0.2.1";
    let image = image(&[("x", text)]);
    for (asked, expected) in [
        ("c.x", "cut c.x."),
        ("ns.c.x", "cut c.x."),
        ("q.c.x", "cut c.x."),
        ("inner.c.x", "cut c.x."),
        ("deep.inner.c.x", "cut c.x."),
        ("q.deep.inner.c.x", "cut c.x."),
        ("d.x", "d.x."),
        ("b.d.x", "dname d.x."),
        ("q.b.d.x", "dname d.x."),
        ("q.d.x", "dname d.x."),
    ] {
        assert_eq!(found(&image, asked), expected, "{asked}");
    }
    // DS records belong to the side above (RFC 4035 §3.1.4.1).
    assert_eq!(shown(image.locate(name("c.x").as_wire(), true)), "c.x.");
    assert_eq!(shown(image.locate(name("ns.c.x").as_wire(), true)), "cut c.x.");
    let Found::Cut(cut) = image.locate(name("c.x").as_wire(), false) else { panic!() };
    let node = |text: &str| image.find(name(text).as_wire()).unwrap();
    assert!(cut.is_within(&cut) && node("ns.c.x").is_within(&cut) && !node("d.x").is_within(&cut));
}

#[test]
fn a_zone_in_a_zone_answers_for_itself() {
    let above = "c.b NS ns.c.b\nc.b DS 1 8 2 00\nns.c.b A 192.0.2.1\n*.c.b TXT above\nb TXT x";
    let below = "ns A 192.0.2.2\nonly.here A 192.0.2.3";
    for zones in [[("x", above), ("c.b.x", below)], [("c.b.x", below), ("x", above)]] {
        let image = image(&zones);
        assert_eq!(found(&image, "c.b.x"), "c.b.x.");
        assert_eq!(found(&image, "q.c.b.x"), "missing in 7");
        assert_eq!(found(&image, "here.c.b.x"), "here.c.b.x.");
        let Found::Node(ns) = image.locate(name("ns.c.b.x").as_wire(), false) else { panic!() };
        assert_eq!(ns.set(RecordType::A).unwrap().first_data(), [192, 0, 2, 2]);
        let Found::Node(side) = image.locate(name("c.b.x").as_wire(), true) else { panic!() };
        assert!(side.set(RecordType::DS).is_some() && side.set(RecordType::SOA).is_none());
        assert_eq!(image.apex(&side).unwrap().len, 3);
        let apexes: Vec<_> = image.apexes().map(|apex| ShowName(apex).to_string()).collect();
        assert_eq!(apexes.len(), 2);
        assert!(image.covers(&name("q.x")) && !image.covers(&name("q.y")));
    }
}

#[test]
fn the_root_is_a_zone_too() {
    let image = image(&[(".", "com NS ns.com\nns.com A 192.0.2.1\na TXT x")]);
    assert_eq!(found(&image, "."), ".");
    assert_eq!(found(&image, "a"), "a.");
    assert_eq!(found(&image, "b"), "missing in 1");
    assert_eq!(found(&image, "b.com"), "cut com.");
}

#[test]
fn targets_lead_to_addresses_that_may_be_told() {
    let text = "@ MX 1 a\n@ MX 2 b\n@ MX 3 ns.c\n@ MX 4 far.away.\nb TXT x\na A 192.0.2.1\nc NS ns.c\nc NS a\nns.c A 192.0.2.1";
    let image = image(&[("x", text)]);
    let targets = |owner: &str, rtype| -> Vec<String> {
        let set = image.find(name(owner).as_wire()).unwrap().set(rtype).unwrap();
        let nodes = set.targets().map(|(_, node)| node);
        nodes
            .map(
                |node| {
                    if node == 0 { String::new() } else { format!("{}", ShowName(image.node(node).name())) }
                },
            )
            .collect()
    };
    // b has no address, ns.c is not ours to tell, far.away. is not ours at all.
    assert_eq!(targets("x", RecordType::MX), ["a.x.", "", "", ""]);
    assert_eq!(targets("c.x", RecordType::NS), ["ns.c.x.", "a.x."]);
}

#[test]
fn negative_answers_carry_the_lower_ttl() {
    let image = image(&[("x", "")]);
    let Found::Missing(apex) = image.locate(name("q.x").as_wire(), false) else { panic!() };
    assert_eq!(u32::from_be_bytes(apex.negative.ttl()), 60);
    let node = image.find(name("x").as_wire()).unwrap();
    assert_eq!(u32::from_be_bytes(node.set(RecordType::SOA).unwrap().ttl()), 300);
}

#[test]
fn refuses_zones_that_cannot_be_served_together() {
    let wrong = Image::with_services(&[zone("x", ""), zone("y", ""), zone("x", "")], &Named::default());
    assert_eq!(wrong.unwrap_err().to_string(), "x:2:1: the zone x. is loaded twice");
    for text in ["d DNAME elsewhere.", "@ DNAME elsewhere.", "c.d DNAME elsewhere."] {
        let wrong = Image::with_services(&[zone("c.d.x", ""), zone("x", text)], &Named::default());
        match text {
            "c.d DNAME elsewhere." => {
                assert!(wrong.is_ok(), "the zone itself may be redirected by no one above")
            }
            _ => assert!(
                wrong.unwrap_err().to_string().starts_with("c.d.x:2:1: the zone c.d.x. lies below the DNAME")
            ),
        }
    }
}

#[test]
fn services_have_names_of_their_own() {
    let zone = || {
        zone(
            "x",
            "a TXT x\nb A 192.0.2.1\nc CNAME a\nd NS ns.elsewhere.\ne DNAME a\n*.w A 192.0.2.1\n*.v TXT x",
        )
    };
    for (at, service_at) in [
        ("s.x", "s.x"),
        ("x", "x"),
        ("a.x", "a.x"),
        ("s.w.x", "s.w.x"),
        ("deep.under.v.x", "deep.under.v.x"),
        ("e.x", "e.x"),
    ] {
        let (image, _) = with_service(&[zone()], at).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(image.service(&name(service_at)), Some(ServiceId(0)), "{at}");
        assert_eq!(found(&image, at), format!("{}.", at));
        assert_eq!(image.service(&name("w.x")), None);
    }
    let (image, _) = with_service(&[zone()], "deep.under.v.x").unwrap();
    // The name above it exists now, and shields from the wildcard.
    assert_eq!(found(&image, "under.v.x"), "under.v.x.");
    assert_eq!(found(&image, "q.under.v.x"), "missing in 3");
    for (at, expected) in [
        ("s.y", "config:1:1: s.y. lies in none of the zones (add its zone under `zones:`)"),
        ("*.s.x", "config:1:1: *.s.x. is a wildcard, which a service cannot be"),
        ("b.x", "config:1:1: b.x. has a record of type A at x:5:1"),
        ("c.x", "config:1:1: c.x. has a record of type CNAME at x:6:1"),
        ("d.x", "config:1:1: d.x. lies at or below d.x., which is delegated"),
        ("s.d.x", "config:1:1: s.d.x. lies at or below d.x., which is delegated"),
        ("s.e.x", "config:1:1: s.e.x. lies below the DNAME at e.x."),
    ] {
        let wrong = with_service(&[zone()], at).unwrap_err().to_string();
        assert!(wrong.starts_with(expected), "{wrong}");
    }
}

#[test]
fn two_services_cannot_share_a_name() {
    let place = Place::whole(&Source::new("config", ""));
    let mut services = Named::default();
    for id in ["s", "t"] {
        let mut service = service(&[(0, "{a: [192.0.2.1]}")]);
        service.names = vec![(name("s.x"), place.clone())];
        services.push(id, service).unwrap();
    }
    let wrong = Image::with_services(&[zone("x", "")], &services).unwrap_err();
    assert_eq!(wrong.to_string(), "config:1:1: s.x. already belongs to a service");
}

// ── answers ──

/// The addresses of one draw: IPv4, IPv6.
fn drawn(answers: &Answers, rng: &mut Rng) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let (Drawn::Sets(variant), 0) = answers.draw(&ANYBODY, rng) else { panic!("no addresses") };
    let (mut a, mut aaaa) = (Vec::new(), Vec::new());
    for (_, set) in variant.sets() {
        let len = set.records.len() / usize::from(set.count);
        for record in set.records.chunks(len) {
            assert_eq!(record[..6], [0xc0, 12, 0, set.rtype.0 as u8, 0, 1]);
            match record[FRAME..].first_chunk::<16>() {
                Some(octets) => aaaa.push(Ipv6Addr::from(*octets)),
                None => a.push(Ipv4Addr::from(*record[FRAME..].first_chunk().unwrap())),
            }
        }
    }
    (a, aaaa)
}

fn count((a, aaaa): (Vec<Ipv4Addr>, Vec<Ipv6Addr>)) -> usize {
    a.len() + aaaa.len()
}

const ANYBODY: Client = Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), told: None };

fn compile(service: &Service, pick: Pick) -> Answers {
    Answers::compile(service, &Audience::unlocated(service), &Choice::of(pick, 20))
}

fn compiled(pick: Pick) -> Answers {
    let service = service(&[
        (0, "{a: [192.0.2.1, 192.0.2.2], aaaa: ['2001:db8::1']}"),
        (1, "{a: [192.0.2.2, 192.0.2.3]}"),
        (2, "{aaaa: ['2001:db8::3']}"),
    ]);
    compile(&service, pick)
}

#[test]
fn one_pick_serves_both_families() {
    let mut rng = Rng::with_seed(1);
    let only = |id, rng: &mut Rng| drawn(&compiled(Pick::One(vec![(RegionId(id), 7)])), rng);
    assert_eq!(count(only(0, &mut rng)), 3);
    assert_eq!(only(1, &mut rng).1, [] as [Ipv6Addr; 0]);
    assert_eq!(only(2, &mut rng).0, [] as [Ipv4Addr; 0]);
}

#[test]
fn the_lot_falls_by_shares() {
    let mut rng = Rng::with_seed(1);
    let answers = compiled(Pick::One(vec![(RegionId(0), 1), (RegionId(1), 3), (RegionId(2), 0)]));
    let mut seen: HashMap<usize, u32> = HashMap::new();
    for _ in 0..40_000 {
        *seen.entry(drawn(&answers, &mut rng).1.len()).or_default() += 1;
    }
    // A quarter of 40 000, give or take five standard deviations.
    assert!((9567..=10433).contains(&seen[&1]), "{seen:?}");
    assert_eq!(seen.values().sum::<u32>(), 40_000);
}

#[test]
fn all_together_have_each_address_once() {
    let all = drawn(&compiled(Pick::All(vec![RegionId(0), RegionId(1)])), &mut Rng::with_seed(1));
    assert_eq!(all.0, [[192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3]].map(Ipv4Addr::from));
    assert_eq!(all.1.len(), 1);
}

#[test]
fn a_choice_without_addresses_is_never_an_empty_answer() {
    let mut rng = Rng::with_seed(1);
    for pick in [
        Pick::One(vec![]),
        Pick::One(vec![(RegionId(0), 0)]),
        Pick::One(vec![(RegionId(9), 1)]),
        Pick::All(vec![]),
        Pick::All(vec![RegionId(9)]),
    ] {
        assert_eq!(count(drawn(&compiled(pick.clone()), &mut rng)), 5, "{pick:?}");
    }
    assert!(matches!(compiled(Pick::Nodata).draw(&ANYBODY, &mut rng), (Drawn::Nodata, 0)));
    assert!(matches!(compiled(Pick::Servfail).draw(&ANYBODY, &mut rng), (Drawn::Servfail, 0)));
}

#[test]
fn a_table_shares_what_did_not_change() {
    let image = image(&[("x", "")]);
    let answers = vec![compiled(Pick::Nodata), compiled(Pick::Servfail)];
    let table = Table::new(Generation(7), image, answers);
    assert_eq!(table.generation(), Generation(7));
    assert!(table.answers(ServiceId(1)).is_some() && table.answers(ServiceId(2)).is_none());
    let next = Table::new(table.generation().next(), Arc::clone(table.image()), table.all_answers().to_vec());
    assert!(Arc::ptr_eq(table.image(), next.image()));
    assert!(table.all_answers()[0].is_shared_with(&next.all_answers()[0]));
}

#[test]
fn sets_of_one_region_keep_their_numbers() {
    let numbers =
        |pick| -> Vec<_> { compiled(pick).sets().map(|(id, set)| (id.0, set.rtype.0, set.count)).collect() };
    // r0 has A and AAAA, r1 has A, r2 has AAAA.
    assert_eq!(
        numbers(Pick::One(vec![(RegionId(2), 1), (RegionId(0), 1)])),
        [(3, 28, 1), (0, 1, 2), (1, 28, 1)]
    );
    assert_eq!(numbers(Pick::One(vec![(RegionId(1), 1)])), [(2, 1, 2)]);
    // What is united comes after all of them.
    assert_eq!(numbers(Pick::All(vec![RegionId(1), RegionId(0)])), [(4, 1, 3), (5, 28, 1)]);
    assert_eq!(numbers(Pick::All(vec![RegionId(1)])), [(2, 1, 2)]);
}

#[test]
fn names_of_a_service_are_counted() {
    let place = Place::whole(&Source::new("config", ""));
    let mut services = Named::default();
    for (id, names) in [("s", ["s.x", "t.x"]), ("u", ["a.x", "x"])] {
        let mut service = service(&[(0, "{a: [192.0.2.1]}")]);
        service.names = names.map(|at| (name(at), place.clone())).into();
        services.push(id, service).unwrap();
    }
    let (image, _) = Image::with_services(&[zone("x", "a TXT x")], &services).unwrap();
    for (at, service, nth) in [("s.x", 0, 0), ("t.x", 0, 1), ("a.x", 1, 0), ("x", 1, 1)] {
        let node = image.find(name(at).as_wire()).unwrap();
        assert_eq!((node.service(), node.service_name()), (Some(ServiceId(service)), nth), "{at}");
    }
}
