//! Paths: the ways to one peer, and which of them carries what.
//!
//! Pure rules and machines; they own no session and no socket.

mod machine;
mod on_link;
mod route;
#[cfg(test)]
mod tests;
mod words;

pub use machine::{FASTER_FOR, HOLD, KEPT, Paths, RETIRE_FOR};
pub use on_link::{Prefix, class_of};
pub use route::{PathClass, Route, Transport};
pub use words::{PathFacts, PathOutput, Word};
