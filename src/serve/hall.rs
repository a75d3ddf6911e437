//! What the connections of a thread share: the table, the limits, and places to sit.
//!
//! A client that connects takes a [`Seat`], or is turned away; it gives the seat back by leaving.
//! Everything here belongs to one thread, and nothing of it is held across an await.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use fastrand::Rng;
use tokio_util::sync::CancellationToken;

use super::published::Published;
use crate::base::Mono;
use crate::config::DnsLimits;
use crate::dns::{Asker, Counter, Desk, Opened, Outgoing, Refused, Transport, answer, open};
use crate::io::Clock;
use crate::table::Table;
use crate::wire::Rcode;

/// A query is at most so long; longer ones are no questions to us (no updates, no signatures).
pub(super) const QUERY_OCTETS_MAX: usize = 4096;
/// An answer is at most so long.
const ANSWER_OCTETS_MAX: usize = 65_535;
/// So many zones are handed out at once; further secondaries are told to come again.
const TRANSFERS_MAX: usize = 16;
/// Refusals are told no more often than this.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What all connections of a thread share.
pub(super) struct Hall {
    table: Arc<ArcSwap<Table>>,
    pub(super) limits: DnsLimits,
    pub(super) stop: CancellationToken,
    published: Arc<Published>,
    state: RefCell<State>,
}

struct State {
    desk: Desk,
    /// Connections per client.
    clients: HashMap<IpAddr, usize>,
    connections: usize,
    /// Where answers are made.
    scratch: Vec<u8>,
    /// Zones that are being handed out.
    transfers: usize,
    /// When a refusal was last told, and how many were not since.
    told_at: Option<Mono>,
    untold: u64,
}

/// A connection's right to be there.
pub(super) struct Seat {
    pub(super) hall: Rc<Hall>,
    transport: Transport,
    /// On whom it counts, once that is known.
    client: Option<IpAddr>,
}

/// Why a connection was closed, other than by its client or for idleness.
#[derive(Debug)]
pub struct Broken;

impl Hall {
    pub(super) fn new(
        table: Arc<ArcSwap<Table>>,
        limits: DnsLimits,
        stop: CancellationToken,
        published: Arc<Published>,
    ) -> Rc<Self> {
        let state = State {
            desk: Desk::new(Rng::new(), Clock.seconds()),
            clients: HashMap::new(),
            connections: 0,
            scratch: vec![0; ANSWER_OCTETS_MAX],
            transfers: 0,
            told_at: None,
            untold: 0,
        };
        Rc::new(Self { table, limits, stop, published, state: RefCell::new(state) })
    }

    /// Lets somebody in, or counts it as one too many.
    pub(super) fn enter(self: &Rc<Self>, transport: Transport) -> Option<Seat> {
        let mut state = self.state.borrow_mut();
        if state.connections < self.limits.tcp_connections_max {
            state.connections += 1;
            return Some(Seat { hall: Rc::clone(self), transport, client: None });
        }
        drop(state);
        self.count(Told::of(transport).refused);
        None
    }

    /// Whether half of all seats are taken, or half of those that a client may have: time to be
    /// careful.
    pub(super) fn is_crowded(&self, client: IpAddr) -> bool {
        let state = self.state.borrow();
        let of_client = state.clients.get(&whose(client)).copied().unwrap_or_default();
        state.connections > self.limits.tcp_connections_max / 2
            || of_client > self.limits.tcp_connections_per_client_max / 2
    }

    /// Has a message answered, and `take` the answer; `None` if there is none.
    pub(super) fn answer<T>(&self, query: &[u8], asker: &Asker, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let State { desk, scratch, .. } = &mut *self.state.borrow_mut();
        desk.now = Clock.seconds();
        let len = answer(query, scratch, &self.table.load(), asker, desk);
        self.published.store(&desk.counts);
        len.and_then(|len| scratch.get(..len)).map(take)
    }

    /// Looks whether a message asks for a zone; `None` if it does not. `outdated`: it came within a
    /// TLS older than zones go out in.
    pub(super) fn transfer(self: &Rc<Self>, query: &[u8], asker: &Asker, outdated: bool) -> Option<Handover> {
        let opened = open(query, &self.table.load(), asker, u64::from(Clock.seconds()))?;
        self.count(asker.transport.counter());
        match opened {
            Opened::Reply { message, refused } => {
                if let Some(Refused { zone, why }) = refused {
                    self.count(Counter::TransferRefused);
                    self.tell_refused(&zone, &why, asker);
                }
                Some(Handover::Reply(message))
            }
            Opened::Stream(outgoing) => {
                let is_full = self.state.borrow().transfers >= TRANSFERS_MAX;
                let refused = match outdated {
                    true => Some((Rcode::REFUSED, "zones go out over TLS 1.3, and this was an older one")),
                    false => is_full.then_some((Rcode::SERVFAIL, "too many transfers at once")),
                };
                if let Some((rcode, why)) = refused {
                    self.count(Counter::TransferRefused);
                    self.tell_refused(&outgoing.zone().name.to_string(), why, asker);
                    return Some(Handover::Reply(outgoing.instead(rcode)));
                }
                self.state.borrow_mut().transfers += 1;
                Some(Handover::Stream(Transfer {
                    hall: Rc::clone(self),
                    outgoing: *outgoing,
                    complete: false,
                }))
            }
        }
    }

    /// Says who was refused what, now and then: anybody may ask as often as they like.
    fn tell_refused(&self, zone: &str, why: &str, asker: &Asker) {
        let now = Clock.mono();
        let mut state = self.state.borrow_mut();
        if state.told_at.is_some_and(|told| now.since(told) < TELL_EVERY) {
            state.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut state.untold);
        state.told_at = Some(now);
        let client = asker.client;
        tracing::warn!(event = "transfer.refused", %zone, %client, untold, "{client} may not fetch {zone}: {why}");
    }

    pub(super) fn count(&self, counter: Counter) {
        let counts = &mut self.state.borrow_mut().desk.counts;
        counts.add(counter);
        self.published.store(counts);
    }
}

impl Seat {
    /// Tells whose it is. A client that has its share of seats already is counted as one too many.
    pub(super) fn taken_by(mut self, client: IpAddr) -> Option<Self> {
        let (hall, whose) = (Rc::clone(&self.hall), whose(client));
        let mut state = hall.state.borrow_mut();
        let of_client = state.clients.get(&whose).copied().unwrap_or_default();
        let fits = of_client < hall.limits.tcp_connections_per_client_max;
        if fits {
            state.clients.insert(whose, of_client + 1);
            self.client = Some(whose);
        }
        drop(state);
        let told = Told::of(self.transport);
        hall.count(if fits { told.accepted } else { told.refused });
        fits.then_some(self)
    }

    /// Counts that the connection ended badly.
    pub(super) fn broken(&self) {
        self.hall.count(Told::of(self.transport).broken);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.hall.state.borrow_mut();
        state.connections -= 1;
        if let Some(client) = self.client
            && let Some(count) = state.clients.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                state.clients.remove(&client);
            }
        }
    }
}

/// What is handed to whoever asked for a zone.
pub(super) enum Handover {
    /// One message.
    Reply(Vec<u8>),
    /// Many.
    Stream(Transfer),
}

/// A transfer's right to be there.
pub(super) struct Transfer {
    hall: Rc<Hall>,
    outgoing: Outgoing,
    complete: bool,
}

impl Transfer {
    /// The next message.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        self.outgoing.next(u64::from(Clock.seconds()))
    }

    /// The client has it all.
    pub(super) fn completed(mut self, client: IpAddr) {
        self.complete = true;
        let zone = self.outgoing.zone();
        let (name, serial) = (&zone.name, zone.serial.0);
        match self.outgoing.from() {
            Some(from) => {
                tracing::info!(event = "transfer.sent", zone = %name, serial, from = from.0, %client, "{client} has fetched what changed in {name} from {from} to {serial}");
            }
            None => {
                tracing::info!(event = "transfer.sent", zone = %name, serial, %client, "{client} has fetched {name}, version {serial}");
            }
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.hall.state.borrow_mut().transfers -= 1;
        self.hall.count(match (self.complete, self.outgoing.from()) {
            (false, _) => Counter::TransferBroken,
            (true, Some(_)) => Counter::TransferDifference,
            (true, None) => Counter::TransferWhole,
        });
    }
}

/// How connections are counted.
struct Told {
    accepted: Counter,
    refused: Counter,
    broken: Counter,
}

impl Told {
    fn of(transport: Transport) -> Self {
        use Counter::*;
        let (accepted, refused, broken) = match transport {
            Transport::Udp | Transport::Tcp => (TcpAccepted, TcpRefused, TcpBroken),
            Transport::Tls => (TlsAccepted, TlsRefused, TlsBroken),
            Transport::Https => (HttpsAccepted, HttpsRefused, HttpsBroken),
            Transport::Quic => (QuicAccepted, QuicRefused, QuicBroken),
        };
        Self { accepted, refused, broken }
    }
}

/// Whom connections are counted for: with IPv6 the whole /64, of which a client has all addresses.
fn whose(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        ipv4 => ipv4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Generation, Named, Source};
    use crate::config::{Permission, TransferRules};
    use crate::table::Image;
    use crate::transfer::{ZoneState, Zones};
    use crate::wire::{Message, Name, RecordType, ask};

    /// A hall with a zone for everybody.
    fn hall() -> Rc<Hall> {
        let apex = Name::parse("x.test").unwrap();
        let text = "$TTL 1\n@ SOA ns hm 7 1 1 1 1\n@ NS ns\nns A 192.0.2.1\n";
        let source = Source::new("zone", text);
        let zone = crate::zone::parse(&source, &apex, &mut |_| Err(String::new())).unwrap().0;
        let image = Image::with_services(&[zone], &Named::default()).unwrap().0;
        let everybody = Permission { from: Some("0.0.0.0/0".parse().unwrap()), key: None };
        let rules = TransferRules { allow: vec![everybody], ..TransferRules::default() };
        let state = ZoneState::new(apex, Arc::new(rules), image.soa(0));
        let zones = Zones::new(vec![Arc::new(state)], Arc::default());
        let table = Table::new(Generation(1), image, Vec::new()).with_zones(Arc::new(zones));
        let table = Arc::new(ArcSwap::from_pointee(table));
        let second = Duration::from_secs(1);
        let limits = DnsLimits {
            udp_threads: 1,
            tcp_connections_max: 1,
            tcp_connections_per_client_max: 1,
            tcp_idle: second,
            open_after: second,
        };
        Hall::new(table, limits, CancellationToken::new(), Arc::default())
    }

    /// So many zones go out at once; who comes then is told to come again, and finds a place when
    /// one of the others is through.
    #[test]
    fn transfers_are_few_at_a_time() {
        let hall = hall();
        let asker = Asker { client: [192, 0, 2, 1].into(), transport: Transport::Tcp };
        let query = ask(1, &Name::parse("x.test").unwrap(), RecordType::AXFR, None);
        let ask = || hall.transfer(&query, &asker, false).unwrap();
        let mut under_way: Vec<_> = (0..TRANSFERS_MAX).map(|_| ask()).collect();
        assert!(under_way.iter().all(|given| matches!(given, Handover::Stream(_))));
        let Handover::Reply(message) = ask() else { panic!("one too many") };
        assert_eq!(Message::read(&message).unwrap().rcode(), Rcode::SERVFAIL);
        under_way.pop();
        assert!(matches!(ask(), Handover::Stream(_)));
    }

    #[test]
    fn counts_ipv6_clients_by_their_network() {
        let whose = |text: &str| whose(text.parse().unwrap()).to_string();
        assert_eq!(whose("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(whose("192.0.2.7"), "192.0.2.7");
        assert_eq!(whose("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
