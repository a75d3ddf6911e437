//! How everybody else reaches the owner of the state: by mail, and by mail only.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::base::{Now, Timestamp};
use crate::decide::{Daemon, Event, Order, Setup};
use crate::dns::Counts;
use crate::health::Finding;
use crate::probe::Inbox;
use crate::sign::{ZoneKeys, ZoneView};
use crate::table::Signed;

/// Letters that may wait. Whoever writes more waits with them.
pub(super) const MAIL_MAX: usize = 256;

/// What is done with a look at the state.
pub(super) type Glance = Box<dyn FnOnce(&Daemon, &Running) + Send>;

/// A letter.
pub(super) enum Mail {
    /// Looks at the state and takes a copy of what it needs.
    Look(Glance),
    /// An operator's order.
    Order(Order, oneshot::Sender<Result<String, String>>),
    /// The configuration that runs with other data on where clients are; the first is what the
    /// second was made from.
    Relocate(Arc<Setup>, Arc<Setup>, oneshot::Sender<bool>),
    /// Newer data on where clients are cannot be taken over; none: they are what is on disk.
    GeoTrouble(Option<String>),
    /// Another configuration, read and found sound, and its zones signed.
    Reconfigure(Arc<Setup>, Option<Arc<Signed>>, oneshot::Sender<Result<String, String>>),
    /// How the keys of signed zones stand, and with which to sign for this setup; none: as before.
    Keys(Arc<Setup>, Vec<ZoneView>, Option<Vec<Arc<ZoneKeys>>>),
    /// A configuration that was not sound: the old one stays.
    ReloadFailed(String),
    /// Hands over to a new process of the program on disk.
    Upgrade(oneshot::Sender<Result<String, String>>),
    /// Ends the daemon.
    Stop,
}

/// What of the running daemon is not a matter of decisions.
#[derive(Clone, Debug)]
pub struct Running {
    /// The present.
    pub now: Now,
    /// DNS is being served.
    pub serving: bool,
    /// What was counted of queries so far.
    pub counts: Counts,
    /// How often a secondary server took notice of another version of a zone …
    pub notified: u64,
    /// … and how often one could not be told.
    pub not_notified: u64,
    /// Until when the certificate is valid that clients are shown.
    pub certificate_ends: Option<Timestamp>,
}

/// The daemon is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Gone;

/// Something the daemon tells to whoever listens in: the demo does.
#[derive(Clone, Debug)]
pub enum Told {
    /// A probe's result.
    Sample {
        /// The check.
        check: String,
        /// What it found.
        finding: Finding,
    },
    /// What asking every voter of a group has brought.
    Round {
        /// The group.
        group: String,
        /// In a word for each voter.
        voters: Vec<&'static str>,
    },
    /// Something happened.
    Event(Event),
    /// A call to an agent is made, or has ended.
    Call {
        /// On whose behalf.
        execution: String,
        /// Which stage.
        stage: String,
        /// Which agent.
        agent: &'static str,
        /// How it ended; none: it begins.
        outcome: Option<String>,
    },
}

/// Reaches the daemon. Clones reach the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) mail: mpsc::Sender<Mail>,
    pub(super) inbox: Inbox,
    pub(super) serving: watch::Receiver<bool>,
}

impl Handle {
    /// Looks at the state, from inside the one task that owns it. What is returned is a copy.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Daemon, &Running) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (reply, seen) = oneshot::channel();
        let look = move |daemon: &Daemon, running: &Running| drop(reply.send(look(daemon, running)));
        self.mail.send(Mail::Look(Box::new(look))).await.map_err(|_| Gone)?;
        seen.await.map_err(|_| Gone)
    }

    /// Where others tell what they have to say by themselves.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Gives an order; the answer is what became of it, once that is written.
    pub async fn order(&self, order: Order) -> Result<Result<String, String>, Gone> {
        let (reply, said) = oneshot::channel();
        self.mail.send(Mail::Order(order, reply)).await.map_err(|_| Gone)?;
        said.await.map_err(|_| Gone)
    }

    /// Takes over another configuration, with the signatures that were made for it.
    pub(super) async fn reconfigure(
        &self,
        setup: Arc<Setup>,
        signed: Option<Arc<Signed>>,
    ) -> Result<Result<String, String>, Gone> {
        let (reply, said) = oneshot::channel();
        self.mail.send(Mail::Reconfigure(setup, signed, reply)).await.map_err(|_| Gone)?;
        said.await.map_err(|_| Gone)
    }

    /// Tells how keys stand, and signs with others if there are others.
    pub(super) async fn keys(
        &self,
        setup: Arc<Setup>,
        zones: Vec<ZoneView>,
        keys: Option<Vec<Arc<ZoneKeys>>>,
    ) -> Result<(), Gone> {
        self.mail.send(Mail::Keys(setup, zones, keys)).await.map_err(|_| Gone)
    }

    /// Takes over other data on where clients are, under the configuration that runs. False: by
    /// now another one runs than they were read for.
    pub async fn relocate(&self, base: Arc<Setup>, setup: Arc<Setup>) -> Result<bool, Gone> {
        let (reply, said) = oneshot::channel();
        self.mail.send(Mail::Relocate(base, setup, reply)).await.map_err(|_| Gone)?;
        said.await.map_err(|_| Gone)
    }

    /// Notes why newer data on where clients are cannot be taken over; none: they are what is on
    /// disk.
    pub async fn geo_trouble(&self, why: Option<String>) -> Result<(), Gone> {
        self.mail.send(Mail::GeoTrouble(why)).await.map_err(|_| Gone)
    }

    /// Notes that the configuration on disk is not sound.
    pub async fn reload_failed(&self, why: String) -> Result<(), Gone> {
        self.mail.send(Mail::ReloadFailed(why)).await.map_err(|_| Gone)
    }

    /// Hands over to a new process; the answer comes when that one serves, or when it is clear
    /// that it will not.
    pub async fn upgrade(&self) -> Result<Result<String, String>, Gone> {
        let (reply, said) = oneshot::channel();
        self.mail.send(Mail::Upgrade(reply)).await.map_err(|_| Gone)?;
        said.await.map_err(|_| Gone)
    }

    /// Waits until DNS is served.
    pub async fn serving(&mut self) -> Result<(), Gone> {
        self.serving.wait_for(|serving| *serving).await.map(drop).map_err(|_| Gone)
    }

    /// Ends the daemon; what is under way is given a moment.
    pub async fn stop(&self) {
        // If it is gone already, so much the better.
        let _ = self.mail.send(Mail::Stop).await;
    }
}
