//! How long facts are believed, and by whom.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use serde_json::json;

use super::*;

const TTL: Duration = Duration::from_millis(150);

fn ages(stale: Duration) -> config::Cache {
    config::Cache {
        metadata_ttl: TTL,
        metadata_stale: stale,
        ..config::Cache::default()
    }
}

/// The usual until `down`, then 400 for everything.
async fn breakable() -> (Fake, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&down);
    let fake = Fake::start(move |seen| {
        if broken.load(SeqCst) {
            Reply::text(400, "")
        } else {
            usual(seen)
        }
    })
    .await;
    (fake, down)
}

#[tokio::test]
async fn facts_are_read_once_a_principal_and_profile() {
    let fake = Fake::start(usual).await;
    let power_bi = Setup::default().power_bi(&fake);
    let other = || GrantParts {
        principal: "other".into(),
        ..grant(report(R))
    };
    let profiled = || GrantParts {
        profile: Some(P.into()),
        ..grant(report(R))
    };
    for _ in 0..3 {
        facts(&power_bi, grant(report(R))).await.unwrap();
        facts(&power_bi, other()).await.unwrap();
        facts(&power_bi, profiled()).await.unwrap();
    }
    assert_eq!(fake.count(), 9, "three reads for each of three askers");
}

#[tokio::test]
async fn fifty_cold_look_ups_share_one_read_of_each_url() {
    let fake =
        Fake::start(|seen| Reply::After(Duration::from_millis(20), Box::new(usual(seen)))).await;
    let power_bi = Setup::default().power_bi(&fake);
    let all = (0..50).map(|_| facts(&power_bi, grant(report(R))));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
    assert_eq!(fake.count(), 3);
}

#[tokio::test]
async fn a_reread_reads_everything_again_and_replaces_it() {
    let reads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reads);
    let fake = Fake::start(usual_but(format!("groups/{W}/datasets/{D}"), move |body| {
        let first = count.fetch_add(1, SeqCst) == 0;
        body["isEffectiveIdentityRequired"] = json!(!first);
        body["isEffectiveIdentityRolesRequired"] = json!(!first);
    }))
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    let grants = [Grant::for_test(grant(report(R)))];
    let (power_bi, grants) = (&power_bi, &grants);
    let required = |freshness| async move {
        let facts = power_bi.look_up(grants, None, freshness, soon()).await;
        facts.unwrap().0[0].datasets[0].identity_required
    };
    assert!(!required(Freshness::Cached).await);
    assert!(!required(Freshness::Cached).await);
    assert_eq!(fake.count(), 3);
    assert!(required(Freshness::Reread).await);
    assert_eq!(fake.count(), 7, "three again, and now the data sources");
    assert!(required(Freshness::Cached).await);
    assert_eq!(fake.count(), 7);
}

#[tokio::test]
async fn a_reread_that_fails_does_not_fall_back_on_what_was_known() {
    let (fake, down) = breakable().await;
    let power_bi = Setup::default().power_bi(&fake);
    facts(&power_bi, grant(report(R))).await.unwrap();
    down.store(true, SeqCst);
    let grants = [Grant::for_test(grant(report(R)))];
    let result = power_bi
        .look_up(&grants, None, Freshness::Reread, soon())
        .await
        .map(|(facts, _)| facts);
    assert!(matches!(result, Err(Error::Rejected { .. })), "{result:?}");
    facts(&power_bi, grant(report(R))).await.unwrap();
}

#[tokio::test]
async fn an_aged_fact_is_served_at_once_and_renewed_in_the_background() {
    let slow = Arc::new(AtomicBool::new(false));
    let later = Arc::clone(&slow);
    let fake = Fake::start(move |seen| {
        let reply = usual(seen);
        if later.load(SeqCst) {
            Reply::After(Duration::from_millis(100), Box::new(reply))
        } else {
            reply
        }
    })
    .await;
    let setup = Setup {
        cache: ages(Duration::from_secs(60)),
        ..Setup::default()
    };
    let power_bi = setup.power_bi(&fake);
    facts(&power_bi, grant(report(R))).await.unwrap();
    tokio::time::sleep(TTL).await;
    slow.store(true, SeqCst);
    let begun = Instant::now();
    facts(&power_bi, grant(report(R))).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(80));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.count(), 6, "three renewals are under way");
}

#[tokio::test]
async fn facts_that_cannot_be_renewed_go_on_for_a_service_principal_until_they_are_stale() {
    let (fake, down) = breakable().await;
    let setup = Setup {
        cache: ages(Duration::from_secs(2)),
        ..Setup::default()
    };
    let power_bi = setup.power_bi(&fake);
    let began = tokio::time::Instant::now();
    facts(&power_bi, grant(report(R))).await.unwrap();
    down.store(true, SeqCst);
    tokio::time::sleep(TTL + Duration::from_millis(50)).await;
    for _ in 0..20 {
        facts(&power_bi, grant(report(R))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fake.count(), 6, "a failed renewal is not repeated at once");
    tokio::time::sleep_until(began + TTL + Duration::from_millis(2500)).await;
    let result = facts(&power_bi, grant(report(R))).await;
    assert!(matches!(result, Err(Error::Rejected { .. })), "{result:?}");
}

#[tokio::test]
async fn a_master_user_never_uses_facts_past_their_ttl() {
    let (fake, down) = breakable().await;
    let setup = Setup {
        cache: ages(Duration::from_secs(60)),
        master_user: true,
        ..Setup::default()
    };
    let power_bi = setup.power_bi(&fake);
    facts(&power_bi, grant(report(R))).await.unwrap();
    facts(&power_bi, grant(report(R))).await.unwrap();
    assert_eq!(fake.count(), 3);
    down.store(true, SeqCst);
    tokio::time::sleep(TTL).await;
    let result = facts(&power_bi, grant(report(R))).await;
    assert!(matches!(result, Err(Error::Rejected { .. })), "{result:?}");
}

#[tokio::test]
async fn what_is_missing_is_not_asked_for_by_every_request() {
    let fake = Fake::start(|_| Reply::text(404, "")).await;
    let power_bi = Setup::default().power_bi(&fake);
    for _ in 0..20 {
        let result = facts(&power_bi, grant(report(R))).await;
        assert!(
            matches!(result, Err(Error::ItemUnavailable { .. })),
            "{result:?}"
        );
    }
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn facts_are_bounded_by_what_they_weigh() {
    let fake = Fake::start(|seen| {
        if seen.path.ends_with("/reports") {
            let padding = "x".repeat(1_000_000);
            return Reply::json(200, &json!({"value": [{"id": R, "name": padding}]}));
        }
        let id = seen.path.rsplit('/').next().unwrap();
        Reply::json(200, &json!({"id": id, "name": "x"}))
    })
    .await;
    let power_bi = Setup::default().power_bi(&fake);
    for number in 0..20 {
        let parts = GrantParts {
            workspace: format!("00000000-0000-4000-8000-0000000000{number:02}"),
            ..grant(report("*"))
        };
        let grant = Grant::for_test(parts);
        assert_eq!(power_bi.targets(&grant, soon()).await.unwrap().len(), 1);
    }
    let weight = power_bi.facts.weight();
    assert!(
        (1_000_000..=3 * 16 * 1024 * 1024).contains(&weight),
        "{weight}"
    );
    assert!(weight < 17 * 1024 * 1024, "{weight}");
}
