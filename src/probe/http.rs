//! Sends an HTTP request and judges the answer: its status first, then what it says.
//!
//! A redirect is an answer like any other, unless the check says how many to follow. Then each
//! hop is a request of its own within the one deadline; credentials and the pinned address stay
//! with the origin that they were written for.

use std::borrow::Cow;

use hyper::body::Bytes;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue as Value, LOCATION,
};
use hyper::{Method, StatusCode};
use reqwest::Url;

use super::finding;
use crate::config::{HeaderValue, HttpCheck, HttpMethod, StatusRange, shown};
use crate::health::Finding;
use crate::io::http::{Answer, Exchange, Request, whole_exchange};
use crate::io::{Contact, Failure, Net, Phases, TrustFiles, read_secret, show};

pub(super) async fn probe(net: &Net, check: &HttpCheck, contact: &mut Contact) -> Finding {
    follow(net, check, contact).await.unwrap_or_else(finding)
}

async fn follow(net: &Net, check: &HttpCheck, contact: &mut Contact) -> Result<Finding, Failure> {
    let mut hop =
        Hop { url: Cow::Borrowed(&check.url), method: method(check.method), body: check.body.clone().into() };
    let mut way = Vec::new();
    loop {
        let answer = ask(net, check, &hop, contact).await.map_err(|failure| along(&way, failure))?;
        let is_expected = passes(check, answer.status);
        if is_expected || check.redirects == 0 || !answer.status.is_redirection() {
            return Ok(told(&way, judge(check, &answer, contact)));
        }
        let next = match next(&hop, &answer) {
            Ok(next) => next,
            Err(why) => {
                let status = answer.status.as_u16();
                return Ok(told(&way, Finding::Fail(format!("status {status} {why}"))));
            }
        };
        contact.note("redirect", || format!("status {} to {}", answer.status.as_u16(), next.url));
        way.push(hop.url.to_string());
        if way.contains(&next.url.to_string()) && next.method == hop.method {
            return Ok(told(&way, Finding::Fail(format!("redirects in a circle, to {} again", next.url))));
        }
        if way.len() > check.redirects {
            let most = check.redirects;
            return Ok(told(
                &way,
                Finding::Fail(format!("more than {most} redirects; the next is {}", next.url)),
            ));
        }
        hop = next;
        // What is told of phases from here on is the next hop's.
        contact.phases = Phases { begun: contact.took(), ..Phases::default() };
    }
}

/// One request on the way.
struct Hop<'a> {
    url: Cow<'a, Url>,
    method: Method,
    body: Bytes,
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}

/// Where a redirect leads (RFC 9110 §15.4).
fn next(hop: &Hop<'_>, answer: &Answer) -> Result<Hop<'static>, String> {
    let location = answer.headers.get(LOCATION).ok_or("without a target to follow")?;
    let text = location.to_str().map_err(|_| "to what is not a URL")?;
    let at = shown(text.as_bytes());
    let mut url = hop.url.join(text).map_err(|why| format!("to `{at}`, which is not a URL: {why}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("to `{at}`, which is neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("to a URL with credentials in it, which is not followed".to_owned());
    }
    if hop.url.scheme() == "https" && url.scheme() == "http" {
        return Err(format!("to {at}: from https to plain http, which is not followed"));
    }
    url.set_fragment(None);
    // What every client does, and 303 demands: 307 and 308 exist to keep the method.
    let keeps = match answer.status {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::SEE_OTHER => hop.method == Method::HEAD,
        _ => hop.method != Method::POST,
    };
    let url = Cow::Owned(url);
    Ok(match keeps {
        true => Hop { url, method: hop.method.clone(), body: hop.body.clone() },
        false => Hop { url, method: Method::GET, body: Bytes::new() },
    })
}

async fn ask(net: &Net, check: &HttpCheck, hop: &Hop<'_>, contact: &mut Contact) -> Result<Answer, Failure> {
    let at_home = *hop.url == check.url || hop.url.origin() == check.url.origin();
    // Who we are is none of a stranger's business.
    let trust = TrustFiles { ca: check.ca.clone(), identity: check.identity.clone().filter(|_| at_home) };
    let headers = headers(check, contact, at_home).await?;
    contact.note("request", || format!("{} {}", hop.method, hop.url));
    let request = Request {
        version: check.version,
        headers,
        body: hop.body.clone(),
        connect: check.connect.as_ref().filter(|_| at_home),
        body_bytes_max: if check.expect.is_some() { check.body_bytes_max } else { 0 },
        ..Request::new(hop.method.clone(), &hop.url, &trust)
    };
    let Exchange { answer, version, .. } = whole_exchange(contact, net, request).await?;
    contact.note("answer", || format!("{version:?}, status {}", answer.status));
    if !answer.body.is_empty() {
        contact.note("body", || {
            let (length, cut) = (answer.body.len(), if answer.cut { " and more" } else { "" });
            format!("{length} bytes{cut}: {}", shown(&answer.body))
        });
    }
    Ok(answer)
}

/// The check's headers; away from home those that are none of a stranger's business are left out.
async fn headers(check: &HttpCheck, contact: &Contact, at_home: bool) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &check.headers {
        let unfit = |what: &str| Failure::unmeasured(format!("{what} cannot be sent as the header `{name}`"));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| unfit("this name"))?;
        if !at_home && (name == HOST || name == AUTHORIZATION || name == COOKIE) {
            continue;
        }
        let value = match value {
            HeaderValue::Plain(text) => Value::from_str(text).map_err(|_| unfit("its text"))?,
            HeaderValue::Secret(_) if !at_home => continue,
            HeaderValue::Secret(place) => {
                let secret = read_secret(place, contact.deadline()).await?;
                let mut value =
                    Value::from_str(secret.reveal()).map_err(|_| unfit(&format!("the secret in {place}")))?;
                value.set_sensitive(true);
                value
            }
        };
        headers.append(name, value);
    }
    Ok(headers)
}

fn passes(check: &HttpCheck, status: StatusCode) -> bool {
    check.status.iter().any(|range| (range.first..=range.last).contains(&status.as_u16()))
}

fn judge(check: &HttpCheck, answer: &Answer, contact: &Contact) -> Finding {
    let status = answer.status.as_u16();
    if passes(check, answer.status) {
        let (took, phases) = (show(contact.took()), contact.phases.words());
        return match content(check, answer) {
            Ok(()) => Finding::Pass(format!("status {status} in {took} ({phases})")),
            Err(why) => Finding::Fail(format!("status {status}, but {why}")),
        };
    }
    let secret = check.headers.values().any(|value| matches!(value, HeaderValue::Secret(_)));
    match answer.status {
        // We showed a credential and it is not good (any more): that says nothing about the
        // service. Without one, that the service turns people away is what we came to see.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            if secret =>
        {
            Finding::Unknown(format!("status {status}: the credential that the check sends is refused"))
        }
        // It has no time for us, whoever else it may have time for.
        StatusCode::TOO_MANY_REQUESTS => Finding::Unknown("status 429: the target throttles us".to_owned()),
        _ => {
            let to = answer.headers.get(LOCATION).filter(|_| answer.status.is_redirection());
            let to = to.map_or(String::new(), |to| format!(" (to {})", shown(to.as_bytes())));
            Finding::Fail(format!("status {status}{to}, expected {}", expected(&check.status)))
        }
    }
}

/// Whether the body is as expected; what is wrong with it, if not.
fn content(check: &HttpCheck, answer: &Answer) -> Result<(), String> {
    let expect = &check.expect;
    // We ask for none of these. To unpack what a target sends would be to let it choose how much
    // memory we spend.
    if expect.is_some()
        && let Some(encoding) =
            answer.headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity")
    {
        let encoding = shown(encoding.as_bytes());
        return Err(format!("its body is packed ({encoding}), which nobody asked for"));
    }
    let within = match answer.cut {
        true => format!(" in the first {} bytes", check.body_bytes_max),
        false => String::new(),
    };
    if let Some(test) = &expect.body
        && !test.holds(&answer.body)
    {
        let found = match answer.body.is_empty() {
            true => "is empty".to_owned(),
            false => format!("begins with `{}`", shown(&answer.body)),
        };
        return Err(format!("there is no {}{within}: the body {found}", test.shown()));
    }
    if expect.json.is_empty() {
        return Ok(());
    }
    if answer.cut {
        return Err(format!("its body is longer than {} bytes", check.body_bytes_max));
    }
    let document = serde_json::from_slice(&answer.body)
        .map_err(|why| format!("its body is not JSON ({why}): `{}`", shown(&answer.body)))?;
    expect.json.iter().try_for_each(|test| test.check(&document))
}

/// The same finding, with the way that led to it.
fn told(way: &[String], finding: Finding) -> Finding {
    let Some((first, rest)) = way.split_first() else { return finding };
    let way = rest.iter().fold(format!("from {first}"), |way, hop| format!("{way} to {hop}"));
    let with = |words: String| format!("{words} (redirected {way})");
    match finding {
        Finding::Pass(words) => Finding::Pass(with(words)),
        Finding::Fail(words) => Finding::Fail(with(words)),
        Finding::Unknown(words) => Finding::Unknown(with(words)),
        Finding::Hold(words) => Finding::Hold(with(words)),
    }
}

fn along(way: &[String], failure: Failure) -> Failure {
    match way.last() {
        None => failure,
        Some(last) => Failure { words: format!("{} (redirected there by {last})", failure.words), ..failure },
    }
}

/// "200", "200-299", "200 or 204", "200, 204 or 300-399".
fn expected(ranges: &[StatusRange]) -> String {
    let mut words: Vec<String> = ranges
        .iter()
        .map(|range| match range.first == range.last {
            true => range.first.to_string(),
            false => format!("{}-{}", range.first, range.last),
        })
        .collect();
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} or {last}", words.join(", ")),
        None => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_was_expected() {
        let range = |first, last| StatusRange { first, last };
        assert_eq!(expected(&[range(200, 200)]), "200");
        assert_eq!(expected(&[range(200, 299)]), "200-299");
        assert_eq!(expected(&[range(200, 200), range(204, 204), range(300, 399)]), "200, 204 or 300-399");
    }
}
