//! Many datagrams per system call: recvmmsg(2), sendmmsg(2), and the socket options that
//! socket2 does not know. All of the program's `unsafe` is in this file.
//!
//! The kernel is handed pointers into one [`Batch`], which owns what they lead to and never
//! moves it. The header of a message serves for the query and then for the reply: the address
//! stays, and so does the control message that says which of our addresses was asked, so that
//! the reply leaves from it.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{NonNull, addr_of_mut, null_mut};

use crate::dns::UDP_PAYLOAD;

/// Messages per system call. gdnsd takes 16, Knot 10; past that the gain is lost in noise, and
/// the buffers leave the first-level cache.
pub const BATCH: usize = 16;

/// A message has at most this many octets; a longer one arrives cut short, and is malformed then.
const OCTETS: usize = UDP_PAYLOAD as usize;
/// `struct sockaddr_in6`, the longer of the two kinds of addresses.
const NAME_OCTETS: usize = size_of::<libc::sockaddr_in6>();
/// Room for the one control message that we ask for, with some to spare.
const CONTROL_OCTETS: usize = 64;
/// The data of a control message lie behind its header (cmsg(3); its size is aligned).
const CONTROL_DATA: usize = size_of::<libc::cmsghdr>();

/// Buffers for a batch of messages. It stays in the thread that made it.
pub struct Batch {
    /// Allocated in `new`, freed in `drop`. Holds pointers into itself, made from this one.
    memory: NonNull<Memory>,
    /// How many headers the kernel has written to since they were made ready.
    used: usize,
    /// Whether the socket tells which of our addresses was asked.
    informed: bool,
}

/// What the kernel reads and writes. All zeros is a value of it.
#[repr(C)]
struct Memory {
    headers: [libc::mmsghdr; BATCH],
    queries: [libc::iovec; BATCH],
    replies: [libc::iovec; BATCH],
    slots: [Slot; BATCH],
}

/// The octets of one message and its reply.
#[repr(C, align(8))]
struct Slot {
    name: [u8; NAME_OCTETS],
    control: Control,
    query: [u8; OCTETS],
    reply: [u8; OCTETS],
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_OCTETS]);

impl Batch {
    /// Makes buffers; `informed` for a socket that [`tell_destination`] was called on.
    pub fn new(informed: bool) -> Self {
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { alloc_zeroed(LAYOUT) }.cast::<Memory>();
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(LAYOUT) };
        let at = memory.as_ptr();
        for nth in 0..BATCH {
            // SAFETY: `at` leads to a `Memory` that is ours alone, and zeros are a value of all
            // that is in it (integers, octets, pointers). The pointers are made from `at` itself,
            // not through references, so that they stay valid as long as the allocation.
            unsafe {
                let slot = addr_of_mut!((*at).slots[nth]);
                (*at).queries[nth] =
                    libc::iovec { iov_base: addr_of_mut!((*slot).query).cast(), iov_len: OCTETS };
                (*at).replies[nth].iov_base = addr_of_mut!((*slot).reply).cast();
                let header = addr_of_mut!((*at).headers[nth].msg_hdr);
                (*header).msg_name = addr_of_mut!((*slot).name).cast();
                (*header).msg_iovlen = 1;
                if informed {
                    (*header).msg_control = addr_of_mut!((*slot).control).cast();
                }
            }
        }
        Self { memory, used: BATCH, informed }
    }

    /// Waits for messages and takes as many as are there, up to [`BATCH`]; tells how many.
    ///
    /// # Errors
    /// Of recvmmsg(2). `WouldBlock` when the socket's timeout ran out before one came.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.take(socket, libc::MSG_WAITFORONE)
    }

    /// Takes messages that are there, without waiting.
    ///
    /// # Errors
    /// Of recvmmsg(2). `WouldBlock` when there is none.
    pub fn receive_waiting(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.take(socket, libc::MSG_DONTWAIT)
    }

    fn take(&mut self, socket: impl AsFd, flags: libc::c_int) -> io::Result<usize> {
        let at = self.memory.as_ptr();
        for nth in 0..self.used {
            // SAFETY: `at` leads to our own memory, no reference to it is alive, `nth` is below
            // `BATCH`; the pointer to the buffer is made from `at`, see `new`.
            unsafe {
                let header = addr_of_mut!((*at).headers[nth].msg_hdr);
                (*header).msg_iov = addr_of_mut!((*at).queries[nth]);
                (*header).msg_namelen = NAME_OCTETS as libc::socklen_t;
                (*header).msg_controllen = if self.informed { CONTROL_OCTETS as _ } else { 0 };
            }
        }
        self.used = 0;
        // SAFETY: the descriptor is open as long as it is borrowed. `headers` are `BATCH` headers
        // whose pointers lead to buffers of the lengths beside them, all in our own memory, to
        // which no reference is alive. No timeout is passed.
        let received = unsafe {
            let headers = addr_of_mut!((*at).headers).cast();
            libc::recvmmsg(socket.as_fd().as_raw_fd(), headers, BATCH as _, flags as _, null_mut())
        };
        self.used = usize::try_from(received).map_err(|_| io::Error::last_os_error())?.min(BATCH);
        Ok(self.used)
    }

    /// Has each message answered that was received last. The closure gets the octets, from whom
    /// they came, and a buffer; it tells the length of the reply, or that there is none.
    /// Messages from port 0 are dropped: no answer can reach it, and only forgers use it.
    #[inline]
    pub fn answer(
        &mut self,
        mut answer: impl FnMut(&[u8], IpAddr, &mut [u8]) -> Option<usize>,
    ) -> Answered<'_> {
        // SAFETY: the memory is ours, initialised, and no other reference to it is alive: each
        // lives within a method that borrows the whole batch.
        let memory = unsafe { self.memory.as_mut() };
        let mut replied = 0u32;
        for nth in 0..self.used {
            let Slot { name, query, reply, .. } = &mut memory.slots[nth];
            let query = query.get(..memory.headers[nth].msg_len as usize).unwrap_or(query);
            let Some(client) = client(name) else { continue };
            if let Some(len) = answer(query, client, reply) {
                memory.replies[nth].iov_len = len.min(OCTETS);
                replied |= 1 << nth;
            }
        }
        Answered { batch: self, replied }
    }

    /// Sends the replies from `start` to `end`; tells how many the system did not take.
    #[allow(clippy::unnecessary_cast, reason = "lengths are of another type with other C libraries")]
    fn send(&mut self, socket: &impl AsFd, start: usize, end: usize) -> usize {
        let at = self.memory.as_ptr();
        for nth in start..end {
            // SAFETY: as in `take`. A control message is in the buffer if the kernel has put one
            // there, and only its octets are changed.
            unsafe {
                let header = addr_of_mut!((*at).headers[nth].msg_hdr);
                (*header).msg_iov = addr_of_mut!((*at).replies[nth]);
                if self.informed {
                    let control = &mut (*addr_of_mut!((*at).slots[nth].control)).0;
                    (*header).msg_controllen =
                        from_destination(control, (*header).msg_controllen as usize) as _;
                }
            }
        }
        let (mut next, mut unsent) = (start, 0);
        while next < end {
            // SAFETY: the descriptor is open as long as it is borrowed. The headers from `next` to
            // `end` are ours, their pointers lead to our own memory: addresses and control messages
            // as the kernel wrote them, and replies of the lengths that were told.
            let sent = unsafe {
                let headers = addr_of_mut!((*at).headers).cast::<libc::mmsghdr>().add(next);
                let count = (end - next) as libc::c_uint;
                libc::sendmmsg(socket.as_fd().as_raw_fd(), headers, count, libc::MSG_DONTWAIT as _)
            };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => next += sent,
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // The first one cannot be sent (a firewall, no route, a full queue): it is lost, as
                // datagrams may be, and those behind it have their turn.
                _ => (next, unsent) = (next + 1, unsent + 1),
            }
        }
        unsent
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, and freed nowhere else. Nothing in it
        // needs to be dropped.
        unsafe { dealloc(self.memory.as_ptr().cast(), LAYOUT) }
    }
}

const LAYOUT: Layout = Layout::new::<Memory>();

/// A batch with replies that are to be sent.
#[must_use]
pub struct Answered<'b> {
    batch: &'b mut Batch,
    /// A bit for each message that has a reply.
    replied: u32,
}

impl Answered<'_> {
    /// Sends the replies, from the addresses that were asked; tells how many the system did not
    /// take.
    #[inline]
    pub fn send(self, socket: impl AsFd) -> usize {
        let (mut rest, mut unsent) = (self.replied, 0);
        // Runs of messages that have replies; mostly it is one.
        while rest != 0 {
            let start = rest.trailing_zeros();
            let end = start + (rest >> start).trailing_ones();
            unsent += self.batch.send(&socket, start as usize, end as usize);
            rest &= u32::MAX << end;
        }
        unsent
    }
}

/// From whom a message came; `None` for port 0.
#[inline]
fn client(name: &[u8; NAME_OCTETS]) -> Option<IpAddr> {
    // Family in the machine's order, port and address in the network's.
    let [f0, f1, p0, p1, a, b, c, d, ..] = *name;
    if (p0, p1) == (0, 0) {
        return None;
    }
    match libc::c_int::from(u16::from_ne_bytes([f0, f1])) {
        libc::AF_INET => Some(Ipv4Addr::new(a, b, c, d).into()),
        libc::AF_INET6 => {
            let address = name.get(offset_of!(libc::sockaddr_in6, sin6_addr)..)?.first_chunk::<16>()?;
            Some(Ipv6Addr::from(*address).into())
        }
        _ => None,
    }
}

/// Turns the control message that says which of our addresses was asked into the one that says
/// which to send from; tells its length, 0 if there is none.
///
/// The interface is left to routing, except for link-local addresses, which mean nothing without
/// it: a reply need not leave where the query came in.
fn from_destination(control: &mut [u8; CONTROL_OCTETS], len: usize) -> usize {
    if len < CONTROL_DATA {
        return 0;
    }
    let int_at = |at: usize| {
        control.get(at..).and_then(|rest| rest.first_chunk()).map(|int| libc::c_int::from_ne_bytes(*int))
    };
    let level = int_at(offset_of!(libc::cmsghdr, cmsg_level));
    let kind = int_at(offset_of!(libc::cmsghdr, cmsg_type));
    let data = &mut control[CONTROL_DATA..];
    match (level, kind) {
        (Some(libc::IPPROTO_IP), Some(libc::IP_PKTINFO)) => {
            // struct in_pktinfo: interface, our address, the header's destination (ip(7)). Our
            // address is where to send from; it differs from the destination for broadcasts only.
            const INTERFACE: usize = offset_of!(libc::in_pktinfo, ipi_ifindex);
            data[INTERFACE..INTERFACE + 4].fill(0);
            len
        }
        (Some(libc::IPPROTO_IPV6), Some(libc::IPV6_PKTINFO)) => {
            // struct in6_pktinfo: our address, interface (RFC 3542 §6.2).
            const INTERFACE: usize = offset_of!(libc::in6_pktinfo, ipi6_ifindex);
            let link_local = data[0] == 0xfe && data[1] & 0xc0 == 0x80;
            if !link_local {
                data[INTERFACE..INTERFACE + 4].fill(0);
            }
            len
        }
        _ => 0,
    }
}

/// Has a UDP socket say with each message which of our addresses it was sent to.
///
/// # Errors
/// Of setsockopt(2).
pub fn tell_destination(socket: impl AsFd, ipv6: bool) -> io::Result<()> {
    match ipv6 {
        true => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
        false => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
    }
}

/// Has a UDP socket ignore what it hears about the path's MTU: a forged word of it could have
/// replies cut into fragments, into which others can be smuggled (RFC 9715 §3.1).
///
/// # Errors
/// Of setsockopt(2).
pub fn ignore_path_mtu(socket: impl AsFd, ipv6: bool) -> io::Result<()> {
    match ipv6 {
        true => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT),
        false => set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT),
    }
}

fn set_option(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed; `value` is an int, and its size
    // is told.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    #[test]
    fn answers_in_batches_and_skips_those_without_a_reply() {
        let (server, client) = (socket(), socket());
        client.connect(server.local_addr().unwrap()).unwrap();
        let mut batch = Batch::new(false);
        for round in 0..3u8 {
            for n in 0..40u8 {
                client.send(&[round, n]).unwrap();
            }
            let mut seen = 0;
            while seen < 40 {
                let received = batch.receive(&server).unwrap();
                assert!((1..=BATCH).contains(&received));
                seen += received;
                let answered = batch.answer(|query, from, reply| {
                    assert_eq!(from, IpAddr::from([127, 0, 0, 1]));
                    reply[..2].copy_from_slice(query);
                    // Every third one gets none.
                    (!query[1].is_multiple_of(3)).then_some(2)
                });
                assert_eq!(answered.send(&server), 0);
            }
            let mut buffer = [0; 16];
            for n in (0..40).filter(|n: &u8| !n.is_multiple_of(3)) {
                assert_eq!(client.recv(&mut buffer).unwrap(), 2);
                assert_eq!(buffer[..2], [round, n]);
            }
        }
        assert_eq!(batch.receive_waiting(&server).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_timeout_is_no_fault() {
        let server = socket();
        server.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let error = Batch::new(false).receive(&server).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let (server, client) = (socket(), socket());
        client.send_to(&[7; 1300], server.local_addr().unwrap()).unwrap();
        let mut batch = Batch::new(false);
        batch.receive(&server).unwrap();
        let _ = batch.answer(|query, _, _| {
            assert_eq!(query.len(), OCTETS);
            None
        });
    }

    #[test]
    fn a_reply_that_cannot_be_sent_holds_up_nobody() {
        let (server, client) = (socket(), socket());
        for n in 0..3 {
            client.send_to(&[n], server.local_addr().unwrap()).unwrap();
        }
        let mut batch = Batch::new(false);
        let mut received = 0;
        while received < 3 {
            received += batch.receive(&server).unwrap();
            // Sent through a socket that may not: it is connected elsewhere by family.
            let answered = batch.answer(|query, _, reply| {
                reply[0] = query[0];
                Some(1)
            });
            let other = UdpSocket::bind("[::1]:0").unwrap();
            let replies = answered.replied.count_ones() as usize;
            assert_eq!(answered.send(&other), replies);
        }
    }

    #[test]
    fn port_zero_and_other_families_have_no_client() {
        let mut name = [0; NAME_OCTETS];
        name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        assert_eq!(client(&name), None);
        name[3] = 53;
        name[4..8].copy_from_slice(&[192, 0, 2, 1]);
        assert_eq!(client(&name), Some(IpAddr::from([192, 0, 2, 1])));
        name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        name[8] = 0x20;
        name[9] = 1;
        assert_eq!(client(&name), Some("2001::".parse().unwrap()));
        name[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
        assert_eq!(client(&name), None);
    }
}
