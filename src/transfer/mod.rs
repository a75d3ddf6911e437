//! What makes a zone known to secondary servers: keys and signatures (`key`, `signature`;
//! RFC 8945), serials (`serial`; RFC 1982), what changed from version to version (`history`;
//! RFC 1995), and the state of each zone as secondaries see it (`zones`).
//!
//! All of it is values in memory. `table` reads a zone's records out of its image, `dns` answers
//! requests, `serve` writes the messages, `notify` tells secondaries that there is something new.

mod history;
mod key;
mod record;
mod serial;
mod signature;
mod zones;

pub use history::{Difference, History, Step};
pub use key::{Key, SECRET_OCTETS_MIN, TsigKeys};
pub use record::{Record, Records, difference, push_record, soa_with_serial};
pub use serial::Serial;
pub use signature::{Checked, FUDGE, Signature, Signer, TsigError, check};
pub use zones::{ZoneState, Zones};
