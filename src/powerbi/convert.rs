//! From replies to facts: what a reply must say before it is believed.
//!
//! What is missing or unknown is never read as harmless: flags of security, types, ids and embed URLs are there and
//! right, or the reply cannot be used.

use std::sync::Arc;

use super::Error;
use super::client::CallKind;
use super::embed_url;
use super::fact_cache::Reader;
use super::metadata::{Dashboard, Named, Naming, Sources};
use super::reads::Collection;
use super::wire;
use crate::plan::{DataSource, Dataset, Report, Workspace, WorkspaceKind};

/// Each read gives a fact with what its replies weigh.
impl Reader {
    /// The profiles of that name.
    pub(super) async fn profiles(self, name: String) -> Result<(Vec<Named>, usize), Error> {
        let collection = Collection::Named {
            member: "displayName",
            name: &name,
        };
        let (profiles, weight) = self
            .all::<wire::Profile>(CallKind::Profiles, &["profiles"], collection, |one| &one.id)
            .await?;
        let named = |one: wire::Profile| Named::new(one.id, one.display_name, false);
        Ok((profiles.into_iter().map(named).collect(), weight))
    }

    /// The workspace of that id, alone.
    pub(super) async fn workspace(self, id: String) -> Result<(Vec<Arc<Workspace>>, usize), Error> {
        let path = ["groups", &id];
        let (found, weight): (wire::Workspace, _) = self.one(CallKind::Workspaces, &path).await?;
        same_id(&found.id, &id)?;
        Ok((vec![Arc::new(workspace(found)?)], weight))
    }

    /// The workspaces of that name.
    pub(super) async fn workspaces(
        self,
        name: String,
    ) -> Result<(Vec<Arc<Workspace>>, usize), Error> {
        let collection = Collection::Named {
            member: "name",
            name: &name,
        };
        let (found, weight) = self
            .all::<wire::Workspace>(CallKind::Workspaces, &["groups"], collection, |one| &one.id)
            .await?;
        let found = found
            .into_iter()
            .filter(|one| one.name.as_ref() == Some(&name))
            .map(|one| workspace(one).map(Arc::new));
        Ok((found.collect::<Result<_, _>>()?, weight))
    }

    /// The members of one of a workspace's collections.
    pub(super) async fn names(
        self,
        workspace: String,
        naming: Naming,
    ) -> Result<(Vec<Named>, usize), Error> {
        let path = ["groups", &workspace, naming.segment()];
        let whole = Collection::Whole;
        match naming {
            Naming::Reports => {
                let (all, weight) = self
                    .all::<wire::Report>(CallKind::Reports, &path, whole, |one| &one.id)
                    .await?;
                let named = |one: wire::Report| {
                    let paginated = is_paginated(&one).unwrap_or(false);
                    Named::new(one.id, one.name, paginated)
                };
                Ok((all.into_iter().map(named).collect(), weight))
            }
            Naming::Dashboards => {
                let (all, weight) = self
                    .all::<wire::Dashboard>(CallKind::Dashboards, &path, whole, |one| &one.id)
                    .await?;
                let named = |one: wire::Dashboard| Named::new(one.id, one.display_name, false);
                Ok((all.into_iter().map(named).collect(), weight))
            }
            Naming::Datasets => {
                let (all, weight) = self
                    .all::<wire::Dataset>(CallKind::Datasets, &path, whole, |one| &one.id)
                    .await?;
                let named = |one: wire::Dataset| Named::new(one.id, one.name, false);
                Ok((all.into_iter().map(named).collect(), weight))
            }
        }
    }

    /// The report of that id.
    pub(super) async fn report(
        self,
        workspace: String,
        id: String,
    ) -> Result<(Report, usize), Error> {
        let path = ["groups", &workspace, "reports", &id];
        let (report, weight): (wire::Report, _) = self.one(CallKind::Reports, &path).await?;
        same_id(&report.id, &id)?;
        let embed_url = allowed_url(&self, report.embed_url.as_deref())?;
        let paginated = is_paginated(&report)
            .ok_or_else(|| invalid("a report's type is not one that is known"))?;
        let report = Report {
            paginated,
            dataset_id: report.dataset_id.filter(|id| !id.is_empty()),
            name: report.name.unwrap_or_default(),
            id: report.id,
            embed_url,
        };
        Ok((report, weight))
    }

    /// The dashboard of that id.
    pub(super) async fn dashboard(
        self,
        workspace: String,
        id: String,
    ) -> Result<(Dashboard, usize), Error> {
        let path = ["groups", &workspace, "dashboards", &id];
        let (found, weight): (wire::Dashboard, _) = self.one(CallKind::Dashboards, &path).await?;
        same_id(&found.id, &id)?;
        let dashboard = Dashboard {
            embed_url: allowed_url(&self, found.embed_url.as_deref())?,
            id: found.id,
        };
        Ok((dashboard, weight))
    }

    /// The tiles of that dashboard.
    pub(super) async fn tiles(
        self,
        workspace: String,
        dashboard: String,
    ) -> Result<(Vec<wire::Tile>, usize), Error> {
        let path = ["groups", &workspace, "dashboards", &dashboard, "tiles"];
        self.all::<wire::Tile>(CallKind::Tiles, &path, Collection::Whole, |one| &one.id)
            .await
    }

    /// The dataset of that id, with its data sources when they are needed.
    pub(super) async fn dataset(
        self,
        workspace: String,
        id: String,
        sources: Sources,
    ) -> Result<(Dataset, usize), Error> {
        let path = ["groups", &workspace, "datasets", &id];
        let (dataset, mut weight): (wire::Dataset, _) = self.one(CallKind::Datasets, &path).await?;
        same_id(&dataset.id, &id)?;
        let flag = |flag: Option<bool>| {
            flag.ok_or_else(|| invalid("a dataset's reply lacks its security flags"))
        };
        let identity_required = flag(dataset.is_effective_identity_required)?;
        let roles_required = flag(dataset.is_effective_identity_roles_required)?;
        let sources = if sources == Sources::Always || identity_required {
            let (sources, bytes) = self.data_sources(&workspace, &id).await?;
            weight += bytes;
            sources
        } else {
            Vec::new()
        };
        let url = |url: Option<String>| match url.filter(|url| !url.is_empty()) {
            None => Ok(None),
            Some(url) => allowed_url(&self, Some(&url)).map(Some),
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

    async fn data_sources(
        &self,
        workspace: &str,
        dataset: &str,
    ) -> Result<(Vec<DataSource>, usize), Error> {
        let path = ["groups", workspace, "datasets", dataset, "datasources"];
        let (sources, weight): (wire::Page<wire::DataSource>, _) =
            self.one(CallKind::DataSources, &path).await?;
        if sources.next_link.is_some() {
            return Err(invalid("a dataset's data sources do not come at once"));
        }
        Ok((sources.value.into_iter().map(data_source).collect(), weight))
    }
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
fn workspace(found: wire::Workspace) -> Result<Workspace, Error> {
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
fn is_paginated(report: &wire::Report) -> Option<bool> {
    match report.kind.as_deref() {
        Some("PaginatedReport") => Some(true),
        Some("PowerBIReport") => Some(false),
        Some(_) => None,
        None => Some(report.dataset_id.as_deref().is_none_or(str::is_empty)),
    }
}

/// The embed URL, when it may be given to a page.
fn allowed_url(reader: &Reader, url: Option<&str>) -> Result<String, Error> {
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

fn same_id(found: &str, asked: &str) -> Result<(), Error> {
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
