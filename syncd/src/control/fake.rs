//! A daemon without folders, disks or peers, for tests of the control API and of its clients.
//!
//! It keeps what it is told, answers as the real one would, and lets a test change what it says by
//! [`FakeControl::edit`]. It must never touch a disk or a network.

mod samples;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::json;
use sync_core::{
    control::{
        AddedFolder, ApiError, Candidate, Counts, Device, ErrorItem, ErrorKind, EventType,
        FileInfo, Folder, FolderAction, FolderRef, FolderState, FoundBy, Mechanism, Need, Rates,
        RemovedFolder, SecretShown, SecretText, Status, Traffic, check_name,
    },
    options::Value,
    secret::{Level, SECRET_BYTES, Secret},
};
use tokio_util::sync::CancellationToken;

use self::samples::{absent, candidates, file, stuck};
pub use self::samples::{folder, hold, peer};
use super::{Answer, Control, EventLog, NewFolder};
use crate::folders;

/// What the fake says. A test may change all of it.
#[derive(Debug, Clone)]
pub struct FakeState {
    /// The daemon's status with its folders.
    pub status: Status,
    /// The secrets of the folders, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// The addresses of members, by the folder's name.
    pub candidates: BTreeMap<String, Vec<Candidate>>,
    /// What is stuck, by the folder's name.
    pub errors: BTreeMap<String, Vec<ErrorItem>>,
    /// What it knows of files, by the folder's name and the file's path.
    pub files: BTreeMap<(String, Vec<u8>), FileInfo>,
}

/// The fake daemon.
#[derive(Debug)]
pub struct FakeControl {
    state: Mutex<FakeState>,
    events: Arc<EventLog>,
    stop: CancellationToken,
}

impl FakeControl {
    /// A daemon without folders. A request to shut down cancels `stop`.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Arc<Self> {
        let status = Status {
            version: env!("CARGO_PKG_VERSION").into(),
            device: Device {
                id: "7KQ2M4XA".into(),
                name: "desk".into(),
            },
            uptime_s: 8_000,
            listen: vec!["0.0.0.0:29170".into(), "[::]:29170".into()],
            external: Vec::new(),
            nat: None,
            discovery: vec![
                Mechanism {
                    name: "lan".into(),
                    on: true,
                    detail: Some("port 29171".into()),
                    trouble: Vec::new(),
                },
                Mechanism {
                    name: "known-host".into(),
                    on: true,
                    detail: Some("1 host".into()),
                    trouble: Vec::new(),
                },
            ],
            folders: Vec::new(),
            rates: Rates {
                up: 1_258_291,
                down: 52_428_800,
            },
            traffic: Traffic {
                up: 10_000,
                down: 3_221_225_472,
            },
        };
        Arc::new(Self {
            state: Mutex::new(FakeState {
                status,
                secrets: BTreeMap::new(),
                candidates: BTreeMap::new(),
                errors: BTreeMap::new(),
                files: BTreeMap::new(),
            }),
            events: EventLog::new(),
            stop,
        })
    }

    /// A daemon with two folders: `Photos` is syncing from `nas`, `Docs` is in sync with `laptop`.
    #[must_use]
    pub fn sample(stop: CancellationToken) -> Arc<Self> {
        let fake = Self::new(stop);
        fake.edit(|state| {
            let mut photos = folder("Photos", "/home/u/Photos", Level::ReadOnly);
            photos.state = FolderState::Syncing;
            photos.local = Counts {
                files: 1_200,
                dirs: 31,
                bytes: 4_831_838_208,
            };
            photos.global = Counts {
                files: 2_000,
                dirs: 40,
                bytes: 8_053_063_680,
            };
            photos.need = Need {
                files: 800,
                bytes: 3_221_225_472,
                deletes: 2,
            };
            photos.errors = 2;
            photos.rates = Rates {
                up: 0,
                down: 52_428_800,
            };
            photos.known_hosts = vec!["nas.lan:29170".into()];
            let hosts = Value::List(photos.known_hosts.clone());
            photos.settings.insert("known_hosts", hosts);
            photos.peers = vec![peer(
                "NAS7B2QX",
                "nas",
                "192.0.2.7:29170",
                FoundBy::KnownHost,
                true,
            )];
            photos.peers[0].rates = Rates {
                up: 0,
                down: 52_428_800,
            };
            photos.connected = 1;
            let mut docs = folder("Docs", "/home/u/Docs", Level::ReadWrite);
            docs.state = FolderState::InSync;
            docs.local = Counts {
                files: 10,
                dirs: 2,
                bytes: 20_480,
            };
            docs.global = docs.local;
            docs.peers = vec![peer(
                "LAP3K5VZ",
                "lap\u{1b}[31mtop",
                "192.0.2.9:41234",
                FoundBy::Lan,
                true,
            )];
            docs.connected = 1;
            state.status.folders = vec![docs, photos];
            state
                .secrets
                .insert("Docs".into(), Secret::generate([7; SECRET_BYTES]));
            let read_only = Secret::generate([8; SECRET_BYTES]).to_read_only();
            state.secrets.insert("Photos".into(), read_only.into());
            state.candidates.insert("Photos".into(), candidates());
            state.errors.insert("Photos".into(), stuck());
            let known = file("Photos", b"2026/img 1.jpg");
            state
                .files
                .insert(("Photos".into(), b"2026/img 1.jpg".to_vec()), known);
        });
        fake
    }

    /// Changes what the fake says.
    pub fn edit<T>(&self, change: impl FnOnce(&mut FakeState) -> T) -> T {
        change(&mut self.lock())
    }

    /// Changes one folder; does nothing if it isn't there.
    pub fn edit_folder(&self, name: &str, change: impl FnOnce(&mut Folder)) {
        let mut state = self.lock();
        if let Some(folder) = state
            .status
            .folders
            .iter_mut()
            .find(|folder| folder.name == name)
        {
            change(folder);
        }
    }

    fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something on a folder.
    fn with<T>(
        &self,
        wanted: &FolderRef,
        run: impl FnOnce(&mut FakeState, usize) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut state = self.lock();
        let found = state
            .status
            .folders
            .iter()
            .position(|f| wanted.matches(&f.name, &f.path));
        match found {
            Some(index) => run(&mut state, index),
            None => Err(ApiError::unknown_folder(wanted.as_str())),
        }
    }

    fn add(&self, request: NewFolder) -> Result<AddedFolder, ApiError> {
        let path = request.path.to_string_lossy().into_owned();
        let name = match request.name {
            Some(name) => name,
            None => request
                .path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .ok_or_else(|| ApiError::bad_request("the whole disk can't be a folder"))?,
        };
        check_name(&name)?;
        let mut state = self.lock();
        if state
            .status
            .folders
            .iter()
            .any(|f| f.name == name || f.path == path)
        {
            return Err(ApiError::new(
                ErrorKind::Conflict,
                format!("there is a folder `{name}` already"),
            )
            .with_hint("give another name with --name"));
        }
        let made = request.secret.is_none();
        let fill = u8::try_from(state.status.folders.len()).unwrap_or(u8::MAX);
        let secret = request
            .secret
            .unwrap_or_else(|| Secret::generate([fill; SECRET_BYTES]));
        let mut folder = folder(&name, &path, secret.level());
        folder.settings = folders::shown(&request.options);
        folder.known_hosts = folders::known_hosts(&request.options);
        let text = made.then(|| SecretText::new(secret.reveal()));
        state.status.folders.push(folder.clone());
        state.status.folders.sort_by(|a, b| a.name.cmp(&b.name));
        state.secrets.insert(name.clone(), secret);
        drop(state);
        self.events.push(
            EventType::FolderAdded,
            Some(&name),
            json!({ "path": path, "level": folder.level.as_str() }),
        );
        Ok(AddedFolder {
            folder,
            secret: text,
        })
    }
}

impl Control for FakeControl {
    fn status(&self) -> Answer<'_, Status> {
        let status = self.lock().status.clone();
        Box::pin(async { Ok(status) })
    }

    fn folder(&self, folder: FolderRef) -> Answer<'_, Folder> {
        Box::pin(
            async move { self.with(&folder, |state, at| Ok(state.status.folders[at].clone())) },
        )
    }

    fn add_folder(&self, request: NewFolder) -> Answer<'_, AddedFolder> {
        Box::pin(async { self.add(request) })
    }

    fn remove_folder(&self, folder: FolderRef) -> Answer<'_, RemovedFolder> {
        Box::pin(async move {
            let Folder { name, path, .. } =
                self.with(&folder, |state, at| Ok(state.status.folders.remove(at)))?;
            self.events.push(
                EventType::FolderRemoved,
                Some(&name),
                json!({ "path": path }),
            );
            Ok(RemovedFolder { name, path })
        })
    }

    fn act(&self, folder: FolderRef, action: FolderAction) -> Answer<'_, Folder> {
        Box::pin(async move {
            let folder = self.with(&folder, |state, at| {
                let folder = &mut state.status.folders[at];
                apply(folder, action)?;
                Ok(folder.clone())
            })?;
            let data = json!({ "state": folder.state.as_str(), "reason": folder.reason });
            self.events
                .push(EventType::FolderState, Some(&folder.name), data);
            Ok(folder)
        })
    }

    fn file(&self, folder: FolderRef, path: Vec<u8>) -> Answer<'_, FileInfo> {
        Box::pin(async move {
            self.with(&folder, |state, at| {
                let name = state.status.folders[at].name.clone();
                let key = (name, path);
                Ok(state
                    .files
                    .get(&key)
                    .cloned()
                    .unwrap_or_else(|| absent(&key.0, &key.1)))
            })
        })
    }

    fn candidates(&self, folder: FolderRef) -> Answer<'_, Vec<Candidate>> {
        Box::pin(async move {
            self.with(&folder, |state, at| {
                Ok(state
                    .candidates
                    .get(&state.status.folders[at].name)
                    .cloned()
                    .unwrap_or_default())
            })
        })
    }

    fn errors(&self, folder: FolderRef) -> Answer<'_, Vec<ErrorItem>> {
        Box::pin(async move {
            self.with(&folder, |state, at| {
                Ok(state
                    .errors
                    .get(&state.status.folders[at].name)
                    .cloned()
                    .unwrap_or_default())
            })
        })
    }

    fn secret(&self, folder: FolderRef, level: Option<Level>) -> Answer<'_, SecretShown> {
        Box::pin(async move {
            self.with(&folder, |state, at| {
                let name = &state.status.folders[at].name;
                let Some(secret) = state.secrets.get(name) else {
                    return Err(ApiError::unknown_folder(name));
                };
                let secret = match (level, secret.level()) {
                    (Some(Level::ReadWrite), Level::ReadOnly) => {
                        return Err(ApiError::new(
                            ErrorKind::Conflict,
                            format!("this device only has the read-only secret of `{name}`"),
                        ));
                    }
                    (Some(Level::ReadOnly), _) => secret.to_read_only().into(),
                    _ => secret.clone(),
                };
                Ok(SecretShown {
                    secret: SecretText::new(secret.reveal()),
                    level: secret.level(),
                })
            })
        })
    }

    fn shutdown(&self) -> Answer<'_, ()> {
        self.events.push(EventType::Stopping, None, json!({}));
        self.stop.cancel();
        Box::pin(async { Ok(()) })
    }

    fn events(&self) -> Arc<EventLog> {
        Arc::clone(&self.events)
    }
}

fn apply(folder: &mut Folder, action: FolderAction) -> Result<(), ApiError> {
    let idle = if folder.peers.is_empty() {
        FolderState::NoPeers
    } else {
        FolderState::InSync
    };
    match action {
        FolderAction::Pause => folder.state = FolderState::Paused,
        FolderAction::Resume => folder.state = idle,
        FolderAction::Rescan => folder.state = FolderState::Scanning,
        FolderAction::Adopt => (folder.state, folder.reason) = (FolderState::Scanning, None),
        FolderAction::Move(path) => folder.path = path,
        FolderAction::Approve | FolderAction::Reject => {
            if folder.held.take().is_none() {
                return Err(ApiError::new(
                    ErrorKind::Conflict,
                    format!("no deletions of `{}` wait for an answer", folder.name),
                ));
            }
            (folder.state, folder.reason) = (idle, None);
        }
        FolderAction::Set(key, value) => {
            folder.settings.insert(&key, value);
            folder.known_hosts = folders::known_hosts(&folder.settings);
        }
    }
    Ok(())
}
