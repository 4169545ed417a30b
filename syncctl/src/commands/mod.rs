//! The commands: each is a file with what can be typed after its name, its help, and what it does. It checks what was
//! typed, asks the daemon, and shows the answer. One more is its file, and a line in the list below.

mod approve;
mod completions;
mod decide;
mod discover;
mod errors;
mod events;
mod file;
mod folder;
mod peers;
mod reject;
mod secret;
mod shutdown;
mod status;
mod verdict;
mod wait;

use std::future::Future;

use crate::{Exit, Failure, Out, client::Client};

/// How a command ends.
pub(crate) type Ended = Result<Exit, Failure>;

/// A command, with what was typed after its name.
pub(crate) trait Command: clap::Args {
    /// Does it.
    fn run(self, client: &Client, out: &mut Out) -> impl Future<Output = Ended>;
}

/// Makes a list of commands: each line is a name and the arguments of that name, which know the rest.
macro_rules! commands {
    ($(#[$doc:meta])* $list:ident { $($name:ident($args:ty),)+ }) => {
        $(#[$doc])*
        #[derive(Debug, clap::Subcommand)]
        pub(crate) enum $list {
            $($name($args),)+
        }

        impl $list {
            /// Runs the one that was typed.
            pub(crate) async fn run(
                self,
                client: &$crate::client::Client,
                out: &mut $crate::Out,
            ) -> $crate::commands::Ended {
                match self {
                    $(Self::$name(args) => $crate::commands::Command::run(args, client, out).await,)+
                }
            }
        }
    };
}
use commands;

commands! {
    /// The commands.
    Commands {
        Status(status::Args),
        Folder(folder::Args),
        File(file::Args),
        Wait(wait::Args),
        Secret(secret::Args),
        Peers(peers::Args),
        Discover(discover::Args),
        Errors(errors::Args),
        Events(events::Args),
        Approve(approve::Args),
        Reject(reject::Args),
        Shutdown(shutdown::Args),
        Completions(completions::Args),
    }
}
