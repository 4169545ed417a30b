//! Tests of syncd as a whole.
//!
//! | module | what it holds |
//! |---|---|
//! | [`sim`] | a deterministic simulator of a cluster: real engines, disks and sessions in virtual time |

#![forbid(unsafe_code)]

pub mod sim;
