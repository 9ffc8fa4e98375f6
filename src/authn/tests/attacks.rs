//! Tokens that must be refused, each for the reason it is bad for; and the good ones beside them.

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

    fn algorithms(&self) -> Vec<Row> {
        let jwk = RSA.jwk("k1");
        let modulus = jwk["n"].as_str().unwrap();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(&RSA.spki)
        );
        let not_allowed = "`alg` is not among the issuer's `algorithms`";
        vec![
            (
                "alg none, unsigned",
                format!("{}.", self.unsigned("none")),
                "not signed",
            ),
            (
                "alg none with a signature",
                format!("{}.AAAA", self.unsigned("none")),
                not_allowed,
            ),
            (
                "alg nOnE",
                format!("{}.AAAA", self.unsigned("nOnE")),
                not_allowed,
            ),
            (
                "alg empty",
                format!("{}.AAAA", self.unsigned("")),
                not_allowed,
            ),
            (
                "HMAC with the modulus",
                self.confused(&URL_SAFE_NO_PAD.decode(modulus).unwrap()),
                not_allowed,
            ),
            (
                "HMAC with the modulus as text",
                self.confused(modulus.as_bytes()),
                not_allowed,
            ),
            (
                "HMAC with the JWK",
                self.confused(jwk.to_string().as_bytes()),
                not_allowed,
            ),
            ("HMAC with the DER", self.confused(&RSA.spki), not_allowed),
            (
                "HMAC with the PEM",
                self.confused(pem.as_bytes()),
                not_allowed,
            ),
            ("HMAC with nothing", self.confused(b""), not_allowed),
            (
                "HMAC with the set's symmetric key",
                self.confused(SECRET.as_bytes()),
                not_allowed,
            ),
        ]
    }

    fn headers(&self) -> Vec<Row> {
        let own = |header: &Value| {
            let payload = claims(&self.main.url, &json!({})).to_string();
            OTHER_RSA.sign(Algorithm::RS256, &header.to_string(), &payload)
        };
        let stray = format!("{}/attacker", self.main.url);
        let not_valid = "the signature is not valid";
        vec![
            (
                "embedded jwk",
                own(&json!({"alg": "RS256", "kid": "k1", "jwk": OTHER_RSA.jwk("k1")})),
                not_valid,
            ),
            (
                "embedded jwk of its own id",
                own(&json!({"alg": "RS256", "kid": "k9", "jwk": OTHER_RSA.jwk("k9")})),
                "the key id is unknown",
            ),
            (
                "jku",
                own(&json!({"alg": "RS256", "kid": "k1", "jku": stray})),
                not_valid,
            ),
            (
                "x5u",
                own(&json!({"alg": "RS256", "kid": "k1", "x5u": stray})),
                not_valid,
            ),
            (
                "x5c",
                own(&json!({"alg": "RS256", "kid": "k1", "x5c": ["AAAA"]})),
                not_valid,
            ),
            (
                "crit",
                self.headed(&json!({"crit": ["b64"], "b64": false})),
                "`crit`",
            ),
            ("crit null", self.headed(&json!({"crit": null})), "`crit`"),
            (
                "kid of another type",
                self.headed(&json!({"kid": 1})),
                "the header is",
            ),
            (
                "kid that is a path",
                self.headed(&json!({"kid": "../../dev/null"})),
                "the key id is unknown",
            ),
            (
                "kid empty",
                self.headed(&json!({"kid": ""})),
                "the key id is unknown",
            ),
            (
                "no kid while several keys fit",
                RSA.sign(
                    Algorithm::PS256,
                    r#"{"alg":"PS256"}"#,
                    &claims(&self.main.url, &json!({})).to_string(),
                ),
                "several fit",
            ),
            (
                "logout token",
                self.headed(&json!({"typ": "logout+jwt"})),
                "logout token",
            ),
            (
                "logout token, long form",
                self.headed(&json!({"typ": "application/Logout+JWT"})),
                "logout token",
            ),
            (
                "typ of another type",
                self.headed(&json!({"typ": ["JWT"]})),
                "the header is",
            ),
        ]
    }

    fn keys(&self) -> Vec<Row> {
        let good = claims(&self.main.url, &json!({})).to_string();
        let by = |signer: &Signer, alg, kid: &str| {
            signer.sign(alg, &json!({"alg": alg, "kid": kid}).to_string(), &good)
        };
        let stranger = "the key is not for the token's algorithm";
        let relabelled = |alg: &str, kid: &str| {
            let header = json!({"alg": alg, "kid": kid}).to_string();
            P256.sign(Algorithm::ES256, &header, &good)
        };
        vec![
            (
                "RSA key id with an EC algorithm",
                by(&P256, Algorithm::ES256, "k1"),
                stranger,
            ),
            (
                "EC key id with an RSA algorithm",
                by(&RSA, Algorithm::RS256, "ec"),
                stranger,
            ),
            (
                "P-384 key with ES256",
                relabelled("ES256", "ec384"),
                stranger,
            ),
            ("P-256 key with ES384", relabelled("ES384", "ec"), stranger),
            (
                "Ed25519 key with ES256",
                relabelled("ES256", "ed"),
                stranger,
            ),
            (
                "key that is for PS256 only",
                by(&RSA, Algorithm::RS256, "pss"),
                stranger,
            ),
            (
                "key for encryption",
                by(&OTHER_RSA, Algorithm::RS256, "encryption"),
                "the key id is unknown",
            ),
            (
                "key for wrapping",
                by(&OTHER_RSA, Algorithm::RS256, "wrapping"),
                "the key id is unknown",
            ),
            (
                "symmetric key of the set",
                self.confused(SECRET.as_bytes()),
                "not among",
            ),
            (
                "PS256 called RS256",
                RSA.sign(Algorithm::PS256, r#"{"alg":"RS256","kid":"k1"}"#, &good),
                "not valid",
            ),
            (
                "key of another issuer with the same id",
                by(&OTHER_RSA, Algorithm::RS256, "k1"),
                "not valid",
            ),
            (
                "own key for another issuer",
                RSA.token("k1", &claims(&self.other.url, &json!({}))),
                "not valid",
            ),
            (
                "algorithm that only another issuer takes",
                {
                    let payload = claims(&self.other.url, &json!({})).to_string();
                    OTHER_RSA.sign(Algorithm::RS512, r#"{"alg":"RS512","kid":"k1"}"#, &payload)
                },
                "not among",
            ),
            (
                "RSA token of the issuer with a shared secret",
                RSA.token("k1", &claims("https://shared.example", &json!({}))),
                "not among",
            ),
            (
                "another shared secret",
                hs256(Algorithm::HS256, b"another secret of thirty-two bytes"),
                "not valid",
            ),
            (
                "HS384 with the shared secret",
                hs256(Algorithm::HS384, SECRET.as_bytes()),
                "not among",
            ),
        ]
    }

    fn signatures(&self) -> Vec<Row> {
        let good = self.good();
        let signature = good.rsplit_once('.').unwrap().1;
        let elsewhere = self.with(&json!({"sub": "admin"}));
        let ec = P256.token("ec", &claims(&self.main.url, &json!({})));
        let ec_with = |bytes: &[u8]| {
            format!(
                "{}.{}",
                ec.rsplit_once('.').unwrap().0,
                URL_SAFE_NO_PAD.encode(bytes)
            )
        };
        let not_valid = "the signature is not valid";
        vec![
            ("no signature", self.resigned(""), "not signed"),
            (
                "zero signature",
                self.resigned(&URL_SAFE_NO_PAD.encode([0; 256])),
                not_valid,
            ),
            (
                "truncated signature",
                self.resigned(&signature[..signature.len() - 4]),
                not_valid,
            ),
            (
                "longer signature",
                self.resigned(&format!("{signature}AAAA")),
                not_valid,
            ),
            (
                "signature of another payload",
                self.resigned(elsewhere.rsplit_once('.').unwrap().1),
                not_valid,
            ),
            (
                "signature that is no base64",
                self.resigned("####"),
                not_valid,
            ),
            (
                "padded signature",
                self.resigned(&format!("{signature}==")),
                not_valid,
            ),
            ("line break at the end", format!("{good}\n"), not_valid),
            ("ECDSA with r = s = 0", ec_with(&[0; 64]), not_valid),
            (
                "ECDSA with an empty DER sequence",
                ec_with(&[0x30, 0]),
                not_valid,
            ),
        ]
    }

    fn required_claims(&self) -> Vec<Row> {
        let with = |changes: Value| self.with(&changes);
        let repeated = |text: &str| {
            let payload = claims(&self.main.url, &json!({})).to_string().replacen(
                '{',
                &format!("{{{text},"),
                1,
            );
            RSA.sign(Algorithm::RS256, r#"{"alg":"RS256","kid":"k1"}"#, &payload)
        };
        vec![
            ("no exp", with(json!({"exp": null})), "no `exp`"),
            ("no iss", with(json!({"iss": null})), "no `iss`"),
            ("no aud", with(json!({"aud": null})), "no `aud`"),
            ("no sub", with(json!({"sub": null})), "no `sub`"),
            ("iss empty", with(json!({"iss": ""})), "`iss` is empty"),
            ("aud empty", with(json!({"aud": ""})), "`aud` is empty"),
            (
                "aud an empty list",
                with(json!({"aud": []})),
                "`aud` is empty",
            ),
            (
                "aud with an empty entry",
                with(json!({"aud": ["", "embed-broker"]})),
                "empty entry",
            ),
            ("sub empty", with(json!({"sub": ""})), "`sub` is empty"),
            (
                "iss a list",
                with(json!({"iss": [self.main.url]})),
                "`iss` is no string",
            ),
            (
                "iss a number",
                with(json!({"iss": 5})),
                "`iss` is no string",
            ),
            (
                "aud an object",
                with(json!({"aud": {"embed-broker": 1}})),
                "`aud` is no string",
            ),
            (
                "aud a list with a number",
                with(json!({"aud": ["embed-broker", 5]})),
                "no list of strings",
            ),
            (
                "sub a number",
                with(json!({"sub": 5})),
                "`sub` is no string",
            ),
            ("sub null", repeated(r#""sub":null"#), "repeats a claim"),
        ]
    }

    fn other_claims(&self) -> Vec<Row> {
        let with = |changes: Value| self.with(&changes);
        let raw =
            |payload: &str| RSA.sign(Algorithm::RS256, r#"{"alg":"RS256","kid":"k1"}"#, payload);
        let repeated = |text: &str| {
            let payload = claims(&self.main.url, &json!({})).to_string();
            raw(&payload.replacen('{', &format!("{{{text},"), 1))
        };
        vec![
            (
                "exp a string",
                with(json!({"exp": "1800000600"})),
                "`exp` is no time",
            ),
            (
                "exp a boolean",
                with(json!({"exp": true})),
                "`exp` is no time",
            ),
            (
                "exp beyond the year 9999",
                with(json!({"exp": 253_402_300_800_i64})),
                "out of range",
            ),
            (
                "exp beyond 64 bits",
                with(json!({"exp": 1e300})),
                "out of range",
            ),
            (
                "exp the largest number",
                with(json!({"exp": u64::MAX})),
                "out of range",
            ),
            ("exp negative", with(json!({"exp": -1})), "out of range"),
            (
                "nbf in the future",
                with(json!({"nbf": NOW + 31})),
                "`nbf` is in the future",
            ),
            (
                "nbf a string",
                with(json!({"nbf": "0"})),
                "`nbf` is no time",
            ),
            (
                "events",
                with(json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}})),
                "`events`",
            ),
            (
                "another audience",
                with(json!({"aud": ["somebody", "else"]})),
                "none of the issuer's `audiences`",
            ),
            (
                "an audience that only begins alike",
                with(json!({"aud": "embed-broker-2"})),
                "none of",
            ),
            (
                "an issuer that is not configured",
                with(json!({"iss": format!("{}/attacker", self.main.url)})),
                "no configured issuer",
            ),
            (
                "a slash too many",
                with(json!({"iss": format!("{}/", self.main.url)})),
                "issuer `main` by a slash",
            ),
            ("sub twice", repeated(r#""sub":"admin""#), "repeats a claim"),
            (
                "aud twice",
                repeated(r#""aud":"embed-broker""#),
                "repeats a claim",
            ),
            (
                "a custom claim twice",
                repeated(r#""role":"a","role":"b""#),
                "repeats a claim",
            ),
            ("payload a list", raw("[]"), "no base64url JSON object"),
            (
                "payload another JWT",
                raw(&self.good()),
                "no base64url JSON object",
            ),
            (
                "something after the payload",
                raw(&format!("{} {{}}", claims(&self.main.url, &json!({})))),
                "no base64url JSON object",
            ),
        ]
    }

    fn shapes(&self) -> Vec<Row> {
        let good = self.good();
        let long = self.with(&json!({"filler": "x".repeat(16 * 1024)}));
        vec![
            ("nothing", String::new(), "three parts"),
            ("no dots", "abc".to_owned(), "three parts"),
            (
                "one dot",
                good.rsplit_once('.').unwrap().0.to_owned(),
                "three parts",
            ),
            ("four parts", format!("{good}.AAAA"), "three parts"),
            (
                "five parts, as a JWE has",
                "a.b.c.d.e".to_owned(),
                "three parts",
            ),
            (
                "not base64",
                format!("%%%.{}", good.split_once('.').unwrap().1),
                "the header is",
            ),
            ("a space before", format!(" {good}"), "the header is"),
            ("longer than 16 KiB", long, "longer than 16 KiB"),
            (
                "alg twice",
                RSA.sign(
                    Algorithm::RS256,
                    r#"{"alg":"RS256","alg":"none","kid":"k1"}"#,
                    "{}",
                ),
                "the header is",
            ),
            (
                "no alg",
                RSA.sign(Algorithm::RS256, r#"{"kid":"k1"}"#, "{}"),
                "the header is",
            ),
            (
                "header no object",
                RSA.sign(
                    Algorithm::RS256,
                    r#"["RS256","JWT","k1"]"#,
                    &claims(&self.main.url, &json!({})).to_string(),
                ),
                "the header is",
            ),
        ]
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
