//! Ports for what is stopped and started again in the story.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below those that systems give to outgoing connections (32768 on Linux, 49152 elsewhere): one
/// of them could take the port of a member while it is down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
const TRIES_MAX: u32 = 1000;

/// A port of the loopback address that nobody uses now, and that was not given out before.
///
/// # Errors
/// There is none.
pub fn free() -> Result<u16, String> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rng = fastrand::Rng::new();
    (0..TRIES_MAX)
        .map(|_| rng.u16(PORTS))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok() && given.insert(*port))
        .ok_or_else(|| format!("no port between {} and {} is free", PORTS.start, PORTS.end))
}
