//! Paths: the ways to one peer, and which of them carries what.
//!
//! Pure rules and machines; they own no session and no socket.

mod machine;
mod on_link;
mod route;
#[cfg(test)]
mod tests;

pub use machine::{FASTER_FOR, HOLD, KEPT, PathFacts, PathOutput, Paths, RETIRE_FOR, Word};
pub use on_link::{Prefix, class_of};
pub use route::{PathClass, Route, Transport};
