//! `GET /items` and `GET /items/{item}/targets`: menus, and what `target` may name.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp};

fn names(answer: &Answer) -> Vec<String> {
    let items = answer.ok()["items"].as_array().unwrap().clone();
    items
        .iter()
        .map(|item| item["item"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_catalogue_shows_what_the_caller_may_embed_in_catalogue_order() {
    let app = TestApp::start().await;
    let answer = app.get("ana", "/items").await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let row = |item: &str, title: &str, kind: &str, access: Value, needs_target: bool| json!({"item": item, "title": title, "type": kind, "access": access, "needsTarget": needs_target});
    let (view, edit) = (json!(["view"]), json!(["view", "edit"]));
    assert_eq!(
        answer.ok(),
        json!({ "items": [
            row("sales", "Sales", "report", edit.clone(), false),
            row("sales-by-user", "My own sales", "report", view.clone(), false),
            row("invoices", "Invoices", "paginated_report", view.clone(), false),
            row("sales-dashboard", "Sales dashboard", "dashboard", view.clone(), false),
            row("sales-tile", "Revenue tile", "tile", view.clone(), false),
            row("sales-visual", "Revenue visual", "visual", edit.clone(), false),
            row("ask-sales", "Ask about sales", "qna", view.clone(), false),
            row("new-sales-report", "New sales report", "create_report", json!(["create"]), false),
            row("benchmarks", "Benchmarks", "report", edit.clone(), false),
            row("price-list", "Price list", "report", view.clone(), false),
            row("operations", "Operations", "report", view.clone(), false),
            row("benchmark-ledger", "Benchmark ledger", "paginated_report", view.clone(), false),
            row("operations-dashboard", "Operations dashboard", "dashboard", view.clone(), false),
            row("group-plan", "Group plan", "report", view.clone(), false),
            row("price-list-on-benchmarks", "Price list layout over benchmarks", "report", view.clone(), false),
            row("ledger", "Ledger", "report", view.clone(), false),
            row("forecast", "Forecast", "report", view.clone(), false),
            row("orders", "Orders (needs the header X-Sql-Token)", "report", view.clone(), false),
            row("orders-by-region", "Orders by region (needs the header X-Sql-Token)", "report", view.clone(), false),
            row("order-book", "Order book (needs the header X-Sql-Token)", "report", view.clone(), false),
            row("benchmarks-at-a-glance", "Benchmarks at a glance", "report", view.clone(), false),
            row("classic-sales", "Classic sales", "report", edit.clone(), false),
            row("archive", "Archive", "report", view, false),
            row("any-report", "Any report of mine", "report", edit, true),
        ]})
    );
}

#[tokio::test]
async fn the_catalogue_is_each_callers_own() {
    let app = TestApp::start().await;
    let ben = names(&app.get("ben", "/items").await);
    assert!(ben.contains(&"sales".to_owned()) && !ben.contains(&"new-sales-report".to_owned()));
    assert_eq!(
        names(&app.get("dora", "/items").await),
        Vec::<String>::new(),
        "suspended"
    );
    // No row in the table of tenants: what uses the table does not exist for her; a claim that is missing likewise.
    let stranger = app
        .token_with("ana", json!({"tid": "elsewhere", "regions": null}))
        .await;
    let request = app.request(Method::GET, "/items").bearer_auth(stranger);
    let items = names(&Answer::read(request.send().await.unwrap()).await);
    assert!(items.contains(&"price-list".to_owned()), "{items:?}");
    for hidden in ["sales", "any-report", "invoices", "orders-by-region"] {
        assert!(!items.contains(&hidden.to_owned()), "{hidden}: {items:?}");
    }
}

#[tokio::test]
async fn the_title_defaults_to_the_name() {
    let app = TestApp::setup()
        .edit_policy("    title: Price list\n", "")
        .start()
        .await;
    let items = app.get("ana", "/items").await.ok();
    let items = items["items"].as_array().unwrap();
    let title = items
        .iter()
        .find(|item| item["item"] == "price-list")
        .unwrap();
    assert_eq!(title["title"], "price-list");
}

#[tokio::test]
async fn the_catalogue_makes_no_upstream_call() {
    let app = TestApp::start().await;
    let token = app.token("ana").await;
    app.embed_as(&token, json!({"item": "archive"})).await.ok();
    app.forget_calls().await;
    let request = app.request(Method::GET, "/items").bearer_auth(&token);
    Answer::read(request.send().await.unwrap()).await.ok();
    for service in ["idp", "entra", "power_bi"] {
        assert_eq!(app.calls(service, "").await.len(), 0, "{service}");
    }
    let record = app.last_record();
    assert_eq!(
        (&record["event"], &record["code"], &record["sub"]),
        (&json!("items"), &json!("ok"), &json!("u-ana"))
    );
}

// === targets ===

#[tokio::test]
async fn targets_are_the_reports_of_the_callers_workspace() {
    let app = TestApp::start().await;
    let answer = app.get("ana", "/items/any-report/targets").await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut targets = answer.ok()["targets"].as_array().unwrap().clone();
    targets.sort_by_key(|target| target["id"].to_string());
    let id = |n: u8| format!("4e904700-0000-4000-8000-00000000000{n}");
    assert_eq!(
        targets,
        [
            json!({"id": id(1), "name": "Sales Overview", "type": "report"}),
            json!({"id": id(2), "name": "Sales by Seller", "type": "report"}),
            json!({"id": id(3), "name": "Targets", "type": "report"}),
            json!({"id": id(4), "name": "Invoices", "type": "paginated_report"}),
        ]
    );
    // Another tenant, other reports.
    let chloe = app
        .get("chloe", "/items/any-report/targets")
        .await
        .ok()
        .to_string();
    assert!(chloe.contains(&id(5)) && !chloe.contains(&id(1)), "{chloe}");
    let record = app.last_record();
    assert_eq!(record["event"], "targets");
    assert_eq!(record["items"], json!(["any-report"]));
    assert_eq!(
        (&record["rule"], &record["principal"]),
        (&json!("managers"), &json!("default"))
    );
}

#[tokio::test]
async fn targets_exist_where_a_target_is_needed_only() {
    let app = TestApp::start().await;
    app.get("ana", "/items/sales/targets")
        .await
        .problem(404, "not_found");
    let forbidden = app.get("dora", "/items/any-report/targets").await;
    let unknown = app.get("dora", "/items/nothing/targets").await;
    assert_alike(&forbidden, &unknown);
    // An item that takes no target and is forbidden tells nothing of itself.
    assert_alike(
        &app.get("ben", "/items/new-sales-report/targets").await,
        &unknown,
    );
    let no_text = app.get("ana", "/items/%ff/targets").await;
    no_text.problem(404, "not_found");
    assert_alike(&app.get("ana", "/items/a%2Fb/targets").await, &unknown);
}

/// Both are refusals that nobody can tell apart.
#[track_caller]
pub(crate) fn assert_alike(one: &Answer, other: &Answer) {
    let stripped = |answer: &Answer| {
        let mut problem = answer.problem(403, "not_permitted");
        let id = problem["request_id"].take();
        let text = answer.text.replace(id.as_str().unwrap(), "ID");
        let mut headers: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| format!("{name}: {value:?}").replace(id.as_str().unwrap(), "ID"))
            .collect();
        headers.sort();
        (headers, text)
    };
    assert_eq!(stripped(one), stripped(other));
}

#[tokio::test]
async fn a_target_is_found_by_id_or_name_within_the_callers_workspace() {
    let app = TestApp::start().await;
    let own = "4e904700-0000-4000-8000-000000000003";
    for target in ["Targets", own, &own.to_uppercase()] {
        let body = app
            .embed("ana", json!({"item": "any-report", "target": target}))
            .await
            .ok();
        assert_eq!(body["items"][0]["embedConfig"]["id"], own, "{target}");
        assert_eq!(body["items"][0]["item"], "any-report");
    }
    assert_eq!(
        app.mints().await.len(),
        1,
        "one plan, whatever the report is called"
    );
    assert_eq!(app.last_record()["target"], own.to_uppercase());
}

#[tokio::test]
async fn a_target_that_is_ambiguous_or_elsewhere_answers_like_a_forbidden_item() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .before(
            Method::POST,
            "/sandbox/reports",
            json!({"workspace": "50ace000-0000-4000-8000-000000000001", "name": "Targets",
                   "datasetId": "da7a5e70-0000-4000-8000-000000000002"}),
        )
        .start()
        .await;
    let forbidden = app.embed("ana", json!({"item": "nothing"})).await;
    let chloes = "4e904700-0000-4000-8000-000000000005";
    for target in [
        "Targets",    // two bear the name
        chloes,       // another tenant's, by id
        "Price List", // another workspace's, by name
        "Nothing",
        "targets", // exactly that name
        "Targets ",
        "*",
        "' or 1 eq 1 or name eq '",
        "../datasets",
        "00000000-0000-0000-0000-000000000000",
    ] {
        let answer = app
            .embed("ana", json!({"item": "any-report", "target": target}))
            .await;
        assert_alike(&answer, &forbidden);
    }
    assert_eq!(app.mints().await.len(), 0);
}

#[tokio::test]
async fn a_target_missing_or_too_many_is_a_bad_request() {
    let app = TestApp::start().await;
    for body in [
        json!({"item": "any-report"}),
        json!({"items": ["any-report"]}),
        json!({"item": "any-report", "target": ""}),
        json!({"item": "sales", "target": "Sales Overview"}),
        json!({"item": "sales-dashboard", "target": "x"}),
    ] {
        app.embed("ana", body).await.problem(400, "invalid_request");
    }
    assert_eq!(app.calls("power_bi", "").await.len(), 0);
}

#[tokio::test]
async fn a_paginated_report_is_no_target_of_an_item_for_interactive_ones() {
    let app = TestApp::start().await;
    let answer = app
        .embed("ana", json!({"item": "any-report", "target": "Invoices"}))
        .await;
    assert_eq!(answer.json()["code"], "item_unavailable", "{answer:?}");
}
