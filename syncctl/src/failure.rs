//! How a command ends.

use std::{io, path::PathBuf, process::ExitCode};

use sync_core::control::{ApiError, ErrorKind};

/// The exit codes. Scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: the daemon is not running.
    NoDaemon,
    /// 4: timed out.
    TimedOut,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoDaemon => 3,
            Self::TimedOut => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command didn't do what it was asked. None of them holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Something typed can't be right.
    #[error("{message}")]
    Usage {
        /// What.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// Nobody listens on the control socket.
    #[error("no daemon is running for the home {}", home.display())]
    NoDaemon {
        /// The home that was looked in.
        home: PathBuf,
        /// The command that starts it.
        start: String,
    },
    /// The time that was given is up.
    #[error("{message}")]
    TimedOut {
        /// What was waited for, and how it stands.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// The command can't succeed as things stand.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// The daemon refused.
    #[error("{}", .0.message)]
    Api(ApiError),
    /// The daemon can't be talked to.
    #[error("the daemon at {} can't be talked to: {reason}", socket.display())]
    Connection {
        /// Its socket.
        socket: PathBuf,
        /// What the system or the protocol said.
        reason: String,
    },
    /// The output can't be written.
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Something typed can't be right.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    /// The command can't succeed as things stand.
    pub(crate) fn failed(message: impl Into<String>, hint: Option<&str>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: hint.map(str::to_owned),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::TimedOut { hint, .. } | Self::Failed { hint, .. } => {
                hint.clone()
            }
            Self::NoDaemon { start, .. } => Some(format!("start it with `{start}`")),
            Self::Api(error) => error.hint.clone(),
            Self::Connection { .. } | Self::Output(_) => None,
        }
    }

    /// All of it for programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": {
                "kind": self.kind(),
                "message": self.to_string(),
                "hint": self.hint(),
                "exit": self.exit().code(),
            }
        })
    }

    /// A word for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::NoDaemon { .. } => "no-daemon",
            Self::TimedOut { .. } => "timed-out",
            Self::Failed { .. } => "failed",
            Self::Api(error) => error.kind.as_str(),
            Self::Connection { .. } => "connection",
            Self::Output(_) => "output",
        }
    }

    /// The exit code that goes with it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Api(error) if error.kind == ErrorKind::BadRequest => Exit::Usage,
            Self::NoDaemon { .. } => Exit::NoDaemon,
            Self::TimedOut { .. } => Exit::TimedOut,
            // Whoever closed the pipe has seen what they wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Failed { .. } | Self::Api(_) | Self::Connection { .. } | Self::Output(_) => {
                Exit::Failed
            }
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}
