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
        // What the stages say about a key that is faulty anyway, or about what holds it, is no second mistake.
        let known: Vec<String> = mistakes.iter().map(|it| it.place.clone()).collect();
        let further = further.into_iter();
        mistakes
            .extend(further.filter(|it| !known.iter().any(|known| is_within(known, &it.place))));
    }
    Mistakes(mistakes).into()
}

/// Whether the key path `inner` is `outer`, or lies in it.
fn is_within(inner: &str, outer: &str) -> bool {
    let rest = inner.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
