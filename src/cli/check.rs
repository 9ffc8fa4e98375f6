//! `check`: configuration, policy and cases, offline, every mistake at once.

use std::path::Path;

use super::{Failure, block_on, print};
use crate::app;
use crate::config::{Config, Mistakes};

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let (config, mistakes) = Config::read(file, None);
    match config {
        Some(config) if mistakes.is_empty() => {
            block_on(async { Ok(app::check(config.clone()).await?) })?;
            print(&format!(
                "{} and {} are in order: {} issuer(s), {} principal(s); every case of the policy holds",
                file.display(),
                config.policy_file.display(),
                config.authn.issuers.len(),
                config.principals.len(),
            ));
            Ok(())
        }
        config => Err(all(config, mistakes)),
    }
}

/// The configuration, when it is in order; else every mistake of it and of its policy.
pub(super) fn load(file: &Path) -> Result<Config, Failure> {
    match Config::read(file, None) {
        (Some(config), mistakes) if mistakes.is_empty() => Ok(config),
        (config, mistakes) => Err(all(config, mistakes)),
    }
}

/// The mistakes of a configuration, with those that its policy holds beside them.
fn all(config: Option<Config>, mut mistakes: Vec<crate::config::Mistake>) -> Failure {
    let further = config.map(|config| block_on(async { Ok(app::check(config).await?) }));
    if let Some(Err(Failure::Faulty(Mistakes(further)))) = further {
        mistakes.extend(
            further
                .into_iter()
                .filter(|mistake| !mistakes.contains(mistake))
                .collect::<Vec<_>>(),
        );
    }
    Mistakes(mistakes).into()
}
