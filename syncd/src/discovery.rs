//! The ways by which members of a folder find each other: the list of them, and what is told to and asked of all.
//!
//! A mechanism is written in `sync-discovery`; here it is one line of [`MECHANISMS`]. Status, supervision, options,
//! switches of folders, reload and the news of another network come from that list, without a word about any one of
//! them. [`Discovery`] owns what is wanted of them and their addresses. It must never keep a candidate: those go to the
//! address book.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix::Recipient;
use futures_util::future::join_all;
use sync_discovery::{
    FolderTag, Source,
    actor::{Kind, Order},
    known_hosts::KnownHostsMechanism,
    lan::LanMechanism,
    mechanism::{FolderStatus, Refresh, Status, Want},
};
use tokio::sync::oneshot;

/// Every mechanism there is.
pub(crate) const MECHANISMS: &[Kind] = &[
    Kind::of::<LanMechanism>(),
    Kind::of::<KnownHostsMechanism>(),
];

/// What is wanted of the mechanisms, and where they are.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    want: Mutex<Arc<Want>>,
    running: Mutex<BTreeMap<Source, Recipient<Order>>>,
}

impl Discovery {
    /// Tells all mechanisms what is wanted from now on. Those that start later begin with it.
    pub(crate) fn set(&self, want: Want) {
        let want = Arc::new(want);
        *self.want.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&want);
        for mechanism in self.running().values() {
            mechanism.do_send(Order::Want(Arc::clone(&want)));
        }
    }

    /// Lets all mechanisms look anew.
    pub(crate) fn refresh(&self, what: Refresh) {
        for mechanism in self.running().values() {
            mechanism.do_send(Order::Refresh(what));
        }
    }

    /// How those that run fare with a folder.
    pub(crate) async fn of_folder(&self, folder: FolderTag) -> Vec<(Source, FolderStatus)> {
        let running: Vec<_> = self.all();
        let asked = running.iter().map(async |(source, mechanism)| {
            let (reply, answer) = oneshot::channel();
            mechanism.do_send(Order::FolderStatus(folder, reply));
            Some((*source, answer.await.ok()?))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// How one fares, if it runs.
    pub(crate) async fn status_of(&self, source: Source) -> Option<Status> {
        let mechanism = self.running().get(&source).cloned()?;
        let (reply, answer) = oneshot::channel();
        mechanism.do_send(Order::Status(reply));
        answer.await.ok()
    }

    /// The address of one that was started last, for tests.
    #[cfg(test)]
    pub(crate) fn addr(&self, source: Source) -> Option<Recipient<Order>> {
        self.running().get(&source).cloned()
    }

    /// One was started, and takes orders here.
    pub(crate) fn started(&self, source: Source, mechanism: Recipient<Order>) {
        self.running().insert(source, mechanism);
    }

    /// One was switched off.
    pub(crate) fn ended(&self, source: Source) {
        self.running().remove(&source);
    }

    /// What is wanted of them now.
    pub(crate) fn wanted(&self) -> Arc<Want> {
        Arc::clone(&self.want.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn all(&self) -> Vec<(Source, Recipient<Order>)> {
        let running = self.running();
        running.iter().map(|(s, m)| (*s, m.clone())).collect()
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Source, Recipient<Order>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
