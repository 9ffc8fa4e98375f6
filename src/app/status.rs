//! Looks after the process: first success, metrics that are states, named checks for operators.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use time::OffsetDateTime;

use super::UPKEEP;
use super::parts::Parts;
use super::reload::Shared;
use crate::authn::IssuerStatus;
use crate::http::AppState;
use crate::http::ops::{Check, Checks};
use crate::powerbi::BreakerState;
use crate::{entra, metrics, powerbi};

/// How often the default principal is tried until it first succeeds. Entra's own cool-downs bound the calls.
const FIRST_TRIES: Duration = Duration::from_millis(250);

/// Fetches what the first caller would wait for, and declares the process ready once the default principal has a token.
pub(super) async fn warm_up(shared: Arc<Shared>, app: AppState) {
    loop {
        let parts = shared.parts.load_full();
        if parts.access_tokens.with_life("default").await.is_ok() {
            break;
        }
        tokio::time::sleep(FIRST_TRIES).await;
    }
    app.life().set_ready();
    tracing::info!("ready");
}

/// Keeps every principal's token young and every state metric current.
pub(super) async fn upkeep(shared: Arc<Shared>, recorder: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        let parts = shared.parts.load_full();
        for principal in parts.config.principals.keys().cloned() {
            // Apart, so that an Entra that does not answer delays nothing here; its cool-downs bound the calls.
            let tokens = Arc::clone(&parts.access_tokens);
            tokio::spawn(async move { tokens.with_life(&principal).await.map(drop) });
        }
        parts.rate.forget_idle();
        parts.audit.write_counts(false).await;
        measure(&parts);
        recorder.run_upkeep();
    }
}

fn measure(parts: &Parts) {
    let now = OffsetDateTime::now_utc();
    let left = |until: OffsetDateTime| (until - now).as_seconds_f64();
    for (principal, status) in parts.access_tokens.status() {
        metrics::entra_token_remaining(
            principal,
            status.token_expires_at.map_or(0.0, |at| left(at).max(0.0)),
        );
        for (index, credential) in status.credentials.iter().enumerate() {
            metrics::credential_failing(principal, credential.kind, index, credential.failing);
            if let Some(at) = credential.expires_at {
                metrics::credential_remaining(principal, credential.kind, left(at));
            }
        }
    }
    for issuer in parts.verifier.statuses() {
        if let Some(age) = issuer.age {
            metrics::jwks_age(&issuer.name, age.as_secs_f64());
        }
    }
    for status in parts.powerbi.status() {
        metrics::breaker(
            &status.principal,
            matches!(status.breaker, BreakerState::Open { .. }),
        );
    }
    metrics::audit_failing(parts.audit.is_failing());
}

/// Every named check, as the operators' `/readyz` shows it.
pub(super) fn checks(shared: Arc<Shared>) -> Checks {
    Arc::new(move || {
        let parts = shared.parts.load_full();
        let mut checks = vec![configuration(&shared), audit(&parts)];
        checks.extend(parts.verifier.statuses().into_iter().map(issuer));
        checks.extend(parts.access_tokens.status().into_iter().map(entra));
        checks.extend(parts.powerbi.status().into_iter().map(power_bi));
        checks
    })
}

fn audit(parts: &Parts) -> Check {
    let ok = !parts.audit.is_failing();
    let reason = if ok {
        "records are written"
    } else {
        "the sink refuses records: free space, or repair it"
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

fn power_bi(status: powerbi::PrincipalStatus) -> Check {
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

/// How the last reload went.
fn configuration(shared: &Shared) -> Check {
    let (refusal, faulty) = (shared.refusal.load(), shared.faulty_secrets.load());
    let mut reasons: Vec<String> = faulty
        .iter()
        .map(|(key, error)| format!("{key}: {error}"))
        .collect();
    if let Some(refusal) = &**refusal {
        reasons.insert(
            0,
            format!("the last reload was refused and the former state goes on: {refusal}"),
        );
    }
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
