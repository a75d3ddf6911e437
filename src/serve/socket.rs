//! Where queries come in: sockets bound here, or bound by systemd and handed over.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::mmsg::{ignore_path_mtu, tell_destination};
use super::udp::WAKE;

/// Queries wait in the kernel while all threads are busy: this much of them, as far as
/// `net.core.rmem_max` allows.
const QUEUE_OCTETS: usize = 4 << 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// With port 0, so many ports are tried until one is free for UDP and TCP both.
const PORTS_TRIED: usize = 16;

/// Sockets to serve on.
#[derive(Debug, Default)]
pub struct Sockets {
    pub(super) udp: Vec<Udp>,
    pub(super) tcp: Vec<TcpListener>,
}

#[derive(Debug)]
pub(super) struct Udp {
    pub(super) socket: UdpSocket,
    /// Bound to all addresses, so that it must tell which one was asked.
    pub(super) informed: bool,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({transport}): {error}{}", cure(error, *address))]
pub struct BindError {
    address: SocketAddr,
    transport: &'static str,
    error: io::Error,
}

impl Sockets {
    /// Binds UDP and TCP to each address: for UDP as many sockets as threads, among which the
    /// kernel spreads clients. Port 0 takes one that is free for both.
    ///
    /// # Errors
    /// Names the address and, where there is one, the cure.
    pub fn bind(addresses: &[SocketAddr], udp_threads: usize) -> Result<Self, BindError> {
        let mut sockets = Self::default();
        for address in addresses {
            let mut tried = 1;
            loop {
                match bind_both(*address, udp_threads) {
                    Ok((udp, tcp)) => {
                        sockets.udp.extend(udp);
                        sockets.tcp.push(tcp);
                        break;
                    }
                    Err(BindError { transport: "UDP", error, .. })
                        if address.port() == 0
                            && error.kind() == io::ErrorKind::AddrInUse
                            && tried < PORTS_TRIED =>
                    {
                        tried += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(sockets)
    }

    /// Takes sockets over that are bound already, by systemd or by a daemon that hands over to
    /// this one. They stay bound when we close them. `udp` holds those of one address together:
    /// each of them gets a thread at the least, and where there are fewer than threads, several
    /// share one.
    ///
    /// # Errors
    /// A socket is of another kind, or an option cannot be set.
    pub fn adopt(
        udp: Vec<Vec<UdpSocket>>,
        tcp: Vec<TcpListener>,
        udp_threads: usize,
    ) -> Result<Self, BindError> {
        let mut sockets = Self::default();
        for group in udp {
            let threads = udp_threads.max(group.len());
            for socket in group.iter().cycle().take(threads) {
                let address = socket.local_addr().map_err(|error| unbound("UDP", error))?;
                let wrong = |error| BindError { address, transport: "UDP", error };
                let socket = Socket::from(socket.try_clone().map_err(wrong)?);
                sockets.udp.push(prepare_udp(socket, address).map_err(wrong)?);
            }
        }
        for socket in tcp {
            let address = socket.local_addr().map_err(|error| unbound("TCP", error))?;
            let wrong = |error| BindError { address, transport: "TCP", error };
            socket.set_nonblocking(true).map_err(wrong)?;
            sockets.tcp.push(socket);
        }
        Ok(sockets)
    }

    /// These and those: sockets from systemd beside those the configuration names.
    pub fn and(mut self, others: Self) -> Self {
        self.udp.extend(others.udp);
        self.tcp.extend(others.tcp);
        self
    }

    /// Where UDP is served, each address once.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.udp.iter().filter_map(|udp| udp.socket.local_addr().ok()).collect();
        addresses.dedup();
        addresses
    }

    /// Where TCP is served.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|tcp| tcp.local_addr().ok()).collect()
    }

    /// A copy of one of the UDP sockets.
    pub fn udp_socket(&self, nth: usize) -> Option<UdpSocket> {
        self.udp.get(nth)?.socket.try_clone().ok()
    }

    /// Copies of all of them, to be handed to a daemon that takes over.
    ///
    /// # Errors
    /// Of dup(2).
    pub fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let udp = self.udp.iter().map(|udp| udp.socket.as_fd().try_clone_to_owned());
        let tcp = self.tcp.iter().map(|tcp| tcp.as_fd().try_clone_to_owned());
        udp.chain(tcp).collect()
    }
}

fn bind_both(address: SocketAddr, udp_threads: usize) -> Result<(Vec<Udp>, TcpListener), BindError> {
    // TCP first: its port is not shared, so that a second daemon finds out here.
    let tcp = bind_tcp(address).map_err(|error| BindError { address, transport: "TCP", error })?;
    let address = tcp.local_addr().map_err(|error| BindError { address, transport: "TCP", error })?;
    let udp = (0..udp_threads.max(1)).map(|_| bind_udp(address)).collect::<io::Result<_>>();
    Ok((udp.map_err(|error| BindError { address, transport: "UDP", error })?, tcp))
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait for connections that linger.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_udp(address: SocketAddr) -> io::Result<Udp> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let udp = prepare_udp(socket, address)?;
    socket2::SockRef::from(&udp.socket).bind(&address.into())?;
    Ok(udp)
}

fn prepare_udp(socket: Socket, address: SocketAddr) -> io::Result<Udp> {
    // The kernel takes what it allows of these; less is no reason not to serve.
    let _ = socket.set_recv_buffer_size(QUEUE_OCTETS);
    let _ = socket.set_send_buffer_size(QUEUE_OCTETS);
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(WAKE))?;
    ignore_path_mtu(&socket, address.is_ipv6())?;
    let informed = address.ip().is_unspecified();
    if informed {
        tell_destination(&socket, address.is_ipv6())?;
    }
    Ok(Udp { socket: socket.into(), informed })
}

fn unbound(transport: &'static str, error: io::Error) -> BindError {
    BindError { address: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0), transport, error }
}

/// What to do about it, for those who have not met the error before.
fn cure(error: &io::Error, address: SocketAddr) -> String {
    let port = address.port();
    let cure: &dyn fmt::Display = match error.kind() {
        io::ErrorKind::AddrInUse => &format_args!(
            "another process has it; `ss -lnup sport = :{port}` and `ss -lntp sport = :{port}` tell which"
        ),
        io::ErrorKind::PermissionDenied => {
            &"ports below 1024 take a capability; in the systemd unit: AmbientCapabilities=CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => {
            &"no interface has this address; `ip address` lists those there are"
        }
        _ => return String::new(),
    };
    format!("; {cure}")
}
