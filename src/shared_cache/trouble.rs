//! What Redis may answer, and what may go wrong: labels for the metric, words for operators. Never a server's own text,
//! which may repeat what was sent to it.

/// An answer, as far as the shared cache tells them apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nothing there, or a condition not met.
    Nil,
    /// `OK`.
    Done,
    /// A number.
    Number(i64),
    /// A value.
    Bytes(Vec<u8>),
    /// Anything else.
    Other,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// There was no connection, so nothing was tried.
    #[error("there is no connection")]
    Skipped,
    /// It took longer than `cache.redis.timeout`.
    #[error("Redis does not answer within cache.redis.timeout")]
    TimedOut,
    /// The connection failed; the text is this machine's.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// It refuses user or password.
    #[error("Redis refuses user or password of cache.redis.url")]
    Unauthorized,
    /// It has no memory left and may not evict.
    #[error("Redis is full: give it memory, or maxmemory-policy volatile-ttl")]
    Full,
    /// It refused the command; one of the codes that we know.
    #[error("Redis refuses commands ({0})")]
    Refused(&'static str),
}

impl Trouble {
    /// For the metric.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::TimedOut => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::Full => "full",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether another connection could help. A server that is full still gives what it has, and one that refuses a
    /// command at once costs nobody time.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Skipped | Self::TimedOut | Self::Unreachable(_) | Self::Unauthorized => true,
            // After a fail-over the name leads to the new primary.
            Self::Refused(code) => *code == "READONLY",
            Self::Full => false,
        }
    }
}
