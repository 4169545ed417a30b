//! What a folder says of itself, in the words of the control API.

use std::{collections::BTreeMap, sync::Arc};

use actix::Addr;
use sync_core::{
    control::{
        Counts, Dot, ErrorItem, FileInfo, FileState, Folder, FolderState, Held, Holder, Need, Peer,
        ScanProgress, VersionInfo, path_text,
    },
    engine::{FolderStatus, ItemError, State},
    entry::{Entry, Kind},
    ids::{PeerKey, SessionId},
    index::{Count, IndexEntry, PeerTag, flag},
    keys::FolderKeys,
    path::RelPath,
    record::Record,
    time::Utc,
    trouble::Trouble,
    version::Version,
};
use sync_net::actor::PeerActor;

use crate::{
    folders::{self, FolderEntry},
    net::PeerInfo,
    roster::RosterEntry,
};

/// A session with a peer, as the folder knows it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(super) info: Arc<PeerInfo>,
    pub(super) actor: Addr<PeerActor>,
}

/// A folder that isn't open: nothing is known but its entry in the list.
pub(crate) fn closed(
    entry: &RosterEntry,
    state: FolderState,
    reason: Option<String>,
    hint: Option<String>,
) -> Folder {
    let stopped = reason.as_deref().filter(|_| state == FolderState::Stopped);
    let reason_kind = stopped.map(|reason| sort_of(reason).to_owned());
    Folder {
        name: entry.name.clone(),
        path: entry.path.to_string_lossy().into_owned(),
        level: entry.member.keys().level(),
        state: if entry.paused && state == FolderState::Scanning {
            FolderState::Paused
        } else {
            state
        },
        reason,
        reason_kind,
        hint,
        connected: 0,
        local: Counts::default(),
        global: Counts::default(),
        need: Need::default(),
        peers: Vec::new(),
        conflicts: 0,
        errors: 0,
        local_edits: 0,
        later: 0,
        known_hosts: folders::known_hosts(&entry.options),
        settings: folders::shown(&entry.options),
        rates: sync_core::control::Rates::default(),
        scan: None,
        held: None,
    }
}

/// A folder on the list whose secret is gone.
pub(crate) fn without_secret(entry: &FolderEntry) -> Folder {
    Folder {
        name: entry.name.clone(),
        path: entry.path.to_string_lossy().into_owned(),
        level: entry.level,
        state: FolderState::Stopped,
        reason: Some("its secret isn't in secrets.toml".to_owned()),
        reason_kind: Some("no-secret".to_owned()),
        hint: Some(folders::give_secret(entry)),
        connected: 0,
        local: Counts::default(),
        global: Counts::default(),
        need: Need::default(),
        peers: Vec::new(),
        conflicts: 0,
        errors: 0,
        local_edits: 0,
        later: 0,
        known_hosts: folders::known_hosts(&entry.options),
        settings: folders::shown(&entry.options),
        rates: sync_core::control::Rates::default(),
        scan: None,
        held: None,
    }
}

/// A folder at work.
pub(super) fn open(
    entry: &RosterEntry,
    status: &FolderStatus,
    sessions: &BTreeMap<SessionId, Link>,
    scan: Option<ScanProgress>,
    hint: Option<String>,
) -> Folder {
    let mut peers: BTreeMap<PeerKey, Peer> = BTreeMap::new();
    let mut rates = sync_core::control::Rates::default();
    for peer in &status.peers {
        let Some(link) = sessions.get(&peer.session) else {
            continue;
        };
        let line = link.info.report(peer.in_sync);
        rates.up += line.rates.up;
        rates.down += line.rates.down;
        // Of two sessions with one peer, for a moment, the one that is further.
        let known = peers.entry(peer.peer).or_insert_with(|| line.clone());
        if peer.in_sync {
            *known = line;
        }
    }
    let state = match status.state {
        State::Stopped => FolderState::Stopped,
        State::Paused => FolderState::Paused,
        State::Held => FolderState::Held,
        State::Scanning => FolderState::Scanning,
        State::Syncing => FolderState::Syncing,
        State::InSync => FolderState::InSync,
        State::NoPeers => FolderState::NoPeers,
    };
    let name = &entry.name;
    let hint = match state {
        FolderState::Held => Some(format!(
            "`syncctl approve {name}` lets the deletions go, `syncctl reject {name}` fetches the files back"
        )),
        _ => hint.or_else(|| status.reason.as_ref().and_then(Trouble::remedy)),
    };
    let need = status.totals.need;
    let local = counts(status.totals.local);
    Folder {
        state,
        reason: status.reason.as_ref().map(Trouble::to_string),
        reason_kind: status.reason.as_ref().map(|t| t.kind().to_owned()),
        hint,
        connected: u32::try_from(peers.len()).unwrap_or(u32::MAX),
        global: counts(status.totals.global),
        need: Need {
            files: need.files,
            bytes: need.bytes,
            deletes: need.deletes,
        },
        peers: peers.into_values().collect(),
        conflicts: status.conflicts,
        errors: status.errors,
        local_edits: status.local_edits,
        later: status.later,
        rates,
        scan,
        held: (status.held > 0).then_some(Held {
            deletes: status.held,
            of: local.files + status.held,
        }),
        local,
        ..closed(entry, state, None, None)
    }
}

fn counts(count: Count) -> Counts {
    Counts {
        files: count.files,
        dirs: count.dirs,
        bytes: count.bytes,
    }
}

/// What is stuck, what is tried next first.
pub(super) fn errors(name: &str, items: Vec<ItemError>) -> Vec<ErrorItem> {
    const MOST: usize = 5_000;
    let mut items = items;
    items.sort_by_key(|item| item.next_try_s.unwrap_or(u64::MAX));
    let one = |item: ItemError| {
        let (path, path_hex) = path_text(&item.path);
        ErrorItem {
            folder: name.to_owned(),
            path,
            path_hex,
            kind: item.reason.kind().to_owned(),
            hint: item.reason.remedy(),
            reason: item.reason.to_string(),
            next_try_s: item.next_try_s,
        }
    };
    items.into_iter().take(MOST).map(one).collect()
}

/// A word for programs, of why a folder can't be opened. The index tells that as text only; everything else has a
/// [`Trouble::kind`].
fn sort_of(reason: &str) -> &'static str {
    let reason = reason.to_lowercase();
    let words = [
        ("permission", "permission"),
        ("no space", "no-space"),
        ("full", "no-space"),
        ("storage space", "no-space"),
        ("quota", "no-space"),
        ("busy", "busy"),
        ("name", "name"),
        ("component", "name"),
        ("read-only", "read-only"),
    ];
    words
        .iter()
        .find(|(word, _)| reason.contains(word))
        .map_or("other", |(_, kind)| kind)
}

/// Why a file is as it is.
pub(super) fn file(
    entry: &RosterEntry,
    path: &[u8],
    known: Option<&IndexEntry>,
    stuck: Option<ItemError>,
    sessions: &BTreeMap<SessionId, Link>,
) -> FileInfo {
    let keys = entry.member.keys();
    let (text, path_hex) = path_text(path);
    let mut info = FileInfo {
        folder: entry.name.clone(),
        path: text,
        path_hex,
        state: FileState::Absent,
        reason: None,
        kind: None,
        size: None,
        mtime: None,
        executable: None,
        root: None,
        version: None,
        author: None,
        held: false,
        holders: Vec::new(),
        waits_for: None,
        progress: None,
        next_try_s: stuck.as_ref().and_then(|s| s.next_try_s),
    };
    let record = known
        .and_then(|e| e.announced())
        .and_then(|raw| open_record(keys, raw));
    if let Some(Record { entry, version, .. }) = &record {
        describe(&mut info, entry, version);
    }
    let Some(known) = known else {
        if let Some(stuck) = stuck {
            info.state = FileState::Stuck;
            info.reason = Some(stuck.reason.in_full());
        } else {
            info.reason = Some("nothing at this path is known".to_owned());
        }
        return info;
    };
    info.held = known.holds();
    let deleted = record
        .as_ref()
        .is_some_and(|r| r.entry.kind == Kind::Tombstone);
    if let Some(want) = &known.want {
        info.holders = holders(&want.holders, sessions);
        let nobody = info.holders.iter().all(|h| !h.connected);
        (info.state, info.waits_for) = match want.need {
            None => (FileState::Ignored, None),
            Some(_) if nobody && !deleted => (
                FileState::Waiting,
                Some("a peer that holds it to be connected".to_owned()),
            ),
            Some(_) => (FileState::Needed, Some("its turn".to_owned())),
        };
    } else if deleted {
        info.state = FileState::Deleted;
    } else if known.held.is_some() {
        info.state = FileState::InSync;
    } else if known.stat.is_some() {
        info.state = FileState::Changed;
    }
    if known.flags & flag::LOCAL_EDIT != 0 {
        info.state = FileState::LocalEdit;
        info.reason =
            Some("it was changed here, and this device may only read the folder".to_owned());
    }
    if known.flags & flag::HELD_BACK != 0 {
        info.state = FileState::Waiting;
        info.waits_for = Some("its deletion to be approved or rejected".to_owned());
    }
    if let Some(stuck) = stuck {
        info.state = FileState::Stuck;
        info.reason = Some(stuck.reason.in_full());
    }
    info
}

fn open_record(keys: &FolderKeys, raw: &sync_core::record::RawRecord) -> Option<Record> {
    Record::from_store(keys, raw.clone()).ok()
}

fn describe(info: &mut FileInfo, entry: &Entry, version: &Version) {
    let file = entry.kind == Kind::File;
    info.kind = Some(kind_name(entry.kind).to_owned());
    info.size = file.then_some(entry.size);
    info.mtime = (entry.kind != Kind::Dir).then(|| Utc::from_unix_ns(entry.mtime_ns).rfc3339());
    info.executable = file.then_some(entry.mode & 0o100 != 0);
    info.root = entry.content.map(|c| {
        c.hash
            .as_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    });
    info.author = Some(version.dot.replica.to_string());
    info.version = Some(VersionInfo {
        replica: version.dot.replica.to_string(),
        counter: version.dot.counter,
        vector: version
            .vector
            .iter()
            .map(|dot| Dot {
                replica: dot.replica.to_string(),
                counter: dot.counter,
            })
            .collect(),
    });
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Dir => "directory",
        Kind::Symlink => "symlink",
        Kind::Tombstone => "deletion",
        Kind::Other(_) => "unknown",
    }
}

fn holders(tags: &[PeerTag], sessions: &BTreeMap<SessionId, Link>) -> Vec<Holder> {
    let of = |tag: &PeerTag| {
        let link = sessions
            .values()
            .find(|link| PeerTag::from(&link.info.peer) == *tag);
        Holder {
            device: link.map_or_else(
                || format!("{:016x}", tag.0),
                |link| link.info.peer.to_string(),
            ),
            name: link.map(|link| link.info.name.clone()).unwrap_or_default(),
            connected: link.is_some(),
        }
    };
    tags.iter().map(of).collect()
}

/// The path that a request names, if it can be one in a folder.
pub(super) fn parse_path(path: &[u8]) -> Option<RelPath> {
    RelPath::parse(path).ok()
}
