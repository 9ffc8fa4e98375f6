//! Stage 1: who is calling? A bearer token becomes a verified [`Caller`], or is refused.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::config;
use crate::outbound::Outbound;

/// A caller's token as it came in; not yet believed, never shown.
#[derive(Clone)]
pub struct BearerToken(SecretString);

/// A verified caller. Made only by [`Verifier::verify`] (and, for policy cases and `explain`, by [`Caller::assumed`]).
#[derive(Clone)]
pub struct Caller {
    issuer: Arc<str>,
    subject: String,
    claims: Arc<Map<String, Value>>,
    expires_at: OffsetDateTime,
}

/// Verifies callers' tokens.
pub struct Verifier {}

/// Why a token was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token is past its `exp` (and the leeway).
    #[error("the token has expired")]
    Expired,
    /// Everything else that is wrong with a token; the reason is for the audit record only.
    #[error("{reason}")]
    Invalid {
        /// What was wrong, without any part of the token.
        reason: String,
    },
    /// The issuer's keys cannot be had and none are known.
    #[error("the keys of issuer `{issuer}` are not available: {reason}")]
    IssuerUnavailable {
        /// Configured name of the issuer.
        issuer: Arc<str>,
        /// What failed, for the operator.
        reason: String,
    },
}

impl BearerToken {
    /// Wraps a token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(token.into())
    }
}

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerToken([REDACTED])")
    }
}

impl Caller {
    /// A caller with these claims, taken on trust: for policy `cases`, `explain` and tests of later stages.
    #[must_use]
    pub fn assumed(issuer: &str, claims: Map<String, Value>, expires_at: OffsetDateTime) -> Self {
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        Self {
            issuer: issuer.into(),
            subject,
            claims: Arc::new(claims),
            expires_at,
        }
    }

    /// Configured name of the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The `sub` claim.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// All claims of the verified token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The token's `exp`.
    #[must_use]
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }
}

impl Verifier {
    /// Prepares the issuers of `config`; no network yet. Issuers that are the same in `previous` keep their keys.
    ///
    /// # Errors
    /// A faulty validation rule or an unreadable `jwks_file`, all of them in one list.
    pub fn new(
        config: &config::Authn,
        outbound: &Outbound,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<config::Mistake>> {
        let _ = (config, outbound, previous);
        unimplemented!()
    }

    /// Verifies `token` at the time `now`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify(&self, token: &BearerToken, now: OffsetDateTime) -> Result<Caller, Error> {
        let _ = (token, now);
        unimplemented!()
    }
}
