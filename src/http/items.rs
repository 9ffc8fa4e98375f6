//! `GET /items` and `GET /items/{item}/targets`: what a page needs for its menus.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Serialize;

use super::{Serving, extract, problem::Problem};
use crate::broker::{Access, Code, Denied, Error, Kind, Recording};

#[derive(Serialize)]
struct Items {
    items: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    item: String,
    title: String,
    r#type: Kind,
    access: Vec<Access>,
    needs_target: bool,
}

#[derive(Serialize)]
struct Targets {
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Target {
    id: String,
    name: String,
    r#type: Kind,
}

/// The caller's catalogue.
pub(super) async fn items(
    Extension(serving): Extension<Arc<Serving>>,
    Extension(recording): Extension<Recording>,
    request: Request,
) -> Result<Response, Problem> {
    let token = extract::credential(&serving.edge, &request.into_parts().0)?;
    let entries = serving.broker.items(token, &recording).await?;
    let items = entries.into_iter().map(|entry| Entry {
        item: entry.item,
        title: entry.title,
        r#type: entry.kind,
        access: entry.access,
        needs_target: entry.needs_target,
    });
    Ok((
        [(CACHE_CONTROL, "no-store")],
        Json(Items {
            items: items.collect(),
        }),
    )
        .into_response())
}

/// The reports that an item with `report: "*"` may be aimed at.
pub(super) async fn targets(
    Extension(serving): Extension<Arc<Serving>>,
    Extension(recording): Extension<Recording>,
    item: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let token = extract::credential(&serving.edge, &request.into_parts().0)?;
    let Path(item) = item.map_err(|_| Problem::new(Code::NotFound, "the path is no UTF-8"))?;
    let targets = serving.broker.targets(token, item, &recording).await;
    let targets = targets.map_err(|error| match error {
        // The request has no fault that another body or header could mend: the path names something that is not there.
        Error::Denied(Denied::Unfit { .. }) => {
            Problem::request(Code::NotFound, "This item takes no target, so it has none.")
        }
        other => other.into(),
    })?;
    let targets = targets.into_iter().map(|target| Target {
        r#type: if target.paginated {
            Kind::PaginatedReport
        } else {
            Kind::Report
        },
        id: target.id,
        name: target.name,
    });
    Ok((
        [(CACHE_CONTROL, "no-store")],
        Json(Targets {
            targets: targets.collect(),
        }),
    )
        .into_response())
}
