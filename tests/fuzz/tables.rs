//! What packets are answered from.

use std::sync::Arc;

use pointsman::base::{Generation, RegionId, Timestamp};
use pointsman::config::{Permission, TransferRules};
use pointsman::region::{Audience, Choice, Pick};
use pointsman::sign::{Algorithm, Flags, Pkcs8, SignatureTimes, SigningKey, ZoneKeys};
use pointsman::table::{Answers, Image, Signing, Table, Unions};
use pointsman::transfer::{Serial, Step, ZoneState, Zones};
use pointsman::wire::Name;

use crate::zoo;

/// Two tables: one of a quiet server, and one whose zone is signed, and goes to everybody, of a
/// server that tells all there is to tell.
pub fn tables() -> [Table; 2] {
    [zoo::table(), signed()]
}

fn signed() -> Table {
    let config = zoo::config(zoo::CONFIG);
    let apex = Name::parse("example.com").expect("it is a name");
    let (image, _) = Image::build(&[zoo::zone("example.com", zoo::ZONE)], &config)
        .unwrap_or_else(|wrong| panic!("{wrong}"));
    // The same in every run, so that an input that breaks something breaks it again.
    let key = Pkcs8::ed25519(&[7; 32]);
    let key = SigningKey::from_pkcs8(Algorithm::Ed25519, Flags::SecureEntryPoint, key.reveal())
        .expect("it is a key");
    let keys = Arc::new(ZoneKeys::one(apex.clone(), Arc::new(key), 300, SignatureTimes::default()));
    let signing =
        Signing::new(&image, &config.services, &[keys], Timestamp::UNIX_EPOCH).expect("it is signed");
    let parts = vec![signing.part(0, 1)];
    let signed = Arc::new(signing.finish(parts));
    let both = vec![RegionId(0), RegionId(1)];
    let choice = Choice::of(Pick::All(both), zoo::SERVICE_TTL);
    let services = || config.services.values();
    let answers: Vec<_> =
        services().map(|service| Answers::compile(service, &Audience::unlocated(service), &choice)).collect();
    let mut unions = Unions::default();
    let sealed =
        services().zip(&answers).map(|(service, answers)| unions.compile(&image, &signed, service, answers));
    let sealed = sealed.collect();
    let everybody = Permission { from: Some("0.0.0.0/0".parse().expect("it is one")), key: None };
    let rules = TransferRules { allow: vec![everybody], ..TransferRules::default() };
    let soa = image.soa(0);
    let mut state = ZoneState::new(apex, Arc::new(rules), soa.clone());
    Arc::make_mut(&mut state.history).push(Step {
        from: Serial(0),
        to: state.serial,
        old_soa: soa.clone(),
        new_soa: soa.clone(),
        deleted: Vec::new(),
        added: soa,
    });
    let zones = Zones::new(vec![Arc::new(state)], Arc::default());
    Table::new(Generation(1), image, answers)
        .with_signatures(signed, sealed)
        .with_zones(Arc::new(zones))
        .with_manners(Arc::new(zoo::manners("offer", "rate_limit: {responses_per_second: 5}")))
}
