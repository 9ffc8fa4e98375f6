//! The operators' listener: health with reasons, metrics, version. Not for the gateway.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, body::Body};
use serde::Serialize;

use super::AppState;

/// One named check of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked, such as `principal:default`.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// How it stands, and what to do about it.
    pub reason: String,
}

/// Tells how everything stands at this moment.
pub type Checks = Arc<dyn Fn() -> Vec<Check> + Send + Sync>;

/// Measures all states and gives every metric as Prometheus reads them.
pub type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
struct Ops {
    app: AppState,
    checks: Checks,
    scrape: Scrape,
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    draining: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

/// The routes of the operators' listener.
pub fn router(app: AppState, checks: Checks, scrape: Scrape) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(prometheus))
        .route("/version", get(version))
        .with_state(Ops {
            app,
            checks,
            scrape,
        })
}

pub(super) async fn livez() -> &'static str {
    "alive\n"
}

/// The status is the traffic listener's; the checks may tell of trouble that takes no replica out of rotation.
async fn readyz(State(ops): State<Ops>) -> Response {
    let life = ops.app.life();
    let ready = life.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Readiness {
        ready,
        draining: life.is_draining(),
        checks: (ops.checks)(),
    };
    (status, Json(body)).into_response()
}

async fn prometheus(State(ops): State<Ops>) -> Response {
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (content_type, Body::from((ops.scrape)())).into_response()
}

async fn version() -> Json<Version> {
    Json(Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    })
}
