//! What a discovery mechanism is.
//!
//! A mechanism is one folder of this crate that implements [`Mechanism`]: how it is called, the options it brings,
//! what it is told ([`Want`], [`Refresh`]) and what it tells ([`Discovered`](crate::Discovered), [`Status`]). Everything else is the
//! same for all and lies in [`actor`](crate::actor): the timer, the mailbox, start and stop. A daemon keeps a list
//! of [`Kind`](crate::actor::Kind)s, one line for each, and needs no other word about any of them.
//!
//! What is wanted is said as a whole each time; a mechanism finds out by itself what changed.

use std::{collections::BTreeMap, fmt};

use sync_core::options::Values;
use zeroize::Zeroizing;

use crate::{FolderTag, Trouble};

/// Everything that a mechanism is to work for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// Port where sessions are taken, TCP and UDP; 0 for none.
    pub port: u16,
    /// Names of the interfaces to keep to; empty for all.
    pub bind: Vec<String>,
    /// What command line and `config.toml` say.
    pub options: Values,
    /// The folders to look for.
    pub folders: BTreeMap<FolderTag, WantedFolder>,
}

/// A folder to look for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WantedFolder {
    /// What all its members derive from its secret, to recognise each other's beacons.
    pub lan_key: Zeroizing<[u8; 32]>,
    /// Its settings.
    pub options: Values,
}

impl fmt::Debug for WantedFolder {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WantedFolder").field(&self.options).finish()
    }
}

/// A reason to look anew at once, whatever pause was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// The addresses of this machine changed.
    Network,
    /// The user wants the members of this folder found.
    Folder(FolderTag),
}

/// How a mechanism fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it has something to do.
    pub on: bool,
    /// What is worth knowing of it: its port, how many hosts.
    pub detail: String,
    /// What is wrong at present.
    pub trouble: Vec<Trouble>,
}

/// How a mechanism fares with one folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderStatus {
    /// How others find the folder by it, to go on after "can be found"; `None` if they don't.
    pub how_found: Option<String>,
    /// What is wrong at present with this folder alone.
    pub trouble: Vec<Trouble>,
}

#[cfg(feature = "actor")]
pub use shell::{Events, Mechanism, Tasks};

#[cfg(feature = "actor")]
mod shell {
    use std::{fmt, future::Future, time::Duration};

    use actix::WeakRecipient;
    use sync_core::options::{Declaration, Values};
    use tokio::task::JoinSet;

    use super::{FolderStatus, Refresh, Status, Want};
    use crate::{Discovered, FolderTag, Source, Trouble, actor::Happened};

    /// A discovery mechanism.
    ///
    /// Its decisions belong into a machine without IO beside it; this is the machine's hands. None of the methods may
    /// block; what takes time runs as one of the [`Tasks`] and comes back as an event.
    pub trait Mechanism: Sized + Unpin + 'static {
        /// Its name, and the mark on its candidates.
        const SOURCE: Source;
        /// The options that it brings.
        const OPTIONS: &'static [&'static Declaration];
        /// What its tasks tell it.
        type Event: Send + 'static;

        /// Whether it is to run at all.
        fn enabled(_options: &Values) -> bool {
            true
        }

        /// Makes it. The seed is fresh.
        fn new(want: &Want, seed: &[u8; 32], now: Duration) -> Self;

        /// Opens what it needs.
        ///
        /// # Errors
        ///
        /// When it can't work at all; then it is tried again later.
        fn start(&mut self, _tasks: &mut Tasks<Self::Event>) -> Result<(), Trouble> {
            Ok(())
        }

        /// Takes what is wanted from now on.
        fn want(&mut self, want: &Want, now: Duration);

        /// Looks anew.
        fn refresh(&mut self, what: Refresh, now: Duration);

        /// Takes what a task has to tell.
        fn handle(&mut self, event: Self::Event, now: Duration);

        /// Does what is due, and says when it wants to be called again. Called after each of the above.
        fn drive(&mut self, tasks: &mut Tasks<Self::Event>, now: Duration) -> Option<Duration>;

        /// The next thing found or taken back.
        fn poll(&mut self) -> Option<Discovered>;

        /// How it fares.
        fn status(&self) -> Status;

        /// How it fares with a folder that is wanted.
        fn folder_status(&self, folder: FolderTag) -> FolderStatus;
    }

    /// The running tasks of a mechanism. They end with it.
    pub struct Tasks<E: Send + 'static> {
        running: JoinSet<()>,
        events: Events<E>,
    }

    impl<E: Send + 'static> Tasks<E> {
        pub(crate) fn new(to: WeakRecipient<Happened<E>>) -> Self {
            Self {
                running: JoinSet::new(),
                events: Events(to),
            }
        }

        /// Starts a task, which is given the way to tell of its events.
        pub fn spawn<F>(&mut self, task: impl FnOnce(Events<E>) -> F)
        where
            F: Future<Output = ()> + Send + 'static,
        {
            // Those that have ended are let go of.
            while self.running.try_join_next().is_some() {}
            self.running.spawn(task(self.events.clone()));
        }
    }

    impl<E: Send + 'static> fmt::Debug for Tasks<E> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "Tasks({})", self.running.len())
        }
    }

    /// Where a task tells of its events.
    pub struct Events<E: Send + 'static>(WeakRecipient<Happened<E>>);

    impl<E: Send + 'static> Clone for Events<E> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<E: Send + 'static> fmt::Debug for Events<E> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Events")
        }
    }

    impl<E: Send + 'static> Events<E> {
        /// Tells of an event and waits until it was taken, so that a flood piles up where the task got it from and
        /// not in the mailbox. `false`: the mechanism is gone.
        pub async fn tell(&self, event: E) -> bool {
            match self.0.upgrade() {
                Some(to) => to.send(Happened(event)).await.is_ok(),
                None => false,
            }
        }
    }
}
