//! The policy seen from outside, for `doctor`: where its items live, and what each rule would give there.
//!
//! Nobody is signed in, so places come from what the policy itself holds: literals, a sample of the rows of its tables,
//! and its cases. Nothing is guessed: a term that needs a claim is not evaluated without one. Where a rule's identity
//! needs one, a value that fits every source stands in for it, and the probe says so.

mod probe;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::model::{self, Item, Rule};
use super::session::Session;
use super::tables::Row;
use super::{Access, Content, Grant, Kind, Policy};
use crate::authn::Caller;
use probe::Look;

/// What the policy holds, as far as it can be known without a caller.
#[derive(Debug)]
pub struct Survey {
    /// Every item, in catalogue order.
    pub items: Vec<SurveyedItem>,
    /// The tables that were looked into.
    pub tables: Vec<Sampled>,
    /// Rules that name items and decide none, since earlier rules always do.
    pub idle_rules: Vec<Arc<str>>,
    /// How many cases led to a place.
    pub cases_used: usize,
    /// How many cases there are.
    pub cases: usize,
}

/// How much of a table was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Its name.
    pub table: String,
    /// Rows looked at.
    pub rows: usize,
    /// Rows there are.
    pub of: usize,
}

/// An item with the places where it lives.
#[derive(Debug)]
pub struct SurveyedItem {
    /// Its name.
    pub item: Arc<str>,
    /// Its kind.
    pub kind: Kind,
    /// Whether a request must say which report.
    pub needs_target: bool,
    /// The places that are known.
    pub places: Vec<Place>,
    /// Why some of its places are not known, if so.
    pub unknown: Option<String>,
}

/// One place of an item: workspace, principal, profile and all else that it names, with every expression evaluated.
#[derive(Debug)]
pub struct Place {
    /// What led here.
    pub origin: Origin,
    /// What the rules that may reach the item give here; empty: no rule gives it to anybody.
    pub probes: Vec<Probe>,
}

/// What led to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the same for everybody.
    Policy,
    /// A row, by table and key.
    Row(String, String),
    /// A case, by name.
    Case(String),
}

/// What one rule gives.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The grant. Its identity is that of a case, or of nobody.
    pub grant: Grant,
    /// The report chosen by a case, for an item that leaves the choice.
    pub target: Option<String>,
    /// Whether values stand in for what only a caller's claims give.
    pub assumed: bool,
}

impl Policy {
    /// Looks at every item, with at most `rows` rows of each table.
    #[must_use]
    pub fn survey(&self, rows: usize) -> Survey {
        let samples: Vec<Vec<(&str, Row)>> = self
            .tables
            .iter()
            .map(|table| table.rows.sample(rows))
            .collect();
        let mut used = vec![false; self.tables.len()];
        let mut cases_used = vec![false; self.cases.len()];
        let items = self
            .items
            .iter()
            .map(|item| self.survey_item(item, &samples, &mut used, &mut cases_used))
            .collect();
        let tables = self.tables.iter().zip(&samples).zip(used);
        Survey {
            items,
            tables: tables
                .filter(|(_, used)| *used)
                .map(|((table, sample), _)| Sampled {
                    table: table.name.to_string(),
                    rows: sample.len(),
                    of: table.rows.len(),
                })
                .collect(),
            idle_rules: self.idle(),
            cases_used: cases_used.iter().filter(|used| **used).count(),
            cases: self.cases.len(),
        }
    }

    fn survey_item(
        &self,
        item: &Item,
        samples: &[Vec<(&str, Row)>],
        used: &mut [bool],
        cases_used: &mut [bool],
    ) -> SurveyedItem {
        let (mut places, mut unknown) = (Vec::new(), None);
        match source_of(item) {
            Ok(None) => {
                if let Some(place) = self.place(item, None, Origin::Policy) {
                    add(&mut places, place);
                }
            }
            Ok(Some(table)) => {
                used[table] = true;
                let name = &self.tables[table].name;
                for (key, row) in &samples[table] {
                    let origin = Origin::Row(name.to_string(), (*key).to_owned());
                    match self.place(item, Some((table, row)), origin) {
                        Some(place) => add(&mut places, place),
                        None => {
                            unknown = Some(format!(
                                "row `{key}` of table `{name}` gives no place for it"
                            ));
                        }
                    }
                }
                if samples[table].is_empty() {
                    unknown = Some(format!("table `{name}` has no rows"));
                }
            }
            Err(why) => unknown = Some(why),
        }
        for (case, used) in self.cases.iter().zip(cases_used) {
            if let Some(place) = self.place_of_case(item, case) {
                *used = true;
                add(&mut places, place);
            }
        }
        SurveyedItem {
            item: Arc::clone(&item.name),
            kind: item.kind,
            needs_target: item.needs_target(),
            places,
            unknown,
        }
    }

    /// Where `item` lives by one row, and what each rule gives there; `None`: the row gives no place.
    fn place(&self, item: &Item, row: Option<(usize, &Row)>, origin: Origin) -> Option<Place> {
        let nobody = Caller::assumed("", serde_json::Map::new(), time::OffsetDateTime::UNIX_EPOCH);
        let mut look = Look {
            session: Session::new(self, &nobody),
            table: row.map(|(table, _)| table),
            assumed: false,
        };
        if let Some((table, row)) = row {
            look.session.assume_row(table, Some(row.clone()));
        }
        let place = look.session.whereabouts(item).ok()?;
        let mut probes = Vec::new();
        for rule in self.reaching(item) {
            let Some(permission) = &rule.permission else {
                continue;
            };
            let permit = look
                .session
                .permit_at(item, rule, permission, place.clone());
            probes.extend(look.probe(permit));
        }
        Some(Place { origin, probes })
    }

    /// Where a case of `item` leads, unless it brings the row that says so.
    fn place_of_case(&self, item: &Item, case: &model::Case) -> Option<Place> {
        let own_place = case
            .rows
            .iter()
            .any(|(table, _)| item.tables.contains(table));
        if own_place || case.ask.items != [&*item.name] {
            return None;
        }
        let mut session = Session::new(self, &case.caller);
        for (table, row) in &case.rows {
            session.assume_row(*table, row.clone());
        }
        let grant = session.decide(&case.ask).ok()?.into_iter().next()?;
        let probe = Probe {
            grant,
            target: case.ask.target.clone(),
            assumed: false,
        };
        Some(Place {
            origin: Origin::Case(case.name.clone()),
            probes: vec![probe],
        })
    }

    /// The rules that may decide `item`: one that always matches is the last, and a condition that stands twice is met by
    /// the first.
    fn reaching(&self, item: &Item) -> Vec<&Rule> {
        let mut reaching: Vec<&Rule> = Vec::new();
        for &rule in &item.rules {
            let rule = &self.rules[rule];
            let met = reaching
                .iter()
                .any(|earlier| match (&earlier.when, &rule.when) {
                    (Some(earlier), Some(when)) => earlier.same_as_written(when),
                    (_, _) => earlier.when.is_none(),
                });
            if !met {
                reaching.push(rule);
            }
        }
        reaching
    }

    /// The rules that concern items and can decide none of them.
    fn idle(&self) -> Vec<Arc<str>> {
        let (mut concerned, mut reaching) = (BTreeSet::new(), BTreeSet::new());
        for item in &self.items {
            concerned.extend(item.rules.iter().map(|&rule| &self.rules[rule].name));
            reaching.extend(self.reaching(item).into_iter().map(|rule| &rule.name));
        }
        concerned
            .difference(&reaching)
            .map(|&name| Arc::clone(name))
            .collect()
    }
}

impl Probe {
    /// What was asked for: the rule's highest right, or what a case asks for.
    #[must_use]
    pub fn access(&self) -> Access {
        self.grant.access()
    }
}

/// The table whose rows alone say where `item` lives; `None`: nothing needs to be known.
fn source_of(item: &Item) -> Result<Option<usize>, String> {
    for variable in ["claims", "issuer"] {
        if item.terms().iter().any(|term| term.uses(variable)) {
            return Err(format!("its place depends on the caller's `{variable}`"));
        }
    }
    match item.tables[..] {
        [] => Ok(None),
        [table] => Ok(Some(table)),
        _ => Err("its place depends on several tables".to_owned()),
    }
}

/// Puts a place beside those that are known; the same place found twice is one with the probes of both.
fn add(places: &mut Vec<Place>, place: Place) {
    let same = |known: &&mut Place| match (known.probes.first(), place.probes.first()) {
        (Some(known), Some(new)) => is_same_place(&known.grant, &new.grant),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    match places.iter_mut().find(same) {
        Some(known) => known.probes.extend(place.probes),
        None => places.push(place),
    }
}

fn is_same_place(one: &Grant, other: &Grant) -> bool {
    // With `report: "*"` the report is each request's own.
    let open = |content: &Content| match content {
        Content::Report { report } | Content::PaginatedReport { report } => report.is_empty(),
        Content::Dashboard { .. }
        | Content::Tile { .. }
        | Content::Qna { .. }
        | Content::CreateReport { .. }
        | Content::Visual { .. } => false,
    };
    let same_content = one.content == other.content || open(&one.content) || open(&other.content);
    let place = |grant: &Grant| {
        (
            grant.workspace.clone(),
            grant.principal.clone(),
            grant.profile.clone(),
            grant.dataset_workspace.clone(),
            grant.save_as_workspace.clone(),
            Arc::clone(&grant.datasets),
        )
    };
    same_content && place(one) == place(other)
}
