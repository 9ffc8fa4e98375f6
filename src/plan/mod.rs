//! Stage 3: which GenerateToken call is right and safe? [`EmbedPlan::build`] turns grants and facts into the exact
//! request, or refuses what Power BI would refuse or, worse, grant too widely.
//!
//! Pure and synchronous; `now` is an argument. An identity, or a part of one, is never dropped: what does not fit is
//! refused. Rights are the least that serve the request. Refusals come in this order: what policy would refuse had it known
//! the facts, the caller's session, what cannot be combined, then the items in the order asked.
//!
//! `artifact` and the grants meet in `item`; `copies` keeps saved reports apart from those that are found by name, `combine`
//! says what may share a token, `rls` which identity a source takes, `identity` makes it, `draft` collects it all into the
//! call, `request` is the wire format, `embed` the page's part.

mod artifact;
mod blob;
mod combine;
mod copies;
mod draft;
mod embed;
mod identity;
mod item;
mod key;
mod refusal;
mod request;
mod rls;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use self::draft::Draft;
use self::item::Item;
use self::request::Request;
use crate::policy::{Grant, Security};

pub use self::artifact::{
    Artifact, ContentFacts, DataSource, Dataset, Report, Workspace, WorkspaceKind,
};
pub use self::key::PlanKey;
pub use self::refusal::Refusal;

/// What the plan must know of the principal that mints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minter {
    /// Configured name.
    pub name: String,
    /// Its Entra tenant, as configured.
    pub tenant_id: String,
    /// Its application, as configured.
    pub client_id: String,
    /// The root of the Power BI API that it mints at.
    pub api_root: String,
    /// What it is.
    pub kind: MinterKind,
}

/// What mints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MinterKind {
    /// An application.
    ServicePrincipal {
        /// Its object id, needed for Azure Analysis Services.
        object_id: Option<String>,
    },
    /// A user, who sees all rows when no identity is sent.
    MasterUser {
        /// Its user principal name.
        username: String,
    },
}

/// Everything else that shapes a plan.
#[derive(Clone)]
pub struct Circumstances<'a> {
    /// The principal named by the grants.
    pub minter: &'a Minter,
    /// Upper bound of the token's life (`tokens.lifetime`).
    pub lifetime: Duration,
    /// The caller's own `exp`, with `tokens.bind_to_caller_session`.
    pub session_ends: Option<OffsetDateTime>,
    /// Identity blobs of this request, by header name in lower case.
    pub blobs: &'a BTreeMap<String, SecretString>,
    /// The time.
    pub now: OffsetDateTime,
}

/// The exact call that mints one token for all granted items. Made only by [`EmbedPlan::build`].
pub struct EmbedPlan {
    minter: Minter,
    profile_id: Option<String>,
    /// Path below `v1.0/myorg/`.
    path: String,
    /// The JSON body.
    body: bytes::Bytes,
    key: PlanKey,
    lifetime: Duration,
    cache_until: CacheUntil,
    items: Vec<PlannedItem>,
    identities: Arc<[Box<RawValue>]>,
    unfiltered_by_master_user: bool,
}

/// How long a token of this plan may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUntil {
    /// As long as the token itself is good.
    Expiration,
    /// At most until then: a blob in it expires.
    At(OffsetDateTime),
    /// Not at all: a blob in it is opaque.
    Never,
}

/// What the page gets for one item, without the token.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedItem {
    /// Name of the item.
    pub item: Arc<str>,
    /// Whether the page must embed anew to renew the token (paginated reports).
    pub re_embed: bool,
    /// powerbi-client's configuration, without `accessToken`.
    pub embed_config: Map<String, Value>,
}

impl EmbedPlan {
    /// Plans one token for `grants`, whose facts are `artifacts` in the same order.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn build(
        grants: &[Grant],
        artifacts: &[Artifact],
        circumstances: &Circumstances<'_>,
    ) -> Result<Self, Refusal> {
        let place = |grant: &Grant| format!("item `{}` (rule `{}`)", grant.item(), grant.rule());
        for (grant, artifact) in grants.iter().zip(artifacts) {
            copies::check(grant, artifact).map_err(|refusal| refusal.at(&place(grant)))?;
        }
        let minutes = minutes(grants, circumstances)?;
        combine::check(grants, artifacts, circumstances)?;
        let mut draft = Draft::default();
        let mut items = Vec::with_capacity(grants.len());
        for (grant, artifact) in grants.iter().zip(artifacts) {
            let item = Item::of(grant, artifact, circumstances)
                .and_then(|item| draft.add(&item, circumstances).map(|()| item))
                .map_err(|refusal| refusal.at(&place(grant)))?;
            items.push(item);
        }
        let planned = items.iter().map(embed::planned).collect::<Result<_, _>>()?;
        let call = draft.into_call(&items, minutes)?;
        let unwritable = |error| Refusal::ItemUnavailable(format!("no request body: {error}"));
        let body = serde_json::to_vec(&call.request).map_err(unwritable)?;
        let identities = audited(&call.request).map_err(unwritable)?;
        let minter = circumstances.minter.clone();
        let profile_id = artifacts[0].profile_id.clone();
        Ok(Self {
            key: PlanKey::of(&minter, profile_id.as_deref(), &call.path, &body),
            unfiltered_by_master_user: call.bare
                && matches!(minter.kind, MinterKind::MasterUser { .. }),
            identities,
            minter,
            profile_id,
            path: call.path,
            body: body.into(),
            lifetime: Duration::from_secs(minutes * 60),
            cache_until: call.keep,
            items: planned,
        })
    }

    /// The principal that mints.
    #[must_use]
    pub fn minter(&self) -> &Minter {
        &self.minter
    }
    /// Id of the profile it mints as.
    #[must_use]
    pub fn profile_id(&self) -> Option<&str> {
        self.profile_id.as_deref()
    }
    /// Path of the call, below `v1.0/myorg/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
    /// JSON body of the call; may hold identity blobs, so it is never logged.
    #[must_use]
    pub fn body(&self) -> &bytes::Bytes {
        &self.body
    }
    /// Identifies the plan.
    #[must_use]
    pub fn key(&self) -> PlanKey {
        self.key
    }
    /// The lifetime asked for, whole minutes.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }
    /// How long its token may be kept.
    #[must_use]
    pub fn cache_until(&self) -> CacheUntil {
        self.cache_until
    }
    /// What the page gets, in the order of the grants.
    #[must_use]
    pub fn items(&self) -> &[PlannedItem] {
        &self.items
    }
    /// The effective identities for the audit record, blobs as hashes.
    #[must_use]
    pub fn identities(&self) -> &Arc<[Box<RawValue>]> {
        &self.identities
    }
    /// Whether a master user mints without identity for some dataset: then its facts must be fresh.
    #[must_use]
    pub fn needs_fresh_facts(&self) -> bool {
        self.unfiltered_by_master_user
    }
}

/// What secures `dataset` of a granted item, for `doctor`: what policy declares, and what that and the facts come to, by
/// policy's name for it.
pub fn security_of(
    grant: &Grant,
    artifact: &Artifact,
    dataset: &Dataset,
) -> (Security, Result<&'static str, Refusal>) {
    let declared = item::declared(grant, artifact, dataset).security;
    let secured = rls::Secured::of_model(declared, dataset).map(rls::Secured::name);
    (declared, secured)
}

impl std::fmt::Debug for EmbedPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbedPlan")
            .field("path", &self.path)
            .field("minter", &self.minter)
            .finish_non_exhaustive()
    }
}

/// The lifetime to ask for: the smallest of all bounds, in whole minutes.
fn minutes(grants: &[Grant], circumstances: &Circumstances<'_>) -> Result<u64, Refusal> {
    let configured = grants
        .iter()
        .filter_map(Grant::lifetime)
        .fold(circumstances.lifetime, Duration::min);
    // Zero would mean "as long as the Entra token lives" to Power BI.
    let configured = (configured.as_secs() / 60).max(1);
    let Some(end) = circumstances.session_ends else {
        return Ok(configured);
    };
    match u64::try_from((end - circumstances.now).whole_minutes()) {
        Ok(0) | Err(_) => Err(Refusal::SessionEnds),
        Ok(left) => Ok(configured.min(left)),
    }
}

/// The identities of a request for the audit record; written out here, once for all records of the plan.
fn audited(request: &Request) -> serde_json::Result<Arc<[Box<RawValue>]>> {
    let (identities, sources) = match request {
        Request::V1(request) => (&request.identities, None),
        Request::V2(request) => (&request.identities, Some(&request.datasource_identities)),
    };
    let sources = sources.into_iter().flatten();
    identities
        .iter()
        .map(request::EffectiveIdentity::audited)
        .chain(sources.map(request::DatasourceIdentity::audited))
        .collect()
}

#[cfg(test)]
pub(crate) mod test_plan;
