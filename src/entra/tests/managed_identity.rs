//! Managed identities: the metadata services of the machine, and the library's pipeline over our transport.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::{ClientOptions, Method, Pipeline, Request, Transport as Pipe};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use time::OffsetDateTime;
use url::Url;

use super::support::{
    Answer, CLIENT, Entra, SecretFile, TENANT, client_secret, principal, text, try_store,
};
use crate::config::{self, Secret};
use crate::entra::failure::Failure;
use crate::entra::transport::{Destination, Transport, unwrap};
use crate::outbound::Outbound;

fn machine() -> Transport {
    let outbound = Outbound::new(&config::Tls::default()).unwrap();
    Transport::new(&outbound, Destination::Machine)
}

/// A request through the library's pipeline with its own retries, as its IMDS credential forces them on.
async fn through_the_library(url: &Url) -> Result<Value, Failure> {
    let options = ClientOptions {
        transport: Some(Pipe::new(Arc::new(machine()))),
        ..ClientOptions::default()
    };
    let pipeline = Pipeline::new(None, None, options, Vec::new(), Vec::new(), None);
    let mut request = Request::new(url.clone(), Method::Get);
    let response = pipeline
        .send(&azure_core::http::Context::new(), &mut request, None)
        .await
        .map_err(|error| unwrap(&error))?;
    Ok(serde_json::from_slice(response.body()).unwrap())
}

#[tokio::test]
async fn a_metadata_services_token_lives_until_expires_on() {
    let entra = Entra::start().await;
    let end = OffsetDateTime::now_utc().unix_timestamp() + 1000;
    // `expires_in` counts from when the platform fetched the token.
    entra.next(Answer::new(
        200,
        json!({"access_token": "m", "token_type": "Bearer", "expires_in": "86400", "expires_on": end.to_string()})
            .to_string(),
    ));
    let body = through_the_library(entra.url()).await.unwrap();
    assert_eq!(body["expires_on"], end.to_string());
}

#[tokio::test]
async fn the_library_retries_nothing() {
    for status in [404, 410, 429, 500, 503] {
        let entra = Entra::start().await;
        entra.always(Answer::new(status, "busy"));
        let failure = through_the_library(entra.url()).await.unwrap_err();
        assert_eq!(failure.code, format!("HTTP {status}"));
        assert_eq!(entra.count(), 1);
    }
}

#[tokio::test]
async fn a_metadata_service_elsewhere_is_not_asked_in_the_clear() {
    let url = "http://0.0.0.0:9/msi/token".parse().unwrap();
    let failure = through_the_library(&url).await.unwrap_err();
    assert_eq!(failure.code, "identity_endpoint");
}

#[tokio::test]
async fn an_identity_that_is_not_assigned_is_named() {
    for body in [
        r#"{"error":"invalid_request","error_description":"Identity not found"}"#,
        r#"{"statusCode":400,"message":"No managed identity found"}"#,
    ] {
        let entra = Entra::start().await;
        entra.next(Answer::new(400, body));
        let failure = through_the_library(entra.url()).await.unwrap_err();
        assert!(failure.remedy.contains("is not assigned"), "{failure}");
    }
}

/// Environment variables belong to a process, so the next two tests run this one in a process of its own, with
/// `TEST_AUTHORITY`: a new store for each kind, and what became of it. By itself it has nothing to do.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the parent process reads it")]
async fn in_a_process_of_its_own() {
    let Ok(authority) = Secret::from_env("TEST_AUTHORITY") else {
        return;
    };
    let authority = authority.current();
    let authority: Url = authority.expose_secret().parse().unwrap();
    let secret = SecretFile::new("s3cret");
    for credential in [
        config::Credential::ManagedIdentity(config::ManagedIdentity {
            client_id: Some("user-assigned".into()),
        }),
        config::Credential::WorkloadIdentity(config::WorkloadIdentity::default()),
        client_secret(&secret),
    ] {
        let tokens = try_store(principal(&authority, vec![credential]), 60).unwrap();
        println!("outcome {}", text(&tokens).await);
    }
}

/// The outcomes of [`in_a_process_of_its_own`] with `environment`.
async fn outcomes(environment: &[(&str, &str)]) -> Vec<String> {
    let name = "entra::tests::managed_identity::in_a_process_of_its_own";
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "--nocapture", name])
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    for variable in ["NO_PROXY", "no_proxy", "http_proxy", "https_proxy"] {
        child.env_remove(variable);
    }
    child.envs(environment.iter().copied());
    let output = tokio::time::timeout(Duration::from_secs(60), child.output())
        .await
        .unwrap()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    let outcomes = shown.lines().filter_map(|line| line.split_once("outcome "));
    outcomes.map(|(_, outcome)| outcome.to_owned()).collect()
}

#[tokio::test]
async fn the_environment_chooses_the_metadata_service_and_nothing_else() {
    let entra = Entra::start().await;
    let end = OffsetDateTime::now_utc().unix_timestamp() + 3600;
    entra.rule(move |asked| {
        let body = json!({"access_token": "m", "token_type": "Bearer", "expires_on": end.to_string(), "resource": "r"});
        (asked.uri.path() == "/msi/token").then(|| Answer::new(200, body.to_string()))
    });
    let federated = SecretFile::new("projected\n");
    let outcomes = outcomes(&[
        ("TEST_AUTHORITY", entra.url().as_str()),
        (
            "IDENTITY_ENDPOINT",
            entra.url().join("msi/token").unwrap().as_str(),
        ),
        ("IDENTITY_HEADER", "header-secret"),
        (
            "AZURE_FEDERATED_TOKEN_FILE",
            federated.path().to_str().unwrap(),
        ),
        // None of these may have any effect.
        ("AZURE_AUTHORITY_HOST", "https://elsewhere.invalid/"),
        ("AZURE_TENANT_ID", "elsewhere"),
        ("AZURE_CLIENT_ID", "elsewhere"),
        ("HTTP_PROXY", "http://127.0.0.1:9/"),
        ("HTTPS_PROXY", "http://127.0.0.1:9/"),
    ])
    .await;
    assert_eq!(outcomes, ["m", "token-2", "token-3"]);

    let [machine, workload, secret] = entra.all().try_into().unwrap();
    assert_eq!(machine.headers["x-identity-header"], "header-secret");
    let query = machine.uri.query().unwrap().as_bytes();
    let query: BTreeSet<(String, String)> =
        url::form_urlencoded::parse(query).into_owned().collect();
    let expected = [
        ("api-version", "2019-08-01"),
        ("client_id", "user-assigned"),
        ("resource", "https://analysis.windows.net/powerbi/api"),
    ];
    assert_eq!(
        query,
        expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    );
    assert_eq!(workload.form["client_assertion"], "projected");
    for asked in [workload, secret] {
        assert_eq!(asked.uri.path(), format!("/{TENANT}/oauth2/v2.0/token"));
        assert_eq!(asked.form["client_id"], CLIENT);
    }
}

#[tokio::test]
async fn a_metadata_service_is_never_asked_through_a_proxy() {
    let proxy = Entra::start().await;
    let federated = SecretFile::new("projected");
    // An address of this machine that does not count as loopback, where nobody listens.
    let outcomes = outcomes(&[
        ("TEST_AUTHORITY", "https://0.0.0.0:9/"),
        ("IDENTITY_ENDPOINT", "https://0.0.0.0:9/msi/token"),
        ("IDENTITY_HEADER", "header-secret"),
        (
            "AZURE_FEDERATED_TOKEN_FILE",
            federated.path().to_str().unwrap(),
        ),
        ("HTTPS_PROXY", proxy.url().as_str()),
    ])
    .await;
    assert!(outcomes[0].contains("no connection"), "{outcomes:?}");
    assert_eq!(
        proxy.count(),
        2,
        "the two for Entra alone used it: {outcomes:?}"
    );
}
