//! Every message once, both forms, and the files that must load as they stand.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::base::Severity;
use crate::config::{self, Surroundings};
use crate::workflow::{Ends, Jitter, OnFailure, Op, Plan, RetryPolicy, Until, Wish};

const ARTICLE: &str = r#"stages:
  prescale:
    agent: "capacity"
    spec:
      cluster: "my-k8s-cluster-region-a"
      namespace: "petstore-region-a"
      region: "region-a"
  promote-database:
    agent: "database"
    spec:
      cluster: "petstore-region-a"
      role: "writer"
  demote-database:
    agent: "database"
    spec:
      cluster: "petstore-region-b"
      role: "reader"
  dial:
    agent: "dial"
    spec:
      endpoint: "petstore-region-a.com"
      region: "region-a"
"#;

/// Two regions, the aliases that the article's file needs, and a channel.
const CONFIG: &str = r#"
version: 1
mode: act
site: {name: fra1}
sites: [fra1]
listen: {dns: ["127.0.0.1:5353"]}
zones: [{name: example.com, file: example.zone}]
clusters:
  sessions: {etcd: {inside: {region-a: ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"]}}}
  petstore:
    postgres:
      across: {region-a: ["host=a user=pointsman"], region-b: ["host=b user=pointsman"]}
  split:
    postgres:
      inside: {region-a: ["host=c user=pointsman"], region-b: ["host=d user=pointsman"]}
  crowded:
    postgres:
      across: {region-a: ["host=e user=pointsman", "host=f user=pointsman"], region-b: ["host=g user=pointsman"]}
  lonely:
    postgres:
      across: {region-b: ["host=h user=pointsman"]}
regions:
  region-a:
    capacity: 40
    capacity_hook: {url: "http://127.0.0.1:9/a", headers: {authorization: {file: /run/a}}}
    layers: {reach: [{tcp: {address: "127.0.0.1:1"}}]}
  region-b:
    capacity_hook: {url: "http://127.0.0.1:9/b"}
    layers: {reach: [{tcp: {address: "127.0.0.1:1"}}]}
services:
  petstore:
    names: [petstore.example.com]
    policy: {failover: [region-b, region-a]}
    switched_by: workflow
    answers: {region-a: {a: [192.0.2.1]}, region-b: {a: [192.0.2.2]}}
    failback: manual
  catalogue:
    names: [catalogue.example.com]
    policy: {failover: [region-b, region-a]}
    answers: {region-a: {a: [192.0.2.1]}, region-b: {a: [192.0.2.2]}}
    failback: manual
  local:
    names: [local.example.com]
    policy: {failover: [region-b]}
    switched_by: workflow
    answers: {region-b: {a: [192.0.2.2]}}
workflows: [{file: flow.yaml, when: {region: region-b, turns: [unreachable], for: 10s}}]
aliases:
  petstore-region-a: {cluster: petstore, region: region-a}
  petstore-region-b: {cluster: petstore, region: region-b}
  region-eu: {region: region-a}
  petstore-region-a.com: {service: petstore}
  my-k8s-cluster-region-a: {region: region-a}
channels:
  on-call: {webhook: {url: {env: HOOK}, headers: {x-team: sre}}}
"#;

fn config(text: &str) -> Config {
    let around =
        Surroundings { directory: "/etc/pointsman".into(), state: None, runtime: None, processors: 2 };
    match config::parse(&Source::new("pointsman.yaml", text), &around) {
        Ok((config, _)) => config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

fn load_with(text: &str, config: &Config) -> Result<(Workflow, Mistakes), Mistakes> {
    parse(&Source::new("dir/flow.yaml", text), &config.workflows[0], config)
}

fn load(text: &str) -> Result<(Workflow, Mistakes), Mistakes> {
    load_with(text, &config(CONFIG))
}

fn sound(text: &str) -> Workflow {
    match load(text) {
        Ok((workflow, warnings)) => {
            assert!(warnings.is_empty(), "{}", warnings.render(false));
            workflow
        }
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

fn messages(result: &Result<(Workflow, Mistakes), Mistakes>) -> Vec<(Severity, String)> {
    let mistakes = match result {
        Ok((_, warnings)) => warnings,
        Err(mistakes) => mistakes,
    };
    mistakes.iter().map(|mistake| (mistake.severity, mistake.to_string())).collect()
}

fn plan_of(workflow: &Workflow, config: &Config) -> Plan {
    let ends = workflow.ends(config, Wish::default(), &|_| true).unwrap();
    workflow.plan(config, ends).unwrap()
}

fn one(stage: &str) -> String {
    format!("version: 1\nstages:\n  it: {stage}\n")
}

#[test]
fn the_article_runs_unchanged() {
    let config = config(CONFIG);
    let (workflow, warnings) = load_with(ARTICLE, &config).unwrap();
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("`promote-database` promotes before `demote-database` demotes"));
    assert_eq!((workflow.name.as_str(), workflow.form), ("flow", Form::Article));
    let needs: Vec<_> = workflow.stages.iter().map(|stage| stage.needs.as_slice()).collect();
    assert_eq!(needs, [&[] as &[usize], &[0], &[1], &[2]]);
    assert!(workflow.stages.iter().all(|stage| stage.care.on_failure == OnFailure::Abort));

    let plan = plan_of(&workflow, &config);
    assert_eq!((plan.activate.as_str(), plan.deactivate.as_str()), ("region-a", "region-b"));
    let Op::Capacity(capacity) = &plan.stages[0].op else { panic!() };
    assert_eq!((capacity.region.as_str(), capacity.percent, capacity.capacity), ("region-a", 100, Some(40)));
    assert_eq!(capacity.url, "http://127.0.0.1:9/a");
    assert_eq!(capacity.extra["namespace"], "petstore-region-a");
    assert_eq!(capacity.extra["cluster"], "my-k8s-cluster-region-a");
    let Op::Database(promote) = &plan.stages[1].op else { panic!() };
    assert_eq!((promote.cluster.as_str(), promote.region.as_str()), ("petstore", "region-a"));
    assert_eq!(promote.nodes.len(), 2);
    let Op::Database(demote) = &plan.stages[2].op else { panic!() };
    assert_eq!((demote.role, demote.region.as_str()), (crate::workflow::DatabaseRole::Reader, "region-b"));
    let Op::Dial(dial) = &plan.stages[3].op else { panic!() };
    assert_eq!((dial.service.as_str(), &dial.shares), ("petstore", &[("region-a".to_owned(), 100)].into()));
}

#[test]
fn the_shipped_example_loads_without_a_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let config = config(&std::fs::read_to_string(root.join("pointsman.yaml")).unwrap());
    let text = std::fs::read_to_string(root.join("workflows/petstore-failover.yaml")).unwrap();
    let (workflow, warnings) = load_with(&text, &config).unwrap_or_else(|m| panic!("{}", m.render(false)));
    assert!(warnings.is_empty(), "{}", warnings.render(false));
    assert_eq!(workflow.name, "petstore-failover");
    let plan = plan_of(&workflow, &config);
    let stages: Vec<_> = plan.stages.iter().map(|s| (s.name.as_str(), s.needs.as_slice())).collect();
    assert_eq!(
        stages,
        [
            ("prescale", &[] as &[usize]),
            ("promote-database", &[]),
            ("dial", &[0, 1]),
            ("demote-database", &[1])
        ]
    );
    // The same file moves back.
    let back = Wish { activate: config.regions.id("eu-west"), deactivate: None };
    let ends = workflow.ends(&config, back, &|_| true).unwrap();
    let plan = workflow.plan(&config, ends).unwrap();
    assert_eq!((plan.activate.as_str(), plan.deactivate.as_str()), ("eu-west", "us-east"));
    let Op::Database(promote) = &plan.stages[1].op else { panic!() };
    assert_eq!(promote.region, "eu-west");
}

#[test]
fn a_version_1_translation_of_the_article_plans_the_same() {
    let config = config(CONFIG);
    let (article, _) = load_with(ARTICLE, &config).unwrap();
    let text = format!("version: 1\ndefaults: {{on_failure: abort}}\n{ARTICLE}");
    let (translated, _) = load_with(&text, &config).unwrap();
    assert_eq!(plan_of(&article, &config).stages, plan_of(&translated, &config).stages);
}

#[test]
fn stages_may_be_a_list_in_both_forms() {
    let list =
        "stages:\n- {name: b, agent: wait, spec: {for: 1s}}\n- {name: a, agent: wait, spec: {for: 1s}}\n";
    for text in [list.to_owned(), format!("version: 1\n{list}")] {
        let workflow = sound(&text);
        let stages: Vec<_> = workflow.stages.iter().map(|s| (s.name.as_str(), s.needs.as_slice())).collect();
        assert_eq!(stages, [("b", &[] as &[usize]), ("a", &[0])]);
    }
}

#[test]
fn defaults_are_those_of_the_form_and_what_is_written_comes_first() {
    let wait = |extra: &str| {
        format!(
            "version: 1\n{extra}stages: {{it: {{agent: exec, spec: {{command: [x], idempotent: true}}}}}}\n"
        )
    };
    let care = |text: &str| sound(text).stages[0].care;
    let plain = care(&wait(""));
    assert_eq!(plain.timeout, Duration::from_secs(600));
    assert_eq!(plain.attempt_timeout, Duration::from_secs(120));
    assert_eq!(plain.retry, RetryPolicy::DEFAULT);
    assert_eq!(plain.on_failure, OnFailure::Pause);
    let some = care(&wait(
        "defaults: {timeout: 5m, attempt_timeout: 10s, retry: {max_attempts: 2, jitter: none}, on_failure: continue}\n",
    ));
    assert_eq!((some.timeout, some.attempt_timeout), (Duration::from_secs(300), Duration::from_secs(10)));
    assert_eq!((some.retry.max_attempts, some.retry.jitter), (2, Jitter::None));
    assert_eq!((some.retry.multiplier, some.on_failure), (2.0, OnFailure::Continue));
    // An inherited attempt never outlasts the stage.
    let short = sound(
        "version: 1\nstages: {it: {agent: dial, timeout: 1m, retry: {max_attempts: 1}, spec: {service: petstore}}}\n",
    );
    assert_eq!(short.stages[0].care.attempt_timeout, Duration::from_secs(60));
    assert_eq!(short.timeout, Duration::from_secs(60));
    let long = sound("version: 1\ntimeout: 2h\nstages: {it: {agent: wait, spec: {for: 1h}}}\n");
    assert_eq!(long.timeout, Duration::from_secs(7200));
    assert_eq!(long.stages[0].care.timeout, Duration::from_secs(3660));
    assert_eq!(long.stages[0].care.attempt_timeout, Duration::from_secs(3660));
    // A failing notification never fails a failover, whatever the defaults.
    let notify = sound(
        "version: 1\ndefaults: {on_failure: abort}\nstages: {it: {agent: notify, spec: {channel: on-call, message: hi}}}\n",
    );
    assert_eq!(notify.stages[0].care.on_failure, OnFailure::Continue);
    assert_eq!(
        sound("stages: {it: {agent: notify, spec: {channel: on-call, message: hi}}}").stages[0]
            .care
            .on_failure,
        OnFailure::Continue
    );
}

#[test]
fn texts_are_filled_in_and_secrets_stay_references() {
    let config = config(CONFIG);
    let text = r#"
version: 1
name: mover
stages:
  scale: {agent: capacity, spec: {hook: {url: "http://h/${activate}", headers: {x-key: {env: KEY}}}, note: ["${deactivate}", 3]}}
  call: {agent: http, spec: {url: "http://h/${workflow}/${stage}", body: "${execution} ${activate}", observe: {url: "http://h/${execution}"}}}
  run: {agent: exec, spec: {command: [go, "${activate}"], env: {TO: "${activate}", N: 5, S: {file: secret}}, observe: [look, "${deactivate}"]}}
  tell: {agent: notify, spec: {channel: on-call, message: "${workflow}: ${deactivate} → ${activate} (${execution})"}}
"#;
    let (workflow, warnings) = load_with(text, &config).unwrap_or_else(|m| panic!("{}", m.render(false)));
    assert!(warnings.is_empty(), "{}", warnings.render(false));
    let mut plan = plan_of(&workflow, &config);
    plan.name(&crate::workflow::ExecutionId("mover-7".into()));
    let Op::Capacity(scale) = &plan.stages[0].op else { panic!() };
    assert_eq!(scale.url, "http://h/region-a");
    assert_eq!(scale.extra["note"], serde_json::json!(["region-b", 3]));
    assert_eq!(
        scale.headers["x-key"],
        crate::workflow::Text::Secret(crate::base::SecretRef::Env("KEY".into()))
    );
    let Op::Http(call) = &plan.stages[1].op else { panic!() };
    assert_eq!(call.url, "http://h/mover/call");
    assert_eq!(call.body.as_deref(), Some("mover-7 region-a"));
    let observe = call.observe.as_ref().unwrap();
    assert_eq!((observe.url.as_str(), observe.applied, observe.not_applied), ("http://h/mover-7", 200, 404));
    assert_eq!(
        (call.method.as_str(), call.idempotent, call.expect.as_slice()),
        ("POST", false, &[(200, 299)][..])
    );
    let Op::Exec(run) = &plan.stages[2].op else { panic!() };
    assert_eq!((run.argv[1].as_str(), run.observe.as_ref().unwrap()[1].as_str()), ("region-a", "region-b"));
    assert_eq!(
        run.env["S"],
        crate::workflow::Text::Secret(crate::base::SecretRef::File("/etc/pointsman/secret".into()))
    );
    assert_eq!(run.env["N"], crate::workflow::Text::Plain("5".into()));
    let Op::Notify(tell) = &plan.stages[3].op else { panic!() };
    assert_eq!(tell.message, "mover: region-b → region-a (mover-7)");
    assert_eq!(tell.headers["x-team"], crate::workflow::Text::Plain("sre".into()));
    // Whatever becomes part of the journal comes back as it was.
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

#[test]
fn waits_read_what_they_wait_for() {
    let wait = |spec: &str| {
        let workflow = sound(&one(&format!("{{agent: wait, spec: {spec}}}")));
        let Spec::Fixed(Op::Wait(wait)) = workflow.stages[0].spec.clone() else { panic!() };
        (wait.until, wait.interval.as_millis(), wait.consecutive)
    };
    assert_eq!(wait("{for: 5s}"), (Until::Elapsed(Duration::from_secs(5)), 2000, 1));
    let http = Until::Http { url: "http://h/x".into(), status: vec![(200, 204), (301, 301)] };
    assert_eq!(
        wait(
            "{until: {http: {url: \"http://h/x\", status: [200-204, 301]}}, interval: 500ms, consecutive: 3}"
        ),
        (http, 500, 3)
    );
    let tcp = Until::Tcp { address: config::HostPort { host: "h".into(), port: 5432 } };
    assert_eq!(wait("{until: {tcp: {address: \"h:5432\"}}}"), (tcp, 2000, 1));
}

/// Each message of the parser and of the lint, once: what is written, what is said, and
/// whether it loads.
#[test]
fn every_message_has_its_place_and_its_cure() {
    use Severity::{Error, Warning};
    let article = |from: &str, to: &str| {
        assert!(ARTICLE.contains(from), "{from}");
        ARTICLE.replacen(from, to, 1)
    };
    let exec = |more: &str| one(&format!("{{agent: exec, spec: {{command: [x], idempotent: true}}{more}}}"));
    let cases: Vec<(String, Severity, &str, &str)> = vec![
        // the form
        ("stages: {}".into(), Error, "flow.yaml:1:9: there are no stages", ""),
        ("version: 1\nstages:\n".into(), Error, "there are no stages", ""),
        ("version: 1\nstages: 5\n".into(), Error, "expected stages, found a number", "a list of stages"),
        ("version: 1\n".into(), Error, "`stages` is missing", ""),
        ("version: 2\nstages: {}\n".into(), Error, "reads version 1, not 2", "write `version: 1`"),
        ("name: x\nstages: {a: {agent: wait, spec: {for: 1s}}}\n".into(), Error, "flow.yaml:1:1: `name` needs `version: 1`", "write `version: 1` at the top"),
        (article("    spec:\n      cluster: \"petstore-region-b\"", "    needs: []\n    spec:\n      cluster: \"petstore-region-b\""), Error, "`needs` needs `version: 1`", "file's order"),
        (article("stages:", "stage:"), Error, "unknown key `stage`", "did you mean `stages`?"),
        (exec("").replace("version: 1", "version: 1\nlabels: {}"), Error, "unknown key `labels`", ""),
        ("version: 1\nname: a b\nstages: {a: {agent: wait, spec: {for: 1s}}}\n".into(), Error, "`a b` cannot name a workflow", "letters"),
        (exec("").replace("  it:", "  \"a/b\":"), Error, "`a/b` cannot name a stage", "letters"),
        (exec(", name: it2"), Error, "the key is the stage's name", ""),
        ("version: 1\nstages: [{agent: wait, spec: {for: 1s}}]\n".into(), Error, "`name` is missing", "needs a `name`"),
        ("version: 1\nstages: [{name: a, agent: wait, spec: {for: 1s}}, {name: a, agent: wait, spec: {for: 1s}}]\n".into(), Error, "flow.yaml:2:58: there is already a stage named `a`", ""),
        (format!("version: 1\nstages: [{}]", (0..65).map(|n| format!("{{name: s{n}, agent: wait, spec: {{for: 1s}}}}")).collect::<Vec<_>>().join(",")), Error, "65 stages; at most 64", ""),
        (one("{agent: databse, spec: {}}"), Error, "unknown kind `databse`", "did you mean `database`?"),
        (one("{spec: {}}"), Error, "`agent` is missing", ""),
        (exec(", timout: 5s"), Error, "unknown key `timout`", "did you mean `timeout`?"),
        // limits
        (exec(", timeout: 30"), Error, "`30` has no unit", "write 30s"),
        (exec(", timeout: 10ms"), Error, "`timeout` of 10ms is not between 100ms and", ""),
        (exec(", timeout: 1m, attempt_timeout: 2m, retry: {max_attempts: 1}"), Warning, "an attempt of 2m is cut short", ""),
        (exec(", retry: {max_attempts: 0}"), Error, "0 is not between 1 and 100", "no second attempt"),
        (exec(", retry: {multiplier: 0.5}"), Error, "0.5 is not between 1 and 100", ""),
        (exec(", retry: {initial_interval: 5s, max_interval: 1s}"), Error, "`max_interval` (1s) is below `initial_interval` (5s)", ""),
        (exec(", retry: {jitter: equal}"), Error, "unknown kind `equal`", "`none`, `full`"),
        (exec(", on_failure: rollback"), Error, "unknown kind `rollback`", "`abort`, `continue`, `pause`"),
        (exec(", timeout: 1m"), Warning, "5 attempts of 1m with the waits between take up to 5m15s: the timeout of 1m cuts them short", "lengthen `timeout`"),
        // needs
        (exec(", needs: [promot]").replace("  it:", "  promote: {agent: wait, spec: {for: 1s}}\n  it:"), Error, "there is no stage `promot`", "did you mean `promote`?"),
        (exec(", needs: [a, a]").replace("  it:", "  a: {agent: wait, spec: {for: 1s}}\n  it:"), Error, "`a` is named twice", ""),
        (exec(", needs: [it]"), Error, "these stages wait for each other: it → it", "could ever start"),
        ("version: 1\nstages:\n  c: {agent: wait, needs: [b], spec: {for: 1s}}\n  b: {agent: wait, needs: [a], spec: {for: 1s}}\n  a: {agent: wait, needs: [c], spec: {for: 1s}}\n".into(), Error, "these stages wait for each other: c → b → a → c", ""),
        // capacity
        (one("{agent: capacity, spec: {region: region-c}}"), Error, "there is no region `region-c`", "did you mean `region-"),
        (one("{agent: capacity, spec: {region: elsewhere}}"), Error, "there is no region `elsewhere`", "declare it under `regions:`"),
        (one("{agent: capacity, spec: {region: petstore-region-a.com}}"), Error, "alias `petstore-region-a.com` stands for no region", "give it a `region`"),
        (one("{agent: capacity, spec: {percent: 0}}"), Error, "0 is not between 1 and 1000 percent", ""),
        (one("{agent: capacity, spec: {percnt: 50}}"), Warning, "`percnt` is passed on to the hook as it is", "did you mean `percent`?"),
        (one("{agent: capacity, spec: {cluster: my-k8s-cluster-region-a, region: region-b}}"), Error, "`cluster` stands for region `region-a`, and `region` says `region-b`", ""),
        (one("{agent: capacity, spec: {hook: {url: \"http://h/${region}\"}}}"), Error, "`${region}` stands for nothing", "`${activate}`"),
        (one("{agent: capacity, spec: {hook: {url: \"ftp://h\"}}}"), Error, "`ftp://h` is neither http:// nor https://", ""),
        (one("{agent: capacity, spec: {hook: {url: \"http://h\", headers: {\"a b\": x}}}}"), Error, "`a b` cannot name a header", ""),
        (one("{agent: capacity, spec: {hook: {url: \"http://h\", headers: {a: \"x\\ny\"}}}}"), Error, "a header holds no line breaks", ""),
        (one("{agent: capacity, spec: {hook: {url: \"http://h\", headers: {a: {file: x, env: y}}}}}"), Error, "expected exactly one kind, found 2 keys", ""),
        (one("{agent: capacity, spec: {note: [\"${x}\"]}}"), Error, "`${x}` stands for nothing", ""),
        // database
        (one("{agent: database, spec: {role: writer}}"), Error, "`cluster` is missing", ""),
        (one("{agent: database, spec: {cluster: petstor, role: writer}}"), Error, "there is no cluster `petstor`", "did you mean `petstore`?"),
        (one("{agent: database, spec: {cluster: petstore, role: leader}}"), Error, "unknown kind `leader`", "did you mean `reader`?"),
        (one("{agent: database, spec: {cluster: sessions, role: writer}}"), Error, "`sessions` is etcd, which chooses its own leader", "PostgreSQL"),
        (one("{agent: database, spec: {cluster: petstore-region-a, role: writer, region: region-b}}"), Error, "`cluster` stands for region `region-a`, and `region` says `region-b`", ""),
        (one("{agent: database, spec: {cluster: region-eu, role: writer}}"), Error, "alias `region-eu` stands for no cluster", "give it a `cluster`"),
        (one("{agent: database, spec: {cluster: split, role: writer}}"), Error, "cluster `split` has a primary of its own in each region", "`across`"),
        (one("{agent: database, spec: {cluster: crowded, role: writer}}"), Error, "cluster `crowded` has two nodes in region `region-a`", "one node in each region"),
        (one("{agent: database, spec: {cluster: lonely, role: writer}}"), Error, "cluster `lonely` has no node in region `region-a`", ""),
        (one("{agent: database, on_failure: continue, spec: {cluster: petstore, role: writer}}"), Error, "`it` makes the writer; the rest cannot go on without it", "on_failure: pause"),
        ("version: 1\nstages:\n  b: {agent: database, spec: {cluster: petstore, role: writer}}\n  a: {agent: database, spec: {cluster: petstore, role: writer, region: region-b}}\n".into(), Error, "`b` and `a` both make a writer of `petstore`", "one writer"),
        ("version: 1\nstages:\n  b: {agent: database, spec: {cluster: petstore, role: reader, region: region-a}}\n  a: {agent: database, spec: {cluster: petstore, role: writer}}\n".into(), Error, "`b` and `a` want opposite roles of `petstore` in `region-a`", ""),
        ("version: 1\nstages:\n  b: {agent: database, spec: {cluster: petstore, role: writer}}\n  a: {agent: database, spec: {cluster: petstore, role: reader}}\n".into(), Warning, "`b` promotes before `a` demotes", "fenced before the promotion whatever the order"),
        // dial
        (one("{agent: dial}"), Error, "`service` is missing", "`endpoint`"),
        (one("{agent: dial, spec: {service: petstore, endpoint: petstore}}"), Error, "both `service` and `endpoint`", ""),
        (one("{agent: dial, spec: {service: pet-store}}"), Error, "there is no service `pet-store`", "did you mean `petstore`?"),
        (one("{agent: dial, spec: {service: petstore, region: region-a, shares: {region-a: 100}}}"), Error, "both `region` and `shares`", ""),
        (one("{agent: dial, spec: {service: petstore, shares: {region-a: 70, region-b: 20}}}"), Error, "the shares add up to 90 percent, not to 100", ""),
        (one("{agent: dial, spec: {service: petstore, shares: {region-a: 70, region-eu: 30}}}"), Error, "region `region-eu` is named twice", ""),
        (one("{agent: dial, spec: {service: local}}"), Error, "service `local` is not served by region `region-a`", "its policy"),
        ("version: 1\nstages:\n  p: {agent: database, spec: {cluster: petstore, role: writer}}\n  d: {agent: dial, needs: [], spec: {service: petstore}}\n".into(), Warning, "`d` does not wait for `p`", "add `p` to its `needs`"),
        ("version: 1\nstages:\n  p: {agent: database, spec: {cluster: petstore, role: reader}}\n  d: {agent: dial, spec: {service: petstore, shares: {region-a: 90, region-b: 10}}}\n".into(), Warning, "sends traffic to `region-b`, whose database becomes a reader", "only reads"),
        ("version: 1\nstages:\n  p: {agent: database, spec: {cluster: petstore, role: writer}}\n  d: {agent: dial, spec: {service: catalogue}}\n".into(), Error, "service `catalogue` follows the health of its regions", "`switched_by: workflow`"),
        // exec
        (one("{agent: exec, spec: {command: x, idempotent: true}}"), Error, "expected a sequence, found the text `x`", ""),
        (one("{agent: exec, spec: {command: [], idempotent: true}}"), Error, "a command needs a program", "/path/to/program"),
        (one("{agent: exec, spec: {command: [x], observe: [\"\"]}}"), Error, "a command needs a program", ""),
        (one("{agent: exec, spec: {command: [x, \"${who}\"], idempotent: true}}"), Error, "`${who}` stands for nothing", ""),
        (one("{agent: exec, spec: {command: [x, \"a\\0\"], idempotent: true}}"), Error, "an argument cannot hold a NUL byte", ""),
        (one(&format!("{{agent: exec, spec: {{command: [{}], idempotent: true}}}}", "x,".repeat(257))), Error, "more than 256 arguments", ""),
        (one("{agent: exec, spec: {command: [x], env: {\"A=B\": x}, idempotent: true}}"), Error, "`A=B` cannot name an environment variable", ""),
        (one("{agent: exec, spec: {command: [x]}}"), Warning, "if the outcome of `it` gets lost, it waits for an operator", "`idempotent: true`"),
        (one("{agent: exec, spec: {command: [x], env: {DB_PASSWORD: hunter2}, idempotent: true}}"), Error, "looks like a credential", "{env: …}"),
        (one("{agent: exec, spec: {command: [x, \"--password=hunter2\"], idempotent: true}}"), Error, "looks like a credential", ""),
        // http
        (one("{agent: http, spec: {method: PUT}}"), Error, "`url` is missing", ""),
        (one("{agent: http, spec: {url: \"http://\", method: PUT}}"), Error, "`http://` is not a URL", ""),
        (one("{agent: http, spec: {url: \"http://u:p@h\", method: PUT}}"), Error, "a URL must not carry credentials", ""),
        (one("{agent: http, spec: {url: \"http://h\", method: get}}"), Error, "`get` is not a method we send", "GET, HEAD"),
        (one("{agent: http, spec: {url: \"http://h\", method: GET, body: x}}"), Error, "GET carries no body", ""),
        (one("{agent: http, spec: {url: \"http://h\", method: PUT, body: \"${\"}}"), Error, "`${` without a `}`", ""),
        (one("{agent: http, spec: {url: \"http://h\", method: PUT, expect: [20]}}"), Error, "`20` is not a status code", "200-299"),
        (one("{agent: http, spec: {url: \"http://h\", observe: {url: \"http://h\", applied: 404}}}"), Error, "404 cannot mean both", ""),
        (one("{agent: http, spec: {url: \"http://h\", observe: {url: \"http://h\", applied: 20}}}"), Error, "`20` is not a status code", ""),
        (one("{agent: http, spec: {url: \"http://h\", observe: {url: \"h\"}}}"), Error, "`h` is not a URL", ""),
        (one("{agent: http, spec: {url: \"http://h\"}}"), Warning, "if the outcome of `it` gets lost, it waits for an operator", "`observe`"),
        (one("{agent: http, spec: {url: \"http://h\", method: PUT, headers: {authorization: \"Bearer abcdefgh1234\"}}}"), Error, "looks like a credential", ""),
        (one("{agent: http, spec: {url: \"http://h\", method: PUT, body: \"AKIAABCDEFGHIJKLMNOP\"}}"), Error, "looks like a credential", ""),
        // wait
        (one("{agent: wait}"), Error, "nothing to wait for", "`for: 30s`"),
        (one("{agent: wait, spec: {for: 1s, until: {tcp: {address: \"h:1\"}}}}"), Error, "both `for` and `until`", ""),
        (one("{agent: wait, spec: {for: 1s, interval: 1s}}"), Error, "`interval` goes with `until`, not with `for`", ""),
        (one("{agent: wait, spec: {for: 1s, consecutive: 2}}"), Error, "`consecutive` goes with `until`, not with `for`", ""),
        (one("{agent: wait, timeout: 1m, spec: {for: 5m}}"), Error, "a wait of 5m does not fit into 1m", ""),
        (one("{agent: wait, timeout: 10m, attempt_timeout: 1m, retry: {max_attempts: 1}, spec: {for: 5m}}"), Error, "a wait of 5m does not fit into 1m", ""),
        (one("{agent: wait, spec: {until: {udp: {}}}}"), Error, "unknown kind `udp`", "`http`, `tcp`"),
        (one("{agent: wait, spec: {until: {tcp: {address: h}}}}"), Error, "`h` is not a host and a port", ""),
        (one("{agent: wait, spec: {until: {http: {url: h}}}}"), Error, "`h` is not a URL", ""),
        (one("{agent: wait, spec: {until: {tcp: {address: \"h:1\"}}, interval: 1ms}}"), Error, "an interval is between 100ms and 1h", ""),
        (one("{agent: wait, spec: {until: {tcp: {address: \"h:1\"}}, consecutive: 0}}"), Error, "0 is not between 1 and 1000", ""),
        // notify
        (one("{agent: notify, spec: {channel: oncall, message: x}}"), Error, "there is no channel `oncall`", "did you mean `on-call`?"),
        (one("{agent: notify, spec: {channel: pager, message: x}}"), Error, "there is no channel `pager`", "under `channels:`"),
        (one("{agent: notify, spec: {channel: on-call, message: \"${who}\"}}"), Error, "`${who}` stands for nothing", ""),
        (one("{agent: notify, on_failure: pause, spec: {channel: on-call, message: x}}"), Warning, "a notification that fails stops everything", "never fails a failover"),
        // the whole
        ("version: 1\nstages:\n  a: {agent: wait, spec: {for: 1s}}\n  b: {agent: wait, spec: {for: 1s}}\n  c: {agent: wait, spec: {for: 1s}}\n".into(), Warning, "was this file sorted by a formatter?", "write the stages as a list"),
    ];
    let mut wrong = Vec::new();
    for (text, severity, what, cure) in &cases {
        let result = load(text);
        let found = messages(&result);
        let same: Vec<_> = found.iter().filter(|(level, _)| level == severity).collect();
        let told =
            matches!(same.as_slice(), [(_, message)] if message.contains(what) && message.contains(cure));
        if !told || result.is_err() != (*severity == Error) {
            wrong.push(format!("{what} … {cure}\nin {text}\n{found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_mistake_of_a_file_is_told_at_once() {
    let text = r#"
version: 1
stages:
  scale: {agent: capacity, tmeout: 5s, spec: {region: region-c}}
  promote: {agent: database, needs: [scle], spec: {cluster: petstore, role: writer, regio: x}}
  dial: {agent: dail, spec: {}}
  tell: {agent: notify, timeout: 5, spec: {channel: on-call, message: "${x}"}}
"#;
    let found = messages(&load(text));
    for what in [
        "unknown key `tmeout`",
        "there is no region `region-c`",
        "there is no stage `scle`",
        "unknown key `regio`",
        "unknown kind `dail`",
        "`5` has no unit",
        "`${x}` stands for nothing",
    ] {
        assert_eq!(
            found.iter().filter(|(_, message)| message.contains(what)).count(),
            1,
            "{what}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn what_the_configuration_forbids_is_refused() {
    let flow = "version: 1\nstages:\n  p: {agent: database, spec: {cluster: petstore, role: writer}}\n  d: {agent: dial, spec: {service: petstore}}\n";
    let third = "  region-c:\n    layers: {reach: [{tcp: {address: \"127.0.0.1:1\"}}]}\nservices:";
    let cases = [
        (
            vec![("sites: [fra1]", "sites: [fra1, ams1]")],
            "2 sites share this configuration",
            "let one site run",
        ),
        (
            vec![
                ("services:", third),
                (
                    "policy: {failover: [region-b, region-a]}\n    switched_by",
                    "policy: {all: [region-b, region-a]}\n    switched_by",
                ),
            ],
            "nothing tells which one to move to",
            "`activate`",
        ),
        (
            vec![
                (
                    "flow.yaml, when: {region: region-b",
                    "flow.yaml, activate: region-b, when: {region: region-b",
                ),
                ("services:", third),
            ],
            "nothing tells which one is left",
            "`deactivate`",
        ),
    ];
    for (changes, what, cure) in cases {
        let mut text = CONFIG.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        let found = messages(&load_with(flow, &config(&text)));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].1.contains(what) && found[0].1.contains(cure), "{found:#?}");
        assert_eq!(found[0].0, Severity::Error);
    }
    // A service that fails back by itself, by its own default.
    let text = CONFIG.replacen("    switched_by: workflow\n    answers: {region-a: {a: [192.0.2.1]}, region-b: {a: [192.0.2.2]}}\n    failback: manual", "    answers: {region-a: {a: [192.0.2.1]}, region-b: {a: [192.0.2.2]}}", 1);
    let found = messages(&load_with(flow, &config(&text)));
    assert!(
        found.iter().any(|(_, message)| message.contains("follows the health of its regions")),
        "{found:#?}"
    );
    // Nobody makes room.
    let text = CONFIG.replacen(
        "    capacity_hook: {url: \"http://127.0.0.1:9/a\", headers: {authorization: {file: /run/a}}}\n",
        "",
        1,
    );
    let found = messages(&load_with(&one("{agent: capacity}"), &config(&text)));
    assert!(
        found[0].1.contains("nobody makes room in region `region-a`")
            && found[0].1.contains("`hook: {url: …}`")
            && found[0].1.contains("`capacity_hook"),
        "{found:#?}"
    );
    let text = CONFIG.replacen("{url: \"http://127.0.0.1:9/a\"", "{url: {env: URL}", 1);
    let found = messages(&load_with(&one("{agent: capacity}"), &config(&text)));
    assert!(found[0].1.contains("is a secret"), "{found:#?}");
}

#[test]
fn ends_come_from_wishes_then_the_configuration_then_the_policy() {
    let third = "  region-c:\n    layers: {reach: [{tcp: {address: \"127.0.0.1:1\"}}]}\nservices:";
    let three = config(
        &CONFIG
            .replacen("services:", third, 1)
            .replacen(
                "policy: {failover: [region-b, region-a]}",
                "policy: {failover: [region-b, region-c, region-a]}",
                1,
            )
            .replacen(
                "{region-a: {a: [192.0.2.1]}",
                "{region-c: {a: [192.0.2.3]}, region-a: {a: [192.0.2.1]}",
                1,
            ),
    );
    let (workflow, _) = load_with(&one("{agent: dial, spec: {service: petstore}}"), &three).unwrap();
    let id = |name: &str| three.regions.id(name).unwrap();
    let (a, b, c) = (id("region-a"), id("region-b"), id("region-c"));
    let ends = |wish, fit: &dyn Fn(RegionId) -> bool| workflow.ends(&three, wish, fit);
    let wish = |activate, deactivate| Wish { activate, deactivate };
    let ok = |activate, deactivate| Ok(Ends { activate, deactivate });
    // The first of the policy, then the next one that is fit, never the one that is left.
    assert_eq!(ends(wish(None, None), &|_| true), ok(c, b));
    assert_eq!(ends(wish(None, None), &|region| region != c), ok(a, b));
    assert!(ends(wish(None, None), &|region| region == b).unwrap_err().message.contains("no region"));
    assert_eq!(ends(wish(None, Some(c)), &|_| true), ok(b, c));
    assert_eq!(ends(wish(Some(a), None), &|_| false), ok(a, b));
    // Back to the region that the default leaves: which of the two others is left?
    assert!(ends(wish(Some(b), None), &|_| true).unwrap_err().message.contains("which region shall be left"));
    assert!(ends(wish(Some(b), Some(b)), &|_| true).unwrap_err().message.contains("both left and moved to"));
}

#[test]
fn the_hash_sees_order_and_content_but_no_descriptions() {
    let hash = |text: &str| load(text).unwrap().0.hash;
    let base = "version: 1\nname: n\nstages:\n  b: {agent: wait, needs: [], spec: {for: 1s}}\n  a: {agent: wait, needs: [], spec: {for: 1s}}\n";
    assert_eq!(hash(base).len(), 64);
    assert_eq!(hash(base), hash(&base.replace("name: n", "name: n\ndescription: something")));
    assert_eq!(hash(base), hash(&base.replace("for: 1s", "for: 1000ms")));
    let sorted = "version: 1\nname: n\nstages:\n  a: {agent: wait, needs: [], spec: {for: 1s}}\n  b: {agent: wait, needs: [], spec: {for: 1s}}\n";
    for other in [
        sorted.to_owned(),
        base.replace("for: 1s", "for: 2s"),
        base.replace("name: n", "name: m"),
        base.replacen("needs: []", "needs: [a]", 1),
        base.replace("name: n", "name: n\ntimeout: 1h"),
        base.replace("name: n", "name: n\ndefaults: {on_failure: abort}"),
    ] {
        assert_ne!(hash(base), hash(&other), "{other}");
    }
}
