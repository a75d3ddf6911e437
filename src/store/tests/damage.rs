//! What was changed behind the store's back shows, with its place, and never panics.

use redb::{Database, ReadableTable, TableDefinition};

use super::*;
use crate::store::Reader;

type Row = (u64, i64, &'static str, &'static str, &'static [u8; 32], &'static [u8; 32]);
const JOURNAL: TableDefinition<u64, Row> = TableDefinition::new("journal");
const STATE: TableDefinition<&str, (&str, &[u8; 32])> = TableDefinition::new("state");

fn filled() -> Scratch {
    let scratch = Scratch::new();
    let mut owner = Owner::open(&scratch).unwrap();
    for n in 0..10 {
        owner.append(numbered(n * 3, 3)).unwrap();
    }
    owner.append(threaded("open", &[Thread::Opens])).unwrap();
    scratch
}

fn tampered(tamper: impl FnOnce(&redb::WriteTransaction)) -> (Scratch, StoreError) {
    let scratch = filled();
    let database = Database::open(scratch.join("pointsman.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    tamper(&transaction);
    transaction.commit().unwrap();
    drop(database);
    let error =
        Reader::open(&scratch).and_then(|reader| reader.verify().and_then(|_| reader.state()).map(drop));
    (scratch, error.expect_err("it was tampered with"))
}

fn broken_at(error: &StoreError) -> u64 {
    match error {
        StoreError::Broken { file, index, .. } if file.ends_with("pointsman.redb") => *index,
        other => panic!("{other}"),
    }
}

#[test]
fn a_changed_record_is_found() {
    let (scratch, error) = tampered(|transaction| {
        let mut journal = transaction.open_table(JOURNAL).unwrap();
        let (epoch, at, previous, hash) = {
            let row = journal.get(7).unwrap().unwrap();
            let row = row.value();
            (row.0, row.1, *row.4, *row.5)
        };
        journal.insert(7, (epoch, at, "test", "700", &previous, &hash)).unwrap();
    });
    assert_eq!(broken_at(&error), 7);
    assert!(error.to_string().contains("record 7 of the journal in"), "{error}");
    // A writer still opens: only what it reads back at a restart must be whole.
    assert!(Owner::open(&scratch).is_ok());
}

#[test]
fn a_record_that_was_rewritten_with_its_hash_is_found_by_the_next() {
    let (_scratch, error) = tampered(|transaction| {
        let mut journal = transaction.open_table(JOURNAL).unwrap();
        let (epoch, at, previous) = {
            let row = journal.get(7).unwrap().unwrap();
            let row = row.value();
            (row.0, row.1, *row.4)
        };
        let link =
            crate::store::chain::Link { previous: &previous, index: 7, epoch, at, kind: "test", body: "700" };
        let hash = link.hash();
        journal.insert(7, (epoch, at, "test", "700", &previous, &hash)).unwrap();
    });
    assert_eq!(broken_at(&error), 8);
}

#[test]
fn a_missing_record_is_found_wherever_it_was() {
    for gone in [0, 12, 30] {
        let (_scratch, error) = tampered(|transaction| {
            transaction.open_table(JOURNAL).unwrap().remove(gone).unwrap();
        });
        assert_eq!(broken_at(&error), gone);
    }
}

#[test]
fn a_changed_value_of_the_state_is_found() {
    let (scratch, error) = tampered(|transaction| {
        let mut state = transaction.open_table(STATE).unwrap();
        let hash = *state.get("last").unwrap().unwrap().value().1;
        state.insert("last", ("0", &hash)).unwrap();
    });
    assert!(error.to_string().contains("the value of `last` is damaged"), "{error}");
    assert!(Owner::open(&scratch).is_err());
}

#[test]
fn what_a_restart_needs_must_be_whole() {
    let (scratch, error) = tampered(|transaction| {
        transaction.open_table(JOURNAL).unwrap().remove(30).unwrap();
    });
    assert_eq!(broken_at(&error), 30);
    assert_eq!(broken_at(&Owner::open(&scratch).err().unwrap()), 30);
}

#[test]
fn random_damage_never_panics_and_never_goes_unnoticed_in_the_journal() {
    let scratch = filled();
    let good = std::fs::read(scratch.join("pointsman.redb")).unwrap();
    let expected: Vec<_> = Reader::open(&scratch).unwrap().records(0, 100).unwrap();
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..400 {
        let mut bytes = good.clone();
        match rng.u8(..4) {
            0 => bytes.truncate(rng.usize(..good.len())),
            1 => {
                let at = rng.usize(..good.len() - 64);
                bytes[at..at + 64].fill(rng.u8(..));
            }
            _ => {
                for _ in 0..rng.usize(1..4) {
                    let at = rng.usize(..good.len());
                    bytes[at] ^= 1 << rng.u8(..8);
                }
            }
        }
        std::fs::write(scratch.join("pointsman.redb"), &bytes).unwrap();
        let read =
            Reader::open(&scratch).and_then(|reader| reader.verify().and_then(|_| reader.records(0, 100)));
        if let Ok(records) = read {
            // A damaged last commit is as good as none: the one before it is found.
            assert!(expected.starts_with(&records), "{records:?}");
        }
        if let Ok(mut owner) = Owner::open(&scratch) {
            let _ = owner.append(numbered(31, 1));
        }
    }
}
