//! Workflows to run, read from text like any other.

use pointsman::base::{Health, Source};
use pointsman::config::{self, Config, Surroundings};
use pointsman::workflow::{By, Cause, Plan, Wish, parse};

pub const CONFIG: &str = r#"
version: 1
mode: act
site: {name: fra1}
sites: [fra1]
listen: {dns: ["127.0.0.1:5353"]}
zones: [{name: example.com, file: example.zone}]
clusters:
  petstore:
    postgres: {across: {region-a: ["host=a user=pointsman"], region-b: ["host=b user=pointsman"]}}
  orders:
    postgres: {across: {region-a: ["host=c user=pointsman"], region-b: ["host=d user=pointsman"]}}
regions:
  region-a:
    capacity_hook: {url: "http://127.0.0.1:9/a"}
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
workflows:
  - {file: flow.yaml, when: {region: region-b, turns: [unreachable, no_quorum], for: 10s}}
aliases:
  petstore-region-a: {cluster: petstore, region: region-a}
  petstore-region-b: {cluster: petstore, region: region-b}
  petstore-region-a.com: {service: petstore}
  my-k8s-cluster-region-a: {region: region-a}
channels:
  on-call: {webhook: {url: {env: HOOK}}}
"#;

/// Parallel stages, retries, an approval, something owed, and one op of each kind of recovery.
pub const EVENTFUL: &str = r#"
version: 1
name: eventful
timeout: 2h
defaults: {retry: {max_attempts: 4, initial_interval: 1s, max_interval: 8s}}
stages:
  prescale:
    agent: capacity
    needs: []
    on_failure: continue
  demote:
    agent: database
    needs: []
    spec: {cluster: petstore, role: reader}
  promote:
    agent: database
    needs: []
    spec: {cluster: petstore, role: writer}
  warm:
    agent: exec
    needs: [promote]
    spec: {command: [warm, "${execution}"], observe: [is-warm]}
  flush:
    agent: exec
    needs: [promote]
    spec: {command: [flush]}
  dial:
    agent: dial
    needs: [prescale, promote, warm]
    spec: {service: petstore}
  settle:
    agent: wait
    needs: [dial]
    spec: {for: 5s}
  tell:
    agent: notify
    needs: [dial, demote]
    spec: {channel: on-call, message: "${execution}: ${deactivate} → ${activate}"}
"#;

/// Another workflow on the same cluster.
pub const RIVAL: &str = r#"
version: 1
name: rival
stages:
  promote: {agent: database, spec: {cluster: petstore, role: writer}}
  dial: {agent: dial, spec: {service: petstore}}
"#;

/// A workflow that has nothing to do with the others, and stops at the first failure.
pub const APART: &str = r#"
version: 1
name: apart
defaults: {on_failure: abort, retry: {max_attempts: 2}}
stages:
  one: {agent: http, needs: [], spec: {url: "http://127.0.0.1:9/one", method: PUT}}
  two: {agent: http, needs: [], spec: {url: "http://127.0.0.1:9/two"}}
  three: {agent: database, needs: [one, two], spec: {cluster: orders, role: reader}}
"#;

pub fn config() -> Config {
    let around =
        Surroundings { directory: "/etc/pointsman".into(), state: None, runtime: None, processors: 2 };
    match config::parse(&Source::new("pointsman.yaml", CONFIG), &around) {
        Ok((config, _)) => config,
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

pub fn plan(text: &str) -> Plan {
    plan_to(text, "region-a")
}

pub fn plan_to(text: &str, activate: &str) -> Plan {
    let config = config();
    match parse(&Source::new("flow.yaml", text), &config.workflows[0], &config) {
        Ok((workflow, _)) => {
            let ends = {
                let wish = Wish { activate: config.regions.id(activate), deactivate: None };
                workflow.ends(&config, wish, &|_| true).unwrap()
            };
            workflow.plan(&config, ends).unwrap()
        }
        Err(mistakes) => panic!("{}", mistakes.render(false)),
    }
}

pub fn flip(generation: u64) -> Cause {
    Cause::Flip {
        region: "region-b".into(),
        health: Health::Unreachable,
        generation,
        why: "nobody answers".into(),
    }
}

pub fn by(why: &str) -> By {
    By { who: "ada".into(), why: why.into() }
}
