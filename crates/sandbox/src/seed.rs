//! What the simulated services hold: the shape of `seed.yaml` and the read-only questions about one thing in it.
//!
//! Members are spelt as the REST API spells them where it has them, so that `PATCH /sandbox/datasets/{id}` speaks
//! Power BI's words. Cross-references and visibility are the business of [`super::world`].

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The seed as shipped.
const SEED: &str = include_str!("seed.yaml");

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seed {
    pub(super) entra: Entra,
    pub(super) personas: Vec<Persona>,
    pub(super) profiles: Vec<Profile>,
    pub(super) capacities: Vec<Value>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) fillers: Fillers,
    pub(super) workspaces: Vec<WorkspaceSeed>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entra {
    pub(super) tenants: Vec<String>,
    pub(super) apps: Vec<App>,
    pub(super) users: Vec<User>,
}

/// An app registration with its service principal.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct App {
    pub(super) client_id: String,
    pub(super) object_id: String,
    #[serde(rename = "name")]
    pub(super) _name: String,
    pub(super) secrets: Vec<String>,
    #[serde(default)]
    pub(super) expired_secrets: Vec<String>,
    #[serde(default)]
    pub(super) disabled: bool,
}

/// A user who can sign in by password: a master user.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
    #[serde(default)]
    pub(super) mfa: bool,
}

/// An end user of the demo app.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Persona {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) tenant: String,
    pub(super) role: String,
    pub(super) description: String,
    #[serde(skip_serializing)]
    pub(super) claims: Map<String, Value>,
}

/// A service principal profile.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) id: String,
    pub(super) display_name: String,
    /// Object id of the principal that made it.
    pub(super) owner: String,
}

/// An on-premises data gateway.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) id: String,
    pub(super) name: String,
    /// Object ids and users; a profile is never among them.
    pub(super) admins: Vec<String>,
}

/// How many empty things stand before those that count.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fillers {
    pub(super) owner: String,
    pub(super) workspaces: usize,
    pub(super) profiles: usize,
}

#[derive(Clone, Deserialize)]
pub(super) struct WorkspaceSeed {
    #[serde(flatten)]
    pub(super) workspace: Workspace,
    #[serde(default)]
    pub(super) datasets: Vec<Dataset>,
    #[serde(default)]
    pub(super) reports: Vec<Report>,
    #[serde(default)]
    pub(super) dashboards: Vec<Dashboard>,
}

#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Workspace {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default, rename = "type")]
    pub(super) kind: WorkspaceKind,
    pub(super) capacity: Option<String>,
    pub(super) users: Vec<Member>,
}

/// `GroupType` of the REST API.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum WorkspaceKind {
    /// A workspace of today.
    #[default]
    Workspace,
    /// A classic one.
    Group,
    /// Somebody's My workspace.
    PersonalGroup,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    /// Object id of a principal, or name of a user.
    pub(super) who: String,
    pub(super) profile: Option<String>,
    pub(super) right: Right,
}

/// `groupUserAccessRight`, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(super) enum Right {
    Viewer,
    Contributor,
    Member,
    Admin,
}

/// The row of Microsoft's RLS matrix that a dataset follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Security {
    None,
    CloudRls,
    AsOnPremises,
    AsAzure,
    Sso,
    SsoCloudRls,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Dataset {
    pub(super) id: String,
    pub(super) name: String,
    /// The workspace it lives in; filled at load.
    #[serde(default)]
    pub(super) workspace: String,
    pub(super) security: Security,
    /// Override of what `security` says.
    pub(super) is_effective_identity_required: Option<bool>,
    /// Override of what `security` and `roles` say.
    pub(super) is_effective_identity_roles_required: Option<bool>,
    #[serde(default)]
    pub(super) direct_lake: bool,
    /// Datasets that this composite model queries.
    #[serde(default)]
    pub(super) upstream: Vec<String>,
    #[serde(default)]
    pub(super) datasources: Vec<Value>,
    /// Who holds `ReadOverrideEffectiveIdentity` on the gateway's data source.
    #[serde(default)]
    pub(super) impersonators: Vec<String>,
    /// The column that the source itself compares with the user.
    pub(super) user_column: Option<String>,
    #[serde(default)]
    pub(super) roles: Vec<Role>,
    pub(super) table: Table,
}

/// A role of a model; without a filter it sees every row.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    pub(super) name: String,
    /// `[Column] = "value"`, `[Column] = USERNAME()` or `[Column] = CUSTOMDATA()`.
    pub(super) filter: Option<String>,
    /// Columns that object-level security hides from it.
    #[serde(default)]
    pub(super) hides: Vec<String>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// Comma-separated, one row a line.
    rows: String,
}

/// `reportType` of the REST API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum ReportType {
    #[default]
    PowerBIReport,
    PaginatedReport,
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Report {
    pub(super) id: String,
    pub(super) name: String,
    /// The workspace it lives in; filled at load.
    #[serde(default)]
    pub(super) workspace: String,
    #[serde(default, rename = "reportType")]
    pub(super) kind: ReportType,
    /// The model of an interactive report; a paginated one has none in the API.
    pub(super) dataset_id: Option<String>,
    #[serde(default)]
    pub(super) pages: Vec<Page>,
    /// Models that a paginated report reads.
    #[serde(default)]
    pub(super) source_datasets: Vec<String>,
    /// Paginated reports shown inside an interactive one.
    #[serde(default)]
    pub(super) paginated_visuals: Vec<String>,
    #[serde(default)]
    pub(super) datasources: Vec<Value>,
    /// The column that a paginated report's query compares with `UserID`.
    pub(super) user_column: Option<String>,
    pub(super) table: Option<Table>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) display_name: String,
    #[serde(default)]
    pub(super) visuals: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Dashboard {
    pub(super) id: String,
    pub(super) display_name: String,
    /// The workspace it lives in; filled at load.
    #[serde(default)]
    pub(super) workspace: String,
    pub(super) tiles: Vec<Tile>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Tile {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) report_id: String,
    pub(super) dataset_id: String,
}

impl Seed {
    /// Reads the seed that is built in.
    pub(super) fn load() -> anyhow::Result<Self> {
        serde_saphyr::from_str(SEED).context("crates/sandbox/src/seed.yaml")
    }
}

impl Dataset {
    /// Whether GenerateToken wants an identity for it.
    pub(super) fn identity_required(&self) -> bool {
        self.is_effective_identity_required
            .unwrap_or(self.security != Security::None)
    }

    /// Whether that identity needs a role.
    pub(super) fn roles_required(&self) -> bool {
        self.is_effective_identity_roles_required
            .unwrap_or(self.identity_required() && !self.roles.is_empty())
    }

    /// Whether an Azure SQL source signs in as the end user.
    pub(super) fn is_sso(&self) -> bool {
        matches!(self.security, Security::Sso | Security::SsoCloudRls)
    }
}

impl Report {
    pub(super) fn is_paginated(&self) -> bool {
        self.kind == ReportType::PaginatedReport
    }
}

impl Table {
    /// The rows; what reads as a whole number is one.
    pub(super) fn rows(&self) -> Vec<Vec<Value>> {
        let cell = |text: &str| {
            text.parse::<i64>()
                .map_or_else(|_| json!(text), |n| json!(n))
        };
        self.rows
            .lines()
            .map(|line| line.split(',').map(|text| cell(text.trim())).collect())
            .collect()
    }

    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }
}
