//! What happened, in log lines: an event each, with fields.

use tracing::{error, info, warn};

use crate::decide::Event;

/// Services named in one line; the journal has them all.
const NAMED_MAX: usize = 10;

/// Writes an event to the log.
pub(super) fn log(event: &Event) {
    let kind = event.kind();
    match event {
        Event::Started { version, epoch: Some(epoch) } => {
            info!(event = kind, %version, epoch, "pointsman starts");
        }
        Event::Started { version, epoch: None } => {
            warn!(event = kind, %version, "pointsman starts without a store: workflows are paused");
        }
        Event::Relocated { words } => info!(event = kind, "clients are found by new data: {words}"),
        Event::Reloaded { words } => info!(event = kind, "configuration taken over: {words}"),
        Event::Verdict { check, from, to, reason } => {
            info!(event = kind, %check, from = from.word(), to = to.word(), "{check}: {}: {reason}", to.word());
        }
        Event::Standing { group, to, reason, evidence, .. } => {
            info!(event = kind, %group, to = to.word(), margin = evidence.margin, "{group}: {}: {reason}", to.word());
        }
        Event::Flip { region, from, to, generation, why } => {
            let words = format!("{region}: {from} -> {to}: {why}");
            match to.is_bad() {
                true => warn!(event = kind, %region, %from, %to, generation, "{words}"),
                false => info!(event = kind, %region, %from, %to, generation, "{words}"),
            }
        }
        Event::Blind { blind: true, words } => {
            error!(
                event = kind,
                "this site takes itself for blind: {words}; it holds its answers and starts nothing"
            );
        }
        Event::Blind { blind: false, words } => info!(event = kind, "this site sees again: {words}"),
        Event::Place { service, region, from, to, why } => {
            let words = format!("{service} in {region}: {from} -> {to}: {why}");
            match to.is_bad() {
                true => warn!(event = kind, %service, %region, %from, %to, "{words}"),
                false => info!(event = kind, %service, %region, %from, %to, "{words}"),
            }
        }
        Event::Duty { region, from, to } => {
            info!(event = kind, %region, from = from.word(), to = to.word(), "{region} is {}", to.word());
        }
        Event::Answers { table, services } => {
            for answer in services.iter().take(NAMED_MAX) {
                let regions: Vec<_> = answer.regions.iter().map(|(region, _)| region.as_str()).collect();
                let (service, regions) = (&answer.service, regions.join("+"));
                info!(event = kind, table = table.0, %service, %regions, ttl = answer.ttl, "{service} answers {regions} for {}s: {}", answer.ttl, answer.rule);
            }
            if services.len() > NAMED_MAX {
                info!(
                    event = kind,
                    table = table.0,
                    services = services.len(),
                    "and {} more services",
                    services.len() - NAMED_MAX
                );
            }
        }
        Event::Zone { zone, serial, problem: Some(problem), .. } => {
            warn!(event = kind, %zone, serial, "{zone} has changed, and {problem}");
        }
        Event::Zone { zone, from, serial, records, problem: None } => {
            let change = match (from, records) {
                (None, _) => String::new(),
                (Some(from), None) => format!(", it was {from}"),
                (Some(from), Some((gone, come))) => {
                    format!(", it was {from}: {gone} records gone, {come} come")
                }
            };
            info!(event = kind, %zone, serial, "{zone} is version {serial}{change}");
        }
        Event::Dialled { service, shares, by, reason } => {
            let shares: Vec<_> = shares.iter().map(|(region, share)| format!("{region}={share}")).collect();
            info!(event = kind, %service, shares = %shares.join(","), %by, "{service} dialled to {}: {reason}", shares.join(", "));
        }
        Event::Overridden { region, word, owner, reason, expires } => {
            warn!(event = kind, %region, %word, %owner, %expires, "{region}: {word} by {owner} until {expires}: {reason}");
        }
        Event::Released { region, word, owner, reason } => {
            let owner = owner.as_deref().unwrap_or("time");
            let word = word.as_deref().unwrap_or("held places");
            info!(event = kind, %region, %owner, "{region}: {word} released by {owner}: {reason}");
        }
        Event::Automation { enabled, owner, reason } => {
            let owner = owner.as_deref().unwrap_or("time");
            let state = if *enabled { "on" } else { "off" };
            warn!(event = kind, enabled, %owner, "automation switched {state} by {owner}: {reason}");
        }
        Event::Trigger { workflow, state, words } => match state.as_str() {
            "blocked" => warn!(event = kind, %workflow, %state, "{workflow} must not start: {words}"),
            _ => info!(event = kind, %workflow, %state, "{workflow}: {state}: {words}"),
        },
        Event::Store { healthy: true, .. } => info!(event = kind, "the store takes everything again"),
        Event::Store { healthy: false, reason } => {
            error!(event = kind, %reason, "the store takes nothing, workflows are paused, DNS goes on: {reason}");
        }
    }
}
