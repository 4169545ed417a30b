//! The disk side of syncd.
//!
//! | module | what it holds |
//! |---|---|
//! | [`apply`] | actions carried out without losing a byte, and recovery after a crash |
//! | [`archive`] | what was replaced or deleted, kept for a while |
//! | [`chunks`] | one answer to "give me this object" |
//! | [`temps`] | temporaries of unfinished files |
//! | [`driver`] | opens a folder and carries out what its engine wants: jobs out, results in |
//! | [`fs`] | one folder's directory tree behind a trait, real and simulated |
//! | [`identity`] | the small files that must never be lost: who we are, which numbers are used |
//! | [`sled_index`] | the index on sled |
//! | [`scan`] | what differs between the disk and the index |
//! | `watch` | where the disk changes, as the system tells it (feature `watch`) |
//! | `actor` | actix actors around the watcher and the chunk store (feature `actor`) |

#![forbid(unsafe_code)]

#[cfg(feature = "actor")]
pub mod actor;
pub mod apply;
pub mod archive;
pub mod chunks;
pub mod driver;
pub mod fs;
pub mod identity;
pub mod scan;
pub mod sled_index;
pub mod temps;
#[cfg(feature = "watch")]
pub mod watch;
