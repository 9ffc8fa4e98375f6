//! Why a decision came out as it did, for `explain`, for the policy's cases and for nobody else: a trace holds claims'
//! values and rows.
//!
//! It is made by running the decision itself, so the two cannot disagree.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::session::Session;
use super::{Ask, Denied, Grant, Policy};
use crate::authn::Caller;

/// How one item of an ask was decided.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Name of the item.
    pub item: String,
    /// Every rule of the policy, in order.
    pub rules: Vec<RuleTrace>,
    /// The tables that were looked up.
    pub tables: Vec<TableTrace>,
    /// Where the item lives, when the caller may embed it.
    pub place: Option<PlaceTrace>,
    /// What the item comes to when it is asked for alone.
    pub outcome: Result<Grant, Denied>,
}

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace {
    /// Its name.
    pub rule: Arc<str>,
    /// What became of it.
    pub outcome: RuleOutcome,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It decides the item.
    Matched,
    /// Its condition is false.
    ConditionFalse,
    /// Its condition failed, which ends the search and denies.
    Failed(String),
    /// It does not name the item.
    NotForThisItem,
    /// An earlier rule has ended the search.
    NotReached,
}

/// What the caller has in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableTrace {
    /// Name of the table.
    pub table: String,
    /// The caller's key, or why there is none.
    pub key: Result<String, String>,
    /// The caller's row.
    pub row: Option<Value>,
}

/// Where an item lives for one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceTrace {
    /// Id or name of the workspace.
    pub workspace: String,
    /// Configured name of the principal.
    pub principal: String,
    /// Id or display name of the profile.
    pub profile: Option<String>,
}

impl Policy {
    /// How `decide` comes to its decision, item by item. Refusals that concern the combination of items are in
    /// [`decide`](Self::decide) only.
    #[must_use]
    pub fn explain(&self, caller: &Caller, ask: &Ask) -> Vec<Trace> {
        ask.items
            .iter()
            .map(|item| self.explain_item(caller, item, ask))
            .collect()
    }

    fn explain_item(&self, caller: &Caller, item: &str, ask: &Ask) -> Trace {
        let mut session = Session::new(self, caller);
        let place = session.permit(item).ok().map(|permit| PlaceTrace {
            workspace: permit.place.workspace,
            principal: permit.place.principal,
            profile: permit.place.profile,
        });
        let (considered, tables) = session.into_trace();
        let alone = Ask {
            items: vec![item.to_owned()],
            ..ask.clone()
        };
        // One item asked for is one grant.
        let outcome = self.decide(caller, &alone).and_then(|grants| {
            grants
                .into_iter()
                .next()
                .ok_or_else(|| Denied::NotPermitted {
                    item: item.to_owned(),
                    rule: None,
                    cause: "nothing was granted".to_owned(),
                })
        });
        Trace {
            item: item.to_owned(),
            rules: self.all_rules(item, considered),
            tables,
            place,
            outcome,
        }
    }

    fn all_rules(&self, item: &str, considered: Vec<RuleTrace>) -> Vec<RuleTrace> {
        let concerned = self.item(item).map_or(&[][..], |item| &item.rules);
        let mut outcomes: HashMap<Arc<str>, RuleOutcome> = considered
            .into_iter()
            .map(|trace| (trace.rule, trace.outcome))
            .collect();
        let rules = self.rules.iter().enumerate();
        rules
            .map(|(index, rule)| RuleTrace {
                rule: Arc::clone(&rule.name),
                outcome: outcomes.remove(&rule.name).unwrap_or_else(|| {
                    if concerned.binary_search(&index).is_ok() {
                        RuleOutcome::NotReached
                    } else {
                        RuleOutcome::NotForThisItem
                    }
                }),
            })
            .collect()
    }
}
