//! `check`: every mistake, or what the configuration guarantees.

use std::collections::BTreeSet;
use std::path::Path;

use super::args::Output;
use super::text::{Paint, colour, complain, paint, print, print_json};
use super::{Done, Exit};
use crate::base::show_span;
use crate::config::{ClusterKind, Config, SwitchedBy, UnreachableWriter};
use crate::decide::Setup;
use crate::io::read_secret_now;
use crate::region::{Guarantee, JITTER};
use crate::sys;

pub(super) fn run(file: &Path, secrets: bool, output: Output) -> Done {
    let loaded = sys::load(file);
    let (setup, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            let errors = mistakes.errors();
            let count = if errors == 1 { "1 mistake".to_owned() } else { format!("{errors} mistakes") };
            return Err(Exit::No(format!("{}{}: {count}", mistakes.render(colour(true)), file.display())));
        }
    };
    complain(&warnings.render(colour(true)));
    if secrets {
        read_secrets(&setup.config)?;
    }
    let guarantees = setup.guarantees();
    match output {
        Output::Json => print_json(&guarantees),
        Output::Text => print(&report(&file.display().to_string(), &setup, &guarantees, secrets)),
    }
    Ok(())
}

/// Reads every secret once, and keeps none.
fn read_secrets(config: &Config) -> Done {
    let places: BTreeSet<String> = config
        .secrets
        .iter()
        .filter_map(|place| read_secret_now(place).err())
        .map(|failure| format!("{}\n", failure.words))
        .collect();
    match places.len() {
        0 => Ok(()),
        1 => Err(Exit::No(format!("{}1 secret cannot be read", String::from_iter(places)))),
        count => Err(Exit::No(format!("{}{count} secrets cannot be read", String::from_iter(places)))),
    }
}

fn report(path: &str, setup: &Setup, guarantees: &[Guarantee], secrets_read: bool) -> String {
    let config = &setup.config;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let voters: usize = config.groups.values().map(|group| group.members.len()).sum();
    let mut out = format!(
        "{path} is {}: {}, {}, {} with {}, {}, {}, {}\n",
        paint("sound", Paint::Good, colour(false)),
        count(config.regions.len(), "region"),
        count(config.checks.len(), "check"),
        count(config.clusters.len(), "cluster"),
        count(voters, "member"),
        count(config.zones.len(), "zone"),
        count(config.services.len(), "service"),
        count(setup.workflows.len(), "workflow"),
    );
    if !config.secrets.is_empty() {
        let words = match secrets_read {
            true => "can be read by whoever runs this",
            false => "named, and not read: `check --secrets` reads them",
        };
        out.push_str(&format!("{} {words}\n", count(config.secrets.len(), "secret")));
    }
    if !guarantees.is_empty() {
        let jitter = (JITTER * 100.0).round();
        out.push_str(&format!("\nwhat it guarantees, {jitter} % of jitter included\n"));
    }
    for guarantee in guarantees {
        out.push_str(&show(guarantee));
    }
    out.push_str(&capacity(setup));
    for (id, cluster) in config.clusters.iter() {
        if let ClusterKind::Postgres(options) = &cluster.kind {
            let words = match options.unreachable_writer {
                UnreachableWriter::Ask => "an operator is asked before another is promoted",
                UnreachableWriter::Promote => {
                    "another is promoted all the same: two may be writable until the old one is fenced"
                }
            };
            out.push_str(&format!(
                "  {}: if the old writer cannot be reached, {words}\n",
                config.clusters.name(id)
            ));
        }
    }
    out
}

fn show(guarantee: &Guarantee) -> String {
    let by = match guarantee.switched_by {
        SwitchedBy::Health => "its answers follow health",
        SwitchedBy::Workflow => "a workflow or an operator moves it",
    };
    let mut out = format!("  {} ({by})\n", guarantee.service);
    let mut line = |what: &str, value: String, note: &str| {
        let note = if note.is_empty() { String::new() } else { format!("  {note}") };
        out.push_str(&format!("    {what:<46} {value:>10}{note}\n"));
    };
    for (region, detection) in &guarantee.detection {
        let note = format!("slowest to tell: {}", detection.check);
        line(&format!("a broken {region} is known within"), show_span(detection.within), &note);
    }
    match (guarantee.switched_by, guarantee.hold) {
        (SwitchedBy::Workflow, Some(hold)) => {
            line("then its workflow waits", show_span(hold), "and takes the time of its stages");
        }
        (SwitchedBy::Workflow, None) => line("no workflow moves it by itself", "-".to_owned(), ""),
        (SwitchedBy::Health, _) => {}
    }
    line("answers may be cached for at most", show_span(guarantee.ttl), "while nothing wavers");
    match guarantee.switched_by {
        SwitchedBy::Health => line("the last client has left within", show_span(guarantee.staleness_max), ""),
        SwitchedBy::Workflow => line(
            "the last client has left within",
            show_span(guarantee.staleness_max),
            "plus the time of the workflow's stages",
        ),
    }
    match guarantee.dwell_min {
        Some(dwell) => line("a region that was out stays out at least", show_span(dwell), ""),
        None => line(
            "a region that was out stays out",
            "held".to_owned(),
            "until a person or a workflow lets it back",
        ),
    }
    out
}

/// What is left when one region goes.
fn capacity(setup: &Setup) -> String {
    let config = &setup.config;
    let total: u64 = config.regions.values().filter_map(|region| region.capacity).map(u64::from).sum();
    let all_known = config.regions.values().all(|region| region.capacity.is_some());
    if total == 0 || !all_known || config.regions.len() < 2 {
        return String::new();
    }
    let each = config.regions.iter().map(|(id, region)| {
        let left = total - u64::from(region.capacity.unwrap_or(0));
        format!("without {} {left} of {total} ({} %)", config.regions.name(id), left * 100 / total)
    });
    let each: Vec<_> = each.collect();
    format!("  capacity: {}\n", each.join(", "))
}
