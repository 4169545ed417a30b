//! The folders' secrets as text, in one private TOML file.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{IdentityError, file};

/// Longest file that is read: room for thousands of folders.
const MAX: u64 = 1 << 20;
const HEAD: &str =
    "# The secrets of your folders. Whoever reads this file can read and change them.\n";

/// A file which maps names of folders to their secrets. It is private to its owner (0600), or it isn't used.
///
/// ```toml
/// [folders]
/// NAME = "SECRET"
/// ```
pub struct SecretsFile {
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    folders: BTreeMap<String, String>,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.folders.values_mut().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for SecretsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretsFile({} folders)", self.content.folders.len())
    }
}

impl SecretsFile {
    /// Reads the file at `path`; one that isn't there is empty. If others can read it, it is made private.
    ///
    /// # Errors
    ///
    /// A file that is not understood is an error and stays as it is. The error doesn't quote it.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        let io = |source: io::Error| IdentityError::Io {
            path: path.to_owned(),
            source,
        };
        let damaged = |what: String| IdentityError::Damaged {
            path: path.to_owned(),
            what,
        };
        let bytes = match file::read_bounded(path, MAX) {
            Ok(Some(bytes)) => Zeroizing::new(bytes),
            Ok(None) => {
                return Ok(Self {
                    path: path.to_owned(),
                    content: Content::default(),
                });
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                return Err(damaged("it is too long".to_owned()));
            }
            Err(e) => return Err(io(e)),
        };
        if file::is_exposed(&fs::metadata(path).map_err(io)?) {
            let private = file::set_mode(path, 0o600).and_then(|()| fs::metadata(path));
            if !private.is_ok_and(|meta| !file::is_exposed(&meta)) {
                return Err(IdentityError::Exposed {
                    path: path.to_owned(),
                });
            }
            tracing::warn!(path = %path.display(), "others could read the secrets; made private");
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text".to_owned()))?;
        let content = toml::from_str(text).map_err(|e| {
            // Only where: the message of the parser may show the line, and with it the secret.
            let at = e.span().map_or(0, |span| span.start);
            let line = 1 + bytes.iter().take(at).filter(|b| **b == b'\n').count();
            damaged(format!("line {line} is not understood"))
        })?;
        Ok(Self {
            path: path.to_owned(),
            content,
        })
    }

    /// The secret of a folder.
    pub fn secret(&self, folder: &str) -> Option<&str> {
        self.content.folders.get(folder).map(String::as_str)
    }

    /// The names of all folders, sorted.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.content.folders.keys().map(String::as_str)
    }

    /// Sets the secret of a folder. Durable when it returns.
    pub fn insert(&mut self, folder: &str, secret: &str) -> Result<(), IdentityError> {
        let mut next = self.content.clone();
        if let Some(mut old) = next.folders.insert(folder.to_owned(), secret.to_owned()) {
            old.zeroize();
        }
        self.write(next)
    }

    /// Forgets the secret of a folder. Durable when it returns.
    pub fn remove(&mut self, folder: &str) -> Result<(), IdentityError> {
        let mut next = self.content.clone();
        let Some(mut old) = next.folders.remove(folder) else {
            return Ok(());
        };
        old.zeroize();
        self.write(next)
    }

    fn write(&mut self, next: Content) -> Result<(), IdentityError> {
        let error = |source| IdentityError::Io {
            path: self.path.clone(),
            source,
        };
        let body = toml::to_string(&next)
            .map(Zeroizing::new)
            .map_err(|_| error(io::Error::other("a name can't be written as TOML")))?;
        let text = Zeroizing::new([HEAD, body.as_str()].concat());
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(error(io::Error::other("the path has no file name")));
        };
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        file::write_atomic(dir, &name.to_string_lossy(), text.as_bytes(), 0o600).map_err(error)?;
        self.content = next;
        Ok(())
    }
}
