//! The `pointsman` program.

/// A flip under thousands of services makes and clears away tens of thousands of small things; the
/// C library's allocator takes five to ten times as long for it (`cargo bench --bench table`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    pointsman::cli::run()
}
