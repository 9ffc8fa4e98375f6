//! Each kind of credential against a token endpoint on loopback.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Parameters};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::datetime;

use super::support::{
    Answer, CLIENT, Entra, Log, SecretFile, TENANT, client_secret, json_of, principal, skip, store,
    text, try_store,
};
use crate::config;

const NOT_AFTER: OffsetDateTime = datetime!(2031-05-06 07:08:09 UTC);

/// As `openssl pkcs8 -topk8` and `openssl req` encrypt.
const AES: EncryptionScheme = EncryptionScheme::Aes256Cbc { iv: [7; 16] };
const DES3: EncryptionScheme = EncryptionScheme::DesEde3Cbc { iv: [7; 8] };

/// A key with its certificate.
struct Pair {
    key: KeyPair,
    certificate: rcgen::Certificate,
}

static RSA: LazyLock<Pair> = LazyLock::new(|| pair(&rcgen::PKCS_RSA_SHA256));
static OTHER: LazyLock<Pair> = LazyLock::new(|| pair(&rcgen::PKCS_RSA_SHA256));
static ELLIPTIC: LazyLock<Pair> = LazyLock::new(|| pair(&rcgen::PKCS_ECDSA_P256_SHA256));

fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> Pair {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::new(vec!["broker.example.com".into()]).unwrap();
    params.not_after = NOT_AFTER;
    let certificate = params.self_signed(&key).unwrap();
    Pair { key, certificate }
}

impl Pair {
    fn pem(&self) -> String {
        self.key.serialize_pem() + &self.certificate.pem()
    }

    fn encrypted(&self, password: &str, encryption: EncryptionScheme) -> String {
        let info = pkcs8::PrivateKeyInfoRef::try_from(self.key.serialized_der()).unwrap();
        let mut params =
            Parameters::generate_pbkdf2_sha256_aes256cbc(1000, b"salt salt", [0; 16]).unwrap();
        params.encryption = encryption;
        let der = info.encrypt_with_params(params, password).unwrap();
        pem::encode(&pem::Pem::new("ENCRYPTED PRIVATE KEY", der.as_bytes()))
            + &self.certificate.pem()
    }
}

fn certificate(pem: &SecretFile, password: Option<&SecretFile>) -> config::Credential {
    config::Credential::ClientCertificate(config::ClientCertificate {
        certificate_file: Some("cert.pem".into()),
        resolved: pem.secret.clone(),
        resolved_password: password.map(|password| password.secret.clone()),
        ..config::ClientCertificate::default()
    })
}

fn master_user(password: &SecretFile) -> config::Credential {
    config::Credential::MasterUser(config::MasterUser {
        username: "bi@contoso.com".into(),
        resolved: password.secret.clone(),
        ..config::MasterUser::default()
    })
}

fn workload(file: &std::path::Path) -> config::Credential {
    config::Credential::WorkloadIdentity(config::WorkloadIdentity {
        token_file: Some(file.into()),
    })
}

/// Checks an assertion as Entra does; its claims.
fn verify(assertion: &str, pair: &Pair) -> Value {
    let header = json_of(assertion.split('.').next().unwrap());
    let der = pair.certificate.der();
    assert_eq!(header["alg"], "PS256");
    assert_eq!(header["typ"], "JWT");
    assert_eq!(
        header["x5t#S256"],
        URL_SAFE_NO_PAD.encode(Sha256::digest(der))
    );
    assert_eq!(header["x5c"][0], STANDARD.encode(der));
    let key =
        jsonwebtoken::DecodingKey::from_rsa_pem(pair.key.public_key_pem().as_bytes()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::PS256);
    rules.validate_aud = false;
    jsonwebtoken::decode::<Value>(assertion, &key, &rules)
        .unwrap()
        .claims
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_that_entra_can_verify() {
    let entra = Entra::start().await;
    let pem = SecretFile::new(&RSA.pem());
    let tokens = store(&entra, vec![certificate(&pem, None)], 1800);
    let token = tokens.with_life("default").await.unwrap();
    let first = entra.last().form;
    tokens.instead_of("default", &token).await.unwrap();
    let second = entra.last().form;

    assert_eq!(first["grant_type"], "client_credentials");
    assert_eq!(
        first["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert!(!first.contains_key("client_secret"));
    let claims = verify(&first["client_assertion"], &RSA);
    let endpoint = entra
        .url()
        .join(&format!("{TENANT}/oauth2/v2.0/token"))
        .unwrap();
    assert_eq!(claims["aud"], endpoint.as_str());
    assert_eq!(claims["iss"], CLIENT);
    assert_eq!(claims["sub"], CLIENT);
    let life = claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap();
    assert!((1..=600).contains(&life));
    let again = verify(&second["client_assertion"], &RSA);
    assert_ne!(claims["jti"], again["jti"], "no assertion is used twice");

    let status = &tokens.status()["default"];
    assert_eq!(status.credentials[0].expires_at, Some(NOT_AFTER));
}

#[tokio::test]
async fn the_keys_own_certificate_leads_the_chain_wherever_it_stands() {
    let entra = Entra::start().await;
    let text = OTHER.certificate.pem() + &RSA.pem() + &ELLIPTIC.certificate.pem();
    let pem = SecretFile::new(&text);
    let tokens = store(&entra, vec![certificate(&pem, None)], 1800);
    tokens.with_life("default").await.unwrap();
    verify(&entra.last().form["client_assertion"], &RSA);
}

#[tokio::test]
async fn a_key_under_a_password_opens() {
    let entra = Entra::start().await;
    let password = SecretFile::new("opensesame");
    for encryption in [AES, DES3] {
        let pem = SecretFile::new(&RSA.encrypted("opensesame", encryption));
        let tokens = store(&entra, vec![certificate(&pem, Some(&password))], 1800);
        tokens.with_life("default").await.unwrap();
        verify(&entra.last().form["client_assertion"], &RSA);
    }
}

#[test]
fn a_pem_that_can_never_work_is_refused_at_load_with_its_remedy() {
    let key = RSA.key.serialize_pem();
    let encrypted = RSA.encrypted("opensesame", AES);
    let wrong = SecretFile::new("guess");
    let mangled = format!("{key}-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let mut damaged = RSA.key.serialized_der().to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let damaged = pem::encode(&pem::Pem::new("PRIVATE KEY", damaged));
    let old_style = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";
    for (text, password, expected) in [
        ("not PEM at all".to_owned(), None, "openssl pkcs12"),
        (key.clone(), None, "no certificate"),
        (RSA.certificate.pem(), None, "no private key"),
        (
            OTHER.key.serialize_pem() + &RSA.pem(),
            None,
            "more than one",
        ),
        (
            key.clone() + &OTHER.certificate.pem(),
            None,
            "belongs to its key",
        ),
        (ELLIPTIC.pem(), None, "RSA key of 2048"),
        (mangled, None, "cannot be read"),
        (damaged + &RSA.certificate.pem(), None, "RSA key of 2048"),
        (encrypted.clone(), None, "give `password`"),
        (encrypted, Some(&wrong), "check `password`"),
        (
            old_style.to_owned() + &RSA.certificate.pem(),
            Some(&wrong),
            "pkcs8 -topk8",
        ),
    ] {
        let pem = SecretFile::new(&text);
        let authority = "https://login.example.com/".parse().unwrap();
        let principal = principal(&authority, vec![certificate(&pem, password)]);
        let mistakes = try_store(principal, 60).err().unwrap();
        assert_eq!(
            mistakes[0].place,
            "principals.default.credentials[0].certificate_file"
        );
        let shown = mistakes[0].to_string();
        assert!(shown.contains(expected), "{expected}: {shown}");
        assert!(!mistakes[0].remedy.is_empty(), "{shown}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_faulty_one_is_not() {
    let entra = Entra::start().await;
    let log = Log::start(tracing::Level::ERROR);
    let pem = SecretFile::new(&RSA.pem());
    let tokens = store(&entra, vec![certificate(&pem, None)], 1800);
    let token = tokens.with_life("default").await.unwrap();
    pem.change(&OTHER.key.serialize_pem());
    let token = tokens.instead_of("default", &token).await.unwrap();
    verify(&entra.last().form["client_assertion"], &RSA);
    assert_eq!(log.count("the former goes on"), 1);
    pem.change(&OTHER.pem());
    tokens.instead_of("default", &token).await.unwrap();
    verify(&entra.last().form["client_assertion"], &OTHER);
}

#[test]
fn an_expiry_that_is_no_date_is_refused_at_load() {
    let secret = SecretFile::new("s");
    let config::Credential::ClientSecret(mut settings) = client_secret(&secret) else {
        unreachable!()
    };
    settings.expires = Some("next year".into());
    let authority = "https://login.example.com/".parse().unwrap();
    let faulty = vec![config::Credential::ClientSecret(settings.clone())];
    let mistakes = try_store(principal(&authority, faulty), 60).err().unwrap();
    assert_eq!(
        mistakes[0].place,
        "principals.default.credentials[0].expires"
    );
    settings.expires = Some("2027-01-31T00:00:00Z".into());
    let good = vec![config::Credential::ClientSecret(settings)];
    let tokens = try_store(principal(&authority, good), 60).unwrap();
    assert_eq!(
        tokens.status()["default"].credentials[0].expires_at,
        Some(datetime!(2027-01-31 00:00 UTC))
    );
}

#[tokio::test]
async fn a_federated_token_is_read_anew_for_every_fetch_and_trimmed() {
    let entra = Entra::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let tokens = store(&entra, vec![workload(&file)], 1800);
    let error = text(&tokens).await;
    assert!(error.contains("federated_token_file"), "{error}");
    assert!(error.contains(&file.display().to_string()), "{error}");
    assert_eq!(entra.count(), 0);

    std::fs::write(&file, "projected-1\n").unwrap();
    skip(31).await;
    let token = tokens.with_life("default").await.unwrap();
    assert_eq!(entra.last().form["client_assertion"], "projected-1");
    std::fs::write(&file, "projected-2").unwrap();
    tokens.instead_of("default", &token).await.unwrap();
    assert_eq!(entra.last().form["client_assertion"], "projected-2");
    assert_eq!(entra.last().form["client_id"], CLIENT);
}

#[tokio::test]
async fn a_master_user_signs_in_by_the_password_grant() {
    let entra = Entra::start().await;
    let password = SecretFile::new("pass & word");
    let tokens = store(&entra, vec![master_user(&password)], 1800);
    assert_eq!(text(&tokens).await, "token-1");
    let form = entra.last().form;
    assert_eq!(form["grant_type"], "password");
    assert_eq!(form["username"], "bi@contoso.com");
    assert_eq!(form["password"], "pass & word");
    assert_eq!(form["client_id"], CLIENT);
    let names: BTreeSet<&str> = form.keys().map(String::as_str).collect();
    let expected = ["client_id", "grant_type", "password", "scope", "username"];
    assert_eq!(names, BTreeSet::from(expected));
}

#[tokio::test]
async fn a_master_user_is_refused_with_a_remedy_and_never_locked_out_by_us() {
    for (number, remedy) in [
        (50_076, "use a service principal"),
        (50_079, "use a service principal"),
        (50_074, "use a service principal"),
        (50_126, "user name or password is wrong"),
        (50_053, "the account is locked"),
    ] {
        let entra = Entra::start().await;
        let password = SecretFile::new("planted-password");
        let tokens = store(&entra, vec![master_user(&password)], 1800);
        entra.always(Answer::refusal("invalid_grant", number));
        let error = text(&tokens).await;
        assert!(
            error.contains("master_user") && error.contains(&format!("AADSTS{number}")),
            "{error}"
        );
        assert!(error.contains(remedy), "{error}");
        assert!(!error.contains("planted"), "{error}");
        skip(58).await;
        text(&tokens).await;
        assert_eq!(entra.count(), 1, "one try a minute");
        skip(3).await;
        text(&tokens).await;
        assert_eq!(entra.count(), 2);
    }
}
