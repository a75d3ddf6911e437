//! The table: everything a query needs, immutable, published as a whole.

use std::sync::Arc;

use super::answers::Answers;
use super::image::Image;
use super::manners::Manners;
use crate::base::{Generation, Index, ServiceId};

/// Everything a query needs. A new one is made for each flip: the image is shared with the one
/// before, and so are the answers of all services that did not change.
#[derive(Clone, Debug)]
pub struct Table {
    generation: Generation,
    image: Arc<Image>,
    answers: Vec<Answers>,
    manners: Arc<Manners>,
}

impl Table {
    /// Puts a table together. `answers` are those of the services that the image was built with,
    /// in the order of their ids; a service without answers is SERVFAIL.
    pub fn new(generation: Generation, image: Arc<Image>, answers: Vec<Answers>) -> Self {
        Self { generation, image, answers, manners: Arc::default() }
    }

    /// The same, with manners other than the plain ones: by default nothing is told but answers,
    /// and nobody is limited.
    #[must_use]
    pub fn with_manners(self, manners: Arc<Manners>) -> Self {
        Self { manners, ..self }
    }

    /// How clients are treated.
    #[inline]
    pub fn manners(&self) -> &Manners {
        &self.manners
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
