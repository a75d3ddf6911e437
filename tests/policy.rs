//! Policies, nested at random, over regions in every state: no name is ever left without an
//! answer, a decision holds for as many clients as it says, and services of every kind answer.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod zoo;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use pointsman::base::{Generation, Health, Index, Mono, Named, Prefix, RegionId, ServiceId, Source};
use pointsman::config::{self, AllDown, Config, Service, Surroundings, SwitchedBy};
use pointsman::dns::{Asker, Desk, Transport, answer};
use pointsman::geo::{World, parse_networks, read_mmdb};
use pointsman::region::{
    Audience, Choice, Dial, Membership, Pick, Rule, Scene, Seat, Serving, UNKNOWN, choose,
};
use pointsman::table::{Answers, Client, Drawn, Image, SetId, Table};
use pointsman::wire::{Message, Name, RecordType, ShowName, ShowRdata, ask};

const REGIONS: [&str; 5] = ["eu", "us", "ap", "sa", "af"];
const HEAD: &str = "\
version: 1
mode: answer
site: {name: test1}
listen: {dns: [], control: control.sock}
zones: [{name: example.com, file: zone}, {name: example.net, file: other}]
regions:
  eu: {location: {latitude: 50.1, longitude: 8.7}}
  us: {location: {latitude: 39.0, longitude: -77.5}}
  ap: {location: {latitude: 1.3, longitude: 103.8}}
  sa: {location: {latitude: -23.5, longitude: -46.6}}
  af: {location: {latitude: -33.9, longitude: 18.4}}
  nowhere: {}
services:
";
const FIVE: &str = "{eu: {a: [192.0.2.1]}, us: {a: [192.0.2.2]}, ap: {a: [192.0.2.3]}, \
                    sa: {a: [192.0.2.4]}, af: {a: [192.0.2.5]}}";

fn read(text: &str) -> Result<Config, String> {
    let around = Surroundings { directory: PathBuf::new(), state: None, runtime: None, processors: 1 };
    config::parse(&Source::new("config", text), &around)
        .map(|(config, _)| config)
        .map_err(|wrong| wrong.to_string())
}

/// A service with this policy, whose regions give what they give in [`FIVE`], as far as named.
fn service(policy: &str, rest: &str) -> Result<Config, String> {
    let named: Vec<_> = FIVE
        .trim_matches(['{', '}'])
        .split("}, ")
        .filter(|entry| policy.contains(&entry[..2]))
        .map(|entry| format!("{}}}", entry.trim_end_matches('}')))
        .collect();
    read(&format!(
        "{HEAD}  s: {{names: [s.example.com], policy: {policy}, answers: {{{}}}{rest}}}\n",
        named.join(", ")
    ))
}

/// MaxMind's test databases, and lists of networks drawn at random over them.
fn world(rng: &mut Rng) -> World {
    let read = |name: &str| {
        let path = format!("{}/tests/geoip/{name}", env!("CARGO_MANIFEST_DIR"));
        read_mmdb(name, &std::fs::read(path).unwrap()).unwrap()
    };
    let mut list = BTreeMap::new();
    for _ in 0..40 {
        let prefix = match rng.bool() {
            true => Prefix::around(Ipv4Addr::from(0xc000_0000 | rng.u32(..) >> 8).into(), rng.u8(8..=32)),
            false => {
                let bits = 0x2001_0db8 << 96 | rng.u128(..) >> 32;
                Prefix::around(Ipv6Addr::from(bits).into(), rng.u8(32..=64))
            }
        };
        list.insert(prefix, rng.u8(0..4));
    }
    let text: String = list.iter().map(|(prefix, label)| format!("{prefix} l{label}\n")).collect();
    let (networks, _) = parse_networks(&Source::new("networks", text)).unwrap();
    World::build([read("GeoLite2-City-Test.mmdb"), read("GeoLite2-ASN-Test.mmdb"), networks]).unwrap()
}

/// A client that the databases may know.
fn client(rng: &mut Rng) -> IpAddr {
    let known: &[&str] =
        &["81.2.69.142", "89.160.20.112", "2.125.160.216", "216.160.83.56", "175.16.199.0", "2a02:d300::1"];
    match rng.u8(0..4) {
        0 => rng.choice(known).unwrap().parse().unwrap(),
        1 => Ipv4Addr::from(0xc000_0000 | rng.u32(..) >> 8).into(),
        2 => Ipv6Addr::from(0x2001_0db8 << 96 | rng.u128(..) >> 32).into(),
        _ => Ipv4Addr::from(rng.u32(..)).into(),
    }
}

// ── random policies ──

fn subset(rng: &mut Rng) -> Vec<&'static str> {
    let mut regions = REGIONS.to_vec();
    rng.shuffle(&mut regions);
    regions.truncate(rng.usize(1..=REGIONS.len()));
    regions
}

/// A policy as the configuration writes it. `lots`: it may draw them.
fn policy(rng: &mut Rng, depth: u8, lots: bool) -> String {
    let part = |rng: &mut Rng, lots| match depth {
        0 => (*rng.choice(&REGIONS).unwrap()).to_owned(),
        _ => policy(rng, depth - 1, lots),
    };
    let parts = |rng: &mut Rng, lots| -> String {
        let parts: Vec<_> = (0..rng.usize(1..4)).map(|_| part(rng, lots)).collect();
        parts.join(", ")
    };
    match rng.u8(0..if lots { 8 } else { 6 }) {
        0 => part(rng, lots),
        1 => format!("{{failover: [{}]}}", parts(rng, lots)),
        2 => format!("{{all: [{}]}}", parts(rng, false)),
        3 => format!("{{nearest: [{}]}}", subset(rng).join(", ")),
        4 | 5 => {
            let rules: Vec<_> = [
                "networks: [l0]",
                "networks: [l1, l2]",
                "asns: [1221]",
                "countries: [GB, SE]",
                "countries: [US-WA]",
                "countries: [US]",
                "continents: [EU]",
                "continents: [NA, AS]",
            ]
            .into_iter()
            .filter(|_| rng.clone().bool())
            .collect::<Vec<_>>();
            let rules: Vec<_> = rules
                .into_iter()
                .chain(["networks: [l3]"])
                .map(|who| format!("{{{who}, to: {}}}", part(rng, lots)))
                .collect();
            format!("{{geo: {{rules: [{}], default: {}}}}}", rules.join(", "), part(rng, lots))
        }
        6 => {
            let shares: Vec<_> = (0..rng.usize(1..4))
                .map(|_| format!("{{weight: {}, to: {}}}", rng.u32(0..4), part(rng, lots)))
                .collect();
            format!("{{weighted: [{}]}}", shares.join(", "))
        }
        _ => {
            let prefix = format!("{{ipv4: {}, ipv6: {}}}", rng.u8(8..=32), rng.u8(32..=64));
            format!("{{sticky: {{among: [{}], prefix: {prefix}}}}}", parts(rng, lots))
        }
    }
}

// ── regions in every state ──

struct State {
    seats: Named<RegionId, Seat>,
    members: BTreeMap<RegionId, Membership>,
    serving: Vec<RegionId>,
    dial: Option<Dial>,
}

fn state(config: &Config, rng: &mut Rng) -> State {
    let bad = rng.u8(..=100);
    let seats = config.regions.map(|_, _| {
        let healths = [None, Some(Health::Healthy), Some(Health::Degraded)];
        let lost = [Some(Health::NoQuorum), Some(Health::Unreachable)];
        let known =
            if rng.u8(..100) < bad { *rng.choice(&lost).unwrap() } else { *rng.choice(&healths).unwrap() };
        Seat {
            known,
            veiled: rng.u8(..10) == 0,
            drained: rng.u8(..10) == 0,
            forced: rng.u8(..20) == 0,
            held: rng.u8(..20) == 0,
            quarantined: rng.u8(..10) == 0,
            could_change_in: Duration::from_secs(rng.u64(1..30)),
        }
    });
    let members = config.regions.ids().map(|region| {
        let out = || Membership::Out { had_place: rng_bool(region), fit_since: None, released: false };
        // Who is unfit has lost its place; who is fit may still wait.
        let keeps = seats[region].fit() && rng.u8(..4) > 0;
        (region, if keeps { Membership::In } else { out() })
    });
    let members: BTreeMap<_, _> = members.collect();
    let serving = config.regions.ids().filter(|_| rng.bool()).collect();
    let dial = (rng.u8(..3) == 0).then(|| Dial {
        shares: REGIONS.iter().map(|region| ((*region).to_owned(), rng.u32(0..3))).collect(),
        ..Dial::default()
    });
    State { seats, members, serving, dial }
}

fn rng_bool(region: RegionId) -> bool {
    region.0 & 1 == 0
}

fn decide(config: &Config, service: &Service, audience: &Audience, state: &State) -> Choice {
    let scene = Scene {
        regions: &config.regions,
        seats: &state.seats,
        members: &state.members,
        dial: state.dial.as_ref(),
        serving: Serving::Regions(&state.serving),
        change_ahead: false,
        now: Mono(Duration::from_secs(100)),
    };
    choose(service, audience.trees(), &scene)
}

fn drawn(answers: &Answers, client: &Client, rng: &mut Rng) -> (Vec<SetId>, u8) {
    match answers.draw(client, rng) {
        (Drawn::Sets(variant), scope) => (variant.sets().map(|(id, _)| id).collect(), scope),
        (Drawn::Nodata | Drawn::Servfail, scope) => (Vec::new(), scope),
    }
}

#[test]
fn no_policy_ever_leaves_a_name_empty() {
    let mut rng = Rng::with_seed(1);
    let (mut read, mut said_nothing, mut by_rule) = (0, 0, BTreeMap::<String, u32>::new());
    for round in 0..400 {
        let world = if round % 40 == 0 { Some(world(&mut rng)) } else { None }.unwrap_or_default();
        let text = policy(&mut rng, 3, true);
        let all_down = *rng.choice(&["serve_all", "serve_first", "nodata", "servfail"]).unwrap();
        let switched = if rng.u8(..5) == 0 { ", switched_by: workflow" } else { "" };
        // What is drawn at random may name a region twice in one list, and is refused.
        let Ok(config) = service(&text, &format!(", all_down: {all_down}{switched}")) else { continue };
        read += 1;
        let service = &config.services[ServiceId(0)];
        let audience = Arc::new(Audience::new(service, &world).unwrap());
        for _ in 0..20 {
            let state = state(&config, &mut rng);
            let choice = decide(&config, service, &audience, &state);
            assert!(choice.classes.is_empty() || choice.classes.len() == audience.trees().len());
            for (class, tree) in audience.trees().iter().enumerate() {
                let outcome = choice.outcome(class as u16).unwrap();
                let regions = outcome.pick.regions();
                *by_rule.entry(format!("{:?}", outcome.rule)).or_default() += 1;
                let says_so = matches!(service.all_down, AllDown::Nodata | AllDown::Servfail);
                if outcome.rule == Rule::AllDown && says_so {
                    assert!(matches!(outcome.pick, Pick::Nodata | Pick::Servfail), "{text}");
                    said_nothing += 1;
                    continue;
                }
                assert!(!regions.is_empty(), "{text}: {outcome:?}");
                // Nobody is led where the policy never leads them; a workflow's dial is the one
                // word that counts more.
                if service.switched_by == SwitchedBy::Health {
                    let led = tree.regions();
                    assert!(regions.iter().all(|region| led.contains(region)), "{text}: {outcome:?}");
                }
                if outcome.rule == Rule::POLICY {
                    assert!(
                        regions.iter().all(|region| state.members[region].is_in()),
                        "{text}: {outcome:?}"
                    );
                }
            }
            let answers = Answers::compile(service, &audience, &choice);
            for _ in 0..8 {
                let client = Client { address: client(&mut rng), told: None };
                let class = audience.class_of(&Prefix::host(client.address)).number;
                let outcome = choice.outcome(class).unwrap();
                let (sets, scope) = drawn(&answers, &client, &mut rng);
                let nothing = matches!(outcome.pick, Pick::Nodata | Pick::Servfail);
                assert_eq!(sets.is_empty(), nothing, "{text}: {outcome:?}");
                assert_eq!(scope, 0, "nobody asked for a network");
            }
        }
    }
    assert!(read > 150 && said_nothing > 100, "{read} policies read, {said_nothing} times nothing");
    assert!(by_rule.len() >= 8 && by_rule.values().all(|count| *count > 10), "{by_rule:?}");
}

#[test]
fn a_decision_holds_for_as_many_clients_as_it_says() {
    let mut rng = Rng::with_seed(2);
    let (mut checked, mut by_scope) = (0, BTreeMap::<u8, u32>::new());
    for _ in 0..12 {
        let world = world(&mut rng);
        for _ in 0..12 {
            // By lot, what is answered differs for the same client too; sticky lots do not.
            let inner = policy(&mut rng, 1, false);
            let text = match rng.u8(0..3) {
                0 => format!(
                    "{{sticky: {{among: [{inner}, {{nearest: [us, ap, sa]}}], prefix: {{ipv4: 20, ipv6: 40}}}}}}"
                ),
                _ => policy(&mut rng, 2, false),
            };
            let Ok(config) = service(&text, "") else { continue };
            let service = &config.services[ServiceId(0)];
            let audience = Arc::new(Audience::new(service, &world).unwrap());
            for _ in 0..4 {
                let mut state = state(&config, &mut rng);
                state.dial = None;
                let choice = decide(&config, service, &audience, &state);
                let answers = Answers::compile(service, &audience, &choice);
                for _ in 0..20 {
                    let resolver = client(&mut rng);
                    let asked = client(&mut rng);
                    let told = Prefix::around(asked, rng.u8(1..=128));
                    let (sets, scope) =
                        drawn(&answers, &Client { address: resolver, told: Some(told) }, &mut rng);
                    *by_scope.entry(scope).or_default() += 1;
                    let around = Prefix::around(told.first(), scope);
                    for inside in inside(&around, &mut rng) {
                        let other = Client { address: resolver, told: Some(Prefix::host(inside)) };
                        let same = drawn(&answers, &other, &mut rng);
                        assert_eq!(same, (sets.clone(), scope), "{text}: {inside} of {around}");
                        checked += 1;
                    }
                }
            }
        }
    }
    assert!(checked > 10_000 && by_scope.len() > 10, "{checked} {by_scope:?}");
}

/// Addresses of a network: its ends, and some between.
fn inside(network: &Prefix, rng: &mut Rng) -> Vec<IpAddr> {
    let mut addresses = vec![network.first(), network.last()];
    for _ in 0..6 {
        addresses.push(match (network.first(), network.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Addr::from(rng.u32(u32::from(first)..=u32::from(last))).into()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Addr::from(rng.u128(u128::from(first)..=u128::from(last))).into()
            }
            _ => unreachable!("both ends are of one family"),
        });
    }
    addresses
}

// ── what is answered ──

const ZONE: &str = "\
$TTL 300
@     SOA ns1 hostmaster 1 1h 10m 2w 30
@     NS  ns1
ns1   A   192.0.2.53
host  A   192.0.2.80
host  AAAA 2001:db8::80
shop  CNAME s
";

struct Bench {
    config: Config,
    audiences: Vec<Arc<Audience>>,
    table: Table,
    desk: Desk,
}

impl Bench {
    /// All regions fit, but for these.
    fn new(services: &str, lost: &[&str]) -> Self {
        let config = read(&format!("{HEAD}{services}")).unwrap_or_else(|wrong| panic!("{wrong}"));
        let zones = [zoo::zone("example.com", ZONE), zoo::zone("example.net", ZONE)];
        let (image, _) = Image::build(&zones, &config).unwrap_or_else(|wrong| panic!("{wrong}"));
        let world = world(&mut Rng::with_seed(3));
        let audiences = Audience::of_all(&config.services, &world).unwrap();
        let seats = config.regions.map(|region, _| Seat {
            known: Some(match lost.contains(&&**config.regions.name(region)) {
                true => Health::Unreachable,
                false => Health::Healthy,
            }),
            veiled: false,
            drained: false,
            forced: false,
            held: false,
            quarantined: false,
            could_change_in: Duration::from_secs(20),
        });
        let members = config.regions.ids().map(|id| (id, Membership::initial(&seats[id]))).collect();
        let state = State { seats, members, serving: Vec::new(), dial: None };
        let answers = config.services.iter().map(|(id, service)| {
            let audience = &audiences[id.position()];
            Answers::compile(service, audience, &decide(&config, service, audience, &state))
        });
        let table = Table::new(Generation(1), image, answers.collect());
        Self { config, audiences, table, desk: Desk::new(Rng::with_seed(4), 0) }
    }

    /// Asks as a resolver at this address, for a network if one is given.
    fn send(&mut self, from: &str, name: &str, rtype: RecordType, subnet: Option<&str>) -> Message {
        let name = Name::parse(name).unwrap();
        let mut query = ask(7, &name, rtype, Some(1232));
        if let Some(subnet) = subnet {
            zoo::add_subnet(&mut query, &subnet.parse().unwrap());
        }
        let mut out = vec![0; 65_535];
        let asker = Asker { client: from.parse().unwrap(), transport: Transport::Udp };
        let length = answer(&query, &mut out, &self.table, &asker, &mut self.desk).unwrap();
        Message::read(&out[..length]).unwrap()
    }

    /// The records of a section, each as `name type data`.
    fn ask(&mut self, name: &str, rtype: RecordType, section: usize) -> Vec<String> {
        let message = self.send("127.0.0.1", name, rtype, None);
        lines(&message, section)
    }

    /// The last octet of the address answered, and the scope.
    fn asked_for(&mut self, from: &str, subnet: Option<&str>) -> (u8, Option<u8>) {
        let message = self.send(from, "s.example.com", RecordType::A, subnet);
        (message.sections[0][0].rdata[3], scope(&message))
    }
}

fn lines(message: &Message, section: usize) -> Vec<String> {
    message.sections[section]
        .iter()
        .map(|record| {
            let rdata = ShowRdata { rtype: record.rtype, rdata: &record.rdata };
            format!("{} {} {rdata}", ShowName(&record.owner), record.rtype)
        })
        .collect()
}

/// The scope of the option that comes back.
fn scope(message: &Message) -> Option<u8> {
    let options = &message.opt.as_ref()?.options;
    options.iter().find(|(code, _)| *code == 8).map(|(_, data)| data[3])
}

const GB: &str = "81.2.69.142";
const SE: &str = "89.160.20.112";
const US: &str = "216.160.83.56";
const CN: &str = "175.16.199.1";

#[test]
fn clients_are_led_by_where_they_are() {
    let services = format!(
        "  s: {{names: [s.example.com], answers: {FIVE}, policy: {{geo: {{rules: [{{continents: [EU], to: {{failover: [eu, af]}}}}, \
         {{countries: [SE], to: sa}}, {{continents: [NA], to: us}}], default: ap}}}}}}\n"
    );
    // What says most comes first, whatever the order of the file; what nobody knows gets the default.
    let mut bench = Bench::new(&services, &[]);
    for (client, expected) in [(GB, 1), (SE, 4), (US, 2), (CN, 3), ("127.0.0.1", 3), ("2a02:d300::1", 1)] {
        assert_eq!(bench.asked_for(client, None), (expected, None), "{client}");
    }
    // A branch without a fit region falls back to the next rule, and then to the default.
    let mut bench = Bench::new(&services, &["sa", "us"]);
    for (client, expected) in [(GB, 1), (SE, 1), (US, 3), (CN, 3)] {
        assert_eq!(bench.asked_for(client, None), (expected, None), "{client}");
    }
    let mut bench = Bench::new(&services, &["sa", "eu"]);
    assert_eq!(bench.asked_for(SE, None).0, 5, "the list of the rule for the continent");
    // The default too: nobody is fit for these clients, though some are for others.
    let mut bench = Bench::new(&services, &["ap"]);
    assert_eq!(bench.asked_for(CN, None).0, 3, "all_down answers what the policy has for them");
}

#[test]
fn resolvers_are_told_for_whom_an_answer_holds() {
    let policy = "{geo: {rules: [{countries: [GB], to: eu}], default: us}}";
    let services = |rest: &str| {
        format!(
            "  s: {{names: [s.example.com], answers: {{eu: {{a: [192.0.2.1]}}, us: {{a: [192.0.2.2]}}}}, policy: {policy}{rest}}}\n"
        )
    };
    let mut bench = Bench::new(&services(""), &[]);
    // Whom it asks for counts, not who asks.
    let (region, scope) = bench.asked_for(US, Some("81.2.69.160/27"));
    assert_eq!(region, 1);
    let scope = scope.unwrap();
    assert!((9..=32).contains(&scope), "{scope}");
    let (region, other) = bench.asked_for(GB, Some("216.160.83.0/24"));
    assert_eq!(region, 2);
    assert!((1..=24).contains(&other.unwrap()));
    // RFC 7871 §7.1.2: nothing is said of the client; then the resolver's own place counts.
    assert_eq!(bench.asked_for(GB, Some("0.0.0.0/0")), (1, Some(0)));
    // Without the option there is none in the answer.
    assert_eq!(bench.asked_for(GB, None), (1, None));
    // Where all clients are answered alike the answer holds for everybody.
    let mut bench = Bench::new(&services(""), &["eu"]);
    assert_eq!(bench.asked_for(US, Some("81.2.69.160/27")), (2, Some(0)));
    // A service may look at who asks alone: its answers hold for all whom that answers.
    let mut bench = Bench::new(&services(", ecs: false"), &[]);
    assert_eq!(bench.asked_for(US, Some("81.2.69.160/27")), (2, Some(0)));
    // Of what does not come from a service it is said at once.
    let message = bench.send(US, "host.example.com", RecordType::A, Some("81.2.69.160/27"));
    assert_eq!(self::scope(&message), Some(0));
    // Through a CNAME too.
    let mut bench = Bench::new(&services(""), &[]);
    let message = bench.send(US, "shop.example.com", RecordType::A, Some("81.2.69.160/27"));
    assert_eq!(self::scope(&message), Some(scope));
}

#[test]
fn a_client_sticks_to_its_region() {
    let services = format!(
        "  s: {{names: [s.example.com], answers: {FIVE}, policy: {{sticky: {{among: [eu, us, ap, sa, af], prefix: {{ipv4: 16}}}}}}}}\n"
    );
    let mut quiet = Bench::new(&services, &[]);
    let mut lossy = Bench::new(&services, &["ap"]);
    let (mut moved, mut shares) = (0, [0; 6]);
    for n in 0..500u16 {
        let [a, b] = n.to_be_bytes();
        let network = format!("{}.{b}.0.0/16", 60 + a);
        let (before, scope) = quiet.asked_for("127.0.0.1", Some(&network));
        assert_eq!(scope, Some(16));
        assert_eq!(quiet.asked_for(&format!("{}.{b}.77.9", 60 + a), None).0, before);
        let (after, _) = lossy.asked_for("127.0.0.1", Some(&network));
        assert!(after == before || before == 3, "only who was in the lost region moves");
        moved += u16::from(after != before);
        shares[usize::from(before)] += 1;
    }
    assert_eq!(moved, shares[3]);
    assert!(shares[1..].iter().all(|share| (60..=140).contains(share)), "{shares:?}");
}

#[test]
fn the_nearest_region_answers() {
    let services = format!(
        "  s: {{names: [s.example.com], answers: {FIVE}, policy: {{nearest: [af, eu, us, ap, sa]}}}}\n"
    );
    for (lost, expected) in [(&[][..], [1, 2, 3, 5]), (&["eu", "ap"], [2, 2, 2, 5])] {
        let mut bench = Bench::new(&services, lost);
        for (client, expected) in [GB, US, CN, "127.0.0.1"].into_iter().zip(expected) {
            assert_eq!(bench.asked_for(client, None).0, expected, "{client} without {lost:?}");
        }
    }
}

#[test]
fn policies_nest() {
    // Half of the Europeans try a new region, the same half every time; the rest of the world by lot.
    let services = format!(
        "  s: {{names: [s.example.com], answers: {FIVE}, policy: {{failover: [{{geo: {{rules: [{{continents: [EU], \
         to: {{sticky: {{among: {{eu: 50, af: 50}}}}}}}}], default: {{weighted: [{{weight: 1, to: us}}, {{weight: 3, to: {{all: [ap, sa]}}}}]}}}}}}]}}}}\n"
    );
    let mut bench = Bench::new(&services, &[]);
    let first = bench.asked_for(GB, None).0;
    let mut together = 0;
    for _ in 0..400 {
        assert_eq!(bench.asked_for(GB, None).0, first);
        let message = bench.send(CN, "s.example.com", RecordType::A, None);
        match message.sections[0].len() {
            1 => assert_eq!(message.sections[0][0].rdata[3], 2),
            2 => together += 1,
            _ => panic!("{message}"),
        }
    }
    assert!((255..=345).contains(&together), "three of four, give or take five deviations: {together}");
    assert_eq!(bench.config.services.len(), bench.audiences.len());
    assert_eq!(bench.audiences[0].class_of(&"127.0.0.1".parse().unwrap()).number, UNKNOWN);
}

// ── other types ──

#[test]
fn a_service_gives_records_of_other_types() {
    let services = "  s:
    names: [s.example.com, example.com]
    policy: {failover: [eu, us]}
    answers:
      eu:
        a: [192.0.2.1]
        srv: [0 5 443 host, 0 5 444 far.away.]
        https: [1 . alpn=h2, \"2 host alpn=\\\"h2,h3\\\"\"]
        txt: [\"v=one two; three\"]
      us: {aaaa: [\"2001:db8::2\"], txt: [\"us\"]}
  c:
    names: [c.example.com]
    policy: {failover: [eu, us]}
    answers: {eu: {cname: host}, us: {cname: elsewhere.org.}}
  to:
    names: [to.example.com]
    policy: {failover: [eu]}
    answers: {eu: {cname: s}}
";
    let mut bench = Bench::new(services, &[]);
    let targets = ["host.example.com. A 192.0.2.80", "host.example.com. AAAA 2001:db8::80"];
    assert_eq!(
        bench.ask("s.example.com", RecordType::SRV, 0),
        ["s.example.com. SRV 0 5 443 host.example.com.", "s.example.com. SRV 0 5 444 far.away."]
    );
    assert_eq!(bench.ask("s.example.com", RecordType::SRV, 2), targets);
    assert_eq!(bench.ask("S.example.com", RecordType::HTTPS, 0).len(), 2);
    assert_eq!(bench.ask("s.example.com", RecordType::HTTPS, 2), targets);
    assert_eq!(bench.ask("s.example.com", RecordType::TXT, 0), ["s.example.com. TXT \"v=one two; three\""]);
    // What the region lacks is absent, though another one has it, and no longer than the rest lives.
    assert_eq!(bench.ask("s.example.com", RecordType::AAAA, 0), [] as [&str; 0]);
    let message = bench.send("127.0.0.1", "s.example.com", RecordType::AAAA, None);
    assert_eq!((message.sections[1][0].rtype, message.sections[1][0].ttl), (RecordType::SOA, 20));
    // Beside the zone's own records, at its apex.
    assert_eq!(bench.ask("example.com", RecordType::A, 0), ["example.com. A 192.0.2.1"]);
    assert_eq!(bench.ask("example.com", RecordType::TXT, 0), ["example.com. TXT \"v=one two; three\""]);
    assert_eq!(bench.ask("example.com", RecordType::NS, 0), ["example.com. NS ns1.example.com."]);
    assert_eq!(bench.ask("example.com", RecordType::SOA, 0).len(), 1);
    // A CNAME answers every type and is followed, to records of the zone or of another service.
    for rtype in [RecordType::A, RecordType::AAAA] {
        let answer = bench.ask("c.example.com", rtype, 0);
        assert_eq!(answer[0], "c.example.com. CNAME host.example.com.");
        assert_eq!(answer.len(), 2);
    }
    assert_eq!(bench.ask("c.example.com", RecordType::CNAME, 0).len(), 1);
    assert_eq!(bench.ask("c.example.com", RecordType::MX, 0), ["c.example.com. CNAME host.example.com."]);
    assert_eq!(bench.ask("to.example.com", RecordType::TXT, 0)[1], "s.example.com. TXT \"v=one two; three\"");

    let mut bench = Bench::new(services, &["eu"]);
    assert_eq!(bench.ask("s.example.com", RecordType::A, 0), [] as [&str; 0]);
    assert_eq!(bench.ask("s.example.com", RecordType::AAAA, 0), ["s.example.com. AAAA 2001:db8::2"]);
    assert_eq!(bench.ask("s.example.com", RecordType::TXT, 0), ["s.example.com. TXT \"us\""]);
    assert_eq!(bench.ask("c.example.com", RecordType::A, 0), ["c.example.com. CNAME elsewhere.org."]);
    // All down: a name still has one CNAME at most.
    let mut bench = Bench::new(services, &["eu", "us"]);
    for _ in 0..20 {
        let answer = bench.ask("c.example.com", RecordType::CNAME, 0);
        assert_eq!(answer.len(), 1, "{answer:?}");
    }
}

// ── mistakes ──

#[test]
fn mistakes_have_a_place_and_a_cure() {
    let of = |policy: &str| service(policy, "").err().unwrap_or_default();
    let deep = (0..9).fold("eu".to_owned(), |inner, _| format!("{{failover: [{inner}]}}"));
    for (policy, says, cure) in [
        (deep.as_str(), "policies lie more than 8 deep in each other", "one list"),
        ("{all: [eu, {weighted: {us: 1, ap: 2}}]}", "`all` cannot hold `weighted`", "the other way round"),
        ("{geo: {rules: [{countries: [DE], to: eu}]}}", "`default` is missing", ""),
        ("{geo: {rules: [], default: eu}}", "no rules", "add a rule"),
        ("{geo: {rules: [{countries: [de], to: eu}], default: us}}", "`de` is not a country", "DE or US-CA"),
        (
            "{geo: {rules: [{countries: [DE, DE], to: eu}], default: us}}",
            "in another rule already",
            "first rule",
        ),
        (
            "{geo: {rules: [{continents: [XX], to: eu}], default: us}}",
            "`XX` is not a continent",
            "AF, AN, AS",
        ),
        (
            "{geo: {rules: [{countries: [DE], asns: [1], to: eu}], default: us}}",
            "a rule goes by one of",
            "a rule for each",
        ),
        ("{nearest: [eu, nowhere]}", "region `nowhere` has no location", "`location: {latitude"),
        ("{sticky: {among: [eu, us], prefix: {ipv4: 33}}}", "/33 is not between /1 and /32", ""),
        ("{sticky: {among: {eu: 0, us: 0}}}", "all weights are 0", ""),
        ("{weighted: [{weight: 1, to: eu}, {weight: 2, to: eu}]}", "`eu` is listed twice", ""),
        ("{weighted: [{weight: 1, to: eu}, us]}", "expected", ""),
        ("{failover: [eu, eu]}", "region `eu` is named twice", ""),
        ("{failover: [eu, mars]}", "mars", ""),
        ("{failovr: [eu]}", "unknown kind `failovr`", "did you mean `failover`?"),
    ] {
        let wrong = of(policy);
        assert!(wrong.contains(says) && wrong.contains(cure), "{policy}: {wrong:?}");
        assert!(wrong.contains("config:14:"), "{wrong}");
    }
    let many = format!("{{failover: [{}]}}", vec!["{failover: [eu]}"; 600].join(", "));
    assert!(of(&many).contains("more than 1000 parts"), "{}", of(&many));

    let answers = |answers: &str| {
        let services = format!(
            "  s: {{names: [s.example.com, s.example.net], policy: {{failover: [eu, us]}}, answers: {answers}}}\n"
        );
        read(&format!("{HEAD}{services}")).err().unwrap_or_default()
    };
    for (given, says) in [
        ("{eu: {cname: a.b., a: [192.0.2.1]}, us: {cname: c.d.}}", "a name with a CNAME has nothing else"),
        ("{eu: {cname: a.b.}, us: {a: [192.0.2.1]}}", "region `us` gives no CNAME, and another one does"),
        ("{eu: {cname: s.example.com.}, us: {cname: c.d.}}", "leads to the service itself"),
        ("{eu: {cname: near}, us: {cname: c.d.}}", "a name in `near` is relative"),
        ("{eu: {srv: [1 2 host.]}, us: {a: [192.0.2.1]}}", "`host.` is not a number"),
        ("{eu: {a: [192.0.2.1, 192.0.2.1]}, us: {a: [192.0.2.1]}}", "192.0.2.1 is listed twice"),
        ("{eu: {https: [\"1\"]}, us: {a: [192.0.2.1]}}", "HTTPS"),
        ("{eu: {}, us: {a: [192.0.2.1]}}", "region `eu` gives no records"),
    ] {
        assert!(answers(given).contains(says), "{given}: {}", answers(given));
    }
    // What only shows together with the zone.
    let apex =
        read(&format!("{HEAD}  s: {{names: [example.com], policy: eu, answers: {{eu: {{cname: a.b.}}}}}}\n"))
            .unwrap();
    let zones = [zoo::zone("example.com", ZONE), zoo::zone("example.net", ZONE)];
    let wrong = Image::build(&zones, &apex).unwrap_err().to_string();
    assert!(wrong.contains("is the apex of a zone, which cannot have a CNAME"), "{wrong}");
}
