//! What it takes to reach out, put together once and shared by all parts of the rim.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tls::Trusts;
use super::{Deadline, Failure, Farewells, Resolver, Tokens, Trust, TrustFiles};
use crate::config::Source;

/// The way out: name resolution, TLS configurations, and the tokens we were given. Cheap to clone; clones share.
#[derive(Clone, Default, Debug)]
pub struct Net {
    resolver: Resolver,
    trusts: Trusts,
    tokens: Tokens,
    farewells: Farewells,
    source: Source,
    turns: Turns,
}

/// Programs that checks run at once. Each is a process of its own: more of them would measure how
/// busy this machine is.
const PROGRAMS_MAX: usize = 32;

#[derive(Clone, Debug)]
struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PROGRAMS_MAX)))
    }
}

impl Net {
    /// With nothing remembered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with connections that come from these addresses.
    #[must_use]
    pub fn from(&self, source: Source) -> Self {
        Self { source, ..self.clone() }
    }

    /// Where connections come from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Waits for its turn to run a program, and keeps it until what is returned is dropped.
    pub async fn turn_to_run(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        Arc::clone(&self.turns.0).acquire_owned().await.ok()
    }

    /// Looks names up.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The tokens we were given.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What is to be said before we go.
    pub fn farewells(&self) -> &Farewells {
        &self.farewells
    }

    /// The same, with nothing to be said: for those whose words these are, so that they do not keep
    /// one another for ever.
    #[must_use]
    pub fn mute(&self) -> Self {
        Self { farewells: Farewells::default(), ..self.clone() }
    }

    /// The TLS configuration that these files make, read again when one of them has changed.
    ///
    /// # Errors
    /// A file is missing or makes no sense: always a failure of our own side.
    pub async fn trust(&self, files: &TrustFiles, deadline: Deadline) -> Result<Arc<Trust>, Failure> {
        self.trusts.get(files, deadline).await
    }
}
