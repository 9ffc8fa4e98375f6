//! The yardstick: what axum itself costs. Parses the body of `POST /embed-token` and answers with as many bytes as the
//! broker would; no sign-in, no policy, no audit. With an upstream it also passes POSTs on, with their headers, to
//! measure what axum and reqwest add to a call. `scripts/bench` runs it beside the broker.
//!
//! Usage: bare ADDRESS BYTES [UPSTREAM]

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for measurements"
)]

use axum::body::Bytes;
use axum::http::{HeaderMap, Uri, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Ask {
    item: Option<String>,
    items: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Answer {
    items: usize,
    token: &'static str,
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let (Some(address), Some(bytes)) = (arguments.next(), arguments.next()) else {
        // `cargo bench` runs every bench without arguments.
        println!("usage: bare ADDRESS BYTES [UPSTREAM]");
        return;
    };
    let token: &'static str = "x".repeat(bytes.parse().unwrap()).leak();
    let answer = async move |Json(ask): Json<Ask>| {
        let items = ask
            .items
            .map_or(usize::from(ask.item.is_some()), |items| items.len());
        Json(Answer { items, token })
    };
    let mut router = Router::new()
        .route("/embed-token", post(answer))
        .route("/livez", get(async || "alive\n"));
    if let Some(upstream) = arguments.next() {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        router = router.fallback(async move |uri: Uri, mut headers: HeaderMap, body: Bytes| {
            headers.remove(header::HOST);
            let call = client.post(format!("{upstream}{uri}")).headers(headers);
            let answer = call.body(body).send().await.unwrap();
            (answer.status(), answer.bytes().await.unwrap())
        });
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            axum::serve(listener, router).await.unwrap();
        });
}
