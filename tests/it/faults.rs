//! Every way in which Power BI, Entra or an issuer can fail: what the caller gets, how often it is tried, what the
//! operator sees, and that it heals by itself. `scripts/fault-matrix` runs the same against the release binary.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::test_app::Setup;
use crate::support::{Answer, TestApp, eventually};

/// Text of an upstream service: no caller may ever read it.
const PLANTED: &str = "planted-upstream-text";

fn sales() -> Value {
    json!({ "item": "sales" })
}

fn mint_fails(how: &Value) -> Value {
    let mut fault = json!({ "service": "power_bi", "path_contains": "GenerateToken" });
    for (name, value) in how.as_object().unwrap() {
        fault[name] = value.clone();
    }
    json!([fault])
}

/// Asks as ana and gives the answer with the time it took.
async fn timed(app: &TestApp, token: &str) -> (Answer, Duration) {
    let began = Instant::now();
    let answer = app.embed_as(token, sales()).await;
    (answer, began.elapsed())
}

/// One row of the matrix: how the mint fails, and what comes of it.
struct Row {
    fault: &'static str,
    how: Value,
    answer: (u16, &'static str),
    tries: usize,
    /// Part of the reason in log and audit record.
    reason: &'static str,
    /// Whether the record names Power BI's request id.
    traced: bool,
}

fn row(
    fault: &'static str,
    how: Value,
    answer: (u16, &'static str),
    tries: usize,
    reason: &'static str,
    traced: bool,
) -> Row {
    Row {
        fault,
        how,
        answer,
        tries,
        reason,
        traced,
    }
}

const REJECTED: (u16, &str) = (502, "power_bi_rejected");
const UNREACHABLE: (u16, &str) = (502, "power_bi_unreachable");
const INVALID: (u16, &str) = (502, "power_bi_invalid_response");
const OK: (u16, &str) = (200, "ok");

#[rustfmt::skip]
fn mint_rows() -> Vec<Row> {
    let error = |code: &str| json!({"error": {"code": code, "message": PLANTED}});
    let good = "2099-01-01T00:00:00Z";
    let id = "4b76f5ed-5a06-4150-8d1b-60f8e4c186f4";
    vec![
        // Tried again: twice at most, with the same bytes.
        row("503 twice", json!({"status": 503, "times": 2, "body": PLANTED}), OK, 3, "", true),
        row("lasting 502", json!({"status": 502, "body": PLANTED}), UNREACHABLE, 3, "502", true),
        row("lasting 503", json!({"status": 503, "body": error("Busy")}), UNREACHABLE, 3, "503 (Busy)", true),
        row("lasting 504", json!({"status": 504, "body": PLANTED}), UNREACHABLE, 3, "504", true),
        row("500 once", json!({"status": 500, "times": 1}), OK, 2, "", true),
        row("lasting 500", json!({"status": 500, "body": PLANTED}), UNREACHABLE, 2, "500", true),
        row("another 5xx", json!({"status": 501, "body": PLANTED}), UNREACHABLE, 1, "501", true),
        row("connection dropped once", json!({"drop_connection": true, "times": 1}), OK, 2, "", true),
        row("connections dropped", json!({"drop_connection": true}), UNREACHABLE, 3, "dropped before an answer", false),
        // Final.
        row("401 without a word", json!({"status": 401}), REJECTED, 1, "401", true),
        row("403 for want of access", json!({"status": 403, "headers": {"X-PowerBI-Error-Info": "PowerBINotAuthorizedException"}}), REJECTED, 1, "Member or Admin", true),
        row("403 by the tenant switch", json!({"status": 403, "body": {"error": {"code": "Forbidden", "message": "API is not accessible for application"}}}), REJECTED, 1, "Fabric public APIs", true),
        row("400 with an explanation", json!({"status": 400, "body": error("InvalidRequest")}), REJECTED, 1, "InvalidRequest", true),
        row("404", json!({"status": 404, "headers": {"X-PowerBI-Error-Info": "PowerBIEntityNotFound"}}), REJECTED, 1, "check ids and names", true),
        row("413", json!({"status": 413, "body": PLANTED}), REJECTED, 1, "413", true),
        // What the documents do not say.
        row("empty 200", json!({"status": 200}), INVALID, 1, "not as documented", true),
        row("a proxy's page", json!({"status": 200, "body": format!("<html>{PLANTED}</html>")}), INVALID, 1, "not as documented", true),
        row("half of a JSON", json!({"status": 200, "body": "{\"token\": \"H4s"}), INVALID, 1, "not as documented", true),
        row("an error with status 200", json!({"status": 200, "body": error("Oops")}), INVALID, 1, "holds no token", true),
        row("no token", json!({"status": 200, "body": {"tokenId": id, "expiration": good}}), INVALID, 1, "holds no token", true),
        row("no token id", json!({"status": 200, "body": {"token": "t", "expiration": good}}), INVALID, 1, "holds no token id", true),
        row("no expiration", json!({"status": 200, "body": {"token": "t", "tokenId": id}}), INVALID, 1, "holds no expiration", true),
        row("an expired token", json!({"status": 200, "body": {"token": "t", "tokenId": id, "expiration": "2001-01-01T00:00:00Z"}}), INVALID, 1, "already expired", true),
        row("a token that never ends", json!({"status": 200, "body": {"token": "t", "tokenId": id, "expiration": good}}), INVALID, 1, "longer than was asked for", true),
    ]
}

#[tokio::test]
async fn a_mint_that_fails_is_tried_as_documented_and_ends_in_a_named_error() {
    for row in mint_rows() {
        let app = TestApp::start().await;
        app.faults(mint_fails(&row.how)).await;
        let answer = app.embed("ana", sales()).await;
        let fault = row.fault;
        assert_eq!(answer.status, row.answer.0, "{fault}: {answer:?}");
        assert_eq!(app.mints().await.len(), row.tries, "{fault}: tries");
        let record = app.last_record();
        assert_eq!(record["code"], row.answer.1, "{fault}");
        assert_eq!(
            record["upstream_request_id"].is_string(),
            row.traced,
            "{fault}: {record}"
        );
        let reason = record["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(row.reason), "{fault}: {reason}");
        for text in [&answer.text, &record.to_string()] {
            assert!(!text.contains(PLANTED), "{fault}: {text}");
        }
        if row.answer.0 != 200 {
            answer.problem(row.answer.0, row.answer.1);
            // Nothing is left behind: with the fault gone the next request works.
            app.heal().await;
            app.embed("ana", sales()).await.ok();
        }
    }
}

#[tokio::test]
async fn every_try_sends_the_same_bytes() {
    let app = TestApp::start().await;
    app.faults(mint_fails(&json!({"status": 503, "times": 2})))
        .await;
    app.embed("ana", sales()).await.ok();
    let bodies: Vec<Value> = app
        .mints()
        .await
        .iter()
        .map(|m| m["body"].clone())
        .collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    assert!(bodies[0]["identities"][0]["username"].is_string());
}

#[tokio::test]
async fn power_bis_request_id_of_the_failed_call_is_in_the_record() {
    let app = TestApp::start().await;
    app.faults(mint_fails(&json!({"status": 200, "body": "nonsense"})))
        .await;
    app.embed("ana", sales()).await.problem(502, INVALID.1);
    let mints = app.mints().await;
    assert_eq!(
        app.last_record()["upstream_request_id"],
        mints[0]["request_id"]
    );
    // And of a look-up that failed.
    app.faults(json!([{"service": "power_bi", "path_contains": "/reports", "status": 503}]))
        .await;
    app.embed("chloe", sales())
        .await
        .problem(502, UNREACHABLE.1);
    let calls = app.calls("power_bi", "/reports").await;
    assert_eq!(
        app.last_record()["upstream_request_id"],
        calls.last().unwrap()["request_id"]
    );
}

#[tokio::test]
async fn a_silent_power_bi_costs_the_request_timeout_and_not_more() {
    let app = TestApp::setup()
        .edit("server:\n", "server:\n  request_timeout: 1s\n")
        .start()
        .await;
    let token = app.token("ana").await;
    app.faults(mint_fails(&json!({"delay_ms": 30_000}))).await;
    let (answer, took) = timed(&app, &token).await;
    answer.problem(504, "upstream_timeout");
    assert!(
        (800..4000).contains(&took.as_millis()),
        "{took:?}: within server.request_timeout"
    );
    app.heal().await;
    app.embed_as(&token, sales()).await.ok();
}

#[tokio::test]
async fn one_slow_try_does_not_cost_the_whole_time() {
    let app = TestApp::setup()
        .edit("server:\n", "server:\n  request_timeout: 12s\n")
        .start()
        .await;
    let token = app.token("ana").await;
    app.faults(mint_fails(&json!({"delay_ms": 30_000, "times": 1})))
        .await;
    let (answer, took) = timed(&app, &token).await;
    answer.ok();
    assert!((7..11).contains(&took.as_secs()), "{took:?}");
    assert_eq!(app.mints().await.len(), 2);
}

#[tokio::test]
async fn a_short_retry_after_is_waited_for_while_others_are_refused() {
    let app = TestApp::start().await;
    let (ana, ben) = (app.token("ana").await, app.token("ben").await);
    app.faults(mint_fails(
        &json!({"status": 429, "times": 1, "headers": {"Retry-After": "4"}, "body": PLANTED}),
    ))
    .await;
    let other = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        timed(&app, &ben).await
    };
    let ((waited, long), (refused, short)) = tokio::join!(timed(&app, &ana), other);
    waited.ok();
    assert!((4000..8000).contains(&long.as_millis()), "{long:?}");
    refused.problem(503, "power_bi_throttled");
    assert!(short < Duration::from_millis(1500), "{short:?}");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait), "what is left: {wait}");
    app.embed_as(&ben, sales()).await.ok();
}

#[tokio::test]
async fn a_long_retry_after_is_passed_on_and_obeyed_by_the_principal_alone() {
    let app = TestApp::start().await;
    let (ana, ben) = (app.token("ana").await, app.token("ben").await);
    app.embed_as(&ana, sales()).await.ok();
    app.embed_as(&ben, json!({"item": "sales-by-user"}))
        .await
        .ok();
    app.faults(mint_fails(
        &json!({"status": 429, "headers": {"Retry-After": "600"}}),
    ))
    .await;
    for _ in 0..3 {
        let answer = app.embed_as(&ben, sales()).await;
        answer.problem(503, "power_bi_throttled");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((590..=600).contains(&wait), "{wait}");
    }
    app.heal().await;
    let answer = app.embed_as(&ben, sales()).await;
    answer.problem(503, "power_bi_throttled");
    let mints = app.mints().await;
    let throttled = mints.iter().filter(|m| m["status"] == 429).count();
    assert_eq!(throttled, 1, "nobody asks before Retry-After has passed");
    // Cached tokens are served all the while, and another principal is not held back.
    app.embed_as(&ana, sales()).await.ok();
    assert_eq!(app.last_record()["source"], "cached");
    app.embed_as(&ana, json!({"item": "archive"})).await.ok();
    let check = app.check("power_bi:default").await;
    assert_eq!(check["ok"], false);
    assert!(
        check["reason"].as_str().unwrap().contains("throttled"),
        "{check}"
    );
    assert_eq!(app.check("power_bi:archive").await["ok"], true);
    assert_eq!(app.ops("/readyz").await.status, 200);
}

#[tokio::test]
async fn ten_failures_open_the_breaker_of_one_principal_for_five_seconds() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    let (ana, ben) = (app.token("ana").await, app.token("ben").await);
    app.embed_as(&ana, sales()).await.ok();
    app.faults(mint_fails(&json!({"status": 503, "times": 10})))
        .await;
    let mut refused = None;
    for _ in 0..8 {
        let answer = app.embed_as(&ben, sales()).await;
        match answer.status {
            502 => {
                answer.problem(502, UNREACHABLE.1);
            }
            _ => refused = Some((answer, Instant::now())),
        }
        if refused.is_some() {
            break;
        }
    }
    let (answer, opened) = refused.expect("the breaker opens");
    answer.problem(503, "power_bi_unavailable");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    assert_eq!(
        app.mints()
            .await
            .iter()
            .filter(|m| m["status"] == 503)
            .count(),
        10
    );
    // Open: no call; cached tokens, other principals and readiness go on.
    app.embed_as(&ben, sales())
        .await
        .problem(503, "power_bi_unavailable");
    app.embed_as(&ana, sales()).await.ok();
    app.embed_as(&ana, json!({"item": "archive"})).await.ok();
    let check = app.check("power_bi:default").await;
    assert_eq!(check["ok"], false, "{check}");
    assert_eq!(
        app.request(Method::GET, "/readyz")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    // A probe that fails opens it again, at once; one that succeeds closes it.
    app.faults(mint_fails(&json!({"status": 503}))).await;
    tokio::time::sleep(Duration::from_secs(5).saturating_sub(opened.elapsed())).await;
    app.embed_as(&ben, sales()).await;
    app.embed_as(&ben, sales())
        .await
        .problem(503, "power_bi_unavailable");
    app.heal().await;
    tokio::time::sleep(Duration::from_millis(5100)).await;
    app.embed_as(&ben, sales()).await.ok();
    assert_eq!(app.check("power_bi:default").await["ok"], true);
}

#[tokio::test]
async fn the_first_callers_after_an_outage_are_served() {
    // Facts are renewed in the background at once, so that a request's look-up and its mint both want to be the probe.
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .section("cache: { metadata_ttl: 1s }")
        .start()
        .await;
    let tokens = futures_util::future::join_all((0..20).map(|number| {
        app.token_with(
            "ben",
            json!({"sub": format!("u{number}"), "email": format!("u{number}@contoso.example")}),
        )
    }))
    .await;
    app.embed("ana", sales()).await.ok();
    app.faults(mint_fails(&json!({"status": 503}))).await;
    let opened = loop {
        let answer = app.embed_as(&tokens[0], sales()).await;
        if answer.status == 503 {
            break Instant::now();
        }
        answer.problem(502, UNREACHABLE.1);
    };
    app.heal().await;
    tokio::time::sleep(Duration::from_millis(5_100).saturating_sub(opened.elapsed())).await;
    let asks = tokens.iter().map(|token| app.embed_as(token, sales()));
    for answer in futures_util::future::join_all(asks).await {
        answer.ok();
    }
}

#[tokio::test]
async fn refusals_and_malformed_answers_do_not_open_the_breaker() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    let token = app.token("ana").await;
    for how in [json!({"status": 403}), json!({"status": 200, "body": "x"})] {
        app.faults(mint_fails(&how)).await;
        for _ in 0..15 {
            app.embed_as(&token, sales()).await;
        }
    }
    app.heal().await;
    app.embed_as(&token, sales()).await.ok();
}

#[tokio::test]
async fn an_entra_token_that_power_bi_refuses_is_renewed_once() {
    let challenge = json!({"status": 401, "times": 1, "headers":
        {"WWW-Authenticate": "Bearer error=\"insufficient_claims\", claims=\"eyJ\""}});
    let expired =
        json!({"status": 403, "times": 1, "headers": {"X-PowerBI-Error-Info": "TokenExpired"}});
    for how in [challenge, expired] {
        let app = TestApp::start().await;
        app.forget_calls().await;
        app.faults(mint_fails(&how)).await;
        app.embed("ana", sales()).await.ok();
        assert_eq!(app.mints().await.len(), 2);
        assert_eq!(app.calls("entra", "").await.len(), 1, "one new token");
    }
}

#[tokio::test]
async fn entra_is_not_hammered_when_power_bi_refuses_every_token() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    let token = app.token("ana").await;
    app.forget_calls().await;
    app.faults(mint_fails(
        &json!({"status": 403, "headers": {"X-PowerBI-Error-Info": "TokenExpired"}}),
    ))
    .await;
    for _ in 0..20 {
        app.embed_as(&token, sales()).await.problem(502, REJECTED.1);
    }
    assert_eq!(app.calls("entra", "").await.len(), 1);
    assert!(
        app.last_record()["reason"]
            .as_str()
            .unwrap()
            .contains("clock"),
        "the remedy is told"
    );
    app.heal().await;
    app.embed_as(&token, sales()).await.ok();
}

#[tokio::test]
async fn no_redirect_is_followed_with_a_secret() {
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!(
        "http://{}/v1.0/myorg/GenerateToken",
        elsewhere.local_addr().unwrap()
    );
    let answers = async {
        let app = TestApp::start().await;
        let token = app.token("ana").await;
        app.faults(mint_fails(&json!({"redirect_to": target})))
            .await;
        app.embed_as(&token, sales()).await.problem(502, REJECTED.1);
        assert!(
            app.last_record()["reason"]
                .as_str()
                .unwrap()
                .contains("api_url"),
            "{}",
            app.last_record()
        );
        for (service, code, check) in [
            ("entra", "entra_unreachable", "entra:default"),
            ("idp", "issuer_unavailable", "issuer:demo"),
        ] {
            let app = TestApp::setup()
                .before(
                    Method::PUT,
                    "/sandbox/faults",
                    json!([
                        {"service": "entra", "path_contains": if service == "entra" { "token" } else { "none" }, "redirect_to": target},
                        {"service": "idp", "path_contains": if service == "idp" { "jwks" } else { "none" }, "redirect_to": target},
                    ]),
                )
                .not_ready()
                .start()
                .await;
            let answer = app.embed("ana", sales()).await;
            assert_eq!(answer.json()["code"], code, "{answer:?}");
            assert_eq!(app.check(check).await["ok"], false);
        }
    };
    tokio::select! {
        () = answers => {}
        _ = elsewhere.accept() => panic!("somebody followed the redirect"),
    }
}

#[tokio::test]
async fn the_trial_allowance_has_a_code_of_its_own() {
    let app = TestApp::setup()
        .edit_policy(
            "report: 4e904700-0000-4000-8000-000000000012 # Price List",
            "report: 4e904700-0000-4000-8000-000000000031",
        )
        .edit_policy(
            "title: Price list\n    kind: report\n    workspace: Shared Models",
            "title: Price list\n    kind: report\n    workspace: Trial",
        )
        .start()
        .await;
    app.control(
        Method::PUT,
        "/sandbox/power_bi",
        json!({ "trial_usage": 100 }),
    )
    .await;
    let answer = app.embed("ana", json!({ "item": "price-list" })).await;
    answer.problem(503, "power_bi_quota");
    assert_eq!(answer.header("retry-after"), Some("3600"));
    assert_eq!(
        app.mints().await.len(),
        1,
        "nothing is gained by trying again"
    );
    assert!(
        app.last_record()["reason"]
            .as_str()
            .unwrap()
            .contains("capacity")
    );
}

#[tokio::test]
async fn a_look_up_that_fails_has_the_same_names() {
    let cases = [
        (json!({"status": 503}), UNREACHABLE, 3),
        (json!({"drop_connection": true}), UNREACHABLE, 3),
        (json!({"status": 403}), REJECTED, 1),
        (json!({"status": 200, "body": "<html>"}), INVALID, 1),
        (
            json!({"status": 429, "headers": {"Retry-After": "100"}}),
            (503, "power_bi_throttled"),
            1,
        ),
        (json!({"status": 404}), (422, "item_unavailable"), 1),
    ];
    for (how, (status, code), tries) in cases {
        let app = TestApp::start().await;
        let mut fault =
            json!({"service": "power_bi", "path_contains": "/reports", "method": "GET"});
        for (name, value) in how.as_object().unwrap() {
            fault[name] = value.clone();
        }
        app.faults(json!([fault])).await;
        app.embed("ana", sales()).await.problem(status, code);
        assert_eq!(
            app.calls("power_bi", "/reports").await.len(),
            tries,
            "{how}"
        );
        assert_eq!(app.mints().await.len(), 0, "{how}: nothing is minted");
        let record = app.last_record();
        assert!(record["reason"].is_string(), "{record}");
    }
}

// === outages ===

/// Everything upstream is gone.
fn everything_down() -> Value {
    json!([
        {"service": "power_bi", "drop_connection": true},
        {"service": "entra", "drop_connection": true},
        {"service": "idp", "path_contains": "jwks", "drop_connection": true},
        {"service": "idp", "path_contains": "well-known", "drop_connection": true},
    ])
}

#[tokio::test]
async fn what_is_cached_is_served_while_everything_is_down() {
    let app = TestApp::setup()
        .section("cache: { metadata_ttl: 1s, metadata_stale: 1h }")
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    let (ana, ben) = (app.token("ana").await, app.token("ben").await);
    let before = app.embed_as(&ana, sales()).await.ok();
    app.faults(everything_down()).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        let now = app.embed_as(&ana, sales()).await.ok();
        assert_eq!(now["token"], before["token"]);
    }
    // Renewals of facts fail as well, so the breaker may be open by now.
    let refused = app.embed_as(&ben, sales()).await;
    let code = refused.json()["code"].clone();
    assert!(
        code == "power_bi_unreachable" || code == "power_bi_unavailable",
        "{refused:?}"
    );
    let ready = app.request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(
        ready.status(),
        200,
        "upstream trouble takes nobody out of rotation"
    );
    app.heal().await;
    // The breaker may have opened meanwhile.
    eventually(async || app.embed_as(&ben, sales()).await.status == 200).await;
}

/// A broker that starts while `faults` strike.
async fn starting_with(faults: Value) -> TestApp {
    starting(TestApp::setup(), faults).await
}

async fn starting(setup: Setup, faults: Value) -> TestApp {
    setup
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .before(Method::PUT, "/sandbox/faults", faults)
        .not_ready()
        .start()
        .await
}

#[tokio::test]
async fn an_entra_that_is_down_at_the_start_heals_by_itself() {
    let ways = [
        json!({"drop_connection": true}),
        json!({"status": 503}),
        json!({"status": 200, "body": format!("<html>{PLANTED}")}),
        json!({"status": 200, "body": {"token_type": "Bearer", "expires_in": 3599}}),
        json!({"status": 200, "body": "x".repeat(300 * 1024)}),
    ];
    for how in ways {
        let mut fault = json!({"service": "entra"});
        for (name, value) in how.as_object().unwrap() {
            fault[name] = value.clone();
        }
        let shown = how.to_string();
        let shown = &shown[..shown.len().min(80)];
        let app = starting_with(json!([fault])).await;
        let live = app.request(Method::GET, "/livez").send().await.unwrap();
        assert_eq!(live.status(), 200, "{shown}");
        let ready = app.request(Method::GET, "/readyz").send().await.unwrap();
        assert_eq!(ready.status(), 503, "{shown}: not before the first success");
        let answer = app.embed("ana", sales()).await;
        answer.problem(502, "entra_unreachable");
        assert!(!answer.text.contains(PLANTED) && !app.last_record().to_string().contains(PLANTED));
        let check = app.check("entra:default").await;
        assert_eq!(check["ok"], false, "{shown}: {check}");
        app.heal().await;
        eventually(async || app.embed("ana", sales()).await.status == 200).await;
        eventually(async || app.ops("/readyz").await.status == 200).await;
        assert_eq!(app.check("entra:default").await["ok"], true, "{shown}");
    }
}

#[tokio::test]
async fn an_entra_that_refuses_is_named_and_not_hammered() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .before(
            Method::PUT,
            "/sandbox/entra",
            json!({"secrets": ["another-secret"]}),
        )
        .not_ready()
        .start()
        .await;
    let token = app.token("ana").await;
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        let answer = app.embed_as(&token, sales()).await;
        answer.problem(502, "entra_rejected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let calls = app.calls("entra", "").await;
    // A master user of the same application signs in as well.
    let mine = |call: &&Value| {
        call["principal"] == "c11e4700-0000-4000-8000-000000000001"
            && call["body"]["grant_type"] == "client_credentials"
    };
    assert_eq!(
        calls.iter().filter(mine).count(),
        1,
        "one try in half a minute"
    );
    let reason = app.last_record()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("AADSTS7000215"), "{reason}");
    assert!(reason.contains("give the secret's value"), "{reason}");
    let check = app.check("entra:default").await;
    assert!(
        check["reason"].as_str().unwrap().contains("AADSTS7000215"),
        "{check}"
    );
    let live = app.request(Method::GET, "/livez").send().await.unwrap();
    assert_eq!(live.status(), 200);
    assert_eq!(app.ops("/readyz").await.status, 503);
}

#[tokio::test]
async fn an_entra_that_goes_down_later_is_not_noticed_by_anybody() {
    let app = TestApp::start().await;
    app.faults(json!([{"service": "entra", "drop_connection": true}]))
        .await;
    app.embed("ana", sales()).await.ok();
    app.embed("chloe", sales()).await.ok();
    assert_eq!(app.ops("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_slow_or_flapping_entra_costs_time_and_no_answer() {
    let slow = starting_with(json!([{"service": "entra", "delay_ms": 1500}])).await;
    let token = slow.token("ana").await;
    let (answer, took) = timed(&slow, &token).await;
    answer.ok();
    assert!(took < Duration::from_secs(4), "{took:?}");

    let flapping = starting_with(json!([{"service": "entra", "status": 503, "times": 3}])).await;
    eventually(async || flapping.embed("ana", sales()).await.status == 200).await;
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_heals_by_itself() {
    let down = |how: Value| {
        let mut faults = Vec::new();
        for path in ["well-known", "jwks"] {
            let mut fault = json!({"service": "idp", "path_contains": path});
            for (name, value) in how.as_object().unwrap() {
                fault[name] = value.clone();
            }
            faults.push(fault);
        }
        Value::from(faults)
    };
    let other = json!({"issuer": "http://127.0.0.1:1/else", "jwks_uri": "http://127.0.0.1:1/jwks"});
    let ways = [
        json!({"drop_connection": true}),
        json!({"status": 503, "body": PLANTED}),
        json!({"status": 200, "body": "<html>"}),
        json!({"status": 200, "body": other}),
        json!({"status": 200, "body": format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(150 * 1024))}),
    ];
    for how in ways {
        let shown = how.to_string();
        let shown = &shown[..shown.len().min(80)];
        let app = starting_with(down(how.clone())).await;
        app.ready().await;
        let token = app.token("ana").await;
        let answer = app.embed_as(&token, sales()).await;
        answer.problem(503, "issuer_unavailable");
        assert!(!answer.text.contains(PLANTED));
        let check = app.check("issuer:demo").await;
        assert_eq!(check["ok"], false, "{shown}: {check}");
        assert_eq!(app.ops("/readyz").await.status, 200, "{shown}");
        app.heal().await;
        eventually(async || app.embed_as(&token, sales()).await.status == 200).await;
        assert_eq!(app.check("issuer:demo").await["ok"], true, "{shown}");
    }
}

#[tokio::test]
async fn an_issuer_that_goes_down_later_is_not_needed_for_known_keys() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    app.embed("ana", sales()).await.ok();
    app.faults(json!([{"service": "idp", "path_contains": "jwks", "drop_connection": true}]))
        .await;
    app.embed("chloe", sales()).await.ok();
    // A key that nobody knows yet cannot be learnt; what is known goes on.
    let known = app.token("ben").await;
    app.control(Method::POST, "/sandbox/idp/rotate?keep=true", Value::Null)
        .await;
    let unknown = app.token("ana").await;
    app.embed_as(&unknown, sales())
        .await
        .problem(401, "invalid_token");
    app.embed_as(&known, sales()).await.ok();
    app.heal().await;
    // Fetches for unknown keys are 15 s apart, and one has just failed.
    let began = Instant::now();
    while app.embed_as(&unknown, sales()).await.status != 200 {
        assert!(
            began.elapsed() < Duration::from_secs(25),
            "it does not heal"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
