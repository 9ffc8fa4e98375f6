//! What does not load, and how it is reported.

use std::path::Path;

use super::super::*;
use super::support::{ITEMS, mistakes, mistakes_with, policy, surroundings};
use crate::config::Mistakes;

/// One item, then what the test adds at the top level.
fn with(rest: &str) -> String {
    format!("items:\n  a: {{ kind: report, workspace: w, report: R }}\n{rest}")
}

/// A rule for `a` with further keys.
fn rule(keys: &str) -> String {
    with(&format!("rules: [{{ name: r, items: [a], {keys} }}]"))
}

/// An item with further keys, and a rule.
fn item(keys: &str) -> String {
    format!("items:\n  a: {{ {keys} }}\nrules: [{{ name: r, items: [a], identity: none }}]")
}

#[test]
fn the_samples_load() {
    for sample in ["config/policy.yaml", "tests/cases/policy/contract.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(sample);
        let policy = Policy::load(&path, &surroundings()).unwrap_or_else(|mistakes| {
            panic!("{}", Mistakes(mistakes));
        });
        assert_eq!(policy.files(), [path]);
        assert_eq!(policy.rule_count(), 3);
    }
}

#[test]
fn the_schema_accepts_the_samples_and_refuses_what_the_loader_refuses() {
    let schema = Policy::json_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let read = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    for sample in ["config/policy.yaml", "tests/cases/policy/contract.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(sample);
        let sample = read(&std::fs::read_to_string(path).unwrap());
        let errors: Vec<String> = validator
            .iter_errors(&sample)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, Vec::<String>::new());
    }
    for bad in [
        with("rules: []\nextra: 1"),
        item("kind: report, workspace: 12, report: R"),
        item("kind: report, workspace: { cell: x }, report: R"),
        item("kind: reprt, workspace: w, report: R"),
        rule("identity: { usrname: x }"),
        rule("identity: nobody"),
    ] {
        assert!(!validator.is_valid(&read(&bad)), "{bad}");
    }
    assert!(
        schema
            .to_string()
            .contains("first rule that matches decides"),
        "the schema documents the keys"
    );
}

/// A faulty policy and parts of its report.
#[derive(serde::Deserialize)]
struct Faulty {
    policy: String,
    place: String,
    #[serde(default)]
    problem: String,
}

/// Checks the faulty policies of a file below `tests/cases/policy`.
fn check_faulty(file: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/policy");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let all: Vec<Faulty> = serde_saphyr::from_str(&text).unwrap();
    assert!(all.len() > 20, "{file} is read whole");
    for faulty in all {
        let found = mistakes(&faulty.policy);
        assert!(
            found.contains(&faulty.place) && found.contains(&faulty.problem),
            "{}\nshould be reported as {} {}\nand is: {found}",
            faulty.policy,
            faulty.place,
            faulty.problem
        );
        let reports = found.matches("remedy: ").count();
        assert_eq!(reports, 1, "one mistake, one report: {found}");
    }
}

#[test]
fn shape_errors_have_place_path_and_hint() {
    check_faulty("shape_errors.yaml");
}

#[test]
fn a_bare_off_is_the_word() {
    for xmla in ["off", "\"off\""] {
        let text = item(&format!(
            "kind: report, workspace: w, report: R, xmla: {xmla}"
        ));
        assert_eq!(policy(&text).items[0].xmla, Xmla::Off);
    }
}

#[test]
fn names_literals_and_expressions_are_checked() {
    check_faulty("load_errors.yaml");
}

#[test]
fn keys_must_fit_the_kind() {
    let whole = [
        ("report", "report: R"),
        ("paginated_report", "report: R"),
        ("dashboard", "dashboard: B"),
        ("tile", "dashboard: B, tile: T"),
        ("qna", "dataset: D"),
        ("create_report", "dataset: D, target_workspace: t"),
        ("visual", "report: R, page: P, visual: V"),
    ];
    for (kind, keys) in whole {
        policy(&item(&format!("kind: {kind}, workspace: w, {keys}")));
        for needed in keys.split(", ") {
            let key = needed.split(':').next().unwrap();
            let rest = keys.replace(needed, "");
            let found = mistakes(&item(
                &format!("kind: {kind}, workspace: w, {rest}").replace(", ,", ","),
            ));
            assert!(
                found.contains(&format!("needs `{key}`")),
                "{kind} without {key}: {found}"
            );
        }
    }
    for (kind, key) in [
        ("report", "dashboard: B"),
        ("report", "page: P"),
        ("report", "target_workspace: t"),
        ("paginated_report", "save_as_workspace: t"),
        ("paginated_report", "paginated_visuals: [x]"),
        ("dashboard", "report: R"),
        ("dashboard", "xmla: read_only"),
        ("tile", "xmla: read_only"),
        ("tile", "report: R"),
        ("qna", "report: R"),
        ("create_report", "save_as_workspace: t"),
        ("visual", "save_as_workspace: t"),
        ("visual", "tile: T"),
    ] {
        let keys = whole.iter().find(|(other, _)| *other == kind).unwrap().1;
        let found = mistakes(&item(&format!("kind: {kind}, workspace: w, {keys}, {key}")));
        let key = key.split(':').next().unwrap();
        assert!(
            found.contains(&format!("has no `{key}`")),
            "{kind} with {key}: {found}"
        );
    }
    policy(&item(
        "kind: dashboard, workspace: w, dashboard: B, security: cloud_rls, xmla: off, dataset_workspace: d",
    ));
    for (kind, keys) in [
        ("visual", "report: '*', page: P, visual: V"),
        ("dashboard", "dashboard: '*'"),
        ("qna", "dataset: '*'"),
    ] {
        let found = mistakes(&item(&format!("kind: {kind}, workspace: w, {keys}")));
        assert!(
            found.contains("stands for the request's `target`"),
            "{found}"
        );
    }
}

#[test]
fn embed_settings_cannot_replace_what_the_broker_sets() {
    for key in [
        "id",
        "type",
        "embedUrl",
        "EMBEDURL",
        "accessToken",
        "tokenType",
        "permissions",
        "viewMode",
        "datasetId",
        "url",
        "token",
    ] {
        let found = mistakes(&item(&format!(
            "kind: report, workspace: w, report: R, embed: {{ {key}: x }}"
        )));
        assert!(found.contains(&format!("items.a.embed.{key}:")), "{found}");
    }
    mistakes(&item(
        "kind: visual, workspace: w, report: R, page: P, visual: V, embed: { pageName: x }",
    ));
    policy(&item(
        "kind: report, workspace: w, report: R, embed: { pageName: x, settings: { id: y } }",
    ));
}

#[test]
fn globs_may_match_nothing_and_names_may_not() {
    policy(&rule("identity: none").replace("[a]", "['finance-*', 'x?', a]"));
    mistakes(&rule("identity: none").replace("[a]", "[a, finance]"));
}

#[test]
fn with_several_issuers_a_key_uses_the_issuer_or_consents() {
    let several = Surroundings {
        issuers: vec!["a".to_owned(), "b".to_owned()],
        ..surroundings()
    };
    let table = |keys: &str| {
        with(&format!(
            "rules: []\ntables: {{ t: {{ {keys}, rows: {{}} }} }}"
        ))
    };
    let found = mistakes_with(&table("key: claims.tid"), &several);
    assert!(found.contains("tables.t.key: several issuers"), "{found}");
    assert!(Policy::parse(&table("key: \"issuer + '/' + claims.tid\""), &several).is_ok());
    assert!(Policy::parse(&table("key: claims.tid, any_issuer: true"), &several).is_ok());
    assert!(Policy::parse(&table("key: claims.tid"), &surroundings()).is_ok());
}

#[test]
fn with_several_tenants_a_key_uses_the_tenant_or_consents() {
    let several = Surroundings {
        multi_tenant_issuers: vec!["login".to_owned()],
        ..surroundings()
    };
    let table = |keys: &str| {
        with(&format!(
            "rules: []\ntables: {{ t: {{ {keys}, rows: {{}} }} }}"
        ))
    };
    for key in [
        "claims.email",
        "issuer + '/' + claims.oid",
        // What is only tested tells nobody apart.
        "has(claims.tid) ? claims.email : ''",
        "claims.tid == 'x' ? claims.email : claims.sub",
        "string(claims)",
    ] {
        let faulty = table(&format!("key: \"{key}\""));
        let found = mistakes_with(&faulty, &several);
        for part in [
            "tables.t.key: issuer `login` accepts several tenants",
            "\"claims.tid + '/' + ",
            "`any_tenant: true`",
        ] {
            assert!(found.contains(part), "{part} in {found}");
        }
        assert_eq!(found.matches("remedy: ").count(), 1, "{found}");
        assert!(Policy::parse(&faulty, &surroundings()).is_ok(), "{key}");
        let consent = table(&format!("key: \"{key}\", any_tenant: true"));
        assert!(Policy::parse(&consent, &several).is_ok(), "{key}");
    }
    for key in [
        "claims.tid",
        "claims['tid']",
        "claims.tid + '/' + claims.email",
        "issuer == 'login' ? claims.tid : claims.email",
    ] {
        let sound = table(&format!("key: \"{key}\""));
        assert!(Policy::parse(&sound, &several).is_ok(), "{key}");
    }
    // Consent to one is no consent to the other.
    let both = Surroundings {
        issuers: vec!["login".to_owned(), "other".to_owned()],
        ..several
    };
    let found = mistakes_with(&table("key: claims.email, any_issuer: true"), &both);
    assert!(found.contains("accepts several tenants"), "{found}");
    let found = mistakes_with(&table("key: claims.tid, any_tenant: true"), &both);
    assert!(found.contains("several issuers are configured"), "{found}");
    let found = mistakes_with(&table("key: claims.email"), &both);
    assert_eq!(found.matches("remedy: ").count(), 2, "{found}");
}

#[test]
fn a_report_found_by_name_cannot_be_copied_into_its_own_workspace() {
    let alone = |item: &str, gives: &str| {
        format!(
            "items:\n  a: {{ {item} }}\nrules: [{{ name: r, items: ['*'], identity: none, {gives} }}]"
        )
    };
    for item in [
        "kind: report, workspace: w, report: Sales",
        "kind: report, workspace: w, report: Sales, save_as_workspace: w",
        "kind: report, workspace: { cel: claims.w }, report: Sales, save_as_workspace: { cel: claims.w }",
        "kind: report, workspace: { cel: item.name }, report: Sales",
    ] {
        let found = mistakes(&alone(item, "save_as: true"));
        assert!(
            found.contains("rules[0].save_as:") && found.contains("could take the name"),
            "{found}"
        );
        policy(&alone(item, "save_as: false"));
    }
    for item in [
        "kind: report, workspace: w, report: 5b218778-e7a5-4d73-8187-f10824047715",
        "kind: report, workspace: w, report: '*'",
        "kind: report, workspace: w, report: Sales, save_as_workspace: copies",
        "kind: report, workspace: { cel: claims.w }, report: Sales, save_as_workspace: { cel: claims.v }",
        "kind: paginated_report, workspace: w, report: Sales",
        "kind: qna, workspace: w, dataset: Sales",
    ] {
        policy(&alone(item, "save_as: true"));
    }
}

#[test]
fn everything_is_reported_in_one_run() {
    let text = format!(
        "{ITEMS}rules:
  - {{ name: fine, items: [stock], identity: {{ username: u }} }}
  - {{ name: typo, items: [salse, sales], when: 'clams.a', identity: none }}
  - {{ name: forgot, items: [ask], identity: {{ username: claims.email }} }}
cases:
  - {{ name: fails, claims: {{}}, item: stock, expect: {{ username: v }} }}
  - {{ name: needs what is broken, claims: {{}}, item: sales, expect: {{ rule: typo }} }}
  - {{ name: needs the forgotten, claims: {{}}, item: ask, expect: {{ rule: forgot }} }}
"
    );
    let found = mistakes(&text);
    for part in [
        "no item `salse`",
        "clams",
        "reads like an expression",
        "(fails).expect: `username`: expected \"v\", got \"u\"",
    ] {
        assert!(found.contains(part), "{part} in {found}");
    }
    assert_eq!(
        found.matches("remedy: ").count(),
        4,
        "no echo of a mistake in the cases: {found}"
    );
}

#[test]
fn an_unreadable_policy_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    let mistakes = Policy::load(&path, &surroundings()).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].problem.contains("cannot read"), "{mistakes:?}");
}

#[test]
fn blob_headers_are_collected_in_lower_case() {
    let policy = policy(&rule(
        "identity: { identity_blob: { header: X-Sql-Token } }, dataset_identities: { d: { datasource_identities: [{ datasource_type: Sql, connection: { server: s }, blob: { header: x-B } }, { datasource_type: Sql, connection: { server: t }, blob: { header: X-SQL-token } }] } }",
    ));
    assert_eq!(policy.blob_headers(), ["x-b", "x-sql-token"]);
}
