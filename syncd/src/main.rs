//! `syncd`, the daemon.

fn main() -> std::process::ExitCode {
    syncd::main()
}
