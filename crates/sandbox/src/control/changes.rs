//! What tests change in the simulated Power BI.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Problem, bad_request, unknown_id};
use crate::seed::Report;
use crate::state::{Shared, locked};

pub(super) async fn patch_dataset(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(change): Json<Value>,
) -> Result<StatusCode, Problem> {
    let mut world = locked(&shared.world);
    let dataset = world.datasets.get_mut(&id).ok_or_else(unknown_id)?;
    *dataset = merged(dataset, &change)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn patch_workspace(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(change): Json<Value>,
) -> Result<StatusCode, Problem> {
    let mut world = locked(&shared.world);
    let mut workspaces = world.workspaces.iter_mut();
    let workspace = workspaces
        .find(|workspace| workspace.id == id)
        .ok_or_else(unknown_id)?;
    *workspace = merged(workspace, &change)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn patch_report(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(change): Json<Value>,
) -> Result<StatusCode, Problem> {
    let mut world = locked(&shared.world);
    let report = world.reports.get_mut(&id).ok_or_else(unknown_id)?;
    *report = merged(report, &change)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A report more; `workspace`, `name` and `datasetId` at least.
pub(super) async fn add_report(
    State(shared): State<Arc<Shared>>,
    Json(mut report): Json<Value>,
) -> Result<Response, Problem> {
    if let Some(members) = report.as_object_mut() {
        members
            .entry("id")
            .or_insert_with(|| json!(uuid::Uuid::new_v4()));
    }
    let report: Report = serde_json::from_value(report).map_err(bad_request)?;
    let mut world = locked(&shared.world);
    world.workspace(&report.workspace).ok_or_else(unknown_id)?;
    let answer = (StatusCode::CREATED, Json(json!({"id": report.id}))).into_response();
    world.reports.insert(report.id.clone(), report);
    Ok(answer)
}

pub(super) async fn remove_report(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let removed = locked(&shared.world).reports.remove(&id);
    removed
        .map(|_| StatusCode::NO_CONTENT)
        .ok_or_else(unknown_id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PowerBiChange {
    /// Percent of the trial allowance that is used up; from 100 on it is refused.
    trial_usage: Option<u32>,
    /// Longest page of a collection.
    page_size: Option<usize>,
    /// The tenant's switch that lets service principals in.
    service_principals: Option<bool>,
    /// The tenant's switch that lets them have profiles.
    profiles: Option<bool>,
    /// State of every capacity, such as `Suspended`.
    capacity_state: Option<String>,
    /// Who administers every gateway.
    gateway_admins: Option<Vec<String>>,
}

pub(super) async fn change_power_bi(
    State(shared): State<Arc<Shared>>,
    Json(change): Json<PowerBiChange>,
) -> StatusCode {
    let mut world = locked(&shared.world);
    world.trial_usage = change.trial_usage.unwrap_or(world.trial_usage);
    world.page_size = change.page_size.unwrap_or(world.page_size).max(1);
    let tenant = &mut world.tenant;
    tenant.service_principals = change
        .service_principals
        .unwrap_or(tenant.service_principals);
    tenant.profiles = change.profiles.unwrap_or(tenant.profiles);
    if let Some(state) = change.capacity_state {
        for capacity in &mut world.capacities {
            capacity["state"] = json!(state);
        }
    }
    if let Some(admins) = change.gateway_admins {
        for gateway in &mut world.gateways {
            gateway.admins.clone_from(&admins);
        }
    }
    StatusCode::NO_CONTENT
}

/// `thing` with the members of `change` in the place of its own; unknown ones are refused.
fn merged<T: Serialize + DeserializeOwned>(thing: &T, change: &Value) -> Result<T, Problem> {
    let mut value = serde_json::to_value(thing).map_err(bad_request)?;
    let change = change
        .as_object()
        .ok_or_else(|| bad_request("a JSON object is needed"))?;
    for (name, member) in change {
        let known = value.get_mut(name);
        *known.ok_or_else(|| bad_request(format!("there is no member {name}")))? = member.clone();
    }
    serde_json::from_value(value).map_err(bad_request)
}
