//! The Power BI REST API: look-ups of facts, and stage 4, the mint.
//!
//! [`PowerBi::look_up`] tells [`plan`](crate::plan) what the granted items are; [`PowerBi::token`] carries out a plan.
//! Invariants: a refused mint is never repeated with another body; a remembered token is served for an identical plan
//! only; every call of a plan with a profile bears that profile; ids and names never leave their place in a URL; text
//! of Power BI's never becomes part of an [`Error`]. What goes wrong is told apart by cause; `errors` is the table.
//! Not decided here: what an identity must look like (`plan`), and what the caller of the broker is told.

mod artifacts;
mod bearers;
mod breaker;
mod client;
mod convert;
mod diagnosis;
mod embed_url;
mod errors;
mod fact_cache;
mod metadata;
mod mint;
mod reads;
mod sharing;
mod targets;
mod tokens;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use time::OffsetDateTime;
use tokio::time::Instant;

pub use breaker::{BreakerState, PrincipalStatus};
pub use diagnosis::{
    Capacity, GatewaySource, GatewayUser, TrialUsage, WorkspaceDetails, WorkspaceUser,
};
pub use errors::Trouble;
#[cfg(fuzzing)]
pub use errors::fuzz_classify;
pub use fact_cache::UsedFacts;
pub(crate) use metadata::MOST_BYTES as MOST_BYTES_OF_FACTS;

use self::bearers::Bearers;
use self::breaker::Breaker;
use self::client::Client;
use self::fact_cache::Ages;
use self::metadata::Facts;
use self::mint::Order;
use self::tokens::{EmbedTokens, Found};
use crate::config;
use crate::entra::AccessTokens;
use crate::outbound::Outbound;
use crate::plan::EmbedPlan;
use crate::shared_cache::SharedCache;

/// The Power BI service as all principals see it.
pub struct PowerBi {
    clients: BTreeMap<String, Arc<Client>>,
    facts: Facts,
    tokens: Arc<EmbedTokens>,
}

/// A minted embed token; never shown in `Debug`. Clones share it.
#[derive(Clone)]
pub struct EmbedToken(Arc<Minted>);

struct Minted {
    /// As the JSON string that Power BI sent: an answer holds it as it came, once for each item.
    token: Box<RawValue>,
    token_id: String,
    expiration: OffsetDateTime,
    at: OffsetDateTime,
    slack: Duration,
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
    /// An identical plan's token still had enough life, here or at another replica.
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
    Unreachable(Trouble),
    /// A 2xx that is not what the documents say.
    #[error("Power BI gave an answer that cannot be used: {0}")]
    InvalidResponse(Trouble),
    /// The time for this request was spent.
    #[error("neither Entra nor Power BI had answered when `server.request_timeout` was spent")]
    TimedOut,
    /// No Entra token.
    #[error(transparent)]
    Entra(#[from] Arc<crate::entra::Error>),
    /// A task died; never expected.
    #[error("the call was aborted")]
    Aborted,
}

impl Error {
    /// Power BI's id of the exchange that failed.
    #[must_use]
    pub fn upstream_request_id(&self) -> Option<&str> {
        match self {
            Self::Rejected {
                upstream_request_id,
                ..
            }
            | Self::Quota {
                upstream_request_id,
            } => upstream_request_id.as_deref(),
            Self::Unreachable(trouble) | Self::InvalidResponse(trouble) => {
                trouble.upstream_request_id.as_deref()
            }
            Self::ItemUnavailable { .. }
            | Self::TargetUnavailable { .. }
            | Self::Throttled { .. }
            | Self::BreakerOpen { .. }
            | Self::TimedOut
            | Self::Entra(_)
            | Self::Aborted => None,
        }
    }
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
        let bearers = Bearers::Entra(access_tokens);
        Self::with_bearers(principals, cache, tokens, &bearers, outbound)
    }

    fn with_bearers(
        principals: &BTreeMap<String, config::Principal>,
        cache: &config::Cache,
        tokens: &config::Tokens,
        bearers: &Bearers,
        outbound: &Outbound,
    ) -> Self {
        let client = |(name, principal): (&String, &config::Principal)| {
            let mut root = principal.api_root();
            if let Ok(mut path) = root.path_segments_mut() {
                path.pop_if_empty().extend(["v1.0", "myorg"]);
            }
            let client = Client {
                principal: Arc::from(name.as_str()),
                embed_hosts: principal.embed_hosts(),
                fails_closed: principal.master_user().is_none(),
                http: outbound.client(&root).clone(),
                root,
                bearers: bearers.clone(),
                breaker: Breaker::new(name),
                renewal_pause: client::RenewalPause::default(),
            };
            (name.clone(), Arc::new(client))
        };
        Self {
            clients: principals.iter().map(client).collect(),
            facts: Facts::new(Ages::new(cache)),
            tokens: EmbedTokens::new(cache.embed_tokens_max_bytes, tokens.min_remaining),
        }
    }

    /// Shares embed tokens with other replicas; the first cache stays.
    #[must_use]
    pub fn with_shared_cache(self, cache: Arc<SharedCache>) -> Self {
        self.tokens.share_through(cache);
        self
    }

    /// Forgets every remembered embed token: for the sandbox, in which time is made to pass.
    pub fn forget_tokens(&self) {
        self.tokens.forget();
    }

    /// How each principal stands with Power BI, for operators.
    #[must_use]
    pub fn status(&self) -> Vec<PrincipalStatus> {
        self.clients
            .values()
            .map(|client| client.breaker.status())
            .collect()
    }

    /// Bytes of the embed tokens that are remembered, as weighed.
    #[must_use]
    pub fn cache_bytes(&self) -> u64 {
        self.tokens.weight()
    }

    /// A cached token for an identical plan that still has enough life left at `now`.
    #[must_use]
    pub fn cached(&self, plan: &EmbedPlan, now: OffsetDateTime) -> Option<EmbedToken> {
        self.tokens.get(&plan.key(), now)
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
        if let Some(token) = self.cached(plan, now) {
            return Ok((token, Provenance::Cached));
        }
        let client = self.client(&plan.minter().name)?;
        let began = Instant::now();
        loop {
            let now = now + began.elapsed();
            let order = Order::new(client, plan, now)?;
            let until = plan.cache_until();
            let found = self
                .tokens
                .get_or_mint(plan.key(), now, until, client, order, deadline);
            let (task, own) = match found {
                Found::Token(token) => return Ok((token, Provenance::Cached)),
                Found::Started(task) => (task, true),
                Found::Joined(task) => (task, false),
            };
            let obtained = tokio::time::timeout_at(deadline, task)
                .await
                .map_err(|_| Error::TimedOut)?;
            match obtained.map_err(Error::from).flatten() {
                // Whoever began that mint had less time than we have.
                Err(Error::TimedOut) if !own && Instant::now() < deadline => {}
                result => return result,
            }
        }
    }

    fn client(&self, principal: &str) -> Result<&Arc<Client>, Error> {
        self.clients
            .get(principal)
            .ok_or_else(|| Error::ItemUnavailable {
                what: format!("principal `{principal}`"),
                cause: "it is not configured".into(),
            })
    }
}

impl EmbedToken {
    /// The token as a JSON string: as secret as the token, and its `Debug` shows it.
    #[must_use]
    pub(crate) fn json(&self) -> &RawValue {
        &self.0.token
    }
    /// Its id in Power BI's audit log.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.0.token_id
    }
    /// When it expires (whole seconds).
    #[must_use]
    pub fn expiration(&self) -> OffsetDateTime {
        self.0.expiration
    }
    /// When it was minted.
    #[must_use]
    pub fn minted_at(&self) -> OffsetDateTime {
        self.0.at
    }
    /// The end of its life in which it is no longer served from the cache: the smaller of `tokens.min_remaining` and
    /// half of its life, in whole seconds.
    #[must_use]
    pub fn slack(&self) -> Duration {
        self.0.slack
    }
    /// SHA-256 of the token, lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.0.sha256
    }
    /// Power BI's request id of the mint.
    #[must_use]
    pub fn upstream_request_id(&self) -> Option<&str> {
        self.0.upstream_request_id.as_deref()
    }
}

impl std::fmt::Debug for EmbedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "EmbedToken([REDACTED], id {}, expires {})",
            self.0.token_id, self.0.expiration
        )
    }
}

#[cfg(test)]
mod tests;
