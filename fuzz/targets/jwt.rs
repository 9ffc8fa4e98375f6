//! Any token. `HEADER`, a line `---`, `PAYLOAD` is signed by the issuer's secret first, so that the claims are reached;
//! everything else comes as it is. Whoever is accepted fulfils RFC 7519 and the issuer's settings, read a second time.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use embed_broker::authn::{BearerToken, Caller, Error, Verifier};
use embed_broker::config::{Config, Tls};
use embed_broker::outbound::Outbound;
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::runtime::{Builder, Runtime};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_800_000_000;
const LEEWAY: i64 = 30;

const CONFIG: &str = r#"
authn:
  issuers:
    - { name: one, issuer: "https://one.example/", audiences: [embed-broker], algorithms: [HS256], hmac_secret: 0123456789abcdef0123456789abcdef }
    - { name: many, issuer: "https://many.example/{tid}/v2", audiences: [embed-broker], algorithms: [HS256], hmac_secret: 0123456789abcdef0123456789abcdef, tenants: any, token_types: [JWT] }
    - { name: ruled, issuer: "https://ruled.example/", audiences: [a, b], algorithms: [HS256], hmac_secret: 0123456789abcdef0123456789abcdef, validations: [{ rule: "claims.email_verified == true", message: m }] }
    - { name: public, issuer: "https://public.example/", audiences: [embed-broker], algorithms: [RS256, PS256, ES256, ES384, EdDSA], jwks_file: keys.json }
principals: { default: { tenant_id: 11111111-1111-4111-8111-111111111111, client_id: 11111111-1111-4111-8111-111111111111, credentials: [{ kind: client_secret, secret: s }] } }
"#;

/// An Ed25519 key (RFC 8037, appendix A.2).
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broker.yaml");
    std::fs::write(&file, CONFIG).expect("a file");
    std::fs::write(folder.path().join("keys.json"), KEYS).expect("a file");
    let config = Config::load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let outbound = Outbound::new(&Tls::default()).expect("clients");
    Verifier::new(&config.authn, &outbound, None).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
});

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
});

fuzz_target!(|text: &str| {
    let now = OffsetDateTime::from_unix_timestamp(NOW).expect("a time");
    let verifier = &*VERIFIER;
    let parts = text.split_once("\n---\n");
    let token = parts.map_or_else(
        || text.to_owned(),
        |(header, payload)| signed(header, payload),
    );
    match RUNTIME.block_on(verifier.verify(&BearerToken::new(token.clone()), now)) {
        Ok(caller) => accepted(&caller, parts.expect("nobody else can sign")),
        Err(error @ (Error::Expired | Error::Invalid { .. })) => {
            let planted = parts.is_some_and(|(_, payload)| payload.contains("hunter2"));
            assert!(
                !planted || !error.to_string().contains("hunter2"),
                "{error}"
            );
        }
        Err(Error::IssuerUnavailable { .. }) => unreachable!("all keys are local"),
    }
});

fn signed(header: &str, payload: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.expect("a signature"))
}

/// What must be true of an accepted token, by a plain reading of it.
fn accepted(caller: &Caller, (header, payload): (&str, &str)) {
    let header: Value = serde_json::from_str(header).expect("an accepted header is JSON");
    let claims: Value = serde_json::from_str(payload).expect("an accepted payload is JSON");
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none(), "crit");
    let typ = header["typ"]
        .as_str()
        .unwrap_or_default()
        .to_ascii_lowercase();
    assert!(!typ.ends_with("logout+jwt"), "a logout token");
    assert!(claims.get("events").is_none(), "events");
    let text = |name: &str| {
        claims[name]
            .as_str()
            .filter(|text| !text.is_empty())
            .expect(name)
    };
    assert_eq!(text("sub"), caller.subject());
    let accepted: &[&str] = match caller.issuer() {
        "one" => {
            assert_eq!(text("iss"), "https://one.example/");
            &["embed-broker"]
        }
        "many" => {
            assert_eq!(
                text("iss"),
                format!("https://many.example/{}/v2", text("tid"))
            );
            assert_eq!(typ.trim_start_matches("application/"), "jwt");
            &["embed-broker"]
        }
        "ruled" => {
            assert_eq!(text("iss"), "https://ruled.example/");
            assert_eq!(claims["email_verified"], true);
            &["a", "b"]
        }
        other => panic!("accepted for {other}"),
    };
    let listed = |aud: &Value| aud.as_str().is_some_and(|aud| accepted.contains(&aud));
    assert!(
        listed(&claims["aud"])
            || claims["aud"]
                .as_array()
                .is_some_and(|all| all.iter().any(listed))
    );
    let seconds = |name: &str| claims[name].as_f64().expect(name);
    assert!(seconds("exp") > (NOW - LEEWAY - 1) as f64 && seconds("exp") < 253_402_300_800.0);
    assert!(claims.get("nbf").is_none() || seconds("nbf") < (NOW + LEEWAY + 1) as f64);
    assert_eq!(Value::Object(caller.claims().clone()), claims);
}
