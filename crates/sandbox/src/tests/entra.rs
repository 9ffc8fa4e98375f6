//! The token endpoint.

use super::*;

#[tokio::test]
async fn entra_refuses_in_its_own_words() {
    let sandbox = Sandbox::start().await;
    let good = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
        ("scope", SCOPE),
    ];
    let cases = [
        ("client_secret", "wrong", 401, 7_000_215),
        (
            "client_secret",
            "sandbox-secret-of-last-year",
            401,
            7_000_222,
        ),
        (
            "client_id",
            "11111111-1111-4111-8111-111111111111",
            400,
            700_016,
        ),
        (
            "client_id",
            "c11e4700-0000-4000-8000-000000000003",
            400,
            7_000_112,
        ),
        ("scope", "https://graph.microsoft.com/.default", 400, 70_011),
        ("grant_type", "device_code", 400, 70_003),
    ];
    for (name, value, status, code) in cases {
        let form = good.map(|(key, given)| (key, if key == name { value } else { given }));
        let answer = sandbox
            .entra(&form)
            .await
            .is(status, &format!("AADSTS{code}: "))
            .json();
        assert_eq!(answer["error_codes"], json!([code]));
        assert!(
            answer["error_description"]
                .as_str()
                .unwrap()
                .contains("\r\nTrace ID: ")
        );
    }
    sandbox
        .entra(&[good[0], good[1], good[3]])
        .await
        .is(401, "AADSTS7000218");
    let elsewhere = sandbox
        .request(Method::POST, "/entra/nowhere/oauth2/v2.0/token")
        .form(&good);
    sandbox.send(elsewhere).await.is(400, "AADSTS90002");
}

#[tokio::test]
async fn a_master_user_signs_in_by_password_unless_more_is_needed() {
    let sandbox = Sandbox::start().await;
    sandbox.master().await;
    let cases = [
        ("master@isv.example", "wrong", "AADSTS50126"),
        ("mfa@isv.example", "sandbox-mfa-password", "AADSTS50076"),
        ("nobody@isv.example", "x", "AADSTS50034"),
    ];
    for (username, password, code) in cases {
        let form = [
            ("grant_type", "password"),
            ("client_id", CLIENT),
            ("username", username),
            ("password", password),
            ("scope", SCOPE),
        ];
        sandbox.entra(&form).await.is(400, code);
    }
}

#[tokio::test]
async fn entra_settings_follow_the_control_path_until_reset() {
    let sandbox = Sandbox::start().await;
    let change = json!({"secrets": ["next"], "expires_in": 30});
    sandbox
        .control(Method::PUT, "/sandbox/entra", change)
        .await
        .is(204, "");
    let form = |secret| {
        [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            ("client_secret", secret),
            ("scope", SCOPE),
        ]
    };
    sandbox.entra(&form(SECRET)).await.is(401, "AADSTS7000215");
    sandbox
        .entra(&form("next"))
        .await
        .is(200, r#""expires_in":30"#);
    sandbox
        .control(Method::POST, "/sandbox/reset", json!({}))
        .await
        .is(204, "");
    sandbox
        .entra(&form(SECRET))
        .await
        .is(200, r#""expires_in":3599"#);
}

#[tokio::test]
async fn a_certificate_proves_the_app_only_with_the_right_assertion() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let sandbox = Sandbox::start().await;
    let pem = sandbox.upstream.client_certificate_pem().unwrap();
    let (key, certificate) = pem.split_at(pem.find("-----BEGIN CERTIFICATE").unwrap());
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(key.as_bytes()).unwrap();
    let body: String = certificate
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let der = base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap();
    let thumbprint =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(&der));
    let endpoint = format!(
        "{}/entra/{TENANT}/oauth2/v2.0/token",
        sandbox.upstream.url()
    );
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let good = json!({"aud": endpoint, "iss": CLIENT, "sub": CLIENT, "jti": "1", "nbf": now, "exp": now + 300});
    let cases = [
        (json!({}), 200, "access_token"),
        (
            json!({"aud": "https://elsewhere.example"}),
            401,
            "AADSTS700023",
        ),
        (json!({"sub": ARCHIVIST}), 401, "AADSTS700021"),
        (json!({"exp": now - 1}), 401, "AADSTS700024"),
        (json!({"exp": now + 7200}), 401, "AADSTS700024"),
    ];
    for (change, status, text) in cases {
        let mut claims = good.clone();
        claims
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::PS256);
        header.x5t_s256 = Some(thumbprint.clone());
        let assertion = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", &assertion),
            ("scope", SCOPE),
        ];
        sandbox.entra(&form).await.is(status, text);
        // Another character, whichever stands there, far enough from the end to be all signature.
        let mut tampered = assertion.clone();
        let at = assertion.len() - 20;
        let other = if tampered[at..].starts_with('A') {
            "B"
        } else {
            "A"
        };
        tampered.replace_range(at..=at, other);
        let form = form.map(|(name, value)| {
            (
                name,
                if name == "client_assertion" {
                    &tampered
                } else {
                    value
                },
            )
        });
        sandbox.entra(&form).await.is(401, "AADSTS700027");
    }
}
