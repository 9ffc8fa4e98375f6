//! The files that browsers load: the demo front end and the page in the iframe, built into the binary.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::state::Shared;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The paths of Microsoft's embed URLs.
const EMBED_PATHS: [&str; 6] = [
    "/reportEmbed",
    "/rdlEmbed",
    "/dashboardEmbed",
    "/embed",
    "/qnaEmbed",
    "/createReportEmbed",
];

/// Path, media type and content.
const FILES: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("demo/index.html")),
    ("/demo.js", SCRIPT, include_str!("demo/demo.js")),
    ("/behind.js", SCRIPT, include_str!("demo/behind.js")),
    ("/dom.js", SCRIPT, include_str!("demo/dom.js")),
    ("/policy.js", SCRIPT, include_str!("demo/policy.js")),
    ("/demo.css", STYLE, include_str!("demo/demo.css")),
    ("/stand-in.js", SCRIPT, include_str!("demo/stand-in.js")),
    (
        "/embed-broker.js",
        SCRIPT,
        include_str!("../../../client/embed-broker.js"),
    ),
    (
        "/sandbox/embed_page/embed.js",
        SCRIPT,
        include_str!("embed_page/embed.js"),
    ),
    (
        "/sandbox/embed_page/embed.css",
        STYLE,
        include_str!("embed_page/embed.css"),
    ),
];

const EMBED_PAGE: &str = include_str!("embed_page/index.html");

pub(super) fn routes() -> Router<Arc<Shared>> {
    let embed = EMBED_PATHS.map(|path| (path, HTML, EMBED_PAGE));
    FILES
        .into_iter()
        .chain(embed)
        .fold(Router::new(), |router, (path, media_type, content)| {
            router.route(path, get(move || async move { file(media_type, content) }))
        })
}

fn file(media_type: &'static str, content: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content)
}
