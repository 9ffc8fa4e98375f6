//! What `explain` is told, or assumes, about an item in place of asking Power BI.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Deserialize;

use crate::guid::is_guid;
use crate::plan::{Artifact, ContentFacts, DataSource, Dataset, Report, Workspace, WorkspaceKind};
use crate::policy::{Content, Grant};

#[derive(Debug, clap::Args)]
#[group(id = "told_facts")]
pub(super) struct Args {
    /// YAML or JSON file with facts: `workspace`, `report`, `dashboard`, `tile`, `dataset` (ids), `rls`
    /// (roles | identity | none), `sources` ([{kind, server, database, gateway}]).
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// Id of the item's report.
    #[arg(long, value_name = "ID")]
    report: Option<String>,
    /// Id of the item's dataset.
    #[arg(long, value_name = "ID")]
    dataset: Option<String>,
    /// Id of the item's workspace.
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// What Power BI asks for the dataset; default: what the rule's identity fits.
    #[arg(long, value_enum)]
    rls: Option<Rls>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Rls {
    /// An identity with at least one role.
    Roles,
    /// An identity.
    Identity,
    /// No identity.
    None,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Facts {
    workspace: Option<String>,
    report: Option<String>,
    dashboard: Option<String>,
    tile: Option<String>,
    dataset: Option<String>,
    rls: Option<Rls>,
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    kind: String,
    server: Option<String>,
    database: Option<String>,
    #[serde(default)]
    gateway: bool,
}

impl Args {
    /// The facts about the granted item, and whether the security of its dataset was told.
    pub(super) fn artifact(&self, grant: &Grant) -> anyhow::Result<(Artifact, bool)> {
        let mut facts = match &self.facts {
            None => Facts::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?
            }
        };
        for (flag, fact) in [
            (&self.report, &mut facts.report),
            (&self.dataset, &mut facts.dataset),
            (&self.workspace, &mut facts.workspace),
        ] {
            if flag.is_some() {
                fact.clone_from(flag);
            }
        }
        facts.rls = self.rls.or(facts.rls);
        let told = facts.rls.is_some();
        Ok((facts.artifact(grant), told))
    }
}

impl Facts {
    fn artifact(self, grant: &Grant) -> Artifact {
        let workspace = workspace(self.workspace.as_deref(), grant.workspace());
        let own = self
            .dataset
            .clone()
            .unwrap_or_else(|| own_dataset(grant.content()));
        let host = "https://app.powerbi.com";
        let report = |named: &str, paginated: bool| {
            let id = self.report.clone().unwrap_or_else(|| id(named));
            let page = if paginated { "rdlEmbed" } else { "reportEmbed" };
            ContentFacts::Report(Arc::new(Report {
                embed_url: format!("{host}/{page}?reportId={}&groupId={}", id, workspace.id),
                name: named.to_owned(),
                dataset_id: (!paginated).then(|| own.clone()),
                paginated,
                id,
            }))
        };
        let dashboard_id = |named: &str| self.dashboard.clone().unwrap_or_else(|| id(named));
        let (content, paginated, target) = match grant.content() {
            Content::Report { report: named } | Content::Visual { report: named, .. } => (
                report(named, false),
                false,
                grant.save_as().then(|| grant.save_as_workspace()),
            ),
            Content::PaginatedReport { report: named } => (report(named, true), true, None),
            Content::Dashboard { dashboard } => {
                let id = dashboard_id(dashboard);
                (
                    ContentFacts::Dashboard {
                        embed_url: format!("{host}/dashboardEmbed?dashboardId={id}"),
                        id,
                    },
                    false,
                    None,
                )
            }
            Content::Tile { dashboard, tile } => {
                let (dashboard_id, id) = (
                    dashboard_id(dashboard),
                    self.tile.clone().unwrap_or_else(|| id(tile)),
                );
                let embed_url = format!("{host}/embed?dashboardId={dashboard_id}&tileId={id}");
                (
                    ContentFacts::Tile {
                        id,
                        dashboard_id,
                        embed_url,
                    },
                    false,
                    None,
                )
            }
            Content::Qna { .. } => (ContentFacts::Dataset, false, None),
            Content::CreateReport {
                target_workspace, ..
            } => (
                ContentFacts::Dataset,
                false,
                Some(Some(target_workspace.as_str())),
            ),
        };
        let target_workspace = target.map(|named| {
            named.map_or_else(
                || Arc::clone(&workspace),
                |named| self::workspace(None, named),
            )
        });
        let mut datasets = if paginated {
            Vec::new()
        } else {
            vec![self.dataset_facts(&own, grant, &workspace.id)]
        };
        for setting in grant
            .datasets()
            .iter()
            .filter(|setting| setting.dataset != own)
        {
            datasets.push(self.dataset_facts(
                &setting.dataset,
                grant,
                setting.workspace.as_deref().unwrap_or(&workspace.id),
            ));
        }
        Artifact {
            profile_id: grant.profile().map(id),
            workspace,
            content,
            datasets,
            target_workspace,
        }
    }

    fn dataset_facts(&self, dataset: &str, grant: &Grant, workspace_id: &str) -> Arc<Dataset> {
        // Unless told, the dataset asks for what the rule gives it.
        let rls = self.rls.unwrap_or(match grant.identity_for(dataset) {
            None => Rls::None,
            Some(identity) if identity.roles.is_empty() => Rls::Identity,
            Some(_) => Rls::Roles,
        });
        let source = |source: &Source| DataSource {
            kind: source.kind.clone(),
            server: source.server.clone(),
            database: source.database.clone(),
            gateway: source.gateway,
        };
        Arc::new(Dataset {
            id: dataset.to_owned(),
            workspace_id: workspace_id.to_owned(),
            identity_required: rls != Rls::None,
            roles_required: rls == Rls::Roles,
            on_premises_gateway: self.sources.iter().any(|source| source.gateway),
            sources: self.sources.iter().map(source).collect(),
            create_report_url: Some("https://app.powerbi.com/reportEmbed".into()),
            qna_url: Some("https://app.powerbi.com/qnaEmbed".into()),
        })
    }
}

/// What was assumed, for the reader.
pub(super) fn show(artifact: &Artifact) -> String {
    let mut lines = vec![format!("  workspace  {}", artifact.workspace.id)];
    for dataset in &artifact.datasets {
        let asks = match (dataset.identity_required, dataset.roles_required) {
            (_, true) => "asks for an identity with roles",
            (true, false) => "asks for an identity",
            (false, false) => "asks for no identity",
        };
        lines.push(format!("  dataset    {} {asks}", dataset.id));
    }
    lines.join("\n")
}

fn workspace(told: Option<&str>, named: &str) -> Arc<Workspace> {
    let id = told.map_or_else(|| id(named), str::to_owned);
    Arc::new(Workspace {
        id,
        name: named.to_owned(),
        kind: WorkspaceKind::Shared,
        on_capacity: Some(true),
    })
}

fn own_dataset(content: &Content) -> String {
    match content {
        Content::Qna { dataset } | Content::CreateReport { dataset, .. } => id(dataset),
        Content::Report { report }
        | Content::Visual { report, .. }
        | Content::PaginatedReport { report } => stand_in("dataset-of", report),
        Content::Dashboard { dashboard } | Content::Tile { dashboard, .. } => {
            stand_in("dataset-behind", dashboard)
        }
    }
}

/// The id itself, or a stand-in that says whose id belongs there.
fn id(reference: &str) -> String {
    if is_guid(reference) {
        reference.to_owned()
    } else {
        stand_in("id-of", reference)
    }
}

/// Of characters that the path of a call can hold, as an id's are.
fn stand_in(what: &str, reference: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let reference: String = reference.chars().map(plain).collect();
    format!("{what}-{reference}")
}
