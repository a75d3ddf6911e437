//! What a configuration amounts to, all files read: what the daemon is set up to do.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::ServiceId;
use crate::config::Config;
use crate::table::Image;
use crate::wire::Name;
use crate::workflow::Workflow;

/// A configuration with its zones and workflows. Immutable; a reload makes another.
#[derive(Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its zones, compiled once.
    pub image: Arc<Image>,
    /// Its workflows, in the order of `config.workflows`.
    pub workflows: Vec<Workflow>,
    names: HashMap<Name, ServiceId>,
}

impl Setup {
    /// Puts the parts together. There is one workflow for each that the configuration names.
    pub fn new(config: Arc<Config>, image: Arc<Image>, workflows: Vec<Workflow>) -> Arc<Self> {
        debug_assert_eq!(config.workflows.len(), workflows.len());
        let names = config
            .services
            .iter()
            .flat_map(|(id, service)| service.names.iter().map(move |(name, _)| (name.clone(), id)))
            .collect();
        Arc::new(Self { config, image, workflows, names })
    }

    /// The service that a dynamic name belongs to.
    pub fn service_of(&self, name: &Name) -> Option<ServiceId> {
        self.names.get(name).copied()
    }
}
