//! The program: reads the command line, and runs the daemon.

use std::{io::IsTerminal, process::ExitCode};

use crate::{
    args::{Cli, Command, Run},
    run::{Start, run},
};
use clap::Parser;
use sync_core::secret::Secret;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// What the program `syncd` does.
pub fn main() -> ExitCode {
    let Cli {
        command: Command::Run(args),
    } = Cli::parse();
    match begin(*args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syncd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(args: Run) -> Result<(), Box<dyn std::error::Error>> {
    let options = args.options();
    let secret = args.secret.map(read_secret).transpose()?;
    let Run { home, folder, .. } = args;
    let start = Start {
        home,
        options,
        folder,
        secret,
        foreground: true,
    };
    Ok(run(start, CancellationToken::new(), None)?)
}

/// Reads the secret: asked for on a terminal, else the first line of standard input.
fn read_secret(given: String) -> Result<Secret, Box<dyn std::error::Error>> {
    let text = if given != "-" {
        eprintln!(
            "syncd: a secret in a command line can be seen by others on this machine; use `--secret -`"
        );
        Zeroizing::new(given)
    } else if std::io::stdin().is_terminal() {
        Zeroizing::new(rpassword::prompt_password("Secret of the folder: ")?)
    } else {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut line)?;
        line
    };
    Ok(Secret::parse(&text)?)
}
