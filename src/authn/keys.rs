//! The verification keys of one issuer, and which of them a token may be checked with.
//!
//! A key counts only for what it is: the token's `alg` must fit its type and curve, its own `alg`, `use` and
//! `key_ops`. A faulty or unknown key is left out and the others go on. Symmetric keys in a key set are never used:
//! whoever can read the set could sign.
//!
//! A token without `kid` is accepted only when exactly one key fits its `alg`: guessing among several would hide a
//! rotation that went wrong. With a `kid`, no other key is tried.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

/// Shortest shared secret: the output of SHA-256 (RFC 7518, section 3.2).
const MIN_SHARED_SECRET: usize = 32;

/// Shortest RSA modulus, 2,048 bits (RFC 7518, section 3.3).
const MIN_MODULUS: usize = 256;

/// The keys of one issuer as they were read at one time.
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Why keys of the set were left out.
    skipped: Vec<&'static str>,
    read_at: Instant,
}

/// One verification key.
pub(super) struct Key {
    kid: Option<String>,
    kind: Kind,
    /// The only algorithm it is meant for, when it says so.
    algorithm: Option<Algorithm>,
    /// Microsoft's extension: the only issuer it signs for, possibly with `{tenantid}`.
    issuer: Option<String>,
    material: DecodingKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
    Shared,
}

/// What a key set says to a token's `alg` and `kid`.
pub(super) enum Pick<'a> {
    /// Keys that may have signed it; more than one only for shared secrets and for repeated ids.
    Keys(Vec<&'a Key>),
    /// A newer set might have the key.
    Unknown(&'static str),
    /// The key is there, and is not for this.
    Unfit(&'static str),
}

/// Not a JSON Web Key Set at all.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no JSON object with a list `keys`")]
pub(super) struct NotAKeySet;

impl KeySet {
    /// Reads a JSON Web Key Set.
    pub(super) fn parse(json: &[u8]) -> Result<Self, NotAKeySet> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }
        let jwks: Jwks = serde_json::from_slice(json).map_err(|_| NotAKeySet)?;
        let mut set = Self::empty();
        for jwk in &jwks.keys {
            match Key::from_jwk(jwk) {
                Ok(key) => set.keys.push(key),
                Err(reason) => set.skipped.push(reason),
            }
        }
        Ok(set)
    }

    /// The keys of a `jwks_file`; one that holds no usable key is somebody's mistake.
    pub(super) fn from_file(contents: &[SecretString]) -> Result<Self, String> {
        let mut all = Self::empty();
        for content in contents {
            let set = Self::parse(content.expose_secret().as_bytes())
                .map_err(|error| format!("it is {error}"))?;
            all.keys.extend(set.keys);
            all.skipped.extend(set.skipped);
        }
        if all.keys.is_empty() {
            let why = all
                .skipped
                .first()
                .map_or_else(String::new, |why| format!(" ({why})"));
            return Err(format!("it holds no usable key{why}"));
        }
        Ok(all)
    }

    /// Shared secrets, each of which may have signed.
    pub(super) fn from_shared_secrets(secrets: &[SecretString]) -> Result<Self, String> {
        let mut set = Self::empty();
        for secret in secrets {
            let bytes = secret.expose_secret().as_bytes();
            if bytes.len() < MIN_SHARED_SECRET {
                return Err(format!(
                    "the shared secret is shorter than {MIN_SHARED_SECRET} bytes"
                ));
            }
            set.keys.push(Key {
                kid: None,
                kind: Kind::Shared,
                algorithm: Some(Algorithm::HS256),
                issuer: None,
                material: DecodingKey::from_secret(bytes),
            });
        }
        Ok(set)
    }

    fn empty() -> Self {
        Self {
            keys: Vec::new(),
            skipped: Vec::new(),
            read_at: Instant::now(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn skipped(&self) -> &[&'static str] {
        &self.skipped
    }

    pub(super) fn age(&self) -> std::time::Duration {
        self.read_at.elapsed()
    }

    /// The keys that may have signed a token with this `alg` and `kid`.
    pub(super) fn pick(&self, algorithm: Algorithm, kid: Option<&str>) -> Pick<'_> {
        let Some(wanted) = Kind::of(algorithm) else {
            return Pick::Unfit("no key is for this algorithm");
        };
        let fits =
            |key: &&Key| key.kind == wanted && key.algorithm.is_none_or(|own| own == algorithm);
        if wanted == Kind::Shared {
            return Pick::Keys(self.keys.iter().filter(fits).collect());
        }
        let Some(kid) = kid else {
            let fitting: Vec<&Key> = self.keys.iter().filter(fits).collect();
            return match fitting.len() {
                0 => Pick::Unknown("no key fits the algorithm"),
                1 => Pick::Keys(fitting),
                _ => Pick::Unfit("the token names no key, and several fit"),
            };
        };
        let named = || {
            self.keys
                .iter()
                .filter(|key| key.kid.as_deref() == Some(kid))
        };
        if named().next().is_none() {
            return Pick::Unknown("the key id is unknown");
        }
        let fitting: Vec<&Key> = named().filter(fits).collect();
        if fitting.is_empty() {
            Pick::Unfit("the key is not for the token's algorithm")
        } else {
            Pick::Keys(fitting)
        }
    }
}

impl Key {
    /// Checks a signature over `signed`.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &str, signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.material, algorithm)
            .unwrap_or(false)
    }

    /// Whether the key signs for `issuer`, of which `template` (with `{tid}`) is the configured form.
    ///
    /// The keys at Microsoft's `common` endpoint name the issuer they belong to, and most name every tenant's
    /// (Microsoft identity platform, "Validate the signing key issuer").
    pub(super) fn signs_for(&self, issuer: &str, template: &str) -> bool {
        self.issuer
            .as_deref()
            .is_none_or(|own| own == issuer || own.replace("{tenantid}", "{tid}") == template)
    }

    fn from_jwk(jwk: &Value) -> Result<Self, &'static str> {
        let jwk = Jwk::deserialize(jwk).map_err(|_| "a key has a member of the wrong type")?;
        if jwk
            .purpose
            .as_deref()
            .is_some_and(|purpose| purpose != "sig")
        {
            return Err("a key is not for signatures (`use`)");
        }
        if jwk
            .key_ops
            .as_ref()
            .is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
        {
            return Err("a key is not for verification (`key_ops`)");
        }
        let (kind, material) = jwk.material()?;
        let algorithm = match jwk.alg.as_deref().map(str::parse::<Algorithm>) {
            None => None,
            Some(Ok(algorithm)) if Kind::of(algorithm) == Some(kind) => Some(algorithm),
            Some(_) => return Err("a key's `alg` is unknown or not for its type"),
        };
        Ok(Self {
            kid: jwk.kid,
            kind,
            algorithm,
            issuer: jwk.issuer,
            material,
        })
    }
}

/// The members of a JSON Web Key that we read (RFC 7517).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    issuer: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    fn material(&self) -> Result<(Kind, DecodingKey), &'static str> {
        let bytes = |member: &Option<String>| URL_SAFE_NO_PAD.decode(member.as_deref()?).ok();
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => match (bytes(&self.n), bytes(&self.e)) {
                (Some(n), Some(e)) if n.len() >= MIN_MODULUS && !e.is_empty() => {
                    Ok((Kind::Rsa, DecodingKey::from_rsa_raw_components(&n, &e)))
                }
                _ => Err("an RSA key is malformed or shorter than 2,048 bits"),
            },
            ("EC", Some("P-256")) => Ok((Kind::P256, point(bytes(&self.x), bytes(&self.y), 32)?)),
            ("EC", Some("P-384")) => Ok((Kind::P384, point(bytes(&self.x), bytes(&self.y), 48)?)),
            ("OKP", Some("Ed25519")) => match bytes(&self.x) {
                Some(x) if x.len() == 32 => Ok((Kind::Ed25519, DecodingKey::from_ed_der(&x))),
                _ => Err("an Ed25519 key is malformed"),
            },
            ("oct", _) => Err("a symmetric key in a public key set is never used"),
            _ => Err("a key is of a type or curve that is not supported"),
        }
    }
}

impl Kind {
    fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Some(Self::Rsa),
            Algorithm::ES256 => Some(Self::P256),
            Algorithm::ES384 => Some(Self::P384),
            Algorithm::EdDSA => Some(Self::Ed25519),
            Algorithm::HS256 => Some(Self::Shared),
            // The other HMACs, and whatever the library learns later: nobody configured it.
            _ => None,
        }
    }
}

/// An uncompressed point of a curve (SEC 1) whose coordinates have `size` bytes.
fn point(x: Option<Vec<u8>>, y: Option<Vec<u8>>, size: usize) -> Result<DecodingKey, &'static str> {
    match (x, y) {
        (Some(x), Some(y)) if x.len() == size && y.len() == size => {
            Ok(DecodingKey::from_ec_der(&[&[4], x.as_slice(), &y].concat()))
        }
        _ => Err("an EC key is malformed"),
    }
}
