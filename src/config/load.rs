//! Reads the file and the environment, reports all mistakes at once, resolves secrets.

use std::fmt;
use std::path::Path;

use super::Config;

/// One mistake in a configuration or policy file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Key path (`authn.issuers[0].issuer`) or place (`policy.yaml:12:5 rules[0].when`).
    pub place: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// All mistakes of one run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistake {
    /// A mistake.
    pub fn new(
        place: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\n    remedy: {}",
            self.place, self.problem, self.remedy
        )
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads `path` and the environment.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let _ = path;
        unimplemented!()
    }
}
