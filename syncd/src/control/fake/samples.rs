//! Folders, peers and files that the fake talks about.

use sync_core::{
    control::{
        Candidate, CandidateState, Counts, Dot, ErrorItem, FileInfo, FileState, Folder,
        FolderState, FoundBy, Held, Holder, Need, PathKind, Peer, Rates, Transferred, Transport,
        VersionInfo, path_text,
    },
    options::Values,
    secret::Level,
};

use crate::folders;

/// An empty folder without peers.
#[must_use]
pub fn folder(name: &str, path: &str, level: Level) -> Folder {
    Folder {
        name: name.into(),
        path: path.into(),
        level,
        state: FolderState::NoPeers,
        reason: None,
        reason_kind: None,
        hint: None,
        connected: 0,
        local: Counts::default(),
        global: Counts::default(),
        need: Need::default(),
        peers: Vec::new(),
        conflicts: 0,
        errors: 0,
        local_edits: 0,
        later: 0,
        known_hosts: Vec::new(),
        settings: folders::shown(&Values::default()),
        rates: Rates::default(),
        scan: None,
        held: None,
    }
}

/// A connected peer.
#[must_use]
pub fn peer(device: &str, name: &str, address: &str, found_by: FoundBy, in_sync: bool) -> Peer {
    Peer {
        device: device.into(),
        name: name.into(),
        address: address.into(),
        transport: Transport::Tcp,
        path: PathKind::Lan,
        found_by,
        level: Level::ReadWrite,
        in_sync,
        rates: Rates::default(),
        rtt_ms: Some(0.4),
        since: "2026-11-22T08:00:00Z".into(),
    }
}

/// Puts a folder into the state in which deletions wait for an answer.
pub fn hold(folder: &mut Folder, deletes: u64, of: u64) {
    folder.state = FolderState::Held;
    folder.held = Some(Held { deletes, of });
    folder.reason = Some(format!(
        "{deletes} of {of} files were deleted within 10 minutes"
    ));
}

pub(super) fn candidates() -> Vec<Candidate> {
    vec![
        Candidate {
            addr: "192.0.2.7:29170".into(),
            source: FoundBy::KnownHost,
            state: CandidateState::Connected,
            last_error: None,
            next_try_s: None,
            last_seen_s: Some(3),
        },
        Candidate {
            addr: "[2001:db8::7]:29170".into(),
            source: FoundBy::Lan,
            state: CandidateState::Failed,
            last_error: Some("no route to host".into()),
            next_try_s: Some(42),
            last_seen_s: Some(70),
        },
    ]
}

pub(super) fn stuck() -> Vec<ErrorItem> {
    let item = |bytes: &[u8], kind: &str, reason: &str, next_try_s| {
        let (path, path_hex) = path_text(bytes);
        ErrorItem {
            folder: "Photos".into(),
            path,
            path_hex,
            reason: reason.into(),
            hint: None,
            kind: kind.into(),
            next_try_s,
        }
    };
    vec![
        item(
            b"2026/raw\n1.dng",
            "permission",
            "the directory can't be written",
            Some(60),
        ),
        item(
            b"bad\xff",
            "name",
            "this file system can't hold the name",
            None,
        ),
    ]
}

pub(super) fn file(folder: &str, path: &[u8]) -> FileInfo {
    FileInfo {
        state: FileState::Fetching,
        kind: Some("file".into()),
        size: Some(5_242_880),
        mtime: Some("2026-11-21T10:00:00Z".into()),
        executable: Some(false),
        root: Some("00ff".repeat(16)),
        version: Some(VersionInfo {
            replica: "3f2a".into(),
            counter: 17,
            vector: vec![
                Dot {
                    replica: "3f2a".into(),
                    counter: 17,
                },
                Dot {
                    replica: "9c01".into(),
                    counter: 4,
                },
            ],
        }),
        author: Some("nas".into()),
        holders: vec![Holder {
            device: "NAS7B2QX".into(),
            name: "nas".into(),
            connected: true,
        }],
        waits_for: Some("chunks from nas".into()),
        progress: Some(Transferred {
            done: 1_048_576,
            total: 5_242_880,
        }),
        ..absent(folder, path)
    }
}

pub(super) fn absent(folder: &str, path: &[u8]) -> FileInfo {
    let (path, path_hex) = path_text(path);
    FileInfo {
        folder: folder.into(),
        path,
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
        next_try_s: None,
    }
}
