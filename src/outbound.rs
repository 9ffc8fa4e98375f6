//! Outgoing HTTP: one place for timeouts, trust, proxies, redirects and body limits.
//!
//! Every upstream is spoken to through [`Outbound`]: redirects are never followed (a bearer must not travel), plain
//! http is for loopback hosts only, proxies of the environment are honoured but never for loopback, and bodies are
//! read up to a limit.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use url::Url;

use crate::config;

/// Time for a TCP and TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Bound of any single exchange; callers set tighter ones.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The HTTP clients of the process; clones share their connections.
#[derive(Clone)]
pub struct Outbound {
    external: reqwest::Client,
    loopback: reqwest::Client,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It was longer than the limit.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    /// The connection failed under way.
    #[error("the body could not be read: {0}")]
    Broken(#[source] reqwest::Error),
}

impl Outbound {
    /// Builds the clients.
    ///
    /// # Errors
    /// When the extra CA file cannot be read, or the system has no trust store.
    pub fn new(tls: &config::Tls) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let extra = match &tls.extra_ca_file {
            None => Vec::new(),
            Some(path) => {
                let pem = std::fs::read(path).with_context(|| {
                    format!("tls.extra_ca_file: cannot read {}", path.display())
                })?;
                reqwest::Certificate::from_pem_bundle(&pem).with_context(|| {
                    format!(
                        "tls.extra_ca_file: {} holds no PEM certificates",
                        path.display()
                    )
                })?
            }
        };
        let build = |loopback: bool| {
            let mut builder = reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(TOTAL_TIMEOUT)
                .pool_idle_timeout(Duration::from_secs(60))
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("embed-broker/", env!("CARGO_PKG_VERSION")))
                .tls_certs_merge(extra.iter().cloned());
            if loopback {
                builder = builder.no_proxy();
            }
            builder
                .build()
                .context("cannot build the HTTP client (is the ca-certificates package installed?)")
        };
        Ok(Self {
            external: build(false)?,
            loopback: build(true)?,
        })
    }

    /// The client for `url`.
    #[must_use]
    pub fn client(&self, url: &Url) -> &reqwest::Client {
        if config::is_loopback(url) {
            &self.loopback
        } else {
            &self.external
        }
    }

    /// The client that no proxy ever sees, whatever the URL: for the metadata services of the machine itself.
    #[must_use]
    pub fn direct(&self) -> &reqwest::Client {
        &self.loopback
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

/// How long an answer asks to wait: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3).
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Reads a body up to `limit` bytes.
///
/// # Errors
/// See [`BodyError`].
pub async fn read_capped(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Bytes, BodyError> {
    // Most bodies come in one piece.
    let mut whole = None;
    let mut pieces = BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| BodyError::Broken(error.without_url()))?
    {
        let so_far = whole.as_ref().map_or(pieces.len(), Bytes::len);
        if so_far + chunk.len() > limit {
            return Err(BodyError::TooLong(limit));
        }
        if so_far == 0 {
            whole = Some(chunk);
        } else {
            pieces.extend(whole.take());
            pieces.extend_from_slice(&chunk);
        }
    }
    Ok(whole.unwrap_or_else(|| pieces.freeze()))
}
