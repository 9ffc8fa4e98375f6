//! Any text as a configuration, with variables `NAME=value` behind a line `---`: no panic, no endless search for
//! mistakes, each of which has a problem and a remedy, and no secret in `Debug`.

#![no_main]

use std::collections::HashMap;

use embed_broker::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (text, variables) = text.split_once("\n---\n").unwrap_or((text, ""));
    let variables: HashMap<String, String> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("EMBED_BROKER__{name}"), value.to_owned()))
        .collect();
    let (config, mistakes) = Config::fuzz_read(text, variables);
    assert!(config.is_some() || !mistakes.is_empty());
    for mistake in &mistakes {
        assert!(
            !mistake.problem.is_empty() && !mistake.remedy.is_empty(),
            "{mistake}"
        );
    }
    let Some(config) = config else { return };
    let shown = format!("{config:?}");
    for key in [
        "secret: Some(",
        "secret_previous: Some(",
        "password: Some(",
        "certificate: Some(",
    ] {
        for (at, _) in shown.match_indices(key).filter(|_| !text.contains("Some(")) {
            assert!(shown[at + key.len()..].starts_with("[REDACTED]"), "{shown}");
        }
    }
    if mistakes.is_empty() {
        assert!(config.principals.contains_key("default") && !config.authn.issuers.is_empty());
        assert!(config.server.max_in_flight > 0 && config.tokens.lifetime.as_secs() >= 60);
        for issuer in &config.authn.issuers {
            assert!(
                !issuer.audiences.is_empty() && issuer.audiences.iter().all(|aud| !aud.is_empty())
            );
            assert!(
                issuer.algorithms().all(|name| !name.starts_with("HS")),
                "no secret is resolved here"
            );
        }
    }
});
