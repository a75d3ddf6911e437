//! `probe`: runs configured checks once, without a daemon, and shows what they see.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{Common, Output};
use super::text::{Paint, colour, complain, paint, painted, print, print_json, table};
use super::{Done, Exit, client};
use crate::base::{CheckId, GroupId, nearest};
use crate::cluster::{Judgement, Linearizable, LinearizableResult, Memory, NodeView, Round, Standing, judge};
use crate::config::{CheckKind, Config};
use crate::decide::view::Status;
use crate::health::{Finding, Sample, Verdict};
use crate::io::{Clock, Net, Note, show};
use crate::{probe, sys};

/// For how long servers may take to hear that we go.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Check(CheckId),
    Group(GroupId),
}

/// How it ended, in the order of exit codes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Well,
    Unmeasured,
    Badly,
}

pub(super) fn run(common: &Common, names: &[String]) -> Done {
    let (config, warnings) =
        sys::load_config(&common.config).map_err(|mistakes| Exit::Missing(mistakes.render(colour(true))))?;
    complain(&warnings.render(colour(true)));
    let mut wanted = Vec::new();
    for name in names {
        for one in find(&config, name)? {
            if !wanted.contains(&one) {
                wanted.push(one);
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Exit::Missing(format!("cannot probe: {why}")))?;
    let (mut worst, mut objects) = (End::Well, Vec::new());
    let (net, config) = (Net::new(), Arc::new(config));
    for (n, one) in wanted.into_iter().enumerate() {
        let (end, text, object) = match one {
            Wanted::Check(id) if config.checks[id].kind.is_told() => told(common, &config, id),
            Wanted::Check(id) => runtime.block_on(check(&net, &config, id)),
            Wanted::Group(id) => runtime.block_on(group(&net, &config, id)),
        };
        worst = worst.max(end);
        match common.output {
            // As it comes: the next one may take its whole timeout.
            Output::Text => print(&format!("{}{text}", if n == 0 { "" } else { "\n" })),
            Output::Json => objects.push(object),
        }
    }
    if common.output == Output::Json {
        print_json(&objects);
    }
    runtime.block_on(net.farewells().say(Clock.deadline(FAREWELL_MAX)));
    // What was found is on standard output already.
    match worst {
        End::Well => Ok(()),
        End::Badly => Err(Exit::No(String::new())),
        End::Unmeasured => Err(Exit::Missing(String::new())),
    }
}

/// A check or all those below a name; a cluster, or one of its groups.
fn find(config: &Config, name: &str) -> Result<Vec<Wanted>, Exit> {
    let below =
        |other: &str| other == name || other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    let mut found = Vec::new();
    for (id, check) in config.checks.iter().filter(|(id, _)| below(config.checks.name(*id))) {
        match check.kind {
            CheckKind::Cluster(cluster) => {
                let groups = config.clusters[cluster].groups.iter().copied();
                let is_near = |group: &GroupId| {
                    config.groups[*group].inside.is_none_or(|region| Some(region) == check.region)
                };
                found.extend(groups.filter(is_near).map(Wanted::Group));
            }
            _ => found.push(Wanted::Check(id)),
        }
    }
    found.extend(
        config
            .groups
            .iter()
            .filter(|(id, _)| below(config.groups.name(*id)))
            .map(|(id, _)| Wanted::Group(id)),
    );
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = (config.checks.iter().map(|(id, _)| config.checks.name(id).to_string()))
        .chain(config.clusters.iter().map(|(id, _)| config.clusters.name(id).to_string()))
        .collect();
    let meant = match nearest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => format!("; there are {}", names.join(", ")),
    };
    Err(Exit::No(format!("there is no check or cluster `{name}`{meant}")))
}

// ── one check ──

async fn check(net: &Net, config: &Config, id: CheckId) -> (End, String, Value) {
    let (name, spec) = (config.checks.name(id), &config.checks[id]);
    let net = net.from(spec.schedule.source);
    let looked = probe::look(&net, id, &spec.kind, spec.schedule.timeout).await;
    let (Sample { finding, took, .. }, notes) = looked.unwrap_or_else(|| {
        let finding = Finding::Unknown("it is not a check that can be run by itself".to_owned());
        (Sample { check: id, finding, heard: false, took: Duration::ZERO }, Vec::new())
    });
    let (end, colours) = match finding {
        Finding::Pass(_) => (End::Well, Paint::Good),
        Finding::Fail(_) => (End::Badly, Paint::Bad),
        Finding::Unknown(_) | Finding::Hold(_) => (End::Unmeasured, Paint::Warn),
    };
    let mut text = format!("{name}\n");
    for Note { at, phase, words } in &notes {
        // What has several lines stands under itself.
        let words = words.replace('\n', &format!("\n{:24}", ""));
        text.push_str(&format!("  {:>9}  {phase:<10} {words}\n", show(*at)));
    }
    let word = paint(finding.word(), colours, colour(false));
    text.push_str(&format!("  {word}: {}\n", finding.words()));
    let phases: Vec<Value> = notes
        .iter()
        .map(|note| json!({"at_ms": millis(note.at), "phase": note.phase, "words": note.words}))
        .collect();
    let object = json!({
        "check": name,
        "kind": spec.kind.word(),
        "finding": finding.word(),
        "words": finding.words(),
        "took_ms": millis(took),
        "phases": phases,
    });
    (end, text, object)
}

// ── what nobody is asked about ──

/// The daemon's word of a check that others tell about: it alone has heard them.
fn told(common: &Common, config: &Config, id: CheckId) -> (End, String, Value) {
    let name: &str = config.checks.name(id);
    let kind = &config.checks[id].kind;
    let status = client::get::<Status>(common, "/v1/status", &[]);
    let view = status.map(|status| {
        let of_regions = status.regions.into_iter().flat_map(|region| region.checks);
        let places = status.services.into_iter().flat_map(|service| service.places);
        of_regions.chain(places.flat_map(|place| place.checks)).find(|check| check.name == name)
    });
    let (verdict, words) = match view {
        Ok(Some(view)) => (view.verdict, view.newest.unwrap_or(view.reason)),
        Ok(None) => (Verdict::Unknown, "the daemon that runs has another configuration".to_owned()),
        Err(Exit::No(why) | Exit::Missing(why)) => (Verdict::Unknown, why.replace('\n', "; ")),
    };
    let (end, colours) = match verdict {
        Verdict::Pass => (End::Well, Paint::Good),
        Verdict::Fail => (End::Badly, Paint::Bad),
        Verdict::Unknown => (End::Unmeasured, Paint::Warn),
    };
    let how = match kind {
        CheckKind::Push(push) => format!("it reports itself, as POST /v1/push/{}", push.name),
        CheckKind::Alertmanager(alerts) => {
            format!("Alertmanager tells of it, as POST /v1/alertmanager/{}", alerts.from)
        }
        _ => "others tell of it".to_owned(),
    };
    let word = paint(verdict.word(), colours, colour(false));
    let text = format!("{name}\n  nobody is asked: {how}; this is the daemon's word\n  {word}: {words}\n");
    let object = json!({
        "check": name,
        "kind": kind.word(),
        "finding": verdict.word(),
        "words": words,
        "told": how,
    });
    (end, text, object)
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

// ── one group of voters ──

async fn group(net: &Net, config: &Arc<Config>, id: GroupId) -> (End, String, Value) {
    let (name, of) = (config.groups.name(id), &config.groups[id]);
    let cluster = &config.clusters[of.cluster];
    let net = net.from(cluster.schedule.source);
    let started = Clock.mono();
    let views = probe::cluster::views(&net, cluster, of, cluster.schedule.timeout).await;
    let took = Clock.mono().since(started);
    let linearizable = linearize(&net, config, id, &views).await;
    let round = Round { group: id, views, linearizable, took };
    // A first look: nothing is remembered, and nothing forgiven.
    let judgement = judge(cluster, of, &round, &mut Memory::default(), Clock.mono());
    let end = match judgement.verdict {
        Standing::Quorum | Standing::Degraded => End::Well,
        Standing::Unknown => End::Unmeasured,
        _ => End::Badly,
    };
    let text = group_text(config, id, &round, &judgement);
    let voters: Vec<Value> = (of.members.iter().zip(&round.views))
        .map(|(member, view)| {
            json!({
                "voter": member.endpoint.to_string(),
                "region": config.regions.name(member.region),
                "says": view.word(),
                "words": words(view),
            })
        })
        .collect();
    let regions = judgement.regions.iter().map(|(region, (standing, reason))| {
        json!({"region": config.regions.name(*region), "standing": standing.word(), "reason": reason})
    });
    let object = json!({
        "group": name,
        "kind": cluster.kind.word(),
        "standing": judgement.verdict.word(),
        "reason": judgement.reason,
        "took_ms": millis(round.took),
        "voters": voters,
        "linearizable": round.linearizable.as_ref().map(|probe| linearizable_words(of, probe)),
        "evidence": judgement.evidence,
        "regions": regions.collect::<Vec<_>>(),
    });
    (end, text, object)
}

/// The probe that takes a quorum, through a member that answers if there is one.
async fn linearize(net: &Net, config: &Config, id: GroupId, views: &[NodeView]) -> Option<Linearizable> {
    let group = &config.groups[id];
    let kind = &config.clusters[group.cluster].kind;
    let budget = probe::cluster::linearizable_budget(kind)?;
    let answered = views.iter().position(|view| matches!(view, NodeView::Answered(_)));
    let member = answered.unwrap_or_default();
    let asked = probe::cluster::linearizable(net, kind, group.members.get(member)?);
    let result = tokio::time::timeout(budget, asked).await.unwrap_or(LinearizableResult::Hung);
    Some(Linearizable { at: Clock.mono(), member, result })
}

fn group_text(config: &Config, id: GroupId, round: &Round, judgement: &Judgement) -> String {
    let group = &config.groups[id];
    let kind = config.clusters[group.cluster].kind.word();
    let mut text = format!("{} ({kind})\n", config.groups.name(id));
    let rows: Vec<_> = (group.members.iter().zip(&round.views))
        .map(|(member, view)| {
            let paint = if matches!(view, NodeView::Answered(_)) { Paint::Plain } else { Paint::Warn };
            vec![
                format!("  {}", member.endpoint).into(),
                config.regions.name(member.region).to_string().into(),
                painted(view.word(), paint),
                words(view).into(),
            ]
        })
        .collect();
    text.push_str(&table(&["  VOTER", "REGION", "SAYS", "IN FULL"], &rows));
    if let Some(probe) = &round.linearizable {
        text.push_str(&format!("  a request that takes a quorum {}\n", linearizable_words(group, probe)));
    }
    let colours = match judgement.verdict {
        Standing::Quorum => Paint::Good,
        Standing::NoQuorum | Standing::SplitBrain | Standing::ReadOnly => Paint::Bad,
        _ => Paint::Warn,
    };
    let standing = |standing: Standing| paint(standing.word(), colours, colour(false));
    text.push_str(&format!("  {}: {}\n", standing(judgement.verdict), judgement.reason));
    for (region, (of_region, reason)) in &judgement.regions {
        if *of_region != judgement.verdict {
            let region = config.regions.name(*region);
            text.push_str(&format!("  {region} {}: {reason}\n", of_region.word()));
        }
    }
    text
}

fn words(view: &NodeView) -> String {
    match view {
        NodeView::Answered(facts) => facts.words(),
        NodeView::Refused(words)
        | NodeView::Silent(words)
        | NodeView::Denied(words)
        | NodeView::Rubbish(words)
        | NodeView::Unmeasured(words) => words.clone(),
    }
}

fn linearizable_words(group: &crate::config::Group, probe: &Linearizable) -> String {
    let through = group.members.get(probe.member).map_or(String::new(), |member| member.endpoint.to_string());
    match &probe.result {
        LinearizableResult::Passed => format!("passes through {through}"),
        LinearizableResult::NoQuorum(words) => format!("finds none through {through}: {words}"),
        LinearizableResult::Hung => format!("hangs through {through}"),
        LinearizableResult::Unmeasured(words) => format!("tells nothing through {through}: {words}"),
    }
}
