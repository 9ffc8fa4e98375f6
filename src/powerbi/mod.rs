//! The Power BI REST API: look-ups of facts, and stage 4, the mint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::config;
use crate::entra::AccessTokens;
use crate::outbound::Outbound;
use crate::plan::{Artifact, EmbedPlan};
use crate::policy::Grant;

/// The Power BI service as all principals see it.
pub struct PowerBi {}

/// A minted embed token; never shown in `Debug`.
#[derive(Clone)]
pub struct EmbedToken {
    token: SecretString,
    token_id: String,
    expiration: OffsetDateTime,
    minted_at: OffsetDateTime,
    sha256: String,
    upstream_request_id: Option<String>,
}

/// Whether facts may come from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Cached facts will do.
    Cached,
    /// Read everything again.
    Reread,
}

/// Where an embed token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// An identical plan's token still had enough life.
    Cached,
    /// It was minted for this request (or for one that asked for the same at the same time).
    Minted,
}

/// A report that an item with `report: "*"` may be aimed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Id of the report.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is a paginated one.
    pub paginated: bool,
}

/// What went wrong with a call; `Arc`ed parts, since all waiters of one mint share it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A look-up found nothing, or more than one thing of that name; 422 `item_unavailable`.
    #[error("{what}: {cause}")]
    ItemUnavailable {
        /// What was looked up.
        what: String,
        /// Not found, ambiguous, personal workspace …, with the remedy.
        cause: String,
    },
    /// As [`Error::ItemUnavailable`], for a `target` that the request chose: answers like a forbidden item.
    #[error("target `{target}`: {cause}")]
    TargetUnavailable {
        /// What the request named.
        target: String,
        /// For log and audit record.
        cause: String,
    },
    /// Power BI said no for good.
    #[error("Power BI refused ({status} {code}): {remedy}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// `X-PowerBI-Error-Info`, else the body's code, else the status as text.
        code: String,
        /// What it means and what to do about it.
        remedy: String,
        /// Power BI's request id.
        upstream_request_id: Option<String>,
    },
    /// The trial allowance of a shared capacity is used up.
    #[error("the trial allowance for embed tokens is used up: put the workspace on a capacity")]
    Quota {
        /// Power BI's request id.
        upstream_request_id: Option<String>,
    },
    /// Power BI throttles this principal.
    #[error("Power BI throttles principal `{principal}` for another {} s", retry_after.as_secs())]
    Throttled {
        /// Configured name of the principal.
        principal: String,
        /// What is left of `Retry-After`.
        retry_after: Duration,
    },
    /// The breaker of this principal is open.
    #[error("Power BI keeps failing for principal `{principal}`; next try in {} s", retry_after.as_secs())]
    BreakerOpen {
        /// Configured name of the principal.
        principal: String,
        /// Time until the next probe.
        retry_after: Duration,
    },
    /// Lasting transport errors or 5xx.
    #[error("Power BI cannot be reached: {0}")]
    Unreachable(String),
    /// A 2xx that is not what the documents say.
    #[error("Power BI gave an answer that cannot be used: {0}")]
    InvalidResponse(String),
    /// The time for this request was spent.
    #[error("Power BI did not answer in time")]
    TimedOut,
    /// No Entra token.
    #[error(transparent)]
    Entra(#[from] Arc<crate::entra::Error>),
    /// A task died; never expected.
    #[error("the call was aborted")]
    Aborted,
}

impl PowerBi {
    /// Prepares the clients; no network yet.
    #[must_use]
    pub fn new(
        principals: &BTreeMap<String, config::Principal>,
        cache: &config::Cache,
        tokens: &config::Tokens,
        access_tokens: Arc<AccessTokens>,
        outbound: &Outbound,
    ) -> Self {
        let _ = (principals, cache, tokens, access_tokens, outbound);
        unimplemented!()
    }

    /// Facts about each granted item, in the same order.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn look_up(
        &self,
        grants: &[Grant],
        freshness: Freshness,
        deadline: Instant,
    ) -> Result<Vec<Artifact>, Error> {
        let _ = (grants, freshness, deadline);
        unimplemented!()
    }

    /// The reports of the granted item's workspace, for an item with `report: "*"`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn targets(&self, grant: &Grant, deadline: Instant) -> Result<Vec<Target>, Error> {
        let _ = (grant, deadline);
        unimplemented!()
    }

    /// A cached token for an identical plan that still has enough life left at `now`.
    #[must_use]
    pub fn cached(&self, plan: &EmbedPlan, now: OffsetDateTime) -> Option<EmbedToken> {
        let _ = (plan, now);
        unimplemented!()
    }

    /// A token for `plan`: cached when an identical plan's still has enough life, else minted once for all who ask.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn token(
        &self,
        plan: &EmbedPlan,
        now: OffsetDateTime,
        deadline: Instant,
    ) -> Result<(EmbedToken, Provenance), Error> {
        let _ = (plan, now, deadline);
        unimplemented!()
    }
}

impl EmbedToken {
    /// The token itself.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.token
    }
    /// Its id in Power BI's audit log.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.token_id
    }
    /// When it expires (whole seconds).
    #[must_use]
    pub fn expiration(&self) -> OffsetDateTime {
        self.expiration
    }
    /// When it was minted.
    #[must_use]
    pub fn minted_at(&self) -> OffsetDateTime {
        self.minted_at
    }
    /// SHA-256 of the token, lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
    /// Power BI's request id of the mint.
    #[must_use]
    pub fn upstream_request_id(&self) -> Option<&str> {
        self.upstream_request_id.as_deref()
    }
}

impl std::fmt::Debug for EmbedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "EmbedToken([REDACTED], id {}, expires {})",
            self.token_id, self.expiration
        )
    }
}
