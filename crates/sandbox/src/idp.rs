//! The OIDC issuer of the demo app: discovery, keys, and a token for each persona.
//!
//! `GET /idp/token?persona=ana` answers with a JWT as text. For tests, `expires_in`, `audience` and `claims` (JSON,
//! merged; null removes) bend it. Keys can be rotated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::state::{Shared, locked};

/// The audience of the demo app's tokens.
pub(super) const AUDIENCE: &str = "embed-broker";

/// Life of a token, in seconds.
const LIFETIME: i64 = 3600;

/// The issuer's keys; the first one signs.
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Number of the next key.
    next: u32,
}

struct Key {
    kid: String,
    signing: EncodingKey,
    public: Jwk,
}

/// An RSA key is slow to make, so every instance of the process starts with the same one.
static FIRST: Mutex<Option<Vec<u8>>> = Mutex::new(None);

impl Keys {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut first = locked(&FIRST);
        let der = match &*first {
            Some(der) => der.clone(),
            None => first.insert(generate()?).clone(),
        };
        Ok(Self {
            keys: vec![Key::new("sandbox-1", &der)?],
            next: 2,
        })
    }

    /// A new key signs from now on; the old ones are withdrawn unless `keep`.
    fn rotate(&mut self, keep: bool) -> anyhow::Result<String> {
        let key = Key::new(&format!("sandbox-{}", self.next), &generate()?)?;
        let kid = key.kid.clone();
        self.next += 1;
        if !keep {
            self.keys.clear();
        }
        self.keys.insert(0, key);
        self.keys.truncate(4);
        Ok(kid)
    }

    fn sign(&self, claims: &Map<String, Value>) -> anyhow::Result<String> {
        let key = self.keys.first().context("the issuer has no key")?;
        let header = Header {
            kid: Some(key.kid.clone()),
            ..Header::new(Algorithm::RS256)
        };
        Ok(jsonwebtoken::encode(&header, claims, &key.signing)?)
    }

    /// The public key named `kid`.
    pub(super) fn public(&self, kid: Option<&str>) -> Option<&Jwk> {
        let named = |key: &&Key| Some(key.kid.as_str()) == kid;
        self.keys.iter().find(named).map(|key| &key.public)
    }
}

impl Key {
    fn new(kid: &str, pkcs8: &[u8]) -> anyhow::Result<Self> {
        let signing = super::tls::rsa_signing_key(pkcs8)?;
        let mut public = Jwk::from_encoding_key(&signing, Algorithm::RS256)?;
        public.common.key_id = Some(kid.to_owned());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            kid: kid.to_owned(),
            signing,
            public,
        })
    }
}

/// A new RSA key, PKCS#8.
fn generate() -> anyhow::Result<Vec<u8>> {
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
    Ok(pair.serialize_der())
}

pub(super) async fn discovery(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let issuer = format!("{}/idp", shared.url);
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks"),
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

pub(super) async fn jwks(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let keys = locked(&shared.keys);
    let public: Vec<&Jwk> = keys.keys.iter().map(|key| &key.public).collect();
    Json(json!({ "keys": public }))
}

pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    match claims(&shared, &query) {
        Err(problem) => (StatusCode::BAD_REQUEST, problem).into_response(),
        Ok(claims) => match locked(&shared.keys).sign(&claims) {
            Ok(token) => token.into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        },
    }
}

pub(super) async fn rotate(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let keep = query.get("keep").is_some_and(|keep| keep == "true");
    match locked(&shared.keys).rotate(keep) {
        Ok(kid) => Json(json!({ "kid": kid })).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The claims that the query asks for.
fn claims(shared: &Shared, query: &HashMap<String, String>) -> Result<Map<String, Value>, String> {
    const KNOWN: [&str; 4] = ["persona", "expires_in", "audience", "claims"];
    if let Some(unknown) = query.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!(
            "unknown parameter {unknown}; known: {}",
            KNOWN.join(", ")
        ));
    }
    let persona = query.get("persona").map_or("", String::as_str);
    let known = &shared.seed.personas;
    let persona = known
        .iter()
        .find(|known| known.id == persona)
        .ok_or_else(|| {
            let ids: Vec<&str> = known.iter().map(|persona| persona.id.as_str()).collect();
            format!("persona must be one of {}", ids.join(", "))
        })?;
    let expires_in = match query.get("expires_in") {
        None => LIFETIME,
        Some(text) => text
            .parse()
            .map_err(|_| "expires_in must be a number of seconds")?,
    };
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut claims = persona.claims.clone();
    claims.extend([
        ("iss".to_owned(), json!(format!("{}/idp", shared.url))),
        (
            "aud".to_owned(),
            json!(query.get("audience").map_or(AUDIENCE, String::as_str)),
        ),
        ("name".to_owned(), json!(persona.name)),
        ("iat".to_owned(), json!(now)),
        ("exp".to_owned(), json!(now.saturating_add(expires_in))),
        ("jti".to_owned(), json!(uuid::Uuid::new_v4())),
    ]);
    if let Some(text) = query.get("claims") {
        let extra: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| format!("claims must be a JSON object: {error}"))?;
        for (name, value) in extra {
            match value {
                Value::Null => claims.remove(&name),
                value => claims.insert(name, value),
            };
        }
    }
    Ok(claims)
}
