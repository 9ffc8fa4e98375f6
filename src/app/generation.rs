//! Everything that a reload replaces, as one value: what one reading of the files built.
//!
//! A generation never changes, except that its credentials [rotate](Rotations). Whoever begins something takes the one
//! in force and keeps it to the end. A new one keeps each part whose section is unchanged, with its caches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parts::{
    audit, collect, edge, load_policy, minters, outbound, rate, refuse_loss_of_cases, shared_cache,
    upstream, verifier,
};
use crate::authn::Verifier;
use crate::broker::{Broker, Remembered};
use crate::config::{Config, Mistakes, Rotations};
use crate::entra::AccessTokens;
use crate::http::Serving;
use crate::outbound::Outbound;
use crate::policy::Policy;
use crate::shared_cache::SharedCache;

/// What one reading of the files built.
pub(super) struct Generation {
    /// Counts the generations of this process.
    pub(super) number: u64,
    pub(super) config: Config,
    pub(super) outbound: Outbound,
    /// Content of `tls.extra_ca_file`: a changed file is a changed trust, under the same name.
    extra_ca: Option<Vec<u8>>,
    pub(super) shared_cache: Option<Arc<SharedCache>>,
    pub(super) access_tokens: Arc<AccessTokens>,
    /// What requests are served with.
    pub(super) serving: Arc<Serving>,
}

/// What reading everything gave.
pub(super) struct Reading {
    /// The files that were read.
    pub(super) files: Files,
    /// Whether the section `server`, which is read at start only, is another one.
    pub(super) server_has_changed: bool,
    /// The generation, with credentials to rotate when it takes effect; or every mistake.
    pub(super) built: Result<(Generation, Rotations), Mistakes>,
}

/// Which files are read again under the same configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reread {
    /// The policy and its tables.
    pub(super) policy: bool,
    /// Every secret that comes from a file.
    pub(super) secrets: bool,
}

/// What reading them again gave. What is faulty is left out: there the former state goes on.
pub(super) struct Changes {
    /// The next generation; none when it would be the same.
    pub(super) generation: Option<Generation>,
    pub(super) rotations: Rotations,
    /// Why the policy is refused, if it is.
    pub(super) refusal: Option<Mistakes>,
    /// Secrets that cannot be used, by key path, and why.
    pub(super) faulty_secrets: BTreeMap<String, String>,
    /// The files that were read.
    pub(super) files: Files,
}

/// The files of one reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// What only a SIGHUP has read again: the configuration, and certificate authorities.
    pub(super) configuration: Vec<PathBuf>,
    /// The policy and its tables.
    pub(super) policy: Vec<PathBuf>,
    /// Secrets.
    pub(super) secrets: Vec<PathBuf>,
}

impl Files {
    /// Those that `config`, read from `file`, names; the tables of the policy as far as it can be read.
    pub(super) fn named_by(config: &Config, file: &Path) -> Self {
        Self::of(config, file, Policy::files_of(&config.policy_file))
    }

    fn of(config: &Config, file: &Path, policy: Vec<PathBuf>) -> Self {
        let authorities = config.tls.extra_ca_file.iter().cloned();
        Self {
            configuration: authorities.chain([file.to_owned()]).collect(),
            policy,
            secrets: config.secret_files(),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.configuration
            .iter()
            .chain(&self.policy)
            .chain(&self.secrets)
    }
}

impl Generation {
    /// Reads everything from the configuration `file` on, keeping parts of `previous` that are unchanged; `known` are the
    /// files that it named when it could be read.
    pub(super) async fn read(file: &Path, previous: Option<&Self>, known: &Files) -> Reading {
        let mut config = match Config::load(file) {
            Ok(config) => config,
            Err(mistakes) => {
                return Reading {
                    files: known.clone(),
                    server_has_changed: false,
                    built: Err(mistakes),
                };
            }
        };
        let mut server_has_changed = false;
        if let Some(previous) = previous {
            server_has_changed = config.server != previous.config.server;
            config.server.clone_from(&previous.config.server);
        }
        let named = config.clone();
        let built = Self::build(config, previous).await;
        let files = match &built {
            Ok((generation, _)) => generation.files(file),
            Err(_) => Files::named_by(&named, file),
        };
        Reading {
            files,
            server_has_changed,
            built,
        }
    }

    /// Builds everything that `config` describes, keeping parts of `previous` that are unchanged. The policy is read anew.
    /// Rotated credentials are to be applied when the generation takes effect.
    ///
    /// # Errors
    /// Every mistake of every part.
    pub(super) async fn build(
        mut config: Config,
        previous: Option<&Self>,
    ) -> Result<(Self, Rotations), Mistakes> {
        let rotations = previous.map_or_else(Rotations::default, |previous| {
            config.share_credentials_of(&previous.config)
        });
        // One that cannot be read is told of by whoever uses it.
        let extra_ca = config
            .tls
            .extra_ca_file
            .as_ref()
            .and_then(|file| std::fs::read(file).ok());
        let kept = previous.filter(|p| p.config.tls == config.tls && p.extra_ca == extra_ca);
        let outbound = match kept {
            Some(kept) => kept.outbound.clone(),
            None => outbound(&config)?,
        };
        let mut mistakes = Vec::new();
        let verifier = collect(verifier(&config, &outbound, kept), &mut mistakes);
        let shared_cache = collect(shared_cache(&config, previous), &mut mistakes).flatten();
        let upstream = collect(
            upstream(&config, &outbound, shared_cache.clone(), kept),
            &mut mistakes,
        );
        let policy = collect(load_policy(&config).await, &mut mistakes);
        let audit = collect(audit(&config, previous), &mut mistakes);
        let (Some(verifier), Some((access_tokens, powerbi)), Some(policy), Some(audit)) =
            (verifier, upstream, policy, audit)
        else {
            return Err(Mistakes(mistakes));
        };
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        let serving = Serving {
            edge: edge(&config, &policy),
            broker: Broker {
                verifier,
                rate: rate(&config, shared_cache.clone(), previous),
                policy,
                powerbi,
                minters: minters(&config.principals),
                tokens: config.tokens.clone(),
                audit,
                remembered: Remembered::default(),
                request_timeout: config.server.request_timeout,
            },
        };
        let generation = Self {
            number: previous.map_or(1, |previous| previous.number + 1),
            config,
            outbound,
            extra_ca,
            shared_cache,
            access_tokens,
            serving: Arc::new(serving),
        };
        Ok((generation, rotations))
    }

    /// Reads files again under the same configuration.
    pub(super) async fn reread(&self, what: Reread) -> Changes {
        let former = self.broker();
        let (mut config, mut faulty_secrets) = if what.secrets {
            self.config.with_secrets_read_again()
        } else {
            (self.config.clone(), BTreeMap::new())
        };
        let verifier = verifier(&config, &self.outbound, Some(self)).unwrap_or_else(|mistakes| {
            faulty_secrets.extend(mistakes.into_iter().map(|it| (it.place, it.problem)));
            config.authn.clone_from(&self.config.authn);
            Arc::clone(&former.verifier)
        });
        let rotations = config.share_credentials_of(&self.config);
        let mut files = Files::default();
        if what.secrets {
            files.secrets = config.secret_files();
        }
        let (mut policy, mut refusal) = (Arc::clone(&former.policy), None);
        if what.policy {
            let read = load_policy(&config).await.and_then(|read| {
                let lost = refuse_loss_of_cases(&read, &former.policy);
                lost.map_or(Ok(read), |mistake| Err(vec![mistake]))
            });
            match read {
                Ok(read) => policy = read,
                Err(mistakes) => refusal = Some(Mistakes(mistakes)),
            }
            files.policy = match &refusal {
                None => policy.files().to_vec(),
                // The mistake may be in a file that only the refused policy names.
                Some(_) => Policy::files_of(&config.policy_file),
            };
        }
        let same = Arc::ptr_eq(&verifier, &former.verifier) && Arc::ptr_eq(&policy, &former.policy);
        Changes {
            generation: (!same).then(|| self.next(config, verifier, policy)),
            rotations,
            refusal,
            faulty_secrets,
            files,
        }
    }

    fn next(&self, config: Config, verifier: Arc<Verifier>, policy: Arc<Policy>) -> Self {
        let former = self.broker();
        let serving = Serving {
            edge: edge(&config, &policy),
            broker: Broker {
                verifier,
                policy,
                rate: Arc::clone(&former.rate),
                powerbi: Arc::clone(&former.powerbi),
                minters: former.minters.clone(),
                tokens: former.tokens.clone(),
                audit: Arc::clone(&former.audit),
                remembered: Remembered::default(),
                request_timeout: former.request_timeout,
            },
        };
        Self {
            number: self.number + 1,
            config,
            outbound: self.outbound.clone(),
            extra_ca: self.extra_ca.clone(),
            shared_cache: self.shared_cache.clone(),
            access_tokens: Arc::clone(&self.access_tokens),
            serving: Arc::new(serving),
        }
    }

    /// Everything behind the HTTP edge.
    pub(super) fn broker(&self) -> &Broker {
        &self.serving.broker
    }

    /// The files that it was read from; `file` is the configuration.
    pub(super) fn files(&self, file: &Path) -> Files {
        Files::of(&self.config, file, self.broker().policy.files().to_vec())
    }
}
