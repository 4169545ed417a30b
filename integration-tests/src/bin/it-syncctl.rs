//! The command line, built beside the tests that run it.

fn main() -> std::process::ExitCode {
    syncctl::main()
}
