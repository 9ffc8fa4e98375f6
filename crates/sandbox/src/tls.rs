//! Certificates of the sandbox: its own authority and server certificate, and one that a principal may sign in with.
//!
//! Everything is made anew by each process and lives in memory, so no private key is ever shipped.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::state::locked;

/// The names under which the simulated services are reached over TLS.
pub(super) const NAMES: [&str; 5] = [
    "app.powerbi.com",
    "api.powerbi.com",
    "login.microsoftonline.com",
    "localhost",
    "127.0.0.1",
];

/// A server's configuration and the authority that vouches for it.
pub(super) struct Server {
    pub(super) config: Arc<rustls::ServerConfig>,
    pub(super) ca_pem: String,
}

/// The certificate registered for the first app; for tests of certificate credentials.
pub(super) struct ClientCertificate {
    /// Key and certificate, as `client_certificate` credentials want them.
    pub(super) pem: String,
    /// `x5t#S256`.
    pub(super) thumbprint: String,
    pub(super) public: DecodingKey,
}

/// A certificate for `name` that vouches for itself, and its key, both as PEM: for a gateway in front of brokers.
///
/// # Errors
/// When `name` cannot stand in a certificate.
pub fn self_signed_certificate(name: &str) -> anyhow::Result<[String; 2]> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])
        .with_context(|| format!("no certificate can be made for {name}"))?;
    Ok([made.cert.pem(), made.signing_key.serialize_pem()])
}

impl Server {
    /// `public_url` is a further place where the server is reached.
    pub(super) fn new(public_url: Option<&str>) -> anyhow::Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name
            .push(rcgen::DnType::CommonName, "embed-broker sandbox CA");
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate()?;
        let mut names = NAMES.map(str::to_owned).to_vec();
        if let Some(url) = public_url {
            let url = Url::parse(url).context("the public URL")?;
            names.push(
                url.host_str()
                    .context("a public URL has a host")?
                    .to_owned(),
            );
        }
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            ca_pem,
        })
    }
}

/// An RSA key is slow to make, so the process has one certificate, made when somebody asks for it.
static CLIENT: Mutex<Option<Arc<ClientCertificate>>> = Mutex::new(None);

impl ClientCertificate {
    pub(super) fn get() -> anyhow::Result<Arc<Self>> {
        let mut client = locked(&CLIENT);
        match &*client {
            Some(made) => Ok(Arc::clone(made)),
            None => Ok(Arc::clone(client.insert(Arc::new(Self::new()?)))),
        }
    }

    fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
        let certificate = CertificateParams::default().self_signed(&key)?;
        let jwk =
            Jwk::from_encoding_key(&rsa_signing_key(&key.serialize_der())?, Algorithm::PS256)?;
        Ok(Self {
            pem: format!("{}{}", key.serialize_pem(), certificate.pem()),
            thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(certificate.der())),
            public: DecodingKey::from_jwk(&jwk)?,
        })
    }
}

/// A signing key of a PKCS#8 RSA key.
pub(super) fn rsa_signing_key(pkcs8: &[u8]) -> anyhow::Result<EncodingKey> {
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(pkcs8)
    );
    EncodingKey::from_rsa_pem(pem.as_bytes()).context("an RSA key of the sandbox")
}
