//! GenerateToken, V2 and V1: every rule of the service that the documents or the field tell of, in its own words.
//!
//! A request is turned into a [`Draft`] (what the token would cover and as whom), and [`Draft::mint`] applies the rules
//! that all six calls share. Where the documents are silent the stricter reading was chosen: two identities for one
//! dataset, ids in an identity that the request does not list, and roles on a paginated report are refused.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};

use super::Call;
use super::read::{dashboard_in, dataset_in, report_in, tile_of};
use super::refusal::Refusal;
use crate::sandbox::embed::{EmbedToken, Grant};
use crate::sandbox::rls;
use crate::sandbox::seed::{Dataset, Report, Right, WorkspaceKind};
use crate::sandbox::wire::{DatasourceIdentity, Identity, RequestV1, RequestV2, Xmla};
use crate::sandbox::world::World;

/// Most datasets, reports or target workspaces in one request ("Embed Token - Generate Token").
const MAX_ITEMS: usize = 50;
const MAX_ROLES: usize = 50;
const MAX_ROLE_LENGTH: usize = 50;
const MAX_USERNAME_LENGTH: usize = 256;
/// "Embed a report with an Azure Analysis Services live connection".
const MAX_CUSTOM_DATA_LENGTH: usize = 1024;

/// What a token would cover, and as whom.
#[derive(Default)]
struct Draft {
    grant: Grant,
    /// Datasets that may be read over XMLA.
    xmla: BTreeSet<String>,
    /// Workspaces of everything covered, for the trial allowance.
    workspaces: BTreeSet<String>,
    identities: Vec<Identity>,
    datasource_identities: Vec<DatasourceIdentity>,
    lifetime_in_minutes: i64,
}

// === the calls ===

pub(super) fn v2(world: &World, call: &Call) -> Result<EmbedToken, Refusal> {
    let request: RequestV2 = call.body()?;
    let datasets = limited("datasets", request.datasets)?;
    let reports = limited("reports", request.reports)?;
    let targets = limited("targetWorkspaces", request.target_workspaces)?;
    let mut draft = Draft {
        identities: request.identities.unwrap_or_default(),
        datasource_identities: request.datasource_identities.unwrap_or_default(),
        lifetime_in_minutes: request.lifetime_in_minutes.unwrap_or_default(),
        ..Draft::default()
    };
    for wanted in &datasets {
        let dataset = world.dataset(&wanted.id).ok_or_else(Refusal::not_found)?;
        only_new(call.visible_item(world, &dataset.workspace)?)?;
        draft.cover_dataset(dataset);
        if wanted.xmla_permissions == Some(Xmla::ReadOnly) {
            draft.xmla.insert(dataset.id.clone());
        }
    }
    let mut interactive = datasets.is_empty() && reports.is_empty();
    for wanted in &reports {
        let report = world
            .report(&wanted.id.to_string())
            .ok_or_else(Refusal::not_found)?;
        only_new(call.visible_item(world, &report.workspace)?)?;
        let edit = wanted.allow_edit.unwrap_or_default();
        interactive |= !report.is_paginated();
        draft.cover_report(report, edit);
    }
    if interactive && datasets.is_empty() {
        return Err(Refusal::invalid("At least one dataset is required"));
    }
    for wanted in &targets {
        let id = wanted.id.to_string();
        if call.right(world, &id)? < Right::Contributor {
            return Err(Refusal::no_member());
        }
        only_new(call.minting_workspace(world, &id)?)?;
        draft.grant.targets.push(id);
    }
    draft.grant.create = reports.is_empty() && !targets.is_empty();
    draft.check_models_below(world)?;
    draft.mint(world, call)
}

pub(super) fn v1_report(
    world: &World,
    call: &Call,
    group: &str,
    id: &str,
) -> Result<EmbedToken, Refusal> {
    let request: RequestV1 = call.body()?;
    let report = report_in(world, call, group, id)?;
    call.minting_workspace(world, group)?;
    let level = access_level(&request, &["View", "Edit"])?;
    if request.dataset_id.is_some() {
        return Err(Refusal::invalid("datasetId is for creating reports only"));
    }
    let save_as = request.allow_save_as.unwrap_or_default();
    let mut draft = Draft::v1(request, true)?;
    draft.cover_report(report, level == "Edit");
    if !report.source_datasets.is_empty() {
        return Err(Refusal::invalid(
            "Paginated report with Power BI Dataset as a datasource is not supported with V1 embed token",
        ));
    }
    if let Some(dataset) = report
        .dataset_id
        .as_deref()
        .and_then(|id| world.dataset(id))
    {
        call.visible_item(world, &dataset.workspace)?;
        draft.cover_v1(dataset)?;
    }
    if save_as {
        draft.grant.targets.push(report.workspace.clone());
    }
    draft.mint(world, call)
}

pub(super) fn v1_create(world: &World, call: &Call, group: &str) -> Result<EmbedToken, Refusal> {
    let request: RequestV1 = call.body()?;
    call.minting_workspace(world, group)?;
    access_level(&request, &["Create"])?;
    no_save_as(&request)?;
    let id = request
        .dataset_id
        .clone()
        .ok_or_else(|| Refusal::invalid("datasetId is required to create a report"))?;
    let dataset = world.dataset(&id).ok_or_else(Refusal::not_found)?;
    call.visible_item(world, &dataset.workspace)?;
    let mut draft = Draft::v1(request, true)?;
    draft.cover_v1(dataset)?;
    draft.grant.create = true;
    draft.grant.targets.push(group.to_ascii_lowercase());
    draft.mint(world, call)
}

pub(super) fn v1_dataset(
    world: &World,
    call: &Call,
    group: &str,
    id: &str,
) -> Result<EmbedToken, Refusal> {
    let request: RequestV1 = call.body()?;
    let dataset = dataset_in(world, call, group, id)?;
    call.minting_workspace(world, group)?;
    access_level(&request, &["View"])?;
    no_save_as(&request)?;
    let mut draft = Draft::v1(request, true)?;
    draft.cover_v1(dataset)?;
    draft.mint(world, call)
}

/// A dashboard, or one tile of it.
pub(super) fn v1_dashboard(
    world: &World,
    call: &Call,
    group: &str,
    id: &str,
    tile: Option<&str>,
) -> Result<EmbedToken, Refusal> {
    let request: RequestV1 = call.body()?;
    let dashboard = dashboard_in(world, call, group, id)?;
    call.minting_workspace(world, group)?;
    access_level(&request, &["View"])?;
    no_save_as(&request)?;
    // Several identities are for dashboards only, which stand on several models.
    let mut draft = Draft::v1(request, tile.is_some())?;
    let tiles = match tile {
        None => dashboard.tiles.iter().collect(),
        Some(tile) => vec![tile_of(dashboard, tile)?],
    };
    match tiles.as_slice() {
        [only] if tile.is_some() => draft.grant.tiles.insert(only.id.clone()),
        _ => draft.grant.dashboards.insert(dashboard.id.clone()),
    };
    for tile in tiles {
        let dataset = world
            .dataset(&tile.dataset_id)
            .ok_or_else(Refusal::not_found)?;
        draft.cover_v1(dataset)?;
    }
    draft.mint(world, call)
}

// === what they share ===

impl Call {
    /// The workspace of an item that a body names: hidden from the caller, it is not found.
    fn visible_item(&self, world: &World, workspace: &str) -> Result<WorkspaceKind, Refusal> {
        if world.right(&self.caller, workspace).is_none() {
            return Err(Refusal::not_found());
        }
        self.minting_workspace(world, workspace)
    }
}

impl Draft {
    fn v1(request: RequestV1, single: bool) -> Result<Self, Refusal> {
        let identities = request.identities.unwrap_or_default();
        if single && identities.len() > 1 {
            return Err(Refusal::invalid(
                "Creating embed token with multiple identities is not supported",
            ));
        }
        Ok(Self {
            identities,
            lifetime_in_minutes: request.lifetime_in_minutes.unwrap_or_default(),
            ..Self::default()
        })
    }

    fn cover_dataset(&mut self, dataset: &Dataset) {
        self.workspaces.insert(dataset.workspace.clone());
        self.grant.datasets.insert(dataset.id.clone());
    }

    fn cover_v1(&mut self, dataset: &Dataset) -> Result<(), Refusal> {
        if dataset.direct_lake {
            return Err(Refusal::invalid(
                "Embedding a DirectLake dataset is not supported with V1 embed token",
            ));
        }
        if !dataset.upstream.is_empty() {
            return Err(Refusal::invalid(
                "Embedding a dataset with DirectQuery to another dataset is not supported with V1 embed token",
            ));
        }
        self.cover_dataset(dataset);
        Ok(())
    }

    fn cover_report(&mut self, report: &Report, edit: bool) {
        self.workspaces.insert(report.workspace.clone());
        self.grant.reports.insert(report.id.clone(), edit);
    }

    /// Models below composite models and paginated reports must be covered, everything with XMLA read-only
    /// ("Considerations when generating an embed token").
    fn check_models_below(&self, world: &World) -> Result<(), Refusal> {
        let composite = self
            .grant
            .datasets
            .iter()
            .filter_map(|id| world.dataset(id));
        let over_models = composite
            .filter(|dataset| !dataset.upstream.is_empty())
            .map(|dataset| {
                let own = std::iter::once(dataset.id.clone());
                own.chain(dataset.upstream.iter().cloned())
                    .collect::<Vec<_>>()
            });
        let paginated = self.grant.reports.keys().filter_map(|id| world.report(id));
        let over_datasets = paginated.map(|report| report.source_datasets.clone());
        for id in over_models.chain(over_datasets).flatten() {
            if !self.grant.datasets.contains(&id) || !self.xmla.contains(&id) {
                return Err(Refusal::invalid(format!(
                    "Dataset {id} must be included in the request with xmlaPermissions ReadOnly"
                )));
            }
            let all_on_capacity = self
                .workspaces
                .iter()
                .all(|workspace| world.on_capacity(workspace));
            if !all_on_capacity {
                return Err(Refusal::invalid(
                    "XMLA permissions need a workspace on a capacity",
                ));
            }
        }
        Ok(())
    }

    /// Applies what all calls share, and mints.
    fn mint(self, world: &World, call: &Call) -> Result<EmbedToken, Refusal> {
        if self.lifetime_in_minutes < 0 {
            return Err(Refusal::invalid(
                "lifetimeInMinutes must be a positive integer",
            ));
        }
        self.check_paginated(world, call)?;
        for identity in &self.identities {
            check_shape(identity, world)?;
        }
        self.check_coverage(world)?;
        for dataset in self
            .grant
            .datasets
            .iter()
            .filter_map(|id| world.dataset(id))
        {
            let who = EmbedToken::who(&self.identities, &self.datasource_identities, dataset);
            rls::check(dataset, who, &call.caller).map_err(Refusal::invalid)?;
        }
        let on_trial = self
            .workspaces
            .iter()
            .any(|workspace| !world.on_capacity(workspace));
        if on_trial && world.trial_usage >= 100 {
            return Err(Refusal::quota());
        }
        Ok(EmbedToken {
            token_id: uuid::Uuid::new_v4(),
            expires: expiry(self.lifetime_in_minutes, call.expires),
            caller: call.caller.clone(),
            grant: self.grant,
            identities: self.identities,
            datasource_identities: self.datasource_identities,
        })
    }

    /// "Embed paginated reports": a service principal, view only, on a capacity.
    fn check_paginated(&self, world: &World, call: &Call) -> Result<(), Refusal> {
        for (id, &edit) in &self.grant.reports {
            let Some(report) = world.report(id).filter(|report| report.is_paginated()) else {
                continue;
            };
            if call.caller.is_master_user() {
                return Err(Refusal::invalid(
                    "Paginated reports need a service principal",
                ));
            }
            if edit || !self.grant.targets.is_empty() {
                return Err(Refusal::invalid("A paginated report can be viewed only"));
            }
            if !world.on_capacity(&report.workspace) {
                return Err(Refusal::invalid(
                    "A paginated report needs a workspace on a capacity",
                ));
            }
        }
        Ok(())
    }

    /// Every identity must cover something of the request, and nothing twice.
    fn check_coverage(&self, world: &World) -> Result<(), Refusal> {
        let mut covered: BTreeMap<String, usize> = BTreeMap::new();
        for identity in &self.identities {
            if identity.datasets().is_empty() && identity.reports().is_empty() {
                return Err(Refusal::invalid(
                    "An effective identity must list datasets or reports",
                ));
            }
            for id in identity.datasets() {
                if !self.grant.datasets.contains(&id.to_ascii_lowercase()) {
                    return Err(Refusal::invalid(format!(
                        "The request does not cover dataset {id} of an identity"
                    )));
                }
                *covered.entry(id.to_ascii_lowercase()).or_default() += 1;
            }
            for id in identity.reports() {
                let paginated = world.report(id).is_some_and(Report::is_paginated);
                if !paginated || !self.grant.reports.contains_key(&id.to_ascii_lowercase()) {
                    return Err(Refusal::invalid(format!(
                        "The request does not cover paginated report {id} of an identity"
                    )));
                }
                *covered.entry(id.to_ascii_lowercase()).or_default() += 1;
            }
        }
        if let Some((id, _)) = covered.iter().find(|(_, times)| **times > 1) {
            return Err(Refusal::invalid(format!("Several identities for {id}")));
        }
        let unknown = |identity: &&DatasourceIdentity| {
            let datasets = self
                .grant
                .datasets
                .iter()
                .filter_map(|id| world.dataset(id));
            let reports = self.grant.reports.keys().filter_map(|id| world.report(id));
            let mut sources = datasets
                .flat_map(|dataset| &dataset.datasources)
                .chain(reports.flat_map(|report| &report.datasources));
            identity.identity_blob.is_empty() || !sources.any(|source| identity.names(source))
        };
        match self.datasource_identities.iter().find(unknown) {
            None => Ok(()),
            Some(_) => Err(Refusal::invalid(
                "A datasource identity names no data source of the request",
            )),
        }
    }
}

/// Limits of one `EffectiveIdentity` (Microsoft's OpenAPI file).
fn check_shape(identity: &Identity, world: &World) -> Result<(), Refusal> {
    let username = identity.username.as_deref().unwrap_or_default();
    let roles = identity.roles();
    let for_model = !identity.datasets().is_empty();
    let sso_alone = identity.identity_blob.is_some()
        || identity
            .datasets()
            .iter()
            .all(|id| world.dataset(id).is_some_and(Dataset::is_sso));
    let bad_role = |role: &&String| {
        role.is_empty() || role.contains(',') || role.chars().count() > MAX_ROLE_LENGTH
    };
    let problem = if username.is_empty() && !(for_model && sso_alone) {
        "username is required in an effective identity"
    } else if username.chars().count() > MAX_USERNAME_LENGTH {
        "username is longer than 256 characters"
    } else if for_model && (!username.is_ascii() || username.contains(char::is_whitespace)) {
        // The official example of a paginated report has a space.
        "username must be ASCII without spaces"
    } else if roles.len() > MAX_ROLES {
        "An effective identity can have 50 roles at most"
    } else if roles.iter().find(bad_role).is_some() {
        "A role must have 1 to 50 characters and no comma"
    } else if !identity.reports().is_empty()
        && (!roles.is_empty() || identity.custom_data.is_some())
    {
        "The identity of a paginated report has a username only"
    } else if identity
        .custom_data
        .as_ref()
        .is_some_and(|data| data.chars().count() > MAX_CUSTOM_DATA_LENGTH)
    {
        "customData is longer than 1024 characters"
    } else if identity
        .identity_blob
        .as_ref()
        .is_some_and(|blob| blob.value.is_empty())
    {
        "identityBlob is empty"
    } else {
        return Ok(());
    };
    Err(Refusal::invalid(problem))
}

fn limited<T>(what: &str, list: Option<Vec<T>>) -> Result<Vec<T>, Refusal> {
    let list = list.unwrap_or_default();
    if list.len() > MAX_ITEMS {
        return Err(Refusal::invalid(format!(
            "{what} can have 50 entries at most"
        )));
    }
    Ok(list)
}

fn only_new(kind: WorkspaceKind) -> Result<(), Refusal> {
    match kind {
        WorkspaceKind::Workspace => Ok(()),
        WorkspaceKind::Group | WorkspaceKind::PersonalGroup => Err(Refusal::invalid(
            "Every report, dataset and target workspace must be in a V2 workspace",
        )),
    }
}

/// The access level, in Microsoft's spelling; samples write it in lower case as well.
fn access_level(request: &RequestV1, allowed: &[&'static str]) -> Result<&'static str, Refusal> {
    let given = request.access_level.as_deref().unwrap_or("View");
    allowed
        .iter()
        .copied()
        .find(|level| level.eq_ignore_ascii_case(given))
        .ok_or_else(|| Refusal::invalid(format!("accessLevel {given} is not possible here")))
}

fn no_save_as(request: &RequestV1) -> Result<(), Refusal> {
    match request.allow_save_as {
        Some(true) => Err(Refusal::invalid("allowSaveAs is for reports only")),
        Some(false) | None => Ok(()),
    }
}

/// A lifetime can only shorten what is left of the Entra token; 0 is none.
fn expiry(minutes: i64, entra: OffsetDateTime) -> OffsetDateTime {
    let wanted = match minutes {
        0 => entra,
        minutes => OffsetDateTime::now_utc() + Duration::minutes(minutes.min(60 * 24 * 365)),
    };
    wanted.min(entra).truncate_to_second()
}
