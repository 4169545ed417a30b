//! What makes a change of a folder's secret known: the hand-over to each device that is kept, and the link between
//! a device's old and new key.
//!
//! This module owns the formats and their checks; when a rotation is followed is decided elsewhere, and nothing here
//! trusts anybody. A cut-off device, and whoever finds a hand-over, must learn nothing from it.

mod hand_over;
mod link;
#[cfg(test)]
mod tests;

pub use hand_over::{HandOver, HandOverError, MAX_DATA_KEYS, NewSecret};
pub use link::{Identity, Link};
