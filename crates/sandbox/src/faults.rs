//! Records every call to a simulated service, and makes calls fail as a test or a demo asks.
//!
//! One middleware in front of everything; it knows the services by their paths. Records never hold a secret, a bearer
//! or an embed token, and the ring is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::powerbi;
use super::state::{Shared, locked};

/// Calls that are remembered.
const CALLS: usize = 5_000;

/// Longest request body.
const MAX_BODY: usize = 1024 * 1024;

/// A simulated service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Service {
    Idp,
    Entra,
    PowerBi,
}

/// How a call is to fail. What it leaves out stays as it is: with a delay alone the real answer comes late.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    service: Service,
    path_contains: Option<String>,
    method: Option<String>,
    /// How often; until cleared when left out.
    times: Option<u32>,
    /// Matching calls that pass first.
    #[serde(default)]
    skip: u32,
    status: Option<u16>,
    #[serde(default)]
    headers: HashMap<String, String>,
    /// JSON, or a text that is sent as it is.
    body: Option<Value>,
    delay_ms: Option<u64>,
    /// Closes the connection without an answer.
    #[serde(default)]
    drop_connection: bool,
    /// Answers 307 to there.
    redirect_to: Option<String>,
}

/// A recorded call.
#[derive(Clone, Serialize)]
pub(super) struct Call {
    #[serde(skip)]
    id: uuid::Uuid,
    at: String,
    service: Service,
    method: String,
    path: String,
    query: String,
    profile: Option<String>,
    /// Client id, or name of a user.
    principal: Option<String>,
    body: Value,
    /// None while it runs, and for a call that was dropped.
    status: Option<u16>,
    request_id: String,
    /// Id of the embed token that it made.
    token_id: Option<uuid::Uuid>,
    /// Why the call is none that the service knows.
    complaint: Option<String>,
}

/// The calls of late, oldest first.
#[derive(Default)]
pub(super) struct Calls(VecDeque<Call>);

/// Marks an answer instead of which the connection is closed.
#[derive(Clone)]
pub(super) struct Dropped;

impl Calls {
    pub(super) fn all(&self) -> Vec<Call> {
        self.0.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn begin(&mut self, call: Call) {
        if self.0.len() >= CALLS {
            self.0.pop_front();
        }
        self.0.push_back(call);
    }

    fn end(&mut self, id: uuid::Uuid, response: &Response) {
        if let Some(call) = self.0.iter_mut().rev().find(|call| call.id == id) {
            let said = response.extensions();
            let dropped = said.get::<Dropped>().is_some();
            call.status = (!dropped).then(|| response.status().as_u16());
            call.token_id = said.get::<powerbi::Minted>().map(|minted| minted.0);
            call.complaint = said
                .get::<powerbi::Complaint>()
                .map(|complaint| complaint.0.clone());
        }
    }
}

impl Service {
    fn of(path: &str) -> Option<Self> {
        if path.starts_with("/idp/") {
            Some(Self::Idp)
        } else if path.starts_with("/entra/") || path.ends_with("/oauth2/v2.0/token") {
            Some(Self::Entra)
        } else if path.starts_with("/v1.0/") {
            Some(Self::PowerBi)
        } else {
            None
        }
    }

    /// The header in which it names its id of the call.
    fn request_id_header(self) -> HeaderName {
        match self {
            Self::PowerBi => HeaderName::from_static("requestid"),
            Self::Entra | Self::Idp => HeaderName::from_static("x-ms-request-id"),
        }
    }
}

/// The middleware.
pub(super) async fn observe(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(service) = Service::of(request.uri().path()) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let id = uuid::Uuid::new_v4();
    let path = parts.uri.path().to_owned();
    let method = parts.method.to_string();
    let call = Call {
        id,
        at: super::rfc3339(OffsetDateTime::now_utc()),
        service,
        method: method.clone(),
        path: path.clone(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        profile: text(&parts.headers, powerbi::PROFILE),
        principal: principal(&shared, service, &parts.headers, &body),
        body: clean_body(service, &body),
        status: None,
        request_id: id.to_string(),
        token_id: None,
        complaint: None,
    };
    locked(&shared.calls).begin(call);
    let fault = matching(&mut locked(&shared.faults), service, &method, &path);
    let request = Request::from_parts(parts, Body::from(body));
    let mut response = match fault {
        None => next.run(request).await,
        Some(fault) => fault.answer(request, next).await,
    };
    locked(&shared.calls).end(id, &response);
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        let header = service.request_id_header();
        response.headers_mut().entry(header).or_insert(value);
    }
    response
}

/// The fault for this call, if there is one; counts it.
fn matching(faults: &mut [Fault], service: Service, method: &str, path: &str) -> Option<Fault> {
    let fits = |fault: &Fault| {
        fault.service == service
            && fault.times != Some(0)
            && fault
                .path_contains
                .as_ref()
                .is_none_or(|part| path.contains(part.as_str()))
            && fault
                .method
                .as_ref()
                .is_none_or(|given| given.eq_ignore_ascii_case(method))
    };
    for fault in faults.iter_mut().filter(|fault| fits(fault)) {
        if fault.skip > 0 {
            fault.skip -= 1;
            continue;
        }
        fault.times = fault.times.map(|times| times - 1);
        return Some(fault.clone());
    }
    None
}

impl Fault {
    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        if self
            .status
            .is_some_and(|status| StatusCode::from_u16(status).is_err())
        {
            return Some("status is no HTTP status".to_owned());
        }
        let mut headers = self.headers.iter();
        let bad = headers.find(|(name, value)| {
            HeaderName::try_from(name.as_str()).is_err()
                || HeaderValue::try_from(value.as_str()).is_err()
        });
        bad.map(|(name, _)| format!("header {name} cannot be sent"))
    }

    async fn answer(self, request: Request, next: Next) -> Response {
        if let Some(delay) = self.delay_ms {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let mut response = if self.drop_connection {
            let mut response = StatusCode::BAD_GATEWAY.into_response();
            response.extensions_mut().insert(Dropped);
            response
        } else if let Some(target) = &self.redirect_to {
            (
                StatusCode::TEMPORARY_REDIRECT,
                [(header::LOCATION, target.clone())],
            )
                .into_response()
        } else {
            match (self.status, &self.body) {
                (None, None) => next.run(request).await,
                (status, body) => planned(status.unwrap_or(200), body.as_ref()),
            }
        };
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

fn planned(status: u16, body: Option<&Value>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match body {
        None => status.into_response(),
        Some(Value::String(text)) => (status, text.clone()).into_response(),
        Some(json) => (status, Json(json.clone())).into_response(),
    }
}

/// Who calls: by the bearer, or by the form that asks for one.
fn principal(
    shared: &Shared,
    service: Service,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<String> {
    match service {
        Service::Idp => None,
        Service::Entra => form(body).get("client_id")?.as_str().map(str::to_owned),
        Service::PowerBi => {
            let authorization = text(headers, header::AUTHORIZATION.as_str())?;
            let (_, bearer) = authorization.split_once(' ')?;
            let tokens = locked(&shared.access_tokens);
            tokens.get(bearer).map(|token| token.principal.clone())
        }
    }
}

/// The body without secrets and tokens.
fn clean_body(service: Service, body: &[u8]) -> Value {
    let mut value = match service {
        Service::Entra => form(body),
        Service::Idp | Service::PowerBi => serde_json::from_slice(body).unwrap_or(Value::Null),
    };
    remove_secrets(&mut value);
    value
}

fn form(body: &[u8]) -> Value {
    url::form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn remove_secrets(value: &mut Value) {
    const SECRET: [&str; 4] = [
        "client_secret",
        "client_assertion",
        "password",
        "identityBlob",
    ];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if SECRET.contains(&name.as_str()) {
                    *member = json!("[removed]");
                } else {
                    remove_secrets(member);
                }
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(remove_secrets),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
