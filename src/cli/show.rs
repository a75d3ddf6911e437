//! `status` and `explain`: the daemon's state, for people.

use super::args::{Common, Output};
use super::text::{Paint, ago, paint, painted, print, print_json, table};
use super::{Done, Exit, client, text};
use crate::base::{Health, Prefix, Timestamp, show_span};
use crate::cluster::{Evidence, Standing};
use crate::config::SwitchedBy;
use crate::decide::view::{GeoView, ServiceView, Status};
use crate::geo::Database;
use crate::health::Verdict;
use crate::region::Duty;

/// Services that are listed one by one; a site with thousands asks `explain` or `--output json`.
const SERVICES_LISTED_MAX: usize = 50;
/// What clients elsewhere are answered, in `explain`: as many lines.
const ELSEWHERE_MAX: usize = 8;

pub(super) fn status(common: &Common) -> Done {
    let status: Status = client::get(common, "/v1/status", &[])?;
    match common.output {
        Output::Json => print_json(&status),
        Output::Text => print(&show_status(&status)),
    }
    let unfit: Vec<_> = status.regions.iter().filter(|region| !region.health.serves()).collect();
    match unfit.is_empty() {
        true => Ok(()),
        false => Err(Exit::No(String::new())),
    }
}

fn show_status(status: &Status) -> String {
    let colour = text::colour(false);
    let mut out = format!(
        "site {}  mode {}  table {}  {}  {}\n",
        status.site,
        format!("{:?}", status.mode).to_lowercase(),
        status.generation,
        match status.serving {
            true => paint("serving", Paint::Good, colour),
            false => paint("not serving", Paint::Warn, colour),
        },
        status.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    );
    if let Some(why) = &status.blind {
        let why = format!("this site is blind: {why}; answers are held, and nothing starts");
        out.push_str(&format!("{}\n", paint(&why, Paint::Bad, colour)));
    }
    if !status.automation.enabled {
        let why = format!("automation is held: {}", status.automation.because.join("; "));
        out.push_str(&format!("{}\n", paint(&why, Paint::Warn, colour)));
    }
    out.push('\n');
    out.push_str(&regions(status));
    out.push('\n');
    out.push_str(&checks(status));
    if !status.groups.is_empty() {
        out.push('\n');
        out.push_str(&groups(status));
    }
    if !status.services.is_empty() {
        out.push('\n');
        out.push_str(&services(status));
    }
    if !status.workflows.is_empty() {
        out.push('\n');
        out.push_str(&workflows(status));
    }
    if !status.zones.is_empty() {
        out.push('\n');
        out.push_str(&zones(status));
    }
    if !status.signed_zones.is_empty() {
        out.push('\n');
        out.push_str(&super::keys::show_zones(&status.signed_zones, status.at, true));
    }
    if let Some(geo) = &status.geo {
        out.push('\n');
        out.push_str(&databases(geo, status.at));
    }
    out
}

fn databases(geo: &GeoView, now: Timestamp) -> String {
    let row = |database: &Database| {
        vec![
            database.file.as_str().into(),
            database.kind.as_str().into(),
            database.built.map_or("-".to_owned(), |built| built.strftime("%Y-%m-%d").to_string()).into(),
            database.built.map_or("-".to_owned(), |built| ago(built, now)).into(),
            database.networks.to_string().into(),
        ]
    };
    let rows: Vec<_> = geo.databases.iter().map(row).collect();
    let mut out = table(&["GEO", "KIND", "BUILT", "AGE", "NETWORKS"], &rows);
    if let Some(why) = &geo.trouble {
        let words = format!("newer files cannot be taken over: {}", why.trim_end());
        out.push_str(&format!("{}\n", paint(&words, Paint::Bad, text::colour(false))));
    }
    out
}

fn zones(status: &Status) -> String {
    let rows: Vec<Vec<_>> = status
        .zones
        .iter()
        .map(|zone| {
            let transfers = match (&zone.withheld, zone.transfers) {
                (Some(why), _) => format!("withheld: {why}"),
                (None, true) => format!("allowed, {} older versions known", zone.steps),
                (None, false) => "not allowed".to_owned(),
            };
            [zone.name.clone(), zone.serial.to_string(), zone.records.to_string(), transfers]
                .map(|words| words.as_str().into())
                .into()
        })
        .collect();
    table(&["ZONE", "SERIAL", "RECORDS", "TRANSFERS"], &rows)
}

fn regions(status: &Status) -> String {
    let rows: Vec<_> = status
        .regions
        .iter()
        .map(|region| {
            let health = match region.last_known {
                Some(known) => format!("{} (was {known})", region.health),
                None => region.health.to_string(),
            };
            let mut why = region.why.clone();
            if !region.measured {
                why.push_str(" (an earlier process's word)");
            }
            if let Some(duty) = &region.duty_why {
                why.push_str(&format!(" · {duty}"));
            }
            vec![
                region.name.as_str().into(),
                painted(health, health_paint(region.health)),
                region.since.map_or("-".to_owned(), |since| ago(since, status.at)).into(),
                painted(
                    region.duty.word(),
                    if region.duty == Duty::Active { Paint::Plain } else { Paint::Warn },
                ),
                why.into(),
            ]
        })
        .collect();
    table(&["REGION", "HEALTH", "SINCE", "DUTY", "WHY"], &rows)
}

fn checks(status: &Status) -> String {
    let rows: Vec<_> = status
        .regions
        .iter()
        .flat_map(|region| &region.checks)
        .chain(&status.anchors)
        .chain(status.services.iter().flat_map(|service| &service.places).flat_map(|place| &place.checks))
        .map(|check| {
            let verdict = match check.verdict {
                Verdict::Pass => painted("pass", Paint::Good),
                Verdict::Unknown => painted("unknown", Paint::Warn),
                Verdict::Fail => painted("fail", Paint::Bad),
            };
            let mut words = check.reason.clone();
            if let Some(newest) = &check.newest {
                words.push_str(&format!(" · newest: {newest}"));
            }
            if let Some(seconds) = check.unknown_for {
                let span = std::time::Duration::from_secs(seconds as u64);
                words.push_str(&format!(" · not measurable for {}", show_span(span)));
            }
            if check.monitoring_only {
                words.push_str(" · monitors only");
            }
            vec![check.name.as_str().into(), verdict, words.into()]
        })
        .collect();
    table(&["CHECK", "VERDICT", "WHY"], &rows)
}

fn groups(status: &Status) -> String {
    let mut rows = Vec::new();
    for group in &status.groups {
        let standing = match group.standing {
            Some(standing) => painted(standing.word(), standing_paint(standing)),
            None => painted("-", Paint::Dim),
        };
        let (voters, margin) = match &group.evidence {
            Some(evidence) => {
                let measured = group.standing.is_some_and(Standing::is_measured);
                let margin = if measured { evidence.margin.to_string() } else { "-".to_owned() };
                (format!("{}/{}", evidence.reached, evidence.voters), margin)
            }
            None => ("-".to_owned(), "-".to_owned()),
        };
        rows.push(vec![
            group.name.as_str().into(),
            group.kind.as_str().into(),
            standing,
            voters.into(),
            margin.into(),
            parts(group.evidence.as_ref()).into(),
            group.reason.as_str().into(),
        ]);
        for (region, standing, reason) in &group.regions {
            rows.push(vec![
                format!("  {region}").into(),
                "".into(),
                painted(standing.word(), standing_paint(*standing)),
                "".into(),
                "".into(),
                "".into(),
                reason.as_str().into(),
            ]);
        }
    }
    table(&["CLUSTER", "KIND", "STANDING", "VOTERS", "MARGIN", "PARTS LOST", "WHY"], &rows)
}

/// Of a sharded system: parts that cannot take a write, of how many.
fn parts(evidence: Option<&Evidence>) -> String {
    match evidence.and_then(|evidence| Some((evidence.parts_lost?, evidence.parts_total?))) {
        Some((lost, total)) => format!("{lost}/{total}"),
        None => "-".to_owned(),
    }
}

fn services(status: &Status) -> String {
    let rows: Vec<_> = status
        .services
        .iter()
        .take(SERVICES_LISTED_MAX)
        .map(|service| {
            vec![
                service.name.as_str().into(),
                answers_words(&service.answers).into(),
                format!("{}s", service.ttl).into(),
                switched_word(service.switched_by).into(),
                service.rule.as_str().into(),
            ]
        })
        .collect();
    let mut out = table(&["SERVICE", "ANSWERS", "TTL", "SWITCHED BY", "WHY"], &rows);
    let more = status.services.len().saturating_sub(SERVICES_LISTED_MAX);
    if more > 0 {
        out.push_str(&format!("… and {more} more; --output json lists them all\n"));
    }
    out
}

fn workflows(status: &Status) -> String {
    let rows: Vec<_> = status
        .workflows
        .iter()
        .map(|workflow| {
            let paint = match workflow.state.as_str() {
                "blocked" => Paint::Bad,
                "holding" => Paint::Warn,
                _ => Paint::Plain,
            };
            vec![
                workflow.name.as_str().into(),
                workflow.trigger.as_deref().unwrap_or("a person").into(),
                painted(workflow.state.as_str(), paint),
                workflow.words.as_str().into(),
            ]
        })
        .collect();
    table(&["WORKFLOW", "STARTED WHEN", "STATE", "WHY"], &rows)
}

pub(super) fn explain(common: &Common, name: &str, client: Option<Prefix>) -> Done {
    let client = client.map(|client| client.to_string());
    let mut query = vec![("name", name)];
    query.extend(client.as_deref().map(|client| ("client", client)));
    let service: ServiceView = client::get(common, "/v1/explain", &query)?;
    if common.output == Output::Json {
        print_json(&service);
        return Ok(());
    }
    let mut out = format!(
        "{} answers {} for {}s: {}\n  names        {}\n  switched by  {}\n  policy       {}\n",
        service.name,
        answers_words(&service.answers),
        service.ttl,
        service.rule,
        service.names.join(", "),
        switched_word(service.switched_by),
        service.policy,
    );
    if let Some(why) = &service.blind {
        out.push_str(&format!("  held         this site is blind: {why}\n"));
    }
    match &service.client {
        Some(client) => {
            out.push_str(&format!("  client       {}: {}\n", client.network, client.known));
            for (nth, step) in client.branch.iter().enumerate() {
                out.push_str(&format!("  {:<12} {step}\n", if nth == 0 { "branch" } else { "" }));
            }
            out.push_str(&format!("  scope        /{}\n", client.scope));
        }
        None if !service.elsewhere.is_empty() => {
            out.push_str("  client       of whom nothing is known; --client ADDRESS asks for another\n");
        }
        None => {}
    }
    for elsewhere in service.elsewhere.iter().take(ELSEWHERE_MAX) {
        let answers = answers_words(&elsewhere.answers);
        out.push_str(&format!("  elsewhere    {answers} ({} classes of clients)\n", elsewhere.classes));
    }
    if let Some(more) = service.elsewhere.len().checked_sub(ELSEWHERE_MAX + 1) {
        out.push_str(&format!("               and {} more; --output json has them all\n", more + 1));
    }
    out.push('\n');
    let rows: Vec<_> = service
        .regions
        .iter()
        .map(|reason| {
            let answered = match (reason.chosen, reason.share) {
                (true, Some(share)) => painted(format!("yes, {share}"), Paint::Good),
                (true, None) => painted("yes", Paint::Good),
                (false, _) => painted("no", Paint::Dim),
            };
            vec![reason.region.as_str().into(), answered, reason.words.as_str().into()]
        })
        .collect();
    out.push_str(&table(&["REGION", "ANSWERED", "WHY"], &rows));
    print(&out);
    Ok(())
}

fn answers_words(answers: &[(String, Option<u32>)]) -> String {
    let words: Vec<_> = answers
        .iter()
        .map(|(region, share)| match share {
            Some(share) if answers.len() > 1 => format!("{region} {share}"),
            _ => region.clone(),
        })
        .collect();
    match words.is_empty() {
        true => "nothing".to_owned(),
        false => words.join(" + "),
    }
}

fn switched_word(switched_by: SwitchedBy) -> &'static str {
    match switched_by {
        SwitchedBy::Health => "health",
        SwitchedBy::Workflow => "workflow",
    }
}

fn health_paint(health: Health) -> Paint {
    match health {
        Health::Healthy => Paint::Good,
        Health::Degraded | Health::Unknown => Paint::Warn,
        Health::NoQuorum | Health::Unreachable => Paint::Bad,
    }
}

fn standing_paint(standing: Standing) -> Paint {
    match standing {
        Standing::Quorum => Paint::Good,
        Standing::NoQuorum | Standing::SplitBrain | Standing::ReadOnly => Paint::Bad,
        _ => Paint::Warn,
    }
}
