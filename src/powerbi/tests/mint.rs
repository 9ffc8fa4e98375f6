//! The mint: what is sent, which answers are believed, and how long a token is served.

use serde_json::json;
use time::Duration as Span;

use super::*;
use crate::powerbi::Provenance;

fn with_body(body: &str) -> EmbedPlan {
    EmbedPlan::of_parts(PlanParts {
        body: body.into(),
        ..plan_parts()
    })
}

#[tokio::test]
async fn a_mint_sends_exactly_the_plan() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let parts = PlanParts {
        profile_id: Some(P.into()),
        path: format!("groups/{W}/dashboards/{B}/GenerateToken"),
        body: r#"{"accessLevel":"View"}"#.into(),
        ..plan_parts()
    };
    let unknown = power_bi
        .token(&EmbedPlan::of_parts(parts.clone()), now(), soon())
        .await;
    assert!(
        matches!(unknown, Err(Error::Rejected { status: 404, .. })),
        "{unknown:?}"
    );
    let seen = fake.seen().remove(0);
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.path, format!("/v1.0/myorg/{}", parts.path));
    assert_eq!(seen.query, "");
    assert_eq!(seen.body, parts.body);
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("authorization"), Some("Bearer entra-1"));
    assert_eq!(seen.header("x-powerbi-profile-id"), Some(P));
}

#[tokio::test]
async fn a_minted_token_holds_what_the_answer_says() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let asked_at = now();
    let (token, provenance) = power_bi.token(&plan(), asked_at, soon()).await.unwrap();
    assert_eq!(provenance, Provenance::Minted);
    assert_eq!(token.token_id(), "4b76f5ed-5a06-4150-8d1b-60f8e4c186f4");
    assert_eq!(token.upstream_request_id(), Some("11111111-aaaa"));
    // printf H4sIAAAA-token | sha256sum
    assert_eq!(
        token.sha256(),
        "0a949e68ee0c54971366fdeccd327e85c9c22dd1e3b3e3aa83700acd2595d6b6"
    );
    assert_eq!(token.minted_at(), asked_at);
    assert!(!format!("{token:?}").contains("H4sI"));
}

#[tokio::test]
async fn answers_that_are_not_as_documented_are_refused() {
    let good = || minted_body("t", now() + Span::hours(1));
    let but = |name: &str, value: serde_json::Value| {
        let mut body = good();
        body[name] = value;
        body
    };
    let format = &time::format_description::well_known::Rfc3339;
    let at = |span: Span| json!((now() + span).format(format).unwrap());
    for (body, good) in [
        (good(), true),
        (but("expiration", at(Span::minutes(64))), true),
        (but("expiration", at(Span::minutes(66))), false),
        (but("expiration", at(Span::days(365))), false),
        (but("expiration", at(Span::ZERO)), false),
        (but("expiration", at(Span::hours(-1))), false),
        (but("expiration", json!("soon")), false),
        (but("expiration", json!(null)), false),
        (but("token", json!("")), false),
        (but("token", json!(null)), false),
        (but("token", json!({"secret": "H4sI"})), false),
        (but("tokenId", json!("1")), false),
        (but("tokenId", json!(null)), false),
        (json!({"message": "An error has occurred"}), false),
        (json!([]), false),
    ] {
        let fake = Fake::scripted(vec![Reply::json(200, &body)]).await;
        let power_bi = Setup::default().power_bi(&fake);
        match power_bi.token(&plan(), now(), soon()).await {
            Ok(_) => assert!(good, "{body}"),
            Err(Error::InvalidResponse(trouble)) => {
                let problem = trouble.to_string();
                assert!(
                    !good && !problem.contains("H4sI") && !problem.contains("occurred"),
                    "{body}"
                );
            }
            other => panic!("{body}: {other:?}"),
        }
        assert_eq!(fake.count(), 1, "nonsense is not asked for again");
        assert_eq!(power_bi.status()[0].consecutive_failures, 0);
    }
    for text in ["", "<html>", "{", "null"] {
        let fake = Fake::scripted(vec![Reply::text(200, text)]).await;
        let power_bi = Setup::default().power_bi(&fake);
        let result = power_bi.token(&plan(), now(), soon()).await;
        assert!(
            matches!(result, Err(Error::InvalidResponse(_))),
            "{text}: {result:?}"
        );
    }
}

#[tokio::test]
async fn slack_is_the_smaller_of_min_remaining_and_half_of_life() {
    for (life, min_remaining, slack) in [
        (3600, 600, 600),
        (600, 600, 300),
        (61, 600, 30),
        (3600, 0, 0),
    ] {
        let fake = Fake::scripted(vec![minted(Duration::from_secs(life))]).await;
        let mut setup = Setup::default();
        setup.tokens.min_remaining = Duration::from_secs(min_remaining);
        let power_bi = setup.power_bi(&fake);
        let (token, _) = power_bi.token(&plan(), now(), soon()).await.unwrap();
        let near = token.slack().as_secs().abs_diff(slack);
        assert!(near <= 1, "{life} {min_remaining}: {:?}", token.slack());
        let until = token.expiration() - token.slack();
        assert!(power_bi.cached(&plan(), until - Span::seconds(1)).is_some());
        assert!(power_bi.cached(&plan(), until).is_none());
    }
}

#[tokio::test]
async fn a_token_is_served_again_for_an_identical_plan_only() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    assert!(power_bi.cached(&plan(), now()).is_none());
    power_bi.token(&plan(), now(), soon()).await.unwrap();
    let (_, provenance) = power_bi.token(&plan(), now(), soon()).await.unwrap();
    assert_eq!(provenance, Provenance::Cached);
    assert_eq!(fake.count(), 1);
    power_bi
        .token(&with_body("{}"), now(), soon())
        .await
        .unwrap();
    assert_eq!(fake.count(), 2);
    let late = now() + Span::minutes(51);
    let fresh =
        Fake::start(move |_| Reply::json(200, &minted_body("t2", late + Span::hours(1)))).await;
    let renewed = Setup::default().power_bi(&fresh);
    let (token, provenance) = renewed.token(&plan(), late, soon()).await.unwrap();
    assert_eq!(provenance, Provenance::Minted);
    assert!(renewed.cached(&plan(), token.minted_at()).is_some());
}

#[tokio::test]
async fn a_token_that_was_forgotten_is_minted_again() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    power_bi.token(&plan(), now(), soon()).await.unwrap();
    power_bi.forget_tokens();
    let (_, provenance) = power_bi.token(&plan(), now(), soon()).await.unwrap();
    assert_eq!(provenance, Provenance::Minted);
}

#[tokio::test]
async fn a_blob_bounds_how_long_its_token_is_kept() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let end = now() + Span::minutes(5);
    let kept = |cache_until| {
        EmbedPlan::of_parts(PlanParts {
            cache_until,
            body: format!("{cache_until:?}"),
            ..plan_parts()
        })
    };
    let (never, bounded) = (kept(CacheUntil::Never), kept(CacheUntil::At(end)));
    let over = kept(CacheUntil::At(now() - Span::minutes(1)));
    for plan in [&never, &bounded, &over] {
        power_bi.token(plan, now(), soon()).await.unwrap();
    }
    assert!(power_bi.cached(&never, now()).is_none());
    assert!(power_bi.cached(&over, now()).is_none());
    assert!(power_bi.cached(&bounded, end - Span::seconds(1)).is_some());
    assert!(power_bi.cached(&bounded, end).is_none());
}

#[tokio::test]
async fn identical_cold_plans_share_one_mint() {
    let fake = Fake::start(|_| Reply::After(Duration::from_millis(30), Box::new(hour()))).await;
    let power_bi = Setup::default().power_bi(&fake);
    let plan = plan();
    let all = (0..50).map(|_| power_bi.token(&plan, now(), soon()));
    for result in futures_util::future::join_all(all).await {
        assert_eq!(result.unwrap().1, Provenance::Minted);
    }
    assert_eq!(fake.count(), 1);
}

/// A caller who asks, and is gone as soon as Power BI has been asked.
async fn ask_and_hang_up(power_bi: &PowerBi, plan: &EmbedPlan, fake: &Fake) {
    tokio::select! {
        biased;
        () = until(|| fake.count() == 1) => {}
        _ = power_bi.token(plan, now(), soon()) => panic!("it was answered at once"),
    }
}

async fn until(happened: impl Fn() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never happened");
}

#[tokio::test]
async fn a_mint_survives_its_caller() {
    let fake = Fake::start(|_| Reply::After(Duration::from_millis(200), Box::new(hour()))).await;
    let power_bi = Setup::default().power_bi(&fake);
    let plan = plan();
    ask_and_hang_up(&power_bi, &plan, &fake).await;
    // Nobody waits for it, and yet it lands.
    until(|| power_bi.cached(&plan, now()).is_some()).await;
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn those_who_wait_get_the_mint_whose_caller_hung_up() {
    let fake = Fake::start(|_| Reply::After(Duration::from_millis(200), Box::new(hour()))).await;
    let power_bi = Setup::default().power_bi(&fake);
    let plan = plan();
    let hung_up = ask_and_hang_up(&power_bi, &plan, &fake);
    let waiting = power_bi.token(&plan, now(), soon());
    let ((), waiting) = tokio::join!(hung_up, waiting);
    assert_eq!(waiting.unwrap().1, Provenance::Minted);
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn a_failed_mint_is_shared_and_then_forgotten() {
    let fake = Fake::scripted(vec![
        Reply::After(Duration::from_millis(30), Box::new(Reply::text(403, ""))),
        hour(),
    ])
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    let plan = plan();
    let all = (0..10).map(|_| power_bi.token(&plan, now(), soon()));
    for result in futures_util::future::join_all(all).await {
        assert!(matches!(result, Err(Error::Rejected { status: 403, .. })));
    }
    assert_eq!(fake.count(), 1);
    power_bi.token(&plan, now(), soon()).await.unwrap();
}

#[tokio::test]
async fn each_waiter_keeps_its_own_deadline() {
    let fake = Fake::scripted(vec![Reply::Hang, hour()]).await;
    let power_bi = Setup::default().power_bi(&fake);
    let plan = plan();
    let hasty = power_bi.token(&plan, now(), within(Duration::from_millis(100)));
    let patient = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        power_bi.token(&plan, now(), soon()).await
    };
    let (hasty, patient) = tokio::join!(hasty, patient);
    assert!(matches!(hasty, Err(Error::TimedOut)), "{hasty:?}");
    assert_eq!(
        patient.unwrap().1,
        Provenance::Minted,
        "it began a mint of its own"
    );
    let fake = Fake::start(|_| Reply::After(Duration::from_millis(200), Box::new(hour()))).await;
    let power_bi = Setup::default().power_bi(&fake);
    let patient = power_bi.token(&plan, now(), soon());
    let hasty = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        power_bi
            .token(&plan, now(), within(Duration::from_millis(20)))
            .await
    };
    let (patient, hasty) = tokio::join!(patient, hasty);
    assert!(matches!(hasty, Err(Error::TimedOut)), "{hasty:?}");
    patient.unwrap();
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn remembered_tokens_are_bounded_by_their_real_size() {
    let token = "t".repeat(100_000);
    let fake =
        Fake::start(move |_| Reply::json(200, &minted_body(&token, now() + Span::hours(1)))).await;
    let mut setup = Setup::default();
    setup.cache.embed_tokens_max_bytes = 1_000_000;
    let power_bi = setup.power_bi(&fake);
    for number in 0..30 {
        power_bi
            .token(&with_body(&number.to_string()), now(), soon())
            .await
            .unwrap();
    }
    let weight = power_bi.tokens.weight();
    assert!((500_000..=1_000_000).contains(&weight), "{weight}");
}

#[tokio::test]
async fn a_path_that_leaves_its_place_is_never_sent() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    for path in [
        "../GenerateToken",
        "groups//GenerateToken",
        "groups/a?b/GenerateToken",
        "a%2fb",
        "",
    ] {
        let plan = EmbedPlan::of_parts(PlanParts {
            path: path.into(),
            ..plan_parts()
        });
        power_bi.token(&plan, now(), soon()).await.unwrap_err();
    }
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn every_try_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _recording = ::metrics::set_default_local_recorder(&recorder);
    let fake = Fake::scripted(vec![Reply::text(503, ""), Reply::Drop, hour()]).await;
    let power_bi = Setup::default().power_bi(&fake);
    power_bi.token(&plan(), now(), soon()).await.unwrap();
    let text = recorder.handle().render();
    let labels = r#"principal="default",call="mint""#;
    for outcome in ["server_error", "transport", "ok"] {
        let tries =
            format!("embed_broker_upstream_requests_total{{{labels},outcome=\"{outcome}\"}} 1\n");
        assert!(text.contains(&tries), "{outcome}: {text}");
    }
    for line in [
        format!("embed_broker_upstream_retries_total{{{labels}}} 2\n"),
        r#"embed_broker_upstream_request_duration_seconds_count{call="mint"} 3"#.to_owned(),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
}
