//! What happened, as a value: it is logged, counted, journaled and told to whoever listens.

use serde::{Deserialize, Serialize};

use crate::base::{Generation, Health, Timestamp};
use crate::cluster::{Evidence, Standing};
use crate::health::Verdict;
use crate::region::{Duty, Why};

/// Something that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The daemon started.
    Started {
        /// The program's version.
        version: String,
        /// The store's epoch; none if there is no store to write to.
        epoch: Option<u64>,
    },
    /// A configuration was taken over.
    Reloaded {
        /// What a person would want to know of it.
        words: String,
    },
    /// Databases that tell where clients are were taken over, without anything else.
    Relocated {
        /// Which, in words.
        words: String,
    },
    /// A check concluded something else than before.
    Verdict {
        /// Which.
        check: String,
        /// Before.
        from: Verdict,
        /// Now.
        to: Verdict,
        /// Why.
        reason: String,
    },
    /// A group of voters stands otherwise than before.
    Standing {
        /// Which.
        group: String,
        /// Before; none before the first round.
        from: Option<Standing>,
        /// Now.
        to: Standing,
        /// Why.
        reason: String,
        /// What that rests on.
        evidence: Evidence,
    },
    /// A region's health changed.
    Flip {
        /// Which.
        region: String,
        /// The last known health before.
        from: Health,
        /// Now.
        to: Health,
        /// Counts the flips of this region.
        generation: u64,
        /// Why.
        why: Why,
    },
    /// What a service's own layers say of a region changed.
    Place {
        /// Which service.
        service: String,
        /// Which region.
        region: String,
        /// The last known health before.
        from: Health,
        /// Now.
        to: Health,
        /// Why.
        why: Why,
    },
    /// What operators and rules say of a region changed.
    Duty {
        /// Which.
        region: String,
        /// Before.
        from: Duty,
        /// Now.
        to: Duty,
    },
    /// Services answer otherwise than before, be it only with another TTL or for another reason.
    Answers {
        /// The table that has it.
        table: Generation,
        /// Which services, and what they answer now.
        services: Vec<Answer>,
    },
    /// Secondary servers find another version of a zone, or may find none.
    Zone {
        /// Which.
        zone: String,
        /// The version before; none at the start.
        from: Option<u32>,
        /// The version now.
        serial: u32,
        /// How many records have gone, and how many have come; none if that is not known.
        records: Option<(usize, usize)>,
        /// What is wrong with it.
        problem: Option<String>,
    },
    /// Shares were dialled.
    Dialled {
        /// Of which service.
        service: String,
        /// The shares.
        shares: std::collections::BTreeMap<String, u32>,
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
    /// An operator's word on a region.
    Overridden {
        /// Which region.
        region: String,
        /// Drain, force or hold.
        word: String,
        /// By whom.
        owner: String,
        /// Why.
        reason: String,
        /// Until when.
        expires: Timestamp,
    },
    /// An operator's word on a region is over.
    Released {
        /// Which region.
        region: String,
        /// The word that is over, if there was one.
        word: Option<String>,
        /// By whom; none if it expired.
        owner: Option<String>,
        /// Why.
        reason: String,
    },
    /// Automation was switched off or on.
    Automation {
        /// It is on.
        enabled: bool,
        /// By whom; none if the time was up.
        owner: Option<String>,
        /// Why.
        reason: String,
    },
    /// The trigger of a workflow moved.
    Trigger {
        /// Of which workflow.
        workflow: String,
        /// Idle, holding, blocked or ran.
        state: String,
        /// What it waits for, or what stands against it.
        words: String,
    },
    /// This site takes itself for blind, or sees again.
    Blind {
        /// It is blind.
        blind: bool,
        /// What makes it think so.
        words: String,
    },
    /// The store took nothing, or takes everything again.
    Store {
        /// It takes what is written.
        healthy: bool,
        /// Why not.
        reason: String,
    },
}

/// What a service answers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Which.
    pub service: String,
    /// The regions it answers clients of whom nothing is known, with their shares; no share: all
    /// together.
    pub regions: Vec<(String, Option<u32>)>,
    /// What it answers clients elsewhere, as far as that is something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Vec<(String, Option<u32>)>>,
    /// The rule that decided.
    pub rule: String,
    /// For how long a cache may keep the answer, in seconds.
    pub ttl: u32,
}

impl Event {
    /// Its name in the journal and in logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "daemon.started",
            Self::Reloaded { .. } => "daemon.reloaded",
            Self::Relocated { .. } => "geo.reloaded",
            Self::Verdict { .. } => "check.verdict",
            Self::Standing { .. } => "cluster.standing",
            Self::Flip { .. } => "region.flip",
            Self::Place { .. } => "service.place",
            Self::Duty { .. } => "region.duty",
            Self::Answers { .. } => "service.answers",
            Self::Zone { .. } => "zone.version",
            Self::Dialled { .. } => "service.dialled",
            Self::Overridden { .. } => "region.overridden",
            Self::Released { .. } => "region.released",
            Self::Automation { .. } => "automation",
            Self::Trigger { .. } => "trigger",
            Self::Blind { .. } => "site.blind",
            Self::Store { .. } => "store",
        }
    }
}
