//! Entra access tokens of the principals, with enough life left to mint from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use time::OffsetDateTime;

use crate::config;
use crate::outbound::Outbound;

/// The Entra tokens of every configured principal.
pub struct AccessTokens {}

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
    /// A credential that can never work (unreadable PEM, missing federated token file), with its key path.
    pub fn new(
        principals: &BTreeMap<String, config::Principal>,
        min_lifetime: Duration,
        outbound: &Outbound,
    ) -> Result<Self, Vec<config::Mistake>> {
        let _ = (principals, min_lifetime, outbound);
        unimplemented!()
    }

    /// A token of `principal` to mint with: one with `tokens.min_lifetime` left when it can be had.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn with_life(&self, principal: &str) -> Result<AccessToken, Arc<Error>> {
        let _ = principal;
        unimplemented!()
    }

    /// A token to replace `refused`, which Power BI calls expired or invalid.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn instead_of(
        &self,
        principal: &str,
        refused: &AccessToken,
    ) -> Result<AccessToken, Arc<Error>> {
        let _ = (principal, refused);
        unimplemented!()
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
