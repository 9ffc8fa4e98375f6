//! How often a call is tried, and what holds further ones back.

use serde_json::json;

use super::*;
use crate::powerbi::BreakerState;

fn status(code: u16) -> Reply {
    Reply::text(code, "An error has occurred: upstream words")
}

fn error_info(code: u16, info: &str) -> Reply {
    Reply::text(code, "").with("X-PowerBI-Error-Info", info)
}

fn throttled(seconds: &str) -> Reply {
    status(429).with("Retry-After", seconds)
}

/// What a mint gives, and how many tries it took.
async fn mint(replies: Vec<Reply>) -> (Result<(), Error>, Vec<Seen>) {
    let fake = Fake::scripted(replies).await;
    let power_bi = Setup::default().power_bi(&fake);
    let result = power_bi
        .token(&plan(), now(), within(Duration::from_secs(3)))
        .await;
    (result.map(drop), fake.seen())
}

#[tokio::test]
async fn each_failure_has_its_number_of_tries() {
    for (name, replies, tries, good) in [
        ("503 once", vec![status(503), hour()], 2, true),
        ("502, 504", vec![status(502), status(504), hour()], 3, true),
        ("three times 503", vec![status(503)], 3, false),
        ("500 once", vec![status(500), hour()], 2, true),
        (
            "500 twice",
            vec![status(500), status(500), hour()],
            2,
            false,
        ),
        (
            "500 among others",
            vec![status(503), status(500), hour()],
            3,
            true,
        ),
        ("501", vec![status(501), hour()], 1, false),
        ("505", vec![status(505), hour()], 1, false),
        ("dropped once", vec![Reply::Drop, hour()], 2, true),
        ("dropped for ever", vec![Reply::Drop], 3, false),
        ("429 that fits", vec![throttled("1"), hour()], 2, true),
        (
            "429 that does not fit",
            vec![throttled("60"), hour()],
            1,
            false,
        ),
        ("400", vec![status(400), hour()], 1, false),
        ("401", vec![status(401), hour()], 1, false),
        ("403", vec![status(403), hour()], 1, false),
        ("404", vec![status(404), hour()], 1, false),
        (
            "a redirect",
            vec![status(307).with("Location", "/elsewhere"), hour()],
            1,
            false,
        ),
        ("nonsense", vec![Reply::text(200, "{}"), hour()], 1, false),
        (
            "no permission",
            vec![error_info(401, "GroupNotAccessible"), hour()],
            1,
            false,
        ),
        (
            "expired token",
            vec![error_info(403, "TokenExpired"), hour()],
            2,
            true,
        ),
        (
            "expired token, outage",
            vec![error_info(403, "TokenExpired"), status(503), hour()],
            3,
            true,
        ),
        (
            "expired twice",
            vec![error_info(403, "TokenExpired"); 3],
            2,
            false,
        ),
    ] {
        let (result, seen) = mint(replies).await;
        assert_eq!(
            (seen.len(), result.is_ok()),
            (tries, good),
            "{name}: {result:?}"
        );
        assert!(
            seen.iter()
                .all(|try_| try_.body == seen[0].body && try_.path == seen[0].path),
            "{name}"
        );
        if let Err(error) = result {
            let text = error.to_string();
            assert!(
                !text.contains("upstream words") && !text.contains("127.0.0.1"),
                "{name}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn each_end_has_its_error() {
    let (result, _) = mint(vec![status(503)]).await;
    assert!(matches!(result, Err(Error::Unreachable(_))), "{result:?}");
    let (result, _) = mint(vec![Reply::Drop]).await;
    assert!(matches!(result, Err(Error::Unreachable(_))), "{result:?}");
    let (result, _) = mint(vec![throttled("60")]).await;
    match result {
        Err(Error::Throttled {
            principal,
            retry_after,
        }) => {
            assert_eq!((principal.as_str(), retry_after.as_secs()), ("default", 60));
        }
        other => panic!("{other:?}"),
    }
    let (result, _) = mint(vec![status(404)]).await;
    match result {
        Err(Error::Rejected {
            status,
            code,
            upstream_request_id,
            ..
        }) => {
            assert_eq!((status, code.as_str()), (404, "404"));
            assert_eq!(upstream_request_id.as_deref(), Some("11111111-aaaa"));
        }
        other => panic!("{other:?}"),
    }
    let (result, _) = mint(vec![error_info(403, "TokenExpired")]).await;
    assert!(
        matches!(result, Err(Error::Rejected { ref code, .. }) if code == "TokenExpired"),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_mint_refused_for_its_identity_is_never_sent_again() {
    let refusal = json!({"error": {"code": "InvalidRequest", "message": "x shouldn't have effective identity"}});
    let (result, seen) = mint(vec![Reply::json(400, &refusal), hour()]).await;
    assert_eq!(seen.len(), 1);
    match result {
        Err(Error::Rejected { code, remedy, .. }) => {
            assert_eq!(code, "InvalidRequest");
            assert!(remedy.contains("security: none"), "{remedy}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let power_bi = {
        let fake = Fake::start(usual).await;
        Setup::default().power_bi(&fake)
    };
    tokio::task::yield_now().await;
    let result = power_bi.token(&plan(), now(), soon()).await;
    match result {
        Err(Error::Unreachable(trouble)) => {
            assert!(!trouble.text.contains("127.0.0.1"), "{trouble}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(power_bi.status()[0].consecutive_failures, 3);
}

#[tokio::test]
async fn a_silent_service_is_timed_out_and_counted() {
    let fake = Fake::scripted(vec![Reply::Hang]).await;
    let power_bi = Setup::default().power_bi(&fake);
    let begun = Instant::now();
    let result = power_bi
        .token(&plan(), now(), within(Duration::from_millis(150)))
        .await;
    assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(power_bi.status()[0].consecutive_failures, 1);
}

#[tokio::test]
async fn an_entra_token_called_expired_is_replaced_once() {
    let challenge = Reply::text(401, "").with(
        "WWW-Authenticate",
        r#"Bearer error="insufficient_claims", claims="eyJ""#,
    );
    let body = json!({"error": {"code": "TokenExpired", "message": "resubmit"}});
    for refusal in [
        error_info(403, "TokenExpired"),
        error_info(403, "InvalidToken"),
        Reply::json(403, &body),
        challenge,
    ] {
        let (result, seen) = mint(vec![refusal, hour()]).await;
        result.unwrap();
        let bearers: Vec<_> = seen
            .iter()
            .filter_map(|s| s.header("authorization"))
            .collect();
        assert_eq!(bearers, ["Bearer entra-1", "Bearer entra-2"]);
    }
}

#[tokio::test]
async fn entra_is_not_asked_by_every_request_when_new_tokens_are_refused_as_well() {
    let fake = Fake::start(|_| error_info(403, "TokenExpired")).await;
    let power_bi = Setup::default().power_bi(&fake);
    for _ in 0..20 {
        match power_bi.token(&plan(), now(), soon()).await {
            Err(Error::Rejected { code, remedy, .. }) => {
                assert_eq!(code, "TokenExpired");
                assert!(remedy.contains("clock"), "{remedy}");
            }
            other => panic!("{other:?}"),
        }
    }
    let seen = fake.seen();
    let mut bearers: Vec<_> = seen
        .iter()
        .filter_map(|s| s.header("authorization"))
        .collect();
    bearers.dedup();
    assert_eq!(bearers, ["Bearer entra-1", "Bearer entra-2"]);
}

#[tokio::test]
async fn nobody_asks_again_before_retry_after_has_passed() {
    let fake = Fake::start(|seen| {
        if seen.path.ends_with("GenerateToken") {
            throttled("30")
        } else {
            usual(seen)
        }
    })
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    facts(&power_bi, grant(report(R))).await.unwrap();
    power_bi.token(&plan(), now(), soon()).await.unwrap_err();
    let before = fake.count();
    for _ in 0..5 {
        match power_bi.token(&plan(), now(), soon()).await {
            Err(Error::Throttled { retry_after, .. }) => {
                assert!(
                    (28..=30).contains(&retry_after.as_secs()),
                    "{retry_after:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    facts(&power_bi, grant(report(R))).await.unwrap();
    let board = Content::Dashboard {
        dashboard: B.into(),
    };
    let cold = facts(&power_bi, grant(board)).await;
    assert!(matches!(cold, Err(Error::Throttled { .. })), "{cold:?}");
    assert_eq!(
        fake.count(),
        before,
        "remembered facts are served, nothing is asked"
    );
    let other = GrantParts {
        principal: "other".into(),
        ..grant(report(R))
    };
    facts(&power_bi, other).await.unwrap();
}

#[tokio::test]
async fn one_waits_for_a_short_retry_after_and_others_are_refused_meanwhile() {
    let fake = Fake::scripted(vec![throttled("1"), hour()]).await;
    let power_bi = Setup::default().power_bi(&fake);
    let plan = plan();
    let first = power_bi.token(&plan, now(), soon());
    let others = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let other = EmbedPlan::of_parts(PlanParts {
            body: "{}".into(),
            ..plan_parts()
        });
        power_bi.token(&other, now(), soon()).await
    };
    let (first, other) = tokio::join!(first, others);
    first.unwrap();
    assert!(matches!(other, Err(Error::Throttled { .. })), "{other:?}");
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn what_the_service_awaits_can_move_between_threads() {
    fn sendable<T: Send>(future: T) -> T {
        future
    }
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let (grants, plan) = ([Grant::for_test(grant(report(R)))], plan());
    sendable(power_bi.look_up(&grants, None, Freshness::Cached, soon()))
        .await
        .unwrap();
    sendable(power_bi.targets(&grants[0], soon()))
        .await
        .unwrap();
    sendable(power_bi.token(&plan, now(), soon()))
        .await
        .unwrap();
}

#[tokio::test]
async fn retry_after_may_be_a_date() {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
    let (result, _) = mint(vec![throttled(&date)]).await;
    match result {
        Err(Error::Throttled { retry_after, .. }) => {
            assert!(
                (97..=100).contains(&retry_after.as_secs()),
                "{retry_after:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ten_failures_open_the_breaker_while_cached_tokens_are_served() {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let broken = Arc::clone(&down);
    let fake = Fake::start(move |seen| {
        if broken.load(std::sync::atomic::Ordering::SeqCst) {
            status(501)
        } else {
            usual(seen)
        }
    })
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    power_bi.token(&plan(), now(), soon()).await.unwrap();
    down.store(true, std::sync::atomic::Ordering::SeqCst);
    let cold = |number: usize| {
        EmbedPlan::of_parts(PlanParts {
            body: number.to_string(),
            ..plan_parts()
        })
    };
    for number in 0..10 {
        let result = power_bi.token(&cold(number), now(), soon()).await;
        assert!(
            matches!(result, Err(Error::Unreachable(_))),
            "{number}: {result:?}"
        );
    }
    let before = fake.count();
    let result = power_bi.token(&cold(10), now(), soon()).await;
    match result {
        Err(Error::BreakerOpen { retry_after, .. }) => {
            assert!(retry_after <= Duration::from_secs(5));
        }
        other => panic!("{other:?}"),
    }
    let open = |status: &BreakerState| matches!(status, BreakerState::Open { .. });
    let status = power_bi.status();
    assert!(open(&status[0].breaker) && !open(&status[1].breaker));
    power_bi.token(&plan(), now(), soon()).await.unwrap();
    assert_eq!(fake.count(), before);
}
