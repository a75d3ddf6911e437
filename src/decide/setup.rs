//! What a configuration amounts to, all files read: what the daemon is set up to do.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{Mistakes, ServiceId, show_span};
use crate::config::{Config, ZoneFile};
use crate::geo::World;
use crate::region::{Audience, Guarantee, guarantee};
use crate::sign::ZoneKeys;
use crate::table::{Change, Image, Manners};
use crate::transfer::TsigKeys;
use crate::wire::Name;
use crate::workflow::{Spec, Workflow};

/// A configuration with its zones and workflows. Immutable; a reload makes another.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its zones, compiled once.
    pub image: Arc<Image>,
    /// How each service tells its clients apart.
    pub audiences: Vec<Arc<Audience>>,
    /// How clients are treated.
    pub manners: Arc<Manners>,
    /// Its workflows, in the order of `config.workflows`.
    pub workflows: Vec<Workflow>,
    /// Keys that messages about zones are signed with; none before [`Setup::armed`].
    pub tsig: Arc<TsigKeys>,
    /// What became of each zone's records since the setup before, in the order of the image;
    /// [`Change::Whole`] for one that is not there.
    pub changes: Vec<Change>,
    /// Where clients are.
    pub world: Arc<World>,
    /// The keys of those zones that are signed.
    pub keys: Vec<Arc<ZoneKeys>>,
    names: HashMap<Name, ServiceId>,
}

impl Setup {
    /// Puts the parts together. There is one workflow for each that the configuration names.
    /// Nothing is known of where clients are.
    pub fn new(
        config: Arc<Config>,
        image: Arc<Image>,
        workflows: Vec<Workflow>,
        keys: Vec<Arc<ZoneKeys>>,
    ) -> Arc<Self> {
        debug_assert_eq!(config.workflows.len(), workflows.len());
        let audiences = config.services.values().map(Audience::unlocated).collect();
        let names = config
            .services
            .iter()
            .flat_map(|(id, service)| service.names.iter().map(move |(name, _)| (name.clone(), id)))
            .collect();
        Arc::new(Self {
            config,
            image,
            manners: Arc::default(),
            workflows,
            keys,
            world: Arc::default(),
            audiences,
            names,
            tsig: Arc::default(),
            changes: Vec::new(),
        })
    }

    /// The same with its keys, compared with what it is to follow. It takes as long as looking at
    /// every record does.
    #[must_use]
    pub fn armed(&self, tsig: Arc<TsigKeys>, before: Option<&Setup>) -> Arc<Self> {
        let change = |zone: &ZoneFile| {
            let number = self.image.zone(zone.name.as_wire());
            let old = before.and_then(|before| Some((before, before.image.zone(zone.name.as_wire())?)));
            match (number, old) {
                (Some(number), Some((before, old))) => self.image.changed_since(number, &before.image, old),
                _ => Change::Whole,
            }
        };
        Arc::new(Self { tsig, changes: self.config.zones.iter().map(change).collect(), ..self.clone() })
    }

    /// The zones that are not as they were in the setup before.
    pub fn changed_zones(&self, before: &Setup) -> Vec<String> {
        let soa = |setup: &Setup, zone: &Name| {
            setup.image.zone(zone.as_wire()).map(|number| setup.image.soa(number))
        };
        let same = |zone: &Name| soa(self, zone) == soa(before, zone);
        let zones = self.config.zones.iter().zip(&self.changes);
        let changed = zones.filter(|(zone, change)| **change != Change::None || !same(&zone.name));
        changed.map(|(zone, _)| zone.name.to_string()).collect()
    }

    /// The same configuration with other zones.
    #[must_use]
    pub fn with_image(&self, image: Arc<Image>) -> Self {
        Self { image, ..self.clone() }
    }

    /// The same where clients are treated like this.
    #[must_use]
    pub fn with_manners(&self, manners: Manners) -> Arc<Self> {
        Arc::new(Self { manners: Arc::new(manners), ..self.clone() })
    }

    /// The same where clients are found by this.
    ///
    /// # Errors
    /// The clients of a service are of too many kinds.
    pub fn with_world(&self, world: Arc<World>) -> Result<Arc<Self>, Mistakes> {
        let audiences = Audience::of_all(&self.config.services, &world).map_err(|(service, why)| {
            let mut mistakes = Mistakes::default();
            mistakes.error(&self.config.services[service].place, why.to_string());
            mistakes
        })?;
        // The zones are those that they were.
        let changes = vec![Change::None; self.config.zones.len()];
        Ok(Arc::new(Self { world, audiences, changes, ..self.clone() }))
    }

    /// The service that a dynamic name belongs to.
    pub fn service_of(&self, name: &Name) -> Option<ServiceId> {
        self.names.get(name).copied()
    }

    /// What each service is promised.
    pub fn guarantees(&self) -> Vec<Guarantee> {
        let config = &self.config;
        let each = config.services.iter().map(|(id, service)| {
            let dials = |workflow: &Workflow| {
                let specs = workflow.stages.iter().map(|stage| &stage.spec);
                specs.into_iter().any(|spec| matches!(spec, Spec::Dial { service, .. } if *service == id))
            };
            let moving = self.workflows.iter().zip(&config.workflows).filter(|(workflow, _)| dials(workflow));
            let hold = moving.filter_map(|(_, use_)| Some(use_.when.as_ref()?.hold)).max();
            guarantee(config, config.services.name(id), service, hold)
        });
        each.collect()
    }

    /// Objectives that the configuration cannot hold.
    pub fn broken_objectives(&self) -> Mistakes {
        let mut mistakes = Mistakes::default();
        for (service, guarantee) in self.config.services.values().zip(self.guarantees()) {
            let Some(rto) = service.objectives.rto else { continue };
            if guarantee.staleness_max > rto {
                let slowest = guarantee.detection.iter().max_by_key(|(_, detection)| detection.within);
                let slowest = slowest.map_or(String::new(), |(_, detection)| detection.check.clone());
                mistakes
                    .error(
                        &service.place,
                        format!(
                            "`{}` promises an rto of {}, and a client may stay in a broken region for {}",
                            guarantee.service,
                            show_span(rto),
                            show_span(guarantee.staleness_max)
                        ),
                    )
                    .help(format!(
                        "{} to detect (slowest: {slowest}), {} hold-down, {} TTL: shorten one of them, or promise less",
                        show_span(guarantee.detection_max),
                        show_span(guarantee.hold.unwrap_or_default()),
                        show_span(guarantee.ttl)
                    ));
            }
        }
        mistakes
    }
}
