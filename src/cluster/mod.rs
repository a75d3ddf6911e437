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
mod case;
mod component;
mod facts;
mod judge;
mod kin;
mod memory;
mod past;
mod patroni;
mod peers;
mod postgres;
mod proofs;
mod raft;
mod replicas;
mod ring;
mod sentinel;
mod shards;
mod standing;
#[cfg(test)]
mod tests;
mod view;
mod words;

pub use facts::{
    CanaryFacts, ComponentFacts, ComponentView, Facts, PatroniFacts, PatroniMember, PeerFacts, PostgresFacts,
    RaftFacts, RedisFacts, ReplicaFacts, SentinelFacts,
};
pub use judge::judge;
pub use memory::Memory;
pub use ring::{HostId, Replication, Ring, RingHost};
pub use shards::{Part, Scope, Shards};
pub use standing::{Evidence, Judgement, Standing};
pub use view::{Linearizable, LinearizableResult, NodeView, Round};
