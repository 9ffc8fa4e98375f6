//! Tests of the stage, by promise: the matrix, the bodies, the refusals, what a plan is keyed by, and properties.

mod bodies;
mod identities;
mod key;
mod matrix;
mod pages;
mod properties;
mod refusals;
mod sso;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::policy::test_grant::GrantParts;
use crate::policy::{Content, DatasetSetting, Identity, Security, Xmla};

const NOW: OffsetDateTime = datetime!(2026-01-01 09:00 UTC);
const OBJECT_ID: &str = "0b1ec7ed-0000-4000-8000-000000000001";
const MASTER: &str = "master@contoso.com";

/// One call of [`EmbedPlan::build`], open to change.
#[derive(Clone, Debug)]
struct Case {
    items: Vec<(GrantParts, Artifact)>,
    minter: Minter,
    lifetime: Duration,
    session_ends: Option<OffsetDateTime>,
    blobs: BTreeMap<String, SecretString>,
}

impl Case {
    fn of<const N: usize>(items: [(GrantParts, Artifact); N]) -> Self {
        Self {
            items: items.into(),
            minter: Minter {
                name: "default".into(),
                tenant_id: "tenant".into(),
                client_id: "client".into(),
                api_root: "https://api.powerbi.com/".into(),
                kind: MinterKind::ServicePrincipal {
                    object_id: Some(OBJECT_ID.into()),
                },
            },
            lifetime: Duration::from_secs(600),
            session_ends: None,
            blobs: BTreeMap::new(),
        }
    }

    fn by_master_user(mut self) -> Self {
        self.minter.kind = MinterKind::MasterUser {
            username: MASTER.into(),
        };
        self
    }

    fn blob(mut self, header: &str, blob: &str) -> Self {
        self.blobs.insert(header.into(), blob.into());
        self
    }

    fn changed(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut case = self.clone();
        change(&mut case);
        case
    }

    fn build(&self) -> Result<EmbedPlan, Refusal> {
        let (parts, artifacts): (Vec<_>, Vec<_>) = self.items.iter().cloned().unzip();
        let grants: Vec<_> = parts.into_iter().map(Grant::for_test).collect();
        let circumstances = Circumstances {
            minter: &self.minter,
            lifetime: self.lifetime,
            session_ends: self.session_ends,
            blobs: &self.blobs,
            now: NOW,
        };
        EmbedPlan::build(&grants, &artifacts, &circumstances)
    }

    #[track_caller]
    fn plan(&self) -> EmbedPlan {
        self.build().expect("a plan")
    }

    #[track_caller]
    fn body(&self) -> Value {
        serde_json::from_slice(self.plan().body()).expect("JSON")
    }

    /// `planned`, or the name of the refusal.
    fn outcome(&self) -> &'static str {
        match self.build() {
            Ok(_) => "planned",
            Err(Refusal::NotCombinable(_)) => "items_not_combinable",
            Err(Refusal::SessionEnds) => "token_expired",
            Err(Refusal::NotPermitted(_)) => "not_permitted",
            Err(Refusal::IdentityUnmappable(_)) => "identity_unmappable",
            Err(Refusal::IdentityRequired(_)) => "identity_required",
            Err(Refusal::RlsMissing(_)) => "rls_missing",
            Err(Refusal::SecurityMismatch(_)) => "security_mismatch",
            Err(Refusal::BlobMissing(_)) => "blob_missing",
            Err(Refusal::ItemUnavailable(_)) => "item_unavailable",
        }
    }
}

// === facts ===

fn workspace(id: &str) -> Arc<Workspace> {
    Arc::new(Workspace {
        id: id.into(),
        name: id.into(),
        kind: WorkspaceKind::Shared,
        on_capacity: Some(true),
    })
}

fn of_kind(kind: WorkspaceKind) -> Arc<Workspace> {
    Arc::new(Workspace {
        kind,
        ..(*workspace("W")).clone()
    })
}

/// A dataset without RLS.
fn plain(id: &str) -> Dataset {
    Dataset {
        id: id.into(),
        workspace_id: "W".into(),
        identity_required: false,
        roles_required: false,
        on_premises_gateway: false,
        sources: Vec::new(),
        create_report_url: Some(format!("https://app.powerbi.com/reportEmbed?create={id}")),
        qna_url: Some(format!("https://app.powerbi.com/qnaEmbed?dataset={id}")),
    }
}

/// A dataset with roles in the service.
fn rls(id: &str) -> Dataset {
    Dataset {
        identity_required: true,
        roles_required: true,
        ..plain(id)
    }
}

/// A live connection: `server` in Azure or, with a gateway, on-premises.
fn live(id: &str, server: &str, gateway: bool) -> Dataset {
    Dataset {
        identity_required: true,
        on_premises_gateway: gateway,
        sources: vec![DataSource {
            kind: "AnalysisServices".into(),
            server: Some(server.into()),
            database: Some("db".into()),
            gateway,
        }],
        ..plain(id)
    }
}

fn on_premises(id: &str) -> Dataset {
    live(id, "ssas.contoso.local", true)
}

fn azure(id: &str) -> Dataset {
    live(id, "asazure://westeurope.asazure.windows.net/as", false)
}

fn artifact<const N: usize>(content: ContentFacts, datasets: [Dataset; N]) -> Artifact {
    Artifact {
        profile_id: None,
        workspace: workspace("W"),
        content,
        datasets: datasets.into_iter().map(Arc::new).collect(),
        target_workspace: None,
    }
}

// === items ===

/// Report `id` over the first of `datasets`.
fn report<const N: usize>(id: &str, datasets: [Dataset; N]) -> (GrantParts, Artifact) {
    let facts = Report {
        id: id.into(),
        name: "Sales".into(),
        paginated: false,
        dataset_id: datasets.first().map(|own| own.id.clone()),
        embed_url: format!("https://app.powerbi.com/reportEmbed?reportId={id}"),
    };
    let mut parts = GrantParts::of(Content::Report { report: id.into() });
    parts.item = id.to_lowercase();
    parts.datasets = datasets
        .iter()
        .skip(1)
        .map(|further| setting(&further.id, Security::Auto))
        .collect();
    (
        parts,
        artifact(ContentFacts::Report(Arc::new(facts)), datasets),
    )
}

/// Paginated report `RDL1`, over `datasets` of Power BI.
fn paginated<const N: usize>(datasets: [Dataset; N]) -> (GrantParts, Artifact) {
    let facts = Report {
        id: "RDL1".into(),
        name: "Invoice".into(),
        paginated: true,
        dataset_id: None,
        embed_url: "https://app.powerbi.com/rdlEmbed?reportId=RDL1".into(),
    };
    let mut parts = GrantParts::of(Content::PaginatedReport {
        report: "RDL1".into(),
    });
    parts.datasets = datasets
        .iter()
        .map(|model| DatasetSetting {
            xmla: Xmla::ReadOnly,
            ..setting(&model.id, Security::Auto)
        })
        .collect();
    (
        parts,
        artifact(ContentFacts::Report(Arc::new(facts)), datasets),
    )
}

fn visual<const N: usize>(datasets: [Dataset; N]) -> (GrantParts, Artifact) {
    let (mut parts, facts) = report("R1", datasets);
    parts.content = Content::Visual {
        report: "R1".into(),
        page: "P".into(),
        visual: "V".into(),
    };
    (parts, facts)
}

fn dashboard<const N: usize>(datasets: [Dataset; N]) -> (GrantParts, Artifact) {
    let content = ContentFacts::Dashboard {
        id: "DB1".into(),
        embed_url: "https://app.powerbi.com/dashboardEmbed?dashboardId=DB1".into(),
    };
    let parts = GrantParts::of(Content::Dashboard {
        dashboard: "DB1".into(),
    });
    (parts, artifact(content, datasets))
}

fn tile<const N: usize>(datasets: [Dataset; N]) -> (GrantParts, Artifact) {
    let content = ContentFacts::Tile {
        id: "T1".into(),
        dashboard_id: "DB1".into(),
        embed_url: "https://app.powerbi.com/embed?dashboardId=DB1&tileId=T1".into(),
    };
    let parts = GrantParts::of(Content::Tile {
        dashboard: "DB1".into(),
        tile: "T1".into(),
    });
    (parts, artifact(content, datasets))
}

fn qna(dataset: Dataset) -> (GrantParts, Artifact) {
    let parts = GrantParts::of(Content::Qna {
        dataset: dataset.id.clone(),
    });
    (parts, artifact(ContentFacts::Dataset, [dataset]))
}

fn create(dataset: Dataset) -> (GrantParts, Artifact) {
    let mut parts = GrantParts::of(Content::CreateReport {
        dataset: dataset.id.clone(),
        target_workspace: "W2".into(),
    });
    parts.item = "new".into();
    let facts = Artifact {
        target_workspace: Some(workspace("W2")),
        ..artifact(ContentFacts::Dataset, [dataset])
    };
    (parts, facts)
}

// === policy ===

fn setting(dataset: &str, security: Security) -> DatasetSetting {
    DatasetSetting {
        dataset: dataset.into(),
        workspace: None,
        security,
        xmla: Xmla::Off,
    }
}

fn named(username: &str) -> Identity {
    Identity {
        username: Some(username.into()),
        ..Identity::default()
    }
}

fn identity<const N: usize>(username: &str, roles: [&str; N]) -> Identity {
    Identity {
        roles: roles.iter().map(ToString::to_string).collect(),
        ..named(username)
    }
}

/// `item` with a change to what is granted.
fn granted(
    (mut parts, artifact): (GrantParts, Artifact),
    change: impl FnOnce(&mut GrantParts),
) -> (GrantParts, Artifact) {
    change(&mut parts);
    (parts, artifact)
}

/// `item` under a rule that gives `identity`.
fn opened_as(item: (GrantParts, Artifact), identity: Identity) -> (GrantParts, Artifact) {
    granted(item, |parts| parts.identity = Some(identity))
}

fn sales() -> Identity {
    identity("ana", ["Sales"])
}

/// Report `R1` over an RLS model, opened as `identity`.
fn secured(identity: Identity) -> Case {
    Case::of([opened_as(report("R1", [rls("D1")]), identity)])
}
