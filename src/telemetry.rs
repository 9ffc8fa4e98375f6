//! Logs: one JSON object a line on standard error, each within the span of its request.
//!
//! Standard output belongs to the audit trail and to what a command prints. Nothing logged holds a token: secrets
//! live in types whose `Debug` is redacted, and headers and bodies are never logged.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::{LogFormat, Telemetry};

/// Changes the filter of the running process.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging. A second call in one process (as in tests) changes nothing.
pub fn start(config: &Telemetry) {
    let (filter, handle) = reload::Layer::new(filter(config));
    let lines = match config.log_format {
        LogFormat::Json => fmt::layer()
            .with_writer(std::io::stderr)
            .json()
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
        LogFormat::Text => fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .boxed(),
    };
    if tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .is_ok()
    {
        let _ = FILTER.set(handle);
    }
}

/// Takes the log level of a reloaded configuration.
pub fn reload(config: &Telemetry) {
    if let Some(handle) = FILTER.get() {
        let _ = handle.reload(filter(config));
    }
}

fn filter(config: &Telemetry) -> EnvFilter {
    EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"))
}
