//! The table: everything a query needs, immutable, published as a whole.

use std::sync::Arc;

use super::answers::Answers;
use super::image::Image;
use super::manners::Manners;
use super::signed::{Part, Signed};
use crate::base::{Generation, Index, ServiceId};
use crate::region::Note;
use crate::transfer::Zones;

/// Everything a query needs. A new one is made for each flip: the image is shared with the one
/// before, and so are the answers of all services that did not change.
#[derive(Clone, Debug)]
pub struct Table {
    generation: Generation,
    image: Arc<Image>,
    answers: Vec<Answers>,
    zones: Arc<Zones>,
    manners: Arc<Manners>,
    notes: Vec<Note>,
    signed: Option<Arc<Signed>>,
    unions: Vec<Option<Arc<Part>>>,
}

impl Table {
    /// Puts a table together. `answers` are those of the services that the image was built with,
    /// in the order of their ids; a service without answers is SERVFAIL.
    pub fn new(generation: Generation, image: Arc<Image>, answers: Vec<Answers>) -> Self {
        Self {
            generation,
            image,
            answers,
            signed: None,
            unions: Vec::new(),
            manners: Arc::default(),
            notes: Vec::new(),
            zones: Arc::default(),
        }
    }

    /// The same, with what secondary servers may know of each zone; by default they may nothing.
    #[must_use]
    pub fn with_zones(self, zones: Arc<Zones>) -> Self {
        Self { zones, ..self }
    }

    /// What secondary servers may know of each zone.
    #[inline]
    pub fn zones(&self) -> &Arc<Zones> {
        &self.zones
    }

    /// The same, with manners other than the plain ones: by default nothing is told but answers,
    /// and nobody is limited.
    #[must_use]
    pub fn with_manners(self, manners: Arc<Manners>) -> Self {
        Self { manners, ..self }
    }

    /// The same, with what is out of the ordinary about each service's answers, in their order.
    #[must_use]
    pub fn with_notes(self, notes: Vec<Note>) -> Self {
        Self { notes, ..self }
    }

    /// What is out of the ordinary about what a service answers.
    #[inline]
    pub fn note(&self, service: ServiceId) -> Note {
        self.notes.get(service.position()).copied().unwrap_or_default()
    }

    /// How clients are treated.
    #[inline]
    pub fn manners(&self) -> &Manners {
        &self.manners
    }

    /// The same with signatures: those made for this image, and those of each service's answers
    /// that unite regions, in the order of the services.
    #[must_use]
    pub fn with_signatures(mut self, signed: Arc<Signed>, unions: Vec<Option<Arc<Part>>>) -> Self {
        (self.signed, self.unions) = (Some(signed), unions);
        self
    }

    /// The signatures, if any zone is signed.
    #[inline]
    pub fn signed(&self) -> Option<&Signed> {
        self.signed.as_deref()
    }

    /// The signatures over those sets of a service that unite regions.
    #[inline]
    pub fn unions(&self, service: ServiceId) -> Option<&Part> {
        self.unions.get(service.position())?.as_deref()
    }

    /// Its number.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The static part.
    #[inline]
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// What a service answers.
    #[inline]
    pub fn answers(&self, service: ServiceId) -> Option<&Answers> {
        self.answers.get(service.position())
    }

    /// All answers, in the order of the services, for making the next table.
    pub fn all_answers(&self) -> &[Answers] {
        &self.answers
    }
}
