//! From a signed-in caller to an embed token: the main job, end to end.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_caller_gets_a_token_with_her_own_identity() {
    let app = TestApp::start().await;
    let answer = app.embed("ana", json!({ "item": "sales" })).await;
    let body = answer.ok();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(body["items"][0]["item"], "sales");
    assert_eq!(
        body["items"][0]["embedConfig"]["accessToken"],
        body["token"]
    );
    let mints = app.mints().await;
    assert_eq!(mints.len(), 1);
    assert_eq!(
        mints[0]["body"]["identities"][0]["username"],
        "ana@contoso.example"
    );
    assert_eq!(
        mints[0]["body"]["identities"][0]["roles"],
        json!(["Region EMEA"])
    );
    let rows = app.rows(body["token"].as_str().unwrap()).await;
    assert!(
        rows.to_string().contains("EMEA") && !rows.to_string().contains("AMER"),
        "{rows}"
    );
}

#[tokio::test]
async fn a_warm_answer_makes_no_upstream_call() {
    let app = TestApp::start().await;
    let token = app.token("ana").await;
    let first = app.embed_as(&token, json!({ "item": "sales" })).await.ok();
    app.forget_calls().await;
    let second = app.embed_as(&token, json!({ "item": "sales" })).await.ok();
    assert_eq!(first["token"], second["token"]);
    let services = ["idp", "entra", "power_bi"];
    for service in services {
        assert_eq!(app.calls(service, "").await.len(), 0, "{service}");
    }
    assert_eq!(app.last_record()["source"], "cached");
}

#[tokio::test]
async fn two_callers_with_other_roles_get_two_tokens() {
    let app = TestApp::start().await;
    let ana = app.embed("ana", json!({ "item": "sales" })).await.ok();
    let ben = app.embed("ben", json!({ "item": "sales" })).await.ok();
    assert_ne!(ana["token"], ben["token"]);
    assert_eq!(app.mints().await.len(), 2);
}

#[tokio::test]
async fn fifty_identical_cold_requests_share_one_mint() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    let token = app.token("ana").await;
    let asks = (0..50).map(|_| app.embed_as(&token, json!({ "item": "sales" })));
    let answers = futures_util::future::join_all(asks).await;
    let first = answers[0].ok()["token"].clone();
    assert!(answers.iter().all(|answer| answer.ok()["token"] == first));
    assert_eq!(app.mints().await.len(), 1);
}

#[tokio::test]
async fn a_suspended_caller_is_refused_without_any_call() {
    let app = TestApp::start().await;
    app.embed("dora", json!({ "item": "sales" }))
        .await
        .problem(403, "not_permitted");
    assert_eq!(app.calls("power_bi", "").await.len(), 0);
    assert_eq!(app.last_record()["rule"], "suspended");
}
