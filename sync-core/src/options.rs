//! Options, each declared once.
//!
//! A [`Declaration`] says everything there is to say of an option: its name, what it takes, what it is when nobody
//! says anything, what it is for, and where it may stand. The command line, `config.toml`, the settings of a
//! folder, what a reload changes, the help, the errors and the documentation are made from it. Whoever owns an
//! option (the daemon, a discovery mechanism, a folder) declares it as a constant [`Opt`] and lists it in a table;
//! [`Values`] holds what was said, checked, and gives it back with its type.
//!
//! | place | how an option `lan-port` is written there |
//! |---|---|
//! | command line | `--lan-port PORT` |
//! | `config.toml` | `lan-port = PORT` |
//! | settings of a folder, API | `lan_port`: its *key* |
//!
//! A switch that is on by default is named by what it switches off: `--no-lan`, `no-lan = true`; its key says what is
//! on, so in a folder `lan` is `on` or `off`.
//!
//! The module owns the checks that need nothing but the text. It must never read a file, a clock or the environment.

mod types;
mod values;

pub use types::{Days, OptionType, Port, Shape, Size, Span};
pub use values::{Value, Values};

use std::marker::PhantomData;

/// Places where an option may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places(u8);

impl Places {
    /// The command line of the daemon.
    pub const LINE: Self = Self(1);
    /// `config.toml`.
    pub const FILE: Self = Self(2);
    /// The settings of a folder.
    pub const FOLDER: Self = Self(4);

    /// These places and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What there is to say of an option, without its type.
#[derive(Debug, Clone, Copy)]
pub struct Declaration {
    /// How it is written on the command line (after two hyphens) and in `config.toml`, in words with hyphens.
    pub name: &'static str,
    /// Its key in a folder's settings and in [`Values`], in words with underscores.
    pub key: &'static str,
    /// Whether it takes a value, many or none.
    pub shape: Shape,
    /// The word that stands for its value in the help.
    pub word: &'static str,
    /// What it takes, to go on after "it takes".
    pub takes: &'static str,
    /// What it is for, in one line.
    pub help: &'static str,
    /// What it is when nobody says anything, as a person would write it; empty for nothing.
    pub default: &'static str,
    /// What the help says of the default, where that is worked out only when the program runs.
    pub default_help: &'static str,
    /// Where it may stand.
    pub places: Places,
    /// Whether a change in `config.toml` needs a new start of the daemon.
    pub restart: bool,
    read: fn(&str) -> Result<Value, String>,
}

impl Declaration {
    /// Whether command line and file name it to switch it off.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.shape == Shape::Switch && self.default == "on"
    }

    /// Reads a value as a person writes it.
    ///
    /// # Errors
    ///
    /// Says what the option takes.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        (self.read)(text.trim())
    }

    /// Reads a value; `name` is how the person called the option.
    ///
    /// # Errors
    ///
    /// Says what the option takes.
    pub fn parse(&self, name: &str, text: &str) -> Result<Value, OptionError> {
        self.read(text).map_err(|reason| OptionError::Value {
            name: name.to_owned(),
            value: text.trim().chars().take(SHOWN).collect(),
            reason,
        })
    }

    /// What the help says: what it is for, and what it is by default.
    #[must_use]
    pub fn explained(&self) -> String {
        let default = match self.default_help {
            "" if self.shape == Shape::Switch || self.default.is_empty() => {
                return self.help.to_owned();
            }
            "" => self.default,
            told => told,
        };
        format!("{} [default: {default}]", self.help)
    }

    /// What the help of the command line says.
    #[must_use]
    pub fn explained_on_line(&self) -> String {
        let mut letters = self.help.chars();
        match letters.next() {
            Some(first) if self.is_negative() => {
                format!("Switch off {}{}", first.to_lowercase(), letters.as_str())
            }
            _ => self.explained(),
        }
    }
}

/// The longest part of a wrong value that is shown.
const SHOWN: usize = 120;

/// Why something that was said of an option is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no such option here.
    #[error("there is no {what} `{name}`; there are: {there}")]
    Unknown {
        /// `option` or `setting`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// Those there are, with commas.
        there: String,
    },
    /// The value doesn't fit.
    #[error("`{value}` is no value for `{name}`: {reason}")]
    Value {
        /// The option, as the person called it.
        name: String,
        /// What was given.
        value: String,
        /// What would have been right.
        reason: String,
    },
}

/// Finds the declaration of a folder's setting by its key.
///
/// # Errors
///
/// Names the settings there are.
pub fn find_setting<'a>(
    table: impl Iterator<Item = &'a Declaration> + Clone,
    key: &str,
) -> Result<&'a Declaration, OptionError> {
    let mut settings = table.filter(|o| o.places.has(Places::FOLDER));
    let there = settings.clone();
    settings
        .find(|o| o.key == key)
        .ok_or_else(|| OptionError::Unknown {
            what: "setting",
            name: key.chars().take(SHOWN).collect(),
            there: there.map(|o| o.key).collect::<Vec<_>>().join(", "),
        })
}

/// A declared option and the type of its value.
#[derive(Debug)]
pub struct Opt<T> {
    /// What there is to say of it.
    pub declaration: Declaration,
    _type: PhantomData<fn() -> T>,
}

fn read<T: OptionType>(text: &str) -> Result<Value, String> {
    T::read(text).map(|value| value.value())
}

impl<T: OptionType> Opt<T> {
    /// An option of the command line and of `config.toml`, without a default, that changes at a reload.
    #[must_use]
    pub const fn new(name: &'static str, key: &'static str, help: &'static str) -> Self {
        Self {
            declaration: Declaration {
                name,
                key,
                shape: T::SHAPE,
                word: T::WORD,
                takes: T::TAKES,
                help,
                default: "",
                default_help: "",
                places: Places::LINE.and(Places::FILE),
                restart: false,
                read: read::<T>,
            },
            _type: PhantomData,
        }
    }

    /// What it is when nobody says anything, as a person would write it.
    #[must_use]
    pub const fn default(mut self, text: &'static str) -> Self {
        self.declaration.default = text;
        self
    }

    /// What the help says of a default that the program works out.
    #[must_use]
    pub const fn default_help(mut self, text: &'static str) -> Self {
        self.declaration.default_help = text;
        self
    }

    /// Where it may stand.
    #[must_use]
    pub const fn at(mut self, places: Places) -> Self {
        self.declaration.places = places;
        self
    }

    /// A change in `config.toml` needs a new start.
    #[must_use]
    pub const fn needs_restart(mut self) -> Self {
        self.declaration.restart = true;
        self
    }
}

#[cfg(test)]
mod tests;
