//! Addresses the user wrote down: `host:port`, for each folder.
//!
//! [`KnownHosts`] owns the list and the timers for asking the resolver again.
//! It does no IO: it says which name to resolve and is told the answer. Literal
//! addresses are never resolved. It must never drop a host because it does not
//! answer: the user said it is there.

mod host_port;
mod machine;
#[cfg(feature = "actor")]
mod mechanism;

pub use host_port::{Host, HostPort, HostPortError};
pub use machine::{KnownHosts, Resolve, TooManyHosts};
#[cfg(feature = "actor")]
pub use mechanism::{KNOWN_HOST, KnownHostsMechanism, Resolved};
