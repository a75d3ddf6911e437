//! Redis under Sentinels: what every Sentinel says of the master, and what every server says of
//! itself.
//!
//! A Sentinel is asked `CKQUORUM`, which counts the Sentinels that it reaches, and `MASTER`. Its
//! `get-master-addr-by-name`, `PING` and `num-other-sentinels` go on as if nothing were wrong when
//! it is cut off, and so they are not asked, or not believed.
//!
//! A server is asked `INFO`. A master that is cut off says `role:master` and takes writes for ever;
//! what tells is for how long it has not heard from its replicas. `connected_slaves` and
//! `state=online` do not: they outlive the replicas.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{Facts, RedisFacts, SentinelFacts};
use crate::config::{RedisLogin, RedisSentinelOptions, RedisTarget};
use crate::io::redis::{Login, Reply, ask};
use crate::io::{Contact, Failure, Net, TrustFiles};

/// A replica acknowledges once a second (`repl-ping-replica-period` does not matter to that).
const GOOD_LAG_SECONDS_MAX: u64 = 5;

/// What a Sentinel or a server says.
pub(super) async fn status(
    net: &Net,
    options: &RedisSentinelOptions,
    target: &RedisTarget,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let RedisTarget { address, sentinel } = target;
    let RedisLogin { user, password } = if *sentinel { &options.sentinels } else { &options.servers };
    let tls = options
        .tls
        .as_ref()
        .map(|access| TrustFiles { ca: access.ca.clone(), identity: access.identity.clone() });
    let login = Login { address, user: user.as_deref(), password: password.as_ref(), tls: tls.as_ref() };
    let mut contact = Contact::new(timeout);
    let name = options.master.as_str();
    if *sentinel {
        let commands: [&[&str]; 2] = [&["SENTINEL", "CKQUORUM", name], &["SENTINEL", "MASTER", name]];
        let replies = ask(&mut contact, net, &login, &commands).await?;
        return sentinel_facts(&replies).map(Facts::Sentinel).map_err(|said| {
            Failure::rubbish(format!("{address} is no Sentinel of `{name}`: it says {said}"))
        });
    }
    let replies = ask(&mut contact, net, &login, &[&["INFO"]]).await?;
    let facts = match replies.first() {
        Some(Reply::Text(info)) => server_facts(info),
        _ => None,
    };
    facts
        .map(Facts::Redis)
        .ok_or_else(|| Failure::rubbish(format!("{address} answers INFO with what no server would")))
}

fn sentinel_facts(replies: &[Reply]) -> Result<SentinelFacts, String> {
    let [check, Reply::Array(fields)] = replies else {
        let words = replies.iter().find_map(|reply| match reply {
            Reply::Error(words) => Some(words.clone()),
            _ => None,
        });
        return Err(words.unwrap_or_else(|| "something else".to_owned()));
    };
    let texts: Vec<&str> = fields
        .iter()
        .map(|field| match field {
            Reply::Text(text) => text.as_str(),
            _ => "",
        })
        .collect();
    let fields: BTreeMap<&str, &str> = texts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let field = |name: &str| fields.get(name).copied().ok_or_else(|| format!("nothing of `{name}`"));
    let (reaches, words) = match check {
        Reply::Text(words) => (words.starts_with("OK"), words.clone()),
        Reply::Error(words) if words.starts_with("NOQUORUM") => (false, words.clone()),
        // It has no good master of that name to speak of (`NOGOODSLAVE` and the like).
        Reply::Error(words) => (false, words.clone()),
        _ => return Err("something else".to_owned()),
    };
    Ok(SentinelFacts {
        reaches,
        words,
        master: format!("{}:{}", field("ip")?, field("port")?),
        run_id: field("runid")?.to_owned(),
        epoch: field("config-epoch")?.parse().map_err(|_| "a config-epoch that is no number".to_owned())?,
        down: field("flags")?.split(',').any(|flag| matches!(flag, "s_down" | "o_down")),
    })
}

fn server_facts(info: &str) -> Option<RedisFacts> {
    let fields: BTreeMap<&str, &str> = info.lines().filter_map(|line| line.trim().split_once(':')).collect();
    let number = |name: &str| fields.get(name)?.parse::<u64>().ok();
    let master = match *fields.get("role")? {
        "master" => true,
        "slave" => false,
        _ => return None,
    };
    // slave0:ip=10.77.50.2,port=6379,state=online,offset=6142,lag=22
    let replicas = fields.iter().filter(|(name, value)| {
        let numbered = name.strip_prefix("slave").is_some_and(|n| n.parse::<u32>().is_ok());
        numbered && value.contains("state=")
    });
    let good = replicas.filter(|(_, value)| {
        let part = |key: &str| value.split(',').find_map(|part| part.strip_prefix(key));
        let lag = part("lag=").and_then(|lag| lag.parse::<u64>().ok());
        part("state=") == Some("online") && lag.is_some_and(|lag| lag <= GOOD_LAG_SECONDS_MAX)
    });
    Some(RedisFacts {
        run_id: (*fields.get("run_id")?).to_owned(),
        master,
        good_replicas: good.count(),
        // Only there where `min-replicas-to-write` is set.
        refuses_writes: master && number("min_slaves_good_slaves") == Some(0),
        linked: fields.get("master_link_status").is_some_and(|status| *status == "up")
            && number("master_sync_in_progress") != Some(1),
        loading: number("loading") == Some(1),
        offset: match master {
            true => number("master_repl_offset"),
            false => number("slave_repl_offset"),
        }
        .unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "name shop ip 10.77.50.1 port 6379 runid aaaa flags master config-epoch 0 \
         num-slaves 2 num-other-sentinels 2 quorum 2";

    fn sentinel(check: Reply, master: &str) -> Result<SentinelFacts, String> {
        let fields = master.split_whitespace().map(|word| Reply::Text(word.to_owned()));
        sentinel_facts(&[check, Reply::Array(fields.collect())])
    }

    #[test]
    fn a_sentinel_that_is_cut_off_still_names_the_master_and_all_the_others() {
        // Redis 7.0.15, captured: only CKQUORUM tells.
        let lost = Reply::Error(
            "NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the specified quorum for \
             this master. Not enough available Sentinels to reach the majority and authorize a failover"
                .to_owned(),
        );
        let facts = sentinel(lost, MASTER).unwrap();
        assert_eq!((facts.reaches, facts.master.as_str(), facts.epoch), (false, "10.77.50.1:6379", 0));
        let fine =
            Reply::Text("OK 3 usable Sentinels. Quorum and failover authorization can be reached".to_owned());
        assert!(sentinel(fine.clone(), MASTER).unwrap().reaches);
        assert!(sentinel(fine.clone(), &MASTER.replace("flags master", "flags master,s_down")).unwrap().down);
        assert!(sentinel(fine.clone(), "name shop").is_err());
        let unknown = Reply::Error("ERR No such master with that name".to_owned());
        assert!(sentinel_facts(&[unknown.clone(), unknown]).unwrap_err().contains("No such master"));
    }

    #[test]
    fn an_isolated_master_says_all_is_well_but_for_the_silence_of_its_replicas() {
        // Redis 7.0.15, captured while `SET` went on saying OK.
        let info = "# Server\r\nrun_id:aaaa\r\n# Persistence\r\nloading:0\r\n# Replication\r\nrole:master\r\n\
             connected_slaves:2\r\nslave0:ip=10.77.50.2,port=6379,state=online,offset=6142,lag=22\r\n\
             slave1:ip=10.77.50.3,port=6379,state=online,offset=6142,lag=22\r\n\
             master_failover_state:no-failover\r\nmaster_repl_offset:12564\r\n";
        let facts = server_facts(info).unwrap();
        assert_eq!((facts.master, facts.good_replicas, facts.offset), (true, 0, 12564));
        assert!(!facts.refuses_writes);
        let facts = server_facts(&info.replace("lag=22", "lag=1")).unwrap();
        assert_eq!(facts.good_replicas, 2);
        // With min-replicas-to-write it refuses instead.
        let facts = server_facts(&format!("{info}min_slaves_good_slaves:0\r\n")).unwrap();
        assert!(facts.refuses_writes);
        let replica = "run_id:b\r\nloading:0\r\nrole:slave\r\nmaster_link_status:down\r\n\
             master_sync_in_progress:0\r\nslave_repl_offset:9\r\n";
        let facts = server_facts(replica).unwrap();
        assert_eq!((facts.master, facts.linked, facts.offset), (false, false, 9));
        assert!(server_facts(&replica.replace("down", "up")).unwrap().linked);
        // A Sentinel answers INFO too.
        assert_eq!(server_facts("run_id:c\r\nredis_mode:sentinel\r\n"), None);
    }
}
