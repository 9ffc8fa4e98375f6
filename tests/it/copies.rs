//! Reports that callers save, under names that are chosen to disturb others: nobody's item is lost or exchanged by them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp};

const SHARED: &str = "50ace000-0000-4000-8000-000000000003";

fn report(n: u32) -> String {
    format!("4e904700-0000-4000-8000-{n:012}")
}

/// Saves under the token of `answer` and gives the new report's id.
async fn save(app: &TestApp, answer: &Answer, id: &str, name: &str) -> String {
    let body = json!({"token": answer.json()["token"], "id": id, "saveAs": true, "name": name});
    let saved = app.control(Method::POST, "/sandbox/save", body).await;
    saved["id"].as_str().unwrap().to_owned()
}

/// The report that the page is told to show.
fn shown(answer: &Answer) -> Value {
    answer.ok()["items"][0]["embedConfig"]["id"].clone()
}

#[tokio::test]
async fn a_saved_report_disturbs_nobodys_item() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    // Every report beside which reports may be saved gets a namesake, and one that is named as its id.
    let copies = app
        .embed("ana", json!({"item": "benchmarks", "save_as": true}))
        .await;
    let new = app.embed("ana", json!({"item": "new-sales-report"})).await;
    for (n, name) in [
        (11, "Benchmarks"),
        (12, "Price List"),
        (21, "Benchmark Ledger"),
        (23, "Operations"),
    ] {
        save(&app, &copies, &report(11), name).await;
        save(&app, &copies, &report(11), &report(n)).await;
    }
    let dataset = "da7a5e70-0000-4000-8000-000000000001";
    for (n, name) in [(1, "Sales Overview"), (3, "Targets"), (4, "Invoices")] {
        save(&app, &new, dataset, name).await;
        save(&app, &new, dataset, &report(n)).await;
    }
    for (persona, item, n) in [
        ("chloe", "benchmarks", 11),
        ("chloe", "price-list", 12),
        ("chloe", "benchmark-ledger", 21),
        ("chloe", "operations", 23),
        ("ben", "sales", 1),
        ("ben", "sales-visual", 1),
        ("ben", "invoices", 4),
        ("chloe", "sales", 5),
    ] {
        let answer = app.embed(persona, json!({"item": item})).await;
        assert_eq!(shown(&answer), report(n), "{item} of {persona}");
    }
    let chosen = json!({"item": "any-report", "target": report(3)});
    assert_eq!(shown(&app.embed("ben", chosen).await), report(3));
    // By its name it is no longer the only one.
    let chosen = json!({"item": "any-report", "target": "Targets"});
    let answer = app.embed("ben", chosen).await;
    answer.problem(403, "not_permitted");
}

#[tokio::test]
async fn a_policy_that_looks_for_a_name_beside_copies_does_not_load() {
    for (from, to, place) in [
        (
            "    report: 4e904700-0000-4000-8000-000000000012 # Price List\n    security: none\n\n",
            "    report: Price List\n    security: none\n\n",
            "save_as: item `price-list` finds its report by the name `Price List`",
        ),
        (
            "    report: { cel: tenant.invoices }",
            "    report: Invoices",
            "access: item `invoices` finds its report by the name `Invoices`",
        ),
    ] {
        let prepared = TestApp::setup().edit_policy(from, to).prepare().await;
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_embed-broker"))
            .arg("--config")
            .arg(&prepared.config)
            .arg("check")
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.starts_with("1 mistake in the configuration:") && told.contains(place),
            "{told}"
        );
        assert!(told.contains("remedy: give the report of"), "{told}");
    }
}

/// A policy whose item `named` finds a report by name in `workspace`, and from whose `open` copies are saved into `into`.
fn policy(workspace: &str, into: &str) -> String {
    format!(
        "items:
  named: {{ kind: report, workspace: {workspace}, report: Price List, security: none }}
  open: {{ kind: report, workspace: {SHARED}, report: {}, security: none, save_as_workspace: {into} }}
  new: {{ kind: create_report, workspace: {SHARED}, dataset: Price List, security: none, target_workspace: {into} }}
rules:
  - {{ name: lookers, items: [named], identity: none }}
  - {{ name: savers, items: [open, new], access: create, save_as: true, identity: none }}
",
        report(23)
    )
}

#[tokio::test]
async fn one_workspace_is_the_same_by_id_by_name_and_for_the_caller() {
    let thin = "50ace000-0000-4000-8000-000000000008";
    let claimed = "{ cel: claims.w }";
    for (workspace, into, claims, same) in [
        ("Shared Models", SHARED, json!({}), true),
        (SHARED, "Shared Models", json!({}), true),
        (
            "Shared Models",
            claimed,
            json!({"w": "Shared Models"}),
            true,
        ),
        ("Shared Models", claimed, json!({"w": SHARED}), true),
        (claimed, SHARED, json!({"w": SHARED.to_uppercase()}), true),
        (claimed, SHARED, json!({"w": "Shared Models"}), true),
        ("Shared Models", thin, json!({}), false),
        (SHARED, "Thin Reports", json!({}), false),
        (
            "Shared Models",
            claimed,
            json!({"w": "Thin Reports"}),
            false,
        ),
        ("Shared Models", claimed, json!({"w": thin}), false),
    ] {
        let app = TestApp::setup()
            .policy(policy(workspace, into))
            .start()
            .await;
        let token = app.token_with("ana", claims.clone()).await;
        for (body, reason) in [
            (json!({"item": "named"}), "of item `open` are saved"),
            (
                json!({"item": "open", "save_as": true}),
                "item `named` finds",
            ),
            (json!({"item": "new"}), "item `named` finds"),
            (
                json!({"items": ["open", "named"]}),
                "of item `open` are saved",
            ),
        ] {
            let answer = app.embed_as(&token, body.clone()).await;
            let record = app.last_record();
            if same {
                answer.problem(403, "not_permitted");
                let told = record["reason"].as_str().unwrap();
                assert!(told.contains(reason), "{told}");
                assert!(record["rule"].is_string(), "{record}");
            } else {
                answer.ok();
            }
        }
        if same {
            assert!(app.mints().await.is_empty(), "{workspace} {into} {claims}");
        }
        // Who only looks at what is found by id is in nobody's way.
        app.embed_as(&token, json!({"item": "open"})).await.ok();
    }
}
