//! `schema`: JSON Schema of the configuration or the policy, so that editors complete the YAML.
//!
//! What it prints stands in `docs/`, where editors find it as well; a test holds it equal to the types.

use super::{Failure, print};

const CONFIG: &str = include_str!("../../docs/config.schema.json");
const POLICY: &str = include_str!("../../docs/policy.schema.json");

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
    let schema = match args.file {
        File::Config => CONFIG,
        File::Policy => POLICY,
    };
    print(schema.trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::policy::Policy;

    #[test]
    fn the_schemas_are_what_the_types_say() {
        let of_types = [
            ("config", schemars::schema_for!(Config).to_value(), CONFIG),
            ("policy", Policy::json_schema(), POLICY),
        ];
        for (name, schema, published) in of_types {
            let schema = format!("{schema:#}\n");
            let file = format!("docs/{name}.schema.json");
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
                std::fs::write(path, &schema).unwrap();
            } else {
                let current = schema == published;
                assert!(
                    current,
                    "{file} is old: UPDATE_SCHEMAS=1 cargo test schemas_are"
                );
            }
        }
    }
}
