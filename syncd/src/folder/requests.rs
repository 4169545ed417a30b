//! The door for a peer's requests: from the session's reader, past the folder's engine, to whoever answers.
//!
//! It owns the queue of one session and its bounds. It must never read an object.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sync_core::message::{BadChunk, Contents, ObjectMessage, Request};
use sync_store::{actor::Which, chunks::Doubted};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Requests of one peer that may wait.
const MAX_WAITING: usize = 1_024;
/// Objects in them: 4 MiB of ids.
const MAX_WAITING_OBJECTS: usize = 131_072;
/// So many objects are read at once at most: a peer may ask for what costs much to look for and isn't here.
const BATCH: usize = 256;
/// Chunks that a peer may complain of; then all that it asks for is hashed before it is sent.
const MAX_DOUBTED: usize = 1_024;

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Job {
    /// The peer's number for it.
    pub(super) request: u32,
    /// What it asks for.
    which: Which,
}

impl Job {
    pub(super) fn len(&self) -> usize {
        match &self.which {
            Which::Objects(ids) => ids.len(),
            Which::Numbers(numbers) => numbers.len(),
        }
    }

    /// What is to be read next, if so many objects were.
    pub(super) fn next(&self, done: usize) -> Which {
        fn part<T: Clone>(all: &[T], done: usize) -> Vec<T> {
            all.iter().skip(done).take(BATCH).cloned().collect()
        }
        match &self.which {
            Which::Objects(ids) => Which::Objects(part(ids, done)),
            Which::Numbers(numbers) => Which::Numbers(part(numbers, done)),
        }
    }
}

/// Where a session's reader hands in what the peer asks for. The task ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Requests {
    jobs: mpsc::Sender<Job>,
    open: Open,
}

/// The other end: requests that wait for a folder to answer them.
#[derive(Debug)]
pub(crate) struct Queue {
    jobs: mpsc::Receiver<Job>,
    open: Open,
}

/// The door for the requests of one session.
pub(crate) fn door() -> (Requests, Queue) {
    let (sender, jobs) = mpsc::channel(MAX_WAITING);
    let open = Open::default();
    let requests = Requests {
        jobs: sender,
        open: open.clone(),
    };
    (requests, Queue { jobs, open })
}

/// Requests that are not answered yet.
#[derive(Debug, Clone, Default)]
struct Open(Arc<Mutex<Waiting>>);

#[derive(Debug)]
struct Waiting {
    /// Those that weren't taken back.
    requests: BTreeSet<u32>,
    /// The objects of all, taken back or not.
    objects: usize,
    /// Chunks that came wrong to the peer.
    doubted: Arc<Doubted>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            requests: BTreeSet::new(),
            objects: 0,
            doubted: Arc::new(Doubted::none()),
        }
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, request: u32) -> bool {
        self.lock().requests.contains(&request)
    }

    /// Takes a request up, if there is room for its objects.
    fn begin(&self, request: u32, objects: usize) -> bool {
        let mut waiting = self.lock();
        let total = waiting.objects.saturating_add(objects);
        if total > MAX_WAITING_OBJECTS {
            return false;
        }
        waiting.objects = total;
        waiting.requests.insert(request);
        true
    }

    fn end(&self, job: &Job) {
        let mut waiting = self.lock();
        waiting.objects = waiting.objects.saturating_sub(job.len());
        waiting.requests.remove(&job.request);
    }
}

impl Requests {
    /// Takes in what the peer says. `false`: it asks for more than any peer of ours would.
    pub(crate) fn take(&self, message: ObjectMessage) -> bool {
        match message {
            ObjectMessage::Request(Request { id, objects }) => {
                self.put(id, Which::Objects(objects))
            }
            ObjectMessage::BadChunk(BadChunk { hash, .. }) => {
                let mut open = self.open.lock();
                Arc::make_mut(&mut open.doubted).add(hash, MAX_DOUBTED);
                true
            }
            ObjectMessage::Contents(Contents { id, numbers }) => {
                self.put(id, Which::Numbers(numbers))
            }
            ObjectMessage::Cancel(requests) => {
                let mut open = self.open.lock();
                for request in &requests {
                    open.requests.remove(request);
                }
                true
            }
        }
    }

    fn put(&self, request: u32, which: Which) -> bool {
        let job = Job { request, which };
        if !self.open.begin(request, job.len()) {
            return false;
        }
        // Where nobody answers any more, the session is about to end.
        !matches!(self.jobs.try_send(job), Err(TrySendError::Full(_)))
    }
}

impl Queue {
    /// The next request; `None` once the session is over.
    pub(super) async fn next(&mut self) -> Option<Job> {
        self.jobs.recv().await
    }

    /// Whether the peer still wants the answer.
    pub(super) fn has(&self, request: u32) -> bool {
        self.open.has(request)
    }

    /// Chunks that came wrong to the peer.
    pub(super) fn doubted(&self) -> Arc<Doubted> {
        Arc::clone(&self.open.lock().doubted)
    }

    /// A request was answered, or passed over.
    pub(super) fn end(&self, job: &Job) {
        self.open.end(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(request: u32, objects: usize) -> Job {
        Job {
            request,
            which: Which::Numbers((1..=objects as u64).map(sync_core::ids::Seq).collect()),
        }
    }

    #[test]
    fn waiting_objects_are_bounded_and_make_room_when_done() {
        let open = Open::default();
        assert!(open.begin(1, MAX_WAITING_OBJECTS - 1));
        assert!(!open.begin(2, 2));
        assert!(open.begin(3, 1));
        // Taken back, it still waits to be passed over.
        open.lock().requests.remove(&3);
        assert!(!open.has(3) && !open.begin(4, 1));
        open.end(&job(3, 1));
        assert!(open.has(1) && open.begin(4, 1));
    }
}
