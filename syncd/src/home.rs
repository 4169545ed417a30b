//! The daemon's home: one directory, 0700, with everything it keeps.
//!
//! | name | whose | what |
//! |---|---|---|
//! | `config.toml` | the person's | settings |
//! | `folders.toml` | the daemon's | the folders and their settings |
//! | `secrets.toml` | the daemon's | their secrets, 0600 |
//! | `identity/` | the daemon's | keys, replica ids, reserved numbers |
//! | `index/` | the daemon's | what each folder knows; can be rebuilt |
//! | `control.sock` | the daemon's | the control API |
//! | `lock` | the daemon's | held while a daemon runs |
//!
//! This module owns the names. It must never write outside the directory.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::process::geteuid;
use sync_core::control::{SOCKET_NAME, locate_home};

/// The directories in it.
const DIRS: [&str; 2] = ["identity", "index"];
/// The files in it.
const FILES: [&str; 5] = [
    "config.toml",
    "folders.toml",
    "secrets.toml",
    "lock",
    SOCKET_NAME,
];

/// Why the home can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Nobody said where it is, and the system has no place for it.
    #[error(
        "there is no home for the daemon: neither --home nor SYNCD_HOME nor HOME is set; use --home DIR"
    )]
    Nowhere,
    /// It can't be made.
    #[error("cannot make the daemon's home {}: {source}; choose another one with --home DIR", path.display())]
    Make {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else is there.
    #[error("the daemon's home {} isn't a directory; choose another one with --home DIR", path.display())]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// It is a directory with other things, open to other users.
    #[error(
        "{} has other files in it and others may look into it; it isn't closed to them for the daemon's \
         sake: choose an empty or new directory with --home DIR",
        path.display()
    )]
    Shared {
        /// Where.
        path: PathBuf,
    },
    /// It is another user's.
    #[error(
        "the daemon's home {} belongs to another user; run the daemon as that user, or choose another one \
         with --home DIR",
        path.display()
    )]
    Foreign {
        /// Where.
        path: PathBuf,
    },
    /// It can't be written to.
    #[error(
        "the daemon's home {} can't be written to: {source}; give this user the right to, or choose \
         another one with --home DIR",
        path.display()
    )]
    Unwritable {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The place: what was given, else `SYNCD_HOME`, else the platform's data directory.
    ///
    /// # Errors
    ///
    /// When none of them is known.
    pub fn locate(given: Option<&Path>) -> Result<PathBuf, HomeError> {
        locate_home(given, |name| std::env::var_os(name)).ok_or(HomeError::Nowhere)
    }

    /// Makes the directory if it isn't there, and sees that only this user can look into it and that it
    /// can be written to.
    ///
    /// # Errors
    ///
    /// Says what hinders, and what helps.
    pub fn open(path: &Path) -> Result<Self, HomeError> {
        let make = |source| HomeError::Make {
            path: path.to_owned(),
            source,
        };
        match fs::metadata(path) {
            Ok(meta) if !meta.is_dir() => {
                return Err(HomeError::NotADirectory {
                    path: path.to_owned(),
                });
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(make)?;
            }
            Err(e) => return Err(make(e)),
        }
        // The true path, so that nested folders are seen through links.
        let path = fs::canonicalize(path).map_err(make)?;
        let unwritable = |source| HomeError::Unwritable {
            path: path.clone(),
            source,
        };
        let meta = fs::metadata(&path).map_err(unwritable)?;
        if meta.uid() != geteuid().as_raw() {
            return Err(HomeError::Foreign { path });
        }
        if meta.permissions().mode() & 0o077 != 0 {
            if !is_ours(&path).map_err(unwritable)? {
                return Err(HomeError::Shared { path });
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(unwritable)?;
        }
        let probe = path.join(".probe");
        fs::write(&probe, b"")
            .and_then(|()| fs::remove_file(&probe))
            .map_err(unwritable)?;
        for dir in DIRS {
            match fs::DirBuilder::new().mode(0o700).create(path.join(dir)) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(unwritable(e)),
                _ => {}
            }
        }
        Ok(Self(path))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The person's settings.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The folders.
    #[must_use]
    pub fn folders(&self) -> PathBuf {
        self.0.join("folders.toml")
    }

    /// The secrets.
    #[must_use]
    pub fn secrets(&self) -> PathBuf {
        self.0.join("secrets.toml")
    }

    /// The identity files.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.0.join("identity")
    }

    /// The index of the folder with this id.
    #[must_use]
    pub fn index(&self, folder: &str) -> PathBuf {
        self.0.join("index").join(folder)
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join(SOCKET_NAME)
    }

    /// The lock.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
}

/// Whether a directory is a home already, or may become one: nothing is in it but what a home has.
fn is_ours(path: &Path) -> io::Result<bool> {
    if DIRS.iter().all(|dir| path.join(dir).is_dir()) {
        return Ok(true);
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if !FILES.iter().chain(&DIRS).any(|known| name == *known) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_for_this_user_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let home = Home::open(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(home.path()), 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Home::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert!(home.identity().is_dir());
        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        assert!(matches!(
            Home::open(&file),
            Err(HomeError::NotADirectory { .. })
        ));
        assert!(matches!(
            Home::open(&file.join("home")),
            Err(HomeError::Make { .. })
        ));
    }

    #[test]
    fn a_directory_with_other_things_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shared");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("somebody's"), b"x").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o755);
        let error = Home::open(&path).unwrap_err();
        assert!(error.to_string().contains("other files"), "{error}");
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        // Closed already, it is the user's choice.
        mode(0o700);
        Home::open(&path).unwrap();
        mode(0o755);
        Home::open(&path).unwrap();

        let prepared = dir.path().join("prepared");
        fs::create_dir(&prepared).unwrap();
        fs::write(prepared.join("config.toml"), b"").unwrap();
        fs::set_permissions(&prepared, fs::Permissions::from_mode(0o755)).unwrap();
        Home::open(&prepared).unwrap();

        // Only root can give a directory away.
        if std::os::unix::fs::chown(&prepared, Some(4_711), None).is_ok() {
            assert!(matches!(
                Home::open(&prepared),
                Err(HomeError::Foreign { .. })
            ));
        }
    }
}
