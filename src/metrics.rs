//! Every metric of the broker, as a documented function. Names and labels are an interface for operators.
//!
//! Labels are enums or names from the configuration, never anything a caller sends.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds of the latency histograms, in seconds: from a warm answer to a timeout.
const BUCKETS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0,
];

const REQUESTS: &str = "embed_broker_requests_total";
const REQUEST_SECONDS: &str = "embed_broker_request_duration_seconds";
const TOKENS: &str = "embed_broker_embed_tokens_total";
const UPSTREAM: &str = "embed_broker_upstream_requests_total";
const UPSTREAM_SECONDS: &str = "embed_broker_upstream_request_duration_seconds";
const ENTRA_LEFT: &str = "embed_broker_entra_token_remaining_seconds";
const JWKS_AGE: &str = "embed_broker_jwks_age_seconds";
const CREDENTIAL_LEFT: &str = "embed_broker_credential_remaining_seconds";
const CREDENTIAL_FAILING: &str = "embed_broker_credential_failing";
const BREAKER: &str = "embed_broker_breaker_open";
const POLICY_GENERATION: &str = "embed_broker_policy_generation";
const RELOADED: &str = "embed_broker_last_reload_timestamp_seconds";
const RELOADS: &str = "embed_broker_reloads_total";
const AUDIT_FAILING: &str = "embed_broker_audit_failing";
const CACHE_BYTES: &str = "embed_broker_embed_token_cache_bytes";

/// Installs the recorder of the process (once; later calls share it) and describes every metric.
pub fn install() -> PrometheusHandle {
    RECORDER
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".into()), &BUCKETS)
                .unwrap_or_else(|_| PrometheusBuilder::new());
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            // Fails only when the process has a recorder already, which is then not ours to replace.
            let _ = metrics::set_global_recorder(recorder);
            describe();
            handle
        })
        .clone()
}

fn describe() {
    describe_counter!(
        REQUESTS,
        Unit::Count,
        "Requests by route and outcome (`ok` or the problem's code)"
    );
    describe_histogram!(
        REQUEST_SECONDS,
        Unit::Seconds,
        "Time to answer a request, by route"
    );
    describe_counter!(
        TOKENS,
        Unit::Count,
        "Embed tokens given out, by source: cached or minted"
    );
    describe_counter!(
        UPSTREAM,
        Unit::Count,
        "Calls to Power BI by principal, call and outcome, every try counted"
    );
    describe_histogram!(
        UPSTREAM_SECONDS,
        Unit::Seconds,
        "Time of one call to Power BI, by call"
    );
    describe_gauge!(
        ENTRA_LEFT,
        Unit::Seconds,
        "Life left of each principal's Entra token"
    );
    describe_gauge!(JWKS_AGE, Unit::Seconds, "Age of each issuer's signing keys");
    describe_gauge!(
        CREDENTIAL_LEFT,
        Unit::Seconds,
        "Life left of each principal's credential, where it is known"
    );
    describe_gauge!(
        CREDENTIAL_FAILING,
        Unit::Count,
        "1 while a credential gave no Entra token when it was last tried"
    );
    describe_gauge!(
        BREAKER,
        Unit::Count,
        "1 while the breaker of a principal is open"
    );
    describe_gauge!(
        POLICY_GENERATION,
        Unit::Count,
        "Grows with every policy taken"
    );
    describe_gauge!(
        RELOADED,
        Unit::Seconds,
        "Unix time of the last reload, by outcome"
    );
    describe_counter!(RELOADS, Unit::Count, "Reloads by outcome: taken or refused");
    describe_gauge!(
        AUDIT_FAILING,
        Unit::Count,
        "1 while the audit sink refuses records"
    );
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Size of the embed-token cache");
}

/// A request was answered. `route` is a route template; `code` is `ok` or the problem's code.
pub fn request(route: &'static str, code: &'static str, took: Duration) {
    counter!(REQUESTS, "route" => route, "code" => code).increment(1);
    histogram!(REQUEST_SECONDS, "route" => route).record(took);
}

/// An embed token was given out; `source` is `cached` or `minted`.
pub fn embed_token(source: &'static str) {
    counter!(TOKENS, "source" => source).increment(1);
}

/// One try of a call to Power BI.
pub fn upstream(principal: &str, call: &'static str, outcome: &'static str, took: Duration) {
    counter!(UPSTREAM, "principal" => principal.to_owned(), "call" => call, "outcome" => outcome)
        .increment(1);
    histogram!(UPSTREAM_SECONDS, "call" => call).record(took);
}

/// Life left of a principal's Entra token; 0 when it has none.
pub fn entra_token_remaining(principal: &str, seconds: f64) {
    gauge!(ENTRA_LEFT, "principal" => principal.to_owned()).set(seconds);
}

/// Age of an issuer's signing keys.
pub fn jwks_age(issuer: &str, seconds: f64) {
    gauge!(JWKS_AGE, "issuer" => issuer.to_owned()).set(seconds);
}

/// Life left of a credential.
pub fn credential_remaining(principal: &str, credential: &'static str, seconds: f64) {
    gauge!(CREDENTIAL_LEFT, "principal" => principal.to_owned(), "credential" => credential)
        .set(seconds);
}

/// Whether a principal's credential, the `index`th of its list, gave no token when it was last tried.
pub fn credential_failing(principal: &str, credential: &'static str, index: usize, failing: bool) {
    let (principal, index) = (principal.to_owned(), index.to_string());
    gauge!(CREDENTIAL_FAILING, "principal" => principal, "credential" => credential, "index" => index)
        .set(if failing { 1.0 } else { 0.0 });
}

/// Whether the breaker of a principal is open.
pub fn breaker(principal: &str, open: bool) {
    gauge!(BREAKER, "principal" => principal.to_owned()).set(if open { 1.0 } else { 0.0 });
}

/// A reload ended; `generation` counts the policies taken.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; seconds and generations fit"
)]
pub fn reload(taken: bool, generation: u64, at: time::OffsetDateTime) {
    let outcome = if taken { "taken" } else { "refused" };
    counter!(RELOADS, "outcome" => outcome).increment(1);
    gauge!(RELOADED, "outcome" => outcome).set(at.unix_timestamp() as f64);
    gauge!(POLICY_GENERATION).set(generation as f64);
}

/// Whether the audit sink refuses records.
pub fn audit_failing(failing: bool) {
    gauge!(AUDIT_FAILING).set(if failing { 1.0 } else { 0.0 });
}

/// Size of the embed-token cache.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; cache sizes fit"
)]
pub fn cache_bytes(bytes: u64) {
    gauge!(CACHE_BYTES).set(bytes as f64);
}
