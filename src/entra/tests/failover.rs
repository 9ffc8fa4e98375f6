//! Several credentials of one principal.

use super::*;

#[tokio::test]
async fn the_second_credential_steps_in_and_the_first_is_left_out_until_it_changes() {
    let entra = Entra::start().await;
    let log = Log::start(tracing::Level::WARN);
    let secrets = [SecretFile::new("expired"), SecretFile::new("good")];
    let tokens = store(&entra, secrets.iter().map(client_secret).collect(), 1800);
    entra.rule(|asked| {
        (asked.form["client_secret"] == "expired")
            .then(|| Answer::refusal("invalid_client", 7_000_222))
    });
    let first = tokens.with_life("default").await.unwrap();
    assert_eq!(show(&first), "token-2");
    let text = log.text();
    for named in [
        "client_secret",
        "index=0",
        "AADSTS7000222",
        "7b1a-trace",
        "9c2b-correlation",
        "has expired",
    ] {
        assert!(text.contains(named), "{named} in {text}");
    }
    let status = &tokens.status()["default"];
    assert_eq!((status.in_use, &status.last_error), (Some(1), &None));
    let failing = |tokens: &AccessTokens| {
        let credentials = &tokens.status()["default"].credentials;
        credentials.iter().map(|it| it.failing).collect::<Vec<_>>()
    };
    assert_eq!(failing(&tokens), [true, false]);

    let second = tokens.instead_of("default", &first).await.unwrap();
    assert_eq!(entra.count(), 3, "the expired one was not tried again");
    secrets[0].change("renewed");
    tokens.instead_of("default", &second).await.unwrap();
    assert_eq!(entra.last().form["client_secret"], "renewed");
    assert_eq!(tokens.status()["default"].in_use, Some(0));
    assert_eq!(failing(&tokens), [false, false]);
}

#[tokio::test]
async fn a_credential_replaced_while_its_former_value_is_refused_is_not_left_out() {
    let entra = Entra::start().await;
    let first = Arc::new(SecretFile::new("expired"));
    let second = SecretFile::new("good");
    let tokens = store(&entra, [&*first, &second].map(client_secret).into(), 1800);
    entra.rule(move |asked| {
        (asked.form["client_secret"] == "expired").then(|| {
            first.change("renewed");
            Answer::refusal("invalid_client", 7_000_222)
        })
    });
    let token = tokens.with_life("default").await.unwrap();
    assert_eq!(entra.last().form["client_secret"], "good");
    tokens.instead_of("default", &token).await.unwrap();
    assert_eq!(entra.last().form["client_secret"], "renewed");
}

#[tokio::test]
async fn a_credential_left_out_is_tried_again_after_five_minutes() {
    let entra = Entra::start().await;
    let secrets = [SecretFile::new("first"), SecretFile::new("second")];
    let tokens = store(&entra, secrets.iter().map(client_secret).collect(), 1800);
    entra.next(Answer::refusal("invalid_client", 7_000_215));
    let token = tokens.with_life("default").await.unwrap();
    assert_eq!(entra.last().form["client_secret"], "second");
    skip(301).await;
    tokens.instead_of("default", &token).await.unwrap();
    assert_eq!(entra.last().form["client_secret"], "first");
}

#[tokio::test]
async fn a_credential_that_works_again_counts_again() {
    let entra = Entra::start().await;
    let secrets = [SecretFile::new("first"), SecretFile::new("second")];
    let tokens = store(&entra, secrets.iter().map(client_secret).collect(), 1800);
    entra.next(Answer::refusal("invalid_client", 7_000_215));
    entra.next(Answer::refusal("invalid_client", 7_000_222));
    let error = text(&tokens).await;
    assert!(error.contains("AADSTS7000222"), "the last one: {error}");
    skip(31).await;
    let token = tokens.with_life("default").await.unwrap();
    assert_eq!(entra.last().form["client_secret"], "first");
    entra.always(Answer::new(503, "down"));
    tokens.instead_of("default", &token).await.unwrap_err();
    assert_eq!(entra.count(), 4, "the second one is still left out");
}

#[tokio::test]
async fn a_passing_fault_fails_over_as_well_but_leaves_nothing_out() {
    let entra = Entra::start().await;
    let secrets = [SecretFile::new("first"), SecretFile::new("second")];
    let tokens = store(&entra, secrets.iter().map(client_secret).collect(), 1800);
    entra.next(Answer::new(500, "<html>"));
    let token = tokens.with_life("default").await.unwrap();
    assert_eq!(entra.last().form["client_secret"], "second");
    tokens.instead_of("default", &token).await.unwrap();
    assert_eq!(entra.last().form["client_secret"], "first");
}
