//! What operators can ask for. Every order says who and why; overrides also until when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::Timestamp;
use crate::region::OverrideKind;
use crate::workflow::{Subject, Word};

/// An order and who gives it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// What.
    pub what: What,
}

/// What is asked for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A word on a region.
    Override {
        /// Which region.
        region: String,
        /// Which word.
        kind: OverrideKind,
        /// Until when.
        expires: Timestamp,
        /// Even if it leaves a service without a fit region.
        #[serde(default)]
        even_if_empty: bool,
    },
    /// Takes a word on a region back, and lets held places go.
    Release {
        /// Which region.
        region: String,
    },
    /// Sets the shares of a service.
    Dial {
        /// Which service.
        service: String,
        /// Regions and their shares.
        shares: BTreeMap<String, u32>,
    },
    /// Stops workflows from starting and going on; answers still follow health.
    AutomationOff {
        /// Until when.
        expires: Timestamp,
    },
    /// Lets workflows start and go on again.
    AutomationOn,
    /// Starts a workflow.
    Run {
        /// Which.
        workflow: String,
        /// The region to move to; by default the other one.
        #[serde(default)]
        activate: Option<String>,
        /// The region to leave.
        deactivate: String,
    },
    /// Steers an execution, a stage of it, or an obligation.
    Steer {
        /// Which.
        of: Subject,
        /// How.
        word: Word,
    },
}

/// An operator can keep a word on a region for at most this long: what nobody remembers must
/// not bind for ever (AWS ARC's zonal shifts end after three days).
pub const OVERRIDE_SPAN_MAX: std::time::Duration = std::time::Duration::from_secs(72 * 3600);
