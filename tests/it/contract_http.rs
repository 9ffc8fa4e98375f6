//! Promises of the HTTP contract that an adversarial reading of it found broken.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Answer, TestApp};

async fn post(app: &TestApp, body: &'static str) -> Answer {
    let request = app
        .request(Method::POST, "/embed-token")
        .bearer_auth(app.token("ana").await)
        .header("content-type", "application/json")
        .body(body);
    Answer::read(request.send().await.unwrap()).await
}

/// serde takes `{"view": null}` for a word as well as `"view"`.
#[tokio::test]
async fn a_right_is_a_word_and_nothing_else() {
    let app = TestApp::start().await;
    for body in [
        r#"{"item":"sales","access":{"view":null}}"#,
        r#"{"item":"sales","access":{"edit":{}}}"#,
        r#"{"item":"sales","access":["view"]}"#,
    ] {
        post(&app, body).await.problem(400, "invalid_request");
    }
    post(&app, r#"{"item":"sales","access":"v\u0069ew"}"#)
        .await
        .ok();
}

#[tokio::test]
async fn a_body_that_is_declared_too_long_is_refused_before_it_is_sent() {
    let app = TestApp::start().await;
    let address = app.broker().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /embed-token HTTP/1.1\r\nHost: broker\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 16385\r\n\r\n",
        app.token("ana").await
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(3), stream.read(&mut answer));
    let length = read.await.expect("an answer at once").unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains(r#""code":"body_too_large""#), "{answer}");
}

#[tokio::test]
async fn trusted_proxies_may_write_the_port_beside_the_address() {
    let app = TestApp::setup()
        .edit("server:\n", "server:\n  trusted_proxies: [127.0.0.0/8]\n")
        .start()
        .await;
    let token = app.token("ana").await;
    for (forwarded, client) in [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:50612", "203.0.113.9"),
        ("[2001:db8::9]:50612", "2001:db8::9"),
        ("198.51.100.1, 203.0.113.9:50612", "203.0.113.9"),
        // What is no address ends what can be believed.
        ("203.0.113.9:50612, unknown", "127.0.0.1"),
        ("203.0.113.9:99999", "127.0.0.1"),
    ] {
        let request = app
            .request(Method::GET, "/items")
            .bearer_auth(&token)
            .header("x-forwarded-for", forwarded);
        Answer::read(request.send().await.unwrap()).await.ok();
        assert_eq!(app.last_record()["client"], json!(client), "{forwarded}");
    }
}
