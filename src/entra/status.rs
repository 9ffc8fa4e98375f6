//! What operators see of a principal: for readiness, metrics and `doctor`.

use time::OffsetDateTime;

use super::Error;

/// The state of one principal.
#[derive(Clone, Debug)]
pub struct PrincipalStatus {
    /// When the current token expires; none: there is no token yet.
    pub token_expires_at: Option<OffsetDateTime>,
    /// Its credentials in the order of the configuration.
    pub credentials: Vec<CredentialStatus>,
    /// Index of the credential that gave the last token.
    pub in_use: Option<usize>,
    /// Why the last fetch failed, with Entra's code; none after a success.
    pub last_error: Option<String>,
    /// Fetches since the start.
    pub fetches: Fetches,
}

/// The state of one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialStatus {
    /// Its `kind` in the configuration.
    pub kind: &'static str,
    /// A certificate's end, or a client secret's `expires`.
    pub expires_at: Option<OffsetDateTime>,
    /// Whether it gave no token when it was last tried.
    pub failing: bool,
}

/// Fetches by outcome; a fetch that succeeded with the second credential has succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetches {
    /// There was a token.
    pub succeeded: u64,
    /// See [`Error::Rejected`].
    pub rejected: u64,
    /// See [`Error::Unreachable`].
    pub unreachable: u64,
}

/// What one credential does at this moment.
#[derive(Clone, Debug)]
pub struct CredentialCheck {
    /// Its `kind` in the configuration.
    pub kind: &'static str,
    /// A certificate's end, or a client secret's `expires`.
    pub expires_at: Option<OffsetDateTime>,
    /// When the token expires that it gave, or why it gave none.
    pub outcome: Result<OffsetDateTime, Error>,
}
