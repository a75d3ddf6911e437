//! On a real file, with nothing in the way.

use std::time::Duration;

use super::*;
use crate::store::{RECORD_BYTES_MAX, Reader, file, open};

#[test]
fn what_was_stored_is_there_and_the_epoch_grows() {
    let scratch = Scratch::new();
    let directory = scratch.join("a/b");
    let mut owner = Owner::open(&directory).unwrap();
    assert_eq!((owner.store.epoch(), owner.state.len(), owner.replay.len()), (1, 0, 0));
    assert_eq!(owner.append(numbered(0, 3)), Ok(0));
    let mut batch = numbered(3, 1);
    batch.put("dial", &["a", "b"]).put("gone", &1).remove("gone");
    assert_eq!(owner.append(batch), Ok(3));
    assert_eq!(owner.append(Batch::default()), Ok(4), "an empty batch tries the store");
    let records = owner.store.reader().records(1, 2).unwrap();
    assert_eq!(records.iter().map(|r| (r.index, r.body.as_str())).collect::<Vec<_>>(), [(1, "1"), (2, "2")]);
    assert_eq!((records[0].at, records[0].epoch, records[0].kind.as_str()), (at(1), 1, "test"));
    drop(owner);

    let mut owner = Owner::open(&directory).unwrap();
    assert_eq!(owner.store.epoch(), 2);
    assert_eq!(owner.state, [("dial".into(), "[\"a\",\"b\"]".into()), ("last".into(), "3".into())]);
    assert_eq!(owner.append(numbered(4, 1)), Ok(4));
    let verified = owner.store.reader().verify().unwrap();
    assert_eq!(
        (verified.records, verified.head.next, verified.head.epoch, verified.head.pruned),
        (5, 5, 2, 0)
    );
    drop(owner);

    let reader = Reader::open(&directory).unwrap();
    assert_eq!(reader.verify().unwrap().records, 5);
    assert_eq!(reader.records(4, 9).unwrap()[0].epoch, 2);
}

#[test]
fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    drop(Owner::open(&scratch).unwrap());
    let mode = std::fs::metadata(scratch.join("pointsman.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let scratch = Scratch::new();
    let owner = Owner::open(&scratch).unwrap();
    for error in [Owner::open(&scratch).err().unwrap(), Reader::open(&scratch).err().unwrap()] {
        let text = error.to_string();
        assert!(matches!(error, StoreError::InUse { .. }), "{text}");
        assert!(text.contains("pointsman.redb"), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    }
    drop(owner);
    // Readers share it, and keep a writer out meanwhile.
    let one = Reader::open(&scratch).unwrap();
    let other = Reader::open(&scratch).unwrap();
    assert!(matches!(Owner::open(&scratch).err(), Some(StoreError::InUse { .. })));
    drop((one, other));
    assert_eq!(Owner::open(&scratch).unwrap().store.epoch(), 2);
}

#[test]
fn what_is_missing_or_no_store_is_said_so() {
    let scratch = Scratch::new();
    let missing = Reader::open(&scratch).unwrap_err();
    assert!(matches!(missing, StoreError::Missing(_)), "{missing}");
    std::fs::write(scratch.join("pointsman.redb"), "").unwrap();
    for error in [Reader::open(&scratch).err().unwrap(), Owner::open(&scratch).err().unwrap()] {
        assert!(error.to_string().contains("it is empty"), "{error}");
    }
    std::fs::write(scratch.join("pointsman.redb"), vec![b'x'; 100_000]).unwrap();
    for error in [Reader::open(&scratch).err().unwrap(), Owner::open(&scratch).err().unwrap()] {
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains("pointsman.redb"), "{error}");
    }
    let file = scratch.join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Owner::open(&file).err(), Some(StoreError::Io { .. })));
}

#[test]
fn a_batch_that_asks_too_much_fails_and_all_after_it_until_the_owner_knows() {
    let scratch = Scratch::new();
    let mut owner = Owner::open(&scratch).unwrap();
    let mut large = numbered(1, 1);
    large.record(at(0), "huge", &"x".repeat(RECORD_BYTES_MAX));
    let tickets = [numbered(0, 1), large, numbered(2, 1)].map(|batch| owner.store.append(batch).unwrap());
    assert_eq!(owner.answer(tickets[0]), Ok(0));
    let why = owner.answer(tickets[1]).unwrap_err();
    assert!(why.contains("`huge` has 4194306 bytes"), "{why}");
    assert_eq!(owner.answer(tickets[2]), Err(why.clone()), "order is kept");
    assert_eq!(owner.append(numbered(3, 1)), Err(why));
    owner.store.resume().unwrap();
    assert_eq!(owner.append(numbered(4, 1)), Ok(1));
}

#[test]
fn old_records_go_and_what_a_restart_needs_stays() {
    let scratch = Scratch::new();
    let directory = scratch.to_owned();
    let reopen = || {
        Owner::on(|tell| {
            let path = directory.join("pointsman.redb");
            let (disk, lock) = file::Disk::own(&directory, |disk| open::make(disk, &path))?;
            Store::open_on(disk, Some(lock), &path, 50, tell)
        })
        .unwrap()
    };
    let mut owner = reopen();
    owner.append(threaded("kept", &[Thread::Opens])).unwrap();
    owner.append(threaded("paid later", &[Thread::Opens])).unwrap();
    for n in 0..60 {
        owner.append(numbered(n * 5, 5)).unwrap();
    }
    let head = owner.store.reader().head().unwrap();
    assert_eq!((head.next, head.pruned), (302, 252));
    let all = owner.store.reader().records(0, 1000).unwrap();
    assert_eq!(all.len(), 52);
    assert_eq!((all[0].index, all[1].index, all[2].index), (0, 1, 252));
    assert_eq!(owner.store.reader().verify().unwrap().records, 52);
    // A thread that ends gives up its old records at once.
    owner.append(threaded("paid", &[Thread::Ends(1)])).unwrap();
    let all = owner.store.reader().records(0, 1000).unwrap();
    assert_eq!((all[0].index, all[1].index), (0, 253));
    drop(owner);
    let owner = reopen();
    assert_eq!(owner.replay.len(), 1);
    assert_eq!((owner.replay[0].record.index, owner.replay[0].open), (0, true));
    assert_eq!(owner.store.reader().verify().unwrap().records, 51);
}

/// The store's share of "5 000 executions on one flip admitted within 5 s": each is a record of
/// a few kilobytes, then an intent for its first stage.
#[test]
fn thousands_of_executions_are_written_within_seconds() {
    let scratch = Scratch::new();
    let mut owner = Owner::open(&scratch).unwrap();
    let plan = "x".repeat(4000);
    let began = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    for first in (0..5000).step_by(1000) {
        let mut batch = Batch::default();
        for n in first..first + 1000 {
            batch.record(at(n), "workflow.started", &plan);
            batch.entries.last_mut().unwrap().threads.push(Thread::Opens);
            batch.put(format!("workflow.ran/w{n}/eu-west"), &n);
        }
        owner.append(batch).unwrap();
    }
    for first in (0..5000).step_by(1000) {
        let mut batch = Batch::default();
        for n in first..first + 1000 {
            batch.record(at(n), "workflow.intent", &n);
            batch.entries.last_mut().unwrap().threads.push(Thread::Continues(n as u64));
        }
        owner.append(batch).unwrap();
    }
    let took = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - began;
    assert!(took < Duration::from_secs(20), "{took:?}, without optimisation and beside other tests");
    drop(owner);
    let owner = Owner::open(&scratch).unwrap();
    assert_eq!(owner.replay.len(), 10_000);
}
