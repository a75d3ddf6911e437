//! The answer path does not allocate: an allocator that counts says so.
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pointsman::dns::{Asker, Counter, Desk, Transport, answer};
use pointsman::wire::{Name, RecordType, ask};

mod zoo;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // The cell is gone while a thread ends; nothing is measured then.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn no_answer_allocates() {
    let table = zoo::table();
    let types = [1, 28, 2, 5, 6, 12, 15, 16, 33, 35, 39, 41, 43, 46, 65, 128, 250, 251, 252, 253, 255, 65280];
    let mut queries = Vec::new();
    let below = zoo::NAMES.iter().map(|name| format!("{name}.example.com"));
    for name in below.chain(["example.com".to_owned()]) {
        for rtype in types {
            for payload in [None, Some(512), Some(4096)] {
                queries.push(ask(1, &Name::parse(&name).unwrap(), RecordType(rtype), payload));
            }
        }
    }
    queries.push(ask(1, &Name::parse("elsewhere").unwrap(), RecordType::A, None));
    // Each of these, broken at every place in turn.
    let sound = ask(1, &Name::parse("host.example.com").unwrap(), RecordType::A, Some(1232));
    for at in 0..sound.len() {
        queries.push(sound[..at].to_vec());
        for value in [0, 1, 0x80, 0xc0, 0xff] {
            let mut broken = sound.clone();
            broken[at] = value;
            queries.push(broken);
        }
    }

    let (mut out, mut desk) = (vec![0; 65_535], Desk::new(fastrand::Rng::with_seed(3), 1_800_000_000));
    let before = ALLOCATIONS.get();
    for query in &queries {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic] {
            let asker = Asker { client: [192, 0, 2, 200].into(), transport };
            answer(query, &mut out, &table, &asker, &mut desk);
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "over {} queries", queries.len());
    // It was a mix of everything.
    for (counter, count) in desk.counts.iter().take(Counter::Unsent as usize) {
        let is_there = !matches!(counter, Counter::YxDomain);
        assert_eq!(count > 0, is_there, "{}", counter.word());
    }
    // And the allocator does count.
    drop(Box::new(ALLOCATIONS.get()));
    assert!(ALLOCATIONS.get() > before);
}
