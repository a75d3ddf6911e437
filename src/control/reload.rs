//! Taking over another configuration, or one zone: on SIGHUP, or when asked over the control socket.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;
use tracing::info;

use super::handle::Handle;
use super::signatures;
use crate::base::Mistakes;
use crate::decide::Setup;
use crate::sys;
use crate::wire::Name;

/// Reloads the configuration that the daemon was started with. A bad one never replaces a good one.
///
/// All files are taken over together or not at all: services, zones and workflows name each other,
/// and half of a change is a state that nobody has written or checked. Whoever wants one zone alone
/// asks for it, and then no mistake elsewhere stands against it.
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
        let path = self.path.clone();
        info!(event = "daemon.reloading", path = %path.display(), "reading {}", path.display());
        let read = move |before: &Setup| sys::load_to_serve(&path, Some(before));
        self.take_over(read, "the configuration that runs goes on").await
    }

    /// Reads the file of one zone and takes it over if it is sound; tells what is new.
    ///
    /// # Errors
    /// There is no such zone, or every mistake in its file, rendered for a person.
    pub async fn reload_zone(&self, zone: &str) -> Result<String, String> {
        let name = Name::parse(zone).map_err(|why| format!("`{zone}` is no name: {why}"))?;
        info!(event = "daemon.reloading", zone = %name, "reading the zone {name}");
        let known = self.handle.look(|daemon, _| daemon.setup().config.zones.clone()).await;
        let known = known.map_err(|gone| gone.to_string())?;
        if known.iter().all(|zone| zone.name != name) {
            let names: Vec<_> = known.iter().map(|zone| zone.name.to_string()).collect();
            return Err(format!("there is no zone {name}; there are {}", names.join(", ")));
        }
        let read = move |before: &Setup| {
            let (setup, warnings) = sys::reload_zone(before, &name)?;
            Ok((setup.armed(Arc::clone(&before.tsig), Some(before)), warnings))
        };
        self.take_over(read, "the zone that is served stays").await
    }

    async fn take_over(
        &self,
        read: impl FnOnce(&Setup) -> Result<(Arc<Setup>, Mistakes), Mistakes> + Send + 'static,
        consolation: &str,
    ) -> Result<String, String> {
        let _turn = self.turn.lock().await;
        let before = self.handle.look(|daemon, _| Arc::clone(daemon.setup())).await;
        let before = before.map_err(|gone| gone.to_string())?;
        let loaded = tokio::task::spawn_blocking(move || {
            let (setup, warnings) = read(&before)?;
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
                    "{}{errors} mistake{}; {consolation}",
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
