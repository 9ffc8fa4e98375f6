//! What was granted, planned and minted before ends at once when what it rests on is withdrawn: a key, a rule, RLS.
//!
//! Every test first asks often enough for everything to be remembered that can be.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, eventually};

const DATASET: &str = "/sandbox/datasets/da7a5e70-0000-4000-8000-000000000001";

/// A changed file is in force seconds later: until then its caller asks again and again.
const UNLIMITED: &str = "rate_limit: { per_caller_per_minute: 0 }";

fn sales() -> Value {
    json!({ "item": "sales" })
}

/// A token that was used until its answers come from memory.
async fn warm(app: &TestApp) -> String {
    let token = app.token("ana").await;
    for _ in 0..3 {
        app.embed_as(&token, sales()).await.ok();
    }
    app.forget_calls().await;
    app.embed_as(&token, sales()).await.ok();
    assert_eq!(app.calls("power_bi", "").await.len(), 0);
    token
}

#[tokio::test]
async fn a_withdrawn_rule_ends_a_remembered_decision() {
    let app = TestApp::setup().section(UNLIMITED).start().await;
    let token = warm(&app).await;
    // Only real tokens have `iat`, so the policy's own cases go on to hold.
    let withdrawn =
        "  - { name: withdrawn, items: [sales], when: \"has(claims.iat)\", deny: true }";
    app.edit(
        "policy.yaml",
        "  - name: managers",
        &format!("{withdrawn}\n  - name: managers"),
    );
    app.reload().await;
    eventually(async || app.embed_as(&token, sales()).await.status == 403).await;
    app.embed_as(&token, sales())
        .await
        .problem(403, "not_permitted");
    assert_eq!(app.last_record()["rule"], "withdrawn");
}

#[tokio::test]
async fn a_row_taken_out_of_a_table_ends_a_remembered_decision() {
    let policy = r#"
tables: { tenant: { key: "claims.tid", rows_file: tenants.json } }
items:
  sales:
    kind: report
    workspace: { cel: tenant.workspace }
    profile: { cel: tenant.profile }
    report: Sales Overview
rules:
  - name: regions
    items: [sales]
    identity: { username: { cel: claims.email }, roles: [Region EMEA] }
"#;
    let app = TestApp::setup()
        .section(UNLIMITED)
        .policy(policy)
        .file(
            "tenants.json",
            r#"{"contoso": {"workspace": "Contoso", "profile": "contoso"}}"#,
        )
        .start()
        .await;
    let token = warm(&app).await;
    app.edit("tenants.json", "\"contoso\": {", "\"other\": {");
    app.reload().await;
    eventually(async || app.embed_as(&token, sales()).await.status == 403).await;
    app.embed_as(&token, sales())
        .await
        .problem(403, "not_permitted");
}

#[tokio::test]
async fn vanished_rls_ends_a_remembered_plan_when_the_facts_are_renewed() {
    let app = TestApp::setup()
        .section("cache: { metadata_ttl: 1s }")
        .start()
        .await;
    let token = warm(&app).await;
    app.control(Method::PATCH, DATASET, json!({ "security": "none" }))
        .await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // The first question past the ttl is answered from what is known and renews it in the background.
    app.embed_as(&token, sales()).await;
    eventually(async || app.embed_as(&token, sales()).await.status == 422).await;
    app.embed_as(&token, sales())
        .await
        .problem(422, "rls_missing");
}

#[tokio::test]
async fn vanished_rls_that_another_callers_refused_mint_shows_ends_a_remembered_plan() {
    let app = TestApp::start().await;
    let token = warm(&app).await;
    app.control(Method::PATCH, DATASET, json!({ "security": "none" }))
        .await;
    // Ben's mint is refused, since the model takes no identity any more: the facts are read again.
    app.embed("ben", sales()).await.problem(422, "rls_missing");
    app.embed_as(&token, sales())
        .await
        .problem(422, "rls_missing");
}

#[tokio::test]
async fn a_withdrawn_key_ends_a_remembered_sign_in() {
    let app = TestApp::start().await;
    let token = warm(&app).await;
    app.control(Method::POST, "/sandbox/idp/rotate", Value::Null)
        .await;
    // A token by the new key makes the broker read the new set.
    app.embed("ana", sales()).await.ok();
    app.embed_as(&token, sales())
        .await
        .problem(401, "invalid_token");
}

#[tokio::test]
async fn the_same_token_with_another_question_gets_another_decision() {
    let app = TestApp::start().await;
    let token = warm(&app).await;
    let edit = json!({ "item": "sales", "access": "edit" });
    let (view, edited) = (
        app.embed_as(&token, sales()).await.ok(),
        app.embed_as(&token, edit).await.ok(),
    );
    assert_eq!(view["items"][0]["embedConfig"]["permissions"], 0);
    assert_eq!(edited["items"][0]["embedConfig"]["permissions"], 1);
    assert_ne!(view["token"], edited["token"]);
}
