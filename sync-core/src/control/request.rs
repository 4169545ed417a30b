//! What a client asks, and the answers that belong to one request alone.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::{ApiError, Folder};
use crate::{
    options::{Declaration, Places, Value},
    secret::Level,
};

/// The longest name of a folder, in bytes.
const MAX_NAME: usize = 128;

/// The text of a secret on its way through the API. `Debug` doesn't show it, and it is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text itself: for the user's eyes and for the reading of the secret, for nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for SecretText {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::Object::builder()
            .schema_type(utoipa::openapi::Type::String)
            .description(Some("A secret as it is typed."))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for SecretText {}

/// Asks for a new folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddFolder {
    /// Its root on the daemon's disk, absolute.
    pub path: String,
    /// Whether the root is made if it isn't there.
    #[serde(default)]
    pub make: bool,
    /// Its secret; without one, a new read-write secret is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// Its name; without one, the last part of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Addresses of members, `host:port`.
    #[serde(default)]
    pub known_hosts: Vec<String>,
}

/// The folder that was added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddedFolder {
    /// How it stands now.
    pub folder: Folder,
    /// Its secret, given only if it was made just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
}

/// The folder that was removed. Its files are left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RemovedFolder {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub path: String,
}

/// A secret that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretShown {
    /// Its text.
    pub secret: SecretText,
    /// What it allows.
    pub level: Level,
}

/// Says that a folder's root is elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MoveFolder {
    /// The new root, absolute.
    pub path: String,
}

/// Changes one setting. `GET /api/v1/options` says what may stand here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetFolder {
    /// Which one.
    pub key: String,
    /// What it is to be.
    pub value: String,
}

/// An option, as its declaration says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OptionInfo {
    /// How it is written on the daemon's command line (after two hyphens) and in `config.toml`; none if it can't stand
    /// there.
    pub name: Option<String>,
    /// Its key among the settings of a folder; none if it isn't one.
    pub key: Option<String>,
    /// The word that stands for its value.
    pub value: String,
    /// What it takes.
    pub takes: String,
    /// What it is for.
    pub help: String,
    /// What it is by default, as a person would write it.
    pub default: Option<String>,
    /// Whether a change in `config.toml` takes effect only at the next start.
    pub restart: bool,
}

impl From<&Declaration> for OptionInfo {
    fn from(option: &Declaration) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            name: option
                .places
                .has(Places::FILE)
                .then(|| option.name.to_owned()),
            key: option
                .places
                .has(Places::FOLDER)
                .then(|| option.key.to_owned()),
            value: option.word.to_owned(),
            takes: option.takes.to_owned(),
            help: option.help.to_owned(),
            default: text(option.default).or_else(|| text(option.default_help)),
            restart: option.restart,
        }
    }
}

/// The answer to a request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stopping {
    /// Always true.
    pub stopping: bool,
}

/// What can be done with a folder that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderAction {
    /// Let it rest until it is resumed.
    Pause,
    /// Let it go on.
    Resume,
    /// Look at the whole disk again.
    Rescan,
    /// The root was replaced on purpose: take what is there now.
    Adopt,
    /// The root was moved on purpose, to this absolute path.
    Move(String),
    /// Change the setting with this key to a value that its declaration has read.
    Set(String, Value),
    /// Let the held deletions go.
    Approve,
    /// Fetch back what the held deletions took.
    Reject,
}

/// Which folder is meant: its name, or its absolute path.
///
/// The two can't be mistaken for each other, because a name has no `/` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderRef {
    /// Its name.
    Name(String),
    /// Its root, absolute, without `/` at the end.
    Path(String),
}

impl FolderRef {
    /// Tells a path from a name.
    ///
    /// # Errors
    ///
    /// A relative path or an empty text names no folder.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        if text.starts_with('/') {
            let trimmed = text.trim_end_matches('/');
            return Ok(Self::Path(
                if trimmed.is_empty() { "/" } else { trimmed }.to_owned(),
            ));
        }
        check_name(text).map_err(|_| {
            ApiError::bad_request(format!(
                "`{text}` is neither a folder's name nor an absolute path"
            ))
        })?;
        Ok(Self::Name(text.to_owned()))
    }

    /// Whether it means the folder of this name and root.
    #[must_use]
    pub fn matches(&self, name: &str, path: &str) -> bool {
        match self {
            Self::Name(wanted) => wanted == name,
            Self::Path(wanted) => wanted == path,
        }
    }

    /// The text that it came from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(text) | Self::Path(text) => text,
        }
    }
}

impl fmt::Display for FolderRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a text can be a folder's name: not empty, at most 128 bytes, no `/`, no control characters,
/// no white space around it, and neither `.` nor `..`.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let wrong = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME {
        "it is longer than 128 bytes"
    } else if name.contains('/') {
        "there is a `/` in it"
    } else if name.chars().any(char::is_control) {
        "there is a control character in it"
    } else if name.trim() != name {
        "there is white space around it"
    } else if matches!(name, "." | "..") {
        "it stands for a directory"
    } else {
        return Ok(());
    };
    Err(
        ApiError::bad_request(format!("this can't be a folder's name: {wrong}"))
            .with_hint("give another one with --name"),
    )
}
