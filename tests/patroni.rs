//! Watching real PostgreSQL servers under Patroni through everything that loss of the primary is.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::patroni::{Patroni, primary};
use common::scene::Scene;

fn scene(name: &str) -> Option<Scene<Patroni>> {
    let patroni = Patroni::find(3)?;
    let mut scene = Scene::prepare(name, 3, patroni)?;
    (0..3).for_each(|host| scene.start_member(host));
    scene.watch();
    Some(scene)
}

#[test]
fn replicas_without_a_primary_say_200_and_are_not_believed() {
    let Some(mut scene) = scene("patroni") else { return };
    let first = primary(&scene.net, 3).unwrap();
    let left = (first + 1) % 3;
    scene.kill(first);
    scene.kill((first + 2) % 3);
    scene.until("no_quorum");
    let mut curl = scene.net.on(left, "curl");
    let url = format!("http://{}:8008/health", scene.net.address(left));
    let code = scene.run(curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]));
    assert_eq!(code, "200", "it says that all is well");
    scene.start_member(first);
    scene.start_member((first + 2) % 3);
    scene.until("quorum");
}

#[test]
#[ignore = "long: make test-long"]
fn a_primary_that_is_cut_off_is_replaced_and_comes_back_as_a_replica() {
    let Some(scene) = scene("patroni-long") else { return };
    let first = primary(&scene.net, 3).unwrap();
    scene.cut_off(first);
    scene.until_region(first, "no_quorum");
    scene.until("quorum");
    assert_ne!(primary(&scene.net, 3), Some(first));
    scene.heal();
    scene.until_region(first, "healthy");
}
