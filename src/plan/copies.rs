//! Reports that callers save must not lie where an item finds its report by name: one could take the name.
//!
//! Policy has compared the workspaces as it gives them. Here are those of which one is given by id and the other by name;
//! the facts know both.

use super::Refusal;
use super::artifact::{Artifact, Workspace};
use crate::policy::{Grant, ItemWorkspace};

/// Checks one item.
pub(super) fn check(grant: &Grant, artifact: &Artifact) -> Result<(), Refusal> {
    let found_in = &artifact.workspace;
    if let Some(other) = same_as(found_in, grant.saved_into()) {
        return Err(Refusal::NotPermitted(format!(
            "its report is found by name in workspace {}, into which reports of item `{}` are saved, and one could take the name: give it by id",
            found_in.id, other.item
        )));
    }
    let own = grant.save_as().then_some(found_in);
    let into = artifact.target_workspace.as_ref().or(own);
    match into.and_then(|into| same_as(into, grant.found_by_name_in())) {
        Some(other) => Err(Refusal::NotPermitted(format!(
            "reports would be saved into the workspace {} in which item `{}` finds its report by name, and one could take the name: give that by id",
            other.workspace, other.item
        ))),
        None => Ok(()),
    }
}

/// The first of `others` that is `workspace`.
fn same_as<'o>(workspace: &Workspace, others: &'o [ItemWorkspace]) -> Option<&'o ItemWorkspace> {
    others.iter().find(|other| workspace.is(&other.workspace))
}
