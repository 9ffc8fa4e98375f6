//! What settings are when the file leaves them out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    Audit, AuditFsync, AuditSink, Authn, Cache, Config, Cors, LogFormat, RateLimit, Redis, Secret,
    Server, Telemetry, Tls, Tokens,
};

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            cors: Cors::default(),
            tls: Tls::default(),
            rate_limit: RateLimit::default(),
            authn: Authn::default(),
            principals: BTreeMap::new(),
            tokens: Tokens::default(),
            cache: Cache::default(),
            audit: Audit::default(),
            telemetry: Telemetry::default(),
            policy_file: PathBuf::from("policy.yaml"),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            ops_listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            request_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(20),
            max_in_flight: 1024,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            per_caller_per_minute: 60,
            burst: 20,
        }
    }
}

impl Default for Authn {
    fn default() -> Self {
        Self {
            token_header: None,
            cookie: None,
            leeway: Duration::from_secs(30),
            issuers: Vec::new(),
            max_waiting: Server::default().max_in_flight / 2,
        }
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(60 * 60),
            min_lifetime: Duration::from_secs(30 * 60),
            min_remaining: Duration::from_secs(10 * 60),
            bind_to_caller_session: false,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            embed_tokens_max_bytes: 64 * 1024 * 1024,
            metadata_ttl: Duration::from_secs(15 * 60),
            metadata_stale: Duration::from_secs(60 * 60),
            redis: None,
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            url_env: None,
            allow_plaintext: false,
            key: None,
            key_file: None,
            key_env: None,
            key_previous: None,
            key_previous_file: None,
            key_previous_env: None,
            prefix: "embed-broker:".into(),
            timeout: Duration::from_millis(50),
            lock_ttl: Duration::from_secs(5),
            resolved_url: Secret::default(),
            keys: Vec::new(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            sink: AuditSink::Stdout,
            file: None,
            required: true,
            fsync: AuditFsync::Interval,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Json,
            log_level: "info".into(),
            otlp_endpoint: None,
        }
    }
}
