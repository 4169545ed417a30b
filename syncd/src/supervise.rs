//! The root of all actors: starts them from factories, and starts them anew when they go down.
//!
//! actix has a supervisor, but it restarts the same value, doesn't survive a panic, and knows neither pause
//! nor limit. Here each part has a [`ChildSpec`] with a factory that makes a *new* part each time. A part
//! holds a [`Reporter`]; whatever ends it, be it a stop, an error or a panic in one of its handlers, drops
//! the reporter, and so the root hears of it. What to do then is decided by [`crate::policy`].
//!
//! The root owns the list of parts and their state on the [`Board`]. It must never wait for a part, and
//! knows nothing of what a part does.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use actix::{WeakAddr, prelude::*};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use crate::policy::{Decision, Down, History, Policy};

/// Makes a part and starts it. An error counts as a failed start and is tried again.
pub type Factory = Box<dyn FnMut(Reporter) -> Result<StopChild, String> + Send>;

/// Tells a running part to stop; it ends a little later.
pub type StopChild = Box<dyn FnOnce() + Send>;

/// What the root must know of a part.
pub struct ChildSpec {
    /// Its name, unique.
    pub name: String,
    /// How its failures are treated.
    pub policy: Policy,
    /// How it is made.
    pub factory: Factory,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// By which a part tells the root that it is down. Dropping it tells that the part died.
#[derive(Debug)]
pub struct Reporter {
    root: WeakAddr<Root>,
    name: String,
    generation: u64,
    told: bool,
}

impl Reporter {
    /// The part is down, and why.
    pub fn down(mut self, down: Down) {
        self.tell(down);
    }

    fn tell(&mut self, down: Down) {
        if !std::mem::replace(&mut self.told, true)
            && let Some(root) = self.root.upgrade()
        {
            root.do_send(ChildDown {
                name: self.name.clone(),
                generation: self.generation,
                down,
            });
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.tell(Down::Died);
    }
}

/// How a part stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildState {
    /// It runs.
    Running,
    /// It went down and is started again at this moment.
    Waiting {
        /// Why it went down.
        reason: String,
        /// When it is tried again.
        until: Instant,
        /// It failed too often.
        failing: bool,
    },
    /// It was given up.
    Failed {
        /// Why it went down.
        reason: String,
    },
    /// It was told to stop.
    Stopping,
}

/// The state of all parts, for everybody to read.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, ChildState>>>);

impl Board {
    /// The state of a part; `None` if there is no such part.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<ChildState> {
        self.lock().get(name).cloned()
    }

    fn set(&self, name: &str, state: Option<ChildState>) {
        match state {
            Some(state) => self.lock().insert(name.to_owned(), state),
            None => self.lock().remove(name),
        };
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ChildState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Child {
    spec: ChildSpec,
    generation: u64,
    history: History,
    stop: Option<StopChild>,
    /// Who waits for its end. Some: it was told to stop.
    stopping: Option<Vec<oneshot::Sender<()>>>,
    /// It was told to stop to be started anew.
    again: bool,
    timer: Option<SpawnHandle>,
}

/// The root actor.
pub struct Root {
    board: Board,
    epoch: Instant,
    children: BTreeMap<String, Child>,
    generations: u64,
}

impl Root {
    /// A root without parts.
    #[must_use]
    pub fn new(board: Board) -> Self {
        Self {
            board,
            epoch: Instant::now(),
            children: BTreeMap::new(),
            generations: 0,
        }
    }

    fn start_child(&mut self, name: &str, ctx: &mut Context<Self>) {
        let now = self.epoch.elapsed();
        let Some(child) = self.children.get_mut(name) else {
            return;
        };
        self.generations += 1;
        child.generation = self.generations;
        child.timer = None;
        child.history.started(now);
        let root = ctx.address().downgrade();
        let reporter = Reporter {
            root,
            name: name.to_owned(),
            generation: child.generation,
            told: false,
        };
        match (child.spec.factory)(reporter) {
            Ok(stop) => {
                child.stop = Some(stop);
                self.board.set(name, Some(ChildState::Running));
                debug!(part = name, "started");
            }
            // The reporter's own word about this generation comes too late and is ignored.
            Err(reason) => self.went_down(name, Down::Failed(reason), ctx),
        }
    }

    fn went_down(&mut self, name: &str, down: Down, ctx: &mut Context<Self>) {
        let now = self.epoch.elapsed();
        let Some(child) = self.children.get_mut(name) else {
            return;
        };
        child.stop = None;
        child.generation = 0;
        if let Some(waiting) = child.stopping.take() {
            self.children.remove(name);
            self.board.set(name, None);
            // Whoever asked may have gone.
            for who in waiting {
                let _ = who.send(());
            }
            return;
        }
        if std::mem::take(&mut child.again) {
            return self.start_child(name, ctx);
        }
        let reason = down.reason().to_owned();
        match child.history.down(&child.spec.policy, &down, now) {
            Decision::Leave => {
                info!(part = name, %reason, "ended");
                self.children.remove(name);
                self.board.set(name, None);
            }
            Decision::GiveUp => {
                error!(part = name, %reason, "failed too often and is given up until the next start");
                self.board.set(name, Some(ChildState::Failed { reason }));
            }
            Decision::StartAfter { pause, failing } => {
                warn!(part = name, %reason, ?pause, "went down and will be started again");
                let until = Instant::now() + pause;
                self.board.set(
                    name,
                    Some(ChildState::Waiting {
                        reason,
                        until,
                        failing,
                    }),
                );
                let again = name.to_owned();
                child.timer =
                    Some(ctx.run_later(pause, move |root, ctx| root.start_child(&again, ctx)));
            }
        }
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.children.keys()).finish()
    }
}

impl Actor for Root {
    type Context = Context<Self>;
}

/// Adds a part and starts it. A part of the same name must have been stopped before.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AddChild(pub ChildSpec);

/// Stops a part for good; `done` hears when it is down.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct EndChild {
    /// Which.
    pub name: String,
    /// Who waits for its end.
    pub done: oneshot::Sender<()>,
}

/// Stops a part and starts it anew, which doesn't count as a failure. One that isn't up is left as it is.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RestartChild(pub String);

/// Whoever wanted a part's end gave up waiting: it is started anew when it is down. `false`: it is down, and
/// stays so.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct ReviveChild(pub String);

/// Answered when everything asked before has been begun.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Settled;

impl Handler<Settled> for Root {
    type Result = ();

    fn handle(&mut self, _: Settled, _: &mut Self::Context) {}
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ChildDown {
    name: String,
    generation: u64,
    down: Down,
}

impl Handler<AddChild> for Root {
    type Result = ();

    fn handle(&mut self, AddChild(spec): AddChild, ctx: &mut Self::Context) {
        let name = spec.name.clone();
        if self.children.contains_key(&name) {
            error!(part = name, "is there already and isn't started twice");
            return;
        }
        let child = Child {
            spec,
            generation: 0,
            history: History::default(),
            stop: None,
            stopping: None,
            again: false,
            timer: None,
        };
        self.children.insert(name.clone(), child);
        self.start_child(&name, ctx);
    }
}

impl Handler<EndChild> for Root {
    type Result = ();

    fn handle(&mut self, EndChild { name, done }: EndChild, ctx: &mut Self::Context) {
        let Some(child) = self.children.get_mut(&name) else {
            let _ = done.send(());
            return;
        };
        if let Some(timer) = child.timer.take() {
            ctx.cancel_future(timer);
        }
        if child.generation == 0 {
            self.children.remove(&name);
            self.board.set(&name, None);
            let _ = done.send(());
            return;
        }
        child.stopping.get_or_insert_default().push(done);
        self.board.set(&name, Some(ChildState::Stopping));
        if let Some(stop) = child.stop.take() {
            stop();
        }
    }
}

impl Handler<RestartChild> for Root {
    type Result = ();

    fn handle(&mut self, RestartChild(name): RestartChild, _: &mut Self::Context) {
        if let Some(child) = self.children.get_mut(&name)
            && let Some(stop) = child.stop.take()
        {
            child.again = true;
            stop();
        }
    }
}

impl Handler<ReviveChild> for Root {
    type Result = bool;

    fn handle(&mut self, ReviveChild(name): ReviveChild, _: &mut Self::Context) -> bool {
        let Some(child) = self.children.get_mut(&name) else {
            return false;
        };
        if child.stopping.take().is_some() {
            child.again = true;
        }
        true
    }
}

impl Handler<ChildDown> for Root {
    type Result = ();

    fn handle(&mut self, report: ChildDown, ctx: &mut Self::Context) {
        let current = self
            .children
            .get(&report.name)
            .map(|child| child.generation);
        if current == Some(report.generation) {
            self.went_down(&report.name, report.down, ctx);
        }
    }
}

#[cfg(test)]
#[path = "supervise_tests.rs"]
mod tests;
