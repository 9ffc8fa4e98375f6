//! What a decision consists of: the words of the policy (kinds, rights, securities) and the [`Grant`].
//!
//! A [`Grant`] is the proof that policy has decided; only [`Policy::decide`](super::Policy::decide) makes one for a caller,
//! and it holds nothing that its rule and its item do not give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    JsonSchema,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Xmla {
    /// Not sent.
    #[default]
    Off,
    /// `ReadOnly`.
    ReadOnly,
}

/// Generation of a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
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

/// A workspace that an item names: by id or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemWorkspace {
    /// Name of the item.
    pub item: Arc<str>,
    /// Id or name of the workspace.
    pub workspace: String,
}

/// What one caller may do with one item, and as whom. Made only by [`Policy::decide`](super::Policy::decide), and for
/// `doctor`, which serves nobody, by [`Policy::survey`](super::Policy::survey).
#[derive(Clone, Debug)]
pub struct Grant {
    pub(crate) item: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) rule: Arc<str>,
    pub(crate) access: Access,
    pub(crate) save_as: bool,
    pub(crate) content: Content,
    pub(crate) workspace: String,
    pub(crate) dataset_workspace: Option<String>,
    pub(crate) save_as_workspace: Option<String>,
    pub(crate) principal: String,
    pub(crate) profile: Option<String>,
    pub(crate) workspace_version: WorkspaceVersion,
    pub(crate) security: Security,
    pub(crate) xmla: Xmla,
    pub(crate) datasets: Arc<[DatasetSetting]>,
    pub(crate) dataset_binding: Option<String>,
    pub(crate) paginated_visuals: Arc<[String]>,
    pub(crate) identity: Option<Identity>,
    /// By dataset id in lower case.
    pub(crate) dataset_identities: BTreeMap<String, Option<Identity>>,
    pub(crate) saved_into: Arc<[ItemWorkspace]>,
    pub(crate) found_by_name_in: Arc<[ItemWorkspace]>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) embed: Arc<Map<String, Value>>,
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
        // Ids are kept in lower case: Power BI compares them without regard to case, and a miss would fall back to the
        // identity meant for other datasets.
        match self.dataset_identities.get(&dataset.to_ascii_lowercase()) {
            Some(own) => own.as_ref(),
            None => self.identity.as_ref(),
        }
    }
    /// The same without any username, for `doctor`: whether a name is what does not fit.
    #[must_use]
    pub fn without_username(&self) -> Self {
        let mut grant = self.clone();
        let own = grant.dataset_identities.values_mut().flatten();
        for identity in own.chain(&mut grant.identity) {
            identity.username = None;
        }
        grant
    }
    /// Workspaces that callers save reports into, when its own report is found by name: it must live in none of them. Left
    /// out are those that are known to be others.
    #[must_use]
    pub fn saved_into(&self) -> &[ItemWorkspace] {
        &self.saved_into
    }
    /// Workspaces in which items find reports by name, when the rule lets reports be saved: they must be saved into none of
    /// them. Left out are those that are known to be others.
    #[must_use]
    pub fn found_by_name_in(&self) -> &[ItemWorkspace] {
        &self.found_by_name_in
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
