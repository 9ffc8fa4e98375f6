//! Embed tokens, remembered by plan: served until their slack begins, minted once for all who ask at the same time.
//!
//! The key is the whole plan (see [`PlanKey`]), so whoever gets a remembered token would have been given an equal one. A mint
//! goes on when its caller hangs up; a failed one is shared by those who wait for it and then forgotten. Bounded by
//! bytes. With a shared cache, what is not here may come from another replica (`sharing`); what is here is served
//! without asking anybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant as StdInstant};

use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::client::Client;
use super::mint::Order;
use super::sharing::{Claim, Sharing};
use super::{EmbedToken, Error, Provenance};
use crate::plan::{CacheUntil, PlanKey};
use crate::shared_cache::SharedCache;
use crate::shared_task::{self, SharedTask};

/// What an entry weighs beside the token: key, times, the cache's own bookkeeping.
const ENTRY_BYTES: usize = 512;

/// What a mint, or a look at other replicas, comes to.
pub(super) type Obtained = Result<(EmbedToken, Provenance), Error>;

/// The embed tokens of all principals.
pub(super) struct EmbedTokens {
    remembered: moka::sync::Cache<PlanKey, Remembered>,
    /// What is being obtained now.
    under_way: Mutex<HashMap<PlanKey, SharedTask<Obtained>>>,
    min_remaining: Duration,
    sharing: OnceLock<Sharing>,
}

#[derive(Clone)]
struct Remembered {
    token: EmbedToken,
    /// Exclusive.
    until: OffsetDateTime,
    /// Until then, from when it was remembered.
    left: Duration,
}

/// Drops entries that will never be served again.
struct UntilSlack;

/// A token, or the task that brings one.
pub(super) enum Found {
    Token(EmbedToken),
    /// A task that was started just now, for us.
    Started(SharedTask<Obtained>),
    /// A task that was started for somebody else.
    Joined(SharedTask<Obtained>),
}

impl EmbedTokens {
    pub(super) fn new(max_bytes: u64, min_remaining: Duration) -> Arc<Self> {
        Arc::new(Self {
            remembered: moka::sync::Cache::builder()
                .max_capacity(max_bytes)
                .weigher(|_, entry: &Remembered| entry.weight())
                .expire_after(UntilSlack)
                .build(),
            under_way: Mutex::default(),
            min_remaining,
            sharing: OnceLock::new(),
        })
    }

    /// Shares with other replicas from now on; the first cache stays.
    pub(super) fn share_through(&self, cache: Arc<SharedCache>) {
        let _ = self.sharing.set(Sharing::new(cache, self.min_remaining));
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

    /// A token that may still be served, else the task that obtains one: one under way, or a new one for `order`.
    pub(super) fn get_or_mint(
        self: &Arc<Self>,
        key: PlanKey,
        now: OffsetDateTime,
        cache_until: CacheUntil,
        client: &Arc<Client>,
        order: Order,
        deadline: Instant,
    ) -> Found {
        let mut under_way = self.under_way();
        if let Some(task) = under_way.get(&key) {
            return Found::Joined(task.clone());
        }
        // One may have come since the caller looked: a task leaves its token here before it is forgotten.
        if let Some(token) = self.get(&key, now) {
            return Found::Token(token);
        }
        let (tokens, client) = (Arc::clone(self), Arc::clone(client));
        // Boxed: what wraps it from here on moves it, and it is large.
        let obtaining = Box::pin(async move {
            let obtained = tokens
                .obtain(&key, &client, &order, cache_until, deadline)
                .await;
            if let Ok((token, _)) = &obtained {
                tokens.remember(key, token, cache_until, order.now());
            }
            obtained
        });
        let tokens = Arc::clone(self);
        // Its log lines and spans are those of the request that began it.
        let task = shared_task::start(obtaining.in_current_span(), move |obtained| {
            tokens.under_way().remove(&key);
            obtained.map_err(Error::from).flatten()
        });
        under_way.insert(key, task.clone());
        Found::Started(task)
    }

    /// From another replica, or minted.
    async fn obtain(
        &self,
        key: &PlanKey,
        client: &Client,
        order: &Order,
        cache_until: CacheUntil,
        deadline: Instant,
    ) -> Obtained {
        let mint = async {
            order
                .carry_out(client, self.min_remaining, deadline)
                .await
                .map(|token| (token, Provenance::Minted))
        };
        let sharing = self
            .sharing
            .get()
            .filter(|_| cache_until != CacheUntil::Never);
        let Some(sharing) = sharing else {
            return mint.await;
        };
        match sharing.claim(key, order, cache_until, deadline).await {
            Claim::Found(token) => Ok((token, Provenance::Cached)),
            Claim::Mint(lock) => {
                let minted = mint.await;
                if let Ok((token, _)) = &minted {
                    sharing.store(key, token, cache_until, order.now()).await;
                }
                // After the token is there for those who wait.
                sharing.release(lock).await;
                minted
            }
        }
    }

    fn remember(
        &self,
        key: PlanKey,
        token: &EmbedToken,
        cache_until: CacheUntil,
        now: OffsetDateTime,
    ) {
        let until = served_until(token, cache_until).filter(|until| now < *until);
        if let Some(until) = until {
            let token = token.clone();
            let left = (until - now).unsigned_abs();
            let entry = Remembered { token, until, left };
            self.remembered.insert(key, entry);
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<PlanKey, SharedTask<Obtained>>> {
        // Nothing under this lock can panic half-way through a change.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes remembered, as weighed.
    pub(super) fn weight(&self) -> u64 {
        self.remembered.run_pending_tasks();
        self.remembered.weighted_size()
    }
}

/// When a token is no longer served to those who did not wait for its mint (exclusive); `None`: never.
pub(super) fn served_until(token: &EmbedToken, cache_until: CacheUntil) -> Option<OffsetDateTime> {
    let slack_begins = token.expiration() - token.slack();
    match cache_until {
        CacheUntil::Expiration => Some(slack_begins),
        CacheUntil::At(end) => Some(slack_begins.min(end)),
        CacheUntil::Never => None,
    }
}

impl Remembered {
    fn weight(&self) -> u32 {
        let token = &self.token;
        let bytes = ENTRY_BYTES
            + token.json().get().len()
            + token.token_id().len()
            + token.sha256().len()
            + token.upstream_request_id().map_or(0, str::len);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

impl moka::Expiry<PlanKey, Remembered> for UntilSlack {
    fn expire_after_create(
        &self,
        _: &PlanKey,
        entry: &Remembered,
        _: StdInstant,
    ) -> Option<Duration> {
        Some(entry.left)
    }

    /// Without this a renewed token would go when its predecessor would have gone.
    fn expire_after_update(
        &self,
        _: &PlanKey,
        entry: &Remembered,
        _: StdInstant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.left)
    }
}
