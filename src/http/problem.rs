//! The ONLY table from a code to status, title, `Retry-After` and `WWW-Authenticate`.
//!
//! Two texts travel apart: `detail` is for the caller and holds nothing it could misuse; `reason` is for the log and
//! the audit record. The body is written by [`Problem::respond`] at the very edge, where the request id is known;
//! until then a problem travels as an extension of its response, so that refusals of axum and tower, of every layer
//! and every handler take the same way.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::broker::{Code, Denied, Error};

/// A refusal on its way to the caller.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    reason: String,
    retry_after: Option<Duration>,
}

/// RFC 9457.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    retryable: bool,
    request_id: &'a str,
}

/// What belongs to a code: its status, a title, a detail for the caller, and whether the same request may work later.
struct Row(StatusCode, &'static str, &'static str, bool);

impl Problem {
    /// A problem of this code with its standard detail; `reason` is for operators.
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self {
            code,
            detail: row(code).2.to_owned(),
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// A fault of the request; `detail` tells its sender what to change.
    pub fn request(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            code,
            reason: detail.clone(),
            detail,
            retry_after: None,
        }
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What happened, for operators.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        row(self.code).0
    }

    /// The response with its body, for the request `request_id`. Headers that a layer has set (`Allow`) stay.
    #[must_use]
    pub fn respond(&self, request_id: &str, mut response: Response) -> Response {
        let Row(status, title, _, retryable) = row(self.code);
        let document = Document {
            r#type: format!("urn:embed-broker:problem:{}", self.code.as_str()),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            retryable,
            request_id,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        *response.status_mut() = status;
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        headers.remove(axum::http::header::CONTENT_LENGTH);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = challenge(self.code) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }

    /// Whole seconds, rounded up: who comes back a moment early is refused again.
    fn retry_after_seconds(&self) -> Option<u64> {
        let known = self
            .retry_after
            .map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        known
            .map(|seconds| seconds.max(1))
            .or(default_retry_after(self.code))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (code, retry_after, reason) = (error.code(), error.retry_after(), error.to_string());
        let detail = match error {
            Error::Request { detail, .. } => detail,
            // These two speak of items that the caller may see.
            Error::Denied(Denied::Unfit { problem, .. } | Denied::NotCombinable { problem }) => {
                problem
            }
            Error::Denied(_)
            | Error::MissingToken
            | Error::Caller(_)
            | Error::RateLimited { .. }
            | Error::Refused(_)
            | Error::PowerBi(_)
            | Error::UnknownPrincipal(_) => row(code).2.to_owned(),
        };
        Self {
            code,
            detail,
            reason,
            retry_after,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[rustfmt::skip]
fn row(code: Code) -> Row {
    use StatusCode as S;
    match code {
        Code::InvalidRequest => Row(S::BAD_REQUEST, "Invalid request", "The request does not have the documented form.", false),
        Code::ItemsNotCombinable => Row(S::BAD_REQUEST, "Items cannot be combined", "These items cannot stand under one token; ask for them one by one.", false),
        Code::AmbiguousCredentials => Row(S::BAD_REQUEST, "Ambiguous credentials", "Send exactly one credential: one Authorization header, or the configured header, or the cookie.", false),
        Code::MissingToken => Row(S::UNAUTHORIZED, "Token missing", "Send the user's sign-in token as Authorization: Bearer.", false),
        Code::InvalidToken => Row(S::UNAUTHORIZED, "Token not accepted", "The sign-in token is not accepted here; sign in again.", false),
        Code::TokenExpired => Row(S::UNAUTHORIZED, "Token expired", "The sign-in token has expired; get a fresh one.", false),
        Code::NotPermitted => Row(S::FORBIDDEN, "Not permitted", "You may not embed this, or it does not exist.", false),
        Code::OriginNotAllowed => Row(S::FORBIDDEN, "Origin not allowed", "Pages of this origin may not use the sign-in cookie here.", false),
        Code::NotFound => Row(S::NOT_FOUND, "Not found", "There is nothing at this path; see /openapi.yaml.", false),
        Code::MethodNotAllowed => Row(S::METHOD_NOT_ALLOWED, "Method not allowed", "This path has other methods; see Allow.", false),
        Code::BodyTooLarge => Row(S::PAYLOAD_TOO_LARGE, "Body too large", "The body may have 16 KiB at most.", false),
        Code::UnsupportedMediaType => Row(S::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type", "Send Content-Type: application/json.", false),
        Code::IdentityUnmappable => Row(S::UNPROCESSABLE_ENTITY, "Identity cannot be mapped", "Your sign-in lacks what this item's data rules need; ask its operator.", false),
        Code::IdentityRequired => Row(S::UNPROCESSABLE_ENTITY, "Identity required", "This item's data rules are not set up for you; ask its operator.", false),
        Code::RlsMissing => Row(S::UNPROCESSABLE_ENTITY, "Row-level security missing", "This item has lost its data rules and is withheld; ask its operator.", false),
        Code::SecurityMismatch => Row(S::UNPROCESSABLE_ENTITY, "Security mismatch", "This item's data rules are not as expected and it is withheld; ask its operator.", false),
        Code::ItemUnavailable => Row(S::UNPROCESSABLE_ENTITY, "Item unavailable", "This item cannot be found at present; ask its operator.", false),
        Code::BlobMissing => Row(S::UNPROCESSABLE_ENTITY, "Data source sign-in missing", "Send the user's token for the data source in the documented header.", false),
        Code::RateLimited => Row(S::TOO_MANY_REQUESTS, "Too many requests", "You are asking too often; wait as Retry-After says.", true),
        Code::Internal => Row(S::INTERNAL_SERVER_ERROR, "Internal error", "The broker failed; its operator can find out by request_id.", false),
        Code::PowerBiRejected => Row(S::BAD_GATEWAY, "Power BI refused", "Power BI does not let this item be embedded; its operator can find out by request_id.", false),
        Code::PowerBiUnreachable => Row(S::BAD_GATEWAY, "Power BI unreachable", "Power BI cannot be reached at present.", true),
        Code::PowerBiInvalidResponse => Row(S::BAD_GATEWAY, "Power BI answered unexpectedly", "Power BI gave an answer that cannot be used.", true),
        Code::EntraRejected => Row(S::BAD_GATEWAY, "Entra refused", "The broker cannot sign in to Power BI; its operator can find out by request_id.", false),
        Code::EntraUnreachable => Row(S::BAD_GATEWAY, "Entra unreachable", "The broker cannot sign in to Power BI at present.", true),
        Code::Overloaded => Row(S::SERVICE_UNAVAILABLE, "Overloaded", "Too many requests at once; try again in a moment.", true),
        Code::PowerBiThrottled => Row(S::SERVICE_UNAVAILABLE, "Power BI throttles", "Power BI limits requests at present; wait as Retry-After says.", true),
        Code::PowerBiUnavailable => Row(S::SERVICE_UNAVAILABLE, "Power BI unavailable", "Power BI keeps failing; wait as Retry-After says.", true),
        Code::PowerBiQuota => Row(S::SERVICE_UNAVAILABLE, "Power BI allowance used up", "The trial allowance for embed tokens is used up; ask the operator for a capacity.", true),
        Code::IssuerUnavailable => Row(S::SERVICE_UNAVAILABLE, "Sign-in service unavailable", "Your sign-in cannot be checked at present.", true),
        Code::AuditUnavailable => Row(S::SERVICE_UNAVAILABLE, "Audit unavailable", "No token is given out while the audit trail cannot be written.", true),
        Code::ShuttingDown => Row(S::SERVICE_UNAVAILABLE, "Shutting down", "This replica is ending; try again.", true),
        Code::UpstreamTimeout => Row(S::GATEWAY_TIMEOUT, "Timed out", "The answer did not come in time.", true),
    }
}

/// `Retry-After` of codes that always carry one, in seconds, where nothing more exact is known.
fn default_retry_after(code: Code) -> Option<u64> {
    match row(code).0 {
        StatusCode::SERVICE_UNAVAILABLE if code == Code::PowerBiQuota => Some(3600),
        StatusCode::SERVICE_UNAVAILABLE if code == Code::IssuerUnavailable => Some(5),
        StatusCode::SERVICE_UNAVAILABLE if code == Code::AuditUnavailable => Some(5),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some(1),
        _ => None,
    }
}

/// RFC 6750, section 3: a request without credentials gets no error code.
fn challenge(code: Code) -> Option<&'static str> {
    match row(code).0 {
        StatusCode::UNAUTHORIZED if code == Code::MissingToken => {
            Some("Bearer realm=\"embed-broker\"")
        }
        StatusCode::UNAUTHORIZED if code == Code::TokenExpired => Some(
            "Bearer realm=\"embed-broker\", error=\"invalid_token\", error_description=\"The token has expired\"",
        ),
        StatusCode::UNAUTHORIZED => Some("Bearer realm=\"embed-broker\", error=\"invalid_token\""),
        _ => None,
    }
}
