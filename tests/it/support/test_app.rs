//! Starts what a test needs and speaks to it as front ends and operators do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use embed_broker::app::App;
use embed_broker::config::Config;
use embed_broker_sandbox::{Addresses, Options, Upstream, unpack};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Answer;
use super::records::records;

/// A running broker with its upstream services.
pub(crate) struct TestApp {
    app: Option<App>,
    upstream: Arc<Upstream>,
    folder: TempDir,
    client: reqwest::Client,
    broker: String,
    ops: String,
}

/// What differs from the sandbox's own configuration.
#[derive(Default)]
pub(crate) struct Setup {
    edits: Vec<(String, String)>,
    files: Vec<(&'static str, String)>,
    fetched: Vec<(&'static str, &'static str)>,
    upstream_mark: Option<&'static str>,
    policy: Option<String>,
    policy_edits: Vec<(String, String)>,
    beside: Option<Arc<Upstream>>,
    before: Vec<(Method, &'static str, Value)>,
    expect_ready: bool,
}

impl TestApp {
    /// A broker with the sandbox's configuration and policy.
    pub(crate) async fn start() -> Self {
        Self::setup().start().await
    }

    /// Begins to describe a broker.
    pub(crate) fn setup() -> Setup {
        Setup {
            expect_ready: true,
            ..Setup::default()
        }
    }

    /// A request to the broker.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.broker))
    }

    /// Asks for an embed token as a persona.
    pub(crate) async fn embed(&self, persona: &str, body: Value) -> Answer {
        let token = self.token(persona).await;
        self.embed_as(&token, body).await
    }

    /// Asks for an embed token with a bearer token.
    pub(crate) async fn embed_as(&self, token: &str, body: Value) -> Answer {
        let request = self
            .request(Method::POST, "/embed-token")
            .bearer_auth(token)
            .json(&body);
        Answer::read(request.send().await.unwrap()).await
    }

    /// GETs a path of the broker as a persona.
    pub(crate) async fn get(&self, persona: &str, path: &str) -> Answer {
        let token = self.token(persona).await;
        Answer::read(
            self.request(Method::GET, path)
                .bearer_auth(token)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    /// The named check of the operators' `/readyz`.
    pub(crate) async fn check(&self, name: &str) -> Value {
        let readiness = self.ops("/readyz").await.json();
        let checks = readiness["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name);
        check
            .unwrap_or_else(|| panic!("no check {name}: {readiness}"))
            .clone()
    }

    /// GETs a path of the operators' listener.
    pub(crate) async fn ops(&self, path: &str) -> Answer {
        Answer::unchecked(
            self.client
                .get(format!("{}{path}", self.ops))
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    /// A sign-in token of a persona.
    pub(crate) async fn token(&self, persona: &str) -> String {
        self.token_with(persona, json!({})).await
    }

    /// A sign-in token of a persona with further (or other) claims.
    pub(crate) async fn token_with(&self, persona: &str, claims: Value) -> String {
        let url = format!("{}/idp/token", self.upstream.url());
        let query = [
            ("persona", persona.to_owned()),
            ("claims", claims.to_string()),
        ];
        let response = self.client.get(url).query(&query).send().await.unwrap();
        assert_eq!(response.status(), 200, "no token for {persona}");
        response.text().await.unwrap()
    }

    /// Speaks to the control path of the simulated services.
    pub(crate) async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self
            .client
            .request(method, format!("{}{path}", self.upstream.url()));
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let answer = Answer::unchecked(request.send().await.unwrap()).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
        serde_json::from_str(&answer.text).unwrap_or(Value::Null)
    }

    /// Lets upstream calls fail as scripted, until the next script.
    pub(crate) async fn faults(&self, faults: Value) {
        self.control(Method::PUT, "/sandbox/faults", faults).await;
    }

    /// Ends all faults.
    pub(crate) async fn heal(&self) {
        self.control(Method::DELETE, "/sandbox/faults", Value::Null)
            .await;
    }

    /// The calls that the simulated services have seen, of one of them (`idp`, `entra`, `power_bi`) and with `path` in
    /// their path.
    pub(crate) async fn calls(&self, service: &str, path: &str) -> Vec<Value> {
        let calls = self
            .control(Method::GET, "/sandbox/calls", Value::Null)
            .await;
        let calls = calls.as_array().cloned().unwrap_or_default();
        let wanted = |call: &Value| {
            call["service"] == service && call["path"].as_str().unwrap().contains(path)
        };
        calls.into_iter().filter(wanted).collect()
    }

    /// The GenerateToken calls so far.
    pub(crate) async fn mints(&self) -> Vec<Value> {
        self.calls("power_bi", "GenerateToken").await
    }

    /// Forgets the calls so far.
    pub(crate) async fn forget_calls(&self) {
        self.control(Method::DELETE, "/sandbox/calls", Value::Null)
            .await;
    }

    /// What a token lets its holder see.
    pub(crate) async fn rows(&self, token: &str) -> Value {
        self.control(Method::POST, "/sandbox/rows", json!({ "token": token }))
            .await
    }

    /// The audit records written so far, each as `docs/audit.schema.json` has it.
    #[track_caller]
    pub(crate) fn audit(&self) -> Vec<Value> {
        records(&std::fs::read_to_string(self.audit_file()).unwrap_or_default())
    }

    /// The last audit record.
    #[track_caller]
    pub(crate) fn last_record(&self) -> Value {
        self.audit().pop().expect("an audit record")
    }

    /// The audit file.
    pub(crate) fn audit_file(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// A file in the folder of configuration and policy.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Edits a file of the folder by replacing text, which must stand in it.
    #[track_caller]
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file(name)).unwrap();
        assert!(text.contains(from), "{name} has no `{from}`");
        std::fs::write(self.file(name), text.replace(from, to)).unwrap();
    }

    /// Reloads everything, as SIGHUP does.
    pub(crate) async fn reload(&self) {
        self.app.as_ref().unwrap().reload();
        tokio::task::yield_now().await;
    }

    /// Resolves once it is ready.
    pub(crate) async fn ready(&self) {
        self.app.as_ref().unwrap().ready().await;
    }

    /// URL of the broker.
    pub(crate) fn broker(&self) -> &str {
        &self.broker
    }

    /// URL of the simulated services.
    pub(crate) fn upstream(&self) -> &str {
        self.upstream.url()
    }

    /// URL of the simulated services over TLS.
    pub(crate) fn upstream_tls(&self) -> &str {
        self.upstream.tls_url()
    }

    /// The certificate authority of the simulated services.
    pub(crate) fn upstream_ca(&self) -> &str {
        self.upstream.ca_pem()
    }
}

impl Setup {
    /// Replaces text in the sandbox's `broker.yaml`, in which it must stand.
    #[must_use]
    pub(crate) fn edit(mut self, from: &str, to: &str) -> Self {
        self.edits.push((from.into(), to.into()));
        self
    }

    /// Adds a top-level section to `broker.yaml`.
    #[must_use]
    pub(crate) fn section(self, yaml: &str) -> Self {
        self.edit(
            "policy_file: policy.yaml",
            &format!("{yaml}\npolicy_file: policy.yaml"),
        )
    }

    /// A file beside `broker.yaml`.
    #[must_use]
    pub(crate) fn file(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.files.push((name, text.into()));
        self
    }

    /// A file beside `broker.yaml` with what the simulated services answer to a GET.
    #[must_use]
    pub(crate) fn fetched(mut self, name: &'static str, path: &'static str) -> Self {
        self.fetched.push((name, path));
        self
    }

    /// Puts the URL of the simulated services in the place of `mark` in `broker.yaml`.
    #[must_use]
    pub(crate) fn with_upstream(mut self, mark: &'static str) -> Self {
        self.upstream_mark = Some(mark);
        self
    }

    /// Replaces text in the policy, in which it must stand.
    #[must_use]
    pub(crate) fn edit_policy(mut self, from: &str, to: &str) -> Self {
        self.policy_edits.push((from.into(), to.into()));
        self
    }

    /// Another policy.
    #[must_use]
    pub(crate) fn policy(mut self, yaml: impl Into<String>) -> Self {
        self.policy = Some(yaml.into());
        self
    }

    /// Another replica: on the simulated services of `other`.
    #[must_use]
    pub(crate) fn beside(mut self, other: &TestApp) -> Self {
        self.beside = Some(Arc::clone(&other.upstream));
        self
    }

    /// Something for the control path before the broker starts.
    #[must_use]
    pub(crate) fn before(mut self, method: Method, path: &'static str, body: Value) -> Self {
        self.before.push((method, path, body));
        self
    }

    /// Does not wait until the broker is ready.
    #[must_use]
    pub(crate) fn not_ready(mut self) -> Self {
        self.expect_ready = false;
        self
    }

    /// Starts everything.
    pub(crate) async fn start(self) -> TestApp {
        let expect_ready = self.expect_ready;
        let Prepared {
            folder,
            client,
            upstream,
            config: file,
        } = self.prepare().await;
        let config = Config::load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let app = App::start(config, &file)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        if expect_ready {
            app.ready().await;
        }
        let (broker, ops) = (
            format!("http://{}", app.traffic()),
            format!("http://{}", app.ops()),
        );
        TestApp {
            app: Some(app),
            upstream,
            folder,
            client,
            broker,
            ops,
        }
    }

    /// Starts the upstream services and writes the files that this describes.
    pub(crate) async fn prepare(self) -> Prepared {
        let folder = TempDir::new().unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        let upstream = match self.beside {
            Some(upstream) => upstream,
            None => Arc::new(Upstream::start(Options::default()).await.unwrap()),
        };
        for (method, path, body) in self.before {
            let request = client
                .request(method, format!("{}{path}", upstream.url()))
                .json(&body);
            assert!(
                request.send().await.unwrap().status().is_success(),
                "{path}"
            );
        }
        let free = "127.0.0.1:0".parse().unwrap();
        let addresses = Addresses {
            listen: free,
            ops_listen: free,
            upstream: upstream.url().to_owned(),
        };
        let files = unpack(folder.path(), &addresses).unwrap();
        let mut text = std::fs::read_to_string(&files.config).unwrap();
        let audit = (
            "sink: stdout".to_owned(),
            "sink: file\n  file: audit.jsonl".to_owned(),
        );
        for (from, to) in std::iter::once(audit).chain(self.edits) {
            assert!(text.contains(&from), "broker.yaml has no `{from}`");
            text = text.replace(&from, &to);
        }
        if let Some(mark) = self.upstream_mark {
            text = text.replace(mark, upstream.url());
        }
        std::fs::write(&files.config, text).unwrap();
        if let Some(policy) = self.policy {
            std::fs::write(&files.policy, policy).unwrap();
        }
        let mut policy = std::fs::read_to_string(&files.policy).unwrap();
        for (from, to) in self.policy_edits {
            assert!(policy.contains(&from), "policy.yaml has no `{from}`");
            policy = policy.replace(&from, &to);
        }
        std::fs::write(&files.policy, policy).unwrap();
        for (name, text) in self.files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        for (name, path) in self.fetched {
            let answer = client.get(format!("{}{path}", upstream.url())).send().await;
            let text = answer.unwrap().error_for_status().unwrap().text().await;
            std::fs::write(folder.path().join(name), text.unwrap()).unwrap();
        }
        Prepared {
            config: files.config,
            folder,
            client,
            upstream,
        }
    }
}

/// Files and upstream services, for a broker that is not started yet.
pub(crate) struct Prepared {
    pub(crate) folder: TempDir,
    pub(crate) client: reqwest::Client,
    pub(crate) upstream: Arc<Upstream>,
    /// `broker.yaml`.
    pub(crate) config: PathBuf,
}

/// Waits until `happened`, for at most ten seconds.
#[track_caller]
pub(crate) fn eventually(happened: impl AsyncFn() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        for _ in 0..200 {
            if happened().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{place}: it did not happen");
    }
}
