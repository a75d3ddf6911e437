//! What it takes to reach out, put together once and shared by all parts of the rim.

use std::sync::Arc;

use super::tls::Trusts;
use super::{Deadline, Failure, Resolver, Trust, TrustFiles};

/// The way out: name resolution, and TLS configurations. Cheap to clone; clones share.
#[derive(Clone, Default, Debug)]
pub struct Net {
    resolver: Resolver,
    trusts: Trusts,
}

impl Net {
    /// With nothing remembered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks names up.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The TLS configuration that these files make, read again when one of them has changed.
    ///
    /// # Errors
    /// A file is missing or makes no sense: always a failure of our own side.
    pub async fn trust(&self, files: &TrustFiles, deadline: Deadline) -> Result<Arc<Trust>, Failure> {
        self.trusts.get(files, deadline).await
    }
}
