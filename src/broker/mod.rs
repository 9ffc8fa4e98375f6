//! The use case: verify → decide → look up → plan → mint → one audit record. START READING HERE.
//!
//! [`Broker::embed_token`] is the whole service in one function; each line of it is a stage with a module of its own.
//!
//! Why authentication happens in here and not in an extractor: only so does a refused token get its audit record.
//!
//! The stages are replaced as a whole when policy or configuration are reloaded. A request takes one
//! [`Stages`] at its start and keeps it, so that no request sees half of a reload.

mod code;
mod error;
mod rate;
mod recording;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::Rng as _;
use secrecy::SecretString;
use time::OffsetDateTime;
use tokio::time::Instant;

pub use crate::audit::Event;
pub use crate::authn::BearerToken;
pub use crate::plan::PlannedItem;
pub use crate::policy::{Access, Ask, CatalogueEntry, Denied, Kind};
pub use crate::powerbi::{EmbedToken, Target};
pub use code::Code;
pub use error::Error;
pub use rate::RateLimit;
pub use recording::Recording;

use crate::audit::{Audit, AuditRecord};
use crate::authn::{Caller, Verifier};
use crate::plan::{Circumstances, EmbedPlan, Minter};
use crate::policy::{Grant, Policy};
use crate::powerbi::{self, Freshness, PowerBi, Provenance};
use crate::{config, metrics};

/// Time kept back from a request's own, so that its refusal is still told by us and not by the timeout around us.
const MARGIN: Duration = Duration::from_millis(100);

/// The broker of one process.
pub struct Broker {
    stages: ArcSwap<Stages>,
    request_timeout: Duration,
}

/// Everything a request goes through; replaced as a whole at a reload.
pub struct Stages {
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
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: EmbedToken,
    /// When the page should ask for the next one.
    pub refresh_after: OffsetDateTime,
    /// What the page needs for each item.
    pub items: Vec<PlannedItem>,
}

impl Broker {
    /// A broker over `stages`.
    #[must_use]
    pub fn new(stages: Stages, request_timeout: Duration) -> Self {
        Self {
            stages: ArcSwap::from_pointee(stages),
            request_timeout,
        }
    }

    /// Lets requests that begin from now on go through `stages`.
    pub fn replace(&self, stages: Stages) {
        self.stages.store(Arc::new(stages));
    }

    /// The stages that a request beginning now would go through.
    #[must_use]
    pub fn stages(&self) -> Arc<Stages> {
        self.stages.load_full()
    }

    /// Opens the audit record of a request; see [`Recording::finish`].
    #[must_use]
    pub fn record(&self, event: Event, request_id: String, client: Option<IpAddr>) -> Recording {
        let record = AuditRecord::new(event, request_id, client, OffsetDateTime::now_utc());
        Recording::new(Arc::clone(&self.stages.load().audit), record)
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
        recording.asked(&request.ask.items, request.ask.target.as_deref());
        let stages = self.stages.load_full();
        let deadline = self.deadline();

        let caller = stages.admit(request.token.as_ref(), recording).await?;
        let grants = stages.decide(&caller, &request.ask, recording)?;
        let case = Case {
            stages: &stages,
            grants: &grants,
            caller: &caller,
            request: &request,
            deadline,
        };
        let (plan, token, provenance) = case.mint(recording).await?;

        recording.issued(&token, provenance);
        metrics::embed_token(provenance == Provenance::Cached);
        let refresh_after = refresh_after(&token);
        Ok(Issued {
            token,
            refresh_after,
            items: plan.items().to_vec(),
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
        let stages = self.stages.load_full();
        let caller = stages.admit(token.as_ref(), recording).await?;
        Ok(stages.policy.catalogue(&caller))
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
        recording.asked(std::slice::from_ref(&item), None);
        let stages = self.stages.load_full();
        let deadline = self.deadline();
        let caller = stages.admit(token.as_ref(), recording).await?;
        let grant = note_refusal(stages.policy.decide_targets(&caller, &item), recording)?;
        recording.granted(std::slice::from_ref(&grant));
        let targets = stages.powerbi.targets(&grant, deadline).await;
        Ok(targets.inspect_err(|error| recording.failed_upstream(error))?)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout.saturating_sub(MARGIN)
    }
}

impl Stages {
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
            .await?;
        recording.caller(&caller);
        self.rate
            .check(&caller)
            .map_err(|retry_after| Error::RateLimited { retry_after })?;
        Ok(caller)
    }

    fn decide(
        &self,
        caller: &Caller,
        ask: &Ask,
        recording: &Recording,
    ) -> Result<Vec<Grant>, Error> {
        let grants = note_refusal(self.policy.decide(caller, ask), recording)?;
        recording.granted(&grants);
        Ok(grants)
    }
}

/// What is granted to one caller, on its way to a token.
struct Case<'a> {
    stages: &'a Stages,
    grants: &'a [Grant],
    caller: &'a Caller,
    request: &'a EmbedRequest,
    deadline: Instant,
}

impl Case<'_> {
    /// Plans from current policy and facts, and gets the token of that plan.
    async fn mint(
        &self,
        recording: &Recording,
    ) -> Result<(EmbedPlan, EmbedToken, Provenance), Error> {
        let mut plan = self.plan(Freshness::Cached, recording).await?;
        let powerbi = &self.stages.powerbi;
        // A master user without identity sees every row: whether the dataset still has none to hide is asked anew.
        if plan.needs_fresh_facts() && powerbi.cached(&plan, OffsetDateTime::now_utc()).is_none() {
            plan = self.plan(Freshness::Reread, recording).await?;
        }
        match self.token(&plan, recording).await {
            Ok((token, provenance)) => Ok((plan, token, provenance)),
            Err(
                refused @ powerbi::Error::Rejected {
                    status: 400 | 404, ..
                },
            ) => self.mint_anew(&plan, refused, recording).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Power BI refused the plan: perhaps the facts behind it are out of date. Never with less identity: the new plan
    /// is made by the same rules, and if it is the same plan, the refusal stands.
    async fn mint_anew(
        &self,
        refused_plan: &EmbedPlan,
        refused: powerbi::Error,
        recording: &Recording,
    ) -> Result<(EmbedPlan, EmbedToken, Provenance), Error> {
        let plan = match self.plan(Freshness::Reread, recording).await {
            Ok(plan) if plan.key() != refused_plan.key() => plan,
            Err(
                error
                @ (Error::Refused(_) | Error::PowerBi(powerbi::Error::ItemUnavailable { .. })),
            ) => {
                return Err(error);
            }
            Ok(_) | Err(_) => return Err(refused.into()),
        };
        let (token, provenance) = self.token(&plan, recording).await?;
        Ok((plan, token, provenance))
    }

    async fn plan(&self, freshness: Freshness, recording: &Recording) -> Result<EmbedPlan, Error> {
        let stages = self.stages;
        let principal = self
            .grants
            .first()
            .map(Grant::principal)
            .unwrap_or_default();
        let minter = stages
            .minters
            .get(principal)
            .ok_or_else(|| Error::UnknownPrincipal(principal.to_owned()))?;
        let artifacts = stages
            .powerbi
            .look_up(
                self.grants,
                self.request.ask.target.as_deref(),
                freshness,
                self.deadline,
            )
            .await
            .inspect_err(|error| recording.failed_upstream(error))?;
        let session_ends = stages
            .tokens
            .bind_to_caller_session
            .then(|| self.caller.expires_at());
        let circumstances = Circumstances {
            minter,
            lifetime: stages.tokens.lifetime,
            session_ends,
            blobs: &self.request.blobs,
            now: OffsetDateTime::now_utc(),
        };
        let plan = EmbedPlan::build(self.grants, &artifacts, &circumstances)?;
        recording.planned(&plan);
        Ok(plan)
    }

    async fn token(
        &self,
        plan: &EmbedPlan,
        recording: &Recording,
    ) -> Result<(EmbedToken, Provenance), powerbi::Error> {
        let powerbi = &self.stages.powerbi;
        powerbi
            .token(plan, OffsetDateTime::now_utc(), self.deadline)
            .await
            .inspect_err(|error| recording.failed_upstream(error))
    }
}

/// Notes the rule that refused, where one did.
fn note_refusal<T>(decided: Result<T, Denied>, recording: &Recording) -> Result<T, Denied> {
    decided.inspect_err(|denied| match denied {
        Denied::NotPermitted {
            rule: Some(rule), ..
        }
        | Denied::IdentityUnmappable { rule, .. } => {
            recording.refused_by(rule);
        }
        Denied::NotPermitted { rule: None, .. }
        | Denied::Unfit { .. }
        | Denied::NotCombinable { .. } => {}
    })
}

/// When the page should ask again: in the first half of the slack before the token expires, so that the renewal mints
/// (the cache serves no token within its slack), drawn anew so that a thousand pages do not ask in the same second.
fn refresh_after(token: &EmbedToken) -> OffsetDateTime {
    let slack = i64::try_from(token.slack().as_secs()).unwrap_or(i64::MAX);
    let drawn = rand::rng().random_range(0..=slack / 2);
    token.expiration() - time::Duration::seconds(slack - drawn)
}
