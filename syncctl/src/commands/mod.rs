//! The commands: each checks what was typed, asks, and shows.

mod completions;
mod decide;
mod discover;
mod errors;
mod events;
mod file;
mod folder;
mod peers;
mod secret;
mod settings;
mod shutdown;
mod status;
mod wait;

use crate::{Exit, Failure, Out, cli::Command, client::Client};

/// How a command ends.
pub(crate) type Ended = Result<Exit, Failure>;

/// Runs any command.
pub(crate) async fn run(client: &Client, command: Command, out: &mut Out) -> Ended {
    match command {
        Command::Status(args) => status::run(client, &args, out).await,
        Command::Folder(command) => folder::run(client, command, out).await,
        Command::File(args) => file::run(client, &args, out).await,
        Command::Wait(args) => wait::run(client, &args, out).await,
        Command::Secret(command) => secret::run(client, &command, out).await,
        Command::Peers(args) => peers::run(client, args.folder.as_deref(), out).await,
        Command::Discover(args) => discover::run(client, &args.folder, out).await,
        Command::Errors(args) => errors::run(client, args.folder.as_deref(), out).await,
        Command::Events(args) => events::run(client, args.since, out).await,
        Command::Approve(args) => decide::run(client, &args.folder, true, out).await,
        Command::Reject(args) => decide::run(client, &args.folder, false, out).await,
        Command::Shutdown => shutdown::run(client, out).await,
        Command::Completions(args) => completions::run(args.shell, out),
    }
}
