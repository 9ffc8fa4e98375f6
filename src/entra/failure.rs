//! Why a credential gave no token, read out of whatever the token endpoint answered.
//!
//! Nothing in a [`Failure`] is free text from upstream: codes and ids are taken only when they look like codes and
//! ids, the rest is ours. So it can be logged and shown as it is.

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

use super::codes::{self, Class};
use crate::outbound::retry_after;

/// One credential's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {remedy}")]
pub(super) struct Failure {
    pub(super) class: Class,
    /// `AADSTS…`, else the OAuth error, else a word of ours.
    pub(super) code: String,
    /// What it means and what to do about it.
    pub(super) remedy: String,
    pub(super) retry_after: Option<Duration>,
    /// What Microsoft's support asks for.
    pub(super) trace_id: Option<String>,
    pub(super) correlation_id: Option<String>,
}

/// The error body of Entra's token endpoint and of IMDS; App Service has none of these members.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    error: Option<String>,
    error_description: Option<String>,
    error_codes: Vec<u32>,
    trace_id: Option<String>,
    correlation_id: Option<String>,
}

impl Failure {
    pub(super) fn new(class: Class, code: &str, remedy: impl Into<String>) -> Self {
        Self {
            class,
            code: code.to_owned(),
            remedy: remedy.into(),
            retry_after: None,
            trace_id: None,
            correlation_id: None,
        }
    }

    /// An exchange that brought no answer.
    pub(super) fn unanswered(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_timeout() {
            return Self::timed_out();
        }
        let what = if error.is_connect() {
            "no connection"
        } else {
            "the connection broke"
        };
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::new(Class::Transient, "transport", format!("{what} ({cause})"))
    }

    pub(super) fn timed_out() -> Self {
        Self::new(Class::Transient, "timeout", "no answer in time")
    }

    /// A 2xx that holds no usable token.
    pub(super) fn unusable(why: &str) -> Self {
        Self::new(Class::Transient, "invalid_response", why)
    }

    /// For metric labels.
    pub(super) fn outcome(&self) -> &'static str {
        match (self.class, self.code.as_str()) {
            (Class::Permanent | Class::Lockout, _) => "rejected",
            (Class::Throttled, _) => "throttled",
            (Class::Transient, "timeout") => "timeout",
            (Class::Transient, "transport") => "transport",
            (Class::Transient, "invalid_response") => "malformed",
            (Class::Transient, _) => "server_error",
        }
    }

    /// An answer other than 2xx.
    pub(super) fn refused(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let error = body.error.as_deref().filter(|error| is_code(error));
        let number = body.number();
        let refusal = (400..500).contains(&status) && (error.is_some() || number.is_some());
        let class = match codes::class(status, error, number) {
            // Entra refuses with an OAuth error. Anything else came from a proxy or from the wrong server.
            Class::Permanent if !refusal => Class::Transient,
            class => class,
        };
        let code = match (number, error) {
            (Some(number), _) => format!("AADSTS{number}"),
            (None, Some(error)) => error.to_owned(),
            (None, None) => format!("HTTP {status}"),
        };
        Self {
            retry_after: retry_after(headers),
            trace_id: body.trace_id.filter(|id| is_id(id)),
            correlation_id: body.correlation_id.filter(|id| is_id(id)),
            ..Self::new(class, &code, remedy(status, class, error, number))
        }
    }
}

impl Body {
    /// The AADSTS number: one that we know when there are several, and that of the text when there is no list.
    fn number(&self) -> Option<u32> {
        let known = self
            .error_codes
            .iter()
            .find(|&&code| codes::aadsts(code).is_some());
        known.or(self.error_codes.first()).copied().or_else(|| {
            let (_, rest) = self.error_description.as_deref()?.split_once("AADSTS")?;
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            rest[..end].parse().ok()
        })
    }
}

fn remedy(status: u16, class: Class, error: Option<&str>, number: Option<u32>) -> String {
    if let Some(known) = number.and_then(codes::aadsts) {
        return known.remedy.to_owned();
    }
    if let Some(number) = number {
        return format!("see https://login.microsoftonline.com/error?code={number}");
    }
    match (class, error) {
        (Class::Throttled, _) => "too many requests".into(),
        (Class::Transient, _) if status >= 500 || status == 408 => {
            "Entra has a passing fault".into()
        }
        (Class::Transient, Some(_)) => "Entra is unavailable at the moment".into(),
        (Class::Transient, None) => {
            "this is not Entra's answer: check `authority_url`, and any proxy between".into()
        }
        (Class::Permanent | Class::Lockout, _) => {
            "check `tenant_id`, `client_id`, `scope` and the credential".into()
        }
    }
}

fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
