//! `spoolway-agent`: see the library.

fn main() -> std::process::ExitCode {
    agent::main()
}
