//! Why a text was refused as a secret.
//!
//! None of these ever carries a symbol of the text: an error ends up in logs,
//! on screens and in bug reports. Lengths and places are told, because they
//! help to find the mistake and help nobody to guess the secret.

use super::Level;

/// Why a text was refused as a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There was nothing but white space.
    #[error("the secret is empty; paste the whole text that begins with A or B")]
    Empty,
    /// The text is longer than any secret can be.
    #[error("the text is {found} bytes long, too long for a secret (at most {limit})")]
    TooLong {
        /// The length of the text in bytes.
        found: usize,
        /// The greatest length that is looked at.
        limit: usize,
    },
    /// A typed secret has too few or too many symbols.
    #[error(
        "a {level} secret has {expected} symbols, this text has {found}; \
         copy it again from its first to its last symbol"
    )]
    Length {
        /// The level that the first letter announces.
        level: Level,
        /// How many symbols a secret of that level has.
        expected: usize,
        /// How many symbols the text has.
        found: usize,
    },
    /// A character that no secret contains.
    #[error(
        "character {position} can't be in a secret; \
         only the letters A to Z and the digits 2 to 7 can"
    )]
    Character {
        /// Its place, counted in characters from 1, after white space around
        /// the text was taken away.
        position: usize,
    },
    /// The check symbols don't fit the others.
    #[error(
        "the secret was mistyped: its {symbols} symbols don't fit its check symbols; \
         compare it with the original symbol by symbol, or copy it again"
    )]
    Check {
        /// How many symbols the text has.
        symbols: usize,
    },
    /// The unused bits of the last data symbol aren't zero, so that no program
    /// can have written this text.
    #[error(
        "the secret is not well formed: the last symbol before the check symbols \
         has unused bits set; copy it again from the original"
    )]
    SpareBits,
    /// The verifying key in a read-only secret isn't a usable Ed25519 key.
    #[error("the secret holds no usable verifying key; ask for a new one where it came from")]
    VerifyingKey,
    /// It begins with `C`.
    #[error(
        "a secret that begins with C is a one-time secret; one-time secrets are not in this \
         version, ask for one that begins with A or B (or check the first letter)"
    )]
    OneTime,
    /// It begins with `F`.
    #[error(
        "a secret that begins with F is an encrypted-only secret; encrypted-only secrets are \
         not in this version, ask for one that begins with A or B (or check the first letter)"
    )]
    EncryptedOnly,
    /// It begins with `D` or `E`, which other programs give to folders that
    /// are kept encrypted.
    #[error(
        "secrets that begin with D or E belong to encrypted folders of other programs and are \
         not in this version; ask for one that begins with A or B (or check the first letter)"
    )]
    Foreign,
    /// It begins with a symbol that stands for no kind of secret.
    #[error("no secret begins with this symbol; a secret begins with A or B, check the first one")]
    UnknownType,
    /// It is Base64 text long enough for a custom secret.
    #[error(
        "this looks like a custom secret; custom secrets are not in this version (if it should \
         be one that begins with A or B: character {position} is wrong, only the letters A to Z \
         and the digits 2 to 7 can be in it)"
    )]
    Custom {
        /// The place of the first character that no typed secret contains,
        /// counted from 1.
        position: usize,
    },
}
