//! Where the daemon's control socket is. The daemon itself goes by the same rule.

use std::{
    env,
    path::{Path, PathBuf},
};

use sync_core::control::SOCKET_NAME;

use crate::Failure;

/// The home of the daemon that is meant.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    dir: PathBuf,
    /// Whether the daemon would have to be told it on its command line.
    given: bool,
}

impl Home {
    /// `--home`, else `SYNCD_HOME`, else `syncd` in the platform's data directory.
    pub(crate) fn resolve(given: Option<&Path>) -> Result<Self, Failure> {
        let var = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let named = given.map(Path::to_path_buf);
        if let Some(dir) = named.or_else(|| var("SYNCD_HOME")) {
            let dir = std::path::absolute(&dir).unwrap_or(dir);
            return Ok(Self {
                dir,
                given: given.is_some(),
            });
        }
        let data = if cfg!(target_os = "macos") {
            var("HOME").map(|home| home.join("Library/Application Support"))
        } else {
            var("XDG_DATA_HOME")
                .filter(|dir| dir.is_absolute())
                .or_else(|| var("HOME").map(|home| home.join(".local/share")))
        };
        let dir = data.map(|data| data.join("syncd")).ok_or_else(|| {
            Failure::usage("HOME isn't set; say where the daemon's home is by --home DIR")
        })?;
        Ok(Self { dir, given: false })
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET_NAME)
    }

    /// Says that no daemon is there, and how to start it.
    pub(crate) fn no_daemon(&self) -> Failure {
        let start = if self.given {
            format!(
                "syncd run --home {}",
                crate::text::shell_word(&self.dir.to_string_lossy())
            )
        } else {
            "syncd run".to_owned()
        };
        Failure::NoDaemon {
            home: self.dir.clone(),
            start,
        }
    }
}
