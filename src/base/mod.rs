//! Words that every layer shares: ids, time as an argument, places in files, mistakes found
//! there, and references to secrets. Imports nothing of the rest.

mod hash;
mod health;
mod id;
mod mistake;
mod names;
mod place;
mod prefix;
mod secret;
mod time;
mod token;

pub use hash::{mix, stable_hash};
pub use health::Health;
pub use id::{CheckId, ClusterId, Generation, GroupId, IdSet, Index, Named, RegionId, ServiceId, WorkflowId};
pub use mistake::{Mistake, Mistakes, Severity};
pub use names::nearest;
pub use place::{Place, Source};
pub use prefix::{Prefix, PrefixError};
pub use secret::{Secret, SecretRef};
pub use time::{Mono, Now, Timestamp, parse_span, show_span};
pub use token::Token;
