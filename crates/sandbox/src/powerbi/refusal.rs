//! How the simulated Power BI says no: status, `X-PowerBI-Error-Info` and the four body shapes seen in the field.
//!
//! Mind the service's inverted convention: 403 is often the token's fault, 401 the permission's.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The header that often carries the only reason.
pub(super) const ERROR_INFO: HeaderName = HeaderName::from_static("x-powerbi-error-info");

/// A refusal of the REST API.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    info: Option<&'static str>,
    body: Option<Value>,
    complaint: Option<String>,
}

/// Why a call is one that the service does not know; kept with the record of the call.
#[derive(Clone)]
pub(crate) struct Complaint(pub(crate) String);

impl Refusal {
    fn coded(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self {
            status,
            info: Some(code),
            body: Some(json!({"error": {"code": code, "message": message}})),
            complaint: None,
        }
    }

    fn bare(status: StatusCode, info: Option<&'static str>) -> Self {
        Self {
            status,
            info,
            body: None,
            complaint: None,
        }
    }

    /// 400 with the service's text.
    pub(super) fn invalid(message: impl AsRef<str>) -> Self {
        Self::coded(StatusCode::BAD_REQUEST, "InvalidRequest", message.as_ref())
    }

    /// A call, parameter or member that the documents do not have.
    pub(super) fn unknown(status: StatusCode, message: String) -> Self {
        let refusal = Self::coded(status, "UnknownToTheSandbox", &message);
        Self {
            complaint: Some(message),
            ..refusal
        }
    }

    /// A body whose type the service does not read.
    pub(super) fn media_type(given: &str) -> Self {
        let message = format!(
            "The request entity's media type '{given}' is not supported for this resource."
        );
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            info: None,
            body: Some(json!({"Message": message})),
            complaint: Some(message),
        }
    }

    /// Missing, or hidden from the caller.
    pub(super) fn not_found() -> Self {
        Self::coded(
            StatusCode::NOT_FOUND,
            "PowerBIEntityNotFound",
            "The requested entity was not found",
        )
    }

    /// The workspace is closed to the caller.
    pub(super) fn group_not_accessible() -> Self {
        Self::bare(StatusCode::UNAUTHORIZED, Some("GroupNotAccessible"))
    }

    /// The caller may not do this with the item.
    pub(super) fn not_authorized() -> Self {
        const CODE: &str = "PowerBINotAuthorizedException";
        Self {
            status: StatusCode::UNAUTHORIZED,
            info: Some(CODE),
            body: Some(json!({"error": {"code": CODE, "pbi.error": {
                "code": CODE, "parameters": {}, "details": [], "exceptionCulprit": 1}}})),
            complaint: None,
        }
    }

    /// The caller sees the workspace, but is neither member nor admin of it.
    pub(super) fn no_member() -> Self {
        Self::bare(StatusCode::FORBIDDEN, None)
    }

    /// No bearer, or none of ours.
    pub(super) fn invalid_token() -> Self {
        Self::bare(StatusCode::FORBIDDEN, Some("InvalidToken"))
    }

    pub(super) fn token_expired() -> Self {
        const MESSAGE: &str = "Access token has expired, resubmit with a new access token";
        Self::coded(StatusCode::FORBIDDEN, "TokenExpired", MESSAGE)
    }

    /// The profile header names none of the caller's profiles; undocumented, so chosen.
    pub(super) fn unknown_profile() -> Self {
        const MESSAGE: &str = "The service principal profile was not found";
        Self::coded(
            StatusCode::FORBIDDEN,
            "ServicePrincipalProfileNotFound",
            MESSAGE,
        )
    }

    /// The tenant's administrator lets no service principal in.
    pub(super) fn tenant_switch() -> Self {
        const INFO: &str = "ServicePrincipalIsNotAllowedByTenantAdminSwitch";
        Self::bare(StatusCode::UNAUTHORIZED, Some(INFO))
    }

    /// Not for app-only callers.
    pub(super) fn not_for_applications() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            info: None,
            body: Some(json!({"Message": "API is not accessible for application"})),
            complaint: None,
        }
    }

    /// The trial allowance of a shared capacity is used up.
    pub(super) fn quota() -> Self {
        const MESSAGE: &str = "You have exceeded the amount of embed token that can be generated on a shared or \
            ProPlus capacity. For more information see https://go.microsoft.com/fwlink/?linkid=868976";
        Self {
            info: None,
            ..Self::coded(StatusCode::FORBIDDEN, "Forbidden", MESSAGE)
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => (self.status, Json(body)).into_response(),
            None => self.status.into_response(),
        };
        if let Some(info) = self.info {
            response
                .headers_mut()
                .insert(ERROR_INFO, HeaderValue::from_static(info));
        }
        if let Some(complaint) = self.complaint {
            response.extensions_mut().insert(Complaint(complaint));
        }
        response
    }
}
