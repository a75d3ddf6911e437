use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::wire::{RecordType, ShowName, ShowRdata, append_name};

/// What every zone needs, so that the rest can be tested: 3 lines.
const HEAD: &str = "$TTL 300\n@ SOA ns h 1 2 3 4 5\n@ NS ns.elsewhere.\n";

fn parse_with(text: &str, include: &mut Include<'_>) -> Result<(Zone, Mistakes), Mistakes> {
    parse(&Source::new("zone", text), &Name::parse("example.com").unwrap(), include)
}

fn no_files(path: &Path) -> Result<Arc<Source>, String> {
    Err(format!("no such file: {}", path.display()))
}

/// Records as text, and warnings.
fn read(text: &str) -> (Vec<String>, Vec<String>) {
    let (zone, mistakes) = parse_with(text, &mut no_files).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    (lines(&zone), mistakes.iter().map(ToString::to_string).collect())
}

fn lines(zone: &Zone) -> Vec<String> {
    let mut lines = Vec::new();
    for owner in zone.owners() {
        for set in owner.sets() {
            for rdata in set.rdatas() {
                let (name, ttl, rtype) = (ShowName(owner.name()), set.ttl(), set.rtype());
                lines.push(format!("{name} {ttl} {rtype} {}", ShowRdata { rtype, rdata }));
            }
        }
    }
    lines
}

/// The records after those of [`HEAD`], which must raise no warning.
fn body(text: &str) -> Vec<String> {
    let (mut lines, warnings) = read(&format!("{HEAD}{text}"));
    assert_eq!(warnings, Vec::<String>::new());
    lines
        .retain(|line| !line.starts_with("example.com. 300 SOA") && !line.starts_with("example.com. 300 NS"));
    lines
}

fn mistakes(text: &str) -> Vec<String> {
    match parse_with(text, &mut no_files) {
        Ok(_) => panic!("it parses:\n{text}"),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

/// The mistakes behind [`HEAD`].
fn wrong(text: &str) -> Vec<String> {
    mistakes(&format!("{HEAD}{text}"))
}

/// The warnings behind [`HEAD`].
fn warned(text: &str) -> Vec<String> {
    read(&format!("{HEAD}{text}")).1
}

#[test]
fn owner_ttl_class_in_any_order() {
    let expected = ["www.example.com. 60 A 192.0.2.1"];
    for line in [
        "www 60 IN A 192.0.2.1",
        "www IN 60 A 192.0.2.1",
        "WWW.Example.COM. 1m in a 192.0.2.1",
        "www 60 A 192.0.2.1",
        "www 60 CLASS1 TYPE1 192.0.2.1",
        "$TTL 60\nwww A 192.0.2.1",
        "$ORIGIN www\n@ 60 IN A 192.0.2.1",
        "www 60 IN A ( ; a comment\n 192.0.2.1\n)",
        "www 60 ( IN\n A ) 192.0.2.1",
        "www 60 IN A \\# 4 C0000201",
        "\\119ww 60 IN A 192.0.2.1 ; tail",
        "www\t60\tIN\tA\t192.0.2.1\r",
    ] {
        assert_eq!(body(line), expected, "{line}");
    }
}

#[test]
fn a_blank_repeats_the_owner_and_an_origin_does_not_change_it() {
    assert_eq!(
        body("a A 192.0.2.1\n  AAAA ::1\n$ORIGIN b\n\tTXT x\n@ A 192.0.2.2\n"),
        [
            "a.example.com. 300 A 192.0.2.1",
            "a.example.com. 300 TXT \"x\"",
            "a.example.com. 300 AAAA ::1",
            "b.example.com. 300 A 192.0.2.2"
        ]
    );
}

#[test]
fn an_omitted_ttl_is_the_directive_s_or_the_last_one() {
    let text = "@ 5 SOA ns h 1 2 3 4 5\n@ NS ns.elsewhere.\na 7 A 192.0.2.1\nb A 192.0.2.1\n$TTL 9\nc 8 A 192.0.2.1\nd A 192.0.2.1\n";
    let ttls: Vec<_> = read(text).0.iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(ttls, ["5", "5", "7", "7", "8", "9"].map(String::from));
}

#[test]
fn names_that_look_like_words_of_the_syntax_are_owners() {
    assert_eq!(body("in A 192.0.2.1\na A 192.0.2.2\n10 PTR x.").len(), 3);
    assert_eq!(body("a.example.com. 300 IN A 192.0.2.2")[0], body("a 300 IN A 192.0.2.2")[0]);
}

#[test]
fn sets_come_together_wherever_they_stand() {
    let (lines, warnings) = read(&format!(
        "{HEAD}a A 192.0.2.2\nb A 192.0.2.9\na A 192.0.2.1\na 60 A 192.0.2.2\na 90 A 192.0.2.3"
    ));
    assert_eq!(
        lines[2..],
        [
            "a.example.com. 60 A 192.0.2.2",
            "a.example.com. 60 A 192.0.2.1",
            "a.example.com. 60 A 192.0.2.3",
            "b.example.com. 300 A 192.0.2.9",
        ]
    );
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("zone:7:1: the A records of a.example.com. have different TTLs"));
    assert!(warnings[1].starts_with("zone:7:1: this record stands there twice"));
}

#[test]
fn zones_are_found_by_name() {
    let (zone, _) = parse_with(&format!("{HEAD}a.b A 192.0.2.1"), &mut no_files).unwrap();
    let mut name = Vec::new();
    append_name(b"a.b", zone.apex().as_wire(), &mut name).unwrap();
    let set = zone.set(&name, RecordType::A).unwrap();
    assert_eq!(set.rdatas().collect::<Vec<_>>(), [[192, 0, 2, 1]]);
    assert_eq!(set.place(0).to_string(), "zone:4:1");
    assert_eq!(set.place(9).text(), "a.b A 192.0.2.1");
    assert!(zone.find(&name[2..]).is_none(), "an empty non-terminal owns nothing");
    assert_eq!((zone.len(), zone.owners().len()), (3, 2));
}

#[test]
fn includes_have_an_origin_of_their_own() {
    let mut asked = Vec::new();
    let mut include = |path: &Path| {
        asked.push(path.to_owned());
        let text = match path.to_str() {
            Some("hosts") => "$TTL 60\nh A 192.0.2.1\n$ORIGIN elsewhere\n$INCLUDE ./more/deep\n",
            _ => "d A 192.0.2.2\n",
        };
        Ok(Source::new(path.display().to_string(), text))
    };
    let text = format!("{HEAD}a A 192.0.2.3\n$INCLUDE \"hosts\" sub ; comment\n  TXT x\nb A 192.0.2.4\n");
    let (zone, _) = parse_with(&text, &mut include).unwrap();
    assert_eq!(
        lines(&zone)[2..],
        [
            "a.example.com. 300 A 192.0.2.3",
            "a.example.com. 60 TXT \"x\"",
            "h.sub.example.com. 60 A 192.0.2.1",
            "d.elsewhere.sub.example.com. 60 A 192.0.2.2",
            "b.example.com. 60 A 192.0.2.4"
        ]
    );
    let deep = zone.owners().nth(3).unwrap().sets().next().unwrap();
    assert_eq!(deep.place(0).to_string(), "./more/deep:1:1");
    assert_eq!(asked, [Path::new("hosts"), Path::new("./more/deep")]);
}

#[test]
fn includes_stay_inside_and_end() {
    for path in ["/etc/passwd", "../x", "a/../../x", "..", "\"\""] {
        let told = wrong(&format!("$INCLUDE {path}"));
        assert!(told[0].contains("may lead out of the zone's directory"), "{told:?}");
    }
    assert_eq!(wrong("$INCLUDE x"), ["zone:4:10: cannot include `x`: no such file: x"]);
    assert_eq!(wrong("$INCLUDE"), ["zone:4:9: a file must follow"]);
    assert_eq!(wrong("$INCLUDE x y z"), ["zone:4:14: `z` is too much"]);

    let text = format!("{HEAD}$INCLUDE zone\n");
    let told = parse_with(&text, &mut |_| Ok(Source::new("zone", ""))).unwrap_err();
    assert_eq!(told.to_string(), "zone:4:10: zone includes itself");

    let mut n = 0;
    let mut chain = |_: &Path| {
        n += 1;
        Ok(Source::new(format!("f{n}"), "$INCLUDE next\n"))
    };
    let told = parse_with(&text, &mut chain).unwrap_err();
    assert_eq!(told.to_string(), "f8:1:10: files include files more than 8 deep");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    assert_eq!(
        wrong(
            "www A 192.0.2\nwww\nx.org. A 192.0.2.1\na BLA x\nb AAA ::1\n  MX mail\nc 3000000000 A 192.0.2.1\nd CH A 1\n$TTL x\n$ORIGN y\n\
               e TXT \"open\nf A 192.0.2.1 (\n"
        ),
        [
            "zone:4:7: `192.0.2` is not an IPv4 address",
            "zone:5:4: a name and nothing else (write `name TTL IN type data`; a blank before repeats the owner)",
            "zone:6:1: x.org. lies outside the zone example.com. (a name that ends in a dot is taken as it stands)",
            "zone:7:3: `BLA` is not a record type (types without a name are written TYPE65280, with `\\# length hex`)",
            "zone:8:3: `AAA` is not a record type (did you mean AAAA?)",
            "zone:9:6: `mail` is not a number from 0 to 65535",
            "zone:10:3: a TTL is at most 2147483647",
            "zone:11:3: class CH: only IN is served",
            "zone:12:6: `x` is not a TTL (write seconds, or units like 1h30m)",
            "zone:13:1: $ORIGN is not a directive; there are $ORIGIN, $TTL and $INCLUDE (did you mean $ORIGIN?)",
            "zone:14:7: this quote is not closed on its line",
            "zone:15:15: this parenthesis is never closed",
        ]
    );
}

#[test]
fn more_mistakes() {
    for (text, expected) in [
        (" A 192.0.2.1", "zone:1:2: no owner: no record stands before this one"),
        (
            "a A 192.0.2.1",
            "zone:1:3: no TTL is known for this record (put a line `$TTL 300` before the first record)",
        ),
        ("a 1 OPT x", "zone:1:5: OPT exists in messages only, never in a zone"),
        ("a 1 TYPE0 \\# 0", "zone:1:5: TYPE0 exists in messages only, never in a zone"),
        ("a 1 IN", "zone:1:7: a type must follow"),
        ("a 1 2 A 192.0.2.1", "zone:1:5: `2` is not a record type"),
        ("a..b 1 A 192.0.2.1", "zone:1:1: `a..b`: a label cannot be empty"),
        ("\"a\" 1 A 192.0.2.1", "zone:1:1: \"a\" is quoted, which no name may be"),
        ("a 1 \"A\" 192.0.2.1", "zone:1:5: `A` is not a record type"),
        (
            "$generate 1-9 a$ A 192.0.2.$",
            "zone:1:1: $GENERATE is BIND's own and not understood (write the records out",
        ),
        ("$TTL 1 2", "zone:1:8: `2` is too much"),
        ("$ORIGIN", "zone:1:8: a name must follow"),
    ] {
        let told = mistakes(text);
        assert!(told[0].starts_with(expected), "{told:?}");
    }
}

#[test]
fn a_flood_of_mistakes_ends() {
    let told = wrong(&"a A x\n".repeat(5000));
    assert_eq!(told.len(), 1001);
    assert!(told[1000].contains("too many mistakes"), "{}", told[1000]);
}

#[test]
fn a_zone_has_one_soa_and_servers() {
    assert_eq!(
        mistakes("$TTL 1\na A 192.0.2.1\n"),
        [
            "zone:1:1: the zone has no NS record at example.com. (name its servers: `@ IN NS ns1`)",
            "zone:1:1: the zone has no SOA record at example.com. (write `example.com. IN SOA ns1 hostmaster 1 1h 10m 2w 30s`)",
        ]
    );
    assert_eq!(wrong("@ SOA other h 1 2 3 4 5"), ["zone:4:1: a second SOA record; a zone has exactly one"]);
    assert_eq!(
        wrong("a SOA ns h 1 2 3 4 5"),
        ["zone:4:1: an SOA record at a.example.com.: the zone starts at example.com."]
    );
}

#[test]
fn a_cname_stands_alone() {
    assert_eq!(
        wrong("a CNAME b\na A 192.0.2.1"),
        ["zone:4:1: a.example.com. has a CNAME and A records; a CNAME stands alone"]
    );
    assert_eq!(
        wrong("a CNAME b\na CNAME c"),
        ["zone:5:1: a second CNAME at a.example.com.; a name has at most one"]
    );
    assert_eq!(
        warned("a CNAME b\na CNAME b"),
        ["zone:5:1: this record stands there twice (the repeat is dropped)"]
    );
    assert!(warned("a CNAME b\na NSEC c CNAME NSEC").is_empty());
}

#[test]
fn dname_rules() {
    assert_eq!(
        wrong("a DNAME b\na DNAME c"),
        ["zone:5:1: a second DNAME at a.example.com.; a name has at most one"]
    );
    assert_eq!(
        wrong("a DNAME b\na NS ns.elsewhere."),
        ["zone:4:1: a.example.com. is delegated and has a DNAME, which belongs into the child zone"]
    );
    assert!(wrong("a DNAME b\na CNAME c")[0].contains("a CNAME stands alone"));
    assert_eq!(
        warned("a DNAME b\nx.a A 192.0.2.1\na TXT fine"),
        ["zone:5:1: this A record is never answered: the DNAME at a.example.com. covers it"]
    );
    assert!(warned("* DNAME b")[0].contains("a DNAME at a wildcard"));
}

#[test]
fn delegations_cover_what_lies_below() {
    assert!(warned("a NS ns.a\na NS a\na A 192.0.2.1\nns.a A 192.0.2.1\na DS 1 8 2 00").is_empty());
    assert_eq!(
        warned("a NS ns.elsewhere.\na TXT x\nb.a MX 1 c.\nc.b.a A 192.0.2.1"),
        [
            "zone:5:1: this TXT record is never answered: the delegation of a.example.com. covers it",
            "zone:6:1: this MX record is never answered: the delegation of a.example.com. covers it",
        ]
    );
    assert_eq!(
        wrong("*.a NS ns.elsewhere."),
        ["zone:4:1: *.a.example.com. cannot be delegated: a wildcard is no zone"]
    );
}

#[test]
fn targets_have_addresses() {
    let help = " (add an A or AAAA record for it)";
    assert_eq!(
        warned("@ NS ns"),
        [format!("zone:4:1: the name server ns.example.com. has no address in this zone{help}")]
    );
    assert_eq!(warned("@ NS ns\nns TXT x").len(), 1);
    assert!(warned("@ NS ns\nns AAAA ::1").is_empty());
    assert!(warned("@ NS ns\n* A 192.0.2.1").is_empty());
    assert_eq!(warned("a NS ns.a").len(), 1, "glue is missing");
    assert!(warned("a NS ns.b\nb NS ns.elsewhere.").is_empty(), "the servers of b know");
    for line in ["@ NS c", "@ MX 1 c", "_s._tcp SRV 0 0 1 c"] {
        let told = warned(&format!("{line}\nc CNAME d"));
        assert!(told.len() == 1 && told[0].contains("c.example.com. is a CNAME, where no"), "{told:?}");
    }
}

#[test]
fn negative_answers_must_not_outlive_a_flip() {
    let head =
        |ttl: u32, minimum: u32| format!("@ {ttl} SOA ns h 1 2 3 4 {minimum}\n@ 300 NS ns.elsewhere.\n");
    assert!(read(&head(3600, 86400)).1.is_empty());
    assert!(read(&head(86400, 3600)).1.is_empty());
    let told = read(&head(86400, 7200)).1;
    assert!(told[0].starts_with("zone:1:1: resolvers keep negative answers for 2h"), "{told:?}");
}

#[test]
fn a_set_fits_into_a_message() {
    let many: String = (0..4500).map(|n| format!("a A 10.0.{}.{}\n", n / 250, n % 250)).collect();
    assert!(wrong(&many)[0].contains("the A records of a.example.com. take 72000 octets"));
    let types: String = (0..300).map(|n| format!("a TYPE{} \\# 0\n", 1000 + n)).collect();
    assert!(wrong(&types)[0].contains("more than 255 types"));
}

#[test]
fn the_shipped_zone_is_clean() {
    let text = include_str!("../../zones/gtm.example.com.zone");
    let origin = Name::parse("gtm.example.com").unwrap();
    let (zone, warnings) = parse(&Source::new("gtm", text), &origin, &mut no_files).unwrap();
    assert_eq!(warnings, Mistakes::default());
    assert_eq!(zone.len(), 13);
}

#[test]
fn nothing_makes_it_panic() {
    use proptest::prelude::*;
    let pieces = prop::sample::select(vec![
        "a",
        "@",
        "*",
        ".",
        "\\",
        "\\0",
        "\\000",
        "\"",
        "(",
        ")",
        ";",
        "\n",
        "\n",
        " ",
        "\t",
        "$TTL",
        "$ORIGIN",
        "$INCLUDE",
        "IN",
        "CH",
        "A",
        "AAAA",
        "NS",
        "SOA",
        "TXT",
        "LOC",
        "SVCB",
        "NSEC",
        "TYPE1",
        "\\#",
        "1",
        "60",
        "4",
        "1h",
        "192.0.2.1",
        "::1",
        "alpn=",
        "=\"",
        "é",
        "\u{feff}",
        "C0000201",
        "N",
        "E",
        "1m",
        "\r",
    ]);
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config::with_cases(
        crate::times::times(4000),
    ));
    let texts = prop::collection::vec((pieces, prop::bool::ANY), 0..60);
    runner
        .run(&texts, |pieces| {
            let mut text = HEAD.to_owned();
            for (piece, blank) in pieces {
                text.push_str(piece);
                text.push_str(if blank { " " } else { "" });
            }
            // The answer does not matter, the return does.
            let _ = parse_with(&text, &mut no_files);
            Ok(())
        })
        .unwrap();
}
