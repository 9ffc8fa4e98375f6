//! The request in the making: items are added one after another, then it becomes one call.
//!
//! Everything is keyed by id, so nothing is listed twice and equal plans give equal bytes whatever order was asked
//! for. `identities` holds one entry for each dataset or paginated report, also where two entries are alike: which
//! identity a dataset opens with can then be read off one line, and no limit of Power BI counts them.

use std::collections::{BTreeMap, BTreeSet};

use super::artifact::Dataset;
use super::identity::{self, Fitted};
use super::item::{Item, Shown, unavailable};
use super::request::{
    AccessLevel, DatasetV2, DatasourceIdentity, EffectiveIdentity, ReportV2, Request, RequestV1,
    RequestV2, TargetWorkspaceV2, XmlaPermissions,
};
use super::{CacheUntil, Circumstances, Refusal};
use crate::policy::{Access, Xmla};

/// Datasets, reports and target workspaces of one V2 request, each (Power BI's API description).
const MAX_LISTED: usize = 50;

/// What one token is to cover.
#[derive(Default)]
pub(super) struct Draft {
    datasets: BTreeMap<String, Xmla>,
    /// With the right to edit.
    reports: BTreeMap<String, bool>,
    targets: BTreeSet<String>,
    identities: BTreeMap<Subject, Option<Fitted>>,
}

/// What an identity is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Dataset(String),
    PaginatedReport(String),
}

/// The call that mints.
pub(super) struct Call {
    /// Below `v1.0/myorg/`.
    pub(super) path: String,
    pub(super) request: Request,
    pub(super) keep: CacheUntil,
    /// Whether something is opened without an identity.
    pub(super) bare: bool,
}

impl Draft {
    /// Adds what the item shows, its rights and its identities.
    pub(super) fn add(
        &mut self,
        item: &Item<'_>,
        circumstances: &Circumstances<'_>,
    ) -> Result<(), Refusal> {
        self.cover(item)?;
        let rdl = paginated_reports(item);
        if item.grant.identity().is_some() && item.artifact.datasets.is_empty() && rdl.is_empty() {
            return Err(Refusal::RlsMissing(
                "the rule gives an identity, and there is no dataset that it could filter".into(),
            ));
        }
        let mut carried = false;
        for dataset in &item.artifact.datasets {
            let fitted = identity::for_dataset(item, dataset, circumstances)
                .map_err(|refusal| refusal.at(&format!("dataset `{}`", dataset.id)))?;
            carried |=
                fitted.is_some() && item.grant.identity_for(&dataset.id) == item.grant.identity();
            self.identify(Subject::Dataset(dataset.id.clone()), fitted)?;
        }
        for report in rdl {
            let fitted = identity::for_paginated(item, carried, circumstances)
                .map_err(|refusal| refusal.at(&format!("paginated report `{report}`")))?;
            self.identify(Subject::PaginatedReport(report), fitted)?;
        }
        Ok(())
    }

    /// Lists what the item needs, with no more rights than were granted.
    fn cover(&mut self, item: &Item<'_>) -> Result<(), Refusal> {
        for dataset in &item.artifact.datasets {
            let xmla = self.datasets.entry(dataset.id.clone()).or_default();
            if item.declared(dataset).xmla == Xmla::ReadOnly {
                *xmla = Xmla::ReadOnly;
            }
        }
        match &item.shown {
            Shown::Report(report) | Shown::Visual { report, .. } => {
                let edit = self.reports.entry(report.id.clone()).or_default();
                *edit |= item.grant.access() == Access::Edit;
            }
            Shown::Paginated(_)
            | Shown::Dashboard { .. }
            | Shown::Tile { .. }
            | Shown::Qna(_)
            | Shown::Create { .. } => {}
        }
        // Also those inside an interactive report: one that is missing fails inside the iframe only.
        for report in paginated_reports(item) {
            self.reports.entry(report).or_default();
        }
        self.targets
            .extend(item.target()?.map(|target| target.id.clone()));
        Ok(())
    }

    /// One identity for each dataset or paginated report, whoever asks for it.
    fn identify(&mut self, subject: Subject, fitted: Option<Fitted>) -> Result<(), Refusal> {
        match self.identities.get(&subject) {
            Some(other) if *other != fitted => Err(Refusal::NotCombinable(
                "they open the same thing with different identities".into(),
            )),
            Some(_) => Ok(()),
            None => {
                self.identities.insert(subject, fitted);
                Ok(())
            }
        }
    }

    /// The one call that covers it all.
    pub(super) fn into_call(self, items: &[Item<'_>], minutes: u64) -> Result<Call, Refusal> {
        let keep = self
            .fitted()
            .fold(CacheUntil::Expiration, |keep, fitted| keep.and(fitted.keep));
        let entries = self.entries();
        let bare = entries.is_empty() || self.identities.values().any(Option::is_none);
        let sources = self.sources()?;
        let (path, request) = match items {
            [only] if only.is_v1() => {
                if !sources.is_empty() {
                    return Err(Refusal::SecurityMismatch(
                        "`datasource_identities` exist in V2 calls only: use `identity_blob`"
                            .into(),
                    ));
                }
                let (path, access_level, dataset_id) = v1(only)?;
                let several = entries.len() > 1 && !matches!(only.shown, Shown::Dashboard { .. });
                if several {
                    return Err(unavailable("it takes a single identity"));
                }
                let request = RequestV1 {
                    access_level,
                    dataset_id,
                    allow_save_as: only.may_save_copies(),
                    identities: entries,
                    lifetime_in_minutes: minutes,
                };
                (path, Request::V1(request))
            }
            _ => (
                "GenerateToken".to_owned(),
                Request::V2(self.into_v2(entries, sources, minutes)?),
            ),
        };
        Ok(Call {
            path,
            request,
            keep,
            bare,
        })
    }

    fn into_v2(
        self,
        identities: Vec<EffectiveIdentity>,
        datasource_identities: Vec<DatasourceIdentity>,
        lifetime_in_minutes: u64,
    ) -> Result<RequestV2, Refusal> {
        let counts = [
            (self.datasets.len(), "datasets"),
            (self.reports.len(), "reports"),
            (self.targets.len(), "target workspaces"),
        ];
        if let Some((count, what)) = counts.iter().find(|(count, _)| *count > MAX_LISTED) {
            return Err(Refusal::NotCombinable(format!(
                "{count} {what} are more than one token covers ({MAX_LISTED})"
            )));
        }
        Ok(RequestV2 {
            datasets: self.datasets.into_iter().map(dataset_v2).collect(),
            reports: self
                .reports
                .into_iter()
                .map(|(id, allow_edit)| ReportV2 { id, allow_edit })
                .collect(),
            target_workspaces: self
                .targets
                .into_iter()
                .map(|id| TargetWorkspaceV2 { id })
                .collect(),
            identities,
            datasource_identities,
            lifetime_in_minutes,
        })
    }

    fn fitted(&self) -> impl Iterator<Item = &Fitted> {
        self.identities.values().flatten()
    }

    fn entries(&self) -> Vec<EffectiveIdentity> {
        let entry = |(subject, fitted): (&Subject, &Option<Fitted>)| {
            let entry = fitted.as_ref()?.entry.clone()?;
            Some(match subject {
                Subject::Dataset(id) => EffectiveIdentity {
                    datasets: vec![id.clone()],
                    ..entry
                },
                Subject::PaginatedReport(id) => EffectiveIdentity {
                    reports: vec![id.clone()],
                    ..entry
                },
            })
        };
        self.identities.iter().filter_map(entry).collect()
    }

    /// Each data source once.
    fn sources(&self) -> Result<Vec<DatasourceIdentity>, Refusal> {
        let mut sources: BTreeMap<_, &DatasourceIdentity> = BTreeMap::new();
        for source in self.fitted().flat_map(|fitted| &fitted.sources) {
            let other = *sources.entry(&source.datasources).or_insert(source);
            if other != source {
                return Err(Refusal::NotCombinable(
                    "they open one data source with different tokens".into(),
                ));
            }
        }
        Ok(sources.into_values().cloned().collect())
    }
}

fn dataset_v2((id, xmla): (String, Xmla)) -> DatasetV2 {
    DatasetV2 {
        id,
        xmla_permissions: match xmla {
            Xmla::Off => None,
            Xmla::ReadOnly => Some(XmlaPermissions::ReadOnly),
        },
    }
}

/// Ids of the paginated reports that the item shows, itself or inside.
fn paginated_reports(item: &Item<'_>) -> Vec<String> {
    match &item.shown {
        Shown::Paginated(report) => vec![report.id.clone()],
        Shown::Report(_) | Shown::Visual { .. } => item
            .grant
            .paginated_visuals()
            .iter()
            .map(|id| id.to_ascii_lowercase())
            .collect(),
        Shown::Dashboard { .. } | Shown::Tile { .. } | Shown::Qna(_) | Shown::Create { .. } => {
            Vec::new()
        }
    }
}

/// Path, access level and `datasetId` of the V1 call for one item.
fn v1(item: &Item<'_>) -> Result<(String, AccessLevel, Option<String>), Refusal> {
    let level = match item.grant.access() {
        Access::View => AccessLevel::View,
        Access::Edit => AccessLevel::Edit,
        Access::Create => AccessLevel::Create,
    };
    let group = segment(&item.artifact.workspace.id)?;
    Ok(match &item.shown {
        Shown::Report(report) | Shown::Visual { report, .. } => (
            format!(
                "groups/{group}/reports/{}/GenerateToken",
                segment(&report.id)?
            ),
            level,
            None,
        ),
        Shown::Create { dataset, .. } => (
            format!("groups/{group}/reports/GenerateToken"),
            AccessLevel::Create,
            Some(dataset.id.clone()),
        ),
        Shown::Qna(Dataset { id, .. }) => (
            format!("groups/{group}/datasets/{}/GenerateToken", segment(id)?),
            AccessLevel::View,
            None,
        ),
        Shown::Dashboard { id, .. } => (
            format!("groups/{group}/dashboards/{}/GenerateToken", segment(id)?),
            AccessLevel::View,
            None,
        ),
        Shown::Tile { id, dashboard, .. } => (
            format!(
                "groups/{group}/dashboards/{}/tiles/{}/GenerateToken",
                segment(dashboard)?,
                segment(id)?
            ),
            AccessLevel::View,
            None,
        ),
        Shown::Paginated(_) => {
            return Err(unavailable("V1 calls do not cover paginated reports"));
        }
    })
}

/// An id as part of a path. Power BI's are GUIDs; anything that could leave its segment is refused.
fn segment(id: &str) -> Result<&str, Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if id.is_empty() || !id.chars().all(plain) {
        return Err(unavailable("its id is none that a path can hold"));
    }
    Ok(id)
}
