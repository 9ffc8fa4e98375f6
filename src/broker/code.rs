//! The outcome of a request as everybody names it: the answer's `code`, the metric's label, the audit record's.

use strum::{IntoStaticStr, VariantArray};

/// Stable code of a refusal; the whole list of the HTTP contract, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
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
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The code as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
