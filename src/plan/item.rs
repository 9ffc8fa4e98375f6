//! One item of a request: its grant beside its facts. [`Item::of`] refuses where the two do not belong together, and
//! what can never be embedded, before anything is said about identities.

use super::artifact::{Artifact, ContentFacts, Dataset, Report, Workspace, WorkspaceKind, same_id};
use super::{Circumstances, MinterKind, Refusal};
use crate::policy::{
    Access, Content, DatasetSetting, Grant, Kind, Security, WorkspaceVersion, Xmla,
};

/// A grant and its facts, known to fit.
pub(super) struct Item<'a> {
    pub(super) grant: &'a Grant,
    pub(super) artifact: &'a Artifact,
    pub(super) shown: Shown<'a>,
}

/// What the item shows, by kind.
pub(super) enum Shown<'a> {
    Report(&'a Report),
    Paginated(&'a Report),
    Visual {
        report: &'a Report,
        page: &'a str,
        visual: &'a str,
    },
    Dashboard {
        id: &'a str,
        embed_url: &'a str,
    },
    Tile {
        id: &'a str,
        dashboard: &'a str,
        embed_url: &'a str,
    },
    Qna(&'a Dataset),
    Create {
        dataset: &'a Dataset,
        target: &'a Workspace,
    },
}

/// What policy says about one dataset.
#[derive(Clone, Copy)]
pub(super) struct Declared {
    pub(super) security: Security,
    pub(super) xmla: Xmla,
}

impl<'a> Item<'a> {
    /// Brings grant and facts together.
    pub(super) fn of(
        grant: &'a Grant,
        artifact: &'a Artifact,
        circumstances: &Circumstances<'_>,
    ) -> Result<Self, Refusal> {
        let item = Self {
            grant,
            artifact,
            shown: Shown::of(grant, artifact)?,
        };
        item.check_workspaces(&circumstances.minter.kind)?;
        item.check_profile(&circumstances.minter.kind)?;
        item.check_declarations()?;
        if item.is_classic() {
            item.check_classic()?;
        }
        Ok(item)
    }

    /// Whether it takes a V1 call: dashboards and tiles have no other, classic workspaces may not use V2.
    pub(super) fn is_v1(&self) -> bool {
        is_v1(self.grant)
    }

    fn is_classic(&self) -> bool {
        self.grant.workspace_version() == WorkspaceVersion::Classic
    }

    /// What policy says about `dataset`.
    pub(super) fn declared(&self, dataset: &Dataset) -> Declared {
        declared(self.grant, self.artifact, dataset)
    }

    /// Whether copies of the shown report may be saved.
    pub(super) fn may_save_copies(&self) -> bool {
        matches!(self.shown, Shown::Report(_)) && self.grant.save_as()
    }

    /// Where copies of the shown report, or the new report, may be saved.
    pub(super) fn target(&self) -> Result<Option<&'a Workspace>, Refusal> {
        match &self.shown {
            Shown::Create { target, .. } => Ok(Some(*target)),
            Shown::Report(_) if self.grant.save_as() => {
                match (
                    self.grant.save_as_workspace(),
                    &self.artifact.target_workspace,
                ) {
                    (_, Some(target)) => Ok(Some(target)),
                    (None, None) => Ok(Some(&self.artifact.workspace)),
                    (Some(_), None) => Err(unavailable("the workspace for copies was not found")),
                }
            }
            Shown::Report(_)
            | Shown::Paginated(_)
            | Shown::Visual { .. }
            | Shown::Dashboard { .. }
            | Shown::Tile { .. }
            | Shown::Qna(_) => Ok(None),
        }
    }

    fn check_workspaces(&self, minter: &MinterKind) -> Result<(), Refusal> {
        let target = self.target()?;
        for workspace in [Some(&*self.artifact.workspace), target]
            .into_iter()
            .flatten()
        {
            match workspace.kind {
                WorkspaceKind::Personal => {
                    return Err(unavailable("a personal workspace is never embedded"));
                }
                WorkspaceKind::Classic if !self.is_classic() => {
                    return Err(unavailable(
                        "its workspace is a classic one: upgrade it, or declare `workspace_version: classic` and mint with a master user",
                    ));
                }
                WorkspaceKind::Classic | WorkspaceKind::Shared => {}
            }
        }
        match minter {
            MinterKind::ServicePrincipal { .. } if self.is_classic() => Err(unavailable(
                "a classic workspace takes a master user: a service principal cannot mint for it",
            )),
            MinterKind::ServicePrincipal { .. } | MinterKind::MasterUser { .. } => Ok(()),
        }
    }

    /// A profile is part of the tenant's isolation: never lost, never invented.
    fn check_profile(&self, minter: &MinterKind) -> Result<(), Refusal> {
        if self.grant.profile().is_some() != self.artifact.profile_id.is_some() {
            return Err(unavailable("its profile was not resolved"));
        }
        match minter {
            MinterKind::MasterUser { .. } if self.artifact.profile_id.is_some() => {
                Err(Refusal::SecurityMismatch(
                    "policy names a profile, and a master user has none".into(),
                ))
            }
            MinterKind::MasterUser { .. } | MinterKind::ServicePrincipal { .. } => Ok(()),
        }
    }

    fn check_declarations(&self) -> Result<(), Refusal> {
        let grant = self.grant;
        for dataset in &self.artifact.datasets {
            let of_setting = setting(grant, dataset).map_or(Security::Auto, |own| own.security);
            let of_item = item_security(grant, self.artifact, dataset);
            if of_setting != Security::Auto && of_item != Security::Auto && of_setting != of_item {
                return Err(Refusal::SecurityMismatch(format!(
                    "policy declares two kinds of security for dataset `{}`: `security` and `datasets` must agree",
                    dataset.id
                )));
            }
        }
        let interactive = matches!(self.shown, Shown::Report(_) | Shown::Visual { .. });
        if !interactive
            && (grant.dataset_binding().is_some() || !grant.paginated_visuals().is_empty())
        {
            return Err(unavailable(
                "`dataset_binding` and `paginated_visuals` are for interactive reports",
            ));
        }
        let of_a_model = match grant.security() {
            Security::CloudRls
            | Security::AsOnPremises
            | Security::AsAzure
            | Security::SsoCloudRls => true,
            Security::Auto | Security::None | Security::Rdl | Security::Sso => false,
        };
        if of_a_model && matches!(self.shown, Shown::Paginated(_)) {
            return Err(Refusal::SecurityMismatch(
                "a paginated report has no dataset of its own: declare the security of those behind it in `datasets`".into(),
            ));
        }
        Ok(())
    }

    /// V1 calls cover one item with its own dataset in its own workspace, nothing else.
    fn check_classic(&self) -> Result<(), Refusal> {
        let artifact = self.artifact;
        let elsewhere = |workspace: &Workspace| !same_id(&workspace.id, &artifact.workspace.id);
        let several = artifact.datasets.len() > 1 && !matches!(self.shown, Shown::Dashboard { .. });
        if several
            || self.grant.dataset_binding().is_some()
            || !self.grant.paginated_visuals().is_empty()
            || self.target()?.is_some_and(elsewhere)
            || artifact
                .datasets
                .iter()
                .any(|dataset| dataset.is_elsewhere(&artifact.workspace))
        {
            return Err(unavailable(
                "in a classic workspace a token covers one item and its own dataset, all in that workspace",
            ));
        }
        Ok(())
    }
}

impl<'a> Shown<'a> {
    fn of(grant: &'a Grant, artifact: &'a Artifact) -> Result<Self, Refusal> {
        match grant.content() {
            Content::Report { .. } => Ok(Self::Report(interactive(artifact)?)),
            Content::PaginatedReport { .. } => Ok(Self::Paginated(paginated(grant, artifact)?)),
            Content::Visual { page, visual, .. } => Ok(Self::Visual {
                report: interactive(artifact)?,
                page,
                visual,
            }),
            Content::Dashboard { .. } => {
                let ContentFacts::Dashboard { id, embed_url } = &artifact.content else {
                    return Err(unavailable("it is no dashboard"));
                };
                Ok(Self::Dashboard { id, embed_url })
            }
            Content::Tile { .. } => {
                let ContentFacts::Tile {
                    id,
                    dashboard_id,
                    embed_url,
                } = &artifact.content
                else {
                    return Err(unavailable("it is no tile"));
                };
                Ok(Self::Tile {
                    id,
                    dashboard: dashboard_id,
                    embed_url,
                })
            }
            Content::Qna { .. } => Ok(Self::Qna(own_dataset(artifact)?)),
            Content::CreateReport { .. } => {
                if grant.access() != Access::Create {
                    return Err(unavailable("no right to create was granted"));
                }
                let target = artifact.target_workspace.as_deref();
                Ok(Self::Create {
                    dataset: own_dataset(artifact)?,
                    target: target
                        .ok_or_else(|| unavailable("the target workspace was not found"))?,
                })
            }
        }
    }
}

/// Whether `grant` takes a V1 call.
pub(super) fn is_v1(grant: &Grant) -> bool {
    matches!(grant.kind(), Kind::Dashboard | Kind::Tile)
        || grant.workspace_version() == WorkspaceVersion::Classic
}

/// What policy says about `dataset`: what `datasets` says of it, and the item itself where it is the item's own.
pub(super) fn declared(grant: &Grant, artifact: &Artifact, dataset: &Dataset) -> Declared {
    let own = is_own(grant, artifact, dataset);
    let setting = setting(grant, dataset);
    let security = setting.map_or(Security::Auto, |setting| setting.security);
    let xmla = setting.map_or(Xmla::Off, |setting| setting.xmla);
    Declared {
        security: if security == Security::Auto {
            item_security(grant, artifact, dataset)
        } else {
            security
        },
        xmla: if own && grant.xmla() == Xmla::ReadOnly {
            Xmla::ReadOnly
        } else {
            xmla
        },
    }
}

/// What the item's own `security` says about `dataset`.
fn item_security(grant: &Grant, artifact: &Artifact, dataset: &Dataset) -> Security {
    // A tile pinned later may bring a dataset that nobody thought of: for a dashboard `none` is said of each by name.
    let by_name_only = grant.kind() == Kind::Dashboard && grant.security() == Security::None;
    if by_name_only || !is_own(grant, artifact, dataset) {
        return Security::Auto;
    }
    grant.security()
}

/// Whether the item's own `security` and `xmla` speak of `dataset`.
fn is_own(grant: &Grant, artifact: &Artifact, dataset: &Dataset) -> bool {
    match &artifact.content {
        ContentFacts::Report(report) => report
            .dataset_id
            .as_deref()
            .is_some_and(|own| same_id(own, &dataset.id)),
        ContentFacts::Dashboard { .. } | ContentFacts::Tile { .. } => {
            setting(grant, dataset).is_none()
        }
        ContentFacts::Dataset => artifact
            .datasets
            .first()
            .is_some_and(|own| same_id(&own.id, &dataset.id)),
    }
}

fn setting<'a>(grant: &'a Grant, dataset: &Dataset) -> Option<&'a DatasetSetting> {
    grant
        .datasets()
        .iter()
        .find(|setting| same_id(&setting.dataset, &dataset.id))
}

fn interactive(artifact: &Artifact) -> Result<&Report, Refusal> {
    let report = report(artifact)?;
    if report.paginated {
        return Err(unavailable(
            "it is a paginated report: declare `kind: paginated_report`",
        ));
    }
    let own = report.dataset_id.as_deref();
    if !artifact
        .datasets
        .iter()
        .any(|dataset| own.is_some_and(|own| same_id(own, &dataset.id)))
    {
        return Err(unavailable("its dataset was not found"));
    }
    Ok(report)
}

fn paginated<'a>(grant: &Grant, artifact: &'a Artifact) -> Result<&'a Report, Refusal> {
    let report = report(artifact)?;
    if report.paginated {
        return Ok(report);
    }
    if grant.security() == Security::Rdl {
        return Err(Refusal::SecurityMismatch(
            "policy says `rdl`, Power BI shows an interactive report".into(),
        ));
    }
    Err(unavailable(
        "it is an interactive report: declare `kind: report`",
    ))
}

fn report(artifact: &Artifact) -> Result<&Report, Refusal> {
    let ContentFacts::Report(report) = &artifact.content else {
        return Err(unavailable("it is no report"));
    };
    Ok(report)
}

fn own_dataset(artifact: &Artifact) -> Result<&Dataset, Refusal> {
    artifact
        .datasets
        .first()
        .map(|dataset| &**dataset)
        .ok_or_else(|| unavailable("its dataset was not found"))
}

pub(super) fn unavailable(cause: &str) -> Refusal {
    Refusal::ItemUnavailable(cause.into())
}
