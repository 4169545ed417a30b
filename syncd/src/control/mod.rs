//! The control API: how people and programs tell the daemon what to do.
//!
//! The server speaks HTTP/1.1 with JSON on a Unix socket in the daemon's home. It turns requests into
//! calls of a [`Control`], which the daemon implements, and answers into JSON; the shapes are those of
//! [`sync_core::control`]. What it gives away and takes in belongs to the one user of the socket: the
//! file is 0600, and each connection's user is checked besides.
//!
//! | part | what it does |
//! |---|---|
//! | [`Control`] | what the daemon must be able to do, and nothing of how |
//! | [`EventLog`] | remembers the last events and gives them to any number of listeners |
//! | [`ControlSocket`] | owns the socket file |
//! | [`router`] | the routes; the same ones on any listener |
//!
//! It owns the socket file and the ring of events. It must never decide anything about a folder, log a
//! body, or let a secret into an event or an error.

mod backend;
mod events;
#[cfg(any(test, feature = "fake-control"))]
pub mod fake;
mod metrics;
mod openapi;
mod routes;
mod server;
#[cfg(test)]
mod tests;

pub use backend::{Answer, Control, NewFolder};
pub use events::{EVENTS_KEPT, EventLog, Subscription};
pub use routes::{router, routes};
pub use server::{ControlError, ControlSocket, serve};
