#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod frame;
pub mod gate;
pub mod handshake;
pub mod membership;
pub mod paths;
pub mod session;

#[cfg(feature = "actor")]
pub mod actor;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "stream")]
pub mod stream;
#[cfg(feature = "tcp")]
pub mod tcp;

#[cfg(test)]
mod testing;

pub use gate::Gate;
pub use handshake::Entropy;
pub use membership::{DeviceProof, Level, Member, Membership, Role, SharedFolder};
pub use session::{CloseReason, Config, Event, Goodbye, Hello, Session, SessionError};
