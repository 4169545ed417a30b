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
mod mechanisms;
mod net;
pub mod options;
mod parts;
pub mod policy;
mod program;
mod roster;
pub mod run;
mod say;
mod shutdown;
mod slot;
pub mod supervise;
mod wiring;

pub use daemon::LoadError;
pub use net::swarm;
pub use program::main;
