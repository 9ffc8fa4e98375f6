//! The demo app's issuer.

use super::*;

#[tokio::test]
async fn personas_get_tokens_that_the_published_key_verifies() {
    let sandbox = Sandbox::start().await;
    let issuer = format!("{}/idp", sandbox.upstream.url());
    let jwt = sandbox
        .get("/idp/token?persona=ana")
        .await
        .is(200, "ey")
        .text;
    let keys: jsonwebtoken::jwk::JwkSet =
        serde_json::from_value(sandbox.get("/idp/jwks").await.json()).unwrap();
    let kid = jsonwebtoken::decode_header(&jwt).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["embed-broker"]);
    validation.set_issuer(&[&issuer]);
    let claims = jsonwebtoken::decode::<Value>(&jwt, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(claims["regions"], json!(["EMEA"]));
    let discovery = sandbox
        .get("/idp/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(discovery["issuer"], issuer);
}

#[tokio::test]
async fn tests_bend_tokens_and_rotate_keys() {
    let sandbox = Sandbox::start().await;
    let bent = "/idp/token?persona=ana&expires_in=-60&audience=other&claims=%7B%22sub%22%3Anull%2C%22x%22%3A1%7D";
    let claims = claims_of(&sandbox.get(bent).await.text);
    assert_eq!((&claims["aud"], &claims["x"]), (&json!("other"), &json!(1)));
    assert!(claims.get("sub").is_none());
    assert!(claims["exp"].as_i64() < claims["iat"].as_i64());
    sandbox
        .get("/idp/token?persona=nobody")
        .await
        .is(400, "ana, ben");

    let before = sandbox.get("/idp/jwks").await.json();
    sandbox
        .control(Method::POST, "/sandbox/idp/rotate?keep=true", json!({}))
        .await
        .is(200, "kid");
    assert_eq!(
        sandbox.get("/idp/jwks").await.json()["keys"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    sandbox
        .control(Method::POST, "/sandbox/idp/rotate", json!({}))
        .await
        .is(200, "kid");
    let after = sandbox.get("/idp/jwks").await.json();
    assert_eq!(after["keys"].as_array().unwrap().len(), 1);
    assert_ne!(before["keys"][0]["n"], after["keys"][0]["n"]);
}
