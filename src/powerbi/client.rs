//! One principal's calls to Power BI: bearer, tries, time.
//!
//! A call is tried at most [`MAX_TRIES`] times before its deadline, always with the same bytes: again after a
//! connection that was refused or dropped or took too long, after 502, 503 and 504, once after 500, after a 429 whose
//! `Retry-After` fits the time left, and once with a new Entra token when Power BI calls the old one expired or invalid.
//! Repeating a mint is safe: a spare token does nothing. Every try passes the principal's breaker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use url::Url;

use super::breaker::{Breaker, Permit, Verdict};
use super::errors::{self, Failure, Trouble};
use super::{Error, bearers::Bearers};
use crate::entra::AccessToken;
use crate::metrics;
use crate::outbound::{self, BodyError};

/// Tries of one call (part of the HTTP contract).
const MAX_TRIES: u32 = 3;

/// Time of one try: long enough for a mint on a cold capacity, short enough that a connection which died silently does
/// not cost all of the default `request_timeout`.
const TRY_TIMEOUT: Duration = Duration::from_secs(8);

/// Wait before the second try, doubled for the third, and jittered.
const BACKOFF: Duration = Duration::from_millis(100);

/// How long no Entra token is renewed after a new one was refused as well: then it is not the token that is at fault,
/// and Entra must not be asked once a request.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// Bound of an answer: lists of some ten thousand items fit.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// One principal's way to Power BI.
pub(super) struct Client {
    pub(super) principal: Arc<str>,
    /// Root of the calls, such as `https://api.powerbi.com/v1.0/myorg`.
    pub(super) root: Url,
    pub(super) embed_hosts: Vec<String>,
    /// A service principal without an identity gets nothing from an RLS model; a master user gets all of it.
    pub(super) fails_closed: bool,
    pub(super) http: reqwest::Client,
    pub(super) bearers: Bearers,
    pub(super) breaker: Breaker,
    pub(super) renewal_pause: RenewalPause,
}

/// Until when no Entra token is renewed, although Power BI refuses the one that is there.
#[derive(Default)]
pub(super) struct RenewalPause(Mutex<Option<Instant>>);

/// What is asked of Power BI; the name is a metric label.
#[derive(Clone, Copy, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum CallKind {
    Mint,
    Profiles,
    Workspaces,
    Reports,
    Dashboards,
    Tiles,
    Datasets,
    DataSources,
    /// Something that only `doctor` asks.
    Diagnosis,
}

/// One call, the same for every try.
pub(super) struct Request {
    pub(super) kind: CallKind,
    pub(super) url: Url,
    /// Id of the service principal profile to act as.
    pub(super) profile: Option<Arc<str>>,
    /// JSON to post; none: a GET.
    pub(super) body: Option<Bytes>,
}

/// A usable answer.
pub(super) struct Answer<T> {
    pub(super) value: T,
    /// Length of the body, the measure of what it costs to keep.
    pub(super) bytes: usize,
    pub(super) request_id: Option<String>,
}

/// What to do after a failed try.
enum Next {
    Wait(Duration),
    NewToken,
    GiveUp,
}

/// What one call has used up.
#[derive(Default)]
struct Tries {
    made: u32,
    internal_errors: u32,
    token_renewed: bool,
}

impl Client {
    /// Makes the call; `read` turns a 2xx body into a value, or says why it cannot be used.
    pub(super) async fn call<T: Send>(
        &self,
        request: &Request,
        deadline: Instant,
        read: impl Fn(&[u8]) -> Result<T, String> + Sync,
    ) -> Result<Answer<T>, Error> {
        let mut tries = Tries::default();
        let (mut token, mut renewed) = (None, false);
        loop {
            // Asked before Entra is: an open breaker spares both.
            let permit = self.breaker.admit(deadline).await?;
            let bearer = match token.take() {
                Some(bearer) => bearer,
                None => self.bearer(deadline, None).await?,
            };
            let again = tries.made > 0;
            let failure = match self
                .attempt(request, &bearer, deadline, again, &read, permit)
                .await
            {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match tries.next(&failure, deadline) {
                Next::Wait(wait) => {
                    tokio::time::sleep(wait).await;
                    token = Some(bearer);
                }
                Next::NewToken if !self.renewal_pause.is_on() => {
                    tracing::warn!(
                        principal = %self.principal,
                        "Power BI calls the Entra token expired or invalid: a new one is asked for"
                    );
                    token = Some(self.bearer(deadline, Some(&bearer)).await?);
                    renewed = true;
                }
                Next::NewToken | Next::GiveUp => {
                    if renewed && matches!(failure, Failure::TokenRefused(_)) {
                        self.renewal_pause.begin();
                    }
                    failure.log(&self.principal, request.kind);
                    return Err(failure.into_error(&self.principal));
                }
            }
        }
    }

    /// The URL below the root; `None` when a segment could leave its place in the path.
    pub(super) fn url(&self, segments: &[&str]) -> Option<Url> {
        if !segments.iter().all(|segment| is_safe_segment(segment)) {
            return None;
        }
        let mut url = self.root.clone();
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(segments);
        Some(url)
    }

    async fn bearer(
        &self,
        deadline: Instant,
        refused: Option<&AccessToken>,
    ) -> Result<AccessToken, Error> {
        let token = async {
            match refused {
                None => self.bearers.with_life(&self.principal).await,
                Some(refused) => self.bearers.instead_of(&self.principal, refused).await,
            }
        };
        match tokio::time::timeout_at(deadline, token).await {
            Ok(token) => Ok(token?),
            Err(_) => Err(Error::TimedOut),
        }
    }

    /// Makes one try; the breaker and the metrics learn how it went.
    async fn attempt<T: Send>(
        &self,
        request: &Request,
        bearer: &AccessToken,
        deadline: Instant,
        again: bool,
        read: &(impl Fn(&[u8]) -> Result<T, String> + Sync),
        permit: Permit<'_>,
    ) -> Result<Answer<T>, Failure> {
        let started = Instant::now();
        let until = deadline.min(started + TRY_TIMEOUT);
        let result = tokio::time::timeout_at(until, self.exchange(request, bearer, read))
            .await
            .unwrap_or(Err(Failure::Timeout));
        let (verdict, outcome) = match &result {
            Ok(_) => (Verdict::Good, "ok"),
            Err(failure) => (failure.verdict(), failure.outcome()),
        };
        permit.settle(verdict);
        let call = request.kind.as_str();
        metrics::upstream(&self.principal, call, outcome, again, started.elapsed());
        result
    }

    async fn exchange<T>(
        &self,
        request: &Request,
        bearer: &AccessToken,
        read: &(impl Fn(&[u8]) -> Result<T, String> + Sync),
    ) -> Result<Answer<T>, Failure> {
        let mut response = self.send(request, bearer).await?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let body = outbound::read_capped(response, MAX_BODY).await;
        if !status.is_success() {
            // Status and headers say enough when the body is broken.
            return Err(errors::classify(
                status,
                &headers,
                &body.unwrap_or_default(),
            ));
        }
        let request_id = errors::request_id(&headers);
        let malformed = |text| {
            Failure::Malformed(Trouble {
                text,
                upstream_request_id: request_id.clone(),
            })
        };
        let body = body.map_err(|error| match error {
            BodyError::TooLong(_) => malformed(error.to_string()),
            BodyError::Broken(_) => {
                Failure::Transport("the connection was dropped in the middle of an answer".into())
            }
        })?;
        Ok(Answer {
            value: read(&body).map_err(malformed)?,
            bytes: body.len(),
            request_id,
        })
    }

    async fn send(
        &self,
        request: &Request,
        bearer: &AccessToken,
    ) -> Result<reqwest::Response, Failure> {
        let unusable = |_| Failure::Malformed("a header value cannot be sent".into());
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", bearer.secret().expose_secret()))
                .map_err(unusable)?;
        authorization.set_sensitive(true);
        let mut call = match &request.body {
            None => self.http.get(request.url.clone()),
            Some(body) => self
                .http
                .post(request.url.clone())
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
        };
        call = call.header(AUTHORIZATION, authorization);
        if let Some(profile) = &request.profile {
            let profile = HeaderValue::try_from(&**profile).map_err(unusable)?;
            call = call.header("X-PowerBI-Profile-Id", profile);
        }
        call.send()
            .await
            .map_err(|error| Failure::Transport(causes(&error.without_url())))
    }
}

impl RenewalPause {
    fn is_on(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn begin(&self) {
        let until = Instant::now() + RENEWAL_PAUSE;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

impl CallKind {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Tries {
    fn next(&mut self, failure: &Failure, deadline: Instant) -> Next {
        self.made += 1;
        let left = deadline.saturating_duration_since(Instant::now());
        if self.made == MAX_TRIES {
            return Next::GiveUp;
        }
        let wait = match failure {
            Failure::Transport(_) | Failure::Timeout => self.backoff(),
            Failure::Server(refusal) => match refusal.status.as_u16() {
                500 if self.internal_errors == 0 => {
                    self.internal_errors += 1;
                    self.backoff()
                }
                502..=504 => self.backoff(),
                _ => return Next::GiveUp,
            },
            Failure::Throttled(wait, _) => *wait,
            Failure::TokenRefused(_) if !self.token_renewed => {
                self.token_renewed = true;
                return Next::NewToken;
            }
            Failure::TokenRefused(_)
            | Failure::Quota(_)
            | Failure::Rejected(_)
            | Failure::Malformed(_) => return Next::GiveUp,
        };
        if wait < left {
            Next::Wait(wait)
        } else {
            Next::GiveUp
        }
    }

    /// Half to all of the wait that is due, so that replicas do not come back in step.
    fn backoff(&self) -> Duration {
        (BACKOFF * (1 << (self.made - 1))).mul_f64(rand::random_range(0.5..1.0))
    }
}

/// Letters, digits and what else stands in ids: nothing that ends or leaves a path segment, encoded or not.
fn is_safe_segment(segment: &str) -> bool {
    (1..=200).contains(&segment.len())
        && segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The chain of causes, without any URL.
fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the connection was dropped before an answer".to_owned()
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_try_that_took_too_long_is_made_again_while_there_is_time() {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut tries = Tries::default();
        for bounds in [50..=100, 100..=200] {
            match tries.next(&Failure::Timeout, deadline) {
                Next::Wait(wait) => assert!(bounds.contains(&wait.as_millis()), "{wait:?}"),
                Next::NewToken | Next::GiveUp => panic!("gave up"),
            }
        }
        assert!(matches!(
            tries.next(&Failure::Timeout, deadline),
            Next::GiveUp
        ));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(matches!(
            Tries::default().next(&Failure::Timeout, deadline),
            Next::GiveUp
        ));
    }
}
