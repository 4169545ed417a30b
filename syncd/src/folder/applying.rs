//! The thread that changes a folder's disk: groups of actions, and what a disk error left of them.
//!
//! It must never touch a root that isn't the folder's: each job looks at the mark first.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use actix::Addr;
use sync_core::{
    disk::{Action, Outcome},
    engine::Input,
};
use sync_store::{
    apply::Applier,
    fs::{Marker, RootDisk, RootState, check_root},
};
use tracing::{debug, info};

use super::{
    FolderActor,
    workers::{ApplyJob, Back, input},
};
use crate::wiring::unix_ns;

/// How often it is tried to settle what a disk error left behind.
const SETTLE_AGAIN: Duration = Duration::from_secs(5);

/// Does what it is told until the channel is closed.
pub(super) fn run(
    applier: &Applier<RootDisk>,
    jobs: &Receiver<ApplyJob>,
    root: &(Arc<RootDisk>, Marker),
    to: &Addr<FolderActor>,
) {
    loop {
        let job = if applier.is_unsettled() {
            jobs.recv_timeout(SETTLE_AGAIN)
        } else {
            jobs.recv().map_err(RecvTimeoutError::from)
        };
        match job {
            Ok(ApplyJob::Group { group, actions }) => {
                // What is hidden comes first: the group may be about the same paths.
                settle_again(applier, root, to);
                apply_group(root, group, actions, |actions| applier.apply(actions), to);
                settle_again(applier, root, to);
            }
            Ok(ApplyJob::Policy(policy)) => applier.set_policy(policy),
            Ok(ApplyJob::LookAtRoot) => to.do_send(Back::Root(check_root(&*root.0, &root.1))),
            Ok(ApplyJob::Prune(policy)) => {
                let pruned = applier.archive().prune(policy, unix_ns());
                debug!(?pruned, "the archive was looked through");
            }
            Err(RecvTimeoutError::Timeout) => settle_again(applier, root, to),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

/// Gives back what an error of the disk left in `.sync/tmp`, if there is something, and has the engine look at it.
fn settle_again(
    applier: &Applier<RootDisk>,
    (disk, marker): &(Arc<RootDisk>, Marker),
    to: &Addr<FolderActor>,
) {
    if !applier.is_unsettled() || check_root(&**disk, marker) != RootState::Ok {
        return;
    }
    match applier.recover() {
        Ok(recovered) => {
            if recovered.left > 0 {
                debug!(
                    left = recovered.left,
                    "displaced files can't be settled yet"
                );
            }
            let paths = recovered.changed();
            if !paths.is_empty() {
                info!(
                    files = paths.len(),
                    "files that a disk error had hidden are back"
                );
                input(to, Input::Dirty(paths));
            }
        }
        Err(error) => debug!(%error, "displaced files can't be settled yet"),
    }
}

/// Carries a group out, unless the root isn't there any more.
fn apply_group(
    (disk, marker): &(Arc<RootDisk>, Marker),
    group: u64,
    actions: Vec<Action>,
    apply: impl FnOnce(Vec<Action>) -> Vec<Outcome>,
    to: &Addr<FolderActor>,
) {
    let state = check_root(&**disk, marker);
    let outcomes = if state == RootState::Ok {
        apply(actions)
    } else {
        to.do_send(Back::Root(state));
        // Nothing was changed, and all of it must be looked at again.
        vec![Outcome::Stale; actions.len()]
    };
    input(to, Input::Applied { group, outcomes });
}
