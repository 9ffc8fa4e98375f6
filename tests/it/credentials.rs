//! Where a caller's token may stand, and that it stands in one place only.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::test_app::Setup;
use crate::support::{Answer, TestApp};

const COOKIE: (&str, &str) = ("authn:\n", "authn:\n  cookie: session\n");
const HEADER: (&str, &str) = ("authn:\n", "authn:\n  token_header: X-Gateway-Token\n");
const BOTH: (&str, &str) = (
    "authn:\n",
    "authn:\n  cookie: session\n  token_header: X-Gateway-Token\n",
);

fn with((from, to): (&str, &str)) -> Setup {
    TestApp::setup()
        .edit(from, to)
        .edit(
            "allowed_origins: [",
            "allowed_origins: [\"https://app.example\", ",
        )
        .section("rate_limit: { per_caller_per_minute: 0 }")
}

async fn sent(request: RequestBuilder) -> Answer {
    Answer::read(request.send().await.unwrap()).await
}

fn embed(app: &TestApp) -> RequestBuilder {
    app.request(Method::POST, "/embed-token")
        .json(&json!({ "item": "sales" }))
}

fn items(app: &TestApp) -> RequestBuilder {
    app.request(Method::GET, "/items")
}

#[tokio::test]
async fn the_bearer_scheme_is_read_in_any_case() {
    let app = TestApp::start().await;
    let token = app.token("ana").await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let request = items(&app).header("authorization", format!("{scheme} {token}"));
        sent(request).await.ok();
    }
    let spaced = items(&app).header("authorization", format!("Bearer   {token}"));
    sent(spaced).await.ok();
}

#[tokio::test]
async fn what_is_no_bearer_token_is_missing_or_invalid() {
    let app = TestApp::start().await;
    let token = app.token("ana").await;
    for (value, code) in [
        (format!("Basic {token}"), "missing_token"),
        (format!("Negotiate {token}"), "missing_token"),
        (format!("Token {token}"), "missing_token"),
        (format!("Bearer{token}"), "missing_token"),
        (format!("Bearer:{token}"), "missing_token"),
        (token.clone(), "missing_token"),
        (String::new(), "missing_token"),
        ("Bearer".to_owned(), "invalid_token"),
        ("Bearer ".to_owned(), "invalid_token"),
        (format!("Bearer {token} {token}"), "invalid_token"),
        (format!("Bearer {token},Bearer {token}"), "invalid_token"),
        (format!("Bearer \"{token}\""), "invalid_token"),
    ] {
        for request in [items(&app), embed(&app)] {
            let answer = sent(request.header("authorization", &value)).await;
            answer.problem(401, code);
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            // RFC 6750, section 3.1: no error code where nothing was presented.
            assert_eq!(
                challenge.contains("error=\"invalid_token\""),
                code == "invalid_token"
            );
        }
    }
}

#[tokio::test]
async fn a_request_without_credential_is_asked_for_one() {
    let app = TestApp::start().await;
    for request in [
        items(&app),
        embed(&app),
        app.request(Method::GET, "/items/any-report/targets"),
    ] {
        let answer = sent(request).await;
        answer.problem(401, "missing_token");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"embed-broker\"")
        );
    }
}

#[tokio::test]
async fn a_token_in_the_query_string_is_ignored() {
    let app = TestApp::start().await;
    let (ana, ben) = (app.token("ana").await, app.token("ben").await);
    for name in [
        "access_token",
        "token",
        "id_token",
        "authorization",
        "bearer_token",
    ] {
        let alone = app.request(Method::GET, &format!("/items?{name}={ana}"));
        sent(alone).await.problem(401, "missing_token");
        let beside = app.request(Method::GET, &format!("/items?{name}={ana}"));
        sent(beside.bearer_auth(&ben)).await.ok();
        assert_eq!(app.last_record()["sub"], "u-ben");
    }
}

#[tokio::test]
async fn more_than_one_credential_is_ambiguous() {
    let app = with(BOTH).start().await;
    let token = app.token("ana").await;
    let bearer = format!("Bearer {token}");
    let cookie = format!("session={token}");
    let rows: [&[(&str, &str)]; 8] = [
        &[("authorization", &bearer), ("authorization", &bearer)],
        &[("authorization", &bearer), ("authorization", "Basic dTpw")],
        &[("authorization", &bearer), ("x-gateway-token", &token)],
        &[("authorization", &bearer), ("cookie", &cookie)],
        &[("authorization", "Basic dTpw"), ("cookie", &cookie)],
        &[("x-gateway-token", &token), ("x-gateway-token", &token)],
        &[("x-gateway-token", &token), ("cookie", &cookie)],
        &[("cookie", &cookie), ("cookie", &cookie)],
    ];
    for headers in rows {
        for mut request in [items(&app), embed(&app)] {
            request = request.header("origin", "https://app.example");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            sent(request).await.problem(400, "ambiguous_credentials");
        }
    }
    let twice = format!("session={token}; theme=dark; session={token}");
    let request = items(&app)
        .header("cookie", twice)
        .header("origin", "https://app.example");
    sent(request).await.problem(400, "ambiguous_credentials");
    assert_eq!(app.calls("power_bi", "").await.len(), 0);
}

#[tokio::test]
async fn a_gateways_header_carries_the_token_with_or_without_scheme() {
    let app = with(HEADER).start().await;
    let token = app.token("ana").await;
    for value in [
        token.clone(),
        format!("Bearer {token}"),
        format!("bearer {token}"),
    ] {
        sent(embed(&app).header("X-Gateway-Token", &value))
            .await
            .ok();
        sent(items(&app).header("x-gateway-token", value))
            .await
            .ok();
    }
    let basic = items(&app).header("x-gateway-token", format!("Basic {token}"));
    sent(basic).await.problem(401, "invalid_token");
    sent(items(&app).header("x-gateway-token", ""))
        .await
        .problem(401, "invalid_token");
    sent(items(&app).bearer_auth(&token)).await.ok();
}

#[tokio::test]
async fn a_header_or_cookie_that_is_not_configured_is_no_credential() {
    let app = TestApp::start().await;
    let token = app.token("ana").await;
    for (name, value) in [
        ("x-gateway-token", token.clone()),
        ("cookie", format!("session={token}")),
        ("proxy-authorization", format!("Bearer {token}")),
    ] {
        let request = items(&app)
            .header("origin", app.upstream())
            .header(name, value);
        sent(request).await.problem(401, "missing_token");
    }
    let beside = items(&app).header("cookie", format!("session={token}"));
    sent(beside.bearer_auth(&token)).await.ok();
}

/// Headers of a request with the cookie, whether it is safe, and whether it passes.
type Row<'a> = (&'a [(&'a str, &'a str)], bool, bool);

#[tokio::test]
async fn a_cookie_works_for_our_pages_only() {
    let app = with(COOKIE).start().await;
    let token = app.token("ana").await;
    let cookie = format!("theme=dark; session={token}; other=1");
    let listed = ("origin", "https://app.example");
    let evil = ("origin", "https://evil.example");
    let nobody = ("origin", "null");
    let same = ("sec-fetch-site", "same-origin");
    let site = ("sec-fetch-site", "same-site");
    let cross = ("sec-fetch-site", "cross-site");
    let none = ("sec-fetch-site", "none");
    let rows: [Row<'_>; 11] = [
        // headers, POST, GET
        (&[listed], true, true),
        (&[listed, cross], true, true),
        (&[same], false, true),
        (&[], false, false),
        (&[evil], false, false),
        (&[nobody], false, false),
        (&[site], false, false),
        (&[cross], false, false),
        (&[none], false, false),
        (&[evil, cross], false, false),
        (&[("referer", "https://app.example/")], false, false),
    ];
    for (headers, post, get) in rows {
        for (request, passes) in [(embed(&app), post), (items(&app), get)] {
            let mut request = request.header("cookie", &cookie);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = sent(request).await;
            if passes {
                answer.ok();
            } else {
                answer.problem(403, "origin_not_allowed");
            }
        }
    }
    assert_eq!(
        app.mints().await.len(),
        1,
        "nothing was minted for other pages"
    );
    // Without the cookie, pages do not matter.
    sent(
        embed(&app)
            .bearer_auth(&token)
            .header("origin", "https://evil.example"),
    )
    .await
    .ok();
}

#[tokio::test]
async fn a_cookie_of_another_name_is_none() {
    let app = with(COOKIE).start().await;
    let token = app.token("ana").await;
    for cookie in [
        format!("Session={token}"),
        format!("xsession={token}"),
        format!("session-id={token}"),
        format!("x=session={token}"),
        "session".to_owned(),
    ] {
        let request = items(&app)
            .header("origin", "https://app.example")
            .header("cookie", cookie);
        sent(request).await.problem(401, "missing_token");
    }
    let quoted = items(&app)
        .header("origin", "https://app.example")
        .header("cookie", format!("session=\"{token}\""));
    sent(quoted).await.ok();
}

#[tokio::test]
async fn an_answer_to_a_cookie_may_be_read_with_credentials() {
    let app = with(COOKIE).start().await;
    let request = items(&app)
        .header("origin", "https://app.example")
        .header("cookie", format!("session={}", app.token("ana").await));
    let answer = sent(request).await;
    answer.ok();
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
}
