//! Stage 3: which GenerateToken call is right and safe? [`EmbedPlan::build`] turns grants and facts into the exact
//! request, or refuses what Power BI would refuse or, worse, grant too widely.
//!
//! Pure and synchronous; `now` is an argument. An identity, or a part of one, is never dropped: what does not fit is
//! refused. Rights are the least that serve the request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::policy::Grant;

/// Facts about one granted item, as Power BI tells them. Filled by [`crate::powerbi`].
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Id of the service principal profile, resolved from the grant's id or name.
    pub profile_id: Option<String>,
    /// The item's workspace.
    pub workspace: Arc<Workspace>,
    /// What the item shows.
    pub content: ContentFacts,
    /// Every dataset behind the item: its own first (the report's, or the one that Q&A and create name), then those of
    /// the grant's `datasets`, then those that a dashboard's tiles show. No repeats.
    pub datasets: Vec<Arc<Dataset>>,
    /// Where copies are saved, when the grant gives "save a copy", or where a new report is saved.
    pub target_workspace: Option<Arc<Workspace>>,
}

/// A workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its `type`, when Power BI tells it.
    pub kind: WorkspaceKind,
    /// Whether it is on a capacity, when Power BI tells it.
    pub on_capacity: Option<bool>,
}

/// `type` of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkspaceKind {
    /// `Workspace`, or not told.
    Shared,
    /// `Group`: a classic one.
    Classic,
    /// `PersonalGroup` or `Personal`: never embedded.
    Personal,
}

/// Facts about what an item shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentFacts {
    /// A report of either type, also for visuals.
    Report(Arc<Report>),
    /// A dashboard.
    Dashboard {
        /// Its id.
        id: String,
        /// Its embed URL, host checked.
        embed_url: String,
    },
    /// A tile.
    Tile {
        /// Its id.
        id: String,
        /// Its dashboard's id.
        dashboard_id: String,
        /// Its embed URL, host checked.
        embed_url: String,
    },
    /// A dataset (Q&A, create): the first of [`Artifact::datasets`].
    Dataset,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is a paginated (RDL) one.
    pub paginated: bool,
    /// Its dataset; none for paginated reports.
    pub dataset_id: Option<String>,
    /// Its embed URL, host checked.
    pub embed_url: String,
}

/// A dataset (semantic model).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Its id.
    pub id: String,
    /// Id of its workspace.
    pub workspace_id: String,
    /// `isEffectiveIdentityRequired`.
    pub identity_required: bool,
    /// `isEffectiveIdentityRolesRequired`.
    pub roles_required: bool,
    /// `isOnPremGatewayRequired`.
    pub on_premises_gateway: bool,
    /// Its data sources; empty when they were not needed (no identity required, security not asserted).
    pub sources: Vec<DataSource>,
    /// URL for new reports over it, host checked.
    pub create_report_url: Option<String>,
    /// URL for Q&A over it, host checked.
    pub qna_url: Option<String>,
}

/// A data source of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSource {
    /// `datasourceType`.
    pub kind: String,
    /// `connectionDetails.server`.
    pub server: Option<String>,
    /// `connectionDetails.database`.
    pub database: Option<String>,
    /// Whether a gateway is bound.
    pub gateway: bool,
}

/// What the plan must know of the principal that mints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minter {
    /// Configured name.
    pub name: String,
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
    pub(super) minter: Minter,
    pub(super) profile_id: Option<String>,
    /// Path below `v1.0/myorg/`.
    pub(super) path: String,
    /// The JSON body.
    pub(super) body: bytes::Bytes,
    pub(super) key: PlanKey,
    pub(super) lifetime: Duration,
    pub(super) cache_until: CacheUntil,
    pub(super) items: Vec<PlannedItem>,
    pub(super) identities: Vec<Value>,
    pub(super) unfiltered_by_master_user: bool,
}

/// Identifies a plan: SHA-256 over principal (and its kind), profile, path and body (blobs included).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanKey(pub [u8; 32]);

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

/// Why no plan was made; nothing was minted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The items cannot stand under one token; 400.
    #[error("the items cannot be combined: {0}")]
    NotCombinable(String),
    /// Less than a minute is left of the caller's own session; 401.
    #[error("the caller's own token ends in less than a minute")]
    SessionEnds,
    /// The identity cannot be sent; 422.
    #[error("{0}")]
    IdentityUnmappable(String),
    /// A dataset needs an identity and the rule gives none; 422.
    #[error("{0}")]
    IdentityRequired(String),
    /// The rule gives an identity and the dataset has nothing to filter with; 422.
    #[error("{0}")]
    RlsMissing(String),
    /// Policy and Power BI disagree about the security of something; 422.
    #[error("{0}")]
    SecurityMismatch(String),
    /// The request lacks a header with an identity blob; 422.
    #[error("{0}")]
    BlobMissing(String),
    /// A fact about the item forbids embedding it (personal workspace, wrong report type …); 422.
    #[error("{0}")]
    ItemUnavailable(String),
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
        let _ = (grants, artifacts, circumstances);
        unimplemented!()
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
    pub fn identities(&self) -> &[Value] {
        &self.identities
    }
    /// Whether a master user mints without identity for some dataset: then its facts must be fresh.
    #[must_use]
    pub fn needs_fresh_facts(&self) -> bool {
        self.unfiltered_by_master_user
    }
}

impl std::fmt::Debug for EmbedPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbedPlan")
            .field("path", &self.path)
            .field("minter", &self.minter)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod test_plan;
