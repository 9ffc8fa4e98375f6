//! Keys, tokens and a loopback identity provider for the tests of this module.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::authn::{BearerToken, Caller, Error, Verifier};
use crate::config;
use crate::outbound::Outbound;

/// The time of all tests.
pub(super) const NOW: i64 = 1_800_000_000;

/// A private key with the algorithm it usually signs by.
pub(super) struct Signer {
    pub(super) key: EncodingKey,
    algorithm: Algorithm,
    public: Value,
    /// The public key as a `SubjectPublicKeyInfo`.
    pub(super) spki: Vec<u8>,
}

pub(super) static RSA: LazyLock<Signer> = LazyLock::new(rsa);
pub(super) static OTHER_RSA: LazyLock<Signer> = LazyLock::new(rsa);
pub(super) static P256: LazyLock<Signer> = LazyLock::new(|| {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = EncodingKey::from_ec_der(pair.serialized_der());
    Signer::new(key, Algorithm::ES256, &pair)
});
pub(super) static P384: LazyLock<Signer> = LazyLock::new(|| {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let key = EncodingKey::from_ec_der(pair.serialized_der());
    Signer::new(key, Algorithm::ES384, &pair)
});
pub(super) static ED25519: LazyLock<Signer> = LazyLock::new(|| {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
    Signer {
        key: EncodingKey::from_ed_der(pair.serialized_der()),
        algorithm: Algorithm::EdDSA,
        public: json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
        spki: pair.subject_public_key_info(),
    }
});

fn rsa() -> Signer {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
    Signer::new(key, Algorithm::RS256, &pair)
}

impl Signer {
    fn new(key: EncodingKey, algorithm: Algorithm, pair: &rcgen::KeyPair) -> Self {
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, algorithm).unwrap();
        let mut public = serde_json::to_value(jwk).unwrap();
        public.as_object_mut().unwrap().remove("alg");
        Self {
            key,
            algorithm,
            public,
            spki: pair.subject_public_key_info(),
        }
    }

    /// The public key, as Entra publishes it: with `use`, without `alg`.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.public.clone();
        let members = jwk.as_object_mut().unwrap();
        members.insert("kid".into(), kid.into());
        members.insert("use".into(), "sig".into());
        jwk
    }

    /// Signs whatever stands in header and payload.
    pub(super) fn sign(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        sign(&self.key, algorithm, header, payload)
    }

    /// A token with this key id.
    pub(super) fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm, "typ": "JWT", "kid": kid});
        self.sign(self.algorithm, &header.to_string(), &claims.to_string())
    }
}

pub(super) fn sign(key: &EncodingKey, algorithm: Algorithm, header: &str, payload: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// Good claims of `issuer`, with `changes` merged in; null removes a claim.
pub(super) fn claims(issuer: &str, changes: &Value) -> Value {
    let mut claims = json!({"iss": issuer, "aud": "embed-broker", "sub": "u1", "exp": NOW + 600});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// An identity provider on loopback that counts who asks it for what.
pub(super) struct Idp {
    /// Its address, which is its issuer.
    pub(super) url: String,
    state: Arc<Idps>,
}

struct Idps {
    keys: Mutex<String>,
    discovery: Mutex<Value>,
    down: AtomicBool,
    /// Whether it takes requests and does not answer.
    hanging: tokio::sync::watch::Sender<bool>,
    key_fetches: AtomicUsize,
    /// Calls to anything that only a token named.
    strays: AtomicUsize,
}

impl Idp {
    pub(super) async fn start(keys: &[Value]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Idps {
            keys: Mutex::default(),
            discovery: Mutex::new(json!({"issuer": url, "jwks_uri": format!("{url}/jwks")})),
            down: AtomicBool::new(false),
            hanging: tokio::sync::watch::Sender::new(false),
            key_fetches: AtomicUsize::new(0),
            strays: AtomicUsize::new(0),
        });
        let app = axum::Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route(
                "/common/v2.0/.well-known/openid-configuration",
                get(discovery),
            )
            .route("/jwks", get(jwks))
            .route(
                "/moved",
                get(|| async { (StatusCode::FOUND, [("location", "/jwks")]) }),
            )
            .fallback(|State(state): State<Arc<Idps>>| async move {
                state.strays.fetch_add(1, SeqCst);
                StatusCode::NOT_FOUND
            })
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let idp = Self { url, state };
        idp.publish(keys);
        idp
    }

    pub(super) fn publish(&self, keys: &[Value]) {
        self.publish_text(json!({"keys": keys}).to_string());
    }

    pub(super) fn publish_text(&self, text: String) {
        *self.state.keys.lock().unwrap() = text;
    }

    pub(super) fn discovery(&self, document: Value) {
        *self.state.discovery.lock().unwrap() = document;
    }

    pub(super) fn set_down(&self, down: bool) {
        self.state.down.store(down, SeqCst);
    }

    pub(super) fn set_hanging(&self, hanging: bool) {
        self.state.hanging.send_replace(hanging);
    }

    pub(super) fn key_fetches(&self) -> usize {
        self.state.key_fetches.load(SeqCst)
    }

    pub(super) fn strays(&self) -> usize {
        self.state.strays.load(SeqCst)
    }

    /// Configuration of an issuer whose keys are here, changed by `changes`.
    pub(super) fn issuer(&self, name: &str, changes: &Value) -> config::Issuer {
        let mut issuer = json!({"name": name, "issuer": self.url, "audiences": ["embed-broker"]});
        issuer
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        serde_json::from_value(issuer).unwrap()
    }
}

async fn discovery(State(state): State<Arc<Idps>>) -> Response {
    if state.down.load(SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    Json(state.discovery.lock().unwrap().clone()).into_response()
}

async fn jwks(State(state): State<Arc<Idps>>) -> Response {
    state.key_fetches.fetch_add(1, SeqCst);
    let mut hanging = state.hanging.subscribe();
    hanging.wait_for(|hanging| !hanging).await.unwrap();
    if state.down.load(SeqCst) {
        // A body that would be good, so that only the status tells.
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            state.keys.lock().unwrap().clone(),
        )
            .into_response();
    }
    state.keys.lock().unwrap().clone().into_response()
}

pub(super) fn authn(issuers: Vec<config::Issuer>) -> config::Authn {
    config::Authn {
        issuers,
        ..config::Authn::default()
    }
}

pub(super) fn outbound() -> Outbound {
    Outbound::new(&config::Tls::default()).unwrap()
}

pub(super) fn verifier(issuers: Vec<config::Issuer>) -> Verifier {
    Verifier::new(&authn(issuers), &outbound(), None).unwrap()
}

/// Verifies `token` and remembers its caller, as the broker does.
pub(super) async fn verify(verifier: &Verifier, token: &str) -> Result<Caller, Error> {
    let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
    verifier
        .verify(&BearerToken::new(token.to_owned()), now)
        .await
        .inspect(|caller| verifier.remember(caller))
}

/// Why a token is refused as invalid.
#[track_caller]
pub(super) fn reason(outcome: Result<Caller, Error>) -> String {
    match outcome {
        Err(Error::Invalid { reason }) => reason,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("the token was accepted"),
    }
}

/// A shared secret, as the configuration resolves it.
pub(super) fn shared_secret(text: &str) -> config::Secret {
    let issuer: config::Issuer = serde_json::from_value(json!({"hmac_secret": text})).unwrap();
    config::Secret::inline(&issuer.hmac_secret.unwrap())
}
