//! Keys come, change, and go; and the issuer is not always there.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::json;

use super::support::*;
use crate::authn::{Error, Verifier};
use crate::config;

/// Lets `duration` pass for caches and timers.
async fn pass(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// Waits until something in the background has happened.
async fn until(what: &str, happened: impl Fn() -> bool) {
    for _ in 0..200 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

#[tokio::test]
async fn fifty_cold_callers_cause_one_fetch() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    let all = (0..50).map(|_| verify(&verifier, &token));
    for outcome in futures_util::future::join_all(all).await {
        outcome.unwrap();
    }
    assert_eq!(idp.key_fetches(), 1);
}

#[tokio::test]
async fn a_key_rotated_right_after_the_start_is_picked_up() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    verify(&verifier, &RSA.token("k1", &claims(&idp.url, &json!({}))))
        .await
        .unwrap();
    idp.publish(&[RSA.jwk("k1"), OTHER_RSA.jwk("k2")]);
    verify(
        &verifier,
        &OTHER_RSA.token("k2", &claims(&idp.url, &json!({}))),
    )
    .await
    .unwrap();
    assert_eq!(idp.key_fetches(), 2);
}

#[tokio::test]
async fn made_up_key_ids_cause_one_fetch_in_fifteen_seconds() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let good = RSA.token("k1", &claims(&idp.url, &json!({})));
    verify(&verifier, &good).await.unwrap();
    let flood = |from: u32| {
        let tokens =
            (from..from + 20).map(|n| RSA.token(&format!("x{n}"), &claims(&idp.url, &json!({}))));
        futures_util::future::join_all(
            tokens.map(|token| async { verify(&verifier, &{ token }).await }),
        )
    };
    for outcome in flood(0).await {
        assert_eq!(reason(outcome), "the key id is unknown");
    }
    assert_eq!(
        idp.key_fetches(),
        2,
        "one at the start, one for all made-up ids"
    );
    pass(Duration::from_secs(16)).await;
    flood(20).await;
    assert_eq!(idp.key_fetches(), 3);
    verify(&verifier, &good).await.unwrap();
}

#[tokio::test]
async fn a_withdrawn_key_no_longer_counts_after_the_next_fetch() {
    let idp = Idp::start(&[RSA.jwk("k1"), OTHER_RSA.jwk("k2")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let (old, new) = (
        RSA.token("k1", &claims(&idp.url, &json!({}))),
        OTHER_RSA.token("k2", &claims(&idp.url, &json!({}))),
    );
    verify(&verifier, &old).await.unwrap();
    idp.publish(&[OTHER_RSA.jwk("k2")]);
    pass(Duration::from_secs(301)).await;
    verify(&verifier, &new).await.unwrap();
    until("the renewal", || {
        idp.key_fetches() == 2 && verifier.statuses()[0].keys == Some(1)
    })
    .await;
    assert_eq!(
        reason(verify(&verifier, &old).await),
        "the key id is unknown"
    );
    verify(&verifier, &new).await.unwrap();
}

#[tokio::test]
async fn an_emptied_key_set_withdraws_every_key() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    verify(&verifier, &token).await.unwrap();
    idp.publish(&[]);
    reason(verify(&verifier, &RSA.token("k2", &claims(&idp.url, &json!({})))).await);
    assert_eq!(
        reason(verify(&verifier, &token).await),
        "the key id is unknown"
    );
}

#[tokio::test]
async fn known_keys_go_on_while_the_issuer_fails() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    verify(&verifier, &token).await.unwrap();
    // The body of the failing answer is a good key set: the status counts.
    idp.publish(&[]);
    idp.set_down(true);
    pass(Duration::from_secs(3600)).await;
    verify(&verifier, &token).await.unwrap();
    until("the failed renewal", || {
        verifier.statuses()[0].last_error.is_some()
    })
    .await;
    verify(&verifier, &token).await.unwrap();
    let stranger = RSA.token("k9", &claims(&idp.url, &json!({})));
    assert_eq!(
        reason(verify(&verifier, &stranger).await),
        "the key id is unknown"
    );
}

#[tokio::test]
async fn without_any_keys_the_issuer_is_unavailable_and_recovers() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    idp.set_down(true);
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    for _ in 0..3 {
        match verify(&verifier, &token).await {
            Err(Error::IssuerUnavailable { issuer, reason }) => {
                assert_eq!(&*issuer, "main");
                assert!(reason.contains("status 500"), "{reason}");
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    idp.set_down(false);
    pass(Duration::from_secs(6)).await;
    verify(&verifier, &token).await.unwrap();
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_an_issuer_that_is_down() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let before = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    verify(&before, &token).await.unwrap();
    idp.set_down(true);
    let reload = |changes| {
        Verifier::new(
            &authn(vec![idp.issuer("main", &changes)]),
            &outbound(),
            Some(&before),
        )
        .unwrap()
    };
    let same = reload(json!({"audiences": ["embed-broker", "more"]}));
    drop(verify(&same, &token).await.unwrap());
    let elsewhere = reload(json!({"jwks_uri": format!("{}/jwks", idp.url)}));
    let outcome = verify(&elsewhere, &token).await;
    assert!(
        matches!(outcome, Err(Error::IssuerUnavailable { .. })),
        "keys of another address are not ours"
    );
}

#[tokio::test]
async fn the_background_task_fetches_renews_and_ends_with_its_verifier() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    assert_eq!(verifier.statuses()[0].keys, None);
    verifier.warm_up();
    verifier.warm_up();
    until("the first fetch", || verifier.statuses()[0].keys == Some(1)).await;
    assert_eq!(idp.key_fetches(), 1);
    pass(Duration::from_secs(301)).await;
    until("the renewal", || idp.key_fetches() == 2).await;
    drop(verifier);
    for _ in 0..3 {
        pass(Duration::from_secs(301)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(idp.key_fetches(), 2, "nobody needs the keys any more");
}

#[tokio::test]
async fn a_changed_key_file_is_used_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let write = |text: String| std::fs::write(&path, text).unwrap();
    write(json!({"keys": [RSA.jwk("k1")]}).to_string());
    let secret = config::Secret::from_file(&path).unwrap();
    let mut issuer: config::Issuer = serde_json::from_value(
        json!({"issuer": "https://login.example.com/", "audiences": ["embed-broker"]}),
    )
    .unwrap();
    issuer.jwks = Some(secret.clone());
    let verifier = verifier(vec![issuer]);
    let (first, second) = (
        RSA.token("k1", &claims("https://login.example.com/", &json!({}))),
        OTHER_RSA.token("k2", &claims("https://login.example.com/", &json!({}))),
    );
    let caller = verify(&verifier, &first).await.unwrap();
    assert_eq!(
        caller.issuer(),
        "login.example.com",
        "the host is the default name"
    );

    for broken in ["{}", r#"{"keys": []}"#, "not json"] {
        write(broken.to_owned());
        assert!(secret.refresh().unwrap());
        verify(&verifier, &first).await.unwrap();
        assert!(verifier.statuses()[0].last_error.is_some(), "{broken}");
        assert!(
            verifier.check_issuers().await[0].outcome.is_err(),
            "{broken}"
        );
    }
    write(json!({"keys": [OTHER_RSA.jwk("k2")]}).to_string());
    assert!(secret.refresh().unwrap());
    verify(&verifier, &second).await.unwrap();
    assert_eq!(
        reason(verify(&verifier, &first).await),
        "the key id is unknown"
    );
    assert_eq!(verifier.statuses()[0].last_error, None);
}

#[tokio::test]
async fn a_rotated_shared_secret_counts_at_once_and_a_short_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let token = |secret: &str| {
        let payload = claims("https://login.example.com/", &json!({})).to_string();
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        sign(
            &key,
            jsonwebtoken::Algorithm::HS256,
            r#"{"alg":"HS256"}"#,
            &payload,
        )
    };
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    std::fs::write(&path, &old).unwrap();
    let secret = config::Secret::from_file(&path).unwrap();
    let mut issuer: config::Issuer = serde_json::from_value(
        json!({"issuer": "https://login.example.com/", "audiences": ["embed-broker"]}),
    )
    .unwrap();
    issuer.hmac_secrets = vec![secret.clone()];
    let verifier = verifier(vec![issuer]);
    verify(&verifier, &token(&old)).await.unwrap();

    std::fs::write(&path, "short").unwrap();
    secret.refresh().unwrap();
    verify(&verifier, &token(&old)).await.unwrap();
    reason(verify(&verifier, &token("short")).await);

    std::fs::write(&path, &new).unwrap();
    secret.refresh().unwrap();
    verify(&verifier, &token(&new)).await.unwrap();
    reason(verify(&verifier, &token(&old)).await);
}

/// Verified often enough to be remembered, if it can be.
async fn remembered(verifier: &Verifier, token: &str) {
    for _ in 0..3 {
        verify(verifier, token).await.unwrap();
    }
}

#[tokio::test]
async fn a_withdrawn_key_ends_what_was_remembered_of_its_tokens() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    remembered(&verifier, &token).await;
    idp.publish(&[OTHER_RSA.jwk("k2")]);
    // Whoever comes with the new key makes the broker read the new set.
    let other = OTHER_RSA.token("k2", &claims(&idp.url, &json!({})));
    verify(&verifier, &other).await.unwrap();
    reason(verify(&verifier, &token).await);
}

#[tokio::test]
async fn a_remembered_token_still_has_the_keys_renewed() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    remembered(&verifier, &token).await;
    pass(Duration::from_secs(5 * 60)).await;
    verify(&verifier, &token).await.unwrap();
    until("the renewal", || idp.key_fetches() == 2).await;
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_exp() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    remembered(&verifier, &token).await;
    let bearer = crate::authn::BearerToken::new(token);
    let later = time::OffsetDateTime::from_unix_timestamp(NOW + 3600).unwrap();
    let outcome = verifier.verify(&bearer, later).await.map(drop);
    assert!(matches!(outcome, Err(Error::Expired)), "{outcome:?}");
}

#[tokio::test]
async fn another_signature_is_another_token() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    remembered(&verifier, &token).await;
    let (signed, _) = token.rsplit_once('.').unwrap();
    reason(verify(&verifier, &format!("{signed}.AAAA")).await);
}

#[tokio::test]
async fn a_caller_who_was_not_admitted_is_not_remembered() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    let bearer = crate::authn::BearerToken::new(token);
    let now = time::OffsetDateTime::from_unix_timestamp(NOW).unwrap();
    let caller = verifier.verify(&bearer, now).await.unwrap();
    assert_eq!(verifier.remembered_bytes(), 0, "verified");
    verifier.remember(&caller);
    let bytes = verifier.remembered_bytes();
    assert!((1_024..8_192).contains(&bytes), "admitted: {bytes}");
    // After a renewal of the keys the same token has another basis.
    pass(Duration::from_secs(301)).await;
    verify(&verifier, &RSA.token("k1", &claims(&idp.url, &json!({}))))
        .await
        .unwrap();
    until("the renewal", || {
        idp.key_fetches() == 2 && verifier.statuses()[0].age < Some(Duration::from_secs(60))
    })
    .await;
    let caller = verifier.verify(&bearer, now).await.unwrap();
    assert!(caller.basis.is_some(), "the former basis is gone");
    verifier.remember(&caller);
    let caller = verifier.verify(&bearer, now).await.unwrap();
    assert!(caller.basis.is_none(), "it is remembered again");
}

#[tokio::test]
async fn old_keys_are_not_kept_for_the_sake_of_remembered_callers() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    remembered(&verifier, &token).await;
    let old = std::sync::Arc::downgrade(&verifier.issuers[0].source.fresh().unwrap());
    idp.publish(&[OTHER_RSA.jwk("k2")]);
    let other = OTHER_RSA.token("k2", &claims(&idp.url, &json!({})));
    verify(&verifier, &other).await.unwrap();
    until("the end of the old set", || old.upgrade().is_none()).await;
}

#[tokio::test]
async fn what_is_remembered_is_bounded_by_its_real_size() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer("main", &json!({}))]);
    let filled = async |count: usize, claim: serde_json::Value| {
        for number in 0..count {
            let own = json!({"sub": format!("u{number}"), "x": claim});
            let token = RSA.token("k1", &claims(&idp.url, &own));
            verify(&verifier, &token).await.unwrap();
        }
        verifier.remembered_bytes()
    };
    // Each of these objects takes 640 bytes: such callers are not remembered at all.
    let bomb = vec![json!({"": 0}); 1_500];
    assert_eq!(filled(20, json!(bomb)).await, 0);
    // Some 40 KiB each, in a token of 500 bytes: they are, and no more than there is room for.
    let sixty = vec![json!({"": 0}); 50];
    let bytes = filled(1_500, json!(sixty)).await;
    assert!((30 << 20..=32 << 20).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn requests_that_wait_for_an_issuer_that_hangs_are_limited_and_known_keys_go_on() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let other = Idp::start(&[RSA.jwk("k1")]).await;
    let config = config::Authn {
        max_waiting: 8,
        ..authn(vec![
            idp.issuer("main", &json!({})),
            other.issuer("other", &json!({})),
        ])
    };
    let verifier = Verifier::new(&config, &outbound(), None).unwrap();
    let known = |number: u32| {
        let own = json!({ "sub": format!("u{number}") });
        RSA.token("k1", &claims(&idp.url, &own))
    };
    verify(&verifier, &known(0)).await.unwrap();
    // Due for renewal, so that the fetch for the first of them is needed by the known keys as well.
    pass(Duration::from_secs(301)).await;
    idp.set_hanging(true);
    let tokens: Vec<String> = (0..50)
        .map(|n| OTHER_RSA.token(&format!("x{n}"), &claims(&idp.url, &json!({}))))
        .collect();
    let mut unknown: futures_util::stream::FuturesUnordered<_> = tokens
        .iter()
        .map(|token| verify(&verifier, token))
        .collect();
    // Half of the share belongs to the other issuer.
    for _ in 0..46 {
        match unknown.next().await.unwrap() {
            Err(Error::IssuerUnavailable { issuer, reason }) => {
                assert_eq!(&*issuer, "main");
                assert!(reason.contains("wait for a fetch"), "{reason}");
            }
            outcome => panic!("{:?}", outcome.map(drop)),
        }
    }
    assert!(unknown.next().now_or_never().is_none(), "four wait");
    for number in 0..20 {
        let outcome = verify(&verifier, &known(number)).now_or_never();
        outcome.expect("known keys wait for nothing").unwrap();
    }
    let elsewhere = RSA.token("k1", &claims(&other.url, &json!({})));
    verify(&verifier, &elsewhere).await.unwrap();
    idp.set_hanging(false);
    while let Some(outcome) = unknown.next().await {
        assert_eq!(reason(outcome), "the key id is unknown");
    }
    // The places are free again, and nothing is fetched within the cool-down.
    for token in &tokens {
        assert_eq!(
            reason(verify(&verifier, token).await),
            "the key id is unknown"
        );
    }
}

#[tokio::test]
async fn callers_of_an_issuer_without_any_keys_are_limited_too() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    idp.set_hanging(true);
    let config = config::Authn {
        max_waiting: 4,
        ..authn(vec![idp.issuer("main", &json!({}))])
    };
    let verifier = Verifier::new(&config, &outbound(), None).unwrap();
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    let mut callers: futures_util::stream::FuturesUnordered<_> =
        (0..10).map(|_| verify(&verifier, &token)).collect();
    for _ in 0..6 {
        let outcome = callers.next().await.unwrap();
        assert!(matches!(outcome, Err(Error::IssuerUnavailable { .. })));
    }
    idp.set_hanging(false);
    while let Some(outcome) = callers.next().await {
        outcome.unwrap();
    }
}
