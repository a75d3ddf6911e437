//! A zone with one of everything, and a service of each kind, for tests and benches.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pointsman::base::{Generation, Health, Mono, Prefix, RegionId, Source};
use pointsman::config::{self, Config, Surroundings};
use pointsman::dns::{Asker, Desk, Transport, answer};
use pointsman::geo::{World, read_mmdb};
use pointsman::region::{Audience, Choice, Membership, Pick, Scene, Seat, Serving, choose};
use pointsman::table::{Answers, CookieSecret, Image, Manners, Table};
use pointsman::wire::{Message, Name, RecordType, ask};
use pointsman::zone::{self, Zone};

/// One of everything.
pub const ZONE: &str = "\
$TTL 300
@          SOA   ns1 hostmaster 1 1h 10m 2w 30
@          NS    ns1
@          NS    ns2
@          MX    10 mail
@          TXT   \"one of everything\"
ns1        A     192.0.2.53
ns1        AAAA  2001:db8::53
ns2        A     198.51.100.53
mail       A     192.0.2.25
host       A     192.0.2.1
host       AAAA  2001:db8::1
host       TXT   \"a host\"
many       A     192.0.2.1
many       A     192.0.2.2
many       A     192.0.2.3
big        TXT   \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"1123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"2123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"3123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"4123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"5123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"6123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"7123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"8123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"9123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big        TXT   \"a123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
a.b.c      A     192.0.2.2
*.wild     A     192.0.2.3
*.wild     MX    10 mail
alias      CNAME host
chain      CNAME alias
shop       CNAME storefront
*.shops    CNAME storefront
away       CNAME www.elsewhere.
circle     CNAME round
round      CNAME circle
lost       CNAME not.there
old        DNAME wild
lab        NS    ns.lab
lab        NS    ns1
ns.lab     A     192.0.2.54
ns.lab     AAAA  2001:db8::54
_sip._tcp  SRV   0 5 5060 host
web        HTTPS 1 host alpn=h2
storefront TXT   \"beside a service\"
";

/// Names below the apex to ask for: what is there, what is made up there, and what is not there.
pub const NAMES: &[&str] = &[
    "host",
    "HOST",
    "many",
    "big",
    "a.b.c",
    "b.c",
    "c",
    "q.wild",
    "deep.q.wild",
    "*.wild",
    "alias",
    "chain",
    "shop",
    "q.shops",
    "away",
    "circle",
    "lost",
    "q.old",
    "a.q.old",
    "old",
    "lab",
    "q.lab",
    "ns.lab",
    "_sip._tcp",
    "web",
    "storefront",
    "spread",
    "together",
    "legacy",
    "dark",
    "broken",
    "none",
    "a.b.c.d.e.f.g.h",
];

/// A service of each kind.
pub const CONFIG: &str = "\
version: 1
mode: answer
site: {name: test1}
listen: {dns: [], control: control.sock}
zones: [{name: example.com, file: zone}]
regions: {eu: {}, us: {}}
services:
  storefront:
    names: [storefront.example.com, deep.under.example.com]
    policy: {failover: [eu, us]}
    answers:
      eu: {a: [192.0.2.10], aaaa: ['2001:db8::10']}
      us: {a: [198.51.100.10], aaaa: ['2001:db8:1::10']}
  spread:
    names: [spread.example.com]
    policy: {weighted: {eu: 1, us: 3}}
    answers:
      eu: {a: [192.0.2.11], aaaa: ['2001:db8::11']}
      us: {a: [198.51.100.11, 198.51.100.12]}
  together:
    names: [together.example.com, example.com]
    policy: {all: [eu, us]}
    answers:
      eu: {a: [192.0.2.12], aaaa: ['2001:db8::12']}
      us: {a: [198.51.100.12, 192.0.2.12]}
  legacy:
    names: [legacy.example.com]
    policy: {failover: [eu]}
    answers: {eu: {a: [192.0.2.13]}}
  dark:
    names: [dark.example.com]
    policy: {failover: [eu]}
    answers: {eu: {a: [192.0.2.14]}}
  broken:
    names: [broken.example.com]
    policy: {failover: [eu]}
    answers: {eu: {a: [192.0.2.15]}}
";

/// The TTL of all services.
pub const SERVICE_TTL: u32 = 20;

/// Reads a configuration that must be right.
pub fn config(text: &str) -> Config {
    let around = Surroundings { directory: PathBuf::new(), state: None, runtime: None, processors: 1 };
    let (config, _) =
        config::parse(&Source::new("config", text), &around).unwrap_or_else(|wrong| panic!("{wrong}"));
    config
}

/// Reads a zone that must be right.
pub fn zone(apex: &str, text: &str) -> Zone {
    let mut include = |_: &std::path::Path| Err("no files here".to_owned());
    let apex = Name::parse(apex).expect("it is a name");
    zone::parse(&Source::new("zone", text), &apex, &mut include).unwrap_or_else(|wrong| panic!("{wrong}")).0
}

/// Reads a zone, if it is one.
pub fn try_zone(apex: &str, text: &str) -> Option<Zone> {
    let mut include = |_: &std::path::Path| Err("no files here".to_owned());
    let apex = Name::parse(apex).expect("it is a name");
    Some(zone::parse(&Source::new("zone", text), &apex, &mut include).ok()?.0)
}

/// Everything above, compiled, with the choice of a quiet day.
pub fn table() -> Table {
    let config = config(CONFIG);
    let (image, _) =
        Image::build(&[zone("example.com", ZONE)], &config).unwrap_or_else(|wrong| panic!("{wrong}"));
    let (eu, us) = (RegionId(0), RegionId(1));
    let answers = config.services.names().zip(config.services.values()).map(|(name, service)| {
        let pick = match name {
            "spread" => Pick::One(vec![(eu, 1), (us, 3)]),
            "together" => Pick::All(vec![eu, us]),
            "dark" => Pick::Nodata,
            "broken" => Pick::Servfail,
            _ => Pick::One(vec![(eu, 1)]),
        };
        Answers::compile(service, &Audience::unlocated(service), &Choice::of(pick, SERVICE_TTL))
    });
    Table::new(Generation(1), image, answers.collect())
}

/// Adds a client subnet option to a query whose OPT record is its end (RFC 7871 §6).
pub fn add_subnet(query: &mut Vec<u8>, subnet: &Prefix) {
    let octets = match subnet.first() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let octets = &octets[..usize::from(subnet.len()).div_ceil(8)];
    let family = if subnet.is_ipv4() { 1 } else { 2 };
    let at = query.len() - 2;
    query[at + 1] = 8 + octets.len() as u8;
    query.extend([0, 8, 0, 4 + octets.len() as u8, 0, family, subnet.len(), 0]);
    query.extend(octets);
}

/// A service whose answers depend on where clients are, on a lot and on the client's network, and
/// lead to another service and to records of every type.
pub const LED: &str = "\
version: 1
mode: answer
site: {name: test1}
listen: {dns: [], control: control.sock}
zones: [{name: example.com, file: zone}]
regions:
  eu: {location: {latitude: 50.1, longitude: 8.7}}
  us: {location: {latitude: 39.0, longitude: -77.5}}
  ap: {location: {latitude: 1.3, longitude: 103.8}}
services:
  led:
    names: [led.example.com]
    policy:
      geo:
        rules:
          - {continents: [EU], to: {weighted: [{weight: 3, to: eu}, {weight: 1, to: {sticky: {among: [us, ap]}}}]}}
          - {countries: [US], to: {sticky: {among: {us: 2, ap: 1}, prefix: {ipv4: 16}}}}
        default: {nearest: [us, eu, ap]}
    answers:
      eu: {a: [192.0.2.1, 192.0.2.2], aaaa: ['2001:db8::1'], srv: [0 0 443 host], txt: [eu]}
      us: {a: [198.51.100.1], https: [1 host alpn=h2], txt: [us]}
      ap: {a: [203.0.113.1], srv: [0 0 443 mail, 0 0 444 host]}
  aliased:
    names: [aliased.example.com]
    policy: {weighted: {eu: 1, us: 2}}
    answers: {eu: {cname: led}, us: {cname: host}}
";

/// [`LED`], compiled for clients as MaxMind's test database knows them, while all regions are fit.
pub fn led() -> Table {
    let config = config(LED);
    let (image, _) =
        Image::build(&[zone("example.com", ZONE)], &config).unwrap_or_else(|wrong| panic!("{wrong}"));
    let city = std::fs::read(format!("{}/tests/geoip/GeoLite2-City-Test.mmdb", env!("CARGO_MANIFEST_DIR")));
    let city = read_mmdb("city", &city.expect("it is there")).expect("it is sound");
    let world = World::build([city]).expect("it is small");
    let audiences = Audience::of_all(&config.services, &world).expect("clients are of few kinds");
    let seats = config.regions.map(|_, _| Seat {
        known: Some(Health::Healthy),
        veiled: false,
        drained: false,
        forced: false,
        held: false,
        quarantined: false,
        could_change_in: Duration::from_secs(SERVICE_TTL.into()),
    });
    let members = config.regions.ids().map(|id| (id, Membership::In)).collect();
    let scene = Scene {
        regions: &config.regions,
        seats: &seats,
        members: &members,
        dial: None,
        serving: Serving::Regions(&[]),
        change_ahead: false,
        now: Mono(Duration::ZERO),
    };
    let answers = config.services.values().zip(&audiences).map(|(service, audience)| {
        Answers::compile(service, audience, &choose(service, audience.trees(), &scene))
    });
    Table::new(Generation(1), image, answers.collect())
}

/// A query that ends with an OPT record, as `ask` writes it, with options: code and data.
pub fn with_options(mut query: Vec<u8>, options: &[(u16, &[u8])]) -> Vec<u8> {
    let octets: Vec<u8> = options
        .iter()
        .flat_map(|(code, data)| [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat())
        .collect();
    let len_at = query.len() - 2;
    query.splice(len_at.., (octets.len() as u16).to_be_bytes());
    query.extend(octets);
    query
}

/// What an operator may tell and demand, all at once; cookies and the rest as `handling` says.
pub fn manners(handling: &str, limit: &str) -> Manners {
    let dns = format!(
        "dns: {{nsid: test1, chaos: {{id: test1, version: zoo}}, cookies: {{handling: {handling}}}, {limit}}}\n"
    );
    let config = config(&CONFIG.replacen("zones:", &format!("{dns}zones:"), 1));
    Manners::new(&config, vec![COOKIE_SECRET])
}

/// What cookies are made with here.
pub const COOKIE_SECRET: CookieSecret = CookieSecret(*b"sixteen  octets!");

/// The cookie of a client, and the one that it is given: what it returns from the second time on.
pub fn cookie(client: IpAddr, now: u32) -> Vec<u8> {
    let table = table().with_manners(Arc::new(manners("offer", "")));
    let query = with_options(ask(1, &Name::root(), RecordType::A, Some(512)), &[(10, b"clientsO")]);
    let (mut out, mut desk) = ([0; 512], Desk::new(fastrand::Rng::with_seed(1), now));
    let asker = Asker { client, transport: Transport::Udp };
    let len = answer(&query, &mut out, &table, &asker, &mut desk).expect("it answers");
    let options = Message::read(&out[..len]).expect("it can be read").opt.expect("it has EDNS").options;
    options.into_iter().find(|(code, _)| *code == 10).expect("it has a cookie").1
}
