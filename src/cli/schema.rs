//! `schema`: JSON Schema of the configuration or the policy, so that editors complete the YAML.

use anyhow::Context as _;

use super::{Failure, print};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which file.
    file: File,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum File {
    /// `config/broker.yaml`.
    Config,
    /// `config/policy.yaml`.
    Policy,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let schema = match args.file {
        File::Config => schemars::schema_for!(Config).to_value(),
        File::Policy => crate::policy::Policy::json_schema(),
    };
    print(&serde_json::to_string_pretty(&schema).context("the schema is no JSON")?);
    Ok(())
}
