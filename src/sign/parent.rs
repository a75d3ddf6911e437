//! What the parent says of a zone's keys, against what the zone says.

use serde::{Deserialize, Serialize};

use super::{KeyRing, SigningKey};
use crate::base::Timestamp;
use crate::wire::Name;

/// What the parent says of a zone's keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case")]
pub enum ParentView {
    /// It was not asked, or did not answer.
    #[default]
    Unknown,
    /// It has no DS, and needs none yet, or is awaited to have one.
    Without {
        /// When it was asked.
        at: Timestamp,
    },
    /// A DS there names a key that is in the zone.
    Agrees {
        /// When it was asked.
        at: Timestamp,
        /// The keys it names.
        tags: Vec<u16>,
    },
    /// What it has leads nowhere: whoever validates cannot resolve the zone.
    Differs {
        /// When it was asked.
        at: Timestamp,
        /// In words.
        why: String,
    },
}

impl ParentView {
    /// Its word, in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Without { .. } => "without",
            Self::Agrees { .. } => "agrees",
            Self::Differs { .. } => "differs",
        }
    }

    /// All words.
    pub const WORDS: [&str; 4] = ["unknown", "without", "agrees", "differs"];
}

/// What the servers of a parent have answered: each its DS set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParentSays {
    /// RDATA of the DS records, one list for each server that answered.
    pub sets: Vec<Vec<Vec<u8>>>,
    /// Every server of the parent was asked, and has answered.
    pub all: bool,
}

impl ParentSays {
    /// Whether each server of the parent points at a key.
    pub fn all_name(&self, zone: &Name, key: &SigningKey) -> bool {
        let names = |set: &Vec<Vec<u8>>| set.iter().any(|ds| key.is_named_by(zone, ds));
        self.all && !self.sets.is_empty() && self.sets.iter().all(names)
    }

    /// Whether no server of the parent has any DS.
    pub fn all_are_without(&self) -> bool {
        self.all && !self.sets.is_empty() && self.sets.iter().all(Vec::is_empty)
    }

    /// Compares. `entries` are the keys in the zone that sign its DNSKEY set.
    pub fn compare(&self, zone: &Name, ring: &KeyRing, entries: &[&SigningKey], at: Timestamp) -> ParentView {
        if self.sets.is_empty() {
            return ParentView::Unknown;
        }
        let mut tags = Vec::new();
        for set in &self.sets {
            let named: Vec<_> =
                entries.iter().filter(|key| set.iter().any(|ds| key.is_named_by(zone, ds))).collect();
            if named.is_empty() && !set.is_empty() {
                let foreign: Vec<_> = set
                    .iter()
                    .filter_map(|ds| Some(u16::from_be_bytes(*ds.first_chunk()?).to_string()))
                    .collect();
                let why = format!(
                    "the parent's DS names key {}, which is not in the zone: whoever validates cannot resolve {zone}",
                    foreign.join(", ")
                );
                return ParentView::Differs { at, why };
            }
            tags.extend(named.iter().map(|key| key.tag()));
        }
        tags.sort_unstable();
        tags.dedup();
        let expected = ring.unsign.is_none() && ring.entries().any(|key| key.life.active.is_some());
        if !self.sets.iter().any(Vec::is_empty) {
            return ParentView::Agrees { at, tags };
        }
        match expected {
            true => ParentView::Differs {
                at,
                why: format!("a server of the parent has no DS any more: {zone} passes for unsigned"),
            },
            false => ParentView::Without { at },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{Algorithm, Flags, KeyRecord, Role};

    #[test]
    fn compares_what_is_said() {
        let zone = Name::parse("example").unwrap();
        let random = ring::rand::SystemRandom::new();
        let make = || SigningKey::generate(Algorithm::Ed25519, Flags::SecureEntryPoint, &random).unwrap().0;
        let (ours, theirs) = (make(), make());
        let at = Timestamp::UNIX_EPOCH;
        let mut ring = KeyRing::new();
        ring.keys.push(KeyRecord::new(ours.tag(), ours.algorithm(), Role::Csk, at));
        let ds = |key: &SigningKey| key.ds_rdata(&zone);
        let says = |sets: &[&[Vec<u8>]]| ParentSays {
            sets: sets.iter().map(|set| set.to_vec()).collect(),
            all: true,
        };
        let compare = |says: &ParentSays, ring: &KeyRing| says.compare(&zone, ring, &[&ours], at);

        assert_eq!(compare(&says(&[]), &ring), ParentView::Unknown);
        let agrees = says(&[&[ds(&theirs), ds(&ours)], &[ds(&ours)]]);
        assert_eq!(compare(&agrees, &ring), ParentView::Agrees { at, tags: vec![ours.tag()] });
        assert!(agrees.all_name(&zone, &ours) && !agrees.all_name(&zone, &theirs));
        assert!(!ParentSays { all: false, ..agrees }.all_name(&zone, &ours));
        let differs = says(&[&[ds(&ours)], &[ds(&theirs)]]);
        let ParentView::Differs { why, .. } = compare(&differs, &ring) else { panic!("one leads nowhere") };
        assert!(why.contains(&theirs.tag().to_string()), "{why}");

        let nothing = says(&[&[], &[]]);
        assert!(nothing.all_are_without() && !nothing.all_name(&zone, &ours));
        assert_eq!(compare(&nothing, &ring), ParentView::Without { at });
        // Once it has been seen there, its absence is a fault.
        ring.keys[0].life = crate::sign::Life { active: Some(at), ..ring.keys[0].life };
        assert!(matches!(compare(&nothing, &ring), ParentView::Differs { .. }));
    }
}
