//! What is remembered of a key, what it waits for, and what can stand against an order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Algorithm, Role};
use crate::base::Timestamp;

/// A removed key is remembered, and its file kept, for this long: whoever finds that it was removed
/// too soon, by a clock that was wrong, can still bring it back.
pub const KEPT_AFTER_REMOVAL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where a key is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Made; nobody knows of it.
    Generated,
    /// In the zone; not all caches know it yet.
    Published,
    /// All caches know it; its turn has not come.
    Ready,
    /// In use.
    Active,
    /// No longer in use; caches may still need it.
    Retired,
    /// Out of the zone.
    Removed,
}

impl KeyState {
    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Published => "published",
            Self::Ready => "ready",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Removed => "removed",
        }
    }

    /// Whether its DNSKEY is in the zone.
    pub fn is_published(self) -> bool {
        (Self::Published..=Self::Retired).contains(&self)
    }
}

/// When a key entered each state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Life {
    /// When it was made.
    pub generated: Timestamp,
    /// When its DNSKEY came into the zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Timestamp>,
    /// When all caches knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Timestamp>,
    /// When it came into use; of one that the parent points at: when its DS was seen there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Timestamp>,
    /// When its successor came into use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Timestamp>,
    /// When its DNSKEY left the zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Timestamp>,
}

/// A key as the state of a zone's keys knows it: without its private half.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its tag; no other key of the zone has the same.
    pub tag: u16,
    /// How it signs.
    pub algorithm: Algorithm,
    /// What it is for.
    pub role: Role,
    /// When it entered each state.
    pub life: Life,
    /// Its newest state is not in force yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

impl KeyRecord {
    /// A key that was just made.
    pub fn new(tag: u16, algorithm: Algorithm, role: Role, now: Timestamp) -> Self {
        let life =
            Life { generated: now, published: None, ready: None, active: None, retired: None, removed: None };
        Self { tag, algorithm, role, life, pending: false }
    }

    /// Where it is in its life, and since when.
    pub fn state(&self) -> (KeyState, Timestamp) {
        let life = &self.life;
        let states = [
            (KeyState::Removed, life.removed),
            (KeyState::Retired, life.retired),
            (KeyState::Active, life.active),
            (KeyState::Ready, life.ready),
            (KeyState::Published, life.published),
        ];
        let newest = states.into_iter().find_map(|(state, since)| Some((state, since?)));
        newest.unwrap_or((KeyState::Generated, life.generated))
    }

    pub(super) fn is(&self, state: KeyState) -> bool {
        self.state().0 == state
    }

    pub(super) fn enter(&mut self, state: KeyState, now: Timestamp) {
        let life = &mut self.life;
        let entry = match state {
            KeyState::Generated => return,
            KeyState::Published => &mut life.published,
            KeyState::Ready => &mut life.ready,
            KeyState::Active => &mut life.active,
            KeyState::Retired => &mut life.retired,
            KeyState::Removed => &mut life.removed,
        };
        *entry = Some(now);
        self.pending = true;
    }
}

/// The way back to an unsigned zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unsign {
    /// When it was asked for: since then CDS and CDNSKEY ask the parent to forget the zone's keys.
    pub asked: Timestamp,
    /// When the parent was seen without any DS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ds_gone: Option<Timestamp>,
}

/// Something that happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Which.
    pub tag: u16,
    /// Its role.
    pub role: Role,
    /// What it is now; none: it is forgotten.
    pub to: Option<KeyState>,
}

/// What a key waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// For the daemon to answer with it.
    Service,
    /// For caches to learn of it.
    Caches,
    /// For the parent to point at it.
    Parent,
    /// For the end of its lifetime.
    Successor,
    /// For caches to forget what it signed, or the DS that named it.
    Oblivion,
    /// For its file to be deleted.
    Deletion,
}

/// What a key waits for, and until when if that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// What for.
    #[serde(rename = "for")]
    pub what: WaitFor,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// Why something cannot be done to a zone's keys now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such key.
    #[error("there is no key {0}")]
    NoSuchKey(u16),
    /// It has no successor because it is not in use.
    #[error("there is no active {0} to succeed; a zone's first key is active once the parent points at it")]
    NothingToRoll(Role),
    /// One at a time.
    #[error("key {0} is already on its way in: one rollover at a time")]
    UnderWay(u16),
    /// The parent points at KSK and CSK only.
    #[error("key {0} is a zone-signing key: the parent does not point at it")]
    NoEntry(u16),
    /// The parent cannot point at it: caches would not know the key.
    #[error(
        "key {0} is {word}, not ready: until all caches know it, a DS at the parent would break the zone; take the DS away",
        word = .1.word()
    )]
    NotReady(u16, KeyState),
    /// It is going unsigned.
    #[error("the zone is on its way back to unsigned; end that first with `pointsman keys unsign --cancel`")]
    Unsigning,
    /// It is not going unsigned.
    #[error("the zone is not on its way back to unsigned")]
    NotUnsigning,
}
