//! Paths: the ways to one peer, and which of them carries what.
//!
//! Pure rules and machines; they own no session and no socket.

mod on_link;
mod route;

pub use on_link::{Prefix, class_of};
pub use route::{PathClass, Route, Transport};
