//! Names, sets and messages as long as the protocol lets them be, and what lies just beyond.

use pointsman::wire::{Class, HEADER_OCTETS, Message, NAME_OCTETS_MAX, Name, Rcode, RecordType, ask};

use super::reply::{ANSWER, Reply, engine, table};

const HEAD: &str = "$TTL 300\n@ SOA ns h 1 2 3 4 5\n@ NS ns.elsewhere.\n";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn reply(zone: &str, qname: &Name, rtype: RecordType, over_tcp: bool) -> (Reply, usize) {
    let table = table(&name("a"), &format!("{HEAD}{zone}")).unwrap_or_else(|wrong| panic!("{wrong}"));
    let raw = engine(&table, &ask(1, qname, rtype, Some(1232)), over_tcp).expect("it answers");
    (Message::read(&raw).unwrap().into(), raw.len())
}

fn wrong(zone: &str) -> String {
    match table(&name("a"), &format!("{HEAD}{zone}")) {
        Ok(_) => panic!("it is served: {zone}"),
        Err(mistakes) => mistakes.to_string(),
    }
}

#[test]
fn names_of_255_octets_and_of_127_labels() {
    let most_labels = "b.".repeat(126) + "a.";
    let longest_labels = format!("{0}.{0}.{0}.{1}.a.", "l".repeat(63), "m".repeat(59));
    for text in [most_labels, longest_labels] {
        let qname = name(&text);
        assert_eq!(qname.as_wire().len(), NAME_OCTETS_MAX);
        let (whole, _) = reply(&format!("{text} A 192.0.2.1\n"), &qname, RecordType::A, false);
        assert_eq!(whole.sections[ANSWER].len(), 1, "{whole:?}");
        // It is found by way of a wildcard and of a DNAME as well.
        let above = text.split_once('.').unwrap().1;
        let (whole, _) = reply(&format!("*.{above} A 192.0.2.1\n"), &qname, RecordType::A, false);
        assert_eq!(whole.sections[ANSWER].len(), 1, "{whole:?}");
        // One octet more is no name.
        assert!(wrong(&format!("x{text} A 192.0.2.1\n")).contains("longer than"), "{text}");
    }
}

#[test]
fn a_dname_that_makes_a_name_too_long_says_so() {
    let target = format!("{0}.{0}.{0}.a.", "l".repeat(63));
    let (fits, _) =
        reply(&format!("d DNAME {target}\n"), &name(&format!("{}.d.a", "m".repeat(59))), RecordType::A, true);
    assert_eq!(fits.rcode, Rcode::NXDOMAIN);
    assert_eq!(fits.sections[ANSWER].len(), 2, "DNAME and CNAME");
    let (too_long, _) =
        reply(&format!("d DNAME {target}\n"), &name(&format!("{}.d.a", "m".repeat(60))), RecordType::A, true);
    assert_eq!(
        (too_long.rcode, too_long.sections[ANSWER].len()),
        (Rcode::YXDOMAIN, 1),
        "RFC 6672 section 2.2"
    );
}

#[test]
fn labels_hold_any_octet() {
    let every: String = (0..=255u8).map(|octet| format!("\\{octet:03} A 192.0.2.1\n")).collect();
    let table = table(&name("a"), &format!("{HEAD}{every}")).unwrap();
    for octet in 0..=255u8 {
        let mut query = ask(1, &name("x.a"), RecordType::A, None);
        query[HEADER_OCTETS + 1] = octet;
        let message = Message::read(&engine(&table, &query, false).unwrap()).unwrap();
        assert_eq!(message.sections[ANSWER].len(), 1, "{octet}");
        assert_eq!(message.questions[0].0[1], octet, "as it was asked");
        assert_eq!(message.sections[ANSWER][0].owner[1], octet);
    }
    // A bit-string label is no label any more (RFC 6891 §5).
    let mut query = ask(1, &name("x.a"), RecordType::A, None);
    query[HEADER_OCTETS] = 0x41;
    assert_eq!(Message::read(&engine(&table, &query, false).unwrap()).unwrap().rcode(), Rcode::FORMERR);
}

#[test]
fn other_classes_are_refused() {
    let table = table(&name("a"), HEAD).unwrap();
    for class in [Class(0), Class::CH, Class::HS, Class::NONE, Class::ANY, Class(65_280)] {
        let mut query = ask(1, &name("a"), RecordType::SOA, None);
        let at = query.len() - 2;
        query[at..].copy_from_slice(&class.0.to_be_bytes());
        let message = Message::read(&engine(&table, &query, false).unwrap()).unwrap();
        assert_eq!((message.rcode(), message.sections[ANSWER].len()), (Rcode::REFUSED, 0), "{class}");
    }
}

#[test]
fn the_biggest_set_goes_over_tcp_and_one_more_record_is_refused() {
    let owner = format!("{0}.{0}.{0}.{1}", "l".repeat(63), "m".repeat(59));
    let qname = name(&format!("{owner}.a"));
    let zone = |records: usize| {
        let text = "t".repeat(243);
        (0..records).map(|nth| format!("{owner} TXT \"{nth:04}{text}\"\n")).collect::<String>()
    };
    // 260 octets each: 12 before the data, a length, 4 digits and 243 letters.
    let most = 64_000 / 260;
    let (whole, octets) = reply(&zone(most), &qname, RecordType::TXT, true);
    assert_eq!(whole.sections[ANSWER].len(), most);
    assert!((63_900..=65_535).contains(&octets), "{octets}");
    let (cut, octets) = reply(&zone(most), &qname, RecordType::TXT, false);
    assert!(cut.flags.contains("tc") && cut.sections[ANSWER].is_empty() && octets < 512, "{cut:?}");
    assert!(wrong(&zone(most + 1)).contains("fit a message"));
    // Reached by a CNAME, the same set still fits; its owner is pointed to from far behind.
    let alias = format!("{}c CNAME {owner}\n", zone(most));
    let (chained, _) = reply(&alias, &name("c.a"), RecordType::TXT, true);
    assert_eq!(chained.sections[ANSWER].len(), most + 1);
}

#[test]
fn many_servers_and_their_addresses() {
    let servers: String = (0..900)
        .map(|nth| format!("cut NS ns{nth}.cut\nns{nth}.cut A 10.0.{}.{}\n", nth / 250, nth % 250))
        .collect();
    let (whole, octets) = reply(&servers, &name("www.cut.a"), RecordType::A, true);
    assert_eq!((whole.sections[1].len(), whole.sections[2].len()), (900, 900));
    assert!(octets > 16_384, "behind the reach of pointers: {octets}");
    let (cut, _) = reply(&servers, &name("www.cut.a"), RecordType::A, false);
    assert!(cut.flags.contains("tc"), "RFC 9471 section 3.1");
}

#[test]
fn what_a_zone_file_may_say() {
    for (zone, rtype, expected) in [
        ("$TTL 1h30m\nx TXT \"\"\n", RecordType::TXT, "x.a.\t5400\tIN\tTXT\t\"\""),
        ("x 2147483647 A 192.0.2.1\n", RecordType::A, "x.a.\t2147483647\tIN\tA\t192.0.2.1"),
        (
            "x ( 1w2d3h4m5s\n IN ; and a comment\n TXT ) a\\;b\n",
            RecordType::TXT,
            "x.a.\t788645\tIN\tTXT\t\"a;b\"",
        ),
        ("$ORIGIN x\n@ 1 A 192.0.2.1\n", RecordType::A, "x.a.\t1\tIN\tA\t192.0.2.1"),
        ("x 1 A 192.0.2.1\n  1 TXT second\n", RecordType::TXT, "x.a.\t1\tIN\tTXT\t\"second\""),
    ] {
        let (whole, _) = reply(zone, &name("x.a"), rtype, false);
        assert_eq!(whole.sections[ANSWER].iter().collect::<Vec<_>>(), [expected], "{zone}");
    }
    for (zone, why) in [
        ("x 2147483648 A 192.0.2.1\n", "a TTL is at most 2147483647"),
        ("x CH TXT a\n", "only IN is served"),
        ("x ANY TXT a\n", "only IN is served"),
        ("$GENERATE 1-9 x$ A 192.0.2.$\n", "$GENERATE is BIND's own"),
        ("x TXT \"open\n", "not closed on its line"),
        ("x TXT ( a\n", "never closed"),
        ("x TXT\n", "TXT"),
        ("x..y A 192.0.2.1\n", "empty"),
        ("x\\256 A 192.0.2.1\n", "up to 255"),
    ] {
        assert!(wrong(zone).contains(why), "{zone}: {}", wrong(zone));
    }
}
