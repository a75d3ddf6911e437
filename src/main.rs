//! The `pointsman` program.

fn main() -> std::process::ExitCode {
    pointsman::cli::run()
}
