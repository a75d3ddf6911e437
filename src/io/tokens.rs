//! What servers have given us for a password, or a signature: a token, a session. Kept until it
//! is refused or runs out, because to give another costs the server more than the question that
//! it is for (etcd: a bcrypt of some 100 ms of CPU).
//!
//! ```text
//! none ──given──▶ good ──refused, or run out──▶ none, not before AGAIN since it was given
//!   └──denied──▶ denied ──AGAIN, or another password──▶ none
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::{Clock, Deadline, Failure, show};
use crate::base::{Mono, Secret};

/// For how long nobody is asked again who has denied us, or whose token did not last.
const AGAIN: Duration = Duration::from_secs(10);
/// Places that tokens are kept for. Each member of a cluster has one; those of configurations
/// that are gone are thrown away together.
const PLACES_MAX: usize = 4096;

/// All tokens. Cheap to clone; clones share.
#[derive(Clone, Default, Debug)]
pub struct Tokens(Arc<Mutex<Places>>);

type Places = HashMap<String, Arc<tokio::sync::Mutex<Kept>>>;

/// The place of one token, held by one at a time: whoever else needs the token waits until it is
/// there, and does not ask for another.
#[derive(Debug)]
pub struct TokenPlace(OwnedMutexGuard<Kept>);

#[derive(Default, Debug)]
struct Kept {
    /// What it was asked for with; another makes a new start.
    shown: Option<Secret>,
    state: State,
}

#[derive(Default, Debug)]
enum State {
    #[default]
    None,
    Good {
        token: Secret,
        given: Mono,
        until: Option<Mono>,
    },
    /// It was good once, or never; nobody is asked until `again`.
    Not {
        words: String,
        again: Mono,
    },
}

impl Tokens {
    /// The place of what `key` names.
    ///
    /// # Errors
    /// Somebody else is being given the token, and that takes too long.
    pub async fn place(&self, key: &str, deadline: Deadline) -> Result<TokenPlace, Failure> {
        let kept = {
            let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if places.len() >= PLACES_MAX && !places.contains_key(key) {
                places.clear();
            }
            Arc::clone(places.entry(key.to_owned()).or_default())
        };
        let held = deadline.bound(kept.lock_owned()).await;
        held.map(TokenPlace).map_err(|_| Failure::unmeasured("another probe is logging in, and takes long"))
    }
}

impl TokenPlace {
    /// The token, if there is a good one; none: ask for one with `shown`, and [`keep`](Self::keep)
    /// it.
    ///
    /// # Errors
    /// It is too early to ask again.
    pub fn token(&mut self, shown: &Secret) -> Result<Option<Secret>, Failure> {
        if self.0.shown.as_ref() != Some(shown) {
            *self.0 = Kept { shown: Some(shown.clone()), state: State::None };
        }
        let now = Clock.mono();
        match &self.0.state {
            State::Good { token, until, .. } if until.is_none_or(|until| now < until) => {
                Ok(Some(token.clone()))
            }
            State::Not { words, again } if now < *again => {
                let left = show(again.since(now));
                Err(Failure::denied(format!("{words}; the next login is in {left}")))
            }
            _ => Ok(None),
        }
    }

    /// Keeps a token that was given; without `good_for`, until it is refused.
    pub fn keep(&mut self, token: Secret, good_for: Option<Duration>) {
        let given = Clock.mono();
        self.0.state = State::Good { token, given, until: good_for.map(|span| given + span) };
    }

    /// We were denied one.
    pub fn denied(&mut self, words: &str) {
        self.0.state = State::Not { words: words.to_owned(), again: Clock.mono() + AGAIN };
    }

    /// What was given is no longer taken. One that did not last is not asked for again at once.
    pub fn refused(&mut self, token: &Secret, words: &str) {
        if let State::Good { token: kept, given, .. } = &self.0.state
            && kept == token
        {
            let words = format!("a token that was just given is refused: {words}");
            self.0.state = match Clock.mono().since(*given) < AGAIN {
                true => State::Not { words, again: *given + AGAIN },
                false => State::None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Class;

    async fn place(tokens: &Tokens) -> TokenPlace {
        tokens.place("etcd", Clock.deadline(Duration::from_secs(5))).await.unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[tokio::test]
    async fn a_token_is_kept_until_it_is_refused_or_runs_out() {
        let tokens = Tokens::default();
        let mut here = place(&tokens).await;
        assert_eq!(here.token(&secret("password")).unwrap(), None);
        here.keep(secret("one"), None);
        drop(here);
        let mut here = place(&tokens.clone()).await;
        assert_eq!(here.token(&secret("password")).unwrap(), Some(secret("one")));
        // Another password: another login.
        assert_eq!(here.token(&secret("rotated")).unwrap(), None);
        here.keep(secret("two"), Some(Duration::ZERO));
        assert_eq!(here.token(&secret("rotated")).unwrap(), None, "it has run out");
        here.keep(secret("three"), Some(Duration::from_secs(60)));
        assert_eq!(here.token(&secret("rotated")).unwrap(), Some(secret("three")));
        // Somebody else's old token, refused late, is not this one.
        here.refused(&secret("two"), "x");
        assert_eq!(here.token(&secret("rotated")).unwrap(), Some(secret("three")));
    }

    #[tokio::test]
    async fn nobody_is_asked_again_and_again() {
        let tokens = Tokens::default();
        let mut here = place(&tokens).await;
        assert_eq!(here.token(&secret("wrong")).unwrap(), None);
        here.denied("wrong password");
        let failure = here.token(&secret("wrong")).unwrap_err();
        assert_eq!(failure.class, Class::Denied);
        assert!(failure.words.contains("wrong password; the next login is in"), "{failure}");
        assert_eq!(here.token(&secret("right")).unwrap(), None, "a new password is tried at once");
        here.keep(secret("token"), None);
        here.refused(&secret("token"), "invalid");
        let failure = here.token(&secret("right")).unwrap_err();
        assert!(failure.words.contains("just given is refused: invalid"), "{failure}");
    }

    #[tokio::test]
    async fn whoever_waits_gets_the_same() {
        let tokens = Tokens::default();
        let here = place(&tokens).await;
        let late = tokens.place("etcd", Clock.deadline(Duration::from_millis(20))).await;
        assert_eq!(late.unwrap_err().class, Class::Unmeasured);
        assert!(tokens.place("another", Clock.deadline(Duration::from_millis(20))).await.is_ok());
        drop(here);
        place(&tokens).await;
    }
}
