//! Any text as a policy: the loader reports or accepts it, and whatever it accepts decides without a panic, denies a
//! suspended caller as its first rule says, and never gives more than was asked.

#![no_main]

use std::sync::LazyLock;

use embed_broker::authn::Caller;
use embed_broker::policy::{Access, Ask, Policy, Surroundings};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

static SURROUNDINGS: LazyLock<Surroundings> = LazyLock::new(|| Surroundings {
    issuers: vec!["login".into()],
    multi_tenant_issuers: Vec::new(),
    principals: [
        ("default".to_owned(), false),
        ("archive".to_owned(), false),
        ("master".to_owned(), true),
    ]
    .into(),
    credential_headers: vec!["authorization".into(), "cookie".into()],
});

static CLAIMS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let claims = json!({
        "sub": "u1", "email": "ana@contoso.com", "groups": ["managers"], "regions": ["EMEA"], "tid": "contoso",
        "role": "auditor", "suspended": false, "exp": 1_800_000_000, "deep": {"a": [1, 2.5, null, {"b": []}]}
    });
    claims.as_object().cloned().unwrap_or_default()
});

fuzz_target!(|text: &str| {
    let policy = match Policy::parse(text, &SURROUNDINGS) {
        Ok(policy) => policy,
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused for no reason");
            for mistake in mistakes {
                assert!(
                    !mistake.place.is_empty()
                        && !mistake.problem.is_empty()
                        && !mistake.remedy.is_empty()
                );
            }
            return;
        }
    };
    let caller = Caller::assumed("login", CLAIMS.clone(), OffsetDateTime::UNIX_EPOCH);
    let catalogue = policy.catalogue(&caller);
    for entry in &catalogue {
        for access in [
            None,
            Some(Access::View),
            Some(Access::Edit),
            Some(Access::Create),
        ] {
            let target = entry.needs_target.then(|| "Target".to_owned());
            let ask = Ask {
                items: vec![entry.item.clone()],
                access,
                save_as: access.is_none(),
                target,
            };
            if let Ok(grants) = policy.decide(&caller, &ask) {
                assert_eq!(grants.len(), 1);
                let grant = &grants[0];
                assert!(
                    entry.access.contains(&grant.access()),
                    "more than the catalogue offers"
                );
                assert!(
                    access.is_none_or(|asked| grant.access() == asked),
                    "not what was asked"
                );
                assert!(
                    ask.save_as || !grant.save_as(),
                    "a copy that nobody asked for"
                );
                assert!(
                    SURROUNDINGS.principals.contains_key(grant.principal()),
                    "an unknown principal"
                );
                assert!(!grant.workspace().is_empty() && grant.profile() != Some(""));
                let identities = grant.identity().into_iter();
                for role in identities.flat_map(|identity| &identity.roles) {
                    assert!(!role.is_empty() && !role.contains(',') && role.chars().count() <= 50);
                }
            }
            let _ = policy.explain(&caller, &ask);
        }
    }
});
