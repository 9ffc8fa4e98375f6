//! The policy seen from outside, for `doctor`: which items there are, what is known of them without a caller, and which
//! rules may reach them.

use std::sync::Arc;

use super::model::{Datasets, Identity, Item, Report, Roles, Rule, Shown, Term};
use super::{Access, Content, DatasetSetting, Kind, Policy, Security, WorkspaceVersion};

/// An item, as far as it is the same for every caller.
#[derive(Clone, Debug)]
pub struct ItemOverview {
    /// Its name.
    pub item: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// What it shows; `None` when that depends on the caller or on the request's `target`.
    pub content: Option<Content>,
    /// Id or name of its workspace; `None` when that depends on the caller.
    pub workspace: Option<String>,
    /// The principal that mints; `None` when that depends on the caller.
    pub principal: Option<String>,
    /// The profile; `None` when that depends on the caller, `Some(None)` when it has none.
    pub profile: Option<Option<String>>,
    /// Generation of the workspace.
    pub workspace_version: WorkspaceVersion,
    /// What secures its own dataset, as asserted.
    pub security: Security,
    /// Its further datasets; workspaces that depend on the caller are left out.
    pub datasets: Vec<DatasetSetting>,
    /// The rules that may reach it, in order.
    pub rules: Vec<RuleOverview>,
}

/// A rule, as far as it is the same for every caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOverview {
    /// Its name.
    pub rule: Arc<str>,
    /// What it gives; `None`: it denies.
    pub gives: Option<GiftOverview>,
}

/// What a rule gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiftOverview {
    /// The highest right.
    pub access: Access,
    /// Whether it gives "save a copy".
    pub save_as: bool,
    /// The identity for datasets without one of their own.
    pub identity: IdentityOverview,
}

/// What is known of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityOverview {
    /// There is none.
    None,
    /// One without roles.
    WithoutRoles,
    /// One with roles, or with an expression that may give some.
    WithRoles,
}

impl Policy {
    /// Every item with the rules that may reach it, in catalogue order.
    #[must_use]
    pub fn overview(&self) -> Vec<ItemOverview> {
        let items = self.items.iter();
        items.map(|item| self.overview_of(item)).collect()
    }

    fn overview_of(&self, item: &Item) -> ItemOverview {
        let datasets = match &item.datasets {
            Datasets::Known(datasets) => datasets.to_vec(),
            Datasets::Evaluated(datasets) => datasets.iter().map(|(it, _)| it.clone()).collect(),
        };
        ItemOverview {
            item: Arc::clone(&item.name),
            kind: item.kind,
            content: known_content(&item.shown),
            workspace: known(&item.workspace),
            principal: known(&item.principal),
            profile: match &item.profile {
                None => Some(None),
                Some(profile) => known(profile).map(Some),
            },
            workspace_version: item.workspace_version,
            security: item.security,
            datasets,
            rules: item
                .rules
                .iter()
                .map(|&rule| rule_overview(&self.rules[rule]))
                .collect(),
        }
    }
}

fn rule_overview(rule: &Rule) -> RuleOverview {
    RuleOverview {
        rule: Arc::clone(&rule.name),
        gives: rule.permission.as_ref().map(|permission| GiftOverview {
            access: permission.access,
            save_as: permission.save_as,
            identity: identity_overview(permission.identity.as_ref()),
        }),
    }
}

fn identity_overview(identity: Option<&Identity>) -> IdentityOverview {
    match identity.map(|identity| &identity.roles) {
        None => IdentityOverview::None,
        Some(Roles::List(roles)) if roles.is_empty() => IdentityOverview::WithoutRoles,
        Some(Roles::List(_) | Roles::Whole(_)) => IdentityOverview::WithRoles,
    }
}

fn known(term: &Term) -> Option<String> {
    term.literal().map(str::to_owned)
}

fn known_content(shown: &Shown) -> Option<Content> {
    Some(match shown {
        Shown::Report(Report::Target) | Shown::PaginatedReport(Report::Target) => return None,
        Shown::Report(Report::Fixed(report)) => Content::Report {
            report: known(report)?,
        },
        Shown::PaginatedReport(Report::Fixed(report)) => Content::PaginatedReport {
            report: known(report)?,
        },
        Shown::Dashboard { dashboard } => Content::Dashboard {
            dashboard: known(dashboard)?,
        },
        Shown::Tile { dashboard, tile } => Content::Tile {
            dashboard: known(dashboard)?,
            tile: known(tile)?,
        },
        Shown::Qna { dataset } => Content::Qna {
            dataset: known(dataset)?,
        },
        Shown::CreateReport {
            dataset,
            target_workspace,
        } => Content::CreateReport {
            dataset: known(dataset)?,
            target_workspace: known(target_workspace)?,
        },
        Shown::Visual {
            report,
            page,
            visual,
        } => Content::Visual {
            report: known(report)?,
            page: page.clone(),
            visual: visual.clone(),
        },
    })
}
