//! The traffic listener: route list and middleware stack, each one screen.
//!
//! Outer to inner: [`observe`] (request id, span, metrics, audit record, problem bodies), CORS, for the routes that do
//! work the [`gate`] (draining, time limit, body, in-flight limit), panics. Health answers under any load. Around all of
//! them is [`serve`]: connections, and what they may hold together.

mod body;
mod bounds;
mod crowd;
mod edge;
mod embed;
mod extract;
mod gate;
mod items;
mod observe;
pub mod ops;
mod problem;
mod quiet;
mod room;
pub mod serve;
mod watch;
mod watched;
mod wire;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use ipnet::IpNet;
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use self::gate::Gate;
pub use body::MAX_BODY;
pub use bounds::Bounds;
pub use edge::Edge;
#[cfg(fuzzing)]
pub use embed::fuzz_request_body;
pub use extract::{Peer, RequestId};
pub use problem::Problem;

use crate::broker::{Broker, Code};

/// The API's description, as it is served.
pub const OPENAPI: &str = include_str!("../../openapi.yaml");

/// What every handler may use; clones share it.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What a request is served with, from its start to its end. A reload replaces it as a whole.
pub struct Serving {
    /// Settings of the edge.
    pub edge: Edge,
    /// Everything behind it.
    pub broker: Broker,
}

/// Gives what a request that begins now is served with.
pub type CurrentServing = Box<dyn Fn() -> Arc<Serving> + Send + Sync>;

struct Shared {
    current: CurrentServing,
    life: Life,
    quiet: quiet::Quiet,
    trusted_proxies: Vec<IpNet>,
}

/// Where the process is in its life.
#[derive(Debug, Default)]
pub struct Life {
    ready: AtomicBool,
    draining: AtomicBool,
    requests: TaskTracker,
}

/// Limits of the traffic listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests handled at once.
    pub max_in_flight: usize,
    /// Time for one request.
    pub request_timeout: Duration,
}

impl AppState {
    /// The state of one process.
    #[must_use]
    pub fn new(current: CurrentServing, trusted_proxies: Vec<IpNet>) -> Self {
        Self(Arc::new(Shared {
            current,
            life: Life::default(),
            quiet: quiet::Quiet::default(),
            trusted_proxies,
        }))
    }

    /// What a request that begins now is served with. Asked once a request, which then hands it on.
    #[must_use]
    fn serving(&self) -> Arc<Serving> {
        (self.0.current)()
    }

    /// Where the process is in its life.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.0.life
    }
}

impl Life {
    /// Policy and the default principal have succeeded; upstream trouble later does not take this back.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// From now on new requests are refused; resolves when those under way are answered.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.requests.close();
        self.requests.wait().await;
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Whether requests may be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.is_draining()
    }

    /// Whether the process is ending.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Every route and the middleware around it.
pub fn router(app: AppState, limits: Limits) -> Router {
    // One large layer: each time that axum layers a router, every request pays for another box.
    let observe = from_fn_with_state((app.clone(), Gate::new(limits)), observe::observe);
    let around = ServiceBuilder::new()
        .layer(observe)
        .layer(CatchPanicLayer::custom(panicked));
    Router::new()
        .route("/embed-token", post(embed::embed_token))
        .route("/items", get(items::items))
        .route("/items/{item}/targets", get(items::targets))
        .route("/openapi.yaml", get(openapi))
        .route("/livez", get(ops::livez))
        .route("/readyz", get(readyz))
        .fallback(async || Problem::new(Code::NotFound, "no such path"))
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "no such method here")
        })
        .layer(around)
        .with_state(app)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], OPENAPI).into_response()
}

async fn readyz(State(app): State<AppState>) -> Response {
    let (status, text) = match (app.life().is_draining(), app.life().is_ready()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        (false, true) => (StatusCode::OK, "ready\n"),
    };
    (status, text).into_response()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the layer asks for"
)]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Problem::new(Code::Internal, format!("a handler panicked: {text}")).into_response()
}
