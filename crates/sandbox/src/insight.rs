//! What the broker in this process makes of its policy, for the demo page: why a request is decided as it is, and
//! whether the latest policy was taken.
//!
//! The sandbox knows no stage of the broker, so whoever starts both hands it what it may ask. A broker
//! tells a browser none of this: the trace holds claims and rows.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::state::Shared;

/// What the page asks to have explained.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The caller's claims.
    pub claims: Map<String, Value>,
    /// The item asked for.
    pub item: String,
    /// The right asked for.
    pub access: Option<String>,
}

/// What may be asked.
pub struct Insight {
    /// How the policy in force decides.
    pub explain: Box<dyn Fn(Question) -> Value + Send + Sync>,
    /// How often versions of the policy were judged, and why the last one was refused, if it was.
    pub judged: Box<dyn Fn() -> (u64, Option<String>) + Send + Sync>,
    /// Makes the broker forget its embed tokens, as it would have by the time they die.
    pub forget_tokens: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Insight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Insight")
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sandbox/explain", post(explain))
        .route("/sandbox/policy/state", get(policy_state))
        .route("/sandbox/tokens/forget", post(forget_tokens))
}

async fn explain(
    State(shared): State<Arc<Shared>>,
    Json(question): Json<Question>,
) -> Result<Json<Value>, StatusCode> {
    let insight = shared.insight.get().ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json((insight.explain)(question)))
}

async fn forget_tokens(State(shared): State<Arc<Shared>>) -> Result<StatusCode, StatusCode> {
    let insight = shared.insight.get().ok_or(StatusCode::NOT_FOUND)?;
    (insight.forget_tokens)();
    Ok(StatusCode::NO_CONTENT)
}

async fn policy_state(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, StatusCode> {
    let insight = shared.insight.get().ok_or(StatusCode::NOT_FOUND)?;
    let (judged, refusal) = (insight.judged)();
    Ok(Json(json!({ "judged": judged, "refusal": refusal })))
}
