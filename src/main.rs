//! Parses the command line, dispatches, and turns the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use embed_broker::cli::Cli;

/// A request is many small allocations on several threads; see the README's table for what this one saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A usage error exits with 2 in here.
    Cli::parse().run()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        embed_broker::cli::Cli::command().debug_assert();
    }
}
