//! Callers who were verified before: the same token need not be checked twice.
//!
//! Why this is safe: verification is a pure function of the token's bytes, the issuer's configuration, its keys and the
//! time. The key here is the SHA-256 of the whole token, so another signature is another token. The configuration is
//! that of the verifier that owns the memory: a reload that changes it makes a new verifier. The keys must be the very
//! set that the signature was checked with, and not due for renewal: a new set, and with it a withdrawn key, ends
//! everything that was remembered of that issuer. Of the time only `exp` matters afterwards, and it is checked again at
//! every use.
//!
//! Refusals are never remembered, so nobody can fill the memory without a valid token; it is bounded all the same.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::Caller;
use super::keys::KeySet;

/// Bound of what is kept, as weighed.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// What an entry weighs: its claims as a tree of values take some times the room of the token's text.
const ENTRY_BYTES: usize = 1024;
const BYTES_PER_CHARACTER: usize = 4;

/// SHA-256 of a whole token.
pub(super) type TokenHash = [u8; 32];

/// Verified callers by token.
pub(super) struct Remembered(moka::sync::Cache<TokenHash, Verified>);

/// A caller, and what the verdict rests on beside the token.
#[derive(Clone)]
pub(super) struct Verified {
    pub(super) caller: Caller,
    /// Index of the issuer.
    pub(super) issuer: usize,
    /// The keys that the signature was checked with.
    pub(super) keys: Arc<KeySet>,
    /// `exp` and the leeway.
    pub(super) until: OffsetDateTime,
}

impl Remembered {
    pub(super) fn new() -> Self {
        Self(
            moka::sync::Cache::builder()
                .max_capacity(MAX_BYTES)
                .weigher(|_, verified: &Verified| verified.weight())
                .build(),
        )
    }

    /// The verdict on the token, when its issuer still has the same keys and its time is not over.
    pub(super) fn get(
        &self,
        token: &TokenHash,
        now: OffsetDateTime,
        keys_of: impl Fn(usize) -> Option<Arc<KeySet>>,
    ) -> Option<Caller> {
        let verified = self.0.get(token)?;
        let same_keys =
            keys_of(verified.issuer).is_some_and(|keys| Arc::ptr_eq(&keys, &verified.keys));
        (same_keys && now < verified.until).then_some(verified.caller)
    }

    pub(super) fn insert(&self, token: TokenHash, verified: Verified) {
        self.0.insert(token, verified);
    }

    /// Bytes kept, as weighed.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.weighted_size()
    }
}

impl Verified {
    fn weight(&self) -> u32 {
        let bytes = ENTRY_BYTES + BYTES_PER_CHARACTER * self.caller.token_length;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

pub(super) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}
