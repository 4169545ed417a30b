//! What goes into a folder's engine and what comes out.

use bytes::Bytes;

use crate::{
    disk::{Action, Outcome, ScanItem, WriteTrouble},
    fetch::TempJob,
    ids::{Generation, PeerKey, ReplicaId, SessionId},
    keys::FolderKeys,
    manifest::ContentRoot,
    message::{EngineMessage, Message},
    path::RelPath,
    secret::Level,
    trouble::Trouble,
};

/// What an engine starts from. The numbers come from the folder's identity file, where they were
/// reserved durably before: no number is ever given out twice.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder's keys; their level decides whether local changes are published.
    pub keys: FolderKeys,
    /// Era of the secret.
    pub era: u32,
    /// Who signs our changes.
    pub replica: ReplicaId,
    /// First counter that may be used.
    pub counters: std::ops::Range<u64>,
    /// First change number that may be used.
    pub seqs: std::ops::Range<u64>,
    /// Drawn at random by the shell: becomes the name of the numbering if the index is new.
    pub numbering: Generation,
    /// Random seed, for jitter and for the order of pieces.
    pub seed: u64,
    /// Time between full scans, in seconds.
    pub rescan_s: u64,
    /// The folder was paused when the daemon stopped.
    pub paused: bool,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A session with a member of the folder stands. While there is another one with that member, it stands by.
    PeerUp {
        /// Its name here.
        session: SessionId,
        /// Who it is.
        peer: PeerKey,
        /// What it has proved to be.
        level: Level,
    },
    /// A session is gone.
    PeerDown {
        /// Which.
        session: SessionId,
    },
    /// The index of this session's peer, and contents, go over it from now on; other sessions with the peer stand
    /// by. A peer's first session needs no such word.
    Prefer {
        /// Which.
        session: SessionId,
    },
    /// A session that isn't preferred any more doesn't answer: what was asked over it is asked anew.
    Silent {
        /// Which.
        session: SessionId,
    },
    /// A session that isn't preferred is to end: [`Output::Drained`] tells when nothing is awaited on it any more.
    Drain {
        /// Which.
        session: SessionId,
    },
    /// A control message arrived.
    Message {
        /// From where.
        session: SessionId,
        /// What.
        message: EngineMessage,
    },
    /// Objects of answers arrived.
    Objects {
        /// From where.
        session: SessionId,
        /// In the order in which they came.
        objects: Vec<Arrival>,
    },
    /// The watcher saw something happen at these paths.
    Dirty(Vec<RelPath>),
    /// The watcher lost track, or the user asked: look at everything.
    DirtyAll,
    /// Part of a scan's findings.
    Scanned {
        /// Which scan.
        scan: u64,
        /// What was found.
        items: Vec<ScanItem>,
    },
    /// A scan has ended.
    ScanDone {
        /// Which scan.
        scan: u64,
        /// Names that can't be synced, with the reason.
        skipped: Vec<(Vec<u8>, String)>,
        /// Why it broke off, if it did: what it didn't reach is unknown, not deleted.
        error: Option<String>,
    },
    /// A group of actions is through.
    Applied {
        /// Which group.
        group: u64,
        /// One for each action.
        outcomes: Vec<Outcome>,
    },
    /// Everything committed before the flush was asked for is durable.
    Flushed {
        /// Which flush.
        flush: u64,
        /// Why it isn't, if it failed.
        error: Option<String>,
    },
    /// More numbers were reserved.
    Reserved {
        /// New end of the counters.
        counters: u64,
        /// New end of the change numbers.
        seqs: u64,
    },
    /// Which chunks of a partial file are good.
    TempChecked {
        /// Of which content.
        content: ContentRoot,
        /// One for each chunk.
        have: Vec<bool>,
    },
    /// Which chunks could be copied from local files.
    CopiedLocal {
        /// Of which content.
        content: ContentRoot,
        /// Number of the chunk, and whether it stands in the temporary now.
        results: Vec<(u32, bool)>,
    },
    /// A chunk was written into its temporary, or was found to be wrong.
    Written {
        /// Of which content.
        content: ContentRoot,
        /// Number of the chunk.
        index: u32,
        /// Whether its bytes have the right hash and were written.
        ok: bool,
        /// Why the disk didn't take it, if it didn't.
        trouble: Option<WriteTrouble>,
    },
    /// The root is gone, replaced or unreadable: nothing is touched until it is back.
    RootLost {
        /// What, and what to do.
        reason: String,
    },
    /// The root is there again.
    RootFound,
    /// The user pauses or resumes the folder.
    Pause(bool),
    /// The user lets held deletions go.
    Approve,
    /// The user wants the files of held deletions back.
    Reject,
    /// Nothing but time has passed.
    Tick,
}

/// An object of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// To which question.
    pub request: u32,
    /// Its place in it.
    pub index: usize,
    /// Its bytes; `None`: the peer doesn't hold it.
    pub object: Option<Bytes>,
}

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanWhat {
    /// The whole tree.
    All,
    /// These paths and what is below them.
    Paths(Vec<RelPath>),
}

/// Something to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a control message.
    Send {
        /// Where.
        session: SessionId,
        /// What.
        message: Message,
    },
    /// End a session with a peer that misbehaves, and don't talk to it for a while.
    Ban {
        /// Which.
        session: SessionId,
        /// Why.
        reason: String,
    },
    /// Nothing is awaited any more on a session that was to be drained.
    Drained {
        /// Which.
        session: SessionId,
    },
    /// Look at the disk.
    Scan {
        /// Name of the scan.
        scan: u64,
        /// What to look at.
        what: ScanWhat,
    },
    /// Change the disk.
    Apply {
        /// Name of the group.
        group: u64,
        /// In this order.
        actions: Vec<Action>,
    },
    /// Make everything committed so far durable.
    Flush {
        /// Name of the flush.
        flush: u64,
    },
    /// Reserve numbers up to here, durably.
    Reserve {
        /// Counters.
        counters: u64,
        /// Change numbers.
        seqs: u64,
    },
    /// Work on the temporary of an unfinished file. All but a drop are answered: by [`Input::TempChecked`],
    /// [`Input::CopiedLocal`] and [`Input::Written`].
    Temp(TempJob),
    /// Something that people may want to hear of.
    Event(Event),
    /// The index can't be used: stop the folder and open it anew.
    IndexFailed(crate::index::IndexError),
}

/// Something that people may want to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A local change was found and published.
    LocalChange {
        /// Where.
        path: RelPath,
        /// `file`, `dir`, `symlink` or `deleted`.
        what: &'static str,
    },
    /// A peer's change stands on this disk.
    RemoteChange {
        /// Where.
        path: RelPath,
        /// `file`, `dir`, `symlink` or `deleted`.
        what: &'static str,
    },
    /// Two edits met; the loser is kept under this name.
    Conflict {
        /// Where.
        path: RelPath,
        /// Its copy.
        copy: RelPath,
    },
    /// Deletions are held back until the user decides.
    DeletionsHeld {
        /// How many files.
        files: u64,
    },
    /// Something can't be synced here.
    ItemFailed {
        /// Where.
        path: RelPath,
        /// Why.
        reason: Trouble,
    },
    /// The folder's state has changed (see the status).
    State(super::status::State),
}
