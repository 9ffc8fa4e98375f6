//! Checks that need more than one key, or knowledge of what a value means.

mod callers;

use std::time::Duration;

use url::{Host, Url};

use super::{AuditSink, Config, Credential, Mistake, Principal};
use crate::guid::is_guid;

/// Whether the URL's host is this machine: by name, with or without the dot at its end, or by an address in any spelling.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name
            .strip_suffix('.')
            .unwrap_or(name)
            .eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        // Connections to an IPv4-mapped address go to the IPv4 address in it.
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
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
    callers::credentials_of_callers(config, &mut report);
    callers::issuers(config, &mut report);
    principals(config, &mut report);
    lifetimes(config, &mut report);
    if let Some(redis) = &config.cache.redis {
        report.0.extend(redis.mistakes());
    }
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
                && !origin.contains('*')
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
            report.add("audit.file", "is missing with sink: file", "name the file");
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
    if let Err(error) = config.telemetry.filter() {
        report.add(
            "telemetry.log_level",
            error,
            "write a level (error, warn, info, debug), or levels of targets, such as warn,embed_broker=debug",
        );
    }
    report.url(
        "telemetry.otlp_endpoint".into(),
        config.telemetry.otlp_endpoint.as_ref(),
    );
}

fn is_domain(text: &str) -> bool {
    text.contains('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_every_spelling_and_nobody_else_is_taken_for_it() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("localhost.", true),
            ("127.0.0.1", true),
            ("127.1", true),
            ("127.0.0.1.", true),
            ("127.255.0.7", true),
            ("2130706433", true),
            ("0x7f.0.0.1", true),
            ("[::1]", true),
            ("[0:0:0:0:0:0:0:1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("[::ffff:7f00:1]", true),
            // Resolved by whoever answers: not this machine for certain.
            ("login.localhost", false),
            ("localhost..", false),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
            ("0.0.0.0", false),
            ("[::]", false),
            ("[::ffff:10.0.0.1]", false),
            ("[::127.0.0.1]", false),
            ("10.0.0.1", false),
        ] {
            let url = Url::parse(&format!("http://{host}:8080/")).unwrap();
            assert_eq!(is_loopback(&url), expected, "{host}");
            assert_eq!(secure_or_loopback(&url), expected, "{host}");
        }
    }
}
