//! The way in to the routes that do work: closed while the process ends, no wider than `server.max_in_flight`, and open
//! for `server.request_timeout`. Nobody waits at it: who does not fit is told at once.
//!
//! What its client has not sent yet does no work: a body is read first, within limits of its own (see
//! [`body`](super::body)).
//!
//! Why not tower's `load_shed` over `concurrency_limit` and `timeout`: they speak in errors, which must be turned back
//! into answers, and each costs every request a box.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;

use super::body::Bodies;
use super::{Life, Limits, Problem};
use crate::broker::Code;

/// The gate of one listener; clones share it.
#[derive(Clone)]
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    bodies: Arc<Bodies>,
    request_timeout: Duration,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.max_in_flight)),
            bodies: Arc::default(),
            request_timeout: limits.request_timeout,
        }
    }

    /// Hands `request` on to `next`, or says why not.
    pub(super) async fn pass(&self, life: &Life, request: Request, next: Next) -> Response {
        if life.is_draining() {
            return refused(Code::ShuttingDown, "the process is ending");
        }
        let _under_way = life.requests.token();
        match tokio::time::timeout(self.request_timeout, self.work(request, next)).await {
            Ok(response) => response,
            Err(_) => refused(Code::UpstreamTimeout, "server.request_timeout has passed"),
        }
    }

    async fn work(&self, mut request: Request, next: Next) -> Response {
        // Who would be refused after the body has arrived need not send it.
        if self.permits.available_permits() > 0 {
            if request.method() == Method::POST {
                request = self.bodies.read(request).await;
            }
            if let Ok(_permit) = self.permits.try_acquire() {
                return next.run(request).await;
            }
        }
        refused(
            Code::Overloaded,
            "server.max_in_flight requests are under way",
        )
    }
}

fn refused(code: Code, reason: &str) -> Response {
    Problem::new(code, reason).into_response()
}
