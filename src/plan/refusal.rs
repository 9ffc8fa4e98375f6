//! Why no plan was made. Which HTTP status and code each answers with is decided at the edge; texts name both sides of
//! a disagreement for the log and never hold a username, role value or blob.

/// Why no plan was made; nothing was minted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The items cannot stand under one token; 400.
    #[error("the items cannot be combined: {0}")]
    NotCombinable(String),
    /// Less than a minute is left of the caller's own session; 401.
    #[error("the caller's own token ends in less than a minute")]
    SessionEnds,
    /// A report could be saved where an item finds its report by name; 403, as if policy had said so.
    #[error("{0}")]
    NotPermitted(String),
    /// The identity cannot be sent; 422.
    #[error("{0}")]
    IdentityUnmappable(String),
    /// A dataset needs an identity and the rule gives none; 422.
    #[error("{0}")]
    IdentityRequired(String),
    /// The rule gives an identity and the dataset has nothing to filter with; 422.
    #[error("{0}")]
    RlsMissing(String),
    /// Policy and Power BI disagree about the security of something; 422.
    #[error("{0}")]
    SecurityMismatch(String),
    /// The request lacks a header with an identity blob; 422.
    #[error("{0}")]
    BlobMissing(String),
    /// A fact about the item forbids embedding it (personal workspace, wrong report type …); 422.
    #[error("{0}")]
    ItemUnavailable(String),
}

impl Refusal {
    /// The same, saying where.
    pub(super) fn at(self, place: &str) -> Self {
        let told = |text: String| format!("{place}: {text}");
        match self {
            // These two are about the request as a whole.
            Self::NotCombinable(_) | Self::SessionEnds => self,
            Self::NotPermitted(text) => Self::NotPermitted(told(text)),
            Self::IdentityUnmappable(text) => Self::IdentityUnmappable(told(text)),
            Self::IdentityRequired(text) => Self::IdentityRequired(told(text)),
            Self::RlsMissing(text) => Self::RlsMissing(told(text)),
            Self::SecurityMismatch(text) => Self::SecurityMismatch(told(text)),
            Self::BlobMissing(text) => Self::BlobMissing(told(text)),
            Self::ItemUnavailable(text) => Self::ItemUnavailable(told(text)),
        }
    }
}
