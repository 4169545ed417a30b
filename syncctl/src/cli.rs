//! What can be typed.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand};
use sync_core::secret::hide_secrets;

use crate::Exit;

/// Manages the syncd daemon of this machine.
#[derive(Debug, Parser)]
#[command(
    name = "syncctl",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Examples:\n  syncctl status\n  syncctl folder add ~/Sync\n  syncctl wait Sync --timeout 60\n\n\
    FOLDER is a folder's name or path.\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the daemon is not running, 4 timed out."
)]
pub struct Cli {
    /// The daemon's home [default: $SYNCD_HOME, else syncd in the platform's data directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show this device, its folders and its peers
    #[command(after_help = "Example:\n  syncctl status --watch")]
    Status(StatusArgs),
    /// Add, list, change and remove folders
    #[command(after_help = "Example:\n  syncctl folder add ~/Sync --name Sync")]
    #[command(subcommand, arg_required_else_help = true)]
    Folder(FolderCommand),
    /// Show why a file is as it is: its version, who holds it, what it waits for
    #[command(after_help = "Example:\n  syncctl file Sync notes/today.txt")]
    File(FileArgs),
    /// Wait until a folder is in sync
    #[command(after_help = "Example:\n  syncctl wait Sync --timeout 60 --peers 2")]
    Wait(WaitArgs),
    /// Make, show and derive secrets
    #[command(after_help = "Example:\n  syncctl secret show Sync --read-only")]
    #[command(subcommand, arg_required_else_help = true)]
    Secret(SecretCommand),
    /// Show the connected peers
    #[command(after_help = "Example:\n  syncctl peers Sync")]
    Peers(MaybeFolder),
    /// Show every address where a member may be, who told it, and what became of it
    #[command(after_help = "Example:\n  syncctl discover Sync")]
    Discover(OneFolder),
    /// Show what is stuck, why, and when it is tried next
    #[command(after_help = "Example:\n  syncctl errors")]
    Errors(MaybeFolder),
    /// Follow what happens, one JSON object a line
    #[command(after_help = "Example:\n  syncctl events --since 0")]
    Events(EventsArgs),
    /// Let held deletions go
    #[command(after_help = "Example:\n  syncctl approve Sync")]
    Approve(OneFolder),
    /// Fetch back what held deletions took
    #[command(after_help = "Example:\n  syncctl reject Sync")]
    Reject(OneFolder),
    /// Stop the daemon
    #[command(after_help = "Example:\n  syncctl shutdown")]
    Shutdown,
    /// Print the completions for a shell
    #[command(
        after_help = "Example:\n  syncctl completions bash > ~/.local/share/bash-completion/completions/syncctl"
    )]
    Completions(CompletionsArgs),
}

/// `syncctl folder …`
#[derive(Debug, Subcommand)]
pub enum FolderCommand {
    /// Add a folder; without a secret, a new one is made and printed on the first line
    #[command(
        after_help = "Examples:\n  syncctl folder add ~/Sync\n  syncctl folder add ~/Sync --secret - < secret.txt"
    )]
    Add(AddArgs),
    /// List the folders
    #[command(after_help = "Example:\n  syncctl folder list")]
    List,
    /// Show everything about a folder
    #[command(after_help = "Example:\n  syncctl folder show Sync")]
    Show(OneFolder),
    /// Forget a folder and its secret; its files stay where they are
    #[command(after_help = "Example:\n  syncctl folder remove Sync")]
    Remove(OneFolder),
    /// Let a folder rest
    #[command(after_help = "Example:\n  syncctl folder pause --all")]
    Pause(SomeFolders),
    /// Let a paused folder go on
    #[command(after_help = "Example:\n  syncctl folder resume Sync")]
    Resume(SomeFolders),
    /// Look at a folder's whole disk again
    #[command(after_help = "Example:\n  syncctl folder rescan Sync")]
    Rescan(OneFolder),
    /// Change a setting, or list those there are, what they take and how they stand
    #[command(
        after_help = "Examples:\n  syncctl folder set Sync\n  syncctl folder set Sync known_hosts nas.lan:29170\n  syncctl folder set Sync min_free 2GB\n  syncctl folder set Sync rescan 90m"
    )]
    Set(SetArgs),
    /// Say that a folder's root is elsewhere now
    #[command(after_help = "Example:\n  syncctl folder move Sync /mnt/big/Sync")]
    Move(MoveArgs),
    /// Say that a folder's root was replaced on purpose
    #[command(after_help = "Example:\n  syncctl folder adopt Sync")]
    Adopt(OneFolder),
}

/// `syncctl secret …`
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Make a new read-write secret; needs no daemon
    #[command(after_help = "Example:\n  syncctl secret new > secret.txt")]
    New,
    /// Show a folder's secret
    #[command(after_help = "Example:\n  syncctl secret show Sync --read-only")]
    Show(ShowSecretArgs),
    /// Make a weaker secret of a secret; needs no daemon
    #[command(after_help = "Example:\n  syncctl secret derive - --read-only < secret.txt")]
    Derive(DeriveArgs),
}

/// A folder.
#[derive(Debug, Args)]
pub struct OneFolder {
    /// Its name or path
    pub folder: String,
}

/// A folder or all of them.
#[derive(Debug, Args)]
pub struct MaybeFolder {
    /// Its name or path [default: every folder]
    pub folder: Option<String>,
}

/// A folder, or all of them if that is said.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true))]
pub struct SomeFolders {
    /// Its name or path
    #[arg(group = "which")]
    pub folder: Option<String>,
    /// Every folder
    #[arg(long, group = "which")]
    pub all: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show it again every second
    #[arg(long)]
    pub watch: bool,
}

/// `folder add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The directory
    #[arg(value_name = "DIR")]
    pub dir: String,
    /// The folder's secret; `-` reads it from standard input, or asks for it on a terminal
    #[arg(long, value_name = "-", hide_default_value = true)]
    pub secret: Option<String>,
    /// What to call it here [default: the directory's name]
    #[arg(long)]
    pub name: Option<String>,
    /// The address of a member; may be given several times
    #[arg(long = "known-host", value_name = "HOST:PORT")]
    pub known_hosts: Vec<String>,
}

/// `folder set`
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The folder's name or path
    pub folder: String,
    /// Which setting [default: list them all]
    pub key: Option<String>,
    /// What it is to be [default: show it]
    pub value: Option<String>,
}

/// `folder move`
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// The folder's name or old path
    pub folder: String,
    /// Where its root is now
    #[arg(value_name = "DIR")]
    pub dir: String,
}

/// `file`
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The folder's name or path
    pub folder: String,
    /// The file's path in the folder
    pub path: OsString,
}

/// `wait`
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The folder's name or path
    pub folder: String,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECS")]
    pub timeout: Option<u64>,
    /// Wait until so many connected peers are in sync too; with 0, no peer has to be there at all
    #[arg(long, value_name = "N")]
    pub peers: Option<u32>,
}

/// `secret show`
#[derive(Debug, Args)]
pub struct ShowSecretArgs {
    /// The folder's name or path
    pub folder: String,
    /// Show the secret that only allows to read
    #[arg(long)]
    pub read_only: bool,
}

/// `secret derive`
#[derive(Debug, Args)]
pub struct DeriveArgs {
    /// The secret; `-` reads it from standard input, or asks for it on a terminal
    #[arg(value_name = "-")]
    pub secret: String,
    /// Make the secret that only allows to read
    #[arg(long, required = true)]
    pub read_only: bool,
}

/// `events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Begin after this event; 0 begins with the oldest that is kept [default: with the next to happen]
    #[arg(long, value_name = "N")]
    pub since: Option<u64>,
}

/// `completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Shows why what was typed isn't a command, or the help that was asked for, and says how to end.
///
/// What looks like a secret is hidden, should the message quote one.
pub fn explain(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // Help that nobody reads to its end is no failure.
        let _ = error.print();
        return Exit::Done;
    }
    let plain = error.render().to_string();
    let hidden = hide_secrets(&plain);
    if hidden == plain {
        let _ = error.print();
    } else {
        eprint!("{hidden}");
    }
    Exit::Usage
}

/// The command line as a whole, for completions and for the tests of the help.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}
