//! powerbi-client's configuration for an item, without the token: exactly the members that its kind knows
//! (microsoft/powerbi-models, `models.ts`), over the item's own `embed` settings.

use serde_json::{Value, json};

use super::artifact::same_id;
use super::item::{Item, Shown, unavailable};
use super::{PlannedItem, Refusal};
use crate::policy::Access;

/// Members that decide what is shown and with which right: settings never give them, not even where we do not.
const OURS: [&str; 13] = [
    "type",
    "id",
    "embedUrl",
    "accessToken",
    "tokenType",
    "permissions",
    "datasetId",
    "datasetIds",
    "dashboardId",
    "datasetBinding",
    "visualName",
    "eventHooks",
    "hostname",
];

/// powerbi-models' `TokenType.Embed`.
const TOKEN_TYPE_EMBED: u8 = 1;

/// What the page gets for `item`.
pub(super) fn planned(item: &Item<'_>) -> Result<PlannedItem, Refusal> {
    let mut embed_config = item.grant.embed().clone();
    embed_config.retain(|member, _| !OURS.contains(&member.as_str()));
    let mut set = |member: &str, value: Value| embed_config.insert(member.to_owned(), value);
    for (member, value) in members(item)? {
        set(member, value);
    }
    set("tokenType", TOKEN_TYPE_EMBED.into());
    if matches!(item.shown, Shown::Report(_) | Shown::Visual { .. }) {
        let (permissions, view_mode) = rights(item.grant.access(), item.may_save_copies());
        set("permissions", permissions.into());
        set("viewMode", view_mode.into());
    }
    if let Some(bound) = binding(item)? {
        set("datasetBinding", json!({ "datasetId": bound }));
    }
    Ok(PlannedItem {
        item: item.grant.item().clone(),
        // "Embed paginated reports": they do not support `setAccessToken`.
        re_embed: matches!(item.shown, Shown::Paginated(_)),
        embed_config,
    })
}

fn members(item: &Item<'_>) -> Result<Vec<(&'static str, Value)>, Refusal> {
    let url_of = |url: &str| ("embedUrl", Value::from(url));
    Ok(match &item.shown {
        Shown::Report(report) | Shown::Paginated(report) => vec![
            ("type", "report".into()),
            ("id", report.id.as_str().into()),
            url_of(&report.embed_url),
        ],
        Shown::Visual {
            report,
            page,
            visual,
        } => vec![
            ("type", "visual".into()),
            ("id", report.id.as_str().into()),
            ("pageName", (*page).into()),
            ("visualName", (*visual).into()),
            url_of(&report.embed_url),
        ],
        Shown::Dashboard { id, embed_url } => vec![
            ("type", "dashboard".into()),
            ("id", (*id).into()),
            url_of(embed_url),
        ],
        Shown::Tile {
            id,
            dashboard,
            embed_url,
        } => vec![
            ("type", "tile".into()),
            ("id", (*id).into()),
            ("dashboardId", (*dashboard).into()),
            url_of(embed_url),
        ],
        Shown::Qna(dataset) => vec![
            ("type", "qna".into()),
            ("datasetIds", json!([dataset.id])),
            url_of(told(dataset.qna_url.as_deref(), "Q&A")?),
        ],
        Shown::Create { dataset, .. } => vec![
            ("type", "create".into()),
            ("datasetId", dataset.id.as_str().into()),
            url_of(told(dataset.create_report_url.as_deref(), "new reports")?),
        ],
    })
}

/// powerbi-models' `Permissions` (`Read`, `ReadWrite`, `Copy`, `All`) and `ViewMode`.
fn rights(access: Access, save_as: bool) -> (u8, u8) {
    match (access, save_as) {
        (Access::Edit, false) => (1, 1),
        (Access::Edit, true) => (7, 1),
        (Access::View | Access::Create, false) => (0, 0),
        (Access::View | Access::Create, true) => (2, 0),
    }
}

/// The dataset that the report is bound to in the page; the token must cover it.
fn binding<'a>(item: &Item<'a>) -> Result<Option<&'a str>, Refusal> {
    let Some(bound) = item.grant.dataset_binding() else {
        return Ok(None);
    };
    item.artifact
        .datasets
        .iter()
        .map(|dataset| dataset.id.as_str())
        .find(|id| same_id(id, bound))
        .map(Some)
        .ok_or_else(|| unavailable("the dataset of `dataset_binding` was not found"))
}

fn told<'a>(url: Option<&'a str>, purpose: &str) -> Result<&'a str, Refusal> {
    url.ok_or_else(|| {
        unavailable(&format!(
            "Power BI gives no URL for {purpose} over its dataset"
        ))
    })
}
