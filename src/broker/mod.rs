//! The use case: verify → decide → look up → plan → mint → one audit record. START READING HERE.
//!
//! [`Broker::embed_token`] is the whole service in one function; each line of it is a stage with a module of its own.
//!
//! Why authentication happens in here and not in an extractor: only so does a refused token get its audit record.
//!
//! A [`Broker`] never changes: when policy or configuration are reloaded, requests that begin from then on go to another
//! one. So no request sees half of a reload.

mod code;
mod error;
mod rate;
mod recording;
mod remembered;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use secrecy::SecretString;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;

pub use crate::audit::Event;
pub use crate::authn::BearerToken;
pub use crate::plan::PlannedItem;
pub use crate::policy::{Access, Ask, CatalogueEntry, Denied, Kind};
pub use crate::powerbi::{EmbedToken, Target};
pub use code::Code;
pub use error::Error;
pub(crate) use rate::MOST_BYTES as MOST_BYTES_OF_RATES;
pub use rate::RateLimit;
pub use recording::Recording;
pub(crate) use remembered::MOST_BYTES as MOST_BYTES_OF_PLANS;
pub use remembered::Remembered;

use crate::audit::{Audit, AuditRecord};
use crate::authn::{Caller, Verifier};
use crate::plan::{Circumstances, EmbedPlan, Minter};
use crate::policy::{Grant, Policy};
use crate::powerbi::{self, Freshness, PowerBi, Provenance};
use crate::{config, metrics};
use recording::note_refusal;
use remembered::Planned;

/// Time kept back from a request's own, so that its refusal is still told by us and not by the timeout around us.
const MARGIN: Duration = Duration::from_millis(100);

/// The span of a stage. It costs next to nothing while no traces are exported.
macro_rules! stage {
    ($($name_and_fields:tt)*) => {
        tracing::info_span!(target: "stage", $($name_and_fields)*)
    };
}

/// Everything that a request goes through.
pub struct Broker {
    /// Who is calling?
    pub verifier: Arc<Verifier>,
    /// How often may they?
    pub rate: Arc<RateLimit>,
    /// What may they embed, and as whom?
    pub policy: Arc<Policy>,
    /// Facts, and the mint.
    pub powerbi: Arc<PowerBi>,
    /// The configured principals.
    pub minters: BTreeMap<String, Minter>,
    /// Lifetimes.
    pub tokens: config::Tokens,
    /// Where records go.
    pub audit: Arc<Audit>,
    /// What was decided and planned by these stages.
    pub remembered: Remembered,
    /// Time for one request.
    pub request_timeout: Duration,
}

/// A request for an embed token, with whatever was wrong about its parts.
pub struct EmbedRequest {
    /// The caller's token; `None`: the request has none.
    pub token: Option<BearerToken>,
    /// What it asks for.
    pub ask: Ask,
    /// Identity blobs, by header name in lower case.
    pub blobs: BTreeMap<String, SecretString>,
}

/// What a request for an embed token gets.
pub struct Issued {
    /// The token.
    pub token: EmbedToken,
    /// When the page should ask for the next one.
    pub refresh_after: OffsetDateTime,
    planned: Arc<Planned>,
}

impl Issued {
    /// What the page needs for each item.
    #[must_use]
    pub fn items(&self) -> &[PlannedItem] {
        self.planned.plan.items()
    }
}

impl Broker {
    /// Opens the audit record of a request; see [`Recording::finish`].
    #[must_use]
    pub fn record(&self, event: Event, request_id: String, client: Option<IpAddr>) -> Recording {
        let record = AuditRecord::new(event, request_id, client, OffsetDateTime::now_utc());
        Recording::new(Arc::clone(&self.audit), record)
    }

    /// Embed configuration and token for the items that `request` asks for.
    ///
    /// # Errors
    /// See [`Error`]; nothing is minted unless every stage before agreed.
    pub async fn embed_token(
        &self,
        request: EmbedRequest,
        recording: &Recording,
    ) -> Result<Issued, Error> {
        let deadline = self.deadline();

        let caller = self.admit(request.token.as_ref(), recording).await?;
        recording.admitted(&request.ask.items, request.ask.target.as_deref());
        let case = Case::new(self, &caller, &request, deadline);
        let planned = case.plan(recording).await?;
        let (planned, token, provenance) = case.mint(planned, recording).await?;

        recording.issued(&token, provenance);
        metrics::embed_token(provenance == Provenance::Cached);
        Ok(Issued {
            refresh_after: refresh_after(&token),
            token,
            planned,
        })
    }

    /// The items that the caller may embed, in catalogue order; no upstream call but the issuer's keys.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn items(
        &self,
        token: Option<BearerToken>,
        recording: &Recording,
    ) -> Result<Vec<CatalogueEntry>, Error> {
        let caller = self.admit(token.as_ref(), recording).await?;
        recording.admitted(&[], None);
        Ok(self.policy.catalogue(&caller))
    }

    /// The reports that an item with `report: "*"` may be aimed at.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn targets(
        &self,
        token: Option<BearerToken>,
        item: String,
        recording: &Recording,
    ) -> Result<Vec<Target>, Error> {
        let deadline = self.deadline();
        let caller = self.admit(token.as_ref(), recording).await?;
        recording.admitted(std::slice::from_ref(&item), None);
        let grant = note_refusal(self.policy.decide_targets(&caller, &item), recording)?;
        recording.granted(std::slice::from_ref(&grant));
        let targets = self.powerbi.targets(&grant, deadline).await;
        Ok(targets.inspect_err(|error| recording.failed_upstream(error))?)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout.saturating_sub(MARGIN)
    }

    /// Verifies the caller and counts the request.
    async fn admit(
        &self,
        token: Option<&BearerToken>,
        recording: &Recording,
    ) -> Result<Caller, Error> {
        let token = token.ok_or(Error::MissingToken)?;
        let caller = self
            .verifier
            .verify(token, OffsetDateTime::now_utc())
            .instrument(stage!("verify"))
            .await?;
        recording.caller(&caller);
        self.rate
            .check(&caller)
            .await
            .map_err(|retry_after| Error::RateLimited { retry_after })?;
        self.verifier.remember(&caller);
        Ok(caller)
    }
}

/// One caller's request, on its way to a token.
struct Case<'a> {
    broker: &'a Broker,
    caller: &'a Caller,
    request: &'a EmbedRequest,
    deadline: Instant,
    /// Under which a plan may be remembered; none when it may not.
    key: Option<[u8; 32]>,
}

impl<'a> Case<'a> {
    fn new(
        broker: &'a Broker,
        caller: &'a Caller,
        request: &'a EmbedRequest,
        deadline: Instant,
    ) -> Self {
        let timeless = request.blobs.is_empty() && !broker.tokens.bind_to_caller_session;
        Self {
            broker,
            caller,
            request,
            deadline,
            key: timeless
                .then(|| remembered::key(caller, &request.ask))
                .flatten(),
        }
    }

    /// Decides and plans, or remembers what would come of it.
    async fn plan(&self, recording: &Recording) -> Result<Arc<Planned>, Error> {
        let known = self.key.and_then(|key| self.broker.remembered.get(&key));
        if let Some(planned) = known {
            recording.granted(&planned.grants);
            recording.planned(&planned.plan);
            return Ok(planned);
        }
        let decided =
            stage!("decide").in_scope(|| self.broker.policy.decide(self.caller, &self.request.ask));
        let grants = note_refusal(decided, recording)?;
        recording.granted(&grants);
        self.plan_for(grants.into(), Freshness::Cached, recording)
            .await
    }

    /// Gets the token of a plan.
    async fn mint(
        &self,
        mut planned: Arc<Planned>,
        recording: &Recording,
    ) -> Result<(Arc<Planned>, EmbedToken, Provenance), Error> {
        let powerbi = &self.broker.powerbi;
        let minted = |plan| powerbi.cached(plan, OffsetDateTime::now_utc()).is_some();
        // A master user without identity sees every row: whether the dataset still has none to hide is asked anew.
        if planned.plan.needs_fresh_facts() && !minted(&planned.plan) {
            planned = self.replan(&planned, recording).await?;
        }
        match self.token(&planned.plan, recording).await {
            Ok((token, provenance)) => Ok((planned, token, provenance)),
            Err(
                refused @ powerbi::Error::Rejected {
                    status: 400 | 404, ..
                },
            ) => self.mint_anew(&planned, refused, recording).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Power BI refused the plan: perhaps the facts behind it are out of date. Never with less identity: the new plan
    /// is made by the same rules, and if it is the same plan, the refusal stands.
    async fn mint_anew(
        &self,
        refused_plan: &Planned,
        refused: powerbi::Error,
        recording: &Recording,
    ) -> Result<(Arc<Planned>, EmbedToken, Provenance), Error> {
        let planned = match self.replan(refused_plan, recording).await {
            Ok(planned) if planned.plan.key() != refused_plan.plan.key() => planned,
            Err(
                error
                @ (Error::Refused(_) | Error::PowerBi(powerbi::Error::ItemUnavailable { .. })),
            ) => {
                return Err(error);
            }
            Ok(_) | Err(_) => return Err(refused.into()),
        };
        let (token, provenance) = self.token(&planned.plan, recording).await?;
        Ok((planned, token, provenance))
    }

    async fn replan(
        &self,
        planned: &Planned,
        recording: &Recording,
    ) -> Result<Arc<Planned>, Error> {
        let grants = Arc::clone(&planned.grants);
        self.plan_for(grants, Freshness::Reread, recording).await
    }

    async fn plan_for(
        &self,
        grants: Arc<[Grant]>,
        freshness: Freshness,
        recording: &Recording,
    ) -> Result<Arc<Planned>, Error> {
        let broker = self.broker;
        let principal = grants.first().map(Grant::principal).unwrap_or_default();
        let minter = broker
            .minters
            .get(principal)
            .ok_or_else(|| Error::UnknownPrincipal(principal.to_owned()))?;
        let target = self.request.ask.target.as_deref();
        let (artifacts, facts) = broker
            .powerbi
            .look_up(&grants, target, freshness, self.deadline)
            .instrument(stage!("look up"))
            .await
            .inspect_err(|error| recording.failed_upstream(error))?;
        let session_ends = broker
            .tokens
            .bind_to_caller_session
            .then(|| self.caller.expires_at());
        let circumstances = Circumstances {
            minter,
            lifetime: broker.tokens.lifetime,
            session_ends,
            blobs: &self.request.blobs,
            now: OffsetDateTime::now_utc(),
        };
        let plan =
            stage!("plan").in_scope(|| EmbedPlan::build(&grants, &artifacts, &circumstances))?;
        recording.planned(&plan);
        let planned = Arc::new(Planned {
            grants,
            plan,
            facts,
        });
        if let Some(key) = self.key {
            broker.remembered.insert(key, Arc::clone(&planned));
        }
        Ok(planned)
    }

    async fn token(
        &self,
        plan: &EmbedPlan,
        recording: &Recording,
    ) -> Result<(EmbedToken, Provenance), powerbi::Error> {
        let span = stage!("mint", principal = plan.minter().name, source = Empty);
        let powerbi = &self.broker.powerbi;
        powerbi
            .token(plan, OffsetDateTime::now_utc(), self.deadline)
            .instrument(span.clone())
            .await
            .inspect(|(_, provenance)| {
                span.record("source", recording::source(*provenance));
            })
            .inspect_err(|error| recording.failed_upstream(error))
    }
}

/// When the page should ask again: in the first half of the slack before the token expires, so that the renewal mints
/// (the cache serves no token within its slack), drawn anew so that a thousand pages do not ask in the same second.
fn refresh_after(token: &EmbedToken) -> OffsetDateTime {
    let slack = i64::try_from(token.slack().as_secs()).unwrap_or(i64::MAX);
    let drawn = rand::rng().random_range(0..=slack / 2);
    token.expiration() - time::Duration::seconds(slack - drawn)
}
