//! `serve`: the daemon.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::args::Common;
use super::text::{colour, complain};
use super::{Done, Exit};
use crate::admin;
use crate::config::{Config, Mode};
use crate::control::{self, Options, Reloader};
use crate::decide::Setup;
use crate::serve::Sockets;
use crate::sys::{self, Format, Passed, Systemd};

pub(super) fn run(common: &Common, log: Format) -> Done {
    let (setup, warnings) = sys::load(&common.config).map_err(|mistakes| {
        let config = common.config.display();
        Exit::No(format!("{}{config} has mistakes; nothing was started", mistakes.render(colour(true))))
    })?;
    complain(&warnings.render(colour(true)));
    let keys = sys::load_keys(&setup.config).map_err(|mistakes| Exit::No(mistakes.render(colour(true))))?;
    let setup = setup.armed(keys, None);
    sys::start_logging(log).map_err(Exit::Missing)?;
    // Sockets first: an address in use, or a port that we may not have, ends it here and now.
    let sockets = match setup.config.mode {
        Mode::Observe => None,
        Mode::Answer | Mode::Act => Some(sockets(&setup.config)?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .map_err(|why| Exit::Missing(format!("no event loop: {why}")))?;
    runtime.block_on(serve(common, setup, sockets))
}

fn sockets(config: &Config) -> Result<Sockets, Exit> {
    let mut passed = Passed::take().map_err(Exit::Missing)?;
    let threads = config.dns.udp_threads;
    let (mut udp, mut tcp, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for address in &config.listen.dns {
        match (passed.udp(*address), passed.tcp(*address)) {
            (Some(datagrams), Some(streams)) => {
                udp.push(datagrams);
                tcp.push(streams);
            }
            (None, None) => rest.push(*address),
            _ => return Err(Exit::Missing(format!("systemd passed only one of UDP and TCP for {address}"))),
        }
    }
    let left_over = passed.left_over();
    if !left_over.is_empty() {
        return Err(Exit::Missing(format!(
            "systemd passed sockets for {left_over:?}, which `listen: dns:` does not name"
        )));
    }
    let adopted = Sockets::adopt(udp, tcp, threads).map_err(|why| Exit::Missing(why.to_string()))?;
    let bound = Sockets::bind(&rest, threads).map_err(|why| Exit::Missing(why.to_string()))?;
    Ok(adopted.and(bound))
}

async fn serve(common: &Common, setup: Arc<Setup>, sockets: Option<Sockets>) -> Done {
    let metrics = admin::install_metrics().map_err(Exit::Missing)?;
    let http =
        match setup.config.listen.http {
            Some(address) => Some(TcpListener::bind(address).await.map_err(|why| {
                Exit::Missing(format!("cannot listen on {address} (`listen: http:`): {why}"))
            })?),
            None => None,
        };
    let control_socket = setup.config.listen.control.clone();
    let systemd = Systemd::new();
    let (handle, mut daemon) = control::start(Options { setup, sockets, listener: None, systemd });
    let reloader = Arc::new(Reloader::new(common.config.clone(), handle.clone()));
    admin::serve_control(&control_socket, handle.clone(), Arc::clone(&reloader), metrics.clone())
        .map_err(Exit::Missing)?;
    if let Some(listener) = http {
        tokio::spawn(admin::serve_http(listener, handle.clone(), metrics));
    }
    let no_signal = |why: std::io::Error| Exit::Missing(format!("cannot listen for signals: {why}"));
    let mut hangup = signal(SignalKind::hangup()).map_err(no_signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signal)?;
    let mut asked_to_stop = false;
    loop {
        tokio::select! {
            ended = &mut daemon => {
                let _ = std::fs::remove_file(&control_socket);
                return match (ended, asked_to_stop) {
                    (Ok(()), true) => Ok(()),
                    (Ok(()), false) => Err(Exit::Missing("the daemon ended by itself; its log says why".to_owned())),
                    (Err(why), _) => Err(Exit::Missing(format!("the daemon broke: {why}"))),
                };
            }
            Some(()) = hangup.recv() => {
                let reloader = Arc::clone(&reloader);
                tokio::spawn(async move {
                    // What is wrong is logged where it is refused.
                    if let Ok(said) = reloader.reload().await {
                        info!("reloaded: {said}");
                    }
                });
            }
            Some(()) = terminate.recv() => { asked_to_stop = true; handle.stop().await; }
            Some(()) = interrupt.recv() => {
                if asked_to_stop {
                    warn!("interrupted twice: not waiting for calls that are under way");
                    return Err(Exit::No(String::new()));
                }
                asked_to_stop = true;
                handle.stop().await;
            }
        }
    }
}
