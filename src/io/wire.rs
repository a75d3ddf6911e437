//! A connection in clear text or under TLS, for small protocols of which we speak a few words.

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::{self, secured};
use super::{Close, Contact, Failure, Net, TrustFiles};
use crate::config::HostPort;

/// An open connection to a server, with what it says kept to a limit.
pub struct Wire<'a> {
    stream: stream::Wire,
    to: &'a HostPort,
    heard: Vec<u8>,
    /// Up to where `heard` was taken.
    taken: usize,
    bytes_max: usize,
}

impl<'a> Wire<'a> {
    /// Connects; `trust` for TLS from the first byte. The server may say so many bytes.
    ///
    /// # Errors
    /// The connection is refused, TLS fails, or not in time.
    pub async fn open(
        contact: &mut Contact,
        net: &Net,
        to: &'a HostPort,
        trust: Option<&TrustFiles>,
        bytes_max: usize,
    ) -> Result<Self, Failure> {
        // Not abruptly: the last thing said must arrive.
        let stream = contact.connect(net, to, Close::Gracefully).await?;
        let stream: stream::Wire = match trust {
            None => Box::new(stream),
            Some(trust) => {
                let trust = net.trust(trust, contact.deadline()).await?;
                let name = ServerName::try_from(to.host.clone())
                    .map_err(|_| Failure::unmeasured(format!("{to} has no name for TLS")))?;
                Box::new(contact.secure(&trust, name, to, stream).await?)
            }
        };
        Ok(Self { stream, to, heard: Vec::new(), taken: 0, bytes_max })
    }

    /// Goes on over TLS, the server's name verified, with a server that has spoken first.
    ///
    /// # Errors
    /// TLS fails, or not in time.
    pub async fn secure(
        mut self,
        contact: &mut Contact,
        net: &Net,
        trust: &TrustFiles,
    ) -> Result<Self, Failure> {
        // Whatever stands behind the last word in clear text may be anybody's, and must not be taken
        // for the server's afterwards (CVE-2011-0411 and its kin).
        if self.taken < self.heard.len() {
            return Err(Failure::rubbish(format!("{} talks on where TLS should begin", self.to)));
        }
        let trust = net.trust(trust, contact.deadline()).await?;
        self.stream = secured(contact, &trust, self.to, self.stream).await?;
        Ok(self)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection is gone, or the budget used up.
    pub async fn send(&mut self, contact: &Contact, bytes: &[u8]) -> Result<(), Failure> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            // Under TLS what is written may still wait for the socket.
            self.stream.flush().await
        };
        let sent = contact.bound(sending).await?;
        sent.map_err(|error| Failure::of_talk(&error, self.to, !self.heard.is_empty()))
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// The connection ends before, or the budget is used up.
    pub async fn take(&mut self, contact: &mut Contact, length: usize) -> Result<&[u8], Failure> {
        while self.heard.len() - self.taken < length {
            self.hear(contact).await?;
        }
        let start = self.taken;
        self.taken += length;
        Ok(&self.heard[start..self.taken])
    }

    /// The next line, without its end.
    ///
    /// # Errors
    /// The connection ends before, or the budget is used up.
    pub async fn line(&mut self, contact: &mut Contact) -> Result<String, Failure> {
        loop {
            let rest = &self.heard[self.taken..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&rest[..end]).trim_end_matches('\r').to_owned();
                self.taken += end + 1;
                return Ok(line);
            }
            self.hear(contact).await?;
        }
    }

    /// Everything until the server closes the connection.
    ///
    /// # Errors
    /// It says nothing before it does, or the budget is used up.
    pub async fn rest(&mut self, contact: &mut Contact) -> Result<&[u8], Failure> {
        loop {
            match self.hear(contact).await {
                Ok(()) => {}
                Err(_) if !contact.deadline().over() && !self.heard.is_empty() => {
                    if self.heard.len() >= self.bytes_max {
                        return Err(self.too_much());
                    }
                    return Ok(&self.heard[self.taken..]);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn hear(&mut self, contact: &mut Contact) -> Result<(), Failure> {
        let room = self.bytes_max - self.heard.len();
        if room == 0 {
            return Err(self.too_much());
        }
        let before = self.heard.len();
        let limited = &mut (&mut self.stream).take(room as u64);
        let read = contact.bound(limited.read_buf(&mut self.heard)).await?;
        match read {
            Ok(0) => {
                let end = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                Err(Failure::of_talk(&end, self.to, before > 0))
            }
            Ok(_) => {
                contact.heard_at(super::Clock.mono());
                Ok(())
            }
            Err(error) => Err(Failure::of_talk(&error, self.to, before > 0)),
        }
    }

    fn too_much(&self) -> Failure {
        Failure::rubbish(format!("{} answers with more than {} bytes", self.to, self.bytes_max))
    }
}
