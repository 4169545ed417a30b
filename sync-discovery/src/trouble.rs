//! What can be wrong with a discovery mechanism, and what helps.
//!
//! Programs decide by [`Trouble::kind`], people read the sentence and [`Trouble::remedy`]. What one attempt did is
//! no trouble; trouble lasts until the mechanism finds it gone.

use std::net::SocketAddr;

/// Something that keeps a mechanism from doing all it could.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// Its socket can't be opened.
    #[error("UDP port {port} can't be opened: {error}")]
    Port {
        /// The port.
        port: u16,
        /// What the system said.
        error: String,
    },
    /// The interfaces of this machine can't be read.
    #[error("the network interfaces can't be listed: {error}")]
    Interfaces {
        /// What the system said.
        error: String,
    },
    /// No interface is there to speak on.
    #[error("there is no network interface to speak on")]
    NoInterface {
        /// The interfaces that were chosen; empty for any.
        wanted: Vec<String>,
    },
    /// An interface doesn't take part in multicast.
    #[error("nothing is heard over IPv6 on {interface}: {error}")]
    Join {
        /// Its name.
        interface: String,
        /// What the system said.
        error: String,
    },
    /// Datagrams don't go out.
    #[error("nothing can be sent to {to}: {error}")]
    Send {
        /// Where to.
        to: SocketAddr,
        /// What the system said.
        error: String,
    },
    /// The name of a host can't be looked up.
    #[error("{host} can't be looked up: {error}")]
    Unresolved {
        /// The host as the user wrote it.
        host: String,
        /// What the resolver said.
        error: String,
    },
    /// More was wanted than it takes.
    #[error("{left_out} {what} are left out, {most} are the most")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        left_out: usize,
        /// How many it takes.
        most: usize,
    },
}

impl Trouble {
    /// A word for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Port { .. } => "port",
            Self::Interfaces { .. } | Self::NoInterface { .. } => "interfaces",
            Self::Join { .. } => "multicast",
            Self::Send { .. } => "send",
            Self::Unresolved { .. } => "unresolved",
            Self::TooMany { .. } => "too-many",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Port { port, .. } => format!(
                "let this program open UDP port {port}, or choose another with lan-port on all devices"
            ),
            Self::Interfaces { .. } => "`ip address` shows whether the system can list them".into(),
            Self::NoInterface { wanted } if wanted.is_empty() => {
                "connect this machine to a network".into()
            }
            Self::NoInterface { wanted } => format!(
                "`ip address` shows the interfaces; bind names {}",
                wanted.join(", ")
            ),
            Self::Join { .. } | Self::Send { .. } => {
                "look at the firewall and at `ip address`; other interfaces aren't affected".into()
            }
            Self::Unresolved { .. } => {
                "correct the name, or look at this machine's name server; it is tried again".into()
            }
            Self::TooMany { .. } => "remove those that aren't needed".into(),
        }
    }
}
