//! Client assertions: a certificate's (PS256 or RS256 with `x5t#S256`), or a federated workload's.
//!
//! Facts from Microsoft's "certificate credentials": `aud` is the token endpoint, `iss` and `sub` are the client id,
//! and the assertion lives ten minutes at most. A federated token comes from the sandbox's own issuer.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{Form, Refusal, field, refuse};
use crate::seed::App;
use crate::state::{Shared, locked};
use crate::tls::ClientCertificate;

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What Entra expects in a federated token.
const EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";

/// Longest life of an assertion, in seconds.
const MAX_LIFE: i64 = 600;

#[derive(Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    sub: String,
    exp: i64,
    #[serde(default)]
    nbf: i64,
    jti: Option<String>,
}

/// Whether the form's assertion proves that `app` sent it.
pub(super) fn check(shared: &Shared, tenant: &str, app: &App, form: &Form) -> Result<(), Refusal> {
    if field(form, "client_assertion_type") != TYPE {
        return refuse(
            900_144,
            "invalid_request",
            "The request body must contain the parameter 'client_assertion_type'.",
        );
    }
    let assertion = field(form, "client_assertion");
    let header = jsonwebtoken::decode_header(assertion).map_err(|_| bad("is not a JWT"))?;
    if header.x5t_s256.is_none() {
        return check_federated(shared, assertion, header.kid.as_deref());
    }
    let certificate = ClientCertificate::get().map_err(|_| bad("cannot be checked"))?;
    if header.x5t_s256.as_deref() != Some(&*certificate.thumbprint) {
        return Err(bad("names a certificate that is not registered"));
    }
    if !matches!(header.alg, Algorithm::PS256 | Algorithm::RS256) {
        return Err(bad("has an unsupported algorithm"));
    }
    let claims = verify(assertion, header.alg, &certificate.public)?;
    check_claims(shared, tenant, app, &claims)
}

fn check_claims(shared: &Shared, tenant: &str, app: &App, claims: &Claims) -> Result<(), Refusal> {
    let suffix = format!("/{tenant}/oauth2/v2.0/token");
    let ours = [
        format!("{}/entra{suffix}", shared.url),
        format!("{}/entra{suffix}", shared.tls_url),
        format!("https://login.microsoftonline.com{suffix}"),
    ];
    let now = OffsetDateTime::now_utc().unix_timestamp();
    if !ours.contains(&claims.aud) {
        return refuse(
            700_023,
            "invalid_client",
            &format!(
                "Client assertion audience claim does not match Realm issuer. Expected '{}'.",
                ours[0]
            ),
        );
    }
    if claims.iss != app.client_id || claims.sub != app.client_id || claims.jti.is_none() {
        return refuse(
            700_021,
            "invalid_client",
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        );
    }
    if claims.exp <= now || claims.exp > now + MAX_LIFE || claims.nbf > now + 300 {
        return refuse(
            700_024,
            "invalid_client",
            "Client assertion is not within its valid time range.",
        );
    }
    Ok(())
}

fn check_federated(shared: &Shared, assertion: &str, kid: Option<&str>) -> Result<(), Refusal> {
    let public = locked(&shared.keys)
        .public(kid)
        .and_then(|jwk| DecodingKey::from_jwk(jwk).ok())
        .ok_or_else(|| bad("is signed by an unknown key"))?;
    let claims = verify(assertion, Algorithm::RS256, &public)?;
    if claims.aud != EXCHANGE_AUDIENCE || claims.iss != format!("{}/idp", shared.url) {
        return refuse(
            700_211,
            "invalid_client",
            "No matching federated identity record found for presented assertion.",
        );
    }
    if claims.exp <= OffsetDateTime::now_utc().unix_timestamp() {
        return refuse(
            700_024,
            "invalid_client",
            "Client assertion is not within its valid time range.",
        );
    }
    Ok(())
}

/// The claims of a well-signed assertion; their meaning is checked by the caller.
fn verify(assertion: &str, algorithm: Algorithm, key: &DecodingKey) -> Result<Claims, Refusal> {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<Claims>(assertion, key, &validation)
        .map(|data| data.claims)
        .map_err(|_| bad("failed signature validation"))
}

fn bad(what: &str) -> Refusal {
    Refusal {
        code: 700_027,
        error: "invalid_client",
        text: format!("Client assertion {what}."),
    }
}
