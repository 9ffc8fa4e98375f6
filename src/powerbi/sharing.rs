//! Embed tokens between replicas: whoever needs one that is nowhere asks for the right to mint it; the others wait.
//!
//! The shared cache may fail, forget and lie: then a replica mints for itself. Waiting is bounded by
//! `cache.redis.lock_ttl`, which is also what a replica costs that dies while it mints, and by half of the time that the
//! request has left, so that there is time to mint. What another replica stored is held to the same bounds as an answer
//! of Power BI's, and served as long as a token of our own would be.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::EmbedToken;
use super::mint::{Claimed, Order};
use super::tokens::served_until;
use crate::plan::{CacheUntil, PlanKey};
use crate::shared_cache::{Lock, Locked, SharedCache, Unfit};

/// Time between two looks for what another replica is minting, drawn anew each time. A mint takes several.
const LOOK_AGAIN: std::ops::RangeInclusive<u64> = 25..=75;

/// Embed tokens of all replicas.
pub(super) struct Sharing {
    cache: Arc<SharedCache>,
    min_remaining: Duration,
}

/// What to do for a plan.
pub(super) enum Claim {
    /// Serve this.
    Found(EmbedToken),
    /// Mint, and let those who wait know.
    Mint(Option<Lock>),
}

/// A token as it stands in the cache, encrypted. How long it is served is each replica's own rule.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    token: Box<RawValue>,
    token_id: String,
    /// Unix time.
    expiration: i64,
    /// Unix time.
    minted_at: i64,
    upstream_request_id: Option<String>,
}

impl Sharing {
    pub(super) fn new(cache: Arc<SharedCache>, min_remaining: Duration) -> Self {
        Self {
            cache,
            min_remaining,
        }
    }

    /// The token of an identical plan, else the right to mint one.
    pub(super) async fn claim(
        &self,
        PlanKey(plan): &PlanKey,
        order: &Order,
        cache_until: CacheUntil,
        deadline: Instant,
    ) -> Claim {
        let began = Instant::now();
        let half = deadline.saturating_duration_since(began) / 2;
        let give_up = began + half.min(self.cache.lock_ttl());
        let accept = |bytes: &[u8]| read(bytes, order, cache_until, self.min_remaining);
        loop {
            if let Some(token) = self.cache.get(plan, accept).await {
                return Claim::Found(token);
            }
            match self.cache.lock(plan).await {
                Locked::Taken(lock) => {
                    // Whoever had it before may have stored a token between our look and our lock.
                    let Some(token) = self.cache.get(plan, accept).await else {
                        return Claim::Mint(Some(lock));
                    };
                    self.cache.unlock(lock).await;
                    return Claim::Found(token);
                }
                Locked::Unavailable => return Claim::Mint(None),
                Locked::Busy => {}
            }
            let look_again = Duration::from_millis(rand::rng().random_range(LOOK_AGAIN));
            if Instant::now() + look_again >= give_up {
                return Claim::Mint(None);
            }
            tokio::time::sleep(look_again).await;
        }
    }

    /// Lets the other replicas have `token` as long as it may be served.
    pub(super) async fn store(
        &self,
        PlanKey(plan): &PlanKey,
        token: &EmbedToken,
        cache_until: CacheUntil,
        now: OffsetDateTime,
    ) {
        let stored = Stored {
            token: token.json().to_owned(),
            token_id: token.token_id().to_owned(),
            expiration: token.expiration().unix_timestamp(),
            minted_at: token.minted_at().unix_timestamp(),
            upstream_request_id: token.upstream_request_id().map(str::to_owned),
        };
        let left = served_until(token, cache_until).map(|until| until - now);
        if let Some(left) = left.filter(|left| left.is_positive())
            && let Ok(bytes) = serde_json::to_vec(&stored)
        {
            self.cache.put(plan, &bytes, left.unsigned_abs()).await;
        }
    }

    /// Gives the right to mint back.
    pub(super) async fn release(&self, lock: Option<Lock>) {
        if let Some(lock) = lock {
            self.cache.unlock(lock).await;
        }
    }
}

/// What a replica stored, if it may be served for `order` now.
pub(super) fn read(
    bytes: &[u8],
    order: &Order,
    cache_until: CacheUntil,
    min_remaining: Duration,
) -> Result<EmbedToken, Unfit> {
    let stored: Stored = serde_json::from_slice(bytes)
        .map_err(|_| Unfit::Wrong("it is not what a replica stores"))?;
    let time = |unix: i64| {
        OffsetDateTime::from_unix_timestamp(unix)
            .map_err(|_| Unfit::Wrong("it holds a time that is none"))
    };
    let claimed = Claimed {
        expiration: time(stored.expiration)?,
        minted_at: time(stored.minted_at)?,
        token: stored.token,
        token_id: stored.token_id,
        upstream_request_id: stored.upstream_request_id,
    };
    let token = order.accept(claimed, min_remaining).map_err(Unfit::Wrong)?;
    let until = served_until(&token, cache_until);
    if until.is_none_or(|until| until <= order.now()) {
        return Err(Unfit::Stale);
    }
    Ok(token)
}
