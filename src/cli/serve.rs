//! `serve`: the daemon.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::args::Common;
use super::text::{colour, complain};
use super::{Done, Exit};
use crate::admin;
use crate::config::{Balanced, Carries, Config, Mode};
use crate::control::{self, End, Options, Reloader};
use crate::decide::Setup;
use crate::io::{Certificate, PemFiles};
use crate::serve::Sockets;
use crate::sys::{self, Format, Passed, Predecessor, Succession, Systemd};

pub(super) fn run(common: &Common, log: Format) -> Done {
    let (setup, warnings) = sys::load_to_serve(&common.config, None).map_err(|mistakes| {
        let config = common.config.display();
        Exit::No(format!("{}{config} has mistakes; nothing was started", mistakes.render(colour(true))))
    })?;
    complain(&warnings.render(colour(true)));
    sys::start_logging(log).map_err(Exit::Missing)?;
    let (predecessor, mut passed) = match Predecessor::find().map_err(Exit::Missing)? {
        Some((predecessor, passed)) => (Some(predecessor), passed),
        None => (None, Passed::take().map_err(Exit::Missing)?),
    };
    // Sockets first: an address in use, or a port that we may not have, ends it here and now.
    let sockets = match setup.config.mode {
        Mode::Observe => None,
        Mode::Answer | Mode::Act => Some(sockets(&setup.config, &mut passed)?),
    };
    let http = setup.config.listen.http.map(|address| http(address, &mut passed)).transpose()?;
    let left_over = passed.left_over();
    // A predecessor may have listened where this configuration does not; systemd would go on to.
    if predecessor.is_none() && !left_over.is_empty() {
        return Err(Exit::Missing(format!(
            "systemd passed sockets for {left_over:?}, which `listen:` does not name"
        )));
    }
    drop(passed);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .map_err(|why| Exit::Missing(format!("no event loop: {why}")))?;
    runtime.block_on(serve(common, setup, sockets, http, predecessor))
}

fn http(address: SocketAddr, passed: &mut Passed) -> Result<std::net::TcpListener, Exit> {
    let bound = match passed.tcp(address) {
        Some(listener) => Ok(listener),
        None => std::net::TcpListener::bind(address),
    };
    bound
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|why| Exit::Missing(format!("cannot listen on {address} (`listen: http:`): {why}")))
}

fn sockets(config: &Config, passed: &mut Passed) -> Result<Sockets, Exit> {
    let threads = config.dns.udp_threads;
    let (mut udp, mut tcp, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for address in &config.listen.dns {
        let datagrams = passed.udp(*address);
        match passed.tcp(*address) {
            Some(streams) if !datagrams.is_empty() => {
                udp.push(datagrams);
                tcp.push(streams);
            }
            None if datagrams.is_empty() => rest.push(*address),
            _ => return Err(Exit::Missing(format!("systemd passed only one of UDP and TCP for {address}"))),
        }
    }
    let missing = |why: &dyn std::fmt::Display| Exit::Missing(why.to_string());
    let mut sockets = Sockets::adopt(udp, tcp, threads)
        .map_err(|why| missing(&why))?
        .and(Sockets::bind(&rest, threads).map_err(|why| missing(&why))?);
    let listen = &config.listen;
    for (addresses, carries) in [(&listen.tls, Carries::Tls), (&listen.https, Carries::Https)] {
        for address in addresses {
            let passed = passed.tcp(*address);
            sockets.add_door(*address, carries, None, passed).map_err(|why| missing(&why))?;
        }
    }
    for Balanced { address, from, carries } in &listen.proxy {
        let passed = passed.tcp(*address);
        sockets.add_door(*address, *carries, Some(from), passed).map_err(|why| missing(&why))?;
    }
    for address in &listen.quic {
        let passed = passed.udp(*address).pop();
        sockets.add_quic(*address, passed).map_err(|why| missing(&why))?;
    }
    if let Some(files) = &config.tls {
        sockets.show(Certificate::open(PemFiles::from(files)).map_err(|why| missing(&why))?);
    }
    Ok(sockets)
}

async fn serve(
    common: &Common,
    setup: Arc<Setup>,
    sockets: Option<Sockets>,
    http: Option<std::net::TcpListener>,
    predecessor: Option<Predecessor>,
) -> Done {
    let metrics = admin::install_metrics().map_err(Exit::Missing)?;
    let succession = succession(sockets.as_ref(), http.as_ref())
        .map_err(|why| Exit::Missing(format!("sockets cannot be copied for a successor: {why}")))?;
    let http = http.map(TcpListener::from_std).transpose();
    let http = http.map_err(|why| Exit::Missing(format!("`listen: http:` cannot be served: {why}")))?;
    // Before the store is asked for: signing a big zone takes longer than a daemon may be without.
    let to_sign = Arc::clone(&setup);
    let signed = tokio::task::spawn_blocking(move || control::sign(&to_sign, &to_sign.keys)).await;
    let signed = signed.map_err(|why| Exit::Missing(format!("signing broke: {why}")))?;
    let predecessor = match predecessor {
        Some(predecessor) => Some(wait_for_store(predecessor).await?),
        None => None,
    };
    let control_socket = setup.config.listen.control.clone();
    let serves_dns = sockets.is_some();
    let succession = Some(Arc::new(succession));
    let systemd = Systemd::new();
    let (mut handle, mut daemon) =
        control::start(Options { setup, signed, sockets, listener: None, systemd, succession });
    let reloader = Arc::new(Reloader::new(common.config.clone(), handle.clone()));
    if predecessor.is_some() && serves_dns && handle.serving().await.is_err() {
        return Err(Exit::Missing("the daemon did not come to serve; its log says why".to_owned()));
    }
    let succeeds = predecessor.is_some();
    admin::serve_control(&control_socket, succeeds, handle.clone(), Arc::clone(&reloader), metrics.clone())
        .map_err(Exit::Missing)?;
    if let Some(listener) = http {
        tokio::spawn(admin::serve_http(listener, handle.clone(), metrics));
    }
    tokio::spawn({
        let reloader = Arc::clone(&reloader);
        async move { reloader.watch_geo().await }
    });
    if let Some(Err(why)) = predecessor.map(Predecessor::serving) {
        warn!(%why, "the daemon that this one takes over from is gone already");
    }
    let no_signal = |why: std::io::Error| Exit::Missing(format!("cannot listen for signals: {why}"));
    let mut hangup = signal(SignalKind::hangup()).map_err(no_signal)?;
    let mut upgrade = signal(SignalKind::user_defined2()).map_err(no_signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signal)?;
    let mut asked_to_stop = false;
    loop {
        tokio::select! {
            ended = &mut daemon => {
                if !matches!(ended, Ok(End::Succeeded)) {
                    let _ = std::fs::remove_file(&control_socket);
                }
                return match (ended, asked_to_stop) {
                    (Ok(End::Succeeded), _) | (Ok(End::Stopped), true) => Ok(()),
                    (Ok(End::Stopped), false) => Err(Exit::Missing("the daemon ended by itself; its log says why".to_owned())),
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
            Some(()) = upgrade.recv() => {
                let handle = handle.clone();
                // What became of it is logged where it is decided.
                tokio::spawn(async move { handle.upgrade().await });
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

/// Copies of all sockets, for a process that takes over one day.
fn succession(sockets: Option<&Sockets>, http: Option<&std::net::TcpListener>) -> io::Result<Succession> {
    let mut descriptors = sockets.map_or(Ok(Vec::new()), Sockets::descriptors)?;
    if let Some(listener) = http {
        descriptors.push(listener.as_fd().try_clone_to_owned()?);
    }
    Succession::of_this_process(descriptors)
}

/// All that can be prepared is; the store is the other daemon's until it gives way.
async fn wait_for_store(mut predecessor: Predecessor) -> Result<Predecessor, Exit> {
    let waited = tokio::task::spawn_blocking(move || predecessor.give_way().map(|()| predecessor));
    waited.await.map_err(|why| why.to_string()).flatten().map_err(Exit::Missing)
}
