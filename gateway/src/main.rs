//! The `portolan` program.

fn main() -> std::process::ExitCode {
    portolan::cli::main(std::env::args_os())
}
