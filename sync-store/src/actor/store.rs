//! The actor that owns a folder's chunk store.
//!
//! Reads are made on the blocking threads of the runtime that the actor is started in, a few at once; whoever
//! asks while they are busy waits for its turn. What is read is handed over as it was read, without a copy.

use std::{fmt, sync::Arc};

use actix::{Actor, ActorContext, Context, Handler, Message, Recipient, ResponseFuture};
use sync_core::{
    ids::Seq,
    index::{Index, IndexError},
    message::ObjectId,
};
use thiserror::Error;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::Stop;
use crate::{
    chunks::{ChunkStore, Doubted, Found},
    fs::Disk,
};

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Objects by their hashes, see [`ChunkStore::read`].
    Objects(Vec<ObjectId>),
    /// Small contents by our numbers, see [`ChunkStore::read_numbered`].
    Numbers(Vec<Seq>),
}

/// Asks for objects.
#[derive(Debug, Message)]
#[rtype(result = "Result<Found, ReadError>")]
pub struct ReadObjects {
    /// Which.
    pub which: Which,
    /// Chunks that are hashed in any case.
    pub doubted: Arc<Doubted>,
    /// So many bytes are gathered at most, and one chunk beyond.
    pub max_bytes: usize,
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The index can't answer.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store was stopped before it was the read's turn.
    #[error("the store is closed")]
    Closed,
    /// The read broke off by an error in the program.
    #[error("a read broke off; the log says where")]
    Broke,
}

/// The actor ended without having been told to. Its owner hears it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StoreDied;

/// Reads objects of one folder for whoever asks.
pub struct StoreActor<D: Disk, I> {
    store: Arc<ChunkStore<D, I>>,
    readers: Arc<Semaphore>,
    owner: Recipient<StoreDied>,
    told: bool,
}

impl<D: Disk, I> StoreActor<D, I> {
    /// An actor that makes `readers` reads at once. It and its reads let go of the store soon after [`Stop`].
    #[must_use]
    pub fn new(store: Arc<ChunkStore<D, I>>, readers: usize, owner: Recipient<StoreDied>) -> Self {
        Self {
            store,
            readers: Arc::new(Semaphore::new(readers)),
            owner,
            told: false,
        }
    }
}

impl<D: Disk, I: Index + Send + Sync + 'static> Actor for StoreActor<D, I> {
    type Context = Context<Self>;
}

impl<D: Disk, I> Drop for StoreActor<D, I> {
    fn drop(&mut self) {
        // What waits for its turn is answered: it would hold the store.
        self.readers.close();
        // Without an order this was a panic. An owner that has gone itself doesn't hear it.
        if !self.told {
            self.owner.do_send(StoreDied);
        }
    }
}

impl<D: Disk, I: Index + Send + Sync + 'static> Handler<ReadObjects> for StoreActor<D, I> {
    type Result = ResponseFuture<Result<Found, ReadError>>;

    fn handle(&mut self, ask: ReadObjects, _: &mut Self::Context) -> Self::Result {
        let (store, readers) = (Arc::clone(&self.store), Arc::clone(&self.readers));
        Box::pin(async move {
            let permit = readers
                .acquire_owned()
                .await
                .map_err(|_| ReadError::Closed)?;
            let reading = spawn_blocking(move || {
                let found = match ask.which {
                    Which::Objects(ids) => store.read(&ids, ask.max_bytes, &ask.doubted),
                    Which::Numbers(numbers) => store.read_numbered(&numbers, ask.max_bytes),
                };
                drop((store, permit));
                found
            });
            Ok(reading.await.map_err(|_| ReadError::Broke)??)
        })
    }
}

impl<D: Disk, I: Index + Send + Sync + 'static> Handler<Stop> for StoreActor<D, I> {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.told = true;
        ctx.stop();
    }
}

impl<D: Disk, I> fmt::Debug for StoreActor<D, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreActor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use actix::Addr;
    use sync_core::{
        chunk::ContentHash,
        index::{Batch, IndexEntry, MemIndex},
        manifest::ContentRoot,
        message::ObjectKind,
        path::RelPath,
    };
    use tokio::sync::mpsc;

    use super::*;
    use crate::{fs::MemDisk, temps::Temps};

    type Store = ChunkStore<MemDisk, MemIndex>;

    struct Owner(mpsc::UnboundedSender<StoreDied>);

    impl Actor for Owner {
        type Context = Context<Self>;
    }

    impl Handler<StoreDied> for Owner {
        type Result = ();
        fn handle(&mut self, died: StoreDied, _: &mut Self::Context) {
            let _ = self.0.send(died);
        }
    }

    /// Breaks the actor.
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Break;

    impl Handler<Break> for StoreActor<MemDisk, MemIndex> {
        type Result = ();
        fn handle(&mut self, _: Break, _: &mut Self::Context) {
            panic!("a test's panic");
        }
    }

    /// A store with one file of these bytes, and what to ask for to have them.
    fn store(bytes: &[u8]) -> (Arc<Store>, ReadObjects) {
        let disk = MemDisk::new();
        disk.prepare().unwrap();
        disk.user_write("file", bytes).unwrap();
        let disk = Arc::new(disk);
        let hash = ContentHash::chunk(bytes);
        let entry = IndexEntry {
            content: Some(ContentRoot::single(hash)),
            ..IndexEntry::default()
        };
        let mut batch = Batch::default();
        let path = RelPath::parse(b"file").unwrap();
        batch.entries.push((path, Some(entry)));
        let mut index = MemIndex::new();
        index.commit(batch).unwrap();
        let temps = Arc::new(Temps::new(Arc::clone(&disk), 0));
        let ask = ReadObjects {
            which: Which::Objects(vec![ObjectId {
                kind: ObjectKind::Chunk,
                hash,
            }]),
            doubted: Arc::new(Doubted::none()),
            max_bytes: 1 << 20,
        };
        (Arc::new(ChunkStore::new(disk, index, temps)), ask)
    }

    fn start(
        store: &Arc<Store>,
        readers: usize,
    ) -> (
        Addr<StoreActor<MemDisk, MemIndex>>,
        mpsc::UnboundedReceiver<StoreDied>,
    ) {
        let (told, heard) = mpsc::unbounded_channel();
        let owner = Owner(told).start().recipient();
        let actor = StoreActor::new(Arc::clone(store), readers, owner);
        (actor.start(), heard)
    }

    #[actix::test]
    async fn objects_are_read_and_the_store_is_let_go() {
        let (store, ask) = store(b"tiny");
        let (actor, mut heard) = start(&store, 2);
        let found = actor.send(ask).await.unwrap().unwrap();
        assert_eq!(found.objects.len(), 1);
        assert_eq!(found.objects[0].as_deref(), Some(&b"tiny"[..]));
        actor.send(Stop).await.unwrap();
        assert!(heard.recv().await.is_none());
        assert!(Arc::try_unwrap(store).is_ok());
    }

    #[actix::test]
    async fn reads_wait_for_their_turn_and_are_answered_at_the_end() {
        let (store, ask) = store(b"tiny");
        // No place for any read.
        let (actor, _heard) = start(&store, 0);
        let waiting = actor.send(ask);
        actor.do_send(Stop);
        assert_eq!(waiting.await.unwrap(), Err(ReadError::Closed));
        while Arc::strong_count(&store) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[actix::test]
    async fn a_panic_is_told() {
        let (store, ask) = store(b"tiny");
        let (actor, mut heard) = start(&store, 2);
        actor.do_send(Break);
        assert!(heard.recv().await.is_some());
        assert!(actor.send(ask).await.is_err());
    }
}
