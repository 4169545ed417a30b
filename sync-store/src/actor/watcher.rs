//! The actor that owns a folder's watcher.
//!
//! What the watcher sees goes from its thread straight to the owner, without passing the actor.

use std::{fmt, io, path::PathBuf, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Recipient, WeakAddr};
use sync_core::path::RelPath;

use super::Stop;
use crate::watch::{FolderWatcher, WatchEvent};

/// What a watcher tells its owner.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Watched {
    /// Something happened in the folder.
    Saw(WatchEvent),
    /// The folder can't be watched. The actor ends, and trying again soon won't help.
    NotStarted(io::Error),
    /// The watcher broke off: changes go unseen from now on. The actor ends.
    Died,
}

/// It took so long to hash these paths: they are left alone for a while after each event, see
/// [`Coalescer::handle_hashing_took`](crate::watch::Coalescer::handle_hashing_took).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct HashingTook(pub Vec<RelPath>, pub Duration);

/// The watcher's thread has panicked.
#[derive(Message)]
#[rtype(result = "()")]
struct ThreadDied;

/// Watches a folder from its start to its end.
pub struct WatcherActor {
    root: PathBuf,
    owner: Recipient<Watched>,
    watcher: Option<FolderWatcher>,
    /// Its end is known to the owner.
    told: bool,
}

impl WatcherActor {
    /// A watcher of the directory `root`, which tells `owner` what it sees.
    #[must_use]
    pub fn new(root: PathBuf, owner: Recipient<Watched>) -> Self {
        Self {
            root,
            owner,
            watcher: None,
            told: false,
        }
    }

    fn end(&mut self, last: Watched, ctx: &mut Context<Self>) {
        self.told = true;
        self.owner.do_send(last);
        ctx.stop();
    }
}

impl Actor for WatcherActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let voice = Voice {
            owner: self.owner.clone(),
            actor: ctx.address().downgrade(),
        };
        match FolderWatcher::start(&self.root, move |event| voice.tell(event)) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => self.end(Watched::NotStarted(error), ctx),
        }
    }
}

impl Drop for WatcherActor {
    fn drop(&mut self) {
        // Without an order this was a panic. An owner that has gone itself doesn't hear it.
        if !self.told {
            self.owner.do_send(Watched::Died);
        }
    }
}

impl Handler<HashingTook> for WatcherActor {
    type Result = ();

    fn handle(&mut self, HashingTook(paths, took): HashingTook, _: &mut Self::Context) {
        if let Some(watcher) = &self.watcher {
            for path in paths {
                watcher.hashing_took(path, took);
            }
        }
    }
}

impl Handler<ThreadDied> for WatcherActor {
    type Result = ();

    fn handle(&mut self, _: ThreadDied, ctx: &mut Self::Context) {
        self.end(Watched::Died, ctx);
    }
}

impl Handler<Stop> for WatcherActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.told = true;
        ctx.stop();
    }
}

impl fmt::Debug for WatcherActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherActor")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// By which the watcher's thread speaks.
struct Voice {
    owner: Recipient<Watched>,
    actor: WeakAddr<WatcherActor>,
}

impl Voice {
    fn tell(&self, event: WatchEvent) {
        self.owner.do_send(Watched::Saw(event));
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(actor) = self.actor.upgrade()
        {
            actor.do_send(ThreadDied);
        }
    }
}

#[cfg(test)]
mod tests {
    use actix::Addr;
    use tokio::sync::mpsc;

    use super::*;
    use crate::watch::Dirty;

    /// Passes on what it is told.
    struct Owner(mpsc::UnboundedSender<Watched>);

    impl Actor for Owner {
        type Context = Context<Self>;
    }

    impl Handler<Watched> for Owner {
        type Result = ();
        fn handle(&mut self, watched: Watched, _: &mut Self::Context) {
            let _ = self.0.send(watched);
        }
    }

    fn watch(root: PathBuf) -> (Addr<WatcherActor>, mpsc::UnboundedReceiver<Watched>) {
        let (told, heard) = mpsc::unbounded_channel();
        let owner = Owner(told).start().recipient();
        (WatcherActor::new(root, owner).start(), heard)
    }

    async fn ended(watcher: &Addr<WatcherActor>) {
        while watcher.connected() {
            tokio::task::yield_now().await;
        }
    }

    fn tells(watched: &Watched, wanted: &RelPath) -> bool {
        matches!(watched, Watched::Saw(WatchEvent::Dirty(Dirty::Paths(all))) if all.contains(wanted))
    }

    #[actix::test]
    async fn what_it_sees_is_told_until_it_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let (watcher, mut heard) = watch(dir.path().to_owned());
        let first = heard.recv().await.unwrap();
        assert!(matches!(first, Watched::Saw(WatchEvent::Dirty(Dirty::All))));
        let path = RelPath::parse(b"file").unwrap();
        let hint = HashingTook(vec![path.clone()], Duration::from_millis(1));
        watcher.send(hint).await.unwrap();
        std::fs::write(dir.path().join("file"), b"new").unwrap();
        while !tells(&heard.recv().await.unwrap(), &path) {}
        watcher.send(Stop).await.unwrap();
        ended(&watcher).await;
        // Nobody is left who could tell anything, and nothing of an accident was told.
        while let Some(watched) = heard.recv().await {
            assert!(matches!(watched, Watched::Saw(_)), "{watched:?}");
        }
    }

    #[actix::test]
    async fn a_directory_that_is_missing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (watcher, mut heard) = watch(dir.path().join("missing"));
        let told = heard.recv().await.unwrap();
        assert!(matches!(told, Watched::NotStarted(_)), "{told:?}");
        ended(&watcher).await;
        assert!(heard.recv().await.is_none());
    }

    #[actix::test]
    async fn a_panic_in_the_watchers_thread_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (watcher, mut heard) = watch(dir.path().to_owned());
        let (told, _unheard) = mpsc::unbounded_channel();
        let voice = Voice {
            owner: Owner(told).start().recipient(),
            actor: watcher.downgrade(),
        };
        let thread = std::thread::spawn(move || {
            voice.tell(WatchEvent::Dirty(Dirty::All));
            panic!("a test's panic");
        });
        assert!(thread.join().is_err());
        while !matches!(heard.recv().await.unwrap(), Watched::Died) {}
        ended(&watcher).await;
    }
}
