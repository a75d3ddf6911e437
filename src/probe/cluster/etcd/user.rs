//! Who we are at an etcd that has authentication switched on.
//!
//! By name and password: a token, which costs etcd a bcrypt and a proposal, and is asked for only
//! when the one that we have is refused (a simple token dies five minutes after it was last used,
//! at a restart, and when its user or password is changed).

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{complaint, gateway_error};
use crate::base::Secret;
use crate::config::EtcdUser;
use crate::io::http::Answer;
use crate::io::{Contact, Failure, read_secret};
use crate::probe::cluster::api::Api;

/// Sends JSON with POST, as this user. An answer of the login itself is brought if there is no
/// quorum: it goes through the others like any write.
pub(in crate::probe::cluster) async fn post(
    api: &Api<'_>,
    user: Option<&EtcdUser>,
    contact: &mut Contact,
    path: &str,
    body: &str,
) -> Result<Answer, Failure> {
    let Some(user) = user else { return api.post(contact, path, body).await };
    let password = read_secret(&user.password, contact.deadline()).await?;
    let key = format!("etcd {} {}", api.base, user.name);
    let mut first = true;
    loop {
        // Others of this member wait: they need the same token.
        let mut place = api.net.tokens().place(&key, contact.deadline()).await?;
        let token = match place.token(&password)? {
            Some(token) => token,
            None => match log_in(api, user, &password, contact).await? {
                LoggedIn::Token(token) => {
                    place.keep(token.clone(), None);
                    token
                }
                LoggedIn::NotNeeded => return api.post(contact, path, body).await,
                LoggedIn::NoQuorum(answer) => return Ok(answer),
                LoggedIn::Denied(failure) => {
                    place.denied(&failure.words);
                    return Err(failure);
                }
            },
        };
        drop(place);
        let mut shown = HeaderValue::from_str(token.reveal())
            .map_err(|_| api_odd(api, "a token that cannot be sent in a header"))?;
        shown.set_sensitive(true);
        let url = api.at(path)?;
        let shown = Some((AUTHORIZATION, shown));
        let answer = api.send_as(contact, Method::POST, &url, body.to_owned(), shown).await?;
        match gateway_error(&answer) {
            Some(error) if error.about_the_token() => {
                let mut place = api.net.tokens().place(&key, contact.deadline()).await?;
                place.refused(&token, &error.message);
                if !first {
                    return Ok(answer);
                }
                first = false;
            }
            _ => return Ok(answer),
        }
    }
}

enum LoggedIn {
    Token(Secret),
    /// Authentication is switched off.
    NotNeeded,
    NoQuorum(Answer),
    Denied(Failure),
}

async fn log_in(
    api: &Api<'_>,
    user: &EtcdUser,
    password: &Secret,
    contact: &mut Contact,
) -> Result<LoggedIn, Failure> {
    #[derive(Deserialize)]
    struct Given {
        token: String,
    }
    let body = json!({ "name": user.name, "password": password.reveal() }).to_string();
    let answer = api.post(contact, "/v3/auth/authenticate", &body).await?;
    if answer.status == StatusCode::OK {
        // Never in the words of a failure: it is a secret.
        let given: Option<Given> = serde_json::from_slice(&answer.body).ok();
        return match given.filter(|given| !given.token.is_empty()) {
            Some(given) => Ok(LoggedIn::Token(Secret::new(given.token))),
            None => Err(api_odd(api, "no token after a login")),
        };
    }
    match gateway_error(&answer) {
        Some(error) if error.message.contains("authentication is not enabled") => Ok(LoggedIn::NotNeeded),
        Some(error) if error.for_want_of_a_quorum() => Ok(LoggedIn::NoQuorum(answer)),
        Some(error) if error.about_credentials() => {
            let (place, name) = (api.place(), &user.name);
            let words = format!("{place} does not let `{name}` log in: {}", error.message);
            Ok(LoggedIn::Denied(Failure::denied(words)))
        }
        _ => Err(complaint(api, &answer)),
    }
}

fn api_odd(api: &Api<'_>, what: &str) -> Failure {
    Failure::rubbish(format!("{} answers what is not etcd's: {what}", api.place()))
}
