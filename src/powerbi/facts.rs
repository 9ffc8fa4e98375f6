//! Facts about items, remembered: the shelves and the judgement of what lies on them.
//!
//! Keyed by principal, profile and URL, since what one may see says nothing about another. Past `cache.metadata_ttl` a
//! fact is served and renewed in the background; while that fails a service principal may use it up to
//! `cache.metadata_stale`. A master user sees all rows of a model whose RLS nobody noticed, so it never uses a fact past
//! its ttl. Failures are kept for seconds only, so that what is missing is not asked for by every request. Each shelf is
//! bounded by what the replies on it weigh.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moka::notification::RemovalCause;
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

/// Facts of one shape. The shape is known out here only: what lies behind works on any, and is there once.
pub(super) struct Shelf<T> {
    entries: Entries,
    shape: PhantomData<fn() -> T>,
}

struct Entries(moka::sync::Cache<Key, Arc<Entry>>);

/// A fact of some shape.
type Thing = Arc<dyn Any + Send + Sync>;

/// Reads a fact; with what its replies weigh.
type Read = Box<dyn Fn(Reader) -> BoxFuture<'static, Result<(Thing, usize), Error>> + Send + Sync>;

/// Principal, profile, URL below the root.
type Key = (Arc<str>, Option<Arc<str>>, String);

struct Entry {
    cached: Arc<Cached<Fact, Error>>,
    /// The latest deadline of those who wait: time for the tries of a read.
    patience: Arc<Mutex<Instant>>,
    weighed: AtomicU32,
    place: Arc<Place>,
}

struct Fact {
    value: Thing,
    /// When its read began: what happened upstream before is in it.
    begun: Instant,
    bytes: usize,
    /// The number of the read that brought it.
    number: u64,
}

/// Where a fact lies, for those who remember what they made of it.
#[derive(Default)]
struct Place {
    /// Reads that have brought something.
    reads: AtomicU64,
    /// Whether it is no longer on the shelf: a newer fact may lie elsewhere.
    gone: AtomicBool,
}

/// The facts that something was made of. What was made of them may be used again for as long as they are
/// [current](Self::are_current): the newest ones, within `cache.metadata_ttl`, and on their shelves.
#[derive(Default)]
pub struct UsedFacts(Vec<UsedFact>);

struct UsedFact {
    place: Arc<Place>,
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
                && used.place.reads.load(Ordering::Acquire) == used.number
                && !used.place.gone.load(Ordering::Acquire)
        })
    }
}

/// Who asks, as whom, and on which occasion.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) client: Arc<Client>,
    pub(super) profile: Option<Arc<str>>,
    pub(super) ages: Ages,
    pub(super) occasion: Occasion,
}

/// One look-up: how fresh its facts must be, how long it may take, and what it was told. Clones share the last.
#[derive(Clone)]
pub(super) struct Occasion {
    freshness: Freshness,
    /// When the question was put: a re-read must have begun later.
    since: Instant,
    deadline: Instant,
    used: Arc<Mutex<UsedFacts>>,
}

/// What a read has to do with.
pub(super) struct Reader {
    pub(super) client: Arc<Client>,
    pub(super) profile: Option<Arc<str>>,
    pub(super) deadline: Instant,
}

impl Occasion {
    pub(super) fn new(freshness: Freshness, deadline: Instant) -> Self {
        Self {
            freshness,
            since: Instant::now(),
            deadline,
            used: Arc::default(),
        }
    }

    /// The same occasion, on which facts older than that are read again.
    pub(super) fn with_facts_of_the_last(&self, age: Duration) -> Self {
        Self {
            freshness: Freshness::Reread,
            since: self.since.checked_sub(age).unwrap_or(self.since),
            ..self.clone()
        }
    }

    /// What it was told so far.
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

    fn judge(&self, fact: &Fact, asker: &Asker) -> Need {
        let age = fact.begun.elapsed();
        if asker.occasion.freshness == Freshness::Reread && fact.begun < asker.occasion.since {
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
        Self {
            entries: Entries::new(ages),
            shape: PhantomData,
        }
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
        let entry = match self.entries.0.get(&key) {
            Some(entry) => entry,
            None => self.entries.enter(&key, asker, erased(read)),
        };
        let thing = self.entries.fact(key, &entry, asker).await?;
        // A shelf holds facts of its own shape.
        thing.downcast().map_err(|_| Error::Aborted)
    }

    /// Bytes on the shelf, as weighed.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.entries.0.run_pending_tasks();
        self.entries.0.weighted_size()
    }
}

fn erased<T, F, Fut>(read: F) -> Read
where
    T: Send + Sync + 'static,
    F: Fn(Reader) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(T, usize), Error>> + Send + 'static,
{
    Box::new(move |reader| {
        let reading = read(reader);
        async move {
            let (value, weight) = reading.await?;
            let value: Thing = Arc::new(value);
            Ok((value, weight))
        }
        .boxed()
    })
}

impl Entries {
    fn new(ages: Ages) -> Self {
        // moka refuses more than a thousand years.
        let idle = ages.stale.min(Duration::from_secs(30 * 24 * 60 * 60));
        Self(
            moka::sync::Cache::builder()
                .max_capacity(SHELF_BYTES)
                .weigher(|_, entry: &Arc<Entry>| entry.weighed.load(Ordering::Relaxed))
                .time_to_idle(idle.max(MISSING))
                .eviction_listener(|_, entry: Arc<Entry>, cause| {
                    // An entry is replaced by itself only, to be weighed anew.
                    if cause != RemovalCause::Replaced {
                        entry.place.gone.store(true, Ordering::Release);
                    }
                })
                .build(),
        )
    }

    /// The entry at `key`: one that somebody else has entered meanwhile, or a new one over `read`.
    fn enter(&self, key: &Key, asker: &Asker, read: Read) -> Arc<Entry> {
        self.0
            .get_with(key.clone(), || Arc::new(Entry::new(asker, &key.2, read)))
    }

    async fn fact(&self, key: Key, entry: &Arc<Entry>, asker: &Asker) -> Result<Thing, Error> {
        let judge = |fact: &Fact| asker.ages.judge(fact, asker);
        let fact = if let Some(fact) = entry.cached.good(judge) {
            fact
        } else {
            entry.wait_until(asker.occasion.deadline);
            tokio::time::timeout_at(asker.occasion.deadline, entry.cached.get(judge))
                .await
                .map_err(|_| Error::TimedOut)?
                .map_err(|error| Error::clone(&error))?
        };
        let weight = u32::try_from(fact.bytes)
            .unwrap_or(u32::MAX)
            .saturating_add(ENTRY_BYTES);
        if entry.weighed.swap(weight, Ordering::Relaxed) != weight {
            self.0.insert(key, Arc::clone(entry));
        }
        asker.occasion.used().0.push(UsedFact {
            place: Arc::clone(&entry.place),
            number: fact.number,
            fresh_until: fact.begun + asker.ages.ttl,
        });
        Ok(Arc::clone(&fact.value))
    }
}

impl Entry {
    fn new(asker: &Asker, path: &str, read: Read) -> Self {
        let patience = Arc::new(Mutex::new(asker.occasion.deadline));
        let (client, profile) = (Arc::clone(&asker.client), asker.profile.clone());
        let (until, path) = (Arc::clone(&patience), Arc::<str>::from(path));
        let place = Arc::new(Place::default());
        let read_here = Arc::clone(&place);
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
            let (path, place) = (Arc::clone(&path), Arc::clone(&read_here));
            async move {
                let (value, bytes) = reading.await.map_err(|error| match error {
                    Error::InvalidResponse(trouble) => Error::InvalidResponse(Trouble {
                        text: format!("{path}: {}", trouble.text),
                        ..trouble
                    }),
                    other => other,
                })?;
                Ok(Fact {
                    value,
                    begun,
                    bytes,
                    // One read at a time (`Cached`): the number is that of the fact that is about to lie here.
                    number: place.reads.fetch_add(1, Ordering::AcqRel) + 1,
                })
            }
        });
        Self {
            cached,
            patience,
            weighed: AtomicU32::new(ENTRY_BYTES),
            place,
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
