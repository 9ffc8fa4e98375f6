//! Reads the file and the environment, reports all mistakes at once, resolves secrets.
//!
//! What does not fit its key is found by `shape`, what does not mean anything by `validate`; here both come together.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use config::{Environment, File, FileFormat, Value, ValueKind};

use super::shape::shape;
use super::{Config, Credential, Secret, SecretError, secret::Plain, validate};

/// Prefix of the variables that override scalars.
const ENV_PREFIX: &str = "EMBED_BROKER";

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
    /// Reads `path` and the `EMBED_BROKER__…` variables of the environment.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        match Self::read(path, None) {
            (Some(config), mistakes) if mistakes.is_empty() => Ok(config),
            (_, mistakes) => Err(Mistakes(mistakes)),
        }
    }

    /// What could be read of `path`, and every mistake found; `environment` stands in for the process's own.
    ///
    /// With mistakes, the configuration holds defaults in their places: good for finding further mistakes (in the
    /// policy), never for running.
    #[must_use]
    pub fn read(
        path: &Path,
        environment: Option<HashMap<String, String>>,
    ) -> (Option<Self>, Vec<Mistake>) {
        let tree = match tree(path, environment) {
            Ok(tree) => tree,
            Err(mistake) => return (None, vec![mistake]),
        };
        let (mut config, mut mistakes) = shape(tree);
        config.resolve(path.parent().unwrap_or(Path::new("")), &mut mistakes);
        let misshapen: Vec<String> = mistakes.iter().map(|m| m.place.clone()).collect();
        let mut meaning = Vec::new();
        validate::check(&config, &mut meaning);
        // What could not be read was replaced by a default: whatever that default lacks is not a second mistake.
        meaning.retain(|m| !misshapen.iter().any(|place| overlaps(place, &m.place)));
        mistakes.extend(meaning);
        (Some(config), mistakes)
    }

    /// The door for `fuzz/`: [`read`](Self::read) without touching a file.
    #[cfg(fuzzing)]
    #[must_use]
    pub fn fuzz_read(
        text: &str,
        environment: HashMap<String, String>,
    ) -> (Option<Self>, Vec<Mistake>) {
        let (mut config, mut mistakes) = match parse(text, Path::new("config"), Some(environment)) {
            Ok(tree) => shape(tree),
            Err(mistake) => return (None, vec![mistake]),
        };
        (config.tls.extra_ca_file, config.audit.file) = (None, None);
        validate::check(&config, &mut mistakes);
        (Some(config), mistakes)
    }

    /// Makes paths relative to the file's folder and reads every secret.
    fn resolve(&mut self, folder: &Path, mistakes: &mut Vec<Mistake>) {
        self.authn.max_waiting = self.server.max_in_flight / 2;
        self.policy_file = folder.join(&self.policy_file);
        for file in [&mut self.tls.extra_ca_file, &mut self.audit.file]
            .into_iter()
            .flatten()
        {
            *file = folder.join(&file);
        }
        let mut reader = SecretReader { folder, mistakes };
        for (i, issuer) in self.authn.issuers.iter_mut().enumerate() {
            let key = format!("authn.issuers[{i}]");
            let current = reader.read(
                &format!("{key}.hmac_secret"),
                issuer.hmac_secret.as_ref(),
                issuer.hmac_secret_file.as_deref(),
                issuer.hmac_secret_env.as_deref(),
            );
            let previous = reader.read(
                &format!("{key}.hmac_secret_previous"),
                issuer.hmac_secret_previous.as_ref(),
                issuer.hmac_secret_previous_file.as_deref(),
                issuer.hmac_secret_previous_env.as_deref(),
            );
            issuer.hmac_secrets = current.into_iter().chain(previous).collect();
            issuer.jwks = reader.read(
                &format!("{key}.jwks_file"),
                None,
                issuer.jwks_file.as_deref(),
                None,
            );
        }
        for (name, principal) in &mut self.principals {
            for (i, credential) in principal.credentials.iter_mut().enumerate() {
                reader.credential(&format!("principals.{name}.credentials[{i}]"), credential);
            }
        }
        if let Some(redis) = &mut self.cache.redis {
            redis.resolve(&mut reader);
        }
    }
}

pub(super) struct SecretReader<'a> {
    folder: &'a Path,
    mistakes: &'a mut Vec<Mistake>,
}

impl SecretReader<'_> {
    /// The secret given as `key`, `key_file` or `key_env`; `None` when it is not given or cannot be read.
    pub(super) fn read(
        &mut self,
        key: &str,
        inline: Option<&Plain>,
        file: Option<&Path>,
        env: Option<&str>,
    ) -> Option<Secret> {
        let read: Result<Secret, SecretError> = match (inline, file, env) {
            (None, None, None) => return None,
            (Some(plain), None, None) => Ok(Secret::inline(plain)),
            (None, Some(path), None) => Secret::from_file(&self.folder.join(path)),
            (None, None, Some(name)) => Secret::from_env(name),
            _ => {
                self.mistakes.push(Mistake::new(
                    key,
                    "is given in more than one way",
                    format!("keep one of {key}, {key}_file and {key}_env"),
                ));
                return None;
            }
        };
        read.inspect_err(|error| {
            self.mistakes.push(Mistake::new(
                key,
                error.to_string(),
                "make it readable for the broker's user, and not empty",
            ));
        })
        .ok()
    }

    pub(super) fn required(
        &mut self,
        key: &str,
        inline: Option<&Plain>,
        file: Option<&Path>,
        env: Option<&str>,
    ) -> Secret {
        if inline.is_none() && file.is_none() && env.is_none() {
            let remedy = format!("give {key}, {key}_file or {key}_env");
            self.mistakes.push(Mistake::new(key, "is missing", remedy));
        }
        self.read(key, inline, file, env).unwrap_or_default()
    }

    fn credential(&mut self, key: &str, credential: &mut Credential) {
        match credential {
            Credential::ClientSecret(c) => {
                c.resolved = self.required(
                    &format!("{key}.secret"),
                    c.secret.as_ref(),
                    c.secret_file.as_deref(),
                    c.secret_env.as_deref(),
                );
            }
            Credential::ClientCertificate(c) => {
                c.resolved = self.required(
                    &format!("{key}.certificate"),
                    c.certificate.as_ref(),
                    c.certificate_file.as_deref(),
                    c.certificate_env.as_deref(),
                );
                c.resolved_password = self.read(
                    &format!("{key}.password"),
                    c.password.as_ref(),
                    c.password_file.as_deref(),
                    c.password_env.as_deref(),
                );
            }
            Credential::MasterUser(u) => {
                u.resolved = self.required(
                    &format!("{key}.password"),
                    u.password.as_ref(),
                    u.password_file.as_deref(),
                    u.password_env.as_deref(),
                );
            }
            Credential::WorkloadIdentity(w) => {
                w.token_file = w.token_file.as_ref().map(|path| self.folder.join(path));
            }
            Credential::ManagedIdentity(_) => {}
        }
    }
}

/// File and environment as one tree.
fn tree(path: &Path, environment: Option<HashMap<String, String>>) -> Result<Value, Mistake> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Mistake::new(
            path.display().to_string(),
            format!("cannot be read: {error}"),
            "name the configuration with --config FILE, or `embed-broker sandbox` to try without one",
        )
    })?;
    parse(&text, path, environment)
}

fn parse(
    text: &str,
    path: &Path,
    environment: Option<HashMap<String, String>>,
) -> Result<Value, Mistake> {
    let source = Environment::with_prefix(ENV_PREFIX)
        .prefix_separator("__")
        .separator("__")
        // `try_parsing` would turn the secret "1e5" into "100000" and "007" into "7".
        .try_parsing(false)
        .source(environment);
    let built = config::Config::builder()
        .add_source(File::from_str(text, FileFormat::Yaml))
        .add_source(source)
        .build();
    let tree = built.and_then(config::Config::try_deserialize::<HashMap<String, Value>>);
    tree.map(|table| Value::new(None, ValueKind::Table(table.into_iter().collect())))
        .map_err(|error| {
            Mistake::new(
                path.display().to_string(),
                error.to_string(),
                "write it as YAML with one value for each key",
            )
        })
}

fn overlaps(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}
