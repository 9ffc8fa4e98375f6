//! Logs: one JSON object a line on standard error, each within the span of its request.
//!
//! Standard output belongs to the audit trail and to what a command prints. Nothing logged holds a token: secrets
//! live in types whose `Debug` is redacted, and headers and bodies are never logged.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, Telemetry};

/// Starts logging. A second call in one process (as in tests) changes nothing.
pub fn start(config: &Telemetry) {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    // An error only says that logging has been started already.
    let _ = match config.log_format {
        LogFormat::Json => builder.json().with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}
