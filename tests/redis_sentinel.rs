//! Watching real Redis servers under real Sentinels through everything that loss of quorum is.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::redis::Redis;
use common::scene::{PATIENCE, Scene};

fn scene(name: &str, hosts: usize, more: &'static str) -> Option<Scene<Redis>> {
    let redis = Redis::find(hosts, more)?;
    let mut scene = Scene::prepare(name, hosts, redis)?;
    (0..hosts).for_each(|host| scene.start_member(host));
    scene.watch();
    // Sentinels ask a master for its replicas every ten seconds, and can promote none before.
    let known = |host: usize| {
        let text = std::fs::read_to_string(scene.scratch.path().join(format!("n{host}/sentinel.conf")));
        text.is_ok_and(|text| text.matches("known-replica shop").count() == hosts - 1)
    };
    common::until("Sentinels to know all replicas", PATIENCE, || (0..hosts).all(known));
    Some(scene)
}

/// The master is cut off from the others, and from nobody else. It takes writes all the while.
#[test]
fn a_master_that_is_left_behind_is_the_split_brain_of_its_own_region() {
    let Some(mut scene) = scene("redis", 3, "") else { return };
    scene.cut_off(0);
    scene.until_region(0, "no_quorum");
    scene.until("degraded");
    scene.until_region(1, "degraded");
    let words = scene.words();
    assert!(words.contains("still takes writes as a master"), "{words}");
    scene.heal();
    // It goes on as a master for some ten seconds more, with every Sentinel content.
    scene.until("quorum");
    scene.until_region(0, "healthy");

    // Two of three die, the new master among them: nobody can be elected.
    scene.kill(1);
    scene.kill(2);
    scene.until("no_quorum");
    scene.start_member(1);
    scene.start_member(2);
    scene.until("quorum");
}

#[test]
#[ignore = "long: make test-long"]
fn members_that_stop_and_sentinels_that_die() {
    let Some(mut scene) = scene("redis-long", 5, "min-replicas-to-write 1\nmin-replicas-max-lag 3") else {
        return;
    };
    // Three of five stop where they stand, the master among them.
    (0..3).for_each(|host| scene.pause(host));
    scene.until_region(3, "no_quorum");
    assert_eq!(scene.verdict(), "unknown");
    (0..3).for_each(|host| scene.resume(host));
    scene.until("quorum");
    // We alone do not see a majority.
    (0..3).for_each(|host| scene.hide(host));
    let start = common::now();
    while common::now() - start < std::time::Duration::from_secs(12) {
        assert_ne!(scene.verdict(), "no_quorum");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    scene.heal();
    scene.until("quorum");
    // With min-replicas a master that is cut off refuses writes, and is no split brain.
    scene.cut_off(0);
    scene.until_region(0, "no_quorum");
    assert_ne!(scene.verdict(), "no_quorum");
    scene.heal();
    scene.until("quorum");
    scene.kill(0);
    scene.until_region(0, "degraded");
}
