//! How often one caller may ask.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::authn::Caller;
use crate::config;

/// A limit for each caller, or none.
#[derive(Debug)]
pub struct RateLimit {
    limiter: Option<DefaultKeyedRateLimiter<u64>>,
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
            clock: DefaultClock::default(),
            hash: RandomState::new(),
        }
    }

    /// Counts a request of `caller`.
    ///
    /// # Errors
    /// The time until the next request passes, when this one does not.
    pub fn check(&self, caller: &Caller) -> Result<(), Duration> {
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
