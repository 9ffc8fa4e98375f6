//! Drives the simulated services over HTTP, as their clients do.

mod control;
mod embed_page;
mod entra;
mod generate_token;
mod issuer;
mod listeners;
mod rest_api;
mod rows;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Options, Upstream};

const TENANT: &str = "7e4a4700-0000-4000-8000-000000000001";
const CLIENT: &str = "c11e4700-0000-4000-8000-000000000001";
const ARCHIVIST: &str = "c11e4700-0000-4000-8000-000000000002";
const OBJECT: &str = "0b1ec700-0000-4000-8000-000000000001";
const SECRET: &str = "sandbox-secret-not-for-production";
const SCOPE: &str = "https://analysis.windows.net/powerbi/api/.default";
const CONTOSO: &str = "50ace000-0000-4000-8000-000000000001";
const SHARED: &str = "50ace000-0000-4000-8000-000000000003";
const TRIAL: &str = "50ace000-0000-4000-8000-000000000004";
const CLASSIC: &str = "50ace000-0000-4000-8000-000000000005";
const PERSONAL: &str = "50ace000-0000-4000-8000-000000000006";
const PROFILE_CONTOSO: &str = "940f11e0-0000-4000-8000-000000000001";
const PROFILE_FABRIKAM: &str = "940f11e0-0000-4000-8000-000000000002";

fn dataset(n: u32) -> String {
    format!("da7a5e70-0000-4000-8000-{n:012}")
}

fn report(n: u32) -> String {
    format!("4e904700-0000-4000-8000-{n:012}")
}

fn dashboard(n: u32) -> String {
    format!("da5b0a4d-0000-4000-8000-{n:012}")
}

/// The simulated services and a client of theirs.
struct Sandbox {
    upstream: Upstream,
    http: reqwest::Client,
}

struct Answer {
    status: StatusCode,
    info: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    #[track_caller]
    fn is(self, status: u16, text: &str) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert!(self.text.contains(text), "{} lacks {text}", self.text);
        self
    }
}

impl Sandbox {
    async fn start() -> Self {
        Self {
            upstream: Upstream::start(Options::default()).await.unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let info = response.headers().get("x-powerbi-error-info");
        let info = info.map_or("", |value| value.to_str().unwrap()).to_owned();
        Answer {
            status: response.status(),
            info,
            text: response.text().await.unwrap(),
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.upstream.url()))
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// The control path.
    async fn control(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send(self.request(method, path).json(&body)).await
    }

    async fn entra(&self, form: &[(&str, &str)]) -> Answer {
        let path = format!("/entra/{TENANT}/oauth2/v2.0/token");
        self.send(self.request(Method::POST, &path).form(form))
            .await
    }

    /// An Entra token of the first app.
    async fn bearer(&self) -> String {
        self.bearer_of(CLIENT, SECRET).await
    }

    async fn bearer_of(&self, client: &str, secret: &str) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
            ("scope", SCOPE),
        ];
        let answer = self.entra(&form).await.is(200, "access_token").json();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn master(&self) -> String {
        let form = [
            ("grant_type", "password"),
            ("client_id", CLIENT),
            ("username", "master@isv.example"),
            ("password", "sandbox-master-password"),
            ("scope", SCOPE),
        ];
        let answer = self.entra(&form).await.is(200, "access_token").json();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn api(&self, bearer: &str, profile: &str, path: &str) -> Answer {
        let mut request = self
            .request(Method::GET, &format!("/v1.0/myorg/{path}"))
            .bearer_auth(bearer);
        if !profile.is_empty() {
            request = request.header("X-PowerBI-Profile-Id", profile);
        }
        self.send(request).await
    }

    async fn mint_at(&self, bearer: &str, profile: &str, path: &str, body: &Value) -> Answer {
        let mut request = self
            .request(Method::POST, &format!("/v1.0/myorg/{path}GenerateToken"))
            .bearer_auth(bearer)
            .json(body);
        if !profile.is_empty() {
            request = request.header("X-PowerBI-Profile-Id", profile);
        }
        self.send(request).await
    }

    async fn mint(&self, profile: &str, body: &Value) -> Answer {
        self.mint_at(&self.bearer().await, profile, "", body).await
    }

    async fn token(&self, profile: &str, body: &Value) -> String {
        let answer = self.mint(profile, body).await.is(200, "tokenId").json();
        answer["token"].as_str().unwrap().to_owned()
    }

    async fn render(&self, token: &str, kind: &str, id: &str, more: Value) -> Answer {
        let mut ask = json!({"token": token, "kind": kind, "id": id});
        ask.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.control(Method::POST, "/sandbox/render", ask).await
    }

    /// The values of one column of what `token` shows.
    async fn column(&self, token: &str, column: &str) -> Vec<String> {
        let shown = self
            .control(Method::POST, "/sandbox/rows", json!({"token": token}))
            .await;
        values(&shown.is(200, "tables").json()["tables"][0], column)
    }
}

fn values(table: &Value, column: &str) -> Vec<String> {
    let columns = table["columns"].as_array().unwrap();
    let index = columns.iter().position(|name| name == column).unwrap();
    let mut values: Vec<String> = table["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row[index].as_str().unwrap().to_owned())
        .collect();
    values.sort();
    values.dedup();
    values
}

/// A V2 request for Contoso's sales report.
fn sales(identity: &Value) -> Value {
    let mut identity = identity.clone();
    identity["datasets"] = json!([dataset(1)]);
    json!({"datasets": [{"id": dataset(1)}], "reports": [{"id": report(1)}], "identities": [identity]})
}

/// A V2 request for report and dataset `n` of the shared workspace.
fn shared(n: u32, identity: &Value) -> Value {
    let mut request = json!({"datasets": [{"id": dataset(n)}], "reports": [{"id": report(n)}]});
    if !identity.is_null() {
        let mut identity = identity.clone();
        identity["datasets"] = json!([dataset(n)]);
        request["identities"] = json!([identity]);
    }
    request
}

fn claims_of(jwt: &str) -> Value {
    use base64::Engine as _;
    let payload = jwt.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload);
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}
