//! A generation of files in a folder, without network; and that a request has one generation only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;
use tower::ServiceExt as _;

use super::generation::Generation;
use super::start;
use super::watch::Watch;
use crate::authn::Caller;
use crate::config::{Config, Mistakes};
use crate::http::{AppState, Limits, router};
use crate::policy::Ask;

const BROKER: &str = "
authn: { issuers: [{ name: login, issuer: 'https://login.example/', audiences: [a], algorithms: [HS256], hmac_secret_file: hmac }] }
principals:
  default:
    tenant_id: 11111111-1111-4111-8111-111111111111
    client_id: 22222222-2222-4222-8222-222222222222
    credentials: [{ kind: client_secret, secret_file: secret }]
cors: { allowed_origins: ['https://app.example'] }
audit: { sink: file, file: audit.jsonl }
policy_file: policy.yaml
";

/// Tables, items and a case that holds whatever the rules give to others than auditors.
pub(super) const HEAD: &str = "
tables:
  region: { key: claims.sub, rows_file: rows.yaml }
items:
  sales: { kind: report, workspace: w, report: r }
cases:
  - { name: auditors see all, claims: { sub: a, role: auditor }, tables: { region: null }, item: sales, expect: { roles: [Everything] } }
rules:
";

/// A rule that gives everything to everybody until its condition is written.
pub(super) const AUDITORS: &str = "  - name: auditors
    items: [sales]
    identity: { username: { cel: claims.sub }, roles: [Everything] }
";
pub(super) const ONLY: &str = "    when: \"has(claims.role) && claims.role == 'auditor'\"\n";

/// A rule for everybody else: the role that their row in the table names.
pub(super) const VIEWERS: &str = "  - name: viewers
    items: [sales]
    identity: { username: { cel: claims.sub }, roles: { cel: '[region.role]' } }
";

pub(super) fn policy() -> String {
    [HEAD, AUDITORS, ONLY, VIEWERS].concat()
}

/// Configuration, policy and secrets of a broker.
pub(super) struct Folder(pub(super) TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("broker.yaml", BROKER);
        folder.write("policy.yaml", &policy());
        folder.write("rows.yaml", "ben: { role: AMER }\n");
        folder.write("secret", "first-secret");
        folder.write("hmac", &"h".repeat(32));
        folder
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file in place.
    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        use std::io::Write as _;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(super) async fn load(&self) -> Result<(Generation, Watch), Mistakes> {
        let file = self.path("broker.yaml");
        start::load(&Config::load(&file)?, &file).await
    }
}

/// Rule and roles by which ben sees the sales.
pub(super) fn ben(generation: &Generation) -> (String, Vec<String>) {
    let claims = json!({ "sub": "ben" }).as_object().cloned().unwrap();
    let caller = Caller::assumed("login", claims, OffsetDateTime::UNIX_EPOCH);
    let ask = Ask {
        items: vec!["sales".to_owned()],
        ..Ask::default()
    };
    let grants = generation.broker().policy.decide(&caller, &ask).unwrap();
    let identity = grants[0].identity().unwrap();
    (grants[0].rule().to_string(), identity.roles.clone())
}

#[tokio::test]
async fn a_request_asks_once_for_what_it_is_served_with() {
    let folder = Folder::new();
    let (generation, _) = folder.load().await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let current = Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Arc::clone(&generation.serving)
    });
    let limits = Limits {
        max_in_flight: 8,
        request_timeout: Duration::from_secs(10),
    };
    let router = router(AppState::new(current, Vec::new()), limits);
    for (method, path, body) in [
        ("POST", "/embed-token", r#"{"item": "sales"}"#),
        ("GET", "/items", ""),
        ("GET", "/items/sales/targets", ""),
        ("OPTIONS", "/embed-token", ""),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .header("authorization", "Bearer nonsense")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let expected = if method == "OPTIONS" { 200 } else { 401 };
        assert_eq!(response.status(), expected, "{method} {path}");
        let allowed = &response.headers()["access-control-allow-origin"];
        assert_eq!(allowed, "https://app.example");
        assert_eq!(asked.swap(0, Ordering::SeqCst), 1, "{method} {path}");
    }
}
