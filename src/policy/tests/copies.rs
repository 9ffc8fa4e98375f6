//! Saved reports and reports that are found by name: never in one workspace, at load or for any caller.

use super::super::*;
use super::support::{ask, caller, denial, grant, mistakes, outcome, policy};

const ID: &str = "5b218778-e7a5-4d73-8187-f10824047715";
const WS: &str = "3d9b1f1e-0c57-4a38-9a51-5a4a7e0b6c11";
const WS_UPPER: &str = "3D9B1F1E-0C57-4A38-9A51-5A4A7E0B6C11";

/// An item from which copies are saved into its own workspace.
fn saver(workspace: &str) -> String {
    format!("{{ kind: report, workspace: {workspace}, report: {ID} }}")
}

fn saver_into(workspace: &str) -> String {
    format!("{{ kind: report, workspace: v, report: {ID}, save_as_workspace: {workspace} }}")
}

/// An item that makes new reports.
fn maker(workspace: &str) -> String {
    format!("{{ kind: create_report, workspace: v, dataset: D, target_workspace: {workspace} }}")
}

fn named(workspace: &str) -> String {
    format!("{{ kind: report, workspace: {workspace}, report: Sales }}")
}

/// `s` may be saved from; `n` may be looked at.
fn text(s: &str, n: &str, gives: &str) -> String {
    format!(
        "tables: {{ t: {{ key: claims.tid, rows: {{ a: {{ w: wa, r: Sales, i: {ID} }}, b: {{ w: wb, r: Sales, i: {ID} }} }} }} }}
items:
  s: {s}
  n: {n}
rules:
  - {{ name: savers, items: [s], identity: none, {gives} }}
  - {{ name: all, items: [n], identity: none }}
"
    )
}

fn copies(s: &str, n: &str) -> String {
    text(s, n, "save_as: true")
}

fn creates(s: &str, n: &str) -> String {
    text(s, n, "access: create")
}

/// What becomes of asking for `n`, and of saving from `s`.
fn both(policy: &Policy, claims: &str) -> (&'static str, &'static str) {
    let caller = caller(claims);
    let save = Ask {
        save_as: policy.item("s").unwrap().kind == Kind::Report,
        ..ask(&["s"])
    };
    (
        outcome(&policy.decide(&caller, &ask(&["n"]))),
        outcome(&policy.decide(&caller, &save)),
    )
}

#[test]
fn no_item_finds_a_report_by_name_where_another_lets_reports_be_saved() {
    let tenant = "{ cel: t.w }";
    for (into, workspace) in [("w", "w"), (WS, WS), (WS, WS_UPPER), (tenant, tenant)] {
        for n in [
            named(workspace),
            format!("{{ kind: paginated_report, workspace: {workspace}, report: Sales }}"),
            format!(
                "{{ kind: visual, workspace: {workspace}, report: Sales, page: P, visual: V }}"
            ),
        ] {
            for s in [saver(into), saver_into(into)] {
                let found = mistakes(&copies(&s, &n));
                for part in [
                    "policy:6:58 rules[0].save_as: item `n` finds its report by the name `Sales`",
                    "copies of item `s` are saved into",
                    "give the report of `n` by id",
                    "`save_as_workspace` of `s`",
                ] {
                    assert!(found.contains(part), "{part} in {found}");
                }
                assert_eq!(found.matches("remedy: ").count(), 1, "{found}");
                policy(&text(&s, &n, "access: edit"));
            }
            let found = mistakes(&creates(&maker(into), &n));
            for part in [
                "policy:6:57 rules[0].access: item `n` finds",
                "new reports of item `s` are saved into",
                "`target_workspace` of `s`",
            ] {
                assert!(found.contains(part), "{part} in {found}");
            }
            policy(&text(&maker(into), &n, "access: edit"));
        }
        // Nothing is found by name.
        for n in [
            saver(workspace),
            format!("{{ kind: report, workspace: {workspace}, report: '*' }}"),
            format!("{{ kind: dashboard, workspace: {workspace}, dashboard: Board }}"),
            format!("{{ kind: tile, workspace: {workspace}, dashboard: Board, tile: T }}"),
            format!("{{ kind: qna, workspace: {workspace}, dataset: Sales }}"),
            maker(workspace),
        ] {
            policy(&copies(&saver(into), &n));
            policy(&creates(&maker(into), &n));
        }
    }
    // Other workspaces, as far as one can tell from the policy.
    for (into, workspace) in [
        ("w", "W"),
        ("w", WS),
        (WS, "w"),
        (tenant, "w"),
        ("w", tenant),
        (tenant, "{ cel: claims.w }"),
        ("{ cel: item.name }", "{ cel: item.name }"),
    ] {
        policy(&copies(&saver(into), &named(workspace)));
        policy(&creates(&maker(into), &named(workspace)));
    }
    // A rule lets nobody save from an item that it does not name.
    let of_the_other = creates(&maker("w"), &named("w")).replace("items: [s]", "items: [n]");
    policy(&of_the_other);
}

#[test]
fn every_rule_and_every_name_is_reported() {
    let found = mistakes(&format!(
        "items:
  s: {}
  m: {}
  n1: {}
  n2: {}
  far: {}
rules:
  - {{ name: one, items: ['*'], when: claims.x, identity: none, save_as: true, access: create }}
  - {{ name: no, items: [s], deny: true }}
  - {{ name: two, items: [m], identity: none, access: create }}
",
        saver("w"),
        maker("u"),
        named("w"),
        named("u"),
        saver_into("x"),
    ));
    for part in [
        "rules[0].save_as: item `n1`",
        "rules[0].access: item `n2`",
        "rules[2].access: item `n2`",
    ] {
        assert!(found.contains(part), "{part} in {found}");
    }
    assert_eq!(found.matches("remedy: ").count(), 3, "{found}");
}

/// Either side may be the same for everybody: then the other side is compared with it for each caller.
#[test]
fn workspaces_that_depend_on_the_caller_are_compared_for_each_caller() {
    let (claimed, tenant) = ("{ cel: claims.w }", "{ cel: t.w }");
    for (s, n, claims, expected) in [
        // Saved into what the caller's claims say, found in a fixed workspace.
        (claimed, "w", "{ w: w }", ("403", "403")),
        (claimed, "w", "{ w: other }", ("granted", "granted")),
        // The other way round: her copy would disturb those who look for a name there, so their look-up is refused.
        ("w", claimed, "{ w: w }", ("403", "403")),
        ("w", claimed, "{ w: other }", ("granted", "granted")),
        // Both depend on the caller.
        (claimed, tenant, "{ tid: a, w: wa }", ("403", "403")),
        (claimed, tenant, "{ tid: a, w: wb }", ("granted", "granted")),
        (
            claimed,
            "{ cel: \"claims['w']\" }",
            "{ w: w }",
            ("403", "403"),
        ),
        // Ids compare without regard to case, names do not.
        (
            WS,
            claimed,
            "{ w: 3D9B1F1E-0C57-4A38-9A51-5A4A7E0B6C11 }",
            ("403", "403"),
        ),
        ("w", claimed, "{ w: W }", ("granted", "granted")),
        // What does not exist for this caller is compared with nothing.
        (claimed, "w", "{}", ("granted", "403")),
        (tenant, "w", "{ tid: nowhere }", ("granted", "403")),
        ("w", tenant, "{ tid: nowhere }", ("403", "granted")),
        // One by its own name, at each item.
        (
            "{ cel: item.name }",
            "{ cel: item.name }",
            "{}",
            ("granted", "granted"),
        ),
        ("{ cel: \"item.name + 'n'\" }", "sn", "{}", ("403", "403")),
    ] {
        for policy in [
            policy(&copies(&saver(s), &named(n))),
            policy(&copies(&saver_into(s), &named(n))),
            policy(&creates(&maker(s), &named(n))),
        ] {
            assert_eq!(both(&policy, claims), expected, "{s} {n} {claims}");
        }
    }
}

#[test]
fn a_report_by_expression_counts_when_it_gives_a_name() {
    let n = |report: &str| format!("{{ kind: report, workspace: w, report: {{ cel: {report} }} }}");
    let claims = "{ tid: a }";
    let by_name = policy(&copies(&saver("w"), &n("t.r")));
    assert_eq!(both(&by_name, claims), ("403", "403"));
    let by_id = policy(&copies(&saver("w"), &n("t.i")));
    assert_eq!(both(&by_id, claims), ("granted", "granted"));
    // Who has no report there disturbs nobody.
    assert_eq!(both(&by_name, "{}"), ("403", "granted"));
}

#[test]
fn the_cause_names_the_other_item_and_the_catalogue_offers_nothing_that_is_refused() {
    let policy = policy(&copies(&saver("{ cel: claims.w }"), &named("w")));
    let (rule, cause) = denial(&policy, "{ w: w }", "n");
    assert_eq!(rule.as_deref(), Some("all"));
    assert!(
        cause.contains("reports of item `s` are saved into") && cause.contains("by id"),
        "{cause}"
    );
    let save = Ask {
        save_as: true,
        ..ask(&["s"])
    };
    let Err(Denied::NotPermitted { rule, cause, .. }) = policy.decide(&caller("{ w: w }"), &save)
    else {
        panic!()
    };
    assert_eq!(rule.as_deref(), Some("savers"));
    assert!(
        cause.contains("item `n` finds its report by name"),
        "{cause}"
    );
    // Looking at it, or saving nothing, harms nobody.
    assert_eq!(
        outcome(&policy.decide(&caller("{ w: w }"), &ask(&["s"]))),
        "granted"
    );

    let listed = |policy: &Policy, claims: &str| {
        let entries = policy.catalogue(&caller(claims));
        entries
            .into_iter()
            .map(|entry| entry.item)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(&policy, "{ w: w }"), ["s"]);
    assert_eq!(listed(&policy, "{ w: v }"), ["s", "n"]);
    let makes = super::support::policy(&creates(&maker("{ cel: claims.w }"), &named("w")));
    assert_eq!(listed(&makes, "{ w: w }"), Vec::<String>::new());
    assert_eq!(listed(&makes, "{ w: v }"), ["s", "n"]);
}

#[test]
fn a_case_holds_what_is_refused() {
    let cases = "cases:
  - { name: copies, claims: { w: other }, item: s, expect: { save_as: true } }
  - { name: no copies, claims: { w: w }, item: s, expect: { save_as: false } }
  - { name: asked, claims: { w: w }, item: s, save_as: true, expect: denied }
  - { name: not found, claims: { w: w }, item: n, expect: denied }
";
    policy(&format!(
        "{}{cases}",
        copies(&saver("{ cel: claims.w }"), &named("w"))
    ));
}

/// Which of them are one workspace only Power BI can tell.
#[test]
fn an_id_and_a_name_are_left_to_the_plan() {
    let other = |item: &str, workspace: &str| ItemWorkspace {
        item: item.into(),
        workspace: workspace.to_owned(),
    };
    for (into, workspace) in [("w", WS), (WS, "w")] {
        let policy = policy(&copies(&saver(into), &named(workspace)));
        let looked_at = grant(&policy, "{}", "n");
        assert_eq!(looked_at.saved_into(), [other("s", into)]);
        assert_eq!(looked_at.found_by_name_in(), []);
        let saved_from = grant(&policy, "{}", "s");
        assert_eq!(saved_from.found_by_name_in(), [other("n", workspace)]);
        assert_eq!(saved_from.saved_into(), []);
    }
    let policy = policy(&copies(&saver("w"), &named("v")));
    for item in ["s", "n"] {
        let grant = grant(&policy, "{}", item);
        assert_eq!(
            (grant.saved_into(), grant.found_by_name_in()),
            (&[][..], &[][..])
        );
    }
}

#[test]
fn what_doctor_looks_at_holds_the_workspaces_to_compare() {
    let policy = policy(&copies(&saver("{ cel: t.w }"), &named("wb")));
    let survey = policy.survey(10);
    let probes = |item: usize| {
        survey.items[item]
            .places
            .iter()
            .map(|place| &place.probes[0].grant)
    };
    let copies: Vec<_> = probes(0)
        .map(|grant| (grant.workspace(), grant.save_as()))
        .collect();
    assert_eq!(copies, [("wa", true), ("wb", false)]);
}

/// Otherwise a menu of a thousand items would take a million evaluations.
#[test]
fn a_large_catalogue_is_compared_workspace_by_workspace() {
    use std::fmt::Write as _;
    let mut text = String::from("items:\n");
    for index in 0..20 {
        let named = format!("{{ kind: report, workspace: {{ cel: claims.v }}, report: R{index} }}");
        let saver = saver("{ cel: claims.w }");
        writeln!(text, "  s{index}: {saver}\n  n{index}: {named}").unwrap();
    }
    text.push_str(
        "  other: { kind: report, workspace: { cel: claims.v }, report: { cel: claims.r } }
rules:
  - { name: savers, items: ['s*'], save_as: true, identity: none }
  - { name: all, items: ['*'], identity: none }
",
    );
    let policy = policy(&text);
    assert_eq!(policy.copies.saving.len(), 1);
    assert_eq!(
        policy.copies.finding.len(),
        2,
        "one that may be an id counts by itself"
    );
    let listed = |claims: &str| policy.catalogue(&caller(claims)).len();
    assert_eq!(listed("{ w: a, v: b, r: R }"), 41);
    assert_eq!(listed("{ w: a, v: a, r: R }"), 20);
    assert_eq!(listed(&format!("{{ w: a, v: a, r: {ID} }}")), 21);
}
