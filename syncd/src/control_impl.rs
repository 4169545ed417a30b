//! What the control API asks, turned into messages to the parts.
//!
//! Questions go straight to the part that knows. Whatever changes something runs in a task of its own: a client
//! that hangs up must not leave a change half-way.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
};

use futures_util::future::join_all;
use sync_core::{
    control::{
        AddedFolder, ApiError, Candidate, Device, ErrorItem, ErrorKind, FileInfo, Folder,
        FolderAction, FolderRef, FolderState, Rates, RemovedFolder, SecretShown, Status, Traffic,
    },
    secret::Level,
};
use tokio::sync::{Mutex, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    asking::{next_start, report_of},
    control::{Answer, Control, EventLog, NewFolder},
    daemon::Daemon,
    folder::{door::FolderAsk, report},
    mechanisms,
    net::door::ListCandidates,
    wiring::Wires,
};

/// The daemon, as its control API sees it.
#[derive(Debug, Clone)]
pub(crate) struct DaemonControl {
    pub(crate) wires: Arc<Wires>,
    pub(crate) daemon: Arc<Mutex<Daemon>>,
    /// Cancelled to begin an orderly stop.
    pub(crate) stop: CancellationToken,
}

impl DaemonControl {
    /// Runs a change to its end, whatever becomes of who asked for it.
    async fn detached<T: Send + 'static>(
        change: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        tokio::spawn(change).await.unwrap_or_else(|_| {
            Err(ApiError::new(
                ErrorKind::Internal,
                "an error in the program; the log says where",
            ))
        })
    }

    fn not_open() -> ApiError {
        ApiError::new(ErrorKind::Unavailable, "the folder isn't open now")
            .with_hint("`syncctl folder show` says why")
    }
}

impl Control for DaemonControl {
    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async {
            let wires = &self.wires;
            let roster: Vec<_> = wires
                .roster()
                .iter()
                .map(|(tag, e)| (*tag, e.clone()))
                .collect();
            // All at once: each may take a while to say that it is busy.
            let asked = roster.iter().map(|(tag, e)| report_of(wires, *tag, e));
            let mut folders = join_all(asked).await;
            folders.extend(wires.secretless().iter().map(report::without_secret));
            folders.sort_by(|a, b| a.name.cmp(&b.name));
            let sum = |of: fn(&Rates) -> u64| folders.iter().map(|f| of(&f.rates)).sum();
            let settings = wires.settings();
            Ok(Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                device: Device {
                    id: wires.device_id(),
                    name: settings.name(),
                },
                uptime_s: wires.mono().as_secs(),
                listen: wires.listening().iter().map(ToString::to_string).collect(),
                external: Vec::new(),
                nat: None,
                discovery: mechanisms::report(wires).await,
                rates: Rates {
                    up: sum(|r| r.up),
                    down: sum(|r| r.down),
                },
                traffic: Traffic {
                    up: wires.traffic[0].load(Ordering::Relaxed),
                    down: wires.traffic[1].load(Ordering::Relaxed),
                },
                folders,
            })
        })
    }

    fn folder(&self, folder: FolderRef) -> Answer<'_, Folder> {
        Box::pin(async move {
            if let Some(entry) = self.wires.find_secretless(&folder) {
                return Ok(report::without_secret(&entry));
            }
            let (tag, entry) = self.wires.find(&folder)?;
            Ok(report_of(&self.wires, tag, &entry).await)
        })
    }

    fn add_folder(&self, request: NewFolder) -> Answer<'_, AddedFolder> {
        let daemon = Arc::clone(&self.daemon);
        Box::pin(Self::detached(async move {
            daemon.lock().await.add(request).await
        }))
    }

    fn remove_folder(&self, folder: FolderRef) -> Answer<'_, RemovedFolder> {
        let daemon = Arc::clone(&self.daemon);
        Box::pin(Self::detached(async move {
            daemon.lock().await.remove(&folder).await
        }))
    }

    fn act(&self, folder: FolderRef, action: FolderAction) -> Answer<'_, Folder> {
        let daemon = Arc::clone(&self.daemon);
        Box::pin(Self::detached(async move {
            daemon.lock().await.act(&folder, action).await
        }))
    }

    fn file(&self, folder: FolderRef, path: Vec<u8>) -> Answer<'_, FileInfo> {
        Box::pin(async move {
            let (tag, _) = self.wires.find(&folder)?;
            let actor = self.wires.folder(tag).ok_or_else(Self::not_open)?;
            let (reply, answer) = oneshot::channel();
            actor.asks.do_send(FolderAsk::File(path, reply));
            let answer = answer.await.map_err(|_| Self::not_open())?;
            answer.map_err(|e| ApiError::new(ErrorKind::Unavailable, e.to_string()))
        })
    }

    fn candidates(&self, folder: FolderRef) -> Answer<'_, Vec<Candidate>> {
        Box::pin(async move {
            let (tag, _) = self.wires.find(&folder)?;
            let down =
                || ApiError::new(ErrorKind::Unavailable, "the address book is being started");
            let peers = self.wires.peers.get().ok_or_else(down)?;
            let (reply, answer) = oneshot::channel();
            peers.lists.do_send(ListCandidates { folder: tag, reply });
            let mut all = answer.await.map_err(|_| down())?;
            all.extend(mechanisms::without_address(&self.wires, tag).await);
            Ok(all)
        })
    }

    fn errors(&self, folder: FolderRef) -> Answer<'_, Vec<ErrorItem>> {
        Box::pin(async move {
            if let Some(entry) = self.wires.find_secretless(&folder) {
                return Ok(stopped(&report::without_secret(&entry), None));
            }
            let (tag, entry) = self.wires.find(&folder)?;
            let next = next_start(&self.wires, tag);
            let mut items = stopped(&report_of(&self.wires, tag, &entry).await, next);
            if let Some(actor) = self.wires.folder(tag) {
                let (reply, answer) = oneshot::channel();
                actor.asks.do_send(FolderAsk::Errors(reply));
                items.extend(answer.await.map_err(|_| Self::not_open())?);
            }
            Ok(items)
        })
    }

    fn secret(&self, folder: FolderRef, level: Option<Level>) -> Answer<'_, SecretShown> {
        Box::pin(async move { self.daemon.lock().await.secret(&folder, level) })
    }

    fn shutdown(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.stop.cancel();
            Ok(())
        })
    }

    fn events(&self) -> Arc<EventLog> {
        Arc::clone(&self.wires.events)
    }
}

/// A folder that is stopped as a whole is an error of its root.
fn stopped(folder: &Folder, next_try_s: Option<u64>) -> Vec<ErrorItem> {
    let reason = folder
        .reason
        .clone()
        .filter(|_| folder.state == FolderState::Stopped);
    let Some(reason) = reason else {
        return Vec::new();
    };
    let kind = folder
        .reason_kind
        .clone()
        .unwrap_or_else(|| "other".to_owned());
    vec![ErrorItem {
        folder: folder.name.clone(),
        path: ".".to_owned(),
        path_hex: None,
        reason,
        hint: folder.hint.clone(),
        // A disk that is full is looked at again at least so often.
        next_try_s: next_try_s.or((kind == "no-space").then_some(10)),
        kind,
    }]
}
