//! The hand by which others hold a driven session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::session::{Config, Goodbye, MAX_CONTROL, SendError};

/// What a driver is told to do.
#[derive(Debug)]
pub(super) enum Command {
    Control(Bytes),
    Bulk {
        request: u32,
        data: Bytes,
        last: bool,
    },
    Cancel(u32),
    Probe,
    Close(Goodbye),
}

/// How much waits, as the handles and the driver count it together.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) control: AtomicUsize,
    pub(super) bulk: AtomicUsize,
    /// The smoothed round trip in microseconds; 0 before there was one.
    pub(super) round_trip: AtomicU64,
    pub(super) drained: Notify,
}

/// Sends through a session that a task drives. Clones share the session; when
/// the last one is gone, the session says goodbye.
///
/// Nothing here waits: what can't be queued is refused at once. Whoever sends
/// much bulk awaits [`SessionHandle::bulk_ready`] before each piece.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    commands: mpsc::UnboundedSender<Command>,
    waiting: Arc<Waiting>,
    low_water: usize,
    bulk_limit: usize,
    control_limit: usize,
}

impl SessionHandle {
    pub(super) fn new(config: &Config) -> (Self, mpsc::UnboundedReceiver<Command>, Arc<Waiting>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let handle = Self {
            commands,
            waiting: Arc::clone(&waiting),
            low_water: config.bulk_low_water,
            bulk_limit: config.bulk_limit,
            control_limit: config.control_limit,
        };
        (handle, receiver, waiting)
    }

    /// Queues a control message of at most
    /// [`MAX_CONTROL`](crate::session::MAX_CONTROL) bytes.
    pub fn send_control(&self, message: Bytes) -> Result<(), SendError> {
        if message.len() > MAX_CONTROL {
            return Err(SendError::TooLong);
        }
        let cost = message.len() + 1;
        reserve(&self.waiting.control, cost, self.control_limit)?;
        self.tell(Command::Control(message))
    }

    /// Queues bytes that answer a request; `last` says that no more follow.
    pub fn send_bulk(&self, request: u32, data: Bytes, last: bool) -> Result<(), SendError> {
        reserve(&self.waiting.bulk, data.len(), self.bulk_limit)?;
        self.tell(Command::Bulk {
            request,
            data,
            last,
        })
    }

    /// Forgets the bulk that waits for a request.
    pub fn cancel_bulk(&self, request: u32) -> Result<(), SendError> {
        self.tell(Command::Cancel(request))
    }

    /// Asks whether the peer is there: [`Event::Heard`](crate::Event::Heard) says so,
    /// [`Event::Quiet`](crate::Event::Quiet) that it doesn't answer.
    pub fn probe(&self) -> Result<(), SendError> {
        self.tell(Command::Probe)
    }

    /// The smoothed time from a ping to its answer, once there was one.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        let took = self.waiting.round_trip.load(Ordering::Relaxed);
        (took > 0).then(|| Duration::from_micros(took))
    }

    /// Ends the session in good order.
    pub fn close(&self, reason: Goodbye) {
        // If it is over already, that is as good.
        let _ = self.tell(Command::Close(reason));
    }

    /// Bytes of bulk that wait to be sent.
    #[must_use]
    pub fn bulk_queued_bytes(&self) -> usize {
        self.waiting.bulk.load(Ordering::Relaxed)
    }

    /// Waits until little bulk is queued, or the session is over.
    pub async fn bulk_ready(&self) {
        loop {
            let drained = self.waiting.drained.notified();
            if self.bulk_queued_bytes() <= self.low_water || self.commands.is_closed() {
                return;
            }
            drained.await;
        }
    }

    fn tell(&self, command: Command) -> Result<(), SendError> {
        self.commands.send(command).map_err(|_| SendError::NotOpen)
    }
}

/// Counts `cost` more bytes, unless that is too much.
fn reserve(count: &AtomicUsize, cost: usize, limit: usize) -> Result<(), SendError> {
    let add = |now: usize| now.checked_add(cost).filter(|sum| *sum <= limit);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
        .map(|_| ())
        .map_err(|_| SendError::QueueFull)
}
