//! Grants for the tests of later stages, which cannot be made any other way than by a policy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Access, Content, DatasetSetting, Grant, Identity, ItemWorkspace, Kind, Security,
    WorkspaceVersion, Xmla,
};

/// Everything that a grant holds, open to change.
#[derive(Clone, Debug)]
pub(crate) struct GrantParts {
    pub(crate) item: String,
    pub(crate) rule: String,
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
    pub(crate) datasets: Vec<DatasetSetting>,
    pub(crate) dataset_binding: Option<String>,
    pub(crate) paginated_visuals: Vec<String>,
    pub(crate) identity: Option<Identity>,
    pub(crate) dataset_identities: BTreeMap<String, Option<Identity>>,
    pub(crate) saved_into: Vec<ItemWorkspace>,
    pub(crate) found_by_name_in: Vec<ItemWorkspace>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) embed: Map<String, Value>,
}

impl GrantParts {
    /// The least that a policy can grant on `content`: item `sales`, rule `r`, workspace `W`, principal `default`.
    pub(crate) fn of(content: Content) -> Self {
        Self {
            item: "sales".into(),
            rule: "r".into(),
            access: match content {
                Content::CreateReport { .. } => Access::Create,
                Content::Report { .. }
                | Content::PaginatedReport { .. }
                | Content::Dashboard { .. }
                | Content::Tile { .. }
                | Content::Qna { .. }
                | Content::Visual { .. } => Access::View,
            },
            save_as: false,
            content,
            workspace: "W".into(),
            dataset_workspace: None,
            save_as_workspace: None,
            principal: "default".into(),
            profile: None,
            workspace_version: WorkspaceVersion::New,
            security: Security::Auto,
            xmla: Xmla::Off,
            datasets: Vec::new(),
            dataset_binding: None,
            paginated_visuals: Vec::new(),
            identity: None,
            dataset_identities: BTreeMap::new(),
            saved_into: Vec::new(),
            found_by_name_in: Vec::new(),
            lifetime: None,
            embed: Map::new(),
        }
    }
}

impl Grant {
    pub(crate) fn for_test(parts: GrantParts) -> Self {
        Self {
            item: parts.item.into(),
            kind: match parts.content {
                Content::Report { .. } => Kind::Report,
                Content::PaginatedReport { .. } => Kind::PaginatedReport,
                Content::Dashboard { .. } => Kind::Dashboard,
                Content::Tile { .. } => Kind::Tile,
                Content::Qna { .. } => Kind::Qna,
                Content::CreateReport { .. } => Kind::CreateReport,
                Content::Visual { .. } => Kind::Visual,
            },
            rule: parts.rule.into(),
            access: parts.access,
            save_as: parts.save_as,
            content: parts.content,
            workspace: parts.workspace,
            dataset_workspace: parts.dataset_workspace,
            save_as_workspace: parts.save_as_workspace,
            principal: parts.principal,
            profile: parts.profile,
            workspace_version: parts.workspace_version,
            security: parts.security,
            xmla: parts.xmla,
            datasets: parts.datasets.into(),
            dataset_binding: parts.dataset_binding,
            paginated_visuals: parts.paginated_visuals.into(),
            identity: parts.identity,
            // As the loader keeps them.
            dataset_identities: parts
                .dataset_identities
                .into_iter()
                .map(|(id, identity)| (id.to_ascii_lowercase(), identity))
                .collect(),
            saved_into: parts.saved_into.into(),
            found_by_name_in: parts.found_by_name_in.into(),
            lifetime: parts.lifetime,
            embed: Arc::new(parts.embed),
        }
    }
}
