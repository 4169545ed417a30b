//! What is to happen, in the order of virtual time.

use std::{collections::BTreeMap, time::Duration};

/// Events by time; those of one moment come in the order in which they were put in.
#[derive(Debug)]
pub struct Heap<T> {
    events: BTreeMap<(Duration, u64), T>,
    next: u64,
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Heap<T> {
    /// Puts an event in.
    pub fn push(&mut self, at: Duration, event: T) {
        self.events.insert((at, self.next), event);
        self.next += 1;
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<Duration> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next event out.
    pub fn pop(&mut self) -> Option<(Duration, T)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }

    /// Whether any event is one of these.
    pub fn any(&self, is: impl FnMut(&T) -> bool) -> bool {
        self.events.values().any(is)
    }
}
