//! Parses the command line, dispatches, and turns the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use embed_broker::cli::Cli;

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
