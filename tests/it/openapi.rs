//! `openapi.yaml` and the service say the same. That every answer of every test is as documented is seen to by
//! [`Answer::read`](crate::support::Answer::read).

use std::collections::BTreeSet;

use embed_broker::broker::Code;
use reqwest::Method;
use serde_json::json;

use crate::support::contract::CONTRACT;
use crate::support::{Answer, TestApp};

/// Methods that are tried on every path.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];

#[test]
fn the_codes_are_those_of_the_service() {
    let listed = CONTRACT.document["components"]["schemas"]["Code"]["enum"]
        .as_array()
        .unwrap();
    let listed: Vec<&str> = listed.iter().map(|code| code.as_str().unwrap()).collect();
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed, codes);
    // Each is explained somewhere beside the list, or it is no use to a reader.
    let text = embed_broker::http::OPENAPI;
    let (explained, _) = text.split_once("\n    Code:\n").unwrap();
    let general = [
        "not_found",
        "method_not_allowed",
        "body_too_large",
        "unsupported_media_type",
    ];
    for code in listed {
        let by_status = general.contains(&code) || matches!(code, "internal" | "upstream_timeout");
        assert!(
            by_status || explained.contains(&format!("`{code}`")),
            "{code} is not explained"
        );
    }
}

#[test]
fn the_documented_paths_are_those_of_the_router() {
    let source = include_str!("../../src/http/mod.rs");
    let routed: BTreeSet<&str> = source
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let operations = CONTRACT.operations();
    let documented: BTreeSet<&str> = operations.keys().map(String::as_str).collect();
    assert_eq!(routed, documented);
}

#[tokio::test]
async fn documented_methods_answer_and_others_are_refused_with_allow() {
    let app = TestApp::start().await;
    for (path, documented) in CONTRACT.operations() {
        let path = path.replace("{item}", "any-report");
        let mut allowed = documented.clone();
        if documented.contains(&"GET".to_owned()) {
            allowed.push("HEAD".to_owned());
        }
        for method in METHODS {
            let request = app.request(method.parse::<Method>().unwrap(), &path);
            let answer = Answer::unchecked(request.send().await.unwrap()).await;
            if allowed.iter().any(|allowed| allowed == method) {
                assert!(
                    !matches!(answer.status, 404 | 405 | 500..),
                    "{method} {path}: {answer:?}"
                );
                continue;
            }
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            let told: BTreeSet<&str> = answer.header("allow").unwrap().split(',').collect();
            let expected: BTreeSet<&str> = allowed.iter().map(String::as_str).collect();
            assert_eq!(told, expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn undocumented_paths_do_not_exist() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "/embed-token/",
        "/embed-token/sales",
        "/embed_token",
        "/items/",
        "/items/sales",
        "/items/sales/targets/",
        "/items/a/b/targets",
        "/openapi.json",
        "/openapi.yaml/",
        "/healthz",
        "/Livez",
        "/livez/",
        // These are the operators', and the sandbox's.
        "/metrics",
        "/version",
        "/sandbox/calls",
        "/idp/token",
    ] {
        let request = app.request(Method::GET, path);
        Answer::read(request.send().await.unwrap())
            .await
            .problem(404, "not_found");
    }
}

#[tokio::test]
async fn the_service_gives_the_document_that_the_tests_read() {
    let app = TestApp::start().await;
    let request = app.request(Method::GET, "/openapi.yaml");
    let answer = Answer::read(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text, include_str!("../../openapi.yaml"));
}

#[test]
fn the_checks_on_answers_can_fail() {
    let schema = CONTRACT.schema("EmbedAnswer");
    let mut good = json!({
        "token": "t", "tokenId": "4b76f5ed-5a06-4150-8d1b-60f8e4c186f4",
        "expiration": "2026-01-01T10:00:00Z", "refreshAfter": "2026-01-01T09:52:10Z",
        "items": [{ "item": "sales", "renewal": "set_access_token", "embedConfig": {
            "type": "report", "embedUrl": "https://app.powerbi.com/reportEmbed", "tokenType": 1,
            "accessToken": "t", "permissions": 0, "viewMode": 0 } }]
    });
    assert!(schema.is_valid(&good));
    for (pointer, bad) in [
        ("/tokenId", json!("no uuid")),
        ("/expiration", json!("2026-01-01T10:00:00.5Z")),
        ("/refreshAfter", json!("2026-01-01T09:52:10+00:00")),
        ("/items", json!([])),
        ("/items/0/renewal", json!("never")),
        ("/items/0/embedConfig/tokenType", json!(0)),
        ("/items/0/embedConfig/permissions", json!(3)),
        ("/items/0/embedConfig/type", json!("page")),
    ] {
        let before = good.pointer(pointer).unwrap().clone();
        *good.pointer_mut(pointer).unwrap() = bad;
        assert!(!schema.is_valid(&good), "{pointer}");
        *good.pointer_mut(pointer).unwrap() = before;
    }
    assert!(schema.is_valid(&good));
}
