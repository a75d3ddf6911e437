//! The story: everything is well, a region loses its quorum while its web server goes on
//! answering, the daemon finds out and moves everything, the region heals, and all goes back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::client::{self, Seen, Witness};
use super::directory::Directory;
use super::files;
use super::listener::{self, Shared};
use super::real::Tools;
use super::stop::Stop;
use super::timeline::{Timeline, Who};
use super::world::{Region, World};
use crate::base::{Health, show_span};
use crate::control::{self, Handle, Options};
use crate::decide::{Daemon, Order, What};
use crate::serve::Sockets;
use crate::sys::{self, Systemd};
use crate::workflow::State;

/// Nothing in the story takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the story, with tools for it or with stand-ins.
pub async fn tell(tools: Option<&Tools>, keep: bool, mut stop: Stop) -> Result<(), String> {
    let timeline = Timeline::begin();
    let mut directory = Directory::new(keep).map_err(|why| why.to_string())?;
    introduce(timeline, tools, keep, &directory);
    if tools.is_some() {
        directory.watch().map_err(|why| format!("cannot start a shell: {why}"))?;
    }
    let directory = Arc::new(directory);
    let mut world = stop.unless(World::start(tools, &directory)).await?;
    if tools.is_some() {
        timeline.line(Who::World, "─────", "etcd and PostgreSQL are running");
    }
    let config = files::write(directory.path(), &world.places()).map_err(|why| why.to_string())?;
    let (setup, _) = sys::load(&config).map_err(|mistakes| mistakes.render(false))?;
    let sockets = Sockets::bind(&setup.config.listen.dns, 1).map_err(|why| why.to_string())?;
    let server = sockets.udp_addresses()[0];
    let (tell, told) = mpsc::unbounded_channel();
    let options = Options {
        setup,
        signed: None,
        sockets: Some(sockets),
        listener: Some(tell),
        systemd: Systemd::new(),
        succession: None,
    };
    let (mut handle, daemon) = control::start(options);
    let (shared, witness) = (Shared::default(), Witness::default());
    let listener = tokio::spawn(listener::listen(timeline, told, shared.clone()));
    let served = stop.unless(async { handle.serving().await.map_err(|gone| gone.to_string()) }).await;
    timeline.line(Who::Good, "daemon", &format!("serves gtm.example.com on {server}"));
    let client = tokio::spawn(client::run(timeline, server, Arc::clone(&world.database), witness.clone()));

    let mut result = served;
    if result.is_ok() {
        result = stop.unless(play(timeline, &handle, &mut world, &shared)).await;
    }

    client.abort();
    let _ = client.await;
    handle.stop().await;
    let _ = timeout(PATIENCE, daemon).await;
    listener.abort();
    result?;
    sum_up(timeline, &world, &witness.seen()).await
}

fn introduce(timeline: Timeline, tools: Option<&Tools>, keep: bool, directory: &Directory) {
    timeline.say("Two regions on this machine; nothing outside 127.0.0.1 is touched.");
    timeline.say("  real       the daemon: checks, verdicts, table, DNS over UDP, workflow engine, journal");
    match tools {
        Some(tools) => {
            timeline.say(
                "             in each region an etcd cluster of three members, and one PostgreSQL server:",
            );
            timeline.say("             eu-west has the primary, us-east a standby that streams from it");
            timeline.say(&format!("             {} and {}", tools.etcd.display(), tools.postgres.display()));
            timeline.say("  simulated  in each region a web server, and the client");
        }
        None => {
            timeline.say(
                "  simulated  in each region a web server, a three-member store that speaks etcd's API,",
            );
            timeline.say("             and one node of a database; `demo --real` uses etcd and PostgreSQL");
        }
    }
    let path = directory.path().display();
    let fate = if keep { "they stay" } else { "removed at the end, unless with --keep" };
    timeline.say(&format!("  files      {path} ({fate})"));
    timeline.say("");
}

async fn play(timeline: Timeline, handle: &Handle, world: &mut World, shared: &Shared) -> Result<(), String> {
    let act = |words: &str| {
        timeline.act(words);
        shared.new_act();
    };
    let region = |name: &'static str, health: Health| {
        move |daemon: &Daemon| {
            let id = daemon.setup().config.regions.id(name);
            id.is_some_and(|id| daemon.senses().regions[id].health() == health)
        }
    };
    until(handle, "both regions are healthy", region("eu-west", Health::Healthy)).await?;
    until(handle, "both regions are healthy", region("us-east", Health::Healthy)).await?;
    sleep(Duration::from_secs(2)).await;

    act("two of three store members in eu-west are killed; its web server still answers");
    world.stores[0].kill(0);
    world.stores[0].kill(1);
    told("eu-west loses its quorum", || shared.has_become("eu-west", Health::NoQuorum)).await?;
    until(handle, "the workflow has succeeded", |daemon| over(daemon, 1)).await?;
    told("petstore answers us-east", || shared.answers("petstore", "us-east")).await?;
    sleep(Duration::from_secs(3)).await;

    act("the two members come back");
    world.stores[0].revive(0).await?;
    world.stores[0].revive(1).await?;
    told("eu-west is healthy again", || shared.has_become("eu-west", Health::Healthy)).await?;
    if let Some(words) = world.database.way_back() {
        timeline.act(words);
        world.database.go_back(Region::EuWest).await?;
        timeline.act("the server in eu-west follows the one in us-east");
    }
    told("storefront is back in eu-west", || shared.answers("storefront", "eu-west")).await?;
    timeline.act("storefront is back; for petstore a person now runs the workflow the other way");
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
    until(handle, "the workflow has succeeded again", |daemon| over(daemon, 2)).await?;
    told("petstore is back in eu-west", || shared.answers("petstore", "eu-west")).await?;
    sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// So many executions have succeeded.
fn over(daemon: &Daemon, wanted: usize) -> bool {
    let now = crate::io::Clock.now();
    let done = daemon.executions(now, 10).into_iter().filter(|view| view.state == State::Succeeded);
    done.count() >= wanted
}

/// Waits until something is so in the daemon.
async fn until(
    handle: &Handle,
    what: &str,
    is_so: impl Fn(&Daemon) -> bool + Copy + Send + 'static,
) -> Result<(), String> {
    patiently(what, async || {
        handle.look(move |daemon, _| is_so(daemon)).await.map_err(|gone| gone.to_string())
    })
    .await
}

/// Waits until the reader was told that something is so, which is a moment later.
async fn told(what: &str, is_so: impl Fn() -> bool) -> Result<(), String> {
    patiently(what, async || Ok(is_so())).await
}

async fn patiently(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool, String>) -> Result<(), String> {
    let wait = async {
        while !is_so().await? {
            sleep(Duration::from_millis(50)).await;
        }
        Ok::<(), String>(())
    };
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| Err(format!("after {} it is still not so that {what}", show_span(PATIENCE))))
}

fn times(n: u64) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

/// Says what the story has shown, and whether that is what it promised.
async fn sum_up(timeline: Timeline, world: &World, seen: &Seen) -> Result<(), String> {
    let database = &world.database;
    let promotions = database.promotions(Region::EuWest).await?;
    let held = database.holds(Region::EuWest, &seen.taken).await?;
    let taken = seen.taken.len() as u64;
    let scaled = world.shops[1].times_scaled();
    let regions: Vec<Region> = seen.turns.iter().map(|(region, _)| *region).collect();
    let one_writer = regions == [Region::EuWest, Region::UsEast, Region::EuWest];
    let turns: Vec<String> =
        seen.turns.iter().map(|(region, count)| format!("{count} in {}", region.name())).collect();

    timeline.say("");
    timeline.say(&format!(
        "The client asked {} times and got {} answers.",
        seen.queries,
        seen.queries - seen.unanswered
    ));
    timeline.say("After every answer it tried to write to both nodes of the database.");
    timeline.say(&format!("  taken     {}", turns.join(", then ")));
    timeline.say(&format!("  refused   {}", seen.refused));
    timeline.say(match one_writer {
        true => "So there never were two writers at once.",
        false => "So the writer did NOT change exactly twice.",
    });
    if let Some(held) = held {
        timeline.say(&format!("Of the {taken} writes that were taken, eu-west has {held} in the end."));
    }
    timeline.say(&format!("The database was promoted {}.", times(promotions)));
    timeline.say(&format!("Capacity was added {} in us-east.", times(scaled as u64)));
    let wrong: Vec<&str> = [
        (seen.unanswered > 0, "a query was not answered"),
        (!one_writer, "writes were not taken in eu-west, then us-east, then eu-west again"),
        (held.is_some_and(|held| held != taken), "writes that were taken are lost"),
        (promotions != 2, "the database was not promoted exactly twice"),
        (scaled != 1, "capacity was not added exactly once in us-east"),
    ]
    .into_iter()
    .filter_map(|(wrong, words)| wrong.then_some(words))
    .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("the story did not go as it should: {}", wrong.join("; "))),
    }
}
