//! What the HTTP edge needs of the configuration and of the policy: who may call from a browser, where tokens stand.

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::extract::RequestId;

/// Settings of the edge.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Header, set by a gateway, that carries the caller's token.
    pub token_header: Option<HeaderName>,
    /// Cookie that carries the caller's token.
    pub cookie: Option<String>,
    /// Headers with identity blobs, which the policy names.
    pub blob_headers: Vec<HeaderName>,
    origins: Vec<HeaderValue>,
    cors: CorsLayer,
}

impl Edge {
    /// Prepares the edge. Names and origins that are no header values are left out: they could never match.
    #[must_use]
    pub fn new(
        allowed_origins: &[String],
        token_header: Option<&str>,
        cookie: Option<&str>,
        blob_headers: &[String],
    ) -> Self {
        let origins: Vec<HeaderValue> = allowed_origins
            .iter()
            .filter_map(|origin| origin.parse().ok())
            .collect();
        let blob_headers: Vec<HeaderName> = blob_headers
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        let mut headers = vec![
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            RequestId::HEADER,
        ];
        headers.extend(blob_headers.iter().cloned());
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.clone()))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(AllowHeaders::list(headers))
            .expose_headers([header::RETRY_AFTER, RequestId::HEADER])
            .allow_credentials(cookie.is_some())
            .max_age(std::time::Duration::from_secs(600));
        Self {
            token_header: token_header.and_then(|name| name.parse().ok()),
            cookie: cookie.map(str::to_owned),
            blob_headers,
            origins,
            cors,
        }
    }

    /// Whether pages of this origin may call.
    #[must_use]
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.origins
            .iter()
            .any(|listed| listed.as_bytes() == origin)
    }

    /// The CORS layer.
    pub fn cors(&self) -> &CorsLayer {
        &self.cors
    }
}
