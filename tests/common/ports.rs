//! Free ports on loopback.

use std::collections::HashSet;
use std::net::{TcpListener, UdpSocket};
use std::sync::Mutex;

/// A port that nobody listens on now, and that this process has not given out before.
pub fn free() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let given = given.get_or_insert_default();
    for _ in 0..1000 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if given.insert(port) {
            return port;
        }
    }
    panic!("no free port");
}

/// A port that is free for UDP and for TCP.
pub fn free_for_both() -> u16 {
    let mut candidates = std::iter::repeat_with(free).take(100);
    candidates.find(|port| UdpSocket::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
