//! What keeps an item or a whole folder from going on, and what helps.
//!
//! Programs decide by the variant or by [`Trouble::kind`], people read the sentence and [`Trouble::remedy`]. The disk
//! and the engine make them; nobody looks into their words. The module owns the words and decides nothing.

use crate::path::RelPath;

/// Why something can't be done here for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// No room is left.
    #[error("the disk is full")]
    DiskFull,
    /// Less room is left than the user wants kept free. In words, with the numbers.
    #[error("{0}")]
    KeptFree(String),
    /// The user's share is used up.
    #[error("the disk quota is used up")]
    Quota,
    /// The file system takes no writes.
    #[error("the file system is mounted read-only")]
    ReadOnlyDisk,
    /// The disk itself fails.
    #[error("the disk reports an error ({0})")]
    DiskFails(String),
    /// No right to write.
    #[error("no permission to write in the directory of {0}")]
    Permission(RelPath),
    /// A name that this file system can't hold, for its length.
    #[error("the name is too long for this file system")]
    NameTooLong(RelPath),
    /// A name that this file system can't hold.
    #[error("this file system can't hold the name {0}")]
    BadName(RelPath),
    /// A name that can't be synced anywhere. Why, in words.
    #[error("{0}")]
    Unsyncable(String),
    /// Larger than this file system can hold.
    #[error("the file is larger than this file system can hold")]
    TooLarge,
    /// A mount in the folder.
    #[error("another file system is mounted above {0}")]
    Mounted(RelPath),
    /// A kind of thing that this file system can't hold.
    #[error("this file system can't hold {path} ({error})")]
    Unsupported {
        /// Where.
        path: RelPath,
        /// What the system said.
        error: String,
    },
    /// The path isn't as expected, again and again.
    #[error("what stands there isn't what was expected, time and again")]
    Contradicted,
    /// Nobody who is connected has the content.
    #[error("no member who is connected holds it")]
    NobodyHolds,
    /// The content can't be put together. Why, in words.
    #[error("{0}")]
    Content(String),
    /// Something that isn't synced is in the place.
    #[error("a socket, a FIFO or a device stands there")]
    Special,
    /// No right to read.
    #[error("can't be read: {0}")]
    NotReadable(String),
    /// It can't be read, for another reason.
    #[error("can't be read: {0}")]
    Unreadable(String),
    /// It doesn't rest.
    #[error("goes on changing while it is read")]
    Changing,
    /// A later version made a record of it, which can't be read.
    #[error("a device with a newer syncd changed it")]
    Newer,
    /// Later versions made more records than can be kept.
    #[error("needs a newer syncd: other devices run one, and changed more than can be kept")]
    TooMuchNewer,
    /// The folder's root isn't there, or isn't the folder's. In words.
    #[error("{0}")]
    Root(String),
    /// The index failed. In words.
    #[error("{0}")]
    Index(String),
    /// Something else that the system said.
    #[error("{0}")]
    Other(String),
}

impl Trouble {
    /// A word for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::DiskFull | Self::KeptFree(_) | Self::Quota => "no-space",
            Self::ReadOnlyDisk => "read-only",
            Self::DiskFails(_) => "disk",
            Self::Permission(_) | Self::NotReadable(_) => "permission",
            Self::NameTooLong(_) | Self::BadName(_) | Self::Unsyncable(_) => "name",
            Self::TooLarge => "too-large",
            Self::Mounted(_) => "mount",
            Self::Unsupported { .. } => "unsupported",
            Self::Contradicted => "unexpected",
            Self::NobodyHolds => "no-holder",
            Self::Content(_) => "content",
            Self::Special => "special",
            Self::Unreadable(_) => "unreadable",
            Self::Changing => "busy",
            Self::Newer | Self::TooMuchNewer => "version",
            Self::Root(_) => "root",
            Self::Index(_) => "index",
            Self::Other(_) => "other",
        }
    }

    /// What to do about it, or what becomes of it by itself.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::DiskFull | Self::Quota => "free some space and it goes on by itself",
            Self::KeptFree(_) => {
                "free some space, or keep less free with `syncctl folder set FOLDER min_free SIZE`"
            }
            Self::ReadOnlyDisk => "mount it writable",
            Self::DiskFails(_) => "check the disk and its cables",
            Self::Permission(_) => "give the user that runs syncd write permission there",
            Self::NameTooLong(path) => return Some(format!("rename {path} to something shorter")),
            Self::BadName(_) | Self::Unsyncable(_) => "rename it on a device that can",
            Self::TooLarge | Self::Unsupported { .. } => "move the folder to another file system",
            Self::Mounted(_) => "a synced folder must lie on one file system",
            Self::Contradicted => "it is looked at anew",
            Self::NobodyHolds => "it comes when one does",
            Self::Special => "it comes when that is gone",
            Self::NotReadable(_) => "give the user that runs syncd permission to read it",
            Self::Changing => "it is synced when it rests",
            Self::Newer | Self::TooMuchNewer => "update syncd on this device",
            Self::Content(_)
            | Self::Unreadable(_)
            | Self::Root(_)
            | Self::Index(_)
            | Self::Other(_) => {
                return None;
            }
        };
        Some(text.to_owned())
    }

    /// Sentence and remedy in one.
    #[must_use]
    pub fn in_full(&self) -> String {
        match self.remedy() {
            Some(remedy) => format!("{self}; {remedy}"),
            None => self.to_string(),
        }
    }
}

impl From<&str> for Trouble {
    fn from(words: &str) -> Self {
        Self::Other(words.to_owned())
    }
}

impl From<String> for Trouble {
    fn from(words: String) -> Self {
        Self::Other(words)
    }
}
