//! `schema`: JSON Schema of the configuration or the policy, so that editors complete the YAML.

use serde_json::Value;

use super::{Failure, print};
use crate::config::Config;
use crate::policy::Policy;

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

#[expect(clippy::unnecessary_wraps, reason = "as every command")]
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    print(&format!("{:#}", args.file.schema()));
    Ok(())
}

impl File {
    fn schema(self) -> Value {
        match self {
            Self::Config => schemars::schema_for!(Config).to_value(),
            Self::Policy => Policy::json_schema(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The policy's schema is tested beside its loader.
    #[test]
    fn the_schema_of_the_configuration_accepts_the_samples_and_no_unknown_key() {
        let validator = jsonschema::validator_for(&File::Config.schema()).unwrap();
        for sample in [
            "config/broker.yaml",
            "config/samples/broker.yaml",
            "config/sandbox/broker.yaml",
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(sample);
            let text = std::fs::read_to_string(path).unwrap();
            let mut value: Value = serde_saphyr::from_str(&text).unwrap();
            let mistakes: Vec<_> = validator.iter_errors(&value).collect();
            assert!(mistakes.is_empty(), "{sample}: {mistakes:?}");
            value["server"]["wrokers"] = 2.into();
            assert!(!validator.is_valid(&value), "{sample}");
        }
    }
}
