//! In the place of `traces`, in a build without the feature `otlp`: nothing is exported.

use axum::http::{HeaderMap, Method};
use tracing::Span;
use tracing_subscriber::{Layer, Registry};

use crate::config::Telemetry;
use crate::outbound::Outbound;

pub(super) fn layer() -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
    None
}

/// Takes level and format of the log.
pub fn export(config: &Telemetry, _: &Outbound) {
    super::apply(config, false);
}

/// Nothing to do.
pub fn begin(_: &Span, _: &HeaderMap, _: &Method, _: &'static str) {}

/// Nothing to do.
pub fn answered(_: &Span, _: u16, _: Option<&'static str>) {}

/// Nothing to do.
pub async fn flush() {}
