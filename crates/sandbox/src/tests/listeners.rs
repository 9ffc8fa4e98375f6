//! TLS, stopping, and the unpacked configuration.

use super::*;
use crate::{Addresses, Options, Upstream, unpack};

#[tokio::test]
async fn tls_serves_the_same_under_microsofts_names() {
    let sandbox = Sandbox::start().await;
    let ca = reqwest::Certificate::from_pem(sandbox.upstream.ca_pem().as_bytes()).unwrap();
    let address = sandbox
        .upstream
        .tls_url()
        .strip_prefix("https://")
        .unwrap()
        .parse()
        .unwrap();
    let mut client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
    for host in [
        "app.powerbi.com",
        "api.powerbi.com",
        "login.microsoftonline.com",
    ] {
        client = client.resolve(host, address);
    }
    let client = client.build().unwrap();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
        ("scope", SCOPE),
    ];
    let port = address.port();
    let login = format!("https://login.microsoftonline.com:{port}/{TENANT}/oauth2/v2.0/token");
    let answer: Value = client
        .post(login)
        .form(&form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let bearer = answer["access_token"].as_str().unwrap();
    let groups = client
        .get(format!("https://api.powerbi.com:{port}/v1.0/myorg/groups"))
        .bearer_auth(bearer);
    assert_eq!(groups.send().await.unwrap().status(), 200);
    let page = client
        .get(format!("https://app.powerbi.com:{port}/reportEmbed"))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    let url = format!("{}/idp/jwks", sandbox.upstream.tls_url());
    assert!(
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(url)
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_public_url_is_in_the_certificate_and_in_the_issuer() {
    let public = "https://sandbox.example:8443";
    let upstream = Upstream::start(Options {
        public_url: Some(public.to_owned()),
        ..Options::default()
    })
    .await
    .unwrap();
    let address = upstream.tls_url().strip_prefix("https://").unwrap();
    let ca = reqwest::Certificate::from_pem(upstream.ca_pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .resolve("sandbox.example", address.parse().unwrap())
        .build()
        .unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    let url = format!("https://sandbox.example:{port}/idp/.well-known/openid-configuration");
    let answer = client.get(url).send().await.unwrap();
    let discovery: Value = answer.json().await.unwrap();
    assert_eq!(discovery["issuer"], format!("{public}/idp"));
    assert_eq!(discovery["jwks_uri"], format!("{public}/idp/jwks"));
}

#[tokio::test]
async fn a_stopped_sandbox_frees_its_port() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let address: std::net::SocketAddr = upstream
        .url()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    upstream.stop().await;
    assert!(tokio::net::TcpListener::bind(address).await.is_ok());
}

#[test]
fn unpacked_files_hold_the_real_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = Addresses {
        listen: "127.0.0.1:18080".parse().unwrap(),
        ops_listen: "127.0.0.1:19090".parse().unwrap(),
        upstream: "http://127.0.0.1:18090".to_owned(),
    };
    let unpacked = unpack(folder.path(), &addresses).unwrap();
    let broker = std::fs::read_to_string(unpacked.config).unwrap();
    for address in [
        "127.0.0.1:18080",
        "127.0.0.1:19090",
        "http://127.0.0.1:18090/idp",
    ] {
        assert!(broker.contains(address));
    }
    assert!(!broker.contains(":8080") && !broker.contains(":8090") && !broker.contains(":9090"));
    assert!(unpacked.policy.is_file());
}
