//! Rules: which items they can concern, and what they give.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use globset::Glob;

use super::super::file::{At, Place, RuleFile, Text};
use super::super::model::{Identity, Item, Permission, Rule, Term};
use super::Compiler;

/// Shortest lifetime: Power BI counts in whole minutes and reads 0 as "the default" (`lifetimeInMinutes` of Generate
/// Token).
const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// The catalogue while rules are sorted into it.
struct Catalogue<'i> {
    items: &'i mut [Item],
    by_name: HashMap<Arc<str>, usize>,
}

impl Compiler<'_> {
    /// Compiles the rules and notes in each item which of them can concern it.
    pub(super) fn rules(&mut self, files: Vec<At<RuleFile>>, items: &mut [Item]) -> Vec<Rule> {
        let names = files
            .iter()
            .enumerate()
            .map(|(index, rule)| (&rule.name, format!("rules[{index}].name")));
        self.refuse_repeats(names, "rule");
        let by_name = (0..items.len())
            .map(|index| (Arc::clone(&items[index].name), index))
            .collect();
        let catalogue = Catalogue { items, by_name };
        files
            .into_iter()
            .enumerate()
            .map(|(index, file)| {
                let path = format!("rules[{index}]");
                let concerned = self.concerned(&file, &catalogue, &path);
                let rule = self.rule(&file, &path);
                for &item in &concerned {
                    catalogue.items[item].rules.push(index);
                }
                if let Some(permission) = &rule.permission {
                    self.refuse_copies_beside_names(
                        &file,
                        permission,
                        &concerned,
                        catalogue.items,
                        &path,
                    );
                }
                rule
            })
            .collect()
    }

    fn rule(&mut self, file: &At<RuleFile>, path: &str) -> Rule {
        let when = file
            .when
            .as_ref()
            .map(|when| self.expr(when, &format!("{path}.when")));
        let permission = if file.deny {
            self.refuse_gifts(file, path);
            None
        } else {
            Some(self.permission(file, path))
        };
        let mut terms: Vec<&Term> = when.iter().collect();
        let when_tables = self.tables_of(&terms);
        terms.extend(permission.iter().flat_map(Permission::terms));
        let tables = self.tables_of(&terms);
        Rule {
            name: file.name.0.as_str().into(),
            when,
            when_tables,
            tables,
            permission,
        }
    }

    fn permission(&mut self, file: &At<RuleFile>, path: &str) -> Permission {
        let identity_path = format!("{path}.identity");
        let identity = if let Some(identity) = &file.identity {
            self.identity(identity, &identity_path)
        } else {
            self.mistake(
                file.place,
                path,
                "the rule neither denies nor says which identity it gives",
                "add `identity:` with a mapping, or `identity: none` for items without row-level security, or `deny: true`",
            );
            Some(Identity {
                username: Some(Term::Broken),
                ..Identity::default()
            })
        };
        Permission {
            access: file
                .access
                .as_ref()
                .map_or_else(Default::default, |access| access.value),
            save_as: file.save_as.as_ref().is_some_and(|save_as| save_as.value),
            identity,
            dataset_identities: self.dataset_identities(file, path),
            lifetime: file
                .lifetime
                .as_ref()
                .and_then(|lifetime| self.lifetime(lifetime, path)),
        }
    }

    fn dataset_identities(
        &mut self,
        file: &RuleFile,
        path: &str,
    ) -> BTreeMap<String, Option<Identity>> {
        let mut identities = BTreeMap::new();
        for (dataset, identity) in &file.dataset_identities.0 {
            let path = format!("{path}.dataset_identities.{dataset}");
            let place = identity.place;
            self.is_sound_literal(dataset, place, &path);
            let id = dataset.to_ascii_lowercase();
            let identity = self.identity(identity, &path);
            if identities.insert(id, identity).is_some() {
                let problem = format!("dataset `{dataset}` stands twice");
                self.mistake(place, &path, problem, "keep one of the entries");
            }
        }
        identities
    }

    fn lifetime(&mut self, lifetime: &At<Text>, path: &str) -> Option<Duration> {
        let path = format!("{path}.lifetime");
        match humantime::parse_duration(&lifetime.0) {
            Ok(duration) if duration >= MIN_LIFETIME => Some(duration),
            Ok(_) => {
                let problem = format!("`{}` is less than a minute", lifetime.0);
                self.mistake(
                    lifetime.place,
                    &path,
                    problem,
                    "Power BI counts in whole minutes: write `1m` or more",
                );
                None
            }
            Err(error) => {
                let problem = format!("`{}` is no duration: {error}", lifetime.0);
                self.mistake(
                    lifetime.place,
                    &path,
                    problem,
                    "write it like `15m` or `1h`",
                );
                None
            }
        }
    }

    /// A rule that denies gives nothing, so what it would give is a misunderstanding.
    fn refuse_gifts(&mut self, file: &RuleFile, path: &str) {
        let gifts: [(&str, Option<Place>); 5] = [
            ("access", file.access.as_ref().map(|it| it.place)),
            (
                "save_as",
                file.save_as
                    .as_ref()
                    .filter(|it| it.value)
                    .map(|it| it.place),
            ),
            ("identity", file.identity.as_ref().map(|it| it.place)),
            (
                "dataset_identities",
                file.dataset_identities.0.first().map(|(_, it)| it.place),
            ),
            ("lifetime", file.lifetime.as_ref().map(|it| it.place)),
        ];
        for (key, place) in gifts {
            if let Some(place) = place {
                self.mistake(
                    place,
                    &format!("{path}.{key}"),
                    format!("a rule that denies gives no `{key}`"),
                    "leave out either `deny: true` or this key",
                );
            }
        }
    }

    /// Indices of the items that a rule names, in catalogue order.
    fn concerned(
        &mut self,
        file: &At<RuleFile>,
        catalogue: &Catalogue<'_>,
        path: &str,
    ) -> Vec<usize> {
        if file.items.is_empty() {
            let problem = "the rule names no item";
            self.mistake(file.place, path, problem, "list items, or [\"*\"] for all");
        }
        let mut concerned = Vec::new();
        for (index, entry) in file.items.iter().enumerate() {
            let path = format!("{path}.items[{index}]");
            if entry.0 == "*" {
                concerned.extend(0..catalogue.items.len());
            } else if entry.0.contains(['*', '?', '[', '{', '\\']) {
                match Glob::new(&entry.0) {
                    Ok(glob) => {
                        let glob = glob.compile_matcher();
                        let items = catalogue.items.iter().enumerate();
                        concerned.extend(
                            items
                                .filter(|(_, item)| glob.is_match(&*item.name))
                                .map(|(index, _)| index),
                        );
                    }
                    Err(error) => {
                        let problem = format!("`{}` is no glob: {}", entry.0, error.kind());
                        self.mistake(entry.place, &path, problem, "write it like `finance-*`");
                    }
                }
            } else if let Some(&item) = catalogue.by_name.get(entry.0.as_str()) {
                concerned.push(item);
            } else {
                self.mistake(
                    entry.place,
                    &path,
                    format!("there is no item `{}`", entry.0),
                    "name an item of the catalogue; only globs may match nothing",
                );
            }
        }
        concerned.sort_unstable();
        concerned.dedup();
        concerned
    }
}
