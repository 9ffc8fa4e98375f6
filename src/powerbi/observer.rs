//! What is told about each upstream call, so that whoever wires the broker can count it.

use std::sync::Arc;
use std::time::Duration;

/// Told of every try.
pub type Observer = Arc<dyn Fn(&Call<'_>) + Send + Sync>;

/// One try of one call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Configured name of the principal.
    pub principal: &'a str,
    /// What was asked.
    pub kind: CallKind,
    /// How it went.
    pub outcome: CallOutcome,
    /// Whether it was a second or third try.
    pub again: bool,
    /// How long it took.
    pub duration: Duration,
}

/// What was asked of Power BI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// An embed token.
    Mint,
    /// Service principal profiles.
    Profiles,
    /// Workspaces.
    Workspaces,
    /// Reports.
    Reports,
    /// Dashboards.
    Dashboards,
    /// Tiles of a dashboard.
    Tiles,
    /// Datasets.
    Datasets,
    /// Data sources of a dataset.
    DataSources,
    /// Something that only `doctor` asks.
    Diagnosis,
}

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// A usable answer.
    Ok,
    /// A refusal.
    Rejected,
    /// The Entra token was called expired or invalid.
    TokenRefused,
    /// The trial allowance is used up.
    Quota,
    /// 429.
    Throttled,
    /// 5xx.
    ServerError,
    /// No connection, or one that was dropped.
    Transport,
    /// No answer in time.
    Timeout,
    /// A 2xx that cannot be used.
    Malformed,
}

impl CallKind {
    /// For metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Profiles => "profiles",
            Self::Workspaces => "workspaces",
            Self::Reports => "reports",
            Self::Dashboards => "dashboards",
            Self::Tiles => "tiles",
            Self::Datasets => "datasets",
            Self::DataSources => "data_sources",
            Self::Diagnosis => "diagnosis",
        }
    }
}

impl CallOutcome {
    /// For metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rejected => "rejected",
            Self::TokenRefused => "token_refused",
            Self::Quota => "quota",
            Self::Throttled => "throttled",
            Self::ServerError => "server_error",
            Self::Transport => "transport",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
        }
    }
}
