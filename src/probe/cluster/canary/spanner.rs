//! Spanner: a commit of one row, then a strong read of it, over its REST API.
//!
//! Spanner tells nothing of its quorum. A commit goes through a majority of the row's voting
//! replicas, and a strong read through the leader: both succeed only where the way in reaches them.
//! Stale reads go on elsewhere, and are not asked for. `SELECT 1` proves that the front end is there.
//!
//! One session for each endpoint and database, used by every round and given back at the end.
//! (Spanner forgets one that is not used for an hour.)

use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{fresh, outcome};
use crate::base::Secret;
use crate::cluster::{CanaryFacts, Facts};
use crate::config::{SpannerCanary, SpannerIdentity};
use crate::io::http::Answer;
use crate::io::{Clock, Contact, Failure, Net, TrustFiles, google, read_secret};
use crate::probe::cluster::api::{Api, excerpt};

/// One row, and its metadata.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// To read and write data, and nothing else.
const SCOPE: &str = "https://www.googleapis.com/auth/spanner.data";
/// For giving a session back.
const GOODBYE: Duration = Duration::from_secs(2);

/// Writes, and reads back.
pub(in crate::probe::cluster) async fn status(
    net: &Net,
    canary: &SpannerCanary,
    url: &Url,
    timeout: Duration,
) -> Result<Facts, Failure> {
    let contact = &mut Contact::new(timeout);
    let done = write_and_read(net, canary, url, contact).await;
    outcome(contact, done)
}

async fn write_and_read(
    net: &Net,
    canary: &SpannerCanary,
    url: &Url,
    contact: &mut Contact,
) -> Result<CanaryFacts, Failure> {
    let spanner = Spanner { net, canary, api: api(net, canary, url) };
    let now = Clock.now().wall.as_millisecond();
    let (table, site) = (&canary.row.table, &canary.row.site);
    let commit = json!({
        "singleUseTransaction": { "readWrite": {} },
        "mutations": [{ "insertOrUpdate": {
            "table": table,
            "columns": ["site", "written_at_ms"],
            // 64-bit numbers are strings here.
            "values": [[site, now.to_string()]],
        }}],
    });
    let read = json!({
        "transaction": { "singleUse": { "readOnly": { "strong": true } } },
        "table": table,
        "columns": ["written_at_ms"],
        "keySet": { "keys": [[site]] },
        "limit": "1",
    });
    let place = spanner.api.place();
    if let Err(refusal) = spanner.ask(contact, "commit", &commit).await {
        return refusal.meaning(&place, "the commit");
    }
    let rows = match spanner.ask(contact, "read", &read).await {
        Ok(answer) => spanner.api.parse::<Rows>(&answer)?.rows,
        Err(refusal) => return refusal.meaning(&place, "the strong read"),
    };
    let at = rows.first().and_then(|row| row.first()?.as_str()?.parse().ok());
    Ok(fresh(&place, now, at, contact.budget() / 2))
}

#[derive(Deserialize)]
struct Rows {
    #[serde(default)]
    rows: Vec<Vec<Value>>,
}

fn api<'a>(net: &'a Net, canary: &'a SpannerCanary, base: &'a Url) -> Api<'a> {
    Api { net, access: &canary.access, base, system: "Spanner", body_bytes_max: BODY_BYTES_MAX }
}

struct Spanner<'a> {
    net: &'a Net,
    canary: &'a SpannerCanary,
    api: Api<'a>,
}

impl Spanner<'_> {
    /// Calls a method of the session; of another one if that is gone.
    async fn ask(&self, contact: &mut Contact, method: &str, body: &Value) -> Result<Answer, Refusal> {
        let key = format!("spanner {} {}", self.api.base, self.canary.database);
        let (nothing, mut first) = (Secret::new(""), true);
        loop {
            // Others of this endpoint wait: they need the same session.
            let mut place = self.net.tokens().place(&key, contact.deadline()).await?;
            let session = match place.token(&nothing)? {
                Some(session) => session,
                None => {
                    let session = self.open(contact, &key).await?;
                    place.keep(session.clone(), None);
                    session
                }
            };
            drop(place);
            let path = format!("/v1/{}:{method}", session.reveal());
            match self.post(contact, &path, body).await {
                Err(Refusal::Told(trouble)) if first && trouble.is_lost_session() => {
                    let mut place = self.net.tokens().place(&key, contact.deadline()).await?;
                    place.refused(&session, &trouble.message);
                    first = false;
                }
                done => return done,
            }
        }
    }

    /// A new session, that is given back at the end.
    async fn open(&self, contact: &mut Contact, key: &str) -> Result<Secret, Refusal> {
        #[derive(Deserialize)]
        struct Session {
            name: String,
        }
        let path = format!("/v1/{}/sessions", self.canary.database);
        let body = json!({ "session": { "labels": { "by": "pointsman" } } });
        let answer = self.post(contact, &path, &body).await?;
        let Session { name } = self.api.parse(&answer)?;
        // It becomes part of a path.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if !name.starts_with(&format!("{}/sessions/", self.canary.database)) || !name.chars().all(plain) {
            return Err(self.api.odd(&answer).into());
        }
        let (net, canary, base) = (self.net.mute(), self.canary.clone(), self.api.base.clone());
        let session = name.clone();
        self.net.farewells().keep(key, async move {
            let spanner = Spanner { net: &net, canary: &canary, api: api(&net, &canary, &base) };
            let contact = &mut Contact::new(GOODBYE);
            // Who cannot be told forgets it within an hour.
            let _ = spanner.send(contact, Method::DELETE, &format!("/v1/{session}"), String::new()).await;
        });
        Ok(Secret::new(name))
    }

    async fn post(&self, contact: &mut Contact, path: &str, body: &Value) -> Result<Answer, Refusal> {
        self.send(contact, Method::POST, path, body.to_string()).await
    }

    async fn send(
        &self,
        contact: &mut Contact,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Answer, Refusal> {
        let token = self.token(contact).await?;
        let shown = match &token {
            None => None,
            Some((_, _, token)) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
                    .map_err(|_| Failure::rubbish("a token that cannot be sent in a header"))?;
                value.set_sensitive(true);
                Some((AUTHORIZATION, value))
            }
        };
        let url = self.api.at(path)?;
        let answer = self.api.send_as(contact, method, &url, body, shown).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        if let (StatusCode::UNAUTHORIZED, Some((key, shown, token))) = (answer.status, &token) {
            let mut place = self.net.tokens().place(key, contact.deadline()).await?;
            // As it was asked for.
            let _ = place.token(shown);
            place.refused(token, &excerpt(&answer));
        }
        Err(Refusal::Told(Trouble::of(&answer)))
    }

    /// Who we are: where the token is kept, what it was asked for with, the token.
    async fn token(&self, contact: &mut Contact) -> Result<Option<(String, Secret, Secret)>, Failure> {
        let (key, shown) = match &self.canary.identity {
            SpannerIdentity::Nobody => return Ok(None),
            SpannerIdentity::Account(place) => {
                (format!("google {place}"), read_secret(place, contact.deadline()).await?)
            }
            SpannerIdentity::Machine(server) => (format!("google {server}"), Secret::new("")),
        };
        let mut place = self.net.tokens().place(&key, contact.deadline()).await?;
        if let Some(token) = place.token(&shown)? {
            return Ok(Some((key, shown, token)));
        }
        // A contact of its own, within the same time: that this endpoint is silent says nothing of
        // Spanner's.
        let own = &mut Contact::new(contact.deadline().left());
        let asked = match &self.canary.identity {
            SpannerIdentity::Machine(server) => google::by_machine(self.net, own, server).await,
            _ => {
                let access = &self.canary.access;
                let trust = TrustFiles { ca: access.ca.clone(), identity: access.identity.clone() };
                google::by_key(self.net, own, &shown, SCOPE, &trust).await
            }
        };
        match asked {
            Ok(given) => {
                place.keep(given.token.clone(), Some(given.good_for));
                Ok(Some((key, shown, given.token)))
            }
            Err(failure) if failure.class == crate::io::Class::Denied => {
                place.denied(&failure.words);
                Err(failure)
            }
            Err(failure) => Err(Failure::unmeasured(format!("no token for Spanner: {failure}"))),
        }
    }
}

/// Why a method brought nothing.
enum Refusal {
    /// It could not be asked.
    Failure(Failure),
    /// It said so.
    Told(Trouble),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Refusal {
    fn meaning(self, place: &str, what: &str) -> Result<CanaryFacts, Failure> {
        match self {
            Self::Failure(failure) => Err(failure),
            Self::Told(trouble) => trouble.meaning(place, what),
        }
    }
}

/// An error (google/rpc/status.proto, as JSON): `{"error":{"code":…,"message":…,"status":…}}`.
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Trouble {
    #[serde(skip)]
    http: u16,
    status: String,
    message: String,
}

impl Trouble {
    fn of(answer: &Answer) -> Self {
        #[derive(Deserialize)]
        struct Wrapped {
            error: Trouble,
        }
        let http = answer.status.as_u16();
        match serde_json::from_slice::<Wrapped>(&answer.body) {
            Ok(Wrapped { error }) => Self { http, ..error },
            Err(_) => Self { http, status: String::new(), message: excerpt(answer) },
        }
    }

    /// Spanner has forgotten it ("Session not found"); a table that is missing is not found, too.
    fn is_lost_session(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        let gone = message.contains("session not found") || message.contains("unknown session");
        self.status == "NOT_FOUND" && gone
    }

    fn meaning(self, place: &str, what: &str) -> Result<CanaryFacts, Failure> {
        let Self { http, status, message } = self;
        let words = format!("{place} refuses {what} with {http} {status}: {message}");
        match status.as_str() {
            // It knows us not, has no time for us, or somebody else was in the way.
            "UNAUTHENTICATED" | "PERMISSION_DENIED" | "RESOURCE_EXHAUSTED" | "ABORTED" => {
                Err(Failure::denied(words))
            }
            // It could not do it (google/rpc/code.proto).
            "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "INTERNAL" | "UNKNOWN" | "DATA_LOSS" => {
                Ok(CanaryFacts::Failed(words))
            }
            _ if matches!(http, 401 | 403 | 429) => Err(Failure::denied(words)),
            _ if http >= 500 => Ok(CanaryFacts::Failed(words)),
            _ => Err(Failure::rubbish(words)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Class;

    /// By google/rpc/code.proto and Spanner's documentation of errors.
    #[test]
    fn only_spanners_own_trouble_is_a_failure() {
        let refused = |http: u16, body: String| {
            let answer = Answer {
                status: StatusCode::from_u16(http).unwrap(),
                headers: hyper::header::HeaderMap::new(),
                body: body.into(),
                cut: false,
            };
            Trouble::of(&answer).meaning("s", "the commit").map_err(|failure| failure.class)
        };
        let told = |http: u16, status: &str| {
            refused(http, format!(r#"{{"error":{{"code":{http},"message":"m","status":"{status}"}}}}"#))
        };
        for (http, status) in [(503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED"), (500, "INTERNAL")] {
            let words = format!("s refuses the commit with {http} {status}: m");
            assert_eq!(told(http, status), Ok(CanaryFacts::Failed(words)));
        }
        for (http, status) in [
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (429, "RESOURCE_EXHAUSTED"),
            (409, "ABORTED"),
        ] {
            assert_eq!(told(http, status), Err(Class::Denied), "{status}");
        }
        for (http, status) in [(400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (400, "FAILED_PRECONDITION")] {
            assert_eq!(told(http, status), Err(Class::Rubbish), "{status}");
        }
        assert!(matches!(refused(502, "<html>".to_owned()), Ok(CanaryFacts::Failed(_))));
        assert_eq!(refused(403, "<html>".to_owned()), Err(Class::Denied));
    }

    #[test]
    fn a_session_that_is_gone_is_told_from_a_table() {
        let trouble = |message: &str| Trouble {
            http: 404,
            status: "NOT_FOUND".to_owned(),
            message: message.to_owned(),
        };
        assert!(
            trouble("Session not found: projects/p/instances/i/databases/d/sessions/s").is_lost_session()
        );
        assert!(!trouble("Table not found: pointsman_canary").is_lost_session());
    }
}
