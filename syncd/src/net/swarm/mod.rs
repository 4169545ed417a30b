//! All sessions of this device and whom to dial: a machine without sockets, actors, clock or chance of its own.
//!
//! It owns the address book, the list of sessions, the bans and the limits, and decides: whom to dial and when,
//! which session to take, to let wait or to turn away, which of several sessions with one peer is used, and who is
//! refused. Whoever drives it hands in what happens, with the time, and does what [`Swarm::poll_output`] says;
//! it must never touch what a session carries.
//!
//! | input | what follows |
//! |---|---|
//! | [`add_folder`](Swarm::add_folder), [`remove_folder`](Swarm::remove_folder) | the folder is known, or forgotten with its sessions |
//! | [`handle_folder_up`](Swarm::handle_folder_up), [`handle_folder_down`](Swarm::handle_folder_down) | its members are dialled and let in, or not |
//! | [`handle_discovered`](Swarm::handle_discovered) | into the book |
//! | [`handle_addresses`](Swarm::handle_addresses) | others than before: everything is tried anew |
//! | [`handle_session`](Swarm::handle_session), [`handle_unreached`](Swarm::handle_unreached) | what became of a dial, or who came |
//! | [`handle_word`](Swarm::handle_word), [`handle_heard`](Swarm::handle_heard), [`handle_quiet`](Swarm::handle_quiet), [`handle_drained`](Swarm::handle_drained) | which of several sessions with a peer is used may change (see [`Paths`]) |
//! | [`handle_over`](Swarm::handle_over) | a session has ended |
//! | [`ban`](Swarm::ban) | a peer sent bad data |
//! | [`handle_timeout`](Swarm::handle_timeout) | dials that are due, and the end of what waits |
//!
//! A session that comes while its folder is still being opened waits for it: a member that is a second early
//! isn't sent away like a stranger. How fast is dialled, and how pauses grow and end, is the book's business (see
//! [`sync_discovery::book`]).

mod dialling;
mod limits;
mod sessions;
#[cfg(test)]
mod tests;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sync_core::{
    ids::{PeerKey, SessionId},
    net_message::NetControl,
};
use sync_discovery::{
    Discovered, FolderTag, Source,
    book::{AddressBook, BookConfig, BookEntry, Dial, FailReason},
};
use sync_net::{
    CloseReason, Goodbye, Level,
    paths::{PathClass, Paths},
};

pub use dialling::Unreached;
pub use limits::Full;

/// How long a peer that sent bad data is refused.
pub const BAN: Duration = Duration::from_secs(3600);
/// How long a session waits for its folder to be opened: both devices of a pair may just have been started. Its peer
/// takes silence for longer than that for death.
pub const FOLDER_PATIENCE: Duration = Duration::from_secs(8);
/// A folder that has been down for longer than this isn't about to open: its members hear nothing.
pub const OPENING: Duration = Duration::from_secs(60);
/// Peers remembered as banned.
const MAX_BANNED: usize = 4096;

/// What is known of a session that has been established.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The folder that it is for.
    pub folder: FolderTag,
    /// Who it is with.
    pub peer: PeerKey,
    /// What the peer has proved to be.
    pub level: Level,
    /// The far end.
    pub remote: SocketAddr,
    /// The port that the peer says it listens on, 0 if none.
    pub listens: u16,
    /// How good the way is.
    pub path: PathClass,
    /// Whether the system does the work of its transport.
    pub by_system: bool,
    /// The number of the peer's run.
    pub boot_nonce: u64,
    /// How the address was found, for a session that we dialled.
    pub dialled: Option<Source>,
}

impl Facts {
    /// How the peer was found.
    #[must_use]
    pub fn found_by(&self) -> Source {
        self.dialled.unwrap_or(Source::Incoming)
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Dial, and tell what became of it.
    Dial(Dial),
    /// Drive a session and give it to its folder.
    Take {
        /// The session.
        session: SessionId,
        /// Whether it is the only one with this peer in the folder.
        first: bool,
    },
    /// Say goodbye to a session that isn't taken.
    TurnAway {
        /// The session.
        session: SessionId,
        /// What to say.
        goodbye: Goodbye,
    },
    /// A folder's index and questions to the peer go over this session from now on.
    Use(SessionId),
    /// A session doesn't answer, and isn't used: what was asked on it is asked anew.
    Lost(SessionId),
    /// A session is to end: tell when nothing is awaited on it.
    Drain(SessionId),
    /// Ask whether the peer is there.
    Probe(SessionId),
    /// Tell a peer something about a session, on it.
    Say(SessionId, NetControl),
    /// Say goodbye to a session that was taken; its end is told later.
    Close {
        /// The session.
        session: SessionId,
        /// What to say.
        goodbye: Goodbye,
    },
    /// A session that was taken is over: tell its folder.
    Gone {
        /// The session.
        session: SessionId,
        /// Whether it was the last one with this peer in the folder.
        last: bool,
        /// Why it is over.
        reason: CloseReason,
    },
    /// [`Swarm::answered`] has changed.
    Gate,
    /// The machine's addresses changed: what has to do with them is to begin anew.
    NetworkChanged,
    /// Something to tell people.
    Notice(Notice),
}

/// What people may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A peer is refused for an hour.
    Banned {
        /// The folder.
        folder: FolderTag,
        /// The peer.
        peer: PeerKey,
        /// What it did.
        reason: String,
    },
    /// Sessions are refused until there is room. Told once, until there is.
    Full {
        /// The folder.
        folder: FolderTag,
        /// Who was refused.
        remote: SocketAddr,
        /// What there is too much of.
        full: Full,
    },
}

/// How a folder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is about to open.
    Opening {
        since: Duration,
    },
    Up,
    Down,
}

#[derive(Debug)]
struct Folder {
    /// What its members know this device by.
    ours: PeerKey,
    stage: Stage,
}

#[derive(Debug)]
struct Session {
    facts: Facts,
    /// It was the last way to its peer, and fell silent: other addresses are tried.
    doubted: bool,
    /// It was told to end, and hasn't yet.
    closing: bool,
}

/// The machine. See the [module](self).
#[derive(Debug)]
pub struct Swarm {
    book: AddressBook,
    folders: BTreeMap<FolderTag, Folder>,
    sessions: BTreeMap<SessionId, Session>,
    /// The ways to each peer in each folder.
    ways: BTreeMap<(FolderTag, PeerKey), Paths>,
    /// Sessions that came before their folder was open, oldest first.
    waiting: VecDeque<(Duration, SessionId, Facts)>,
    banned: BTreeMap<(FolderTag, PeerKey), Duration>,
    /// Folders that were said to have too many sessions, until they have fewer.
    full: BTreeSet<FolderTag>,
    /// The machine's addresses when they were last told.
    addresses: Option<BTreeSet<IpAddr>>,
    next_session: u64,
    stopping: bool,
    /// When to look at everything again.
    due: Option<Duration>,
    outputs: VecDeque<Output>,
}

impl Swarm {
    /// Without folders and sessions. The seed only spreads delays. Sessions are numbered from `first_session`.
    #[must_use]
    pub fn new(config: BookConfig, seed: &[u8; 32], first_session: u64, now: Duration) -> Self {
        Self {
            book: AddressBook::new(config, seed, now),
            folders: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ways: BTreeMap::new(),
            waiting: VecDeque::new(),
            banned: BTreeMap::new(),
            full: BTreeSet::new(),
            addresses: None,
            next_session: first_session,
            stopping: false,
            due: None,
            outputs: VecDeque::new(),
        }
    }

    /// A folder is on the list, and about to be opened. `ours` is what its members know this device by.
    pub fn add_folder(&mut self, folder: FolderTag, ours: PeerKey, now: Duration) {
        let Entry::Vacant(new) = self.folders.entry(folder) else {
            return;
        };
        let stage = Stage::Opening { since: now };
        new.insert(Folder { ours, stage });
        self.book.rest(folder);
        self.outputs.push_back(Output::Gate);
        self.look_at(now + OPENING);
    }

    /// A folder is off the list: its members are told so.
    pub fn remove_folder(&mut self, folder: FolderTag) {
        if self.folders.remove(&folder).is_none() {
            return;
        }
        self.close_folder(folder, Goodbye::FolderRemoved);
        self.book.remove_folder(folder);
        self.banned.retain(|(of, _), _| *of != folder);
        self.full.remove(&folder);
        self.outputs.push_back(Output::Gate);
    }

    /// A folder can take sessions. Those that it had before mean nothing to it.
    pub fn handle_folder_up(&mut self, folder: FolderTag, now: Duration) {
        let Some(entry) = self.folders.get_mut(&folder) else {
            return;
        };
        let before = std::mem::replace(&mut entry.stage, Stage::Up);
        if before == Stage::Up {
            self.close_folder(folder, Goodbye::Done);
        }
        self.book.wake(folder, now);
        self.outputs.push_back(Output::Gate);
        for (session, facts) in self.take_waiting(folder) {
            self.judge_session(session, facts, now);
        }
        self.look_at(now);
    }

    /// A folder can't take sessions for now.
    pub fn handle_folder_down(&mut self, folder: FolderTag, now: Duration) {
        let Some(entry) = self.folders.get_mut(&folder) else {
            return;
        };
        if entry.stage == Stage::Up {
            entry.stage = Stage::Opening { since: now };
        }
        self.book.rest(folder);
        self.end_sessions(folder, Goodbye::Done);
        self.outputs.push_back(Output::Gate);
        self.look_at(now + OPENING);
    }

    /// What a mechanism has found. Of a folder that isn't known it is dropped.
    pub fn handle_discovered(&mut self, what: Discovered, now: Duration) {
        let folder = match &what {
            Discovered::Found(candidate) => candidate.folder,
            Discovered::Gone { folder, .. } => *folder,
        };
        if self.folders.contains_key(&folder) {
            self.book.handle_discovered(what, now);
            self.look_at(now);
        }
    }

    /// The machine's addresses. If they are others than before, every address is tried anew.
    pub fn handle_addresses(&mut self, addresses: BTreeSet<IpAddr>, now: Duration) {
        let before = self.addresses.replace(addresses);
        if before.is_some() && before != self.addresses {
            self.book.handle_network_changed(now);
            self.outputs.push_back(Output::NetworkChanged);
            self.look_at(now);
        }
    }

    /// A dial came to nothing.
    pub fn handle_unreached(&mut self, dial: &Dial, why: Unreached, now: Duration) {
        match why {
            Unreached::Own => self.book.ours(dial.addr, now),
            Unreached::Failed(reason, detail) => {
                self.book
                    .failed(dial.folder, dial.addr, reason, &detail, now);
            }
        }
        self.look_at(now);
    }

    /// The user wants a folder's members looked for now.
    pub fn refresh(&mut self, folder: FolderTag, now: Duration) {
        self.book.refresh_now(folder, now);
        self.look_at(now);
    }

    /// Says goodbye to everybody, and dials nobody any more.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.due = None;
        let all: Vec<_> = self.folders.keys().copied().collect();
        for folder in all {
            self.close_folder(folder, Goodbye::Stopping);
        }
    }

    /// Does what is due by time.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.stopping {
            return;
        }
        self.due = None;
        self.banned.retain(|_, until| now < *until);
        while let Some((since, session, _)) = self.waiting.front()
            && now >= *since + FOLDER_PATIENCE
        {
            let session = *session;
            if let Some((_, _, facts)) = self.waiting.pop_front() {
                self.not_open(session, &facts, now);
            }
        }
        let mut closed = false;
        for folder in self.folders.values_mut() {
            if let Stage::Opening { since } = folder.stage
                && now >= since + OPENING
            {
                folder.stage = Stage::Down;
                closed = true;
            }
        }
        if closed {
            self.outputs.push_back(Output::Gate);
        }
        self.ways_in_time(now);
        for dial in self.book.due_dials(now, usize::MAX) {
            self.outputs.push_back(Output::Dial(dial));
        }
        self.plan(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; that may be now.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        self.due
    }

    /// Whether a folder is known.
    #[must_use]
    pub fn knows(&self, folder: FolderTag) -> bool {
        self.folders.contains_key(&folder)
    }

    /// The folders whose members are answered.
    pub fn answered(&self) -> impl Iterator<Item = FolderTag> + '_ {
        let open = |(_, folder): &(&FolderTag, &Folder)| folder.stage != Stage::Down;
        self.folders.iter().filter(open).map(|(tag, _)| *tag)
    }

    /// Every candidate of a folder and what became of it.
    #[must_use]
    pub fn candidates(&self, folder: FolderTag) -> Vec<BookEntry> {
        self.book.snapshot(folder)
    }

    /// Whether no session is left.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
    }

    fn plan(&mut self, now: Duration) {
        let mut next = self.book.next_timeout(now);
        let opening = |folder: &Folder| match folder.stage {
            Stage::Opening { since } => Some(since + OPENING),
            _ => None,
        };
        let patience = self.waiting.front().map(|(at, ..)| *at + FOLDER_PATIENCE);
        let others = self.folders.values().filter_map(opening);
        for at in others
            .chain(patience)
            .chain(self.banned.values().min().copied())
            .chain(self.ways.values().filter_map(Paths::next_timeout).min())
        {
            next = Some(next.map_or(at, |n| n.min(at)));
        }
        if let Some(at) = next {
            self.look_at(at);
        }
    }

    fn look_at(&mut self, at: Duration) {
        if !self.stopping {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }

    fn refused(&mut self, facts: &Facts, why: &str, now: Duration) {
        let (folder, addr) = (facts.folder, facts.remote);
        self.book
            .failed(folder, addr, FailReason::Rejected, why, now);
    }
}
