//! Algorithms, headers, keys and signatures that no token of ours has.

use super::*;

impl World {
    pub(super) fn algorithms(&self) -> Vec<Row> {
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

    pub(super) fn headers(&self) -> Vec<Row> {
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

    pub(super) fn keys(&self) -> Vec<Row> {
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

    pub(super) fn signatures(&self) -> Vec<Row> {
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
        // The claims of a token that is not signed as it should be are never read, whatever they hold.
        let unread = |claim: &str| {
            let payload = claims(&self.main.url, &json!({})).to_string();
            let payload = payload.replacen('{', &format!("{{{claim},"), 1);
            let header = r#"{"alg":"RS256","kid":"k1"}"#;
            OTHER_RSA.sign(Algorithm::RS256, header, &payload)
        };
        vec![
            (
                "a claim twice, by another key",
                unread(r#""x":1,"x":2"#),
                not_valid,
            ),
            (
                "claims nested too deeply, by another key",
                unread(&format!("\"x\":{}0{}", "[".repeat(200), "]".repeat(200))),
                not_valid,
            ),
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
}
