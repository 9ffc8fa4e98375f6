//! Callers who were verified before: the same token need not be checked twice.
//!
//! Why this is safe: verification is a pure function of the token's bytes, the issuer's configuration, its keys and the
//! time. The key here is the SHA-256 of the whole token, so another signature is another token. The configuration is
//! that of the verifier that owns the memory: a reload that changes it makes a new verifier. The keys must be the very
//! set that the signature was checked with, and not due for renewal: a new set, and with it a withdrawn key, ends
//! everything that was remembered of that issuer. Of the time only `exp` matters afterwards, and it is checked again at
//! every use.
//!
//! A caller is remembered by [`Verifier::remember`](super::Verifier::remember), which is called once the rate limit has let
//! the request pass: refusals are never remembered, and nobody fills the memory faster than their rate. It is bounded by what
//! its entries really take (`weight`), since the length of a token says little about the size of its claims.

use std::sync::{Arc, Weak};

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::Caller;
use super::keys::KeySet;
use crate::weight;

/// Bound of what is kept.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Callers that take more are verified anew each time. The cache counts new entries in groups of 64: they exceed its
/// bound by 4 MiB at most. A token with 300 groups stays well below.
const MAX_ENTRY_BYTES: usize = 64 * 1024;

/// Most that is kept, with what the cache has not counted yet.
pub(crate) const MOST_BYTES: u64 = MAX_BYTES + 64 * MAX_ENTRY_BYTES as u64;

/// What an entry takes beside texts and claims: itself, and what the cache keeps of it.
const ENTRY_BYTES: usize = 1024;

/// SHA-256 of a whole token.
pub(super) type TokenHash = [u8; 32];

/// Verified callers by token.
pub(super) struct Remembered(moka::sync::Cache<TokenHash, Caller>);

/// What the verdict on a caller rests on beside the token.
#[derive(Clone)]
pub(super) struct Basis {
    /// Index of the issuer.
    pub(super) issuer: usize,
    /// The keys that the signature was checked with. Weak, so that no entry keeps an old set in memory.
    pub(super) keys: Weak<KeySet>,
    /// `exp` and the leeway.
    pub(super) until: OffsetDateTime,
}

impl Remembered {
    pub(super) fn new() -> Self {
        Self(
            moka::sync::Cache::builder()
                .max_capacity(MAX_BYTES)
                .weigher(|_, caller: &Caller| u32::try_from(weigh(caller)).unwrap_or(u32::MAX))
                .build(),
        )
    }

    /// The caller with this token, when its issuer still has the same keys and its time is not over.
    pub(super) fn get(
        &self,
        token: &TokenHash,
        now: OffsetDateTime,
        keys_of: impl Fn(usize) -> Option<Arc<KeySet>>,
    ) -> Option<Caller> {
        let caller = self.0.get(token)?;
        let basis = caller.basis.as_ref()?;
        // While there is a weak pointer to a set, no other set has its address.
        let same_keys = keys_of(basis.issuer)
            .is_some_and(|keys| std::ptr::eq(Arc::as_ptr(&keys), basis.keys.as_ptr()));
        let valid = same_keys && now < basis.until;
        valid.then_some(Caller {
            basis: None,
            ..caller
        })
    }

    /// Keeps a caller who was verified just now, unless that takes too much memory. One from here has no basis.
    pub(super) fn insert(&self, caller: &Caller) {
        if let Some(token) = caller.token_hash
            && caller.basis.is_some()
            && weigh(caller) <= MAX_ENTRY_BYTES
        {
            self.0.insert(token, caller.clone());
        }
    }

    /// Bytes kept, as weighed.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.weighted_size()
    }
}

/// The memory that an entry takes.
fn weigh(caller: &Caller) -> usize {
    ENTRY_BYTES + weight::allocated(caller.subject.len()) + weight::of_map(&caller.claims)
}

pub(super) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}
