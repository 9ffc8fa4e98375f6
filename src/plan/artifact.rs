//! Facts about granted items, as Power BI tells them: filled by [`crate::powerbi`], judged by the rest of this stage.
//!
//! Plain data without rules of its own. Ids are those of Power BI, never as policy spells them.

use std::sync::Arc;

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

impl Workspace {
    /// Whether `reference` means it: its id, or its name.
    pub(super) fn is(&self, reference: &str) -> bool {
        same_id(&self.id, reference) || self.name == reference
    }
}

impl Dataset {
    /// Whether it lives in another workspace than `workspace`.
    pub(super) fn is_elsewhere(&self, workspace: &Workspace) -> bool {
        !same_id(&self.workspace_id, &workspace.id)
    }
}

/// Whether two ids name the same thing: Power BI's are GUIDs, which policy may spell in either case.
pub(super) fn same_id(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}
