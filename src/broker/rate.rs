//! How often one caller may ask: of this replica, and with a shared cache of all of them.
//!
//! The replica's own limit comes first, so that the shared one can only be tighter; and while the shared cache fails, or
//! fails to answer, the own limit is what there is.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::authn::Caller;
use crate::config;
use crate::shared_cache::{self, SharedCache};

/// Callers that are counted apart: some 32 MB. Only verified callers get here, and idle ones are forgotten, so it takes
/// an issuer with a million active users, or a limit that takes hours to fill up again, to have so many.
const MAX_KEYS: usize = 1_000_000;

/// Beyond [`MAX_KEYS`] new counts are shared by so many groups of callers: the memory stays bounded, and the limit is
/// never off.
const GROUPS: usize = 1 << 16;

/// Most that all of them take: an entry is a key and a time, and tables grow by doubling.
pub(crate) const MOST_BYTES: u64 = 32 * (MAX_KEYS + GROUPS) as u64;

/// A limit for each caller, or none.
pub struct RateLimit {
    limiter: Option<DefaultKeyedRateLimiter<u64>>,
    quota: Option<Quota>,
    shared: Option<Arc<SharedCache>>,
    clock: DefaultClock,
    /// Callers are counted by a keyed hash, so that their names take no memory. Two callers that collide share a
    /// limit; nobody can aim at that, since the key is random.
    hash: RandomState,
    full: AtomicBool,
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
            full: AtomicBool::new(false),
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
        // The subject is unique within its tenant only.
        let tenant = caller.tenant().unwrap_or_default();
        self.check_key((caller.issuer(), tenant, caller.subject()))?;
        let (Some(shared), Some(quota)) = (&self.shared, self.quota) else {
            return Ok(());
        };
        let quota = shared_cache::Quota {
            interval: quota.replenish_interval(),
            burst: quota.burst_size().get(),
        };
        let name = [caller.issuer(), tenant, caller.subject()].map(str::as_bytes);
        match shared.over_limit(&name, quota).await {
            Some(wait) => Err(wait),
            None => Ok(()),
        }
    }

    fn check_key(&self, caller: (&str, &str, &str)) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        let mut key = self.hash.hash_one(caller);
        if self.full.load(Ordering::Relaxed) {
            key %= GROUPS as u64;
        }
        limiter
            .check_key(&key)
            .map_err(|denied| denied.wait_time_from(self.clock.now()))
    }

    /// Forgets callers whose allowance is full again. Blocks for some milliseconds when there are many.
    pub fn forget_idle(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        self.full
            .store(self.callers() >= MAX_KEYS, Ordering::Relaxed);
    }

    /// Callers that are being counted.
    #[must_use]
    pub fn callers(&self) -> usize {
        self.limiter.as_ref().map_or(0, RateLimiter::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_caller_per_minute: u32, burst: u32) -> RateLimit {
        RateLimit::new(&config::RateLimit {
            per_caller_per_minute,
            burst,
        })
    }

    #[test]
    fn a_million_callers_are_bounded_and_still_limited() {
        let limit = limit(1, 1);
        let name = |number: usize| number.to_string();
        for number in 0..MAX_KEYS {
            limit.check_key(("login", "", &name(number))).unwrap();
        }
        assert_eq!(limit.callers(), MAX_KEYS);
        limit.forget_idle();
        let shared = (0..GROUPS * 10).filter(|number| {
            limit
                .check_key(("login", "", &name(MAX_KEYS + number)))
                .is_ok()
        });
        assert!(shared.count() <= GROUPS, "one a minute and group");
        assert!(limit.callers() <= MAX_KEYS + GROUPS);
    }

    #[test]
    fn callers_whose_allowance_is_full_again_are_forgotten() {
        let limit = limit(60_000, 1);
        for number in 0..1000 {
            limit.check_key(("login", "", &number.to_string())).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        limit.forget_idle();
        assert_eq!(limit.callers(), 0);
    }
}
