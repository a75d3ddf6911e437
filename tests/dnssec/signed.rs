//! A signed table and its questions, without a socket.

use std::net::Ipv4Addr;
use std::sync::Arc;

use pointsman::base::{Named, RegionId, ServiceId, Timestamp};
use pointsman::config::Service;
use pointsman::dns::{Asker, Desk, Transport, answer};
use pointsman::region::{Audience, Choice, Pick};
use pointsman::sign::{Algorithm, Flags, KeyUse, SignatureTimes, SigningKey, ZoneKeys};
use pointsman::table::{Answers, Image, Signed, Signing, Table, Unions};
use pointsman::wire::{Message, Name, RecordType, ask};

use crate::validator::Validator;

/// 2026-01-01, a Thursday.
pub const NOW: i64 = 1_767_225_600;

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub fn new_key(algorithm: Algorithm, flags: Flags) -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(algorithm, flags, &ring::rand::SystemRandom::new()).unwrap().0)
}

/// One key that does everything.
pub fn one_key(zone: &str, algorithm: Algorithm) -> Arc<ZoneKeys> {
    let key = new_key(algorithm, Flags::SecureEntryPoint);
    Arc::new(ZoneKeys::one(name(zone), key, 300, SignatureTimes::default()))
}

/// A pair of keys, and another one of another algorithm that signs everything too.
pub fn many_keys(zone: &str) -> Arc<ZoneKeys> {
    let used = |key, signs_keys, signs_zone| KeyUse {
        key,
        published: true,
        signs_keys,
        signs_zone,
        for_parent: signs_keys,
    };
    let ksk = new_key(Algorithm::EcdsaP256Sha256, Flags::SecureEntryPoint);
    let zsk = new_key(Algorithm::EcdsaP256Sha256, Flags::Zone);
    let other = new_key(Algorithm::Ed25519, Flags::SecureEntryPoint);
    let uses = [used(ksk, true, false), used(zsk, false, true), used(other, true, true)];
    Arc::new(ZoneKeys::new(name(zone), &uses, false, 300, SignatureTimes::default()).unwrap())
}

pub fn sign(
    image: &Image,
    services: &Named<ServiceId, Service>,
    keys: &[Arc<ZoneKeys>],
    now: i64,
) -> Arc<Signed> {
    let signing = Signing::new(image, services, keys, Timestamp::from_second(now).unwrap()).unwrap();
    let parts = (0..3).map(|nth| signing.part(nth, 3)).collect();
    Arc::new(signing.finish(parts))
}

/// The table of these choices, signed.
pub fn table(
    image: &Arc<Image>,
    services: &Named<ServiceId, Service>,
    signed: &Arc<Signed>,
    choices: &[Choice],
) -> Table {
    let answers: Vec<_> = services
        .values()
        .zip(choices)
        .map(|(service, choice)| Answers::compile(service, &Audience::unlocated(service), choice))
        .collect();
    let mut unions = Unions::default();
    let sealed = services
        .values()
        .zip(&answers)
        .map(|(service, answers)| unions.compile(image, signed, service, answers));
    let sealed = sealed.collect();
    Table::new(pointsman::base::Generation(1), Arc::clone(image), answers)
        .with_signatures(Arc::clone(signed), sealed)
}

/// Asks with DO set.
pub fn ask_signed(name: &[u8], rtype: RecordType, compact: bool) -> Vec<u8> {
    let name = Name::from_wire(name).unwrap();
    let mut query = ask(1, &name, rtype, Some(4096));
    let flags_at = query.len() - 4;
    query[flags_at] = 0x80 | u8::from(compact) << 6;
    query
}

pub struct Asking<'t> {
    pub table: &'t Table,
    pub desk: Desk,
}

impl<'t> Asking<'t> {
    pub fn new(table: &'t Table) -> Self {
        Self { table, desk: Desk::new(fastrand::Rng::with_seed(5), NOW as u32) }
    }

    pub fn send(&mut self, query: &[u8], transport: Transport) -> Message {
        let mut out = vec![0xee; 65_535];
        let asker = Asker { client: Ipv4Addr::LOCALHOST.into(), transport };
        let len = answer(query, &mut out, self.table, &asker, &mut self.desk).expect("it answers");
        Message::read(&out[..len]).unwrap_or_else(|why| panic!("{why}: {:x?}", &out[..len]))
    }

    pub fn signed(&mut self, name: &str, rtype: RecordType) -> Message {
        let name = pointsman::wire::Name::parse(name).unwrap();
        self.send(&ask_signed(name.as_wire(), rtype, false), Transport::Tcp)
    }

    pub fn plain(&mut self, name: &str, rtype: RecordType) -> Message {
        self.send(&ask(1, &pointsman::wire::Name::parse(name).unwrap(), rtype, Some(4096)), Transport::Tcp)
    }
}

pub fn validator(keys: &ZoneKeys) -> Validator {
    let keys_of = keys.dnskeys().iter().map(|key| key.to_vec()).collect();
    let cuts =
        ["lab", "safe"].map(|label| name(&format!("{label}.{}", keys.zone())).as_wire().to_vec()).into();
    Validator { cuts, apex: keys.zone().as_wire().to_vec(), keys: keys_of, now: NOW as u32 }
}

pub fn region(id: u16, share: u32) -> (RegionId, u32) {
    (RegionId(id), share)
}

/// A choice for each service of the zoo.
pub fn choices(
    services: &Named<ServiceId, Service>,
    pick: impl Fn(&str, &Service) -> Pick,
    ttl: u32,
) -> Vec<Choice> {
    services
        .names()
        .zip(services.values())
        .map(|(name, service)| Choice::of(pick(name, service), ttl))
        .collect()
}
