//! The daemon, built beside the tests that start it.

fn main() -> std::process::ExitCode {
    syncd::main()
}
