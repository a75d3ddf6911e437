use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::base::{Prefix, Source};

fn database(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/geoip/{name}.mmdb", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn layer(name: &str) -> Layer {
    read_mmdb(name, &database(name)).unwrap()
}

fn list(text: &str) -> Layer {
    parse_networks(&Source::new("list", text)).map_err(|mistakes| mistakes.render(false)).unwrap().0
}

fn world(layers: impl IntoIterator<Item = Layer>) -> World {
    World::build(layers).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn known(world: &World, text: &str) -> String {
    let known = world.know(address(text));
    format!("{}: {}", known.network, known.facts)
}

// ── what databases tell ──

#[test]
fn databases_overlay_each_other() {
    let world = world([layer("GeoLite2-City-Test"), layer("GeoLite2-ASN-Test")]);
    // As `mmdblookup` tells of both files.
    assert_eq!(known(&world, "81.2.69.142"), "81.2.69.142/31: EU GB GB-ENG 51.51,-0.09");
    assert_eq!(known(&world, "89.160.20.113"), "89.160.20.112/28: EU SE SE-E AS29518 58.42,15.62");
    assert_eq!(known(&world, "1.128.0.0"), "1.128.0.0/11: AS1221");
    assert_eq!(known(&world, "203.0.113.1"), "203.0.0.0/8: nothing");
}

/// Every network of each file, as its own reader tells it.
#[test]
fn every_network_is_as_the_files_tell() {
    for name in ["GeoLite2-City-Test", "GeoLite2-Country-Test", "GeoLite2-ASN-Test"] {
        let bytes = database(name);
        let reader = maxminddb::Reader::from_source(&bytes[..]).unwrap();
        let world = world([layer(name)]);
        let mut networks = 0;
        for found in reader.networks(maxminddb::WithinOptions::default()).unwrap() {
            let found = found.unwrap();
            let record: serde_json::Value = found.decode().unwrap().unwrap();
            let network = found.network().unwrap();
            let text = |path: &str| record.pointer(path).and_then(|value| value.as_str()).map(str::to_owned);
            let code = |code: Option<Code>| code.map(|code| String::from_utf8(code.to_vec()).unwrap());
            for address in [network.network(), network.broadcast()] {
                let known = world.know(address);
                let (facts, at) = (known.facts, format!("{name} {address}"));
                assert_eq!(code(facts.continent), text("/continent/code"), "{at}");
                assert_eq!(code(facts.country), text("/country/iso_code"), "{at}");
                let part = facts.subdivision.map(|part| part.to_string());
                assert_eq!(part, text("/subdivisions/0/iso_code"), "{at}");
                let asn = record.pointer("/autonomous_system_number").and_then(|asn| asn.as_u64());
                assert_eq!(facts.asn.map(u64::from), asn, "{at}");
                let latitude = record.pointer("/location/latitude").and_then(|number| number.as_f64());
                assert_eq!(facts.location.map(|at| at.latitude), latitude, "{at}");
            }
            networks += 1;
        }
        assert!(networks > 100, "{name}: only {networks} networks");
    }
}

#[test]
fn what_no_database_tells_is_found_out() {
    let world = world([layer("GeoLite2-Country-Test"), list("192.0.2.0/24 office")]);
    assert!(world.tells(|facts| facts.country == Some(*b"GB")));
    assert!(!world.tells(|facts| facts.country == Some(*b"ZZ")));
    assert!(world.tells(|facts| facts.has_label("office")));
    assert!(!world.tells(|facts| facts.asn.is_some()));
}

#[test]
fn an_address_inside_another_is_where_it_is() {
    let world = world([layer("GeoLite2-Country-Test")]);
    let v4 = address("81.2.69.142");
    let plain = world.know(v4);
    assert_eq!(plain.facts.country, Some(*b"GB"));
    for text in
        ["::ffff:81.2.69.142", "64:ff9b::81.2.69.142", "2002:5102:458e::1", "2001:0:1:2:3:4:aefd:ba71"]
    {
        let known = world.know(address(text));
        assert_eq!((known.facts, known.network), (plain.facts, plain.network), "{text}");
        let inside = (!text.starts_with("::ffff")).then_some(v4);
        assert_eq!(known.embedded.map(IpAddr::V4), inside, "{text}");
    }
    // A database's alias of Teredo leads to the server's address.
    assert_eq!(world.know(address("2001:0:5102:458e::")).facts, &Facts::default());
}

#[test]
fn what_is_no_database_is_refused() {
    let refused = |bytes: &[u8]| read_mmdb("x", bytes).unwrap_err().to_string();
    let whole = database("GeoLite2-Country-Test");
    assert!(refused(b"").starts_with("not a MaxMind database"));
    assert!(refused(b"hello\n").starts_with("not a MaxMind database"));
    assert!(refused(&whole[..whole.len() / 2]).starts_with("not a MaxMind database, or cut off"));
    // The front is missing: the metadata are all there.
    assert!(refused(&whole[whole.len() - 2000..]).contains("too few for its tree"));
    let mut zeroed = whole.clone();
    zeroed[..4096].fill(0);
    assert!(refused(&zeroed).contains("too deep"), "{}", refused(&zeroed));
    // Both branches of each node lead to the next: few nodes, and ways without end.
    let mut folded = whole;
    for node in 0..96u8 {
        // Records of 28 bits: 24, the upper four of both, 24.
        folded[usize::from(node) * 7..][..7].copy_from_slice(&[0, 0, node + 1, 0, 0, 0, node + 1]);
    }
    assert!(refused(&folded).contains("leads back into itself"), "{}", refused(&folded));
}

// ── lists ──

#[test]
fn the_longest_prefix_of_a_list_wins_and_lists_overlay() {
    let offices =
        list("10.0.0.0/8 all # everybody\n\n10.1.0.0/16\tberlin\n10.1.2.3 desk\n2001:db8::/32 six\n");
    let world = world([offices, list("10.1.0.0/17 lab\n0.0.0.0/0 any")]);
    assert_eq!(known(&world, "10.1.2.3"), "10.1.2.3/32: desk lab");
    assert_eq!(known(&world, "10.1.2.4"), "10.1.2.4/30: berlin lab");
    assert_eq!(known(&world, "10.1.128.0"), "10.1.128.0/17: berlin any");
    assert_eq!(known(&world, "10.2.0.0"), "10.2.0.0/15: all any");
    assert_eq!(known(&world, "11.0.0.0"), "11.0.0.0/8: any");
    assert_eq!(known(&world, "2001:db8::1"), "2001:db8::/32: six");
    assert_eq!(known(&world, "255.255.255.255"), "128.0.0.0/1: any");
}

#[test]
fn mistakes_in_a_list_have_their_places() {
    let text =
        "10.0.0.1/8 a\n10.0.0.0/8\n10.0.0.0/8 b\n 10.0.0.0/8 c d\n10.0.0.0/8 e\nx y\n::/0 ü\n10.0.0.0/8 b\n";
    let mistakes = parse_networks(&Source::new("n.txt", text)).unwrap_err();
    let told: Vec<String> =
        mistakes.iter().map(|mistake| format!("{:?}: {}", mistake.place, mistake.message)).collect();
    assert_eq!(
        told,
        [
            "n.txt:1:1: 10.0.0.1/8 has bits set after its length: the network is 10.0.0.0/8",
            "n.txt:2:1: a label is missing",
            "n.txt:4:15: there is more than a network and a label",
            "n.txt:5:1: 10.0.0.0/8 is `b` at n.txt:3:1, and cannot be `e` too",
            "n.txt:6:1: `x` is not an IP address",
            "n.txt:7:6: `ü` is not a label",
            "n.txt:8:1: 10.0.0.0/8 stands at n.txt:3:1 already",
        ]
    );
}

// ── classes ──

#[test]
fn one_class_for_all_has_no_scope() {
    let (classes, keys) = Classes::build(&world([layer("GeoLite2-City-Test")]), |_| ()).unwrap();
    assert_eq!(keys.len(), 1);
    for text in ["1.2.3.4", "2001:db8::1", "2002::1", "::ffff:1.2.3.4", "64:ff9b::"] {
        let class = classes.lookup(&Prefix::host(address(text)));
        assert_eq!(class, Class { number: 0, scope: 0 }, "{text}");
    }
}

#[test]
fn networks_of_the_same_class_become_one() {
    // 65 536 networks told apart, every other one in the east, apart from the upper half.
    let label = |n: u32| if n < 1 << 15 && n % 2 == 1 { "east" } else { "west" };
    let text: String =
        (0..1u32 << 16).map(|n| format!("10.{}.{}.0/24 {}-{n}\n", n >> 8, n & 255, label(n))).collect();
    let world = world([list(&text)]);
    assert_eq!(known(&world, "10.200.3.7"), format!("10.200.3.0/24: west-{}", 200 * 256 + 3));
    let side = |facts: &Facts| facts.networks.first().map(|label| label[..4].to_owned());
    let (classes, keys) = Classes::build(&world, side).unwrap();
    let look = |text: &str| {
        let class = classes.lookup(&text.parse().unwrap());
        (keys[usize::from(class.number)].clone().unwrap_or_default(), class.scope)
    };
    assert_eq!(look("10.200.3.7"), ("west".to_owned(), 9));
    assert_eq!(look("10.127.254.7"), ("west".to_owned(), 24));
    assert_eq!(look("10.127.255.7"), ("east".to_owned(), 24));
    assert_eq!(look("11.0.0.0"), (String::new(), 8));
    let whole = Classes::build(&world, |facts| facts.networks.clone()).unwrap_err();
    assert_eq!(whole, ClassesError::TooMany);
    let (one, _) = Classes::build(&world, |facts| facts.networks.is_empty()).unwrap();
    assert!(one.size() + 100_000 < classes.size(), "{} and {} bytes", one.size(), classes.size());
}

#[test]
fn a_client_told_in_part_takes_the_class_of_its_first_address() {
    let world = world([list("10.0.0.0/24 a\n10.0.1.0/24 b\n2002:c000:200::/40 c\n192.0.2.128/25 d")]);
    let (classes, keys) = Classes::build(&world, |facts| facts.networks.clone()).unwrap();
    let look = |text: &str| {
        let class = classes.lookup(&text.parse().unwrap());
        (keys[usize::from(class.number)].first().map_or("", |label| label).to_owned(), class.scope)
    };
    assert_eq!(look("10.0.0.0/16"), ("a".into(), 24));
    assert_eq!(look("10.0.1.0/32"), ("b".into(), 24));
    assert_eq!(look("10.0.2.0/32"), (String::new(), 23));
    assert_eq!(look("192.0.2.128/32"), ("d".into(), 25));
    // Inside 6to4 and NAT64 the IPv4 address decides, whatever a list says of the IPv6 network.
    assert_eq!(look("2002:c000:280::/128"), ("d".into(), 16 + 25));
    assert_eq!(look("2002:c000:200::/128"), (String::new(), 16 + 25));
    assert_eq!(look("64:ff9b::10.0.1.7"), ("b".into(), 96 + 24));
    assert_eq!(look("64:ff9b::/56"), (String::new(), 96 + 5));
    assert_eq!(look("2001:0:1:2:3:4:3fff:fd7f"), ("d".into(), 96 + 25));
}

#[test]
fn too_many_classes_are_an_error_with_a_cure() {
    let text: String =
        (0..CLASSES_MAX).map(|n| format!("{} n{n}\n", Ipv4Addr::from_bits(n as u32))).collect();
    let world = world([list(&text)]);
    let error = Classes::build(&world, |facts| facts.networks.clone()).unwrap_err();
    assert_eq!(error, ClassesError::TooMany);
    let (_, keys) =
        Classes::build(&world, |facts| facts.networks.first().is_some_and(|n| n.len() > 3)).unwrap();
    assert_eq!(keys, [false, true]);
    let all_but_one = |facts: &Facts| facts.networks.first().filter(|label| ***label != *"n7").cloned();
    assert_eq!(Classes::build(&world, all_but_one).unwrap().1.len(), CLASSES_MAX);
}

/// A list of networks that crowd around a few places, so that they nest and touch.
fn networks() -> impl Strategy<Value = Vec<(Prefix, u8)>> {
    let v4 =
        (prop_oneof![Just(0u32), Just(0xc000_0200), Just(0xffff_ff00), any::<u32>()], 0u32..=0x1ff, 0u8..=32)
            .prop_map(|(base, low, len)| Prefix::around(Ipv4Addr::from_bits(base ^ low).into(), len));
    let base = prop_oneof![
        Just(0u128),
        Just(0x2001_0db8u128 << 96),
        Just(0x2002_c000_0200 << 80),
        Just(0x2001u128 << 112),
        Just(u128::MAX << 16),
        any::<u128>()
    ];
    let v6 = (base, any::<u16>(), prop_oneof![Just(0u32), Just(16), Just(64), Just(100)], 0u8..=128)
        .prop_map(|(base, low, shift, len)| {
            Prefix::around(Ipv6Addr::from_bits(base ^ u128::from(low) << shift).into(), len)
        });
    prop::collection::vec((prop_oneof![v4, v6], 0u8..4), 0..24)
}

/// The label of an address by the rules alone: that of the longest prefix, in the family that the
/// client is of.
fn naive(networks: &[(Prefix, u8)], address: IpAddr) -> Option<u8> {
    let address = match address.to_canonical() {
        IpAddr::V6(v6) => embed::embedded(v6).map_or(address, IpAddr::V4),
        v4 => v4,
    };
    let around = networks.iter().filter(|(prefix, _)| prefix.contains(address));
    around.max_by_key(|(prefix, _)| prefix.len()).map(|(_, label)| *label)
}

/// Addresses where the naive answer may change: both sides of both ends of every network, also
/// as they lie inside IPv6.
fn edges(networks: &[(Prefix, u8)]) -> BTreeSet<IpAddr> {
    let mut edges = BTreeSet::new();
    let (mut low, mut wide) = (vec![0, u32::MAX], vec![0, u128::MAX]);
    for (prefix, _) in networks {
        match (prefix.first(), prefix.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                low.extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)]);
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                wide.extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)]);
            }
            _ => unreachable!(),
        }
    }
    for range in &embed::EMBEDDINGS {
        wide.extend([range.first, range.last(), range.first - 1, range.last() + 1]);
        // Between the prefix and the IPv4 address there may be anything, and after it too.
        let before: Vec<u128> =
            wide.iter().filter(|at| (range.first..=range.last()).contains(at)).copied().collect();
        for (before, bits) in before.iter().flat_map(|before| low.iter().map(move |bits| (before, bits))) {
            let inner = if range.inverted { !bits } else { *bits };
            let first =
                before >> (128 - range.skip) << (128 - range.skip) | u128::from(inner) << (96 - range.skip);
            wide.extend([first, first | u128::MAX.checked_shr(u32::from(range.skip) + 32).unwrap_or(0)]);
        }
    }
    edges.extend(low.into_iter().map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))));
    edges.extend(wide.into_iter().map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))));
    edges
}

/// A network as its first and last address, without folding IPv4-mapped ones.
fn span(address: IpAddr, len: u8) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(_) => (Prefix::around(address, len).first(), Prefix::around(address, len).last()),
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
            (
                Ipv6Addr::from_bits(v6.to_bits() & !host).into(),
                Ipv6Addr::from_bits(v6.to_bits() | host).into(),
            )
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 192 } else { 4096 }))]

    /// The class is that of the longest prefix; all addresses in the scope have it; one bit less
    /// and they do not; and scopes are equal or apart.
    #[test]
    fn classes_are_right_and_scopes_are_the_widest(networks in networks(), more in prop::collection::vec(any::<u32>(), 0..8)) {
        let mut unique: Vec<(Prefix, u8)> = Vec::new();
        for (prefix, label) in networks {
            if unique.iter().all(|(other, _)| *other != prefix) {
                unique.push((prefix, label));
            }
        }
        let text: String = unique.iter().map(|(prefix, label)| format!("{prefix} {label}\n")).collect();
        let world = world([list(&text)]);
        let label = |facts: &Facts| facts.networks.first().map(|label| label.parse::<u8>().unwrap());
        let (classes, keys) = Classes::build(&world, label).unwrap();
        let mut edges = edges(&unique);
        edges.extend(more.into_iter().map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))));
        let mut leaves = BTreeSet::new();
        for &address in &edges {
            let expected = naive(&unique, address);
            let class = classes.lookup(&Prefix::host(address));
            prop_assert_eq!(keys[usize::from(class.number)], expected, "{}", address);
            // A mapped address is looked up as IPv4, and its scope is IPv4's.
            if address.to_canonical() != address {
                continue;
            }
            let alike = |len: u8| {
                let (first, last) = span(address, len);
                edges.range(first..=last).all(|other| naive(&unique, *other) == expected)
            };
            prop_assert!(alike(class.scope), "{}/{} is not of one class", address, class.scope);
            prop_assert!(class.scope == 0 || !alike(class.scope - 1), "{}/{} is not the widest", address, class.scope);
            leaves.insert(span(address, class.scope));
            let known = world.know(address);
            prop_assert_eq!(label(known.facts), expected);
        }
        let leaves: Vec<_> = leaves.into_iter().collect();
        for pair in leaves.windows(2) {
            prop_assert!(pair[0].1 < pair[1].0, "{:?} and {:?} overlap", pair[0], pair[1]);
        }
    }

    /// A database that was damaged on its way is refused or read, and nothing else.
    #[test]
    fn damage_is_survived(
        name in prop::sample::select(vec!["GeoLite2-City-Test", "GeoLite2-Country-Test", "GeoLite2-ASN-Test"]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in any::<bool>(),
    ) {
        let mut bytes = database(name);
        let (from, len) = if tail { (bytes.len() - 400, 400) } else { (0, bytes.len()) };
        for (at, byte) in flips {
            bytes[from + at.index(len)] = byte;
        }
        if let Some(cut) = cut {
            let (at, len) = (cut.index(bytes.len()), bytes.len());
            bytes.drain(at..(at + 100).min(len));
        }
        let _ = read_mmdb("damaged", &bytes);
    }
}
