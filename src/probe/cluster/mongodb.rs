//! MongoDB replica sets: one short session per member and round.
//!
//! Every member answers `hello` without a login: whether it is the writable primary, and whom it
//! takes for it. A primary that is cut off goes on saying so, and acknowledges writes of `w: 1`, for
//! `electionTimeoutMillis` (10 s by default); its election id has the term of its election, so that
//! of two primaries the older is known (as drivers do: "Server Discovery and Monitoring", "Using
//! electionId and setVersion to detect stale primaries"). A secondary tells no term without a login;
//! then the term of the last write that it has stands in.
//!
//! A primary needs votes, and arbiters have some: with a secondary gone it leads on, and nothing it
//! writes reaches a majority of those with data. So its commit point is watched beside its log, which
//! goes on by itself: an idle primary writes a note every 10 s.
//!
//! With a login also `replSetGetStatus`, for the term, and of members with priority 0
//! `replSetGetConfig`, for whether they vote. An arbiter has no users, and one that is being brought up
//! to date not all of them: those are not logged in to.
//!
//! Not asked: `ping`; reads from secondaries; the `health` and `stateStr` of others, which
//! `replSetGetStatus` has from heartbeats that may be 10 s old; `hello.ok`.
//!
//! What takes a quorum is a `find` under `readConcern: linearizable`, on a collection that need not
//! exist. The primary notes it in its log, and answers when a majority has the note: nothing is written
//! to any collection, and the role `clusterMonitor` may do it. A secondary refuses, which says nothing.

use std::time::Duration;

use crate::cluster::{Facts, LinearizableResult, RaftFacts};
use crate::config::{HostPort, MongodbLogin, MongodbOptions};
use crate::io::bson::{Document, Value};
use crate::io::mongodb::{Login, MongoFailure, Session};
use crate::io::{Class, Contact, Failure, Net, TrustFiles, read_secret};

use super::unanswered;

/// MaxTimeMSExpired: for want of a majority, since nothing else was waited for.
const FOR_WANT_OF_A_MAJORITY: i64 = 50;
/// PrimarySteppedDown, InterruptedDueToReplStateChange: while it waited for a majority.
const STEPPED_DOWN: [i64; 2] = [189, 11602];
/// The server's own limit is shorter than ours, so that it is the one to speak.
const SERVER_SHARE: f64 = 0.8;
/// A position is in millionths of a second: so many writes in one second are told apart.
const PER_SECOND: u64 = 1_000_000;

/// What a member says of itself and of the primary.
pub(super) async fn status(
    net: &Net,
    options: &MongodbOptions,
    address: &HostPort,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let asked = ask(contact, net, options, address).await;
    asked.map(Facts::Raft).map_err(|error| error.failure)
}

async fn ask(
    contact: &mut Contact,
    net: &Net,
    options: &MongodbOptions,
    address: &HostPort,
) -> Result<RaftFacts, MongoFailure> {
    let (mut session, hello) = greet(contact, net, options, address).await?;
    let mut facts = facts(address, options, &hello).map_err(Failure::rubbish)?;
    let has_users = hello.is("isWritablePrimary") || hello.is("secondary");
    if let Some(login) = options.login.as_ref().filter(|_| has_users) {
        log_in(contact, &mut session, login, &hello).await?;
        let status = session.command(contact, "admin", command("replSetGetStatus")).await?;
        with_status(&mut facts, &status);
        if hello.is("passive") && !facts.learner {
            let config = session.command(contact, "admin", command("replSetGetConfig")).await?;
            facts.learner = !votes(&config, &facts.member);
        }
    }
    Ok(facts)
}

/// Reads one document that need not be there, through a majority.
pub(super) async fn linearizable(
    net: &Net,
    options: &MongodbOptions,
    address: &HostPort,
) -> LinearizableResult {
    let contact = &mut Contact::new(options.linearizable_timeout);
    let ready = async {
        let (mut session, hello) = greet(&mut *contact, net, options, address).await?;
        if !hello.is("isWritablePrimary") {
            return Err(Failure::unmeasured(format!("{address} is not the primary")).into());
        }
        if let Some(login) = &options.login {
            log_in(&mut *contact, &mut session, login, &hello).await?;
        }
        Ok::<_, MongoFailure>(session)
    };
    let mut session = match ready.await {
        Ok(session) => session,
        Err(error) => return LinearizableResult::Unmeasured(error.failure.words),
    };
    let share = contact.deadline().left().mul_f64(SERVER_SHARE);
    let read = Document::default()
        .with("find", Value::Text("pointsman".to_owned()))
        .with("filter", Value::Document(Document::default().with("_id", Value::Number(0))))
        .with("limit", Value::Number(1))
        .with("singleBatch", Value::Bool(true))
        .with("maxTimeMS", Value::Number(i64::try_from(share.as_millis()).unwrap_or(1).max(1)))
        .with(
            "readConcern",
            Value::Document(Document::default().with("level", Value::Text("linearizable".to_owned()))),
        );
    match session.command(contact, "config", read).await {
        Ok(_) => LinearizableResult::Passed,
        Err(MongoFailure { code: Some(code), failure })
            if code == FOR_WANT_OF_A_MAJORITY || STEPPED_DOWN.contains(&code) =>
        {
            LinearizableResult::NoQuorum(failure.words)
        }
        Err(MongoFailure { code: None, failure }) if failure.class == Class::Silent => {
            unanswered(failure, contact)
        }
        Err(error) => LinearizableResult::Unmeasured(error.failure.words),
    }
}

fn command(name: &str) -> Document {
    Document::default().with(name, Value::Number(1))
}

/// Connects, and asks who is there.
async fn greet<'a>(
    contact: &mut Contact,
    net: &Net,
    options: &MongodbOptions,
    address: &'a HostPort,
) -> Result<(Session<'a>, Document), MongoFailure> {
    let tls = options
        .tls
        .as_ref()
        .map(|access| TrustFiles { ca: access.ca.clone(), identity: access.identity.clone() });
    let mut session = Session::open(contact, net, address, tls.as_ref()).await?;
    let mut hello = command("hello");
    if let Some(MongodbLogin { user: Some(user), password: Some(_), database, .. }) = &options.login {
        hello = hello.with("saslSupportedMechs", Value::Text(format!("{database}.{user}")));
    }
    let hello = session.command(contact, "admin", hello).await?;
    Ok((session, hello))
}

async fn log_in(
    contact: &mut Contact,
    session: &mut Session<'_>,
    login: &MongodbLogin,
    hello: &Document,
) -> Result<(), MongoFailure> {
    let password = match &login.password {
        Some(place) => Some(read_secret(place, contact.deadline()).await?),
        None => None,
    };
    let who = Login {
        user: login.user.as_deref(),
        password: password.as_ref(),
        database: &login.database,
        mechanism: login.mechanism,
    };
    session.log_in(contact, &who, hello.array("saslSupportedMechs")).await
}

/// What `hello` tells; words of why it is no member of the set.
fn facts(address: &HostPort, options: &MongodbOptions, hello: &Document) -> Result<RaftFacts, String> {
    if hello.text("msg") == Some("isdbgrid") {
        return Err(format!("{address} is a mongos: list the members of each shard instead"));
    }
    let Some(set) = hello.text("setName") else {
        let words = match hello.is("isreplicaset") {
            true => "has no configuration of a replica set",
            false => "is not a member of a replica set",
        };
        return Err(format!("{address} {words}"));
    };
    if let Some(wanted) = options.set.as_deref().filter(|wanted| *wanted != set) {
        return Err(format!("{address} belongs to the replica set `{set}`, not to `{wanted}`"));
    }
    let member = hello.text("me").map_or_else(|| address.to_string(), str::to_owned);
    let (primary, arbiter) = (hello.is("isWritablePrimary"), hello.is("arbiterOnly"));
    let last = hello.document("lastWrite");
    let written = last.and_then(|last| last.document("opTime"));
    let majority = last.and_then(|last| last.document("majorityOpTime"));
    let index = written.map_or(0, position);
    let leader = match (primary, hello.text("primary")) {
        (true, _) => Some(member.clone()),
        // Elected, and not writable before it has caught up: not yet.
        (false, Some(named)) if named == member => None,
        (false, named) => named.map(str::to_owned),
    };
    let term = match primary {
        true => hello.get("electionId").and_then(term_of_election),
        false => written.and_then(|written| u64::try_from(written.number("t")?).ok()),
    };
    Ok(RaftFacts {
        cluster: set.to_owned(),
        leader,
        term: term.unwrap_or(0),
        term_of_log: !primary,
        index,
        applied: index,
        committed: majority.filter(|_| primary && options.majority_writes).map(position),
        learner: options.without_vote.contains(address),
        arbiter: arbiter && options.majority_writes,
        syncing: !primary && !arbiter && !hello.is("secondary") && options.majority_writes,
        member,
        ..RaftFacts::default()
    })
}

/// An election id: 7fffffff, then the term.
fn term_of_election(id: &Value) -> Option<u64> {
    match id {
        Value::Id([0x7f, 0xff, 0xff, 0xff, term @ ..]) => Some(u64::from_be_bytes(*term)),
        _ => None,
    }
}

fn position(time: &Document) -> u64 {
    match time.get("ts") {
        Some(Value::Timestamp(seconds, counter)) => {
            u64::from(*seconds) * PER_SECOND + u64::from(*counter).min(PER_SECOND - 1)
        }
        _ => 0,
    }
}

/// A follower's own term. A primary's is that of its election: if it has just stepped down, this
/// would be its successor's.
fn with_status(facts: &mut RaftFacts, status: &Document) {
    if facts.term_of_log
        && let Some(term) = status.number("term").and_then(|term| u64::try_from(term).ok())
    {
        facts.term = term;
        facts.term_of_log = false;
    }
    if let Some(words) = status.text("infoMessage").filter(|words| !words.is_empty()) {
        facts.errors.push(words.to_owned());
    }
}

/// Whether a member has a vote, by the set's own configuration.
fn votes(config: &Document, name: &str) -> bool {
    let members = config.document("config").map_or(&[][..], |config| config.array("members"));
    !members.iter().any(|member| {
        matches!(member, Value::Document(member)
            if member.text("host") == Some(name) && member.number("votes") == Some(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> HostPort {
        HostPort { host: "db1".to_owned(), port: 27017 }
    }

    fn options() -> MongodbOptions {
        MongodbOptions {
            set: Some("rs0".to_owned()),
            login: None,
            without_vote: Vec::new(),
            majority_writes: true,
            tls: None,
            linearizable_timeout: Duration::from_secs(5),
        }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn op_time(seconds: u32, counter: u32, term: i64) -> Value {
        Value::Document(
            Document::default().with("ts", Value::Timestamp(seconds, counter)).with("t", Value::Number(term)),
        )
    }

    /// As the manual shows it (MongoDB 7.0, "hello"), of a member `me`.
    fn hello(me: &str, more: &[(&str, Value)]) -> Document {
        let hosts = ["db1:27017", "db2:27017", "db3:27017"].map(text).to_vec();
        let last = Document::default()
            .with("opTime", op_time(1_700_000_010, 2, 5))
            .with("lastWriteDate", Value::Other)
            .with("majorityOpTime", op_time(1_700_000_010, 1, 5))
            .with("majorityWriteDate", Value::Other);
        let mut hello = Document::default()
            .with("topologyVersion", Value::Document(Document::default()))
            .with("hosts", Value::Array(hosts))
            .with("setName", text("rs0"))
            .with("setVersion", Value::Number(1))
            .with("me", text(me))
            .with("lastWrite", Value::Document(last))
            .with("ok", Value::Double(1.0));
        for (name, value) in more {
            hello = hello.with(name, value.clone());
        }
        hello
    }

    fn told(me: &str, more: &[(&str, Value)]) -> RaftFacts {
        facts(&address(), &options(), &hello(me, more)).unwrap()
    }

    fn election(term: u8) -> Value {
        Value::Id([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, term])
    }

    #[test]
    fn a_primary_is_in_the_term_of_its_election() {
        let facts = told(
            "db1:27017",
            &[
                ("isWritablePrimary", Value::Bool(true)),
                ("secondary", Value::Bool(false)),
                ("primary", text("db1:27017")),
                ("electionId", election(6)),
            ],
        );
        assert_eq!((facts.cluster.as_str(), facts.member.as_str()), ("rs0", "db1:27017"));
        assert_eq!((facts.leader.as_deref(), facts.term, facts.term_of_log), (Some("db1:27017"), 6, false));
        assert_eq!((facts.index, facts.committed), (1_700_000_010_000_002, Some(1_700_000_010_000_001)));
        assert!(facts.has_data() && !facts.learner);
    }

    #[test]
    fn a_secondary_is_in_the_term_of_its_last_write_unless_it_tells_more() {
        let secondary = [
            ("isWritablePrimary", Value::Bool(false)),
            ("secondary", Value::Bool(true)),
            ("primary", text("db1:27017")),
        ];
        let mut facts = told("db2:27017", &secondary);
        assert_eq!((facts.leader.as_deref(), facts.term, facts.term_of_log), (Some("db1:27017"), 5, true));
        assert_eq!((facts.applied, facts.committed), (1_700_000_010_000_002, None));
        with_status(&mut facts, &Document::default().with("term", Value::Number(6)));
        assert_eq!((facts.term, facts.term_of_log), (6, false));
        // A primary that has stepped down since is not in its successor's term.
        let mut facts =
            told("db1:27017", &[("isWritablePrimary", Value::Bool(true)), ("electionId", election(6))]);
        with_status(&mut facts, &Document::default().with("term", Value::Number(7)));
        assert_eq!(facts.term, 6);
    }

    #[test]
    fn without_a_primary() {
        let secondary = [("isWritablePrimary", Value::Bool(false)), ("secondary", Value::Bool(true))];
        assert_eq!(told("db2:27017", &secondary).leader, None);
        // Elected, and still catching up.
        let mut elected = secondary.to_vec();
        elected.push(("primary", text("db2:27017")));
        assert_eq!(told("db2:27017", &elected).leader, None);
    }

    #[test]
    fn who_votes_and_who_has_data() {
        let arbiter = [("arbiterOnly", Value::Bool(true)), ("secondary", Value::Bool(false))];
        let facts = told("db3:27017", &arbiter);
        assert!(facts.arbiter && !facts.has_data() && !facts.learner);
        // RECOVERING, STARTUP2 and ROLLBACK are neither.
        let facts = told("db3:27017", &[("secondary", Value::Bool(false)), ("primary", text("db1:27017"))]);
        assert!(facts.syncing && !facts.arbiter && facts.leader.is_some());
        let one = options();
        let one = MongodbOptions { majority_writes: false, without_vote: vec![address()], ..one };
        let facts = super::facts(&address(), &one, &hello("db1:27017", &arbiter)).unwrap();
        assert!(facts.has_data() && facts.learner);
        let primary = [("isWritablePrimary", Value::Bool(true)), ("electionId", election(6))];
        let facts = super::facts(&address(), &one, &hello("db1:27017", &primary)).unwrap();
        assert_eq!(facts.committed, None);

        let member = |host: &str, votes: i64| {
            let member = Document::default().with("host", text(host)).with("votes", Value::Number(votes));
            Value::Document(member)
        };
        let members = Value::Array(vec![member("db1:27017", 1), member("db4:27017", 0)]);
        let config =
            Document::default().with("config", Value::Document(Document::default().with("members", members)));
        assert!(votes(&config, "db1:27017") && !votes(&config, "db4:27017"));
        assert!(votes(&config, "db9:27017") && votes(&Document::default(), "db1:27017"));
    }

    #[test]
    fn what_is_no_member_of_the_set() {
        let refused = |hello: &Document| facts(&address(), &options(), hello).unwrap_err();
        let of = |elements: &[(&str, Value)]| {
            elements.iter().fold(Document::default(), |hello, (name, value)| hello.with(name, value.clone()))
        };
        let alone = of(&[("isWritablePrimary", Value::Bool(true))]);
        assert!(refused(&alone).contains("is not a member of a replica set"));
        assert!(refused(&of(&[("isreplicaset", Value::Bool(true))])).contains("no configuration"));
        assert!(refused(&of(&[("msg", text("isdbgrid"))])).contains("is a mongos"));
        assert!(refused(&of(&[("setName", text("rs1"))])).contains("not to `rs0`"));
        // An election id of protocol version 0 has no term.
        assert_eq!(term_of_election(&Value::Id([1; 12])), None);
    }
}
