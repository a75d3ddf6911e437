//! A process that appends in a loop is killed without warning, again and again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::store::Reader;

const ROUNDS: u32 = 50;
const DIRECTORY: &str = "POINTSMAN_TEST_STORE";

/// The child: not a test of its own. Stores batches of 1 to 5 numbers, and says so after each.
#[test]
fn appends_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let mut owner = Owner::open(Path::new(&directory)).unwrap();
    let mut next = owner.store.reader().head().unwrap().next;
    let mut out = std::io::stdout();
    // Bounded, in case nobody kills it.
    for round in 0..100_000u64 {
        let count = 1 + round % 5;
        let first = owner.append(numbered(next, count)).unwrap();
        assert_eq!(first, next);
        next += count;
        writeln!(out, "stored {next}").unwrap();
        out.flush().unwrap();
    }
}

struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_acknowledged_record_survives_kill_9() {
    let scratch = Scratch::new();
    let mut rng = fastrand::Rng::with_seed(9);
    let mut epochs = 0;
    for round in 0..crate::times::times(ROUNDS) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::tests::killed::appends_until_it_is_killed",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIRECTORY, &*scratch)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Child(child);
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let (mut acknowledged, mut seen) = (0, 0);
        let enough = rng.u32(1..25);
        for line in lines.map_while(Result::ok) {
            // The harness may have written on the same line before.
            let Some((_, number)) = line.rsplit_once("stored ") else { continue };
            acknowledged = number.parse::<u64>().unwrap();
            seen += 1;
            if seen == enough {
                // Anywhere within the next append.
                std::thread::sleep(Duration::from_micros(rng.u64(..3000)));
                break;
            }
        }
        drop(child);
        assert_eq!(seen, enough, "round {round}: the child ran");

        // A person looks first, without changing anything.
        let file = scratch.join("pointsman.redb");
        let before = std::fs::read(&file).unwrap();
        let reader = Reader::open(&scratch).unwrap();
        let verified = reader.verify().unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(
            verified.head.next >= acknowledged,
            "round {round}: {verified:?}, {acknowledged} acknowledged"
        );
        for record in reader.records(0, usize::MAX).unwrap() {
            assert_eq!(record.body, record.index.to_string(), "round {round}");
        }
        let state = reader.state().unwrap();
        assert_eq!(state, [("last".to_owned(), (verified.head.next - 1).to_string())], "round {round}");
        drop(reader);
        assert!(before == std::fs::read(&file).unwrap(), "round {round}: reading changed the file");

        epochs += 2;
        let owner = Owner::open(&scratch).unwrap();
        assert_eq!(owner.store.epoch(), epochs, "round {round}: one for the child, one for us");
        assert_eq!(owner.store.reader().verify().unwrap().head.next, verified.head.next);
    }
}
