//! A policy as [`compile`](super::compile) leaves it and [`decide`](super::decide) reads it: names resolved to indices,
//! expressions compiled, rules sorted by item.
//!
//! A part that did not compile is [`Term::Broken`]. A policy with such a part is never handed out; it exists so that
//! the policy's cases can still be run and reported together with every other mistake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::tables::Row;
use super::{
    Access, Ask, DatasetSetting, DatasourceIdentity, Kind, Security, WorkspaceVersion, Xmla,
};
use crate::authn::Caller;
use crate::expr::Expr;
use crate::guid::is_guid;

/// A value that is known at load, or an expression that gives it for a caller.
#[derive(Debug)]
pub(super) enum Term {
    /// Written as it is.
    Literal(String),
    /// Evaluated for each caller.
    Expr(Box<Expr>),
    /// A mistake was reported for it.
    Broken,
}

/// A catalogue item.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: Arc<str>,
    pub(super) title: String,
    pub(super) kind: Kind,
    /// The CEL variable `item`.
    pub(super) variable: Value,
    pub(super) shown: Shown,
    pub(super) workspace: Term,
    pub(super) principal: Term,
    pub(super) profile: Option<Term>,
    pub(super) dataset_workspace: Option<Term>,
    pub(super) save_as_workspace: Option<Term>,
    pub(super) workspace_version: WorkspaceVersion,
    pub(super) security: Security,
    pub(super) xmla: Xmla,
    pub(super) datasets: Datasets,
    pub(super) dataset_binding: Option<String>,
    pub(super) paginated_visuals: Arc<[String]>,
    pub(super) embed: Arc<Map<String, Value>>,
    /// Tables that any of its expressions names.
    pub(super) tables: Vec<usize>,
    /// Rules that can concern it, in order.
    pub(super) rules: Vec<usize>,
}

/// What an item shows.
#[derive(Debug)]
pub(super) enum Shown {
    Report(Report),
    PaginatedReport(Report),
    Dashboard {
        dashboard: Term,
    },
    Tile {
        dashboard: Term,
        tile: Term,
    },
    Qna {
        dataset: Term,
    },
    CreateReport {
        dataset: Term,
        target_workspace: Term,
    },
    Visual {
        report: Term,
        page: String,
        visual: String,
    },
}

/// Which report.
#[derive(Debug)]
pub(super) enum Report {
    /// This one.
    Fixed(Term),
    /// `"*"`: the one that the request's `target` names.
    Target,
}

/// The further datasets of an item.
#[derive(Debug)]
pub(super) enum Datasets {
    /// The same for every caller.
    Known(Arc<[DatasetSetting]>),
    /// With a workspace that depends on the caller.
    Evaluated(Vec<(DatasetSetting, Option<Term>)>),
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) when: Option<Term>,
    /// Tables that `when` names.
    pub(super) when_tables: Vec<usize>,
    /// Tables that any of its expressions names.
    pub(super) tables: Vec<usize>,
    /// What it gives; `None`: it denies.
    pub(super) permission: Option<Permission>,
}

/// What a rule gives.
#[derive(Debug)]
pub(super) struct Permission {
    pub(super) access: Access,
    pub(super) save_as: bool,
    pub(super) identity: Option<Identity>,
    pub(super) dataset_identities: BTreeMap<String, Option<Identity>>,
    pub(super) lifetime: Option<Duration>,
}

/// An effective identity before its expressions are evaluated.
#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) username: Option<Term>,
    pub(super) roles: Roles,
    pub(super) custom_data: Option<Term>,
    pub(super) auditable_context: Option<Term>,
    pub(super) blob: Option<String>,
    pub(super) datasource_identities: Vec<DatasourceIdentity>,
}

/// Roles before evaluation.
#[derive(Debug)]
pub(super) enum Roles {
    /// Each gives a role, or a list of roles.
    List(Vec<Term>),
    /// Gives the whole list.
    Whole(Term),
}

/// A case, kept after it was run: its caller leads to a place.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) caller: Caller,
    /// Rows that it brings, by table.
    pub(super) rows: Vec<(usize, Option<Row>)>,
    pub(super) ask: Ask,
}

impl Default for Roles {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Term {
    /// Whether it names the variable `name`.
    pub(super) fn uses(&self, name: &str) -> bool {
        match self {
            Self::Expr(expr) => expr.uses(name),
            Self::Literal(_) | Self::Broken => false,
        }
    }

    /// Whether the value of the claim `claim` can become part of its value.
    pub(super) fn passes_on(&self, claim: &str) -> bool {
        match self {
            Self::Expr(expr) => expr.passes_on("claims", claim),
            Self::Literal(_) | Self::Broken => false,
        }
    }

    /// Its value, when that is the same for every caller.
    pub(super) fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Expr(_) | Self::Broken => None,
        }
    }

    /// Whether both are written alike.
    pub(super) fn same_as_written(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Expr(a), Self::Expr(b)) => a.source() == b.source(),
            (Self::Literal(_) | Self::Expr(_) | Self::Broken, _) => false,
        }
    }
}

impl Item {
    /// Every term, for what must look at all of them.
    pub(super) fn terms(&self) -> Vec<&Term> {
        let mut terms = vec![&self.workspace, &self.principal];
        terms.extend(&self.profile);
        terms.extend(&self.dataset_workspace);
        terms.extend(&self.save_as_workspace);
        terms.extend(self.shown.terms());
        if let Datasets::Evaluated(datasets) = &self.datasets {
            terms.extend(
                datasets
                    .iter()
                    .filter_map(|(_, workspace)| workspace.as_ref()),
            );
        }
        terms
    }

    /// Where reports are saved: copies of its own, or new ones; `None`: its kind saves none.
    pub(super) fn destination(&self) -> Option<&Term> {
        match &self.shown {
            Shown::Report(_) => Some(self.save_as_workspace.as_ref().unwrap_or(&self.workspace)),
            Shown::CreateReport {
                target_workspace, ..
            } => Some(target_workspace),
            Shown::PaginatedReport(_)
            | Shown::Dashboard { .. }
            | Shown::Tile { .. }
            | Shown::Qna { .. }
            | Shown::Visual { .. } => None,
        }
    }

    /// The same, when `permission` lets callers save them.
    pub(super) fn saves_into(&self, permission: &Permission) -> Option<&Term> {
        let lets = match self.kind {
            Kind::CreateReport => permission.access == Access::Create,
            Kind::Report
            | Kind::PaginatedReport
            | Kind::Dashboard
            | Kind::Tile
            | Kind::Qna
            | Kind::Visual => permission.save_as,
        };
        self.destination().filter(|_| lets)
    }

    /// The report that it finds by name, or may for some caller.
    pub(super) fn named_report(&self) -> Option<&Term> {
        match &self.shown {
            Shown::Report(Report::Fixed(report))
            | Shown::PaginatedReport(Report::Fixed(report))
            | Shown::Visual { report, .. } => {
                Some(report).filter(|report| !report.literal().is_some_and(is_guid))
            }
            Shown::Report(Report::Target)
            | Shown::PaginatedReport(Report::Target)
            | Shown::Dashboard { .. }
            | Shown::Tile { .. }
            | Shown::Qna { .. }
            | Shown::CreateReport { .. } => None,
        }
    }

    /// Whether the request must say which report.
    pub(super) fn needs_target(&self) -> bool {
        matches!(
            self.shown,
            Shown::Report(Report::Target) | Shown::PaginatedReport(Report::Target)
        )
    }
}

impl Shown {
    fn terms(&self) -> Vec<&Term> {
        match self {
            Self::Report(Report::Target) | Self::PaginatedReport(Report::Target) => vec![],
            Self::Report(Report::Fixed(term)) | Self::PaginatedReport(Report::Fixed(term)) => {
                vec![term]
            }
            Self::Dashboard { dashboard } => vec![dashboard],
            Self::Tile { dashboard, tile } => vec![dashboard, tile],
            Self::Qna { dataset } => vec![dataset],
            Self::CreateReport {
                dataset,
                target_workspace,
            } => vec![dataset, target_workspace],
            Self::Visual { report, .. } => vec![report],
        }
    }
}

impl Permission {
    /// Every term of its identities.
    pub(super) fn terms(&self) -> Vec<&Term> {
        let identities = self
            .dataset_identities
            .values()
            .chain([&self.identity])
            .flatten();
        let mut terms = Vec::new();
        for identity in identities {
            terms.extend(&identity.username);
            terms.extend(&identity.custom_data);
            terms.extend(&identity.auditable_context);
            match &identity.roles {
                Roles::List(roles) => terms.extend(roles),
                Roles::Whole(roles) => terms.push(roles),
            }
        }
        terms
    }
}
