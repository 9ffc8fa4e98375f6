//! `/sandbox/…`: what tests and the demo page look at and change, and what the page in the iframe asks.
//!
//! None of it exists in the real services, so nothing of the broker may call it. Nor may pages from elsewhere:
//! [`guard`](super::guard).

mod changes;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::embed::{Ask, EmbedToken, RenderError};
use super::entra;
use super::faults::{Call, Fault};
use super::idp;
use super::seed::Report;
use super::state::{Shared, locked};
use super::tls::ClientCertificate;
use super::world::World;

/// What is wrong with a request of the control path.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sandbox/state", get(state))
        .route("/sandbox/policy", get(read_policy).put(write_policy))
        .route("/sandbox/calls", get(calls).delete(clear_calls))
        .route(
            "/sandbox/faults",
            get(faults).put(set_faults).delete(clear_faults),
        )
        .route("/sandbox/datasets/{id}", patch(changes::patch_dataset))
        .route("/sandbox/workspaces/{id}", patch(changes::patch_workspace))
        .route("/sandbox/reports", post(changes::add_report))
        .route(
            "/sandbox/reports/{id}",
            patch(changes::patch_report).delete(changes::remove_report),
        )
        .route("/sandbox/entra", put(change_entra))
        .route("/sandbox/entra/certificate.pem", get(client_certificate))
        .route("/sandbox/power_bi", put(changes::change_power_bi))
        .route("/sandbox/idp/rotate", post(idp::rotate))
        .route("/sandbox/tokens/age", post(age_token))
        .route("/sandbox/reset", post(reset))
        .route("/sandbox/render", post(render))
        .route("/sandbox/save", post(save))
        .route("/sandbox/rows", get(rows_by_header).post(rows))
}

// === the demo page ===

async fn state(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({
        "broker": shared.broker_url,
        "upstream": shared.url,
        "personas": locked(&shared.world).personas,
    }))
}

async fn read_policy(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let path = policy_file(&shared)?;
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| Problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// Replaces the file in one step, so that the broker never reads half of it.
async fn write_policy(
    State(shared): State<Arc<Shared>>,
    text: String,
) -> Result<StatusCode, Problem> {
    let path = policy_file(&shared)?;
    let failed =
        |error: std::io::Error| Problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let draft = path.with_extension("yaml.new");
    tokio::fs::write(&draft, text).await.map_err(failed)?;
    tokio::fs::rename(&draft, path).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

fn policy_file(shared: &Shared) -> Result<&std::path::Path, Problem> {
    let none = || {
        Problem(
            StatusCode::NOT_FOUND,
            "this sandbox has no policy file".to_owned(),
        )
    };
    shared.policy_file.as_deref().ok_or_else(none)
}

// === the page in the iframe ===

/// `{token}`, or a whole answer of the broker's, so that the two can stand in one pipe.
#[derive(Deserialize)]
struct Bearer {
    token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saving {
    token: String,
    /// The report, or the dataset of a new one.
    id: String,
    #[serde(default)]
    save_as: bool,
    name: Option<String>,
}

impl IntoResponse for RenderError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.to_json())).into_response()
    }
}

async fn render(
    State(shared): State<Arc<Shared>>,
    Json(ask): Json<Ask>,
) -> Result<Json<Value>, RenderError> {
    let token = remembered(&shared, &ask.token)?;
    token.render(&locked(&shared.world), &ask).map(Json)
}

async fn rows(
    State(shared): State<Arc<Shared>>,
    Json(bearer): Json<Bearer>,
) -> Result<Json<Value>, RenderError> {
    let token = remembered(&shared, &bearer.token)?;
    token.all_rows(&locked(&shared.world)).map(Json)
}

async fn rows_by_header(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Json<Value>, RenderError> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("EmbedToken "))
        .ok_or(RenderError::NOT_COVERED)?;
    let token = remembered(&shared, bearer.trim())?;
    token.all_rows(&locked(&shared.world)).map(Json)
}

async fn save(
    State(shared): State<Arc<Shared>>,
    Json(save): Json<Saving>,
) -> Result<Json<Value>, RenderError> {
    let token = remembered(&shared, &save.token)?;
    if token.is_expired() {
        return Err(RenderError::EXPIRED);
    }
    let mut world = locked(&shared.world);
    let report = saved(&world, &token, &save)?;
    let answer = json!({"id": report.id, "reportObjectId": report.id, "reportName": report.name,
        "saveAs": save.save_as, "workspace": report.workspace});
    world.reports.insert(report.id.clone(), report);
    Ok(Json(answer))
}

/// The report as it is after saving: itself, a copy in the first target workspace, or a new one there.
fn saved(world: &World, token: &EmbedToken, save: &Saving) -> Result<Report, RenderError> {
    let id = save.id.to_ascii_lowercase();
    let new_id = || uuid::Uuid::new_v4().to_string();
    let target = token.grant.targets.first().cloned();
    let name = save.name.clone();
    match (world.report(&id), world.dataset(&id)) {
        (Some(report), _) if save.save_as => {
            let workspace = target.ok_or(RenderError::NOT_AUTHORIZED)?;
            if !token.grant.reports.contains_key(&report.id) {
                return Err(RenderError::NOT_COVERED);
            }
            let name = name.unwrap_or_else(|| format!("Copy of {}", report.name));
            Ok(Report {
                id: new_id(),
                name,
                workspace,
                ..report.clone()
            })
        }
        (Some(report), _) => match token.grant.reports.get(&report.id) {
            Some(true) => Ok(report.clone()),
            Some(false) => Err(RenderError::NOT_AUTHORIZED),
            None => Err(RenderError::NOT_COVERED),
        },
        (None, Some(dataset))
            if token.grant.create && token.grant.datasets.contains(&dataset.id) =>
        {
            let workspace = target.ok_or(RenderError::NOT_AUTHORIZED)?;
            let name = name.unwrap_or_else(|| "New report".to_owned());
            Ok(Report {
                id: new_id(),
                name,
                workspace,
                dataset_id: Some(dataset.id.clone()),
                ..Report::default()
            })
        }
        (None, _) => Err(RenderError::NOT_COVERED),
    }
}

fn remembered(shared: &Shared, token: &str) -> Result<EmbedToken, RenderError> {
    locked(&shared.embed_tokens)
        .get(token)
        .cloned()
        .ok_or(RenderError::NOT_COVERED)
}

// === tests ===

async fn calls(State(shared): State<Arc<Shared>>) -> Json<Vec<Call>> {
    Json(locked(&shared.calls).all())
}

async fn clear_calls(State(shared): State<Arc<Shared>>) -> StatusCode {
    locked(&shared.calls).clear();
    StatusCode::NO_CONTENT
}

async fn faults(State(shared): State<Arc<Shared>>) -> Json<Vec<Fault>> {
    Json(locked(&shared.faults).clone())
}

async fn set_faults(
    State(shared): State<Arc<Shared>>,
    Json(faults): Json<Vec<Fault>>,
) -> Result<StatusCode, Problem> {
    if let Some(problem) = faults.iter().find_map(Fault::problem) {
        return Err(Problem(StatusCode::BAD_REQUEST, problem));
    }
    *locked(&shared.faults) = faults;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    locked(&shared.faults).clear();
    StatusCode::NO_CONTENT
}

async fn change_entra(
    State(shared): State<Arc<Shared>>,
    Json(change): Json<entra::Change>,
) -> Result<StatusCode, Problem> {
    locked(&shared.entra).change(change).map_err(bad_request)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn client_certificate() -> Result<String, Problem> {
    ClientCertificate::get()
        .map(|certificate| certificate.pem.clone())
        .map_err(|error| Problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Age {
    token: String,
    seconds_left: i64,
}

/// Moves the expiry of a token; the page in the iframe then meets it as it would in an hour.
async fn age_token(
    State(shared): State<Arc<Shared>>,
    Json(age): Json<Age>,
) -> Result<StatusCode, Problem> {
    let mut tokens = locked(&shared.embed_tokens);
    let token = tokens.get_mut(&age.token).ok_or_else(unknown_id)?;
    token.expires =
        OffsetDateTime::now_utc() + Duration::seconds(age.seconds_left.clamp(-86_400, 86_400));
    Ok(StatusCode::NO_CONTENT)
}

async fn reset(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.reset();
    StatusCode::NO_CONTENT
}

fn bad_request(problem: impl std::fmt::Display) -> Problem {
    Problem(StatusCode::BAD_REQUEST, problem.to_string())
}

fn unknown_id() -> Problem {
    Problem(
        StatusCode::NOT_FOUND,
        "there is nothing with this id".to_owned(),
    )
}
