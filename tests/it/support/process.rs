//! The real program as a process of its own, with the simulated services in this one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use embed_broker_sandbox::Upstream;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::records::records;
use super::test_app::{Prepared, Setup};
use super::{Answer, TestApp};

/// Time that a process gets to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `embed-broker serve`.
pub(crate) struct Process {
    child: Mutex<Child>,
    pub(crate) upstream: Arc<Upstream>,
    folder: TempDir,
    client: reqwest::Client,
    broker: String,
    ops: String,
}

/// Its standard error, in the folder of configuration and policy. No pipe: what the program wrote before it answered can
/// be read when the answer is here, however busy the machine is.
const LOG: &str = "log.jsonl";

impl Process {
    /// Starts it as `setup` describes, with a JSON log, and waits until it is ready.
    pub(crate) async fn start(setup: Setup) -> Self {
        let process = Self::start_with(setup, Stdio::null()).await;
        let began = Instant::now();
        while process.get(&process.broker, "/readyz").await.status != 200 {
            assert!(began.elapsed() < PATIENCE, "not ready: {}", process.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        process
    }

    /// The same with its standard output somewhere else, and without waiting for more than its addresses.
    pub(crate) async fn start_with(setup: Setup, stdout: Stdio) -> Self {
        let setup = setup.edit("log_format: text", "log_format: json");
        let Prepared {
            folder,
            client,
            upstream,
            config,
        } = setup.prepare().await;
        let child = Command::new(env!("CARGO_BIN_EXE_embed-broker"))
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(File::create(folder.path().join(LOG)).unwrap())
            .spawn()
            .unwrap();
        let [broker, ops] = addresses(&folder.path().join(LOG)).await;
        Self {
            child: Mutex::new(child),
            upstream,
            folder,
            client,
            broker,
            ops,
        }
    }

    /// Describes a process.
    pub(crate) fn setup() -> Setup {
        TestApp::setup()
    }

    /// Its standard output, where it is a pipe.
    pub(crate) fn stdout(&mut self) -> impl Read + use<> {
        self.child.get_mut().unwrap().stdout.take().expect("a pipe")
    }

    /// URL of the broker.
    pub(crate) fn broker(&self) -> &str {
        &self.broker
    }

    /// Address of the broker.
    pub(crate) fn address(&self) -> &str {
        self.broker.trim_start_matches("http://")
    }

    /// URL of the operators' listener.
    pub(crate) fn ops_url(&self) -> &str {
        &self.ops
    }

    /// A request to the broker.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.broker))
    }

    /// A sign-in token of a persona with further (or other) claims.
    pub(crate) async fn token_with(&self, persona: &str, claims: Value) -> String {
        let url = format!("{}/idp/token", self.upstream.url());
        let query = [
            ("persona", persona.to_owned()),
            ("claims", claims.to_string()),
        ];
        let response = self.client.get(url).query(&query).send().await.unwrap();
        response.text().await.unwrap()
    }

    /// Asks for an embed token as a persona.
    pub(crate) async fn embed(&self, persona: &str, body: Value) -> Answer {
        let token = self.token_with(persona, json!({})).await;
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

    /// Speaks to the control path of the simulated services.
    pub(crate) async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.upstream.url());
        let request = self.client.request(method, url).json(&body);
        let answer = Answer::unchecked(request.send().await.unwrap()).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
        serde_json::from_str(&answer.text).unwrap_or(Value::Null)
    }

    /// GETs a path of the operators' listener.
    pub(crate) async fn ops(&self, path: &str) -> Answer {
        self.get(&self.ops, path).await
    }

    async fn get(&self, server: &str, path: &str) -> Answer {
        let request = self.client.get(format!("{server}{path}"));
        Answer::unchecked(request.send().await.unwrap()).await
    }

    /// The value of one series, as Prometheus would read it; none when there is no such series.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.ops("/metrics").await.text;
        let line = text.lines().find_map(|line| {
            let rest = line.strip_prefix(series)?;
            rest.strip_prefix(' ')
        });
        line.map(|value| value.trim().parse().unwrap())
    }

    /// The value of a series that only counts whole things.
    pub(crate) async fn count(&self, series: &str) -> u64 {
        let value = self.metric(series).await.unwrap_or_default();
        format!("{value}").parse().expect("a whole number")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        read(&self.file(LOG))
    }

    /// The log's lines whose message is `message`.
    pub(crate) fn lines(&self, message: &str) -> Vec<Value> {
        let log = self.log();
        log.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
            .filter(|line| line["fields"]["message"] == message)
            .collect()
    }

    /// The audit records written so far.
    pub(crate) fn audit(&self) -> Vec<Value> {
        records(&std::fs::read_to_string(self.file("audit.jsonl")).unwrap_or_default())
    }

    /// A file in the folder of configuration and policy.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sends a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.lock().unwrap().id());
        let sent = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(sent.success(), "{command}");
    }

    /// How it has ended, if it has.
    pub(crate) fn has_ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "it does not end: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The whole lines of a log.
fn read(log: &Path) -> String {
    let mut text = std::fs::read_to_string(log).unwrap();
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    text
}

/// Traffic and ops listener, from the line that names them.
async fn addresses(log: &Path) -> [String; 2] {
    let began = Instant::now();
    loop {
        let text = read(log);
        let line = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["fields"]["message"] == "listening");
        if let Some(line) = line {
            let url = |name: &str| format!("http://{}", line["fields"][name].as_str().unwrap());
            return [url("traffic"), url("ops")];
        }
        assert!(began.elapsed() < PATIENCE, "it does not start: {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
