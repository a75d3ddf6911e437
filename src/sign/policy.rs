//! What the operator wants of a zone's keys, and the times that others take.

use std::fmt;
use std::time::Duration;

use super::{Algorithm, Flags, SignatureTimes};

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Combined: the parent points at it, and it signs everything.
    Csk,
    /// Key-signing: the parent points at it, and it signs the DNSKEY set.
    Ksk,
    /// Zone-signing: it signs everything else.
    Zsk,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Csk, Role::Ksk, Role::Zsk];

    /// Whether the parent points at it.
    pub fn is_entry(self) -> bool {
        self != Self::Zsk
    }

    /// Whether it signs the zone's data.
    pub fn signs_zone(self) -> bool {
        self != Self::Ksk
    }

    /// The flags of its DNSKEY record.
    pub fn flags(self) -> Flags {
        if self.is_entry() { Flags::SecureEntryPoint } else { Flags::Zone }
    }

    /// As written in the configuration, and in the state of keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Csk => "csk",
            Self::Ksk => "ksk",
            Self::Zsk => "zsk",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Which keys a zone has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One that does everything.
    #[default]
    Csk,
    /// One for the DNSKEY set, one for the rest.
    KskZsk,
}

impl Layout {
    /// The roles it needs.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Csk => &[Role::Csk],
            Self::KskZsk => &[Role::Ksk, Role::Zsk],
        }
    }
}

/// How long others take to learn of a change, and to forget what was before (RFC 7583 §1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Timing {
    /// TTL of the DNSKEY, CDS and CDNSKEY sets.
    pub dnskey_ttl: Duration,
    /// No set of the zone has a longer TTL.
    pub max_ttl: Duration,
    /// Until every server of the zone answers with a change (Dprp).
    pub propagation: Duration,
    /// TTL of the DS set at the parent.
    pub ds_ttl: Duration,
    /// Until every server of the parent answers with a change (DprpP).
    pub parent_propagation: Duration,
    /// Added to each wait, for clocks and caches that are a little off.
    pub safety: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Self {
            dnskey_ttl: Duration::from_secs(HOUR),
            max_ttl: Duration::from_secs(24 * HOUR),
            propagation: Duration::from_secs(300),
            ds_ttl: Duration::from_secs(24 * HOUR),
            parent_propagation: Duration::from_secs(HOUR),
            safety: Duration::from_secs(HOUR),
        }
    }
}

impl Timing {
    /// After this, no cache holds a DNSKEY set from before a change.
    pub fn keys_known(&self) -> Duration {
        self.propagation + self.dnskey_ttl + self.safety
    }

    /// After this, no cache holds signatures, or their absence, from before a change.
    pub fn data_known(&self) -> Duration {
        self.propagation + self.max_ttl + self.safety
    }

    /// After this, no cache holds a DS set from before a change that was seen at the parent.
    pub fn ds_known(&self) -> Duration {
        self.parent_propagation + self.ds_ttl + self.safety
    }

    /// After this, no cache holds anything from before.
    pub fn longest(&self) -> Duration {
        self.keys_known().max(self.data_known()).max(self.ds_known())
    }

    /// The longer of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            dnskey_ttl: self.dnskey_ttl.max(other.dnskey_ttl),
            max_ttl: self.max_ttl.max(other.max_ttl),
            propagation: self.propagation.max(other.propagation),
            ds_ttl: self.ds_ttl.max(other.ds_ttl),
            parent_propagation: self.parent_propagation.max(other.parent_propagation),
            safety: self.safety.max(other.safety),
        }
    }
}

/// How long keys are used; none: until an operator says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lifetimes {
    /// Of a combined key.
    pub csk: Option<Duration>,
    /// Of a key-signing key.
    pub ksk: Option<Duration>,
    /// Of a zone-signing key.
    pub zsk: Option<Duration>,
}

impl Lifetimes {
    /// Of a key with this role.
    pub fn of(&self, role: Role) -> Option<Duration> {
        match role {
            Role::Csk => self.csk,
            Role::Ksk => self.ksk,
            Role::Zsk => self.zsk,
        }
    }
}

/// What the operator wants of a zone's keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyPolicy {
    /// How they sign.
    pub algorithm: Algorithm,
    /// Which there are.
    pub layout: Layout,
    /// How long they are used.
    pub lifetimes: Lifetimes,
    /// How long signatures hold.
    pub signatures: SignatureTimes,
    /// How long others take.
    pub timing: Timing,
}
