//! The program `syncctl`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use syncctl::{Cli, Exit, Out, run};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return syncctl::cli::explain(&error).into(),
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
