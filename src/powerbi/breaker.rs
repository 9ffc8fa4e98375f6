//! Whether Power BI may be asked at all on behalf of one principal.
//!
//! Two things hold calls back: a `Retry-After` that has not passed, and the circuit breaker, which opens after
//! [`FAILURES_TO_OPEN`] consecutive transport errors or 5xx (every try counts, timeouts included), and after
//! [`OPEN_FOR`] lets one probe through. Answers that are malformed, and 4xx, neither count nor reset. Throttling and
//! outages are per principal at Power BI, so principals do not hold each other back.
//!
//! Calls that arrive while a probe is under way wait for its verdict: a request makes several calls at once, and the one
//! that became the probe must not cost the others their chance.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Error;

/// Consecutive failures after which the breaker opens (part of the HTTP contract).
pub(super) const FAILURES_TO_OPEN: u32 = 10;

/// How long it stays open before a probe (part of the HTTP contract).
pub(super) const OPEN_FOR: Duration = Duration::from_secs(5);

/// The breaker of one principal.
pub(super) struct Breaker {
    principal: String,
    state: Mutex<State>,
    /// Notified when a probe has ended, with or without a verdict.
    probe_ended: Notify,
}

#[derive(Default)]
struct State {
    consecutive_failures: u32,
    open_until: Option<Instant>,
    probing: bool,
    throttled_until: Option<Instant>,
}

/// Permission to make one try; dropped without a verdict, it leaves everything as it was.
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

/// What a try tells about Power BI's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A usable answer.
    Good,
    /// A transport error, a timeout or a 5xx.
    Failed,
    /// 429: nothing more until then.
    Throttled(Duration),
    /// Anything else: neither counts nor resets.
    Neutral,
}

/// How one principal stands with Power BI, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalStatus {
    /// Configured name of the principal.
    pub principal: String,
    /// The circuit breaker.
    pub breaker: BreakerState,
    /// What is left of a `Retry-After`.
    pub throttled_for: Option<Duration>,
    /// Transport errors and 5xx since the last usable answer.
    pub consecutive_failures: u32,
}

/// State of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused until then.
    Open {
        /// Time until the next probe.
        probe_in: Duration,
    },
    /// The next call, or the one under way, is the probe.
    HalfOpen,
}

impl Breaker {
    pub(super) fn new(principal: &str) -> Self {
        Self {
            principal: principal.to_owned(),
            state: Mutex::default(),
            probe_ended: Notify::new(),
        }
    }

    /// Permission for one try. While another call is the probe, waits for its verdict.
    ///
    /// # Errors
    /// [`Error::Throttled`], [`Error::BreakerOpen`], or [`Error::TimedOut`] when no verdict came until `deadline`.
    pub(super) async fn admit(&self, deadline: Instant) -> Result<Permit<'_>, Error> {
        loop {
            // Created before the state is read, so that a verdict in between is not missed.
            let probe_ended = self.probe_ended.notified();
            if let Some(permit) = self.try_admit()? {
                return Ok(permit);
            }
            tokio::time::timeout_at(deadline, probe_ended)
                .await
                .map_err(|_| Error::TimedOut)?;
        }
    }

    /// Permission for one try; `None` while another call is the probe.
    fn try_admit(&self) -> Result<Option<Permit<'_>>, Error> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(until) = state.throttled_until
            && now < until
        {
            return Err(Error::Throttled {
                principal: self.principal.clone(),
                retry_after: until - now,
            });
        }
        let Some(until) = state.open_until else {
            return Ok(Some(Permit {
                breaker: self,
                probe: false,
            }));
        };
        if now < until {
            return Err(Error::BreakerOpen {
                principal: self.principal.clone(),
                retry_after: until - now,
            });
        }
        if state.probing {
            return Ok(None);
        }
        state.probing = true;
        Ok(Some(Permit {
            breaker: self,
            probe: true,
        }))
    }

    /// How the principal stands.
    pub(super) fn status(&self) -> PrincipalStatus {
        let now = Instant::now();
        let state = self.state();
        PrincipalStatus {
            principal: self.principal.clone(),
            breaker: match state.open_until {
                None => BreakerState::Closed,
                Some(until) if now < until => BreakerState::Open {
                    probe_in: until - now,
                },
                Some(_) => BreakerState::HalfOpen,
            },
            throttled_for: state
                .throttled_until
                .and_then(|until| until.checked_duration_since(now))
                .filter(|left| !left.is_zero()),
            consecutive_failures: state.consecutive_failures,
        }
    }

    fn judge(&self, verdict: Verdict, probe: bool) {
        let now = Instant::now();
        let mut state = self.state();
        // While the breaker is open only the probe's verdict counts, not that of stragglers from before.
        let counts = probe || state.open_until.is_none();
        match verdict {
            Verdict::Good if counts => {
                state.consecutive_failures = 0;
                state.open_until = None;
            }
            Verdict::Failed if counts => {
                state.consecutive_failures = state.consecutive_failures.saturating_add(1);
                if state.consecutive_failures >= FAILURES_TO_OPEN {
                    state.open_until = Some(now + OPEN_FOR);
                    tracing::warn!(
                        principal = %self.principal,
                        consecutive_failures = state.consecutive_failures,
                        "Power BI keeps failing: the breaker is open"
                    );
                }
            }
            Verdict::Throttled(wait) => {
                let until = now + wait;
                if state.throttled_until.is_none_or(|known| known < until) {
                    state.throttled_until = Some(until);
                }
            }
            Verdict::Good | Verdict::Failed | Verdict::Neutral => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Says how the try went.
    pub(super) fn settle(self, verdict: Verdict) {
        self.breaker.judge(verdict, self.probe);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.state().probing = false;
            self.breaker.probe_ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(breaker: &Breaker) -> Permit<'_> {
        breaker.try_admit().unwrap().expect("no probe is under way")
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            now(breaker).settle(Verdict::Failed);
        }
    }

    fn is_open(breaker: &Breaker) -> bool {
        matches!(breaker.try_admit(), Err(Error::BreakerOpen { .. }))
    }

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test(start_paused = true)]
    async fn ten_consecutive_failures_open_it_for_five_seconds() {
        let breaker = Breaker::new("default");
        fail(&breaker, 9);
        assert!(!is_open(&breaker));
        fail(&breaker, 1);
        assert!(is_open(&breaker));
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert!(is_open(&breaker));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(breaker.status().breaker, BreakerState::HalfOpen);
        let probe = now(&breaker);
        assert!(
            breaker.try_admit().unwrap().is_none(),
            "one probe at a time"
        );
        probe.settle(Verdict::Good);
        assert_eq!(breaker.status().breaker, BreakerState::Closed);
        fail(&breaker, 9);
        assert!(!is_open(&breaker), "the count began anew");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_arrive_during_the_probe_wait_for_its_verdict() {
        for (verdict, admitted) in [(Verdict::Good, true), (Verdict::Failed, false)] {
            let breaker = Breaker::new("default");
            fail(&breaker, 10);
            tokio::time::advance(OPEN_FOR).await;
            let probe = now(&breaker);
            let waiting = async {
                let calls = (0..50).map(|_| breaker.admit(in_a_minute()));
                futures_util::future::join_all(calls).await
            };
            let settled = async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                probe.settle(verdict);
            };
            let (calls, ()) = tokio::join!(waiting, settled);
            for call in calls {
                match call {
                    Ok(permit) => assert!(admitted && !permit.probe),
                    Err(Error::BreakerOpen { retry_after, .. }) => {
                        assert!(!admitted);
                        assert_eq!(retry_after, OPEN_FOR);
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_ends_without_a_verdict_makes_one_of_those_who_wait_the_next() {
        let breaker = Breaker::new("default");
        fail(&breaker, 10);
        tokio::time::advance(OPEN_FOR).await;
        let probe = now(&breaker);
        let call = || async {
            let permit = breaker.admit(in_a_minute()).await.unwrap();
            let probe = permit.probe;
            permit.settle(Verdict::Good);
            probe
        };
        let (first, second, ()) = tokio::join!(call(), call(), async { drop(probe) });
        assert!(first != second, "one of them is the probe");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_the_probe_beyond_the_deadline() {
        let breaker = Breaker::new("default");
        fail(&breaker, 10);
        tokio::time::advance(OPEN_FOR).await;
        let _probe = now(&breaker);
        let began = Instant::now();
        let deadline = began + Duration::from_secs(3);
        assert!(matches!(
            breaker.admit(deadline).await,
            Err(Error::TimedOut)
        ));
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_and_malformed_answers_neither_count_nor_reset() {
        let breaker = Breaker::new("default");
        fail(&breaker, 9);
        for _ in 0..20 {
            now(&breaker).settle(Verdict::Neutral);
        }
        assert!(!is_open(&breaker));
        fail(&breaker, 1);
        assert!(is_open(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_again_and_an_abandoned_one_frees_its_place() {
        let breaker = Breaker::new("default");
        fail(&breaker, 10);
        tokio::time::advance(OPEN_FOR).await;
        drop(now(&breaker));
        now(&breaker).settle(Verdict::Neutral);
        now(&breaker).settle(Verdict::Failed);
        assert!(is_open(&breaker));
        tokio::time::advance(OPEN_FOR).await;
        assert!(!is_open(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn a_straggler_does_not_close_an_open_breaker() {
        let breaker = Breaker::new("default");
        let straggler = now(&breaker);
        fail(&breaker, 10);
        straggler.settle(Verdict::Good);
        assert!(is_open(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_until_retry_after_is_over() {
        let breaker = Breaker::new("default");
        let throttled = |seconds| Verdict::Throttled(Duration::from_secs(seconds));
        let (first, second) = (now(&breaker), now(&breaker));
        first.settle(throttled(30));
        second.settle(throttled(2));
        tokio::time::advance(Duration::from_secs(10)).await;
        match breaker.try_admit().err() {
            Some(Error::Throttled { retry_after, .. }) => {
                assert_eq!(retry_after, Duration::from_secs(20));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            breaker.status().throttled_for,
            Some(Duration::from_secs(20))
        );
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(breaker.try_admit().is_ok());
    }
}
