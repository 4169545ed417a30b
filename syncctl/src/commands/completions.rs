//! `completions`: what a shell needs to complete a command line.

use clap_complete::Shell;

use super::{Command, Ended};
use crate::{Exit, Out, cli, client::Client};

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  syncctl completions bash > ~/.local/share/bash-completion/completions/syncctl"
)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

impl Command for Args {
    async fn run(self, _: &Client, out: &mut Out) -> Ended {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut cli::command(), "syncctl", &mut script);
        out.raw(&script)?;
        Ok(Exit::Done)
    }
}
