//! Tests of syncd as a whole.
//!
//! | module | what it holds |
//! |---|---|
//! | [`sim`] | a deterministic simulator of a cluster: real engines, disks and sessions in virtual time |
//! | [`lab`] | two network namespaces and a cable between them |
//! | [`cluster`] | real daemons on loopback, started, told and killed as a person would |

#![forbid(unsafe_code)]

pub mod cluster;
pub mod lab;
pub mod sim;
