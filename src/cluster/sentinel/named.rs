//! Whom the Sentinels name as the master, and which server that is.

use std::collections::BTreeMap;

use super::{Sentinel, Server};
use crate::cluster::case::Case;
use crate::cluster::{NodeView, SentinelFacts};
use crate::config::Endpoint;

/// What a majority of Sentinels, or most of those that we reach, say.
pub(super) struct Named<'a> {
    pub(super) run_id: &'a str,
    pub(super) address: &'a str,
    pub(super) epoch: u64,
    pub(super) by: Vec<usize>,
}

pub(super) fn is_sentinel(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Redis(target) if target.sentinel)
}

impl<'a> Named<'a> {
    /// The master of the newest epoch that most of the Sentinels name which reach a majority.
    pub(super) fn by_most(sentinels: &[Sentinel<'a>]) -> Option<Self> {
        let mut choices: BTreeMap<(u64, &str), Self> = BTreeMap::new();
        for (position, facts) in sentinels.iter().filter(|(_, facts)| facts.reaches && !facts.down) {
            let SentinelFacts { run_id, master, epoch, .. } = *facts;
            let choice = choices.entry((*epoch, master)).or_insert(Self {
                run_id,
                address: master,
                epoch: *epoch,
                by: Vec::new(),
            });
            choice.by.push(*position);
        }
        choices.into_values().max_by_key(|named| (named.by.len(), named.epoch))
    }

    /// The server that they mean: by the id of its run, or by its address.
    pub(super) fn server<'s>(&self, case: &Case<'_>, servers: &[Server<'s>]) -> Option<Server<'s>> {
        let by_id = servers.iter().find(|(_, facts)| facts.run_id == self.run_id);
        let by_address = || {
            let position = self.position(case)?;
            let answered = matches!(case.round.views[position], NodeView::Answered(_));
            servers.iter().find(|(server, _)| answered && *server == position)
        };
        by_id.or_else(by_address).copied()
    }

    /// Which member has the address that they name.
    pub(super) fn position(&self, case: &Case<'_>) -> Option<usize> {
        case.group.members.iter().position(|member| match &member.endpoint {
            Endpoint::Redis(target) => !target.sentinel && target.address.to_string() == self.address,
            _ => false,
        })
    }
}
