//! Answers peers' requests: reads objects from the disk and sends them, no faster than the session takes them.
//!
//! A session's reader hands requests in at the [door](super::requests); they never pass the folder's engine, which
//! may be busy. One task for each session takes them one after the other, as soon as the folder has lent it its
//! store. Reading is done by the folder's [`StoreActor`], at most a few reads at once. Bytes go from the read buffer
//! to the session without being copied, but for small objects, which share a buffer.

use std::sync::Arc;

use actix::{Addr, Message, WeakRecipient};
use bytes::{BufMut, Bytes, BytesMut};
use sync_core::{index::IndexError, message::object_head, path::RelPath};
use sync_net::{Goodbye, session::SendError, stream::SessionHandle};
use sync_store::{
    actor::{ReadError, ReadObjects, StoreActor, Which},
    fs::RootDisk,
    sled_index::SledIndex,
};
use tokio::runtime::Handle;
use tracing::{debug, warn};

use super::requests::{Job, Queue};
use crate::net::PeerInfo;

/// The actor that reads from it.
pub(super) type Reading = StoreActor<RootDisk, SledIndex>;

/// Reading goes on while fewer bytes wait in the session.
const FULL: usize = 4 << 20;
/// So many bytes are read at once, and at most one chunk more.
const PIECE: usize = 2 << 20;
/// Smaller objects are copied together.
const SMALL: usize = 16 << 10;

/// What went wrong when a peer was served.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum ServeTrouble {
    /// These paths don't hold what the index says.
    Suspects(Vec<RelPath>),
    /// The index can't answer.
    Index(IndexError),
}

/// Starts the task that answers.
pub(super) fn start(
    runtime: &Handle,
    queue: Queue,
    handle: SessionHandle,
    info: Arc<PeerInfo>,
    store: Addr<Reading>,
    folder: WeakRecipient<ServeTrouble>,
) {
    let task = Task {
        queue,
        handle,
        info,
        store,
        folder,
    };
    runtime.spawn(task.run());
}

struct Task {
    queue: Queue,
    handle: SessionHandle,
    info: Arc<PeerInfo>,
    store: Addr<Reading>,
    folder: WeakRecipient<ServeTrouble>,
}

impl Task {
    async fn run(mut self) {
        while let Some(job) = self.queue.next().await {
            let answered = match self.queue.has(job.request) {
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
            self.queue.end(&job);
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
            if !self.queue.has(job.request) {
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
            doubted: self.queue.doubted(),
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
