//! Where callers may save reports, and where items find reports by name: the two must not meet.
//!
//! A copy bears whatever name its author gives it. Saved where an item finds its report by name, it makes that name
//! ambiguous for everybody else, other customers included, or takes it. So a policy in which both stand in one workspace
//! as written does not load (`compile::copies`). What depends on the caller is compared at each request, from both sides:
//! whoever saves is refused where an item finds a report by name, and an item is refused whose report is found by name
//! where reports are saved. Each side compares what this caller's expressions give with that, and with what is the same
//! for everybody.
//!
//! Not compared: what the expressions of *both* sides give for two different callers. Neither request knows the other's
//! claims and rows. Such a policy saves one customer's reports in another's workspace.
//!
//! A workspace is given by id or by name. An id and a name are compared by the plan, which knows both of the workspace.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::ItemWorkspace;
use super::model::{Item, Rule, Term};
use super::session::Session;
use crate::guid::is_guid;

/// Items of a policy, by index, that save reports or find them by name; one for each workspace as it is written, so that a
/// large catalogue costs a request no more than a small one.
pub(super) struct Copies {
    /// Those from which some rule lets reports be saved.
    pub(super) saving: Vec<usize>,
    /// Those that find a report by name, or may for some caller.
    pub(super) finding: Vec<usize>,
}

/// What a term says; equal for terms that give every caller the same.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum AsWritten<'a> {
    /// In lower case.
    Id(String),
    Name(&'a str),
    /// With the item, when the expression uses that.
    Expr(&'a str, Option<&'a str>),
}

/// What `term`, which is a part of `item`, says; `None`: it did not compile.
pub(super) fn as_written<'a>(term: &'a Term, item: &'a Item) -> Option<AsWritten<'a>> {
    match term {
        Term::Literal(text) if is_guid(text) => Some(AsWritten::Id(text.to_ascii_lowercase())),
        Term::Literal(text) => Some(AsWritten::Name(text)),
        Term::Expr(expr) => {
            let item = expr.uses("item").then_some(&*item.name);
            Some(AsWritten::Expr(expr.source(), item))
        }
        Term::Broken => None,
    }
}

impl Copies {
    pub(super) fn of(items: &[Item], rules: &[Rule]) -> Self {
        let (mut saving, mut finding) = (Vec::new(), Vec::new());
        let (mut saved_into, mut found_in) = (HashSet::new(), HashSet::new());
        for (index, item) in items.iter().enumerate() {
            let mut permissions = item.rules.iter().flat_map(|&rule| &rules[rule].permission);
            let into = permissions.find_map(|permission| item.saves_into(permission));
            if let Some(into) = into.and_then(|into| as_written(into, item))
                && saved_into.insert(into)
            {
                saving.push(index);
            }
            if let Some(report) = item.named_report()
                && let Some(workspace) = as_written(&item.workspace, item)
            {
                // Which name it is makes no difference; whether it is one may depend on the caller.
                let report = report.literal().is_none().then(|| as_written(report, item));
                if found_in.insert((workspace, report)) {
                    finding.push(index);
                }
            }
        }
        Self { saving, finding }
    }
}

impl Session<'_> {
    /// Workspaces that reports are saved into and that are, or may be, `workspace`.
    pub(super) fn saved_into(&mut self, workspace: &str) -> Arc<[ItemWorkspace]> {
        let policy = self.policy;
        let items = policy.copies.saving.iter().map(|&item| &policy.items[item]);
        items
            .filter_map(|item| self.if_same(workspace, item, item.destination()?))
            .collect()
    }

    /// Workspaces in which items find reports by name and that are, or may be, `workspace`.
    pub(super) fn found_by_name_in(&mut self, workspace: &str) -> Arc<[ItemWorkspace]> {
        let policy = self.policy;
        let items = policy
            .copies
            .finding
            .iter()
            .map(|&item| &policy.items[item]);
        items
            .filter_map(|item| {
                let found = self.if_same(workspace, item, &item.workspace)?;
                let report = self.known(item.named_report()?, item)?;
                (!is_guid(&report)).then_some(found)
            })
            .collect()
    }

    /// The workspace that `term` gives for this caller, unless it is known to be another one than `workspace`.
    fn if_same(&mut self, workspace: &str, item: &Item, term: &Term) -> Option<ItemWorkspace> {
        let other = self.known(term, item)?;
        let comparable = is_guid(workspace) == is_guid(&other);
        (!comparable || same_workspace(workspace, &other)).then(|| ItemWorkspace {
            item: Arc::clone(&item.name),
            workspace: other.into_owned(),
        })
    }

    /// What a term of any item gives for this caller, who may have nothing to do with that item.
    fn known<'t>(&mut self, term: &'t Term, item: &Item) -> Option<Cow<'t, str>> {
        match term {
            Term::Literal(text) => Some(Cow::Borrowed(text)),
            Term::Expr(_) => self.text_if_known(term, item).map(Cow::Owned),
            Term::Broken => None,
        }
    }
}

/// The first of `others` that is `workspace`, both as the policy gives them.
pub(super) fn same_as<'o>(
    workspace: &str,
    others: &'o [ItemWorkspace],
) -> Option<&'o ItemWorkspace> {
    others
        .iter()
        .find(|other| same_workspace(workspace, &other.workspace))
}

fn same_workspace(one: &str, other: &str) -> bool {
    one == other || (is_guid(one) && one.eq_ignore_ascii_case(other))
}
