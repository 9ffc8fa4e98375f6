//! Claims and shapes that no token of ours has.

use super::*;

impl World {
    pub(super) fn required_claims(&self) -> Vec<Row> {
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
            (
                "sub too long",
                with(json!({"sub": "é".repeat(257)})),
                "longer than 256 characters",
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
            ("iss twice", repeated(r#""iss":"a""#), "repeats a claim"),
            (
                "iss twice, written in two ways",
                repeated(r#""\u0069ss":"a""#),
                "repeats a claim",
            ),
            (
                "claims nested too deeply",
                repeated(&format!("\"x\":{}0{}", "[".repeat(200), "]".repeat(200))),
                "no base64url JSON object",
            ),
        ]
    }

    pub(super) fn other_claims(&self) -> Vec<Row> {
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

    pub(super) fn shapes(&self) -> Vec<Row> {
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
