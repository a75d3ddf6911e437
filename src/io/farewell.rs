//! What is to be said before we go: to give back what a server keeps for us as long as we are there.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::Deadline;

/// Words that wait for the end. More than these are not remembered: servers forget by themselves.
const FAREWELLS_MAX: usize = 256;

type Words = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All that is to be said. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Farewells(Arc<Mutex<HashMap<String, Words>>>);

impl fmt::Debug for Farewells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Farewells")
    }
}

impl Farewells {
    /// Has something done at the end, instead of what was kept under the same key.
    pub fn keep(&self, key: &str, words: impl Future<Output = ()> + Send + 'static) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < FAREWELLS_MAX || kept.contains_key(key) {
            kept.insert(key.to_owned(), Box::pin(words));
        }
    }

    /// Says it all, at once.
    pub async fn say(&self, deadline: Deadline) {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut saying: tokio::task::JoinSet<()> = kept.into_values().collect();
        let all = async { while saying.join_next().await.is_some() {} };
        // Who does not listen is left standing.
        let _ = deadline.bound(all).await;
    }
}
