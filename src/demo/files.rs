//! The files that the demo's daemon is started with: the same form as an operator's, with
//! shorter times.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where everything that the configuration names listens.
#[derive(Debug)]
pub struct Places {
    /// Base URLs of both regions' stores.
    pub etcd: [Vec<String>; 2],
    /// Both regions' web servers.
    pub shops: [SocketAddr; 2],
    /// The database.
    pub database: Database,
}

/// How the workflow switches the database.
#[derive(Debug)]
pub enum Database {
    /// The stand-in, over HTTP.
    Pair(SocketAddr),
    /// PostgreSQL, by the `database` agent: the ports of both servers, and the file with the
    /// password of every role.
    Postgres { ports: [u16; 2], password: PathBuf },
}

const ZONE: &str = "\
$ORIGIN gtm.example.com.
$TTL 300
@    IN SOA ns1 hostmaster.example.com. 1 3600 600 1209600 5
     IN NS  ns1
ns1  IN A   192.0.2.53
";

/// Writes the files into a directory; the path of the configuration.
pub fn write(directory: &Path, places: &Places) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(directory.join("workflows"))?;
    std::fs::write(directory.join("gtm.example.com.zone"), ZONE)?;
    std::fs::write(directory.join("workflows/petstore-failover.yaml"), workflow(places))?;
    let config = directory.join("pointsman.yaml");
    std::fs::write(&config, configuration(places))?;
    Ok(config)
}

fn configuration(places: &Places) -> String {
    let [eu, us] = &places.etcd;
    let quoted = |urls: &[String]| urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ");
    let [eu_shop, us_shop] = places.shops;
    let database = match &places.database {
        Database::Pair(_) => String::new(),
        Database::Postgres { ports: [eu, us], password } => format!(
            "  petstore-db:
    postgres:
      across:
        eu-west: [\"host=127.0.0.1 port={eu} user=pointsman dbname=petstore\"]
        us-east: [\"host=127.0.0.1 port={us} user=pointsman dbname=petstore\"]
      password: {{file: {password:?}}}
      application: {{roles: [app], proof: {{user: app, password: {{file: {password:?}}}}}}}
"
        ),
    };
    // Real programs share the machine with everything else: they are given more time.
    let check = match &places.database {
        Database::Pair(_) => "{interval: 500ms, timeout: 300ms, fall: 2, rise: 2}",
        Database::Postgres { .. } => "{interval: 1s, timeout: 900ms, fall: 2, rise: 2}",
    };
    format!(
        "version: 1
mode: act
site: {{name: demo}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}
zones:
  - {{name: gtm.example.com, file: gtm.example.com.zone}}
defaults:
  check: {check}
clusters:
  sessions:
    etcd:
      inside:
        eu-west: [{eu}]
        us-east: [{us}]
      time_to_truth: 1500ms
{database}\
regions:
  eu-west:
    capacity_hook: {{url: \"http://{eu_shop}/capacity\"}}
    layers:
      reach:   [{{tcp: {{address: \"{eu_shop}\"}}}}]
      service: [{{http: {{url: \"http://{eu_shop}/healthz\", status: [200]}}}}]
      quorum:  [sessions]
  us-east:
    capacity_hook: {{url: \"http://{us_shop}/capacity\"}}
    layers:
      reach:   [{{tcp: {{address: \"{us_shop}\"}}}}]
      service: [{{http: {{url: \"http://{us_shop}/healthz\", status: [200]}}}}]
      quorum:  [sessions]
services:
  storefront:                   # stateless: its answers follow health
    names: [storefront.gtm.example.com]
    policy: {{failover: [eu-west, us-east]}}
    answers:
      eu-west: {{a: [192.0.2.10]}}
      us-east: {{a: [198.51.100.10]}}
    ttl: {{min: 1s, max: 5s}}
    failback: {{auto: {{after: 3s}}}}
  petstore:                     # writes to the database: a workflow moves it
    names: [petstore.gtm.example.com]
    policy: {{failover: [eu-west, us-east]}}
    switched_by: workflow
    answers:
      eu-west: {{a: [192.0.2.20]}}
      us-east: {{a: [198.51.100.20]}}
    ttl: {{min: 1s, max: 5s}}
workflows:
  - {{file: workflows/petstore-failover.yaml, when: {{region: eu-west, turns: [no_quorum, unreachable], for: 1s}}}}
store: {{embedded: {{path: state}}}}
",
        eu = quoted(eu),
        us = quoted(us),
    )
}

fn workflow(places: &Places) -> String {
    let database = match &places.database {
        Database::Pair(address) => format!(
            "  fence-old-writer:
    agent: http
    needs: []
    spec: {{method: PUT, url: \"http://{address}/${{deactivate}}/role\", headers: {{content-type: application/json}}, body: '{{\"role\": \"reader\"}}'}}
  promote-database:
    agent: http
    needs: [fence-old-writer]
    spec: {{method: PUT, url: \"http://{address}/${{activate}}/role\", headers: {{content-type: application/json}}, body: '{{\"role\": \"writer\"}}'}}
"
        ),
        Database::Postgres { .. } => "  promote-database:
    agent: database
    needs: []
    spec: {cluster: petstore-db, role: writer}
"
        .to_owned(),
    };
    format!(
        "version: 1
name: petstore-failover
description: Make room in the other region, switch the database over, then send it the traffic.
stages:
  prescale:
    agent: capacity
    needs: []
    spec: {{percent: 100}}
{database}  dial:
    agent: dial
    needs: [prescale, promote-database]
    spec: {{service: petstore}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    /// Both variants must load: the demo is the first thing that anybody runs.
    #[test]
    fn the_files_load() {
        let postgres =
            Database::Postgres { ports: [5441, 5442], password: PathBuf::from("/tmp/a \"b\" c/password") };
        for (n, database) in
            [Database::Pair("127.0.0.1:9".parse().unwrap()), postgres].into_iter().enumerate()
        {
            let directory =
                std::env::temp_dir().join(format!("pointsman-demo-files-{}-{n}", std::process::id()));
            let urls = |port: u16| (0..3).map(|n| format!("http://127.0.0.1:{}", port + n)).collect();
            let shop = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
            let places = Places { etcd: [urls(2379), urls(3379)], shops: [shop(9001), shop(9002)], database };
            let config = write(&directory, &places).unwrap();
            let loaded = sys::load(&config);
            std::fs::remove_dir_all(&directory).unwrap();
            let (_, warnings) = loaded.unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
            assert!(warnings.is_empty(), "{}", warnings.render(false));
        }
    }
}
