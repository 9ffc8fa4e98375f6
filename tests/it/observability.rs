//! What operators see: metrics as documented, log lines as documented, traces that continue the gateway's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::any;
use embed_broker::metrics::{self, Kind};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Process, Setup, eventually};

fn sales() -> Value {
    json!({ "item": "sales" })
}

// === metrics ===

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

/// The rows of the tables of `docs/metrics.md`: name, type, labels, meaning.
fn documented() -> Vec<[String; 4]> {
    let text = include_str!("../../docs/metrics.md");
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split(" | ");
        cells
            .map(|cell| cell.trim().trim_matches('|').trim().to_owned())
            .collect()
    };
    text.lines()
        .filter(|line| line.starts_with("| `embed_broker_"))
        // The table of alerts has two columns.
        .filter_map(|line| cells(line).try_into().ok())
        .collect()
}

#[test]
fn the_page_of_metrics_is_that_of_the_code() {
    let ours = metrics::ALL.iter().map(|metric| {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        [
            format!("`{}`", metric.name),
            kind(metric.kind).to_owned(),
            labels.join(", "),
            metric.help.to_owned(),
        ]
    });
    let (ours, documented): (BTreeSet<_>, Vec<_>) = (ours.collect(), documented());
    let rows: BTreeSet<_> = documented.iter().cloned().collect();
    assert_eq!(rows.len(), documented.len(), "a metric stands twice");
    let missing: Vec<_> = ours.difference(&rows).map(|row| row.join(" | ")).collect();
    let unknown: Vec<_> = rows.difference(&ours).map(|row| row.join(" | ")).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/metrics.md lacks {missing:#?} and has {unknown:#?}"
    );
}

/// Provokes all that is counted.
async fn busy_broker() -> Process {
    let broker = Process::start(Process::setup().edit(
        "secret: sandbox-secret-not-for-production",
        "secret: sandbox-secret-not-for-production, expires: 2099-01-01T00:00:00Z",
    ))
    .await;
    broker.embed("ana", sales()).await.ok();
    broker.embed("ana", sales()).await.ok();
    broker
        .embed("dora", sales())
        .await
        .problem(403, "not_permitted");
    let faults = json!([{"service": "power_bi", "path_contains": "GenerateToken", "status": 503, "times": 1}]);
    broker.control(Method::PUT, "/sandbox/faults", faults).await;
    broker.embed("chloe", sales()).await.ok();
    broker
}

#[tokio::test]
async fn every_series_is_documented_with_type_labels_and_help() {
    let broker = busy_broker().await;
    let text = broker.ops("/metrics").await.text;
    let documented: BTreeMap<_, _> = metrics::ALL
        .iter()
        .map(|metric| (metric.name, metric))
        .collect();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert_eq!(help, documented[name].help, "{name}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap();
            assert_eq!(of, kind(documented[name].kind), "{name}");
            seen.insert(name.to_owned());
        } else if !line.is_empty() {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let name = ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(|end| {
                    name.strip_suffix(end)
                        .filter(|name| documented.contains_key(name))
                })
                .unwrap_or(name);
            let labels: BTreeSet<_> = labels
                .trim_end_matches('}')
                .split("\",")
                .filter_map(|label| label.split_once('='))
                .map(|(label, _)| label)
                .filter(|label| *label != "le")
                .collect();
            let expected: BTreeSet<_> = documented[name].labels.iter().copied().collect();
            assert_eq!(labels, expected, "{line}");
        }
    }
    // What needs a misfortune, time, or a Redis is not there yet.
    let rare = [
        "embed_broker_shared_cache_operations_total",
        "embed_broker_connections_cut_total",
        "embed_broker_requests_turned_away_total",
        "embed_broker_log_lines_held_back_total",
        "embed_broker_trial_usage_percent",
    ];
    for metric in metrics::ALL {
        assert!(
            seen.contains(metric.name) || rare.contains(&metric.name),
            "{} is never counted:\n{text}",
            metric.name
        );
    }
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let broker = busy_broker().await;
    for (series, expected) in [
        (
            "embed_broker_requests_total{route=\"/embed-token\",code=\"ok\"}",
            3.0,
        ),
        (
            "embed_broker_requests_total{route=\"/embed-token\",code=\"not_permitted\"}",
            1.0,
        ),
        ("embed_broker_embed_tokens_total{source=\"cached\"}", 1.0),
        ("embed_broker_embed_tokens_total{source=\"minted\"}", 2.0),
        (
            "embed_broker_upstream_requests_total{principal=\"default\",call=\"mint\",outcome=\"ok\"}",
            2.0,
        ),
        (
            "embed_broker_upstream_requests_total{principal=\"default\",call=\"mint\",outcome=\"server_error\"}",
            1.0,
        ),
        (
            "embed_broker_upstream_retries_total{principal=\"default\",call=\"mint\"}",
            1.0,
        ),
        (
            "embed_broker_entra_requests_total{principal=\"default\",outcome=\"ok\"}",
            1.0,
        ),
        (
            "embed_broker_issuer_requests_total{issuer=\"demo\",outcome=\"ok\"}",
            1.0,
        ),
        ("embed_broker_breaker_open{principal=\"default\"}", 0.0),
        ("embed_broker_audit_records_total{outcome=\"written\"}", 4.0),
        ("embed_broker_audit_failing", 0.0),
        ("embed_broker_reloads_total{outcome=\"taken\"}", 1.0),
        ("embed_broker_policy_generation", 1.0),
        ("embed_broker_ready", 1.0),
        ("embed_broker_rate_limit_keys", 3.0),
    ] {
        assert_eq!(broker.metric(series).await, Some(expected), "{series}");
    }
    for (series, least, most) in [
        (
            "embed_broker_entra_token_remaining_seconds{principal=\"default\"}",
            3000.0,
            3600.0,
        ),
        ("embed_broker_jwks_age_seconds{issuer=\"demo\"}", 0.0, 60.0),
        (
            "embed_broker_credential_remaining_seconds{principal=\"default\",credential=\"client_secret\",index=\"0\"}",
            1e8,
            1e10,
        ),
        ("embed_broker_embed_token_cache_bytes", 1000.0, 1e6),
        ("embed_broker_connections{listener=\"traffic\"}", 1.0, 10.0),
        (
            "embed_broker_request_duration_seconds_count{route=\"/embed-token\"}",
            4.0,
            4.0,
        ),
    ] {
        let value = broker.metric(series).await.unwrap_or(f64::NAN);
        assert!((least..=most).contains(&value), "{series}: {value}");
    }
}

// === logs ===

/// The messages of log lines in the sources.
fn messages() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![std::path::PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for level in ["error", "warn", "info"] {
                    for (at, call) in text.match_indices(&format!("tracing::{level}!(")) {
                        found.insert(message(&text[at + call.len()..]));
                    }
                }
            }
        }
    }
    found
}

/// The last string literal of a macro's arguments.
fn message(arguments: &str) -> String {
    let (mut depth, mut literal, mut last) = (1, None::<String>, String::new());
    let mut characters = arguments.chars();
    while let Some(c) = characters.next() {
        match (&mut literal, c) {
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, '"') => literal = Some(String::new()),
            (Some(text), '"') => {
                last.clone_from(text);
                literal = None;
            }
            (Some(_), '\\') => {
                characters.next();
            }
            (Some(text), c) => text.push(c),
            (None, _) => {}
        }
        if depth == 0 {
            break;
        }
    }
    last
}

#[test]
fn the_page_of_log_lines_is_that_of_the_code() {
    let text = include_str!("../../docs/logs.md");
    let documented: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once("` | "))
        .map(|(message, _)| message.to_owned())
        .collect();
    let ours = messages();
    let missing: Vec<_> = ours.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&ours).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/logs.md lacks {missing:#?} and has {unknown:#?}"
    );
}

#[tokio::test]
async fn a_line_is_json_and_tells_its_request_deep_down_as_well() {
    tells_its_request(Process::setup()).await;
    // Spans of requests are at `info`. What the test waits for at the start is as well.
    let warn = "log_level: warn,embed_broker::app=info";
    tells_its_request(Process::setup().edit("log_level: info", warn)).await;
}

async fn tells_its_request(setup: Setup) {
    let broker = Process::start(setup).await;
    let faults = json!([{"service": "power_bi", "path_contains": "GenerateToken", "status": 403,
        "headers": {"X-PowerBI-Error-Info": "PowerBINotAuthorizedException"}}]);
    broker.control(Method::PUT, "/sandbox/faults", faults).await;
    let token = broker.token_with("ana", json!({})).await;
    let answer = broker
        .request(Method::POST, "/embed-token")
        .bearer_auth(&token)
        .header("X-Request-Id", "gateway-7")
        .json(&sales())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 502);
    // The mint runs in a task of its own; its line names the request all the same.
    for message in ["Power BI refuses a call", "request failed"] {
        let lines = broker.lines(message);
        assert_eq!(lines.len(), 1, "{message}");
        let request = &lines[0]["spans"][0];
        assert_eq!(request["name"], "request", "{message}: {}", lines[0]);
        assert_eq!(request["request_id"], "gateway-7", "{message}");
        assert_eq!(request["route"], "/embed-token", "{message}");
    }
    let line = &broker.lines("Power BI refuses a call")[0];
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["fields"]["code"], "PowerBINotAuthorizedException");
    assert!(line["fields"]["upstream_request_id"].is_string());
    assert!(
        line["fields"]["remedy"]
            .as_str()
            .unwrap()
            .contains("Member")
    );
}

#[tokio::test]
async fn no_secret_is_in_any_line_at_any_level() {
    let broker = Process::start(Process::setup().edit("log_level: info", "log_level: trace")).await;
    let caller = broker.token_with("ana", json!({})).await;
    let answer = broker.embed_as(&caller, sales()).await.ok();
    let blob = broker
        .request(Method::POST, "/embed-token")
        .bearer_auth(&caller)
        .header("X-Sql-Token", "planted-sql-token")
        .json(&json!({"item": "orders"}))
        .send()
        .await
        .unwrap();
    assert_eq!(blob.status(), 200);
    broker.embed_as(&format!("{caller}x"), sales()).await;
    let log = broker.log();
    assert!(log.lines().count() > 20, "the log is at work");
    let embed = answer["token"].as_str().unwrap();
    for secret in [
        &caller[..],
        caller.rsplit('.').next().unwrap(),
        embed,
        "planted-sql-token",
        "sandbox-secret-not-for-production",
    ] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

// === traces ===

/// Path and body of an export.
type Export = (String, Bytes);

/// A collector on this machine that remembers what it gets.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Export>>>,
}

impl Collector {
    async fn start() -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&bodies);
        let take = async move |uri: axum::http::Uri, body: Bytes| {
            seen.lock().unwrap().push((uri.path().to_owned(), body));
            StatusCode::OK
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let router = Router::new().fallback(any(take));
        tokio::spawn(async move { axum::serve(socket, router).await });
        Self { url, bodies }
    }

    fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for (path, body) in self.bodies.lock().unwrap().iter() {
            assert_eq!(path, "/v1/traces");
            let export = ExportTraceServiceRequest::decode(body.clone()).unwrap();
            for resource in export.resource_spans {
                let attributes = format!("{:?}", resource.resource);
                assert!(attributes.contains("embed-broker"), "{attributes}");
                spans.extend(
                    resource
                        .scope_spans
                        .into_iter()
                        .flat_map(|scope| scope.spans),
                );
            }
        }
        spans
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn trace_id(span: &Span) -> String {
    let id: [u8; 16] = span.trace_id[..].try_into().unwrap();
    format!("{:032x}", u128::from_be_bytes(id))
}

fn parent_id(span: &Span) -> String {
    let id: [u8; 8] = span.parent_span_id[..].try_into().unwrap();
    format!("{:016x}", u64::from_be_bytes(id))
}

async fn traced(broker: &Process, token: &str) -> u16 {
    let answer = broker
        .request(Method::POST, "/embed-token")
        .bearer_auth(token)
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .json(&sales())
        .send();
    answer.await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_trace_continues_the_gateways_with_a_span_a_stage() {
    let collector = Collector::start().await;
    let endpoint = format!("log_level: info\n  otlp_endpoint: {}", collector.url);
    let broker = Process::start(Process::setup().edit("log_level: info", &endpoint)).await;
    // A token that Power BI calls expired, so that the request asks Entra as well.
    let faults = json!([{"service": "power_bi", "path_contains": "GenerateToken", "status": 403, "times": 1,
        "headers": {"X-PowerBI-Error-Info": "TokenExpired"}}]);
    broker.control(Method::PUT, "/sandbox/faults", faults).await;
    let token = broker.token_with("ana", json!({})).await;
    assert_eq!(traced(&broker, &token).await, 200);
    // Flushed at the end, not lost.
    broker.signal("TERM");
    assert!(broker.ended().await.success());

    let spans = collector.spans();
    let ours: Vec<_> = spans
        .iter()
        .filter(|span| trace_id(span) == TRACE)
        .collect();
    let named = |name: &str| {
        let found: Vec<_> = ours.iter().filter(|span| span.name == name).collect();
        let names: Vec<_> = ours.iter().map(|span| &span.name).collect();
        assert_eq!(found.len(), 1, "{name}: {names:?}");
        Span::clone(found[0])
    };
    let request = named("POST /embed-token");
    assert_eq!(parent_id(&request), PARENT);
    assert_eq!(request.kind, 2, "a server's span");
    for stage in ["verify", "decide", "look up", "plan", "mint"] {
        assert_eq!(named(stage).parent_span_id, request.span_id, "{stage}");
    }
    assert_eq!(named("entra").parent_span_id, named("mint").span_id);
    let attributes = format!("{:?}", request.attributes);
    for part in [
        "http.route",
        "/embed-token",
        "http.response.status_code",
        "request_id",
    ] {
        assert!(attributes.contains(part), "{part}: {attributes}");
    }
    assert!(format!("{:?}", named("mint").attributes).contains("minted"));
    // Nothing secret or personal is in any of them.
    let all = format!("{spans:?}");
    for secret in [
        &token[..],
        "ana@contoso",
        "u-ana",
        "sandbox-secret",
        "Bearer",
    ] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_quiet_log_does_not_silence_the_traces_and_a_refusal_has_its_code() {
    let collector = Collector::start().await;
    let endpoint = format!(
        "log_level: \"off\"\n  otlp_endpoint: {}/v1/traces",
        collector.url
    );
    let broker = Process::start(Process::setup()).await;
    // Taken at a reload as well.
    let file = broker.file("broker.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("log_level: info", &endpoint)).unwrap();
    broker.signal("HUP");
    eventually(async || {
        broker
            .metric("embed_broker_reloads_total{outcome=\"taken\"}")
            .await
            == Some(2.0)
    })
    .await;
    let lines = broker.log().lines().count();
    let token = broker.token_with("dora", json!({})).await;
    assert_eq!(traced(&broker, &token).await, 403);
    broker.signal("TERM");
    assert!(broker.ended().await.success());
    assert_eq!(broker.log().lines().count(), lines, "the log is off");
    let spans = collector.spans();
    let request = spans
        .iter()
        .find(|span| span.name == "POST /embed-token")
        .unwrap();
    let attributes = format!("{:?}", request.attributes);
    assert!(attributes.contains("not_permitted"), "{attributes}");
}

#[tokio::test]
async fn a_collector_that_is_gone_costs_no_answer_and_one_line() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!(
        "log_level: info\n  otlp_endpoint: http://{}",
        socket.local_addr().unwrap()
    );
    drop(socket);
    let broker = Process::start(Process::setup().edit("log_level: info", &gone)).await;
    let token = broker.token_with("ana", json!({})).await;
    for _ in 0..10 {
        assert_eq!(traced(&broker, &token).await, 200);
    }
    let complaint = "the collector takes no traces: check telemetry.otlp_endpoint";
    eventually(async || broker.lines(complaint).len() == 1).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(traced(&broker, &token).await, 200);
    assert_eq!(broker.lines(complaint).len(), 1, "told once");
}
