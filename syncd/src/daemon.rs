//! Keeping the folders: the list and the secrets on disk, the roster that all parts read, and the folders' actors.
//!
//! Every change goes the same way: check, write down durably, tell the roster, tell the parts. One change at a
//! time. It owns `folders.toml` and `secrets.toml`, and must never show a secret but to the user who asks for it.

mod reload;
mod removing;
mod secretless;
#[cfg(test)]
mod tests;

use std::{fs, path::Path, sync::Arc};

use serde_json::json;
use sync_core::{
    control::{
        AddedFolder, ApiError, ErrorKind, EventType, Folder, FolderAction, FolderRef, SecretShown,
        SecretText, check_name,
    },
    keys::FolderKeys,
    options::{Value, Values},
    secret::{Level, SECRET_BYTES, Secret},
};
use sync_discovery::{FolderTag, mechanism::Refresh};
use sync_net::Member;
use sync_store::{
    fs::{Disk, RootDisk},
    identity::{IdentityError, SecretsFile},
};
use tracing::{error, info};
use zeroize::Zeroizing;

use crate::{
    asking::{end_part, report_of},
    control::NewFolder,
    folder::{door::FolderAsk, open},
    folders::{self, FolderBook, FolderEntry, FoldersError, MAX_FOLDERS},
    net::door::FolderNews,
    parts,
    roster::{FolderSettings, RosterEntry},
    wiring::{self, Wires, hex, part},
};

/// The daemon as what its owner changes: its folders, their secrets, its settings.
#[derive(Debug)]
pub(crate) struct Daemon {
    wires: Arc<Wires>,
    book: FolderBook,
    secrets: SecretsFile,
    /// What the command line said; the file is read anew beneath it.
    line: Values,
}

impl Daemon {
    /// Reads the list and the secrets, and puts the folders on the roster.
    pub(crate) fn load(wires: Arc<Wires>, line: Values) -> Result<Self, LoadError> {
        let book = FolderBook::load(&wires.home.folders())?;
        let secrets = SecretsFile::open(&wires.home.secrets())?;
        for entry in book.entries() {
            let keys = secrets
                .secret(&entry.id)
                .and_then(|text| Secret::parse(text).ok());
            match keys.map(|secret| FolderKeys::derive(&secret)) {
                Some(keys) if hex(&keys.folder_id().0) == entry.id => {
                    let tag = FolderTag(keys.folder_id().0);
                    wires
                        .roster()
                        .insert(tag, roster_entry(&wires, entry, keys));
                }
                _ => {
                    error!(
                        folder = %entry.name,
                        "its secret isn't in secrets.toml, so it is stopped; add it again with its secret"
                    );
                    wires.secretless().push(entry.clone());
                }
            }
        }
        wires.discovery.set(wires.want());
        Ok(Self {
            wires,
            book,
            secrets,
            line,
        })
    }

    /// Starts the folders' actors.
    pub(crate) fn start_folders(&self) {
        let tags: Vec<_> = self.wires.roster().keys().copied().collect();
        for tag in tags {
            wiring::add(&self.wires.root, parts::folder(&self.wires, tag));
        }
    }

    /// Adds a folder.
    pub(crate) async fn add(&mut self, new: NewFolder) -> Result<AddedFolder, ApiError> {
        if self.book.entries().len() >= MAX_FOLDERS {
            return Err(ApiError::new(
                ErrorKind::Conflict,
                format!("{MAX_FOLDERS} folders are the most"),
            ));
        }
        let others = self.others(&new.path);
        if new.make && !new.path.exists() {
            // Before it is made: a mistake leaves nothing behind in another folder.
            folders::check_nesting(
                &folders::true_path(&new.path),
                self.wires.home.path(),
                &others,
            )?;
            fs::create_dir_all(&new.path).map_err(|e| {
                folders::unfit(format!(
                    "cannot make the directory {}: {e}",
                    new.path.display()
                ))
            })?;
        }
        let path = folders::check_root(&new.path, self.wires.home.path(), &others)?;
        self.check_secretless(&path, new.secret.as_ref())?;
        let name = match new.name {
            // A folder that lost its secret gets it back under its own name.
            Some(name) if self.lost_at(&name, &path) => name,
            Some(name) => self.free_name(name)?,
            None => self.book.free_name(&path)?,
        };
        let made = new.secret.is_none();
        let secret = match new.secret {
            Some(secret) => secret,
            None => generate()?,
        };
        let keys = FolderKeys::derive(&secret);
        let tag = FolderTag(keys.folder_id().0);
        if let Some(other) = self.wires.roster().get(&tag) {
            return Err(ApiError::new(
                ErrorKind::Conflict,
                format!(
                    "this secret belongs to the folder `{}` ({}) already",
                    other.name,
                    other.path.display()
                ),
            )
            .with_hint("a folder has one place on a device; `syncctl folder move` changes it"));
        }
        // Told now, instead of by a folder that stops at once.
        RootDisk::open(&path)
            .and_then(|disk| disk.prepare())
            .map_err(|e| {
                folders::unfit(format!(
                    "cannot write to the directory {}: {e}",
                    path.display()
                ))
                .with_hint(
                    "give the daemon's user the right to write there, or choose another directory",
                )
            })?;
        let entry = self.back_with_secret(&keys).unwrap_or_else(|| {
            FolderEntry::new(name, path, hex(&tag.0), keys.level(), new.options)
        });
        // The secret first: an entry without one would be of no use.
        self.secrets
            .insert(&entry.id, &secret.reveal())
            .map_err(internal)?;
        self.book.put(entry.clone()).map_err(internal)?;
        let shared = roster_entry(&self.wires, &entry, keys);
        self.wires.secretless().retain(|e| e.id != entry.id);
        self.wires.roster().insert(tag, shared.clone());
        // Whoever hears of it may come at once, and must not be taken for a stranger.
        if let Some(peers) = self.wires.peers.get() {
            let _ = peers.folders.send(FolderNews::Comes(tag)).await;
        }
        self.announce();
        wiring::add(&self.wires.root, parts::folder(&self.wires, tag));
        info!(folder = %entry.name, path = %entry.path.display(), level = %entry.level, "added");
        let data = json!({ "path": entry.path.to_string_lossy(), "level": entry.level });
        self.wires
            .events
            .push(EventType::FolderAdded, Some(&entry.name), data);
        let secret = made.then(|| SecretText::new(secret.reveal()));
        Ok(AddedFolder {
            folder: report_of(&self.wires, tag, &shared).await,
            secret,
        })
    }

    /// Whether `name` is that of a folder at `path` whose secret is lost.
    fn lost_at(&self, name: &str, path: &Path) -> bool {
        let lost = self.wires.secretless();
        lost.iter().any(|e| e.name == name && e.path == path)
    }

    fn free_name(&self, name: String) -> Result<String, ApiError> {
        check_name(&name)?;
        match self.book.entries().iter().find(|e| e.name == name) {
            None => Ok(name),
            Some(other) => Err(ApiError::new(
                ErrorKind::Conflict,
                format!(
                    "there is a folder `{name}` already, at {}",
                    other.path.display()
                ),
            )
            .with_hint("give another one with --name")),
        }
    }

    /// Does something with a folder.
    pub(crate) async fn act(
        &mut self,
        folder: &FolderRef,
        action: FolderAction,
    ) -> Result<Folder, ApiError> {
        let (tag, entry) = self.wires.find(folder)?;
        match action {
            FolderAction::Pause => self.pause(tag, true)?,
            FolderAction::Resume => self.pause(tag, false)?,
            FolderAction::Rescan => {
                self.ask(tag, FolderAsk::Rescan)?;
                self.wires.discovery.refresh(Refresh::Folder(tag));
                if let Some(peers) = self.wires.peers.get() {
                    peers.folders.do_send(FolderNews::Refresh(tag));
                }
            }
            FolderAction::Approve => self.ask(tag, FolderAsk::Approve)?,
            FolderAction::Reject => self.ask(tag, FolderAsk::Reject)?,
            FolderAction::Adopt => self.adopt(tag, &entry).await?,
            FolderAction::Move(path) => self.move_to(tag, &entry, Path::new(&path)).await?,
            FolderAction::Set(key, value) => self.set(tag, &key, value)?,
        }
        let (tag, entry) = self.wires.find(&FolderRef::Name(entry.name))?;
        Ok(report_of(&self.wires, tag, &entry).await)
    }

    fn ask(&self, tag: FolderTag, ask: FolderAsk) -> Result<(), ApiError> {
        let Some(actor) = self.wires.folder(tag) else {
            return Err(
                ApiError::new(ErrorKind::Unavailable, "the folder isn't open now")
                    .with_hint("`syncctl folder show` says why"),
            );
        };
        actor.asks.do_send(ask);
        Ok(())
    }

    /// Writes a changed entry down and puts it on the roster.
    fn change(
        &mut self,
        tag: FolderTag,
        change: impl FnOnce(&mut FolderEntry),
    ) -> Result<RosterEntry, ApiError> {
        let id = hex(&tag.0);
        let mut entry = self
            .book
            .get(&id)
            .cloned()
            .ok_or_else(|| ApiError::unknown_folder(&id))?;
        change(&mut entry);
        self.book.put(entry.clone()).map_err(internal)?;
        let mut roster = self.wires.roster();
        let Some(shared) = roster.get_mut(&tag) else {
            return Err(ApiError::unknown_folder(&entry.name));
        };
        *shared = RosterEntry {
            member: Arc::clone(&shared.member),
            ..from_entry(&entry, &shared.member)
        };
        Ok(shared.clone())
    }

    fn pause(&mut self, tag: FolderTag, paused: bool) -> Result<(), ApiError> {
        self.change(tag, |entry| entry.paused = paused)?;
        if let Some(actor) = self.wires.folder(tag) {
            actor.asks.do_send(FolderAsk::Pause(paused));
        }
        Ok(())
    }

    fn set(&mut self, tag: FolderTag, key: &str, value: Value) -> Result<(), ApiError> {
        let entry = self.change(tag, |entry| entry.options.insert(key, value))?;
        self.announce();
        if let Some(actor) = self.wires.folder(tag) {
            actor.asks.do_send(FolderAsk::Tune(Box::new(entry.clone())));
        }
        self.wires.events.push(
            EventType::FolderSettings,
            Some(&entry.name),
            json!({ "key": key }),
        );
        Ok(())
    }

    /// The user says that what stands at the root is the folder. What the index remembers of the old one is
    /// dropped, so that what is missing here is fetched and not taken for deleted.
    async fn adopt(&mut self, tag: FolderTag, entry: &RosterEntry) -> Result<(), ApiError> {
        let others: Vec<_> = self
            .book
            .entries()
            .iter()
            .filter(|e| e.id != hex(&tag.0))
            .collect();
        folders::check_root(&entry.path, self.wires.home.path(), &others)?;
        end_part(&self.wires, part::folder(&tag)).await?;
        let adopted =
            open::forget(&self.wires.home, &hex(&tag.0), false).map_err(|e| e.to_string());
        let adopted =
            adopted.and_then(|()| open::adopt(&entry.path, &self.wires.home, entry.member.keys()));
        wiring::add(&self.wires.root, parts::folder(&self.wires, tag));
        adopted.map_err(|e| {
            ApiError::new(
                ErrorKind::Internal,
                format!("cannot adopt {}: {e}", entry.path.display()),
            )
        })
    }

    /// The user says that the root lies elsewhere now.
    async fn move_to(
        &mut self,
        tag: FolderTag,
        entry: &RosterEntry,
        path: &Path,
    ) -> Result<(), ApiError> {
        let others: Vec<_> = self
            .book
            .entries()
            .iter()
            .filter(|e| e.id != hex(&tag.0))
            .collect();
        let path = folders::check_root(path, self.wires.home.path(), &others)?;
        end_part(&self.wires, part::folder(&tag)).await?;
        let moved = open::bears_mark(&path, &self.wires.home, entry.member.keys())
            .map_err(|reason| {
                ApiError::new(
                    ErrorKind::Conflict,
                    format!("{} isn't this folder's directory: {reason}", path.display()),
                )
                .with_hint("move the whole directory there first, with its .sync")
            })
            .and_then(|()| {
                self.change(tag, |entry| entry.path.clone_from(&path))
                    .map(drop)
            });
        wiring::add(&self.wires.root, parts::folder(&self.wires, tag));
        moved
    }

    /// The secret of a folder, of this level or the strongest there is.
    pub(crate) fn secret(
        &self,
        folder: &FolderRef,
        level: Option<Level>,
    ) -> Result<SecretShown, ApiError> {
        let (tag, entry) = self.wires.find(folder)?;
        let text = self
            .secrets
            .secret(&hex(&tag.0))
            .map(|text| Zeroizing::new(text.to_owned()));
        let secret = text.and_then(|text| Secret::parse(&text).ok());
        let secret =
            secret.ok_or_else(|| ApiError::new(ErrorKind::Internal, "the secret can't be read"))?;
        let secret = match level {
            None => secret,
            Some(level) if level == secret.level() => secret,
            Some(Level::ReadOnly) => secret.to_read_only().into(),
            Some(level) => {
                return Err(ApiError::new(
                    ErrorKind::Conflict,
                    format!(
                        "this device holds only the {} secret of `{}`",
                        secret.level(),
                        entry.name
                    ),
                )
                .with_hint(format!("ask a device that holds the {level} secret")));
            }
        };
        Ok(SecretShown {
            level: secret.level(),
            secret: SecretText::new(secret.reveal()),
        })
    }

    /// Tells the mechanisms which folders are to be found, and how.
    fn announce(&self) {
        self.wires.discovery.set(self.wires.want());
    }
}

/// Why the folders can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The list.
    #[error(transparent)]
    Folders(#[from] FoldersError),
    /// The secrets.
    #[error(transparent)]
    Secrets(#[from] IdentityError),
}

fn roster_entry(wires: &Wires, entry: &FolderEntry, keys: FolderKeys) -> RosterEntry {
    from_entry(entry, &Arc::new(Member::new(keys, &wires.device_secret)))
}

fn from_entry(entry: &FolderEntry, member: &Arc<Member>) -> RosterEntry {
    RosterEntry {
        name: entry.name.clone(),
        path: entry.path.clone(),
        member: Arc::clone(member),
        paused: entry.paused,
        options: entry.options.clone(),
        settings: FolderSettings::from(&entry.options),
    }
}

/// Makes a new read-write secret.
pub(crate) fn generate() -> Result<Secret, ApiError> {
    let mut random = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(&mut random[..]).map_err(|e| {
        ApiError::new(
            ErrorKind::Internal,
            format!("the system gives no random numbers: {e}"),
        )
    })?;
    Ok(Secret::generate(*random))
}

fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::Internal, error.to_string())
}
