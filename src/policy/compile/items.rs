//! Items: which keys fit which kind, and every literal and expression in them.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::file::{At, DatasetFile, ItemFile, Ordered, Place, Scalar, Text};
use super::super::model::{Datasets, Item, Report, Shown, Term};
use super::super::{DatasetSetting, Kind, Security, Xmla};
use super::Compiler;

/// Characters that make a rule's entry a glob, and one that would split a URL.
const NOT_IN_NAMES: &[char] = &['*', '?', '[', ']', '{', '}', '!', '\\', '/'];

/// Longest name of an item.
const MAX_NAME: usize = 128;

/// What the plan puts into `embedConfig` by itself (powerbi-models, `IEmbedConfiguration` and its kin); compared
/// without regard to case.
const NOT_IN_EMBED: &[&str] = &[
    "accessToken",
    "dashboardId",
    "datasetBinding",
    "datasetId",
    "datasetIds",
    "embedUrl",
    "eventHooks",
    "groupId",
    "hostname",
    "id",
    "permissions",
    "reportId",
    "tileId",
    "token",
    "tokenType",
    "type",
    "uniqueId",
    "url",
    "viewMode",
    "visualName",
];

impl Compiler<'_> {
    pub(super) fn items(&mut self, items: Ordered<ItemFile>) -> Vec<Item> {
        items
            .0
            .into_iter()
            .map(|(name, item)| {
                let path = format!("items.{name}");
                self.item_name(&name, item.place, &path);
                self.item(&name, &item, item.place, &path)
            })
            .collect()
    }

    fn item_name(&mut self, text: &str, place: Place, path: &str) {
        let unusable = text.is_empty()
            || text.chars().count() > MAX_NAME
            || text.trim() != text
            || text.contains(NOT_IN_NAMES)
            || text.contains(char::is_control);
        if unusable {
            self.mistake(
                place,
                path,
                format!("`{}` cannot be the name of an item", text.escape_default()),
                format!(
                    "use 1 to {MAX_NAME} characters, none of * ? [ ] {{ }} ! \\ / and no blank at either end"
                ),
            );
        }
    }

    fn item(&mut self, name: &str, file: &ItemFile, place: Place, path: &str) -> Item {
        self.particulars(file, place, path);
        let embed = self.embed(file, path);
        let mut item = Item {
            name: name.into(),
            title: file
                .title
                .as_ref()
                .map_or(name, |title| title.0.as_str())
                .to_owned(),
            kind: file.kind,
            variable: json!({ "name": name, "kind": file.kind }),
            shown: self.shown(file, path),
            workspace: self.term(&file.workspace, &format!("{path}.workspace")),
            principal: self.principal(file.principal.as_ref(), place, path),
            profile: self.optional_term(file.profile.as_ref(), &format!("{path}.profile")),
            dataset_workspace: self.optional_term(
                file.dataset_workspace.as_ref(),
                &format!("{path}.dataset_workspace"),
            ),
            save_as_workspace: self.optional_term(
                file.save_as_workspace.as_ref(),
                &format!("{path}.save_as_workspace"),
            ),
            workspace_version: file.workspace_version,
            security: file
                .security
                .as_ref()
                .map_or(Security::Auto, |security| security.value),
            xmla: file.xmla.as_ref().map_or(Xmla::Off, |xmla| xmla.value),
            datasets: self.datasets(&file.datasets, file.kind, path),
            dataset_binding: self.dataset_binding(file, path),
            paginated_visuals: self.paginated_visuals(&file.paginated_visuals, path),
            embed,
            tables: Vec::new(),
            rules: Vec::new(),
        };
        item.tables = self.tables_of(&item.terms());
        item
    }

    fn shown(&mut self, file: &ItemFile, path: &str) -> Shown {
        match file.kind {
            Kind::Report => Shown::Report(self.report(file, path)),
            Kind::PaginatedReport => Shown::PaginatedReport(self.report(file, path)),
            Kind::Dashboard => Shown::Dashboard {
                dashboard: self.part(file.dashboard.as_ref(), "dashboard", path),
            },
            Kind::Tile => Shown::Tile {
                dashboard: self.part(file.dashboard.as_ref(), "dashboard", path),
                tile: self.part(file.tile.as_ref(), "tile", path),
            },
            Kind::Qna => Shown::Qna {
                dataset: self.part(file.dataset.as_ref(), "dataset", path),
            },
            Kind::CreateReport => Shown::CreateReport {
                dataset: self.part(file.dataset.as_ref(), "dataset", path),
                target_workspace: self.part(
                    file.target_workspace.as_ref(),
                    "target_workspace",
                    path,
                ),
            },
            Kind::Visual => Shown::Visual {
                report: self.part(file.report.as_ref(), "report", path),
                page: self.word(file.page.as_ref(), "page", path),
                visual: self.word(file.visual.as_ref(), "visual", path),
            },
        }
    }

    fn report(&mut self, file: &ItemFile, path: &str) -> Report {
        if file.report.as_ref().is_some_and(is_star) {
            Report::Target
        } else {
            Report::Fixed(self.part(file.report.as_ref(), "report", path))
        }
    }

    /// A reference to something that Power BI holds; its absence is reported by [`particulars`](Self::particulars).
    fn part(&mut self, scalar: Option<&At<Scalar>>, key: &str, path: &str) -> Term {
        let Some(scalar) = scalar else {
            return Term::Broken;
        };
        let path = format!("{path}.{key}");
        if is_star(scalar) {
            self.mistake(
                scalar.place,
                &path,
                "`*` stands for the request's `target`, which only `report` and `paginated_report` have",
                "name one",
            );
            return Term::Broken;
        }
        self.term(scalar, &path)
    }

    fn word(&mut self, text: Option<&At<Text>>, key: &str, path: &str) -> String {
        text.map(|text| self.literal(text, &format!("{path}.{key}")))
            .unwrap_or_default()
    }

    fn principal(&mut self, scalar: Option<&At<Scalar>>, place: Place, path: &str) -> Term {
        let path = format!("{path}.principal");
        let (term, place) = match scalar {
            Some(scalar) => (self.term(scalar, &path), scalar.place),
            None => (Term::Literal("default".to_owned()), place),
        };
        let Some(name) = term.literal() else {
            return term;
        };
        if self.surroundings.principals.contains_key(name) {
            return term;
        }
        let known: Vec<&str> = self
            .surroundings
            .principals
            .keys()
            .map(String::as_str)
            .collect();
        let problem = format!("no principal `{name}` is configured");
        let remedy = format!("name one of: {}", known.join(", "));
        self.mistake(place, &path, problem, remedy);
        Term::Broken
    }

    fn datasets(&mut self, files: &[At<DatasetFile>], kind: Kind, path: &str) -> Datasets {
        let mut datasets: Vec<(DatasetSetting, Option<Term>)> = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let path = format!("{path}.datasets[{index}]");
            let dataset = self.literal(&file.dataset, &format!("{path}.dataset"));
            if datasets
                .iter()
                .any(|(other, _)| other.dataset.eq_ignore_ascii_case(&dataset))
            {
                let problem = format!("dataset `{dataset}` stands twice");
                self.mistake(
                    file.dataset.place,
                    &path,
                    problem,
                    "keep one of the entries",
                );
            }
            if let Some(xmla) = &file.xmla
                && xmla.value == Xmla::ReadOnly
                && matches!(kind, Kind::Dashboard | Kind::Tile)
            {
                self.mistake(
                    xmla.place,
                    &format!("{path}.xmla"),
                    "tokens for dashboards and tiles carry no XMLA right",
                    "leave it out",
                );
            }
            let term = self.optional_term(file.workspace.as_ref(), &format!("{path}.workspace"));
            let setting = DatasetSetting {
                dataset,
                workspace: term.as_ref().and_then(Term::literal).map(str::to_owned),
                security: file.security,
                xmla: file.xmla.as_ref().map_or(Xmla::Off, |xmla| xmla.value),
            };
            datasets.push((setting, term.filter(|term| term.literal().is_none())));
        }
        if datasets.iter().all(|(_, term)| term.is_none()) {
            Datasets::Known(datasets.into_iter().map(|(setting, _)| setting).collect())
        } else {
            Datasets::Evaluated(datasets)
        }
    }

    fn dataset_binding(&mut self, file: &ItemFile, path: &str) -> Option<String> {
        let binding = file.dataset_binding.as_ref()?;
        let listed = file
            .datasets
            .iter()
            .find(|dataset| dataset.dataset.0.eq_ignore_ascii_case(&binding.0));
        if listed.is_none() {
            self.mistake(
                binding.place,
                &format!("{path}.dataset_binding"),
                format!("`{}` is not among the item's `datasets`", binding.0),
                "add it to `datasets`: the token must cover it",
            );
        }
        listed.map(|dataset| dataset.dataset.0.clone())
    }

    fn paginated_visuals(&mut self, ids: &[At<Text>], path: &str) -> Arc<[String]> {
        ids.iter()
            .enumerate()
            .map(|(index, id)| self.literal(id, &format!("{path}.paginated_visuals[{index}]")))
            .collect()
    }

    fn embed(&mut self, file: &ItemFile, path: &str) -> Arc<Map<String, Value>> {
        let Some(embed) = &file.embed else {
            return Arc::default();
        };
        for key in embed.keys() {
            let reserved = NOT_IN_EMBED
                .iter()
                .any(|word| word.eq_ignore_ascii_case(key));
            let page = file.kind == Kind::Visual && key.eq_ignore_ascii_case("pageName");
            if reserved || page {
                self.mistake(
                    embed.place,
                    &format!("{path}.embed.{key}"),
                    format!("`{key}` is set by the broker"),
                    "leave it out: ids, type, URL, token and permissions come from the item and the grant",
                );
            }
        }
        Arc::new(embed.value.clone())
    }
}

fn is_star(scalar: &At<Scalar>) -> bool {
    matches!(&scalar.value, Scalar::Literal(text) if text == "*")
}
