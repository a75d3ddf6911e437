//! Taking over another configuration: on SIGHUP, or when asked over the control socket.

use std::path::PathBuf;

use tokio::sync::Mutex;
use tracing::info;

use super::handle::Handle;
use super::signatures;
use crate::base::Mistakes;
use crate::sys;

/// Reloads the configuration that the daemon was started with. A bad one never replaces a good one.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    pub(super) handle: Handle,
    /// One at a time: two that read the files at once could be taken over in the wrong order.
    pub(super) turn: Mutex<()>,
}

impl Reloader {
    /// For a daemon and its configuration file.
    pub fn new(path: PathBuf, handle: Handle) -> Self {
        Self { path, handle, turn: Mutex::new(()) }
    }

    /// Reads all files and takes them over if all are sound; tells what is new.
    ///
    /// # Errors
    /// Every mistake in them, rendered for a person. What ran before goes on.
    pub async fn reload(&self) -> Result<String, String> {
        let _turn = self.turn.lock().await;
        info!(event = "daemon.reloading", path = %self.path.display(), "reading {}", self.path.display());
        let path = self.path.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            let (setup, warnings) = sys::load_to_serve(&path)?;
            let signed = signatures::sign(&setup, &setup.keys);
            Ok((setup, signed, warnings))
        })
        .await;
        let said = match loaded.map_err(|why| why.to_string())? {
            Ok((setup, signed, warnings)) => {
                for warning in warnings.iter() {
                    tracing::warn!("{warning}");
                }
                self.handle.reconfigure(setup, signed).await.map_err(|gone| gone.to_string())?
            }
            Err(mistakes) => {
                let mistakes: Mistakes = mistakes;
                let errors = mistakes.errors();
                Err(format!(
                    "{}{errors} mistake{}; the configuration that runs goes on",
                    mistakes.render(false),
                    if errors == 1 { "" } else { "s" }
                ))
            }
        };
        if let Err(why) = &said {
            // If the daemon is gone there is nobody left to care.
            let _ = self.handle.reload_failed(why.clone()).await;
        }
        said
    }
}
