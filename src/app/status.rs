//! Looks after the process: first success, metrics that are states, named checks for operators.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use time::OffsetDateTime;

use super::generation::Generation;
use super::state::ProcessState;
use crate::authn::IssuerStatus;
use crate::broker::Broker;
use crate::http::AppState;
use crate::http::ops::{Check, Checks, Scrape};
use crate::http::serve::Listener;
use crate::powerbi::BreakerState;
use crate::shared_cache::SharedCache;
use crate::{entra, metrics, powerbi};

/// How often the process looks after itself: Entra tokens, counted refusals.
const UPKEEP: Duration = Duration::from_secs(2);

/// How often the default principal is tried until it first succeeds. Entra's own cool-downs bound the calls.
const FIRST_TRIES: Duration = Duration::from_millis(250);

/// How long a new replica gives the shared cache to connect before it is ready without.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How often callers whose rate need not be counted any more are forgotten.
const FORGET_IDLE: Duration = Duration::from_secs(15);

/// When the trial allowances are asked for the first time, and then how often: they move slowly.
const TRIAL_FIRST: Duration = Duration::from_secs(2 * 60);
const TRIAL_EVERY: Duration = Duration::from_secs(15 * 60);

/// Fetches what the first caller would wait for, and declares the process ready once the default principal has a token.
pub(super) async fn warm_up(process: Arc<ProcessState>, app: AppState) {
    if let Some(cache) = process.current().shared_cache.clone() {
        // So that a new replica mints nothing that the others have; never longer than a connection may take.
        let _ = tokio::time::timeout(FIRST_LOOK, async move { cache.maintain().await }).await;
    }
    loop {
        let generation = process.current();
        if generation.access_tokens.with_life("default").await.is_ok() {
            break;
        }
        tokio::time::sleep(FIRST_TRIES).await;
    }
    app.life().set_ready();
    tracing::info!("ready");
}

/// Keeps every principal's token young and the trail's counts current, and forgets idle callers.
pub(super) async fn upkeep(process: Arc<ProcessState>, recorder: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    let mut forgotten = Instant::now();
    loop {
        ticks.tick().await;
        let generation = process.current();
        for principal in generation.config.principals.keys() {
            // Apart, so that an Entra that does not answer delays nothing here; its cool-downs bound the calls.
            let (tokens, principal) = (Arc::clone(&generation.access_tokens), principal.clone());
            tokio::spawn(async move { tokens.with_life(&principal).await.map(drop) });
        }
        if let Some(cache) = generation.shared_cache.clone() {
            tokio::spawn(async move { cache.maintain().await });
        }
        if forgotten.elapsed() >= FORGET_IDLE {
            forgotten = Instant::now();
            let rate = Arc::clone(&generation.broker().rate);
            tokio::task::spawn_blocking(move || rate.forget_idle());
        }
        generation.broker().audit.write_counts(false).await;
        recorder.run_upkeep();
    }
}

/// What is left of the trial allowances, by principal.
#[derive(Debug, Default)]
pub(super) struct Trial(Mutex<BTreeMap<String, f64>>);

impl Trial {
    fn percents(&self) -> MutexGuard<'_, BTreeMap<String, f64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks now and then how much of the trial allowance is used: far from any request.
pub(super) async fn poll_trial_usage(process: Arc<ProcessState>) {
    tokio::time::sleep(TRIAL_FIRST).await;
    loop {
        ask_trial_usage(&process.current(), &process.trial).await;
        tokio::time::sleep(TRIAL_EVERY).await;
    }
}

async fn ask_trial_usage(generation: &Generation, trial: &Trial) {
    let mut percents = BTreeMap::new();
    for principal in generation.config.principals.keys() {
        // A failure is logged where it happens.
        if let Ok(usage) = generation.broker().powerbi.trial_usage(principal).await
            && let Some(percent) = usage.percent
        {
            percents.insert(principal.clone(), percent);
        }
    }
    *trial.percents() = percents;
}

/// Gives every metric, with the states as they are at this moment.
pub(super) fn scrape(
    process: Arc<ProcessState>,
    app: AppState,
    listeners: [Listener; 2],
    recorder: PrometheusHandle,
) -> Scrape {
    Arc::new(move || {
        let generation = process.current();
        measure_process(&app, &listeners);
        measure_generation(&generation);
        measure_reloads(&process);
        measure_upstream(&generation);
        for (principal, percent) in process.trial.percents().iter() {
            metrics::trial_usage(principal, *percent);
        }
        recorder.render()
    })
}

fn measure_process(app: &AppState, listeners: &[Listener]) {
    for listener in listeners {
        metrics::connections(listener.name(), listener.open_connections());
    }
    metrics::in_flight(app.life().in_flight());
    metrics::process(app.life().is_ready(), env!("CARGO_PKG_VERSION"));
}

fn measure_generation(generation: &Generation) {
    let broker = generation.broker();
    metrics::cache_bytes(broker.powerbi.cache_bytes());
    metrics::rate_limit_keys(broker.rate.callers());
    let audit = broker.audit.status();
    metrics::audit(
        audit.failing,
        audit.written,
        audit.lost,
        audit.syncs,
        audit.waiting,
    );
}

fn measure_reloads(process: &ProcessState) {
    metrics::configuration(process.current().number, !configuration(process).ok);
    let reloads = process.reloads();
    for (taken, at) in [(true, reloads.last_taken), (false, reloads.last_refused)] {
        if let Some(at) = at {
            metrics::last_reload(taken, at);
        }
    }
}

fn measure_upstream(generation: &Generation) {
    let now = OffsetDateTime::now_utc();
    let left = |until: OffsetDateTime| (until - now).as_seconds_f64();
    for (principal, status) in generation.access_tokens.status() {
        let token = status.token_expires_at.map_or(0.0, left).max(0.0);
        metrics::entra_token_remaining(principal, token);
        for (index, credential) in status.credentials.iter().enumerate() {
            metrics::credential_failing(principal, credential.kind, index, credential.failing);
            if let Some(at) = credential.expires_at {
                metrics::credential_remaining(principal, credential.kind, index, left(at));
            }
        }
    }
    for issuer in generation.broker().verifier.statuses() {
        if let Some(age) = issuer.age {
            metrics::jwks_age(&issuer.name, age.as_secs_f64());
        }
    }
    for status in generation.broker().powerbi.status() {
        let open = matches!(status.breaker, BreakerState::Open { .. });
        let throttled = status.throttled_for.unwrap_or_default();
        metrics::principal(&status.principal, open, throttled);
    }
}

/// Every named check, as the operators' `/readyz` shows it.
pub(super) fn checks(process: Arc<ProcessState>) -> Checks {
    Arc::new(move || {
        let generation = process.current();
        let broker = generation.broker();
        let mut checks = vec![configuration(&process), audit(broker)];
        checks.extend(broker.verifier.statuses().into_iter().map(issuer));
        checks.extend(generation.access_tokens.status().into_iter().map(entra));
        checks.extend(broker.powerbi.status().iter().map(power_bi));
        checks.extend(generation.shared_cache.as_deref().map(redis));
        checks
    })
}

fn audit(broker: &Broker) -> Check {
    let ok = !broker.audit.status().failing;
    let reason = if ok {
        "records are written"
    } else {
        "the sink refuses records, hangs, or does not reach its disk: free space, or repair it"
    };
    Check {
        name: "audit".into(),
        ok,
        reason: reason.into(),
    }
}

fn issuer(status: IssuerStatus) -> Check {
    let known = match (status.keys, status.age) {
        (Some(keys), Some(age)) => {
            format!("{keys} keys by {}, {} s old", status.source, age.as_secs())
        }
        (Some(keys), None) => format!("{keys} keys by {}", status.source),
        (None, _) => format!(
            "no keys yet by {}: they are fetched with the first token",
            status.source
        ),
    };
    let (ok, reason) = match status.last_error {
        None => (true, known),
        Some(error) => (false, format!("{error}; {known}")),
    };
    Check {
        name: format!("issuer:{}", status.name),
        ok,
        reason,
    }
}

fn entra((principal, status): (&str, entra::PrincipalStatus)) -> Check {
    let token = match status.token_expires_at {
        Some(at) => format!("token good until {at}"),
        None => "no token yet".to_owned(),
    };
    let (ok, reason) = match status.last_error {
        None => (true, token),
        Some(error) => (false, format!("{error}; {token}")),
    };
    Check {
        name: format!("entra:{principal}"),
        ok,
        reason,
    }
}

fn power_bi(status: &powerbi::PrincipalStatus) -> Check {
    let (ok, reason) = match (status.breaker, status.throttled_for) {
        (BreakerState::Open { probe_in }, _) => (
            false,
            format!(
                "{} calls failed in a row; next try in {} s",
                status.consecutive_failures,
                probe_in.as_secs()
            ),
        ),
        (_, Some(left)) => (
            false,
            format!("throttled by Power BI for another {} s", left.as_secs()),
        ),
        (BreakerState::HalfOpen, None) => (false, "the next call is a probe".to_owned()),
        (BreakerState::Closed, None) => (true, "calls pass".to_owned()),
    };
    Check {
        name: format!("power_bi:{}", status.principal),
        ok,
        reason,
    }
}

/// Takes no replica out of rotation, whatever it says: each has its own memory.
fn redis(shared: &SharedCache) -> Check {
    let status = shared.status();
    Check {
        name: "redis".into(),
        ok: status.ok,
        reason: status.reason,
    }
}

/// How the last reloads went.
fn configuration(process: &ProcessState) -> Check {
    let reloads = process.reloads();
    let refused = [&reloads.refused, &reloads.refused_policy];
    let refused = refused.into_iter().flatten().map(|refusal| {
        format!("the last reload was refused and the former state goes on: {refusal}")
    });
    let faulty = reloads.faulty_secrets.iter();
    let faulty = faulty.map(|(key, error)| format!("{key}: {error}"));
    let changing = reloads.keeps_changing.iter().map(|file| {
        format!(
            "{} keeps changing, so it is not loaded: write changes to another file and rename it to this name",
            file.display()
        )
    });
    let reasons: Vec<String> = refused.chain(faulty).chain(changing).collect();
    let ok = reasons.is_empty();
    let reason = if ok {
        "loaded".to_owned()
    } else {
        reasons.join("; ")
    };
    Check {
        name: "configuration".into(),
        ok,
        reason,
    }
}

#[cfg(test)]
mod tests;
