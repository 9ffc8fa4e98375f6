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

#[test]
fn shape_errors_have_place_path_and_hint() {
    for (text, place, problem) in [
        (
            item("kind: report, workspace: 12, report: R"),
            "policy:2:33 items.a.workspace:",
            "put quotes around it",
        ),
        (
            item("kind: report, workspace: 1e5, report: R"),
            "policy:2:33 items.a.workspace:",
            "put quotes around it",
        ),
        (
            item("kind: report, workspace: true, report: R"),
            "policy:2:33 items.a.workspace:",
            "put quotes around it",
        ),
        (
            item("kind: report, workspace: ~, report: R"),
            "items.a.workspace:",
            "expected a string or { cel",
        ),
        (
            item("kind: report, workspace: { cel: 5 }, report: R"),
            "items.a.workspace.cel:",
            "put quotes around it",
        ),
        (
            item("kind: report, workspace: { cel: a, x: b }, report: R"),
            "items.a.workspace.x:",
            "unknown field `x`",
        ),
        (
            item("kind: report, workspace: w, reprot: R"),
            "items.a.reprot:",
            "unknown field `reprot`",
        ),
        (
            item("kind: reprt, workspace: w"),
            "items.a.kind:",
            "unknown variant `reprt`",
        ),
        (
            item("workspace: w, report: R"),
            "items.a:",
            "missing field `kind`",
        ),
        (
            item("kind: report, workspace: w, report: R, xmla: false"),
            "items.a.xmla:",
            "unknown variant `false`",
        ),
        (
            item("kind: report, kind: report, workspace: w, report: R"),
            "items.a",
            "duplicate mapping key `kind`",
        ),
        (
            rule("identity: { roles: Sales }"),
            "rules[0].identity.roles:",
            "expected a list of roles",
        ),
        (
            rule("identity: { roles: [7] }"),
            "rules[0].identity.roles[0]:",
            "put quotes around it",
        ),
        (
            rule("identity: nobody"),
            "rules[0].identity:",
            "unknown variant `nobody`",
        ),
        (
            rule("identity: none, name: again"),
            "rules[0]",
            "duplicate mapping key `name`",
        ),
        (
            rule("identity: none, when: true"),
            "rules[0].when:",
            "put quotes around it",
        ),
        (
            with("rules: []\ntables: { t: { key: claims.a, rows: { k: 1 } } }"),
            "tables.t.rows.k:",
            "mapping",
        ),
        (
            with("rules: []\ntables: { t: { key: claims.a, rows: { k: {}, k: {} } } }"),
            "tables.t.rows",
            "duplicate mapping key `k`",
        ),
        (
            with("rules: []\nitems: {}"),
            "policy:",
            "duplicate mapping key `items`",
        ),
        (with(""), "policy:", "missing field `rules`"),
        (with("rules: ["), "policy:", ""),
        (
            with("rules: []\n---\nitems: {}"),
            "policy:",
            "single YAML document",
        ),
        (
            with("rules: []\ncases: [{ name: c, claims: {}, item: a, expect: refused }]"),
            "cases[0].expect:",
            "unknown variant `refused`",
        ),
        (
            with("rules: []\ncases: [{ name: c, claims: {}, item: a, expect: { user: x } }]"),
            "cases[0].expect.user:",
            "unknown field `user`",
        ),
        (String::new(), "policy:", ""),
    ] {
        let found = mistakes(&text);
        assert!(
            found.contains(place) && found.contains(problem),
            "{text}\n=> {found}"
        );
        assert!(found.contains("remedy: "), "{found}");
    }
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
    let roles = |count: usize| {
        (0..count)
            .map(|role| format!("r{role}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (text, place, problem) in [
        // names
        (
            rule("identity: none").replace("[a]", "[b]"),
            "policy:3:28 rules[0].items[0]:",
            "no item `b`",
        ),
        (
            rule("identity: none").replace("[a]", "[]"),
            "rules[0]:",
            "names no item",
        ),
        (
            rule("identity: none").replace("[a]", "['a[']"),
            "rules[0].items[0]:",
            "no glob",
        ),
        (
            with(
                "rules: [{ name: r, items: [a], deny: true }, { name: r, items: [a], deny: true }]",
            ),
            "rules[1].name:",
            "`r` already",
        ),
        (
            with("rules: [{ name: '', items: [a], deny: true }]"),
            "rules[0].name:",
            "empty",
        ),
        (
            with(
                "rules: [{ name: r, items: [a], identity: none }]\ncases: [{ name: c, claims: {}, item: a, expect: {} }, { name: c, claims: {}, item: a, expect: {} }]",
            ),
            "cases[1].name:",
            "`c` already",
        ),
        (
            with("rules: []\ncases: [{ name: c, claims: {}, item: b, expect: denied }]"),
            "cases[0] (c).item:",
            "no item `b`",
        ),
        (
            with(
                "rules: []\ncases: [{ name: c, claims: {}, item: a, tables: { t: {} }, expect: denied }]",
            ),
            "cases[0] (c).tables:",
            "no table `t`",
        ),
        (
            with("rules: []\ncases: [{ name: c, claims: {}, item: a, issuer: x, expect: denied }]"),
            "cases[0] (c).issuer:",
            "no issuer `x`",
        ),
        (
            item("kind: report, workspace: w, report: R, principal: nobody"),
            "items.a.principal:",
            "no principal `nobody`",
        ),
        (
            item("kind: report, workspace: w, report: R")
                .replace("  a:", "  'a*':")
                .replace("[a]", "['*']"),
            "items.a*:",
            "cannot be the name",
        ),
        (
            item("kind: report, workspace: w, report: R")
                .replace("  a:", "  a/b:")
                .replace("[a]", "['*']"),
            "items.a/b:",
            "cannot be the name",
        ),
        (
            with("rules: []\ntables: { claims: { key: claims.a, rows: {} } }"),
            "tables.claims:",
            "hide the variable",
        ),
        (
            with("rules: []\ntables: { item: { key: claims.a, rows: {} } }"),
            "tables.item:",
            "hide the variable",
        ),
        (
            with("rules: []\ntables: { in: { key: claims.a, rows: {} } }"),
            "tables.in:",
            "name of a variable",
        ),
        (
            with("rules: []\ntables: { a-b: { key: claims.a, rows: {} } }"),
            "tables.a-b:",
            "name of a variable",
        ),
        // tables
        (
            with("rules: []\ntables: { t: { key: claims.a } }"),
            "tables.t:",
            "neither `rows` nor `rows_file`",
        ),
        (
            with("rules: []\ntables: { t: { key: claims.a, rows: {}, rows_file: f } }"),
            "tables.t:",
            "both `rows` and `rows_file`",
        ),
        (
            with("rules: []\ntables: { t: { key: item.name, rows: {} } }"),
            "tables.t.key:",
            "`item`",
        ),
        (
            with(
                "rules: []\ntables: { t: { key: claims.a, rows: {} }, u: { key: t.x, rows: {} } }",
            ),
            "tables.u.key:",
            "`t`",
        ),
        (
            with("rules: []\ntables: { t: { key: claims.a, rows: { '': {} } } }"),
            "tables.t.rows",
            "empty key",
        ),
        // rules
        (
            rule("access: view"),
            "rules[0]:",
            "neither denies nor says which identity",
        ),
        (
            rule("identity: ~"),
            "rules[0]:",
            "neither denies nor says which identity",
        ),
        (
            rule("deny: true, identity: none"),
            "rules[0].identity:",
            "denies",
        ),
        (
            rule("deny: true, access: edit"),
            "rules[0].access:",
            "denies",
        ),
        (
            rule("deny: true, save_as: true"),
            "rules[0].save_as:",
            "denies",
        ),
        (
            rule("deny: true, lifetime: 5m"),
            "rules[0].lifetime:",
            "denies",
        ),
        (
            rule("deny: true, dataset_identities: { d: none }"),
            "rules[0].dataset_identities:",
            "denies",
        ),
        (
            rule("identity: none, lifetime: soon"),
            "rules[0].lifetime:",
            "no duration",
        ),
        (
            rule("identity: none, lifetime: 59s"),
            "rules[0].lifetime:",
            "less than a minute",
        ),
        (
            rule("identity: none, dataset_identities: { D1: none, d1: none }"),
            "rules[0].dataset_identities.d1:",
            "stands twice",
        ),
        // expressions
        (
            rule("identity: none, when: 'claims.a ='"),
            "rules[0].when:",
            "CEL",
        ),
        (
            rule("identity: none, when: 'clams.a'"),
            "rules[0].when:",
            "clams",
        ),
        (
            rule("identity: none, when: 'request.a'"),
            "rules[0].when:",
            "request",
        ),
        (
            rule("identity: none, when: 'frobnicate(claims.a)'"),
            "rules[0].when:",
            "frobnicate",
        ),
        (
            rule(&format!("identity: none, when: '{}'", "a".repeat(2049))),
            "rules[0].when:",
            "2048",
        ),
        (
            rule("identity: none, when: 'claims.a.all(x, claims.a.all(y, x == y))'"),
            "rules[0].when:",
            "",
        ),
        (
            rule("identity: { username: { cel: claims.( } }"),
            "rules[0].identity.username:",
            "CEL",
        ),
        (
            rule("identity: { roles: { cel: 'nope' } }"),
            "rules[0].identity.roles:",
            "nope",
        ),
        (
            rule("identity: { roles: [x, { cel: 'nope' }] }"),
            "rules[0].identity.roles[1]:",
            "nope",
        ),
        (
            rule("identity: none, dataset_identities: { d: { username: { cel: nope } } }"),
            "rules[0].dataset_identities.d.username:",
            "nope",
        ),
        (
            item("kind: report, workspace: { cel: nope }, report: R"),
            "policy:2:40 items.a.workspace:",
            "nope",
        ),
        // literals that somebody forgot to mark
        (
            item("kind: report, workspace: claims.ws, report: R"),
            "items.a.workspace:",
            "reads like an expression",
        ),
        (
            item("kind: report, workspace: w, report: claims.r"),
            "items.a.report:",
            "reads like an expression",
        ),
        (
            item("kind: report, workspace: w, report: R, profile: t.p")
                + "\ntables: { t: { key: claims.a, rows: {} } }",
            "items.a.profile:",
            "{ cel: \"t.p\" }",
        ),
        (
            item("kind: visual, workspace: w, report: R, page: claims.p, visual: V"),
            "items.a.page:",
            "reads like an expression",
        ),
        (
            rule("identity: { username: claims.email }"),
            "rules[0].identity.username:",
            "reads like an expression",
        ),
        (
            rule("identity: { roles: [claims.role] }"),
            "rules[0].identity.roles[0]:",
            "reads like an expression",
        ),
        (
            rule("identity: { custom_data: claims.x }"),
            "rules[0].identity.custom_data:",
            "reads like an expression",
        ),
        (
            rule("identity: { auditable_context: claims.sub }"),
            "rules[0].identity.auditable_context:",
            "reads like an expression",
        ),
        (
            item("kind: report, workspace: '', report: R"),
            "items.a.workspace:",
            "empty",
        ),
        (
            item("kind: report, workspace: w, report: ''"),
            "items.a.report:",
            "empty",
        ),
        (
            item("kind: report, workspace: w, report: R, profile: ''"),
            "items.a.profile:",
            "empty",
        ),
        // limits of Power BI
        (
            rule("identity: { username: '' }"),
            "rules[0].identity.username:",
            "empty",
        ),
        (
            rule("identity: { roles: [''] }"),
            "rules[0].identity.roles[0]:",
            "empty",
        ),
        (
            rule("identity: { roles: ['a,b'] }"),
            "rules[0].identity.roles[0]:",
            "comma",
        ),
        (
            rule(&format!("identity: {{ roles: [{}] }}", "r".repeat(51))),
            "rules[0].identity.roles[0]:",
            "50 characters",
        ),
        (
            rule(&format!("identity: {{ roles: [{}] }}", roles(51))),
            "rules[0].identity.roles:",
            "more than 50 roles",
        ),
        (
            rule(&format!(
                "identity: {{ custom_data: {} }}",
                "x".repeat(1025)
            )),
            "rules[0].identity.custom_data:",
            "1,024",
        ),
        // blobs
        (
            rule("identity: { identity_blob: { header: Authorization } }"),
            "rules[0].identity.identity_blob.header:",
            "credentials",
        ),
        (
            rule("identity: { identity_blob: { header: cookie } }"),
            "rules[0].identity.identity_blob.header:",
            "credentials",
        ),
        (
            rule("identity: { identity_blob: { header: X-User-Token } }"),
            "rules[0].identity.identity_blob.header:",
            "credentials",
        ),
        (
            rule("identity: { identity_blob: { header: 'X Sql' } }"),
            "rules[0].identity.identity_blob.header:",
            "no header name",
        ),
        (
            rule(
                "identity: { datasource_identities: [{ datasource_type: Sql, connection: { server: s }, blob: { header: Cookie } }] }",
            ),
            "rules[0].identity.datasource_identities[0].blob.header:",
            "credentials",
        ),
        (
            rule(
                "identity: { datasource_identities: [{ datasource_type: Sql, connection: {}, blob: { header: X-A } }] }",
            ),
            "rules[0].identity.datasource_identities[0]:",
            "names no connection",
        ),
        // datasets
        (
            item("kind: report, workspace: w, report: R, dataset_binding: d"),
            "items.a.dataset_binding:",
            "not among",
        ),
        (
            item(
                "kind: report, workspace: w, report: R, datasets: [{ dataset: d }, { dataset: D }]",
            ),
            "items.a.datasets[1]:",
            "stands twice",
        ),
        (
            item(
                "kind: dashboard, workspace: w, dashboard: B, datasets: [{ dataset: d, xmla: read_only }]",
            ),
            "items.a.datasets[0].xmla:",
            "XMLA",
        ),
    ] {
        let found = mistakes(&text);
        assert!(
            found.contains(place) && found.contains(problem),
            "{text}\n=> {found}"
        );
        assert_eq!(
            found.matches("remedy: ").count(),
            1,
            "one mistake, one report: {found}"
        );
    }
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
        ("dashboard", "security: none"),
        ("dashboard", "xmla: read_only"),
        ("dashboard", "dataset_workspace: d"),
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
        "kind: dashboard, workspace: w, dashboard: B, security: auto, xmla: off",
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
fn a_report_found_by_name_cannot_be_copied_into_its_own_workspace() {
    const ID: &str = "5b218778-e7a5-4d73-8187-f10824047715";
    let copies = |item: &str, rule: &str| {
        format!(
            "items:\n  a: {{ {item} }}\nrules: [{{ name: r, items: ['*'], identity: none, {rule} }}]"
        )
    };
    for item in [
        "kind: report, workspace: w, report: Sales",
        "kind: report, workspace: w, report: Sales, save_as_workspace: w",
        "kind: report, workspace: { cel: claims.w }, report: Sales, save_as_workspace: { cel: claims.w }",
    ] {
        let found = mistakes(&copies(item, "save_as: true"));
        assert!(
            found.contains("rules[0].save_as:") && found.contains("could take the name"),
            "{found}"
        );
        policy(&copies(item, "save_as: false"));
    }
    for item in [
        format!("kind: report, workspace: w, report: {ID}"),
        "kind: report, workspace: w, report: '*'".to_owned(),
        "kind: report, workspace: w, report: Sales, save_as_workspace: copies".to_owned(),
        "kind: report, workspace: { cel: claims.w }, report: Sales, save_as_workspace: { cel: claims.v }".to_owned(),
        "kind: paginated_report, workspace: w, report: Sales".to_owned(),
        "kind: qna, workspace: w, dataset: Sales".to_owned(),
    ] {
        policy(&copies(&item, "save_as: true"));
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
