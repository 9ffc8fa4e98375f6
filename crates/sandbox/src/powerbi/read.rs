//! The read calls: what a caller sees of workspaces, reports, datasets, dashboards, profiles, capacities and gateways.

use serde_json::{Value, json};

use super::entities::{gateway_json, group_json, impersonator_json, profile_json, user_json};
use super::paging::{page, whole};
use super::refusal::Refusal;
use super::{Call, with_context};
use crate::seed::{Dashboard, Dataset, Gateway, Profile, Report, Tile};
use crate::world::World;

pub(super) fn groups(world: &World, call: &Call) -> Result<Value, Refusal> {
    let all = world
        .visible_workspaces(&call.caller)
        .map(group_json)
        .collect();
    page(call, "groups", world.page_size, &["id", "name"], all)
}

pub(super) fn group(world: &World, call: &Call, group: &str) -> Result<Value, Refusal> {
    call.no_parameters()?;
    call.right(world, group)?;
    let workspace = world.workspace(group).ok_or_else(Refusal::not_found)?;
    Ok(with_context("groups/$entity", group_json(workspace)))
}

pub(super) fn users(world: &World, call: &Call, group: &str) -> Result<Value, Refusal> {
    call.right(world, group)?;
    let workspace = world.workspace(group).ok_or_else(Refusal::not_found)?;
    let all = workspace
        .users
        .iter()
        .map(|member| user_json(world, member))
        .collect();
    page(call, "groupUsers", world.page_size, &[], all)
}

pub(super) fn reports(world: &World, call: &Call, group: &str) -> Result<Value, Refusal> {
    call.right(world, group)?;
    let here = |report: &&Report| report.workspace.eq_ignore_ascii_case(group);
    let all = world
        .reports
        .values()
        .filter(here)
        .map(Report::to_json)
        .collect();
    whole(call, "reports", all)
}

pub(super) fn report(world: &World, call: &Call, group: &str, id: &str) -> Result<Value, Refusal> {
    call.no_parameters()?;
    let report = report_in(world, call, group, id)?;
    Ok(with_context("reports/$entity", report.to_json()))
}

pub(super) fn pages(world: &World, call: &Call, group: &str, id: &str) -> Result<Value, Refusal> {
    let report = report_in(world, call, group, id)?;
    let entry = |(order, page): (usize, &crate::seed::Page)| json!({"name": page.name, "displayName": page.display_name, "order": order});
    let all = report.pages.iter().enumerate().map(entry).collect();
    whole(call, "pages", all)
}

pub(super) fn report_datasources(
    world: &World,
    call: &Call,
    group: &str,
    id: &str,
) -> Result<Value, Refusal> {
    let report = report_in(world, call, group, id)?;
    if !report.is_paginated() {
        return Err(Refusal::invalid(
            "Data sources of a report can be read for paginated reports only",
        ));
    }
    whole(call, "datasources", report.datasources.clone())
}

pub(super) fn datasets(world: &World, call: &Call, group: &str) -> Result<Value, Refusal> {
    call.right(world, group)?;
    let here = |dataset: &&Dataset| dataset.workspace.eq_ignore_ascii_case(group);
    let all = world
        .datasets
        .values()
        .filter(here)
        .map(Dataset::to_json)
        .collect();
    whole(call, "datasets", all)
}

pub(super) fn dataset(world: &World, call: &Call, group: &str, id: &str) -> Result<Value, Refusal> {
    call.no_parameters()?;
    let dataset = dataset_in(world, call, group, id)?;
    Ok(with_context("datasets/$entity", dataset.to_json()))
}

pub(super) fn dataset_datasources(
    world: &World,
    call: &Call,
    group: &str,
    id: &str,
) -> Result<Value, Refusal> {
    let dataset = dataset_in(world, call, group, id)?;
    whole(call, "datasources", dataset.datasources.clone())
}

pub(super) fn dashboards(world: &World, call: &Call, group: &str) -> Result<Value, Refusal> {
    call.right(world, group)?;
    let here = |dashboard: &&Dashboard| dashboard.workspace.eq_ignore_ascii_case(group);
    let all = world
        .dashboards
        .values()
        .filter(here)
        .map(Dashboard::to_json)
        .collect();
    whole(call, "dashboards", all)
}

pub(super) fn dashboard(
    world: &World,
    call: &Call,
    group: &str,
    id: &str,
) -> Result<Value, Refusal> {
    call.no_parameters()?;
    let dashboard = dashboard_in(world, call, group, id)?;
    Ok(with_context("dashboards/$entity", dashboard.to_json()))
}

pub(super) fn tiles(world: &World, call: &Call, group: &str, id: &str) -> Result<Value, Refusal> {
    let dashboard = dashboard_in(world, call, group, id)?;
    let all = dashboard
        .tiles
        .iter()
        .map(|tile| dashboard.tile_json(tile))
        .collect();
    whole(call, "tiles", all)
}

pub(super) fn tile(
    world: &World,
    call: &Call,
    group: &str,
    id: &str,
    tile: &str,
) -> Result<Value, Refusal> {
    call.no_parameters()?;
    let dashboard = dashboard_in(world, call, group, id)?;
    let tile = tile_of(dashboard, tile)?;
    Ok(with_context("tiles/$entity", dashboard.tile_json(tile)))
}

/// Only the principal itself sees its profiles, without the profile header.
pub(super) fn profiles(world: &World, call: &Call) -> Result<Value, Refusal> {
    let all = own_profiles(world, call)?.map(profile_json).collect();
    page(
        call,
        "profiles",
        world.page_size,
        &["id", "displayName"],
        all,
    )
}

pub(super) fn profile(world: &World, call: &Call, id: &str) -> Result<Value, Refusal> {
    call.no_parameters()?;
    let profile = own_profiles(world, call)?
        .find(|profile| profile.id.eq_ignore_ascii_case(id))
        .ok_or_else(Refusal::not_found)?;
    Ok(with_context("profiles/$entity", profile_json(profile)))
}

pub(super) fn capacities(world: &World, call: &Call) -> Result<Value, Refusal> {
    let entry = |capacity: &Value| {
        let mut capacity = capacity.clone();
        capacity["capacityUserAccessRight"] = json!("Admin");
        capacity["admins"] = json!([call.caller.who]);
        capacity
    };
    whole(
        call,
        "capacities",
        world.capacities.iter().map(entry).collect(),
    )
}

/// "Gateways - Get Gateway": for its administrators only.
pub(super) fn gateway(world: &World, call: &Call, id: &str) -> Result<Value, Refusal> {
    call.no_parameters()?;
    let gateway = administered(world, call, id)?;
    Ok(with_context("gateways/$entity", gateway_json(gateway)))
}

/// "Gateways - Get Datasource Users": for the gateway's administrators only.
pub(super) fn gateway_users(
    world: &World,
    call: &Call,
    gateway: &str,
    source: &str,
) -> Result<Value, Refusal> {
    let gateway = administered(world, call, gateway)?;
    let is_asked = |entry: &Value| {
        let is = |member: &str, id: &str| {
            entry[member]
                .as_str()
                .is_some_and(|own| own.eq_ignore_ascii_case(id))
        };
        is("gatewayId", &gateway.id) && is("datasourceId", source)
    };
    let dataset = world
        .datasets
        .values()
        .find(|dataset| dataset.datasources.iter().any(is_asked))
        .ok_or_else(Refusal::not_found)?;
    let users = dataset
        .impersonators
        .iter()
        .map(|who| impersonator_json(world, who));
    whole(call, "gatewayDatasourceUsers", users.collect())
}

fn administered<'a>(world: &'a World, call: &Call, id: &str) -> Result<&'a Gateway, Refusal> {
    match world.gateway(id) {
        Some(gateway) if world.administers(&call.caller, id) => Ok(gateway),
        // How the service refuses others is documented nowhere; chosen.
        Some(_) => Err(Refusal::not_authorized()),
        None => Err(Refusal::not_found()),
    }
}

pub(super) fn embed_trial(world: &World, call: &Call) -> Result<Value, Refusal> {
    call.no_parameters()?;
    Ok(with_context(
        "availableFeatures/$entity",
        json!({"name": "embedTrial", "state": "Enabled", "extendedState": "Enabled",
            "additionalInfo": {"usage": world.trial_usage}}),
    ))
}

/// A report of a workspace that the caller sees.
pub(super) fn report_in<'a>(
    world: &'a World,
    call: &Call,
    group: &str,
    id: &str,
) -> Result<&'a Report, Refusal> {
    call.right(world, group)?;
    world
        .report(id)
        .filter(|report| report.workspace.eq_ignore_ascii_case(group))
        .ok_or_else(Refusal::not_found)
}

/// A dataset of a workspace that the caller sees.
pub(super) fn dataset_in<'a>(
    world: &'a World,
    call: &Call,
    group: &str,
    id: &str,
) -> Result<&'a Dataset, Refusal> {
    call.right(world, group)?;
    world
        .dataset(id)
        .filter(|dataset| dataset.workspace.eq_ignore_ascii_case(group))
        .ok_or_else(Refusal::not_found)
}

/// A dashboard of a workspace that the caller sees.
pub(super) fn dashboard_in<'a>(
    world: &'a World,
    call: &Call,
    group: &str,
    id: &str,
) -> Result<&'a Dashboard, Refusal> {
    call.right(world, group)?;
    world
        .dashboard(id)
        .filter(|dashboard| dashboard.workspace.eq_ignore_ascii_case(group))
        .ok_or_else(Refusal::not_found)
}

pub(super) fn tile_of<'a>(dashboard: &'a Dashboard, id: &str) -> Result<&'a Tile, Refusal> {
    dashboard
        .tiles
        .iter()
        .find(|tile| tile.id.eq_ignore_ascii_case(id))
        .ok_or_else(Refusal::not_found)
}

fn own_profiles<'a>(
    world: &'a World,
    call: &'a Call,
) -> Result<impl Iterator<Item = &'a Profile>, Refusal> {
    if call.caller.profile.is_some() || call.caller.is_master_user() {
        return Err(Refusal::not_authorized());
    }
    Ok(world
        .profiles
        .iter()
        .filter(|profile| profile.owner == call.caller.who))
}
