//! The store against a token endpoint on loopback.

mod answers;
mod credentials;
mod failover;
mod managed_identity;
mod support;

use std::time::Duration;

use self::support::{
    Answer, CLIENT, Entra, Log, SecretFile, TENANT, client_secret, plain_store, principal, show,
    skip, store, text, try_store, until,
};
use super::*;

#[tokio::test]
async fn fifty_callers_share_one_request() {
    let entra = Entra::start().await;
    let tokens = plain_store(&entra);
    let all = (0..50).map(|_| tokens.with_life("default"));
    for outcome in futures_util::future::join_all(all).await {
        assert_eq!(show(&outcome.unwrap()), "token-1");
    }
    assert_eq!(entra.count(), 1);
}

#[tokio::test]
async fn the_form_is_that_of_the_client_credentials_grant() {
    let entra = Entra::start().await;
    text(&plain_store(&entra)).await;
    let asked = entra.last();
    let form: Vec<(&str, &str)> = asked
        .form
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        form,
        [
            ("client_id", CLIENT),
            ("client_secret", "s3cret"),
            ("grant_type", "client_credentials"),
            ("scope", "https://analysis.windows.net/powerbi/api/.default"),
        ]
    );
}

#[tokio::test]
async fn the_authority_may_have_a_path_with_or_without_a_slash_at_its_end() {
    let entra = Entra::start().await;
    for path in ["", "entra", "entra/", "a/b/"] {
        let authority = entra.url().join(path).unwrap();
        let secret = SecretFile::new("s");
        let tokens = try_store(principal(&authority, vec![client_secret(&secret)]), 60).unwrap();
        text(&tokens).await;
        let prefix = path.trim_end_matches('/');
        let expected = format!("/{prefix}/{TENANT}/oauth2/v2.0/token").replace("//", "/");
        assert_eq!(entra.last().uri.path(), expected);
    }
}

#[test]
fn an_authority_that_would_carry_secrets_in_the_clear_is_refused_at_load() {
    for authority in ["http://login.example.com/", "ftp://127.0.0.1/"] {
        let secret = SecretFile::new("s");
        let authority = authority.parse().unwrap();
        let principal = principal(&authority, vec![client_secret(&secret)]);
        let mistakes = try_store(principal, 60).err().unwrap();
        assert_eq!(mistakes[0].place, "principals.default.authority_url");
    }
}

#[tokio::test]
async fn a_token_near_its_minimum_is_renewed_in_the_background() {
    let entra = Entra::start().await;
    let tokens = store(&entra, vec![client_secret(&SecretFile::new("s"))], 3590);
    assert_eq!(text(&tokens).await, "token-1");
    skip(61).await;
    assert_eq!(text(&tokens).await, "token-1", "nobody waits for a renewal");
    until(|| entra.count() == 2).await;
    until(|| tokens.status()["default"].fetches.succeeded == 2).await;
    assert_eq!(text(&tokens).await, "token-2");
    assert_eq!(entra.count(), 2);
}

#[tokio::test]
async fn a_token_below_its_minimum_is_renewed_before_use() {
    let entra = Entra::start().await;
    let tokens = plain_store(&entra);
    entra.next(Answer::token("ageing", 1700));
    assert_eq!(text(&tokens).await, "ageing");
    skip(61).await;
    assert_eq!(text(&tokens).await, "token-2");
}

#[tokio::test]
async fn a_short_fresh_token_is_used_with_one_warning_and_not_fetched_in_a_loop() {
    let entra = Entra::start().await;
    let log = Log::start(tracing::Level::WARN);
    entra.life(600);
    let tokens = plain_store(&entra);
    for _ in 0..100 {
        assert_eq!(text(&tokens).await, "token-1");
    }
    assert_eq!(entra.count(), 1);
    skip(61).await;
    for _ in 0..100 {
        assert_eq!(text(&tokens).await, "token-2", "once a minute it is tried");
    }
    assert_eq!(entra.count(), 2);
    assert_eq!(log.count("shorter than tokens.min_lifetime"), 1);
}

#[tokio::test]
async fn a_platform_that_hands_out_the_same_ageing_token_again_is_not_asked_in_a_loop() {
    let entra = Entra::start().await;
    entra.always(Answer::token("ageing", 900));
    let tokens = plain_store(&entra);
    for minute in 1..=3 {
        for _ in 0..20 {
            assert_eq!(text(&tokens).await, "ageing");
        }
        assert_eq!(entra.count(), minute);
        skip(61).await;
    }
}

#[tokio::test]
async fn the_old_token_is_served_while_entra_is_down() {
    let entra = Entra::start().await;
    let tokens = plain_store(&entra);
    entra.next(Answer::token("old", 1700));
    assert_eq!(text(&tokens).await, "old");
    skip(61).await;
    entra.always(Answer::new(503, "down"));
    for _ in 0..50 {
        assert_eq!(text(&tokens).await, "old");
    }
    assert_eq!(entra.count(), 2, "a failure has a cool-down");
    let error = tokens.status()["default"].last_error.clone().unwrap();
    assert!(error.contains("HTTP 503"), "{error}");
    entra.recover();
    skip(6).await;
    assert_eq!(text(&tokens).await, "token-3");
    assert_eq!(tokens.status()["default"].last_error, None);
}

#[tokio::test]
async fn the_old_token_is_served_soon_when_entra_hangs() {
    let entra = Entra::start().await;
    let tokens = plain_store(&entra);
    entra.next(Answer::token("old", 1700));
    assert_eq!(text(&tokens).await, "old");
    skip(61).await;
    entra.always(Answer::new(503, "").after(Duration::from_secs(3600)));
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    assert_eq!(text(&tokens).await, "old");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn without_a_token_a_hanging_entra_costs_one_fetch_timeout() {
    let entra = Entra::start().await;
    let secrets = [SecretFile::new("a"), SecretFile::new("b")];
    let tokens = store(&entra, secrets.iter().map(client_secret).collect(), 1800);
    entra.always(Answer::new(503, "").after(Duration::from_secs(3600)));
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let error = text(&tokens).await;
    assert!(error.contains("no answer in time"), "{error}");
    assert!(start.elapsed() <= source::FETCH_TIMEOUT + Duration::from_millis(100));
}

#[tokio::test]
async fn an_expired_token_is_replaced() {
    let entra = Entra::start().await;
    let tokens = plain_store(&entra);
    entra.next(Answer::token("brief", 7));
    assert_eq!(text(&tokens).await, "brief");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(text(&tokens).await, "token-2");
}

#[tokio::test]
async fn a_refused_token_is_never_served_again() {
    let entra = Entra::start().await;
    let tokens = plain_store(&entra);
    let first = tokens.with_life("default").await.unwrap();
    let second = tokens.instead_of("default", &first).await.unwrap();
    assert_eq!(show(&second), "token-2");
    let late = tokens.instead_of("default", &first).await.unwrap();
    assert_eq!(show(&late), "token-2", "whoever comes late fetches nothing");
    assert_eq!(entra.count(), 2);

    entra.always(Answer::new(503, "down"));
    tokens.instead_of("default", &second).await.unwrap_err();
    tokens.with_life("default").await.unwrap_err();
    entra.always(Answer::token("token-2", 3600));
    skip(6).await;
    let error = tokens.with_life("default").await.unwrap_err();
    assert!(error.to_string().contains("Power BI refuses"), "{error}");
    entra.recover();
    skip(6).await;
    assert_eq!(text(&tokens).await, format!("token-{}", entra.count()));
}

#[tokio::test]
async fn a_permanent_refusal_is_not_repeated_within_half_a_minute() {
    let entra = Entra::start().await;
    let tokens = plain_store(&entra);
    entra.always(Answer::refusal("invalid_client", 7_000_222));
    for _ in 0..100 {
        assert!(text(&tokens).await.contains("AADSTS7000222"));
    }
    assert_eq!(entra.count(), 1);
    skip(29).await;
    text(&tokens).await;
    assert_eq!(entra.count(), 1);
    skip(2).await;
    entra.recover();
    assert_eq!(text(&tokens).await, "token-2", "it recovers by itself");
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_a_minute() {
    for (asked, before, after) in [("20", 19, 2), ("3600", 59, 2)] {
        let entra = Entra::start().await;
        let tokens = plain_store(&entra);
        entra.next(Answer::new(429, "Too Many Requests").with("Retry-After", asked));
        let error = text(&tokens).await;
        assert!(error.contains("too many requests"), "{error}");
        skip(before).await;
        text(&tokens).await;
        assert_eq!(entra.count(), 1, "Retry-After {asked}");
        skip(after).await;
        assert_eq!(text(&tokens).await, "token-2");
    }
}

#[tokio::test]
async fn a_changed_secret_file_heals_a_wrong_secret() {
    let entra = Entra::start().await;
    let secret = SecretFile::new("wrong");
    let tokens = store(&entra, vec![client_secret(&secret)], 1800);
    entra.rule(|asked| {
        (asked.form["client_secret"] == "wrong")
            .then(|| Answer::refusal("invalid_client", 7_000_215))
    });
    assert!(text(&tokens).await.contains("AADSTS7000215"));
    secret.change("right\n");
    skip(31).await;
    assert_eq!(text(&tokens).await, "token-2");
    assert_eq!(entra.last().form["client_secret"], "right");
}

#[tokio::test]
async fn warm_up_ends_when_entra_has_recovered() {
    let entra = Entra::start().await;
    let tokens = Arc::new(plain_store(&entra));
    entra.next(Answer::new(503, "down"));
    let warming = Arc::clone(&tokens);
    let task = tokio::spawn(async move { warming.warm_up("default").await });
    until(|| entra.count() == 1).await;
    assert!(tokens.status()["default"].token_expires_at.is_none());
    for _ in 0..4 {
        skip(2).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(entra.count(), 2);
    assert!(tokens.status()["default"].token_expires_at.is_some());
    tokens.warm_up("nobody").await;
}

#[tokio::test]
async fn a_check_tries_every_credential_and_leaves_the_store_alone() {
    let entra = Entra::start().await;
    let secrets = [SecretFile::new("expired"), SecretFile::new("good")];
    let tokens = store(&entra, secrets.iter().map(client_secret).collect(), 1800);
    entra.next(Answer::refusal("invalid_client", 7_000_222));
    let checks = tokens.check("default").await;
    let error = checks[0].outcome.as_ref().unwrap_err().to_string();
    assert_eq!(
        error,
        "Entra refuses principal `default` (client_secret): AADSTS7000222: the client secret has expired: create a \
         new one and put it into the secret's file"
    );
    assert!(*checks[1].outcome.as_ref().unwrap() > OffsetDateTime::now_utc());
    assert!(tokens.status()["default"].token_expires_at.is_none());
    assert!(tokens.check("nobody").await.is_empty());
}

#[tokio::test]
async fn an_unknown_principal_is_named() {
    let entra = Entra::start().await;
    let tokens = plain_store(&entra);
    let error = tokens.with_life("nobody").await.unwrap_err();
    assert!(error.to_string().contains("`nobody`"), "{error}");
    assert_eq!(entra.count(), 0);
}

#[tokio::test]
async fn secrets_and_tokens_are_in_no_log_error_or_debug_output() {
    let entra = Entra::start().await;
    let log = Log::start(tracing::Level::TRACE);
    let secret = SecretFile::new("planted-secret");
    let tokens = store(&entra, vec![client_secret(&secret)], 1800);
    // Even a token endpoint that throws our form back at us.
    entra.next(Answer::new(
        400,
        r#"{"error":"planted-secret","error_description":"planted-secret","trace_id":"planted secret!"}"#,
    ));
    let error = tokens.with_life("default").await.unwrap_err();
    entra.next(Answer::new(200, r#"{"access_token":"planted-token","token_type":"planted-token","expires_in":"planted-token"}"#));
    skip(31).await;
    let second = tokens.with_life("default").await.unwrap_err();
    entra.next(Answer::token("planted-token", 3600));
    skip(31).await;
    let token = tokens.with_life("default").await.unwrap();
    let shown = format!(
        "{error} {error:?} {second} {second:?} {token:?} {:?} {}",
        tokens.status(),
        log.text()
    );
    assert!(shown.contains("new Entra token"), "the log is listened to");
    assert!(!shown.contains("planted"), "{shown}");
}
