//! Sockets that systemd opened for us (socket activation, sd_listen_fds(3)).
//!
//! The unit can then run without any capability, and the port stays open over a restart.

use std::net::{SocketAddr, TcpListener, UdpSocket};

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

    /// The UDP socket bound to an address, if one was passed.
    pub fn udp(&mut self, address: SocketAddr) -> Option<UdpSocket> {
        let fits = |socket: &UdpSocket| socket.local_addr().is_ok_and(|bound| bound == address);
        self.udp.iter().position(fits).map(|position| self.udp.swap_remove(position))
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
