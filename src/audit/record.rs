//! What a record holds. `docs/audit.schema.json` describes it for those who read the trail; a test holds the two equal.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `POST /embed-token`.
    EmbedToken,
    /// `GET /items`.
    Items,
    /// `GET /items/{item}/targets`.
    Targets,
}

/// One record. Members that are not known for a request are left out.
#[derive(Clone, Debug, Serialize)]
pub struct AuditRecord {
    /// When the request came in.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// What was asked for.
    pub event: Event,
    /// `ok`, or the problem's code.
    pub code: &'static str,
    /// Our request id.
    pub request_id: String,
    /// Address of the caller, seen through trusted proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Configured name of the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The caller's `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Items asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    /// The `target` asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The rules that decided, without repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// The right granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<&'static str>,
    /// The effective identities in the token; blobs as their SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Arc<[Box<RawValue>]>>,
    /// Configured name of the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Id of the service principal profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Id of the token in Power BI's activity log.
    #[serde(rename = "tokenId", skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// SHA-256 of the token, lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    /// When the token expires.
    #[serde(
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub expiration: Option<OffsetDateTime>,
    /// `cached` or `minted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
    /// Power BI's request id: of the mint that made the token, or of the call that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// Why it was refused, for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many requests this record stands for, when more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl AuditRecord {
    /// A record of which nothing but the request is known yet.
    #[must_use]
    pub fn new(
        event: Event,
        request_id: String,
        client: Option<IpAddr>,
        time: OffsetDateTime,
    ) -> Self {
        Self {
            time,
            event,
            code: "internal",
            request_id,
            client,
            issuer: None,
            sub: None,
            items: Vec::new(),
            target: None,
            rule: None,
            access: None,
            identity: None,
            principal: None,
            profile: None,
            token_id: None,
            token_sha256: None,
            expiration: None,
            source: None,
            upstream_request_id: None,
            reason: None,
            count: None,
        }
    }
}
