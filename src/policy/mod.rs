//! Stage 2: what may this caller embed, and as whom? [`Policy::decide`] turns a [`Caller`] and an [`Ask`] into one
//! [`Grant`] an item, or a [`Denied`].
//!
//! Pure and synchronous: no I/O, no clock. Deny by default: the first rule that matches an item decides it, an error
//! on the way ends with a refusal, and nothing that the request says reaches an identity, a workspace, a principal or
//! a profile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::authn::Caller;
use crate::config::Mistake;

/// A loaded policy.
pub struct Policy {}

/// What the rest of the configuration tells the policy loader.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Configured names of the issuers, in order.
    pub issuers: Vec<String>,
    /// Configured principals, with whether each is a master user.
    pub principals: BTreeMap<String, bool>,
    /// Request headers that carry the caller's own token, in lower case; no blob may come from them.
    pub credential_headers: Vec<String>,
}

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Names of catalogue items, as sent (repeats are folded by [`Policy::decide`]).
    pub items: Vec<String>,
    /// The right asked for; `None`: the kind's default.
    pub access: Option<Access>,
    /// Whether "save a copy" is asked for.
    pub save_as: bool,
    /// Which report, for an item with `report: "*"`.
    pub target: Option<String>,
}

/// A right to an item; later ones include earlier ones.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Deserialize,
    Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Look at it.
    #[default]
    View,
    /// Change it.
    Edit,
    /// Make a new report.
    Create,
}

/// Kind of a catalogue item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An interactive report.
    Report,
    /// A paginated (RDL) report.
    PaginatedReport,
    /// A dashboard.
    Dashboard,
    /// One tile of a dashboard.
    Tile,
    /// Questions and answers over a dataset.
    Qna,
    /// A new report over a dataset.
    CreateReport,
    /// One visual of a report.
    Visual,
}

/// What secures a dataset.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// Learned from Power BI.
    #[default]
    Auto,
    /// Nothing to filter.
    None,
    /// Roles of a model in the service.
    CloudRls,
    /// Filters inside a paginated report.
    Rdl,
    /// Analysis Services on-premises, live.
    AsOnPremises,
    /// Azure Analysis Services, live.
    AsAzure,
    /// `DirectQuery` with the end user's own sign-in.
    Sso,
    /// The same, with roles in the model as well.
    SsoCloudRls,
}

/// `xmlaPermissions` of a dataset.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Xmla {
    /// Not sent.
    #[default]
    Off,
    /// `ReadOnly`.
    ReadOnly,
}

/// Generation of a workspace.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceVersion {
    /// A workspace of today.
    #[default]
    New,
    /// A classic one: master user and V1 calls only.
    Classic,
}

/// What an item shows, with every expression evaluated. References are ids or names as the policy gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Content {
    /// An interactive report.
    Report {
        /// Id or name.
        report: String,
    },
    /// A paginated report.
    PaginatedReport {
        /// Id or name.
        report: String,
    },
    /// A dashboard.
    Dashboard {
        /// Id or name.
        dashboard: String,
    },
    /// A tile.
    Tile {
        /// Id or name of the dashboard.
        dashboard: String,
        /// Id or title of the tile.
        tile: String,
    },
    /// Q&A.
    Qna {
        /// Id or name of the dataset.
        dataset: String,
    },
    /// A new report.
    CreateReport {
        /// Id or name of the dataset.
        dataset: String,
        /// Id or name of the workspace it is saved into.
        target_workspace: String,
    },
    /// A visual.
    Visual {
        /// Id or name of the report.
        report: String,
        /// Name of the page.
        page: String,
        /// Name of the visual.
        visual: String,
    },
}

/// A further dataset of an item, or settings for one that a dashboard shows; expressions evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetSetting {
    /// Id of the dataset.
    pub dataset: String,
    /// Its workspace, when it is not the item's.
    pub workspace: Option<String>,
    /// What secures it.
    pub security: Security,
    /// XMLA right.
    pub xmla: Xmla,
}

/// An effective identity as a rule gives it, evaluated for one caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Identity {
    /// The user name; `None`: the rule names none.
    pub username: Option<String>,
    /// The roles, without repeats, in the rule's order.
    pub roles: Vec<String>,
    /// Custom data.
    pub custom_data: Option<String>,
    /// Name under which Power BI audits the mint.
    pub auditable_context: Option<String>,
    /// Request header (lower case) with the end user's token for an SSO source.
    pub identity_blob: Option<String>,
    /// The newer form for SSO sources.
    pub datasource_identities: Vec<DatasourceIdentity>,
}

/// The end user's token for one SSO data source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct DatasourceIdentity {
    /// `datasourceType`, such as `Sql`.
    pub datasource_type: String,
    /// `connectionDetails`: `server`, `database`, `url`, … as *Get Datasources* returns them.
    pub connection: BTreeMap<String, String>,
    /// Request header (lower case) with the token.
    pub blob_header: String,
}

/// What one caller may do with one item, and as whom. Made only by [`Policy::decide`].
#[derive(Clone, Debug)]
pub struct Grant {
    pub(super) item: Arc<str>,
    pub(super) kind: Kind,
    pub(super) rule: Arc<str>,
    pub(super) access: Access,
    pub(super) save_as: bool,
    pub(super) content: Content,
    pub(super) workspace: String,
    pub(super) dataset_workspace: Option<String>,
    pub(super) save_as_workspace: Option<String>,
    pub(super) principal: String,
    pub(super) profile: Option<String>,
    pub(super) workspace_version: WorkspaceVersion,
    pub(super) security: Security,
    pub(super) xmla: Xmla,
    pub(super) datasets: Arc<[DatasetSetting]>,
    pub(super) dataset_binding: Option<String>,
    pub(super) paginated_visuals: Arc<[String]>,
    pub(super) identity: Option<Identity>,
    pub(super) dataset_identities: BTreeMap<String, Option<Identity>>,
    pub(super) lifetime: Option<Duration>,
    pub(super) embed: Arc<Map<String, Value>>,
}

/// Why an ask was refused. In the order in which they are checked for the whole request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No rule permits an item, it does not exist, or something on the way failed: one answer for all.
    #[error("item `{item}` is not permitted: {cause}")]
    NotPermitted {
        /// The item.
        item: String,
        /// The rule that ended the search, if one did.
        rule: Option<Arc<str>>,
        /// For the audit record and the log, never for the caller.
        cause: String,
    },
    /// The request does not fit the item (`target`, `access`, `save_as`); 400.
    #[error("the request does not fit item `{item}`: {problem}")]
    Unfit {
        /// The item.
        item: String,
        /// What does not fit; may be shown to the caller, who may see the item.
        problem: String,
    },
    /// The items cannot stand under one token; 400.
    #[error("the items cannot be combined: {problem}")]
    NotCombinable {
        /// Why; may be shown to the caller.
        problem: String,
    },
    /// The rule's identity cannot be made for this caller; 422.
    #[error("rule `{rule}` gives no usable identity for item `{item}`: {cause}")]
    IdentityUnmappable {
        /// The item.
        item: String,
        /// The rule.
        rule: Arc<str>,
        /// Expression and cause, for log and audit record.
        cause: String,
    },
}

/// One line of the catalogue as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// Name of the item.
    pub item: String,
    /// Title for menus.
    pub title: String,
    /// Kind of the item.
    pub kind: Kind,
    /// Rights that this caller may ask for.
    pub access: Vec<Access>,
    /// Whether the request must name a `target`.
    pub needs_target: bool,
}

impl Policy {
    /// Reads, compiles and checks the policy at `path`, its tables and its cases.
    ///
    /// # Errors
    /// Every mistake, with file, line and remedy.
    pub fn load(path: &Path, surroundings: &Surroundings) -> Result<Self, Vec<Mistake>> {
        let _ = (path, surroundings);
        unimplemented!()
    }

    /// Every file that the policy was read from (itself and its tables), for the reload watch.
    #[must_use]
    pub fn files(&self) -> &[std::path::PathBuf] {
        unimplemented!()
    }

    /// Request headers (lower case) that carry identity blobs; CORS and the request extractor must let them in.
    #[must_use]
    pub fn blob_headers(&self) -> &[String] {
        unimplemented!()
    }

    /// Decides what `caller` may do with each item asked for. One grant an item, repeats folded, in the order asked.
    ///
    /// # Errors
    /// See [`Denied`]; one item refused refuses the request.
    pub fn decide(&self, caller: &Caller, ask: &Ask) -> Result<Vec<Grant>, Denied> {
        let _ = (caller, ask);
        unimplemented!()
    }

    /// The items that `caller` may embed, in catalogue order.
    #[must_use]
    pub fn catalogue(&self, caller: &Caller) -> Vec<CatalogueEntry> {
        let _ = caller;
        unimplemented!()
    }
}

impl Grant {
    /// Name of the item.
    #[must_use]
    pub fn item(&self) -> &Arc<str> {
        &self.item
    }
    /// Kind of the item.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// The rule that matched.
    #[must_use]
    pub fn rule(&self) -> &Arc<str> {
        &self.rule
    }
    /// The right given: what was asked, never more than the rule's.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }
    /// Whether "save a copy" was asked and granted.
    #[must_use]
    pub fn save_as(&self) -> bool {
        self.save_as
    }
    /// What the item shows. With `report: "*"` the report is the request's `target`.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }
    /// Id or name of the workspace.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
    }
    /// Id or name of the workspace of its dataset, when that is another.
    #[must_use]
    pub fn dataset_workspace(&self) -> Option<&str> {
        self.dataset_workspace.as_deref()
    }
    /// Id or name of the workspace copies are saved into; `None`: the item's own.
    #[must_use]
    pub fn save_as_workspace(&self) -> Option<&str> {
        self.save_as_workspace.as_deref()
    }
    /// Configured name of the principal that mints.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }
    /// Id or display name of the service principal profile.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }
    /// Generation of the workspace.
    #[must_use]
    pub fn workspace_version(&self) -> WorkspaceVersion {
        self.workspace_version
    }
    /// What secures the item's own dataset.
    #[must_use]
    pub fn security(&self) -> Security {
        self.security
    }
    /// XMLA right of the item's own dataset.
    #[must_use]
    pub fn xmla(&self) -> Xmla {
        self.xmla
    }
    /// Further datasets.
    #[must_use]
    pub fn datasets(&self) -> &[DatasetSetting] {
        &self.datasets
    }
    /// Dataset that the report is bound to when it is embedded; one of [`datasets`](Self::datasets).
    #[must_use]
    pub fn dataset_binding(&self) -> Option<&str> {
        self.dataset_binding.as_deref()
    }
    /// Ids of paginated reports shown inside.
    #[must_use]
    pub fn paginated_visuals(&self) -> &[String] {
        &self.paginated_visuals
    }
    /// The identity for datasets without one of their own; `None`: the rule says `none`.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
    /// The identity for `dataset`.
    #[must_use]
    pub fn identity_for(&self, dataset: &str) -> Option<&Identity> {
        match self.dataset_identities.get(dataset) {
            Some(own) => own.as_ref(),
            None => self.identity.as_ref(),
        }
    }
    /// Upper bound of the token's life that the rule sets.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }
    /// `embed` settings passed into the configuration.
    #[must_use]
    pub fn embed(&self) -> &Map<String, Value> {
        &self.embed
    }
}

// === grants for the tests of later stages ===

#[cfg(test)]
pub(crate) mod test_grant;
