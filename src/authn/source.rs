//! Where an issuer's keys come from, and how they are kept.
//!
//! Remote keys live in a [`Cached`]: renewed in the background every [`TTL`], at once for an unknown key id (at most
//! every 15 seconds), kept while the issuer fails. The newest set replaces the former one whole, even when it is
//! empty: a withdrawn key no longer counts. Keys from a file and shared secrets follow their [`Secret`]; content that
//! cannot be used is not taken.
//!
//! Rotation of a key without an id is noticed at the next renewal only.
//!
//! A token by a key that is not known makes its request wait for a fetch, up to eight seconds when the issuer hangs, and
//! anybody can make up such tokens. So the requests that wait are limited; the others are told to come again, since nobody
//! knows yet whether their key is good. Tokens by known keys never wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::KeysProblem;
use super::fetch::{FetchError, Location};
use super::keys::KeySet;
use crate::cached::{Cached, CoolDown, Need};
use crate::config::Secret;
use crate::metrics;
use crate::outbound::Outbound;

/// Age at which fetched keys are renewed: bounds how long a withdrawn key still counts.
const TTL: Duration = Duration::from_secs(5 * 60);

/// How often the background task looks whether a renewal is due, or a failed one should be tried again.
const RENEWAL_CHECK: Duration = Duration::from_secs(15);

/// Fetches for unknown key ids: at most one in this time, so that made-up ids cannot hammer the issuer.
const WANTED_COOL_DOWN: Duration = Duration::from_secs(15);

/// After a failed fetch, until the next one.
const FAILED_COOL_DOWN: Duration = Duration::from_secs(5);

/// Why there are no keys to verify with.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKeys {
    #[error(transparent)]
    Failed(#[from] Arc<FetchError>),
    #[error("as many requests as may wait for a fetch of the keys do so already")]
    Crowded,
}

/// The keys of one issuer, wherever they come from.
pub(super) enum Source {
    Remote(Arc<Remote>),
    Local(Local),
}

/// Keys that are fetched.
pub(super) struct Remote {
    site: Arc<Site>,
    cache: Arc<Cached<KeySet, FetchError>>,
    /// One permit for each request that may wait.
    waiting: Semaphore,
    /// Whether the renewal task runs.
    renewing: AtomicBool,
}

/// What a fetch needs and leaves behind.
struct Site {
    issuer: Arc<str>,
    location: Location,
    /// Replaced at a reload, which may have changed the trusted authorities.
    outbound: ArcSwap<Outbound>,
    last_error: ArcSwapOption<String>,
}

/// Keys made from secrets of the configuration.
pub(super) struct Local {
    issuer: Arc<str>,
    kind: &'static str,
    secrets: Vec<Secret>,
    read: Reader,
    derived: ArcSwap<Derived>,
}

/// Makes keys of secrets' contents.
pub(super) type Reader = fn(&[SecretString]) -> Result<KeySet, String>;

struct Derived {
    /// The versions of the secrets that were read last.
    versions: Vec<u64>,
    keys: Arc<KeySet>,
    error: Option<String>,
}

impl Source {
    /// The keys, as new as `knows` needs them, if they can be had.
    pub(super) async fn keys(
        &self,
        knows: impl Fn(&KeySet) -> bool,
    ) -> Result<Arc<KeySet>, NoKeys> {
        match self {
            Self::Remote(remote) => remote.keys_for_request(knows).await,
            Self::Local(local) => Ok(local.keys()),
        }
    }

    /// Fetches or reads the keys now: how many are usable, or what is wrong and what to do about it.
    pub(super) async fn check(&self) -> Result<usize, KeysProblem> {
        let keys = match self {
            Self::Remote(remote) => remote.site.fetch().await.map_err(|error| KeysProblem {
                cause: error.to_string(),
                remedy: error.remedy(),
            })?,
            Self::Local(local) => {
                let keys = local.keys();
                return match &local.derived.load().error {
                    None => Ok(keys.len()),
                    Some(cause) => Err(KeysProblem {
                        cause: cause.clone(),
                        remedy: "correct the file; the former keys go on meanwhile",
                    }),
                };
            }
        };
        if keys.len() == 0 {
            let why = keys.skipped().first();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            return Err(KeysProblem {
                cause: format!("the key set holds no usable key{why}"),
                remedy: "check that `jwks_uri` is the address of the keys that sign the callers' tokens",
            });
        }
        Ok(keys.len())
    }

    /// What kind of source it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Remote(remote) if remote.site.location.by_discovery() => "discovery",
            Self::Remote(_) => "jwks_uri",
            Self::Local(local) => local.kind,
        }
    }

    /// The keys that are there, without a fetch.
    pub(super) fn peek(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::Remote(remote) => remote.cache.peek(),
            Self::Local(local) => Some(local.keys()),
        }
    }

    /// The keys that are there, unless it is time to renew them.
    pub(super) fn fresh(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::Remote(remote) => remote.cache.peek().filter(|keys| keys.age() < TTL),
            Self::Local(local) => Some(local.keys()),
        }
    }

    /// Why the keys could not be renewed the last time, if so.
    pub(super) fn last_error(&self) -> Option<String> {
        match self {
            Self::Remote(remote) => remote.site.last_error.load().as_deref().cloned(),
            Self::Local(local) => local.derived.load().error.clone(),
        }
    }
}

impl Remote {
    /// `max_waiting` requests may wait for these keys at the same time.
    pub(super) fn new(
        issuer: Arc<str>,
        location: Location,
        outbound: &Outbound,
        max_waiting: usize,
    ) -> Arc<Self> {
        let site = Arc::new(Site {
            issuer,
            location,
            outbound: ArcSwap::from_pointee(outbound.clone()),
            last_error: ArcSwapOption::empty(),
        });
        let cool_down = CoolDown {
            wanted: WANTED_COOL_DOWN,
            failed: |_: &FetchError| FAILED_COOL_DOWN,
        };
        Arc::new(Self {
            site,
            cache: Cached::new(cool_down),
            waiting: Semaphore::new(max_waiting),
            renewing: AtomicBool::new(false),
        })
    }

    /// Whether this is where the keys of that issuer are; then they may be kept over a reload.
    pub(super) fn is_at(&self, issuer: &str, location: &Location) -> bool {
        *self.site.issuer == *issuer && self.site.location == *location
    }

    /// Uses other HTTP clients from now on.
    pub(super) fn fetch_by(&self, outbound: &Outbound) {
        self.site.outbound.store(Arc::new(outbound.clone()));
    }

    async fn keys_for_request(
        &self,
        knows: impl Fn(&KeySet) -> bool,
    ) -> Result<Arc<KeySet>, NoKeys> {
        // With a known key, `keys` does not wait.
        let must_wait = !self.cache.peek().is_some_and(|keys| knows(&keys));
        let permit = must_wait.then(|| self.waiting.try_acquire());
        let _permit = permit.transpose().map_err(|_| NoKeys::Crowded)?;
        Ok(self.keys(knows).await?)
    }

    async fn keys(&self, knows: impl Fn(&KeySet) -> bool) -> Result<Arc<KeySet>, Arc<FetchError>> {
        let judge = |keys: &KeySet| {
            if !knows(keys) {
                Need::Newer
            } else if keys.age() >= TTL {
                Need::Renewal
            } else {
                Need::Nothing
            }
        };
        let fetch = || {
            let site = Arc::clone(&self.site);
            async move { site.fetch().await }
        };
        self.cache.get(judge, fetch).await
    }

    /// Fetches the keys now and renews them until the last verifier that uses them is gone.
    pub(super) fn keep_fresh(self: &Arc<Self>) {
        if self.renewing.swap(true, Ordering::Relaxed) {
            return;
        }
        let remote = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(remote) = remote.upgrade() {
                // A failure is logged where it happens, and tried again at the next round.
                let _ = remote.keys(|_| true).await;
                drop(remote);
                tokio::time::sleep(RENEWAL_CHECK).await;
            }
        });
    }
}

impl Site {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let outbound = self.outbound.load_full();
        let began = Instant::now();
        let result = self.location.fetch(&outbound).await;
        let outcome = result.as_ref().err().map_or("ok", FetchError::outcome);
        metrics::issuer(&self.issuer, outcome, began.elapsed());
        match &result {
            Ok(keys) => {
                self.last_error.store(None);
                tracing::debug!(issuer = %self.issuer, keys = keys.len(), skipped = ?keys.skipped(), "signing keys read");
            }
            Err(error) => {
                self.last_error.store(Some(Arc::new(error.to_string())));
                tracing::warn!(issuer = %self.issuer, %error, remedy = error.remedy(), "signing keys not read");
            }
        }
        result
    }
}

impl Local {
    /// Reads the secrets; `kind` is the setting they come from.
    pub(super) fn new(
        issuer: Arc<str>,
        kind: &'static str,
        secrets: Vec<Secret>,
        read: Reader,
    ) -> Result<Self, String> {
        let (versions, result) = derive(&secrets, read);
        let derived = Derived {
            versions,
            keys: Arc::new(result?),
            error: None,
        };
        Ok(Self {
            issuer,
            kind,
            secrets,
            read,
            derived: ArcSwap::from_pointee(derived),
        })
    }

    fn keys(&self) -> Arc<KeySet> {
        let old = self.derived.load();
        if self
            .secrets
            .iter()
            .map(Secret::version)
            .eq(old.versions.iter().copied())
        {
            return Arc::clone(&old.keys);
        }
        let (versions, result) = derive(&self.secrets, self.read);
        let (keys, error) = match result {
            Ok(keys) => (Arc::new(keys), None),
            Err(error) => {
                tracing::warn!(issuer = %self.issuer, %error, source = self.kind, "changed keys are not taken; the former ones go on");
                (Arc::clone(&old.keys), Some(error))
            }
        };
        self.derived.store(Arc::new(Derived {
            versions,
            keys: Arc::clone(&keys),
            error,
        }));
        keys
    }
}

/// The versions are taken first: a change in between is then seen at the next use.
fn derive(secrets: &[Secret], read: Reader) -> (Vec<u64>, Result<KeySet, String>) {
    let versions = secrets.iter().map(Secret::version).collect();
    let contents: Vec<SecretString> = secrets.iter().map(Secret::current).collect();
    (versions, read(&contents))
}
