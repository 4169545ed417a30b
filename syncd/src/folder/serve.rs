//! Answers peers' requests: reads objects from the disk and sends them, no faster than the session takes them.
//!
//! A session's reader hands requests in at [`Requests`]; they never pass the folder's engine, which may be busy.
//! One task for each session takes them one after the other, as soon as the folder has lent it its store. Reading is done by the folder's
//! [`StoreActor`], at most a few reads at once. Bytes go from the read buffer to the session without being
//! copied, but for small objects, which share a buffer.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix::{Addr, WeakAddr};
use bytes::{BufMut, Bytes, BytesMut};
use sync_core::{
    index::IndexError,
    message::{BadChunk, Contents, ObjectMessage, Request, object_head},
    path::RelPath,
};
use sync_net::{Goodbye, session::SendError, stream::SessionHandle};
use sync_store::{
    actor::{ReadError, ReadObjects, StoreActor, Which},
    chunks::Doubted,
    fs::RootDisk,
    sled_index::SledIndex,
};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::TrySendError},
};
use tracing::{debug, warn};

use super::{FolderActor, ServeTrouble};
use crate::net::PeerInfo;

/// The actor that reads from it.
pub(super) type Reading = StoreActor<RootDisk, SledIndex>;

/// Requests of one peer that may wait.
const MAX_WAITING: usize = 1_024;
/// Objects in them: 4 MiB of ids.
const MAX_WAITING_OBJECTS: usize = 131_072;
/// Reading goes on while fewer bytes wait in the session.
const FULL: usize = 4 << 20;
/// So many bytes are read at once, and at most one chunk more.
const PIECE: usize = 2 << 20;
/// So many objects at most: a peer may ask for what costs much to look for and isn't here.
const BATCH: usize = 256;
/// Chunks that a peer may complain of; then all that it asks for is hashed before it is sent.
const MAX_DOUBTED: usize = 1_024;
/// Smaller objects are copied together.
const SMALL: usize = 16 << 10;

struct Job {
    request: u32,
    which: Which,
}

impl Job {
    fn len(&self) -> usize {
        match &self.which {
            Which::Objects(ids) => ids.len(),
            Which::Numbers(numbers) => numbers.len(),
        }
    }

    /// What is to be read next, if so many objects were.
    fn next(&self, done: usize) -> Which {
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
    /// Starts the task that answers.
    pub(super) fn serve(
        self,
        runtime: &Handle,
        handle: SessionHandle,
        info: Arc<PeerInfo>,
        store: Addr<Reading>,
        folder: WeakAddr<FolderActor>,
    ) {
        let Self { jobs, open } = self;
        let task = Task {
            handle,
            info,
            store,
            folder,
            open,
        };
        runtime.spawn(task.run(jobs));
    }
}

struct Task {
    handle: SessionHandle,
    info: Arc<PeerInfo>,
    store: Addr<Reading>,
    folder: WeakAddr<FolderActor>,
    open: Open,
}

impl Task {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.recv().await {
            let answered = match self.open.has(job.request) {
                true => self.answer(&job).await,
                false => Ok(()),
            };
            match answered {
                Ok(()) => {}
                Err(Trouble::Session) => return,
                Err(Trouble::Index(error)) => {
                    warn!(%error, "a peer's request can't be answered");
                    self.handle.close(Goodbye::Busy);
                    self.tell(ServeTrouble::Index(error));
                    return;
                }
                Err(Trouble::Read) => {
                    warn!("a read for a peer broke off; its session is closed");
                    self.handle.close(Goodbye::Busy);
                    return;
                }
            }
            self.open.end(&job);
        }
    }

    async fn answer(&self, job: &Job) -> Result<(), Trouble> {
        let (mut done, all) = (0, job.len());
        if all == 0 {
            return self.send(job.request, Bytes::new(), true);
        }
        while done < all {
            if self.handle.bulk_queued_bytes() >= FULL {
                self.handle.bulk_ready().await;
            }
            if !self.open.has(job.request) {
                debug!(request = job.request, "taken back by the peer");
                return self
                    .handle
                    .cancel_bulk(job.request)
                    .map_err(|_| Trouble::Session);
            }
            let objects = self.read(job.next(done)).await?;
            done += objects.len().max(1);
            self.send_objects(job.request, objects, done >= all)?;
        }
        Ok(())
    }

    async fn read(&self, which: Which) -> Result<Vec<Option<Bytes>>, Trouble> {
        let ask = ReadObjects {
            which,
            doubted: Arc::clone(&self.open.lock().doubted),
            max_bytes: PIECE,
        };
        let found = match self.store.send(ask).await {
            Ok(Ok(found)) => found,
            Ok(Err(ReadError::Index(error))) => return Err(Trouble::Index(error)),
            Ok(Err(ReadError::Broke)) => return Err(Trouble::Read),
            // Closed only when the folder is, and then the session goes too.
            Ok(Err(ReadError::Closed)) | Err(_) => return Err(Trouble::Session),
        };
        if !found.suspects.is_empty() {
            self.tell(ServeTrouble::Suspects(found.suspects));
        }
        Ok(found.objects)
    }

    fn send_objects(
        &self,
        request: u32,
        objects: Vec<Option<Bytes>>,
        last: bool,
    ) -> Result<(), Trouble> {
        let mut gathered = BytesMut::new();
        for object in objects {
            gathered.put_slice(&object_head(object.as_ref()));
            match object {
                Some(object) if object.len() < SMALL => gathered.extend_from_slice(&object),
                Some(object) => {
                    self.send(request, gathered.split().freeze(), false)?;
                    self.send(request, object, false)?;
                }
                None => {}
            }
            if gathered.len() > PIECE / 2 {
                self.send(request, gathered.split().freeze(), false)?;
            }
        }
        if last || !gathered.is_empty() {
            self.send(request, gathered.freeze(), last)?;
        }
        Ok(())
    }

    fn send(&self, request: u32, data: Bytes, last: bool) -> Result<(), Trouble> {
        self.info.count_sent(data.len());
        match self.handle.send_bulk(request, data, last) {
            Ok(()) => Ok(()),
            Err(error) => {
                if error != SendError::NotOpen {
                    warn!(%error, "an answer doesn't fit into the session");
                    self.handle.close(Goodbye::Busy);
                }
                Err(Trouble::Session)
            }
        }
    }

    fn tell(&self, trouble: ServeTrouble) {
        if let Some(folder) = self.folder.upgrade() {
            folder.do_send(trouble);
        }
    }
}

enum Trouble {
    /// The session is over.
    Session,
    /// The index can't answer.
    Index(IndexError),
    /// A read broke off.
    Read,
}

/// Paths whose bytes aren't what the index says.
pub(super) type Suspects = Vec<RelPath>;

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
