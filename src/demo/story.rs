//! The story: everything is well, a region loses its quorum while its web server goes on
//! answering, the daemon finds out and moves everything, the region heals, and all goes back.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{sleep, timeout};

use super::files::{self, Database, Places};
use super::timeline::{Timeline, Who};
use super::{Etcd, Pair, Shop};
use crate::base::{Health, show_span};
use crate::control::{self, Handle, Options, Told};
use crate::decide::{Event, Order, What};
use crate::serve::Sockets;
use crate::sys::{self, Systemd};
use crate::wire::{Message, Name, RecordType, ask};
use crate::workflow::State;

/// Nothing in the story takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two queries of the client.
const QUERY_EVERY: Duration = Duration::from_millis(200);
/// An answer on the loopback takes microseconds.
const QUERY_WAIT: Duration = Duration::from_millis(500);
/// Counts the acts of the story.
type Acts = Arc<AtomicU32>;

const SERVICES: [&str; 2] = ["storefront", "petstore"];

/// What the story must have shown in the end.
#[derive(Debug, Default)]
struct Seen {
    flips: Vec<(Health, Health)>,
    queries: u64,
    unanswered: u64,
}

/// Tells the story with stand-ins for everything that the daemon watches.
pub(super) async fn tell() -> Result<(), String> {
    let io = |why: std::io::Error| why.to_string();
    let timeline = Timeline::begin();
    let mut eu = Etcd::start().await.map_err(io)?;
    let us = Etcd::start().await.map_err(io)?;
    let shops = [Shop::start().await.map_err(io)?, Shop::start().await.map_err(io)?];
    let pair = Arc::new(Pair::start("eu-west").await.map_err(io)?);
    let directory = std::env::temp_dir().join(format!("pointsman-demo-{}", std::process::id()));
    let places = Places {
        etcd: [eu.endpoints(), us.endpoints()],
        shops: [shops[0].address(), shops[1].address()],
        database: Database::Pair(pair.address()),
    };
    let config = files::write(&directory, &places).map_err(io)?;

    timeline.say("Two regions on this machine; nothing outside 127.0.0.1 is touched.");
    timeline.say(
        "  real       the daemon: its checks, verdicts, table, DNS over UDP, workflow engine and journal",
    );
    timeline.say("  simulated  in each region a web server, a three-member store that speaks etcd's API,");
    timeline.say("             and one node of a database; `demo --real` uses etcd and PostgreSQL instead");
    timeline.say(&format!("  files      {}", directory.display()));
    timeline.say("");

    let (setup, _) = sys::load(&config).map_err(|mistakes| mistakes.render(false))?;
    let sockets = Sockets::bind(&setup.config.listen.dns, 1).map_err(|why| why.to_string())?;
    let server = sockets.udp_addresses()[0];
    let (tell, told) = mpsc::unbounded_channel();
    let options = Options { setup, sockets: Some(sockets), listener: Some(tell), systemd: Systemd::new() };
    let (mut handle, daemon) = control::start(options);
    let seen = Arc::<Mutex<Seen>>::default();
    let acts = Acts::default();
    let listener = tokio::spawn(listen(timeline, told, Arc::clone(&seen), Arc::clone(&acts)));
    handle.serving().await.map_err(|gone| gone.to_string())?;
    timeline.line(Who::Good, "daemon", &format!("serves gtm.example.com on {server}"));
    let client = tokio::spawn(client(timeline, server, Arc::clone(&pair), Arc::clone(&seen)));

    let result = play(timeline, &handle, &mut eu, &acts).await;

    client.abort();
    handle.stop().await;
    let _ = timeout(PATIENCE, daemon).await;
    listener.abort();
    result?;
    sum_up(timeline, &pair, &shops, &seen, &directory)
}

async fn play(timeline: Timeline, handle: &Handle, eu: &mut Etcd, acts: &Acts) -> Result<(), String> {
    let act = |words: &str| {
        timeline.act(words);
        acts.fetch_add(1, Ordering::Relaxed);
    };
    let region = |name: &'static str, health: Health| {
        move |daemon: &crate::decide::Daemon| {
            let id = daemon.setup().config.regions.id(name);
            id.is_some_and(|id| daemon.senses().regions[id].health() == health)
        }
    };
    until(handle, "both regions are healthy", region("eu-west", Health::Healthy)).await?;
    until(handle, "both regions are healthy", region("us-east", Health::Healthy)).await?;
    sleep(Duration::from_secs(2)).await;

    act("two of three store members in eu-west are killed; its web server goes on answering");
    eu.kill(0);
    eu.kill(1);
    until(handle, "eu-west has lost its quorum", region("eu-west", Health::NoQuorum)).await?;
    until(handle, "the workflow has succeeded", |daemon| over(daemon, 1)).await?;
    sleep(Duration::from_secs(3)).await;

    act("the two members come back");
    eu.revive(0).await.map_err(|why| why.to_string())?;
    eu.revive(1).await.map_err(|why| why.to_string())?;
    until(handle, "eu-west is healthy again", region("eu-west", Health::Healthy)).await?;
    until(handle, "storefront is back in eu-west", |daemon| {
        let config = &daemon.setup().config;
        let (Some(service), Some(region)) = (config.services.id("storefront"), config.regions.id("eu-west"))
        else {
            return false;
        };
        daemon.traffic().choice(service).is_some_and(|choice| choice.pick.has(region))
    })
    .await?;
    act(
        "storefront went back by itself; the petstore waits for a person, who now runs the workflow the other way",
    );
    let order = Order {
        owner: "you".to_owned(),
        reason: "eu-west is healthy again".to_owned(),
        what: What::Run {
            workflow: "petstore-failover".to_owned(),
            activate: Some("eu-west".to_owned()),
            deactivate: "us-east".to_owned(),
        },
    };
    handle.order(order).await.map_err(|gone| gone.to_string())??;
    until(handle, "the petstore is back in eu-west", |daemon| over(daemon, 2)).await?;
    sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// So many executions have succeeded.
fn over(daemon: &crate::decide::Daemon, wanted: usize) -> bool {
    let now = crate::io::Clock.now();
    let done = daemon.executions(now, 10).into_iter().filter(|view| view.state == State::Succeeded);
    done.count() >= wanted
}

/// Waits until something is so.
async fn until(
    handle: &Handle,
    what: &str,
    is_so: impl Fn(&crate::decide::Daemon) -> bool + Copy + Send + 'static,
) -> Result<(), String> {
    let wait = async {
        while !handle.look(move |daemon, _| is_so(daemon)).await.map_err(|gone| gone.to_string())? {
            sleep(Duration::from_millis(50)).await;
        }
        Ok::<(), String>(())
    };
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| Err(format!("after {} it is still not so that {what}", show_span(PATIENCE))))
}

/// Prints what the daemon tells; of samples only those that say something new, and after each
/// act once more, so that what has *not* changed shows as well.
async fn listen(timeline: Timeline, mut told: UnboundedReceiver<Told>, seen: Arc<Mutex<Seen>>, acts: Acts) {
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    let mut act = acts.load(Ordering::Relaxed);
    while let Some(told) = told.recv().await {
        let now = acts.load(Ordering::Relaxed);
        if std::mem::replace(&mut act, now) != now {
            last.clear();
        }
        let mut new = |what: &str, says: &str| {
            last.insert(what.to_owned(), says.to_owned()).is_none_or(|was| was != says)
        };
        match told {
            Told::Sample { check, finding } => {
                if check.starts_with("eu-west") && new(&check, finding.word()) {
                    timeline.line(
                        Who::Sample,
                        "sample",
                        &format!("{check}: {}: {}", finding.word(), finding.words()),
                    );
                }
            }
            Told::Round { group, voters } => {
                let voters = voters.join(", ");
                if group.contains("eu-west") && new(&group, &voters) {
                    timeline.line(Who::Sample, "sample", &format!("{group}: {voters}"));
                }
            }
            Told::Event(event) => {
                if let Event::Flip { from, to, .. } = &event {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).flips.push((*from, *to));
                }
                timeline.event(&event);
            }
            Told::Call { execution, stage, agent, outcome } => {
                let words = match outcome {
                    None => format!("{execution}: {stage} ({agent}) begins"),
                    Some(outcome) => format!("{execution}: {stage} ({agent}) {outcome}"),
                };
                timeline.line(Who::Workflow, "stage", &words);
            }
        }
    }
}

/// A client that asks over UDP, and writes to the database of the region it was sent to.
async fn client(timeline: Timeline, server: SocketAddr, pair: Arc<Pair>, seen: Arc<Mutex<Seen>>) {
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0").await else { return };
    let mut last: BTreeMap<&str, String> = BTreeMap::new();
    let mut id = 0u16;
    loop {
        for service in SERVICES {
            id = id.wrapping_add(1);
            let answer = query(&socket, server, id, service).await;
            {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.queries += 1;
                seen.unanswered += u64::from(answer.is_none());
            }
            let Some((address, ttl)) = answer else { continue };
            let region = if address.starts_with("192.0.2.") { "eu-west" } else { "us-east" };
            if service == "petstore" {
                pair.write(region);
            }
            if last.insert(service, address.clone()).is_none_or(|was| was != address) {
                timeline.line(
                    Who::Client,
                    "client",
                    &format!("{service}.gtm.example.com is {address} ({region}), TTL {ttl}"),
                );
            }
        }
        sleep(QUERY_EVERY).await;
    }
}

async fn query(socket: &UdpSocket, server: SocketAddr, id: u16, service: &str) -> Option<(String, u32)> {
    let name = Name::parse(&format!("{service}.gtm.example.com")).ok()?;
    socket.send_to(&ask(id, &name, RecordType::A, Some(1232)), server).await.ok()?;
    let mut buffer = [0; 1232];
    let (length, _) = timeout(QUERY_WAIT, socket.recv_from(&mut buffer)).await.ok()?.ok()?;
    let message = Message::read(&buffer[..length]).ok()?;
    let [answer, ..] = &message.sections;
    let record = answer.iter().find(|record| record.rtype == RecordType::A)?;
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(record.rdata.as_slice()).ok()?);
    Some((address.to_string(), record.ttl))
}

fn sum_up(
    timeline: Timeline,
    pair: &Pair,
    shops: &[Shop; 2],
    seen: &Mutex<Seen>,
    directory: &std::path::Path,
) -> Result<(), String> {
    let nodes = pair.nodes();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let count = |counts: &BTreeMap<String, u64>, region: &str| counts.get(region).copied().unwrap_or(0);
    timeline.say("");
    timeline.say(&format!(
        "The client asked {} times and got {} answers.",
        seen.queries,
        seen.queries - seen.unanswered
    ));
    timeline.say(&format!(
        "Writes taken: {} in eu-west, {} in us-east; never by two nodes at once: {}.",
        count(&nodes.taken, "eu-west"),
        count(&nodes.taken, "us-east"),
        if nodes.writers_max == 1 { "true" } else { "FALSE" },
    ));
    timeline.say(&format!(
        "Promotions: us-east {}, eu-west {}. Capacity was added {} time(s) in us-east.",
        count(&nodes.promoted, "us-east"),
        count(&nodes.promoted, "eu-west"),
        shops[1].times_scaled()
    ));
    timeline.say(&format!("The journal of all this is in {}.", directory.join("state").display()));
    let wrong: Vec<&str> = [
        (seen.unanswered > 0, "a query was not answered"),
        (nodes.writers_max != 1, "two nodes took writes at once"),
        (count(&nodes.promoted, "us-east") != 1, "us-east was not promoted exactly once"),
        (count(&nodes.promoted, "eu-west") != 1, "eu-west was not promoted back exactly once"),
        (count(&nodes.taken, "us-east") == 0, "no write ever reached us-east"),
        (!seen.flips.contains(&(Health::Healthy, Health::NoQuorum)), "eu-west never lost its quorum"),
    ]
    .into_iter()
    .filter_map(|(wrong, words)| wrong.then_some(words))
    .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("the story did not go as it should: {}", wrong.join("; "))),
    }
}
