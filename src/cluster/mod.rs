//! Node views → group verdict → each region's standing.
//!
//! A probe tells facts, never a verdict ([`NodeView`]). One pure judgement per group puts the
//! facts of all voters together: first the group as a whole, then how each region stands in
//! it, because a datacenter that is cut off from a group that goes on elsewhere is the only
//! one lost.

mod absent;
#[cfg(test)]
mod bench;
mod canary;
mod commit;
mod component;
mod electorate;
mod judge;
mod kin;
mod memory;
mod patroni;
mod peers;
mod postgres;
mod raft;
mod sentinel;
mod shards;
mod standing;
mod view;

pub use judge::judge;
pub use memory::Memory;
pub use shards::{Part, Scope, Shards};
pub use standing::{Evidence, Judgement, Standing};
pub use view::{
    CanaryFacts, ComponentFacts, ComponentView, Facts, Linearizable, LinearizableResult, NodeView,
    PatroniFacts, PatroniMember, PeerFacts, PostgresFacts, RaftFacts, RedisFacts, Round, SentinelFacts,
};
