//! Facts about workspaces, profiles, reports, dashboards, tiles and datasets, by id or by name.
//!
//! A name counts only when exactly one thing bears exactly that name (case included), after all pages were read. An id
//! outranks a name: whoever may save copies can give one the id of another report as its name. A
//! reply about another id than the one asked for is no answer, and a dataset whose security flags are missing is not
//! taken for one without security. GUIDs are ids; anything else is a name.

use std::sync::Arc;

use super::Error;
use super::client::CallKind;
use super::convert::{self, allowed_url, invalid, is_paginated, same_id};
use super::facts::{Ages, Asker, Reader, Shelf};
use super::reads::Collection;
use super::wire;
use crate::guid::is_guid;
use crate::plan::{Dataset, Report, Workspace};

/// Everything known about items.
pub(super) struct Facts {
    pub(super) ages: Ages,
    names: Shelf<Vec<Named>>,
    workspaces: Shelf<Vec<Arc<Workspace>>>,
    reports: Shelf<Report>,
    dashboards: Shelf<Dashboard>,
    tiles: Shelf<Vec<wire::Tile>>,
    datasets: Shelf<Dataset>,
}

/// What bears a name.
pub(super) struct Named {
    pub(super) id: String,
    pub(super) name: String,
    /// For reports: whether it is a paginated one.
    pub(super) paginated: bool,
}

/// A dashboard.
pub(super) struct Dashboard {
    pub(super) id: String,
    pub(super) embed_url: String,
}

/// Collections of a workspace whose members have names.
#[derive(Clone, Copy)]
pub(super) enum Naming {
    Reports,
    Dashboards,
    Datasets,
}

/// When a dataset's data sources are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sources {
    /// When an identity is required.
    IfIdentityRequired,
    /// Always: the policy says something about them.
    Always,
}

impl Facts {
    pub(super) fn new(ages: Ages) -> Self {
        Self {
            ages,
            names: Shelf::new(ages),
            workspaces: Shelf::new(ages),
            reports: Shelf::new(ages),
            dashboards: Shelf::new(ages),
            tiles: Shelf::new(ages),
            datasets: Shelf::new(ages),
        }
    }

    /// Id of the profile `reference`; `asker` has none, as only the principal itself may list its profiles.
    pub(super) async fn profile(&self, asker: &Asker, reference: &str) -> Result<Arc<str>, Error> {
        if is_guid(reference) {
            return Ok(Arc::from(reference));
        }
        let name = reference.to_owned();
        let path = format!("profiles?{name}");
        let read = move |reader: Reader| {
            let name = name.clone();
            async move {
                let collection = Collection::Named {
                    member: "displayName",
                    name: &name,
                };
                let (profiles, weight) = reader
                    .all::<wire::Profile>(CallKind::Profiles, &["profiles"], collection, |one| {
                        &one.id
                    })
                    .await?;
                let profiles = profiles
                    .into_iter()
                    .map(|profile| Named::new(profile.id, profile.display_name, false));
                Ok((profiles.collect(), weight))
            }
        };
        let profiles = self.names.get(asker, path, read).await?;
        let what = || format!("profile `{reference}`");
        let found = exactly_one(&profiles, |profile| profile.name == reference, what)?;
        if is_guid(&found.id) {
            Ok(Arc::from(found.id.as_str()))
        } else {
            Err(invalid("a profile's id is no GUID"))
        }
    }

    /// The workspace `reference`.
    pub(super) async fn workspace(
        &self,
        asker: &Asker,
        reference: &str,
    ) -> Result<Arc<Workspace>, Error> {
        let by_id = is_guid(reference);
        let path = if by_id {
            format!("groups/{reference}")
        } else {
            format!("groups?{reference}")
        };
        let wanted = reference.to_owned();
        let read = move |reader: Reader| {
            let wanted = wanted.clone();
            async move {
                let (found, weight) = if by_id {
                    let (one, weight) = reader
                        .one::<wire::Workspace>(CallKind::Workspaces, &["groups", &wanted])
                        .await?;
                    same_id(&one.id, &wanted)?;
                    (vec![one], weight)
                } else {
                    let collection = Collection::Named {
                        member: "name",
                        name: &wanted,
                    };
                    reader
                        .all::<wire::Workspace>(
                            CallKind::Workspaces,
                            &["groups"],
                            collection,
                            |one| &one.id,
                        )
                        .await?
                };
                let found = found
                    .into_iter()
                    .filter(|one| by_id || one.name.as_ref() == Some(&wanted))
                    .map(|one| convert::workspace(one).map(Arc::new));
                Ok((found.collect::<Result<_, _>>()?, weight))
            }
        };
        let found = self.workspaces.get(asker, path, read).await?;
        let what = || format!("workspace `{reference}`");
        exactly_one(&found, |one| by_id || one.name == reference, what).cloned()
    }

    /// The members of one of a workspace's collections.
    pub(super) async fn names(
        &self,
        asker: &Asker,
        workspace: &str,
        naming: Naming,
    ) -> Result<Arc<Vec<Named>>, Error> {
        let workspace = workspace.to_owned();
        let path = format!("groups/{workspace}/{}", naming.segment());
        let read = move |reader: Reader| {
            let workspace = workspace.clone();
            async move { naming.read(&reader, &workspace).await }
        };
        self.names.get(asker, path, read).await
    }

    /// Id of the member that `reference` names.
    pub(super) async fn id(
        &self,
        asker: &Asker,
        workspace: &str,
        naming: Naming,
        reference: &str,
    ) -> Result<String, Error> {
        if is_guid(reference) {
            return Ok(reference.to_owned());
        }
        let members = self.names(asker, workspace, naming).await?;
        let what = || {
            format!(
                "`{reference}` among the {} of workspace {workspace}",
                naming.segment()
            )
        };
        // Ids of datasets are not always GUIDs.
        let has_id = |one: &Named| one.id == reference;
        let has_name = |one: &Named| one.name == reference;
        Ok(by_id_or_name(&members, has_id, has_name, what)?.id.clone())
    }

    /// The report of that id.
    pub(super) async fn report(
        &self,
        asker: &Asker,
        workspace: &str,
        id: &str,
    ) -> Result<Arc<Report>, Error> {
        let path = format!("groups/{workspace}/reports/{id}");
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        let read = move |reader: Reader| {
            let (workspace, id) = (workspace.clone(), id.clone());
            async move {
                let path = ["groups", &workspace, "reports", &id];
                let (report, weight) = reader.one(CallKind::Reports, &path).await?;
                let report: wire::Report = report;
                same_id(&report.id, &id)?;
                let embed_url = allowed_url(&reader, report.embed_url.as_deref())?;
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
        };
        self.reports.get(asker, path, read).await
    }

    /// The dashboard of that id.
    pub(super) async fn dashboard(
        &self,
        asker: &Asker,
        workspace: &str,
        id: &str,
    ) -> Result<Arc<Dashboard>, Error> {
        let path = format!("groups/{workspace}/dashboards/{id}");
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        let read = move |reader: Reader| {
            let (workspace, id) = (workspace.clone(), id.clone());
            async move {
                let path = ["groups", &workspace, "dashboards", &id];
                let (dashboard, weight) = reader.one(CallKind::Dashboards, &path).await?;
                let dashboard: wire::Dashboard = dashboard;
                same_id(&dashboard.id, &id)?;
                let embed_url = allowed_url(&reader, dashboard.embed_url.as_deref())?;
                let id = dashboard.id;
                Ok((Dashboard { id, embed_url }, weight))
            }
        };
        self.dashboards.get(asker, path, read).await
    }

    /// The tiles of a dashboard. Their embed URLs are unchecked: only the one that is shown matters.
    pub(super) async fn tiles(
        &self,
        asker: &Asker,
        workspace: &str,
        dashboard: &str,
    ) -> Result<Arc<Vec<wire::Tile>>, Error> {
        let path = format!("groups/{workspace}/dashboards/{dashboard}/tiles");
        let (workspace, dashboard) = (workspace.to_owned(), dashboard.to_owned());
        let read = move |reader: Reader| {
            let (workspace, dashboard) = (workspace.clone(), dashboard.clone());
            async move {
                let path = ["groups", &workspace, "dashboards", &dashboard, "tiles"];
                reader
                    .all(
                        CallKind::Tiles,
                        &path,
                        Collection::Whole,
                        |one: &wire::Tile| &one.id,
                    )
                    .await
            }
        };
        self.tiles.get(asker, path, read).await
    }

    /// The dataset of that id.
    pub(super) async fn dataset(
        &self,
        asker: &Asker,
        workspace: &str,
        id: &str,
        sources: Sources,
    ) -> Result<Arc<Dataset>, Error> {
        let always = sources == Sources::Always;
        let more = if always { " and its data sources" } else { "" };
        let path = format!("groups/{workspace}/datasets/{id}{more}");
        let (workspace, id) = (workspace.to_owned(), id.to_owned());
        let read = move |reader: Reader| {
            let (workspace, id) = (workspace.clone(), id.clone());
            async move { convert::dataset(&reader, workspace, &id, always).await }
        };
        self.datasets.get(asker, path, read).await
    }

    /// Bytes of everything that is remembered, as weighed.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.names.weight() + self.reports.weight() + self.datasets.weight()
    }
}

impl Named {
    fn new(id: String, name: Option<String>, paginated: bool) -> Self {
        Self {
            id,
            name: name.unwrap_or_default(),
            paginated,
        }
    }
}

impl Naming {
    pub(super) fn segment(self) -> &'static str {
        match self {
            Self::Reports => "reports",
            Self::Dashboards => "dashboards",
            Self::Datasets => "datasets",
        }
    }

    async fn read(self, reader: &Reader, workspace: &str) -> Result<(Vec<Named>, usize), Error> {
        let path = ["groups", workspace, self.segment()];
        let whole = Collection::Whole;
        Ok(match self {
            Self::Reports => {
                let (all, weight) = reader
                    .all::<wire::Report>(CallKind::Reports, &path, whole, |one| &one.id)
                    .await?;
                let all = all.into_iter().map(|one| {
                    let paginated = is_paginated(&one).unwrap_or(false);
                    Named::new(one.id, one.name, paginated)
                });
                (all.collect(), weight)
            }
            Self::Dashboards => {
                let (all, weight) = reader
                    .all::<wire::Dashboard>(CallKind::Dashboards, &path, whole, |one| &one.id)
                    .await?;
                let all = all
                    .into_iter()
                    .map(|one| Named::new(one.id, one.display_name, false));
                (all.collect(), weight)
            }
            Self::Datasets => {
                let (all, weight) = reader
                    .all::<wire::Dataset>(CallKind::Datasets, &path, whole, |one| &one.id)
                    .await?;
                let all = all
                    .into_iter()
                    .map(|one| Named::new(one.id, one.name, false));
                (all.collect(), weight)
            }
        })
    }
}

/// The thing of that id, else the only one of that name.
pub(super) fn by_id_or_name<T>(
    all: &[T],
    has_id: impl Fn(&T) -> bool,
    has_name: impl Fn(&T) -> bool,
    what: impl Fn() -> String,
) -> Result<&T, Error> {
    match all.iter().find(|one| has_id(one)) {
        Some(one) => Ok(one),
        None => exactly_one(all, has_name, what),
    }
}

/// The one thing that fits.
fn exactly_one<T>(
    all: &[T],
    fits: impl Fn(&T) -> bool,
    what: impl Fn() -> String,
) -> Result<&T, Error> {
    let mut found = all.iter().filter(|one| fits(one));
    let cause = match (found.next(), found.next()) {
        (Some(one), None) => return Ok(one),
        (None, _) => {
            "nothing of that name, or no permission for it: check the policy and the principal's role in the workspace"
        }
        (Some(_), Some(_)) => "more than one thing bears that name: use the id",
    };
    Err(Error::ItemUnavailable {
        what: what(),
        cause: cause.into(),
    })
}
