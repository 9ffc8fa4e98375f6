//! Tokens that must be refused, each for the reason it is bad for; and the good ones beside them.

mod claims;
mod signatures;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::support::*;
use crate::authn::{BearerToken, Error, Verifier};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const FORMER: &str = "fedcba9876543210fedcba9876543210";

/// A row of the attack table: name, token, part of the reason.
type Row = (&'static str, String, &'static str);

struct World {
    main: Idp,
    other: Idp,
    verifier: Verifier,
}

/// Two issuers that use the same key id for different keys, and one with a shared secret.
async fn world() -> World {
    let mut encryption = OTHER_RSA.jwk("encryption");
    encryption["use"] = "enc".into();
    let mut wrapping = OTHER_RSA.jwk("wrapping");
    wrapping["key_ops"] = json!(["wrapKey"]);
    let mut pss_only = RSA.jwk("pss");
    pss_only["alg"] = "PS256".into();
    let symmetric = json!({"kty": "oct", "kid": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    let broken = json!({"kty": "RSA", "kid": "broken", "n": "!!", "e": "AQAB"});
    let future = json!({"kty": "AKP", "kid": "future", "alg": "ML-DSA-44", "pub": "AA"});
    let main = Idp::start(&[
        broken,
        future,
        json!({"kid": 5}),
        symmetric,
        encryption,
        wrapping,
        RSA.jwk("k1"),
        P256.jwk("ec"),
        P384.jwk("ec384"),
        ED25519.jwk("ed"),
        pss_only,
    ])
    .await;
    let other = Idp::start(&[OTHER_RSA.jwk("k1")]).await;
    let all = json!([
        "RS256", "PS256", "RS384", "PS384", "RS512", "PS512", "ES256", "ES384", "EdDSA"
    ]);
    let mut shared = main.issuer(
        "shared",
        &json!({"issuer": "https://shared.example", "algorithms": ["HS256"]}),
    );
    shared.hmac_secrets = vec![shared_secret(SECRET), shared_secret(FORMER)];
    let verifier = verifier(vec![
        main.issuer("main", &json!({"algorithms": all})),
        other.issuer("other", &json!({})),
        shared,
    ]);
    World {
        main,
        other,
        verifier,
    }
}

impl World {
    fn good(&self) -> String {
        RSA.token("k1", &claims(&self.main.url, &json!({})))
    }

    /// A well-signed token with other claims.
    fn with(&self, changes: &Value) -> String {
        RSA.token("k1", &claims(&self.main.url, changes))
    }

    /// A well-signed token with another header.
    fn headed(&self, changes: &Value) -> String {
        let mut header = json!({"alg": "RS256", "kid": "k1"});
        header
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        RSA.sign(
            Algorithm::RS256,
            &header.to_string(),
            &claims(&self.main.url, &json!({})).to_string(),
        )
    }

    /// The good token with another signature.
    fn resigned(&self, signature: &str) -> String {
        let good = self.good();
        format!("{}.{signature}", good.rsplit_once('.').unwrap().0)
    }

    /// Header and payload of an unsigned token.
    fn unsigned(&self, algorithm: &str) -> String {
        let header = json!({"alg": algorithm, "kid": "k1"}).to_string();
        let payload = claims(&self.main.url, &json!({})).to_string();
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        )
    }

    /// HS256 with something public as the secret: the classic confusion of algorithms.
    fn confused(&self, secret: &[u8]) -> String {
        let payload = claims(&self.main.url, &json!({})).to_string();
        sign(
            &EncodingKey::from_secret(secret),
            Algorithm::HS256,
            r#"{"alg":"HS256","kid":"k1"}"#,
            &payload,
        )
    }
}

fn hs256(algorithm: Algorithm, secret: &[u8]) -> String {
    let header = json!({"alg": algorithm}).to_string();
    let payload = claims("https://shared.example", &json!({})).to_string();
    sign(
        &EncodingKey::from_secret(secret),
        algorithm,
        &header,
        &payload,
    )
}

#[tokio::test]
async fn bad_tokens_are_refused_for_the_reason_they_are_bad_for() {
    let world = world().await;
    verify(&world.verifier, &world.good()).await.unwrap();
    let rows = [
        world.algorithms(),
        world.headers(),
        world.keys(),
        world.signatures(),
        world.required_claims(),
        world.other_claims(),
        world.shapes(),
    ]
    .concat();
    let mut surprises = Vec::new();
    for (name, token, expected) in rows {
        match verify(&world.verifier, &token).await {
            Err(Error::Invalid { reason }) if reason.contains(expected) => {}
            Err(error) => surprises.push(format!("{name}: {error}")),
            Ok(_) => surprises.push(format!("{name}: ACCEPTED")),
        }
    }
    assert!(surprises.is_empty(), "{surprises:#?}");
    assert_eq!(
        world.main.strays() + world.other.strays(),
        0,
        "an address from a token was called"
    );
    assert!(
        world.main.key_fetches() <= 2,
        "unknown key ids made {} fetches",
        world.main.key_fetches()
    );
}

#[tokio::test]
async fn every_supported_algorithm_is_accepted() {
    let world = world().await;
    let payload = claims(&world.main.url, &json!({})).to_string();
    for (signer, algorithm, kid) in [
        (&*RSA, Algorithm::RS256, "k1"),
        (&RSA, Algorithm::RS384, "k1"),
        (&RSA, Algorithm::RS512, "k1"),
        (&RSA, Algorithm::PS256, "k1"),
        (&RSA, Algorithm::PS256, "pss"),
        (&RSA, Algorithm::PS384, "k1"),
        (&RSA, Algorithm::PS512, "k1"),
        (&P256, Algorithm::ES256, "ec"),
        (&P384, Algorithm::ES384, "ec384"),
        (&ED25519, Algorithm::EdDSA, "ed"),
    ] {
        let token = signer.sign(
            algorithm,
            &json!({"alg": algorithm, "kid": kid}).to_string(),
            &payload,
        );
        let caller = verify(&world.verifier, &token).await;
        assert_eq!(
            caller.map(|caller| caller.issuer().to_owned()).unwrap(),
            "main",
            "{algorithm:?}"
        );
    }
    for secret in [SECRET, FORMER] {
        let caller = verify(&world.verifier, &hs256(Algorithm::HS256, secret.as_bytes()))
            .await
            .unwrap();
        assert_eq!(caller.issuer(), "shared");
    }
}

#[tokio::test]
async fn a_caller_is_what_the_token_says() {
    let world = world().await;
    let token = world.with(
        &json!({"aud": ["x", "embed-broker"], "exp": 1_800_000_060.9, "nbf": NOW, "role": "a"}),
    );
    let caller = verify(&world.verifier, &token).await.unwrap();
    assert_eq!((caller.issuer(), caller.subject()), ("main", "u1"));
    assert_eq!(caller.claims()["role"], "a");
    assert_eq!(caller.expires_at().unix_timestamp(), NOW + 60);
    assert_eq!(caller.token_hash(), Some(&Sha256::digest(&token).into()));
    let other = verify(
        &world.verifier,
        &OTHER_RSA.token("k1", &claims(&world.other.url, &json!({}))),
    )
    .await;
    assert_eq!(other.unwrap().issuer(), "other");
}

#[tokio::test]
async fn only_the_leeway_is_forgiven() {
    let world = world().await;
    for (changes, accepted) in [
        (json!({"exp": NOW - 29}), true),
        // The last second that there is; nothing can be added to it.
        (json!({"exp": 253_402_300_799_i64}), true),
        (json!({"nbf": NOW + 30}), true),
        (json!({"exp": NOW - 30}), false),
        (json!({"exp": 0}), false),
    ] {
        match verify(&world.verifier, &world.with(&changes)).await {
            Ok(_) => assert!(accepted, "{changes}"),
            Err(error) => assert!(
                !accepted && matches!(error, Error::Expired),
                "{changes}: {error}"
            ),
        }
    }
    // Expired and wrong for good: a new token would not help.
    for changes in [
        json!({"exp": 1, "aud": "other"}),
        json!({"exp": 1, "sub": ""}),
    ] {
        reason(verify(&world.verifier, &world.with(&changes)).await);
    }
    let forged = OTHER_RSA.token("k1", &claims(&world.main.url, &json!({"exp": 1})));
    reason(verify(&world.verifier, &forged).await);
}

#[tokio::test]
async fn errors_and_debug_output_hold_no_part_of_the_token() {
    let world = world().await;
    let token = world.with(&json!({"iss": "https://planted.example", "sub": "planted"}));
    let error = verify(&world.verifier, &token)
        .await
        .map(|_| ())
        .unwrap_err();
    let shown = format!("{error} {error:?} {:?}", BearerToken::new(token.clone()));
    assert!(
        !shown.contains("planted") && !shown.contains(&token[..10]),
        "{shown}"
    );
}
