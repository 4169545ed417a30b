//! The command line of syncd.
//!
//! Each command checks what was typed, asks the daemon through its control API, and shows the answer:
//! as JSON, as tables on a terminal, or as plain lines elsewhere. It owns nothing but the screen. It
//! must never read the daemon's files, and it puts a secret nowhere but on the first line of its output.

#![forbid(unsafe_code)]

pub mod cli;
mod client;
mod commands;
mod failure;
mod home;
mod input;
mod out;
mod paint;
mod table;
mod text;

pub use cli::Cli;
pub use failure::{Exit, Failure};
pub use out::{Captured, Out};

use client::Client;
use home::Home;

/// Runs a command that was typed, and says how it ended. Errors are on `out`'s standard error by then.
pub async fn run(cli: Cli, out: &mut Out) -> Exit {
    out.json = cli.json;
    out.name_home(cli.home.as_deref());
    let result = match Home::resolve(cli.home.as_deref()) {
        Ok(home) => cli.command.run(&Client::new(home), out).await,
        Err(failure) => Err(failure),
    };
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            out.failure(&failure);
            failure.exit()
        }
    }
}

/// What the program `syncctl` does: reads the command line, runs the command, says how it ended.
pub fn main() -> std::process::ExitCode {
    use clap::Parser as _;
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // What was typed can't be read as a whole, so it is looked for word by word.
            let json = std::env::args_os()
                .take_while(|word| word != "--")
                .any(|word| word == "--json");
            return cli::explain(&error, json).into();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(cli, &mut Out::system())).into(),
        Err(error) => {
            eprintln!("error: the system gave no event queue: {error}");
            Exit::Failed.into()
        }
    }
}
