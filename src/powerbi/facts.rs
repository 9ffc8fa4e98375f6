//! Facts about items, remembered: the shelves and the judgement of what lies on them.
//!
//! Keyed by principal, profile and URL, since what one may see says nothing about another. Past `cache.metadata_ttl` a
//! fact is served and renewed in the background; while that fails a service principal may use it up to
//! `cache.metadata_stale`. A master user sees all rows of a model whose RLS nobody noticed, so it never uses a fact past
//! its ttl. Failures are kept for seconds only, so that what is missing is not asked for by every request. Each shelf is
//! bounded by what the replies on it weigh.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Client;
use super::{Error, Freshness, Trouble};
use crate::cached::{Aborted, Cached, CoolDown, Need};
use crate::config;

/// Bound of one shelf.
const SHELF_BYTES: u64 = 16 * 1024 * 1024;

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

/// Facts of one shape.
pub(super) struct Shelf<T>(moka::sync::Cache<Key, Arc<Entry<T>>>);

/// Principal, profile, URL below the root.
type Key = (Arc<str>, Option<Arc<str>>, String);

struct Entry<T> {
    cached: Arc<Cached<Fact<T>, Error>>,
    /// The latest deadline of those who wait: time for the tries of a read.
    patience: Arc<Mutex<Instant>>,
    weighed: AtomicU32,
}

struct Fact<T> {
    value: Arc<T>,
    /// When its read began: what happened upstream before is in it.
    begun: Instant,
    bytes: usize,
}

/// Who asks, as whom, and how fresh it must be.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) client: Arc<Client>,
    pub(super) profile: Option<Arc<str>>,
    pub(super) freshness: Freshness,
    pub(super) ages: Ages,
    /// When the question was put: a re-read must have begun later.
    pub(super) since: Instant,
    pub(super) deadline: Instant,
}

/// What a read has to do with.
pub(super) struct Reader {
    pub(super) client: Arc<Client>,
    pub(super) profile: Option<Arc<str>>,
    pub(super) deadline: Instant,
}

impl Ages {
    pub(super) fn new(cache: &config::Cache) -> Self {
        Self {
            ttl: cache.metadata_ttl,
            stale: cache.metadata_stale.max(cache.metadata_ttl),
        }
    }

    fn judge<T>(&self, fact: &Fact<T>, asker: &Asker) -> Need {
        let age = fact.begun.elapsed();
        if asker.freshness == Freshness::Reread && fact.begun < asker.since {
            Need::Replacement
        } else if age < self.ttl {
            Need::Nothing
        } else if age < self.stale && asker.client.fails_closed {
            Need::Renewal
        } else {
            Need::Replacement
        }
    }
}

impl<T: Send + Sync + 'static> Shelf<T> {
    pub(super) fn new(ages: Ages) -> Self {
        // moka refuses more than a thousand years.
        let idle = ages.stale.min(Duration::from_secs(30 * 24 * 60 * 60));
        Self(
            moka::sync::Cache::builder()
                .max_capacity(SHELF_BYTES)
                .weigher(|_, entry: &Arc<Entry<T>>| entry.weighed.load(Ordering::Relaxed))
                .time_to_idle(idle.max(MISSING))
                .build(),
        )
    }

    /// The fact at `path`, read by `read` when necessary.
    pub(super) async fn get<F, Fut>(
        &self,
        asker: &Asker,
        path: String,
        read: F,
    ) -> Result<Arc<T>, Error>
    where
        F: Fn(Reader) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(T, usize), Error>> + Send + 'static,
    {
        let key = (
            Arc::clone(&asker.client.principal),
            asker.profile.clone(),
            path,
        );
        let entry = match self.0.get(&key) {
            Some(entry) => entry,
            None => self
                .0
                .get_with(key.clone(), || Arc::new(Entry::new(asker, &key.2, read))),
        };
        entry.wait_until(asker.deadline);
        let fact = entry.cached.get(|fact| asker.ages.judge(fact, asker));
        let fact = tokio::time::timeout_at(asker.deadline, fact)
            .await
            .map_err(|_| Error::TimedOut)?
            .map_err(|error| Error::clone(&error))?;
        let weight = u32::try_from(fact.bytes)
            .unwrap_or(u32::MAX)
            .saturating_add(ENTRY_BYTES);
        if entry.weighed.swap(weight, Ordering::Relaxed) != weight {
            self.0.insert(key, entry);
        }
        Ok(Arc::clone(&fact.value))
    }

    /// Bytes on the shelf, as weighed.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.weighted_size()
    }
}

impl<T: Send + Sync + 'static> Entry<T> {
    fn new<F, Fut>(asker: &Asker, path: &str, read: F) -> Self
    where
        F: Fn(Reader) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(T, usize), Error>> + Send + 'static,
    {
        let patience = Arc::new(Mutex::new(asker.deadline));
        let (client, profile) = (Arc::clone(&asker.client), asker.profile.clone());
        let (until, path) = (Arc::clone(&patience), Arc::<str>::from(path));
        let cool_down = CoolDown {
            wanted: Duration::ZERO,
            failed: cool_down,
        };
        let cached = Cached::new(cool_down, move || {
            let begun = Instant::now();
            let until = *until.lock().unwrap_or_else(PoisonError::into_inner);
            let reading = read(Reader {
                client: Arc::clone(&client),
                profile: profile.clone(),
                deadline: until.max(begun + READ_TIME),
            });
            let path = Arc::clone(&path);
            async move {
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
                })
            }
        });
        Self {
            cached,
            patience,
            weighed: AtomicU32::new(ENTRY_BYTES),
        }
    }

    fn wait_until(&self, deadline: Instant) {
        let mut until = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(deadline);
    }
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
