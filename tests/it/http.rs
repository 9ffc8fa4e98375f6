//! The edge: bodies, paths, methods, request ids, CORS, and which refusal wins when a request is wrong in two ways.

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};

use crate::support::contract::CONTRACT;
use crate::support::{Answer, TestApp};

/// 16 KiB.
const MAX_BODY: usize = 16 * 1024;

/// Posts raw bytes as JSON.
async fn post(app: &TestApp, token: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = app
        .request(Method::POST, "/embed-token")
        .bearer_auth(token)
        .header(CONTENT_TYPE, "application/json")
        .body(body);
    Answer::read(request.send().await.unwrap()).await
}

async fn unlimited() -> TestApp {
    TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await
}

#[tokio::test]
async fn a_body_of_another_form_is_refused() {
    let app = unlimited().await;
    let token = app.token("ana").await;
    let deep = format!(r#"{{"item":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
    let fifty_one = json!({ "items": vec!["sales"; 51] }).to_string();
    let rows: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("a space", b" "),
        ("no JSON", b"item=sales"),
        ("cut off", br#"{"item":"sales""#),
        ("trailing comma", br#"{"item":"sales",}"#),
        ("trailing text", br#"{"item":"sales"} x"#),
        ("two values", br#"{"item":"sales"}{"item":"sales"}"#),
        ("a byte order mark", b"\xef\xbb\xbf{\"item\":\"sales\"}"),
        ("a comment", br#"{"item":"sales"/* all of it */}"#),
        ("bad UTF-8 in a value", b"{\"item\":\"sal\xffes\"}"),
        ("bad UTF-8 in a name", b"{\"it\xffem\":\"sales\"}"),
        ("UTF-16", b"\xff\xfe{\0}\0"),
        ("half a surrogate pair", br#"{"item":"\ud800"}"#),
        ("null", b"null"),
        ("a string", br#""sales""#),
        ("a list", br#"["sales"]"#),
        ("no member", b"{}"),
        ("an unknown member", br#"{"item":"sales","username":"ceo"}"#),
        (
            "an identity",
            br#"{"item":"sales","identity":{"roles":["Everything"]}}"#,
        ),
        ("a name in another case", br#"{"Item":"sales"}"#),
        ("item twice", br#"{"item":"price-list","item":"sales"}"#),
        (
            "access twice",
            br#"{"item":"sales","access":"view","access":"edit"}"#,
        ),
        ("item null", br#"{"item":null}"#),
        (
            "item null beside items",
            br#"{"item":null,"items":["sales"]}"#,
        ),
        ("item a number", br#"{"item":5}"#),
        ("item a list", br#"{"item":["sales"]}"#),
        ("items null", br#"{"items":null}"#),
        ("items a string", br#"{"items":"sales"}"#),
        ("items an object", br#"{"items":{"0":"sales"}}"#),
        ("items with a null", br#"{"items":["sales",null]}"#),
        ("items empty", br#"{"items":[]}"#),
        ("51 items, all the same", fifty_one.as_bytes()),
        ("item and items", br#"{"item":"sales","items":["sales"]}"#),
        ("access null", br#"{"item":"sales","access":null}"#),
        ("access unknown", br#"{"item":"sales","access":"admin"}"#),
        (
            "access in another case",
            br#"{"item":"sales","access":"View"}"#,
        ),
        ("access empty", br#"{"item":"sales","access":""}"#),
        ("access a number", br#"{"item":"sales","access":1}"#),
        ("save_as null", br#"{"item":"sales","save_as":null}"#),
        ("save_as a string", br#"{"item":"sales","save_as":"true"}"#),
        ("save_as a number", br#"{"item":"sales","save_as":1}"#),
        ("target null", br#"{"item":"any-report","target":null}"#),
        ("target a number", br#"{"item":"any-report","target":5}"#),
        (
            "target with items",
            br#"{"items":["any-report"],"target":"Targets"}"#,
        ),
        ("deep nesting", deep.as_bytes()),
    ];
    let schema = CONTRACT.schema("EmbedRequest");
    for (name, body) in rows {
        let answer = post(&app, &token, body.to_vec()).await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        let problem = answer.problem(400, "invalid_request");
        assert_eq!(problem["retryable"], false, "{name}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{name}");
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            // What serde_json folds, no schema can see.
            assert!(
                !schema.is_valid(&value) || name.ends_with("twice"),
                "{name}: the schema takes it"
            );
        }
    }
    assert_eq!(app.calls("power_bi", "").await.len(), 0);
    let records = app.audit();
    assert_eq!(records.len(), rows.len(), "one record each");
    assert!(
        records
            .iter()
            .all(|record| record["code"] == "invalid_request")
    );
}

#[tokio::test]
async fn a_body_of_the_documented_form_is_taken() {
    let app = unlimited().await;
    let token = app.token("ana").await;
    let fifty = json!({ "items": vec!["sales"; 50] }).to_string();
    let schema = CONTRACT.schema("EmbedRequest");
    for body in [
        r#"{"item":"sales"}"#,
        " \r\n\t{ \"item\" : \"sales\" } \n",
        r#"{"\u0069tem":"s\u0061les"}"#,
        r#"{"items":["sales"]}"#,
        r#"{"items":["sales","sales","price-list","sales"],"access":"view"}"#,
        r#"{"item":"sales","access":"edit","save_as":false}"#,
        r#"{"item":"any-report","target":"Targets"}"#,
        &fifty,
    ] {
        let answer = post(&app, &token, body.to_owned()).await;
        let value: Value = serde_json::from_str(body).unwrap();
        assert!(schema.is_valid(&value), "{body}: the schema refuses it");
        if body.contains("price-list") {
            // Another profile: read, understood, and refused for what it asks.
            answer.problem(400, "items_not_combinable");
            continue;
        }
        let items = answer.ok()["items"].as_array().unwrap().len();
        assert_eq!(items, 1, "repeats are folded: {body}");
    }
}

#[tokio::test]
async fn a_body_may_have_16_kib_and_not_a_byte_more() {
    let app = TestApp::start().await;
    let token = app.token("ana").await;
    let padded = |length: usize| {
        let body = r#"{"item":"sales"}"#;
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    post(&app, &token, padded(MAX_BODY)).await.ok();
    post(&app, &token, padded(MAX_BODY + 1))
        .await
        .problem(413, "body_too_large");
    post(&app, &token, vec![b'x'; 4 * 1024 * 1024])
        .await
        .problem(413, "body_too_large");
    // Without a Content-Length that would tell beforehand.
    let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(" ".repeat(1024)));
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    post(&app, &token, stream)
        .await
        .problem(413, "body_too_large");
    assert_eq!(app.last_record()["code"], "body_too_large");
}

#[tokio::test]
async fn a_body_must_be_declared_as_json() {
    let app = unlimited().await;
    let token = app.token("ana").await;
    let rows: [(&[&str], bool); 13] = [
        (&["application/json"], true),
        (&["application/json; charset=utf-8"], true),
        (&["Application/JSON ;charset=UTF-8"], true),
        (&[], false),
        (&[""], false),
        (&["text/plain"], false),
        (&["application/x-www-form-urlencoded"], false),
        (&["multipart/form-data; boundary=x"], false),
        (&["application/jsonp"], false),
        (&["application/problem+json"], false),
        (&["text/json"], false),
        (&["text/plain; a=application/json"], false),
        (&["application/json", "application/json"], false),
    ];
    for (types, taken) in rows {
        let mut headers = HeaderMap::new();
        for content_type in types {
            headers.append(CONTENT_TYPE, content_type.parse().unwrap());
        }
        let request = app
            .request(Method::POST, "/embed-token")
            .bearer_auth(&token)
            .headers(headers)
            .body(r#"{"item":"sales"}"#);
        let answer = Answer::read(request.send().await.unwrap()).await;
        if taken {
            answer.ok();
        } else {
            answer.problem(415, "unsupported_media_type");
        }
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let app = TestApp::start().await;
    for (method, path, allow) in [
        (Method::GET, "/embed-token", "POST"),
        (Method::PUT, "/embed-token", "POST"),
        (Method::DELETE, "/items", "GET,HEAD"),
        (Method::POST, "/items/sales/targets", "GET,HEAD"),
        (Method::POST, "/livez", "GET,HEAD"),
        // No preflight: it lacks an Origin.
        (Method::OPTIONS, "/embed-token", "POST"),
    ] {
        let request = app.request(method.clone(), path);
        let answer = Answer::read(request.send().await.unwrap()).await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let app = TestApp::start().await;
    let token = app.token("ana").await;
    for (path, status) in [
        ("/items", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/nowhere", 404),
    ] {
        let request = app.request(Method::HEAD, path).bearer_auth(&token);
        let answer = Answer::unchecked(request.send().await.unwrap()).await;
        assert_eq!((answer.status, &*answer.text), (status, ""), "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
    }
    let request = app
        .request(Method::HEAD, "/embed-token")
        .bearer_auth(&token);
    let answer = Answer::unchecked(request.send().await.unwrap()).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn the_request_id_is_the_gateways_when_it_is_sane() {
    let app = unlimited().await;
    let token = app.token("ana").await;
    let longest = "x".repeat(128);
    let too_long = "x".repeat(129);
    for (given, kept) in [
        ("abc-123_X.9", true),
        ("a", true),
        (&*longest, true),
        (&*too_long, false),
        ("", false),
        ("two words", false),
        ("semi;colon", false),
        ("quote\"", false),
        ("<script>", false),
        ("new\tline", false),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01/x",
            false,
        ),
    ] {
        for (path, method) in [
            ("/items", Method::GET),
            ("/nowhere", Method::GET),
            ("/embed-token", Method::POST),
        ] {
            let request = app
                .request(method, path)
                .bearer_auth(&token)
                .header("x-request-id", given);
            let answer = Answer::read(request.send().await.unwrap()).await;
            let told = answer.header("x-request-id").unwrap();
            assert_eq!(told == given, kept, "{path}: {given}: {told}");
            if path != "/nowhere" {
                assert_eq!(app.last_record()["request_id"], told);
            }
            if answer.status >= 400 {
                assert_eq!(answer.json()["request_id"], told);
            }
        }
    }
    // What is made here is made anew each time.
    let id = async || {
        app.get("ana", "/items")
            .await
            .header("x-request-id")
            .unwrap()
            .to_owned()
    };
    assert_ne!(id().await, id().await);
}

#[tokio::test]
async fn health_and_description_need_no_sign_in() {
    let app = TestApp::start().await;
    for (path, text) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let answer = Answer::read(app.request(Method::GET, path).send().await.unwrap()).await;
        assert_eq!((answer.status, &*answer.text), (200, text));
    }
    assert_eq!(app.audit().len(), 0, "nothing of this is audited");
}

// === CORS ===

/// A broker that knows the page `https://app.example`.
async fn with_page(cookie: bool) -> TestApp {
    let mut setup = TestApp::setup();
    if cookie {
        setup = setup.edit("authn:\n", "authn:\n  cookie: session\n");
    }
    setup
        .edit(
            "allowed_origins: [",
            "allowed_origins: [\"https://app.example\", ",
        )
        .start()
        .await
}

async fn preflight(app: &TestApp, origin: &str, headers: &str) -> Answer {
    let request = app
        .request(Method::OPTIONS, "/embed-token")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", headers);
    Answer::unchecked(request.send().await.unwrap()).await
}

fn listed<'a>(answer: &'a Answer, header: &str) -> Vec<String> {
    let list: &'a str = answer.header(header).unwrap_or_default();
    list.split(',')
        .map(|name| name.trim().to_lowercase())
        .collect()
}

#[tokio::test]
async fn a_preflight_of_our_page_is_answered() {
    for cookie in [false, true] {
        let app = with_page(cookie).await;
        let answer = preflight(
            &app,
            "https://app.example",
            "authorization,content-type,x-sql-token",
        )
        .await;
        assert!((200..300).contains(&answer.status), "{answer:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://app.example")
        );
        assert_eq!(
            listed(&answer, "access-control-allow-methods"),
            ["get", "post"]
        );
        let allowed = listed(&answer, "access-control-allow-headers");
        for header in [
            "authorization",
            "content-type",
            "x-request-id",
            "x-sql-token",
        ] {
            assert!(
                allowed.iter().any(|name| name == header),
                "{header}: {allowed:?}"
            );
        }
        assert!(
            !allowed.iter().any(|name| name == "cookie" || name == "*"),
            "{allowed:?}"
        );
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!(
            credentials,
            cookie.then_some("true"),
            "credentials go with the cookie only"
        );
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(app.audit().len(), 0, "a preflight asks for nothing");
    }
}

#[tokio::test]
async fn pages_that_are_not_listed_get_no_leave() {
    let app = with_page(true).await;
    for origin in [
        "https://evil.example",
        "https://app.example.evil.example",
        "https://app.example:8443",
        "http://app.example",
        "https://sub.app.example",
        "https://APP.example",
        "null",
    ] {
        let asked = preflight(&app, origin, "authorization").await;
        assert_eq!(
            asked.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
        let request = app
            .request(Method::GET, "/items")
            .bearer_auth(app.token("ana").await)
            .header("origin", origin);
        let answer = Answer::read(request.send().await.unwrap()).await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn our_page_may_read_every_answer() {
    let app = with_page(false).await;
    let token = app.token("ana").await;
    let broken = app.request(Method::POST, "/embed-token").body("{");
    let requests = [
        (app.request(Method::GET, "/items").bearer_auth(&token), 200),
        (app.request(Method::GET, "/items"), 401),
        (
            app.request(Method::GET, "/items/nothing/targets")
                .bearer_auth(&token),
            403,
        ),
        (broken, 415),
        (app.request(Method::GET, "/nowhere"), 404),
        (app.request(Method::DELETE, "/items"), 405),
    ];
    for (request, status) in requests {
        let answer = Answer::read(
            request
                .header("origin", "https://app.example")
                .send()
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://app.example"),
            "{answer:?}"
        );
        let exposed = listed(&answer, "access-control-expose-headers");
        assert_eq!(exposed, ["retry-after", "x-request-id"], "{answer:?}");
        assert!(
            listed(&answer, "vary").contains(&"origin".to_owned()),
            "caches keep pages apart: {answer:?}"
        );
    }
}

#[tokio::test]
async fn our_page_may_read_that_the_audit_trail_is_broken() {
    let app = TestApp::setup()
        .edit("file: audit.jsonl", "file: /dev/full")
        .start()
        .await;
    let request = app
        .request(Method::GET, "/items")
        .bearer_auth(app.token("ana").await)
        .header("origin", page(&app));
    let answer = Answer::read(request.send().await.unwrap()).await;
    answer.problem(503, "audit_unavailable");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some(&*page(&app))
    );
}

/// The demo page's origin, which the sandbox lists.
fn page(app: &TestApp) -> String {
    app.upstream().to_owned()
}

// === refusals ===

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table, read from top to bottom")]
async fn refusals_come_in_the_documented_order() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        // Somebody whose role Power BI would refuse: the plan's business.
        .start()
        .await;
    let ana = app.token("ana").await;
    let ben = app.token("ben").await;
    let forged = format!("{}x", &ana[..ana.len() - 1]);
    let expired = app.token_with("ana", json!({ "exp": 1_000_000_000 })).await;
    let (ok, bad, unknown) = (
        json!({"item": "sales"}),
        json!({"it": 1}),
        json!({"item": "x"}),
    );
    let twice = |value: &str| vec![value.to_owned(), value.to_owned()];
    let one = |value: &str| vec![value.to_owned()];
    let rows: Vec<(&str, Vec<String>, Value, u16, &str)> = vec![
        (
            "two forged credentials",
            twice(&forged),
            ok.clone(),
            400,
            "ambiguous_credentials",
        ),
        (
            "two credentials, bad body",
            twice(&ana),
            bad.clone(),
            400,
            "ambiguous_credentials",
        ),
        (
            "no credential, bad body",
            vec![],
            bad.clone(),
            400,
            "invalid_request",
        ),
        (
            "forged, bad body",
            one(&forged),
            bad.clone(),
            400,
            "invalid_request",
        ),
        (
            "expired, bad body",
            one(&expired),
            bad,
            400,
            "invalid_request",
        ),
        (
            "no credential, unknown item",
            vec![],
            unknown.clone(),
            401,
            "missing_token",
        ),
        (
            "forged, unknown item",
            one(&forged),
            unknown.clone(),
            401,
            "invalid_token",
        ),
        (
            "expired, unknown item",
            one(&expired),
            unknown,
            401,
            "token_expired",
        ),
        (
            "forbidden, and a target too many",
            one(&ana),
            json!({"item": "x", "target": "y"}),
            403,
            "not_permitted",
        ),
        (
            "forbidden, and a right that its kind never has",
            one(&ben),
            json!({"item": "new-sales-report", "access": "edit"}),
            403,
            "not_permitted",
        ),
        (
            "forbidden right, and a target missing",
            one(&ben),
            json!({"item": "any-report", "access": "edit"}),
            403,
            "not_permitted",
        ),
        (
            "one forbidden, one without its target",
            one(&ana),
            json!({"items": ["any-report", "x"]}),
            403,
            "not_permitted",
        ),
        (
            "one forbidden, two not combinable",
            one(&ana),
            json!({"items": ["price-list", "archive", "x"]}),
            403,
            "not_permitted",
        ),
        (
            "one forbidden, one without its blob",
            one(&ana),
            json!({"items": ["orders", "x"]}),
            403,
            "not_permitted",
        ),
        (
            "target missing, not combinable",
            one(&ana),
            json!({"items": ["price-list", "any-report"]}),
            400,
            "invalid_request",
        ),
        (
            "target too many, blob missing",
            one(&ana),
            json!({"item": "orders", "target": "Orders"}),
            400,
            "invalid_request",
        ),
        (
            "not combinable, blob missing",
            one(&ana),
            json!({"items": ["orders", "archive"]}),
            400,
            "items_not_combinable",
        ),
    ];
    for (name, tokens, body, status, code) in rows {
        let mut request = app.request(Method::POST, "/embed-token").json(&body);
        for token in tokens {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = Answer::read(request.send().await.unwrap()).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(code)),
            "{name}: {answer:?}"
        );
    }
    assert_eq!(app.calls("power_bi", "").await.len(), 0);
}

#[tokio::test]
async fn an_identity_that_cannot_be_made_comes_after_everything_about_the_items() {
    let app = TestApp::start().await;
    let long = "R".repeat(60);
    let token = app.token_with("ana", json!({ "regions": [long] })).await;
    for (body, status, code) in [
        (json!({"item": "sales"}), 422, "identity_unmappable"),
        (
            json!({"items": ["sales", "archive"]}),
            400,
            "items_not_combinable",
        ),
        (
            json!({"item": "sales", "target": "x"}),
            400,
            "invalid_request",
        ),
        (json!({"items": ["sales", "x"]}), 403, "not_permitted"),
    ] {
        app.embed_as(&token, body).await.problem(status, code);
    }
}

#[tokio::test]
async fn the_rate_limit_stands_between_caller_and_permission() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 1, burst: 1 }")
        .start()
        .await;
    let token = app.token("ana").await;
    app.embed_as(&token, json!({"item": "sales"})).await.ok();
    app.embed_as(&token, json!({"it": 1}))
        .await
        .problem(400, "invalid_request");
    app.embed_as("forged", json!({"item": "sales"}))
        .await
        .problem(401, "invalid_token");
    app.embed_as(&token, json!({"item": "x"}))
        .await
        .problem(429, "rate_limited");
    app.embed_as(&token, json!({"item": "sales", "target": "x"}))
        .await
        .problem(429, "rate_limited");
}

#[tokio::test]
async fn the_rate_limit_is_each_callers_own_and_tells_when_to_come_back() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 30, burst: 3 }")
        .start()
        .await;
    let (ana, ben) = (app.token("ana").await, app.token("ben").await);
    for _ in 0..3 {
        app.embed_as(&ana, json!({"item": "sales"})).await.ok();
    }
    let refused = app.embed_as(&ana, json!({"item": "sales"})).await;
    let problem = refused.problem(429, "rate_limited");
    assert_eq!(problem["retryable"], true);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(
        (1..=2).contains(&wait),
        "one request each two seconds: {wait}"
    );
    // Menus count as well, another token of the same person does not help, and others are not concerned.
    app.get("ana", "/items").await.problem(429, "rate_limited");
    app.embed_as(&ben, json!({"item": "sales"})).await.ok();
    assert_eq!(
        app.audit()
            .iter()
            .filter(|record| record["code"] == "rate_limited")
            .count(),
        2
    );
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    app.embed_as(&ana, json!({"item": "sales"})).await.ok();
}

#[tokio::test]
async fn no_rate_limit_when_it_is_off() {
    let app = unlimited().await;
    let token = app.token("ana").await;
    for _ in 0..40 {
        app.embed_as(&token, json!({"item": "sales"})).await.ok();
    }
}
