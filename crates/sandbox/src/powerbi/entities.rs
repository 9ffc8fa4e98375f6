//! How the API shows things, from the examples of Microsoft's API description.

use serde_json::{Value, json};

use crate::seed::{
    Dashboard, Dataset, Gateway, Member, Profile, Report, Security, Tile, Workspace,
};
use crate::world::World;

impl Dataset {
    /// The dataset as `GET …/datasets` shows it.
    pub(crate) fn to_json(&self) -> Value {
        let (id, workspace) = (&self.id, &self.workspace);
        json!({
            "id": id,
            "name": self.name,
            "webUrl": format!("https://app.powerbi.com/groups/{workspace}/datasets/{id}"),
            "addRowsAPIEnabled": false,
            "configuredBy": "modeller@isv.example",
            "isRefreshable": true,
            "isEffectiveIdentityRequired": self.identity_required(),
            "isEffectiveIdentityRolesRequired": self.roles_required(),
            "isOnPremGatewayRequired": self.security == Security::AsOnPremises,
            "targetStorageMode": "Abf",
            "createReportEmbedURL": embed_url("reportEmbed", &[("datasetId", id), ("groupId", workspace)]),
            "qnaEmbedURL": embed_url("qnaEmbed", &[("datasetId", id), ("groupId", workspace)]),
            "upstreamDatasets": [],
            "users": [],
        })
    }
}

impl Report {
    /// The report as `GET …/reports` shows it; a paginated one has no `datasetId`.
    pub(crate) fn to_json(&self) -> Value {
        let page = if self.is_paginated() {
            "rdlEmbed"
        } else {
            "reportEmbed"
        };
        let (id, workspace) = (&self.id, &self.workspace);
        let mut report = json!({
            "id": id,
            "name": self.name,
            "reportType": self.kind,
            "webUrl": format!("https://app.powerbi.com/groups/{workspace}/reports/{id}"),
            "embedUrl": embed_url(page, &[("reportId", id), ("groupId", workspace)]),
            "isOwnedByMe": true,
            "users": [],
            "subscriptions": [],
        });
        if let Some(dataset) = &self.dataset_id {
            report["datasetId"] = json!(dataset);
        }
        report
    }
}

impl Dashboard {
    pub(crate) fn to_json(&self) -> Value {
        let pairs = [("dashboardId", &*self.id), ("groupId", &*self.workspace)];
        json!({
            "id": self.id,
            "displayName": self.display_name,
            "isReadOnly": false,
            "embedUrl": embed_url("dashboardEmbed", &pairs),
            "webUrl": format!("https://app.powerbi.com/groups/{}/dashboards/{}", self.workspace, self.id),
        })
    }

    pub(crate) fn tile_json(&self, tile: &Tile) -> Value {
        let pairs = [
            ("dashboardId", &*self.id),
            ("tileId", &*tile.id),
            ("groupId", &*self.workspace),
        ];
        json!({
            "id": tile.id,
            "title": tile.title,
            "rowSpan": 2,
            "colSpan": 2,
            "embedUrl": embed_url("embed", &pairs),
            "embedData": "",
            "reportId": tile.report_id,
            "datasetId": tile.dataset_id,
        })
    }
}

pub(super) fn group_json(workspace: &Workspace) -> Value {
    let mut group = json!({
        "id": workspace.id,
        "name": workspace.name,
        "type": workspace.kind,
        "isReadOnly": false,
        "isOnDedicatedCapacity": workspace.capacity.is_some(),
    });
    if let Some(capacity) = &workspace.capacity {
        group["capacityId"] = json!(capacity);
        group["defaultDatasetStorageFormat"] = json!("Small");
    }
    group
}

pub(super) fn user_json(world: &World, member: &Member) -> Value {
    let is_user = member.who.contains('@');
    let mut user = json!({
        "displayName": member.who,
        "identifier": member.who,
        "groupUserAccessRight": member.right,
        "principalType": if is_user { "User" } else { "App" },
    });
    if is_user {
        user["emailAddress"] = json!(member.who);
    }
    let profile = member
        .profile
        .as_ref()
        .and_then(|id| world.profiles.iter().find(|profile| profile.id == *id));
    if let Some(profile) = profile {
        user["profile"] = profile_json(profile);
    }
    user
}

pub(super) fn profile_json(profile: &Profile) -> Value {
    json!({"id": profile.id, "displayName": profile.display_name})
}

pub(super) fn gateway_json(gateway: &Gateway) -> Value {
    json!({
        "id": gateway.id,
        "name": gateway.name,
        "type": "Resource",
        "publicKey": {"exponent": "AQAB", "modulus": "c2FuZGJveA=="},
    })
}

/// Somebody with `ReadOverrideEffectiveIdentity`: a principal, or one of its profiles.
pub(super) fn impersonator_json(world: &World, who: &str) -> Value {
    let profile = world.profiles.iter().find(|profile| profile.id == who);
    let mut user = json!({
        "displayName": who,
        "identifier": profile.map_or(who, |profile| &*profile.owner),
        "datasourceAccessRight": "ReadOverrideEffectiveIdentity",
        "principalType": "App",
    });
    if let Some(profile) = profile {
        user["profile"] = profile_json(profile);
    }
    user
}

/// An embed URL on Microsoft's host, with the opaque `config` that real ones carry.
fn embed_url(page: &str, pairs: &[(&str, &str)]) -> String {
    use base64::Engine as _;
    const CLUSTER: &str = r#"{"clusterUrl":"https://wabi-sandbox-redirect.analysis.windows.net","embedFeatures":{"usageMetricsVNext":true}}"#;
    let config = base64::engine::general_purpose::STANDARD.encode(CLUSTER);
    let root = format!("https://app.powerbi.com/{page}?");
    let start = root.len();
    url::form_urlencoded::Serializer::for_suffix(root, start)
        .extend_pairs(pairs)
        .append_pair("config", &config)
        .finish()
}
