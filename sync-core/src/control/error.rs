//! How the control API says that something didn't work.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An error for a person and for a program: what happened, to what, and what to do next.
///
/// It must never carry a secret, nor any part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// What sort of error it is; programs decide by this.
    pub kind: ErrorKind,
    /// What happened, and to what. It begins with a small letter and ends without a full stop.
    pub message: String,
    /// What to do next, if there is something.
    #[serde(default)]
    pub hint: Option<String>,
}

/// The sorts of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request makes no sense, whatever the state of the daemon.
    BadRequest,
    /// The folder, file or path that it names isn't there.
    NotFound,
    /// The path is there, but not for this method.
    MethodNotAllowed,
    /// It doesn't fit the state that the daemon or the folder is in.
    Conflict,
    /// The body is larger than [`super::MAX_BODY`].
    TooLarge,
    /// This version can't do it.
    Unsupported,
    /// The daemon is starting, stopping or overloaded; the same request may work later.
    Unavailable,
    /// The disk, the network or the daemon itself failed.
    Internal,
    /// A sort that this client doesn't know yet.
    #[serde(other)]
    Unknown,
}

impl ErrorKind {
    /// The name that programs see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }

    /// The HTTP status code that goes with it.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Unsupported => 501,
            Self::Unavailable => 503,
            Self::Internal | Self::Unknown => 500,
        }
    }
}

impl ApiError {
    /// An error without a hint.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A request that makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, message)
    }

    /// A folder that the daemon doesn't have.
    #[must_use]
    pub fn unknown_folder(folder: &str) -> Self {
        Self::new(
            ErrorKind::NotFound,
            format!("there is no folder `{folder}`"),
        )
        .with_hint("`syncctl folder list` shows the folders of this daemon")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ApiError {}
