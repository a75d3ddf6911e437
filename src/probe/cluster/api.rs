//! What the systems that speak HTTP have in common: a base URL, whom to trust, what to show, and
//! an answer that is kept in part.

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use reqwest::Url;
use serde::de::DeserializeOwned;

use crate::base::{Secret, SecretRef};
use crate::config::{Access, Credential};
use crate::io::http::{Answer, Request, authority, exchange};
use crate::io::{Contact, Failure, Net, TrustFiles, read_secret};
use crate::wire::write_base64;

/// How much of an answer that makes no sense is told.
const EXCERPT_CHARS_MAX: usize = 120;

/// One member's API.
pub(super) struct Api<'a> {
    pub net: &'a Net,
    pub access: &'a Access,
    /// Where it is.
    pub base: &'a Url,
    /// Whose: "Consul", for complaints.
    pub system: &'static str,
    /// The rest of a longer body is not read.
    pub body_bytes_max: usize,
}

impl Api<'_> {
    /// Asks with GET.
    pub async fn get(&self, contact: &mut Contact, path: &str) -> Result<Answer, Failure> {
        self.ask(contact, Method::GET, path, String::new()).await
    }

    /// Sends JSON with POST.
    pub async fn post(&self, contact: &mut Contact, path: &str, body: &str) -> Result<Answer, Failure> {
        self.ask(contact, Method::POST, path, body.to_owned()).await
    }

    /// Sends JSON with PUT.
    pub async fn put(&self, contact: &mut Contact, path: &str, body: &str) -> Result<Answer, Failure> {
        self.ask(contact, Method::PUT, path, body.to_owned()).await
    }

    async fn ask(
        &self,
        contact: &mut Contact,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Answer, Failure> {
        self.send(contact, method, &self.at(path)?, body).await
    }

    /// Another URL of the same server.
    pub fn at(&self, path: &str) -> Result<Url, Failure> {
        let base = self.base;
        base.join(path).map_err(|why| Failure::unmeasured(format!("{base} is not a base URL: {why}")))
    }

    /// Sends a body, as JSON unless it is empty, to a URL of the same server.
    pub async fn send(
        &self,
        contact: &mut Contact,
        method: Method,
        url: &Url,
        body: String,
    ) -> Result<Answer, Failure> {
        let shown = match &self.access.credential {
            Some(credential) => Some(shown(credential, contact).await?),
            None => None,
        };
        self.send_as(contact, method, url, body, shown).await
    }

    /// The same, showing this instead of the credential that is configured.
    pub async fn send_as(
        &self,
        contact: &mut Contact,
        method: Method,
        url: &Url,
        body: String,
        shown: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Answer, Failure> {
        let Self { net, access, .. } = self;
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.extend(shown);
        let trust = TrustFiles { ca: access.ca.clone(), identity: access.identity.clone() };
        let request = Request {
            headers,
            body: body.into(),
            body_bytes_max: self.body_bytes_max,
            ..Request::new(method, url, &trust)
        };
        exchange(contact, net, request).await
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        authority(self.base).map_or_else(|| self.base.to_string(), |place| place.to_string())
    }

    /// The body of an answer with status 200; any other is a [`complaint`](Self::complaint).
    pub fn json<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Failure> {
        match answer.status {
            StatusCode::OK => self.parse(answer),
            _ => Err(self.complaint(answer, &excerpt(answer))),
        }
    }

    /// The body of an answer, whatever its status.
    pub fn parse<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Failure> {
        serde_json::from_slice(&answer.body).map_err(|_| match answer.cut {
            true => Failure::rubbish(format!(
                "{} answers with more than {} bytes",
                self.place(),
                self.body_bytes_max
            )),
            false => self.odd(answer),
        })
    }

    /// It answers what this system would not.
    pub fn odd(&self, answer: &Answer) -> Failure {
        let Self { system, .. } = self;
        Failure::rubbish(format!("{} answers what is not {system}'s: {}", self.place(), excerpt(answer)))
    }

    /// What an answer other than 200 means when it says no more than `said`: denied or throttled
    /// says nothing of health, and neither does a page that is not there.
    pub fn complaint(&self, answer: &Answer, said: &str) -> Failure {
        let status = answer.status.as_u16();
        let words = format!("{} answers {status}: {said}", self.place());
        match status {
            401 | 403 | 407 | 429 => Failure::denied(words),
            _ => Failure::rubbish(words),
        }
    }
}

pub(in crate::probe) async fn shown(
    credential: &Credential,
    contact: &Contact,
) -> Result<(HeaderName, HeaderValue), Failure> {
    let read = async |place: &SecretRef| read_secret(place, contact.deadline()).await;
    let (name, text, place) = match credential {
        Credential::Bearer(place) => {
            (AUTHORIZATION, format!("Bearer {}", read(place).await?.reveal()), place)
        }
        Credential::ApiKey(place) => {
            (AUTHORIZATION, format!("ApiKey {}", read(place).await?.reveal()), place)
        }
        Credential::Header(name, place) => {
            let name = HeaderName::from_static(name);
            (name, read(place).await?.reveal().to_owned(), place)
        }
        Credential::Basic { user, password } => {
            (AUTHORIZATION, basic(user, &read(password).await?), password)
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Failure::unmeasured(format!("the secret in {place} cannot be sent in a header")))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// RFC 7617 §2.
fn basic(user: &str, password: &Secret) -> String {
    let mut text = String::from("Basic ");
    write_base64(format!("{user}:{}", password.reveal()).as_bytes(), &mut text)
        .expect("a string takes any text");
    text
}

/// The beginning of a body, for people.
pub(super) fn excerpt(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let text: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(EXCERPT_CHARS_MAX).collect();
    if text.is_empty() { "(nothing)".to_owned() } else { text }
}

/// An answer, for tests.
#[cfg(test)]
pub(super) fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
    let header = |(name, text): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(text))
    };
    let status = StatusCode::from_u16(status).expect("a test knows the codes");
    Answer { status, headers: headers.iter().map(header).collect(), body: body.to_owned().into(), cut: false }
}
