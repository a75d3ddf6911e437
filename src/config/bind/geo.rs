//! What tells where clients are.

use std::path::PathBuf;
use std::time::Duration;

use super::Binder;
use crate::base::show_span;
use crate::config::model::{Geo, GeoFile};
use crate::config::read::Placed;
use crate::config::spec;

/// Files of one kind: each is a pass over all networks when they are read.
const FILES_MAX: usize = 16;
/// A look at the files costs nothing; a new one is taken when two looks have seen the same.
const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_EVERY_MIN: Duration = Duration::from_millis(100);
const CHECK_EVERY_MAX: Duration = Duration::from_secs(24 * 3600);

impl Binder<'_> {
    pub(super) fn geo(&mut self, geo: spec::Geo) -> Geo {
        let databases = self.geo_files(geo.databases);
        let networks = self.geo_files(geo.networks);
        let check_every = geo.check_every.map_or(CHECK_EVERY, |span| {
            let every = span.value.0;
            if every < CHECK_EVERY_MIN || every > CHECK_EVERY_MAX {
                let (min, max) = (show_span(CHECK_EVERY_MIN), show_span(CHECK_EVERY_MAX));
                let said = show_span(every);
                self.mistakes.error(&span.place, format!("{said} is not between {min} and {max}"));
            }
            every
        });
        Geo { databases, networks, check_every }
    }

    fn geo_files(&mut self, files: Vec<Placed<PathBuf>>) -> Vec<GeoFile> {
        let mut bound: Vec<GeoFile> = Vec::new();
        for file in files {
            let path = self.path(&file.value);
            if bound.iter().any(|other| other.path == path) {
                self.mistakes.error(&file.place, format!("{} is listed twice", path.display()));
            } else if bound.len() == FILES_MAX {
                self.mistakes.error(&file.place, format!("more than {FILES_MAX} files"));
            } else {
                bound.push(GeoFile { path, place: file.place });
            }
        }
        bound
    }
}
