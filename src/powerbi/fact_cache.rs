//! Facts about items, remembered: the caches and the judgement of what is in them.
//!
//! Keyed by principal, profile and URL, since what one may see says nothing about another. Past `cache.metadata_ttl` a
//! fact is served and renewed in the background; while that fails a service principal may use it up to
//! `cache.metadata_stale`. A master user sees all rows of a model whose RLS nobody noticed, so it never uses a fact past
//! its ttl. Failures are kept for seconds only, so that what is missing is not asked for by every request. Each cache is
//! bounded by what the replies in it weigh.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::notification::RemovalCause;
use tokio::time::Instant;

use super::client::Client;
use super::{Error, Freshness, Trouble};
use crate::cached::{Cached, CoolDown, Need};
use crate::config;
use crate::shared_task::Aborted;

/// Bound of one cache.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What an entry weighs beside its reply.
const ENTRY_BYTES: u32 = 1024;

/// A read goes on at least as long, however little time its first caller has.
const READ_TIME: Duration = Duration::from_secs(5);

/// How long it is believed that something is missing.
const MISSING: Duration = Duration::from_secs(3);

/// Ages of facts.
#[derive(Clone, Copy)]
pub(super) struct Ages {
    ttl: Duration,
    stale: Duration,
}

/// Facts of one type.
pub(super) struct FactCache<T>(moka::sync::Cache<Key, Arc<Entry<T>>>);

/// Principal, profile, URL below the root.
type Key = (Arc<str>, Option<Arc<str>>, String);

struct Entry<T> {
    cached: Arc<Cached<Fact<T>, Error>>,
    weight: AtomicU32,
    state: Arc<EntryState>,
}

struct Fact<T> {
    value: Arc<T>,
    /// When its read began: what happened upstream before is in it.
    begun: Instant,
    bytes: usize,
    /// The number of the read that brought it.
    number: u64,
}

/// The part of an entry that shows whether its fact is still the newest.
#[derive(Default)]
struct EntryState {
    /// Reads that have brought something.
    reads: AtomicU64,
    /// Whether the entry has left its cache: there may be a newer one for the same thing.
    removed: AtomicBool,
}

/// The facts that something was made of. What was made of them may be used again for as long as they are
/// [current](Self::are_current): the newest ones, within `cache.metadata_ttl`, and in their caches.
#[derive(Default)]
pub struct UsedFacts(Vec<UsedFact>);

struct UsedFact {
    entry: Arc<EntryState>,
    number: u64,
    fresh_until: Instant,
}

impl UsedFacts {
    /// Whether a look-up now would give the same facts, without asking anybody.
    #[must_use]
    pub fn are_current(&self) -> bool {
        let now = Instant::now();
        self.0.iter().all(|used| {
            now < used.fresh_until
                && used.entry.reads.load(Ordering::Acquire) == used.number
                && !used.entry.removed.load(Ordering::Acquire)
        })
    }
}

/// As whom a look-up asks.
#[derive(Clone)]
pub(super) struct LookupContext {
    pub(super) client: Arc<Client>,
    pub(super) profile: Option<Arc<str>>,
    pub(super) ages: Ages,
    pub(super) lookup: Lookup,
}

/// One look-up: how fresh its facts must be, how long it may take, and what it has used. Clones share the last.
#[derive(Clone)]
pub(super) struct Lookup {
    freshness: Freshness,
    /// When it began: a re-read must have begun later.
    since: Instant,
    deadline: Instant,
    used: Arc<Mutex<UsedFacts>>,
}

/// Reads facts, as one principal and profile.
pub(super) struct Reader {
    pub(super) client: Arc<Client>,
    pub(super) profile: Option<Arc<str>>,
    pub(super) deadline: Instant,
}

impl Lookup {
    pub(super) fn new(freshness: Freshness, deadline: Instant) -> Self {
        Self {
            freshness,
            since: Instant::now(),
            deadline,
            used: Arc::default(),
        }
    }

    /// The same look-up, in which facts older than that are read again.
    pub(super) fn with_facts_of_the_last(&self, age: Duration) -> Self {
        Self {
            freshness: Freshness::Reread,
            since: self.since.checked_sub(age).unwrap_or(self.since),
            ..self.clone()
        }
    }

    /// What it has used so far.
    pub(super) fn used_facts(&self) -> UsedFacts {
        std::mem::take(&mut *self.used())
    }

    fn used(&self) -> MutexGuard<'_, UsedFacts> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ages {
    pub(super) fn new(cache: &config::Cache) -> Self {
        Self {
            ttl: cache.metadata_ttl,
            stale: cache.metadata_stale.max(cache.metadata_ttl),
        }
    }
}

impl LookupContext {
    fn reader(&self, begun: Instant) -> Reader {
        Reader {
            client: Arc::clone(&self.client),
            profile: self.profile.clone(),
            deadline: self.lookup.deadline.max(begun + READ_TIME),
        }
    }

    fn judge<T>(&self, fact: &Fact<T>) -> Need {
        let age = fact.begun.elapsed();
        if self.lookup.freshness == Freshness::Reread && fact.begun < self.lookup.since {
            Need::Replacement
        } else if age < self.ages.ttl {
            Need::Nothing
        } else if age < self.ages.stale && self.client.fails_closed {
            Need::Renewal
        } else {
            Need::Replacement
        }
    }
}

impl<T: Send + Sync + 'static> FactCache<T> {
    pub(super) fn new(ages: Ages) -> Self {
        // moka refuses more than a thousand years.
        let idle = ages.stale.min(Duration::from_secs(30 * 24 * 60 * 60));
        Self(
            moka::sync::Cache::builder()
                .max_capacity(MAX_BYTES)
                .weigher(|_, entry: &Arc<Entry<T>>| entry.weight.load(Ordering::Relaxed))
                .time_to_idle(idle.max(MISSING))
                .eviction_listener(|_, entry: Arc<Entry<T>>, cause| {
                    // An entry is replaced by itself only, to be weighed anew.
                    if cause != RemovalCause::Replaced {
                        entry.state.removed.store(true, Ordering::Release);
                    }
                })
                .build(),
        )
    }

    /// The fact at `path`, read by `read` when necessary; that also tells what its replies weigh.
    pub(super) async fn get<F, Fut>(
        &self,
        context: &LookupContext,
        path: String,
        read: F,
    ) -> Result<Arc<T>, Error>
    where
        F: FnOnce(Reader) -> Fut,
        Fut: Future<Output = Result<(T, usize), Error>> + Send + 'static,
    {
        let principal = Arc::clone(&context.client.principal);
        let key = (principal, context.profile.clone(), path);
        let entry = self.0.get_with_by_ref(&key, || Arc::new(Entry::new()));
        let judge = |fact: &Fact<T>| context.judge(fact);
        let fact = if let Some(fact) = entry.cached.good(judge) {
            fact
        } else {
            let fetch = || {
                let begun = Instant::now();
                let reading = read(context.reader(begun));
                fact(reading, begun, key.2.clone(), Arc::clone(&entry.state))
            };
            tokio::time::timeout_at(context.lookup.deadline, entry.cached.get(judge, fetch))
                .await
                .map_err(|_| Error::TimedOut)?
                .map_err(|error| Error::clone(&error))?
        };
        let weight = u32::try_from(fact.bytes)
            .unwrap_or(u32::MAX)
            .saturating_add(ENTRY_BYTES);
        if entry.weight.swap(weight, Ordering::Relaxed) != weight {
            self.0.insert(key, Arc::clone(&entry));
        }
        context.lookup.used().0.push(UsedFact {
            entry: Arc::clone(&entry.state),
            number: fact.number,
            fresh_until: fact.begun + context.ages.ttl,
        });
        Ok(Arc::clone(&fact.value))
    }

    /// Bytes in the cache, as weighed.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.weighted_size()
    }
}

impl<T: Send + Sync + 'static> Entry<T> {
    fn new() -> Self {
        let cool_down = CoolDown {
            wanted: Duration::ZERO,
            failed: cool_down,
        };
        Self {
            cached: Cached::new(cool_down),
            weight: AtomicU32::new(ENTRY_BYTES),
            state: Arc::default(),
        }
    }
}

/// The fact that `reading` brings to an entry.
async fn fact<T>(
    reading: impl Future<Output = Result<(T, usize), Error>>,
    begun: Instant,
    path: String,
    entry: Arc<EntryState>,
) -> Result<Fact<T>, Error> {
    let (value, bytes) = reading.await.map_err(|error| match error {
        Error::InvalidResponse(trouble) => Error::InvalidResponse(Trouble {
            text: format!("{path}: {}", trouble.text),
            ..trouble
        }),
        other => other,
    })?;
    Ok(Fact {
        value: Arc::new(value),
        begun,
        bytes,
        // One read at a time (`Cached`): the number is that of the fact that the entry is about to hold.
        number: entry.reads.fetch_add(1, Ordering::AcqRel) + 1,
    })
}

/// How long a failed read is not repeated.
fn cool_down(error: &Error) -> Duration {
    match error {
        Error::ItemUnavailable { .. }
        | Error::TargetUnavailable { .. }
        | Error::Rejected { .. }
        | Error::InvalidResponse(_)
        | Error::Quota { .. } => MISSING,
        // After a call's three tries; it keeps the renewal of an old fact from being tried by every request.
        Error::Unreachable(_) | Error::TimedOut | Error::Aborted => Duration::from_millis(500),
        // The breaker and Entra's own cool-down answer at once.
        Error::Throttled { .. } | Error::BreakerOpen { .. } | Error::Entra(_) => Duration::ZERO,
    }
}

impl From<Aborted> for Error {
    fn from(_: Aborted) -> Self {
        Self::Aborted
    }
}
