//! Keys of our own, and tokens with whatever header, claims and signature a test wants.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::PublicKeyData as _;
use serde_json::Value;
use time::OffsetDateTime;

/// A private key with the algorithm it usually signs by.
pub(crate) struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    public: Value,
    /// The public key as a `SubjectPublicKeyInfo`.
    pub(crate) spki: Vec<u8>,
}

pub(crate) static RSA: LazyLock<Signer> = LazyLock::new(rsa);
pub(crate) static OTHER_RSA: LazyLock<Signer> = LazyLock::new(rsa);
pub(crate) static P256: LazyLock<Signer> = LazyLock::new(|| {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = EncodingKey::from_ec_der(pair.serialized_der());
    Signer::new(key, Algorithm::ES256, &pair)
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
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.public.clone();
        jwk["kid"] = kid.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The public key as PEM.
    pub(crate) fn pem(&self) -> String {
        let text = STANDARD.encode(&self.spki);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// Signs whatever stands in header and payload.
    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        sign(
            &self.key,
            self.algorithm,
            &header.to_string(),
            &payload.to_string(),
        )
    }

    /// The same with texts, which may be no JSON.
    pub(crate) fn sign_text(&self, header: &str, payload: &str) -> String {
        sign(&self.key, self.algorithm, header, payload)
    }
}

/// HS256 with something public as the secret: the classic confusion of algorithms.
pub(crate) fn hmac(secret: &[u8], header: &Value, payload: &Value) -> String {
    sign(
        &EncodingKey::from_secret(secret),
        Algorithm::HS256,
        &header.to_string(),
        &payload.to_string(),
    )
}

/// Header and payload with a signature of one's own.
pub(crate) fn unsigned(header: &Value, payload: &Value, signature: &[u8]) -> String {
    let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Now and `seconds` more, as a `NumericDate`.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() + seconds
}

fn sign(key: &EncodingKey, algorithm: Algorithm, header: &str, payload: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}
