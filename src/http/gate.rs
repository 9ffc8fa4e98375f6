//! The way in to the routes that do work: closed while the process ends, no wider than `server.max_in_flight`, and open
//! for `server.request_timeout`. Nobody waits at it: who does not fit is told at once.
//!
//! Why not tower's `load_shed` over `concurrency_limit` and `timeout`: they speak in errors, which must be turned back
//! into answers, and each costs every request a box.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;

use super::{Life, Limits, Problem};
use crate::broker::Code;

/// The gate of one listener; clones share it.
#[derive(Clone)]
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    request_timeout: Duration,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.max_in_flight)),
            request_timeout: limits.request_timeout,
        }
    }

    /// Lets `work` be done, or says why not.
    pub(super) async fn pass(&self, life: &Life, work: impl Future<Output = Response>) -> Response {
        let refused = |code, reason: &str| Problem::new(code, reason).into_response();
        if life.is_draining() {
            return refused(Code::ShuttingDown, "the process is ending");
        }
        let _under_way = life.requests.token();
        let Ok(_permit) = self.permits.try_acquire() else {
            return refused(
                Code::Overloaded,
                "server.max_in_flight requests are under way",
            );
        };
        match tokio::time::timeout(self.request_timeout, work).await {
            Ok(response) => response,
            Err(_) => refused(Code::UpstreamTimeout, "server.request_timeout has passed"),
        }
    }
}
