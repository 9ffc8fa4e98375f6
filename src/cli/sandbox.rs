//! `sandbox`.

use super::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let _ = args;
    Ok(())
}
