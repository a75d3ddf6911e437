//! Access tokens of Google's: for a service account's key (RFC 7523, "Using OAuth 2.0 for Server to
//! Server Applications"), or from the metadata server of a machine in its cloud.

use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use reqwest::Url;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;

use super::http::{Answer, Request, exchange};
use super::{Clock, Contact, Failure, Net, TrustFiles};
use crate::base::{Secret, Timestamp};
use crate::wire::write_base64;

/// A token, and what is said with it.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// For how long an assertion is good; Google takes one hour at most.
const ASSERTION_GOOD_FOR: i64 = 3600;
/// A token is not used any more so long before it runs out.
const RESERVE: Duration = Duration::from_secs(300);
/// A key is for tokens of such an account.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// What of a service account's key file is used.
#[derive(Deserialize)]
struct Account {
    client_email: String,
    private_key: PrivateKey,
    #[serde(default)]
    private_key_id: String,
    token_uri: String,
}

/// A secret in a file of JSON.
#[derive(Deserialize)]
#[serde(transparent)]
struct PrivateKey(String);

/// A token, and for how long to use it.
#[derive(Clone, Debug)]
pub struct Given {
    /// The token.
    pub token: Secret,
    /// For how long it may be used.
    pub good_for: Duration,
}

/// Asks for a token by a service account's key: the text of its file, in JSON. The token endpoint
/// is the one that stands there, over TLS.
///
/// # Errors
/// The key makes no sense, which is our own side; the endpoint denies us, or cannot be asked.
pub async fn by_key(
    net: &Net,
    contact: &mut Contact,
    key: &Secret,
    scope: &str,
    trust: &TrustFiles,
) -> Result<Given, Failure> {
    let odd = |what: &str| Failure::unmeasured(format!("the service account's key {what}"));
    // Errors of the reader could quote the key.
    let account: Account =
        serde_json::from_str(key.reveal()).map_err(|_| odd("is not such a key's JSON file"))?;
    let url: Url = account.token_uri.parse().map_err(|_| odd("names no token endpoint"))?;
    if url.scheme() != "https" {
        return Err(odd("names a token endpoint without TLS"));
    }
    let assertion =
        assertion(&account, scope, Clock.now().wall).ok_or_else(|| odd("holds no RSA key in PKCS #8"))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    // Neither holds a character that a form would write otherwise, but for the colons.
    let body = format!("grant_type={}&assertion={assertion}", GRANT.replace(':', "%3A"));
    let request = Request {
        headers,
        body: body.into(),
        body_bytes_max: BODY_BYTES_MAX,
        ..Request::new(Method::POST, &url, trust)
    };
    let answer = exchange(contact, net, request).await?;
    given(&answer, &format!("{} as {}", url.host_str().unwrap_or_default(), account.client_email))
}

/// Asks the metadata server for a token of the machine's own account.
///
/// # Errors
/// It denies us, or cannot be asked.
pub async fn by_machine(net: &Net, contact: &mut Contact, server: &Url) -> Result<Given, Failure> {
    const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
    let mut url = server.clone();
    url.set_path(PATH);
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("metadata-flavor"), HeaderValue::from_static("Google"));
    let trust = TrustFiles::default();
    let request =
        Request { headers, body_bytes_max: BODY_BYTES_MAX, ..Request::new(Method::GET, &url, &trust) };
    let answer = exchange(contact, net, request).await?;
    given(&answer, "the metadata server")
}

fn given(answer: &Answer, who: &str) -> Result<Given, Failure> {
    #[derive(Deserialize)]
    struct Token {
        access_token: String,
        expires_in: u64,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Refusal {
        error: String,
        error_description: String,
    }
    if answer.status == StatusCode::OK {
        // Never in the words of a failure: it is a secret.
        let token: Option<Token> = serde_json::from_slice(&answer.body).ok();
        let token = token.ok_or_else(|| Failure::rubbish(format!("{who} brings no token")))?;
        let span = Duration::from_secs(token.expires_in);
        // Of a short one, half.
        let good_for = span.saturating_sub(RESERVE).max(span / 2);
        return Ok(Given { token: Secret::new(token.access_token), good_for });
    }
    let status = answer.status.as_u16();
    let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
    let words = format!("{who}: no token: {status} {} {}", refusal.error, refusal.error_description);
    Err(match answer.status.is_server_error() {
        // Its own trouble is not that of what the token is for.
        true => Failure::unmeasured(words),
        false => Failure::denied(words),
    })
}

/// A JSON Web Token, signed (RFC 7515 §3.1, RFC 7518 §3.3).
fn assertion(account: &Account, scope: &str, now: Timestamp) -> Option<String> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(account.private_key.0.as_bytes()).ok()?;
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?;
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": account.private_key_id });
    let claims = json!({
        "iss": account.client_email,
        "scope": scope,
        "aud": account.token_uri,
        "iat": now.as_second(),
        "exp": now.as_second() + ASSERTION_GOOD_FOR,
    });
    let mut text = base64url(header.to_string().as_bytes());
    text.push('.');
    text.push_str(&base64url(claims.to_string().as_bytes()));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).ok()?;
    text.push('.');
    text.push_str(&base64url(&signature));
    Some(text)
}

/// RFC 7515, appendix C.
fn base64url(octets: &[u8]) -> String {
    let mut text = String::new();
    write_base64(octets, &mut text).expect("a string takes any text");
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Class;

    #[test]
    fn base64_for_urls() {
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe, 0x01]), "-__-AQ");
    }

    #[test]
    fn what_is_said_instead_of_a_token() {
        let answer = |status: u16, body: &str| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
            cut: false,
        };
        let good =
            given(&answer(200, r#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#), "x");
        assert_eq!(good.unwrap().good_for, Duration::from_secs(3299));
        let short = given(&answer(200, r#"{"access_token":"t","expires_in":60}"#), "x").unwrap();
        assert_eq!((short.token.reveal(), short.good_for), ("t", Duration::from_secs(30)));
        let denied = given(
            &answer(400, r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#),
            "oauth2 as x",
        );
        let denied = denied.unwrap_err();
        assert_eq!(denied.class, Class::Denied);
        assert_eq!(denied.words, "oauth2 as x: no token: 400 invalid_grant Invalid JWT Signature.");
        assert_eq!(given(&answer(503, ""), "x").unwrap_err().class, Class::Unmeasured);
        let rubbish = given(&answer(200, r#"{"access_token":"hunter2"}"#), "x").unwrap_err();
        assert!(rubbish.class == Class::Rubbish && !rubbish.words.contains("hunter2"));
    }
}
