//! Query octets × [`Table`](crate::table::Table) → answer octets: pure, and hot.
//!
//! [`answer`] serves every transport. It looks at the query in place (`wire::Query`), finds the
//! name and follows CNAMEs (`resolve`), and copies whole sets of records into the caller's
//! buffer (`reply`), EDNS behind them (`opt`). What it keeps between queries is on the caller's
//! [`Desk`]. It neither allocates nor locks nor reads a clock, but for questions with a signature
//! (`tsig`). Zones for secondary servers ([`open`]) are messages without end (`transfer`).

mod answer;
mod chaos;
mod cookie;
mod counts;
mod desk;
mod explain;
mod limit;
mod message;
mod notary;
mod opt;
mod reply;
mod resolve;
mod seal;
mod transfer;
mod tsig;

pub use answer::{Asker, Transport, answer};
pub use counts::{COUNTERS, Counter, Counts};
pub use desk::Desk;
pub use limit::Limiter;
pub use notary::Notary;
pub use reply::{PLAIN_UDP_PAYLOAD, UDP_PAYLOAD};
pub use transfer::{Opened, Outgoing, Refused, open};
