//! What Power BI's refusals mean: status, headers and body to a [`Failure`], with a remedy for operators.
//!
//! The REST API documents no error schema. What is read here was seen in the field: four body shapes, or no body and
//! the reason in `X-PowerBI-Error-Info`. On Power BI 403 is often the *token's* fault and 401 the *permission's*, so
//! the order is header, then the body's code, then status. Upstream text is compared with what is known, shown to
//! operators at debug level, and never becomes part of an [`Error`].

mod body;

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use super::Error;
use super::breaker::Verdict;
use super::client::CallKind;
use crate::outbound;
use body::{ErrorBody, excerpt};

/// Taken for a 429 that does not say how long to wait.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Bound of what is believed of a `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How one try failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Refused, or dropped before a complete answer was there.
    Transport(String),
    /// The try's time was spent.
    Timeout,
    /// 5xx.
    Server(Refusal),
    /// 429, and how long to wait.
    Throttled(Duration, Refusal),
    /// The Entra token was called expired or invalid.
    TokenRefused(Refusal),
    /// The trial allowance is used up.
    Quota(Refusal),
    /// No for good.
    Rejected(Refusal),
    /// A 2xx that is not what the documents say.
    Malformed(Trouble),
}

/// An exchange that brought no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Trouble {
    /// What is wrong, without any text of Power BI's.
    pub text: String,
    /// Power BI's request id, when it answered at all.
    pub upstream_request_id: Option<String>,
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) remedy: &'static str,
    pub(super) request_id: Option<String>,
}

/// Meanings by code.
#[rustfmt::skip]
const BY_CODE: [(&str, &str); 8] = [
    ("PowerBINotAuthorizedException", NO_ACCESS),
    ("GroupNotAccessible", NO_ACCESS),
    ("ServicePrincipalIsNotAllowedByTenantAdminSwitch", TENANT_SWITCH),
    ("TokenExpired", TOKEN),
    ("InvalidToken", TOKEN),
    ("PowerBIEntityNotFound", NOT_FOUND),
    ("CapacityNotActive", "the workspace's capacity is paused or deleted: resume it, or move the workspace to another"),
    ("RequestedResourceIsNotAccessible", NO_ACCESS),
];

/// Meanings by a part of the message, compared in lower case; they say more than a code such as `InvalidRequest`.
#[rustfmt::skip]
const BY_TEXT: [(&str, &str); 10] = [
    ("requires effective identity to be provided",
     "a dataset needs an identity and the rule gives none: give the rule an identity (was RLS added to the model?)"),
    ("shouldn't have effective identity",
     "a dataset has no RLS and got an identity: declare `security: none` for it if it holds nothing to filter (was the model republished without its roles?)"),
    ("requires roles to be included",
     "the model defines roles and the rule gives none: add `roles` to the rule's identity"),
    ("identical to the caller's principal name",
     "Azure Analysis Services takes only the principal's own name: set the principal's `object_id` (from Enterprise applications) as the rule's username"),
    ("multiple identities is not supported",
     "this kind of item takes one identity: give all its datasets the same"),
    ("not supported with v1 embed token",
     "this model cannot be embedded by V1 calls: do not declare its workspace `classic`"),
    ("at least one dataset is required",
     "an interactive report needs its dataset in the request"),
    ("api is not accessible for application", TENANT_SWITCH),
    ("readoverrideeffectiveidentity",
     "on-premises Analysis Services needs `ReadOverrideEffectiveIdentity` on the gateway's data source for the principal or profile"),
    ("xmla",
     "the capacity's XMLA endpoint must be read or read-write, and the tenant switch for XMLA endpoints on"),
];

const NO_ACCESS: &str = "the principal (or profile) has no access: make it a Member or Admin of the workspace, and wait \
some minutes, or call RefreshUserPermissions, when that was done just now";
const TENANT_SWITCH: &str = "a tenant administrator must let service principals in: admin portal, Developer settings, \
\"Service principals can call Fabric public APIs\" (formerly \"Service principals can use Fabric APIs\" and \"Allow service \
principals to use Power BI APIs\"), \"Embed content in apps\", and for profiles \"Allow service principals to create and use \
profiles\", each for a group that holds the principal; it takes some minutes to work";
const TOKEN: &str = "Power BI does not accept the Entra token even when it is new: check the principal's cloud, \
tenant and scope, and this host's clock";
const NOT_FOUND: &str = "no such item in that workspace, or no permission for it, which Power BI hides as not found: \
check ids and names in the policy and the principal's role in the workspace";

/// The embed-token allowance of a shared capacity. [community 4589915, move-to-production]
const QUOTA_TEXTS: [&str; 2] = ["exceeded the amount of embed token", "linkid=868976"];

impl<T: Into<String>> From<T> for Trouble {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            upstream_request_id: None,
        }
    }
}

impl Refusal {
    fn rejected(self) -> Error {
        Error::Rejected {
            status: self.status.as_u16(),
            code: self.code,
            remedy: self.remedy.to_owned(),
            upstream_request_id: self.request_id,
        }
    }
}

impl Failure {
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Transport(_) | Self::Timeout | Self::Server(_) => Verdict::Failed,
            Self::Throttled(wait, _) => Verdict::Throttled(*wait),
            Self::TokenRefused(_) | Self::Quota(_) | Self::Rejected(_) | Self::Malformed(_) => {
                Verdict::Neutral
            }
        }
    }

    /// For metric labels.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Transport(_) => "transport",
            Self::Timeout => "timeout",
            Self::Server(_) => "server_error",
            Self::Throttled(..) => "throttled",
            Self::TokenRefused(_) => "token_refused",
            Self::Quota(_) => "quota",
            Self::Rejected(_) => "rejected",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Tells operators why nothing more is tried.
    pub(super) fn log(&self, principal: &str, kind: CallKind) {
        let kind = kind.as_str();
        match self {
            Self::Server(refusal)
            | Self::TokenRefused(refusal)
            | Self::Quota(refusal)
            | Self::Rejected(refusal) => tracing::warn!(
                principal,
                kind,
                status = refusal.status.as_u16(),
                code = %refusal.code,
                upstream_request_id = refusal.request_id,
                remedy = refusal.remedy,
                "Power BI refuses a call"
            ),
            Self::Throttled(wait, refusal) => tracing::warn!(
                principal,
                kind,
                seconds = wait.as_secs(),
                code = %refusal.code,
                upstream_request_id = refusal.request_id,
                "Power BI throttles"
            ),
            Self::Transport(reason) => {
                tracing::warn!(principal, kind, %reason, "a call to Power BI failed");
            }
            Self::Malformed(trouble) => tracing::warn!(
                principal,
                kind,
                reason = %trouble,
                upstream_request_id = trouble.upstream_request_id,
                remedy = "see whether a proxy stands between; if not, tell Microsoft's support this request id",
                "Power BI gave an answer that cannot be used"
            ),
            Self::Timeout => tracing::warn!(principal, kind, "Power BI did not answer in time"),
        }
    }

    /// What the caller learns when nothing more is tried.
    pub(super) fn into_error(self, principal: &str) -> Error {
        match self {
            Self::Transport(reason) => Error::Unreachable(reason.into()),
            Self::Timeout => Error::TimedOut,
            Self::Server(refusal) => Error::Unreachable(Trouble {
                text: format!(
                    "it answers {} ({}): {}",
                    refusal.status.as_u16(),
                    refusal.code,
                    refusal.remedy
                ),
                upstream_request_id: refusal.request_id,
            }),
            Self::Throttled(retry_after, _) => Error::Throttled {
                principal: principal.to_owned(),
                retry_after,
            },
            Self::Quota(refusal) => Error::Quota {
                upstream_request_id: refusal.request_id,
            },
            Self::TokenRefused(refusal) | Self::Rejected(refusal) => refusal.rejected(),
            Self::Malformed(trouble) => Error::InvalidResponse(trouble),
        }
    }
}

/// Reads an answer that is no 2xx.
pub(super) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let error = ErrorBody::read(headers, body);
    let text = error.message.to_ascii_lowercase();
    let code = error.code.clone();
    let refusal = Refusal {
        status,
        remedy: remedy(status, code.as_deref(), &text),
        code: code.clone().unwrap_or_else(|| status.as_u16().to_string()),
        request_id: request_id(headers),
    };
    tracing::debug!(
        status = status.as_u16(),
        code = %refusal.code,
        upstream_request_id = refusal.request_id,
        message = ?excerpt(&error.message),
        "Power BI refused"
    );
    if status == StatusCode::TOO_MANY_REQUESTS {
        Failure::Throttled(retry_after(headers), refusal)
    } else if status.is_server_error() {
        Failure::Server(refusal)
    } else if blames_token(status, headers, code.as_deref()) {
        Failure::TokenRefused(refusal)
    } else if QUOTA_TEXTS.iter().any(|known| text.contains(known)) {
        Failure::Quota(refusal)
    } else {
        Failure::Rejected(refusal)
    }
}

/// Power BI's id of this exchange, when it looks like one.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    headers
        .get("RequestId")
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=64).contains(&id.len()))
        .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        .map(str::to_owned)
}

fn blames_token(status: StatusCode, headers: &HeaderMap, code: Option<&str>) -> bool {
    if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
        return false;
    }
    let challenged = |error: &str| {
        headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains(error))
    };
    match code {
        Some("TokenExpired" | "InvalidToken") => true,
        // Conditional access wants a newer token, whatever else is said. [continuous access evaluation]
        Some(_) => challenged("insufficient_claims"),
        None => challenged("insufficient_claims") || challenged("invalid_token"),
    }
}

fn remedy(status: StatusCode, code: Option<&str>, text: &str) -> &'static str {
    let by_text = || BY_TEXT.iter().find(|(known, _)| text.contains(known));
    let by_code = || BY_CODE.iter().find(|(known, _)| code == Some(*known));
    if let Some((_, remedy)) = by_code().or_else(by_text) {
        return remedy;
    }
    match status.as_u16() {
        300..=399 => {
            "redirects are never followed: set the principal's `api_url` to the service itself"
        }
        400 => "Power BI finds the request wrong; the log at debug level holds its own words",
        401 | 403 => NO_ACCESS,
        404 => NOT_FOUND,
        500..=599 => "this is the service's side: see its health page if it lasts",
        _ => "the log at debug level holds Power BI's own words",
    }
}

fn retry_after(headers: &HeaderMap) -> Duration {
    outbound::retry_after(headers)
        .unwrap_or(DEFAULT_RETRY_AFTER)
        .min(MAX_RETRY_AFTER)
}

/// The door for `fuzz/`: what an answer that is no success comes to.
#[cfg(fuzzing)]
pub fn fuzz_classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    classify(status, headers, body).into_error("default")
}

#[cfg(test)]
mod tests;
