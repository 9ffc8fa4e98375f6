//! GenerateToken, V2 and V1: turns a request into a [`Draft`], which says what the token would cover and as whom.
//!
//! The rules that all six calls share are in [`super::rules`].

use std::collections::BTreeSet;

use super::Call;
use super::read::{dashboard_in, dataset_in, report_in, tile_of};
use super::refusal::Refusal;
use crate::embed::{EmbedToken, Grant};
use crate::seed::{Dataset, Report, WorkspaceKind};
use crate::wire::{DatasourceIdentity, Identity, RequestV1, RequestV2, Xmla};
use crate::world::World;

/// Most datasets, reports or target workspaces in one request ("Embed Token - Generate Token").
const MAX_ITEMS: usize = 50;

/// What a token would cover, and as whom.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) grant: Grant,
    /// Datasets that may be read over XMLA.
    pub(super) xmla: BTreeSet<String>,
    /// Workspaces of everything covered, for the trial allowance.
    pub(super) workspaces: BTreeSet<String>,
    pub(super) identities: Vec<Identity>,
    pub(super) datasource_identities: Vec<DatasourceIdentity>,
    pub(super) lifetime_in_minutes: i64,
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
