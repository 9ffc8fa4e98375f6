//! From replies to facts: what a reply must say before it is believed.
//!
//! What is missing or unknown is never read as harmless: flags of security, types, ids and embed URLs are there and
//! right, or the reply cannot be used.

use super::Error;
use super::client::CallKind;
use super::embed_url;
use super::facts::Reader;
use super::wire;
use crate::plan::{DataSource, Dataset, Workspace, WorkspaceKind};

/// The dataset of that id, with its data sources when an identity is required, or `always`.
pub(super) async fn dataset(
    reader: &Reader,
    workspace: String,
    id: &str,
    always: bool,
) -> Result<(Dataset, usize), Error> {
    let path = ["groups", &workspace, "datasets", id];
    let (dataset, mut weight) = reader.one(CallKind::Datasets, &path).await?;
    let dataset: wire::Dataset = dataset;
    same_id(&dataset.id, id)?;
    let flag = |flag: Option<bool>| {
        flag.ok_or_else(|| invalid("a dataset's reply lacks its security flags"))
    };
    let identity_required = flag(dataset.is_effective_identity_required)?;
    let roles_required = flag(dataset.is_effective_identity_roles_required)?;
    let sources = if always || identity_required {
        let path = ["groups", &workspace, "datasets", id, "datasources"];
        let (sources, bytes) = reader
            .one::<wire::Page<wire::DataSource>>(CallKind::DataSources, &path)
            .await?;
        if sources.next_link.is_some() {
            return Err(invalid("a dataset's data sources do not come at once"));
        }
        weight += bytes;
        sources.value.into_iter().map(data_source).collect()
    } else {
        Vec::new()
    };
    let url = |url: Option<String>| match url.filter(|url| !url.is_empty()) {
        None => Ok(None),
        Some(url) => allowed_url(reader, Some(&url)).map(Some),
    };
    let dataset = Dataset {
        create_report_url: url(dataset.create_report_embed_url)?,
        qna_url: url(dataset.qna_embed_url)?,
        id: dataset.id,
        identity_required,
        roles_required,
        on_premises_gateway: dataset.is_on_prem_gateway_required.unwrap_or(false),
        sources,
        workspace_id: workspace,
    };
    Ok((dataset, weight))
}

fn data_source(source: wire::DataSource) -> DataSource {
    let details = source.connection_details.unwrap_or_default();
    DataSource {
        kind: source.datasource_type,
        server: details.server,
        database: details.database,
        gateway: source.gateway_id.is_some_and(|id| !id.is_empty()),
    }
}

/// `type` is modelled only for administrators' calls, so it may be missing; what is not known is not embedded.
pub(super) fn workspace(found: wire::Workspace) -> Result<Workspace, Error> {
    let kind = match found.kind.as_deref() {
        None | Some("Workspace") => WorkspaceKind::Shared,
        Some("Group") => WorkspaceKind::Classic,
        Some("PersonalGroup" | "Personal") => WorkspaceKind::Personal,
        Some(_) => return Err(invalid("a workspace's type is not one that is known")),
    };
    Ok(Workspace {
        id: found.id,
        name: found.name.unwrap_or_default(),
        kind,
        on_capacity: found.is_on_dedicated_capacity,
    })
}

/// By its type, else, as Microsoft's samples do, by whether it has a dataset.
pub(super) fn is_paginated(report: &wire::Report) -> Option<bool> {
    match report.kind.as_deref() {
        Some("PaginatedReport") => Some(true),
        Some("PowerBIReport") => Some(false),
        Some(_) => None,
        None => Some(report.dataset_id.as_deref().is_none_or(str::is_empty)),
    }
}

/// The embed URL, when it may be given to a page.
pub(super) fn allowed_url(reader: &Reader, url: Option<&str>) -> Result<String, Error> {
    checked_url(&reader.client.embed_hosts, url)
}

/// See [`allowed_url`].
pub(super) fn checked_url(hosts: &[String], url: Option<&str>) -> Result<String, Error> {
    url.filter(|url| embed_url::is_allowed(url, hosts))
        .map(str::to_owned)
        .ok_or_else(|| {
            invalid(
                "an embed URL is missing, or its host is not one of the principal's `embed_hosts`",
            )
        })
}

pub(super) fn same_id(found: &str, asked: &str) -> Result<(), Error> {
    if found.eq_ignore_ascii_case(asked) {
        Ok(())
    } else {
        Err(invalid(
            "a reply is about another id than the one asked for",
        ))
    }
}

pub(super) fn invalid(problem: &str) -> Error {
    Error::InvalidResponse(problem.into())
}
