//! Looks after the process: first success, metrics that are states, named checks for operators.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use super::UPKEEP;
use super::reload::Shared;
use crate::http::AppState;
use crate::http::ops::{Check, Checks};
use crate::metrics;

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
        recorder.run_upkeep();
        parts.rate.forget_idle();
        parts.audit.write_counts(false).await;
        metrics::audit_failing(parts.audit.is_failing());
    }
}

/// Every named check, as the operators' `/readyz` shows it.
pub(super) fn checks(shared: Arc<Shared>) -> Checks {
    Arc::new(move || {
        let parts = shared.parts.load_full();
        let mut checks = vec![configuration(&shared)];
        checks.push(Check {
            name: "audit".into(),
            ok: !parts.audit.is_failing(),
            reason: if parts.audit.is_failing() { "the sink refuses records: free space or repair it" } else { "written" }.into(),
        });
        checks
    })
}

/// How the last reload went.
fn configuration(shared: &Shared) -> Check {
    let (refusal, faulty) = (shared.refusal.load(), shared.faulty_secrets.load());
    let mut reasons: Vec<String> = faulty.iter().map(|(key, error)| format!("{key}: {error}")).collect();
    if let Some(refusal) = &**refusal {
        reasons.insert(0, format!("the last reload was refused and the former state goes on: {refusal}"));
    }
    let ok = reasons.is_empty();
    let reason = if ok { "loaded".to_owned() } else { reasons.join("; ") };
    Check { name: "configuration".into(), ok, reason }
}
