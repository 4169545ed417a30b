//! The settings of a folder that concern its disk. Those that say how it is found come with the mechanisms.

use crate::options::{Days, Declaration, Opt, Places, Size, Span};

/// How many days replaced and deleted files are kept; 0 keeps none.
pub const ARCHIVE_DAYS: Opt<Days> = Opt::new(
    "archive-days",
    "archive_days",
    "How long replaced and deleted files are kept in the archive; 0 keeps none",
)
.default("30")
.at(Places::FOLDER);

/// How many bytes are left free on the disk.
pub const MIN_FREE: Opt<Size> =
    Opt::new("min-free", "min_free", "How much is left free on the disk")
        .default("256MiB")
        .at(Places::FOLDER);

/// The time between two looks at the whole disk.
pub const RESCAN: Opt<Span> = Opt::new(
    "rescan",
    "rescan",
    "Time between two looks at the whole disk, beside the watching",
)
.default("1h")
.at(Places::FOLDER);

/// These settings.
pub const DISK_SETTINGS: &[&Declaration] = &[
    &ARCHIVE_DAYS.declaration,
    &MIN_FREE.declaration,
    &RESCAN.declaration,
];
