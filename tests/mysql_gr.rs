//! Watching a real MySQL group through everything that loss of quorum is. MySQL is not in Debian
//! 12: see tests/common/mysql.rs.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::mysql::Mysql;
use common::scene::Scene;

#[test]
#[ignore = "long: make test-long"]
fn a_primary_that_is_cut_off_lies_and_is_not_believed() {
    let Some(mysql) = Mysql::find(3) else { return };
    let Some(mut scene) = Scene::prepare("mysql", 3, mysql) else { return };
    scene.system.seed();
    for host in 0..3 {
        scene.start_member(host);
        scene.system.join(host, host == 0);
    }
    scene.watch();

    // The primary is cut off: it goes on calling itself ONLINE and PRIMARY.
    scene.cut_off(0);
    scene.until_region(0, "no_quorum");
    scene.until("degraded");
    scene.until_region(1, "degraded");
    let words = scene.words();
    assert!(words.contains("not in membership"), "{words}");
    scene.heal();
    // Its old view is repeated for some seconds, and then it rejoins.
    scene.until("quorum");
    scene.until_region(0, "healthy");

    // Two stop where they stand: the third answers, and what takes the others hangs. They may go on
    // where only we do not see them; it does not.
    scene.pause(1);
    scene.pause(2);
    scene.until_region(0, "no_quorum");
    assert_eq!(scene.verdict(), "unknown");
    scene.resume(1);
    scene.resume(2);
    scene.until("quorum");

    scene.kill(1);
    scene.kill(2);
    scene.until("no_quorum");
}
