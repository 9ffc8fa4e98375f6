//! The outermost layer: what is true of every request whatever becomes of it.
//!
//! It gives the request its id and span, opens the audit record of audited routes, counts the outcome, writes the
//! audit record, and only then lets the answer out; a problem gets its body here. When a required record cannot be
//! written, the answer (and the token in it) is thrown away.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::extract::{Peer, RequestId, client};
use super::gate::Gate;
use super::{AppState, Problem, Serving};
use crate::broker::{Code, Event, Recording};
use crate::metrics::{self, Route};
use crate::telemetry;

/// The rest of the way to the handler.
#[derive(Clone)]
struct Inward {
    app: AppState,
    serving: Arc<Serving>,
    /// None for routes that do no work.
    gate: Option<Gate>,
    next: Next,
}

pub(super) async fn observe(
    State((app, gate)): State<(AppState, Gate)>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let id = RequestId::of(request.headers());
    let route = route(&request);
    // From here to its end the request is served with these: no reload reaches it.
    let serving = app.serving();
    let recording = record(&app, &serving, &request, route, &id);
    if let Some(recording) = &recording {
        request.extensions_mut().insert(recording.clone());
        request.extensions_mut().insert(Arc::clone(&serving));
    }
    let span = tracing::info_span!(
        "request",
        request_id = %id.0,
        route = route.as_str(),
        otel.kind = Empty,
        otel.name = Empty,
        otel.status_code = Empty,
    );
    telemetry::begin(&span, request.headers(), request.method(), route.as_str());
    // Health and the like answer under any load, and so does a refusal of the method.
    let gate = works(route, request.method()).then_some(gate);
    let inward = Inward {
        app: app.clone(),
        serving,
        gate,
        next,
    };
    answer(&app, inward, request, recording, &id, route, began)
        .instrument(span)
        .await
}

async fn answer(
    app: &AppState,
    inward: Inward,
    request: Request,
    recording: Option<Recording>,
    id: &RequestId,
    route: Route,
    began: Instant,
) -> Response {
    let mut response = cors(inward, request).await;
    let mut problem = response.extensions_mut().remove::<Problem>();
    let refused = |problem: &Option<Problem>| problem.as_ref().map(|p| p.code().as_str());
    if let Some(recording) = recording {
        if let Some(problem) = &problem {
            recording.reason(&problem.reason());
        }
        if recording
            .finish(refused(&problem).unwrap_or("ok"))
            .await
            .is_err()
        {
            // The headers stay: without those of CORS, a page could not read why it got nothing.
            *response.body_mut() = Body::empty();
            problem = Some(Problem::new(
                Code::AuditUnavailable,
                "the audit record could not be written",
            ));
        }
    }
    metrics::request(route, refused(&problem), began.elapsed());
    if let Some(problem) = &problem {
        log(app, problem);
        response = problem.respond(&id.0, response);
    }
    telemetry::answered(
        &Span::current(),
        response.status().as_u16(),
        refused(&problem),
    );
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(RequestId::HEADER, value);
    }
    response
}

/// The allowed origins and headers may change at a reload, so each request of a browser brings its layer.
async fn cors(inward: Inward, request: Request) -> Response {
    if !request.headers().contains_key(ORIGIN) {
        return inward.run(request).await;
    }
    let serving = Arc::clone(&inward.serving);
    let inward = service_fn(move |request: Request| {
        let inward = inward.clone();
        async move { Ok::<_, Infallible>(inward.run(request).await) }
    });
    match serving.edge.cors().layer(inward).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

impl Inward {
    async fn run(self, request: Request) -> Response {
        match self.gate {
            Some(gate) => gate.pass(self.app.life(), request, self.next).await,
            None => self.next.run(request).await,
        }
    }
}

/// Faults of ours or of an upstream wake somebody up; refusals of callers are told without alarm.
fn log(app: &AppState, problem: &Problem) {
    let Some(held_back) = app.0.quiet.admit(problem.code(), Instant::now()) else {
        return;
    };
    let held_back = (held_back > 0).then_some(held_back);
    let (code, status) = (problem.code().as_str(), problem.status().as_u16());
    let reason = problem.reason();
    if problem.status().is_server_error() {
        tracing::error!(code, status, reason, held_back, "request failed");
    } else {
        tracing::info!(code, status, reason, held_back, "request refused");
    }
}

fn record(
    app: &AppState,
    serving: &Serving,
    request: &Request,
    route: Route,
    id: &RequestId,
) -> Option<Recording> {
    let event = match route {
        Route::EmbedToken => Event::EmbedToken,
        Route::Items => Event::Items,
        Route::Targets => Event::Targets,
        Route::OpenApi | Route::Livez | Route::Readyz | Route::Unmatched => return None,
    };
    // A browser's preflight asks for nothing.
    if *request.method() == Method::OPTIONS {
        return None;
    }
    let peer = request.extensions().get::<Peer>().copied();
    let address = client(peer, request.headers(), &app.0.trusted_proxies);
    Some(serving.broker.record(event, id.0.clone(), address))
}

/// Whether a handler does work for it: what a route answers beside refusals stands here as in the router.
fn works(route: Route, method: &Method) -> bool {
    match route {
        Route::EmbedToken => method == Method::POST,
        Route::Items | Route::Targets => matches!(*method, Method::GET | Method::HEAD),
        Route::OpenApi | Route::Livez | Route::Readyz | Route::Unmatched => false,
    }
}

fn route(request: &Request) -> Route {
    let matched = request.extensions().get::<MatchedPath>();
    Route::of(matched.map(MatchedPath::as_str))
}
