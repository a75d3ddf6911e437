//! Servers that hear, that do not, and that do so late.

use super::*;
use crate::config::TransferRules;
use crate::transfer::push_record;
use crate::wire::{HEADER_OCTETS, RecordType};

/// In place of two seconds.
const WAIT: Duration = Duration::from_millis(25);
/// Nothing comes any more after this: longer than the longest wait.
const SILENCE: Duration = WAIT.saturating_mul(5 << (TRIES_MAX - 2));
/// The same for whoever is told no more after the third time.
const SOON: Duration = WAIT.saturating_mul(16);

/// A version of a zone of which this server is told.
fn zones(server: &UdpSocket, serial: u8) -> Arc<Zones> {
    let name = Name::parse("x.test").unwrap();
    let mut soa = Vec::new();
    let data = [&b"\x01n\x00\x01h\x00"[..], &[0, 0, 0, serial], &[0; 16]].concat();
    push_record(&mut soa, name.as_wire(), RecordType::SOA, 60, &data);
    let address = server.local_addr().unwrap();
    let rules =
        TransferRules { notify: vec![NotifyTarget { address, key: None }], ..TransferRules::default() };
    let state = ZoneState::new(name, Arc::new(rules), soa);
    Arc::new(Zones::new(vec![Arc::new(state)], Arc::default()))
}

async fn server() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

fn tell(server: &UdpSocket) -> Notifier {
    Notifier::with_patience(zones(server, 1), Vec::new(), WAIT)
}

/// The next notice: its serial, and the answer to it with this code, not sent yet.
async fn heard(server: &UdpSocket, rcode: u8, within: Duration) -> Option<(u8, Vec<u8>, SocketAddr)> {
    let mut notice = [0; 512];
    let (len, from) = timeout(within, server.recv_from(&mut notice)).await.ok()?.unwrap();
    let mut answer = notice[..HEADER_OCTETS].to_vec();
    (answer[2], answer[3]) = (answer[2] | 0x80, rcode);
    // The first of the five numbers that end the SOA record.
    Some((notice[len - 17], answer, from))
}

/// Waits for what becomes of it all, and for nothing more to come.
async fn ends(server: &UdpSocket, notifier: &Notifier, counts: (u64, u64)) {
    assert!(heard(server, 0, SOON).await.is_none(), "told once more");
    assert_eq!(notifier.counts(), counts);
}

#[tokio::test]
async fn who_does_not_answer_is_told_again_and_ever_less() {
    let server = server().await;
    let notifier = tell(&server);
    let mut at = Vec::new();
    while heard(&server, 0, SILENCE).await.is_some() {
        at.push(Clock.mono());
    }
    assert_eq!(at.len(), TRIES_MAX as usize);
    let gaps: Vec<_> = at.windows(2).map(|two| two[1].since(two[0])).collect();
    for (nth, gap) in gaps.iter().enumerate() {
        // Timers are never early; the socket may be read late.
        assert!(*gap > WAIT * (1 << nth) * 3 / 4, "{gaps:?}");
    }
    assert_eq!(notifier.counts(), (0, 1));
}

#[tokio::test]
async fn who_answers_is_left_alone() {
    let server = server().await;
    let notifier = tell(&server);
    heard(&server, 0, SILENCE).await.unwrap();
    let (_, answer, from) = heard(&server, 0, SILENCE).await.unwrap();
    // An answer to something else is none.
    let other = [&[answer[0] ^ 1], &answer[1..]].concat();
    server.send_to(&other, from).await.unwrap();
    let (_, answer, from) = heard(&server, 0, SILENCE).await.unwrap();
    server.send_to(&answer, from).await.unwrap();
    ends(&server, &notifier, (1, 0)).await;
    // The same once more is no news; the next version is.
    notifier.publish(&zones(&server, 1));
    ends(&server, &notifier, (1, 0)).await;
    notifier.publish(&zones(&server, 2));
    let (serial, answer, from) = heard(&server, 5, SILENCE).await.unwrap();
    assert_eq!(serial, 2);
    // Whoever refuses has heard.
    server.send_to(&answer, from).await.unwrap();
    ends(&server, &notifier, (1, 1)).await;
}

#[tokio::test]
async fn a_newer_version_takes_the_place_of_one_not_yet_heard_of() {
    let server = server().await;
    let notifier = tell(&server);
    assert_eq!(heard(&server, 0, SILENCE).await.unwrap().0, 1);
    notifier.publish(&zones(&server, 2));
    let mut serials = Vec::new();
    while let Some((serial, ..)) = heard(&server, 0, SILENCE).await {
        serials.push(serial);
    }
    assert_eq!(serials, [2; TRIES_MAX as usize]);
    assert_eq!(notifier.counts(), (0, 1));
}
