//! Metrics. Counters and durations are kept as things happen; gauges are set when somebody
//! scrapes, from the state as it is then.

use metrics::{Gauge, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::handle::Running;
use crate::base::{CheckId, GroupId, Health, Named};
use crate::cluster::{Round, Standing};
use crate::config::{CheckKind, ClusterKind, Config, Mode};
use crate::decide::{Daemon, Event};
use crate::dns::Counter;
use crate::health::{Sample, Verdict};
use crate::region::{Duty, UNKNOWN};
use crate::sign::{KeyState, ParentView, Role, ZoneView};
use crate::workflow::State;

/// Bounds of the buckets for durations, in seconds.
pub const DURATION_BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What each metric says, for whoever reads `/metrics`.
pub(super) fn describe() {
    describe_gauge!("pointsman_build_info", "Always 1; the version is in the label.");
    describe_gauge!("pointsman_mode", "1 for the mode that is configured: observe, answer or act.");
    describe_gauge!("pointsman_serving", "1 while DNS is served.");
    describe_gauge!(
        "pointsman_blind",
        "1 while this site takes itself for blind: it holds its answers and starts nothing."
    );
    describe_gauge!(
        "pointsman_silences_waiting",
        "Results without any answer that wait for somebody unrelated to answer."
    );
    describe_gauge!("pointsman_region_health", "1 for the health that a region has, else 0.");
    describe_gauge!(
        "pointsman_service_place_health",
        "1 for the health that a region has by a service's own checks, else 0."
    );
    describe_gauge!(
        "pointsman_check_monitoring_only",
        "1 for a check that is measured and decides nothing, else 0."
    );
    describe_gauge!("pointsman_region_duty", "1 for the duty that a region has, else 0.");
    describe_gauge!("pointsman_region_generation", "Flips of a region, over all time.");
    describe_gauge!("pointsman_check_verdict", "1 for the verdict that a check has come to, else 0.");
    describe_gauge!("pointsman_check_unknown_intervals", "For how many intervals nothing could be measured.");
    describe_gauge!("pointsman_cluster_standing", "1 for how a group of voters stands, else 0.");
    describe_gauge!(
        "pointsman_quorum_margin",
        "How many voters a group can lose and still commit; below 0: it cannot."
    );
    describe_gauge!("pointsman_cluster_voters", "Voters of a group, as configured.");
    describe_gauge!("pointsman_cluster_voters_reached", "Voters of a group that answered.");
    describe_gauge!(
        "pointsman_cluster_sides",
        "Sides of a group without a leader whose members do not hear those of other sides; 1: all hear each other."
    );
    describe_gauge!(
        "pointsman_cluster_parts",
        "Parts of a sharded system (queues, partitions, ranges): total, lost, critical (one more loss ends it)."
    );
    describe_gauge!(
        "pointsman_service_share",
        "Share of a service's answers that a region gets; 0: it is not answered."
    );
    describe_gauge!("pointsman_service_ttl_seconds", "TTL of a service's answers.");
    describe_gauge!("pointsman_table_generation", "Number of the table that is served.");
    describe_gauge!("pointsman_zone_serial", "Serial of a zone, as it is told.");
    describe_gauge!("pointsman_zone_records", "Records of a zone's file.");
    describe_gauge!("pointsman_zone_history_steps", "Versions of a zone from which a difference is kept.");
    describe_counter!(
        "pointsman_notify_total",
        "Secondary servers told of another version of a zone, by outcome."
    );
    describe_gauge!("pointsman_trigger", "1 for how a workflow's trigger stands, else 0.");
    describe_gauge!("pointsman_executions", "Executions that are not over, by state.");
    describe_gauge!("pointsman_obligations_open", "What a region still owes before it may serve.");
    describe_gauge!("pointsman_automation_enabled", "1 while workflows may start and go on.");
    describe_gauge!("pointsman_store_healthy", "1 while the journal can be written.");
    describe_gauge!(
        "pointsman_config_reload_success",
        "0 if the configuration on disk could not be taken over."
    );
    describe_gauge!(
        "pointsman_tls_certificate_expiry_timestamp_seconds",
        "Until when the certificate is valid that clients are shown, in seconds since 1970."
    );
    describe_gauge!(
        "pointsman_geo_reload_success",
        "0 if newer data on where clients are could not be taken over."
    );
    describe_gauge!(
        "pointsman_geo_database_built_seconds",
        "When a database that tells where clients are was built, in seconds since 1970."
    );
    describe_gauge!("pointsman_geo_networks", "Networks that a database or list tells of.");
    describe_gauge!("pointsman_dnssec_signatures", "Signatures made ahead of questions.");
    describe_gauge!("pointsman_dnssec_signing_seconds", "How long making them took.");
    describe_gauge!(
        "pointsman_dnssec_renewal_timestamp_seconds",
        "When they are made anew, in seconds since 1970."
    );
    describe_gauge!(
        "pointsman_dnssec_parent",
        "1 for what the parent says of a zone's keys: agrees, without (no DS), differs or unknown; else 0."
    );
    describe_gauge!("pointsman_dnssec_keys_well", "0 if a zone's keys cannot be looked after.");
    describe_gauge!(
        "pointsman_dnssec_keys_next_timestamp_seconds",
        "When something happens to a zone's keys by itself, in seconds since 1970; 0: not known."
    );
    describe_gauge!(
        "pointsman_dnssec_key_age_seconds",
        "For how long the oldest key in use has been in use, by role."
    );
    describe_counter!("pointsman_flips_total", "Changes of a region's health.");
    describe_counter!("pointsman_queries_total", "Answers, by response code.");
    describe_counter!(
        "pointsman_query_events_total",
        "What else happened to queries: transports, truncation, drops."
    );
    describe_counter!("pointsman_executions_total", "Executions that are over, by how they ended.");
    describe_counter!("pointsman_stages_total", "Calls to agents that have ended, by outcome.");
    describe_counter!(
        "pointsman_journal_facts_lost_total",
        "Facts that never reached the journal because the store stayed away."
    );
    describe_gauge!("pointsman_probes_in_flight", "Probes that are under way.");
    describe_counter!(
        "pointsman_probe_limit_hits_total",
        "How often probes that were due had to wait for others to end."
    );
    describe_counter!(
        "pointsman_probe_reports_dropped_total",
        "Results of probes that were dropped because nobody took them in for too long."
    );
    describe_counter!("pointsman_push_reports_total", "Reports of targets that report themselves.");
    describe_counter!("pointsman_push_refused_total", "What came in to be reported and was refused, by why.");
    describe_counter!("pointsman_alertmanager_notifications_total", "Notifications of an Alertmanager.");
    describe_gauge!(
        "pointsman_alertmanager_age_seconds",
        "How old the newest notification of an Alertmanager is."
    );
    describe_gauge!("pointsman_push_age_seconds", "How old the newest report of a target is.");
    describe_gauge!("pointsman_check_duration_seconds", "How long the newest probe took.");
    describe_histogram!("pointsman_stage_duration_seconds", "How long a call to an agent took.");
    describe_histogram!("pointsman_conclude_duration_seconds", "From inputs taken to the table published.");
    gauge!("pointsman_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// How long probes took, the newest of each: a histogram for each of thousands of checks would be
/// dozens of series where one is looked at, and a kilobyte. The gauges are looked up once.
#[derive(Debug)]
pub(super) struct Durations {
    checks: Named<CheckId, Gauge>,
    groups: Named<GroupId, Gauge>,
}

impl Durations {
    /// Of everything that a configuration has probed.
    pub(super) fn of(config: &Config) -> Self {
        let of = |name: &str| gauge!("pointsman_check_duration_seconds", "check" => name.to_owned());
        Self {
            // A cluster's is told by group, and who tells by itself was not asked.
            checks: config.checks.map(|id, check| match &check.kind {
                CheckKind::Cluster(_) => Gauge::noop(),
                kind if kind.is_told() => Gauge::noop(),
                _ => of(config.checks.name(id)),
            }),
            groups: config.groups.map(|id, _| of(config.groups.name(id))),
        }
    }

    /// A probe has ended.
    pub(super) fn sample(&self, sample: &Sample) {
        self.checks[sample.check].set(sample.took);
    }

    /// A round of a group has ended.
    pub(super) fn round(&self, round: &Round) {
        self.groups[round.group].set(round.took);
    }
}

/// Zones were signed.
pub(super) fn signed(count: usize, took: std::time::Duration, renewed: crate::base::Timestamp) {
    gauge!("pointsman_dnssec_signatures").set(count as f64);
    gauge!("pointsman_dnssec_signing_seconds").set(took);
    gauge!("pointsman_dnssec_renewal_timestamp_seconds").set(renewed.as_second() as f64);
}

/// How the keys of signed zones stand.
pub(super) fn keys(zones: &[ZoneView], now: crate::base::Timestamp) {
    for view in zones {
        let zone = view.zone.to_string();
        for says in ParentView::WORDS {
            let is = f64::from(u8::from(view.parent.word() == says));
            gauge!("pointsman_dnssec_parent", "zone" => zone.clone(), "says" => says).set(is);
        }
        let well = f64::from(u8::from(view.trouble.is_none()));
        gauge!("pointsman_dnssec_keys_well", "zone" => zone.clone()).set(well);
        let next = view.next.map_or(0.0, |next| next.as_second() as f64);
        gauge!("pointsman_dnssec_keys_next_timestamp_seconds", "zone" => zone.clone()).set(next);
        for role in Role::ALL {
            let active =
                view.keys.iter().filter(|key| key.record.role == role && key.state == KeyState::Active);
            if let Some(since) = active.map(|key| key.since).min() {
                let age = now.duration_since(since).as_secs_f64().max(0.0);
                gauge!("pointsman_dnssec_key_age_seconds", "zone" => zone.clone(), "role" => role.word())
                    .set(age);
            }
        }
    }
}

/// Something happened.
pub(super) fn event(event: &Event) {
    if let Event::Flip { region, to, .. } = event {
        counter!("pointsman_flips_total", "region" => region.clone(), "to" => to.word()).increment(1);
    }
}

/// A call to an agent has ended.
pub(super) fn call(workflow: &str, stage: &str, outcome: &'static str, took: std::time::Duration) {
    let labels = [("workflow", workflow.to_owned()), ("stage", stage.to_owned())];
    histogram!("pointsman_stage_duration_seconds", &labels).record(took);
    let [workflow, stage] = labels;
    counter!("pointsman_stages_total", "workflow" => workflow.1, "stage" => stage.1, "outcome" => outcome)
        .increment(1);
}

/// An execution is over.
pub(super) fn execution_over(workflow: &str, state: State) {
    counter!("pointsman_executions_total", "workflow" => workflow.to_owned(), "state" => state_word(state))
        .increment(1);
}

/// A reload has come to something.
pub(super) fn reload(success: bool) {
    gauge!("pointsman_config_reload_success").set(f64::from(u8::from(success)));
}

/// Inputs were taken and everything that follows from them was decided.
pub(super) fn concluded(took: std::time::Duration) {
    histogram!("pointsman_conclude_duration_seconds").record(took);
}

/// Sets every gauge from the state as it is.
pub fn refresh(daemon: &Daemon, running: &Running) {
    let config = &*daemon.setup().config;
    for mode in [Mode::Observe, Mode::Answer, Mode::Act] {
        let word = match mode {
            Mode::Observe => "observe",
            Mode::Answer => "answer",
            Mode::Act => "act",
        };
        set("pointsman_mode", &[("mode", word)], mode == config.mode);
    }
    gauge!("pointsman_serving").set(bit(running.serving));
    gauge!("pointsman_blind").set(bit(daemon.senses().sight.blind().is_some()));
    gauge!("pointsman_silences_waiting").set(daemon.senses().waiting() as f64);
    gauge!("pointsman_table_generation").set(daemon.generation().0 as f64);
    gauge!("pointsman_automation_enabled").set(bit(daemon.automation().enabled));
    gauge!("pointsman_store_healthy").set(bit(daemon.store_trouble().is_none()));
    if let Some(ends) = running.certificate_ends {
        gauge!("pointsman_tls_certificate_expiry_timestamp_seconds").set(ends.as_second() as f64);
    }
    counter!("pointsman_journal_facts_lost_total").absolute(daemon.facts_given_up());
    regions(daemon, config);
    places(daemon, config);
    checks(daemon, config, running);
    groups(daemon, config);
    services(daemon, config);
    workflows(daemon, running);
    zones(daemon);
    counter!("pointsman_notify_total", "outcome" => "told").absolute(running.notified);
    counter!("pointsman_notify_total", "outcome" => "failed").absolute(running.not_notified);
    geo(daemon);
    queries(running);
}

fn geo(daemon: &Daemon) {
    gauge!("pointsman_geo_reload_success").set(bit(daemon.geo_trouble().is_none()));
    for database in daemon.setup().world.databases() {
        let labels = [("file", database.file.clone()), ("kind", database.kind.clone())];
        gauge!("pointsman_geo_networks", &labels).set(database.networks as f64);
        if let Some(built) = database.built {
            gauge!("pointsman_geo_database_built_seconds", &labels).set(built.as_second() as f64);
        }
    }
}

fn regions(daemon: &Daemon, config: &Config) {
    for (region, duty) in daemon.traffic().duties(config).iter() {
        let name = &**config.regions.name(region);
        let state = &daemon.senses().regions[region];
        for health in Health::ALL {
            set(
                "pointsman_region_health",
                &[("region", name), ("state", health.word())],
                state.health() == health,
            );
        }
        for each in Duty::ALL {
            set("pointsman_region_duty", &[("region", name), ("state", each.word())], *duty == each);
        }
        let generation = state.known().map_or(0, |known| known.generation);
        gauge!("pointsman_region_generation", "region" => name.to_owned()).set(generation as f64);
    }
}

fn places(daemon: &Daemon, config: &Config) {
    for ((service, region), state) in &daemon.senses().places {
        let (service, region) = (&**config.services.name(*service), &**config.regions.name(*region));
        for health in Health::ALL {
            let labels = [("service", service), ("region", region), ("state", health.word())];
            set("pointsman_service_place_health", &labels, state.health() == health);
        }
    }
}

fn checks(daemon: &Daemon, config: &Config, running: &Running) {
    for (id, spec) in config.checks.iter() {
        let name = &**config.checks.name(id);
        set("pointsman_check_monitoring_only", &[("check", name)], spec.monitoring_only);
        let state = &daemon.senses().checks[id];
        for verdict in Verdict::ALL {
            set(
                "pointsman_check_verdict",
                &[("check", name), ("verdict", verdict.word())],
                state.verdict() == verdict,
            );
        }
        let unknown = state.window().unknown_for(running.now.mono).unwrap_or_default();
        let intervals = unknown.as_secs_f64() / spec.schedule.interval.as_secs_f64();
        gauge!("pointsman_check_unknown_intervals", "check" => name.to_owned()).set(intervals);
    }
}

fn groups(daemon: &Daemon, config: &Config) {
    for id in config.groups.ids() {
        let name = &**config.groups.name(id);
        let Some((judgement, _)) = &daemon.senses().groups[id].judgement else { continue };
        for standing in Standing::ALL {
            let labels = [("group", name), ("state", standing.word())];
            set("pointsman_cluster_standing", &labels, judgement.verdict == standing);
        }
        let evidence = &judgement.evidence;
        // What could not be measured is no margin, neither a good nor a bad one.
        let margin = if judgement.verdict.is_measured() { evidence.margin as f64 } else { f64::NAN };
        gauge!("pointsman_quorum_margin", "group" => name.to_owned()).set(margin);
        gauge!("pointsman_cluster_voters", "group" => name.to_owned()).set(evidence.voters as f64);
        gauge!("pointsman_cluster_voters_reached", "group" => name.to_owned()).set(evidence.reached as f64);
        if matches!(config.clusters[config.groups[id].cluster].kind, ClusterKind::Cassandra(_)) {
            let sides = evidence.sides.map_or(f64::NAN, |sides| sides as f64);
            gauge!("pointsman_cluster_sides", "group" => name.to_owned()).set(sides);
        }
        let parts = [
            ("total", evidence.parts_total),
            ("lost", evidence.parts_lost),
            ("critical", evidence.parts_critical),
        ];
        if config.clusters[config.groups[id].cluster].kind.parts().is_some() {
            for (state, count) in parts {
                let count = count.map_or(f64::NAN, |count| count as f64);
                gauge!("pointsman_cluster_parts", "group" => name.to_owned(), "state" => state).set(count);
            }
        }
    }
}

fn services(daemon: &Daemon, config: &Config) {
    for (id, service) in config.services.iter() {
        let name = &**config.services.name(id);
        let Some(choice) = daemon.traffic().choice(id) else { continue };
        // Clients of whom nothing is known stand for all: how many there are of each kind is not
        // ours to know.
        let shares = choice.outcome(UNKNOWN).map(|outcome| outcome.pick.shares()).unwrap_or_default();
        for region in &service.regions {
            let share = shares.iter().find(|(id, _)| id == region).map_or(0.0, |(_, share)| *share);
            let region = config.regions.name(*region).to_string();
            gauge!("pointsman_service_share", "service" => name.to_owned(), "region" => region).set(share);
        }
        gauge!("pointsman_service_ttl_seconds", "service" => name.to_owned()).set(f64::from(choice.ttl));
    }
}

fn workflows(daemon: &Daemon, running: &Running) {
    let executions = daemon.executions(running.now, 0);
    let obligations = daemon.obligations(running.now);
    for (position, workflow) in daemon.setup().workflows.iter().enumerate() {
        let (state, _) = daemon.trigger_words(position, running.now.mono);
        for each in ["idle", "holding", "blocked", "ran", "manual"] {
            set("pointsman_trigger", &[("workflow", &workflow.name), ("state", each)], state == each);
        }
        for each in [State::Running, State::Paused, State::Failing, State::Cancelling] {
            let count = executions.iter().filter(|view| view.workflow == workflow.name && view.state == each);
            let labels = [("workflow", workflow.name.clone()), ("state", state_word(each).to_owned())];
            gauge!("pointsman_executions", &labels).set(count.count() as f64);
        }
    }
    for region in daemon.setup().config.regions.names() {
        let owed = obligations.iter().filter(|obligation| obligation.region == region).count();
        gauge!("pointsman_obligations_open", "region" => region.to_owned()).set(owed as f64);
    }
}

fn zones(daemon: &Daemon) {
    for zone in daemon.zones() {
        let name = zone.name;
        gauge!("pointsman_zone_serial", "zone" => name.clone()).set(f64::from(zone.serial));
        gauge!("pointsman_zone_records", "zone" => name.clone()).set(zone.records as f64);
        gauge!("pointsman_zone_history_steps", "zone" => name).set(zone.steps as f64);
    }
}

fn queries(running: &Running) {
    for (counted, value) in running.counts.iter() {
        let word = counted.word();
        match counted {
            Counter::NoError
            | Counter::FormErr
            | Counter::ServFail
            | Counter::NxDomain
            | Counter::NotImp
            | Counter::Refused
            | Counter::YxDomain
            | Counter::NotAuth
            | Counter::BadVers => counter!("pointsman_queries_total", "rcode" => word).absolute(value),
            _ => counter!("pointsman_query_events_total", "event" => word).absolute(value),
        }
    }
}

/// A gauge of a state set: 1 for the state that is, 0 for the others.
fn set(name: &'static str, labels: &[(&'static str, &str)], is: bool) {
    let labels: Vec<(&'static str, String)> =
        labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    gauge!(name, &labels).set(bit(is));
}

fn bit(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Paused => "paused",
        State::Failing => "failing",
        State::Cancelling => "cancelling",
        State::Succeeded => "succeeded",
        State::SucceededWithExceptions => "succeeded_with_exceptions",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}
