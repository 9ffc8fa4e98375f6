//! What an issuer accepts, where its keys may come from, and what its configuration must not say.

use serde_json::{Value, json};

use super::support::*;
use crate::authn::{Error, Verifier};
use crate::config;

/// What fetching the keys of the only issuer gives.
async fn check(issuer: config::Issuer) -> Result<usize, String> {
    let checks = verifier(vec![issuer]).check_issuers().await;
    let outcome = checks.into_iter().next().unwrap().outcome;
    outcome.map_err(|problem| {
        assert!(!problem.remedy.is_empty());
        problem.cause
    })
}

#[tokio::test]
async fn keys_are_taken_only_from_where_the_issuer_says_and_securely() {
    let idp = Idp::start(&[RSA.jwk("k1"), json!({"kty": "oct"})]).await;
    let issuer = || idp.issuer("main", &json!({}));
    assert_eq!(check(issuer()).await, Ok(1));
    let jwks = format!("{}/jwks", idp.url);
    assert_eq!(
        check(idp.issuer("main", &json!({"jwks_uri": jwks}))).await,
        Ok(1)
    );

    for (document, expected) in [
        (
            json!({"issuer": format!("{}/", idp.url), "jwks_uri": jwks}),
            "speaks for the issuer",
        ),
        (
            json!({"issuer": "https://evil.example", "jwks_uri": jwks}),
            "speaks for the issuer",
        ),
        (
            json!({"issuer": idp.url, "jwks_uri": "http://keys.example/jwks"}),
            "not https",
        ),
        (
            json!({"issuer": idp.url, "jwks_uri": "file:///etc/passwd"}),
            "not https",
        ),
        (
            json!({"issuer": idp.url, "jwks_uri": format!("{}/moved", idp.url)}),
            "status 302",
        ),
        (
            json!({"issuer": idp.url, "jwks_uri": format!("{}/missing", idp.url)}),
            "status 404",
        ),
        (
            json!({"issuer": idp.url, "jwks_uri": "http://127.0.0.1:1/jwks"}),
            "cannot be reached",
        ),
        (
            json!({"issuer": idp.url, "jwks_uri": jwks.replace("127.0.0.1", "localhost")}),
            "not https",
        ),
        (
            json!({"issuer": idp.url, "jwks_uri": "https://www.googleapis.com/oauth2/v3/certs?x=1"}),
            "set `jwks_uri: https://www.googleapis.com/oauth2/v3/certs?x=1`",
        ),
        (
            json!({"issuer": idp.url, "jwks_uri": "https://localhost./jwks"}),
            "another host than the issuer",
        ),
        (json!({"issuer": idp.url}), "no OIDC discovery document"),
        (
            json!({"issuer": [idp.url], "jwks_uri": jwks}),
            "no OIDC discovery document",
        ),
    ] {
        idp.discovery(document.clone());
        let cause = check(issuer()).await.unwrap_err();
        assert!(cause.contains(expected), "{document}: {cause}");
    }
}

#[tokio::test]
async fn only_a_key_set_of_reasonable_size_is_a_key_set() {
    let idp = Idp::start(&[]).await;
    let padded =
        |bytes: usize| json!({"keys": [RSA.jwk("k1")], "x": "x".repeat(bytes)}).to_string();
    for (body, expected) in [
        (padded(100 * 1024), Err("longer than 102400 bytes")),
        (padded(90 * 1024), Ok(1)),
        ("<html>".to_owned(), Err("no JSON Web Key Set")),
        ("{}".to_owned(), Err("no JSON Web Key Set")),
        (r#"{"keys": {}}"#.to_owned(), Err("no JSON Web Key Set")),
        (r#"{"keys": []}"#.to_owned(), Err("no usable key")),
        (
            json!({"keys": [{"kty": "RSA", "n": "A".repeat(171), "e": "AQAB"}]}).to_string(),
            Err("shorter than 2,048 bits"),
        ),
        (
            json!({"keys": [{"kty": "oct", "k": "AA"}]}).to_string(),
            Err("symmetric"),
        ),
    ] {
        idp.publish_text(body);
        match (check(idp.issuer("main", &json!({}))).await, expected) {
            (Ok(count), Ok(expected)) => assert_eq!(count, expected),
            (Err(cause), Err(expected)) => assert!(cause.contains(expected), "{cause}"),
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_token_type_that_is_not_listed_is_refused() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer(
        "main",
        &json!({"token_types": ["Application/at+jwt; v=2", "logout+jwt"]}),
    )]);
    for (typ, accepted) in [
        (json!("at+jwt"), true),
        (json!("application/AT+JWT"), true),
        (json!("at+jwt; v=1"), true),
        (json!(" Application/at+jwt ;charset=utf-8"), true),
        (json!("JWT"), false),
        (json!("JWT; at+jwt"), false),
        (json!("text/at+jwt"), false),
        (json!(""), false),
        (json!(";"), false),
        (json!(null), false),
        (json!("logout+jwt"), false),
    ] {
        let header = json!({"alg": "RS256", "kid": "k1", "typ": typ}).to_string();
        let token = RSA.sign(
            jsonwebtoken::Algorithm::RS256,
            &header,
            &claims(&idp.url, &json!({})).to_string(),
        );
        assert_eq!(verify(&verifier, &token).await.is_ok(), accepted, "{typ}");
    }
}

#[tokio::test]
async fn a_logout_token_is_refused_however_its_type_is_written() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let any = verifier(vec![idp.issuer("main", &json!({}))]);
    let listed = json!({"token_types": ["logout+jwt", "JWT"]});
    let listed = verifier(vec![idp.issuer("main", &listed)]);
    for typ in [
        "logout+jwt",
        "Logout+JWT",
        "application/logout+jwt",
        "APPLICATION/LOGOUT+JWT",
        "logout+jwt; x=1",
        "logout+jwt;",
        " logout+jwt\t",
        "application/logout+jwt ; x=\"a;b\"",
        "application / logout+jwt",
        "\u{a0}logout+jwt",
    ] {
        let header = json!({"alg": "RS256", "kid": "k1", "typ": typ}).to_string();
        let payload = claims(&idp.url, &json!({})).to_string();
        let token = RSA.sign(jsonwebtoken::Algorithm::RS256, &header, &payload);
        for verifier in [&any, &listed] {
            let reason = reason(verify(verifier, &token).await);
            assert_eq!(reason, "the token is a logout token", "{typ}");
        }
    }
}

#[tokio::test]
async fn every_validation_must_be_true() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let verifier = verifier(vec![idp.issuer(
        "main",
        &json!({"validations": [
            {"rule": "claims.email_verified == true", "message": "email is not verified"},
            {"rule": "claims.exp - claims.iat <= 3600", "message": "lives too long"},
        ]}),
    )]);
    let outcome = |changes: Value| {
        let token = RSA.token("k1", &claims(&idp.url, &changes));
        let verifier = &verifier;
        async move { verify(verifier, &token).await }
    };
    outcome(json!({"email_verified": true, "iat": NOW}))
        .await
        .unwrap();
    for (changes, expected) in [
        (
            json!({"email_verified": false, "iat": NOW}),
            "email is not verified",
        ),
        (
            json!({"email_verified": "true", "iat": NOW}),
            "email is not verified",
        ),
        (
            json!({"iat": NOW}),
            "email is not verified (the rule failed: no such key: `email_verified`)",
        ),
        (json!({"email_verified": true, "iat": 0}), "lives too long"),
    ] {
        assert_eq!(
            reason(outcome(changes.clone()).await),
            expected,
            "{changes}"
        );
    }
}

/// Microsoft's shape: `{tid}` in the issuer, keys by discovery at `common`, which names `{tenantid}`.
#[tokio::test]
async fn a_multi_tenant_issuer_takes_its_tenants_and_nobody_else() {
    let mut own = P256.jwk("own");
    own["issuer"] = "https://login.example/only-this/v2.0".into();
    let idp = Idp::start(&[]).await;
    let template = format!("{}/{{tid}}/v2.0", idp.url);
    let mut any_tenant = RSA.jwk("k1");
    any_tenant["issuer"] = format!("{}/{{tenantid}}/v2.0", idp.url).into();
    idp.publish(&[any_tenant, own]);
    idp.discovery(json!({"issuer": format!("{}/{{tenantid}}/v2.0", idp.url), "jwks_uri": format!("{}/jwks", idp.url)}));
    let changes = json!({"issuer": template, "algorithms": ["RS256", "ES256"], "tenants": ["Tenant-A", "tenant-b"]});
    let listed = verifier(vec![idp.issuer("entra", &changes)]);
    let mut changes = changes;
    changes["tenants"] = "any".into();
    let any = verifier(vec![idp.issuer("entra", &changes)]);

    let token = |in_iss: &str, tid: Value| {
        RSA.token(
            "k1",
            &claims(&format!("{}/{in_iss}/v2.0", idp.url), &json!({"tid": tid})),
        )
    };
    verify(&listed, &token("tenant-a", json!("tenant-a")))
        .await
        .unwrap();
    verify(&any, &token("tenant-c", json!("tenant-c")))
        .await
        .unwrap();
    for (verifier, token, expected) in [
        (
            &listed,
            token("tenant-c", json!("tenant-c")),
            "the tenant is not among",
        ),
        (
            &listed,
            token("tenant-a", json!("tenant-b")),
            "`tid` is not the tenant in `iss`",
        ),
        (
            &any,
            token("tenant-a", json!("tenant-b")),
            "`tid` is not the tenant in `iss`",
        ),
        (&any, token("tenant-a", json!(null)), "there is no `tid`"),
        (
            &any,
            token("tenant-a", json!(["tenant-a"])),
            "`tid` is no string",
        ),
        (&any, token("", json!("")), "no configured issuer"),
        (&any, token("{tid}", json!("{tid}")), "no configured issuer"),
        (
            &any,
            token("a/../b", json!("a/../b")),
            "no configured issuer",
        ),
        (
            &any,
            P256.token(
                "own",
                &claims(
                    &format!("{}/tenant-a/v2.0", idp.url),
                    &json!({"tid": "tenant-a"}),
                ),
            ),
            "not valid",
        ),
    ] {
        let reason = reason(verify(verifier, &token).await);
        assert!(reason.contains(expected), "{reason} instead of {expected}");
    }
    assert_eq!(listed.statuses()[0].source, "discovery");
}

#[tokio::test]
async fn one_tenant_s_own_entry_goes_before_the_multi_tenant_one() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let jwks = format!("{}/jwks", idp.url);
    let iss = format!("{}/tenant-a/v2.0", idp.url);
    let many =
        json!({"issuer": format!("{}/{{tid}}/v2.0", idp.url), "jwks_uri": jwks, "tenants": "any"});
    let verifier = verifier(vec![
        idp.issuer("many", &many),
        idp.issuer("one", &json!({"issuer": iss, "jwks_uri": jwks})),
    ]);
    let token = RSA.token("k1", &claims(&iss, &json!({"tid": "tenant-a"})));
    assert_eq!(verify(&verifier, &token).await.unwrap().issuer(), "one");
}

#[tokio::test]
async fn an_issuer_that_names_another_in_its_discovery_gives_no_keys() {
    let idp = Idp::start(&[RSA.jwk("k1")]).await;
    let token = RSA.token("k1", &claims(&idp.url, &json!({})));
    idp.discovery(
        json!({"issuer": "https://other.example", "jwks_uri": format!("{}/jwks", idp.url)}),
    );
    let outcome = verify(&verifier(vec![idp.issuer("main", &json!({}))]), &token).await;
    assert!(matches!(outcome, Err(Error::IssuerUnavailable { .. })));
    // `{tenantid}` is Microsoft's way of saying "any tenant"; an issuer of one tenant does not say it.
    idp.discovery(json!({"issuer": idp.url.replace("127", "{tenantid}"), "jwks_uri": format!("{}/jwks", idp.url)}));
    let outcome = verify(&verifier(vec![idp.issuer("main", &json!({}))]), &token).await;
    assert!(matches!(outcome, Err(Error::IssuerUnavailable { .. })));
    assert_eq!(idp.key_fetches(), 0);
}

#[tokio::test]
async fn all_mistakes_of_all_issuers_are_reported_at_once() {
    let short = {
        let mut issuer: config::Issuer = serde_json::from_value(json!({"issuer": "https://a.example", "audiences": ["a"], "algorithms": ["RS256", "HS256", "HS512"]})).unwrap();
        issuer.hmac_secrets = vec![shared_secret("too short")];
        issuer
    };
    let mut both = short.clone();
    both.issuer = "https://both.example".into();
    both.algorithms = None;
    both.jwks_uri = Some("https://both.example/jwks".parse().unwrap());
    let plain = |value: Value| serde_json::from_value::<config::Issuer>(value).unwrap();
    let issuers = vec![
        short,
        both,
        plain(
            json!({"issuer": "http://login.example", "algorithms": ["none", "HS256", "ES512"], "validations": [
                {"rule": "claim.x", "message": "m"}, {"rule": "claims.x ==", "message": "m"},
            ]}),
        ),
        plain(
            json!({"issuer": "https://x.example", "audiences": [""], "jwks_uri": "http://keys.example/", "algorithms": []}),
        ),
        plain(json!({"issuer": "no url", "audiences": ["a"]})),
        plain(json!({"issuer": "https://m.example/{tid}", "audiences": ["a"]})),
        plain(json!({"issuer": "https://n.example/", "audiences": ["a"], "tenants": "any"})),
        plain(json!({"issuer": "https://n.example/", "audiences": ["a"]})),
    ];
    let mistakes = Verifier::new(&authn(issuers), &outbound(), None)
        .err()
        .unwrap();
    let places: Vec<&str> = mistakes
        .iter()
        .map(|mistake| mistake.place.as_str())
        .collect();
    assert_eq!(
        places,
        [
            "authn.issuers[0].algorithms",
            "authn.issuers[0].algorithms",
            "authn.issuers[0].hmac_secret",
            "authn.issuers[1].hmac_secret",
            "authn.issuers[2].audiences",
            "authn.issuers[2].algorithms",
            "authn.issuers[2].algorithms",
            "authn.issuers[2].algorithms",
            "authn.issuers[2].validations[0].rule",
            "authn.issuers[2].validations[1].rule",
            "authn.issuers[2].issuer",
            "authn.issuers[3].audiences",
            "authn.issuers[3].algorithms",
            "authn.issuers[3].jwks_uri",
            "authn.issuers[4].issuer",
            "authn.issuers[5].tenants",
            "authn.issuers[6].tenants",
            "authn.issuers[7].issuer",
        ]
    );
    let text = format!("{mistakes:?}");
    assert!(!text.contains("too short"), "a secret is shown: {text}");
}
