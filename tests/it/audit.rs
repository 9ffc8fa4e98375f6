//! The audit trail: complete, as its schema says, and a condition of every token when it is required.

use std::fmt::Write as _;
use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use embed_broker::audit::{AuditRecord, Event};
use embed_broker::broker::Code;
use reqwest::Method;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::records::{SCHEMA, faults};
use crate::support::{Process, TestApp, eventually};

fn sales() -> Value {
    json!({ "item": "sales" })
}

/// A record with every member.
fn full() -> AuditRecord {
    let now = OffsetDateTime::now_utc();
    AuditRecord {
        code: "power_bi_rejected",
        issuer: Some("login".into()),
        tid: Some("t".into()),
        sub: Some("u".into()),
        items: vec!["sales".into()],
        target: Some("t".into()),
        rule: Some("r".into()),
        access: Some("view"),
        identity: Some(
            [to_raw_value(&json!({"username": "u", "auditableContext": "c"})).unwrap()].into(),
        ),
        principal: Some("default".into()),
        profile: Some("p".into()),
        token_id: Some("4b76f5ed-5a06-4150-8d1b-60f8e4c186f4".into()),
        token_sha256: Some("0".repeat(64)),
        expiration: Some(now),
        source: Some("minted"),
        upstream_request_id: Some("5b76f5ed-5a06-4150-8d1b-60f8e4c186f4".into()),
        reason: Some("why".into()),
        count: Some(1),
        truncated: true,
        ..AuditRecord::new(
            Event::EmbedToken,
            "id".into(),
            Some([127, 0, 0, 1].into()),
            now,
        )
    }
}

#[test]
fn the_published_schema_has_every_member_and_no_other() {
    let record = serde_json::to_value(full()).unwrap();
    assert_eq!(faults(&record), Vec::<String>::new());
    let mut members: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
    let mut described: Vec<_> = SCHEMA["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    members.sort();
    described.sort();
    assert_eq!(members, described);
}

#[test]
fn the_published_schema_knows_every_code() {
    let listed: Vec<_> = SCHEMA["properties"]["code"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    let mut codes = vec!["ok", "abandoned"];
    codes.extend(Code::ALL.iter().map(|code| code.as_str()));
    assert_eq!(listed, codes);
}

#[test]
fn the_schema_can_refuse() {
    let good = serde_json::to_value(full()).unwrap();
    for (member, value) in [
        ("surprise", json!(1)),
        ("token_sha256", json!("H4sI")),
        ("code", json!("else")),
        ("tokenId", json!("not-a-guid")),
        ("time", json!("yesterday")),
        ("client", json!("nobody")),
        ("identity", json!([{"identityBlob": {"value": "secret"}}])),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        assert!(!faults(&bad).is_empty(), "{member}");
    }
    let mut incomplete = good.clone();
    incomplete["code"] = "ok".into();
    incomplete.as_object_mut().unwrap().remove("reason");
    assert!(faults(&incomplete).is_empty());
    incomplete.as_object_mut().unwrap().remove("tokenId");
    assert!(!faults(&incomplete).is_empty(), "a token has its id");
}

#[tokio::test]
async fn a_record_ties_request_identity_token_and_upstream_call_together() {
    let app = TestApp::start().await;
    let token = app.token("ana").await;
    let ask = async |id: &str| {
        app.request(Method::POST, "/embed-token")
            .bearer_auth(&token)
            .header("X-Request-Id", id)
            .json(&json!({"item": "sales-by-user"}))
            .send()
            .await
            .unwrap()
            .json::<Value>()
            .await
            .unwrap()
    };
    let minted = ask("gateway-1").await;
    let cached = ask("gateway-2").await;
    assert_eq!(minted["tokenId"], cached["tokenId"]);
    let mint = &app.mints().await[0];
    let records = app.audit();
    for (record, id, source) in [
        (&records[0], "gateway-1", "minted"),
        (&records[1], "gateway-2", "cached"),
    ] {
        assert_eq!(record["request_id"], id);
        assert_eq!(record["source"], source);
        assert_eq!(record["tokenId"], minted["tokenId"]);
        assert_eq!(record["upstream_request_id"], mint["request_id"]);
        assert_eq!(record["identity"][0]["auditableContext"], "u-ana");
        assert_eq!(
            mint["body"]["identities"][0]["auditableContext"], "u-ana",
            "what Power BI writes into its own log"
        );
        assert_eq!(record["sub"], "u-ana");
        assert_eq!(record["rule"], "own-sales");
        assert!(
            record
                .to_string()
                .find(minted["token"].as_str().unwrap())
                .is_none()
        );
    }
}

/// The query of the README, as it stands, over what both sides write.
#[tokio::test]
async fn the_trail_joins_with_power_bis_activity_log() {
    let query = include_str!("../../README.md")
        .split_once("<!-- sample: join -->\n```sh\n")
        .and_then(|(_, rest)| rest.split_once("\n```"))
        .unwrap()
        .0;
    let app = TestApp::start().await;
    let token = app.embed("ana", sales()).await.ok();
    app.embed("ana", sales()).await.ok();
    app.embed("ben", sales()).await.ok();
    let id = token["tokenId"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(app.audit_file(), folder.path().join("audit.jsonl")).unwrap();
    // One who got no token in the end stands behind nothing.
    let mut trail = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let mut abandoned = app.audit()[0].clone();
    abandoned["code"] = "abandoned".into();
    writeln!(trail, "{abandoned}").unwrap();
    std::fs::write(folder.path().join("audit.jsonl"), trail).unwrap();
    let event = |operation: &str, id: &str| json!({"Id": "event-1", "Operation": operation, "EmbedTokenId": id, "WorkSpaceName": "Contoso"});
    let mut without_id = event("GenerateEmbedToken", id);
    without_id.as_object_mut().unwrap().remove("EmbedTokenId");
    let events = [
        without_id,
        event("GenerateEmbedToken", &id.to_ascii_uppercase()),
        event("ViewReport", id),
        event("GenerateEmbedToken", "00000000-0000-4000-8000-000000000000"),
    ];
    // As the API answers, as a list, and as lines.
    for text in [
        json!({"activityEventEntities": events, "lastResultSet": true}).to_string(),
        json!(events).to_string(),
        events.each_ref().map(Value::to_string).join("\n"),
    ] {
        std::fs::write(folder.path().join("events.json"), &text).unwrap();
        let run = tokio::process::Command::new("sh")
            .args(["-c", query])
            .current_dir(folder.path())
            .output()
            .await
            .unwrap();
        assert!(
            run.status.success(),
            "is jq installed? {}",
            String::from_utf8_lossy(&run.stderr)
        );
        let rows: Vec<Value> = serde_json::Deserializer::from_slice(&run.stdout)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let sources: Vec<_> = rows.iter().map(|row| &row["source"]).collect();
        assert_eq!(sources, ["minted", "cached"], "{text}: {rows:#?}");
        for row in rows {
            assert_eq!(
                (&row["issuer"], &row["sub"]),
                (&json!("demo"), &json!("u-ana"))
            );
            assert_eq!(row["tokenId"], id);
            assert_eq!(row["event"], "event-1");
            assert_eq!(row["workspace"], "Contoso");
            assert!(row["rule"].is_string() && row["request_id"].is_string());
            assert_eq!(row["identity"][0]["username"], "ana@contoso.example");
        }
    }
}

#[tokio::test]
async fn every_kind_of_request_leaves_a_record_as_the_schema_says() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    for persona in ["ana", "ben", "chloe", "audra", "dora"] {
        let catalogue = app.get(persona, "/items").await.ok();
        for entry in catalogue["items"].as_array().unwrap() {
            let item = entry["item"].as_str().unwrap();
            app.embed(persona, json!({ "item": item })).await;
        }
    }
    let sql = app.token("ana").await;
    let blob = app
        .request(Method::POST, "/embed-token")
        .bearer_auth(&sql)
        .header("X-Sql-Token", "planted-sql-token")
        .json(&json!({"item": "orders"}))
        .send()
        .await
        .unwrap();
    assert_eq!(blob.status(), 200);
    app.get("ana", "/items/any-report/targets").await.ok();
    app.embed("ana", json!({"item": "no-such"})).await;
    app.embed_as("no.real.token", sales()).await;
    // `audit()` holds each against the schema.
    let records = app.audit();
    assert!(records.len() > 40, "{}", records.len());
    let blob = records
        .iter()
        .find(|r| r["items"] == json!(["orders"]) && r["code"] == "ok");
    let blob = blob.expect("a record of the request with a blob");
    assert!(
        blob["identity"][0]["identityBlob"]["sha256"].is_string(),
        "{blob}"
    );
    let all = std::fs::read_to_string(app.audit_file()).unwrap();
    assert!(!all.contains("planted-sql-token"));
}

// === a sink that fails ===

/// A broker whose audit file is a link to a disk that is full.
async fn with_full_disk(required: bool) -> TestApp {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .edit(
            "sink: file\n",
            &format!("sink: file\n  required: {required}\n"),
        )
        .start()
        .await;
    app.embed("ana", sales()).await.ok();
    std::fs::remove_file(app.audit_file()).unwrap();
    std::os::unix::fs::symlink("/dev/full", app.audit_file()).unwrap();
    app.reload().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    app
}

#[tokio::test]
async fn no_token_leaves_while_the_disk_is_full_and_the_trail_heals_by_itself() {
    let app = with_full_disk(true).await;
    let token = app.token("ana").await;
    for _ in 0..3 {
        let answer = app.embed_as(&token, sales()).await;
        answer.problem(503, "audit_unavailable");
        assert!(
            !answer.text.contains("accessToken"),
            "no token: {}",
            answer.text
        );
    }
    assert_eq!(app.check("audit").await["ok"], false);
    assert_eq!(app.ops("/readyz").await.status, 200);
    // Space again: no restart, no signal.
    std::fs::remove_file(app.audit_file()).unwrap();
    std::fs::write(app.audit_file(), "").unwrap();
    eventually(async || app.embed_as(&token, sales()).await.status == 200).await;
    assert_eq!(app.check("audit").await["ok"], true);
    assert_eq!(app.last_record()["code"], "ok");
}

#[tokio::test]
async fn a_trail_that_is_not_required_costs_nobody_a_token() {
    let app = with_full_disk(false).await;
    app.embed("ana", sales()).await.ok();
    eventually(async || app.check("audit").await["ok"] == false).await;
    app.embed("ben", sales()).await.ok();
}

/// Standard output that nobody reads: the pipe fills up, and then the sink hangs.
#[tokio::test]
async fn a_sink_that_hangs_is_not_waited_for_by_everybody() {
    let mut broker = Process::start_with(
        Process::setup()
            .edit("sink: file\n  file: audit.jsonl", "sink: stdout")
            .section("rate_limit: { per_caller_per_minute: 0 }"),
        Stdio::piped(),
    )
    .await;
    let mut pipe = broker.stdout();
    eventually(async || broker.ops("/readyz").await.status == 200).await;
    let token = broker.token_with("ana", json!({})).await;
    let mut given = 0;
    let began = Instant::now();
    loop {
        let answer = broker.embed_as(&token, sales()).await;
        if answer.status != 200 {
            answer.problem(503, "audit_unavailable");
            break;
        }
        given += 1;
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the pipe never fills"
        );
    }
    assert!(given > 10, "{given}");
    // One waits to learn when the sink is well again; the others are told at once.
    let asks = (0..20).map(async |_| {
        let began = Instant::now();
        broker
            .embed_as(&token, sales())
            .await
            .problem(503, "audit_unavailable");
        began.elapsed()
    });
    let waits = futures_util::future::join_all(asks).await;
    let long = waits
        .iter()
        .filter(|wait| **wait > Duration::from_secs(1))
        .count();
    assert!(long <= 1, "{waits:?}");
    assert_eq!(broker.metric("embed_broker_audit_failing").await, Some(1.0));
    // Somebody reads again: nothing was lost of what was given out, and the broker goes on.
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    });
    eventually(async || broker.embed_as(&token, sales()).await.status == 200).await;
    broker.signal("TERM");
    assert!(broker.ended().await.success());
    drop(broker);
    let records = crate::support::records::records(&reader.join().unwrap());
    let ok = records
        .iter()
        .filter(|record| record["code"] == "ok")
        .count();
    assert!(ok > given, "{ok} records of {} tokens", given + 1);
}

// === the disk ===

async fn syncs(fsync: &str) -> (Process, u64) {
    let broker = Process::start(
        Process::setup()
            .edit("sink: file\n", &format!("sink: file\n  fsync: {fsync}\n"))
            .section("rate_limit: { per_caller_per_minute: 0 }"),
    )
    .await;
    let token = broker.token_with("ana", json!({})).await;
    for _ in 0..10 {
        broker.embed_as(&token, sales()).await.ok();
    }
    let syncs = broker.count("embed_broker_audit_syncs_total").await;
    (broker, syncs)
}

#[tokio::test]
async fn fsync_always_brings_every_record_to_the_disk_before_its_token_leaves() {
    let (_broker, syncs) = syncs("always").await;
    assert_eq!(syncs, 10);
}

#[tokio::test]
async fn fsync_interval_brings_records_to_the_disk_within_seconds() {
    let (broker, early) = syncs("interval").await;
    eventually(async || broker.metric("embed_broker_audit_syncs_total").await > Some(0.0)).await;
    assert!(early < 10, "{early}: not at every record");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let settled = broker.metric("embed_broker_audit_syncs_total").await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let later = broker.metric("embed_broker_audit_syncs_total").await;
    assert_eq!(settled, later, "nothing is synced when nothing was written");
}

#[tokio::test]
async fn fsync_never_leaves_it_to_the_system() {
    let (broker, _) = syncs("never").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let syncs = broker.count("embed_broker_audit_syncs_total").await;
    assert_eq!(syncs, 0);
}

// === bounds ===

/// The number of answers that records stand for.
fn answers(records: &[Value]) -> u64 {
    records
        .iter()
        .map(|record| record["count"].as_u64().unwrap_or(1))
        .sum()
}

#[tokio::test]
async fn a_caller_beyond_the_rate_limit_fills_no_trail() {
    let broker = Process::start(Process::setup()).await;
    let token = broker.token_with("ana", json!({})).await;
    // As long as a body may be, in few characters.
    let long = vec!["\u{1}".repeat(53); 50];
    let asks = (0..300).map(|_| broker.embed_as(&token, json!({ "items": long })));
    let codes = futures_util::future::join_all(asks).await;
    let limited = codes.iter().filter(|answer| answer.status == 429).count();
    assert!(
        (200..300).contains(&limited),
        "{limited} are beyond the limit"
    );
    broker.signal("TERM");
    assert!(broker.ended().await.success());
    let records = broker.audit();
    assert_eq!(answers(&records), 300);
    let limited: Vec<_> = records
        .iter()
        .filter(|record| record["code"] == "rate_limited")
        .collect();
    assert_eq!(limited.len(), 11, "ten one by one, and one for the rest");
    for record in limited {
        assert_eq!(record.get("items"), None, "{record}");
        assert_eq!(record["sub"], "u-ana");
    }
    let longest = records.iter().map(|r| r.to_string().len()).max().unwrap();
    assert!(longest < 16 * 1024, "{longest} bytes");
    assert!(
        records.iter().any(|r| r["truncated"] == json!(true)),
        "an admitted caller's items are recorded, shortened"
    );
}

#[tokio::test]
async fn addresses_that_rotate_within_one_network_fill_no_trail() {
    let setup = Process::setup().edit("server:\n", "server:\n  trusted_proxies: [127.0.0.1/32]\n");
    let broker = Process::start(setup).await;
    let asks = (0..200).map(|number| {
        broker
            .request(Method::POST, "/embed-token")
            .header("X-Forwarded-For", format!("2001:db8:1:2::{number:x}"))
            .bearer_auth("no.real.token")
            .json(&sales())
            .send()
    });
    for answer in futures_util::future::join_all(asks).await {
        assert_eq!(answer.unwrap().status(), 401);
    }
    broker.signal("TERM");
    assert!(broker.ended().await.success());
    let records = broker.audit();
    assert_eq!(records.len(), 61, "sixty one by one, and one for the rest");
    assert_eq!(answers(&records), 200);
    assert!(records.iter().all(|record| record.get("items").is_none()));
}
