//! Client certificates: PEM in, PS256 client assertion out.
//!
//! Format as in Microsoft's "Application authentication certificate credentials" (entra-docs
//! `certificate-credentials.md`, 2025-01-04). Not by `azure_identity`'s certificate credential: that links OpenSSL, takes
//! PKCS#12 only and signs RS256 with a SHA-1 thumbprint.
//!
//! A [`Certificate`] exists only when its key has signed once and belongs to the certificate. One that is changed for
//! something that fails this is not taken: the last good one goes on.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::config::Secret;

/// The longest that Microsoft's document allows.
const LIFE: time::Duration = time::Duration::minutes(10);

/// A key and the certificate chain that is registered for it.
pub(super) struct Certificate {
    key: EncodingKey,
    /// Base64 of each DER, the key's own certificate first.
    chain: Vec<String>,
    /// Base64url of the SHA-256 of the key's own certificate.
    thumbprint: String,
    not_after: OffsetDateTime,
}

/// A certificate that is parsed again when its PEM changes.
pub(super) struct Rotating {
    pem: Secret,
    password: Option<Secret>,
    parsed: Mutex<(u64, Arc<Certificate>)>,
}

/// Why a PEM cannot be used: the problem, a colon, the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemError {
    #[error("it is not PEM: convert a .pfx by `openssl pkcs12 -in x.pfx -out x.pem -nodes`")]
    NotPem,
    #[error("it holds no private key: put key and certificate into one file")]
    NoKey,
    #[error("it holds more than one private key: leave one")]
    ManyKeys,
    #[error("it holds no certificate: put key and certificate into one file")]
    NoCertificate,
    #[error("its key is encrypted: give `password`")]
    PasswordMissing,
    #[error(
        "its key does not open: check `password`, and encrypt as PKCS#8 (`openssl pkcs8 -topk8 -v2 aes256`)"
    )]
    PasswordWrong,
    #[error("its key cannot be used: take an RSA key of 2048 to 8192 bits, as PKCS#8 or PKCS#1")]
    UnusableKey,
    #[error("a certificate in it cannot be read: export it again")]
    UnreadableCertificate,
    #[error("none of its certificates belongs to its key: put the key's own certificate in")]
    Mismatch,
}

impl PemError {
    /// Problem and remedy.
    pub(super) fn split(self) -> (String, String) {
        let text = self.to_string();
        match text.split_once(": ") {
            Some((problem, remedy)) => (problem.into(), remedy.into()),
            None => (text, String::new()),
        }
    }
}

impl Certificate {
    /// Reads key and certificates, in any order.
    pub(super) fn parse(
        text: &SecretString,
        password: Option<&SecretString>,
    ) -> Result<Self, PemError> {
        let blocks = pem::parse_many(text.expose_secret()).map_err(|_| PemError::NotPem)?;
        let (keys, others): (Vec<_>, Vec<_>) = blocks
            .iter()
            .partition(|block| block.tag().ends_with("PRIVATE KEY"));
        let key = match keys.as_slice() {
            [key] => private_key(key, password)?,
            [] if others.is_empty() => return Err(PemError::NotPem),
            [] => return Err(PemError::NoKey),
            [..] => return Err(PemError::ManyKeys),
        };
        let pair = RsaKeyPair::from_der(&key).map_err(|_| PemError::UnusableKey)?;

        let mut chain = others
            .iter()
            .filter(|block| block.tag() == "CERTIFICATE")
            .map(|block| {
                X509Certificate::from_der(block.contents())
                    .map(|(_, certificate)| (block.contents(), certificate))
                    .map_err(|_| PemError::UnreadableCertificate)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if chain.is_empty() {
            return Err(PemError::NoCertificate);
        }
        let own = chain
            .iter()
            .position(|(_, certificate)| certifies(certificate, &pair))
            .ok_or(PemError::Mismatch)?;
        chain.swap(0, own);
        let (own_der, own) = &chain[0];

        let certificate = Self {
            key: EncodingKey::from_rsa_der(&key),
            thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(own_der)),
            not_after: own.validity().not_after.to_datetime(),
            chain: chain.iter().map(|(der, _)| STANDARD.encode(der)).collect(),
        };
        certificate.assertion("trial", "trial", OffsetDateTime::UNIX_EPOCH)?;
        Ok(certificate)
    }

    /// A signed statement, for `audience` (the token endpoint), that we are `client_id`.
    pub(super) fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: OffsetDateTime,
    ) -> Result<SecretString, PemError> {
        let header = Header {
            x5t_s256: Some(self.thumbprint.clone()),
            // Lets Entra check subject name and issuer, so that a renewed certificate needs no registration.
            x5c: Some(self.chain.clone()),
            ..Header::new(Algorithm::PS256)
        };
        let claims = serde_json::json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": uuid::Uuid::new_v4(),
            "iat": now.unix_timestamp(),
            "nbf": now.unix_timestamp(),
            "exp": (now + LIFE).unix_timestamp(),
        });
        jsonwebtoken::encode(&header, &claims, &self.key)
            .map(SecretString::from)
            .map_err(|_| PemError::UnusableKey)
    }

    pub(super) fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }
}

impl Rotating {
    pub(super) fn new(pem: &Secret, password: Option<&Secret>) -> Result<Self, PemError> {
        let version = version(pem, password);
        let certificate = parse(pem, password)?;
        Ok(Self {
            pem: pem.clone(),
            password: password.cloned(),
            parsed: Mutex::new((version, Arc::new(certificate))),
        })
    }

    pub(super) fn version(&self) -> u64 {
        version(&self.pem, self.password.as_ref())
    }

    pub(super) fn current(&self) -> Arc<Certificate> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.version();
        if parsed.0 != version {
            parsed.0 = version;
            match parse(&self.pem, self.password.as_ref()) {
                Ok(certificate) => parsed.1 = Arc::new(certificate),
                Err(error) => {
                    tracing::error!(source = ?self.pem, %error, "the new certificate is not taken, the former goes on");
                }
            }
        }
        Arc::clone(&parsed.1)
    }
}

fn version(pem: &Secret, password: Option<&Secret>) -> u64 {
    pem.version() + password.map_or(0, Secret::version)
}

fn parse(pem: &Secret, password: Option<&Secret>) -> Result<Certificate, PemError> {
    Certificate::parse(&pem.current(), password.map(Secret::current).as_ref())
}

/// Whether the certificate is for the public half of `pair`: both hold it as PKCS#1.
fn certifies(certificate: &X509Certificate<'_>, pair: &RsaKeyPair) -> bool {
    *certificate.public_key().subject_public_key.data == *pair.public_key().as_ref()
}

/// The PKCS#1 form of an RSA private key.
fn private_key(block: &pem::Pem, password: Option<&SecretString>) -> Result<Vec<u8>, PemError> {
    if block.headers().get("Proc-Type").is_some() {
        // OpenSSL's own encryption of before PKCS#8, with MD5.
        return Err(PemError::PasswordWrong);
    }
    match block.tag() {
        "RSA PRIVATE KEY" => Ok(block.contents().to_vec()),
        "PRIVATE KEY" => unwrap_pkcs8(block.contents()),
        "ENCRYPTED PRIVATE KEY" => {
            let password = password.ok_or(PemError::PasswordMissing)?;
            let opened = pkcs8::EncryptedPrivateKeyInfoRef::try_from(block.contents())
                .map_err(|_| PemError::PasswordWrong)?
                .decrypt(password.expose_secret())
                .map_err(|_| PemError::PasswordWrong)?;
            unwrap_pkcs8(opened.as_bytes())
        }
        _ => Err(PemError::UnusableKey),
    }
}

fn unwrap_pkcs8(der: &[u8]) -> Result<Vec<u8>, PemError> {
    pkcs8::PrivateKeyInfoRef::try_from(der)
        .map(|info| info.private_key.as_bytes().to_vec())
        .map_err(|_| PemError::UnusableKey)
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Certificate({}, until {})",
            self.thumbprint, self.not_after
        )
    }
}
