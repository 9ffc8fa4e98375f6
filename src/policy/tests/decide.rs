//! Who may have what: rules, tables, places, the order of refusals, combinations.

use super::support::{ALL, ask, caller, caller_of, denial, grant, outcome, policy, with_rules};

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = with_rules(
        "  - { name: others, items: [stock], identity: none }
  - { name: none, items: [sales], when: 'false', identity: none }
  - { name: first, items: ['s*'], identity: { username: first } }
  - { name: second, items: [sales], access: edit, identity: { username: second } }
",
    );
    let grant = grant(&policy, "{}", "sales");
    assert_eq!(&**grant.rule(), "first");
    assert_eq!(grant.identity().unwrap().username.as_deref(), Some("first"));
}

#[test]
fn without_a_matching_rule_nothing_is_permitted() {
    let policy = with_rules(
        "  - { name: r, items: [sales], when: \"'x' in claims.groups\", identity: none }\n",
    );
    assert_eq!(
        denial(&policy, "{ groups: [y] }", "sales"),
        (None, "no rule matches".to_owned())
    );
    assert_eq!(
        denial(&policy, "{ groups: [x] }", "stock"),
        (None, "no rule matches".to_owned())
    );
    assert_eq!(
        denial(&policy, "{ groups: [x] }", "nothing"),
        (None, "there is no such item".to_owned())
    );
}

#[test]
fn a_failing_condition_ends_the_search() {
    for when in [
        "claims.suspended",
        "claims.name",
        "claims.name > 3",
        "size(claims.missing) > 0",
    ] {
        let policy = with_rules(&format!(
            "  - {{ name: odd, items: [sales], when: '{when}', deny: true }}\n{ALL}"
        ));
        let (rule, cause) = denial(&policy, "{ name: ana }", "sales");
        assert_eq!(rule.as_deref(), Some("odd"), "{when}");
        assert!(cause.starts_with("`when` failed: "), "{cause}");
        assert!(
            !cause.contains("ana"),
            "a cause holds no claim's value: {cause}"
        );
    }
}

#[test]
fn a_denying_rule_denies() {
    let policy = with_rules(&format!(
        "  - {{ name: blocked, items: ['*'], when: has(claims.suspended) && claims.suspended, deny: true }}\n{ALL}"
    ));
    assert_eq!(
        denial(&policy, "{ suspended: true }", "sales").0.as_deref(),
        Some("blocked")
    );
    assert_eq!(
        &**grant(&policy, "{ suspended: false }", "sales").rule(),
        "all"
    );
}

#[test]
fn conditions_see_claims_issuer_item_and_rows() {
    for (when, item, matches) in [
        ("issuer == \"login\"", "sales", true),
        ("issuer == \"x\"", "sales", false),
        (
            "item.name == \"sales\" && item.kind == \"report\"",
            "sales",
            true,
        ),
        ("item.kind == \"create_report\"", "new", true),
        ("item.name == \"sales\"", "stock", false),
        ("tenant.tier == \"gold\"", "sales", true),
        ("tenant.tier == \"iron\"", "sales", false),
    ] {
        let policy = with_rules(&format!(
            "  - {{ name: r, items: ['*'], when: '{when}', access: create, identity: none }}\n"
        ));
        let decision = policy.decide(&caller("{ tid: contoso }"), &ask(&[item]));
        assert_eq!(decision.is_ok(), matches, "{when}: {decision:?}");
    }
}

#[test]
fn an_item_dependent_condition_is_evaluated_for_each_item() {
    let policy = with_rules(
        "  - { name: r, items: ['*'], when: \"item.name == 'sales'\", identity: none }\n",
    );
    assert_eq!(
        outcome(&policy.decide(&caller("{}"), &ask(&["sales", "stock"]))),
        "403"
    );
    assert_eq!(policy.catalogue(&caller("{}")).len(), 1);
}

#[test]
fn a_table_without_a_row_denies_item_and_matched_rule() {
    let tenanted = with_rules(ALL);
    let (rule, cause) = denial(&tenanted, "{ tid: nowhere }", "tenanted");
    assert_eq!(
        (rule.as_deref(), &*cause),
        (Some("all"), "table `tenant` has no row for this caller")
    );
    let (_, cause) = denial(&tenanted, "{}", "tenanted");
    assert!(cause.contains("has no key for this caller"), "{cause}");

    for rule in [
        "when: \"true || tenant.tier == 'gold'\", identity: none",
        "identity: { username: { cel: tenant.tier } }",
        "identity: { roles: [{ cel: tenant.tier }] }",
        "identity: none, dataset_identities: { d: { custom_data: { cel: tenant.tier } } }",
    ] {
        let policy = with_rules(&format!("  - {{ name: r, items: [sales], {rule} }}\n"));
        assert_eq!(
            denial(&policy, "{ tid: nowhere }", "sales").0.as_deref(),
            Some("r"),
            "{rule}"
        );
        grant(&policy, "{ tid: contoso }", "sales");
    }
}

#[test]
fn a_rule_that_does_not_match_needs_no_row() {
    let policy = with_rules(&format!(
        "  - {{ name: gold, items: [sales], when: \"has(claims.tid) && tenant.tier == 'gold'\", identity: none }}\n{ALL}"
    ));
    assert_eq!(&**grant(&policy, "{}", "sales").rule(), "all");
    assert_eq!(
        &**grant(&policy, "{ tid: contoso }", "sales").rule(),
        "gold"
    );
    assert_eq!(
        denial(&policy, "{ tid: nowhere }", "sales").0.as_deref(),
        Some("gold"),
        "the row was needed"
    );
}

#[test]
fn keys_compare_as_strings() {
    let policy = policy(
        "tables:
  t: { key: claims.tid, rows: { 42: { w: number }, 'true': { w: bool }, x: { w: text } } }
items:
  a: { kind: report, workspace: { cel: t.w }, report: R }
rules: [{ name: r, items: [a], identity: none }]",
    );
    for (claims, workspace) in [
        ("{ tid: 42 }", "number"),
        ("{ tid: '42' }", "number"),
        ("{ tid: true }", "bool"),
        ("{ tid: x }", "text"),
    ] {
        assert_eq!(grant(&policy, claims, "a").workspace(), workspace);
    }
    assert!(
        denial(&policy, "{ tid: '' }", "a")
            .1
            .ends_with("the key is empty")
    );
    for claims in [
        "{ tid: ~ }",
        "{ tid: [x] }",
        "{ tid: '' }",
        "{ tid: 42.5 }",
        "{ tid: X }",
    ] {
        denial(&policy, claims, "a");
    }
}

#[test]
fn a_key_may_tell_issuers_apart() {
    let text = "
tables: { t: { key: \"issuer + '/' + claims.tid\", rows: { login/x: { w: ours } } } }
items: { a: { kind: report, workspace: { cel: t.w }, report: R } }
rules: [{ name: r, items: [a], identity: none }]";
    let policy = policy(text);
    assert_eq!(grant(&policy, "{ tid: x }", "a").workspace(), "ours");
    assert_eq!(
        outcome(&policy.decide(&caller_of("evil", "{ tid: x }"), &ask(&["a"]))),
        "403"
    );
}

#[test]
fn a_place_that_is_null_empty_odd_or_in_error_denies() {
    const GOOD: &str = "workspace: w, report: R";
    for (keys, key) in [
        ("workspace: { cel: claims.v }, report: R", "workspace"),
        ("workspace: w, report: { cel: claims.v }", "report"),
        (
            "workspace: w, report: R, principal: { cel: claims.v }",
            "principal",
        ),
        (
            "workspace: w, report: R, profile: { cel: claims.v }",
            "profile",
        ),
        (
            "workspace: w, report: R, dataset_workspace: { cel: claims.v }",
            "dataset_workspace",
        ),
        (
            "workspace: w, report: R, save_as_workspace: { cel: claims.v }",
            "save_as_workspace",
        ),
        (
            "workspace: w, report: R, datasets: [{ dataset: d, workspace: { cel: claims.v } }]",
            "datasets[].workspace",
        ),
    ] {
        let policy = policy(&format!(
            "items: {{ a: {{ kind: report, {keys} }}, good: {{ kind: report, {GOOD} }} }}\nrules: [{{ name: r, items: ['*'], identity: none }}]"
        ));
        for claims in [
            "{ v: ~ }",
            "{ v: '' }",
            "{ v: 7 }",
            "{ v: [w] }",
            "{ v: { w: x } }",
            "{ v: false }",
            "{}",
        ] {
            let (rule, cause) = denial(&policy, claims, "a");
            assert_eq!(rule.as_deref(), Some("r"));
            assert!(cause.starts_with(&format!("`{key}`")), "{claims}: {cause}");
            assert_eq!(
                policy.catalogue(&caller(claims)).len(),
                1,
                "only the other item is listed"
            );
        }
        grant(&policy, "{ v: other }", "a");
    }
}

#[test]
fn a_principal_that_is_not_configured_denies() {
    let policy = policy(
        "items: { a: { kind: report, workspace: w, report: R, principal: { cel: claims.p } } }\nrules: [{ name: r, items: [a], identity: none }]",
    );
    assert_eq!(grant(&policy, "{ p: other }", "a").principal(), "other");
    let (_, cause) = denial(&policy, "{ p: admin }", "a");
    assert_eq!(cause, "`principal` gives none that is configured");
}
