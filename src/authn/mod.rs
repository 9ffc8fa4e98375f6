//! Stage 1: who is calling? A bearer token becomes a verified [`Caller`], or is refused.
//!
//! The token's `iss`, not yet believed, only picks one of the configured issuers; an issuer that is not configured is
//! never contacted. Then, in this order: type and algorithm, signature by that issuer's keys, claims, end of life, the
//! issuer's own rules. Nothing in a token is used before its signature is good, except to find the key; the other claims
//! are not even read before, because as values they take up to 130 times the room of their text: 1.5 MiB for a token of
//! 16 KiB, which only an issuer's own users can cause, once for each of their requests under way.
//!
//! `token` takes a token apart, `issuer` holds what one issuer accepts, `source` keeps its keys, `fetch` gets them,
//! `keys` says which key may have signed, `remembered` spares a token that was verified before a second check.
//!
//! An [`Error`] carries no part of the token; its reason goes to the audit record, never to the caller.

mod fetch;
mod issuer;
mod keys;
mod remembered;
mod source;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use self::issuer::Issuer;
use self::remembered::{Basis, Remembered, TokenHash};
use self::source::Source;
use self::token::{Unverified, invalid};

pub(crate) use self::remembered::MOST_BYTES as MOST_BYTES_OF_CALLERS;

use crate::config;
use crate::outbound::Outbound;

/// A caller's token as it came in; not yet believed, never shown.
#[derive(Clone)]
pub struct BearerToken(SecretString);

/// A verified caller. Made only by [`Verifier::verify`] (and, for policy cases and `explain`, by [`Caller::assumed`]).
#[derive(Clone)]
pub struct Caller {
    issuer: Arc<str>,
    tenant: Option<Arc<str>>,
    subject: Arc<str>,
    claims: Arc<Map<String, Value>>,
    expires_at: OffsetDateTime,
    token_hash: Option<TokenHash>,
    /// What the verdict rests on; none for one that was remembered already, or is only assumed.
    basis: Option<Basis>,
}

/// Verifies callers' tokens.
pub struct Verifier {
    issuers: Vec<Issuer>,
    leeway: time::Duration,
    remembered: Remembered,
}

/// How an issuer's keys are doing, for operators.
#[derive(Clone, Debug)]
pub struct IssuerStatus {
    /// Configured name of the issuer.
    pub name: Arc<str>,
    /// Where its keys come from: `discovery`, `jwks_uri`, `jwks_file` or `hmac_secret`.
    pub source: &'static str,
    /// How many usable keys are known; none before the first fetch.
    pub keys: Option<usize>,
    /// Time since they were read.
    pub age: Option<Duration>,
    /// Why the last attempt to read them failed, if it did.
    pub last_error: Option<String>,
}

/// What reading an issuer's keys just now gave.
#[derive(Clone, Debug)]
pub struct IssuerCheck {
    /// Configured name of the issuer.
    pub name: Arc<str>,
    /// The number of usable keys, or what is wrong.
    pub outcome: Result<usize, KeysProblem>,
}

/// Why an issuer's keys are not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct KeysProblem {
    /// What failed.
    pub cause: String,
    /// What to do about it.
    pub remedy: &'static str,
}

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
            .into();
        Self {
            issuer: issuer.into(),
            tenant: None,
            subject,
            claims: Arc::new(claims),
            expires_at,
            token_hash: None,
            basis: None,
        }
    }

    /// Configured name of the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The `tid` claim, where the issuer signs in users of several tenants: subjects are unique within one of them only.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
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

    /// SHA-256 of the whole token; none for a caller who is only assumed.
    #[must_use]
    pub fn token_hash(&self) -> Option<&[u8; 32]> {
        self.token_hash.as_ref()
    }
}

impl Verifier {
    /// Prepares the issuers of `config`; no network yet. Issuers that are the same in `previous` keep their keys.
    ///
    /// # Errors
    /// Everything that is wrong with an issuer, a faulty validation rule and an unusable `jwks_file` included, all of
    /// them in one list.
    pub fn new(
        config: &config::Authn,
        outbound: &Outbound,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<config::Mistake>> {
        let previous = previous.map_or(&[][..], |previous| previous.issuers.as_slice());
        let (mut issuers, mut mistakes) = (Vec::new(), Vec::new());
        // Each issuer has its own share, so that one that hangs does not take that of the others.
        let max_waiting = (config.max_waiting / config.issuers.len().max(1)).max(1);
        for (index, issuer) in config.issuers.iter().enumerate() {
            let place = format!("authn.issuers[{index}]");
            if config.issuers[..index]
                .iter()
                .any(|other| other.issuer == issuer.issuer)
            {
                mistakes.push(config::Mistake::new(
                    format!("{place}.issuer"),
                    "is configured twice",
                    "merge the entries: an issuer may have several `audiences`",
                ));
            }
            match Issuer::new(issuer, &place, outbound, max_waiting, previous) {
                Ok(issuer) => issuers.push(issuer),
                Err(mut more) => mistakes.append(&mut more),
            }
        }
        let leeway = time::Duration::try_from(config.leeway).unwrap_or(time::Duration::ZERO);
        if mistakes.is_empty() {
            Ok(Self {
                issuers,
                leeway,
                remembered: Remembered::new(),
            })
        } else {
            Err(mistakes)
        }
    }

    /// Verifies `token` at the time `now`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn verify(&self, token: &BearerToken, now: OffsetDateTime) -> Result<Caller, Error> {
        let text = token.0.expose_secret();
        token::check_length(text)?;
        let hash = remembered::hash(text);
        let keys_of = |issuer: usize| self.issuers.get(issuer)?.source.fresh();
        if let Some(caller) = self.remembered.get(&hash, now, keys_of) {
            return Ok(caller);
        }
        let token = Unverified::parse(text)?;
        let index = self.issuer_of(&token.issuer)?;
        let issuer = &self.issuers[index];
        let keys = issuer.check_signature(&token).await?;
        let claims = token.claims()?;
        let expires_at = issuer.check_claims(&claims, now, self.leeway)?;
        Ok(Caller {
            issuer: Arc::clone(&issuer.name),
            tenant: issuer.tenant_of(&claims)?,
            subject: claims.subject()?.into(),
            claims: Arc::new(claims.0),
            expires_at,
            token_hash: Some(hash),
            basis: Some(Basis {
                issuer: index,
                keys: Arc::downgrade(&keys),
                until: expires_at.saturating_add(self.leeway),
            }),
        })
    }

    /// Spares the caller's token its next checks. To be called once the caller is admitted, by the verifier that verified.
    pub fn remember(&self, caller: &Caller) {
        self.remembered.insert(caller);
    }

    /// Fetches all keys in the background and keeps them fresh for as long as a verifier uses them.
    ///
    /// Must be called within a Tokio runtime.
    pub fn warm_up(&self) {
        for issuer in &self.issuers {
            match &issuer.source {
                Source::Remote(remote) => remote.keep_fresh(),
                Source::Local(_) => {}
            }
        }
    }

    /// How the issuers' keys are doing; no network.
    #[must_use]
    pub fn statuses(&self) -> Vec<IssuerStatus> {
        let status = |issuer: &Issuer| {
            let keys = issuer.source.peek();
            IssuerStatus {
                name: Arc::clone(&issuer.name),
                source: issuer.source.kind(),
                keys: keys.as_ref().map(|keys| keys.len()),
                age: keys.as_ref().map(|keys| keys.age()),
                last_error: issuer.source.last_error(),
            }
        };
        self.issuers.iter().map(status).collect()
    }

    /// Reads every issuer's keys now, past all caches, and says what is wrong.
    pub async fn check_issuers(&self) -> Vec<IssuerCheck> {
        futures_util::future::join_all(self.issuers.iter().map(Issuer::check_keys)).await
    }

    /// What remembering verified callers takes.
    #[cfg(test)]
    fn remembered_bytes(&self) -> u64 {
        self.remembered.weight()
    }

    /// The issuer whose token this claims to be. An exact match goes before a multi-tenant one.
    fn issuer_of(&self, iss: &str) -> Result<usize, Error> {
        let matching = || {
            self.issuers
                .iter()
                .enumerate()
                .filter(|(_, issuer)| issuer.is(iss))
        };
        matching()
            .find(|(_, issuer)| !issuer.is_multi_tenant())
            .or_else(|| matching().next())
            .map(|(index, _)| index)
            .ok_or_else(|| {
                let other = iss
                    .strip_suffix('/')
                    .map_or_else(|| format!("{iss}/"), str::to_owned);
                invalid(match self.issuers.iter().find(|issuer| issuer.is(&other)) {
                    Some(near) => format!(
                        "`iss` differs from issuer `{}` by a slash at its end",
                        near.name
                    ),
                    None => "`iss` is no configured issuer".to_owned(),
                })
            })
    }
}
