//! Embed tokens, remembered by plan: served until their slack begins, minted once for all who ask at the same time.
//!
//! The key is the whole plan (see [`PlanKey`]), so whoever gets a remembered token would have been given an equal one. A mint
//! goes on when its caller hangs up; a failed one is shared by those who wait for it and then forgotten. Bounded by
//! bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as StdInstant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::client::Client;
use super::mint::Order;
use super::{EmbedToken, Error};
use crate::plan::{CacheUntil, PlanKey};

/// What an entry weighs beside the token: key, times, the cache's own bookkeeping.
const ENTRY_BYTES: usize = 512;

type Flight = Shared<BoxFuture<'static, Result<EmbedToken, Error>>>;

/// The embed tokens of all principals.
pub(super) struct EmbedTokens {
    remembered: moka::sync::Cache<PlanKey, Remembered>,
    flights: Mutex<HashMap<PlanKey, Flight>>,
    min_remaining: Duration,
}

#[derive(Clone)]
struct Remembered {
    token: EmbedToken,
    /// Exclusive.
    until: OffsetDateTime,
}

/// Drops entries that will never be served again.
struct UntilSlack;

/// A token, or the flight that will bring one.
pub(super) enum Found {
    Token(EmbedToken),
    Flight {
        flight: Flight,
        /// Whether it was begun just now, for us.
        own: bool,
    },
}

impl EmbedTokens {
    pub(super) fn new(max_bytes: u64, min_remaining: Duration) -> Arc<Self> {
        Arc::new(Self {
            remembered: moka::sync::Cache::builder()
                .max_capacity(max_bytes)
                .weigher(|_, entry: &Remembered| entry.weight())
                .expire_after(UntilSlack)
                .build(),
            flights: Mutex::default(),
            min_remaining,
        })
    }

    /// A token that may still be served at `now`.
    pub(super) fn get(&self, key: &PlanKey, now: OffsetDateTime) -> Option<EmbedToken> {
        let entry = self.remembered.get(key)?;
        (now < entry.until).then_some(entry.token)
    }

    /// Forgets every token.
    pub(super) fn forget(&self) {
        self.remembered.invalidate_all();
    }

    /// A token that may still be served, else a flight: one under way, or a new one for `order`.
    pub(super) fn get_or_mint(
        self: &Arc<Self>,
        key: PlanKey,
        now: OffsetDateTime,
        cache_until: CacheUntil,
        client: &Arc<Client>,
        order: Order,
        deadline: Instant,
    ) -> Found {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&key) {
            let flight = flight.clone();
            return Found::Flight { flight, own: false };
        }
        // One may have landed since the caller looked: a flight leaves its token here before it is forgotten.
        if let Some(token) = self.get(&key, now) {
            return Found::Token(token);
        }
        let (tokens, client) = (Arc::clone(self), Arc::clone(client));
        let minting = tokio::spawn(async move {
            let result = order
                .carry_out(&client, tokens.min_remaining, deadline)
                .await;
            if let Ok(token) = &result {
                tokens.remember(key, token, cache_until);
            }
            result
        });
        let tokens = Arc::clone(self);
        let landing = tokio::spawn(async move {
            let result = minting.await.unwrap_or(Err(Error::Aborted));
            tokens.flights().remove(&key);
            result
        });
        let flight = async move { landing.await.unwrap_or(Err(Error::Aborted)) }
            .boxed()
            .shared();
        flights.insert(key, flight.clone());
        Found::Flight { flight, own: true }
    }

    fn remember(&self, key: PlanKey, token: &EmbedToken, cache_until: CacheUntil) {
        let slack_begins = token.expiration() - token.slack();
        let until = match cache_until {
            CacheUntil::Expiration => slack_begins,
            CacheUntil::At(end) => slack_begins.min(end),
            CacheUntil::Never => return,
        };
        if token.minted_at() < until {
            let token = token.clone();
            self.remembered.insert(key, Remembered { token, until });
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<PlanKey, Flight>> {
        // Nothing under this lock can panic half-way through a change.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes remembered, as weighed.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.remembered.run_pending_tasks();
        self.remembered.weighted_size()
    }
}

impl Remembered {
    fn weight(&self) -> u32 {
        let token = &self.token;
        let bytes = ENTRY_BYTES
            + token.secret().expose_secret().len()
            + token.token_id().len()
            + token.sha256().len()
            + token.upstream_request_id().map_or(0, str::len);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn life(&self) -> Duration {
        (self.until - self.token.minted_at()).unsigned_abs()
    }
}

impl moka::Expiry<PlanKey, Remembered> for UntilSlack {
    fn expire_after_create(
        &self,
        _: &PlanKey,
        entry: &Remembered,
        _: StdInstant,
    ) -> Option<Duration> {
        Some(entry.life())
    }

    /// Without this a renewed token would go when its predecessor would have gone.
    fn expire_after_update(
        &self,
        _: &PlanKey,
        entry: &Remembered,
        _: StdInstant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.life())
    }
}
