//! Checks that need more than one key, or knowledge of what a value means.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use url::{Host, Url};

use super::{AuditSink, Config, Credential, Issuer, Mistake, Principal, Tenants};

/// RFC 7518 asks for a key at least as long as the hash; RFC 8725 warns of secrets that can be guessed.
const MIN_HMAC_BYTES: usize = 32;

/// Signature algorithms an issuer may list.
const ALGORITHMS: [&str; 10] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256",
];

/// Whether the URL's host is this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// Whether the URL is https, or plain http to this machine.
#[must_use]
pub fn secure_or_loopback(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Collects mistakes under key paths.
struct Report<'a>(&'a mut Vec<Mistake>);

impl Report<'_> {
    fn add(
        &mut self,
        place: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Mistake::new(place, problem, remedy));
    }

    fn unless(&mut self, fine: bool, place: &str, problem: &str, remedy: &str) {
        if !fine {
            self.add(place, problem, remedy);
        }
    }

    fn url(&mut self, place: String, url: Option<&Url>) {
        if url.is_some_and(|url| !secure_or_loopback(url)) {
            self.add(
                place,
                "is no https URL",
                "use https; plain http is accepted to loopback hosts only",
            );
        }
    }
}

pub(super) fn check(config: &Config, mistakes: &mut Vec<Mistake>) {
    let mut report = Report(mistakes);
    server(config, &mut report);
    cors(config, &mut report);
    credentials_of_callers(config, &mut report);
    issuers(config, &mut report);
    principals(config, &mut report);
    lifetimes(config, &mut report);
    audit(config, &mut report);
    telemetry(config, &mut report);
}

fn server(config: &Config, report: &mut Report<'_>) {
    let server = &config.server;
    report.unless(
        server.max_in_flight > 0,
        "server.max_in_flight",
        "is 0",
        "allow at least one request",
    );
    report.unless(
        server.request_timeout >= Duration::from_secs(1),
        "server.request_timeout",
        "is under one second",
        "give upstream calls time, such as 10s",
    );
    report.unless(
        config.rate_limit.per_caller_per_minute == 0 || config.rate_limit.burst > 0,
        "rate_limit.burst",
        "is 0, so that no request would ever pass",
        "allow at least 1, or set per_caller_per_minute: 0 to switch the limit off",
    );
    if let Some(path) = &config.tls.extra_ca_file
        && let Err(error) = std::fs::File::open(path)
    {
        report.add(
            "tls.extra_ca_file",
            format!("cannot be read: {error}"),
            "name a readable PEM file",
        );
    }
}

fn cors(config: &Config, report: &mut Report<'_>) {
    for (i, origin) in config.cors.allowed_origins.iter().enumerate() {
        let exact = Url::parse(origin).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.origin().ascii_serialization() == *origin
        });
        if !exact {
            report.add(
                format!("cors.allowed_origins[{i}]"),
                format!("`{origin}` is no exact origin"),
                "write scheme, host and port as browsers send them, such as https://app.example.com: no path, slash, \
                 default port or wildcard",
            );
        }
    }
}

fn credentials_of_callers(config: &Config, report: &mut Report<'_>) {
    let authn = &config.authn;
    report.unless(
        authn.leeway <= Duration::from_secs(5 * 60),
        "authn.leeway",
        "is over five minutes",
        "forgive clock differences of seconds, such as 30s",
    );
    if let Some(name) = &authn.token_header {
        let valid = name
            .parse::<http::HeaderName>()
            .is_ok_and(|name| name != http::header::AUTHORIZATION && name != http::header::COOKIE);
        report.unless(
            valid,
            "authn.token_header",
            "is no header of its own",
            "name the header that the gateway sets, other than Authorization and Cookie",
        );
    }
    if let Some(name) = &authn.cookie {
        let valid = !name.is_empty() && name.parse::<http::HeaderName>().is_ok();
        report.unless(
            valid,
            "authn.cookie",
            "is no cookie name",
            "use letters, digits, `-` and `_`",
        );
    }
}

fn issuers(config: &Config, report: &mut Report<'_>) {
    let issuers = &config.authn.issuers;
    report.unless(
        !issuers.is_empty(),
        "authn.issuers",
        "is empty, so that nobody could sign in",
        "add an issuer",
    );
    let (mut names, mut urls) = (HashSet::new(), HashSet::new());
    for (i, issuer) in issuers.iter().enumerate() {
        let key = format!("authn.issuers[{i}]");
        if !names.insert(issuer.name()) {
            report.add(
                format!("{key}.name"),
                format!("`{}` is taken", issuer.name()),
                "give every issuer its own name",
            );
        }
        if !urls.insert(&issuer.issuer) {
            report.add(
                format!("{key}.issuer"),
                "stands twice",
                "give every issuer once, with all its audiences",
            );
        }
        issuer_itself(&key, issuer, report);
        issuer_keys(&key, issuer, report);
        issuer_tenants(&key, issuer, report);
    }
}

fn issuer_itself(key: &str, issuer: &Issuer, report: &mut Report<'_>) {
    let has_keys =
        issuer.jwks_uri.is_some() || issuer.jwks_file.is_some() || !issuer.hmac_secrets.is_empty();
    let url = Url::parse(&issuer.issuer).ok().filter(secure_or_loopback);
    if issuer.issuer.is_empty() {
        report.add(
            format!("{key}.issuer"),
            "is missing",
            "give the exact `iss` of the issuer's tokens",
        );
    } else if url.is_none() && !has_keys {
        report.add(
            format!("{key}.issuer"),
            "is no https URL, so that its keys cannot be discovered",
            "give the exact `iss` (https; plain http to loopback hosts only), or jwks_uri, jwks_file or hmac_secret",
        );
    }
    if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
        report.add(
            format!("{key}.audiences"),
            "must name at least one audience, none of them empty",
            "list the `aud` values that tokens for this broker carry",
        );
    }
    report.url(format!("{key}.jwks_uri"), issuer.jwks_uri.as_ref());
}

fn issuer_keys(key: &str, issuer: &Issuer, report: &mut Report<'_>) {
    for algorithm in issuer.algorithms() {
        if !ALGORITHMS.contains(&algorithm) {
            report.add(
                format!("{key}.algorithms"),
                format!("`{algorithm}` is not supported"),
                format!("choose among {}", ALGORITHMS.join(", ")),
            );
        }
    }
    let hmac = !issuer.hmac_secrets.is_empty();
    let lists_hmac = issuer.algorithms().any(|a| a == "HS256");
    let only_hmac = lists_hmac && issuer.algorithms().all(|a| a == "HS256");
    if hmac && !only_hmac || lists_hmac && !hmac {
        report.add(
            format!("{key}.algorithms"),
            "HS256 and hmac_secret go together, and with nothing else",
            "with hmac_secret write algorithms: [HS256]; otherwise leave HS256 out",
        );
    }
    let sources = [issuer.jwks_uri.is_some(), issuer.jwks_file.is_some(), hmac];
    if sources.iter().filter(|&&given| given).count() > 1 {
        report.add(
            key,
            "has more than one source of keys",
            "keep one of jwks_uri, jwks_file and hmac_secret: a shared secret beside public keys invites forgery",
        );
    }
    if issuer
        .hmac_secrets
        .iter()
        .any(|secret| secret.current().expose_secret().len() < MIN_HMAC_BYTES)
    {
        report.add(
            format!("{key}.hmac_secret"),
            format!("is shorter than {MIN_HMAC_BYTES} bytes"),
            "make one with `openssl rand -base64 48`",
        );
    }
}

fn issuer_tenants(key: &str, issuer: &Issuer, report: &mut Report<'_>) {
    let multi_tenant = issuer.issuer.contains("{tid}");
    match &issuer.tenants {
        None if multi_tenant => report.add(
            format!("{key}.tenants"),
            "is missing, though `issuer` holds {tid}",
            "list the accepted tenant ids, or write `any` and let policy decide",
        ),
        Some(_) if !multi_tenant => {
            report.add(
                format!("{key}.tenants"),
                "needs {tid} in `issuer`",
                "remove it, or use the {tid} form",
            );
        }
        Some(Tenants::Listed(ids)) if ids.is_empty() || ids.iter().any(|id| !is_guid(id)) => {
            report.add(
                format!("{key}.tenants"),
                "must be tenant ids (GUIDs) or `any`",
                "list at least one GUID",
            );
        }
        _ => {}
    }
}

fn principals(config: &Config, report: &mut Report<'_>) {
    if !config.principals.contains_key("default") {
        report.add(
            "principals.default",
            "is missing",
            "configure at least the principal `default`",
        );
    }
    for (name, principal) in &config.principals {
        principal_itself(&format!("principals.{name}"), principal, report);
    }
}

fn principal_itself(key: &str, principal: &Principal, report: &mut Report<'_>) {
    let managed = principal
        .credentials
        .iter()
        .all(|c| matches!(c, Credential::ManagedIdentity(_)));
    let tenant = &principal.tenant_id;
    if !(is_guid(tenant) || is_domain(tenant) || managed && tenant.is_empty()) {
        report.add(
            format!("{key}.tenant_id"),
            if tenant.is_empty() {
                "is missing"
            } else {
                "is neither a GUID nor a domain"
            },
            "give the Entra tenant's id (in quotes)",
        );
    }
    let client = &principal.client_id;
    if !(is_guid(client) || managed && client.is_empty()) {
        report.add(
            format!("{key}.client_id"),
            if client.is_empty() {
                "is missing"
            } else {
                "is no GUID"
            },
            "give the application (client) id of the app registration (in quotes)",
        );
    }
    if principal
        .object_id
        .as_deref()
        .is_some_and(|id| !is_guid(id))
    {
        report.add(
            format!("{key}.object_id"),
            "is no GUID",
            "give the object id shown under Enterprise applications, not App registrations",
        );
    }
    report.url(
        format!("{key}.authority_url"),
        principal.authority_url.as_ref(),
    );
    report.url(format!("{key}.api_url"), principal.api_url.as_ref());
    for (i, host) in principal.embed_hosts.iter().enumerate() {
        if host.is_empty() || host.contains('/') {
            report.add(
                format!("{key}.embed_hosts[{i}]"),
                "is no host name",
                "write a host such as app.powerbi.com",
            );
        }
    }
    master_user(key, principal, report);
}

fn master_user(key: &str, principal: &Principal, report: &mut Report<'_>) {
    report.unless(
        !principal.credentials.is_empty(),
        &format!("{key}.credentials"),
        "is empty, so that no token could be fetched",
        "add a credential, such as { kind: client_secret, secret_file: … }",
    );
    let Some(username) = principal.master_user() else {
        return;
    };
    report.unless(
        principal.allow_master_user,
        &format!("{key}.allow_master_user"),
        "is not true, though a credential is a master user",
        "use a service principal; or consent with allow_master_user: true: a master user sees all rows of an RLS model \
         when no identity is sent",
    );
    report.unless(
        principal.credentials.len() == 1,
        &format!("{key}.credentials"),
        "mixes a master user with other credentials",
        "give the master user a principal of its own",
    );
    report.unless(
        !username.is_empty(),
        &format!("{key}.credentials[0].username"),
        "is missing",
        "give the user principal name",
    );
}

fn lifetimes(config: &Config, report: &mut Report<'_>) {
    let (tokens, cache) = (&config.tokens, &config.cache);
    report.unless(
        tokens.lifetime >= Duration::from_secs(60),
        "tokens.lifetime",
        "is under one minute",
        "Power BI counts lifetimes in whole minutes: give at least 1m",
    );
    report.unless(
        cache.metadata_stale >= cache.metadata_ttl,
        "cache.metadata_stale",
        "is shorter than cache.metadata_ttl",
        "make it at least as long",
    );
}

fn audit(config: &Config, report: &mut Report<'_>) {
    match (config.audit.sink, &config.audit.file) {
        (AuditSink::File, None) => {
            report.add("audit.file", "is missing with sink: file", "name the file")
        }
        (AuditSink::File, Some(path)) => {
            // The file is opened as the sink will open it: a trail that cannot be written must not start.
            if let Err(error) = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
            {
                report.add(
                    "audit.file",
                    format!("{} cannot be opened for writing: {error}", path.display()),
                    "create its folder and let the broker's user write there",
                );
            }
        }
        (AuditSink::Stdout, Some(_)) => {
            report.add(
                "audit.file",
                "has no effect with sink: stdout",
                "write sink: file, or remove it",
            );
        }
        (AuditSink::Stdout, None) => {}
    }
}

fn telemetry(config: &Config, report: &mut Report<'_>) {
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.telemetry.log_level) {
        report.add(
            "telemetry.log_level",
            error.to_string(),
            "write a level (error, warn, info, debug) or a filter",
        );
    }
    report.url(
        "telemetry.otlp_endpoint".into(),
        config.telemetry.otlp_endpoint.as_ref(),
    );
    report.unless(
        cfg!(feature = "otlp") || config.telemetry.otlp_endpoint.is_none(),
        "telemetry.otlp_endpoint",
        "this build exports no traces",
        "use a build with the feature `otlp`, or remove it",
    );
}

impl Issuer {
    /// The CEL variable `issuer`: the configured name, else the host.
    #[must_use]
    pub fn name(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let host = Url::parse(&self.issuer)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned));
        host.unwrap_or_else(|| self.issuer.clone())
    }

    /// Accepted `alg` values.
    pub fn algorithms(&self) -> impl Iterator<Item = &str> {
        const DEFAULT: &[String] = &[];
        let listed = self
            .algorithms
            .as_deref()
            .unwrap_or(DEFAULT)
            .iter()
            .map(String::as_str);
        listed.chain(self.algorithms.is_none().then_some("RS256"))
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

fn is_domain(text: &str) -> bool {
    text.contains('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}
