//! The end: signals, and the order in which parts stop.
//!
//! Discovery first, so that nobody new comes; then the listener, the sessions with a goodbye, the folders, which
//! finish what they began and flush; the control API last, so that clients can follow. All of it within a
//! deadline.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use sync_core::control::EventType;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Mutex,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    asking::end_part,
    daemon::Daemon,
    mechanisms,
    wiring::{Wires, part},
};

/// How long an orderly stop may take.
const DEADLINE: Duration = Duration::from_secs(9);
/// How long the sessions may take for their goodbyes, of that.
const GOODBYES: Duration = Duration::from_secs(3);

/// Listens for SIGINT, SIGTERM and SIGHUP until the daemon has ended.
pub(crate) fn watch_signals(
    stop: CancellationToken,
    daemon: Arc<Mutex<Daemon>>,
) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            let asked = tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                _ = hangup.recv() => false,
            };
            if asked {
                if stop.is_cancelled() {
                    // Everything on disk stands a kill at any moment.
                    warn!("asked again: ending at once");
                    std::process::exit(1);
                }
                info!("stopping; once more ends at once");
                stop.cancel();
            } else {
                // It may wait for parts to end; a signal to stop must not wait for it.
                let daemon = Arc::clone(&daemon);
                tokio::spawn(async move {
                    if let Err(error) = daemon.lock().await.reload().await {
                        error!(%error, "the settings stay as they were");
                    }
                });
            }
        }
    });
    Ok(())
}

/// Stops all parts in order.
pub(crate) async fn stop_all(wires: &Arc<Wires>) {
    let began = Instant::now();
    wires.events.push(EventType::Stopping, None, json!({}));
    let deadline = began + DEADLINE;
    let first = async {
        mechanisms::end(wires).await;
        let _ = end_part(wires, part::LISTENER.to_owned()).await;
        let _ = end_part(wires, part::PEERS.to_owned()).await;
    };
    if timeout_at(began + GOODBYES, first).await.is_err() {
        warn!("the network is slow to end; the folders are closed meanwhile");
    }
    let tags: Vec<_> = wires.roster().keys().copied().collect();
    let mut ending = tokio::task::JoinSet::new();
    for tag in tags {
        let wires = Arc::clone(wires);
        ending.spawn(async move { end_part(&wires, part::folder(&tag)).await });
    }
    let closed = timeout_at(deadline, async {
        while ending.join_next().await.is_some() {}
    })
    .await;
    if closed.is_err() {
        warn!("a folder was slow to close; its index is repaired at the next start if need be");
    }
    let _ = timeout_at(deadline, end_part(wires, part::CONTROL.to_owned())).await;
    info!(took = ?began.elapsed(), "stopped");
}
