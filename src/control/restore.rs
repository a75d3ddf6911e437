//! What an earlier process left in the store → what the daemon goes on from.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::base::{Now, Timestamp};
use crate::decide::Restored;
use crate::store::{self, Reader, Replayed, Store, StoreError};
use crate::workflow::{Engine, ExecutionView};

/// Under which key the last sign of life is kept.
pub(super) const ALIVE: &str = "alive";

/// What was found of an earlier process.
#[derive(Debug)]
pub(super) struct Opened {
    /// The store; or why it cannot be written to.
    pub(super) store: Result<Store, String>,
    /// What was in it.
    pub(super) restored: Restored,
    /// When the process before this one last gave a sign of life.
    pub(super) alive: Option<Timestamp>,
}

/// Opens the store, takes a new epoch, and reads back what is not over.
///
/// DNS is served without a store to write to as well: then from what can be read of it. A disk
/// that takes nothing any more must not bring back what was dialled away or drained.
///
/// # Errors
/// [`StoreError::InUse`]: another daemon owns the store and knows what was dialled. To serve
/// beside it, not knowing, could send clients back to a writer that is none any more.
pub(super) fn open(
    directory: &Path,
    tell: impl FnMut(store::Event) + Send + 'static,
    now: Now,
) -> Result<Opened, StoreError> {
    let (store, kept) = match Store::open(directory, tell) {
        Ok(opened) => {
            let epoch = opened.store.epoch();
            let head = opened.store.reader().head();
            let kept =
                head.map(|head| Kept { epoch, next: head.next, replay: opened.replay, state: opened.state });
            (Ok(opened.store), kept.map_err(|why| why.to_string()))
        }
        Err(why @ StoreError::InUse { .. }) => return Err(why),
        Err(why) => (Err(why.to_string()), read(directory).map_err(|why| why.to_string())),
    };
    let kept = match (kept, &store) {
        (Ok(kept), _) => kept,
        (Err(why), Ok(_)) => {
            return Ok(Opened { store: Err(why), restored: Restored::nothing(), alive: None });
        }
        // Why it cannot be written to says more than why it cannot be read.
        (Err(_), Err(_)) => return Ok(Opened { store, restored: Restored::nothing(), alive: None }),
    };
    let (restored, alive, sound) = kept.understood(now);
    Ok(Opened { store: sound.and(store), restored, alive })
}

/// What a store holds for the next process.
struct Kept {
    epoch: u64,
    next: u64,
    replay: Vec<Replayed>,
    state: Vec<(String, String)>,
}

/// Reads a store that cannot be opened for writing, if no other daemon has it.
fn read(directory: &Path) -> Result<Kept, StoreError> {
    let reader = Reader::open(directory)?;
    let head = reader.head()?;
    // Nothing is written under this epoch, so that it is no harm that the next process that
    // can write takes the same.
    Ok(Kept { epoch: head.epoch + 1, next: head.next, replay: reader.replay()?, state: reader.state()? })
}

impl Kept {
    /// As the daemon goes on from it, and when there was the last sign of life. A journal that
    /// makes no sense takes nothing of the state away, and no workflow goes on from it.
    fn understood(self, now: Now) -> (Restored, Option<Timestamp>, Result<(), String>) {
        let Self { epoch, next, replay, state } = self;
        let broken = |index: u64, why: String| format!("record {index} of the journal cannot be read: {why}");
        let marks = store::marks(state.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let engine =
            store::workflow_records(&replay).map_err(|(index, why)| broken(index, why)).and_then(|records| {
                Engine::restore(epoch, marks, records, now.mono).map_err(|why| why.to_string())
            });
        let (engine, sound) = match engine {
            Ok(engine) => (engine, Ok(())),
            Err(why) => (Engine::new(epoch), Err(why)),
        };
        let state: BTreeMap<String, Value> = state
            .into_iter()
            .filter_map(|(key, value)| Some((key, serde_json::from_str(&value).ok()?)))
            .collect();
        let alive = state.get(ALIVE).and_then(|value| serde_json::from_value(value.clone()).ok());
        (Restored { epoch, head: next.saturating_sub(1), state, engine }, alive, sound)
    }
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
