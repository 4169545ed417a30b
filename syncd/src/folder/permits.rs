//! A small count of permits between threads, for work that is handed to an actor: its mailbox has no bound, so
//! each piece carries a permit, and whoever makes the pieces waits for one.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Debug)]
struct Shared {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// The permits.
#[derive(Debug, Clone)]
pub(super) struct Permits(Arc<Shared>);

/// One of them; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Shared>);

impl Permits {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Shared {
            free: Mutex::new(count),
            given_back: Condvar::new(),
        }))
    }

    /// Waits for a permit. Blocks: for threads only.
    pub(super) fn take(&self) -> Permit {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self
                .0
                .given_back
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Permit(Arc::clone(&self.0))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_count_are_out() {
        let permits = Permits::new(2);
        let (a, _b) = (permits.take(), permits.take());
        let more = permits.clone();
        let waiting = std::thread::spawn(move || drop(more.take()));
        assert!(!waiting.is_finished());
        drop(a);
        waiting.join().unwrap();
        assert_eq!(*permits.0.free.lock().unwrap(), 1);
    }
}
