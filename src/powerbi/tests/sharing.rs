//! What another replica stored is held to what Power BI may answer, and to how long a token is served.

use time::Duration as Span;

use super::*;
use crate::powerbi::mint::Order;
use crate::powerbi::sharing::read;
use crate::shared_cache::Unfit;

/// What a replica stored that minted `ago`, for a life of an hour.
fn stored(ago: Span) -> Value {
    let minted_at = now() - ago;
    json!({
        "token": "H4sIAAAA-token",
        "token_id": "4b76f5ed-5a06-4150-8d1b-60f8e4c186f4",
        "expiration": (minted_at + Span::hours(1)).unix_timestamp(),
        "minted_at": minted_at.unix_timestamp(),
        "upstream_request_id": "11111111-aaaa"
    })
}

fn outcome(stored: &Value, cache_until: CacheUntil) -> Result<crate::powerbi::EmbedToken, Unfit> {
    let power_bi = Setup::default().power_bi_at("http://127.0.0.1:1");
    let client = power_bi.client("default").unwrap();
    let order = Order::new(client, &plan(), OffsetDateTime::now_utc()).unwrap();
    let bytes = serde_json::to_vec(stored).unwrap();
    read(&bytes, &order, cache_until, Duration::from_secs(600))
}

#[tokio::test]
async fn a_token_of_another_replica_is_the_same_token() {
    let minted_at = now() - Span::minutes(20);
    let token = outcome(&stored(Span::minutes(20)), CacheUntil::Expiration).unwrap();
    assert_eq!(token.token_id(), "4b76f5ed-5a06-4150-8d1b-60f8e4c186f4");
    assert_eq!(token.upstream_request_id(), Some("11111111-aaaa"));
    assert_eq!(
        token.sha256(),
        "0a949e68ee0c54971366fdeccd327e85c9c22dd1e3b3e3aa83700acd2595d6b6"
    );
    assert_eq!(token.slack(), Duration::from_secs(600));
    assert!((token.minted_at() - minted_at).abs() <= Span::SECOND);
    assert_eq!(token.expiration(), token.minted_at() + Span::hours(1));
}

#[tokio::test]
async fn a_token_is_not_served_into_its_slack_or_past_its_bound() {
    let stale = |ago, until| matches!(outcome(&stored(ago), until), Err(Unfit::Stale));
    assert!(!stale(Span::minutes(49), CacheUntil::Expiration));
    assert!(stale(Span::minutes(51), CacheUntil::Expiration));
    assert!(stale(Span::minutes(61), CacheUntil::Expiration));
    let bound = |minutes| CacheUntil::At(now() + Span::minutes(minutes));
    assert!(!stale(Span::ZERO, bound(1)));
    assert!(stale(Span::ZERO, bound(-1)));
    assert!(stale(Span::ZERO, CacheUntil::Never));
}

#[tokio::test]
async fn what_no_replica_can_have_been_answered_is_not_believed() {
    let but = |name: &str, value: Value| {
        let mut stored = stored(Span::ZERO);
        stored[name] = value;
        stored
    };
    let at = |span: Span| json!((now() + span).unix_timestamp());
    let mut in_the_future = but("minted_at", at(Span::minutes(30)));
    in_the_future["expiration"] = at(Span::minutes(80));
    for stored in [
        but("token", json!("")),
        but("token", json!(null)),
        but("token_id", json!("1")),
        but("token_id", json!("")),
        // Longer than asked for, and over before it began.
        but("expiration", at(Span::minutes(66))),
        but("expiration", at(Span::days(365))),
        but("expiration", at(Span::ZERO)),
        but("expiration", json!(i64::MAX)),
        but("minted_at", json!(i64::MIN)),
        in_the_future,
        but("further", json!(1)),
        json!([]),
        json!("H4sI"),
    ] {
        let outcome = outcome(&stored, CacheUntil::Expiration);
        assert!(matches!(outcome, Err(Unfit::Wrong(_))), "{stored}");
    }
}
