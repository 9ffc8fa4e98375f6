//! One caller's look at the policy: variables, table rows and conditions, each evaluated at most once.
//!
//! Everything that a decision reads about the caller goes through here and is noted on the way, so `explain` shows
//! what `decide` saw.

use std::collections::HashMap;

use serde_json::Value;

use super::Policy;
use super::model::{Item, Rule, Term};
use super::tables::{Row, key_text};
use super::trace::{RuleOutcome, RuleTrace, TableTrace};
use crate::authn::Caller;
use crate::expr::Scope;

/// What stands in the scope for a row that is not there: any use of it is an error.
const NO_ROW: Value = Value::Null;

/// The evaluation of one request.
pub(super) struct Session<'a> {
    pub(super) policy: &'a Policy,
    /// `claims`, `issuer` and the rows that were looked up so far.
    scope: Scope,
    /// By table; `None`: not looked up yet.
    lookups: Vec<Option<Lookup>>,
    /// Outcomes of conditions that do not depend on the item, by rule.
    conditions: HashMap<usize, Result<bool, String>>,
    /// The rules that were considered, in order.
    considered: Vec<RuleTrace>,
    /// Whether something that did not compile was needed.
    broken: bool,
}

/// What the caller has in a table.
struct Lookup {
    key: Result<String, String>,
    row: Option<Value>,
}

impl<'a> Session<'a> {
    pub(super) fn new(policy: &'a Policy, caller: &Caller) -> Self {
        let scope = Scope::new()
            .with_members("claims", caller.claims(), &policy.claims)
            .with("issuer", &Value::from(caller.issuer()));
        Self {
            policy,
            scope,
            lookups: policy.tables.iter().map(|_| None).collect(),
            conditions: HashMap::new(),
            considered: Vec::new(),
            broken: false,
        }
    }

    /// Puts a row in place of what the look-up in `table` would find.
    pub(super) fn assume_row(&mut self, table: usize, row: Option<Row>) {
        let row = row.map(|Row(row)| Value::Object(row));
        let key = Ok("(given)".to_owned());
        self.enter(table, Lookup { key, row });
    }

    /// Whether something that did not compile was needed.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The rules considered and the tables looked up.
    pub(super) fn into_trace(self) -> (Vec<RuleTrace>, Vec<TableTrace>) {
        let tables = self.policy.tables.iter().zip(self.lookups);
        let tables = tables
            .filter_map(|(table, lookup)| {
                let Lookup { key, row } = lookup?;
                let table = table.name.to_string();
                Some(TableTrace { table, key, row })
            })
            .collect();
        (self.considered, tables)
    }

    /// The first rule that matches `item`.
    ///
    /// # Errors
    /// The rule that ended the search and why, or no rule when none matched.
    pub(super) fn first_match(
        &mut self,
        item: &Item,
    ) -> Result<&'a Rule, (Option<&'a Rule>, String)> {
        let policy = self.policy;
        for &index in &item.rules {
            let rule = &policy.rules[index];
            let matched = self.condition(index, rule, item);
            let outcome = match &matched {
                Ok(true) => RuleOutcome::Matched,
                Ok(false) => RuleOutcome::ConditionFalse,
                Err(cause) => RuleOutcome::Failed(cause.clone()),
            };
            self.considered.push(RuleTrace {
                rule: rule.name.clone(),
                outcome,
            });
            match matched {
                Ok(true) => return Ok(rule),
                Ok(false) => {}
                Err(cause) => return Err((Some(rule), format!("`when` failed: {cause}"))),
            }
        }
        Err((None, "no rule matches".to_owned()))
    }

    fn condition(&mut self, index: usize, rule: &Rule, item: &Item) -> Result<bool, String> {
        let Some(when) = &rule.when else {
            return Ok(true);
        };
        if let Some(known) = self.conditions.get(&index) {
            return known.clone();
        }
        let outcome = match when {
            Term::Expr(expr) => {
                let scope = self.scope_for(&rule.when_tables, when, item);
                expr.eval_bool(&scope).map_err(|error| error.message)
            }
            Term::Literal(_) | Term::Broken => {
                self.broken = true;
                Err("it did not compile".to_owned())
            }
        };
        if !when.uses("item") {
            self.conditions.insert(index, outcome.clone());
        }
        outcome
    }

    /// The first of `tables` in which the caller has no row.
    pub(super) fn missing_row(&mut self, tables: &[usize]) -> Option<String> {
        tables.iter().find_map(|&table| {
            let name = &self.policy.tables[table].name;
            match self.look_up(table) {
                Lookup { row: Some(_), .. } => None,
                Lookup { key: Ok(_), .. } => {
                    Some(format!("table `{name}` has no row for this caller"))
                }
                Lookup {
                    key: Err(cause), ..
                } => Some(format!(
                    "table `{name}` has no key for this caller: {cause}"
                )),
            }
        })
    }

    /// Evaluates a term; its tables must have rows.
    ///
    /// # Errors
    /// Why there is no value, without any part of one.
    pub(super) fn value(&mut self, term: &Term, item: &Item) -> Result<Value, String> {
        match term {
            Term::Literal(text) => Ok(Value::from(text.as_str())),
            Term::Expr(expr) => {
                // Every table of a term belongs to its item or rule, so `missing_row` has put the rows into the scope.
                let scope = self.scope_for(&[], term, item);
                expr.eval(&scope)
                    .map_err(|error| format!("`{}`: {}", expr.source(), error.message))
            }
            Term::Broken => {
                self.broken = true;
                Err("it did not compile".to_owned())
            }
        }
    }

    /// Evaluates a term that must give a string.
    ///
    /// # Errors
    /// As [`value`](Self::value), and for any other type.
    pub(super) fn text(&mut self, term: &Term, item: &Item) -> Result<String, String> {
        match self.value(term, item)? {
            Value::String(text) => Ok(text),
            other => {
                let source = match term {
                    Term::Expr(expr) => expr.source(),
                    Term::Literal(_) | Term::Broken => "",
                };
                Err(format!(
                    "`{source}` gives {}, not a string",
                    type_name(&other)
                ))
            }
        }
    }

    /// Evaluates a term of an item that the caller may have nothing to do with; `None`: it gives no string.
    pub(super) fn text_if_known(&mut self, term: &Term, item: &Item) -> Option<String> {
        let tables = self.policy.tables.iter().enumerate();
        let used = tables.filter(|(_, table)| term.uses(&table.name));
        let used: Vec<usize> = used.map(|(index, _)| index).collect();
        if self.missing_row(&used).is_some() {
            return None;
        }
        self.text(term, item).ok()
    }

    fn scope_for(&mut self, tables: &[usize], term: &Term, item: &Item) -> Scope {
        for &table in tables {
            self.look_up(table);
        }
        let scope = self.scope.clone();
        if term.uses("item") {
            scope.with("item", &item.variable)
        } else {
            scope
        }
    }

    fn look_up(&mut self, table: usize) -> &Lookup {
        if self.lookups[table].is_none() {
            let found = self.find(table);
            self.enter(table, found);
        }
        // Entered a line above.
        self.lookups[table].as_ref().unwrap_or(&NOTHING)
    }

    fn find(&mut self, table: usize) -> Lookup {
        let table = &self.policy.tables[table];
        let key = match &table.key {
            Term::Expr(expr) => expr
                .eval(&self.scope)
                .map_err(|error| error.message)
                .and_then(|key| Ok(key_text(&key)?.into_owned())),
            Term::Literal(_) | Term::Broken => {
                self.broken = true;
                Err("it did not compile".to_owned())
            }
        };
        let row = key.as_ref().ok().and_then(|key| table.rows.get(key));
        Lookup { key, row }
    }

    fn enter(&mut self, table: usize, lookup: Lookup) {
        let name = &self.policy.tables[table].name;
        let scope = std::mem::take(&mut self.scope);
        self.scope = scope.with(name, lookup.row.as_ref().unwrap_or(&NO_ROW));
        self.lookups[table] = Some(lookup);
    }
}

static NOTHING: Lookup = Lookup {
    key: Err(String::new()),
    row: None,
};

/// The name of a JSON value's type, in CEL's words.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
