//! Catalogue and trace.

use super::super::*;
use super::support::{ask, caller, outcome, with_rules};

#[test]
fn the_catalogue_lists_what_the_caller_may_embed_in_the_files_order() {
    use Access::{Create, Edit, View};
    let policy = with_rules(
        "  - { name: closed, items: [stock], deny: true }
  - { name: odd, items: [other], when: claims.missing, identity: none }
  - { name: creators, items: [new], when: has(claims.creator), access: create, identity: none }
  - { name: editors, items: [sales, visual, statement], access: edit, identity: { username: { cel: claims.missing } } }
  - { name: all, items: ['*'], identity: none }
",
    );
    let list = |claims: &str| {
        let entries = policy.catalogue(&caller(claims));
        entries
            .into_iter()
            .map(|entry| (entry.item, entry.access, entry.needs_target))
            .collect::<Vec<_>>()
    };
    let entry = |item: &str, access: &[Access], needs_target| {
        (item.to_owned(), access.to_vec(), needs_target)
    };
    let mut expected = vec![
        entry("sales", &[View, Edit], false),
        entry("profiled", &[View], false),
        entry("any", &[View], true),
        entry("any-statement", &[View], true),
        entry("statement", &[View], false),
        entry("board", &[View], false),
        entry("board2", &[View], false),
        entry("tile", &[View], false),
        entry("ask", &[View], false),
        entry("visual", &[View, Edit], false),
    ];
    assert_eq!(list("{}"), expected);
    expected.insert(9, entry("new", &[Create], false));
    expected.push(entry("tenanted", &[View], false));
    assert_eq!(list("{ creator: 1, tid: contoso }"), expected);
}

#[test]
fn titles_default_to_the_name() {
    let policy = with_rules("  - { name: all, items: [sales, stock], identity: none }\n");
    let entries = policy.catalogue(&caller("{}"));
    let titles: Vec<&str> = entries.iter().map(|entry| &*entry.title).collect();
    assert_eq!(titles, ["sales", "Stock in hand"]);
    assert_eq!(entries[0].kind, Kind::Report);
}

#[test]
fn a_trace_shows_every_rule_row_and_place() {
    let policy = with_rules(
        "  - { name: others, items: [stock], identity: none }
  - { name: no, items: ['*'], when: 'false', identity: none }
  - { name: yes, items: [tenanted], when: \"tenant.tier == 'gold'\", identity: { username: { cel: claims.sub } } }
  - { name: late, items: ['*'], identity: none }
",
    );
    let traces = policy.explain(&caller("{ tid: contoso }"), &ask(&["tenanted"]));
    let [trace] = &traces[..] else { panic!() };
    let rules: Vec<_> = trace
        .rules
        .iter()
        .map(|rule| (&*rule.rule, &rule.outcome))
        .collect();
    assert_eq!(
        rules,
        [
            ("others", &RuleOutcome::NotForThisItem),
            ("no", &RuleOutcome::ConditionFalse),
            ("yes", &RuleOutcome::Matched),
            ("late", &RuleOutcome::NotReached),
        ]
    );
    assert_eq!(trace.tables.len(), 1);
    assert_eq!(
        (&*trace.tables[0].table, &trace.tables[0].key),
        ("tenant", &Ok("contoso".to_owned()))
    );
    assert_eq!(trace.tables[0].row.as_ref().unwrap()["workspace"], "w1");
    let place = trace.place.as_ref().unwrap();
    assert_eq!(
        (
            &*place.workspace,
            &*place.principal,
            place.profile.as_deref()
        ),
        ("w1", "other", Some("p1"))
    );
    assert!(matches!(
        trace.outcome,
        Err(Denied::IdentityUnmappable { .. })
    ));
}

#[test]
fn a_trace_shows_what_failed() {
    let policy = with_rules("  - { name: odd, items: [sales], when: claims.x, identity: none }\n");
    let trace = policy.explain(&caller("{}"), &ask(&["sales"])).remove(0);
    assert!(matches!(&trace.rules[0].outcome, RuleOutcome::Failed(cause) if cause.contains('x')));
    assert!(trace.place.is_none());
    let trace = policy.explain(&caller("{}"), &ask(&["nothing"])).remove(0);
    assert_eq!(trace.rules[0].outcome, RuleOutcome::NotForThisItem);
}

#[test]
fn explain_and_decide_agree() {
    let policy = with_rules(
        "  - { name: a, items: [sales, ask, new], when: claims.a, access: edit, identity: { username: { cel: claims.b } } }
  - { name: all, items: ['*'], identity: none }
",
    );
    for claims in [
        "{}",
        "{ a: true }",
        "{ a: true, b: x }",
        "{ a: false }",
        "{ tid: contoso, a: true }",
    ] {
        for item in ["sales", "ask", "new", "board", "tenanted", "any", "nothing"] {
            for access in [
                None,
                Some(Access::View),
                Some(Access::Edit),
                Some(Access::Create),
            ] {
                let ask = Ask {
                    access,
                    ..ask(&[item])
                };
                let decision = policy.decide(&caller(claims), &ask);
                let trace = policy.explain(&caller(claims), &ask).remove(0);
                let explained = trace.outcome.map(|grant| vec![grant]);
                assert_eq!(outcome(&decision), outcome(&explained));
                assert_eq!(decision.err(), explained.err());
            }
        }
    }
}
