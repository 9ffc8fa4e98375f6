//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 78 (`EX_CONFIG`) faulty configuration or policy.

mod check;
mod doctor;
mod explain;
mod probe;
#[cfg(feature = "sandbox")]
mod sandbox;
mod schema;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Mistakes;

/// `EX_CONFIG` of `sysexits.h`.
const EX_CONFIG: u8 = 78;

/// Mints Power BI embed tokens with the effective identity that policy gives to an app's own users.
#[derive(Debug, Parser)]
#[command(name = "embed-broker", version)]
pub struct Cli {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "config/broker.yaml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker (the default).
    Serve,
    /// Run the broker against simulated Entra, Power BI and sign-in services, all in this process.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Args),
    /// Check configuration, policy and its cases offline; report every mistake at once.
    Check,
    /// Ask the configured services whether all of it works: keys, credentials, workspaces, items, rules against the
    /// row-level security that they meet. Each finding with cause and remedy; changes nothing.
    Doctor(doctor::Args),
    /// Show which rule decides for a caller, as which identity, and the exact GenerateToken request; no network.
    Explain(explain::Args),
    /// Print the JSON Schema of a file, for editors.
    Schema(schema::Args),
    /// Ask the running broker whether it is well (container health check).
    Probe(probe::Args),
}

/// How a command ended, when not well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Exit code 78.
    #[error("{0}")]
    Faulty(#[from] Mistakes),
    /// Exit code 1.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl From<crate::app::StartError> for Failure {
    fn from(error: crate::app::StartError) -> Self {
        match error {
            crate::app::StartError::Faulty(mistakes) => Self::Faulty(mistakes),
            crate::app::StartError::Failed(error) => Self::Failed(error),
        }
    }
}

impl Cli {
    /// Runs the command.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let outcome = match self.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::run(&self.config),
            #[cfg(feature = "sandbox")]
            Command::Sandbox(args) => sandbox::run(&args),
            Command::Check => check::run(&self.config),
            Command::Doctor(args) => doctor::run(&self.config, &args),
            Command::Explain(args) => explain::run(&self.config, &args),
            Command::Schema(args) => schema::run(&args),
            Command::Probe(args) => probe::run(&self.config, &args),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                report(&failure);
                match failure {
                    Failure::Faulty(_) => ExitCode::from(EX_CONFIG),
                    Failure::Failed(_) => ExitCode::FAILURE,
                }
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is what a command tells a person")]
fn report(failure: &Failure) {
    match failure {
        Failure::Faulty(mistakes) => {
            let count = mistakes.0.len();
            eprintln!(
                "{count} mistake{} in the configuration:\n{mistakes}",
                if count == 1 { "" } else { "s" }
            );
        }
        Failure::Failed(error) => eprintln!("embed-broker: {error:#}"),
    }
}

/// Prints what a command was asked for.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn print(text: &str) {
    println!("{text}");
}

/// Runs a command that needs the runtime.
fn block_on<T>(task: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    use anyhow::Context as _;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.context("cannot start the runtime")?.block_on(task)
}
