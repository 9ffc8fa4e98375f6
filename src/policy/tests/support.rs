//! What the policy tests share.

use serde_json::Value;
use time::OffsetDateTime;

use super::super::*;
use crate::config::Mistakes;

/// A rule that gives everything to everybody.
pub(super) const ALL: &str =
    "  - { name: all, items: ['*'], access: create, save_as: false, identity: none }\n";

/// The catalogue that most tests work with: one item of each kind, a table, no rules.
pub(super) const ITEMS: &str = "
tables:
  tenant: { key: claims.tid, rows: { contoso: { workspace: w1, profile: p1, principal: other, tier: gold }, '42': { workspace: w42 } } }
items:
  sales: { kind: report, workspace: w, report: Sales }
  stock: { kind: report, workspace: w, report: Stock, title: Stock in hand }
  other: { kind: report, workspace: w, report: Other, principal: other }
  profiled: { kind: report, workspace: w, report: Profiled, profile: p }
  any: { kind: report, workspace: w, report: '*' }
  any-statement: { kind: paginated_report, workspace: w, report: '*' }
  statement: { kind: paginated_report, workspace: w, report: Statement }
  board: { kind: dashboard, workspace: w, dashboard: Board }
  board2: { kind: dashboard, workspace: w, dashboard: Board 2 }
  tile: { kind: tile, workspace: w, dashboard: Board, tile: T }
  ask: { kind: qna, workspace: w, dataset: D }
  new: { kind: create_report, workspace: w, dataset: D, target_workspace: drafts }
  visual: { kind: visual, workspace: w, report: Sales, page: P, visual: V }
  tenanted: { kind: report, workspace: { cel: tenant.workspace }, report: Sales, principal: { cel: tenant.principal }, profile: { cel: tenant.profile } }
";

pub(super) fn surroundings() -> Surroundings {
    Surroundings {
        issuers: vec!["login".to_owned()],
        multi_tenant_issuers: Vec::new(),
        principals: [("default".to_owned(), false), ("other".to_owned(), false)].into(),
        credential_headers: vec!["x-user-token".to_owned()],
    }
}

#[track_caller]
pub(super) fn policy(text: &str) -> Policy {
    Policy::parse(text, &surroundings()).unwrap_or_else(|mistakes| {
        panic!("{}", Mistakes(mistakes));
    })
}

/// [`ITEMS`] with the rules given as YAML list items.
#[track_caller]
pub(super) fn with_rules(rules: &str) -> Policy {
    policy(&format!("{ITEMS}rules:\n{rules}"))
}

/// A caller of the issuer `login`; `claims` in YAML.
#[track_caller]
pub(super) fn caller(claims: &str) -> Caller {
    caller_of("login", claims)
}

#[track_caller]
pub(super) fn caller_of(issuer: &str, claims: &str) -> Caller {
    let claims: Value = serde_saphyr::from_str(claims).unwrap();
    let claims = claims.as_object().unwrap().clone();
    Caller::assumed(issuer, claims, OffsetDateTime::UNIX_EPOCH)
}

pub(super) fn ask(items: &[&str]) -> Ask {
    Ask {
        items: items.iter().map(|item| (*item).to_owned()).collect(),
        ..Ask::default()
    }
}

/// The single grant for `item`.
#[track_caller]
pub(super) fn grant(policy: &Policy, claims: &str, item: &str) -> Grant {
    let mut grants = policy.decide(&caller(claims), &ask(&[item])).unwrap();
    assert_eq!(grants.len(), 1);
    grants.remove(0)
}

/// Rule and cause of a 403 for `item`.
#[track_caller]
pub(super) fn denial(policy: &Policy, claims: &str, item: &str) -> (Option<String>, String) {
    match policy.decide(&caller(claims), &ask(&[item])) {
        Err(Denied::NotPermitted { rule, cause, .. }) => (rule.map(|rule| rule.to_string()), cause),
        other => panic!("expected a denial, got {other:?}"),
    }
}

/// Which of the refusals it is, or the number of grants.
pub(super) fn outcome(decision: &Result<Vec<Grant>, Denied>) -> &'static str {
    match decision {
        Ok(_) => "granted",
        Err(Denied::NotPermitted { .. }) => "403",
        Err(Denied::Unfit { .. }) => "unfit",
        Err(Denied::NotCombinable { .. }) => "not combinable",
        Err(Denied::IdentityUnmappable { .. }) => "422",
    }
}

/// The mistakes of a policy, as they are printed.
#[track_caller]
pub(super) fn mistakes(text: &str) -> String {
    mistakes_with(text, &surroundings())
}

#[track_caller]
pub(super) fn mistakes_with(text: &str, surroundings: &Surroundings) -> String {
    match Policy::parse(text, surroundings) {
        Ok(_) => panic!("the policy loaded:\n{text}"),
        Err(mistakes) => Mistakes(mistakes).to_string(),
    }
}
