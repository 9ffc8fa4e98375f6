//! A value that is fetched, shared and renewed: the one mechanism behind signing keys, Entra tokens and metadata.
//!
//! | cache | key | lifetime | purpose |
//! |---|---|---|---|
//! | signing keys ([`crate::authn`]) | issuer | until the next successful fetch; stale while the issuer fails | verify without a call |
//! | Entra token ([`crate::entra`]) | principal | while it has `tokens.min_lifetime` left; the old one while it is good | mint without asking Entra |
//! | facts about items ([`crate::powerbi`]) | principal, profile, URL | `cache.metadata_ttl`, then `cache.metadata_stale` | plan without a call |
//! | embed tokens ([`crate::powerbi`]) | the whole `EmbedPlan` | until its slack begins | answer without a mint |
//! | shared embed tokens ([`crate::shared_cache`], `cache.redis`) | the whole `EmbedPlan`, hashed with a key | until its slack begins | replicas mint once |
//!
//! Promises: one fetch for any number of waiters; a fetch outlives the callers that wait for it; the old value is
//! kept until a complete new one is there; after a failure the next fetch waits for a cool-down, and so does a fetch
//! that is wanted again although one has just succeeded (token still short, key id still unknown). No lock is held
//! while anything is awaited.
//!
//! How good a value is, only its user knows (a token long enough for one plan is too short for another), so every
//! [`get`](Cached::get) brings its own judgement. Embed tokens are bounded by bytes and live in `moka` instead.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

/// What a user thinks of the value that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Good: serve it.
    Nothing,
    /// Good, but old: serve it and renew it in the background.
    Renewal,
    /// A newer one is wanted and worth waiting for; this one will do if there is none.
    Newer,
    /// This one must not be used.
    Replacement,
}

/// How long fetches are held back.
pub struct CoolDown<E> {
    /// After a fetch that somebody wanted ([`Need::Newer`]), until the next such fetch.
    pub wanted: Duration,
    /// After a failed fetch, until any other.
    pub failed: fn(&E) -> Duration,
}

/// A fetch that ended without a result (it panicked, or the runtime is shutting down).
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the fetch was aborted")]
pub struct Aborted;

/// A value that is fetched, shared and renewed.
pub struct Cached<T, E> {
    fetch: Box<dyn Fn() -> BoxFuture<'static, Result<T, E>> + Send + Sync>,
    cool_down: CoolDown<E>,
    state: Mutex<State<T, E>>,
}

type Flight<T, E> = Shared<BoxFuture<'static, Outcome<T, E>>>;

/// What a [`Cached`] answers; errors are shared by all who waited for the same fetch.
pub type Outcome<T, E> = Result<Arc<T>, Arc<E>>;

struct State<T, E> {
    current: Option<Arc<T>>,
    flight: Option<Flight<T, E>>,
    failure: Option<(Arc<E>, Instant)>,
    wanted_until: Option<Instant>,
}

enum Step<T, E> {
    Done(Outcome<T, E>),
    /// Wait for our own flight, or for one that somebody else began.
    Wait {
        flight: Flight<T, E>,
        own: bool,
    },
}

impl<T, E> Cached<T, E>
where
    T: Send + Sync + 'static,
    E: From<Aborted> + Send + Sync + 'static,
{
    /// An empty cache over `fetch`.
    pub fn new<F, Fut>(cool_down: CoolDown<E>, fetch: F) -> Arc<Self>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let state = State {
            current: None,
            flight: None,
            failure: None,
            wanted_until: None,
        };
        Arc::new(Self {
            fetch: Box::new(move || fetch().boxed()),
            cool_down,
            state: Mutex::new(state),
        })
    }

    /// The value that is there, without a fetch.
    pub fn peek(&self) -> Option<Arc<T>> {
        self.state().current.clone()
    }

    /// The value that is there, when `judge` finds it good: what [`get`](Self::get) would give without waiting.
    pub fn good(&self, judge: impl Fn(&T) -> Need) -> Option<Arc<T>> {
        self.peek().filter(|value| judge(value) == Need::Nothing)
    }

    /// A value that `judge` finds good enough, fetched when necessary.
    ///
    /// # Errors
    /// The last fetch's error, when there is no value that may be used.
    pub async fn get(self: &Arc<Self>, judge: impl Fn(&T) -> Need) -> Outcome<T, E> {
        // A flight that somebody else began may land with a value that is not good enough for us: then one of our own.
        let (mut last, own) = match self.step(&judge) {
            Step::Done(outcome) => return outcome,
            Step::Wait { flight, own } => (flight.await, own),
        };
        if !own
            && last
                .as_ref()
                .is_ok_and(|value| judge(value) != Need::Nothing)
        {
            last = match self.step(&judge) {
                Step::Done(outcome) => return outcome,
                Step::Wait { flight, .. } => flight.await,
            };
        }
        match last {
            // Fresh from the source and still not good enough: it is the best there is.
            Ok(value) => Ok(value),
            Err(error) => self
                .peek()
                .filter(|value| judge(value) != Need::Replacement)
                .ok_or(error),
        }
    }

    fn step(self: &Arc<Self>, judge: &impl Fn(&T) -> Need) -> Step<T, E> {
        let now = Instant::now();
        let mut state = self.state();
        let current = state.current.clone().map(|value| (judge(&value), value));
        let need = current
            .as_ref()
            .map_or(Need::Replacement, |(need, _)| *need);
        let usable = current
            .filter(|_| need != Need::Replacement)
            .map(|(_, value)| value);

        if let (Need::Nothing, Some(value)) = (need, &usable) {
            return Step::Done(Ok(Arc::clone(value)));
        }
        if let Some((error, until)) = &state.failure
            && now < *until
        {
            return Step::Done(usable.ok_or_else(|| Arc::clone(error)));
        }
        let wanted_lately =
            need == Need::Newer && state.wanted_until.is_some_and(|until| now < until);
        let (flight, own) = match (&state.flight, &usable) {
            (Some(flight), _) => (flight.clone(), false),
            (None, Some(value)) if wanted_lately => return Step::Done(Ok(Arc::clone(value))),
            (None, _) => (self.take_off(&mut state, need), true),
        };
        match usable {
            Some(value) if need == Need::Renewal => Step::Done(Ok(value)),
            _ => Step::Wait { flight, own },
        }
    }

    /// Starts a fetch in a task of its own, so that it outlives its callers.
    fn take_off(self: &Arc<Self>, state: &mut State<T, E>, need: Need) -> Flight<T, E> {
        if need == Need::Newer {
            state.wanted_until = Some(Instant::now() + self.cool_down.wanted);
        }
        // What is fetched for somebody who waits belongs to their request; a renewal to nobody's.
        let span = match need {
            Need::Renewal | Need::Nothing => Span::none(),
            Need::Newer | Need::Replacement => Span::current(),
        };
        let fetched = tokio::spawn((self.fetch)().instrument(span));
        let cache = Arc::clone(self);
        let landing = tokio::spawn(async move {
            let result = fetched.await.unwrap_or_else(|_| Err(E::from(Aborted)));
            cache.land(result)
        });
        let flight = async move {
            landing
                .await
                .unwrap_or_else(|_| Err(Arc::new(E::from(Aborted))))
        }
        .boxed()
        .shared();
        state.flight = Some(flight.clone());
        flight
    }

    fn land(&self, result: Result<T, E>) -> Outcome<T, E> {
        let mut state = self.state();
        state.flight = None;
        match result {
            Ok(value) => {
                let value = Arc::new(value);
                state.current = Some(Arc::clone(&value));
                state.failure = None;
                Ok(value)
            }
            Err(error) => {
                let until = Instant::now() + (self.cool_down.failed)(&error);
                let error = Arc::new(error);
                state.failure = Some((Arc::clone(&error), until));
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Failed;
    impl From<Aborted> for Failed {
        fn from(_: Aborted) -> Self {
            Self
        }
    }

    /// A source that counts its fetches and gives their number, or fails while `down`.
    struct Source {
        cache: Arc<Cached<u32, Failed>>,
        fetches: Arc<AtomicU32>,
        down: Arc<std::sync::atomic::AtomicBool>,
    }

    fn source() -> Source {
        let fetches = Arc::new(AtomicU32::new(0));
        let down = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (count, broken) = (Arc::clone(&fetches), Arc::clone(&down));
        let cool_down = CoolDown {
            wanted: Duration::from_secs(15),
            failed: |_: &Failed| Duration::from_secs(5),
        };
        let cache = Cached::new(cool_down, move || {
            let (count, broken) = (Arc::clone(&count), Arc::clone(&broken));
            async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let number = count.fetch_add(1, SeqCst) + 1;
                if broken.load(SeqCst) {
                    Err(Failed)
                } else {
                    Ok(number)
                }
            }
        });
        Source {
            cache,
            fetches,
            down,
        }
    }

    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_waiters_share_one_fetch() {
        let s = source();
        let all = (0..50).map(|_| s.cache.get(|_| Need::Nothing));
        for outcome in futures_util::future::join_all(all).await {
            assert_eq!(*outcome.unwrap(), 1);
        }
        assert_eq!(s.fetches.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_outlives_the_caller_who_hung_up() {
        let s = source();
        let impatient =
            tokio::time::timeout(Duration::from_millis(1), s.cache.get(|_| Need::Nothing)).await;
        assert!(impatient.is_err());
        seconds(1).await;
        assert_eq!(s.cache.peek().as_deref(), Some(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_value_is_served_while_it_is_renewed() {
        let s = source();
        s.cache.get(|_| Need::Nothing).await.unwrap();
        assert_eq!(*s.cache.get(|_| Need::Renewal).await.unwrap(), 1);
        seconds(1).await;
        assert_eq!(*s.cache.get(|_| Need::Nothing).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wanted_fetch_that_did_not_help_is_not_repeated_within_its_cool_down() {
        let s = source();
        s.cache.get(|_| Need::Nothing).await.unwrap();
        assert_eq!(
            *s.cache.get(|_| Need::Newer).await.unwrap(),
            2,
            "the first want fetches"
        );
        for _ in 0..100 {
            assert_eq!(*s.cache.get(|_| Need::Newer).await.unwrap(), 2);
        }
        assert_eq!(
            *s.cache.get(|_| Need::Replacement).await.unwrap(),
            3,
            "a refused value is not delayed"
        );
        seconds(16).await;
        s.cache.get(|_| Need::Newer).await.unwrap();
        assert_eq!(s.fetches.load(SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_value_goes_on_while_the_source_fails() {
        let s = source();
        s.cache.get(|_| Need::Nothing).await.unwrap();
        s.down.store(true, SeqCst);
        assert_eq!(*s.cache.get(|_| Need::Newer).await.unwrap(), 1);
        assert_eq!(
            s.cache.get(|_| Need::Replacement).await,
            Err(Arc::new(Failed))
        );
        assert_eq!(
            s.fetches.load(SeqCst),
            2,
            "within the cool-down nobody asks again"
        );
        s.down.store(false, SeqCst);
        seconds(6).await;
        assert_eq!(*s.cache.get(|_| Need::Replacement).await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panicking_fetch_is_an_error_and_the_next_one_recovers() {
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let cool_down = CoolDown {
            wanted: Duration::ZERO,
            failed: |_: &Failed| Duration::ZERO,
        };
        let cache = Cached::new(cool_down, move || {
            let number = count.fetch_add(1, SeqCst);
            async move {
                assert!(number > 0, "the first fetch panics");
                Ok::<_, Failed>(number)
            }
        });
        assert_eq!(cache.get(|_| Need::Nothing).await, Err(Arc::new(Failed)));
        assert_eq!(*cache.get(|_| Need::Nothing).await.unwrap(), 1);
    }
}
