//! Checks over HTTP.

use crate::base::Place;
use crate::config::bind::Binder;
use crate::config::model::{HttpCheck, HttpExpect, HttpMethod, HttpVersion, StatusRange};
use crate::config::spec;
use crate::config::yaml::{Node, Value};

/// So much of a body may be asked for: thousands of checks may be under way at once.
const BODY_BYTES_MAX: usize = 16 << 20;
/// So many redirects may be asked for; browsers give up at twenty.
const REDIRECTS_MAX: usize = 10;

impl Binder<'_> {
    pub(super) fn http(&mut self, http: spec::HttpCheck, place: &Place) -> Option<HttpCheck> {
        let status = match &http.status {
            None => vec![StatusRange { first: 200, last: 299 }],
            Some(nodes) => nodes.iter().filter_map(|node| self.status(node)).collect(),
        };
        if http.status.as_ref().is_some_and(Vec::is_empty) {
            self.mistakes.error(place, "`status` is empty: no answer would ever pass");
        }
        let headers = http
            .headers
            .iter()
            .filter_map(|(name, node)| Some((name.to_ascii_lowercase(), self.header(node)?)))
            .collect();
        let version = http.version.map_or(HttpVersion::default(), |node| self.http_version(&node));
        let expect = HttpExpect {
            body: http.expect.body.as_ref().and_then(|node| self.matching(node)),
            json: http
                .expect
                .json
                .iter()
                .filter_map(|(pointer, node)| self.json_test(pointer, node))
                .collect(),
        };
        if http.method == HttpMethod::Head && (expect.is_some() || http.body.is_some()) {
            self.mistakes
                .error(place, "HEAD has no body, neither in the request nor in the answer")
                .help("use GET, or leave `expect` and `body` out");
        }
        let connect = http.connect.as_ref().and_then(|text| self.host_port(text));
        let url = self.url(&http.url);
        let identity = self.client_certificate_for(url.as_ref(), http.cert, http.key);
        Some(HttpCheck {
            url: url?,
            version,
            method: http.method,
            body: http.body.map(|body| body.value.into_bytes()).unwrap_or_default(),
            status,
            headers,
            connect,
            ca: http.ca.map(|path| self.path(&path)),
            identity,
            expect,
            body_bytes_max: self.within(&http.body_bytes_max, 1..=BODY_BYTES_MAX, HttpCheck::BODY_BYTES),
            redirects: self.within(&http.redirects, 0..=REDIRECTS_MAX, 0),
        })
    }

    /// `1.1` and `2` read as numbers, `"1.1"` as a text.
    fn http_version(&mut self, node: &Node) -> HttpVersion {
        let text = match &node.value {
            Value::Text(text) => text.as_str(),
            Value::Int(_) | Value::Float(_) => node.place.text(),
            _ => "",
        };
        match text {
            "auto" => HttpVersion::Auto,
            "1.1" => HttpVersion::V1_1,
            "2" => HttpVersion::V2,
            _ => {
                self.mistakes
                    .error(
                        &node.place,
                        format!("`{}` is not a version of HTTP that we speak", node.place.text()),
                    )
                    .help("write auto, 1.1 or 2");
                HttpVersion::default()
            }
        }
    }
}
