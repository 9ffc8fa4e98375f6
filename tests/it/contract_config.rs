//! What configuration files promise: every mistake at once, each at its key, and the environment for single values.

use std::collections::{BTreeSet, HashMap};

use embed_broker::config::{Config, Mistake};
use tempfile::TempDir;

const GUID: &str = "11111111-1111-4111-8111-111111111111";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The smallest configuration, with `more` top-level sections.
fn smallest(more: &str) -> String {
    with_issuer(
        "issuer: https://login.example.com/, audiences: [embed-broker]",
        more,
    )
}

fn with_issuer(issuer: &str, more: &str) -> String {
    format!(
        "authn: {{ issuers: [{{ {issuer} }}] }}\n\
         principals: {{ default: {{ tenant_id: {GUID}, client_id: {GUID}, credentials: [{{ kind: client_secret, \
         secret: s }}] }} }}\n{more}\n"
    )
}

fn read_with(text: &str, environment: &[(&str, &str)]) -> (Option<Config>, Vec<Mistake>) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("broker.yaml");
    std::fs::write(&file, text).unwrap();
    let environment: HashMap<String, String> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Config::read(&file, Some(environment))
}

fn places(text: &str, environment: &[(&str, &str)]) -> BTreeSet<String> {
    let (_, mistakes) = read_with(text, environment);
    for mistake in &mistakes {
        assert!(
            !mistake.problem.is_empty() && !mistake.remedy.is_empty(),
            "{mistake}"
        );
    }
    mistakes.into_iter().map(|mistake| mistake.place).collect()
}

#[track_caller]
fn assert_places(text: &str, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
    assert_eq!(places(text, &[]), expected, "{text}");
}

#[test]
fn the_smallest_configuration_is_in_order() {
    assert_places(&smallest(""), &[]);
}

#[test]
fn single_values_come_from_the_environment_and_lists_do_not() {
    let (config, mistakes) = read_with(
        &smallest("tokens: { lifetime: 20m }"),
        &[
            ("EMBED_BROKER__TOKENS__LIFETIME", "5m"),
            ("EMBED_BROKER__SERVER__LISTEN", "127.0.0.1:1"),
            ("EMBED_BROKER__SERVER__MAX_IN_FLIGHT", "7"),
            ("EMBED_BROKER__TOKENS__BIND_TO_CALLER_SESSION", "true"),
            ("EMBED_BROKER__PRINCIPALS__DEFAULT__CLOUD", "gcc_high"),
            ("EMBED_BROKER_TOKENS_LIFETIME", "1m"),
        ],
    );
    assert_eq!(mistakes, []);
    let config = config.unwrap();
    assert_eq!(config.tokens.lifetime.as_secs(), 300);
    assert_eq!(config.server.listen.port(), 1);
    assert_eq!(config.server.max_in_flight, 7);
    assert!(config.tokens.bind_to_caller_session);
    for (name, value, place) in [
        (
            "CORS__ALLOWED_ORIGINS",
            "https://a.example",
            "cors.allowed_origins",
        ),
        ("SERVER__TRUSTED_PROXIES", "", "server.trusted_proxies"),
        ("AUTHN__ISSUERS", "[]", "authn.issuers"),
        (
            "AUTHN__ISSUERS__0__ISSUER",
            "https://a.example",
            "authn.issuers",
        ),
        (
            "PRINCIPALS__DEFAULT__EMBED_HOSTS",
            "a.example",
            "principals.default.embed_hosts",
        ),
        ("SERVER__WROKERS", "1", "server.wrokers"),
        ("SERVRE__LISTEN", "1", "servre"),
        ("SERVER__MAX_IN_FLIGHT", "many", "server.max_in_flight"),
    ] {
        let name = format!("EMBED_BROKER__{name}");
        let expected = BTreeSet::from([place.to_owned()]);
        assert_eq!(places(&smallest(""), &[(&name, value)]), expected, "{name}");
    }
}

#[test]
fn a_mistake_in_a_list_is_told_at_the_entry_that_has_it() {
    assert_places(
        &smallest(
            "server: { trusted_proxies: [10.0.0.0/8, 10.0.0.1, x, 10.1.0.0/16, 10.0.0.0/99] }",
        ),
        &[
            "server.trusted_proxies[1]",
            "server.trusted_proxies[2]",
            "server.trusted_proxies[4]",
        ],
    );
    // Within entries that are themselves in a list, behind one that is gone as a whole.
    let issuers = "authn: { issuers: [5, { issuer: https://a.example/, audiences: [b], validations: [{ rule: 'true' }, \
                   { rule: 'true', message: m, remark: r }] }, { issuer: https://c.example/, audience: d, audiences: [d] }] }";
    let rest = smallest("");
    let principals = rest.split_once('\n').unwrap().1;
    assert_places(
        &format!("{issuers}\n{principals}"),
        &[
            "authn.issuers[0]",
            "authn.issuers[1].validations[0]",
            "authn.issuers[1].validations[1].remark",
            "authn.issuers[2].audience",
        ],
    );
}

#[test]
fn everything_that_is_wrong_is_told_in_one_run() {
    assert_places(
        &smallest(
            "servr: {}\n\
             server: { listen: nowhere, request_timeout: 5, max_in_flight: 0 }\n\
             cors: { allowed_origins: ['*', 'https://*.example', https://a.example/, https://ok.example] }\n\
             tokens: { lifetime: soon, min_remaining: -1s }\n\
             cache: { embed_tokens_max_bytes: lots }\n\
             audit: { sink: file, required: perhaps }\n\
             telemetry: { log_format: xml, otlp_endpoint: 'http://collector:4318' }",
        ),
        &[
            "servr",
            "server.listen",
            "server.request_timeout",
            "server.max_in_flight",
            "cors.allowed_origins[0]",
            "cors.allowed_origins[1]",
            "cors.allowed_origins[2]",
            "tokens.lifetime",
            "tokens.min_remaining",
            "cache.embed_tokens_max_bytes",
            "audit.file",
            "audit.required",
            "telemetry.log_format",
            "telemetry.otlp_endpoint",
        ],
    );
}

#[test]
fn issuers_that_would_be_unsafe_are_refused() {
    let issuer = "issuer: https://login.example.com/, audiences: [b]";
    for (more, place) in [
        ("algorithms: [HS256]", "algorithms"),
        ("algorithms: [HS512]", "algorithms"),
        ("algorithms: [none]", "algorithms"),
        (&*format!("hmac_secret: {SECRET}"), "algorithms"),
        (
            &*format!("algorithms: [HS256, RS256], hmac_secret: {SECRET}"),
            "algorithms",
        ),
        ("algorithms: [HS256], hmac_secret: short", "hmac_secret"),
        (
            &*format!("algorithms: [HS256], hmac_secret: {SECRET}, hmac_secret_previous: short"),
            "hmac_secret",
        ),
        (
            &*format!("algorithms: [HS256], hmac_secret_previous: {SECRET}"),
            "hmac_secret",
        ),
        ("tenants: any", "tenants"),
        ("jwks_uri: http://login.example.com/keys", "jwks_uri"),
        ("jwks_file: nowhere.json", "jwks_file"),
    ] {
        let expected = format!("authn.issuers[0].{place}");
        assert_places(&with_issuer(&format!("{issuer}, {more}"), ""), &[&expected]);
    }
    for (issuer, place) in [
        (
            "issuer: 'http://login.example.com/', audiences: [b]",
            "issuer",
        ),
        ("issuer: https://login.example.com/", "audiences"),
        (
            "issuer: https://login.example.com/, audiences: ['']",
            "audiences",
        ),
        (
            "issuer: 'https://a.example/{tid}', audiences: [b]",
            "tenants",
        ),
        (
            "issuer: 'https://a.example/{tid}', audiences: [b], tenants: []",
            "tenants",
        ),
        (
            "issuer: 'https://a.example/{tid}', audiences: [b], tenants: [contoso]",
            "tenants",
        ),
        (
            "issuer: 'https://a.example/{tid}/{tid}', audiences: [b], tenants: any",
            "issuer",
        ),
    ] {
        let expected = format!("authn.issuers[0].{place}");
        assert_places(&with_issuer(issuer, ""), &[&expected]);
    }
}

#[test]
fn a_name_of_an_issuer_cannot_run_into_a_claim() {
    let name = "authn.issuers[0].name";
    let login = "issuer: https://login.example.com/, audiences: [b]";
    for bad in ["a/b", "a b", "a:b", "é", "/", "[::1]", "a%2Fb"] {
        assert_places(
            &with_issuer(&format!("{login}, name: '{bad}'"), ""),
            &[name],
        );
    }
    for good in ["login", "Login-2.example_com", "-", "7"] {
        assert_places(&with_issuer(&format!("{login}, name: '{good}'"), ""), &[]);
    }
    // The default is the host; what has none is its own name.
    let keys = format!("audiences: [b], algorithms: [HS256], hmac_secret: {SECRET}");
    for (issuer, sound) in [
        ("https://[2001:db8::1]/", false),
        ("urn:example:login", false),
        ("accounts.example.com/", false),
        ("accounts.example.com", true),
        ("https://xn--bcher-kva.example/", true),
        ("https://a_b.example/x/y", true),
    ] {
        let entry = format!("issuer: '{issuer}', {keys}");
        let expected: &[&str] = if sound { &[] } else { &[name] };
        assert_places(&with_issuer(&entry, ""), expected);
        assert_places(&with_issuer(&format!("{entry}, name: named"), ""), &[]);
    }
    let (_, mistakes) = read_with(
        &with_issuer(&format!("issuer: 'https://[2001:db8::1]/', {keys}"), ""),
        &[],
    );
    assert!(mistakes[0].remedy.contains("set `name`"), "{}", mistakes[0]);
}

#[test]
fn no_two_issuers_have_one_name() {
    let issuers = |second: &str| {
        let first = "issuer: https://login.example.com/a, audiences: [b] }, { ";
        with_issuer(&format!("{first}{second}, audiences: [b]"), "")
    };
    let taken = ["authn.issuers[1].name"];
    assert_places(&issuers("issuer: https://login.example.com/b"), &taken);
    let named = "issuer: https://other.example.com/, name: login.example.com";
    assert_places(&issuers(named), &taken);
    assert_places(
        &issuers("issuer: https://login.example.com/b, name: b"),
        &[],
    );
}

#[test]
fn an_issuer_with_one_tenant_is_not_multi_tenant() {
    const OTHER: &str = "22222222-2222-4222-8222-222222222222";
    let other_case = "abcdefab-cdef-4abc-8def-abcdefabcdef";
    for (tenants, several) in [
        ("any".to_owned(), true),
        (format!("[{GUID}, {OTHER}]"), true),
        (format!("[{GUID}]"), false),
        (format!("[{GUID}, {GUID}]"), false),
        (
            format!("[{other_case}, {}]", other_case.to_ascii_uppercase()),
            false,
        ),
    ] {
        let issuer = "issuer: 'https://login.example.com/{tid}/v2.0', audiences: [b]";
        let (config, mistakes) = read_with(
            &with_issuer(&format!("{issuer}, tenants: {tenants}"), ""),
            &[],
        );
        assert_eq!(mistakes, []);
        let issuer = &config.unwrap().authn.issuers[0];
        assert_eq!(issuer.is_multi_tenant(), several, "{tenants}");
    }
    let (config, _) = read_with(&smallest(""), &[]);
    assert!(!config.unwrap().authn.issuers[0].is_multi_tenant());
}

#[test]
fn a_secret_is_given_in_exactly_one_way() {
    let principal = |credential: &str| {
        let text = smallest("");
        text.replace(
            "{ kind: client_secret, secret: s }",
            &format!("{{ {credential} }}"),
        )
    };
    let place = "principals.default.credentials[0].secret";
    assert_places(&principal("kind: client_secret"), &[place]);
    assert_places(
        &principal("kind: client_secret, secret: s, secret_file: f"),
        &[place],
    );
    assert_places(
        &principal("kind: client_secret, secret_file: nowhere"),
        &[place],
    );
    assert_places(
        &principal("kind: client_secret, secret_env: EMBED_BROKER_NO_SUCH_VARIABLE"),
        &[place],
    );
    // A faulty key is not missing as well.
    let kind = "principals.default.credentials[0].kind";
    assert_places(&principal("kind: password, secret: s"), &[kind]);
    // YAML would make 7 of it, and a secret that was changed on the way is worse than one that is refused.
    assert_places(
        &principal("kind: client_secret, secret: 007"),
        &["principals.default.credentials[0]"],
    );
}

#[test]
fn paths_begin_at_the_files_folder_and_one_line_break_is_no_part_of_a_secret() {
    use secrecy::ExposeSecret as _;
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    std::fs::write(folder.path().join("secrets/pbi"), "hunter2\n").unwrap();
    let text = smallest("policy_file: rules/policy.yaml\naudit: { sink: file, file: audit.jsonl }");
    let text = text.replace("secret: s", "secret_file: secrets/pbi");
    let file = folder.path().join("broker.yaml");
    std::fs::write(&file, text).unwrap();
    let (config, mistakes) = Config::read(&file, Some(HashMap::new()));
    assert_eq!(mistakes, []);
    let config = config.unwrap();
    assert_eq!(config.policy_file, folder.path().join("rules/policy.yaml"));
    assert_eq!(config.audit.file, Some(folder.path().join("audit.jsonl")));
    let (_, secret) = config.secrets().next().unwrap();
    assert_eq!(secret.current().expose_secret(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_master_user_needs_consent_and_stands_alone() {
    let master = "kind: master_user, username: m@contoso.com, password: p";
    let with = |credentials: &str, more: &str| {
        let text = smallest("");
        let text = text.replace("{ kind: client_secret, secret: s }", credentials);
        text.replace("client_id", &format!("{more}client_id"))
    };
    let alone = format!("{{ {master} }}");
    assert_places(&with(&alone, "allow_master_user: true, "), &[]);
    assert_places(&with(&alone, ""), &["principals.default.allow_master_user"]);
    let beside = format!("{alone}, {{ kind: client_secret, secret: s }}");
    assert_places(
        &with(&beside, "allow_master_user: true, "),
        &["principals.default.credentials"],
    );
}

#[test]
fn what_is_not_set_has_the_documented_default() {
    let (config, _) = read_with(&smallest(""), &[]);
    let config = config.unwrap();
    let issuer = &config.authn.issuers[0];
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.server.ops_listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.server.request_timeout.as_secs(), 10);
    assert_eq!(config.server.shutdown_grace.as_secs(), 20);
    assert_eq!(config.server.max_in_flight, 1024);
    assert_eq!(
        (
            config.rate_limit.per_caller_per_minute,
            config.rate_limit.burst
        ),
        (60, 20)
    );
    assert_eq!(config.authn.leeway.as_secs(), 30);
    assert_eq!(issuer.name(), "login.example.com");
    assert_eq!(issuer.algorithms().collect::<Vec<_>>(), ["RS256"]);
    assert_eq!(config.tokens.lifetime.as_secs(), 3600);
    assert_eq!(config.tokens.min_lifetime.as_secs(), 1800);
    assert_eq!(config.tokens.min_remaining.as_secs(), 600);
    assert!(!config.tokens.bind_to_caller_session);
    assert_eq!(config.cache.embed_tokens_max_bytes, 64 << 20);
    assert_eq!(config.cache.metadata_ttl.as_secs(), 900);
    assert_eq!(config.cache.metadata_stale.as_secs(), 3600);
    assert!(config.audit.required);
    assert!(config.policy_file.ends_with("policy.yaml"));
}
