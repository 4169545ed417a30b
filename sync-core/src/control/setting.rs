//! A folder's settings, and how a person writes them.

use serde::{Deserialize, Serialize};

/// The settings of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether it is announced and looked for in the local network.
    pub lan: bool,
    /// How many days replaced and deleted files are kept; 0 keeps none.
    pub archive_days: u32,
    /// How many bytes are left free on the disk.
    pub min_free: u64,
    /// Seconds between two looks at the whole disk.
    pub rescan: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lan: true,
            archive_days: 30,
            min_free: 256 << 20,
            rescan: 3_600,
        }
    }
}

/// One setting with its new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// See [`Settings::lan`].
    Lan(bool),
    /// The addresses of members, `host:port`; they replace those that were there.
    KnownHosts(Vec<String>),
    /// See [`Settings::archive_days`].
    ArchiveDays(u32),
    /// See [`Settings::min_free`].
    MinFree(u64),
    /// See [`Settings::rescan`].
    Rescan(u64),
}

/// Why a setting was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// There is no such setting.
    #[error("there is no setting `{key}`; there are: {}", Setting::KEYS.join(", "))]
    UnknownKey {
        /// What was asked for.
        key: String,
    },
    /// The value doesn't fit.
    #[error("`{value}` is no value for `{key}`: it takes {takes}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would have been right.
        takes: &'static str,
    },
}

impl Setting {
    /// The names of all settings.
    pub const KEYS: [&str; 5] = ["lan", "known_hosts", "archive_days", "min_free", "rescan"];

    /// Reads a setting as a person writes it. Known hosts are only told apart: what is an address is for
    /// the daemon to say, which looks it up.
    ///
    /// # Errors
    ///
    /// Says what the setting takes.
    pub fn parse(key: &str, value: &str) -> Result<Self, SettingError> {
        let value = value.trim();
        let refused = |key, takes| SettingError::Value {
            key,
            value: value.to_owned(),
            takes,
        };
        match key {
            "lan" => match value {
                "on" | "true" | "yes" => Ok(Self::Lan(true)),
                "off" | "false" | "no" => Ok(Self::Lan(false)),
                _ => Err(refused("lan", "on or off")),
            },
            "known_hosts" => {
                let hosts: Vec<String> = value
                    .split(',')
                    .map(str::trim)
                    .filter(|host| !host.is_empty())
                    .map(str::to_owned)
                    .collect();
                Ok(Self::KnownHosts(hosts))
            }
            "archive_days" => value
                .parse()
                .ok()
                .filter(|days| *days <= 36_500)
                .map(Self::ArchiveDays)
                .ok_or_else(|| refused("archive_days", "a number of days, 0 for no archive")),
            "min_free" => parse_size(value).map(Self::MinFree).ok_or_else(|| {
                refused(
                    "min_free",
                    "a number of bytes, or one with KiB, MiB, GiB or TiB",
                )
            }),
            "rescan" => value
                .parse()
                .ok()
                .filter(|seconds| (1..=31 * 86_400).contains(seconds))
                .map(Self::Rescan)
                .ok_or_else(|| refused("rescan", "a number of seconds, 1 to 2678400")),
            _ => Err(SettingError::UnknownKey {
                key: key.chars().take(64).collect(),
            }),
        }
    }

    /// The name of the setting.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Lan(_) => "lan",
            Self::KnownHosts(_) => "known_hosts",
            Self::ArchiveDays(_) => "archive_days",
            Self::MinFree(_) => "min_free",
            Self::Rescan(_) => "rescan",
        }
    }
}

/// A number of bytes, with or without a binary unit.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}
