//! What an earlier process left in the store → what the daemon goes on from.

use std::path::Path;

use serde_json::Value;

use crate::base::{Now, Timestamp};
use crate::decide::Restored;
use crate::store::{self, Reader, Store};
use crate::workflow::{Engine, ExecutionView};

/// Under which key the last sign of life is kept.
pub(super) const ALIVE: &str = "alive";

/// A store that was opened, and what was in it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) restored: Restored,
    /// When the process before this one last gave a sign of life.
    pub(super) alive: Option<Timestamp>,
}

/// Opens the store, takes a new epoch, and reads back what is not over.
///
/// # Errors
/// Why there is no store to work with, and what to do about it. DNS can be served without one.
pub(super) fn open(
    directory: &Path,
    tell: impl FnMut(store::Event) + Send + 'static,
    now: Now,
) -> Result<Opened, String> {
    let opened = Store::open(directory, tell).map_err(|why| why.to_string())?;
    let epoch = opened.store.epoch();
    let broken = |index: u64, why: String| format!("record {index} of the journal cannot be read: {why}");
    let records = store::workflow_records(&opened.replay).map_err(|(index, why)| broken(index, why))?;
    let marks = store::marks(opened.state.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let engine = Engine::restore(epoch, marks, records, now.mono).map_err(|why| why.to_string())?;
    let head = opened.store.reader().head().map_err(|why| why.to_string())?;
    let state = opened
        .state
        .into_iter()
        .filter_map(|(key, value)| Some((key, serde_json::from_str::<Value>(&value).ok()?)))
        .collect::<std::collections::BTreeMap<_, _>>();
    let alive = state.get(ALIVE).and_then(|value| serde_json::from_value(value.clone()).ok());
    let restored = Restored { epoch, head: head.next.saturating_sub(1), state, engine };
    Ok(Opened { store: opened.store, restored, alive })
}

/// What the journal says of executions while there is no daemon to ask: those that are not
/// over, and those that are.
///
/// # Errors
/// Why it cannot be read; a daemon that owns it is one reason.
pub fn executions_on_disk(directory: &Path, now: Now) -> Result<Vec<ExecutionView>, String> {
    let reader = Reader::open(directory).map_err(|why| why.to_string())?;
    let head = reader.head().map_err(|why| why.to_string())?;
    let replay = reader.replay().map_err(|why| why.to_string())?;
    let records =
        store::workflow_records(&replay).map_err(|(index, why)| format!("record {index}: {why}"))?;
    let engine = Engine::restore(head.epoch + 1, [], records, now.mono).map_err(|why| why.to_string())?;
    let mut views: Vec<ExecutionView> = engine.settled().cloned().collect();
    views.extend(engine.executions(now));
    Ok(views)
}
