//! Tokens that must not open anything, sent to a running broker: each is refused with 401, has its audit record, and no
//! simulated service sees a call because of it.
//!
//! What exactly is wrong with each is told apart by the unit tests of `authn`; here the whole service stands its ground.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::tokens::{OTHER_RSA, P256, RSA, hmac, in_seconds, unsigned};

const ISSUER: &str = "https://login.example.com/";

/// An issuer whose keys are in a file: one RSA key, one elliptic-curve key, one that is for encryption only.
async fn start() -> TestApp {
    let mut encryption = OTHER_RSA.jwk("enc");
    encryption["use"] = "enc".into();
    let keys = json!({ "keys": [RSA.jwk("k1"), P256.jwk("e1"), encryption] });
    let issuer = format!(
        "  issuers:\n    - name: file\n      issuer: {ISSUER}\n      audiences: [embed-broker]\n      \
         algorithms: [RS256, ES256]\n      jwks_file: keys.json\n      \
         validations: [{{ rule: \"!has(claims.guest)\", message: guests are not let in }}]"
    );
    TestApp::setup()
        .edit("  issuers:", &issuer)
        .edit_policy(
            "    key: \"claims.tid\"",
            "    key: \"claims.tid\"\n    any_issuer: true",
        )
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .file("keys.json", keys.to_string())
        .start()
        .await
}

/// Ana's claims, with changes; null removes a claim.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "embed-broker", "sub": "u-ana", "exp": in_seconds(600), "tid": "contoso",
        "email": "ana@contoso.example", "groups": ["managers"], "regions": ["EMEA"],
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn header(changes: &Value) -> Value {
    let mut header = json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => header.as_object_mut().unwrap().remove(name),
            value => header
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    header
}

/// Signed as it should be, over these claims.
fn claiming(changes: &Value) -> String {
    RSA.sign(&header(&json!({})), &claims(changes))
}

/// Good claims and a good signature, under this header.
fn headed(changes: &Value) -> String {
    RSA.sign(&header(changes), &claims(&json!({})))
}

fn forged() -> Vec<(&'static str, String)> {
    let good = claiming(&json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (_, payload) = signed.split_once('.').unwrap();
    let zeros = |length| URL_SAFE_NO_PAD.encode(vec![0_u8; length]);
    let none = json!({ "alg": "none" });
    let own_key = header(&json!({ "kid": null, "jwk": OTHER_RSA.jwk("own") }));
    let elsewhere = header(&json!({ "kid": "own", "jku": "https://evil.example/jwks" }));
    let x5u = header(&json!({ "kid": "own", "x5u": "https://evil.example/cert" }));
    let hs = header(&json!({ "alg": "HS256" }));
    let plain = claims(&json!({}));
    let swapped = URL_SAFE_NO_PAD.encode(claims(&json!({ "sub": "u-audra" })).to_string());
    vec![
        ("alg none, no signature", unsigned(&none, &plain, b"")),
        (
            "alg none, a signature",
            unsigned(&none, &plain, b"signature"),
        ),
        (
            "alg NONE",
            unsigned(&json!({ "alg": "NONE" }), &plain, b"x"),
        ),
        (
            "HMAC with the public key as PEM",
            hmac(RSA.pem().as_bytes(), &hs, &plain),
        ),
        (
            "HMAC with the public key as DER",
            hmac(&RSA.spki, &hs, &plain),
        ),
        (
            "HMAC with the JWK",
            hmac(RSA.jwk("k1").to_string().as_bytes(), &hs, &plain),
        ),
        ("HMAC with an empty secret", hmac(b"", &hs, &plain)),
        (
            "a key of its own in `jwk`",
            OTHER_RSA.sign(&own_key, &plain),
        ),
        (
            "a key of its own behind `jku`",
            OTHER_RSA.sign(&elsewhere, &plain),
        ),
        (
            "a key of its own behind `x5u`",
            OTHER_RSA.sign(&x5u, &plain),
        ),
        (
            "another key under a known id",
            OTHER_RSA.sign(&header(&json!({})), &plain),
        ),
        (
            "a key that is for encryption",
            OTHER_RSA.sign(&header(&json!({ "kid": "enc" })), &plain),
        ),
        (
            "an RSA signature under the id of a curve",
            headed(&json!({ "kid": "e1" })),
        ),
        (
            "an RSA signature called ES256",
            headed(&json!({ "alg": "ES256", "kid": "e1" })),
        ),
        (
            "a curve's signature called RS256",
            P256.sign(&header(&json!({ "kid": "e1" })), &plain),
        ),
        (
            "an algorithm that is not listed",
            headed(&json!({ "alg": "RS512" })),
        ),
        (
            "an algorithm that nobody knows",
            headed(&json!({ "alg": "RS257" })),
        ),
        ("no algorithm", headed(&json!({ "alg": null }))),
        ("a signature of zeros", format!("{signed}.{}", zeros(256))),
        (
            "a curve's signature of zeros",
            unsigned(&json!({ "alg": "ES256", "kid": "e1" }), &plain, &[0; 64]),
        ),
        (
            "a signature cut short",
            format!("{signed}.{}", &signature[..40]),
        ),
        (
            "the signature of other claims",
            format!(
                "{}.{swapped}.{signature}",
                signed.split_once('.').unwrap().0
            ),
        ),
        ("no header", format!(".{payload}.{signature}")),
        ("two parts", signed.to_owned()),
        ("four parts", format!("{good}.x")),
        (
            "a list for a header",
            RSA.sign_text(r#"["RS256","JWT","k1"]"#, &plain.to_string()),
        ),
    ]
}

fn misused() -> Vec<(&'static str, String)> {
    vec![
        (
            "an unknown critical extension",
            headed(&json!({ "crit": ["exp"] })),
        ),
        ("an empty `crit`", headed(&json!({ "crit": [] }))),
        (
            "a logout token by type",
            headed(&json!({ "typ": "logout+jwt" })),
        ),
        (
            "a logout token by its long type",
            headed(&json!({ "typ": "application/logout+jwt" })),
        ),
        (
            "a logout token by its type with a parameter",
            headed(&json!({ "typ": "logout+jwt; x=1" })),
        ),
        (
            "a logout token by its claim",
            claiming(&json!({ "events": {} })),
        ),
        ("an unknown key id", headed(&json!({ "kid": "k2" }))),
        (
            "a path as key id",
            headed(&json!({ "kid": "../../../../dev/null" })),
        ),
        ("a number as key id", headed(&json!({ "kid": 1 }))),
        (
            "no key id where two keys fit",
            RSA.sign(&header(&json!({ "kid": "" })), &claims(&json!({}))),
        ),
        (
            "another issuer",
            claiming(&json!({ "iss": "https://login.example.org/" })),
        ),
        (
            "the issuer without its slash",
            claiming(&json!({ "iss": "https://login.example.com" })),
        ),
        (
            "the issuer in capitals",
            claiming(&json!({ "iss": "HTTPS://LOGIN.EXAMPLE.COM/" })),
        ),
        ("a list of issuers", claiming(&json!({ "iss": [ISSUER] }))),
        ("a number as issuer", claiming(&json!({ "iss": 5 }))),
        ("no issuer", claiming(&json!({ "iss": null }))),
        (
            "another audience",
            claiming(&json!({ "aud": "another-app" })),
        ),
        (
            "an audience that ours begins",
            claiming(&json!({ "aud": "embed-broker-2" })),
        ),
        ("an object as audience", claiming(&json!({ "aud": {} }))),
        ("no audience in the list", claiming(&json!({ "aud": [] }))),
        (
            "an empty audience beside ours",
            claiming(&json!({ "aud": ["embed-broker", ""] })),
        ),
        ("no audience", claiming(&json!({ "aud": null }))),
        ("no subject", claiming(&json!({ "sub": null }))),
        ("an empty subject", claiming(&json!({ "sub": "" }))),
        ("a number as subject", claiming(&json!({ "sub": 7 }))),
        ("no end", claiming(&json!({ "exp": null }))),
        ("an end in words", claiming(&json!({ "exp": "tomorrow" }))),
        (
            "an end beyond all time",
            claiming(&json!({ "exp": 1.0e300 })),
        ),
        ("a negative end", claiming(&json!({ "exp": -1 }))),
        (
            "not before tomorrow",
            claiming(&json!({ "nbf": in_seconds(86_400) })),
        ),
        ("not before a word", claiming(&json!({ "nbf": "now" }))),
        (
            "a rule of the issuer's that fails",
            claiming(&json!({ "guest": true })),
        ),
        (
            "a claim twice",
            RSA.sign_text(&header(&json!({})).to_string(), &twice()),
        ),
        (
            "a token longer than 16 KiB",
            claiming(&json!({ "filler": "x".repeat(16 * 1024) })),
        ),
    ]
}

/// Good claims in which `sub` stands twice.
fn twice() -> String {
    let claims = claims(&json!({})).to_string();
    claims.replacen('{', "{\"sub\":\"u-audra\",", 1)
}

#[tokio::test]
async fn no_forged_or_misused_token_opens_anything() {
    let app = start().await;
    let asking = json!({ "item": "sales" });
    app.embed_as(&claiming(&json!({})), asking.clone())
        .await
        .ok();
    app.forget_calls().await;
    let attacks: Vec<_> = forged().into_iter().chain(misused()).collect();
    // Beyond sixty a minute refusals are counted in one record.
    assert!((50..=60).contains(&attacks.len()), "{}", attacks.len());
    for (number, (what, token)) in attacks.iter().enumerate() {
        let answer = app.embed_as(token, asking.clone()).await;
        let code = "invalid_token";
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        answer.problem(401, code);
        let records = app.audit();
        assert_eq!(records.len(), number + 2, "{what}");
        let record = records.last().unwrap();
        assert_eq!(record["code"], code, "{what}");
        assert!(
            record.get("sub").is_none(),
            "{what}: an unproved name was recorded"
        );
    }
    for service in ["idp", "entra", "power_bi"] {
        let calls = app.calls(service, "").await;
        assert!(calls.is_empty(), "{service}: {calls:?}");
    }
}

#[tokio::test]
async fn a_flood_of_made_up_key_ids_causes_no_call() {
    let app = start().await;
    app.embed_as(&claiming(&json!({})), json!({ "item": "sales" }))
        .await
        .ok();
    app.forget_calls().await;
    for number in 0..100 {
        let token = headed(&json!({ "kid": format!("made-up-{number}") }));
        app.embed_as(&token, json!({ "item": "sales" }))
            .await
            .problem(401, "invalid_token");
    }
    assert!(app.calls("idp", "").await.is_empty());
    assert!(app.calls("power_bi", "").await.is_empty());
}
