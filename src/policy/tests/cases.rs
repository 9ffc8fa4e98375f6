//! The policy's own cases.

use super::super::Policy;
use super::support::{ITEMS, mistakes, policy};

const RULES: &str = "rules:
  - name: managers
    items: [sales, new, tile, any]
    when: \"'managers' in claims.groups\"
    access: create
    identity: { username: { cel: claims.email }, roles: [{ cel: claims.role }], custom_data: c, auditable_context: a }
    lifetime: 15m
  - { name: tenants, items: [tenanted], identity: none }
  - { name: elsewhere, items: [stock], when: \"issuer == 'other'\", identity: none }
";

fn case(body: &str) -> String {
    format!("{ITEMS}{RULES}cases:\n  - {{ name: c, {body} }}\n")
}

const ANA: &str = "claims: { groups: [managers], email: ana@x, role: R }";

#[test]
fn cases_that_hold_pass() {
    for body in [
        format!("{ANA}, item: sales, expect: {{}}"),
        format!("{ANA}, item: sales, expect: {{ rule: managers, username: ana@x, roles: [R], custom_data: c, auditable_context: a, lifetime: 900s, principal: default, profile: ~, workspace: w, report: Sales }}"),
        format!("{ANA}, item: sales, expect: {{ access: edit, save_as: false }}"),
        format!("{ANA}, item: sales, access: view, expect: {{ access: view }}"),
        format!("{ANA}, item: new, expect: {{ access: create, dataset: D, target_workspace: drafts }}"),
        format!("{ANA}, item: tile, expect: {{ dashboard: Board, tile: T, access: view }}"),
        format!("{ANA}, item: any, target: Chosen, expect: {{ report: Chosen }}"),
        "claims: {}, item: sales, expect: denied".to_owned(),
        "claims: { groups: [] }, item: sales, expect: denied".to_owned(),
        "claims: { groups: [] }, item: tenanted, expect: denied".to_owned(),
        "claims: { tid: contoso }, item: tenanted, expect: { workspace: w1, principal: other, identity: ~ }".to_owned(),
        "claims: { tid: contoso }, item: tenanted, tables: { tenant: ~ }, expect: denied".to_owned(),
        "claims: {}, item: tenanted, tables: { tenant: { workspace: own, profile: p, principal: default } }, expect: { workspace: own, profile: p, username: ~, roles: ~ }".to_owned(),
    ] {
        policy(&case(&body));
    }
}

#[test]
fn cases_that_fail_say_what_was_expected_and_what_came() {
    for (body, expected) in [
        (
            format!("{ANA}, item: sales, expect: denied"),
            "expected denied, got a grant by rule `managers`",
        ),
        (
            "claims: {}, item: sales, expect: { rule: managers }".to_owned(),
            "expected a grant, got: item `sales` is not permitted: `when` failed:",
        ),
        (
            "claims: { groups: [] }, item: sales, expect: {}".to_owned(),
            "expected a grant, got: item `sales` is not permitted: no rule matches",
        ),
        (
            "claims: { groups: [managers], role: R }, item: sales, expect: denied".to_owned(),
            "expected denied, got another refusal: rule `managers` gives no usable identity",
        ),
        (
            format!("{ANA}, item: sales, expect: {{ roles: [R, S] }}"),
            "`roles`: expected [\"R\",\"S\"], got [\"R\"]",
        ),
        (
            format!("{ANA}, item: sales, expect: {{ username: ~ }}"),
            "`username`: expected null, got \"ana@x\"",
        ),
        (
            format!("{ANA}, item: sales, expect: {{ identity: ~ }}"),
            "`identity`: expected null, got {",
        ),
        (
            format!("{ANA}, item: sales, expect: {{ access: view }}"),
            "`access`: expected \"view\", got \"edit\"",
        ),
        (
            format!("{ANA}, item: sales, expect: {{ save_as: true }}"),
            "`save_as`: expected true, got false",
        ),
        (
            format!("{ANA}, item: sales, expect: {{ lifetime: 16m }}"),
            "`lifetime`: expected 960, got 900",
        ),
        (
            format!("{ANA}, item: sales, expect: {{ lifetime: soon }}"),
            "`lifetime`: expected null, got 900",
        ),
        (
            format!("{ANA}, item: sales, expect: {{ tile: T }}"),
            "`tile`: expected \"T\", got null",
        ),
        (
            format!("{ANA}, item: sales, save_as: true, expect: {{}}"),
            "does not give `save_as`",
        ),
        (
            format!("{ANA}, item: any, expect: {{}}"),
            "needs a `target`",
        ),
        (
            "claims: { tid: contoso }, item: tenanted, expect: { workspace: w2 }".to_owned(),
            "`workspace`: expected \"w2\", got \"w1\"",
        ),
    ] {
        let found = mistakes(&case(&body));
        assert!(found.contains(expected), "{body}\n=> {found}");
        assert!(found.contains("cases[0] (c).expect: "), "{found}");
    }
}

#[test]
fn the_first_issuer_is_the_default() {
    let found = mistakes(&case("claims: { groups: [] }, item: stock, expect: {}"));
    assert!(found.contains("no rule matches"), "{found}");
    let mut surroundings = super::support::surroundings();
    surroundings.issuers = vec!["other".to_owned(), "login".to_owned()];
    let text = case("claims: {}, item: stock, expect: {}")
        .replace("key: claims.tid", "any_issuer: true, key: claims.tid");
    assert!(Policy::parse(&text, &surroundings).is_ok());
    let text = text.replace("item: stock", "item: stock, issuer: login");
    assert!(Policy::parse(&text, &surroundings).is_err());
}

#[test]
fn every_difference_is_reported() {
    let found = mistakes(&case(&format!(
        "{ANA}, item: sales, expect: {{ rule: x, workspace: y }}"
    )));
    assert_eq!(found.matches("remedy: ").count(), 2, "{found}");
}
