//! Watching real Galera clusters through everything that loss of quorum is.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::galera::Galera;
use common::scene::Scene;
use common::until;

fn scene(name: &str, members: usize) -> Option<Scene<Galera>> {
    let galera = Galera::find(members, false)?;
    let mut scene = Scene::prepare(name, members, galera)?;
    Galera::seed(scene.scratch.path());
    // The first must be there before the others ask for it.
    scene.start_member(0);
    scene.system.until_synced(scene.scratch.path(), 0);
    (1..members).for_each(|host| scene.start_member(host));
    (1..members).for_each(|host| scene.system.until_synced(scene.scratch.path(), host));
    scene.watch();
    Some(scene)
}

#[test]
fn from_healthy_to_cut_off_to_lost_and_back() {
    let Some(mut scene) = scene("galera", 3) else { return };

    // One region is cut off: it alone is lost, though its server answers everything but tables.
    scene.cut_off(0);
    scene.until_region(0, "no_quorum");
    assert_eq!(scene.verdict(), "degraded");
    scene.until_region(1, "degraded");
    let words = scene.words();
    assert!(words.contains("not in membership"), "{words}");
    scene.heal();
    scene.until("quorum");
    scene.until_region(0, "healthy");

    // Two are killed: the one that is left finds out that it is alone.
    scene.kill(1);
    scene.kill(2);
    scene.until("no_quorum");
    scene.start_member(1);
    scene.start_member(2);
    scene.until("quorum");
    (0..3).for_each(|host| scene.until_region(host, "healthy"));
}

#[test]
#[ignore = "long: make test-long"]
fn stopped_members_and_members_that_leave_in_good_order() {
    let Some(mut scene) = scene("galera-long", 5) else { return };
    // A majority stops where it stands: it may go on where only we do not see it, and the others find out
    // that they do not.
    (2..5).for_each(|host| scene.pause(host));
    scene.until_region(0, "no_quorum");
    scene.until_region(1, "no_quorum");
    assert_eq!(scene.verdict(), "unknown");
    (2..5).for_each(|host| scene.resume(host));
    scene.until("quorum");

    // We alone do not reach a majority, which is well: nothing is lost.
    (0..3).for_each(|host| scene.hide(host));
    until("the group to be proved by a read", common::scene::PATIENCE, || {
        assert_ne!(scene.verdict(), "no_quorum");
        scene.verdict() == "degraded"
    });
    scene.heal();
    scene.until("quorum");

    // Three leave in good order: the two that are left go on, and say so by a read.
    for host in 2..5 {
        scene.system.sql(scene.scratch.path(), host, "SHUTDOWN").unwrap();
        until("a member to leave", common::scene::PATIENCE, || {
            let size = scene.system.sql(scene.scratch.path(), 0, "SHOW STATUS LIKE 'wsrep_cluster_size'");
            size.is_some_and(|size| size.ends_with(&(4 + 2 - host).to_string()))
        });
        assert_ne!(scene.verdict(), "no_quorum");
    }
    scene.until("degraded");
    for host in 2..5 {
        scene.kill(host);
        scene.start_member(host);
    }
    scene.until("quorum");
}

#[test]
#[ignore = "long: make test-long"]
fn an_arbitrator_votes_and_is_not_asked() {
    let Some(galera) = Galera::find(2, true) else { return };
    let Some(mut scene) = Scene::prepare("galera-arbitrator", 3, galera) else { return };
    Galera::seed(scene.scratch.path());
    scene.start_member(0);
    scene.system.until_synced(scene.scratch.path(), 0);
    scene.start_member(1);
    scene.start_member(2);
    scene.system.until_synced(scene.scratch.path(), 1);
    scene.watch();
    scene.cut_off(0);
    scene.until_region(0, "no_quorum");
    assert_eq!(scene.verdict(), "degraded");
    scene.heal();
    scene.until("quorum");
    scene.kill(2);
    scene.until("degraded");
    scene.kill(1);
    scene.until("no_quorum");
}
