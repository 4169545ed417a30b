//! Paths: the ways to one peer, and which of them carries what.
//!
//! Pure rules and machines; they own no session and no socket.

mod machine;
mod on_link;
mod route;
#[cfg(test)]
mod tests;

pub use machine::{
    End, FASTER_FOR, HOLD, KEPT, PathFacts, PathId, PathOutput, Paths, RETIRE_FOR, SILENT_FOR,
    Sample, Word,
};
pub use on_link::{Prefix, class_of};
pub use route::{PathClass, Route, Transport};
