//! The secrets of a configuration: which there are, and what happens to them when their files change.
//!
//! Credentials of principals and of Redis are replaced in place, so that access tokens, caches and connections go on.
//! Secrets that callers are verified with are part of what decides a request: they change with the configuration that
//! holds them, never under a request that is under way.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;

use super::{Config, Credential, Principal, Secret};

/// What a new reading of the files means for secrets that are in use.
#[derive(Debug, Default)]
#[must_use = "credentials keep their former values until these are applied"]
pub struct Rotations {
    changed: Vec<String>,
    replaced: Vec<(Secret, SecretString)>,
}

impl Rotations {
    /// Key paths of all secrets whose files hold another value now.
    #[must_use]
    pub fn changed(&self) -> &[String] {
        &self.changed
    }

    /// Lets whoever uses a credential see its new value.
    pub fn apply(self) {
        for (secret, value) in self.replaced {
            secret.replace(value);
        }
    }
}

impl Config {
    /// Every secret with its key path.
    pub fn secrets(&self) -> impl Iterator<Item = (String, Secret)> + use<> {
        let mut found = Vec::new();
        // Clones share their secrets, so one list of them serves reading and changing.
        self.clone()
            .visit_secrets(&mut |key, secret| found.push((key, secret.clone())));
        found.into_iter()
    }

    /// Every file that a secret comes from.
    #[must_use]
    pub fn secret_files(&self) -> Vec<PathBuf> {
        self.secrets()
            .filter_map(|(_, secret)| secret.file().map(PathBuf::from))
            .collect()
    }

    /// The same configuration with the secrets that the files hold now, and why some could not be read, by key path:
    /// these have their former values.
    #[must_use]
    pub fn with_secrets_read_again(&self) -> (Self, BTreeMap<String, String>) {
        let mut config = self.clone();
        let mut unreadable = BTreeMap::new();
        config.visit_secrets(&mut |key, secret| match secret.read_again() {
            Ok(read) => *secret = read,
            Err(error) => {
                unreadable.insert(key, error.to_string());
            }
        });
        (config, unreadable)
    }

    /// Whether callers are verified by the same secrets as under `other`, whose `authn` section is the same.
    #[must_use]
    pub fn verifies_by_secrets_of(&self, other: &Self) -> bool {
        let keys = |config: &Self| {
            let issuers = config.authn.issuers.clone().into_iter();
            issuers
                .flat_map(|issuer| issuer.hmac_secrets.into_iter().chain(issuer.jwks))
                .collect::<Vec<_>>()
        };
        let (ours, theirs) = (keys(self), keys(other));
        ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| a.has_value_of(b))
    }

    /// Shares the credentials of principals (and of Redis) that are the same in `previous`, so that whoever uses them
    /// goes on. The values that they have here are given back, to be [applied](Rotations::apply) when this
    /// configuration takes effect.
    pub fn share_credentials_of(&mut self, previous: &Self) -> Rotations {
        let former: BTreeMap<String, Secret> = previous.secrets().collect();
        let is_rotated = |(key, read): &(String, Secret)| {
            let same_file =
                |former: &&Secret| read.file().is_some() && read.file() == former.file();
            let former = former.get(key).filter(same_file);
            former.is_some_and(|former| !read.has_value_of(former))
        };
        let changed = self.secrets().filter(is_rotated).map(|(key, _)| key);
        let (changed, read) = (changed.collect(), self.clone());
        for (name, principal) in &mut self.principals {
            if let Some(same) = previous.principals.get(name).filter(|it| *it == principal) {
                principal.clone_from(same);
            }
        }
        if self.cache.redis == previous.cache.redis {
            self.cache.redis.clone_from(&previous.cache.redis);
        }
        // What is shared has the same secrets in the same order.
        let pairs = self.secrets().zip(read.secrets());
        let replaced = pairs
            .filter(|((_, shared), (_, read))| !shared.has_value_of(read))
            .map(|((_, shared), (_, read))| (shared, read.current()))
            .collect();
        Rotations { changed, replaced }
    }

    fn visit_secrets(&mut self, visit: &mut impl FnMut(String, &mut Secret)) {
        for (i, issuer) in self.authn.issuers.iter_mut().enumerate() {
            let names = ["hmac_secret", "hmac_secret_previous"];
            for (name, secret) in names.into_iter().zip(&mut issuer.hmac_secrets) {
                visit(format!("authn.issuers[{i}].{name}"), secret);
            }
            if let Some(secret) = &mut issuer.jwks {
                visit(format!("authn.issuers[{i}].jwks_file"), secret);
            }
        }
        for (name, principal) in &mut self.principals {
            principal.visit_secrets(&format!("principals.{name}"), visit);
        }
        if let Some(redis) = &mut self.cache.redis {
            redis.visit_secrets(visit);
        }
    }
}

impl Principal {
    fn visit_secrets(&mut self, key: &str, visit: &mut impl FnMut(String, &mut Secret)) {
        for (i, credential) in self.credentials.iter_mut().enumerate() {
            let key = format!("{key}.credentials[{i}]");
            match credential {
                Credential::ClientSecret(c) => visit(format!("{key}.secret"), &mut c.resolved),
                Credential::ClientCertificate(c) => {
                    visit(format!("{key}.certificate"), &mut c.resolved);
                    if let Some(password) = &mut c.resolved_password {
                        visit(format!("{key}.password"), password);
                    }
                }
                Credential::MasterUser(u) => visit(format!("{key}.password"), &mut u.resolved),
                Credential::WorkloadIdentity(_) | Credential::ManagedIdentity(_) => {}
            }
        }
    }
}
