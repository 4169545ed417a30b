//! Asking a folder how it stands, and a part to end, with an end to the patience.

use std::time::{Duration, Instant};

use sync_core::control::{ApiError, ErrorKind, Folder, FolderState};
use sync_discovery::FolderTag;
use tokio::sync::oneshot;
use tracing::warn;

use crate::{
    folder::{door::FolderAsk, report},
    roster::RosterEntry,
    supervise::{ChildState, EndChild, ReviveChild},
    wiring::{Wires, part},
};

/// How long a folder may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a part may take to end.
const END: Duration = Duration::from_secs(20);

/// How a folder stands, whether its actor is up or not.
pub(crate) async fn report_of(wires: &Wires, tag: FolderTag, entry: &RosterEntry) -> Folder {
    if let Some(actor) = wires.folder(tag) {
        let (reply, answer) = oneshot::channel();
        actor.asks.do_send(FolderAsk::Report(reply));
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
            let mut folder = report::closed(entry, FolderState::Stopped, Some(reason), None);
            let room = match folder.reason_kind.as_deref() {
                Some("no-space") => "make room on that disk; ",
                _ => "",
            };
            folder.hint = Some(format!("{room}it is tried again in {seconds} s"));
            folder
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
///
/// # Errors
///
/// When it takes too long. Then it still has its files open, and is started anew once it has ended.
pub(crate) async fn end_part(wires: &Wires, name: String) -> Result<(), ApiError> {
    end_within(wires, name, END).await
}

async fn end_within(wires: &Wires, name: String, patience: Duration) -> Result<(), ApiError> {
    let (done, ended) = oneshot::channel();
    wires.root.do_send(EndChild {
        name: name.clone(),
        done,
    });
    if tokio::time::timeout(patience, ended).await.is_ok() {
        return Ok(());
    }
    warn!(part = name, "is slow to end");
    match wires.root.send(ReviveChild(name)).await {
        // It ended just now.
        Ok(false) => Ok(()),
        _ => Err(ApiError::new(
            ErrorKind::Unavailable,
            "what is to be changed is busy and doesn't stop yet",
        )
        .with_hint("nothing was changed; try again in a minute")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::Policy,
        supervise::{AddChild, ChildSpec, Reporter, Settled},
        wiring::tests,
    };

    #[actix::test]
    async fn a_part_that_does_not_end_is_left_and_comes_back() {
        let (_dir, wires) = tests::wires();
        let (sender, mut reporters) = tokio::sync::mpsc::unbounded_channel::<Reporter>();
        let factory = Box::new(move |reporter| {
            sender.send(reporter).map_err(|e| e.to_string())?;
            Ok(Box::new(|| {}) as _)
        });
        wires.root.do_send(AddChild(ChildSpec {
            name: "part".into(),
            policy: Policy::vital(),
            factory,
        }));
        let busy = reporters.recv().await.unwrap();
        let short = Duration::from_millis(1);
        let error = end_within(&wires, "part".into(), short).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        drop(busy);
        // The next one is told to stop, and does.
        let next = reporters.recv().await.unwrap();
        wires.root.send(Settled).await.unwrap();
        let ending = end_part(&wires, "part".into());
        let (ended, ()) = tokio::join!(ending, async { drop(next) });
        assert_eq!(ended, Ok(()));
        assert_eq!(wires.board.state("part"), None);
        assert_eq!(end_within(&wires, "part".into(), short).await, Ok(()));
    }
}
