//! The simulated Entra token endpoint: client secret, client assertion and password, with AADSTS codes.
//!
//! Bodies look as in Microsoft's reference, line breaks in `error_description` included, because a client that
//! cannot read those loses the code. Tokens look like JWTs but count only because they are remembered here.

mod assertion;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::seed::{App, Entra, Seed};
use super::state::{AccessToken, Shared, locked};
use super::world::{Caller, CallerKind};

/// What app-only tokens for Power BI are asked with, in any cloud.
const SCOPE_END: &str = "/powerbi/api/.default";

/// Lifetime of a token unless a test says otherwise, in seconds.
const EXPIRES_IN: i64 = 3599;

/// Longest lifetime that a test may set, in seconds: a year.
const MAX_LIFE: i64 = 31_536_000;

/// The endpoint's registrations as they are now.
pub(super) struct Settings {
    entra: Entra,
    expires_in: i64,
}

/// `PUT /sandbox/entra`: what to change; without `client_id` in the first app.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    client_id: Option<String>,
    expires_in: Option<i64>,
    secret: Option<String>,
    secrets: Option<Vec<String>>,
    expired_secrets: Option<Vec<String>>,
    disabled: Option<bool>,
}

/// A refusal: AADSTS code, `error`, and the text after the code.
#[derive(Debug)]
struct Refusal {
    code: u32,
    error: &'static str,
    text: String,
}

type Form = HashMap<String, String>;

impl Settings {
    pub(super) fn new(seed: &Seed) -> Self {
        Self {
            entra: seed.entra.clone(),
            expires_in: EXPIRES_IN,
        }
    }

    /// # Errors
    /// When there is no such app.
    pub(super) fn change(&mut self, change: Change) -> Result<(), String> {
        let expires_in = change.expires_in.unwrap_or(self.expires_in);
        self.expires_in = expires_in.clamp(-MAX_LIFE, MAX_LIFE);
        let app = match &change.client_id {
            None => self.entra.apps.first_mut(),
            Some(id) => self.entra.apps.iter_mut().find(|app| app.client_id == *id),
        };
        let app = app.ok_or("no app with this client_id")?;
        let secrets = change.secrets.or(change.secret.map(|secret| vec![secret]));
        app.secrets = secrets.unwrap_or_else(|| app.secrets.clone());
        app.expired_secrets = change
            .expired_secrets
            .unwrap_or_else(|| app.expired_secrets.clone());
        app.disabled = change.disabled.unwrap_or(app.disabled);
        Ok(())
    }
}

pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form: Form = url::form_urlencoded::parse(&body).into_owned().collect();
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    let outcome = if is_form {
        sign_in(&shared, &tenant, &form)
    } else {
        refuse(
            900_144,
            "invalid_request",
            "The request body must be a form.",
        )
    };
    match outcome {
        Ok((caller, principal)) => granted(&shared, &tenant, caller, principal),
        Err(refusal) => refusal.into_response(),
    }
}

/// Who signs in by this form.
fn sign_in(shared: &Shared, tenant: &str, form: &Form) -> Result<(Caller, String), Refusal> {
    let settings = locked(&shared.entra);
    let grant_type = field(form, "grant_type");
    let by_password = grant_type == "password";
    let known = settings
        .entra
        .tenants
        .iter()
        .any(|known| known.eq_ignore_ascii_case(tenant));
    let usable = known || (by_password && tenant == "organizations");
    if !usable {
        return refuse(
            90_002,
            "invalid_request",
            &format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
            ),
        );
    }
    let app = app_of(&settings.entra, form)?;
    match grant_type {
        "client_credentials" => {
            check_scope(field(form, "scope"), |scope| scope.ends_with(SCOPE_END))?;
            check_app(shared, tenant, app, form)?;
            Ok((
                caller(CallerKind::App, &app.object_id),
                app.client_id.clone(),
            ))
        }
        "password" => {
            check_scope(field(form, "scope"), |scope| {
                scope.contains("/powerbi/api/") || OIDC_SCOPES.contains(&scope)
            })?;
            let name = check_user(&settings.entra, form)?;
            Ok((caller(CallerKind::MasterUser, &name), name))
        }
        other => refuse(
            70_003,
            "unsupported_grant_type",
            &format!("The app requested an unsupported grant type '{other}'."),
        ),
    }
}

fn app_of<'a>(entra: &'a Entra, form: &Form) -> Result<&'a App, Refusal> {
    let client_id = field(form, "client_id");
    let Some(app) = entra
        .apps
        .iter()
        .find(|app| app.client_id.eq_ignore_ascii_case(client_id))
    else {
        return refuse(
            700_016,
            "unauthorized_client",
            &format!(
                "Application with identifier '{client_id}' was not found in the directory 'Sandbox'."
            ),
        );
    };
    if app.disabled {
        return refuse(
            7_000_112,
            "unauthorized_client",
            &format!("Application '{client_id}' is disabled."),
        );
    }
    Ok(app)
}

const OIDC_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

fn check_scope(scope: &str, fits: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let mut scopes = scope
        .split(' ')
        .filter(|scope| !scope.is_empty())
        .peekable();
    if scopes.peek().is_some() && scopes.all(fits) {
        return Ok(());
    }
    refuse(
        70_011,
        "invalid_scope",
        &format!(
            "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid."
        ),
    )
}

fn check_app(shared: &Shared, tenant: &str, app: &App, form: &Form) -> Result<(), Refusal> {
    let id = &app.client_id;
    if form.contains_key("client_assertion") {
        return assertion::check(shared, tenant, app, form);
    }
    match form.get("client_secret") {
        None => refuse(
            7_000_218,
            "invalid_client",
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ),
        Some(secret) if app.secrets.contains(secret) => Ok(()),
        Some(secret) if app.expired_secrets.contains(secret) => refuse(
            7_000_222,
            "invalid_client",
            &format!(
                "The provided client secret keys for app '{id}' are expired. Visit the Azure portal to create new keys for your app."
            ),
        ),
        Some(_) => refuse(
            7_000_215,
            "invalid_client",
            &format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{id}'."
            ),
        ),
    }
}

fn check_user(entra: &Entra, form: &Form) -> Result<String, Refusal> {
    let name = field(form, "username");
    let user = entra
        .users
        .iter()
        .find(|user| user.name.eq_ignore_ascii_case(name));
    match user {
        None => refuse(
            50_034,
            "invalid_grant",
            "The user account does not exist in the directory.",
        ),
        Some(user) if user.password != field(form, "password") => refuse(
            50_126,
            "invalid_grant",
            "Error validating credentials due to invalid username or password.",
        ),
        Some(user) if user.mfa => refuse(
            50_076,
            "invalid_grant",
            "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication.",
        ),
        Some(user) => Ok(user.name.clone()),
    }
}

fn granted(shared: &Shared, tenant: &str, caller: Caller, principal: String) -> Response {
    let expires_in = locked(&shared.entra).expires_in;
    let expires = OffsetDateTime::now_utc() + Duration::seconds(expires_in);
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let claims = json!({
        "aud": "https://analysis.windows.net/powerbi/api", "tid": tenant, "appid": principal, "oid": caller.who,
        "exp": expires.unix_timestamp(), "uti": uuid::Uuid::new_v4(),
    });
    let signature: [u8; 32] = rand::random();
    let token = format!(
        "{}.{}.{}",
        encode(br#"{"typ":"JWT","alg":"RS256","kid":"entra"}"#),
        encode(claims.to_string().as_bytes()),
        encode(&signature)
    );
    let access_token = AccessToken {
        caller,
        principal,
        expires,
    };
    locked(&shared.access_tokens).insert(token.clone(), access_token);
    let body = json!({
        "token_type": "Bearer", "expires_in": expires_in, "ext_expires_in": expires_in, "access_token": token,
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (trace, correlation) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let timestamp = OffsetDateTime::now_utc()
            .format(time::macros::format_description!(
                "[year]-[month]-[day] [hour]:[minute]:[second]Z"
            ))
            .unwrap_or_default();
        let (code, text) = (self.code, self.text);
        let body: Value = json!({
            "error": self.error,
            "error_description": format!("AADSTS{code}: {text}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {timestamp}"),
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        let status = match self.error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, Json(body)).into_response()
    }
}

fn refuse<T>(code: u32, error: &'static str, text: &str) -> Result<T, Refusal> {
    Err(Refusal {
        code,
        error,
        text: text.to_owned(),
    })
}

fn caller(kind: CallerKind, who: &str) -> Caller {
    Caller {
        kind,
        who: who.to_owned(),
        profile: None,
    }
}

fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    form.get(name).map(String::as_str).unwrap_or_default()
}
