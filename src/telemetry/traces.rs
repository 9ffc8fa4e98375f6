//! OTLP traces over HTTP, for a collector at `telemetry.otlp_endpoint`.
//!
//! A request continues the trace that its `traceparent` names (W3C Trace Context), so that a gateway's trace goes on
//! in here. Spans are exported in batches by a thread of the SDK; what does not fit its queue is dropped, so that a slow
//! collector costs no request anything. The batches travel by our own HTTP client, with its trust, proxies and time
//! limits. Attributes are names from the configuration and outcomes: no token, no claim, no address.
//!
//! The endpoint may change at a reload, so the processor stands behind a switch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SdkTracerProvider, Span as OtelSpan, SpanData, SpanProcessor,
};
use tokio::runtime::Handle as Runtime;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::{Layer, Registry, reload};
use url::Url;

use super::{BoxedFilter, is_span_of_ours};
use crate::config::Telemetry;
use crate::outbound::{Outbound, read_capped};

/// Time for one export, and for the last one.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer of a collector that is read.
const MAX_ANSWER: usize = 64 * 1024;

static TRACES: OnceLock<Traces> = OnceLock::new();

struct Traces {
    filter: reload::Handle<BoxedFilter, Registry>,
    switch: Switch,
    /// Where traces go now.
    endpoint: ArcSwapOption<Url>,
    /// Kept alive: the layer's tracer belongs to it.
    _provider: SdkTracerProvider,
}

/// The layer that makes traces of spans; it is off until [`export`] names an endpoint.
pub(super) fn layer() -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
    let switch = Switch::default();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_span_processor(switch.clone())
        .build();
    let (filter, handle) = reload::Layer::new(spans(false));
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("embed-broker"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(filter)
        .boxed();
    let traces = Traces {
        filter: handle,
        switch,
        endpoint: ArcSwapOption::empty(),
        _provider: provider,
    };
    TRACES.set(traces).is_ok().then_some(layer)
}

fn spans(on: bool) -> BoxedFilter {
    if on {
        Box::new(filter_fn(is_span_of_ours))
    } else {
        Box::new(LevelFilter::OFF)
    }
}

fn resource() -> Resource {
    Resource::builder()
        .with_service_name("embed-broker")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Takes level and format of the log, and the endpoint of the traces, from `config`. Within a Tokio runtime.
pub fn export(config: &Telemetry, outbound: &Outbound) {
    let Some(traces) = TRACES.get() else {
        return;
    };
    let (former, endpoint) = (traces.endpoint.load_full(), &config.otlp_endpoint);
    if former.as_deref() != endpoint.as_ref() {
        let processor = endpoint
            .as_ref()
            .and_then(|endpoint| processor(endpoint, outbound));
        let on = processor.is_some();
        traces.endpoint.store(endpoint.clone().map(Arc::new));
        let old = traces.switch.0.swap(processor.map(Arc::new));
        if let Some(old) = old {
            tokio::task::spawn_blocking(move || old.shutdown_with_timeout(EXPORT_TIMEOUT));
        }
        let _ = traces.filter.reload(spans(on));
    }
    super::apply(config, traces.is_on());
}

/// Sends what has not been sent yet; for the end of the process.
pub async fn flush() {
    let processor = TRACES.get().and_then(|traces| traces.switch.0.swap(None));
    if let Some(processor) = processor {
        let last = tokio::task::spawn_blocking(move || {
            let _ = processor.force_flush();
            processor.shutdown_with_timeout(EXPORT_TIMEOUT)
        });
        let _ = tokio::time::timeout(EXPORT_TIMEOUT, last).await;
    }
}

/// A request begins within `span`: its trace goes on where `headers` say.
pub fn begin(span: &Span, headers: &HeaderMap, method: &Method, route: &'static str) {
    if !TRACES.get().is_some_and(Traces::is_on) {
        return;
    }
    let parent = TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &HeaderExtractor(headers));
    // Fails for a span that nobody exports.
    let _ = span.set_parent(parent);
    span.record("otel.kind", "server");
    span.record("otel.name", format!("{method} {route}"));
    span.set_attribute("http.request.method", method.to_string());
    span.set_attribute("http.route", route);
}

/// The request of `span` was answered; `refused` is the problem's code.
pub fn answered(span: &Span, status: u16, refused: Option<&'static str>) {
    if !TRACES.get().is_some_and(Traces::is_on) {
        return;
    }
    span.set_attribute("http.response.status_code", i64::from(status));
    if let Some(code) = refused {
        span.set_attribute("error.type", code);
    }
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

impl Traces {
    fn is_on(&self) -> bool {
        self.switch.0.load().is_some()
    }
}

fn processor(endpoint: &Url, outbound: &Outbound) -> Option<BatchSpanProcessor> {
    let mut url = endpoint.clone();
    // The address of a collector, as most write it; any other path is taken as it is.
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    let client = Client {
        outbound: outbound.clone(),
        runtime: Runtime::current(),
        failing: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url.as_str())
        .with_timeout(EXPORT_TIMEOUT)
        .build();
    match exporter {
        Ok(exporter) => {
            let mut processor = BatchSpanProcessor::builder(exporter).build();
            processor.set_resource(&resource());
            Some(processor)
        }
        Err(error) => {
            tracing::error!(%error, "traces cannot be exported: correct telemetry.otlp_endpoint");
            None
        }
    }
}

/// Hands spans to whatever processor there is at the moment.
#[derive(Clone, Debug, Default)]
struct Switch(Arc<ArcSwapOption<BatchSpanProcessor>>);

impl SpanProcessor for Switch {
    fn on_start(&self, span: &mut OtelSpan, context: &Context) {
        if let Some(processor) = &*self.0.load() {
            processor.on_start(span, context);
        }
    }

    fn on_end(&self, span: SpanData) {
        if let Some(processor) = &*self.0.load() {
            processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        match &*self.0.load() {
            Some(processor) => processor.force_flush(),
            None => Ok(()),
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        match self.0.swap(None) {
            Some(processor) => processor.shutdown_with_timeout(timeout),
            None => Ok(()),
        }
    }
}

/// Our HTTP client, as the exporter's thread uses it: the call itself runs on the runtime.
#[derive(Debug)]
struct Client {
    outbound: Outbound,
    runtime: Runtime,
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())?;
        let call = self
            .outbound
            .client(&url)
            .request(parts.method, url)
            .headers(parts.headers)
            .body(body)
            .timeout(EXPORT_TIMEOUT);
        let call = self.runtime.spawn(async move {
            let answer = call.send().await.map_err(reqwest::Error::without_url)?;
            let status = answer.status();
            let body = read_capped(answer, MAX_ANSWER).await?;
            let mut response = Response::new(body);
            *response.status_mut() = status;
            Ok::<_, HttpError>(response)
        });
        let result = call.await.unwrap_or_else(|error| Err(error.into()));
        self.tell(&result);
        result
    }
}

impl Client {
    /// Says so when the collector is lost, and when it is back.
    fn tell(&self, result: &Result<Response<Bytes>, HttpError>) {
        let problem = match result {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status().as_u16())),
            Err(error) => Some(error.to_string()),
        };
        let was_failing = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !was_failing => {
                tracing::warn!(%problem, "the collector takes no traces: check telemetry.otlp_endpoint");
            }
            None if was_failing => tracing::info!("the collector takes traces again"),
            Some(_) | None => {}
        }
    }
}
