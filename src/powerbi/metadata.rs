//! Facts about workspaces, profiles, reports, dashboards, tiles and datasets, by id or by name.
//!
//! A name counts only when exactly one thing bears exactly that name (case included), after all pages were read. An id
//! outranks a name: whoever may save copies can give one the id of another report as its name. A
//! reply about another id than the one asked for is no answer, and a dataset whose security flags are missing is not
//! taken for one without security. GUIDs are ids; anything else is a name.

use std::sync::Arc;

use super::Error;
use super::convert::invalid;
use super::fact_cache::{Ages, FactCache, LookupContext, MAX_BYTES};
use super::wire;
use crate::guid::is_guid;
use crate::plan::{Dataset, Report, Workspace};

/// Most that all of them take: a cache for each type of fact.
pub(crate) const MOST_BYTES: u64 = 6 * MAX_BYTES;

/// Everything known about items.
pub(super) struct Facts {
    pub(super) ages: Ages,
    names: FactCache<Vec<Named>>,
    workspaces: FactCache<Vec<Arc<Workspace>>>,
    reports: FactCache<Report>,
    dashboards: FactCache<Dashboard>,
    tiles: FactCache<Vec<wire::Tile>>,
    datasets: FactCache<Dataset>,
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
            names: FactCache::new(ages),
            workspaces: FactCache::new(ages),
            reports: FactCache::new(ages),
            dashboards: FactCache::new(ages),
            tiles: FactCache::new(ages),
            datasets: FactCache::new(ages),
        }
    }

    /// Id of the profile `reference`; `context` has none, as only the principal itself may list its profiles.
    pub(super) async fn profile(
        &self,
        context: &LookupContext,
        reference: &str,
    ) -> Result<Arc<str>, Error> {
        if is_guid(reference) {
            return Ok(Arc::from(reference));
        }
        let path = format!("profiles?{reference}");
        let profiles = self
            .names
            .get(context, path, |reader| {
                reader.profiles(reference.to_owned())
            })
            .await?;
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
        context: &LookupContext,
        reference: &str,
    ) -> Result<Arc<Workspace>, Error> {
        let what = || format!("workspace `{reference}`");
        if is_guid(reference) {
            let path = format!("groups/{reference}");
            let found = self
                .workspaces
                .get(context, path, |reader| {
                    reader.workspace(reference.to_owned())
                })
                .await?;
            return exactly_one(&found, |_| true, what).cloned();
        }
        let path = format!("groups?{reference}");
        let found = self
            .workspaces
            .get(context, path, |reader| {
                reader.workspaces(reference.to_owned())
            })
            .await?;
        exactly_one(&found, |one| one.name == reference, what).cloned()
    }

    /// The members of one of a workspace's collections.
    pub(super) async fn names(
        &self,
        context: &LookupContext,
        workspace: &str,
        naming: Naming,
    ) -> Result<Arc<Vec<Named>>, Error> {
        let path = format!("groups/{workspace}/{}", naming.segment());
        self.names
            .get(context, path, |reader| {
                reader.names(workspace.to_owned(), naming)
            })
            .await
    }

    /// Id of the member that `reference` names.
    pub(super) async fn id(
        &self,
        context: &LookupContext,
        workspace: &str,
        naming: Naming,
        reference: &str,
    ) -> Result<String, Error> {
        if is_guid(reference) {
            return Ok(reference.to_owned());
        }
        let members = self.names(context, workspace, naming).await?;
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
        context: &LookupContext,
        workspace: &str,
        id: &str,
    ) -> Result<Arc<Report>, Error> {
        let path = format!("groups/{workspace}/reports/{id}");
        self.reports
            .get(context, path, |reader| {
                reader.report(workspace.to_owned(), id.to_owned())
            })
            .await
    }

    /// The dashboard of that id.
    pub(super) async fn dashboard(
        &self,
        context: &LookupContext,
        workspace: &str,
        id: &str,
    ) -> Result<Arc<Dashboard>, Error> {
        let path = format!("groups/{workspace}/dashboards/{id}");
        self.dashboards
            .get(context, path, |reader| {
                reader.dashboard(workspace.to_owned(), id.to_owned())
            })
            .await
    }

    /// The tiles of a dashboard. Their embed URLs are unchecked: only the one that is shown matters.
    pub(super) async fn tiles(
        &self,
        context: &LookupContext,
        workspace: &str,
        dashboard: &str,
    ) -> Result<Arc<Vec<wire::Tile>>, Error> {
        let path = format!("groups/{workspace}/dashboards/{dashboard}/tiles");
        self.tiles
            .get(context, path, |reader| {
                reader.tiles(workspace.to_owned(), dashboard.to_owned())
            })
            .await
    }

    /// The dataset of that id.
    pub(super) async fn dataset(
        &self,
        context: &LookupContext,
        workspace: &str,
        id: &str,
        sources: Sources,
    ) -> Result<Arc<Dataset>, Error> {
        let more = match sources {
            Sources::Always => " and its data sources",
            Sources::IfIdentityRequired => "",
        };
        let path = format!("groups/{workspace}/datasets/{id}{more}");
        self.datasets
            .get(context, path, |reader| {
                reader.dataset(workspace.to_owned(), id.to_owned(), sources)
            })
            .await
    }

    /// Bytes of everything that is remembered, as weighed.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.names.weight() + self.reports.weight() + self.datasets.weight()
    }
}

impl Named {
    pub(super) fn new(id: String, name: Option<String>, paginated: bool) -> Self {
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
