//! What changes while the broker runs: policy, configuration, secrets, credentials, keys. Nothing in flight is lost,
//! and what is faulty is not taken.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Process, TestApp, eventually};

/// Real tokens have `iat`, the policy's own cases do not: so they go on to hold.
const DENY_ALL: &str =
    "rules:\n  - { name: closed, items: [\"*\"], when: \"has(claims.iat)\", deny: true }\n";

/// Writes a policy that closes everything and has no cases, so that it waits for SIGHUP, which then takes it at once.
fn close_without_cases(policy: &Path) {
    let text = std::fs::read_to_string(policy).unwrap();
    let (text, _) = text.split_once("\ncases:").unwrap();
    std::fs::write(policy, text.replace("rules:\n", DENY_ALL)).unwrap();
}

fn sales() -> Value {
    json!({ "item": "sales" })
}

/// A broker that many requests may ask.
async fn unlimited() -> TestApp {
    TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await
}

/// The first item's title, which tests change to see which policy is in force.
async fn title(app: &TestApp) -> String {
    let items = app.get("ana", "/items").await.ok();
    items["items"][0]["title"].as_str().unwrap().to_owned()
}

async fn status(app: &TestApp, persona: &str) -> u16 {
    app.embed(persona, sales()).await.status
}

#[tokio::test]
async fn an_edited_policy_is_taken_within_five_seconds() {
    let app = unlimited().await;
    app.embed("ana", sales()).await.ok();
    let began = Instant::now();
    app.edit("policy.yaml", "rules:\n", DENY_ALL);
    eventually(async || status(&app, "ana").await == 403).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
    app.edit("policy.yaml", DENY_ALL, "rules:\n");
    eventually(async || status(&app, "ana").await == 200).await;
}

#[tokio::test]
async fn links_swapped_as_in_a_config_map_are_noticed() {
    use std::os::unix::fs::symlink;
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    // Kubernetes: mount/policy.yaml -> ..data/policy.yaml, ..data -> ..2026_01, and ..data is swapped by rename.
    let policy = std::fs::read_to_string(app.file("policy.yaml")).unwrap();
    let mount = app.file("mount");
    for (version, text) in [
        ("..v1", policy.clone()),
        ("..v2", policy.replace("rules:\n", DENY_ALL)),
    ] {
        std::fs::create_dir_all(mount.join(version)).unwrap();
        std::fs::write(mount.join(version).join("policy.yaml"), text).unwrap();
    }
    symlink("..v1", mount.join("..data")).unwrap();
    symlink("..data/policy.yaml", mount.join("policy.yaml")).unwrap();
    app.edit(
        "broker.yaml",
        "policy_file: policy.yaml",
        "policy_file: mount/policy.yaml",
    );
    app.reload().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(status(&app, "ana").await, 200);
    let began = Instant::now();
    symlink("..v2", mount.join("..data_tmp")).unwrap();
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    eventually(async || status(&app, "ana").await == 403).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
}

#[tokio::test]
async fn a_faulty_policy_is_not_taken_and_said_so_until_it_is_mended() {
    let broker =
        Process::start(Process::setup().section("rate_limit: { per_caller_per_minute: 0 }")).await;
    let edit = |from: &str, to: &str| {
        let file = broker.file("policy.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace(from, to)).unwrap();
    };
    assert_eq!(
        broker.metric("embed_broker_configuration_stale").await,
        Some(0.0)
    );
    edit("has(claims.regions)", "has(claims.regions");
    let refused = "embed_broker_reloads_total{outcome=\"refused\"}";
    eventually(async || broker.metric(refused).await == Some(1.0)).await;
    broker.embed("ana", sales()).await.ok();
    broker.embed("ben", sales()).await.ok();
    let lines = broker.lines("reload refused; the former configuration and policy go on");
    assert_eq!(lines.len(), 1, "judged once");
    assert!(
        lines[0]["fields"]["mistakes"]
            .as_str()
            .unwrap()
            .contains("rules")
    );
    let readiness = broker.ops("/readyz").await;
    assert_eq!(readiness.status, 200);
    let check = &readiness.json()["checks"][0];
    assert_eq!(check["name"], "configuration");
    assert_eq!(check["ok"], false);
    assert!(
        check["reason"].as_str().unwrap().contains("rules"),
        "{check}"
    );
    assert_eq!(
        broker.metric("embed_broker_configuration_stale").await,
        Some(1.0)
    );
    assert_eq!(
        broker.metric("embed_broker_policy_generation").await,
        Some(1.0)
    );
    let at = "embed_broker_last_reload_timestamp_seconds{outcome=\"refused\"}";
    assert!(broker.metric(at).await.unwrap() > 1.6e9);

    edit("has(claims.regions", "has(claims.regions)");
    eventually(async || broker.metric("embed_broker_policy_generation").await == Some(2.0)).await;
    assert_eq!(
        broker.metric("embed_broker_configuration_stale").await,
        Some(0.0)
    );
    assert_eq!(broker.ops("/readyz").await.json()["checks"][0]["ok"], true);
}

/// A policy whose first block, up to the rule's condition, is a policy as well: one that gives everything to everybody.
/// Its case holds for the block alone.
const BLOCKS: [&str; 2] = [
    "
tables:
  tenant: { key: claims.tid, rows: { contoso: { workspace: Contoso, profile: contoso } } }
items:
  sales:
    kind: report
    workspace: { cel: tenant.workspace }
    profile: { cel: tenant.profile }
    report: Sales Overview
cases:
  - name: auditors see all
    claims: { sub: a, tid: contoso, role: auditor }
    item: sales
    expect: { rule: auditors, roles: [Everything] }
rules:
  - name: auditors
    items: [sales]
    identity: { username: { cel: claims.sub }, roles: [Everything] }
",
    "    when: \"has(claims.role) && claims.role == 'auditor'\"
  - name: regional
    items: [sales]
    identity: { username: { cel: claims.email }, roles: { cel: \"claims.regions.map(r, 'Region ' + r)\" } }
",
];

/// Rule and roles by which ben gets the sales.
async fn ben(app: &TestApp) -> (Value, Value) {
    app.embed("ben", sales()).await.ok();
    let record = app.last_record();
    (
        record["rule"].clone(),
        record["identity"][0]["roles"].clone(),
    )
}

#[tokio::test]
async fn a_policy_that_is_written_in_two_blocks_widens_nothing_in_between() {
    let amer = json!(["Region AMER"]);
    let mut tries = 0;
    let app = loop {
        let app = unlimited().await;
        std::fs::write(app.file("policy.yaml"), BLOCKS[0]).unwrap();
        let began = Instant::now();
        let mut answers = Vec::new();
        while began.elapsed() < Duration::from_millis(2300) {
            answers.push(ben(&app).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut options = OpenOptions::new();
        let mut file = options.append(true).open(app.file("policy.yaml")).unwrap();
        file.write_all(BLOCKS[1].as_bytes()).unwrap();
        // On a machine so busy that the pause took longer, the block may have been taken for the whole: again.
        if began.elapsed() < Duration::from_millis(2800) {
            assert!(
                answers
                    .iter()
                    .all(|it| *it == (json!("viewers"), amer.clone())),
                "{answers:?}"
            );
            break app;
        }
        tries += 1;
        assert!(tries < 5, "this machine is too busy");
    };
    let complete = Instant::now();
    eventually(async || {
        let (rule, roles) = ben(&app).await;
        assert_eq!(roles, amer);
        rule == "regional"
    })
    .await;
    assert!(complete.elapsed() < Duration::from_secs(5), "{complete:?}");
}

#[tokio::test]
async fn a_policy_that_has_lost_its_cases_waits_for_a_sighup_and_says_so() {
    let broker =
        Process::start(Process::setup().section("rate_limit: { per_caller_per_minute: 0 }")).await;
    let rules = BLOCKS.concat();
    let (before, after) = rules.split_once("cases:").unwrap();
    let (_, after) = after.split_once("rules:").unwrap();
    std::fs::write(
        broker.file("policy.yaml"),
        [before, "rules:", after].concat(),
    )
    .unwrap();
    let stale = "embed_broker_configuration_stale";
    eventually(async || broker.metric(stale).await == Some(1.0)).await;
    broker.embed("ben", sales()).await.ok();
    assert_eq!(broker.audit().last().unwrap()["rule"], "viewers");
    let check = broker.ops("/readyz").await.json()["checks"][0].clone();
    let refused = broker.lines("reload refused; the former configuration and policy go on");
    assert_eq!(refused.len(), 1);
    for text in [&check["reason"], &refused[0]["fields"]["mistakes"]] {
        let text = text.as_str().unwrap();
        assert!(
            text.contains("policy.yaml cases") && text.contains("SIGHUP"),
            "{text}"
        );
    }
    broker.signal("HUP");
    eventually(async || broker.metric(stale).await == Some(0.0)).await;
    broker.embed("ben", sales()).await.ok();
    assert_eq!(broker.audit().last().unwrap()["rule"], "regional");
}

#[tokio::test]
async fn a_request_is_served_to_its_end_by_what_was_in_force_at_its_start() {
    let origins = |listed: &str| format!("allowed_origins: [{listed}");
    let setup = Process::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .edit(&origins(""), &origins("\"https://old.example\", "));
    let broker = Process::start(setup).await;
    let token = broker.token_with("ana", json!({})).await;
    // Both are settled by the time that the policy is refused for its lack of cases; SIGHUP takes them at once.
    let config = std::fs::read_to_string(broker.file("broker.yaml")).unwrap();
    let config = config.replace("https://old.example", "https://new.example");
    std::fs::write(broker.file("broker.yaml"), config).unwrap();
    close_without_cases(&broker.file("policy.yaml"));
    let stale = "embed_broker_configuration_stale";
    eventually(async || broker.metric(stale).await == Some(1.0)).await;

    let body = sales().to_string();
    let head = format!(
        "POST /embed-token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nOrigin: https://old.example\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let (first, rest) = body.split_at(5);
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    stream.write_all((head + first).as_bytes()).await.unwrap();
    let busy = "embed_broker_requests_in_flight";
    eventually(async || broker.metric(busy).await == Some(1.0)).await;
    broker.signal("HUP");
    eventually(async || broker.metric(stale).await == Some(0.0)).await;
    broker
        .embed_as(&token, sales())
        .await
        .problem(403, "not_permitted");
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let cors = "access-control-allow-origin: https://old.example";
    assert!(answer.to_lowercase().contains(cors), "{answer}");
    let records = broker.audit();
    let [refused, served] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(refused["rule"], "closed");
    assert_eq!(
        (&served["code"], &served["rule"]),
        (&json!("ok"), &json!("managers"))
    );
}

#[tokio::test]
async fn sighup_reads_the_configuration_again() {
    let app = unlimited().await;
    let token = app.token("ana").await;
    for _ in 0..30 {
        app.embed_as(&token, sales()).await.ok();
    }
    app.edit(
        "broker.yaml",
        "rate_limit: { per_caller_per_minute: 0 }",
        "rate_limit: { per_caller_per_minute: 1, burst: 2 }",
    );
    app.reload().await;
    eventually(async || app.embed_as(&token, sales()).await.status == 429).await;
}

#[tokio::test]
async fn a_refused_sighup_is_followed_once_its_mistake_is_mended() {
    let app = unlimited().await;
    let token = app.token("ana").await;
    app.edit("broker.yaml", "lifetime: 30m", "lifetime: 0m");
    app.reload().await;
    eventually(async || app.check("configuration").await["ok"] == false).await;
    let reason = app.check("configuration").await["reason"].to_string();
    assert!(reason.contains("tokens.lifetime"), "{reason}");
    app.embed_as(&token, sales()).await.ok();
    // A policy that is taken meanwhile does not hide it.
    app.edit("policy.yaml", "title: Sales\n", "title: All sales\n");
    eventually(async || title(&app).await == "All sales").await;
    assert_eq!(app.check("configuration").await["ok"], false);
    app.edit("broker.yaml", "lifetime: 0m", "lifetime: 5m");
    eventually(async || app.check("configuration").await["ok"] == true).await;
    app.forget_calls().await;
    app.embed("chloe", json!({"item": "sales"})).await.ok();
    assert_eq!(app.mints().await[0]["body"]["lifetimeInMinutes"], 5);
}

#[tokio::test]
async fn what_a_reload_does_not_touch_goes_on_with_its_tokens() {
    let app = unlimited().await;
    let before = app.embed("ana", sales()).await.ok();
    app.forget_calls().await;
    app.edit(
        "broker.yaml",
        "rate_limit: { per_caller_per_minute: 0 }",
        "rate_limit: { per_caller_per_minute: 600, burst: 600 }",
    );
    app.edit("policy.yaml", "title: Sales\n", "title: All sales\n");
    app.reload().await;
    eventually(async || title(&app).await == "All sales").await;
    let after = app.embed("ana", sales()).await.ok();
    assert_eq!(before["token"], after["token"]);
    assert_eq!(app.calls("entra", "").await.len(), 0);
    assert_eq!(app.calls("power_bi", "").await.len(), 0);
}

#[tokio::test]
async fn nothing_in_flight_is_lost_and_no_request_sees_half_of_a_reload() {
    let app = unlimited().await;
    let token = app.token("ana").await;
    close_without_cases(&app.file("policy.yaml"));
    eventually(async || app.check("configuration").await["ok"] == false).await;
    app.faults(
        json!([{"service": "power_bi", "path_contains": "GenerateToken", "delay_ms": 4000}]),
    )
    .await;
    let under_way = app.embed_as(&token, sales());
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        app.reload().await;
        eventually(async || status(&app, "ben").await == 403).await;
    };
    let (answer, ()) = tokio::join!(under_way, meanwhile);
    answer.ok();
    let records = app.audit();
    let ok = records.iter().find(|record| record["code"] == "ok");
    assert_eq!(ok.unwrap()["rule"], "managers");
    app.embed_as(&token, sales())
        .await
        .problem(403, "not_permitted");
}

#[tokio::test]
async fn a_reload_under_load_costs_no_request_its_answer() {
    let app = unlimited().await;
    let token = app.token("ana").await;
    app.embed_as(&token, sales()).await.ok();
    let done = AtomicBool::new(false);
    let load = async {
        while !done.load(Ordering::Relaxed) {
            let asks = (0..10).map(|_| app.embed_as(&token, sales()));
            for answer in futures_util::future::join_all(asks).await {
                answer.ok();
            }
        }
    };
    let reloads = async {
        for [from, to] in [["Sales", "All sales"], ["All sales", "Sales"]] {
            let title_is = |title: &str| format!("title: {title}\n");
            app.edit("policy.yaml", &title_is(from), &title_is(to));
            app.edit(
                "broker.yaml",
                "policy_file:",
                &format!("# {to}\npolicy_file:"),
            );
            for _ in 0..10 {
                app.reload().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            eventually(async || title(&app).await == to).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, reloads);
}

#[tokio::test]
async fn a_rotated_secret_file_is_used_without_a_restart() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .edit(
            "secret: sandbox-secret-not-for-production",
            "secret_file: secret",
        )
        .file("secret", "sandbox-secret-not-for-production\n")
        .start()
        .await;
    // Entra knows the new secret only, and the token in hand is worth nothing any more.
    app.control(
        Method::PUT,
        "/sandbox/entra",
        json!({"secrets": ["the-new-one"]}),
    )
    .await;
    app.faults(
        json!([{"service": "power_bi", "path_contains": "GenerateToken", "times": 1, "status": 403,
        "headers": {"X-PowerBI-Error-Info": "TokenExpired"}}]),
    )
    .await;
    app.embed("ana", sales())
        .await
        .problem(502, "entra_rejected");
    std::fs::write(app.file("secret"), "the-new-one\n").unwrap();
    // Within a minute of the file's change; Entra's cool-down after a refusal is half of that.
    let began = Instant::now();
    while status(&app, "ana").await != 200 {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it does not recover"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(
        !std::fs::read_to_string(app.audit_file())
            .unwrap()
            .contains("the-new-one")
    );
}

#[tokio::test]
async fn a_secret_file_that_has_gone_is_said_so_and_the_former_secret_goes_on() {
    let app = TestApp::setup()
        .edit(
            "secret: sandbox-secret-not-for-production",
            "secret_file: secret",
        )
        .file("secret", "sandbox-secret-not-for-production")
        .start()
        .await;
    std::fs::remove_file(app.file("secret")).unwrap();
    eventually(async || app.check("configuration").await["ok"] == false).await;
    let reason = app.check("configuration").await["reason"].to_string();
    assert!(
        reason.contains("principals.default.credentials[0]"),
        "{reason}"
    );
    app.embed("ana", sales()).await.ok();
    std::fs::write(app.file("secret"), "sandbox-secret-not-for-production").unwrap();
    eventually(async || app.check("configuration").await["ok"] == true).await;
}

#[tokio::test]
async fn the_second_credential_takes_over_when_the_first_expires() {
    let app = TestApp::setup()
        .edit(
            "- { kind: client_secret, secret: sandbox-secret-not-for-production }",
            "- { kind: client_secret, secret: old-and-expired, expires: 2026-01-01T00:00:00Z }\n      - { kind: client_secret, secret: sandbox-secret-not-for-production }",
        )
        .before(
            Method::PUT,
            "/sandbox/entra",
            json!({"expired_secrets": ["old-and-expired"]}),
        )
        .start()
        .await;
    app.embed("ana", sales()).await.ok();
    assert_eq!(app.check("entra:default").await["ok"], true);
    let tries = app.calls("entra", "").await;
    let mine: Vec<_> = tries
        .iter()
        .filter(|call| {
            // A master user of the same application signs in as well.
            call["principal"] == "c11e4700-0000-4000-8000-000000000001"
                && call["body"]["grant_type"] == "client_credentials"
        })
        .map(|call| call["status"].clone())
        .collect();
    assert_eq!(mine, [401, 200], "one refusal, then the second");
}

#[tokio::test]
async fn rotated_signing_keys_are_learnt_and_withdrawn_ones_forgotten() {
    let app = unlimited().await;
    let old = app.token("ana").await;
    app.embed_as(&old, sales()).await.ok();
    app.control(Method::POST, "/sandbox/idp/rotate?keep=true", Value::Null)
        .await;
    let new = app.token("ana").await;
    app.embed_as(&new, sales()).await.ok();
    app.embed_as(&old, sales()).await.ok();
    // Withdrawn: gone with the next fetch, which the next unknown key causes, at most every 15 seconds.
    app.control(Method::POST, "/sandbox/idp/rotate", Value::Null)
        .await;
    let newest = app.token("ana").await;
    let began = Instant::now();
    while app.embed_as(&newest, sales()).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "not learnt");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    app.embed_as(&old, sales())
        .await
        .problem(401, "invalid_token");
    app.embed_as(&new, sales())
        .await
        .problem(401, "invalid_token");
}

#[tokio::test]
async fn a_replaced_certificate_authority_counts_after_sighup() {
    let app = TestApp::setup()
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .section("tls: { extra_ca_file: ca.pem }")
        .file("ca.pem", rcgen_ca())
        .start()
        .await;
    let tls = app.upstream_tls().to_owned();
    app.edit(
        "broker.yaml",
        &format!("api_url: {}", app.upstream()),
        &format!("api_url: {tls}"),
    );
    app.reload().await;
    eventually(async || app.embed("ana", sales()).await.status == 502).await;
    app.embed("ana", sales())
        .await
        .problem(502, "power_bi_unreachable");
    std::fs::write(app.file("ca.pem"), app.upstream_ca()).unwrap();
    app.reload().await;
    eventually(async || app.embed("ana", sales()).await.status == 200).await;
}

/// The certificate of an authority that has signed nothing here.
fn rcgen_ca() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.self_signed(&key).unwrap().pem()
}

#[tokio::test]
async fn another_audit_file_begins_at_a_reload_and_the_old_one_is_complete() {
    let app = unlimited().await;
    for _ in 0..70 {
        let request = app.request(Method::POST, "/embed-token").json(&sales());
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
    app.edit("broker.yaml", "file: audit.jsonl", "file: other.jsonl");
    app.reload().await;
    eventually(async || {
        app.embed("ana", sales()).await.ok();
        app.file("other.jsonl")
            .metadata()
            .is_ok_and(|data| data.len() > 0)
    })
    .await;
    eventually(async || app.audit().iter().any(|record| record["count"] == 10)).await;
    let other = std::fs::read_to_string(app.file("other.jsonl")).unwrap();
    assert!(other.contains("\"code\":\"ok\""), "{other}");
}
