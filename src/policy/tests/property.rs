//! Whatever a token says: no panic, and no grant that holds more than its rule and item give.

use proptest::prelude::*;
use serde_json::{Map, json};
use time::OffsetDateTime;

use super::super::*;
use super::support::policy;

const POLICY: &str = "
tables:
  t: { key: claims.tid, rows: { a: { w: wa, p: pa, r: [Ra] }, b: { w: wb, p: pb, r: [Rb, Rc] } } }
items:
  one: { kind: report, workspace: { cel: t.w }, report: R1, profile: { cel: t.p }, datasets: [{ dataset: d1 }] }
  two: { kind: report, workspace: w2, report: R2 }
  new: { kind: create_report, workspace: w2, dataset: D, target_workspace: drafts }
rules:
  - { name: blocked, items: ['*'], when: has(claims.s) && claims.s, deny: true }
  - { name: tenants, items: [one], identity: { username: { cel: claims.sub }, roles: { cel: t.r } }, dataset_identities: { d1: { username: d, roles: [Rd] } } }
  - { name: editors, items: [two], when: \"'e' in claims.g\", access: edit, identity: { username: { cel: claims.sub }, roles: [Fixed] } }
";

fn claim() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("e".to_owned()),
        ".{0,8}"
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Mostly what a good token holds, so that something is granted at all.
fn claims() -> impl Strategy<Value = Map<String, Value>> {
    let of = |usual: Value| prop_oneof![6 => Just(Some(usual)), 2 => claim().prop_map(Some), 1 => Just(None)];
    let claims = (
        prop_oneof![of(json!("a")), of(json!("b"))],
        of(json!("u1")),
        of(json!(false)),
        of(json!(["d", "e"])),
        claim(),
    );
    claims.prop_map(|(tid, sub, s, g, x)| {
        let claims = [
            ("tid", tid),
            ("sub", sub),
            ("s", s),
            ("g", g),
            ("x", Some(x)),
        ];
        let present = claims.into_iter();
        present
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    })
}

fn asks() -> impl Strategy<Value = Ask> {
    let item = prop_oneof![Just("one"), Just("two"), Just("new"), Just("none")];
    let access = prop::option::of(prop_oneof![
        Just(Access::View),
        Just(Access::Edit),
        Just(Access::Create)
    ]);
    let target = prop::option::weighted(0.1, Just("T".to_owned()));
    (
        prop::collection::vec(item, 0..3),
        access,
        prop::bool::weighted(0.2),
        target,
    )
        .prop_map(|(items, access, save_as, target)| Ask {
            items: items.into_iter().map(str::to_owned).collect(),
            access,
            save_as: save_as && target.is_none(),
            target,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_grant_holds_nothing_that_its_rule_and_item_do_not_give(claims in claims(), ask in asks()) {
        static POLICY_UNDER_TEST: std::sync::LazyLock<Policy> = std::sync::LazyLock::new(|| policy(POLICY));
        let policy = &*POLICY_UNDER_TEST;
        let caller = Caller::assumed("login", claims.clone(), OffsetDateTime::UNIX_EPOCH);
        let _ = (policy.catalogue(&caller), policy.explain(&caller, &ask));
        let Ok(grants) = policy.decide(&caller, &ask) else { return Ok(()) };
        for grant in grants {
            // True blocks, and what is no truth value is an error, which denies.
            prop_assert!(matches!(claims.get("s"), None | Some(Value::Bool(false))), "blocked");
            prop_assert!(!grant.save_as());
            prop_assert_eq!(grant.principal(), "default");
            let identity = grant.identity().unwrap();
            let sub = claims.get("sub").and_then(Value::as_str);
            prop_assert_eq!(identity.username.as_deref(), sub);
            match &**grant.item() {
                "one" => {
                    let place = match claims["tid"].as_str() {
                        Some("a") => ("wa", Some("pa"), vec!["Ra"]),
                        Some("b") => ("wb", Some("pb"), vec!["Rb", "Rc"]),
                        other => return Err(TestCaseError::fail(format!("tenant {other:?}"))),
                    };
                    prop_assert_eq!((grant.workspace(), grant.profile()), (place.0, place.1));
                    prop_assert_eq!(&identity.roles, &place.2);
                    prop_assert_eq!(grant.access(), Access::View);
                    prop_assert_eq!(&grant.identity_for("d1").unwrap().roles, &["Rd"]);
                    prop_assert_eq!(grant.datasets().len(), 1);
                }
                "two" => {
                    let (list, map) = (claims["g"].as_array(), claims["g"].as_object());
                    let holds = list.is_some_and(|list| list.contains(&json!("e")));
                    prop_assert!(holds || map.is_some_and(|map| map.contains_key("e")));
                    prop_assert_eq!((grant.workspace(), grant.profile()), ("w2", None));
                    prop_assert_eq!(&identity.roles, &["Fixed"]);
                    prop_assert!(grant.access() <= ask.access.unwrap_or_default());
                    prop_assert!(grant.datasets().is_empty());
                }
                other => return Err(TestCaseError::fail(format!("granted {other}"))),
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn no_text_makes_the_loader_panic(text in "[a-z:{}\\[\\]\"'*&|>#\\-\n ]{0,200}") {
        let _ = Policy::parse(&text, &super::support::surroundings());
        let _ = Policy::parse(&format!("{POLICY}cases: {text}"), &super::support::surroundings());
    }
}
