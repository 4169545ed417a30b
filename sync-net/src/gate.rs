//! The gate: which folders we answer for, and which first messages we saw.
//!
//! One gate is shared by all incoming sessions of a daemon. It owns the list
//! of folders and the memory of recent first messages; it must never let a
//! stranger, who holds no folder's key, fill that memory or draw an answer.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::handshake::{Entropy, MESSAGE_1, MESSAGE_2, Responder};
use crate::membership::SharedFolder;

/// More folders than this are refused: each of them is tried on each incoming
/// connection.
pub const MAX_FOLDERS: usize = 1024;

/// How long a first message is remembered, so that it can't be used twice.
pub const REPLAY_WINDOW: Duration = Duration::from_secs(600);

/// How many first messages are remembered at most. Only members can add one.
pub const REPLAY_MEMORY: usize = 16_384;

/// There are more folders than [`MAX_FOLDERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_FOLDERS} folders")]
pub struct TooManyFolders;

/// What incoming sessions share.
#[derive(Debug, Default)]
pub struct Gate(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    folders: Arc<[SharedFolder]>,
    seen: Seen,
}

impl Gate {
    /// A gate that answers for these folders.
    pub fn new(folders: Vec<SharedFolder>) -> Result<Self, TooManyFolders> {
        let gate = Self::default();
        gate.replace_folders(folders)?;
        Ok(gate)
    }

    /// Replaces the list of folders; running sessions aren't touched.
    pub fn replace_folders(&self, folders: Vec<SharedFolder>) -> Result<(), TooManyFolders> {
        if folders.len() > MAX_FOLDERS {
            return Err(TooManyFolders);
        }
        self.lock().folders = folders.into();
        Ok(())
    }

    /// For how many folders it answers.
    #[must_use]
    pub fn folders(&self) -> usize {
        self.lock().folders.len()
    }

    /// Judges a first message: the folder it is for, the handshake, and the
    /// answer. `None` is silence: a stranger's, or one that was seen before.
    pub(crate) fn answer(
        &self,
        message: &[u8; MESSAGE_1],
        entropy: Entropy,
        now: Duration,
    ) -> Option<(SharedFolder, Responder, [u8; MESSAGE_2])> {
        let folders = Arc::clone(&self.lock().folders);
        let folder = Responder::recognise(&folders, message)?;
        let mut ephemeral = [0; 32];
        ephemeral.copy_from_slice(&message[..32]);
        if !self.lock().seen.is_new(ephemeral, now) {
            return None;
        }
        let (responder, answer) = Responder::answer(&**folder, entropy, message).ok()?;
        Some((Arc::clone(folder), responder, answer))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ephemeral keys of recent first messages.
#[derive(Debug, Default)]
struct Seen {
    keys: BTreeSet<[u8; 32]>,
    order: VecDeque<(Duration, [u8; 32])>,
}

impl Seen {
    /// Whether a key is new; from now on it isn't.
    fn is_new(&mut self, key: [u8; 32], now: Duration) -> bool {
        while let Some((at, oldest)) = self.order.front() {
            let expired = *at + REPLAY_WINDOW <= now;
            if !expired && self.order.len() < REPLAY_MEMORY {
                break;
            }
            self.keys.remove(oldest);
            self.order.pop_front();
        }
        let new = self.keys.insert(key);
        if new {
            self.order.push_back((now, key));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(n as u64).to_be_bytes());
        key
    }

    #[test]
    fn a_key_is_new_once_within_the_window() {
        let mut seen = Seen::default();
        assert!(seen.is_new(key(1), Duration::ZERO));
        assert!(!seen.is_new(key(1), Duration::ZERO));
        assert!(!seen.is_new(key(1), REPLAY_WINDOW - Duration::from_nanos(1)));
        assert!(seen.is_new(key(1), REPLAY_WINDOW));
        assert_eq!(seen.order.len(), 1);
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut seen = Seen::default();
        for n in 0..REPLAY_MEMORY + 10 {
            assert!(seen.is_new(key(n), Duration::ZERO));
            assert!(seen.order.len() <= REPLAY_MEMORY);
        }
        assert_eq!(seen.keys.len(), seen.order.len());
        assert!(!seen.is_new(key(REPLAY_MEMORY + 9), Duration::ZERO));
        assert!(seen.is_new(key(0), Duration::ZERO));
    }
}
