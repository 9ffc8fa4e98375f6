//! Tokens that Power BI refuses: a platform that hands out the same token again must not have it served again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::AccessToken;

/// Refused tokens that are remembered; each is forgotten when it expires.
const CAPACITY: usize = 32;

/// The SHA-256 of a token.
pub(super) type Fingerprint = [u8; 32];

/// The last tokens that were refused, with their ends; never the tokens themselves.
#[derive(Default)]
pub(super) struct RefusedTokens(Mutex<VecDeque<(Fingerprint, OffsetDateTime)>>);

impl RefusedTokens {
    pub(super) fn add(&self, token: &AccessToken) {
        let now = OffsetDateTime::now_utc();
        let mut refused = self.lock();
        refused.retain(|(_, expires_at)| *expires_at > now);
        let fingerprint = fingerprint(token);
        if refused.iter().all(|(known, _)| *known != fingerprint) {
            refused.truncate(CAPACITY - 1);
            refused.push_front((fingerprint, token.expires_at()));
        }
    }

    pub(super) fn holds(&self, fingerprint: &Fingerprint) -> bool {
        self.lock()
            .iter()
            .any(|(refused, _)| refused == fingerprint)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Fingerprint, OffsetDateTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn fingerprint(token: &AccessToken) -> Fingerprint {
    Sha256::digest(token.secret().expose_secret()).into()
}
