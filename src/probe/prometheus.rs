//! Asks a Prometheus server for the value of an expression, and compares it with a bound.
//!
//! `POST /api/v1/query` (Prometheus, "HTTP API", instant queries). The server is not the target:
//! whatever keeps it from answering makes the check unknown, never a failure. Neither does an
//! expression without a result fail by itself: a target that ceased to exist, a rule that was
//! renamed and a typing mistake look alike, so that the operator says what it means.

use std::collections::BTreeMap;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::cluster::shown;
use crate::base::show_span;
use crate::config::{Beyond, NoData, PrometheusCheck, SeriesRule};
use crate::health::Finding;
use crate::io::http::{Answer, Request, exchange};
use crate::io::{Clock, Contact, Failure, Net, TrustFiles};

/// How much of an answer is read.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How much of an error or a warning is told.
const EXCERPT_CHARS_MAX: usize = 160;
/// Labels of a series that are told.
const LABELS_MAX: usize = 6;

pub(super) async fn probe(net: &Net, check: &PrometheusCheck, contact: &mut Contact) -> Finding {
    match ask(net, check, contact).await {
        Ok(answer) => judge(check, &answer, Clock.now().wall.as_millisecond() as f64 / 1000.0),
        Err(failure) => Finding::Unknown(failure.words),
    }
}

async fn ask(net: &Net, check: &PrometheusCheck, contact: &mut Contact) -> Result<Answer, Failure> {
    let mut url = check.url.clone();
    let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
    url.set_path(&path);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    if let Some(credential) = &check.access.credential {
        let (name, value) = shown(credential, contact).await?;
        debug_assert_eq!(name, AUTHORIZATION);
        headers.insert(name, value);
    }
    let trust = TrustFiles { ca: check.access.ca.clone(), identity: check.access.identity.clone() };
    let body = format!("query={}", form_encoded(&check.query));
    let request = Request {
        headers,
        body: body.into(),
        body_bytes_max: BODY_BYTES_MAX,
        ..Request::new(Method::POST, &url, &trust)
    };
    exchange(contact, net, request).await
}

/// As in `application/x-www-form-urlencoded` (WHATWG URL §5.2).
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'*' => encoded.push(byte as char),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[derive(Deserialize)]
struct Body {
    status: String,
    data: Option<Data>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// Absent for a native histogram, which has no one value.
    value: Option<(f64, String)>,
}

fn judge(check: &PrometheusCheck, answer: &Answer, now: f64) -> Finding {
    let status = answer.status.as_u16();
    let Ok(body) = serde_json::from_slice::<Body>(&answer.body) else {
        return Finding::Unknown(match (answer.cut, answer.status) {
            (true, _) => format!("more than {BODY_BYTES_MAX} bytes of series: aggregate in the query"),
            (_, StatusCode::OK) => "the answer is not Prometheus's".to_owned(),
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                format!("status {status}: Prometheus refuses the credential, or wants one")
            }
            _ => format!("status {status}, which is not Prometheus's answer"),
        });
    };
    if body.status != "success" {
        let why = excerpt(&body.error.unwrap_or_default());
        return Finding::Unknown(format!("Prometheus refuses the query (status {status}): {why}"));
    }
    let Some(Data { kind, result }) = body.data else {
        return Finding::Unknown("the answer has no data".to_owned());
    };
    let series = match kind.as_str() {
        "vector" => serde_json::from_value::<Vec<Series>>(result),
        "scalar" => serde_json::from_value(result)
            .map(|value| vec![Series { metric: BTreeMap::default(), value: Some(value) }]),
        "matrix" => return Finding::Unknown("the query gives ranges, not values".to_owned()),
        _ => return Finding::Unknown("the query gives a text, not a value".to_owned()),
    };
    let Ok(series) = series else {
        return Finding::Unknown("the answer is not Prometheus's".to_owned());
    };
    let mut values = Vec::new();
    for one in &series {
        let Some((at, text)) = &one.value else { continue };
        let Ok(value) = text.parse::<f64>() else {
            return Finding::Unknown(format!("`{}` is not a value", excerpt(text)));
        };
        let age = now - at;
        if age > check.stale_after.as_secs_f64() {
            let (age, bound) = (std::time::Duration::from_secs(age as u64), check.stale_after);
            return Finding::Unknown(format!(
                "the answer is {} old, wanted {} at most",
                show_span(age),
                show_span(bound)
            ));
        }
        // What was divided by zero is no value.
        if !value.is_nan() {
            values.push((value, one));
        }
    }
    let warned =
        body.warnings.first().map_or(String::new(), |words| format!("; warning: {}", excerpt(words)));
    let finding = |failed: bool, words: String| match failed {
        true => Finding::Fail(words + &warned),
        false => Finding::Pass(words + &warned),
    };
    let order = |a: f64, b: f64| match check.beyond {
        Beyond::Above(_) => a > b,
        Beyond::Below(_) => a < b,
    };
    let worst = values.iter().copied().reduce(|a, b| if order(b.0, a.0) { b } else { a });
    let Some((worst, at)) = worst else {
        let words = "the query has no result".to_owned();
        return match check.no_data {
            NoData::Unknown => Finding::Unknown(words + &warned),
            NoData::Pass => finding(false, words),
            NoData::Fail => finding(true, words),
        };
    };
    let (bound, beyond_word, within_word) = match check.beyond {
        Beyond::Above(bound) => (bound, "above", "not above"),
        Beyond::Below(bound) => (bound, "below", "not below"),
    };
    let beyond = values.iter().filter(|(value, _)| order(*value, bound)).count();
    let failed = match check.series {
        SeriesRule::Any => beyond > 0,
        SeriesRule::All => beyond == values.len(),
    };
    let word = if order(worst, bound) { beyond_word } else { within_word };
    let of = match values.len() {
        1 => String::new(),
        count => format!(" ({beyond} of {count} series are {beyond_word}; the worst: {})", labels(at)),
    };
    finding(failed, format!("{worst} is {word} {bound}{of}"))
}

fn labels(series: &Series) -> String {
    let labels = series.metric.iter().filter(|(name, _)| *name != "__name__").take(LABELS_MAX);
    let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={}", excerpt(value))).collect();
    format!("{{{}}}", labels.join(", "))
}

fn excerpt(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(EXCERPT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Access;

    fn said(beyond: Beyond, series: SeriesRule, no_data: NoData, status: u16, body: &str) -> String {
        let check = PrometheusCheck {
            url: "http://127.0.0.1:9090/".parse().unwrap(),
            query: "up".to_owned(),
            beyond,
            series,
            no_data,
            stale_after: Duration::from_secs(60),
            access: Access::default(),
        };
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
            cut: false,
        };
        let finding = judge(&check, &answer, 1000.0);
        format!("{}: {}", finding.word(), finding.words())
    }

    fn vector(values: &[&str]) -> String {
        let series = values.iter().enumerate().map(|(n, value)| {
            format!(r#"{{"metric":{{"__name__":"x","i":"{n}"}},"value":[999.5,"{value}"]}}"#)
        });
        let series: Vec<_> = series.collect();
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, series.join(","))
    }

    const ABOVE: Beyond = Beyond::Above(0.5);

    #[test]
    fn one_series_or_all_of_them() {
        let any = |values: &[&str]| said(ABOVE, SeriesRule::Any, NoData::Unknown, 200, &vector(values));
        assert_eq!(any(&["0.25"]), "pass: 0.25 is not above 0.5");
        assert_eq!(any(&["0.5"]), "pass: 0.5 is not above 0.5");
        assert_eq!(any(&["0.75"]), "fail: 0.75 is above 0.5");
        assert_eq!(any(&["+Inf"]), "fail: inf is above 0.5");
        assert_eq!(
            any(&["0.1", "0.9", "0.6"]),
            "fail: 0.9 is above 0.5 (2 of 3 series are above; the worst: {i=1})"
        );
        let all = |values: &[&str]| said(ABOVE, SeriesRule::All, NoData::Unknown, 200, &vector(values));
        assert!(
            all(&["0.1", "0.9"]).starts_with("pass: 0.9 is above 0.5 (1 of 2 series"),
            "{}",
            all(&["0.1"])
        );
        assert!(all(&["0.6", "0.9"]).starts_with("fail: "));
        let below =
            |value| said(Beyond::Below(3.0), SeriesRule::Any, NoData::Unknown, 200, &vector(&[value]));
        assert_eq!((below("2"), below("3")), ("fail: 2 is below 3".into(), "pass: 3 is not below 3".into()));
    }

    #[test]
    fn no_data_means_what_the_operator_says() {
        let none = |no_data| said(ABOVE, SeriesRule::Any, no_data, 200, &vector(&[]));
        assert_eq!(none(NoData::Unknown), "unknown: the query has no result");
        assert_eq!(none(NoData::Pass), "pass: the query has no result");
        assert_eq!(none(NoData::Fail), "fail: the query has no result");
        let nan = said(ABOVE, SeriesRule::Any, NoData::Unknown, 200, &vector(&["NaN"]));
        assert_eq!(nan, "unknown: the query has no result");
    }

    #[test]
    fn whatever_is_wrong_with_prometheus_is_no_failure_of_the_target() {
        let ask = |status, body: &str| said(ABOVE, SeriesRule::Any, NoData::Fail, status, body);
        for (status, body, words) in [
            (401, "Unauthorized", "refuses the credential"),
            (502, "<html>", "status 502"),
            (200, "<html>", "not Prometheus's"),
            (
                400,
                r#"{"status":"error","errorType":"bad_data","error":"parse error: no"}"#,
                "parse error: no",
            ),
            (503, r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#, "timed out"),
            (200, r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#, "a text"),
            (200, r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#, "ranges"),
            (200, r#"{"status":"success"}"#, "no data"),
            (
                200,
                r#"{"status":"success","data":{"resultType":"scalar","result":[900,"9"]}}"#,
                "100s old|1m40s old",
            ),
        ] {
            let said = ask(status, body);
            assert!(said.starts_with("unknown: "), "{body}: {said}");
            assert!(words.split('|').any(|words| said.contains(words)), "{body}: {said}");
        }
        let warned = r#"{"status":"success","warnings":["a store is gone"],"data":{"resultType":"scalar","result":[1000,"9"]}}"#;
        assert_eq!(ask(200, warned), "fail: 9 is above 0.5; warning: a store is gone");
    }

    #[test]
    fn a_query_is_sent_as_a_form() {
        assert_eq!(form_encoded("up{job=\"é\"} > 1"), "up%7Bjob%3D%22%C3%A9%22%7D%20%3E%201");
    }
}
