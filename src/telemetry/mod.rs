//! Logs and traces: what the process tells about itself, line by line and request by request.
//!
//! Log lines go to standard error, one JSON object each, with the request they belong to (`docs/logs.md`). Standard
//! output belongs to the audit trail and to what a command prints. Nothing told holds a token: secrets live in types
//! whose `Debug` is redacted, and headers and bodies are never logged.
//!
//! Traces are spans: `request`, and one for each stage under the target [`STAGE`]. Spans of stages exist only while
//! traces are exported ([`traces`]); otherwise asking for one costs an atomic load. Each output has its own filter, so
//! that a quiet log does not silence the traces; all of them follow a reload.

mod traces;

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

pub use traces::{answered, begin, export, flush};

use crate::config::{LogFormat, Telemetry};

/// Target of the spans of stages.
pub const STAGE: &str = "stage";

/// Name of the span of a request.
pub const REQUEST: &str = "request";

type BoxedFilter = Box<dyn Filter<Registry> + Send + Sync>;
type Handle = reload::Handle<BoxedFilter, Registry>;

/// The filters of the running process, by format of the log.
static LOGS: OnceLock<[(LogFormat, Handle); 2]> = OnceLock::new();

/// Starts logging. A second call in one process (as in tests) changes nothing.
pub fn start(config: &Telemetry) {
    let (json_filter, json_handle) = reload::Layer::new(lines(config, LogFormat::Json, false));
    let (text_filter, text_handle) = reload::Layer::new(lines(config, LogFormat::Text, false));
    let json = fmt::layer()
        .with_writer(std::io::stderr)
        .json()
        .with_current_span(false)
        .with_span_list(true)
        .with_filter(json_filter)
        .boxed();
    let text = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(text_filter)
        .boxed();
    let layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        [json, text].into_iter().chain(traces::layer()).collect();
    if tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .is_ok()
    {
        let handles = [
            (LogFormat::Json, json_handle),
            (LogFormat::Text, text_handle),
        ];
        let _ = LOGS.set(handles);
    }
}

/// Takes level and format of the log; `exporting` tells whether there are spans of stages.
fn apply(config: &Telemetry, exporting: bool) {
    for (format, handle) in LOGS.get().into_iter().flatten() {
        let _ = handle.reload(lines(config, *format, exporting));
    }
}

/// Which lines a log of this format has, and in which spans they stand.
fn lines(config: &Telemetry, format: LogFormat, exporting: bool) -> BoxedFilter {
    if config.log_format != format {
        return Box::new(LevelFilter::OFF);
    }
    let lines = config
        .filter()
        .unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    // Lines of every level show their request; one within a stage does only if it sees the span between them.
    let spans =
        filter_fn(move |data| is_span_of_ours(data) && (exporting || data.name() == REQUEST));
    let lines = lines.and(filter_fn(|data| data.target() != STAGE));
    Box::new(lines.or(spans.with_max_level_hint(LevelFilter::INFO)))
}

fn is_span_of_ours(data: &Metadata<'_>) -> bool {
    data.is_span() && (data.target() == STAGE || data.name() == REQUEST)
}
