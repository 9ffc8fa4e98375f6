//! Embed tokens: what one covers, as whom, and what the page in the iframe gets to see with it.
//!
//! A token looks like a real one (base64 of gzip, `H4sI…`) but counts only because it is remembered here. Errors bear
//! the names that the page of the real service reports ("Troubleshoot your embedded application").

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::rls::{self, Shown, Who};
use super::seed::{Dataset, Report};
use super::wire::{DatasourceIdentity, Identity};
use super::world::{Caller, World};

/// Real tokens are long; ours are padded to a length that shows where somebody put one into a URL.
const PADDING: usize = 600;

/// What a token covers.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Grant {
    /// Report id to whether it may be edited.
    pub(super) reports: BTreeMap<String, bool>,
    pub(super) datasets: BTreeSet<String>,
    pub(super) dashboards: BTreeSet<String>,
    pub(super) tiles: BTreeSet<String>,
    /// Workspaces into which reports may be saved.
    pub(super) targets: Vec<String>,
    /// Whether new reports may be made.
    pub(super) create: bool,
}

/// A token as the service remembers it.
#[derive(Clone)]
pub(super) struct EmbedToken {
    pub(super) token_id: uuid::Uuid,
    pub(super) expires: OffsetDateTime,
    pub(super) caller: Caller,
    pub(super) grant: Grant,
    pub(super) identities: Vec<Identity>,
    pub(super) datasource_identities: Vec<DatasourceIdentity>,
}

/// What the page in the iframe asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Ask {
    pub(super) token: String,
    kind: Kind,
    #[serde(default)]
    id: String,
    dashboard_id: Option<String>,
    page_name: Option<String>,
    visual_name: Option<String>,
    dataset_id: Option<String>,
    #[serde(default)]
    edit: bool,
    #[serde(default)]
    save: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Report,
    PaginatedReport,
    Visual,
    Dashboard,
    Tile,
    Qna,
    Create,
}

/// An error by the name that the page reports.
#[derive(Debug)]
pub(super) struct RenderError {
    pub(super) status: u16,
    code: &'static str,
    message: &'static str,
}

impl RenderError {
    pub(super) const EXPIRED: Self = Self {
        status: 403,
        code: "TokenExpired",
        message: "Access token has expired, resubmit with a new access token",
    };
    /// The token is none, or does not cover the item.
    pub(super) const NOT_COVERED: Self = Self {
        status: 403,
        code: "LoadReportFailed",
        message: "The embed token does not cover this item",
    };
    const NOT_FOUND: Self = Self {
        status: 404,
        code: "PowerBIEntityNotFound",
        message: "The item does not exist",
    };
    const NO_GUID: Self = Self {
        status: 500,
        code: "LoadReportFailed",
        message: "The id is no GUID",
    };
    pub(super) const NOT_AUTHORIZED: Self = Self {
        status: 403,
        code: "PowerBINotAuthorizedException",
        message: "The embed token does not give this right",
    };

    pub(super) fn to_json(&self) -> Value {
        json!({"error": {"code": self.code, "message": self.message, "status": self.status}})
    }
}

impl EmbedToken {
    /// The text of the token.
    pub(super) fn encode(&self) -> std::io::Result<String> {
        let padding: Vec<u8> = (0..PADDING).map(|_| rand::random()).collect();
        let inside = json!({
            "tokenId": self.token_id,
            "exp": self.expires.unix_timestamp(),
            "grant": self.grant,
            "entropy": base64::engine::general_purpose::STANDARD.encode(padding),
        });
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(inside.to_string().as_bytes())?;
        Ok(base64::engine::general_purpose::STANDARD.encode(gzip.finish()?))
    }

    /// Who the token is for one dataset.
    pub(super) fn who<'a>(
        identities: &'a [Identity],
        datasource_identities: &'a [DatasourceIdentity],
        dataset: &Dataset,
    ) -> Who<'a> {
        let identity = identities.iter().find(|identity| {
            identity
                .datasets()
                .iter()
                .any(|id| id.eq_ignore_ascii_case(&dataset.id))
        });
        let inside = identity.and_then(|identity| identity.blob.as_ref());
        let beside = datasource_identities.iter().find(|identity| {
            dataset
                .datasources
                .iter()
                .any(|source| identity.names(source))
        });
        Who {
            identity,
            blob: beside
                .map(|identity| identity.blob.as_str())
                .or(inside.map(|blob| blob.value.as_str())),
        }
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expires <= OffsetDateTime::now_utc()
    }

    /// What the page shows for `ask`.
    pub(super) fn render(&self, world: &World, ask: &Ask) -> Result<Value, RenderError> {
        if self.is_expired() {
            return Err(RenderError::EXPIRED);
        }
        if ask.kind != Kind::Create
            && ask.kind != Kind::Qna
            && uuid::Uuid::parse_str(&ask.id).is_err()
        {
            return Err(RenderError::NO_GUID);
        }
        let (title, tables) = match ask.kind {
            Kind::Report | Kind::PaginatedReport | Kind::Visual => {
                self.render_report(world, ask)?
            }
            Kind::Dashboard => self.render_dashboard(world, &ask.id)?,
            Kind::Tile => self.render_tile(world, ask)?,
            Kind::Qna => self.render_dataset(world, ask, "Ask a question about")?,
            Kind::Create if self.grant.create => {
                self.render_dataset(world, ask, "New report on")?
            }
            Kind::Create => return Err(RenderError::NOT_AUTHORIZED),
        };
        let can_edit = self
            .grant
            .reports
            .get(&ask.id.to_ascii_lowercase())
            .copied();
        let can_edit = can_edit.unwrap_or(ask.kind == Kind::Create && self.grant.create);
        let can_save_as = !self.grant.targets.is_empty();
        if (ask.edit && !can_edit) || (ask.save && !can_edit && !can_save_as) {
            return Err(RenderError::NOT_AUTHORIZED);
        }
        let mut page = self.summary(&tables);
        page["kind"] = json!(ask.kind);
        page["title"] = json!(title);
        page["canEdit"] = json!(can_edit);
        page["canSaveAs"] = json!(can_save_as);
        Ok(page)
    }

    /// All rows that the token lets through, whatever item they stand in.
    pub(super) fn all_rows(&self, world: &World) -> Result<Value, RenderError> {
        if self.is_expired() {
            return Err(RenderError::EXPIRED);
        }
        let datasets = self
            .grant
            .datasets
            .iter()
            .filter_map(|id| world.dataset(id));
        let reports = self.grant.reports.keys().filter_map(|id| world.report(id));
        let tables: Vec<Shown> = datasets
            .map(|dataset| self.shown(dataset))
            .chain(reports.filter_map(|report| self.own_table(report)))
            .collect();
        Ok(self.summary(&tables))
    }

    fn summary(&self, tables: &[Shown]) -> Value {
        let identity = |identity: &Identity| {
            json!({"username": identity.username, "roles": identity.roles(),
                "customData": identity.custom_data, "datasets": identity.datasets(), "reports": identity.reports()})
        };
        json!({
            "tokenId": self.token_id,
            "identities": self.identities.iter().map(identity).collect::<Vec<_>>(),
            "expiration": super::rfc3339(self.expires),
            "secondsLeft": (self.expires - OffsetDateTime::now_utc()).whole_seconds().max(0),
            "tables": tables,
        })
    }

    fn render_report(&self, world: &World, ask: &Ask) -> Result<(String, Vec<Shown>), RenderError> {
        let report = world.report(&ask.id).ok_or(RenderError::NOT_FOUND)?;
        if !self.grant.reports.contains_key(&report.id) {
            return Err(RenderError::NOT_COVERED);
        }
        let page = ask.page_name.as_deref().map(|name| {
            report
                .pages
                .iter()
                .find(|page| page.name == name)
                .ok_or(RenderError::NOT_FOUND)
        });
        let page = page.transpose()?;
        if ask.kind == Kind::Visual {
            let name = ask.visual_name.clone().unwrap_or_default();
            if !page.is_some_and(|page| page.visuals.contains(&name)) {
                return Err(RenderError::NOT_FOUND);
            }
        }
        // What is shown inside needs the token as well; the page of the real service says 403 there.
        let inside = &report.paginated_visuals;
        if !inside.iter().all(|id| self.grant.reports.contains_key(id)) {
            return Err(RenderError::NOT_AUTHORIZED);
        }
        let bound = ask.dataset_id.as_ref().or(report.dataset_id.as_ref());
        let models = bound.into_iter().chain(&report.source_datasets);
        let mut tables = self.covered(world, models)?;
        let paginated = inside.iter().filter_map(|id| world.report(id));
        tables.extend(
            std::iter::once(report)
                .chain(paginated)
                .filter_map(|report| self.own_table(report)),
        );
        Ok((report.name.clone(), tables))
    }

    fn render_dashboard(
        &self,
        world: &World,
        id: &str,
    ) -> Result<(String, Vec<Shown>), RenderError> {
        let dashboard = world.dashboard(id).ok_or(RenderError::NOT_FOUND)?;
        if !self.grant.dashboards.contains(&dashboard.id) {
            return Err(RenderError::NOT_COVERED);
        }
        let models: BTreeSet<&String> = dashboard
            .tiles
            .iter()
            .map(|tile| &tile.dataset_id)
            .collect();
        Ok((dashboard.display_name.clone(), self.covered(world, models)?))
    }

    fn render_tile(&self, world: &World, ask: &Ask) -> Result<(String, Vec<Shown>), RenderError> {
        let tile = ask
            .dashboard_id
            .as_deref()
            .and_then(|id| world.dashboard(id))
            .and_then(|dashboard| {
                dashboard
                    .tiles
                    .iter()
                    .find(|tile| tile.id.eq_ignore_ascii_case(&ask.id))
            })
            .ok_or(RenderError::NOT_FOUND)?;
        if !self.grant.tiles.contains(&tile.id) {
            return Err(RenderError::NOT_COVERED);
        }
        Ok((tile.title.clone(), self.covered(world, [&tile.dataset_id])?))
    }

    /// Q&A and new reports: one dataset, named by `datasetId` or `id`.
    fn render_dataset(
        &self,
        world: &World,
        ask: &Ask,
        what: &str,
    ) -> Result<(String, Vec<Shown>), RenderError> {
        let id = ask.dataset_id.as_ref().unwrap_or(&ask.id);
        let dataset = world.dataset(id).ok_or(RenderError::NOT_FOUND)?;
        let title = format!("{what} {}", dataset.name);
        Ok((title, self.covered(world, [&dataset.id])?))
    }

    /// The tables of `models` and of the models below them, all of which the token must cover.
    fn covered<'a>(
        &self,
        world: &'a World,
        models: impl IntoIterator<Item = &'a String>,
    ) -> Result<Vec<Shown>, RenderError> {
        let mut tables = Vec::new();
        for id in models {
            let dataset = world.dataset(id).ok_or(RenderError::NOT_FOUND)?;
            for id in std::iter::once(&dataset.id).chain(&dataset.upstream) {
                let dataset = world.dataset(id).ok_or(RenderError::NOT_FOUND)?;
                if !self.grant.datasets.contains(&dataset.id) {
                    return Err(RenderError::NOT_AUTHORIZED);
                }
                tables.push(self.shown(dataset));
            }
        }
        Ok(tables)
    }

    fn shown(&self, dataset: &Dataset) -> Shown {
        let who = Self::who(&self.identities, &self.datasource_identities, dataset);
        rls::shown(dataset, who)
    }

    /// The table of a paginated report over SQL. Without an identity, `UserID` is the principal's object id.
    fn own_table(&self, report: &Report) -> Option<Shown> {
        let table = report.table.as_ref()?;
        let identity = self
            .identities
            .iter()
            .find(|identity| {
                identity
                    .reports()
                    .iter()
                    .any(|id| id.eq_ignore_ascii_case(&report.id))
            })
            .and_then(|identity| identity.username.as_deref());
        let user_id = identity.unwrap_or(&self.caller.who);
        Some(rls::shown_for_user_id(
            &report.id,
            table,
            report.user_column.as_deref(),
            user_id,
        ))
    }
}
