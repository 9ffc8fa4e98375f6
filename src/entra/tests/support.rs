//! A token endpoint on loopback, and stores that use it.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::Url;

use crate::config::{self, Secret};
use crate::entra::{AccessToken, AccessTokens};
use crate::outbound::Outbound;

pub(super) const TENANT: &str = "11111111-1111-1111-1111-111111111111";
pub(super) const CLIENT: &str = "22222222-2222-2222-2222-222222222222";

/// What the fake was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) form: BTreeMap<String, String>,
}

/// What the fake answers.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    delay: Duration,
}

/// A token endpoint that gives `token-1`, `token-2` …, unless told otherwise.
#[derive(Clone)]
pub(super) struct Entra(Arc<Inner>);

struct Inner {
    url: Url,
    script: Mutex<VecDeque<Answer>>,
    rule: Mutex<Option<Rule>>,
    life: Mutex<i64>,
    asked: Mutex<Vec<Asked>>,
}

type Rule = Box<dyn Fn(&Asked) -> Option<Answer> + Send>;

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delay: Duration::ZERO,
        }
    }

    pub(super) fn token(token: &str, life: i64) -> Self {
        let body = json!({
            "token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token,
        });
        Self::new(200, body.to_string())
    }

    /// As Entra refuses, line breaks in the description included.
    pub(super) fn refusal(error: &str, number: u32) -> Self {
        let body = json!({
            "error": error,
            "error_description": format!("AADSTS{number}: It \"fails\".\r\nTrace ID: 7b\r\nCorrelation ID: 9c"),
            "error_codes": [number],
            "trace_id": "7b1a-trace",
            "correlation_id": "9c2b-correlation",
            "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
        });
        Self::new(401, body.to_string())
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

impl Entra {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let entra = Self(Arc::new(Inner {
            url: url.parse().unwrap(),
            script: Mutex::default(),
            rule: Mutex::default(),
            life: Mutex::new(3600),
            asked: Mutex::default(),
        }));
        let serving = entra.clone();
        let app = axum::Router::new().fallback(move |uri, headers, body| {
            let entra = serving.clone();
            async move { entra.answer(uri, headers, body).await }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        entra
    }

    pub(super) fn url(&self) -> &Url {
        &self.0.url
    }

    /// Answers once with `answer`, before all else.
    pub(super) fn next(&self, answer: Answer) {
        self.0.script.lock().unwrap().push_back(answer);
    }

    /// Answers by `rule` until further notice; a token where it gives none.
    pub(super) fn rule(&self, rule: impl Fn(&Asked) -> Option<Answer> + Send + 'static) {
        *self.0.rule.lock().unwrap() = Some(Box::new(rule));
    }

    pub(super) fn always(&self, answer: Answer) {
        self.rule(move |_| Some(answer.clone()));
    }

    pub(super) fn recover(&self) {
        *self.0.rule.lock().unwrap() = None;
    }

    /// Seconds that its tokens live.
    pub(super) fn life(&self, seconds: i64) {
        *self.0.life.lock().unwrap() = seconds;
    }

    pub(super) fn count(&self) -> usize {
        self.0.asked.lock().unwrap().len()
    }

    pub(super) fn last(&self) -> Asked {
        self.0.asked.lock().unwrap().last().unwrap().clone()
    }

    pub(super) fn all(&self) -> Vec<Asked> {
        self.0.asked.lock().unwrap().clone()
    }

    async fn answer(&self, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
        let form = url::form_urlencoded::parse(&body).into_owned().collect();
        let asked = Asked { uri, headers, form };
        let number = {
            let mut all = self.0.asked.lock().unwrap();
            all.push(asked.clone());
            all.len()
        };
        let scripted = self.0.script.lock().unwrap().pop_front();
        let answer = scripted
            .or_else(|| {
                let rule = self.0.rule.lock().unwrap();
                rule.as_ref().and_then(|rule| rule(&asked))
            })
            .unwrap_or_else(|| {
                Answer::token(&format!("token-{number}"), *self.0.life.lock().unwrap())
            });
        tokio::time::sleep(answer.delay).await;
        let status = StatusCode::from_u16(answer.status).unwrap();
        let mut response = (status, answer.body).into_response();
        for (name, value) in answer.headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }
}

/// A secret in a file of its own, which can be changed.
pub(super) struct SecretFile {
    file: tempfile::NamedTempFile,
    pub(super) secret: Secret,
}

impl SecretFile {
    pub(super) fn new(content: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let secret = Secret::from_file(file.path()).unwrap();
        Self { file, secret }
    }

    pub(super) fn path(&self) -> &std::path::Path {
        self.file.path()
    }

    pub(super) fn change(&self, content: &str) {
        std::fs::write(self.file.path(), content).unwrap();
        assert!(self.secret.refresh().unwrap());
    }
}

pub(super) fn client_secret(file: &SecretFile) -> config::Credential {
    config::Credential::ClientSecret(config::ClientSecret {
        resolved: file.secret.clone(),
        ..config::ClientSecret::default()
    })
}

pub(super) fn principal(
    authority: &Url,
    credentials: Vec<config::Credential>,
) -> config::Principal {
    config::Principal {
        tenant_id: TENANT.into(),
        client_id: CLIENT.into(),
        authority_url: Some(authority.clone()),
        credentials,
        ..config::Principal::default()
    }
}

pub(super) fn try_store(
    principal: config::Principal,
    min_lifetime: u64,
) -> Result<AccessTokens, Vec<config::Mistake>> {
    let principals = BTreeMap::from([("default".to_owned(), principal)]);
    let outbound = Outbound::new(&config::Tls::default()).unwrap();
    AccessTokens::new(&principals, Duration::from_secs(min_lifetime), &outbound)
}

/// A store with the principal `default` and the given minimum in seconds.
pub(super) fn store(
    entra: &Entra,
    credentials: Vec<config::Credential>,
    min_lifetime: u64,
) -> AccessTokens {
    try_store(principal(entra.url(), credentials), min_lifetime)
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// A store with one good client secret and a minimum of 30 minutes.
pub(super) fn plain_store(entra: &Entra) -> AccessTokens {
    store(entra, vec![client_secret(&SecretFile::new("s3cret"))], 1800)
}

pub(super) async fn text(store: &AccessTokens) -> String {
    match store.with_life("default").await {
        Ok(token) => show(&token),
        Err(error) => error.to_string(),
    }
}

pub(super) fn show(token: &AccessToken) -> String {
    token.secret().expose_secret().to_owned()
}

/// Lets our timers believe that time has passed; tokens go by the wall clock and do not.
pub(super) async fn skip(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// Waits, in real time, until the background work has come so far.
pub(super) async fn until(what: impl Fn() -> bool) {
    for _ in 0..200 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came so far");
}

/// Keeps `tracing` from taking one thread's subscriber for the only one: then it would switch off for good whatever a
/// thread without a subscriber logs first.
static SECOND_SUBSCRIBER: LazyLock<tracing::Dispatch> =
    LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));

/// Everything that is logged on this thread while it lives.
pub(super) struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub(super) fn start(level: tracing::Level) -> Self {
        LazyLock::force(&SECOND_SUBSCRIBER);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || Sink(Arc::clone(&sink)))
            .finish();
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.lock().unwrap()).into_owned()
    }

    pub(super) fn count(&self, needle: &str) -> usize {
        self.text().matches(needle).count()
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) fn json_of(part: &str) -> Value {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
