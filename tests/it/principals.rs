//! Whoever mints: each kind of credential, fail-over, profiles, another cloud; and Microsoft's multi-tenant sign-in of
//! callers. From the configuration to a token that shows rows.
//!
//! How a credential's request looks in detail is the business of the unit tests in `src/entra`.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use embed_broker_sandbox::{Addresses, Options, Upstream, unpack};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::test_app::Setup;
use crate::support::{Answer, TestApp};

const SECRET: &str = "      - { kind: client_secret, secret: sandbox-secret-not-for-production }";
const CONTOSO: &str = "940f11e0-0000-4000-8000-000000000001";

/// The sandbox with other credentials of its first principal.
fn with_credentials(yaml: &str) -> Setup {
    TestApp::setup().edit(SECRET, yaml)
}

/// The rows of Ana's region, and the forms that Entra got on the way.
async fn ana_sees_her_rows(app: &TestApp) -> Vec<Value> {
    let answer = app.embed("ana", json!({"item": "sales"})).await.ok();
    let shown = app.rows(answer["token"].as_str().unwrap()).await;
    assert_eq!(shown["identities"][0]["username"], "ana@contoso.example");
    let calls = app.calls("entra", "token").await;
    let of_first = |call: &&Value| {
        call["body"]["client_id"] == "c11e4700-0000-4000-8000-000000000001"
            && call["body"]["grant_type"] == "client_credentials"
    };
    calls
        .iter()
        .filter(of_first)
        .map(|call| call["body"].clone())
        .collect()
}

/// The reason of a named check on the operators' listener.
async fn reason(app: &TestApp, check: &str) -> (bool, String) {
    let ready = app.ops("/readyz").await.json();
    let checks = ready["checks"].as_array().unwrap();
    let found = checks.iter().find(|found| found["name"] == check).unwrap();
    (
        found["ok"].as_bool().unwrap(),
        found["reason"].as_str().unwrap().to_owned(),
    )
}

// === credentials ===

#[tokio::test]
async fn a_certificate_mints() {
    let app =
        with_credentials("      - { kind: client_certificate, certificate_file: client.pem }")
            .fetched("client.pem", "/sandbox/entra/certificate.pem")
            .start()
            .await;
    let forms = ana_sees_her_rows(&app).await;
    assert_eq!(forms[0]["client_assertion"], "[removed]");
    assert_eq!(forms[0]["client_secret"], Value::Null);
}

#[tokio::test]
async fn a_certificate_that_entra_does_not_know_is_named() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["broker".into()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let pem = key.serialize_pem() + &certificate.pem();
    let app =
        with_credentials("      - { kind: client_certificate, certificate_file: client.pem }")
            .file("client.pem", pem)
            .not_ready()
            .start()
            .await;
    let answer = app.embed("ana", json!({"item": "sales"})).await;
    answer.problem(502, "entra_rejected");
    let (ok, reason) = reason(&app, "entra:default").await;
    assert!(!ok && reason.contains("AADSTS700027"), "{reason}");
    assert!(reason.contains("register this certificate"), "{reason}");
}

#[tokio::test]
async fn a_workload_identity_mints() {
    let app = with_credentials("      - { kind: workload_identity, token_file: federated }")
        .fetched(
            "federated",
            "/idp/token?persona=ana&audience=api%3A%2F%2FAzureADTokenExchange",
        )
        .start()
        .await;
    let forms = ana_sees_her_rows(&app).await;
    assert_eq!(forms[0]["client_assertion"], "[removed]");
}

#[tokio::test]
async fn a_token_for_somebody_else_is_no_workload_identity() {
    let app = with_credentials("      - { kind: workload_identity, token_file: federated }")
        .fetched("federated", "/idp/token?persona=ana")
        .not_ready()
        .start()
        .await;
    let answer = app.embed("ana", json!({"item": "sales"})).await;
    answer.problem(502, "entra_rejected");
    let (_, reason) = reason(&app, "entra:default").await;
    assert!(reason.contains("AADSTS700211"), "{reason}");
}

#[tokio::test]
async fn a_master_users_refusals_are_named() {
    let user = |name: &str, password: &str| {
        format!(
            "    allow_master_user: true\n    credentials:\n      - {{ kind: master_user, username: {name}, password: {password} }}"
        )
    };
    let master = user("master@isv.example", "sandbox-master-password");
    for (edited, fault, words) in [
        (
            user("mfa@isv.example", "sandbox-mfa-password"),
            json!([]),
            ["AADSTS50076", "use a service principal"],
        ),
        (
            user("master@isv.example", "wrong"),
            json!([]),
            ["AADSTS50126", "before the account is locked"],
        ),
        (
            master.clone(),
            json!([{"service": "entra", "status": 400, "body": {"error": "invalid_grant", "error_codes": [50053],
                "error_description": "AADSTS50053: The account is locked"}}]),
            ["AADSTS50053", "the account is locked"],
        ),
    ] {
        let app = TestApp::setup()
            .edit(&master, &edited)
            .before(Method::PUT, "/sandbox/faults", fault)
            .not_ready()
            .start()
            .await;
        let answer = app.embed("ana", json!({"item": "classic-sales"})).await;
        answer.problem(502, "entra_rejected");
        let (ok, reason) = reason(&app, "entra:master").await;
        assert!(!ok, "{reason}");
        for word in words {
            assert!(reason.contains(word), "{word}: {reason}");
        }
        // Every further try would bring the account nearer to its lock.
        app.embed("ana", json!({"item": "classic-sales"}))
            .await
            .problem(502, "entra_rejected");
        let calls = app.calls("entra", "token").await;
        let tries = calls
            .iter()
            .filter(|call| call["body"]["grant_type"] == "password")
            .count();
        assert_eq!(tries, 1);
    }
}

// === a process of its own: what comes from the environment, and what goes to the log ===

/// `embed-broker serve` with its simulated services.
struct Process {
    broker: String,
    ops: String,
    log: PathBuf,
    upstream: Upstream,
    client: reqwest::Client,
    _child: Child,
    _folder: TempDir,
}

impl Process {
    /// Starts it with another credential in the first principal, in this environment (`UPSTREAM` stands for the URL of
    /// the simulated services).
    async fn start(credentials: &str, environment: &[(&str, String)], upstream: Upstream) -> Self {
        let folder = TempDir::new().unwrap();
        let free = "127.0.0.1:0".parse().unwrap();
        let addresses = Addresses {
            listen: free,
            ops_listen: free,
            upstream: upstream.url().to_owned(),
        };
        let files = unpack(folder.path(), &addresses).unwrap();
        let text = std::fs::read_to_string(&files.config).unwrap();
        let text = text
            .replace(SECRET, credentials)
            .replace("log_format: text", "log_format: json");
        std::fs::write(&files.config, text).unwrap();
        let log = folder.path().join("log.jsonl");
        let child = Command::new(env!("CARGO_BIN_EXE_embed-broker"))
            .arg("--config")
            .arg(&files.config)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let listening = logged(&log, |line| line["fields"]["message"] == "listening").await;
        let address =
            |name: &str| format!("http://{}", listening["fields"][name].as_str().unwrap());
        Self {
            broker: address("traffic"),
            ops: address("ops"),
            log,
            upstream,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            _child: child,
            _folder: folder,
        }
    }

    async fn get(&self, url: String) -> reqwest::Response {
        self.client.get(url).send().await.unwrap()
    }

    /// Waits until a metric of the first principal's client secrets fits.
    async fn metric(&self, name: &str, label: &str, fits: impl Fn(f64) -> bool) {
        let mut text = String::new();
        for _ in 0..100 {
            let metrics = self.get(format!("{}/metrics", self.ops)).await;
            text = metrics.text().await.unwrap();
            let found = text.lines().any(|line| {
                let of_it = [
                    name,
                    "principal=\"default\"",
                    "credential=\"client_secret\"",
                    label,
                ];
                let value = line.rsplit(' ').next().unwrap_or_default();
                of_it.iter().all(|part| line.contains(part)) && value.parse().is_ok_and(&fits)
            });
            if found {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} {label}: {text}");
    }

    async fn embed(&self) -> Answer {
        let token = format!("{}/idp/token?persona=ana", self.upstream.url());
        let token = self.get(token).await.text().await.unwrap();
        let request = self
            .client
            .post(format!("{}/embed-token", self.broker))
            .bearer_auth(token)
            .json(&json!({"item": "sales"}));
        Answer::read(request.send().await.unwrap()).await
    }
}

/// The first line of the log that fits, once it is there.
async fn logged(log: &PathBuf, fits: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..300 {
        let text = std::fs::read_to_string(log).unwrap();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        if let Some(line) = lines.into_iter().find(|line| fits(line)) {
            return line;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no such line: {}", std::fs::read_to_string(log).unwrap());
}

/// What App Service's identity endpoint was asked for.
type Asked = Arc<Mutex<Vec<Value>>>;

/// App Service's identity endpoint: it hands out tokens of the simulated Entra, the same one until told otherwise.
async fn identity_endpoint(upstream: &str, life: i64) -> (String, Asked) {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "c11e4700-0000-4000-8000-000000000001"),
        ("client_secret", "sandbox-secret-not-for-production"),
        ("scope", "https://analysis.windows.net/powerbi/api/.default"),
    ];
    let url = format!("{upstream}/entra/7e4a4700-0000-4000-8000-000000000001/oauth2/v2.0/token");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let token: Value = client
        .post(url)
        .form(&form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let answer = json!({
        "access_token": token["access_token"],
        "expires_on": crate::support::tokens::in_seconds(life).to_string(),
        "resource": "https://analysis.windows.net/powerbi/api",
        "token_type": "Bearer",
    });
    let asked = Asked::default();
    let handler = async |State((asked, answer)): State<(Asked, Value)>,
                         Query(query): Query<Value>,
                         headers: HeaderMap| {
        let header = headers
            .get("x-identity-header")
            .and_then(|value| value.to_str().ok());
        asked
            .lock()
            .unwrap()
            .push(json!({"query": query, "header": header}));
        Json(answer)
    };
    let router = axum::Router::new()
        .route("/msi/token", axum::routing::get(handler))
        .with_state((Arc::clone(&asked), answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/msi/token", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test]
async fn a_managed_identity_mints() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let (endpoint, asked) = identity_endpoint(upstream.url(), 3_500).await;
    let environment = [
        ("IDENTITY_ENDPOINT", endpoint),
        ("IDENTITY_HEADER", "planted".to_owned()),
    ];
    let credential =
        "      - { kind: managed_identity, client_id: 55555555-5555-4555-8555-555555555555 }";
    let broker = Process::start(credential, &environment, upstream).await;
    broker.embed().await.ok();
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked[0]["header"], "planted");
    let query = &asked[0]["query"];
    assert_eq!(
        query["resource"],
        "https://analysis.windows.net/powerbi/api"
    );
    assert_eq!(query["client_id"], "55555555-5555-4555-8555-555555555555");
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn a_platform_that_hands_out_the_same_ageing_token_is_accepted() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    // Ten minutes left, and tokens.min_lifetime asks for thirty.
    let (endpoint, asked) = identity_endpoint(upstream.url(), 600).await;
    let environment = [
        ("IDENTITY_ENDPOINT", endpoint),
        ("IDENTITY_HEADER", "planted".to_owned()),
    ];
    let broker = Process::start("      - { kind: managed_identity }", &environment, upstream).await;
    broker.embed().await.ok();
    logged(&broker.log, |line| {
        line["fields"]["message"]
            .as_str()
            .unwrap_or_default()
            .contains("shorter than tokens.min_lifetime")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    broker.embed().await.ok();
    let count = asked.lock().unwrap().len();
    assert!(count <= 2, "asked {count} times in some seconds");
}

#[tokio::test]
async fn the_second_credential_steps_in_and_the_first_is_named() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let credentials = format!(
        "      - {{ kind: client_secret, secret: sandbox-secret-of-last-year, expires: \"2020-01-31T00:00:00Z\" }}\n{SECRET}"
    );
    let broker = Process::start(&credentials, &[], upstream).await;
    broker.embed().await.ok();
    let line = logged(&broker.log, |line| {
        line["fields"]["message"] == "a credential gave no Entra token"
    })
    .await;
    let fields = &line["fields"];
    assert_eq!(
        (
            &fields["principal"],
            &fields["credential"],
            &fields["index"],
            &fields["code"]
        ),
        (
            &json!("default"),
            &json!("client_secret"),
            &json!(0),
            &json!("AADSTS7000222")
        )
    );
    assert!(
        fields["remedy"]
            .as_str()
            .unwrap()
            .contains("create a new one")
    );
    let text = std::fs::read_to_string(&broker.log).unwrap();
    assert!(!text.contains("sandbox-secret"), "{text}");
    // Which one fails, and for how long it (or the other) is good, where that is known.
    broker
        .metric("embed_broker_credential_remaining_seconds", "", |value| {
            value < 0.0
        })
        .await;
    for (index, failing) in [("0", 1.0), ("1", 0.0)] {
        let index = format!("index=\"{index}\"");
        broker
            .metric("embed_broker_credential_failing", &index, |value| {
                (value - failing).abs() < f64::EPSILON
            })
            .await;
    }
}

// === profiles ===

#[tokio::test]
async fn every_call_of_a_plan_bears_its_profile_and_facts_are_kept_apart() {
    let app = TestApp::start().await;
    let fabrikam = "940f11e0-0000-4000-8000-000000000002";
    for (persona, profile) in [("ana", CONTOSO), ("chloe", fabrikam)] {
        app.forget_calls().await;
        app.embed(persona, json!({"item": "sales"})).await.ok();
        let calls = app.calls("power_bi", "").await;
        assert!(calls.len() >= 4, "{calls:?}");
        for call in &calls {
            // Only the principal itself may look for its profiles.
            let expected = if call["path"].as_str().unwrap().ends_with("/profiles") {
                Value::Null
            } else {
                json!(profile)
            };
            assert_eq!(call["profile"], expected, "{call}");
        }
    }
    // Another item of the same customer: what is known need not be asked again.
    app.forget_calls().await;
    app.embed("ana", json!({"item": "sales-visual"})).await.ok();
    assert_eq!(app.calls("power_bi", "").await.len(), 0, "the same report");
}

#[tokio::test]
async fn a_profile_is_found_by_id_or_by_exactly_one_name() {
    let by_id = TestApp::setup()
        .edit_policy("        profile: contoso\n", &format!("        profile: {CONTOSO}\n"))
        .edit_policy("expect: { rule: managers, username: ana@contoso.example, roles: [Region EMEA], access: edit, workspace: Contoso, profile: contoso }", "expect: { rule: managers }")
        .start()
        .await;
    by_id.embed("ana", json!({"item": "sales"})).await.ok();
    assert_eq!(by_id.calls("power_bi", "/profiles").await.len(), 0);
    assert_eq!(by_id.mints().await[0]["profile"], CONTOSO);
    for (profile, status, code) in [
        ("Contoso", 422, "item_unavailable"),
        ("nobody", 422, "item_unavailable"),
        ("''", 403, "not_permitted"),
    ] {
        let app = TestApp::setup()
            .edit_policy("        profile: contoso\n", &format!("        profile: {profile}\n"))
            .edit_policy("expect: { rule: managers, username: ana@contoso.example, roles: [Region EMEA], access: edit, workspace: Contoso, profile: contoso }", "tables: { tenant: { workspace: w, profile: p, sales: 4e904700-0000-4000-8000-000000000001 } }\n    expect: { rule: managers }")
            .edit_policy("    claims: { sub: u-ben, email: ben@contoso.example, tid: contoso, groups: [], regions: [AMER] }\n    item: sales", "    claims: { sub: u-ben, email: ben@contoso.example, tid: contoso, groups: [], regions: [AMER] }\n    tables: { tenant: { workspace: w, profile: p, sales: 4e904700-0000-4000-8000-000000000001 } }\n    item: sales")
            .edit_policy("    claims: { sub: u-audra, email: audra@contoso.example, tid: contoso, groups: [], role: auditor }\n", "    claims: { sub: u-audra, email: audra@contoso.example, tid: contoso, groups: [], role: auditor }\n    tables: { tenant: { workspace: w, profile: p, sales: 4e904700-0000-4000-8000-000000000001 } }\n")
            .start()
            .await;
        app.embed("ana", json!({"item": "sales"}))
            .await
            .problem(status, code);
        assert_eq!(app.mints().await.len(), 0, "{profile}");
    }
}

// === clouds ===

#[tokio::test]
async fn another_cloud_has_its_own_scope_and_embed_hosts() {
    let app = TestApp::setup()
        .edit(
            "  default:\n    tenant_id",
            "  default:\n    cloud: gcc_high\n    tenant_id",
        )
        .start()
        .await;
    // The simulated service speaks of app.powerbi.com, which is no host of that cloud.
    let answer = app.embed("ana", json!({"item": "sales"})).await;
    answer.problem(502, "power_bi_invalid_response");
    let scopes: Vec<_> = app
        .calls("entra", "token")
        .await
        .iter()
        .map(|call| call["body"]["scope"].clone())
        .collect();
    assert!(
        scopes.contains(&json!(
            "https://high.analysis.usgovcloudapi.net/powerbi/api/.default"
        )),
        "{scopes:?}"
    );
    assert_eq!(app.mints().await.len(), 0);
}

// === callers ===

#[tokio::test]
async fn microsofts_multi_tenant_sign_in_works_like_any_other() {
    const TENANT: &str = "aaaaaaaa-0000-4000-8000-000000000001";
    const OTHER: &str = "bbbbbbbb-0000-4000-8000-000000000002";
    let app = TestApp::setup()
        .edit(
            "/idp\n      audiences: [embed-broker]",
            &format!("/idp/{{tid}}/v2.0\n      audiences: [embed-broker]\n      jwks_uri: UPSTREAM/idp/jwks\n      tenants: [{TENANT}]"),
        )
        .with_upstream("UPSTREAM")
        .edit_policy("key: \"claims.tid\"", "key: \"claims.customer\"")
        .edit_policy("tid: contoso,", "customer: contoso, tid: contoso,")
        .edit_policy("tid: fabrikam,", "customer: fabrikam, tid: fabrikam,")
        .edit_policy("tid: elsewhere,", "customer: elsewhere, tid: elsewhere,")
        .start()
        .await;
    let token = async |tid: &str, iss: &str| {
        let claims = json!({"tid": tid, "customer": "contoso", "iss": format!("{}/idp/{iss}/v2.0", app.upstream())});
        app.token_with("ana", claims).await
    };
    let ana = token(TENANT, TENANT).await;
    app.embed_as(&ana, json!({"item": "sales"})).await.ok();
    for (tid, iss) in [
        (OTHER, OTHER),
        (TENANT, OTHER),
        (OTHER, TENANT),
        ("{tid}", "{tid}"),
    ] {
        let stranger = token(tid, iss).await;
        app.embed_as(&stranger, json!({"item": "sales"}))
            .await
            .problem(401, "invalid_token");
    }
}
