//! Drives the simulated services over HTTP, as their clients do.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Addresses, Options, Upstream, unpack};

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

// === issuer ===

#[tokio::test]
async fn personas_get_tokens_that_the_published_key_verifies() {
    let sandbox = Sandbox::start().await;
    let issuer = format!("{}/idp", sandbox.upstream.url());
    let jwt = sandbox
        .get("/idp/token?persona=ana")
        .await
        .is(200, "ey")
        .text;
    let keys: jsonwebtoken::jwk::JwkSet =
        serde_json::from_value(sandbox.get("/idp/jwks").await.json()).unwrap();
    let kid = jsonwebtoken::decode_header(&jwt).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["embed-broker"]);
    validation.set_issuer(&[&issuer]);
    let claims = jsonwebtoken::decode::<Value>(&jwt, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(claims["regions"], json!(["EMEA"]));
    let discovery = sandbox
        .get("/idp/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(discovery["issuer"], issuer);
}

#[tokio::test]
async fn tests_bend_tokens_and_rotate_keys() {
    let sandbox = Sandbox::start().await;
    let bent = "/idp/token?persona=ana&expires_in=-60&audience=other&claims=%7B%22sub%22%3Anull%2C%22x%22%3A1%7D";
    let claims = claims_of(&sandbox.get(bent).await.text);
    assert_eq!((&claims["aud"], &claims["x"]), (&json!("other"), &json!(1)));
    assert!(claims.get("sub").is_none());
    assert!(claims["exp"].as_i64() < claims["iat"].as_i64());
    sandbox
        .get("/idp/token?persona=nobody")
        .await
        .is(400, "ana, ben");

    let before = sandbox.get("/idp/jwks").await.json();
    sandbox
        .control(Method::POST, "/sandbox/idp/rotate?keep=true", json!({}))
        .await
        .is(200, "kid");
    assert_eq!(
        sandbox.get("/idp/jwks").await.json()["keys"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    sandbox
        .control(Method::POST, "/sandbox/idp/rotate", json!({}))
        .await
        .is(200, "kid");
    let after = sandbox.get("/idp/jwks").await.json();
    assert_eq!(after["keys"].as_array().unwrap().len(), 1);
    assert_ne!(before["keys"][0]["n"], after["keys"][0]["n"]);
}

// === Entra ===

#[tokio::test]
async fn entra_refuses_in_its_own_words() {
    let sandbox = Sandbox::start().await;
    let good = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
        ("scope", SCOPE),
    ];
    let cases = [
        ("client_secret", "wrong", 401, 7_000_215),
        (
            "client_secret",
            "sandbox-secret-of-last-year",
            401,
            7_000_222,
        ),
        (
            "client_id",
            "11111111-1111-4111-8111-111111111111",
            400,
            700_016,
        ),
        (
            "client_id",
            "c11e4700-0000-4000-8000-000000000003",
            400,
            7_000_112,
        ),
        ("scope", "https://graph.microsoft.com/.default", 400, 70_011),
        ("grant_type", "device_code", 400, 70_003),
    ];
    for (name, value, status, code) in cases {
        let form = good.map(|(key, given)| (key, if key == name { value } else { given }));
        let answer = sandbox
            .entra(&form)
            .await
            .is(status, &format!("AADSTS{code}: "))
            .json();
        assert_eq!(answer["error_codes"], json!([code]));
        assert!(
            answer["error_description"]
                .as_str()
                .unwrap()
                .contains("\r\nTrace ID: ")
        );
    }
    sandbox
        .entra(&[good[0], good[1], good[3]])
        .await
        .is(401, "AADSTS7000218");
    let elsewhere = sandbox
        .request(Method::POST, "/entra/nowhere/oauth2/v2.0/token")
        .form(&good);
    sandbox.send(elsewhere).await.is(400, "AADSTS90002");
}

#[tokio::test]
async fn a_master_user_signs_in_by_password_unless_more_is_needed() {
    let sandbox = Sandbox::start().await;
    sandbox.master().await;
    let cases = [
        ("master@isv.example", "wrong", "AADSTS50126"),
        ("mfa@isv.example", "sandbox-mfa-password", "AADSTS50076"),
        ("nobody@isv.example", "x", "AADSTS50034"),
    ];
    for (username, password, code) in cases {
        let form = [
            ("grant_type", "password"),
            ("client_id", CLIENT),
            ("username", username),
            ("password", password),
            ("scope", SCOPE),
        ];
        sandbox.entra(&form).await.is(400, code);
    }
}

#[tokio::test]
async fn entra_settings_follow_the_control_path_until_reset() {
    let sandbox = Sandbox::start().await;
    let change = json!({"secrets": ["next"], "expires_in": 30});
    sandbox
        .control(Method::PUT, "/sandbox/entra", change)
        .await
        .is(204, "");
    let form = |secret| {
        [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            ("client_secret", secret),
            ("scope", SCOPE),
        ]
    };
    sandbox.entra(&form(SECRET)).await.is(401, "AADSTS7000215");
    sandbox
        .entra(&form("next"))
        .await
        .is(200, r#""expires_in":30"#);
    sandbox
        .control(Method::POST, "/sandbox/reset", json!({}))
        .await
        .is(204, "");
    sandbox
        .entra(&form(SECRET))
        .await
        .is(200, r#""expires_in":3599"#);
}

#[tokio::test]
async fn a_certificate_proves_the_app_only_with_the_right_assertion() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let sandbox = Sandbox::start().await;
    let pem = sandbox.upstream.client_certificate_pem().unwrap();
    let (key, certificate) = pem.split_at(pem.find("-----BEGIN CERTIFICATE").unwrap());
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(key.as_bytes()).unwrap();
    let body: String = certificate
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let der = base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap();
    let thumbprint =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(&der));
    let endpoint = format!(
        "{}/entra/{TENANT}/oauth2/v2.0/token",
        sandbox.upstream.url()
    );
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let good = json!({"aud": endpoint, "iss": CLIENT, "sub": CLIENT, "jti": "1", "nbf": now, "exp": now + 300});
    let cases = [
        (json!({}), 200, "access_token"),
        (
            json!({"aud": "https://elsewhere.example"}),
            401,
            "AADSTS700023",
        ),
        (json!({"sub": ARCHIVIST}), 401, "AADSTS700021"),
        (json!({"exp": now - 1}), 401, "AADSTS700024"),
        (json!({"exp": now + 7200}), 401, "AADSTS700024"),
    ];
    for (change, status, text) in cases {
        let mut claims = good.clone();
        claims
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::PS256);
        header.x5t_s256 = Some(thumbprint.clone());
        let assertion = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", &assertion),
            ("scope", SCOPE),
        ];
        sandbox.entra(&form).await.is(status, text);
        let tampered = format!(
            "{}A{}",
            &assertion[..assertion.len() - 20],
            &assertion[assertion.len() - 19..]
        );
        let form = form.map(|(name, value)| {
            (
                name,
                if name == "client_assertion" {
                    &tampered
                } else {
                    value
                },
            )
        });
        sandbox.entra(&form).await.is(401, "AADSTS700027");
    }
}

// === REST API ===

#[tokio::test]
async fn bad_bearers_are_refused_with_403_and_a_header() {
    let sandbox = Sandbox::start().await;
    let none = sandbox.get("/v1.0/myorg/groups").await.is(403, "");
    assert_eq!(
        (none.info.as_str(), none.text.as_str()),
        ("InvalidToken", "")
    );
    let foreign = sandbox.api("eyJ.eyJ.x", "", "groups").await;
    assert_eq!(
        (foreign.status.as_u16(), foreign.info.as_str()),
        (403, "InvalidToken")
    );
    sandbox
        .control(Method::PUT, "/sandbox/entra", json!({"expires_in": 0}))
        .await;
    let expired = sandbox.bearer().await;
    let answer = sandbox
        .api(&expired, "", "groups")
        .await
        .is(403, "resubmit with a new access token");
    assert_eq!(answer.info, "TokenExpired");
}

#[tokio::test]
async fn what_the_documents_do_not_have_is_refused_and_recorded() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    sandbox
        .api(&bearer, "", "gateways")
        .await
        .is(501, "knows no call GET");
    sandbox
        .api(&bearer, "", "groups?$expand=users")
        .await
        .is(400, "no query parameter $expand");
    sandbox
        .api(&bearer, "", &format!("groups/{SHARED}/reports?$top=1"))
        .await
        .is(400, "$top");
    let body = json!({"datasets": [{"id": dataset(12)}], "identity": []});
    sandbox
        .mint_at(&bearer, "", "", &body)
        .await
        .is(400, "unknown field `identity`");
    let request = sandbox.request(Method::POST, "/v1.0/myorg/GenerateToken");
    let plain = request.bearer_auth(&bearer).body("{}");
    sandbox
        .send(plain)
        .await
        .is(415, "application/octet-stream");
    sandbox
        .get("/v1.0/elsewhere")
        .await
        .is(404, "serves nothing");
    let calls = sandbox.get("/sandbox/calls").await.json();
    let complaints = calls
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| !call["complaint"].is_null());
    assert_eq!(complaints.count(), 6);
}

#[tokio::test]
async fn collections_come_in_pages_and_filters_are_strict() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let first = sandbox.api(&bearer, "", "groups?$top=5000").await.json();
    let second = sandbox
        .api(&bearer, "", "groups?$top=5000&$skip=100")
        .await
        .json();
    assert_eq!(first["value"].as_array().unwrap().len(), 100);
    assert!(!first.to_string().contains("Shared Models"));
    assert!(second.to_string().contains("Shared Models"));
    let named = sandbox
        .api(&bearer, "", "groups?$filter=name%20eq%20'Shared%20Models'")
        .await
        .json();
    assert_eq!(named["value"][0]["id"], SHARED);
    sandbox
        .api(&bearer, "", "groups?$filter=name%20eq%20'O'Brien'")
        .await
        .is(400, "Invalid filter");
    let profiles = sandbox
        .api(&bearer, "", "profiles?$filter=displayName%20eq%20'contoso'")
        .await
        .json();
    assert_eq!(profiles["value"][0]["id"], PROFILE_CONTOSO);
    sandbox
        .control(Method::PUT, "/sandbox/power_bi", json!({"page_size": 3}))
        .await
        .is(204, "");
    let short = sandbox.api(&bearer, "", "groups").await.json();
    assert_eq!(short["value"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_profile_sees_its_own_workspaces_only() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let path = format!("groups/{CONTOSO}/reports");
    let own = sandbox
        .api(&bearer, PROFILE_CONTOSO, &path)
        .await
        .is(200, "Sales Overview");
    let own = own.json();
    let paginated = own["value"]
        .as_array()
        .unwrap()
        .iter()
        .find(|report| report["name"] == "Invoices")
        .unwrap();
    assert!(paginated.get("datasetId").is_none());
    assert!(
        paginated["embedUrl"]
            .as_str()
            .unwrap()
            .starts_with("https://app.powerbi.com/rdlEmbed?reportId=")
    );
    for profile in ["", PROFILE_FABRIKAM] {
        let other = sandbox.api(&bearer, profile, &path).await;
        assert_eq!(
            (other.status.as_u16(), other.info.as_str()),
            (401, "GroupNotAccessible")
        );
        sandbox
            .mint(
                profile,
                &sales(&json!({"username": "u", "roles": ["Everything"]})),
            )
            .await
            .is(404, "PowerBIEntityNotFound");
    }
    let groups = sandbox.api(&bearer, PROFILE_CONTOSO, "groups").await.json();
    assert_eq!(groups["value"].as_array().unwrap().len(), 1);
    sandbox
        .api(&bearer, "940f11e0-0000-4000-8000-000000000009", "groups")
        .await
        .is(403, "Profile");
    sandbox
        .api(&bearer, PROFILE_CONTOSO, "profiles")
        .await
        .is(401, "PowerBINotAuthorizedException");
    let archivist = sandbox
        .bearer_of(ARCHIVIST, "archive-secret-not-for-production")
        .await;
    sandbox
        .api(&archivist, PROFILE_CONTOSO, "groups")
        .await
        .is(403, "Profile");
}

#[tokio::test]
async fn read_calls_answer_in_the_documented_shapes() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let (set, report, board) = (dataset(1), report(1), dashboard(1));
    let cases = [
        (
            format!("groups/{CONTOSO}"),
            "/isOnDedicatedCapacity",
            json!(true),
        ),
        (
            format!("groups/{CONTOSO}/users"),
            "/value/0/profile/displayName",
            json!("contoso"),
        ),
        (
            format!("groups/{CONTOSO}/reports/{report}"),
            "/reportType",
            json!("PowerBIReport"),
        ),
        (
            format!("groups/{CONTOSO}/reports/{report}/pages"),
            "/value/1/displayName",
            json!("Details"),
        ),
        (
            format!("groups/{CONTOSO}/datasets/{set}"),
            "/isEffectiveIdentityRolesRequired",
            json!(true),
        ),
        (
            format!("groups/{CONTOSO}/datasets/{set}/datasources"),
            "/value",
            json!([]),
        ),
        (
            format!("groups/{CONTOSO}/dashboards"),
            "/value/0/displayName",
            json!("Sales Dashboard"),
        ),
        (
            format!("groups/{CONTOSO}/dashboards/{board}/tiles"),
            "/value/2/datasetId",
            json!(dataset(2)),
        ),
        ("capacities".to_owned(), "/value/0/sku", json!("F64")),
        (
            "availableFeatures(featureName='embedTrial')".to_owned(),
            "/additionalInfo/usage",
            json!(1),
        ),
    ];
    for (path, pointer, expected) in cases {
        let answer = sandbox
            .api(&bearer, PROFILE_CONTOSO, &path)
            .await
            .is(200, "@odata.context")
            .json();
        assert_eq!(answer.pointer(pointer), Some(&expected), "{path}");
    }
    let missing = format!("groups/{CONTOSO}/reports/{}", self::report(5));
    sandbox
        .api(&bearer, PROFILE_CONTOSO, &missing)
        .await
        .is(404, "PowerBIEntityNotFound");
}

// === GenerateToken ===

#[tokio::test]
async fn a_token_shows_the_rows_of_its_identity_and_no_other() {
    let sandbox = Sandbox::start().await;
    let cases = [
        (
            json!({"username": "any", "roles": ["Region EMEA"]}),
            "Region",
            vec!["EMEA"],
        ),
        (
            json!({"username": "any", "roles": ["Region EMEA", "Region APAC"]}),
            "Region",
            vec!["APAC", "EMEA"],
        ),
        (
            json!({"username": "any", "roles": ["Everything"]}),
            "Region",
            vec!["AMER", "APAC", "EMEA"],
        ),
        (
            json!({"username": "ben@contoso.example", "roles": ["Own Sales"]}),
            "Seller",
            vec!["ben@contoso.example"],
        ),
        (
            json!({"username": "nobody", "roles": ["Own Sales"]}),
            "Seller",
            vec![],
        ),
        (
            json!({"username": "any", "roles": ["No such role"]}),
            "Region",
            vec![],
        ),
    ];
    for (identity, column, expected) in cases {
        let token = sandbox.token(PROFILE_CONTOSO, &sales(&identity)).await;
        assert_eq!(sandbox.column(&token, column).await, expected, "{identity}");
    }
    let hidden = sales(&json!({"username": "any", "roles": ["No Margin"]}));
    let token = sandbox.token(PROFILE_CONTOSO, &hidden).await;
    let page = sandbox
        .render(&token, "report", &report(1), json!({}))
        .await
        .is(200, "Sales Overview")
        .json();
    assert!(!page["tables"][0]["columns"].to_string().contains("Margin"));
    assert_eq!(page["identities"][0]["roles"], json!(["No Margin"]));
}

#[tokio::test]
async fn every_kind_of_source_filters_in_its_own_way() {
    let sandbox = Sandbox::start().await;
    let cases = [
        (
            11,
            json!({"username": "u", "roles": ["Own Company"], "customData": "fabrikam"}),
            "Company",
            vec!["fabrikam"],
        ),
        (
            11,
            json!({"username": "u", "roles": ["Own Company"]}),
            "Company",
            vec![],
        ),
        (
            13,
            json!({"username": "ana@contoso.example"}),
            "Accountant",
            vec!["ana@contoso.example"],
        ),
        (
            14,
            json!({"username": OBJECT, "roles": ["Own Company"], "customData": "contoso"}),
            "Company",
            vec!["contoso"],
        ),
        (
            15,
            json!({"identityBlob": {"value": "ben@contoso.example"}}),
            "Owner",
            vec!["ben@contoso.example"],
        ),
        (
            16,
            json!({"username": "u", "roles": ["Region EMEA"], "identityBlob": {"value": "ana@contoso.example"}}),
            "Region",
            vec!["EMEA"],
        ),
    ];
    for (n, identity, column, expected) in cases {
        let token = sandbox.token("", &shared(n, &identity)).await;
        assert_eq!(
            sandbox.column(&token, column).await,
            expected,
            "{n} {identity}"
        );
    }
    let everything = sandbox.token("", &shared(12, &Value::Null)).await;
    assert_eq!(sandbox.column(&everything, "Product").await.len(), 20);
    let jwt = sandbox
        .get("/idp/token?persona=chloe&audience=https://database.windows.net/")
        .await
        .text;
    let source = json!({"datasourceType": "Sql", "connectionDetails": {"server": "orders.database.windows.net", "database": "orders"}});
    let mut newer = shared(15, &Value::Null);
    newer["datasourceIdentities"] = json!([{"identityBlob": jwt, "datasources": [source]}]);
    let token = sandbox.token("", &newer).await;
    assert_eq!(
        sandbox.column(&token, "Owner").await,
        ["chloe@fabrikam.example"]
    );
    newer["datasourceIdentities"][0]["datasources"][0]["connectionDetails"]["database"] =
        json!("other");
    sandbox
        .mint("", &newer)
        .await
        .is(400, "names no data source");
}

#[tokio::test]
async fn the_rls_matrix_is_enforced_in_the_services_words() {
    let sandbox = Sandbox::start().await;
    let needs = "requires effective identity to be provided";
    let cases = [
        (11, Value::Null, needs),
        (13, Value::Null, needs),
        (14, Value::Null, needs),
        (15, Value::Null, needs),
        (
            11,
            json!({"username": "u"}),
            "requires roles to be included in provided effective identity",
        ),
        (
            12,
            json!({"username": "u"}),
            "shouldn't have effective identity",
        ),
        (
            14,
            json!({"username": CLIENT, "roles": ["Everything"]}),
            "requries effective identity username to be identical to the caller's principal name",
        ),
        (13, json!({"username": "a&b"}), "alphanumeric"),
        (
            13,
            json!({"username": "a", "customData": "x"}),
            "custom data",
        ),
        (15, json!({"username": "a"}), "blob"),
        (
            16,
            json!({"username": "a", "roles": ["Everything"]}),
            "blob",
        ),
        (
            11,
            json!({"username": "a", "roles": ["Everything"], "identityBlob": {"value": "x"}}),
            "blob",
        ),
    ];
    for (n, identity, text) in cases {
        sandbox
            .mint("", &shared(n, &identity))
            .await
            .is(400, text)
            .is_invalid_request();
    }
    // A model that loses its roles must not get an identity any more.
    let change =
        json!({"isEffectiveIdentityRequired": false, "isEffectiveIdentityRolesRequired": false});
    let path = format!("/sandbox/datasets/{}", dataset(11));
    sandbox
        .control(Method::PATCH, &path, change)
        .await
        .is(204, "");
    let identity = json!({"username": "u", "roles": ["Everything"]});
    sandbox
        .mint("", &shared(11, &identity))
        .await
        .is(400, "shouldn't have effective identity");
}

impl Answer {
    #[track_caller]
    fn is_invalid_request(&self) {
        assert_eq!(self.json()["error"]["code"], "InvalidRequest");
    }
}

#[tokio::test]
async fn a_master_user_without_identity_sees_every_row() {
    let sandbox = Sandbox::start().await;
    let master = sandbox.master().await;
    let answer = sandbox
        .mint_at(&master, "", "", &shared(11, &Value::Null))
        .await
        .is(200, "token")
        .json();
    let token = answer["token"].as_str().unwrap();
    assert_eq!(
        sandbox.column(token, "Company").await,
        ["contoso", "fabrikam"]
    );
    let paginated = json!({"reports": [{"id": report(22)}]});
    sandbox
        .mint_at(&master, "", "", &paginated)
        .await
        .is(400, "service principal");
}

#[tokio::test]
async fn limits_of_the_request_are_enforced() {
    let sandbox = Sandbox::start().await;
    let with = |change: &Value| {
        let mut identity = json!({"username": "u", "roles": ["Everything"]});
        identity
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        shared(11, &identity)
    };
    let roles: Vec<String> = (0..51).map(|n| format!("r{n}")).collect();
    let many: Vec<Value> = (0..51).map(|_| json!({"id": dataset(12)})).collect();
    let mut negative = shared(12, &Value::Null);
    negative["lifetimeInMinutes"] = json!(-1);
    let mut twice = with(&json!({}));
    twice["identities"] = json!([twice["identities"][0], twice["identities"][0]]);
    let mut foreign = with(&json!({}));
    foreign["identities"][0]["datasets"] = json!([dataset(11), dataset(14)]);
    let mut nowhere = with(&json!({}));
    nowhere["identities"][0]["datasets"] = json!([]);
    let cases = [
        (with(&json!({"username": ""})), "username is required"),
        (with(&json!({"username": "x".repeat(257)})), "256"),
        (with(&json!({"username": "Jo Doe"})), "spaces"),
        (with(&json!({"username": "jörg"})), "ASCII"),
        (with(&json!({"roles": roles})), "50 roles"),
        (with(&json!({"roles": ["a,b"]})), "comma"),
        (with(&json!({"roles": ["x".repeat(51)]})), "1 to 50"),
        (with(&json!({"customData": "x".repeat(1025)})), "1024"),
        (json!({"datasets": many}), "50 entries"),
        (json!({}), "At least one dataset is required"),
        (
            json!({"reports": [{"id": report(12)}]}),
            "At least one dataset is required",
        ),
        (negative, "positive integer"),
        (twice, "Several identities"),
        (foreign, "does not cover"),
        (nowhere, "must list"),
    ];
    for (body, text) in cases {
        sandbox.mint("", &body).await.is(400, text);
    }
}

#[tokio::test]
async fn paginated_and_composite_items_need_their_models() {
    let sandbox = Sandbox::start().await;
    let identity = json!({"username": "u", "roles": ["Own Company"], "customData": "contoso", "datasets": [dataset(11)]});
    let mut body = json!({"reports": [{"id": report(21)}], "identities": []});
    sandbox
        .mint("", &body)
        .await
        .is(400, "xmlaPermissions ReadOnly");
    body["datasets"] = json!([{"id": dataset(11), "xmlaPermissions": "ReadOnly"}]);
    body["identities"] = json!([identity, {"username": "John Smith", "reports": [report(21)]}]);
    let token = sandbox.token("", &body).await;
    let page = sandbox
        .render(&token, "paginated_report", &report(21), json!({}))
        .await
        .is(200, "")
        .json();
    assert_eq!(values(&page["tables"][0], "Company"), ["contoso"]);
    body["identities"][1]["roles"] = json!(["x"]);
    sandbox.mint("", &body).await.is(400, "username only");

    let mut plan = json!({"reports": [{"id": report(17)}], "datasets": [{"id": dataset(17), "xmlaPermissions": "ReadOnly"}], "identities": [identity]});
    sandbox.mint("", &plan).await.is(400, "xmlaPermissions");
    plan["datasets"] = json!([{"id": dataset(17)}, {"id": dataset(11)}]);
    sandbox.mint("", &plan).await.is(400, "xmlaPermissions");
    for index in [0, 1] {
        plan["datasets"][index]["xmlaPermissions"] = json!("ReadOnly");
    }
    let token = sandbox.token("", &plan).await;
    let page = sandbox
        .render(&token, "report", &report(17), json!({}))
        .await
        .is(200, "Plan")
        .json();
    assert_eq!(values(&page["tables"][1], "Company"), ["contoso"]);

    let invoices = json!({"reports": [{"id": report(4)}], "identities": [{"username": "ana@contoso.example", "reports": [report(4)]}]});
    let token = sandbox.token(PROFILE_CONTOSO, &invoices).await;
    assert_eq!(
        sandbox.column(&token, "Account Manager").await,
        ["ana@contoso.example"]
    );
    let anonymous = sandbox
        .token(PROFILE_CONTOSO, &json!({"reports": [{"id": report(4)}]}))
        .await;
    assert!(
        sandbox
            .column(&anonymous, "Account Manager")
            .await
            .is_empty()
    );
    sandbox
        .mint(
            PROFILE_CONTOSO,
            &json!({"reports": [{"id": report(4), "allowEdit": true}]}),
        )
        .await
        .is(400, "viewed only");
}

#[tokio::test]
async fn v1_calls_have_their_own_limits() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let me = json!({"username": "u", "roles": ["Everything"], "datasets": [dataset(11)]});
    let view = json!({"accessLevel": "view", "identities": [me]});
    let two = json!({"accessLevel": "View", "identities": [me, me]});
    let lake = json!({"accessLevel": "View", "identities": [{"username": "u", "roles": ["Everything"], "datasets": [dataset(18)]}]});
    let create = json!({"accessLevel": "Create", "datasetId": dataset(11), "identities": [me]});
    let at = |n: u32| format!("groups/{SHARED}/reports/{}/", report(n));
    let cases = [
        (at(11), view.clone(), 200, "token"),
        (
            at(11),
            two.clone(),
            400,
            "multiple identities is not supported",
        ),
        (
            at(18),
            lake,
            400,
            "Embedding a DirectLake dataset is not supported with V1 embed token",
        ),
        (
            at(21),
            json!({"accessLevel": "View"}),
            400,
            "Paginated report with Power BI Dataset as a datasource is not supported with V1 embed token",
        ),
        (
            at(11),
            json!({"accessLevel": "Create", "identities": [me]}),
            400,
            "accessLevel",
        ),
        (at(1), view.clone(), 404, "PowerBIEntityNotFound"),
        (format!("groups/{SHARED}/reports/"), create, 200, "token"),
        (
            format!("groups/{SHARED}/reports/"),
            json!({"accessLevel": "Create"}),
            400,
            "datasetId",
        ),
        (
            format!("groups/{SHARED}/datasets/{}/", dataset(11)),
            view.clone(),
            200,
            "token",
        ),
        (
            format!("groups/{SHARED}/dashboards/{}/", dashboard(3)),
            view.clone(),
            200,
            "token",
        ),
        (
            format!("groups/{SHARED}/dashboards/{}/", dashboard(3)),
            json!({"accessLevel": "View"}),
            400,
            "requires effective identity",
        ),
        (
            format!("groups/{SHARED}/dashboards/{}/", dashboard(3)),
            json!({"accessLevel": "Edit"}),
            400,
            "accessLevel",
        ),
        (
            format!(
                "groups/{SHARED}/dashboards/{}/tiles/711e0000-0000-4000-8000-000000000012/",
                dashboard(3)
            ),
            json!({"accessLevel": "View"}),
            200,
            "token",
        ),
    ];
    for (path, body, status, text) in cases {
        sandbox
            .mint_at(&bearer, "", &path, &body)
            .await
            .is(status, text);
    }
}

#[tokio::test]
async fn workspaces_that_cannot_be_embedded_are_refused() {
    let sandbox = Sandbox::start().await;
    let master = sandbox.master().await;
    let classic = json!({"datasets": [{"id": dataset(41)}], "reports": [{"id": report(41)}]});
    sandbox
        .mint_at(&master, "", "", &classic)
        .await
        .is(400, "V2 workspace");
    let path = format!("groups/{CLASSIC}/reports/{}/", report(41));
    sandbox
        .mint_at(&master, "", &path, &json!({"accessLevel": "View"}))
        .await
        .is(200, "token");
    let path = format!("groups/{PERSONAL}/reports/{}/", report(42));
    sandbox
        .mint_at(&master, "", &path, &json!({"accessLevel": "View"}))
        .await
        .is(400, "My workspace");
    let viewer = sandbox
        .bearer_of(ARCHIVIST, "archive-secret-not-for-production")
        .await;
    sandbox
        .mint_at(&viewer, "", "", &shared(12, &Value::Null))
        .await
        .is(403, "");
    let trial = json!({"datasets": [{"id": dataset(31)}], "reports": [{"id": report(31)}]});
    sandbox.mint("", &trial).await.is(200, "token");
    sandbox
        .control(
            Method::PUT,
            "/sandbox/power_bi",
            json!({"trial_usage": 100}),
        )
        .await;
    sandbox
        .mint("", &trial)
        .await
        .is(403, "fwlink/?linkid=868976");
    assert!(
        sandbox
            .api(&sandbox.bearer().await, "", &format!("groups/{TRIAL}"))
            .await
            .text
            .contains(r#""isOnDedicatedCapacity":false"#)
    );
}

#[tokio::test]
async fn a_token_lives_as_long_as_asked_but_never_longer_than_the_entra_token() {
    let sandbox = Sandbox::start().await;
    let left = async |minutes: i64| {
        let mut body = shared(12, &Value::Null);
        body["lifetimeInMinutes"] = json!(minutes);
        let token = sandbox.token("", &body).await;
        assert!(token.starts_with("H4sI") && token.len() > 500);
        let shown = sandbox
            .send(
                sandbox
                    .request(Method::GET, "/sandbox/rows")
                    .header("Authorization", format!("EmbedToken {token}")),
            )
            .await;
        shown.json()["secondsLeft"].as_i64().unwrap()
    };
    assert!((590..=600).contains(&left(10).await));
    assert!((3590..=3599).contains(&left(0).await));
    assert!((3590..=3599).contains(&left(600).await));
    sandbox
        .control(Method::PUT, "/sandbox/entra", json!({"expires_in": 120}))
        .await;
    assert!((110..=120).contains(&left(10).await));
}

// === the page in the iframe ===

#[tokio::test]
async fn the_page_meets_the_documented_errors() {
    let sandbox = Sandbox::start().await;
    let token = sandbox.token("", &shared(12, &Value::Null)).await;
    let code = async |kind: &str, id: &str, more: Value| {
        let answer = sandbox.render(&token, kind, id, more).await;
        let error = answer.json()["error"].clone();
        assert_eq!(error["status"], answer.status.as_u16());
        (
            answer.status.as_u16(),
            error["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(
        code("report", &report(11), json!({})).await,
        (403, "LoadReportFailed".into())
    );
    assert_eq!(
        code("report", &report(99), json!({})).await,
        (404, "PowerBIEntityNotFound".into())
    );
    assert_eq!(
        code("report", "no-guid", json!({})).await,
        (500, "LoadReportFailed".into())
    );
    let unauthorized = (403, "PowerBINotAuthorizedException".to_owned());
    assert_eq!(
        code("report", &report(12), json!({"edit": true})).await,
        unauthorized
    );
    assert_eq!(
        code("report", &report(12), json!({"datasetId": dataset(11)})).await,
        unauthorized
    );
    assert_eq!(
        code("create", "", json!({"datasetId": dataset(12)})).await,
        unauthorized
    );
    let visual = json!({"pageName": "ReportSection1", "visualName": "VisualContainer1"});
    sandbox
        .render(&token, "visual", &report(12), visual)
        .await
        .is(200, "Price List");
    sandbox
        .render(&token, "qna", "", json!({"datasetId": dataset(12)}))
        .await
        .is(200, "Ask");
    let age = json!({"token": token, "seconds_left": -1});
    sandbox
        .control(Method::POST, "/sandbox/tokens/age", age)
        .await
        .is(204, "");
    assert_eq!(
        code("report", &report(12), json!({})).await,
        (403, "TokenExpired".into())
    );
    sandbox
        .control(
            Method::POST,
            "/sandbox/rows",
            json!({"token": "H4sIforged"}),
        )
        .await
        .is(403, "LoadReportFailed");
}

#[tokio::test]
async fn a_report_inside_a_report_needs_the_token_as_well() {
    let sandbox = Sandbox::start().await;
    let mut body = json!({"datasets": [{"id": dataset(12)}], "reports": [{"id": report(23)}]});
    let token = sandbox.token("", &body).await;
    sandbox
        .render(&token, "report", &report(23), json!({}))
        .await
        .is(403, "PowerBINotAuthorizedException");
    body["reports"] = json!([{"id": report(23)}, {"id": report(22)}]);
    let token = sandbox.token("", &body).await;
    sandbox
        .render(&token, "report", &report(23), json!({}))
        .await
        .is(200, "Operations");
}

#[tokio::test]
async fn saving_needs_the_right_and_a_target() {
    let sandbox = Sandbox::start().await;
    let mut body = shared(12, &Value::Null);
    let save = async |token: &str, id: &str, save_as: bool| {
        let body = json!({"token": token, "id": id, "saveAs": save_as, "name": "Mine"});
        sandbox.control(Method::POST, "/sandbox/save", body).await
    };
    let view = sandbox.token("", &body).await;
    save(&view, &report(12), false)
        .await
        .is(403, "PowerBINotAuthorizedException");
    save(&view, &report(12), true)
        .await
        .is(403, "PowerBINotAuthorizedException");
    body["reports"][0]["allowEdit"] = json!(true);
    body["targetWorkspaces"] = json!([{"id": SHARED}]);
    let edit = sandbox.token("", &body).await;
    save(&edit, &report(12), false).await.is(200, &report(12));
    let copy = save(&edit, &report(12), true).await.is(200, "Mine").json();
    let id = copy["id"].as_str().unwrap();
    // The copy is not in the old token.
    sandbox
        .render(&edit, "report", id, json!({}))
        .await
        .is(403, "LoadReportFailed");
    let new = json!({"datasets": [{"id": dataset(12)}], "targetWorkspaces": [{"id": SHARED}]});
    let create = sandbox.token("", &new).await;
    sandbox
        .render(
            &create,
            "create",
            "",
            json!({"datasetId": dataset(12), "edit": true}),
        )
        .await
        .is(200, "New report");
    save(&create, &dataset(12), false).await.is(200, "Mine");
}

// === control path ===

#[tokio::test]
async fn calls_are_recorded_without_secrets() {
    let sandbox = Sandbox::start().await;
    let blob = "the-users-own-token";
    let identity = json!({"identityBlob": {"value": blob}});
    let token = sandbox.token("", &shared(15, &identity)).await;
    let calls = sandbox.get("/sandbox/calls").await;
    for secret in [SECRET, blob, token.as_str()] {
        assert!(!calls.text.contains(secret));
    }
    let calls = calls.json();
    assert_eq!(calls[0]["service"], "entra");
    assert_eq!(calls[1]["service"], "power_bi");
    assert_eq!(
        (&calls[1]["status"], &calls[1]["principal"]),
        (&json!(200), &json!(CLIENT))
    );
    assert_eq!(calls[1]["body"]["datasets"][0]["id"], dataset(15));
    sandbox
        .send(sandbox.request(Method::DELETE, "/sandbox/calls"))
        .await
        .is(204, "");
    assert_eq!(sandbox.get("/sandbox/calls").await.json(), json!([]));
}

#[tokio::test]
async fn faults_strike_as_often_as_asked() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let fault = json!([
        {"service": "power_bi", "path_contains": "groups", "skip": 1, "times": 1, "status": 429,
         "headers": {"Retry-After": "7"}, "body": {"message": "slow down"}},
        {"service": "power_bi", "method": "POST", "drop_connection": true},
        {"service": "power_bi", "path_contains": "capacities", "redirect_to": "https://evil.example/"},
        {"service": "idp", "path_contains": "jwks", "delay_ms": 1},
    ]);
    sandbox
        .control(Method::PUT, "/sandbox/faults", fault)
        .await
        .is(204, "");
    sandbox.api(&bearer, "", "groups").await.is(200, "");
    sandbox
        .api(&bearer, "", "groups")
        .await
        .is(429, "slow down");
    sandbox.api(&bearer, "", "groups").await.is(200, "");
    let dropped = sandbox
        .request(Method::POST, "/v1.0/myorg/GenerateToken")
        .bearer_auth(&bearer)
        .send()
        .await;
    assert!(dropped.is_err());
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    let url = format!("{}/v1.0/myorg/capacities", sandbox.upstream.url());
    let redirected = client
        .build()
        .unwrap()
        .get(url)
        .bearer_auth(&bearer)
        .send()
        .await
        .unwrap();
    assert_eq!(redirected.status(), 307);
    sandbox.get("/idp/jwks").await.is(200, "keys");
    sandbox
        .send(sandbox.request(Method::DELETE, "/sandbox/faults"))
        .await
        .is(204, "");
    sandbox
        .mint("", &shared(12, &Value::Null))
        .await
        .is(200, "token");
    sandbox
        .control(
            Method::PUT,
            "/sandbox/faults",
            json!([{"service": "idp", "stauts": 500}]),
        )
        .await
        .is(422, "stauts");
    let states: Vec<Value> = sandbox
        .get("/sandbox/calls")
        .await
        .json()
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["path"] == "/v1.0/myorg/GenerateToken")
        .map(|call| call["status"].clone())
        .collect();
    assert_eq!(states, [Value::Null, json!(200)]);
}

#[tokio::test]
async fn reports_come_and_go_by_the_control_path() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let twin = json!({"workspace": SHARED, "name": "Price List", "datasetId": dataset(12)});
    let id = sandbox
        .control(Method::POST, "/sandbox/reports", twin)
        .await
        .is(201, "id")
        .json();
    let list = sandbox
        .api(&bearer, "", &format!("groups/{SHARED}/reports"))
        .await
        .text;
    assert_eq!(list.matches(r#""name":"Price List""#).count(), 2);
    let path = format!("/sandbox/reports/{}", id["id"].as_str().unwrap());
    sandbox
        .control(Method::PATCH, &path, json!({"name": "Other"}))
        .await
        .is(204, "");
    sandbox
        .control(Method::PATCH, &path, json!({"nmae": "Other"}))
        .await
        .is(400, "nmae");
    sandbox
        .send(sandbox.request(Method::DELETE, &path))
        .await
        .is(204, "");
    sandbox
        .send(sandbox.request(Method::DELETE, &path))
        .await
        .is(404, "");
}

#[tokio::test]
async fn the_demo_reads_personas_and_edits_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, "items: {}\n").unwrap();
    let options = Options {
        policy_file: Some(policy.clone()),
        broker_url: Some("http://127.0.0.1:1".into()),
        ..Options::default()
    };
    let sandbox = Sandbox {
        upstream: Upstream::start(options).await.unwrap(),
        ..Sandbox::start().await
    };
    let state = sandbox.get("/sandbox/state").await.json();
    assert_eq!(state["personas"][0]["id"], "ana");
    assert_eq!(state["broker"], "http://127.0.0.1:1");
    sandbox.get("/sandbox/policy").await.is(200, "items: {}");
    let put = sandbox
        .request(Method::PUT, "/sandbox/policy")
        .body("rules: []\n");
    sandbox.send(put).await.is(204, "");
    assert_eq!(std::fs::read_to_string(&policy).unwrap(), "rules: []\n");
    for path in [
        "/",
        "/reportEmbed?reportId=x",
        "/rdlEmbed",
        "/dashboardEmbed",
        "/embed",
        "/qnaEmbed",
    ] {
        sandbox.get(path).await.is(200, "<!doctype html>");
    }
}

// === TLS, unpacking ===

#[tokio::test]
async fn tls_serves_the_same_under_microsofts_names() {
    let sandbox = Sandbox::start().await;
    let ca = reqwest::Certificate::from_pem(sandbox.upstream.ca_pem().as_bytes()).unwrap();
    let address = sandbox
        .upstream
        .tls_url()
        .strip_prefix("https://")
        .unwrap()
        .parse()
        .unwrap();
    let mut client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
    for host in [
        "app.powerbi.com",
        "api.powerbi.com",
        "login.microsoftonline.com",
    ] {
        client = client.resolve(host, address);
    }
    let client = client.build().unwrap();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
        ("scope", SCOPE),
    ];
    let port = address.port();
    let login = format!("https://login.microsoftonline.com:{port}/{TENANT}/oauth2/v2.0/token");
    let answer: Value = client
        .post(login)
        .form(&form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let bearer = answer["access_token"].as_str().unwrap();
    let groups = client
        .get(format!("https://api.powerbi.com:{port}/v1.0/myorg/groups"))
        .bearer_auth(bearer);
    assert_eq!(groups.send().await.unwrap().status(), 200);
    let page = client
        .get(format!("https://app.powerbi.com:{port}/reportEmbed"))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    let url = format!("{}/idp/jwks", sandbox.upstream.tls_url());
    assert!(
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(url)
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_stopped_sandbox_frees_its_port() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let address: std::net::SocketAddr = upstream
        .url()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    upstream.stop().await;
    assert!(tokio::net::TcpListener::bind(address).await.is_ok());
}

#[test]
fn unpacked_files_hold_the_real_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = Addresses {
        listen: "127.0.0.1:18080".parse().unwrap(),
        ops_listen: "127.0.0.1:19090".parse().unwrap(),
        upstream: "http://127.0.0.1:18090".to_owned(),
    };
    let unpacked = unpack(folder.path(), &addresses).unwrap();
    let broker = std::fs::read_to_string(unpacked.config).unwrap();
    for address in [
        "127.0.0.1:18080",
        "127.0.0.1:19090",
        "http://127.0.0.1:18090/idp",
    ] {
        assert!(broker.contains(address));
    }
    assert!(!broker.contains(":8080") && !broker.contains(":8090") && !broker.contains(":9090"));
    assert!(unpacked.policy.is_file());
}
