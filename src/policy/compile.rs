//! From a policy file to a [`Policy`]: resolves names, compiles expressions, checks literals, runs the cases, and
//! reports every mistake with its place and remedy.
//!
//! Whatever is wrong becomes a [`Mistake`] and leaves a [`Term::Broken`] behind, so that one run finds everything: the
//! rest is compiled, and the cases that touch nothing broken are run. A policy with a mistake is never handed out.

mod copies;
mod identities;
mod items;
mod keys;
mod kinds;
mod rules;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::copies::Copies;
use super::file::{At, Ordered, Place, PolicyFile, Scalar, TableFile, Text, read};
use super::model::Term;
use super::tables::{Rows, Table};
use super::{Policy, Surroundings, cases};
use crate::config::Mistake;
use crate::expr::{Expr, Reads};

/// Variables that every expression may name, beside the tables.
const VARIABLES: [&str; 3] = ["claims", "issuer", "item"];

/// Words of CEL (language definition, "Syntax") and names of its types: no table may be called so.
const RESERVED: &[&str] = &[
    "as",
    "bool",
    "break",
    "bytes",
    "const",
    "continue",
    "double",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "int",
    "let",
    "list",
    "loop",
    "map",
    "namespace",
    "null",
    "null_type",
    "package",
    "return",
    "string",
    "true",
    "type",
    "uint",
    "var",
    "void",
    "while",
];

/// Collects mistakes while it compiles.
pub(super) struct Compiler<'a> {
    label: &'a str,
    surroundings: &'a Surroundings,
    /// Names of the tables, sound or not, so that one bad table does not make every expression unknown.
    tables: Vec<String>,
    blob_headers: BTreeSet<String>,
    /// What all expressions together read of the claims.
    claims: Reads,
    mistakes: Vec<Mistake>,
}

/// Compiles `text`; `label` names it in mistakes, and `folder` is where relative `rows_file`s are looked for.
///
/// # Errors
/// Every mistake.
pub(super) fn compile(
    text: &str,
    label: &str,
    folder: Option<&Path>,
    surroundings: &Surroundings,
) -> Result<Policy, Vec<Mistake>> {
    let file = read(text, label).map_err(|mistake| vec![mistake])?;
    let PolicyFile {
        tables,
        items,
        rules,
        cases,
    } = file;
    let mut compiler = Compiler {
        label,
        surroundings,
        tables: tables.0.iter().map(|(name, _)| name.clone()).collect(),
        blob_headers: BTreeSet::new(),
        claims: Reads::default(),
        mistakes: Vec::new(),
    };

    let mut files = Vec::new();
    let tables = compiler.tables(tables, folder, &mut files);
    let mut items = compiler.items(items);
    let rules = compiler.rules(rules, &mut items);
    let mut policy = Policy {
        files,
        blob_headers: std::mem::take(&mut compiler.blob_headers)
            .into_iter()
            .collect(),
        issuers: surroundings.issuers.clone(),
        principals: surroundings.principals.keys().cloned().collect(),
        by_name: items
            .iter()
            .enumerate()
            .map(|(index, item)| (std::sync::Arc::clone(&item.name), index))
            .collect(),
        tables,
        copies: Copies::of(&items, &rules),
        items,
        rules,
        claims: compiler.claims.clone(),
        cases: Vec::new(),
    };
    policy.cases = cases::check(&policy, cases, &mut compiler);
    if compiler.mistakes.is_empty() {
        Ok(policy)
    } else {
        Err(compiler.mistakes)
    }
}

impl Compiler<'_> {
    /// Notes a mistake.
    pub(super) fn mistake(
        &mut self,
        place: Place,
        path: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let Place { line, column } = place;
        let place = format!("{}:{line}:{column} {path}", self.label);
        self.mistakes.push(Mistake::new(place, problem, remedy));
    }

    /// Configured names of the issuers.
    pub(super) fn issuers(&self) -> &[String] {
        &self.surroundings.issuers
    }

    /// A table's index.
    pub(super) fn table(&self, name: &str) -> Option<usize> {
        self.tables.iter().position(|table| table == name)
    }

    /// A literal that identifies something, or an expression that gives it.
    fn term(&mut self, scalar: &At<Scalar>, path: &str) -> Term {
        match &scalar.value {
            Scalar::Literal(text) => self.literal_term(text, scalar.place, path),
            Scalar::Cel(source) => self.expr(source, path),
        }
    }

    fn optional_term(&mut self, scalar: Option<&At<Scalar>>, path: &str) -> Option<Term> {
        scalar.map(|scalar| self.term(scalar, path))
    }

    fn literal_term(&mut self, text: &str, place: Place, path: &str) -> Term {
        if self.is_sound_literal(text, place, path) {
            Term::Literal(text.to_owned())
        } else {
            Term::Broken
        }
    }

    /// A literal that identifies something and cannot be an expression.
    fn literal(&mut self, text: &At<Text>, path: &str) -> String {
        self.is_sound_literal(&text.0, text.place, path);
        text.0.clone()
    }

    fn is_sound_literal(&mut self, text: &str, place: Place, path: &str) -> bool {
        if text.is_empty() {
            self.mistake(
                place,
                path,
                "is empty",
                "write a value, or leave the key out",
            );
            return false;
        }
        let root = text.split_once('.').map(|(root, _)| root);
        let forgotten = root.is_some_and(|root| root == "claims" || self.table(root).is_some());
        if forgotten {
            self.mistake(
                place,
                path,
                format!("`{text}` is a literal, but reads like an expression"),
                format!("write {{ cel: \"{text}\" }}"),
            );
        }
        !forgotten
    }

    /// Compiles an expression over all variables and tables.
    fn expr(&mut self, source: &At<Text>, path: &str) -> Term {
        let tables = self.tables.clone();
        let tables = tables.iter().map(String::as_str);
        let names: Vec<&str> = VARIABLES.into_iter().chain(tables).collect();
        self.expr_over(&names, source, path)
    }

    fn expr_over(&mut self, names: &[&str], source: &At<Text>, path: &str) -> Term {
        match Expr::compile(&source.0, names) {
            Ok(expr) => {
                if let Some(reads) = expr.reads("claims") {
                    self.claims.add(reads);
                }
                Term::Expr(Box::new(expr))
            }
            Err(error) => {
                let remedy = format!("write a CEL expression over `{}`", names.join("`, `"));
                self.mistake(source.place, path, error.message, remedy);
                Term::Broken
            }
        }
    }

    /// Indices of the tables that any of `terms` names.
    fn tables_of(&self, terms: &[&Term]) -> Vec<usize> {
        (0..self.tables.len())
            .filter(|&table| terms.iter().any(|term| term.uses(&self.tables[table])))
            .collect()
    }

    fn tables(
        &mut self,
        tables: Ordered<TableFile>,
        folder: Option<&Path>,
        files: &mut Vec<PathBuf>,
    ) -> Vec<Table> {
        tables
            .0
            .into_iter()
            .map(|(name, table)| {
                let path = format!("tables.{name}");
                self.table_name(&name, table.place, &path);
                let key = self.key(&table, &path);
                let rows = self.table_rows(table, &path, folder, files);
                Table {
                    name: name.into_boxed_str(),
                    key,
                    rows,
                }
            })
            .collect()
    }

    fn table_name(&mut self, text: &str, place: Place, path: &str) {
        let mut characters = text.chars();
        let identifier = characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && characters.all(|next| next.is_ascii_alphanumeric() || next == '_');
        if !identifier || RESERVED.contains(&text) {
            self.mistake(
                place,
                path,
                format!("`{text}` cannot be the name of a variable"),
                "name the table with letters, digits and `_`, and with no word of CEL",
            );
        } else if VARIABLES.contains(&text) {
            self.mistake(
                place,
                path,
                format!("the table would hide the variable `{text}`"),
                "give the table another name",
            );
        }
    }

    fn table_rows(
        &mut self,
        table: At<TableFile>,
        path: &str,
        folder: Option<&Path>,
        files: &mut Vec<PathBuf>,
    ) -> Rows {
        let place = table.place;
        match (table.value.rows, table.value.rows_file) {
            (Some(rows), None) => rows,
            (None, Some(file)) => {
                let Some(folder) = folder else {
                    self.mistake(
                        file.place,
                        &format!("{path}.rows_file"),
                        "there is no folder to look for files in",
                        "write the rows inline",
                    );
                    return Rows::default();
                };
                let rows_path = folder.join(&file.0);
                let rows = Rows::from_file(&rows_path);
                files.push(rows_path);
                rows.unwrap_or_else(|mut mistake| {
                    mistake.place = format!("{} {path}.rows_file", mistake.place);
                    self.mistakes.push(mistake);
                    Rows::default()
                })
            }
            (rows, _) => {
                let problem = if rows.is_some() {
                    "has both `rows` and `rows_file`"
                } else {
                    "has neither `rows` nor `rows_file`"
                };
                self.mistake(
                    place,
                    path,
                    problem,
                    "give exactly one of `rows` and `rows_file`",
                );
                rows.unwrap_or_default()
            }
        }
    }

    /// Reports a name that stands twice in a list.
    pub(super) fn refuse_repeats<'n>(
        &mut self,
        names: impl Iterator<Item = (&'n At<Text>, String)>,
        what: &str,
    ) {
        let mut seen: HashMap<&str, u64> = HashMap::new();
        for (name, path) in names {
            if name.0.is_empty() {
                self.mistake(name.place, &path, "is empty", format!("name the {what}"));
            } else if let Some(line) = seen.get(name.0.as_str()) {
                let problem = format!("line {line} has a {what} of the name `{}` already", name.0);
                self.mistake(
                    name.place,
                    &path,
                    problem,
                    format!("give every {what} its own name"),
                );
            } else {
                seen.insert(&name.0, name.place.line);
            }
        }
    }
}
