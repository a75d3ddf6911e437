//! What fuzzers feed octets to. Each function takes anything and must return; what it claims of the
//! outcome is asserted. `main.rs` runs them on the stable toolchain, `fuzz_targets` under cargo-fuzz.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pointsman::base::{Generation, Named, Source};
use pointsman::config::TsigAlgorithm;
use pointsman::dns::{Asker, Counter, Desk, Opened, Transport, answer, open};
use pointsman::serve::proxy;
use pointsman::table::{Image, Table};
use pointsman::transfer::{Checked, Key, Signer, TsigKeys, check};
use pointsman::wire::{HEADER_OCTETS, Message, Name, Rcode, RecordType, Tsig, ask, suffixes};
use pointsman::zone;

/// The longest answer over UDP, whatever the client takes.
const UDP_MAX: usize = 1232;
/// So many names and types of a made-up zone are asked for.
const ASKED_MAX: usize = 64;

/// A message from the network: the first octet says over what, and how much room there is or from
/// which of the tables it is answered.
pub fn packet(tables: &[Table; 2], input: &[u8]) {
    let Some((how, message)) = input.split_first() else { return };
    let transport = match how & 7 {
        0..=3 => Transport::Udp,
        4 => Transport::Tls,
        5 => Transport::Https,
        6 => Transport::Quic,
        _ => Transport::Tcp,
    };
    let room = if how & 8 == 0 { 65_535 } else { usize::from(how >> 4) * 8 };
    let table = &tables[usize::from(how & 0x18 == 0x10)];
    let mut out = vec![0; room];
    let asker = Asker { client: [192, 0, 2, 200].into(), transport };
    let mut desk = Desk::new(fastrand::Rng::with_seed(1), 0);
    if !matches!(transport, Transport::Udp | Transport::Https | Transport::Quic) {
        transferred(tables, message, &asker);
    }
    let Some(len) = answer(message, &mut out, table, &asker, &mut desk) else { return };
    let reply = Message::read(&out[..len]).unwrap_or_else(|why| panic!("{why}: {message:?}"));
    assert_eq!(out[..2], message[..2], "the id goes back");
    assert!(reply.flags & 0x8000 != 0, "it says that it is a response");
    assert!(message[2] & 0x80 == 0, "a response is not answered");
    assert!(transport != Transport::Udp || len <= UDP_MAX, "{len} octets over UDP");
    assert!(reply.questions.len() <= 1);
    if let [(name, ..)] = &reply.questions[..] {
        let asked = &message[HEADER_OCTETS..][..name.len()];
        assert!(name == asked, "the question goes back as it was");
    }
    assert_eq!(desk.counts[Counter::Unsigned], 0, "nothing leaves unsigned, or is missing its signature");
    // What people are shown of it does not fail either.
    assert!(!reply.to_string().is_empty());
    if let Ok(query) = Message::read(message) {
        assert!(!query.to_string().is_empty());
    }
}

/// The same over a stream, where it may ask for a whole zone.
fn transferred(tables: &[Table; 2], message: &[u8], asker: &Asker) {
    let Some(opened) = open(message, &Arc::new(tables[1].clone()), asker, 0) else { return };
    let messages = match opened {
        Opened::Reply { message, .. } => vec![message],
        Opened::Stream(mut outgoing) => std::iter::from_fn(|| outgoing.next(0)).collect(),
    };
    assert!(!messages.is_empty());
    for octets in messages {
        let reply = Message::read(&octets).unwrap_or_else(|why| panic!("{why}: {message:?}"));
        assert_eq!(octets[..2], message[..2], "the id goes back");
        assert_eq!(reply.questions.len(), 1);
    }
}

/// The text of a zone file: read, compiled, and asked for everything in it.
pub fn zone_file(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let apex = Name::parse("example.com").expect("it is a name");
    let mut no_files = |_: &Path| Err("no files here".to_owned());
    let zone = match zone::parse(&Source::new("zone", &*text), &apex, &mut no_files) {
        Ok((zone, _)) => zone,
        Err(mistakes) => {
            assert!(!mistakes.render(false).is_empty(), "a refusal has a reason");
            return;
        }
    };
    let names: Vec<(Vec<u8>, RecordType)> = zone
        .owners()
        .flat_map(|owner| owner.sets().map(move |set| (owner.name().to_vec(), set.rtype())))
        .take(ASKED_MAX)
        .collect();
    let Ok((image, _)) = Image::with_services(&[zone], &Named::default()) else { return };
    let table = Table::new(Generation(1), image, Vec::new());
    for (name, rtype) in names {
        for name in suffixes(&name).take(2) {
            ask_for(&table, name, rtype);
        }
        let below = [b"\x01q", &name[..]].concat();
        ask_for(&table, &below, rtype);
    }
}

fn ask_for(table: &Table, name: &[u8], rtype: RecordType) {
    let Ok(name) = Name::from_wire(name) else { return };
    let asker = Asker { client: [192, 0, 2, 200].into(), transport: Transport::Tcp };
    let mut desk = Desk::new(fastrand::Rng::with_seed(1), 0);
    let (mut whole, mut cut) = (vec![0; 65_535], vec![0; UDP_MAX]);
    let query = ask(1, &name, rtype, Some(UDP_MAX as u16));
    let len = answer(&query, &mut whole, table, &asker, &mut desk).expect("a question gets an answer");
    let reply = Message::read(&whole[..len]).unwrap_or_else(|why| panic!("{why}: {name} {rtype}"));
    assert!(reply.rcode() != Rcode::SERVFAIL && reply.rcode() != Rcode::FORMERR, "{name} {rtype}: {reply}");
    let over_udp = Asker { transport: Transport::Udp, ..asker };
    let short = answer(&query, &mut cut, table, &over_udp, &mut desk).expect("a question gets an answer");
    let reply = Message::read(&cut[..short]).unwrap_or_else(|why| panic!("{why}: {name} {rtype}"));
    let is_truncated = reply.flag_words().any(|word| word == "tc");
    assert!(!is_truncated || len > UDP_MAX, "{name} {rtype}: all of it would fit");
}

/// The seeds were signed then, with [`tsig_key`].
const SIGNED_AT: u64 = 1_800_000_000;

fn tsig_key() -> Key {
    let name = Name::parse("fuzz.key").expect("it is a name");
    Key::new(name, TsigAlgorithm::Sha256, &[7; 32])
}

/// Whether a request is signed well.
pub fn is_signed_well(input: &[u8]) -> bool {
    matches!(check(input, &TsigKeys::new([tsig_key()]), SIGNED_AT), Checked::Good(_))
}

/// A request with a signature, or without: as it came, and signed by us.
pub fn tsig(input: &[u8]) {
    let (key, keys) = (Arc::new(tsig_key()), TsigKeys::new([tsig_key()]));
    let found = Tsig::find(input);
    let checked = check(input, &keys, SIGNED_AT);
    match &checked {
        Checked::Good(signature) => {
            let at = found.as_ref().ok().and_then(|found| Some(found.as_ref()?.0));
            assert_eq!(Some(signature.request.len()), at, "the rest is the signature");
        }
        Checked::Unsigned => assert!(matches!(found, Ok(None))),
        Checked::Malformed => {}
        Checked::Bad { .. } => assert!(matches!(found, Ok(Some(_)))),
    }
    let refused = input.get(..HEADER_OCTETS).filter(|_| matches!(checked, Checked::Bad { .. }));
    if let Some(header) = refused {
        let mut reply = [&header[..4], &[0; 8]].concat();
        checked.refusal(&mut reply, SIGNED_AT);
        let reply = Message::read(&reply).unwrap_or_else(|why| panic!("{why}: {input:?}"));
        assert_eq!(reply.rcode(), Rcode::NOTAUTH);
    }
    // What is signed here is good and comes back as it was; with any bit turned it is not.
    let is_full = input.get(10..12) == Some(&[0xff, 0xff]);
    if input.len() < HEADER_OCTETS || is_full || !matches!(found, Ok(None)) {
        return;
    }
    let mut signed = input.to_vec();
    Signer::of_request(&key).sign(&mut signed, SIGNED_AT);
    // Whatever follows the last record of a message is not told from the signature.
    if let Checked::Good(signature) = check(&signed, &keys, SIGNED_AT) {
        assert_eq!(signature.request, input);
        // The id is not signed: servers on the way may change it (RFC 8945 §5.3.1).
        let at = 2 + usize::from(input[0]) % (input.len() - 2);
        signed[at] ^= 1 << (input[1] & 7);
        assert!(!matches!(check(&signed, &keys, SIGNED_AT), Checked::Good(_)), "octet {at} is not signed");
    } else {
        assert!(Message::read(input).is_err(), "a sound message was signed in vain");
    }
}

/// What a load balancer says first.
pub fn proxy(input: &[u8]) {
    let mut rest = input;
    let told = {
        let reading = pin!(proxy::read(&mut rest));
        match std::future::Future::poll(reading, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(told) => told,
            Poll::Pending => panic!("octets in memory are never waited for"),
        }
    };
    let taken = input.len() - rest.len();
    let Ok(client) = told else { return };
    // All that it said of its length, and no octet more.
    let length = usize::from(u16::from_be_bytes([input[14], input[15]]));
    assert_eq!(taken, 16 + length);
    assert!(length <= 2048 && input.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    if let Some(client) = client {
        assert_eq!(input[12], 0x21, "a balancer that speaks for itself has no client");
        assert_eq!(client, client.to_canonical());
        assert!(length >= if input[13] == 0x11 { 12 } else { 36 });
    }
}
