//! The list of folders, `folders.toml`, and the checks of where a folder may lie.
//!
//! The daemon writes the file, whole and atomically, after every change. It holds no secret: those lie
//! beside it in `secrets.toml`. A folder is known for ever by its id; name and path may change.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sync_core::{
    control::{ApiError, ErrorKind, check_name},
    options::{OptionType, Places, Value, Values},
    secret::Level,
};
use sync_discovery::known_hosts::{HostPort, KNOWN_HOST};
use sync_store::identity::write_atomic;
use tracing::warn;

use crate::{config::position, options};

/// The largest list that is read.
const MAX_FILE: u64 = 8 << 20;
/// The most folders: each costs threads and is tried on each incoming connection.
pub const MAX_FOLDERS: usize = 256;

/// What is written down of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderEntry {
    /// Its name on this device.
    pub name: String,
    /// Its root, absolute.
    pub path: PathBuf,
    /// Its id in hexadecimal, made from its secret.
    pub id: String,
    /// What this device may do with it.
    pub level: Level,
    /// Whether its user paused it.
    #[serde(default)]
    pub paused: bool,
    /// Where earlier versions wrote the addresses of members. They are read into the options.
    #[serde(default, skip_serializing)]
    known_hosts: Vec<String>,
    /// What its user chose of the options that folders have, by key.
    #[serde(rename = "settings", default)]
    pub options: Values,
}

impl FolderEntry {
    /// A folder that isn't paused.
    #[must_use]
    pub fn new(name: String, path: PathBuf, id: String, level: Level, options: Values) -> Self {
        Self {
            name,
            path,
            id,
            level,
            paused: false,
            known_hosts: Vec::new(),
            options,
        }
    }

    /// Brings an entry that was read into its present form. Gives what was left out.
    fn settle(&mut self) -> Vec<String> {
        let mut hosts = std::mem::take(&mut self.known_hosts);
        let key = KNOWN_HOST.declaration.key;
        if let Some(Value::List(more)) = self.options.value(key) {
            hosts.extend(more.iter().cloned());
        }
        let (good, bad): (Vec<_>, Vec<_>) = hosts
            .into_iter()
            .partition(|host| HostPort::read(host).is_ok());
        if !good.is_empty() || self.options.value(key).is_some() {
            self.options.insert(key, Value::List(good));
        }
        bad
    }
}

/// The addresses of members that a folder's user gave.
pub(crate) fn known_hosts(options: &Values) -> Vec<String> {
    let hosts = options.get(&KNOWN_HOST);
    hosts.iter().map(ToString::to_string).collect()
}

/// A folder's options as reports show them, with the defaults of those that nobody chose.
pub(crate) fn shown(options: &Values) -> Values {
    options.clone().complete(options::all(), Places::FOLDER)
}

/// Why the list can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FoldersError {
    /// The file can't be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file isn't what the daemon wrote.
    #[error(
        "{}:{line}:{column}: {message}; the daemon writes this file itself: restore it from a backup, or \
         move it away and add the folders again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
}

/// The list of folders and the file that it lies in.
#[derive(Debug, Clone)]
pub struct FolderBook {
    file: PathBuf,
    entries: Vec<FolderEntry>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    folder: Vec<FolderEntry>,
}

impl FolderBook {
    /// Reads the list; a file that isn't there is an empty one.
    ///
    /// # Errors
    ///
    /// When the file can't be read or is damaged.
    pub fn load(file: &Path) -> Result<Self, FoldersError> {
        let fail = |source| FoldersError::Io {
            doing: "read",
            path: file.to_owned(),
            source,
        };
        let text = match fs::metadata(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Ok(meta) if meta.len() > MAX_FILE => {
                return Err(fail(io::Error::other("it is larger than 8 MiB")));
            }
            _ => fs::read_to_string(file).map_err(fail)?,
        };
        let mut written: Written = toml::from_str(&text).map_err(|e| {
            let (line, column) = position(&text, e.span().map_or(0, |s| s.start));
            let message = e.message().to_owned();
            FoldersError::Damaged {
                path: file.to_owned(),
                line,
                column,
                message,
            }
        })?;
        for entry in &mut written.folder {
            for host in entry.settle() {
                warn!(folder = %entry.name, host, "a known host is left out: it is no HOST:PORT");
            }
        }
        Ok(Self {
            file: file.to_owned(),
            entries: written.folder,
        })
    }

    /// All folders, by name.
    pub fn entries(&self) -> &[FolderEntry] {
        &self.entries
    }

    /// The folder with this id.
    pub fn get(&self, id: &str) -> Option<&FolderEntry> {
        self.entries.iter().find(|e| e.id == id)
    }

    /// Adds a folder, or replaces the one with the same id, and writes the list.
    ///
    /// # Errors
    ///
    /// When the file can't be written; then the list is as it was.
    pub fn put(&mut self, entry: FolderEntry) -> Result<(), FoldersError> {
        let mut entries = self.entries.clone();
        entries.retain(|e| e.id != entry.id);
        entries.push(entry);
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        self.replace(entries)
    }

    /// Takes a folder off the list and writes it.
    ///
    /// # Errors
    ///
    /// When the file can't be written; then the list is as it was.
    pub fn remove(&mut self, id: &str) -> Result<(), FoldersError> {
        self.replace(
            self.entries
                .iter()
                .filter(|e| e.id != id)
                .cloned()
                .collect(),
        )
    }

    fn replace(&mut self, entries: Vec<FolderEntry>) -> Result<(), FoldersError> {
        let fail = |source| FoldersError::Io {
            doing: "write",
            path: self.file.clone(),
            source,
        };
        let written = Written { folder: entries };
        let body = toml::to_string(&written).map_err(|e| fail(io::Error::other(e)))?;
        let text = format!(
            "# Written by syncd. `syncctl folder` changes it; don't edit it by hand.\n\n{body}"
        );
        let (dir, name) = (self.file.parent(), self.file.file_name());
        let (Some(dir), Some(name)) = (dir, name.and_then(|n| n.to_str())) else {
            return Err(fail(io::Error::other("it has no name")));
        };
        write_atomic(dir, name, text.as_bytes(), 0o600).map_err(fail)?;
        self.entries = written.folder;
        Ok(())
    }

    /// A name that no folder has yet, from the last part of a path.
    ///
    /// # Errors
    ///
    /// When the path has no usable last part.
    pub fn free_name(&self, path: &Path) -> Result<String, ApiError> {
        let last = path
            .file_name()
            .map(|n| n.to_string_lossy().trim().to_owned())
            .unwrap_or_default();
        check_name(&last)?;
        let taken = |name: &str| self.entries.iter().any(|e| e.name == name);
        if !taken(&last) {
            return Ok(last);
        }
        let numbered = (2..)
            .map(|n| format!("{last}-{n}"))
            .find(|name| !taken(name));
        numbered.ok_or_else(|| ApiError::bad_request("every name is taken"))
    }
}

/// Finds the true path of a folder's root and checks that the folder may lie there: a directory that can be
/// read, apart from the daemon's home and from every other folder.
///
/// # Errors
///
/// Says what is in the way and what to do.
pub fn check_root(path: &Path, home: &Path, others: &[&FolderEntry]) -> Result<PathBuf, ApiError> {
    let shown = path.display();
    let path = fs::canonicalize(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => ApiError::new(
            ErrorKind::NotFound,
            format!("there is no directory {shown}"),
        )
        .with_hint("make it first (`mkdir`), or correct the path"),
        _ => unfit(format!("cannot open the directory {shown}: {e}")),
    })?;
    if path.to_str().is_none() {
        return Err(unfit(format!("the path {shown} is not UTF-8"))
            .with_hint("rename the directory; the names inside it may be anything"));
    }
    if !path.is_dir() {
        return Err(unfit(format!("{shown} is not a directory")));
    }
    fs::read_dir(&path).map_err(|e| {
        unfit(format!("cannot read the directory {shown}: {e}"))
            .with_hint("give the daemon's user the right to read and write it")
    })?;
    check_nesting(&path, home, others)?;
    Ok(path)
}

/// What to do about a folder whose secret is gone.
pub(crate) fn give_secret(entry: &FolderEntry) -> String {
    format!(
        "give it again with `syncctl folder add '{}' --secret -`, or take the folder off the list with \
         `syncctl folder remove '{}'`; its files stay",
        entry.path.display(),
        entry.name
    )
}

/// Where a directory that isn't there yet would lie: the true path of what is there of it, and the rest.
pub(crate) fn true_path(path: &Path) -> PathBuf {
    path.ancestors()
        .find_map(|there| {
            let rest = path.strip_prefix(there).ok()?;
            Some(fs::canonicalize(there).ok()?.join(rest))
        })
        .unwrap_or_else(|| path.to_owned())
}

/// The request makes sense, and the disk is in its way.
pub(crate) fn unfit(message: String) -> ApiError {
    ApiError::new(ErrorKind::Conflict, message)
}

/// The part of [`check_root`] that needs no disk.
///
/// # Errors
///
/// Says what is in the way and what to do.
pub fn check_nesting(path: &Path, home: &Path, others: &[&FolderEntry]) -> Result<(), ApiError> {
    let conflict = |message: String, hint: &str| {
        Err(ApiError::new(ErrorKind::Conflict, message).with_hint(hint))
    };
    if path.starts_with(home) {
        let message = format!(
            "{} lies inside the daemon's own directory {}",
            path.display(),
            home.display()
        );
        return conflict(message, "choose a directory outside of it");
    }
    if home.starts_with(path) {
        let message = format!(
            "{} contains the daemon's own directory {}",
            path.display(),
            home.display()
        );
        return conflict(
            message,
            "choose a smaller directory, or run the daemon with another --home",
        );
    }
    for other in others {
        let (name, root) = (&other.name, other.path.display());
        let message = if path == other.path {
            format!("{root} is the folder `{name}` already")
        } else if path.starts_with(&other.path) {
            format!(
                "{} lies inside the folder `{name}` ({root})",
                path.display()
            )
        } else if other.path.starts_with(path) {
            format!("{} contains the folder `{name}` ({root})", path.display())
        } else {
            continue;
        };
        return conflict(
            message,
            "folders can't overlap; choose another directory, or remove that folder first",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sync_discovery::lan::LAN;

    use super::*;

    fn entry(name: &str, path: &str, id: &str) -> FolderEntry {
        let options = Values::default().with(&KNOWN_HOST, vec!["a:1".parse().unwrap()]);
        FolderEntry::new(
            name.into(),
            path.into(),
            id.into(),
            Level::ReadWrite,
            options,
        )
    }

    #[test]
    fn folders_must_not_overlap() {
        let other = entry("pics", "/data/pics", "1");
        let check =
            |path: &str| check_nesting(Path::new(path), Path::new("/home/u/.syncd"), &[&other]);
        let message = |path: &str| check(path).unwrap_err().message;
        check("/data/pics2").unwrap();
        check("/data/docs").unwrap();
        assert!(message("/data/pics").contains("is the folder `pics` already"));
        assert!(message("/data/pics/2026").contains("lies inside the folder `pics`"));
        assert!(message("/data").contains("contains the folder `pics`"));
        assert!(message("/home/u").contains("contains the daemon's own directory"));
        assert!(message("/home/u/.syncd/index").contains("lies inside the daemon's own directory"));
        assert!(message("/").contains("contains"));
    }

    #[test]
    fn a_root_must_be_a_directory_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let home = Path::new("/nonexistent/home");
        let check = |path: &Path| check_root(path, home, &[]);
        assert!(
            check(&dir.path().join("none"))
                .unwrap_err()
                .hint
                .unwrap()
                .contains("mkdir")
        );
        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        assert!(
            check(&file)
                .unwrap_err()
                .message
                .contains("not a directory")
        );
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert_eq!(check(&link).unwrap(), fs::canonicalize(dir.path()).unwrap());
    }

    #[test]
    fn the_list_survives_and_damage_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("folders.toml");
        let mut book = FolderBook::load(&file).unwrap();
        book.put(entry("b", "/b", "2")).unwrap();
        book.put(entry("a", "/a", "1")).unwrap();
        book.put(FolderEntry {
            paused: true,
            ..entry("b", "/b", "2")
        })
        .unwrap();
        let again = FolderBook::load(&file).unwrap();
        assert_eq!(again.entries(), book.entries());
        assert!(again.entries()[1].paused);
        assert_eq!(again.get("1").unwrap().name, "a");
        assert_eq!(book.free_name(Path::new("/x/a")).unwrap(), "a-2");
        book.remove("1").unwrap();
        assert_eq!(FolderBook::load(&file).unwrap().entries().len(), 1);
        fs::write(&file, "[[folder]]\nname = 3\n").unwrap();
        let error = FolderBook::load(&file).unwrap_err().to_string();
        assert!(error.contains("folders.toml:2:8: "), "{error}");
    }

    #[test]
    fn a_list_of_an_earlier_version_keeps_its_settings() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("folders.toml");
        let written = "[[folder]]\nname = \"a\"\npath = \"/a\"\nid = \"1\"\nlevel = \"read-write\"\npaused = false\n\
                       known_hosts = [\"Nas:1\", \"nowhere\"]\n[folder.settings]\nlan = false\narchive_days = 7\n\
                       min_free = 1000\nrescan = 60\nadded_later = \"x\"\n";
        fs::write(&file, written).unwrap();
        let mut book = FolderBook::load(&file).unwrap();
        let options = book.entries()[0].options.clone();
        assert_eq!(known_hosts(&options), ["nas:1"]);
        assert!(!options.get(&LAN));
        let disk = crate::roster::FolderSettings::from(&options);
        assert_eq!(
            (disk.archive_days, disk.min_free, disk.rescan),
            (7, 1000, 60)
        );
        // What a later version wrote isn't lost by a write of this one.
        book.put(entry("b", "/b", "2")).unwrap();
        let again = FolderBook::load(&file).unwrap();
        assert_eq!(again.entries(), book.entries());
        let kept = again.entries()[0].options.value("added_later");
        assert_eq!(kept, Some(&Value::Text("x".into())));
    }
}
