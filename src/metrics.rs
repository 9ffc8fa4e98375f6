//! Every metric of the broker: a table that says what it is, and a documented function that counts it.
//!
//! Names and labels are an interface for operators, described in `docs/metrics.md`; a test holds that page equal to
//! [`ALL`]. Labels are enums or names from the configuration, never anything a caller sends, so their number is bounded.
//! States are measured when they are scraped; one that nobody measures any more (a principal that a reload removed)
//! is forgotten after [`FORGOTTEN_AFTER`]. What every request counts is looked up once.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
static HOT: OnceLock<Hot> = OnceLock::new();

/// Upper bounds of the latency histograms, in seconds: from a warm answer to a timeout.
const BUCKETS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0,
];

/// States that were not measured for so long are no longer shown.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);

/// What a metric is, as `docs/metrics.md` has it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, its unit included.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Route templates, as the label `route` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /embed-token`.
    EmbedToken,
    /// `GET /items`.
    Items,
    /// `GET /items/{item}/targets`.
    Targets,
    /// `GET /openapi.yaml`.
    OpenApi,
    /// `GET /livez`.
    Livez,
    /// `GET /readyz`.
    Readyz,
    /// Whatever matches no route.
    Unmatched,
}

impl Route {
    /// Every route, in the order of the enum.
    pub const ALL: [Self; 7] = [
        Self::EmbedToken,
        Self::Items,
        Self::Targets,
        Self::OpenApi,
        Self::Livez,
        Self::Readyz,
        Self::Unmatched,
    ];

    /// The template.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmbedToken => "/embed-token",
            Self::Items => "/items",
            Self::Targets => "/items/{item}/targets",
            Self::OpenApi => "/openapi.yaml",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Unmatched => "unmatched",
        }
    }

    /// The route of a matched template.
    #[must_use]
    pub fn of(template: Option<&str>) -> Self {
        Self::ALL
            .into_iter()
            .find(|route| Some(route.as_str()) == template)
            .unwrap_or(Self::Unmatched)
    }
}

/// Handles of what every request counts.
struct Hot {
    /// By route: answers that are `ok`, and times.
    routes: [(Counter, Histogram); Route::ALL.len()],
    cached: Counter,
    minted: Counter,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(const $id: Metric = Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*
        /// Every metric.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

#[rustfmt::skip]
metrics! {
    REQUESTS Counter "embed_broker_requests_total" ["route" "code"] "Requests by route and outcome (`ok` or the problem's code)";
    REQUEST_SECONDS Histogram "embed_broker_request_duration_seconds" ["route"] "Time from a request's headers to its answer, in seconds";
    IN_FLIGHT Gauge "embed_broker_requests_in_flight" [] "Requests under way; beyond `server.max_in_flight` they are refused";
    CONNECTIONS Gauge "embed_broker_connections" ["listener"] "Open connections";
    CUT Counter "embed_broker_connections_cut_total" ["listener" "reason"] "Connections closed because their client was too slow";
    TURNED_AWAY Counter "embed_broker_requests_turned_away_total" ["listener"] "Requests refused unseen, because those under way hold all the memory that they may";
    TOKENS Counter "embed_broker_embed_tokens_total" ["source"] "Embed tokens given out; `cached` made no upstream call";
    CACHE_BYTES Gauge "embed_broker_embed_token_cache_bytes" [] "Size of the embed-token cache in bytes, of `cache.embed_tokens_max_bytes`";
    SHARED_CACHE Counter "embed_broker_shared_cache_operations_total" ["operation" "outcome"] "Operations on the cache that replicas share, skipped ones included";
    RATE_KEYS Gauge "embed_broker_rate_limit_keys" [] "Callers whose rate is being counted";
    UPSTREAM Counter "embed_broker_upstream_requests_total" ["principal" "call" "outcome"] "Calls to Power BI, every try counted";
    UPSTREAM_SECONDS Histogram "embed_broker_upstream_request_duration_seconds" ["call"] "Time of one call to Power BI, in seconds";
    RETRIES Counter "embed_broker_upstream_retries_total" ["principal" "call"] "Calls to Power BI that were a second or third try";
    BREAKER Gauge "embed_broker_breaker_open" ["principal"] "1 while the breaker of a principal is open: Power BI keeps failing";
    THROTTLED Gauge "embed_broker_throttled_seconds" ["principal"] "Seconds for which Power BI still throttles a principal";
    TRIAL Gauge "embed_broker_trial_usage_percent" ["principal"] "Percent of the trial allowance for embed tokens that is used, on shared capacity";
    ENTRA Counter "embed_broker_entra_requests_total" ["principal" "outcome"] "Tries to get an Entra token, one for each credential tried";
    ENTRA_SECONDS Histogram "embed_broker_entra_request_duration_seconds" ["principal"] "Time of one try to get an Entra token, in seconds";
    ENTRA_LEFT Gauge "embed_broker_entra_token_remaining_seconds" ["principal"] "Seconds that a principal's Entra token still lives; 0: there is none";
    CREDENTIAL_LEFT Gauge "embed_broker_credential_remaining_seconds" ["principal" "credential" "index"] "Seconds until a credential expires, where that is known";
    CREDENTIAL_FAILING Gauge "embed_broker_credential_failing" ["principal" "credential" "index"] "1 while a credential gave no Entra token when it was last tried";
    ISSUER Counter "embed_broker_issuer_requests_total" ["issuer" "outcome"] "Fetches of an issuer's signing keys";
    ISSUER_SECONDS Histogram "embed_broker_issuer_request_duration_seconds" ["issuer"] "Time of one fetch of signing keys, in seconds";
    JWKS_AGE Gauge "embed_broker_jwks_age_seconds" ["issuer"] "Seconds since an issuer's signing keys were read";
    AUDIT_FAILING Gauge "embed_broker_audit_failing" [] "1 while the audit sink refuses records, hangs, or does not reach its disk";
    AUDIT_RECORDS Counter "embed_broker_audit_records_total" ["outcome"] "Audit records by outcome: written, or lost because the sink did not take them in time";
    AUDIT_WAITING Gauge "embed_broker_audit_waiting" [] "Audit records that wait for the sink";
    AUDIT_SYNCS Counter "embed_broker_audit_syncs_total" [] "Times that the audit file was brought to the disk";
    RELOADS Counter "embed_broker_reloads_total" ["outcome"] "Reloads of policy or configuration: taken or refused; the start counts as one";
    RELOADED Gauge "embed_broker_last_reload_timestamp_seconds" ["outcome"] "Unix time of the last reload, in seconds";
    GENERATION Gauge "embed_broker_policy_generation" [] "Grows with every reload taken; 1 after the start";
    STALE Gauge "embed_broker_configuration_stale" [] "1 while a faulty file keeps an older state in force";
    READY Gauge "embed_broker_ready" [] "1 while requests may be sent here";
    QUIET Counter "embed_broker_log_lines_held_back_total" [] "Log lines about refused requests that were held back in a flood";
    BUILD Gauge "embed_broker_build_info" ["version"] "1, with the version of the broker";
}

/// Installs the recorder of the process (once; later calls share it) and describes every metric.
pub fn install() -> PrometheusHandle {
    RECORDER
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .idle_timeout(MetricKindMask::GAUGE, Some(FORGOTTEN_AFTER))
                .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".into()), &BUCKETS)
                .unwrap_or_else(|_| PrometheusBuilder::new());
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            // Fails only when the process has a recorder already, which is then not ours to replace.
            let _ = metrics::set_global_recorder(recorder);
            ALL.iter().for_each(Metric::describe);
            let _ = HOT.set(Hot::new());
            handle
        })
        .clone()
}

impl Metric {
    fn describe(&self) {
        let unit = if self.name.ends_with("_seconds") {
            Unit::Seconds
        } else if self.name.ends_with("_bytes") {
            Unit::Bytes
        } else if self.name.ends_with("_percent") {
            Unit::Percent
        } else {
            Unit::Count
        };
        match self.kind {
            Kind::Counter => describe_counter!(self.name, unit, self.help),
            Kind::Gauge => describe_gauge!(self.name, unit, self.help),
            Kind::Histogram => describe_histogram!(self.name, unit, self.help),
        }
    }
}

impl Hot {
    fn new() -> Self {
        let tokens = |source: &'static str| counter!(TOKENS.name, "source" => source);
        Self {
            routes: Route::ALL.map(|route| {
                let route = route.as_str();
                (
                    counter!(REQUESTS.name, "route" => route, "code" => "ok"),
                    histogram!(REQUEST_SECONDS.name, "route" => route),
                )
            }),
            cached: tokens("cached"),
            minted: tokens("minted"),
        }
    }
}

// === requests ===

/// A request was answered; `refused` is the problem's code.
pub fn request(route: Route, refused: Option<&'static str>, took: Duration) {
    let Some((ok, seconds)) = HOT.get().and_then(|hot| hot.routes.get(route as usize)) else {
        return;
    };
    match refused {
        None => ok.increment(1),
        Some(code) => {
            counter!(REQUESTS.name, "route" => route.as_str(), "code" => code).increment(1);
        }
    }
    seconds.record(took);
}

/// An embed token was given out, from the cache or not.
pub fn embed_token(cached: bool) {
    if let Some(hot) = HOT.get() {
        let tokens = if cached { &hot.cached } else { &hot.minted };
        tokens.increment(1);
    }
}

/// Requests under way.
pub fn in_flight(requests: usize) {
    gauge!(IN_FLIGHT.name).set(float(requests));
}

/// Open connections of a listener.
pub fn connections(listener: &'static str, open: usize) {
    gauge!(CONNECTIONS.name, "listener" => listener).set(float(open));
}

/// A connection was closed for its client's slowness.
pub fn connection_cut(listener: &'static str, reason: &'static str) {
    counter!(CUT.name, "listener" => listener, "reason" => reason).increment(1);
}

/// A request was refused before anything was done for it.
pub fn request_turned_away(listener: &'static str) {
    counter!(TURNED_AWAY.name, "listener" => listener).increment(1);
}

/// A log line about a refused request was held back.
pub fn log_line_held_back() {
    counter!(QUIET.name).increment(1);
}

/// Size of the embed-token cache.
pub fn cache_bytes(bytes: u64) {
    gauge!(CACHE_BYTES.name).set(float(bytes));
}

/// A shared cache is in use. What alerts wait for is shown from then on: a counter that is born at one has, for
/// Prometheus, not increased.
pub fn shared_cache_in_use() {
    for (operation, outcome) in [("get", "rejected"), ("probe", "foreign_key")] {
        counter!(SHARED_CACHE.name, "operation" => operation, "outcome" => outcome).increment(0);
    }
}

/// An operation on the shared cache ended, or was skipped.
pub fn shared_cache(operation: &'static str, outcome: &'static str) {
    counter!(SHARED_CACHE.name, "operation" => operation, "outcome" => outcome).increment(1);
}

/// Callers whose rate is being counted.
pub fn rate_limit_keys(keys: usize) {
    gauge!(RATE_KEYS.name).set(float(keys));
}

// === upstream ===

/// One try of a call to Power BI; `again` when it was not the first.
pub fn upstream(
    principal: &str,
    call: &'static str,
    outcome: &'static str,
    again: bool,
    took: Duration,
) {
    let principal = principal.to_owned();
    counter!(UPSTREAM.name, "principal" => principal.clone(), "call" => call, "outcome" => outcome)
        .increment(1);
    histogram!(UPSTREAM_SECONDS.name, "call" => call).record(took);
    if again {
        counter!(RETRIES.name, "principal" => principal, "call" => call).increment(1);
    }
}

/// One try to get an Entra token.
pub fn entra(principal: &str, outcome: &'static str, took: Duration) {
    let principal = principal.to_owned();
    histogram!(ENTRA_SECONDS.name, "principal" => principal.clone()).record(took);
    counter!(ENTRA.name, "principal" => principal, "outcome" => outcome).increment(1);
}

/// One fetch of an issuer's keys.
pub fn issuer(issuer: &str, outcome: &'static str, took: Duration) {
    let issuer = issuer.to_owned();
    histogram!(ISSUER_SECONDS.name, "issuer" => issuer.clone()).record(took);
    counter!(ISSUER.name, "issuer" => issuer, "outcome" => outcome).increment(1);
}

/// How a principal stands with Power BI.
pub fn principal(principal: &str, breaker_open: bool, throttled_for: Duration) {
    let principal = principal.to_owned();
    gauge!(BREAKER.name, "principal" => principal.clone()).set(flag(breaker_open));
    gauge!(THROTTLED.name, "principal" => principal).set(throttled_for.as_secs_f64());
}

/// How much of a principal's trial allowance is used.
pub fn trial_usage(principal: &str, percent: f64) {
    gauge!(TRIAL.name, "principal" => principal.to_owned()).set(percent);
}

/// Life left of a principal's Entra token; 0 when it has none.
pub fn entra_token_remaining(principal: &str, seconds: f64) {
    gauge!(ENTRA_LEFT.name, "principal" => principal.to_owned()).set(seconds);
}

/// Life left of a principal's credential, the `index`th of its list.
pub fn credential_remaining(principal: &str, credential: &'static str, index: usize, seconds: f64) {
    let (principal, index) = (principal.to_owned(), index.to_string());
    gauge!(CREDENTIAL_LEFT.name, "principal" => principal, "credential" => credential, "index" => index)
        .set(seconds);
}

/// Whether a principal's credential, the `index`th of its list, gave no token when it was last tried.
pub fn credential_failing(principal: &str, credential: &'static str, index: usize, failing: bool) {
    let (principal, index) = (principal.to_owned(), index.to_string());
    gauge!(CREDENTIAL_FAILING.name, "principal" => principal, "credential" => credential, "index" => index)
        .set(flag(failing));
}

/// Age of an issuer's signing keys.
pub fn jwks_age(issuer: &str, seconds: f64) {
    gauge!(JWKS_AGE.name, "issuer" => issuer.to_owned()).set(seconds);
}

// === the process ===

/// A reload ended.
pub fn reload(taken: bool) {
    counter!(RELOADS.name, "outcome" => reload_outcome(taken)).increment(1);
}

/// When a reload was last taken or refused.
pub fn last_reload(taken: bool, at: time::OffsetDateTime) {
    gauge!(RELOADED.name, "outcome" => reload_outcome(taken)).set(float(at.unix_timestamp()));
}

/// Which policy is in force, and whether a faulty file keeps a newer one from it.
pub fn configuration(generation: u64, stale: bool) {
    gauge!(GENERATION.name).set(float(generation));
    gauge!(STALE.name).set(flag(stale));
}

/// How the audit trail is doing: counts since the process started.
pub fn audit(failing: bool, written: u64, lost: u64, syncs: u64, waiting: usize) {
    gauge!(AUDIT_FAILING.name).set(flag(failing));
    gauge!(AUDIT_WAITING.name).set(float(waiting));
    counter!(AUDIT_RECORDS.name, "outcome" => "written").absolute(written);
    counter!(AUDIT_RECORDS.name, "outcome" => "lost").absolute(lost);
    counter!(AUDIT_SYNCS.name).absolute(syncs);
}

/// Whether requests may be sent here, and to what.
pub fn process(ready: bool, version: &'static str) {
    gauge!(READY.name).set(flag(ready));
    gauge!(BUILD.name, "version" => version).set(1.0);
}

fn reload_outcome(taken: bool) -> &'static str {
    if taken { "taken" } else { "refused" }
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

/// A gauge is a float: what is counted here stays far below 2^52.
fn float(number: impl TryInto<u64>) -> f64 {
    let number = number.try_into().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let float = number as f64;
    float
}
