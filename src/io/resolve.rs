//! Names → addresses, by the system's own rules (`/etc/hosts`, nsswitch, resolv.conf).
//!
//! `getaddrinfo` blocks a thread for as long as the name servers please. So there is one lookup
//! per name at a time, however many wait for it; few lookups at once; and a short memory, so
//! that a thousand checks of one host are not a thousand questions.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::{Clock, Deadline, Failure};
use crate::base::Mono;

/// Threads that wait for name servers.
const LOOKUPS_MAX: usize = 32;
/// Names remembered at once.
const NAMES_MAX: usize = 4096;
/// Addresses of one name that are tried.
pub const ADDRESSES_MAX: usize = 8;
/// For how long a found address is used without asking again. Shorter than any sensible TTL.
const FRESH: Duration = Duration::from_secs(5);

type Found = Result<Arc<[IpAddr]>, String>;

/// Looks names up.
#[derive(Clone, Debug)]
pub struct Resolver {
    state: Arc<Mutex<State>>,
    lookups: Arc<Semaphore>,
}

#[derive(Default, Debug)]
struct State {
    under_way: HashMap<String, watch::Receiver<Option<Found>>>,
    found: HashMap<String, (Mono, Arc<[IpAddr]>)>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { state: Arc::default(), lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolver {
    /// The addresses of a host, best first; at least one. An address in digits is itself.
    ///
    /// # Errors
    /// The name cannot be resolved in time: always a failure of our own side.
    pub async fn resolve(
        &self,
        host: &str,
        port: u16,
        deadline: Deadline,
    ) -> Result<Vec<SocketAddr>, Failure> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let fail = |why: &str| Failure::unmeasured(format!("cannot resolve {host}: {why}"));
        let found = match self.fresh(host) {
            Some(found) => found,
            None => {
                let mut answer = self.look_up(host);
                let arrived = deadline.bound(answer.wait_for(Option::is_some)).await;
                let arrived = arrived.map_err(|_| fail("no answer in time"))?;
                let arrived = arrived.map_err(|_| fail("the lookup was dropped"))?.clone();
                arrived.expect("it was waited for").map_err(|why| fail(&why))?
            }
        };
        Ok(found.iter().map(|address| SocketAddr::new(*address, port)).collect())
    }

    /// Makes it remember addresses, as if they had just been found.
    #[cfg(test)]
    pub(super) fn remember(&self, host: &str, addresses: &[IpAddr]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.found.insert(host.to_owned(), (Clock.mono(), addresses.into()));
    }

    fn fresh(&self, host: &str) -> Option<Arc<[IpAddr]>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, found) = state.found.get(host)?;
        (Clock.mono().since(*at) < FRESH).then(|| Arc::clone(found))
    }

    /// Joins the lookup of this name that is under way, or starts one.
    fn look_up(&self, host: &str) -> watch::Receiver<Option<Found>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = state.under_way.get(host) {
            return answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        state.under_way.insert(host.to_owned(), answer.clone());
        drop(state);

        // It goes on when the one who asked has given up: the next one may need the answer.
        let (this, host) = (self.clone(), host.to_owned());
        tokio::spawn(async move {
            let found = this.ask(host.clone()).await;
            let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.under_way.remove(&host);
            if let Ok(addresses) = &found {
                let now = Clock.mono();
                if state.found.len() >= NAMES_MAX {
                    state.found.retain(|_, (at, _)| now.since(*at) < FRESH);
                }
                if state.found.len() < NAMES_MAX {
                    state.found.insert(host, (now, Arc::clone(addresses)));
                }
            }
            drop(state);
            tell.send_replace(Some(found));
        });
        answer
    }

    async fn ask(&self, host: String) -> Found {
        let _permit = self.lookups.acquire().await.map_err(|_| "shutting down".to_owned())?;
        let looked = tokio::task::spawn_blocking(move || {
            let found = (host.as_str(), 0).to_socket_addrs().map_err(|why| why.to_string())?;
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.map(|address| address.ip()) {
                if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                    addresses.push(address);
                }
            }
            match addresses.is_empty() {
                true => Err("it has no address".to_owned()),
                false => Ok(Arc::from(addresses)),
            }
        });
        looked.await.unwrap_or_else(|why| Err(why.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Class;

    fn soon() -> Deadline {
        Clock.deadline(Duration::from_secs(20))
    }

    #[tokio::test]
    async fn digits_need_no_lookup() {
        let resolver = Resolver::default();
        let over = Clock.deadline(Duration::ZERO);
        assert_eq!(resolver.resolve("::1", 53, over).await.unwrap(), ["[::1]:53".parse().unwrap()]);
        assert!(resolver.state.lock().unwrap().found.is_empty());
    }

    #[tokio::test]
    async fn one_lookup_serves_all_who_wait() {
        let resolver = Resolver::default();
        let first = resolver.look_up("localhost");
        let second = resolver.look_up("localhost");
        assert!(first.same_channel(&second));
        let found = resolver.resolve("localhost", 80, soon()).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80), "{found:?}");
        assert!(resolver.fresh("localhost").is_some());
        assert!(resolver.state.lock().unwrap().under_way.is_empty());
    }

    #[tokio::test]
    async fn a_name_that_is_not_there_is_our_own_trouble() {
        let resolver = Resolver::default();
        let failure = resolver.resolve("no-such-host.invalid", 80, soon()).await.unwrap_err();
        assert_eq!(failure.class, Class::Unmeasured);
        assert!(failure.words.contains("no-such-host.invalid"), "{failure}");
    }
}
