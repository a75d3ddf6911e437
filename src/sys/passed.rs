//! Sockets that others opened for us: systemd (socket activation, sd_listen_fds(3)), or the
//! daemon that this process takes over from.
//!
//! With systemd's the unit can run without any capability, and the port stays open over a
//! restart.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use socket2::{SockRef, Type};

/// The sockets that were passed in.
#[derive(Debug, Default)]
pub struct Passed {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

impl Passed {
    /// Takes them over, once per process.
    ///
    /// # Errors
    /// One of them is neither a UDP socket nor a TCP listener.
    pub fn take() -> Result<Self, String> {
        let mut fds = listenfd::ListenFd::from_env();
        let mut passed = Self::default();
        for position in 0..fds.len() {
            if let Ok(Some(socket)) = fds.take_udp_socket(position) {
                passed.udp.push(socket);
            } else if let Ok(Some(listener)) = fds.take_tcp_listener(position) {
                passed.tcp.push(listener);
            } else {
                return Err(format!(
                    "socket {position} passed by systemd is neither UDP nor TCP; \
                     use ListenDatagram= and ListenStream= with an address and a port"
                ));
            }
        }
        Ok(passed)
    }

    /// Sorts sockets that a process before this one hands over.
    ///
    /// # Errors
    /// One of them is no socket at all.
    pub fn of(sockets: Vec<OwnedFd>) -> Result<Self, String> {
        let mut passed = Self::default();
        for socket in sockets {
            match SockRef::from(&socket).r#type() {
                Ok(Type::DGRAM) => passed.udp.push(socket.into()),
                Ok(Type::STREAM) => passed.tcp.push(socket.into()),
                other => return Err(format!("what was handed over is no socket of ours: {other:?}")),
            }
        }
        Ok(passed)
    }

    /// The UDP sockets bound to an address: one from systemd, one for each thread from another
    /// daemon, none if none was passed.
    pub fn udp(&mut self, address: SocketAddr) -> Vec<UdpSocket> {
        self.udp.extract_if(.., |socket| socket.local_addr().is_ok_and(|bound| bound == address)).collect()
    }

    /// The TCP listener bound to an address, if one was passed.
    pub fn tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let fits = |listener: &TcpListener| listener.local_addr().is_ok_and(|bound| bound == address);
        self.tcp.iter().position(fits).map(|position| self.tcp.swap_remove(position))
    }

    /// Addresses of those that nobody took: the configuration does not list them.
    pub fn left_over(&self) -> Vec<SocketAddr> {
        let udp = self.udp.iter().filter_map(|socket| socket.local_addr().ok());
        let tcp = self.tcp.iter().filter_map(|listener| listener.local_addr().ok());
        udp.chain(tcp).collect()
    }
}
