//! `explain`.

use std::path::Path;

use super::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(file: &Path, args: &Args) -> Result<(), Failure> {
    let _ = (file, args);
    Ok(())
}
