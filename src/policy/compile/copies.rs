//! Rules that would let callers save reports where an item finds its report by name; see [`copies`](super::super::copies).

use std::collections::HashMap;

use super::super::Kind;
use super::super::copies::{AsWritten, as_written};
use super::super::file::{At, RuleFile};
use super::super::model::{Item, Permission, Term};
use super::Compiler;

impl Compiler<'_> {
    /// A report that is found by name could be replaced by one that is saved beside it.
    pub(super) fn refuse_copies_beside_names(
        &mut self,
        file: &At<RuleFile>,
        permission: &Permission,
        concerned: &[usize],
        items: &[Item],
        path: &str,
    ) {
        let mut saving: HashMap<AsWritten<'_>, &Item> = HashMap::new();
        for item in concerned.iter().map(|&index| &items[index]) {
            let into = item.saves_into(permission);
            if let Some(into) = into.and_then(|term| as_written(term, item)) {
                saving.entry(into).or_insert(item);
            }
        }
        if saving.is_empty() {
            return;
        }
        for item in items {
            let name = item.named_report().and_then(Term::literal);
            let workspace = as_written(&item.workspace, item);
            let saver = workspace.and_then(|workspace| saving.get(&workspace));
            if let (Some(name), Some(saver)) = (name, saver) {
                self.copy_beside_name(file, saver, item, name, path);
            }
        }
    }

    fn copy_beside_name(
        &mut self,
        file: &At<RuleFile>,
        saver: &Item,
        item: &Item,
        name: &str,
        path: &str,
    ) {
        let (key, place, what, elsewhere) = if saver.kind == Kind::CreateReport {
            let place = file.access.as_ref().map(|access| access.place);
            ("access", place, "new reports", "target_workspace")
        } else {
            let place = file.save_as.as_ref().map(|save_as| save_as.place);
            ("save_as", place, "copies", "save_as_workspace")
        };
        self.mistake(
            place.unwrap_or(file.place),
            &format!("{path}.{key}"),
            format!(
                "item `{}` finds its report by the name `{name}` in the workspace that {what} of item `{}` are saved into: one could take the name",
                item.name, saver.name
            ),
            format!(
                "give the report of `{}` by id, or set the `{elsewhere}` of `{}` to another workspace",
                item.name, saver.name
            ),
        );
    }
}
