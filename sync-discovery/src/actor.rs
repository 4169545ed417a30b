//! The actor around a mechanism: one for all kinds.
//!
//! It turns [`Order`]s and the events of the mechanism's tasks into calls, sends what was found to one recipient
//! (usually whoever owns the address book), and keeps the timer. It holds no decision of its own. It stops on
//! [`Order::Stop`]: dropping the last address isn't enough, since its timers keep it alive. It must never block its
//! arbiter.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use sync_core::options::{Declaration, Values};
use tokio::sync::oneshot;

pub use crate::lan::interface_addresses;
use crate::{
    Discovered, FolderTag, Source, Trouble,
    mechanism::{FolderStatus, Mechanism, Refresh, Status, Tasks, Want},
};

impl Message for Discovered {
    type Result = ();
}

/// What every mechanism can be told and asked.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Order {
    /// Work for this from now on.
    Want(Arc<Want>),
    /// Look anew.
    Refresh(Refresh),
    /// How do you fare?
    Status(oneshot::Sender<Status>),
    /// How do you fare with this folder?
    FolderStatus(FolderTag, oneshot::Sender<FolderStatus>),
    /// End.
    Stop,
}

/// Something that a task of a mechanism tells.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Happened<E: Send + 'static>(pub(crate) E);

/// Why an actor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// It was told to.
    Asked,
    /// It can't work, and says why.
    Failed(Trouble),
    /// A panic in one of its handlers, or the end of its arbiter.
    Died,
}

/// What to call when the actor has ended, once, on the actor's thread: a
/// supervisor's way to learn of it. It should only send a message.
pub type OnStopped = Box<dyn FnOnce(StopReason) + Send>;

/// What an actor starts with.
pub struct Setup {
    /// Start of the monotonic time that expiries are given in; the same for everything that feeds one address book.
    pub epoch: Instant,
    /// 32 fresh bytes from the operating system.
    pub seed: [u8; 32],
    /// What it is to work for.
    pub want: Arc<Want>,
    /// Who is told of candidates.
    pub out: Recipient<Discovered>,
    /// Called once at the end.
    pub on_stopped: Option<OnStopped>,
}

impl fmt::Debug for Setup {
    /// Without keys and seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("want", &self.want)
            .finish_non_exhaustive()
    }
}

/// A kind of mechanism, as a daemon lists it.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub source: Source,
    /// The options that it brings.
    pub options: &'static [&'static Declaration],
    enabled: fn(&Values) -> bool,
    start: fn(Setup) -> Recipient<Order>,
}

impl Kind {
    /// The kind that this mechanism is of.
    #[must_use]
    pub const fn of<M: Mechanism>() -> Self {
        Self {
            source: M::SOURCE,
            options: M::OPTIONS,
            enabled: M::enabled,
            start: |setup| MechanismActor::<M>::new(setup).start().recipient(),
        }
    }

    /// Whether it is to run with these options.
    #[must_use]
    pub fn enabled(&self, options: &Values) -> bool {
        (self.enabled)(options)
    }

    /// Starts one of it on this thread's arbiter.
    #[must_use]
    pub fn start(&self, setup: Setup) -> Recipient<Order> {
        (self.start)(setup)
    }
}

/// The actor.
pub struct MechanismActor<M: Mechanism> {
    epoch: Instant,
    mechanism: M,
    tasks: Option<Tasks<M::Event>>,
    out: Recipient<Discovered>,
    reason: StopReason,
    on_stopped: Option<OnStopped>,
    timer: Option<SpawnHandle>,
}

impl<M: Mechanism> fmt::Debug for MechanismActor<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MechanismActor({})", M::SOURCE)
    }
}

impl<M: Mechanism> MechanismActor<M> {
    /// An actor to be started.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let now = setup.epoch.elapsed();
        Self {
            epoch: setup.epoch,
            mechanism: M::new(&setup.want, &setup.seed, now),
            tasks: None,
            out: setup.out,
            reason: StopReason::Died,
            on_stopped: setup.on_stopped,
            timer: None,
        }
    }

    /// Lets the mechanism do what is due, and sets the timer for its next wish.
    fn drive(&mut self, ctx: &mut Context<Self>) {
        let Some(tasks) = &mut self.tasks else {
            return;
        };
        let now = self.epoch.elapsed();
        let next = self.mechanism.drive(tasks, now);
        while let Some(found) = self.mechanism.poll() {
            self.out.do_send(found);
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = next.map(|at| {
            let wait = at.saturating_sub(now);
            ctx.run_later(wait, |actor, ctx| actor.drive(ctx))
        });
    }
}

impl<M: Mechanism> Actor for MechanismActor<M> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let mut tasks = Tasks::new(ctx.address().downgrade().recipient());
        if let Err(trouble) = self.mechanism.start(&mut tasks) {
            tracing::warn!(mechanism = %M::SOURCE, %trouble, "can't start");
            self.reason = StopReason::Failed(trouble);
            ctx.stop();
            return;
        }
        self.tasks = Some(tasks);
        // Without a timer and with its address held weakly, an actor with
        // nothing to do would end by itself.
        ctx.run_interval(Duration::from_secs(60), |actor, ctx| actor.drive(ctx));
        self.drive(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.tasks = None;
        if let Some(tell) = self.on_stopped.take() {
            tell(self.reason.clone());
        }
    }
}

impl<M: Mechanism> Handler<Order> for MechanismActor<M> {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        let now = self.epoch.elapsed();
        match order {
            Order::Want(want) => self.mechanism.want(&want, now),
            Order::Refresh(what) => self.mechanism.refresh(what, now),
            // Whoever asked may have gone.
            Order::Status(reply) => return drop(reply.send(self.mechanism.status())),
            Order::FolderStatus(folder, reply) => {
                return drop(reply.send(self.mechanism.folder_status(folder)));
            }
            Order::Stop => {
                self.reason = StopReason::Asked;
                return ctx.stop();
            }
        }
        self.drive(ctx);
    }
}

impl<M: Mechanism> Handler<Happened<M::Event>> for MechanismActor<M> {
    type Result = ();

    fn handle(&mut self, Happened(event): Happened<M::Event>, ctx: &mut Self::Context) {
        let now = self.epoch.elapsed();
        self.mechanism.handle(event, now);
        self.drive(ctx);
    }
}
