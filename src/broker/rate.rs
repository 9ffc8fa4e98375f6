//! How often one caller may ask: of this replica, and with a shared cache of all of them.
//!
//! The replica's own limit comes first, so that the shared one can only be tighter; and while the shared cache fails, or
//! fails to answer, the own limit is what there is.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::authn::Caller;
use crate::config;
use crate::shared_cache::{self, SharedCache};

/// A limit for each caller, or none.
pub struct RateLimit {
    limiter: Option<DefaultKeyedRateLimiter<u64>>,
    quota: Option<Quota>,
    shared: Option<Arc<SharedCache>>,
    clock: DefaultClock,
    /// Callers are counted by a keyed hash, so that their names take no memory. Two callers that collide share a
    /// limit; nobody can aim at that, since the key is random.
    hash: RandomState,
}

impl RateLimit {
    /// The limit that `config` describes.
    #[must_use]
    pub fn new(config: &config::RateLimit) -> Self {
        let quota = NonZeroU32::new(config.per_caller_per_minute)
            .zip(NonZeroU32::new(config.burst))
            .map(|(per_minute, burst)| Quota::per_minute(per_minute).allow_burst(burst));
        Self {
            limiter: quota.map(RateLimiter::keyed),
            quota,
            shared: None,
            clock: DefaultClock::default(),
            hash: RandomState::new(),
        }
    }

    /// Counts with all replicas that use this cache.
    #[must_use]
    pub fn with_shared_cache(self, shared: Option<Arc<SharedCache>>) -> Self {
        Self { shared, ..self }
    }

    /// Counts a request of `caller`.
    ///
    /// # Errors
    /// The time until the next request passes, when this one does not.
    pub async fn check(&self, caller: &Caller) -> Result<(), Duration> {
        self.check_here(caller)?;
        let (Some(shared), Some(quota)) = (&self.shared, self.quota) else {
            return Ok(());
        };
        let quota = shared_cache::Quota {
            interval: quota.replenish_interval(),
            burst: quota.burst_size().get(),
        };
        let name = [caller.issuer().as_bytes(), caller.subject().as_bytes()];
        match shared.over_limit(&name, quota).await {
            Some(wait) => Err(wait),
            None => Ok(()),
        }
    }

    fn check_here(&self, caller: &Caller) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        let key = self.hash.hash_one((caller.issuer(), caller.subject()));
        limiter
            .check_key(&key)
            .map_err(|denied| denied.wait_time_from(self.clock.now()))
    }

    /// Forgets callers whose allowance is full again.
    pub fn forget_idle(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}
