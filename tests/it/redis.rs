//! Replicas that share embed tokens and rate limits through a real `redis-server`, and go on without it: killed, paused,
//! emptied, full, lying.
//!
//! Times: Redis gets two seconds where a test is about what it answers, so that a busy machine changes nothing.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::redis_server::{Liar, RedisServer};
use crate::support::test_app::Setup;
use crate::support::tokens::in_seconds;
use crate::support::{Answer, TestApp, eventually};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY: &str = "mVf0Hs0d4m0cXy9r1E0z0nJd8bSgQq4mYw2pVtK3uUo=";
const NO_LIMIT: &str = "rate_limit: { per_caller_per_minute: 0 }";

/// A replica at `redis`, with what else `settings` say below `cache.redis`.
fn replica(redis: &RedisServer, settings: &str) -> Setup {
    at(&redis.url(), settings)
}

fn at(url: &str, settings: &str) -> Setup {
    let section =
        format!("cache: {{ redis: {{ url_file: redis-url, key_file: redis-key, {settings} }} }}");
    TestApp::setup()
        .section(&section)
        .file("redis-url", url)
        .file("redis-key", KEY)
}

/// Two replicas on one simulated upstream, without a rate limit.
async fn two(redis: &RedisServer, settings: &str) -> (TestApp, TestApp) {
    let one = replica(redis, settings).section(NO_LIMIT).start().await;
    let other = replica(redis, settings)
        .section(NO_LIMIT)
        .beside(&one)
        .start()
        .await;
    connected(&one).await;
    connected(&other).await;
    (one, other)
}

/// The operators' check `redis`.
async fn check(app: &TestApp) -> Value {
    let readiness = app.ops("/readyz").await;
    assert_eq!(
        readiness.status, 200,
        "never out of rotation: {readiness:?}"
    );
    let checks = readiness.json()["checks"].as_array().unwrap().clone();
    checks.into_iter().find(|c| c["name"] == "redis").unwrap()
}

async fn until_check(app: &TestApp, what: impl Fn(&Value) -> bool) {
    for _ in 0..200 {
        if what(&check(app).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("check `redis` stays {}", check(app).await);
}

async fn connected(app: &TestApp) {
    until_check(app, |check| check["ok"] == true).await;
}

async fn complains(app: &TestApp, of: &str) {
    let says = |check: &Value| check["ok"] == false && check["reason"].to_string().contains(of);
    until_check(app, says).await;
}

/// Embeds `sales` as somebody of whom the brokers have not heard yet: a plan of its own.
async fn cold(app: &TestApp, who: &str) -> Value {
    let claims = json!({ "sub": who, "email": format!("{who}@contoso.example") });
    let token = app.token_with("ana", claims).await;
    app.embed_as(&token, json!({ "item": "sales" })).await.ok()
}

async fn sales(app: &TestApp, persona: &str) -> Value {
    app.embed(persona, json!({ "item": "sales" })).await.ok()
}

/// The metric's count, of all brokers of this process.
async fn count(app: &TestApp, operation: &str, outcome: &str) -> u64 {
    let metric = format!(
        "embed_broker_shared_cache_operations_total{{operation=\"{operation}\",outcome=\"{outcome}\"}} "
    );
    let text = app.ops("/metrics").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(&metric));
    line.map_or(0, |count| count.parse().unwrap())
}

/// A counter that is born at one has, for Prometheus, not increased: the first forged value would ring no alarm.
#[tokio::test]
async fn what_alerts_wait_for_is_counted_from_the_start() {
    let redis = RedisServer::start().await;
    let (one, _other) = two(&redis, "").await;
    let text = one.ops("/metrics").await.text;
    for (operation, outcome) in [("get", "rejected"), ("probe", "foreign_key")] {
        let metric = format!(
            "embed_broker_shared_cache_operations_total{{operation=\"{operation}\",outcome=\"{outcome}\"}} "
        );
        assert!(text.contains(&metric), "{text}");
    }
}

// === sharing ===

#[tokio::test]
async fn identical_cold_requests_at_two_replicas_share_one_mint() {
    let redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 2s").await;
    // Long enough for everybody to arrive.
    one.faults(
        json!([{ "service": "power_bi", "path_contains": "GenerateToken", "delay_ms": 400 }]),
    )
    .await;
    let token = one.token("ana").await;
    let asks = (0..40).map(|i| {
        let app = if i % 2 == 0 { &one } else { &other };
        app.embed_as(&token, json!({ "item": "sales" }))
    });
    let answers = join_all(asks).await;
    let first = answers[0].ok()["token"].clone();
    assert!(answers.iter().all(|answer| answer.ok()["token"] == first));
    assert_eq!(one.mints().await.len(), 1);
    assert_eq!(redis.names("embed-broker:lock:"), Vec::<String>::new());
}

#[tokio::test]
async fn a_replica_serves_what_another_minted_as_it_would_its_own() {
    let redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 2s").await;
    let (first, second) = (sales(&one, "ana").await, sales(&other, "ana").await);
    for member in ["token", "tokenId", "expiration"] {
        assert_eq!(first[member], second[member]);
    }
    assert_eq!(one.mints().await.len(), 1);
    let (minted, cached) = (one.last_record(), other.last_record());
    assert_eq!(
        (&minted["source"], &cached["source"]),
        (&json!("minted"), &json!("cached"))
    );
    for member in ["token_sha256", "token_id", "identities"] {
        assert_eq!(minted[member], cached[member], "{member}");
    }
    assert!(count(&other, "get", "hit").await >= 1);
    // Another identity is another plan.
    assert_ne!(sales(&other, "ben").await["token"], first["token"]);
    assert_eq!(one.mints().await.len(), 2);
}

#[tokio::test]
async fn nothing_in_redis_can_be_read_or_stays() {
    let redis = RedisServer::start().await;
    // A count stands there for a minute.
    let app = replica(&redis, "timeout: 2s, prefix: 'app:'")
        .section(LIMIT)
        .start()
        .await;
    connected(&app).await;
    let body = sales(&app, "ana").await;
    let names = redis.names("");
    let kinds = ["app:key", "app:rate:", "app:token:"];
    assert_eq!(names.len(), kinds.len(), "{names:?}");
    for (name, kind) in names.iter().zip(kinds) {
        assert!(name.starts_with(kind), "{name}");
        let value: Vec<u8> = redis.ask(&[b"GET", name.as_bytes()]);
        let text = format!("{name} {}", String::from_utf8_lossy(&value));
        let token = body["token"].as_str().unwrap();
        let token_id = body["tokenId"].as_str().unwrap();
        for secret in [
            &token[..20],
            token_id,
            "ana",
            "contoso",
            "sales",
            "127.0.0.1",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let left: i64 = redis.ask(&[b"PTTL", name.as_bytes()]);
        // The sandbox's tokens live half an hour, ten minutes of which are slack.
        assert!((1..=20 * 60 * 1000).contains(&left), "{name} {left}");
    }
}

#[tokio::test]
async fn a_blob_bounds_what_is_shared() {
    let redis = RedisServer::start().await;
    let app = replica(&redis, "timeout: 2s")
        .section(NO_LIMIT)
        .start()
        .await;
    connected(&app).await;
    let ask = async |blob: &str| {
        let token = app.token("ana").await;
        let request = app
            .request(Method::POST, "/embed-token")
            .bearer_auth(token)
            .header("X-Sql-Token", blob)
            .json(&json!({ "item": "orders" }));
        Answer::read(request.send().await.unwrap()).await.ok();
        redis.names("embed-broker:token:")
    };
    assert_eq!(ask("opaque").await, Vec::<String>::new(), "never kept");
    let claims = json!({ "exp": in_seconds(300), "upn": "ana@contoso.example" });
    let jwt = crate::support::tokens::unsigned(&json!({ "alg": "RS256" }), &claims, b"s");
    let names = ask(&jwt).await;
    assert_eq!(names.len(), 1);
    let left: i64 = redis.ask(&[b"PTTL", names[0].as_bytes()]);
    assert!((1..=300_000).contains(&left), "{left}");
}

#[tokio::test]
async fn the_same_name_for_another_principal_is_another_plan() {
    let redis = RedisServer::start().await;
    let one = replica(&redis, "timeout: 2s").start().await;
    // The same application at the same API under another host name, as one environment beside another would be.
    let elsewhere = one.upstream().replace("127.0.0.1", "localhost");
    let other = replica(&redis, "timeout: 2s")
        .edit(
            &format!("api_url: {}", one.upstream()),
            &format!("api_url: {elsewhere}"),
        )
        .beside(&one)
        .start()
        .await;
    connected(&one).await;
    connected(&other).await;
    assert_ne!(
        sales(&one, "ana").await["token"],
        sales(&other, "ana").await["token"]
    );
    assert_eq!(one.mints().await.len(), 2);
}

// === going on without ===

#[tokio::test]
async fn a_warm_answer_waits_for_no_redis() {
    let redis = RedisServer::start().await;
    let app = replica(&redis, "timeout: 5s")
        .section(NO_LIMIT)
        .start()
        .await;
    connected(&app).await;
    let token = app.token("ana").await;
    let first = app.embed_as(&token, json!({ "item": "sales" })).await.ok();
    redis.pause();
    let began = Instant::now();
    for _ in 0..20 {
        let answer = app.embed_as(&token, json!({ "item": "sales" })).await;
        assert_eq!(answer.ok()["token"], first["token"]);
    }
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_killed_redis_fails_no_request_and_is_used_again_when_it_is_back() {
    let mut redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 2s").await;
    let warm = sales(&one, "ana").await;
    redis.kill();
    assert_eq!(sales(&one, "ana").await["token"], warm["token"]);
    cold(&one, "u1").await;
    complains(&one, "cannot be reached").await;
    cold(&one, "u2").await;
    assert!(count(&one, "get", "skipped").await >= 1);
    complains(&other, "cannot be reached").await;
    cold(&other, "u1").await;
    assert_eq!(one.mints().await.len(), 4, "each for itself");
    redis.restart().await;
    connected(&one).await;
    connected(&other).await;
    let shared = cold(&one, "u3").await;
    assert_eq!(cold(&other, "u3").await["token"], shared["token"]);
    assert_eq!(one.mints().await.len(), 5);
}

#[tokio::test]
async fn a_broker_starts_without_redis_and_finds_it_later() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let app = replica(&redis, "timeout: 2s").start().await;
    sales(&app, "ana").await;
    complains(&app, "cannot be reached").await;
    redis.restart().await;
    connected(&app).await;
    cold(&app, "u1").await;
    assert_eq!(redis.names("embed-broker:token:").len(), 1);
}

#[tokio::test]
async fn a_paused_redis_costs_one_wait_and_then_none() {
    let redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 3s").await;
    redis.pause();
    let began = Instant::now();
    cold(&one, "u0").await;
    let first = began.elapsed();
    assert!((3..6).contains(&first.as_secs()), "{first:?}");
    let began = Instant::now();
    for i in 1..=5 {
        cold(&one, &format!("u{i}")).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert!(count(&one, "get", "timeout").await >= 1);
    redis.resume();
    connected(&one).await;
    connected(&other).await;
    let shared = cold(&one, "u6").await;
    assert_eq!(cold(&other, "u6").await["token"], shared["token"]);
}

#[tokio::test]
async fn an_emptied_redis_costs_a_mint_at_most() {
    let redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 2s").await;
    let minted = sales(&one, "ana").await;
    redis.ask::<()>(&[b"FLUSHALL"]);
    assert_eq!(sales(&one, "ana").await["token"], minted["token"]);
    assert_ne!(sales(&other, "ana").await["token"], minted["token"]);
    assert_eq!(one.mints().await.len(), 2);
}

#[tokio::test]
async fn a_full_redis_still_gives_what_it_has() {
    let redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 2s").await;
    let minted = sales(&one, "ana").await;
    redis.ask::<()>(&[b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction"]);
    redis.ask::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    assert_eq!(sales(&other, "ana").await["token"], minted["token"]);
    cold(&one, "u1").await;
    cold(&other, "u1").await;
    assert_eq!(one.mints().await.len(), 3, "each for itself");
    assert!(count(&one, "put", "full").await >= 1);
    complains(&one, "Redis is full").await;
    redis.ask::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    connected(&one).await;
}

// === lies ===

#[tokio::test]
async fn a_replica_with_another_key_shares_nothing_and_says_so() {
    let redis = RedisServer::start().await;
    let one = replica(&redis, "timeout: 2s").start().await;
    connected(&one).await;
    let other = replica(&redis, "timeout: 2s")
        .file("redis-key", OTHER_KEY)
        .beside(&one)
        .start()
        .await;
    assert_ne!(
        sales(&one, "ana").await["token"],
        sales(&other, "ana").await["token"]
    );
    assert_eq!(one.mints().await.len(), 2);
    complains(&other, "another key").await;
    assert!(count(&other, "probe", "foreign_key").await >= 1);
    assert_eq!(check(&one).await["ok"], true);
}

#[tokio::test]
async fn a_value_that_was_tampered_with_is_a_miss() {
    let redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 2s").await;
    sales(&one, "ana").await;
    let name = redis.names("embed-broker:token:").remove(0);
    let name = name.as_bytes();
    let good: Vec<u8> = redis.ask(&[b"GET", name]);
    let flipped = |at: usize| {
        let mut value = good.clone();
        value[at] ^= 1;
        value
    };
    let values = [
        b"garbage".to_vec(),
        flipped(0),
        flipped(1),
        flipped(good.len() / 2),
        flipped(good.len() - 1),
        good[..good.len() - 1].to_vec(),
        vec![1; 5_000_000],
    ];
    let mut mints = 1;
    for value in values {
        redis.ask::<()>(&[b"SET", name, &value]);
        let fresh = replica(&redis, "timeout: 2s").beside(&one).start().await;
        connected(&fresh).await;
        let rejected = count(&fresh, "get", "rejected").await;
        sales(&fresh, "ana").await;
        mints += 1;
        assert_eq!(one.mints().await.len(), mints);
        assert!(count(&fresh, "get", "rejected").await > rejected);
    }
    // Another type altogether: nothing can be read, and the token that is minted replaces it.
    redis.ask::<()>(&[b"DEL", name]);
    redis.ask::<()>(&[b"RPUSH", name, b"a", b"b"]);
    let minted = sales(&other, "ana").await;
    assert_eq!(one.mints().await.len(), mints + 1);
    let fresh = replica(&redis, "timeout: 2s").beside(&one).start().await;
    connected(&fresh).await;
    assert_eq!(sales(&fresh, "ana").await["token"], minted["token"]);
}

#[tokio::test]
async fn a_value_of_another_plan_is_never_served() {
    let redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 2s").await;
    let ana = sales(&one, "ana").await;
    let anas = redis.names("embed-broker:token:").remove(0);
    let ben = sales(&one, "ben").await;
    let names = redis.names("embed-broker:token:");
    let bens = names.iter().find(|name| **name != anas).unwrap();
    redis.ask::<()>(&[b"RENAME", anas.as_bytes(), b"spare"]);
    redis.ask::<()>(&[b"RENAME", bens.as_bytes(), anas.as_bytes()]);
    redis.ask::<()>(&[b"RENAME", b"spare", bens.as_bytes()]);
    for (persona, own) in [("ana", &ana), ("ben", &ben)] {
        let answer = sales(&other, persona).await;
        assert!(answer["token"] != ana["token"] && answer["token"] != ben["token"]);
        let rows = async |answer: &Value| {
            let rows = one.rows(answer["token"].as_str().unwrap()).await;
            (rows["identities"].clone(), rows["tables"].clone())
        };
        assert_eq!(rows(&answer).await, rows(own).await, "{persona}");
    }
    assert_eq!(one.mints().await.len(), 4);
}

#[tokio::test]
async fn a_lock_that_nobody_gives_back_costs_its_time_at_most() {
    let redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 2s, lock_ttl: 2s").await;
    sales(&one, "ana").await;
    let name = redis.names("embed-broker:token:").remove(0);
    redis.ask::<()>(&[b"DEL", name.as_bytes()]);
    // A replica that died while it minted.
    let lock = lock_of(&one, &other, &redis).await;
    redis.ask::<()>(&[b"SET", lock.as_bytes(), b"dead", b"PX", b"2000"]);
    let began = Instant::now();
    cold(&other, "locked").await;
    let waited = began.elapsed();
    assert!((1..6).contains(&waited.as_secs()), "{waited:?}");
    assert!(count(&other, "lock", "busy").await >= 1);
}

#[tokio::test]
async fn waiting_for_another_replica_leaves_time_to_mint() {
    let redis = RedisServer::start().await;
    let settings = "timeout: 1s, lock_ttl: 60s";
    let one = replica(&redis, settings).section(NO_LIMIT).start().await;
    let other = replica(&redis, settings)
        .section(NO_LIMIT)
        .edit("server:\n", "server:\n  request_timeout: 4s\n")
        .beside(&one)
        .start()
        .await;
    connected(&one).await;
    connected(&other).await;
    let lock = lock_of(&one, &other, &redis).await;
    redis.ask::<()>(&[b"SET", lock.as_bytes(), b"somebody"]);
    let began = Instant::now();
    cold(&other, "locked").await;
    let waited = began.elapsed();
    assert!((1..4).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test]
async fn a_lock_that_has_passed_to_another_replica_is_not_ended() {
    let redis = RedisServer::start().await;
    let (one, other) = two(&redis, "timeout: 2s, lock_ttl: 300ms").await;
    let lock = lock_of(&one, &other, &redis).await;
    one.faults(json!([{ "service": "power_bi", "path_contains": "GenerateToken", "delay_ms": 2000, "times": 1 }]))
        .await;
    let key = lock.as_bytes();
    let taking_over = async {
        // The mint takes longer than the lock lasts.
        eventually(async || redis.names(&lock).len() == 1).await;
        eventually(async || redis.names(&lock).is_empty()).await;
        redis.ask::<()>(&[b"SET", key, b"somebody"]);
    };
    tokio::join!(cold(&other, "locked"), taking_over);
    let owner: Option<String> = redis.ask(&[b"GET", key]);
    assert_eq!(owner.as_deref(), Some("somebody"));
}

/// The name of the lock for what `cold(.., "locked")` asks, found while `one` mints; nothing of it is left at `other`.
async fn lock_of(one: &TestApp, other: &TestApp, redis: &RedisServer) -> String {
    // What is known of the item beforehand makes the mint the only slow thing.
    cold(other, "before").await;
    one.faults(json!([{ "service": "power_bi", "path_contains": "GenerateToken", "delay_ms": 1000, "times": 1 }]))
        .await;
    let (_, lock) = tokio::join!(cold(one, "locked"), async {
        loop {
            if let Some(lock) = redis.names("embed-broker:lock:").pop() {
                return lock;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    for name in redis.names("embed-broker:token:") {
        redis.ask::<()>(&[b"DEL", name.as_bytes()]);
    }
    lock
}

#[tokio::test]
async fn a_server_that_answers_nonsense_fails_no_request() {
    let liar = Liar::start().await;
    let app = at(&liar.url(), "timeout: 500ms").start().await;
    let lies: [&[u8]; 15] = [
        b"+OK\r\n",
        b"$-1\r\n",
        b"$3\r\nabc\r\n",
        b":0\r\n",
        // As a wait: three centuries, and one that is over.
        b":9223372036854775807\r\n",
        b":-1\r\n",
        b"*1\r\n:1\r\n",
        b"-ERR told-by-the-server\r\n",
        b"-WRONGTYPE told-by-the-server\r\n",
        b"-OOM told-by-the-server\r\n",
        // These end the connection.
        b"-READONLY told-by-the-server\r\n",
        b"-NOAUTH told-by-the-server\r\n",
        b"HTTP/1.1 400 told-by-the-server\r\n\r\n",
        b"$99999999999\r\nx",
        b"",
    ];
    for (i, lie) in lies.into_iter().enumerate() {
        liar.tell(b":0\r\n");
        connected(&app).await;
        liar.tell(lie);
        let told = liar.told();
        cold(&app, &format!("u{i}")).await;
        assert!(liar.told() > told);
        if lie.starts_with(b"-ERR") {
            until_check(&app, |check| check["ok"] == false).await;
        }
        let shown = check(&app).await.to_string();
        assert!(!shown.contains("told-by-the-server"), "{shown}");
    }
}

// === keys and addresses that change ===

#[tokio::test]
async fn keys_are_rotated_without_a_mint() {
    let redis = RedisServer::start().await;
    let both = "timeout: 2s, key_previous_file: redis-key-2";
    // First everybody learns to read the new key, then everybody begins to write with it.
    let old = replica(&redis, both)
        .section(NO_LIMIT)
        .file("redis-key-2", OTHER_KEY)
        .start()
        .await;
    let new = replica(&redis, both)
        .section(NO_LIMIT)
        .file("redis-key", OTHER_KEY)
        .file("redis-key-2", KEY)
        .beside(&old)
        .start()
        .await;
    connected(&old).await;
    connected(&new).await;
    let by_old = cold(&old, "u1").await;
    assert_eq!(cold(&new, "u1").await["token"], by_old["token"]);
    let by_new = cold(&new, "u2").await;
    assert_eq!(cold(&old, "u2").await["token"], by_new["token"]);
    assert_eq!(old.mints().await.len(), 2);
    // The file changes under a running replica.
    std::fs::write(new.file("redis-key-2"), "nonsense").unwrap();
    complains(&new, "is not 32 bytes").await;
    assert_eq!(
        cold(&new, "u3").await["token"],
        cold(&old, "u3").await["token"]
    );
    std::fs::write(new.file("redis-key-2"), OTHER_KEY).unwrap();
    // Who still writes with the old one is noticed.
    complains(&new, "another key").await;
    let by_old = cold(&old, "u4").await;
    assert_ne!(
        cold(&new, "u4").await["token"],
        by_old["token"],
        "the old key is gone"
    );
}

#[tokio::test]
async fn a_password_is_followed_when_its_file_changes_and_shown_to_nobody() {
    let redis = RedisServer::start_with(&["--requirepass", "s3cret-of-redis"]).await;
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}/0", redis.port());
    let app = at(&url("wr0ng-of-redis"), "timeout: 2s").start().await;
    sales(&app, "ana").await;
    complains(&app, "refuses user or password").await;
    std::fs::write(app.file("redis-url"), url("s3cret-of-redis")).unwrap();
    connected(&app).await;
    cold(&app, "u1").await;
    assert_eq!(redis.names("embed-broker:token:").len(), 1);
    std::fs::write(app.file("redis-url"), "nonsense").unwrap();
    complains(&app, "cache.redis.url is no URL").await;
    cold(&app, "u2").await;
    assert_eq!(
        redis.names("embed-broker:token:").len(),
        2,
        "the former URL goes on"
    );
    let shown = format!(
        "{}{}",
        app.ops("/readyz").await.text,
        app.ops("/metrics").await.text
    );
    assert!(!shown.contains("of-redis"), "{shown}");
}

#[tokio::test]
async fn the_rights_that_the_documentation_names_are_enough() {
    let redis = RedisServer::start().await;
    let documentation = include_str!("../../docs/redis.md");
    let (_, line) = documentation
        .split_once("`ACL SETUSER broker on >password ")
        .unwrap();
    let rights = line.split('`').next().unwrap().split(' ');
    let user = ["ACL", "SETUSER", "broker", "on", ">password"];
    let command: Vec<&[u8]> = user.into_iter().chain(rights).map(str::as_bytes).collect();
    redis.ask::<()>(&command);
    let url = format!("redis://broker:password@127.0.0.1:{}", redis.port());
    let limited = || at(&url, "timeout: 2s").section(LIMIT);
    let one = limited().start().await;
    let other = limited().beside(&one).start().await;
    connected(&one).await;
    connected(&other).await;
    assert_eq!(
        sales(&one, "ana").await["token"],
        sales(&other, "ana").await["token"]
    );
    let kinds = [
        "embed-broker:key",
        "embed-broker:rate:",
        "embed-broker:token:",
    ];
    let names = redis.names("");
    assert!(
        names
            .iter()
            .zip(kinds)
            .all(|(name, kind)| name.starts_with(kind)),
        "{names:?}"
    );
    assert_eq!(
        names.len(),
        kinds.len(),
        "counted, stored, unlocked: {names:?}"
    );
}

#[tokio::test]
async fn redis_is_spoken_to_over_tls_that_is_verified() {
    let folder = tempfile::TempDir::new().unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new([]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap().pem();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (certificate, key) = (file("pem", &certificate), file("key", &key.serialize_pem()));
    let redis = RedisServer::start_with(&[
        "--tls-port",
        "PORT",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let port = redis.argument("--tls-port");
    let trusting = |host: &str| {
        at(&format!("rediss://{host}:{port}"), "timeout: 2s")
            .section("tls: { extra_ca_file: ca.pem }")
            .file("ca.pem", ca_pem.clone())
    };
    let one = trusting("localhost").start().await;
    let other = trusting("localhost").beside(&one).start().await;
    connected(&one).await;
    connected(&other).await;
    assert_eq!(
        sales(&one, "ana").await["token"],
        sales(&other, "ana").await["token"]
    );
    // An authority that nobody named, and a name that is not in the certificate.
    let doubting = at(&format!("rediss://localhost:{port}"), "timeout: 2s");
    for (setup, problem) in [
        (doubting, "UnknownIssuer"),
        (trusting("127.0.0.1"), "not valid for name"),
    ] {
        let app = setup.beside(&one).start().await;
        complains(&app, problem).await;
        sales(&app, "ana").await;
    }
    assert_eq!(one.mints().await.len(), 3);
}

// === rate limits ===

const LIMIT: &str = "rate_limit: { per_caller_per_minute: 1, burst: 5 }";

async fn ask(app: &TestApp, token: &str) -> Answer {
    app.embed_as(token, json!({ "item": "sales" })).await
}

#[tokio::test]
async fn a_callers_limit_is_one_for_all_replicas() {
    let redis = RedisServer::start().await;
    let one = replica(&redis, "timeout: 2s").section(LIMIT).start().await;
    let other = replica(&redis, "timeout: 2s")
        .section(LIMIT)
        .beside(&one)
        .start()
        .await;
    connected(&one).await;
    connected(&other).await;
    let (ana, ben) = (one.token("ana").await, one.token("ben").await);
    let asks = (0..10).map(|i| ask(if i % 2 == 0 { &one } else { &other }, &ana));
    let answers = join_all(asks).await;
    let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!((passed.len(), refused.len()), (5, 5));
    for answer in refused {
        answer.problem(429, "rate_limited");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    ask(&other, &ben).await.ok();
}

#[tokio::test]
async fn without_redis_each_replica_has_its_own_limit_and_no_looser_one() {
    let mut redis = RedisServer::start().await;
    let app = replica(&redis, "timeout: 2s").section(LIMIT).start().await;
    connected(&app).await;
    let token = app.token("ana").await;
    for _ in 0..3 {
        ask(&app, &token).await.ok();
    }
    redis.ask::<()>(&[b"FLUSHALL"]);
    ask(&app, &token).await.ok();
    redis.kill();
    ask(&app, &token).await.ok();
    ask(&app, &token).await.problem(429, "rate_limited");
}

#[tokio::test]
async fn counters_that_nobody_can_have_counted_stop_no_caller() {
    let redis = RedisServer::start().await;
    let app = replica(&redis, "timeout: 2s").section(LIMIT).start().await;
    connected(&app).await;
    let token = app.token("ana").await;
    ask(&app, &token).await.ok();
    let name = redis.names("embed-broker:rate:").remove(0);
    for lie in ["9999999999999999", "inf", "nan", "-5"] {
        redis.ask::<()>(&[b"SET", name.as_bytes(), lie.as_bytes()]);
        ask(&app, &token).await.ok();
        let left: i64 = redis.ask(&[b"PTTL", name.as_bytes()]);
        assert!(left > 0, "counted anew: {left}");
    }
    let app = replica(&redis, "timeout: 2s")
        .section(LIMIT)
        .beside(&app)
        .start()
        .await;
    connected(&app).await;
    redis.ask::<()>(&[b"DEL", name.as_bytes()]);
    redis.ask::<()>(&[b"RPUSH", name.as_bytes(), b"x"]);
    ask(&app, &token).await.ok();
}

#[tokio::test]
async fn a_paused_redis_delays_the_limit_once() {
    let redis = RedisServer::start().await;
    let app = replica(&redis, "timeout: 3s").start().await;
    connected(&app).await;
    let token = app.token("ana").await;
    ask(&app, &token).await.ok();
    redis.pause();
    ask(&app, &token).await.ok();
    let began = Instant::now();
    for _ in 0..10 {
        ask(&app, &token).await.ok();
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}
