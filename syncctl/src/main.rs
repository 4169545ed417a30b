//! `syncctl`, the command line.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    syncctl::main()
}
