//! The end of the real process: what is under way is answered, the trail is complete, the exit code is 0.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Process, eventually};

fn sales() -> Value {
    json!({ "item": "sales" })
}

/// Mints take so long.
async fn slow(broker: &Process, milliseconds: u64) {
    let faults = json!([{"service": "power_bi", "path_contains": "GenerateToken", "delay_ms": milliseconds}]);
    broker.control(Method::PUT, "/sandbox/faults", faults).await;
}

#[tokio::test]
async fn sigterm_lets_requests_finish_refuses_new_ones_and_exits_with_0() {
    let broker = Process::start(Process::setup()).await;
    slow(&broker, 2500).await;
    let token = broker.token_with("ana", json!({})).await;
    let under_way = broker.embed_as(&token, sales());
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        broker.signal("TERM");
        eventually(async || {
            let ready = broker.request(Method::GET, "/readyz").send().await.unwrap();
            ready.status() == 503
        })
        .await;
        let live = broker.request(Method::GET, "/livez").send().await.unwrap();
        assert_eq!(live.status(), 200, "alive until the end");
        let readiness = broker.ops("/readyz").await.json();
        assert_eq!(readiness["draining"], true, "{readiness}");
        broker
            .embed_as(&token, sales())
            .await
            .problem(503, "shutting_down");
    };
    let (answer, ()) = tokio::join!(under_way, meanwhile);
    let token_id = answer.ok()["tokenId"].clone();
    assert_eq!(broker.ended().await.code(), Some(0));
    let records = broker.audit();
    let ok: Vec<_> = records.iter().filter(|r| r["code"] == "ok").collect();
    assert_eq!(ok.len(), 1, "{records:#?}");
    assert_eq!(ok[0]["tokenId"], token_id);
    assert!(records.iter().any(|r| r["code"] == "shutting_down"));
    let last = broker.log();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(last["fields"]["message"], "ended");
}

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let broker = Process::start(Process::setup()).await;
        broker.embed("ana", sales()).await.ok();
        let began = Instant::now();
        broker.signal(signal);
        assert_eq!(broker.ended().await.code(), Some(0), "{signal}");
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{signal}: {began:?}"
        );
        assert_eq!(broker.audit().len(), 1);
    }
}

#[tokio::test]
async fn requests_that_outlast_the_grace_do_not_hold_the_process() {
    let broker =
        Process::start(Process::setup().edit("server:\n", "server:\n  shutdown_grace: 1s\n")).await;
    slow(&broker, 9000).await;
    let token = broker.token_with("ana", json!({})).await;
    let under_way = broker
        .request(Method::POST, "/embed-token")
        .bearer_auth(&token)
        .json(&sales())
        .send();
    let end = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        broker.signal("TERM");
        let status = loop {
            if let Some(status) = broker.has_ended() {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(status.code(), Some(0));
        let took = began.elapsed();
        assert!((900..4000).contains(&took.as_millis()), "{took:?}");
    };
    let (answer, ()) = tokio::join!(under_way, end);
    assert!(answer.is_err(), "its connection is gone");
    assert_eq!(
        broker
            .lines("server.shutdown_grace has passed with requests still under way")
            .len(),
        1
    );
}

#[tokio::test]
async fn sighup_opens_the_audit_file_anew_and_loses_no_record() {
    let broker =
        Process::start(Process::setup().section("rate_limit: { per_caller_per_minute: 0 }")).await;
    let token = broker.token_with("ana", json!({})).await;
    let rounds = 30;
    let load = async {
        for _ in 0..rounds {
            let asks = (0..10).map(|_| broker.embed_as(&token, sales()));
            for answer in futures_util::future::join_all(asks).await {
                answer.ok();
            }
        }
    };
    let rotations = async {
        for number in 0..5 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let rotated = broker.file(&format!("audit.{number}.jsonl"));
            std::fs::rename(broker.file("audit.jsonl"), rotated).unwrap();
            broker.signal("HUP");
            eventually(async || broker.file("audit.jsonl").exists()).await;
        }
    };
    tokio::join!(load, rotations);
    broker.signal("TERM");
    assert!(broker.ended().await.success());
    let mut records = broker.audit().len();
    for number in 0..5 {
        let text = std::fs::read_to_string(broker.file(&format!("audit.{number}.jsonl"))).unwrap();
        records += crate::support::records::records(&text).len();
    }
    assert_eq!(records, rounds * 10);
}

#[tokio::test]
async fn a_signal_during_a_reload_is_obeyed() {
    let broker = Process::start(Process::setup()).await;
    for _ in 0..20 {
        broker.signal("HUP");
    }
    broker.signal("TERM");
    let began = Instant::now();
    assert_eq!(broker.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
}
