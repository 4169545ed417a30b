//! Where the daemon's control socket is.

use std::{
    env,
    path::{Path, PathBuf},
};

use sync_core::control::{SOCKET_NAME, locate_home};

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
        let dir = locate_home(given, |name| env::var_os(name)).ok_or_else(|| {
            Failure::usage("HOME isn't set; say where the daemon's home is by --home DIR")
        })?;
        Ok(Self {
            dir: std::path::absolute(&dir).unwrap_or(dir),
            given: given.is_some(),
        })
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
