//! What `doctor` learns from a policy without a caller.

use super::super::*;
use super::support::{ITEMS, policy};

fn surveyed<'a>(survey: &'a Survey, item: &str) -> &'a SurveyedItem {
    let found = survey.items.iter().find(|found| &*found.item == item);
    found.unwrap()
}

fn rules(place: &Place) -> Vec<&str> {
    let probes = place.probes.iter();
    probes.map(|probe| &**probe.grant.rule()).collect()
}

#[test]
fn every_rule_that_may_reach_an_item_is_probed_at_its_widest() {
    let policy = policy(&format!(
        "{ITEMS}rules:
  - {{ name: deny, items: [sales], when: claims.bad, deny: true }}
  - {{ name: roles, items: ['s*'], when: claims.x, access: edit, identity: {{ roles: {{ cel: claims.r }} }} }}
  - {{ name: user, items: [sales, board], access: edit, identity: {{ username: u }} }}
  - {{ name: again, items: ['s*'], when: claims.x, identity: none }}
  - {{ name: late, items: ['*'], identity: none }}
  - {{ name: never, items: ['*'], when: claims.x, identity: none }}
"
    ));
    let survey = policy.survey(10);
    assert_eq!(survey.items.len(), policy.item_count());
    let sales = surveyed(&survey, "sales");
    assert_eq!(sales.places.len(), 1);
    assert_eq!(sales.places[0].origin, Origin::Policy);
    assert_eq!(rules(&sales.places[0]), ["roles", "user"]);
    let idle: Vec<&str> = survey.idle_rules.iter().map(|rule| &**rule).collect();
    assert_eq!(idle, ["again", "never"]);
    let [roles, user] = &sales.places[0].probes[..] else {
        panic!("two probes")
    };
    assert_eq!((roles.access(), roles.assumed), (Access::Edit, true));
    assert_eq!(roles.grant.identity().unwrap().roles, ["some role"]);
    assert_eq!((user.access(), user.assumed), (Access::Edit, false));
    let board = surveyed(&survey, "board");
    assert_eq!(board.places[0].probes[0].access(), Access::View);
    // A rule without the right that the kind needs gives nothing.
    assert_eq!(
        rules(&surveyed(&survey, "new").places[0]),
        Vec::<&str>::new()
    );
    assert!(surveyed(&survey, "any").needs_target);
}

#[test]
fn places_come_from_rows_spread_over_the_table() {
    let policy = policy(
        "
tables:
  tenant: { key: claims.tid, rows: { a: { w: wa }, b: { w: wb }, c: { w: wc }, d: { w: wd }, e: {} } }
  other: { key: claims.sub, rows: { x: { role: X } } }
items:
  sales: { kind: report, workspace: { cel: tenant.w }, report: Sales }
  free: { kind: report, workspace: w, report: Free }
rules:
  - { name: all, items: ['*'], identity: { username: { cel: tenant.w }, roles: [{ cel: other.role }, Fixed] } }
",
    );
    let survey = policy.survey(2);
    let sales = surveyed(&survey, "sales");
    let places: Vec<_> = sales
        .places
        .iter()
        .map(|place| place.probes[0].grant.workspace())
        .collect();
    assert_eq!(places, ["wa", "wc"]);
    assert_eq!(
        survey.tables,
        [Sampled {
            table: "tenant".into(),
            rows: 2,
            of: 5
        }]
    );
    // What the row says is known; what another table says is not.
    let probe = &sales.places[0].probes[0];
    let identity = probe.grant.identity().unwrap();
    assert_eq!(identity.username.as_deref(), Some("wa"));
    assert_eq!(identity.roles, ["Fixed", "some role"]);
    assert!(probe.assumed);
    let all = policy.survey(10);
    let unknown = surveyed(&all, "sales").unknown.as_deref().unwrap();
    assert!(unknown.contains("row `e`"), "{unknown}");
}

#[test]
fn what_a_claim_decides_is_never_guessed() {
    let policy = policy(
        "
tables:
  tenant: { key: claims.tid, rows: { t1: { w: w1 } } }
items:
  by-claim: { kind: report, workspace: { cel: \"has(claims.w) ? claims.w : 'everybody'\" }, report: R }
  by-both: { kind: report, workspace: { cel: tenant.w }, report: { cel: claims.r } }
  fixed: { kind: report, workspace: w, report: R }
rules:
  - name: all
    items: ['*']
    identity: { username: u, roles: { cel: \"has(claims.r) ? [claims.r] : []\" } }
cases:
  - { name: one, claims: { w: w7 }, item: by-claim, expect: { workspace: w7 } }
  - { name: own row, claims: { r: r1 }, tables: { tenant: { w: nowhere } }, item: by-both, expect: { workspace: nowhere } }
  - { name: real row, claims: { tid: t1, r: r2 }, item: by-both, expect: { workspace: w1 } }
  - { name: denied, claims: {}, item: by-both, expect: denied }
",
    );
    let survey = policy.survey(10);
    assert_eq!((survey.cases_used, survey.cases), (2, 4));
    // Without the claim the expression would give no role: that is not what callers get.
    let probe = &surveyed(&survey, "fixed").places[0].probes[0];
    assert_eq!(probe.grant.identity().unwrap().roles, ["some role"]);
    assert!(probe.assumed);
    for (item, workspace, case) in [("by-claim", "w7", "one"), ("by-both", "w1", "real row")] {
        let item = surveyed(&survey, item);
        assert!(item.unknown.as_deref().unwrap().contains("claims"));
        let [place] = &item.places[..] else {
            panic!("one place: {item:?}")
        };
        assert_eq!(place.origin, Origin::Case(case.into()));
        assert_eq!(place.probes[0].grant.workspace(), workspace);
        assert!(!place.probes[0].assumed);
    }
}

#[test]
fn a_case_adds_its_identity_to_a_place_that_is_known() {
    let policy = policy(
        "
items:
  sales: { kind: report, workspace: w, report: Sales }
  any: { kind: report, workspace: w, report: '*' }
rules:
  - { name: all, items: ['*'], identity: { username: { cel: claims.email } } }
cases:
  - { name: ana, claims: { email: ana@x }, item: sales, expect: { username: ana@x } }
  - { name: chosen, claims: { email: ana@x }, item: any, target: Pipeline, expect: { report: Pipeline } }
",
    );
    let survey = policy.survey(10);
    for (item, target) in [("sales", None), ("any", Some("Pipeline"))] {
        let [place] = &surveyed(&survey, item).places[..] else {
            panic!("one place for {item}")
        };
        let [assumed, exact] = &place.probes[..] else {
            panic!("two probes for {item}")
        };
        assert!(assumed.assumed && !exact.assumed);
        assert_eq!(
            exact.grant.identity().unwrap().username.as_deref(),
            Some("ana@x")
        );
        assert_eq!(exact.target.as_deref(), target);
    }
}
