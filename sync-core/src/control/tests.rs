use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::{
    options::{Places, Values},
    secret::Level,
};

fn folder() -> Folder {
    Folder {
        name: "Photos".into(),
        path: "/home/u/Photos".into(),
        level: Level::ReadWrite,
        state: FolderState::InSync,
        reason: None,
        reason_kind: None,
        hint: None,
        connected: 1,
        local: Counts {
            files: 2,
            dirs: 1,
            bytes: 30,
        },
        global: Counts {
            files: 2,
            dirs: 1,
            bytes: 30,
        },
        need: Need::default(),
        peers: vec![Peer {
            device: "D1".into(),
            name: "nas".into(),
            address: "192.0.2.1:29170".into(),
            transport: Transport::Tcp,
            path: PathKind::Lan,
            found_by: FoundBy::KnownHost,
            level: Level::ReadOnly,
            in_sync: true,
            rates: Rates { up: 1, down: 2 },
            rtt_ms: Some(0.5),
            since: "2026-11-22T08:00:00Z".into(),
        }],
        conflicts: 0,
        errors: 0,
        local_edits: 0,
        later: 0,
        known_hosts: vec!["nas:29170".into()],
        settings: Values::default(),
        rates: Rates::default(),
        scan: None,
        held: None,
    }
}

#[test]
fn a_folder_has_the_fields_that_scripts_depend_on() {
    let value = serde_json::to_value(folder()).unwrap();
    for key in [
        "name",
        "path",
        "level",
        "state",
        "reason",
        "connected",
        "local",
        "global",
        "need",
        "peers",
        "conflicts",
        "errors",
        "local_edits",
        "later",
        "known_hosts",
        "settings",
    ] {
        assert!(value.get(key).is_some(), "{key} is missing");
    }
    assert_eq!(value["state"], "in-sync");
    assert_eq!(value["level"], "read-write");
    assert_eq!(
        value["peers"][0],
        json!({"device": "D1", "name": "nas", "address": "192.0.2.1:29170", "transport": "tcp",
               "path": "lan", "found_by": "known-host", "level": "read-only", "in_sync": true,
               "rates": {"up": 1, "down": 2}, "rtt_ms": 0.5, "since": "2026-11-22T08:00:00Z"})
    );
    assert_eq!(serde_json::from_value::<Folder>(value).unwrap(), folder());
}

#[test]
fn an_older_client_reads_a_newer_daemon() {
    let mut value = serde_json::to_value(folder()).unwrap();
    value["added_later"] = json!(1);
    value["peers"][0]["transport"] = json!("pigeon");
    let read: Folder = serde_json::from_value(value).unwrap();
    assert_eq!(read.peers[0].transport, Transport::Unknown);
    let kind: ErrorKind = serde_json::from_value(json!("added-later")).unwrap();
    assert_eq!(kind, ErrorKind::Unknown);
}

#[test]
fn names_and_serde_agree() {
    for state in FolderState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
    for kind in [
        ErrorKind::BadRequest,
        ErrorKind::MethodNotAllowed,
        ErrorKind::TooLarge,
    ] {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    for kind in [
        EventType::FolderState,
        EventType::PeerConnected,
        EventType::Gap,
    ] {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    for state in [FileState::InSync, FileState::LocalEdit, FileState::Absent] {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
}

#[test]
fn no_secret_leaves_through_debug() {
    let request = AddFolder {
        path: "/a".into(),
        make: false,
        secret: Some(SecretText::new(Zeroizing::new("AHUSHHUSH".into()))),
        name: None,
        known_hosts: Vec::new(),
    };
    assert!(!format!("{request:?}").contains("HUSH"));
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<AddFolder>(&text).unwrap(), request);
}

#[test]
fn a_misspelt_field_of_a_request_is_refused() {
    assert!(serde_json::from_value::<AddFolder>(json!({"path": "/a", "secrt": "x"})).is_err());
}

#[test]
fn folders_are_named_or_located() {
    assert_eq!(
        FolderRef::parse("a b").unwrap(),
        FolderRef::Name("a b".into())
    );
    assert_eq!(
        FolderRef::parse("/a/b//").unwrap(),
        FolderRef::Path("/a/b".into())
    );
    assert_eq!(FolderRef::parse("/").unwrap(), FolderRef::Path("/".into()));
    for wrong in ["", "a/b", "./a", "..", "a\nb", " a"] {
        assert_eq!(
            FolderRef::parse(wrong).unwrap_err().kind,
            ErrorKind::BadRequest,
            "{wrong:?}"
        );
    }
}

#[test]
fn the_settings_of_the_disk_have_the_keys_and_units_that_scripts_depend_on() {
    let settings = Values::default().complete(DISK_SETTINGS.iter().copied(), Places::FOLDER);
    assert_eq!(
        serde_json::to_value(settings).unwrap(),
        json!({"archive_days": 30, "min_free": 268_435_456_u64, "rescan": 3_600})
    );
}

#[test]
fn paths_keep_their_bytes() {
    assert_eq!(path_text("a/ü\n".as_bytes()), ("a/ü\n".to_owned(), None));
    assert_eq!(
        path_text(b"a\xff"),
        ("a\\xff".to_owned(), Some("61ff".to_owned()))
    );
}
