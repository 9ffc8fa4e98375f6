//! Everything that can keep a request from its answer, and the code that names it.

use std::time::Duration;

use super::Code;
use crate::{authn, plan, policy, powerbi};

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is at fault; the detail may be shown to its sender.
    #[error("{detail}")]
    Request {
        /// Which fault.
        code: Code,
        /// What to change.
        detail: String,
    },
    /// No credential.
    #[error("the request carries no token")]
    MissingToken,
    /// The caller's token was refused.
    #[error(transparent)]
    Caller(#[from] authn::Error),
    /// The caller asks too often.
    #[error("the caller may ask again in {} s", retry_after.as_secs())]
    RateLimited {
        /// When the next request passes.
        retry_after: Duration,
    },
    /// Policy refused.
    #[error(transparent)]
    Denied(#[from] policy::Denied),
    /// No safe plan can be made.
    #[error(transparent)]
    Refused(#[from] plan::Refusal),
    /// Power BI, or Entra on the way to it.
    #[error(transparent)]
    PowerBi(#[from] powerbi::Error),
    /// A rule names a principal that is not configured.
    #[error("principal `{0}` is not configured: correct the policy, or add it under `principals`")]
    UnknownPrincipal(String),
}

impl Error {
    /// A fault of the request itself.
    pub fn request(code: Code, detail: impl Into<String>) -> Self {
        Self::Request {
            code,
            detail: detail.into(),
        }
    }

    /// The stable code that the caller, the metrics and the audit record get.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Request { code, .. } => *code,
            Self::MissingToken => Code::MissingToken,
            Self::Caller(error) => match error {
                authn::Error::Expired => Code::TokenExpired,
                authn::Error::Invalid { .. } => Code::InvalidToken,
                authn::Error::IssuerUnavailable { .. } => Code::IssuerUnavailable,
            },
            Self::RateLimited { .. } => Code::RateLimited,
            Self::Denied(denied) => match denied {
                policy::Denied::NotPermitted { .. } => Code::NotPermitted,
                policy::Denied::Unfit { .. } => Code::InvalidRequest,
                policy::Denied::NotCombinable { .. } => Code::ItemsNotCombinable,
                policy::Denied::IdentityUnmappable { .. } => Code::IdentityUnmappable,
            },
            Self::Refused(refusal) => match refusal {
                plan::Refusal::NotCombinable(_) => Code::ItemsNotCombinable,
                plan::Refusal::SessionEnds => Code::TokenExpired,
                plan::Refusal::NotPermitted(_) => Code::NotPermitted,
                plan::Refusal::IdentityUnmappable(_) => Code::IdentityUnmappable,
                plan::Refusal::IdentityRequired(_) => Code::IdentityRequired,
                plan::Refusal::RlsMissing(_) => Code::RlsMissing,
                plan::Refusal::SecurityMismatch(_) => Code::SecurityMismatch,
                plan::Refusal::BlobMissing(_) => Code::BlobMissing,
                plan::Refusal::ItemUnavailable(_) => Code::ItemUnavailable,
            },
            Self::PowerBi(error) => power_bi(error),
            // The policy's principal is an expression's value: one that names nothing denies.
            Self::UnknownPrincipal(_) => Code::NotPermitted,
        }
    }

    /// When the caller may try again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after }
            | Self::PowerBi(
                powerbi::Error::Throttled { retry_after, .. }
                | powerbi::Error::BreakerOpen { retry_after, .. },
            ) => Some(*retry_after),
            Self::Request { .. }
            | Self::MissingToken
            | Self::Caller(_)
            | Self::Denied(_)
            | Self::Refused(_)
            | Self::PowerBi(_)
            | Self::UnknownPrincipal(_) => None,
        }
    }
}

fn power_bi(error: &powerbi::Error) -> Code {
    match error {
        powerbi::Error::ItemUnavailable { .. } => Code::ItemUnavailable,
        powerbi::Error::TargetUnavailable { .. } => Code::NotPermitted,
        powerbi::Error::Rejected { .. } => Code::PowerBiRejected,
        powerbi::Error::Quota { .. } => Code::PowerBiQuota,
        powerbi::Error::Throttled { .. } => Code::PowerBiThrottled,
        powerbi::Error::BreakerOpen { .. } => Code::PowerBiUnavailable,
        powerbi::Error::Unreachable(_) => Code::PowerBiUnreachable,
        powerbi::Error::InvalidResponse(_) => Code::PowerBiInvalidResponse,
        powerbi::Error::TimedOut => Code::UpstreamTimeout,
        powerbi::Error::Entra(error) => match **error {
            crate::entra::Error::Rejected { .. } => Code::EntraRejected,
            crate::entra::Error::Unreachable { .. } => Code::EntraUnreachable,
        },
        powerbi::Error::Aborted => Code::Internal,
    }
}
