//! Sends an HTTP request and judges the status. Redirects are answers like any other.

use hyper::header::{HeaderMap, HeaderName, HeaderValue as Value, LOCATION};
use hyper::{Method, StatusCode};

use super::finding;
use crate::config::{HeaderValue, HttpCheck, HttpMethod, StatusRange};
use crate::health::Finding;
use crate::io::http::{Answer, Request, exchange};
use crate::io::{Contact, Failure, Net, TrustFiles, read_secret, show};

/// How much of a redirect's target is told.
const TARGET_CHARS_MAX: usize = 120;

pub(super) async fn probe(net: &Net, check: &HttpCheck, contact: &mut Contact) -> Finding {
    match ask(net, check, contact).await {
        Ok(answer) => judge(check, &answer, contact),
        Err(failure) => finding(failure),
    }
}

async fn ask(net: &Net, check: &HttpCheck, contact: &mut Contact) -> Result<Answer, Failure> {
    let trust = TrustFiles::ca(check.ca.as_deref());
    let method = match check.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
    };
    let headers = headers(check, contact).await?;
    let request =
        Request { headers, connect: check.connect.as_ref(), ..Request::new(method, &check.url, &trust) };
    exchange(contact, net, request).await
}

async fn headers(check: &HttpCheck, contact: &Contact) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &check.headers {
        let unfit = |what: &str| Failure::unmeasured(format!("{what} cannot be sent as the header `{name}`"));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| unfit("this name"))?;
        let value = match value {
            HeaderValue::Plain(text) => Value::from_str(text).map_err(|_| unfit("its text"))?,
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

fn judge(check: &HttpCheck, answer: &Answer, contact: &Contact) -> Finding {
    let status = answer.status.as_u16();
    if check.status.iter().any(|range| (range.first..=range.last).contains(&status)) {
        return Finding::Pass(format!("status {status} in {}", show(contact.took())));
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
            let to = to.map_or(String::new(), |to| format!(" (to {})", shown(to)));
            Finding::Fail(format!("status {status}{to}, expected {}", expected(&check.status)))
        }
    }
}

fn shown(target: &Value) -> String {
    let text = String::from_utf8_lossy(target.as_bytes());
    text.chars().filter(|c| !c.is_control()).take(TARGET_CHARS_MAX).collect()
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
