//! As whom: the parts of an identity, and what makes it unmappable.

use super::super::*;
use super::support::{ask, caller, grant, outcome, with_rules};

fn rule(identity: &str) -> Policy {
    with_rules(&format!(
        "  - {{ name: r, items: [sales], identity: {identity} }}\n"
    ))
}

/// The cause of a 422.
#[track_caller]
fn unmappable(policy: &Policy, claims: &str) -> String {
    match policy.decide(&caller(claims), &ask(&["sales"])) {
        Err(Denied::IdentityUnmappable { item, rule, cause }) => {
            assert_eq!((&*item, &*rule), ("sales", "r"));
            cause
        }
        other => panic!("expected a 422, got {other:?}"),
    }
}

#[test]
fn literals_expressions_and_mixed_lists() {
    let policy = rule(
        "{ username: { cel: claims.email }, roles: [Base, { cel: claims.role }, { cel: \"claims.regions.map(r, 'Region ' + r)\" }], custom_data: x, auditable_context: { cel: claims.sub }, identity_blob: { header: X-Sql }, datasource_identities: [{ datasource_type: Sql, connection: { server: s, database: d }, blob: { header: X-Other } }] }",
    );
    let grant = grant(
        &policy,
        "{ email: a@b, role: R, regions: [North, South], sub: u }",
        "sales",
    );
    let identity = grant.identity().unwrap();
    let expected = Identity {
        username: Some("a@b".to_owned()),
        roles: ["Base", "R", "Region North", "Region South"]
            .map(str::to_owned)
            .to_vec(),
        custom_data: Some("x".to_owned()),
        auditable_context: Some("u".to_owned()),
        identity_blob: Some("x-sql".to_owned()),
        datasource_identities: vec![DatasourceIdentity {
            datasource_type: "Sql".to_owned(),
            connection: [("server", "s"), ("database", "d")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            blob_header: "x-other".to_owned(),
        }],
    };
    assert_eq!(identity, &expected);
}

#[test]
fn what_a_rule_leaves_out_or_sets_to_null_is_not_there() {
    for identity in [
        "{}",
        "{ username: ~, roles: ~, custom_data: ~, auditable_context: ~, identity_blob: ~ }",
    ] {
        assert_eq!(
            grant(&rule(identity), "{}", "sales").identity(),
            Some(&Identity::default())
        );
    }
    assert_eq!(grant(&rule("none"), "{}", "sales").identity(), None);
}

#[test]
fn an_expression_in_error_or_of_the_wrong_type_is_unmappable() {
    for (key, wrong) in [
        (
            "username",
            &[
                "{}",
                "{ v: ~ }",
                "{ v: 7 }",
                "{ v: true }",
                "{ v: [a] }",
                "{ v: {} }",
                "{ v: '' }",
            ][..],
        ),
        (
            "custom_data",
            &["{}", "{ v: ~ }", "{ v: '' }", "{ v: 7 }", "{ v: [a] }"],
        ),
        (
            "auditable_context",
            &["{}", "{ v: ~ }", "{ v: 7 }", "{ v: [a] }"],
        ),
        (
            "roles",
            &[
                "{}",
                "{ v: ~ }",
                "{ v: 7 }",
                "{ v: Sales }",
                "{ v: [7] }",
                "{ v: [a, ~] }",
                "{ v: [[a]] }",
                "{ v: [''] }",
                "{ v: ['a,b'] }",
            ],
        ),
    ] {
        let policy = rule(&format!("{{ {key}: {{ cel: claims.v }} }}"));
        for claims in wrong {
            let cause = unmappable(&policy, claims);
            assert!(
                cause.starts_with(&format!("identity.{key}: ")),
                "{claims}: {cause}"
            );
        }
    }
    let policy = rule("{ roles: [Base, { cel: claims.v }] }");
    for claims in [
        "{}",
        "{ v: ~ }",
        "{ v: 7 }",
        "{ v: '' }",
        "{ v: ['a,b'] }",
        "{ v: { a: b } }",
    ] {
        unmappable(&policy, claims);
    }
}

#[test]
fn the_cause_names_the_expression_and_no_value() {
    let cause = unmappable(&rule("{ username: { cel: claims.age } }"), "{ age: 4711 }");
    assert_eq!(
        cause,
        "identity.username: `claims.age` gives a number, not a string"
    );
    let cause = unmappable(
        &rule("{ roles: { cel: claims.v } }"),
        "{ v: ['secret,role'] }",
    );
    assert_eq!(
        cause,
        "identity.roles: a role contains a comma, which Power BI does not allow"
    );
}

#[test]
fn roles_are_folded_and_counted() {
    let policy = rule("{ roles: { cel: claims.v } }");
    let list = |count: usize| {
        let roles: Vec<String> = (0..count).map(|role| format!("r{role}")).collect();
        format!("{{ v: [{}, r0, r0] }}", roles.join(", "))
    };
    assert_eq!(
        grant(&policy, &list(50), "sales")
            .identity()
            .unwrap()
            .roles
            .len(),
        50
    );
    assert!(unmappable(&policy, &list(51)).contains("more than 50 roles"));
    let long = |length: usize| format!("{{ v: ['{}'] }}", "ü".repeat(length));
    grant(&policy, &long(50), "sales");
    assert!(unmappable(&policy, &long(51)).contains("more than 50 characters"));
    assert_eq!(
        grant(&policy, "{ v: [] }", "sales")
            .identity()
            .unwrap()
            .roles,
        Vec::<String>::new()
    );
}

#[test]
fn custom_data_is_limited() {
    let policy = rule("{ custom_data: { cel: claims.v } }");
    let long = |length: usize| format!("{{ v: '{}' }}", "ü".repeat(length));
    grant(&policy, &long(1024), "sales");
    assert!(unmappable(&policy, &long(1025)).contains("1,024"));
}

#[test]
fn identities_of_single_datasets_are_as_strict() {
    let policy = with_rules(
        "  - { name: r, items: [sales], identity: { username: u }, dataset_identities: { D1: { username: { cel: claims.v } }, d2: none } }\n",
    );
    assert_eq!(
        unmappable(&policy, "{}").split(": ").next(),
        Some("dataset_identities.d1.username")
    );
    let grant = grant(&policy, "{ v: own }", "sales");
    let username = |dataset: &str| {
        grant
            .identity_for(dataset)
            .map(|identity| identity.username.clone().unwrap())
    };
    assert_eq!(username("d1").as_deref(), Some("own"));
    assert_eq!(username("D1").as_deref(), Some("own"));
    assert_eq!(username("D2"), None);
    assert_eq!(username("d3").as_deref(), Some("u"));
}

#[test]
fn one_unmappable_item_refuses_the_request() {
    let policy = with_rules(
        "  - { name: a, items: [stock], identity: none }
  - { name: r, items: [sales], identity: { username: { cel: claims.v } } }
",
    );
    assert_eq!(
        outcome(&policy.decide(&caller("{}"), &ask(&["stock", "sales"]))),
        "422"
    );
}
