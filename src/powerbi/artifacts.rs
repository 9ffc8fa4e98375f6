//! From grants to [`Artifact`]s: which facts an item needs, and from which workspace.
//!
//! Only policy chooses workspaces: the item's, `dataset_workspace`, or a dataset setting's own. What a reply says about
//! other workspaces is not followed.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::convert::checked_url;
use super::fact_cache::{Lookup, LookupContext, UsedFacts};
use super::metadata::{Naming, Sources, by_id_or_name};
use super::{Error, Freshness, PowerBi, wire};
use crate::plan::{Artifact, ContentFacts, Dataset, Workspace};
use crate::policy::{Content, DatasetSetting, Grant, Security};

/// Look-ups under way at once, for the items of a request and for the datasets of an item.
const AT_ONCE: usize = 8;

/// What an item shows, and over which datasets.
struct Found {
    content: ContentFacts,
    /// Its own dataset.
    own: Option<String>,
    /// Those that a dashboard's tiles show.
    shown: Vec<String>,
}

/// A dataset that must be known.
struct Wanted<'a> {
    id: String,
    /// Id or name; none: the item's.
    workspace: Option<&'a str>,
    sources: Sources,
    /// Key of the policy that names the workspace.
    key: &'static str,
}

impl PowerBi {
    /// Facts about each granted item, in the same order, and what to watch by those who remember what they make of them.
    ///
    /// `target` is what the request chose for an item with `report: "*"`; such a request has one grant.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn look_up(
        &self,
        grants: &[Grant],
        target: Option<&str>,
        freshness: Freshness,
        deadline: Instant,
    ) -> Result<(Vec<Artifact>, UsedFacts), Error> {
        let mut artifacts = Vec::with_capacity(grants.len());
        let lookup = Lookup::new(freshness, deadline);
        for some in grants.chunks(AT_ONCE) {
            let lookup = &lookup;
            let some = some.iter().map(|grant| async move {
                let ctx = self.context_for(grant, lookup).await?;
                self.artifact(&ctx, grant, target).await
            });
            artifacts.extend(try_join_all(some).await?);
        }
        Ok((artifacts, lookup.used_facts()))
    }

    pub(super) async fn context_for(
        &self,
        grant: &Grant,
        lookup: &Lookup,
    ) -> Result<LookupContext, Error> {
        let mut ctx = LookupContext {
            client: Arc::clone(self.client(grant.principal())?),
            profile: None,
            ages: self.facts.ages,
            lookup: lookup.clone(),
        };
        if let Some(profile) = grant.profile() {
            ctx.profile = Some(self.facts.profile(&ctx, profile).await?);
        }
        Ok(ctx)
    }

    async fn artifact(
        &self,
        ctx: &LookupContext,
        grant: &Grant,
        target: Option<&str>,
    ) -> Result<Artifact, Error> {
        let workspace = self.facts.workspace(ctx, grant.workspace()).await?;
        let inside = async {
            let found = self.content(ctx, grant, &workspace, target).await?;
            let datasets = self.datasets(ctx, grant, &workspace, &found).await?;
            Ok((found.content, datasets))
        };
        let (content, datasets) = inside.await.map_err(|error| aimed(error, target))?;
        let target_workspace = match (grant.content(), grant.save_as()) {
            (
                Content::CreateReport {
                    target_workspace, ..
                },
                _,
            ) => Some(self.facts.workspace(ctx, target_workspace).await?),
            (_, true) => Some(match grant.save_as_workspace() {
                Some(other) => self.facts.workspace(ctx, other).await?,
                None => Arc::clone(&workspace),
            }),
            (_, false) => None,
        };
        Ok(Artifact {
            profile_id: ctx.profile.as_deref().map(str::to_owned),
            workspace,
            content,
            datasets,
            target_workspace,
        })
    }

    async fn content(
        &self,
        ctx: &LookupContext,
        grant: &Grant,
        workspace: &Workspace,
        target: Option<&str>,
    ) -> Result<Found, Error> {
        let naming = |naming, reference| self.facts.id(ctx, &workspace.id, naming, reference);
        match grant.content() {
            Content::Report { report }
            | Content::PaginatedReport { report }
            | Content::Visual { report, .. } => {
                let id = match target {
                    Some(target) => self.target(ctx, workspace, target).await?,
                    None => naming(Naming::Reports, report).await?,
                };
                self.report(ctx, workspace, &id).await
            }
            Content::Dashboard { dashboard } => {
                let id = naming(Naming::Dashboards, dashboard).await?;
                self.dashboard(ctx, workspace, &id).await
            }
            Content::Tile { dashboard, tile } => {
                let id = naming(Naming::Dashboards, dashboard).await?;
                self.tile(ctx, workspace, id, tile).await
            }
            Content::Qna { dataset } | Content::CreateReport { dataset, .. } => {
                let home = match grant.dataset_workspace() {
                    Some(other) => &self.facts.workspace(ctx, other).await?.id,
                    None => &workspace.id,
                };
                Ok(Found {
                    content: ContentFacts::Dataset,
                    own: Some(self.facts.id(ctx, home, Naming::Datasets, dataset).await?),
                    shown: Vec::new(),
                })
            }
        }
    }

    async fn report(
        &self,
        ctx: &LookupContext,
        workspace: &Workspace,
        id: &str,
    ) -> Result<Found, Error> {
        let report = self.facts.report(ctx, &workspace.id, id).await?;
        if !report.paginated && report.dataset_id.is_none() {
            return Err(Error::ItemUnavailable {
                what: format!("report {id} in workspace {}", workspace.id),
                cause: "Power BI names no dataset for it, so its security cannot be known: bind it to a dataset".into(),
            });
        }
        Ok(Found {
            own: report.dataset_id.clone().filter(|_| !report.paginated),
            content: ContentFacts::Report(report),
            shown: Vec::new(),
        })
    }

    async fn dashboard(
        &self,
        ctx: &LookupContext,
        workspace: &Workspace,
        id: &str,
    ) -> Result<Found, Error> {
        let dashboard = self.facts.dashboard(ctx, &workspace.id, id).await?;
        let tiles = self.facts.tiles(ctx, &workspace.id, id).await?;
        Ok(Found {
            content: ContentFacts::Dashboard {
                id: dashboard.id.clone(),
                embed_url: dashboard.embed_url.clone(),
            },
            own: None,
            shown: self.shown(ctx, workspace, &tiles).await?,
        })
    }

    async fn tile(
        &self,
        ctx: &LookupContext,
        workspace: &Workspace,
        dashboard_id: String,
        reference: &str,
    ) -> Result<Found, Error> {
        let tiles = self.facts.tiles(ctx, &workspace.id, &dashboard_id).await?;
        let has_id = |one: &wire::Tile| one.id.eq_ignore_ascii_case(reference);
        let has_title = |one: &wire::Tile| one.title.as_deref() == Some(reference);
        let what = || format!("tile `{reference}` of dashboard {dashboard_id}");
        let tile = by_id_or_name(&tiles, has_id, has_title, what)?;
        let shown = self.shown(ctx, workspace, std::slice::from_ref(tile));
        Ok(Found {
            own: None,
            shown: shown.await?,
            content: ContentFacts::Tile {
                embed_url: checked_url(&ctx.client.embed_hosts, tile.embed_url.as_deref())?,
                id: tile.id.clone(),
                dashboard_id,
            },
        })
    }

    /// The datasets of these tiles. A tile that names only its report shows that report's dataset.
    async fn shown(
        &self,
        ctx: &LookupContext,
        workspace: &Workspace,
        tiles: &[wire::Tile],
    ) -> Result<Vec<String>, Error> {
        let mut shown = Vec::new();
        for tile in tiles {
            let dataset = tile.dataset_id.as_deref().filter(|id| !id.is_empty());
            let report = tile.report_id.as_deref().filter(|id| !id.is_empty());
            match (dataset, report) {
                (Some(dataset), _) => shown.push(dataset.to_owned()),
                (None, Some(report)) => {
                    let report = self.facts.report(ctx, &workspace.id, report).await?;
                    shown.extend(report.dataset_id.clone());
                }
                // A text box, a picture, a web page.
                (None, None) => {}
            }
        }
        Ok(shown)
    }

    async fn datasets(
        &self,
        ctx: &LookupContext,
        grant: &Grant,
        workspace: &Workspace,
        found: &Found,
    ) -> Result<Vec<Arc<Dataset>>, Error> {
        let wanted = wanted(grant, found);
        let mut datasets = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(AT_ONCE) {
            let some = some
                .iter()
                .map(|wanted| self.dataset(ctx, workspace, wanted));
            datasets.extend(try_join_all(some).await?);
        }
        Ok(datasets)
    }

    async fn dataset(
        &self,
        ctx: &LookupContext,
        workspace: &Workspace,
        wanted: &Wanted<'_>,
    ) -> Result<Arc<Dataset>, Error> {
        let elsewhere = match wanted.workspace {
            Some(other) => Some(self.facts.workspace(ctx, other).await?),
            None => None,
        };
        let home = elsewhere.as_deref().unwrap_or(workspace);
        let dataset = self
            .facts
            .dataset(ctx, &home.id, &wanted.id, wanted.sources)
            .await;
        dataset.map_err(|error| match error {
            Error::ItemUnavailable { what, cause } => Error::ItemUnavailable {
                what,
                cause: format!(
                    "{cause}; if the dataset lives in another workspace, the item's `{}` must name that",
                    wanted.key
                ),
            },
            other => other,
        })
    }
}

/// The datasets of an item, once each: its own, those of the grant's `datasets`, those that tiles show.
fn wanted<'a>(grant: &'a Grant, found: &Found) -> Vec<Wanted<'a>> {
    let sources = |security| match security {
        Security::AsOnPremises | Security::AsAzure => Sources::Always,
        Security::Auto
        | Security::None
        | Security::CloudRls
        | Security::Rdl
        | Security::Sso
        | Security::SsoCloudRls => Sources::IfIdentityRequired,
    };
    let behind = |id: &String| Wanted {
        id: id.clone(),
        workspace: grant.dataset_workspace(),
        sources: sources(grant.security()),
        key: "dataset_workspace",
    };
    let set = |setting: &'a DatasetSetting| Wanted {
        id: setting.dataset.clone(),
        // What a dashboard shows lives where the dashboard's datasets live, unless its setting says otherwise.
        workspace: setting.workspace.as_deref().or_else(|| {
            let shown = found
                .shown
                .iter()
                .any(|id| id.eq_ignore_ascii_case(&setting.dataset));
            grant.dataset_workspace().filter(|_| shown)
        }),
        sources: sources(setting.security),
        key: "datasets[].workspace",
    };
    let mut all: Vec<Wanted<'_>> = Vec::new();
    let candidates = found
        .own
        .iter()
        .map(behind)
        .chain(grant.datasets().iter().map(set))
        .chain(found.shown.iter().map(behind));
    for candidate in candidates {
        match all
            .iter_mut()
            .find(|known| known.id.eq_ignore_ascii_case(&candidate.id))
        {
            None => all.push(candidate),
            Some(known) => {
                known.workspace = known.workspace.or(candidate.workspace);
                if candidate.sources == Sources::Always {
                    known.sources = Sources::Always;
                }
            }
        }
    }
    all
}

/// What the request chose answers like an item that the caller may not see, whatever is wrong with it.
fn aimed(error: Error, target: Option<&str>) -> Error {
    match (error, target) {
        (Error::ItemUnavailable { what, cause }, Some(target)) => Error::TargetUnavailable {
            target: target.to_owned(),
            cause: format!("{what}: {cause}"),
        },
        (error, _) => error,
    }
}
