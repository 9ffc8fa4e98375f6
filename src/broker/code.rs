//! The outcome of a request as everybody names it: the answer's `code`, the metric's label, the audit record's.

/// Stable code of a refusal; the whole list of the HTTP contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Malformed or contradictory request.
    InvalidRequest,
    /// The items cannot stand under one token.
    ItemsNotCombinable,
    /// More than one credential.
    AmbiguousCredentials,
    /// No credential.
    MissingToken,
    /// The caller's token is not accepted.
    InvalidToken,
    /// The caller's token has expired.
    TokenExpired,
    /// No rule permits it, or it does not exist.
    NotPermitted,
    /// A cookie came from a page that may not use it.
    OriginNotAllowed,
    /// No such path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is too long.
    BodyTooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// The rule's identity cannot be made for this caller.
    IdentityUnmappable,
    /// The dataset needs an identity, the rule gives none.
    IdentityRequired,
    /// The rule gives an identity, the dataset has no RLS.
    RlsMissing,
    /// Policy and Power BI disagree about security.
    SecurityMismatch,
    /// Not found, or ambiguous, in Power BI.
    ItemUnavailable,
    /// A header with an identity blob is missing.
    BlobMissing,
    /// The caller asks too often.
    RateLimited,
    /// A fault of the broker itself.
    Internal,
    /// Power BI refused the mint.
    PowerBiRejected,
    /// Power BI cannot be reached.
    PowerBiUnreachable,
    /// Power BI gave an unusable answer.
    PowerBiInvalidResponse,
    /// Entra refuses the principal.
    EntraRejected,
    /// Entra cannot be reached.
    EntraUnreachable,
    /// Too many requests at once.
    Overloaded,
    /// Power BI throttles the principal.
    PowerBiThrottled,
    /// The breaker is open.
    PowerBiUnavailable,
    /// The trial allowance is used up.
    PowerBiQuota,
    /// The issuer's keys cannot be had.
    IssuerUnavailable,
    /// The audit record cannot be written.
    AuditUnavailable,
    /// The process is ending.
    ShuttingDown,
    /// The time for the request was spent.
    UpstreamTimeout,
}

impl Code {
    /// Every code, in the order of the contract's table.
    pub const ALL: [Self; 33] = [
        Self::InvalidRequest,
        Self::ItemsNotCombinable,
        Self::AmbiguousCredentials,
        Self::MissingToken,
        Self::InvalidToken,
        Self::TokenExpired,
        Self::NotPermitted,
        Self::OriginNotAllowed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::IdentityUnmappable,
        Self::IdentityRequired,
        Self::RlsMissing,
        Self::SecurityMismatch,
        Self::ItemUnavailable,
        Self::BlobMissing,
        Self::RateLimited,
        Self::Internal,
        Self::PowerBiRejected,
        Self::PowerBiUnreachable,
        Self::PowerBiInvalidResponse,
        Self::EntraRejected,
        Self::EntraUnreachable,
        Self::Overloaded,
        Self::PowerBiThrottled,
        Self::PowerBiUnavailable,
        Self::PowerBiQuota,
        Self::IssuerUnavailable,
        Self::AuditUnavailable,
        Self::ShuttingDown,
        Self::UpstreamTimeout,
    ];

    /// The code as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::ItemsNotCombinable => "items_not_combinable",
            Self::AmbiguousCredentials => "ambiguous_credentials",
            Self::MissingToken => "missing_token",
            Self::InvalidToken => "invalid_token",
            Self::TokenExpired => "token_expired",
            Self::NotPermitted => "not_permitted",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::IdentityUnmappable => "identity_unmappable",
            Self::IdentityRequired => "identity_required",
            Self::RlsMissing => "rls_missing",
            Self::SecurityMismatch => "security_mismatch",
            Self::ItemUnavailable => "item_unavailable",
            Self::BlobMissing => "blob_missing",
            Self::RateLimited => "rate_limited",
            Self::Internal => "internal",
            Self::PowerBiRejected => "power_bi_rejected",
            Self::PowerBiUnreachable => "power_bi_unreachable",
            Self::PowerBiInvalidResponse => "power_bi_invalid_response",
            Self::EntraRejected => "entra_rejected",
            Self::EntraUnreachable => "entra_unreachable",
            Self::Overloaded => "overloaded",
            Self::PowerBiThrottled => "power_bi_throttled",
            Self::PowerBiUnavailable => "power_bi_unavailable",
            Self::PowerBiQuota => "power_bi_quota",
            Self::IssuerUnavailable => "issuer_unavailable",
            Self::AuditUnavailable => "audit_unavailable",
            Self::ShuttingDown => "shutting_down",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }
}
