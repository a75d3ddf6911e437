//! How a service tells its clients apart.

use std::sync::Arc;

use super::Tree;
use crate::base::{Named, Prefix, ServiceId};
use crate::config::{Policy, Service};
use crate::geo::{Class, Classes, ClassesError, Facts, World};

/// The class of clients of whom nothing is known.
pub const UNKNOWN: u16 = 0;

/// The classes of a service's clients, and what its policy is for each. Services with the same
/// policy share one.
#[derive(Debug)]
pub struct Audience {
    /// Which class a client is of; `None` if all are of the same.
    classes: Option<Classes>,
    /// The policy of each class; that of clients of whom nothing is known comes first.
    trees: Vec<Tree>,
}

impl Audience {
    /// The clients of one service.
    ///
    /// # Errors
    /// They are of too many kinds.
    pub fn new(service: &Service, world: &World) -> Result<Self, ClassesError> {
        if !service.policy.asks_where() {
            return Ok(Self { classes: None, trees: vec![Tree::of(service, &Facts::default())] });
        }
        let (classes, trees) = Classes::build(world, |facts| Tree::of(service, facts))?;
        Ok(Self { classes: Some(classes).filter(|_| trees.len() > 1), trees })
    }

    /// The clients of one service while nothing is known of where anybody is.
    pub fn unlocated(service: &Service) -> Arc<Self> {
        Arc::new(Self { classes: None, trees: vec![Tree::of(service, &Facts::default())] })
    }

    /// The clients of all services, in their order.
    ///
    /// # Errors
    /// The first service whose clients are of too many kinds.
    pub fn of_all(
        services: &Named<ServiceId, Service>,
        world: &World,
    ) -> Result<Vec<Arc<Self>>, (ServiceId, ClassesError)> {
        let mut known: Vec<(&Policy, u64, Arc<Self>)> = Vec::new();
        let each = services.iter().map(|(id, service)| {
            // Only building classes takes long.
            if !service.policy.asks_where() {
                return Ok(Self::unlocated(service));
            }
            let same = |(policy, salt, _): &&(&Policy, u64, Arc<Self>)| {
                **policy == service.policy && (*salt == service.salt || !draws_by_service(policy))
            };
            if let Some((_, _, audience)) = known.iter().find(same) {
                return Ok(Arc::clone(audience));
            }
            let audience = Arc::new(Self::new(service, world).map_err(|why| (id, why))?);
            known.push((&service.policy, service.salt, Arc::clone(&audience)));
            Ok(audience)
        });
        each.collect()
    }

    /// The class of a client.
    #[inline]
    pub fn class_of(&self, client: &Prefix) -> Class {
        match &self.classes {
            None => Class { number: UNKNOWN, scope: 0 },
            Some(classes) => classes.lookup(client),
        }
    }

    /// The policy of each class.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }
}

/// Whether the service's own name decides which clients are bound to what.
fn draws_by_service(policy: &Policy) -> bool {
    matches!(policy, Policy::Sticky(sticky) if sticky.salt.is_none()) || policy.parts().any(draws_by_service)
}
