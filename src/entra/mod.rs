//! Entra access tokens of the principals, with enough life left to mint from.
//!
//! [`AccessTokens::with_life`] serves the token that is there while it has `tokens.min_lifetime` left, renews it in the
//! background shortly before, and serves it on while Entra is down. A failure waits for a cool-down that ends within a
//! minute; Entra is never asked in a loop, and one fetch serves any number of waiters ([`crate::cached`]). A token that
//! Power BI refused is never served again.
//!
//! `source` tries a principal's credentials in order, `credential` gets a token by one of them, `transport` carries
//! the request, `failure` and `codes` read the answer. Secrets, forms, assertions and tokens are in no log and no
//! error; a fetched token is opaque and never decoded.

mod assertion;
mod codes;
mod credential;
mod failure;
mod life;
mod refused;
mod source;
mod status;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use time::OffsetDateTime;

pub use self::status::{CredentialCheck, CredentialStatus, Fetches, PrincipalStatus};

use self::source::{Held, Miss, Source};
use crate::cached::{Cached, CoolDown, Need};
use crate::config;
use crate::outbound::Outbound;

/// How long a request waits for a newer token while the old one will still do.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between tries to get the first token; [`Cached`] holds them back further.
const WARM_UP_PAUSE: Duration = Duration::from_secs(2);

/// The Entra tokens of every configured principal.
pub struct AccessTokens {
    principals: BTreeMap<String, Principal>,
}

struct Principal {
    source: Arc<Source>,
    cached: Arc<Cached<Held, Miss>>,
    min_lifetime: Duration,
}

/// An app-only (or master user's) access token for Power BI; never shown.
#[derive(Clone)]
pub struct AccessToken {
    token: SecretString,
    expires_at: OffsetDateTime,
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Entra answered and said no.
    #[error("Entra refuses principal `{principal}` ({credential}): {code}: {remedy}")]
    Rejected {
        /// Configured name of the principal.
        principal: String,
        /// Kind of the credential that failed last.
        credential: &'static str,
        /// `AADSTS…`, or the OAuth error code.
        code: String,
        /// What it means and what to do about it.
        remedy: String,
    },
    /// Entra could not be reached, or answered nonsense or 5xx.
    #[error("Entra cannot be reached for principal `{principal}`: {reason}")]
    Unreachable {
        /// Configured name of the principal.
        principal: String,
        /// What failed, without secrets.
        reason: String,
    },
}

impl AccessTokens {
    /// Prepares the principals; no network yet.
    ///
    /// # Errors
    /// A credential that can never work (a PEM that cannot be used), or an authority without TLS, with its key path. A
    /// federated token file that is missing is not among them: it may come later, and every fetch names it.
    pub fn new(
        principals: &BTreeMap<String, config::Principal>,
        min_lifetime: Duration,
        outbound: &Outbound,
    ) -> Result<Self, Vec<config::Mistake>> {
        let mut mistakes = Vec::new();
        let mut ready = BTreeMap::new();
        for (name, principal) in principals {
            match Source::new(name, principal, min_lifetime, outbound) {
                Ok(source) => {
                    ready.insert(name.clone(), Principal::new(source, min_lifetime));
                }
                Err(more) => mistakes.extend(more),
            }
        }
        if mistakes.is_empty() {
            Ok(Self { principals: ready })
        } else {
            Err(mistakes)
        }
    }

    /// A token of `principal` to mint with: one with `tokens.min_lifetime` left when it can be had.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn with_life(&self, principal: &str) -> Result<AccessToken, Arc<Error>> {
        let (name, principal) = self.principal(principal)?;
        principal.token(name).await
    }

    /// A token to replace `refused`, which Power BI calls expired or invalid and which is not served again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn instead_of(
        &self,
        principal: &str,
        refused: &AccessToken,
    ) -> Result<AccessToken, Arc<Error>> {
        let (name, principal) = self.principal(principal)?;
        principal.source.refuse(refused);
        principal.token(name).await
    }

    /// Returns once `principal` has had its first token; for a task at start, so that no request waits for it, and so
    /// that the service becomes ready by itself when Entra does.
    pub async fn warm_up(&self, principal: &str) {
        let Ok((name, principal)) = self.principal(principal) else {
            return;
        };
        while principal.token(name).await.is_err() {
            tokio::time::sleep(WARM_UP_PAUSE).await;
        }
    }

    /// The state of every principal, by name.
    #[must_use]
    pub fn status(&self) -> BTreeMap<&str, PrincipalStatus> {
        self.principals
            .iter()
            .map(|(name, principal)| {
                let token = principal.cached.peek();
                (name.as_str(), principal.source.status(token.as_deref()))
            })
            .collect()
    }

    /// Tries each credential of `principal` now, one after the other, without touching the store; empty for an unknown
    /// principal.
    pub async fn check(&self, principal: &str) -> Vec<CredentialCheck> {
        match self.principals.get(principal) {
            Some(principal) => principal.source.check().await,
            None => Vec::new(),
        }
    }

    fn principal(&self, name: &str) -> Result<(&str, &Principal), Arc<Error>> {
        match self.principals.get_key_value(name) {
            Some((name, principal)) => Ok((name, principal)),
            None => Err(Arc::new(Error::Rejected {
                principal: name.to_owned(),
                credential: "none",
                code: "unknown_principal".into(),
                remedy: "add it under `principals`".into(),
            })),
        }
    }
}

impl Principal {
    fn new(source: Source, min_lifetime: Duration) -> Self {
        let cool_down = CoolDown {
            // A young token is not found wanting (see `life`), and after a failure the other one holds.
            wanted: Duration::ZERO,
            failed: Miss::cool_down,
        };
        Self {
            source: Arc::new(source),
            cached: Cached::new(cool_down),
            min_lifetime,
        }
    }

    async fn token(&self, name: &str) -> Result<AccessToken, Arc<Error>> {
        let fetch = || {
            let source = Arc::clone(&self.source);
            async move { source.fetch().await }
        };
        let fetch = self.cached.get(|held| self.need(held), fetch);
        let outcome = match self.cached.peek().filter(|held| self.will_do(held)) {
            None => fetch.await,
            // The fetch goes on in its own task.
            Some(old) => tokio::time::timeout(RENEWAL_TIMEOUT, fetch)
                .await
                .unwrap_or(Ok(old)),
        };
        match outcome {
            // Refused, or expired, while we waited for it.
            Ok(held) if !self.will_do(&held) => Err(Arc::new(Error::Unreachable {
                principal: name.to_owned(),
                reason: "the token that came is refused or spent already".into(),
            })),
            Ok(held) => Ok(held.token.clone()),
            Err(miss) => Err(match miss.as_ref() {
                Miss::Failed { error, .. } => Arc::clone(error),
                Miss::Aborted => Arc::new(Error::Unreachable {
                    principal: name.to_owned(),
                    reason: "the fetch was aborted".into(),
                }),
            }),
        }
    }

    fn need(&self, held: &Held) -> Need {
        if self.source.is_refused(held) {
            return Need::Replacement;
        }
        let left = life::left(held.token.expires_at());
        life::need(left, held.fetched.elapsed(), self.min_lifetime, held.margin)
    }

    fn will_do(&self, held: &Held) -> bool {
        self.need(held) != Need::Replacement
    }
}

impl AccessToken {
    /// Wraps a token.
    #[must_use]
    pub fn new(token: SecretString, expires_at: OffsetDateTime) -> Self {
        Self { token, expires_at }
    }
    /// The value of the `Authorization` header's Bearer credentials.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.token
    }
    /// When it expires.
    #[must_use]
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessToken([REDACTED], expires {})", self.expires_at)
    }
}
