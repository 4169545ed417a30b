//! The last events, for any number of listeners.
//!
//! Events are numbered from 1 at each start of the daemon. A ring keeps the last thousand; a listener
//! reads them by number at its own pace and holds nobody up. One that falls behind further than the
//! ring reaches, or that comes back with a number of an earlier run, is told by a `gap` event instead
//! of being left to believe that nothing happened.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use sync_core::{
    control::{Event, EventType},
    time::Utc,
};
use tokio::sync::watch;

/// How many events are kept.
pub const EVENTS_KEPT: usize = 1_000;

/// The ring of events. Any thread may add to it; adding never waits for a listener.
#[derive(Debug)]
pub struct EventLog {
    ring: Mutex<VecDeque<Event>>,
    /// The number of the newest event; changing it wakes the listeners.
    newest: watch::Sender<u64>,
}

impl EventLog {
    /// A log without events.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            ring: Mutex::new(VecDeque::with_capacity(EVENTS_KEPT)),
            newest: watch::Sender::new(0),
        })
    }

    /// Adds an event that happened now, and returns its number. The data must hold no secret.
    pub fn push(&self, kind: EventType, folder: Option<&str>, data: Value) -> u64 {
        let mut ring = self.ring();
        let id = *self.newest.borrow() + 1;
        if ring.len() == EVENTS_KEPT {
            ring.pop_front();
        }
        ring.push_back(Event {
            id,
            time: now(),
            kind,
            folder: folder.map(str::to_owned),
            data,
        });
        // The number changes under the lock, so that events stand in the ring in its order.
        self.newest.send_replace(id);
        id
    }

    /// Listens: to what comes after event number `since`, or only to what is still to come.
    ///
    /// `Some(0)` begins with the oldest event that is kept.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, since: Option<u64>) -> Subscription {
        let newest = self.newest.subscribe();
        let now = *newest.borrow();
        Subscription {
            log: Arc::clone(self),
            newest,
            last: since.map_or(now, |since| if since > now { 0 } else { since }),
            restarted: since.is_some_and(|since| since > now),
        }
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Event>> {
        // Nothing can panic half-way through a change of the ring, so a poisoned one is whole.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One listener.
#[derive(Debug)]
pub struct Subscription {
    log: Arc<EventLog>,
    newest: watch::Receiver<u64>,
    /// The number of the last event that was handed out.
    last: u64,
    /// The listener named an event that this run of the daemon never had.
    restarted: bool,
}

impl Subscription {
    /// The next event, when there is one. It may be dropped and called again without losing any.
    pub async fn next(&mut self) -> Event {
        if std::mem::take(&mut self.restarted) {
            return Event {
                id: 0,
                time: now(),
                kind: EventType::Gap,
                folder: None,
                data: json!({ "reason": "the daemon was started anew, and its events count from 1 again" }),
            };
        }
        loop {
            self.newest.borrow_and_update();
            if let Some(event) = self.ready() {
                self.last = event.id;
                return event;
            }
            if self.newest.changed().await.is_err() {
                // The sender lives in the log that we hold, so it can't be gone.
                std::future::pending::<()>().await;
            }
        }
    }

    fn ready(&self) -> Option<Event> {
        let ring = self.log.ring();
        let oldest = ring.front()?.id;
        if self.last + 1 < oldest {
            // With 0 a listener asks for whatever is kept, so there it misses nothing it knew of.
            if self.last == 0 {
                return ring.front().cloned();
            }
            return Some(Event {
                id: oldest - 1,
                time: now(),
                kind: EventType::Gap,
                folder: None,
                data: json!({ "first": self.last + 1, "last": oldest - 1 }),
            });
        }
        ring.get(usize::try_from(self.last + 1 - oldest).ok()?)
            .cloned()
    }
}

/// The moment as the API says it.
fn now() -> String {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Utc::from_unix_ns(i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)).rfc3339()
}
