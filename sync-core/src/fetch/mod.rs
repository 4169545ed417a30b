//! Decides which peer is asked for what, and when.
//!
//! A [`Fetcher`] is told what is wanted, who holds what and what has arrived, and says what to send, to look up
//! locally and to write. It owns the order of requests, the number of bytes under way, the checks of what arrives and
//! the judgement of peers. It never touches the index, a file, a socket or a clock: `now` is an argument and never
//! goes back, and the same calls give the same outputs.
//!
//! Call [`Fetcher::poll`] after every other call until it returns `None`, and [`Fetcher::handle_timeout`] when the
//! moment named by [`Fetcher::next_timeout`] has come.
//!
//! # How a content comes
//!
//! A *small* content (height 0) is one object, checked here and handed over by [`FetchOutput::SmallDone`]. A *big* one
//! waits until it is among the [`MAX_ACTIVE`] first that somebody holds. Then its pages are looked up locally
//! ([`FetchOutput::NeedPages`]) or fetched; then the disk says which chunks a left-over partial file has
//! ([`TempJob::Check`]) and which it could copy from other files ([`TempJob::CopyLocal`]); the rest is
//! fetched and written ([`TempJob::Write`]), and at the end comes [`FetchOutput::BigDone`]. A big content that
//! stands still while others wait gives its place away and starts anew later, with what the partial file has by then.
//!
//! A small content is asked for by the holder's own number for a change that has it, where that is known: neighbours
//! go into one range, so that a question costs next to nothing, whatever it asks for. What doesn't come so is asked for by its
//! hash, of the same peer or of another.
//!
//! Whoever calls must answer each of these questions. A disk that is full or broken isn't a peer's fault: forget the
//! content instead of reporting its chunks as bad.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::chunk::ContentHash;
use crate::ids::SessionId;
use crate::manifest::{ChunkRef, ContentRoot, ManifestError, ManifestReader};
use crate::message::{BadChunk, Contents, Have, Request};

mod answer;
mod ask;
mod bits;
mod chunks;
mod content;
mod disk;
mod gossip;
mod holders;
mod peer;
mod query;
#[cfg(test)]
mod tests;

pub use query::{FetchStatus, PeerStatus};

use content::{Content, Key, Stage};
use peer::Peer;

/// Big files that are collected at once.
pub const MAX_ACTIVE: usize = 3;
/// Bytes under way and waiting to be written, over all peers.
pub const MAX_TOTAL_IN_FLIGHT: u64 = 64 << 20;
/// Small contents that should be wanted at once.
pub const MAX_SMALL: usize = 4096;
/// Bytes of small contents that should be wanted at once.
pub const MAX_SMALL_BYTES: u64 = 64 << 20;
/// Contents of any kind that should be wanted at once, held by somebody or not.
pub const MAX_WANTED: usize = 65_536;
/// Chunks of a big file. The average file of 16 TiB has this many.
pub const MAX_CHUNKS: u32 = 1 << 24;
/// Bad objects after which a peer is dropped.
pub const MAX_BAD: u8 = 3;
/// Contents that came wrong under their numbers, and chunks that came wrong for the first time, after which a peer gets no
/// more credit. They are asked for again, by hash and with a complaint, so an honest peer whose file was edited a
/// moment ago is not taken for a liar.
pub const MAX_ODD: u16 = 256;

/// Who holds what was just announced says so by itself within this time, as a rule: a question would be in vain.
const HEARS_WITHIN: Duration = Duration::from_millis(400);
/// How often peers are asked who holds what nobody holds.
const WHO_HAS_EVERY: Duration = Duration::from_secs(5);

/// What the fetcher wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOutput {
    /// Send a request.
    Send(SessionId, Request),
    /// Ask for small contents by the session's numbers for them. Answered as a request is.
    SendContents(SessionId, Contents),
    /// Tell a session that a chunk came wrong from it. It is asked for it once more.
    Complain(SessionId, BadChunk),
    /// Take requests back. What arrives for them all the same may be passed on or not.
    Cancel(SessionId, Vec<u32>),
    /// Look these pages up locally; answered by [`Fetcher::supply_page`].
    NeedPages(Vec<ContentHash>),
    /// Work on the content's partial file.
    Temp(TempJob),
    /// A small content is here and has been checked.
    SmallDone {
        /// The content.
        content: ContentRoot,
        /// Its bytes.
        bytes: Bytes,
    },
    /// All chunks of a big content are in the partial file.
    BigDone {
        /// The content.
        content: ContentRoot,
        /// Its size in bytes.
        size: u64,
        /// Its pages, each once.
        pages: Vec<(ContentHash, Bytes)>,
        /// Its chunks in order.
        chunks: Arc<[ChunkRef]>,
    },
    /// The content can never be had as it was announced: its author signed something impossible. It is forgotten.
    Failed {
        /// The content.
        content: ContentRoot,
        /// The announced size.
        size: u64,
        /// What is wrong.
        error: FetchError,
    },
    /// Ask a session (`None`: all of them) which of these contents it holds.
    WhoHas(Option<SessionId>, Vec<ContentRoot>),
    /// Tell a session what we hold of an unfinished content.
    Announce(SessionId, Have),
    /// End the session and refuse the peer for an hour: it sent bad objects. It is removed already.
    Drop(SessionId),
}

/// Work on the partial file of a big content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TempJob {
    /// Say which chunks a left-over partial file has; answered by [`Fetcher::handle_temp_checked`].
    Check {
        /// The content.
        content: ContentRoot,
        /// Its size in bytes.
        size: u64,
        /// All of its chunks.
        chunks: Arc<[ChunkRef]>,
    },
    /// Copy these chunks from other local files into the partial file where possible; answered by
    /// [`Fetcher::handle_local`] for every one of them.
    CopyLocal {
        /// The content.
        content: ContentRoot,
        /// Its size in bytes.
        size: u64,
        /// Number, offset and name of each chunk.
        chunks: Vec<(u32, u64, ChunkRef)>,
    },
    /// Check the BLAKE3 hash and write a chunk into the partial file; answered by [`Fetcher::handle_written`].
    Write {
        /// The content.
        content: ContentRoot,
        /// Its size in bytes.
        size: u64,
        /// Where the chunk goes.
        offset: u64,
        /// Its number.
        index: u32,
        /// The hash to check.
        hash: ContentHash,
        /// The bytes, of the right length.
        bytes: Bytes,
    },
    /// Remove the partial file: nobody wants the content any more. Said by the caller of the fetcher, which
    /// [forgets](Fetcher::forget) it; not answered.
    Drop {
        /// The content.
        content: ContentRoot,
    },
}

/// Why a content can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The manifest is impossible.
    #[error("the manifest is unusable: {0}")]
    Manifest(#[from] ManifestError),
    /// A small content has another size than was announced.
    #[error("the content does not have the size that was announced")]
    Size,
    /// More chunks than fit in memory.
    #[error("the file has too many chunks")]
    TooManyChunks,
}

/// Something to ask a peer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    key: Key,
    part: Part,
}

/// Which part of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    Page(ContentHash),
    Unit(u32),
}

/// Where something was asked for.
#[derive(Debug, Clone, Copy)]
struct Ask {
    session: SessionId,
    id: u32,
    slot: u16,
}

/// The fetch scheduler of one folder. See the [module](self).
#[derive(Debug)]
pub struct Fetcher {
    now: Duration,
    random: u64,
    peers: BTreeMap<SessionId, Peer>,
    contents: BTreeMap<Key, Content>,
    names: BTreeMap<ContentRoot, Key>,
    next_key: Key,
    /// Everything asked for, and at whom: one peer, or two at the end.
    under_way: BTreeMap<Item, Vec<Ask>>,
    /// Bytes under way and waiting to be written.
    total: u64,
    outputs: VecDeque<FetchOutput>,
    /// Peers for which there may be something to ask.
    ready: BTreeSet<SessionId>,
    last_served: SessionId,
    /// Somebody wasn't asked because of the bound on all bytes.
    blocked: bool,
    /// Contents that nobody is known to hold.
    orphans: BTreeSet<Key>,
    /// Those of them that are asked about soon, and when.
    ask_soon: Vec<ContentRoot>,
    ask_soon_at: Duration,
    who_has_at: Duration,
    /// Big contents that somebody holds, in order of want.
    waiting: BTreeSet<Key>,
    active: BTreeSet<Key>,
    end_game_at: Duration,
    /// Sessions that are to end when nothing is awaited on them.
    draining: BTreeSet<SessionId>,
    /// Small contents that somebody holds.
    small: (usize, u64),
    /// Sizes of all wanted contents.
    wanted_bytes: u64,
}

impl Fetcher {
    /// A fetcher that wants nothing. The seed decides where random orders start; it should differ between devices.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            random: seed,
            peers: BTreeMap::new(),
            contents: BTreeMap::new(),
            names: BTreeMap::new(),
            next_key: 0,
            under_way: BTreeMap::new(),
            total: 0,
            outputs: VecDeque::new(),
            ready: BTreeSet::new(),
            last_served: SessionId(0),
            blocked: false,
            orphans: BTreeSet::new(),
            ask_soon: Vec::new(),
            ask_soon_at: Duration::ZERO,
            who_has_at: Duration::ZERO,
            waiting: BTreeSet::new(),
            active: BTreeSet::new(),
            end_game_at: Duration::ZERO,
            draining: BTreeSet::new(),
            small: (0, 0),
            wanted_bytes: 0,
        }
    }

    /// Adds a session. It is asked about everything that nobody holds, and about big files under way.
    pub fn add_peer(&mut self, session: SessionId, now: Duration) {
        self.tick(now);
        match self.peers.get_mut(&session) {
            Some(peer) if peer.resting => peer.resting = false,
            Some(_) => return,
            None => {
                self.peers.insert(session, Peer::new(self.now));
            }
        }
        self.ready.insert(session);
        let keys = self.orphans.iter().chain(&self.active);
        let roots: Vec<_> = keys
            .filter_map(|key| Some(self.contents.get(key)?.root))
            .collect();
        self.ask_who_has(Some(session), &roots);
    }

    /// Removes a session: what it had under way is asked for elsewhere.
    pub fn remove_peer(&mut self, session: SessionId) {
        self.forget_holder(session);
        self.draining.remove(&session);
        let Some(peer) = self.peers.remove(&session) else {
            return;
        };
        self.release(peer.in_flight);
        for (id, asked) in peer.requests {
            for slot in asked.slots.into_iter().filter(|slot| slot.live) {
                self.drop_ask(slot.item, session, id);
                self.requeue(slot.item);
            }
        }
    }

    /// Asks this session for nothing more: its peer is asked over another one. What was asked of it is still awaited
    /// from it, so that no byte comes twice; [`Fetcher::remove_peer`] gives that up, [`Fetcher::add_peer`] takes
    /// the session back.
    pub fn rest_peer(&mut self, session: SessionId) {
        if let Some(peer) = self.peers.get_mut(&session) {
            peer.resting = true;
            self.forget_holder(session);
        }
    }

    /// Tells by [`Fetcher::drained`] when nothing is awaited any more on a session that isn't asked.
    pub fn drain(&mut self, session: SessionId) {
        self.draining.insert(session);
    }

    /// The next session that was to be drained, and is. One that is asked again isn't.
    pub fn drained(&mut self) -> Option<SessionId> {
        let peers = &self.peers;
        let done = |session: &&SessionId| {
            let peer = peers.get(session);
            peer.is_none_or(|peer| peer.resting && peer.requests.is_empty())
        };
        let session = *self.draining.iter().find(done)?;
        self.draining.remove(&session);
        Some(session)
    }

    /// Whether this session is asked for anything.
    fn is_asked(&self, session: SessionId) -> bool {
        self.peers.get(&session).is_some_and(|peer| !peer.resting)
    }

    /// A session counts no more among the holders of anything.
    fn forget_holder(&mut self, session: SessionId) {
        self.ready.remove(&session);
        let keys: Vec<_> = self
            .contents
            .iter_mut()
            .filter_map(|(key, content)| {
                content.watchers.remove(&session);
                content.holders.contains_key(&session).then_some(*key)
            })
            .collect();
        for key in keys {
            self.drop_holder(key, session);
        }
    }

    /// Wants a content that these sessions hold. If it is wanted already then the holders are added, and another
    /// size is ignored: at most one of the two is right, and a wrong one ends in [`FetchOutput::Failed`].
    pub fn want(&mut self, content: ContentRoot, size: u64, holders: &[SessionId], now: Duration) {
        self.tick(now);
        let news = !self.names.contains_key(&content);
        if news {
            if let Err(error) = ManifestReader::new(content, size) {
                let error = error.into();
                self.outputs.push_back(FetchOutput::Failed {
                    content,
                    size,
                    error,
                });
                return;
            }
            if size == 0 {
                self.outputs.push_back(FetchOutput::SmallDone {
                    content,
                    bytes: Bytes::new(),
                });
                return;
            }
            self.insert(content, size);
        }
        for session in holders {
            self.add_holder(content, *session);
        }
        if news
            && let Some(key) = self.names.get(&content)
            && self.orphans.contains(key)
        {
            if self.ask_soon.is_empty() {
                self.ask_soon_at = self.now + HEARS_WITHIN;
            }
            self.ask_soon.push(content);
        }
    }

    fn insert(&mut self, root: ContentRoot, size: u64) {
        let key = self.next_key;
        self.next_key += 1;
        let stage = if root.height == 0 {
            Stage::Small {
                queued: true,
                numbers: Vec::new(),
            }
        } else {
            Stage::Waiting
        };
        let (holders, watchers) = (BTreeMap::new(), BTreeMap::new());
        self.contents.insert(
            key,
            Content {
                root,
                size,
                holders,
                watchers,
                stage,
            },
        );
        self.names.insert(root, key);
        self.wanted_bytes = self.wanted_bytes.saturating_add(size);
        self.start_who_has();
        self.orphans.insert(key);
    }

    /// Takes a want back. Reports of the disk that are still to come are ignored.
    pub fn forget(&mut self, content: ContentRoot) {
        if let Some(key) = self.names.get(&content) {
            self.remove(*key);
        }
    }

    /// Removes a content and everything under way for it.
    fn remove(&mut self, key: Key) {
        let sessions: Vec<_> = match self.contents.get(&key) {
            Some(content) if content.is_small() => content.holders.keys().copied().collect(),
            _ => Vec::new(),
        };
        self.abandon_all(key);
        for session in sessions {
            self.drop_holder(key, session);
        }
        let Some(content) = self.contents.remove(&key) else {
            return;
        };
        self.release_writes(&content.stage);
        self.names.remove(&content.root);
        self.wanted_bytes = self.wanted_bytes.saturating_sub(content.size);
        self.orphans.remove(&key);
        if self.orphans.is_empty() {
            self.ask_soon.clear();
        }
        self.waiting.remove(&key);
        self.active.remove(&key);
        self.activate();
    }

    /// Bytes that wait for the disk don't count any more.
    fn release_writes(&mut self, stage: &Stage) {
        let Stage::Chunks(chunks) = stage else { return };
        for (session, len) in chunks.writers() {
            if let Some(peer) = self.peers.get_mut(&session) {
                peer.writing = peer.writing.saturating_sub(len);
                self.ready.insert(session);
            }
            self.release(len);
        }
    }

    /// Brings the clock up to date.
    fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// The next random number (splitmix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Bytes are no longer under way.
    fn release(&mut self, bytes: u64) {
        self.total = self.total.saturating_sub(bytes);
        if self.blocked && bytes > 0 {
            self.blocked = false;
            self.wake_all();
        }
    }

    fn wake_all(&mut self) {
        self.ready.extend(self.peers.keys());
    }
}
