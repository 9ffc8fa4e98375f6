//! One principal's source of tokens: its credentials, tried in order.
//!
//! A credential that was refused for good is left out of the next rounds, until its secret changes, five minutes have
//! passed, or no other is left. The failure of a round says how long the next one waits. A round as a whole keeps
//! [`FETCH_TIMEOUT`]: of what is left of it, each credential gets its share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::codes::Class;
use super::credential::{Application, Credential};
use super::failure::Failure;
use super::refused::{Fingerprint, RefusedTokens, fingerprint};
use super::status::{CredentialCheck, CredentialStatus, Fetches, PrincipalStatus};
use super::{AccessToken, Error, life};
use crate::config;
use crate::metrics;
use crate::outbound::Outbound;
use crate::shared_task::Aborted;

/// Time that one round over all credentials may take; under `server.request_timeout` by default.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a credential that was refused for good is left out while another one works.
const LEFT_OUT: Duration = Duration::from_secs(5 * 60);

/// Credentials of one principal.
pub(super) struct Source {
    principal: String,
    min_lifetime: Duration,
    app: Application,
    slots: Vec<Slot>,
    refused: RefusedTokens,
    progress: Mutex<Progress>,
}

struct Slot {
    credential: Credential,
    left_out: Mutex<Option<LeftOut>>,
    /// Whether its last try gave no token.
    failing: AtomicBool,
}

struct LeftOut {
    version: u64,
    until: Instant,
}

#[derive(Default)]
struct Progress {
    in_use: Option<usize>,
    last_error: Option<String>,
    fetches: Fetches,
    warned_of_short_life: bool,
}

/// A token with what the store needs to judge it.
pub(super) struct Held {
    pub(super) token: AccessToken,
    pub(super) fetched: Instant,
    /// Drawn for each token, so that replicas do not renew in the same second.
    pub(super) margin: Duration,
    fingerprint: Fingerprint,
}

/// A round without a token.
pub(super) enum Miss {
    Failed {
        error: Arc<Error>,
        cool_down: Duration,
    },
    Aborted,
}

impl Source {
    /// # Errors
    /// What can never work, with its key path.
    pub(super) fn new(
        name: &str,
        principal: &config::Principal,
        min_lifetime: Duration,
        outbound: &Outbound,
    ) -> Result<Self, Vec<config::Mistake>> {
        let place = format!("principals.{name}");
        let mut mistakes = Vec::new();
        let app =
            Application::new(principal, outbound, &place).map_err(|mistake| mistakes.push(mistake));
        let mut slots = Vec::new();
        for (index, credential) in principal.credentials.iter().enumerate() {
            match Credential::new(credential, &format!("{place}.credentials[{index}]")) {
                Ok(credential) => slots.push(Slot {
                    credential,
                    left_out: Mutex::default(),
                    failing: AtomicBool::default(),
                }),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if principal.credentials.is_empty() {
            mistakes.push(config::Mistake::new(
                format!("{place}.credentials"),
                "there is none",
                "give one, as in { kind: client_secret, secret_file: /run/secrets/pbi }",
            ));
        }
        match app {
            Ok(app) if mistakes.is_empty() => Ok(Self {
                principal: name.to_owned(),
                min_lifetime,
                app,
                slots,
                refused: RefusedTokens::default(),
                progress: Mutex::default(),
            }),
            _ => Err(mistakes),
        }
    }

    /// One round over the credentials.
    pub(super) async fn fetch(&self) -> Result<Held, Miss> {
        let span = tracing::info_span!(target: "stage", "entra", otel.kind = "client", principal = self.principal);
        self.fetch_round().instrument(span).await
    }

    async fn fetch_round(&self) -> Result<Held, Miss> {
        let deadline = Instant::now() + FETCH_TIMEOUT;
        let round = self.round();
        let mut failures = Vec::new();
        for (tried, &index) in round.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(round.len() - tried).unwrap_or(1);
            let credential = &self.slots[index].credential;
            // Before it is used: one that is replaced meanwhile has not been tried.
            let version = credential.version();
            match self.attempt(credential, share).await {
                Ok(held) => return Ok(self.succeeded(index, held)),
                Err(failure) => {
                    self.failed(index, version, &failure);
                    failures.push((credential, failure));
                }
            }
        }
        Err(self.missed(&failures))
    }

    /// Tries every credential now, the ones left out too.
    pub(super) async fn check(&self) -> Vec<CredentialCheck> {
        let mut checks = Vec::new();
        for slot in &self.slots {
            let credential = &slot.credential;
            let outcome = self.attempt(credential, FETCH_TIMEOUT).await;
            checks.push(CredentialCheck {
                kind: credential.kind(),
                expires_at: credential.expires_at(),
                outcome: outcome
                    .map(|held| held.token.expires_at())
                    .map_err(|failure| self.error(credential, &failure)),
            });
        }
        checks
    }

    /// Never serve this token again.
    pub(super) fn refuse(&self, token: &AccessToken) {
        self.refused.add(token);
    }

    pub(super) fn is_refused(&self, held: &Held) -> bool {
        self.refused.holds(&held.fingerprint)
    }

    /// Everything an operator wants to know, beside the token.
    pub(super) fn status(&self, token: Option<&Held>) -> PrincipalStatus {
        let credentials = self.slots.iter().map(|slot| CredentialStatus {
            kind: slot.credential.kind(),
            expires_at: slot.credential.expires_at(),
            failing: slot.failing.load(Ordering::Relaxed),
        });
        let progress = self.progress();
        PrincipalStatus {
            token_expires_at: token.map(|held| held.token.expires_at()),
            credentials: credentials.collect(),
            in_use: progress.in_use,
            last_error: progress.last_error.clone(),
            fetches: progress.fetches,
        }
    }

    /// The credentials to try: all but those left out, and all when none remains.
    fn round(&self) -> Vec<usize> {
        let all = 0..self.slots.len();
        let open: Vec<usize> = all
            .clone()
            .filter(|&index| !self.slots[index].is_left_out())
            .collect();
        if open.is_empty() { all.collect() } else { open }
    }

    async fn attempt(&self, credential: &Credential, limit: Duration) -> Result<Held, Failure> {
        let began = Instant::now();
        let fetched = tokio::time::timeout(limit, credential.fetch(&self.app))
            .await
            .unwrap_or_else(|_| Err(Failure::timed_out()));
        let outcome = fetched.as_ref().err().map_or("ok", Failure::outcome);
        metrics::entra(&self.principal, outcome, began.elapsed());
        let token = fetched?;
        let held = Held {
            margin: life::margin(self.min_lifetime).mul_f64(rand::rng().random_range(0.5..1.0)),
            fingerprint: fingerprint(&token),
            fetched: Instant::now(),
            token,
        };
        if life::left(held.token.expires_at()) <= life::SPENT {
            return Err(Failure::unusable(
                "the token is about to expire: check this machine's clock",
            ));
        }
        // A managed identity's platform hands out the same token until shortly before its end.
        if self.is_refused(&held) {
            return Err(Failure::unusable(
                "it is again the token that Power BI refuses",
            ));
        }
        Ok(held)
    }

    fn succeeded(&self, index: usize, held: Held) -> Held {
        let slot = &self.slots[index];
        *slot.left_out() = None;
        slot.failing.store(false, Ordering::Relaxed);
        let credential = slot.credential.kind();
        let life = life::left(held.token.expires_at());
        let mut progress = self.progress();
        progress.in_use = Some(index);
        progress.last_error = None;
        progress.fetches.succeeded += 1;
        let short = life < self.min_lifetime;
        let news = short && !progress.warned_of_short_life;
        progress.warned_of_short_life = short;
        drop(progress);

        let (principal, life_seconds) = (&self.principal, life.as_secs());
        tracing::info!(
            principal,
            credential,
            index,
            life_seconds,
            "new Entra token"
        );
        if news {
            let wanted_seconds = self.min_lifetime.as_secs();
            tracing::warn!(
                principal,
                credential,
                life_seconds,
                wanted_seconds,
                "a fresh Entra token is shorter than tokens.min_lifetime and used as it is: embed tokens will be short"
            );
        }
        held
    }

    /// `version` is that of the credential that failed.
    fn failed(&self, index: usize, version: u64, failure: &Failure) {
        let slot = &self.slots[index];
        slot.failing.store(true, Ordering::Relaxed);
        match failure.class {
            Class::Permanent | Class::Lockout => {
                *slot.left_out() = Some(LeftOut {
                    version,
                    until: Instant::now() + LEFT_OUT,
                });
            }
            Class::Throttled | Class::Transient => {}
        }
        tracing::warn!(
            principal = self.principal,
            credential = slot.credential.kind(),
            index,
            code = failure.code,
            remedy = failure.remedy,
            trace_id = failure.trace_id,
            correlation_id = failure.correlation_id,
            "a credential gave no Entra token"
        );
    }

    fn missed(&self, failures: &[(&Credential, Failure)]) -> Miss {
        let Some((credential, last)) = failures.last() else {
            return Miss::Aborted;
        };
        let error = self.error(credential, last);
        let mut progress = self.progress();
        match &error {
            Error::Rejected { .. } => progress.fetches.rejected += 1,
            Error::Unreachable { .. } => progress.fetches.unreachable += 1,
        }
        progress.last_error = Some(error.to_string());
        drop(progress);
        Miss::Failed {
            error: Arc::new(error),
            cool_down: cool_down(failures),
        }
    }

    fn error(&self, credential: &Credential, failure: &Failure) -> Error {
        let principal = self.principal.clone();
        match failure.class {
            Class::Permanent | Class::Lockout => Error::Rejected {
                principal,
                credential: credential.kind(),
                code: failure.code.clone(),
                remedy: failure.remedy.clone(),
            },
            Class::Throttled | Class::Transient => Error::Unreachable {
                principal,
                reason: failure.to_string(),
            },
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn left_out(&self) -> MutexGuard<'_, Option<LeftOut>> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_left_out(&self) -> bool {
        self.left_out().as_ref().is_some_and(|left_out| {
            Instant::now() < left_out.until && left_out.version == self.credential.version()
        })
    }
}

impl Miss {
    pub(super) fn cool_down(&self) -> Duration {
        match self {
            Self::Failed { cool_down, .. } => *cool_down,
            Self::Aborted => Duration::from_secs(1),
        }
    }
}

impl From<Aborted> for Miss {
    fn from(_: Aborted) -> Self {
        Self::Aborted
    }
}

/// The shortest that any credential asks for, unless Entra told us to slow down or an account is at stake.
fn cool_down(failures: &[(&Credential, Failure)]) -> Duration {
    let (mut shortest, mut longest) = (Duration::MAX, Duration::ZERO);
    for (credential, failure) in failures {
        let class = match credential {
            // A few wrong passwords lock the account.
            Credential::Password { .. } if failure.class == Class::Permanent => Class::Lockout,
            _ => failure.class,
        };
        let wait = class.cool_down(failure.retry_after);
        shortest = shortest.min(wait);
        let obliged =
            matches!(class, Class::Lockout | Class::Throttled) || failure.retry_after.is_some();
        if obliged {
            longest = longest.max(wait);
        }
    }
    shortest.max(longest)
}
