//! A note of which zones are signed, and where their keys are: beside the store, not beside the
//! keys. Whoever starts where the keys are gone must not take the zone for one that never had any,
//! and make others, while the parent points at those that are lost.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files;
use crate::config::Config;
use crate::wire::Name;

const NOTE: &str = "signed_zones.json";

/// Zones that were signed when a daemon started last, each with the directory of its keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    zones: BTreeMap<String, PathBuf>,
}

impl Known {
    /// What is noted; nothing if there is no note, or it is not ours to read.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn read(config: &Config) -> Result<Self, String> {
        let path = place(config);
        match std::fs::read(&path) {
            Ok(octets) => serde_json::from_slice(&octets).map_err(|why| {
                format!(
                    "{} is damaged ({why}): see that the keys of all signed zones are where they should be, \
                     and delete it",
                    path.display()
                )
            }),
            Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                Ok(Self::default())
            }
            Err(why) => Err(format!("cannot read {}: {why}", path.display())),
        }
    }

    /// For these zones.
    pub(super) fn new<'a>(zones: impl Iterator<Item = (&'a Name, &'a Path)>) -> Self {
        Self { zones: zones.map(|(name, path)| (name.to_string(), path.to_owned())).collect() }
    }

    /// Where the keys of a zone were.
    pub(super) fn directory(&self, zone: &Name) -> Option<&Path> {
        self.zones.get(&zone.to_string()).map(PathBuf::as_path)
    }

    /// Each zone, and where its keys were.
    pub(super) fn zones(&self) -> impl Iterator<Item = (Name, &Path)> {
        self.zones.iter().filter_map(|(name, path)| Some((Name::parse(name).ok()?, path.as_path())))
    }

    /// Writes the note, if it says anything else by now.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&self, config: &Config) -> Result<(), String> {
        if Self::read(config).as_ref() == Ok(self) {
            return Ok(());
        }
        files::make_directory(config.state_directory())?;
        let mut text = serde_json::to_vec_pretty(self).expect("names and paths are texts");
        text.push(b'\n');
        files::write(&place(config), &text)
    }
}

fn place(config: &Config) -> PathBuf {
    config.state_directory().join(NOTE)
}
