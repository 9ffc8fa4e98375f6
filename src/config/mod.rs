//! Every setting of the broker, on one page; those of principals are on the next ([`Principal`]).
//!
//! The structs below are the shape of `config/broker.yaml`; their doc comments are the reference that
//! `embed-broker schema config` prints. [`load`](Config::load) reads the file and the environment, reports
//! **all** mistakes at once and resolves secrets, so that whoever holds a [`Config`] holds a valid one.
//! Nothing here does network I/O, and no other module reads the environment.

mod cloud;
mod defaults;
mod load;
mod platform;
mod principal;
mod redis;
mod rotation;
mod secret;
mod shape;
mod units;
mod validate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use tracing_subscriber::filter::{LevelFilter, Targets};
use url::Url;

pub use cloud::{Cloud, CloudHosts};
pub use load::{Mistake, Mistakes};
pub use platform::federated_token_file;
pub use principal::{
    ClientCertificate, ClientSecret, Credential, ManagedIdentity, MasterUser, Principal,
    WorkloadIdentity,
};
pub use rotation::Rotations;
pub use secret::{Secret, SecretError};
pub use validate::{is_loopback, secure_or_loopback};

/// The whole configuration of one broker process.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listeners and limits of the HTTP server. Read at start only.
    pub server: Server,
    /// Which web origins may call the broker from a browser.
    pub cors: Cors,
    /// Trust for outgoing TLS connections.
    pub tls: Tls,
    /// Requests that one caller may make.
    pub rate_limit: RateLimit,
    /// Who may sign in: the issuers of the callers' tokens.
    pub authn: Authn,
    /// The Entra identities that mint; at least `default`.
    pub principals: BTreeMap<String, Principal>,
    /// Lifetimes of embed tokens and of the Entra tokens that mint them.
    pub tokens: Tokens,
    /// Sizes and ages of the caches.
    pub cache: Cache,
    /// Where the audit trail goes.
    pub audit: Audit,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// The policy file, relative to this file.
    pub policy_file: PathBuf,
}

/// Listeners and limits of the HTTP server.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of the traffic listener.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Address of the operators' listener (health, metrics); never exposed by the gateway.
    #[schemars(with = "String")]
    pub ops_listen: SocketAddr,
    /// Time within which a request is answered, upstream calls and their retries included.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
    /// Time that requests in flight get after SIGTERM.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub shutdown_grace: Duration,
    /// Requests handled at once; further ones are answered 503 `overloaded` at once.
    pub max_in_flight: usize,
    /// Networks whose `X-Forwarded-For` is believed for the audit record.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
}

/// Which web origins may call the broker from a browser.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Exact origins, such as `https://app.example.com`; no wildcards.
    pub allowed_origins: Vec<String>,
}

/// Trust for outgoing TLS connections.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file of certificate authorities trusted beside the system's.
    pub extra_ca_file: Option<PathBuf>,
}

/// Requests that one caller (issuer and subject) may make.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Sustained requests a minute; 0 switches the limit off.
    pub per_caller_per_minute: u32,
    /// Requests that may come at once before the sustained rate applies.
    pub burst: u32,
}

/// Who may sign in.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authn {
    /// A header, set by an identity-aware gateway, that carries the caller's token.
    pub token_header: Option<String>,
    /// A cookie that carries the caller's token.
    pub cookie: Option<String>,
    /// Clock difference forgiven in `exp` and `nbf`.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub leeway: Duration,
    /// The issuers whose tokens are accepted; no other is ever contacted.
    pub issuers: Vec<Issuer>,
    /// Requests that may wait for signing keys at the same time: half of `server.max_in_flight`.
    #[serde(skip)]
    pub max_waiting: usize,
}

/// One issuer of callers' tokens.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Issuer {
    /// The CEL variable `issuer`, of letters, digits, `.`, `_` and `-`; default: the host of `issuer`.
    pub name: String,
    /// The exact `iss` of its tokens. `{tid}` stands for the token's `tid` claim (Microsoft multi-tenant sign-in).
    pub issuer: String,
    /// Accepted `aud` values.
    pub audiences: Vec<String>,
    /// Accepted `alg` values; default `[RS256]`.
    pub algorithms: Option<Vec<String>>,
    /// Where its keys are; default: by OIDC discovery, which must name an address on the issuer's own host.
    pub jwks_uri: Option<Url>,
    /// A file with its keys, re-read when it changes.
    pub jwks_file: Option<PathBuf>,
    /// Shared secret for HS256, at least 32 bytes.
    #[schemars(with = "Option<String>")]
    pub hmac_secret: Option<secret::Plain>,
    /// File with the shared secret.
    pub hmac_secret_file: Option<PathBuf>,
    /// Environment variable with the shared secret.
    pub hmac_secret_env: Option<String>,
    /// The former shared secret, accepted during rotation.
    #[schemars(with = "Option<String>")]
    pub hmac_secret_previous: Option<secret::Plain>,
    /// File with the former shared secret.
    pub hmac_secret_previous_file: Option<PathBuf>,
    /// Environment variable with the former shared secret.
    pub hmac_secret_previous_env: Option<String>,
    /// Allowed `typ` header values, compared without case, parameters and `application/`; empty: any but logout tokens.
    pub token_types: Vec<String>,
    /// CEL rules over `claims` that must all be true.
    pub validations: Vec<Validation>,
    /// With `{tid}` in `issuer`: the accepted tenants, or `any`.
    pub tenants: Option<Tenants>,
    /// The resolved shared secrets (`hmac_secret`, then `hmac_secret_previous`).
    #[serde(skip)]
    #[schemars(skip)]
    pub hmac_secrets: Vec<Secret>,
    /// The resolved content of `jwks_file`.
    #[serde(skip)]
    #[schemars(skip)]
    pub jwks: Option<Secret>,
}

/// A CEL rule that a verified token must also fulfil.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// The rule, over `claims`; must give `true`.
    pub rule: String,
    /// What the audit record says when it does not.
    pub message: String,
}

/// Tenants accepted from a multi-tenant issuer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Tenants {
    /// The word `any`.
    Any(AnyTenant),
    /// These tenant ids.
    Listed(Vec<String>),
}

/// The word `any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnyTenant {
    /// Every tenant; policy decides.
    Any,
}

/// Lifetimes of embed tokens and of the Entra tokens that mint them.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// Upper bound of an embed token's life, sent as `lifetimeInMinutes`.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub lifetime: Duration,
    /// An Entra token with less life left is renewed before it mints.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub min_lifetime: Duration,
    /// The life that a token served from the cache has left at least.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub min_remaining: Duration,
    /// Whether embed tokens end with the caller's own token at the latest.
    pub bind_to_caller_session: bool,
}

/// Sizes and ages of the caches.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Bound of the embed-token cache.
    #[serde(deserialize_with = "units::bytes")]
    #[schemars(with = "String")]
    pub embed_tokens_max_bytes: u64,
    /// Age from which facts about items are renewed in the background.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub metadata_ttl: Duration,
    /// Age up to which facts may be used while their renewal fails.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub metadata_stale: Duration,
    /// A cache that replicas share; null: each has its own only.
    pub redis: Option<Redis>,
}

/// Embed tokens and rate limits that replicas share through Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// Where it is, such as `rediss://user:password@redis.example.com:6380/0`.
    #[schemars(with = "Option<String>")]
    pub url: Option<secret::Plain>,
    /// File with the URL, re-read when it changes.
    pub url_file: Option<PathBuf>,
    /// Environment variable with the URL.
    pub url_env: Option<String>,
    /// Consent to `redis://` beyond this machine: the password and the traffic's pattern are open then; tokens stay
    /// encrypted.
    pub allow_plaintext: bool,
    /// The key that everything is encrypted and named with: 32 bytes as hex or base64, the same on every replica.
    #[schemars(with = "Option<String>")]
    pub key: Option<secret::Plain>,
    /// File with the key, re-read when it changes.
    pub key_file: Option<PathBuf>,
    /// Environment variable with the key.
    pub key_env: Option<String>,
    /// A second key during rotation: what was stored under it is read, nothing is stored under it.
    #[schemars(with = "Option<String>")]
    pub key_previous: Option<secret::Plain>,
    /// File with the second key, re-read when it changes.
    pub key_previous_file: Option<PathBuf>,
    /// Environment variable with the second key.
    pub key_previous_env: Option<String>,
    /// What every name in Redis begins with.
    pub prefix: String,
    /// Longest time that a request waits for one answer of Redis; past it the broker does without.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Longest time that replicas wait for the one that is minting.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub lock_ttl: Duration,
    /// The resolved URL.
    #[serde(skip)]
    #[schemars(skip)]
    pub resolved_url: Secret,
    /// The resolved keys (`key`, then `key_previous`).
    #[serde(skip)]
    #[schemars(skip)]
    pub keys: Vec<Secret>,
}

/// Where the audit trail goes.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Standard output or a file.
    pub sink: AuditSink,
    /// The file, with `sink: file`; appended to.
    pub file: Option<PathBuf>,
    /// Whether a token may only be given out once its record is written.
    pub required: bool,
    /// When a file's content is brought to the disk.
    pub fsync: AuditFsync,
}

/// When the content of an audit file is brought to the disk, so that it survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditFsync {
    /// When the operating system sees fit.
    Never,
    /// Once a second, in the background: a power cut costs the last second at most.
    Interval,
    /// Before a record counts as written: a power cut costs nothing, and every token waits for the disk.
    Always,
}

/// Kind of audit sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditSink {
    /// One JSON line a record on standard output.
    Stdout,
    /// One JSON line a record in `audit.file`.
    File,
}

/// Logs and traces.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Shape of log lines.
    pub log_format: LogFormat,
    /// A level, or levels of targets, such as `info` or `info,embed_broker=debug`. `trace` is as `debug` in a release: what the
    /// libraries say at that level are bytes and frames, secrets among them.
    pub log_level: String,
    /// OTLP/HTTP endpoint for traces; null: none.
    pub otlp_endpoint: Option<Url>,
}

impl Telemetry {
    /// The filter that `log_level` describes.
    ///
    /// # Errors
    /// The first part that is neither a level nor a target and its level, such as `hyper=debug`. (The library takes any
    /// word for a target.)
    pub fn filter(&self) -> Result<Targets, String> {
        let mut filter = Targets::new();
        let parts = self.log_level.split(',').map(str::trim);
        let mut parts = parts.filter(|part| !part.is_empty()).peekable();
        if parts.peek().is_none() {
            return Err("is empty, and would silence the log".into());
        }
        for part in parts {
            let (target, level) = match part.split_once('=') {
                Some((target, level)) => (Some(target), level),
                None => (None, part),
            };
            let level = Some(level).filter(|level| !level.is_empty());
            let level: Option<LevelFilter> = level.and_then(|level| level.parse().ok());
            let is_name = |name: &str| {
                !name.is_empty()
                    && name
                        .chars()
                        .all(|c| c.is_alphanumeric() || "_:-".contains(c))
            };
            filter = match (target, level) {
                (None, Some(level)) => filter.with_default(level),
                (Some(target), Some(level)) if is_name(target) => filter.with_target(target, level),
                _ => {
                    return Err(format!(
                        "`{part}` is neither a level nor a target and its level"
                    ));
                }
            };
        }
        Ok(filter)
    }
}

/// Shape of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people at a terminal.
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_level_is_a_list_of_levels_and_targets() {
        let filter = |log_level: &str| {
            let log_level = log_level.to_owned();
            let telemetry = Telemetry {
                log_level,
                ..Telemetry::default()
            };
            telemetry.filter()
        };
        for (text, elsewhere, hyper) in [
            ("info", LevelFilter::INFO, LevelFilter::INFO),
            ("info,", LevelFilter::INFO, LevelFilter::INFO),
            ("warn, hyper=debug", LevelFilter::WARN, LevelFilter::DEBUG),
            ("hyper=off,ERROR", LevelFilter::ERROR, LevelFilter::OFF),
            ("hyper=debug", LevelFilter::OFF, LevelFilter::DEBUG),
        ] {
            let filter = filter(text).unwrap();
            for (target, expected) in [("embed_broker", elsewhere), ("hyper", hyper)] {
                for level in [
                    tracing::Level::ERROR,
                    tracing::Level::INFO,
                    tracing::Level::DEBUG,
                ] {
                    let enabled = filter.would_enable(target, &level);
                    assert_eq!(enabled, level <= expected, "{text}: {target} {level}");
                }
            }
        }
        for faulty in [
            "",
            ",",
            "inof",
            "info,hyper",
            "hyper=",
            "=info",
            "warn,embed_broker[request]=info",
        ] {
            assert!(filter(faulty).is_err(), "{faulty}");
        }
    }
}
