//! Records, faults and changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{Insight, Options, Upstream};

#[tokio::test]
async fn calls_are_recorded_without_secrets() {
    let sandbox = Sandbox::start().await;
    let blob = "the-users-own-token";
    let identity = json!({"identityBlob": {"value": blob}});
    let token = sandbox.token("", &shared(15, &identity)).await;
    let calls = sandbox.get("/sandbox/calls").await;
    for secret in [SECRET, blob, token.as_str()] {
        assert!(!calls.text.contains(secret));
    }
    let calls = calls.json();
    assert_eq!(calls[0]["service"], "entra");
    assert_eq!(calls[1]["service"], "power_bi");
    assert_eq!(
        (&calls[1]["status"], &calls[1]["principal"]),
        (&json!(200), &json!(CLIENT))
    );
    assert_eq!(calls[1]["body"]["datasets"][0]["id"], dataset(15));
    let shown = json!({ "token": token });
    let shown = sandbox.control(Method::POST, "/sandbox/rows", shown).await;
    assert_eq!(calls[1]["token_id"], shown.json()["tokenId"]);
    assert_eq!(calls[0]["token_id"], Value::Null);
    sandbox
        .send(sandbox.request(Method::DELETE, "/sandbox/calls"))
        .await
        .is(204, "");
    assert_eq!(sandbox.get("/sandbox/calls").await.json(), json!([]));
}

#[tokio::test]
async fn faults_strike_as_often_as_asked() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let fault = json!([
        {"service": "power_bi", "path_contains": "groups", "skip": 1, "times": 1, "status": 429,
         "headers": {"Retry-After": "7"}, "body": {"message": "slow down"}},
        {"service": "power_bi", "method": "POST", "drop_connection": true},
        {"service": "power_bi", "path_contains": "capacities", "redirect_to": "https://evil.example/"},
        {"service": "idp", "path_contains": "jwks", "delay_ms": 1},
    ]);
    sandbox
        .control(Method::PUT, "/sandbox/faults", fault)
        .await
        .is(204, "");
    sandbox.api(&bearer, "", "groups").await.is(200, "");
    sandbox
        .api(&bearer, "", "groups")
        .await
        .is(429, "slow down");
    sandbox.api(&bearer, "", "groups").await.is(200, "");
    let dropped = sandbox
        .request(Method::POST, "/v1.0/myorg/GenerateToken")
        .bearer_auth(&bearer)
        .send()
        .await;
    assert!(dropped.is_err());
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    let url = format!("{}/v1.0/myorg/capacities", sandbox.upstream.url());
    let redirected = client
        .build()
        .unwrap()
        .get(url)
        .bearer_auth(&bearer)
        .send()
        .await
        .unwrap();
    assert_eq!(redirected.status(), 307);
    sandbox.get("/idp/jwks").await.is(200, "keys");
    sandbox
        .send(sandbox.request(Method::DELETE, "/sandbox/faults"))
        .await
        .is(204, "");
    sandbox
        .mint("", &shared(12, &Value::Null))
        .await
        .is(200, "token");
    sandbox
        .control(
            Method::PUT,
            "/sandbox/faults",
            json!([{"service": "idp", "stauts": 500}]),
        )
        .await
        .is(422, "stauts");
    let states: Vec<Value> = sandbox
        .get("/sandbox/calls")
        .await
        .json()
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["path"] == "/v1.0/myorg/GenerateToken")
        .map(|call| call["status"].clone())
        .collect();
    assert_eq!(states, [Value::Null, json!(200)]);
}

#[tokio::test]
async fn reports_come_and_go_by_the_control_path() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let twin = json!({"workspace": SHARED, "name": "Price List", "datasetId": dataset(12)});
    let id = sandbox
        .control(Method::POST, "/sandbox/reports", twin)
        .await
        .is(201, "id")
        .json();
    let list = sandbox
        .api(&bearer, "", &format!("groups/{SHARED}/reports"))
        .await
        .text;
    assert_eq!(list.matches(r#""name":"Price List""#).count(), 2);
    let path = format!("/sandbox/reports/{}", id["id"].as_str().unwrap());
    sandbox
        .control(Method::PATCH, &path, json!({"name": "Other"}))
        .await
        .is(204, "");
    sandbox
        .control(Method::PATCH, &path, json!({"nmae": "Other"}))
        .await
        .is(400, "nmae");
    sandbox
        .send(sandbox.request(Method::DELETE, &path))
        .await
        .is(204, "");
    sandbox
        .send(sandbox.request(Method::DELETE, &path))
        .await
        .is(404, "");
}

#[tokio::test]
async fn the_demo_reads_personas_and_edits_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, "items: {}\n").unwrap();
    let options = Options {
        policy_file: Some(policy.clone()),
        broker_url: Some("http://127.0.0.1:1".into()),
        ..Options::default()
    };
    let sandbox = Sandbox {
        upstream: Upstream::start(options).await.unwrap(),
        ..Sandbox::start().await
    };
    let state = sandbox.get("/sandbox/state").await.json();
    assert_eq!(state["personas"][0]["id"], "ana");
    assert_eq!(state["broker"], "http://127.0.0.1:1");
    sandbox.get("/sandbox/policy").await.is(200, "items: {}");
    let put = sandbox
        .request(Method::PUT, "/sandbox/policy")
        .body("rules: []\n");
    sandbox.send(put).await.is(204, "");
    assert_eq!(std::fs::read_to_string(&policy).unwrap(), "rules: []\n");
    for path in [
        "/",
        "/reportEmbed?reportId=x",
        "/rdlEmbed",
        "/dashboardEmbed",
        "/embed",
        "/qnaEmbed",
    ] {
        sandbox.get(path).await.is(200, "<!doctype html>");
    }
}

#[tokio::test]
async fn the_demo_asks_the_broker_beside_it_when_there_is_one() {
    let sandbox = Sandbox::start().await;
    let question = json!({"claims": {"sub": "ana"}, "item": "sales"});
    let explain = async || {
        sandbox
            .control(Method::POST, "/sandbox/explain", question.clone())
            .await
    };
    let forget = async || {
        sandbox
            .control(Method::POST, "/sandbox/tokens/forget", Value::Null)
            .await
    };
    explain().await.is(404, "");
    forget().await.is(404, "");
    sandbox.get("/sandbox/policy/state").await.is(404, "");
    let forgotten = Arc::new(AtomicBool::new(false));
    let forgets = Arc::clone(&forgotten);
    sandbox.upstream.ask(Insight {
        explain: Box::new(|question| json!([question.claims, question.item, question.access])),
        judged: Box::new(|| (7, Some("line 3".into()))),
        forget_tokens: Box::new(move || forgets.store(true, Ordering::SeqCst)),
    });
    let told = explain().await.is(200, "").json();
    assert_eq!(told, json!([{"sub": "ana"}, "sales", null]));
    let state = sandbox.get("/sandbox/policy/state").await.json();
    assert_eq!(state, json!({"judged": 7, "refusal": "line 3"}));
    forget().await.is(204, "");
    assert!(forgotten.load(Ordering::SeqCst));
}

/// A request to the control path that changes something.
fn reset(sandbox: &Sandbox) -> reqwest::RequestBuilder {
    sandbox.request(Method::POST, "/sandbox/reset")
}

#[tokio::test]
async fn the_control_path_is_closed_to_host_names_that_are_not_the_sandboxs() {
    let sandbox = Sandbox::start().await;
    let port = sandbox.upstream.url().rsplit_once(':').unwrap().1;
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::1]",
        "192.168.1.5",
        "app.powerbi.com",
    ] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            let answer = sandbox.send(reset(&sandbox).header("host", &host)).await;
            assert_eq!(answer.status, 204, "{host}: {}", answer.text);
        }
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:127.0.0.1",
        "user@localhost",
        "evil-localhost",
        "",
    ] {
        for path in [
            "reset",
            "policy/state",
            "tokens/forget",
            "explain",
            "faults",
        ] {
            let request = sandbox.request(Method::GET, &format!("/sandbox/{path}"));
            let answer = sandbox.send(request.header("host", host)).await;
            assert_eq!(answer.status, 421, "{path} for `{host}`: {}", answer.text);
        }
        let answer = sandbox.send(reset(&sandbox).header("host", host)).await;
        answer.is(421, "DNS rebinding");
    }
    // Sign-in and the simulated services are what they are for everybody.
    let keys = sandbox.request(Method::GET, "/idp/jwks");
    sandbox
        .send(keys.header("host", "evil.example"))
        .await
        .is(200, "keys");
}

#[tokio::test]
async fn the_control_path_is_closed_to_pages_of_another_origin() {
    let sandbox = Sandbox::start().await;
    let own = sandbox.upstream.url();
    let other_port = format!("{}1", &own[..own.len() - 1]);
    let other_port = if other_port == own {
        format!("{own}1")
    } else {
        other_port
    };
    for (origin, status) in [
        (own, 204),
        ("null", 403),
        ("https://evil.example", 403),
        ("http://127.0.0.1", 403),
        (&other_port, 403),
        (&format!("{own}.evil.example"), 403),
        ("", 403),
    ] {
        let answer = sandbox.send(reset(&sandbox).header("origin", origin)).await;
        assert_eq!(answer.status, status, "`{origin}`: {}", answer.text);
    }
    sandbox.send(reset(&sandbox)).await.is(204, "");
}

#[tokio::test]
async fn the_public_host_may_control_the_sandbox_as_well() {
    let public = Some("https://sandbox.example:8443".to_owned());
    let upstream = Upstream::start(Options {
        public_url: public,
        ..Options::default()
    })
    .await
    .unwrap();
    let sandbox = Sandbox {
        upstream,
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
    };
    for (host, status) in [
        ("sandbox.example:8443", 204),
        ("sandbox.example", 204),
        ("other.example", 421),
    ] {
        let answer = sandbox.send(reset(&sandbox).header("host", host)).await;
        assert_eq!(answer.status, status, "{host}: {}", answer.text);
    }
}
