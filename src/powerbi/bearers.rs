//! Where the Entra tokens for Power BI come from.

use std::sync::Arc;

use crate::entra::{self, AccessToken, AccessTokens};

/// The Entra tokens of the principals.
#[derive(Clone)]
pub(super) enum Bearers {
    /// From Entra.
    Entra(Arc<AccessTokens>),
    /// Numbered ones, so that tests see which one was sent and how often it was replaced.
    #[cfg(test)]
    Numbered(Arc<std::sync::atomic::AtomicU32>),
}

impl Bearers {
    /// See [`AccessTokens::with_life`].
    pub(super) async fn with_life(
        &self,
        principal: &str,
    ) -> Result<AccessToken, Arc<entra::Error>> {
        match self {
            Self::Entra(tokens) => tokens.with_life(principal).await,
            #[cfg(test)]
            Self::Numbered(number) => {
                Ok(numbered(number.load(std::sync::atomic::Ordering::SeqCst)))
            }
        }
    }

    /// See [`AccessTokens::instead_of`].
    pub(super) async fn instead_of(
        &self,
        principal: &str,
        refused: &AccessToken,
    ) -> Result<AccessToken, Arc<entra::Error>> {
        match self {
            Self::Entra(tokens) => tokens.instead_of(principal, refused).await,
            #[cfg(test)]
            Self::Numbered(number) => Ok(numbered(
                number.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1,
            )),
        }
    }
}

#[cfg(test)]
fn numbered(number: u32) -> AccessToken {
    let expires_at = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
    AccessToken::new(format!("entra-{number}").into(), expires_at)
}
