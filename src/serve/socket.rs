//! Where queries come in: sockets bound here, or bound by systemd and handed over.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::door::Door;
use super::mmsg::{ignore_path_mtu, tell_destination};
use super::udp::WAKE;
use crate::base::Prefix;
use crate::config::Carries;
use crate::io::Certificate;

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
    pub(super) doors: Vec<Door>,
    pub(super) quic: Vec<UdpSocket>,
    pub(super) certificate: Option<Arc<Certificate>>,
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
                        sockets.doors.push(plain(tcp));
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
            sockets.doors.push(plain(socket));
        }
        Ok(sockets)
    }

    /// Adds a listener for connections, bound to this address unless it is `passed` in. Without
    /// `balancers` it is for whoever comes.
    ///
    /// # Errors
    /// Names the address and, where there is one, the cure.
    pub fn add_door(
        &mut self,
        address: SocketAddr,
        carries: Carries,
        balancers: Option<&[Prefix]>,
        passed: Option<TcpListener>,
    ) -> Result<(), BindError> {
        let transport = match carries {
            Carries::Dns => "TCP",
            Carries::Tls => "TLS",
            Carries::Https => "HTTPS",
        };
        let wrong = |error| BindError { address, transport, error };
        let listener = match passed {
            None => bind_tcp(address).map_err(wrong)?,
            Some(listener) => {
                listener.set_nonblocking(true).map_err(wrong)?;
                listener
            }
        };
        self.doors.push(Door { listener, carries, balancers: balancers.map(Arc::from) });
        Ok(())
    }

    /// Adds a socket for QUIC, bound to this address unless it is `passed` in.
    ///
    /// # Errors
    /// Names the address and, where there is one, the cure.
    pub fn add_quic(&mut self, address: SocketAddr, passed: Option<UdpSocket>) -> Result<(), BindError> {
        let wrong = |error| BindError { address, transport: "QUIC", error };
        self.quic.push(match passed {
            None => bind_quic(address).map_err(wrong)?,
            Some(socket) => socket,
        });
        Ok(())
    }

    /// Shows this certificate to clients that come over TLS, HTTPS and QUIC.
    pub fn show(&mut self, certificate: Arc<Certificate>) {
        self.certificate = Some(certificate);
    }

    /// These and those: sockets from systemd beside those the configuration names.
    pub fn and(mut self, others: Self) -> Self {
        self.udp.extend(others.udp);
        self.doors.extend(others.doors);
        self.quic.extend(others.quic);
        self.certificate = self.certificate.or(others.certificate);
        self
    }

    /// Where UDP is served, each address once.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.udp.iter().filter_map(|udp| udp.socket.local_addr().ok()).collect();
        addresses.dedup();
        addresses
    }

    /// Where TCP is served to whoever comes.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(Carries::Dns, false)
    }

    /// Where connections come in that carry this, from balancers or from whoever comes.
    pub fn addresses(&self, carries: Carries, proxied: bool) -> Vec<SocketAddr> {
        let doors = self.doors.iter();
        let doors = doors.filter(|door| door.carries == carries && door.balancers.is_some() == proxied);
        doors.filter_map(|door| door.listener.local_addr().ok()).collect()
    }

    /// Where QUIC is served.
    pub fn quic_addresses(&self) -> Vec<SocketAddr> {
        self.quic.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// The certificate that clients are shown.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref()
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
        let udp = self.udp.iter().map(|udp| udp.socket.as_fd());
        let quic = self.quic.iter().map(UdpSocket::as_fd);
        let doors = self.doors.iter().map(|door| door.listener.as_fd());
        udp.chain(quic).chain(doors).map(|socket| socket.try_clone_to_owned()).collect()
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

fn plain(listener: TcpListener) -> Door {
    Door { listener, carries: Carries::Dns, balancers: None }
}

/// One socket for all clients: a QUIC connection may go on from another address (RFC 9000 §9),
/// and must not end up with another thread there.
fn bind_quic(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel takes what it allows of these; less is no reason not to serve.
    let _ = socket.set_recv_buffer_size(QUEUE_OCTETS);
    let _ = socket.set_send_buffer_size(QUEUE_OCTETS);
    socket.bind(&address.into())?;
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
