//! Asking a folder how it stands, and a part to end, with an end to the patience.

use std::time::{Duration, Instant};

use sync_core::control::{Folder, FolderState};
use sync_discovery::FolderTag;
use tokio::sync::oneshot;
use tracing::warn;

use crate::{
    folder::{FolderAsk, report},
    supervise::{ChildState, EndChild},
    wiring::{RosterEntry, Wires, part},
};

/// How long a folder may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a part may take to end.
const END: Duration = Duration::from_secs(20);

/// How a folder stands, whether its actor is up or not.
pub(crate) async fn report_of(wires: &Wires, tag: FolderTag, entry: &RosterEntry) -> Folder {
    if let Some(actor) = wires.folder(tag) {
        let (reply, answer) = oneshot::channel();
        actor.do_send(FolderAsk::Report(reply));
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(report)) => return report,
            Err(_) => {
                let reason = Some("the folder is too busy to answer".to_owned());
                return report::closed(entry, FolderState::Syncing, reason, None);
            }
            Ok(Err(_)) => {}
        }
    }
    match wires.board.state(&part::folder(&tag)) {
        Some(ChildState::Waiting { reason, until, .. }) => {
            let seconds = seconds_until(until);
            let room = match report::sort_of(&reason) {
                "no-space" => "make room on that disk; ",
                _ => "",
            };
            let hint = Some(format!("{room}it is tried again in {seconds} s"));
            report::closed(entry, FolderState::Stopped, Some(reason), hint)
        }
        Some(ChildState::Failed { reason }) => {
            report::closed(entry, FolderState::Stopped, Some(reason), None)
        }
        _ => report::closed(
            entry,
            FolderState::Scanning,
            Some("it is being opened".into()),
            None,
        ),
    }
}

/// Seconds until a folder that is down is started again, if it is.
pub(crate) fn next_start(wires: &Wires, tag: FolderTag) -> Option<u64> {
    match wires.board.state(&part::folder(&tag)) {
        Some(ChildState::Waiting { until, .. }) => Some(seconds_until(until)),
        _ => None,
    }
}

fn seconds_until(until: Instant) -> u64 {
    until.saturating_duration_since(Instant::now()).as_secs() + 1
}

/// Stops a part and waits for its end.
pub(crate) async fn end_part(wires: &Wires, name: String) {
    let (done, ended) = oneshot::channel();
    wires.root.do_send(EndChild {
        name: name.clone(),
        done,
    });
    if tokio::time::timeout(END, ended).await.is_err() {
        warn!(part = name, "is slow to end");
    }
}
