#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod args;
mod asking;
pub mod config;
pub mod control;
mod control_impl;
mod daemon;
mod discovery;
mod folder;
pub mod folders;
pub mod home;
pub mod lock;
pub mod log;
mod net;
pub mod options;
pub mod policy;
mod program;
pub mod run;
mod say;
mod shutdown;
pub mod supervise;
mod wiring;

pub use daemon::LoadError;
pub use net::swarm;
pub use program::main;
