//! A value that is fetched, shared and renewed: the one mechanism behind signing keys, Entra tokens and metadata.
//!
//! `docs/architecture.md` lists all caches of the process.
//!
//! Promises: one fetch for any number of waiters; a fetch outlives the callers that wait for it; the old value is
//! kept until a complete new one is there; after a failure the next fetch waits for a cool-down, and so does a fetch
//! that is wanted again although one has just succeeded (token still short, key id still unknown). No lock is held
//! while anything is awaited.
//!
//! How good a value is, only its user knows (a token long enough for one plan is too short for another), so every
//! [`get`](Cached::get) brings its own judgement. Embed tokens are bounded by bytes and live in `moka` instead; what
//! obtains one is a `shared_task`, as a fetch is here.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::shared_task::{self, Aborted, SharedTask};

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

/// A value that is fetched, shared and renewed.
pub struct Cached<T, E> {
    cool_down: CoolDown<E>,
    state: Mutex<State<T, E>>,
}

type Fetch<T, E> = SharedTask<Outcome<T, E>>;

/// What a [`Cached`] answers; errors are shared by all who waited for the same fetch.
pub type Outcome<T, E> = Result<Arc<T>, Arc<E>>;

struct State<T, E> {
    current: Option<Arc<T>>,
    under_way: Option<Fetch<T, E>>,
    failure: Option<(Arc<E>, Instant)>,
    wanted_until: Option<Instant>,
}

enum Step<T, E, F> {
    Done(Outcome<T, E>),
    /// Our own fetch is under way.
    Started(Fetch<T, E>),
    /// Somebody else's is; ours was not started.
    Joined(Fetch<T, E>, F),
}

impl<T, E> Cached<T, E>
where
    T: Send + Sync + 'static,
    E: From<Aborted> + Send + Sync + 'static,
{
    /// An empty cache.
    #[must_use]
    pub fn new(cool_down: CoolDown<E>) -> Arc<Self> {
        let state = State {
            current: None,
            under_way: None,
            failure: None,
            wanted_until: None,
        };
        Arc::new(Self {
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

    /// A value that `judge` finds good enough, by `fetch` when necessary.
    ///
    /// # Errors
    /// The last fetch's error, when there is no value that may be used.
    pub async fn get<F, Fut>(
        self: &Arc<Self>,
        judge: impl Fn(&T) -> Need,
        fetch: F,
    ) -> Outcome<T, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (mut last, fetch) = match self.step(&judge, fetch) {
            Step::Done(outcome) => return outcome,
            Step::Started(own) => (result(own).await, None),
            Step::Joined(other, fetch) => (result(other).await, Some(fetch)),
        };
        // What somebody else fetched may not be good enough for us: then once more.
        if let Some(fetch) = fetch
            && last
                .as_ref()
                .is_ok_and(|value| judge(value) != Need::Nothing)
        {
            last = match self.step(&judge, fetch) {
                Step::Done(outcome) => return outcome,
                Step::Started(fetch) | Step::Joined(fetch, _) => result(fetch).await,
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

    fn step<F, Fut>(self: &Arc<Self>, judge: &impl Fn(&T) -> Need, fetch: F) -> Step<T, E, F>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
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
        let step = match (&state.under_way, &usable) {
            (Some(other), _) => Step::Joined(other.clone(), fetch),
            (None, Some(value)) if wanted_lately => return Step::Done(Ok(Arc::clone(value))),
            (None, _) => Step::Started(self.start(&mut state, need, fetch())),
        };
        match usable {
            Some(value) if need == Need::Renewal => Step::Done(Ok(value)),
            _ => step,
        }
    }

    fn start(
        self: &Arc<Self>,
        state: &mut State<T, E>,
        need: Need,
        fetch: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Fetch<T, E> {
        if need == Need::Newer {
            state.wanted_until = Some(Instant::now() + self.cool_down.wanted);
        }
        // What is fetched for somebody who waits belongs to their request; a renewal to nobody's.
        let span = match need {
            Need::Renewal | Need::Nothing => Span::none(),
            Need::Newer | Need::Replacement => Span::current(),
        };
        let cache = Arc::clone(self);
        let fetch = shared_task::start(fetch.instrument(span), move |fetched| {
            cache.keep(fetched.map_err(E::from).flatten())
        });
        state.under_way = Some(fetch.clone());
        fetch
    }

    fn keep(&self, fetched: Result<T, E>) -> Outcome<T, E> {
        let mut state = self.state();
        state.under_way = None;
        match fetched {
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

async fn result<T, E: From<Aborted>>(fetch: Fetch<T, E>) -> Outcome<T, E> {
    fetch
        .await
        .map_err(|aborted| Arc::new(E::from(aborted)))
        .flatten()
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
        let cool_down = CoolDown {
            wanted: Duration::from_secs(15),
            failed: |_: &Failed| Duration::from_secs(5),
        };
        Source {
            cache: Cached::new(cool_down),
            fetches,
            down,
        }
    }

    impl Source {
        async fn get(&self, need: Need) -> Outcome<u32, Failed> {
            let fetch = || {
                let (count, down) = (Arc::clone(&self.fetches), Arc::clone(&self.down));
                async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let number = count.fetch_add(1, SeqCst) + 1;
                    if down.load(SeqCst) {
                        Err(Failed)
                    } else {
                        Ok(number)
                    }
                }
            };
            self.cache.get(|_| need, fetch).await
        }
    }

    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_waiters_share_one_fetch() {
        let s = source();
        let all = (0..50).map(|_| s.get(Need::Nothing));
        for outcome in futures_util::future::join_all(all).await {
            assert_eq!(*outcome.unwrap(), 1);
        }
        assert_eq!(s.fetches.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_outlives_the_caller_who_hung_up() {
        let s = source();
        let impatient = tokio::time::timeout(Duration::from_millis(1), s.get(Need::Nothing)).await;
        assert!(impatient.is_err());
        seconds(1).await;
        assert_eq!(s.cache.peek().as_deref(), Some(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_value_is_served_while_it_is_renewed() {
        let s = source();
        s.get(Need::Nothing).await.unwrap();
        assert_eq!(*s.get(Need::Renewal).await.unwrap(), 1);
        seconds(1).await;
        assert_eq!(*s.get(Need::Nothing).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wanted_fetch_that_did_not_help_is_not_repeated_within_its_cool_down() {
        let s = source();
        s.get(Need::Nothing).await.unwrap();
        assert_eq!(
            *s.get(Need::Newer).await.unwrap(),
            2,
            "the first want fetches"
        );
        for _ in 0..100 {
            assert_eq!(*s.get(Need::Newer).await.unwrap(), 2);
        }
        assert_eq!(
            *s.get(Need::Replacement).await.unwrap(),
            3,
            "a refused value is not delayed"
        );
        seconds(16).await;
        s.get(Need::Newer).await.unwrap();
        assert_eq!(s.fetches.load(SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_value_goes_on_while_the_source_fails() {
        let s = source();
        s.get(Need::Nothing).await.unwrap();
        s.down.store(true, SeqCst);
        assert_eq!(*s.get(Need::Newer).await.unwrap(), 1);
        assert_eq!(s.get(Need::Replacement).await, Err(Arc::new(Failed)));
        assert_eq!(
            s.fetches.load(SeqCst),
            2,
            "within the cool-down nobody asks again"
        );
        s.down.store(false, SeqCst);
        seconds(6).await;
        assert_eq!(*s.get(Need::Replacement).await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panicking_fetch_is_an_error_and_the_next_one_recovers() {
        let cool_down = CoolDown {
            wanted: Duration::ZERO,
            failed: |_: &Failed| Duration::ZERO,
        };
        let cache = Cached::new(cool_down);
        let panics = || async { panic!("the first fetch panics") };
        assert_eq!(
            cache.get(|_: &u32| Need::Nothing, panics).await,
            Err(Arc::new(Failed))
        );
        let works = || async { Ok(1) };
        assert_eq!(*cache.get(|_| Need::Nothing, works).await.unwrap(), 1);
    }
}
