//! What can be typed before a command, and what is said when it makes no sense.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use sync_core::secret::hide_secrets;

use crate::{Exit, Failure, commands::Commands};

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
    pub(crate) command: Commands,
}

/// Shows why what was typed isn't a command, or the help that was asked for, and says how to end.
///
/// What looks like a secret is hidden, should the message quote one. Whoever asked for JSON gets it here too.
pub fn explain(error: &clap::Error, json: bool) -> Exit {
    if !error.use_stderr() {
        // Help that nobody reads to its end is no failure.
        let _ = error.print();
        return Exit::Done;
    }
    let plain = error.render().to_string();
    let hidden = hide_secrets(&plain);
    if json {
        // The first line says what is wrong; usage and tips follow it.
        let mut parts = hidden.splitn(2, "\n\n");
        let message = parts.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let failure = Failure::Usage {
            message: message.to_owned(),
            hint: parts.next().map(|rest| rest.trim().to_owned()),
        };
        eprintln!("{}", failure.json());
    } else if hidden == plain {
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
