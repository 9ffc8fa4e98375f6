//! Which tokens are minted, and what they show.

use super::*;

#[tokio::test]
async fn the_rls_matrix_is_enforced_in_the_services_words() {
    let sandbox = Sandbox::start().await;
    let needs = "requires effective identity to be provided";
    let cases = [
        (11, Value::Null, needs),
        (13, Value::Null, needs),
        (14, Value::Null, needs),
        (15, Value::Null, needs),
        (
            11,
            json!({"username": "u"}),
            "requires roles to be included in provided effective identity",
        ),
        (
            12,
            json!({"username": "u"}),
            "shouldn't have effective identity",
        ),
        (
            14,
            json!({"username": CLIENT, "roles": ["Everything"]}),
            "requries effective identity username to be identical to the caller's principal name",
        ),
        (13, json!({"username": "a&b"}), "alphanumeric"),
        (
            13,
            json!({"username": "a", "customData": "x"}),
            "custom data",
        ),
        (15, json!({"username": "a"}), "blob"),
        (
            16,
            json!({"username": "a", "roles": ["Everything"]}),
            "blob",
        ),
        (
            11,
            json!({"username": "a", "roles": ["Everything"], "identityBlob": {"value": "x"}}),
            "blob",
        ),
    ];
    for (n, identity, text) in cases {
        sandbox
            .mint("", &shared(n, &identity))
            .await
            .is(400, text)
            .is_invalid_request();
    }
    // A model that loses its roles must not get an identity any more.
    let change =
        json!({"isEffectiveIdentityRequired": false, "isEffectiveIdentityRolesRequired": false});
    let path = format!("/sandbox/datasets/{}", dataset(11));
    sandbox
        .control(Method::PATCH, &path, change)
        .await
        .is(204, "");
    let identity = json!({"username": "u", "roles": ["Everything"]});
    sandbox
        .mint("", &shared(11, &identity))
        .await
        .is(400, "shouldn't have effective identity");
}

impl Answer {
    #[track_caller]
    fn is_invalid_request(&self) {
        assert_eq!(self.json()["error"]["code"], "InvalidRequest");
    }
}

#[tokio::test]
async fn a_master_user_without_identity_sees_every_row() {
    let sandbox = Sandbox::start().await;
    let master = sandbox.master().await;
    let answer = sandbox
        .mint_at(&master, "", "", &shared(11, &Value::Null))
        .await
        .is(200, "token")
        .json();
    let token = answer["token"].as_str().unwrap();
    assert_eq!(
        sandbox.column(token, "Company").await,
        ["contoso", "fabrikam"]
    );
    let paginated = json!({"reports": [{"id": report(22)}]});
    sandbox
        .mint_at(&master, "", "", &paginated)
        .await
        .is(400, "service principal");
}

#[tokio::test]
async fn limits_of_the_request_are_enforced() {
    let sandbox = Sandbox::start().await;
    let with = |change: &Value| {
        let mut identity = json!({"username": "u", "roles": ["Everything"]});
        identity
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        shared(11, &identity)
    };
    let roles: Vec<String> = (0..51).map(|n| format!("r{n}")).collect();
    let many: Vec<Value> = (0..51).map(|_| json!({"id": dataset(12)})).collect();
    let mut negative = shared(12, &Value::Null);
    negative["lifetimeInMinutes"] = json!(-1);
    let mut twice = with(&json!({}));
    twice["identities"] = json!([twice["identities"][0], twice["identities"][0]]);
    let mut foreign = with(&json!({}));
    foreign["identities"][0]["datasets"] = json!([dataset(11), dataset(14)]);
    let mut nowhere = with(&json!({}));
    nowhere["identities"][0]["datasets"] = json!([]);
    let cases = [
        (with(&json!({"username": ""})), "username is required"),
        (with(&json!({"username": "x".repeat(257)})), "256"),
        (with(&json!({"username": "Jo Doe"})), "spaces"),
        (with(&json!({"username": "jörg"})), "ASCII"),
        (with(&json!({"roles": roles})), "50 roles"),
        (with(&json!({"roles": ["a,b"]})), "comma"),
        (with(&json!({"roles": ["x".repeat(51)]})), "1 to 50"),
        (with(&json!({"customData": "x".repeat(1025)})), "1024"),
        (json!({"datasets": many}), "50 entries"),
        (json!({}), "At least one dataset is required"),
        (
            json!({"reports": [{"id": report(12)}]}),
            "At least one dataset is required",
        ),
        (negative, "positive integer"),
        (twice, "Several identities"),
        (foreign, "does not cover"),
        (nowhere, "must list"),
    ];
    for (body, text) in cases {
        sandbox.mint("", &body).await.is(400, text);
    }
}

#[tokio::test]
async fn paginated_and_composite_items_need_their_models() {
    let sandbox = Sandbox::start().await;
    let identity = json!({"username": "u", "roles": ["Own Company"], "customData": "contoso", "datasets": [dataset(11)]});
    let mut body = json!({"reports": [{"id": report(21)}], "identities": []});
    sandbox
        .mint("", &body)
        .await
        .is(400, "xmlaPermissions ReadOnly");
    body["datasets"] = json!([{"id": dataset(11), "xmlaPermissions": "ReadOnly"}]);
    body["identities"] = json!([identity, {"username": "John Smith", "reports": [report(21)]}]);
    let token = sandbox.token("", &body).await;
    let page = sandbox
        .render(&token, "paginated_report", &report(21), json!({}))
        .await
        .is(200, "")
        .json();
    assert_eq!(values(&page["tables"][0], "Company"), ["contoso"]);
    body["identities"][1]["roles"] = json!(["x"]);
    sandbox.mint("", &body).await.is(400, "username only");

    let mut plan = json!({"reports": [{"id": report(17)}], "datasets": [{"id": dataset(17), "xmlaPermissions": "ReadOnly"}], "identities": [identity]});
    sandbox.mint("", &plan).await.is(400, "xmlaPermissions");
    plan["datasets"] = json!([{"id": dataset(17)}, {"id": dataset(11)}]);
    sandbox.mint("", &plan).await.is(400, "xmlaPermissions");
    for index in [0, 1] {
        plan["datasets"][index]["xmlaPermissions"] = json!("ReadOnly");
    }
    let token = sandbox.token("", &plan).await;
    let page = sandbox
        .render(&token, "report", &report(17), json!({}))
        .await
        .is(200, "Plan")
        .json();
    assert_eq!(values(&page["tables"][1], "Company"), ["contoso"]);

    let invoices = json!({"reports": [{"id": report(4)}], "identities": [{"username": "ana@contoso.example", "reports": [report(4)]}]});
    let token = sandbox.token(PROFILE_CONTOSO, &invoices).await;
    assert_eq!(
        sandbox.column(&token, "Account Manager").await,
        ["ana@contoso.example"]
    );
    let anonymous = sandbox
        .token(PROFILE_CONTOSO, &json!({"reports": [{"id": report(4)}]}))
        .await;
    assert!(
        sandbox
            .column(&anonymous, "Account Manager")
            .await
            .is_empty()
    );
    sandbox
        .mint(
            PROFILE_CONTOSO,
            &json!({"reports": [{"id": report(4), "allowEdit": true}]}),
        )
        .await
        .is(400, "viewed only");
}

#[tokio::test]
async fn v1_calls_have_their_own_limits() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let me = json!({"username": "u", "roles": ["Everything"], "datasets": [dataset(11)]});
    let view = json!({"accessLevel": "view", "identities": [me]});
    let two = json!({"accessLevel": "View", "identities": [me, me]});
    let lake = json!({"accessLevel": "View", "identities": [{"username": "u", "roles": ["Everything"], "datasets": [dataset(18)]}]});
    let create = json!({"accessLevel": "Create", "datasetId": dataset(11), "identities": [me]});
    let at = |n: u32| format!("groups/{SHARED}/reports/{}/", report(n));
    let cases = [
        (at(11), view.clone(), 200, "token"),
        (
            at(11),
            two.clone(),
            400,
            "multiple identities is not supported",
        ),
        (
            at(18),
            lake,
            400,
            "Embedding a DirectLake dataset is not supported with V1 embed token",
        ),
        (
            at(21),
            json!({"accessLevel": "View"}),
            400,
            "Paginated report with Power BI Dataset as a datasource is not supported with V1 embed token",
        ),
        (
            at(11),
            json!({"accessLevel": "Create", "identities": [me]}),
            400,
            "accessLevel",
        ),
        (at(1), view.clone(), 404, "PowerBIEntityNotFound"),
        (format!("groups/{SHARED}/reports/"), create, 200, "token"),
        (
            format!("groups/{SHARED}/reports/"),
            json!({"accessLevel": "Create"}),
            400,
            "datasetId",
        ),
        (
            format!("groups/{SHARED}/datasets/{}/", dataset(11)),
            view.clone(),
            200,
            "token",
        ),
        (
            format!("groups/{SHARED}/dashboards/{}/", dashboard(3)),
            view.clone(),
            200,
            "token",
        ),
        (
            format!("groups/{SHARED}/dashboards/{}/", dashboard(3)),
            json!({"accessLevel": "View"}),
            400,
            "requires effective identity",
        ),
        (
            format!("groups/{SHARED}/dashboards/{}/", dashboard(3)),
            json!({"accessLevel": "Edit"}),
            400,
            "accessLevel",
        ),
        (
            format!(
                "groups/{SHARED}/dashboards/{}/tiles/711e0000-0000-4000-8000-000000000012/",
                dashboard(3)
            ),
            json!({"accessLevel": "View"}),
            200,
            "token",
        ),
    ];
    for (path, body, status, text) in cases {
        sandbox
            .mint_at(&bearer, "", &path, &body)
            .await
            .is(status, text);
    }
}

#[tokio::test]
async fn workspaces_that_cannot_be_embedded_are_refused() {
    let sandbox = Sandbox::start().await;
    let master = sandbox.master().await;
    let classic = json!({"datasets": [{"id": dataset(41)}], "reports": [{"id": report(41)}]});
    sandbox
        .mint_at(&master, "", "", &classic)
        .await
        .is(400, "V2 workspace");
    let path = format!("groups/{CLASSIC}/reports/{}/", report(41));
    sandbox
        .mint_at(&master, "", &path, &json!({"accessLevel": "View"}))
        .await
        .is(200, "token");
    let path = format!("groups/{PERSONAL}/reports/{}/", report(42));
    sandbox
        .mint_at(&master, "", &path, &json!({"accessLevel": "View"}))
        .await
        .is(400, "My workspace");
    let viewer = sandbox
        .bearer_of(ARCHIVIST, "archive-secret-not-for-production")
        .await;
    sandbox
        .mint_at(&viewer, "", "", &shared(12, &Value::Null))
        .await
        .is(403, "");
    let trial = json!({"datasets": [{"id": dataset(31)}], "reports": [{"id": report(31)}]});
    sandbox.mint("", &trial).await.is(200, "token");
    sandbox
        .control(
            Method::PUT,
            "/sandbox/power_bi",
            json!({"trial_usage": 100}),
        )
        .await;
    sandbox
        .mint("", &trial)
        .await
        .is(403, "fwlink/?linkid=868976");
    assert!(
        sandbox
            .api(&sandbox.bearer().await, "", &format!("groups/{TRIAL}"))
            .await
            .text
            .contains(r#""isOnDedicatedCapacity":false"#)
    );
}

#[tokio::test]
async fn a_token_lives_as_long_as_asked_but_never_longer_than_the_entra_token() {
    let sandbox = Sandbox::start().await;
    let left = async |minutes: i64| {
        let mut body = shared(12, &Value::Null);
        body["lifetimeInMinutes"] = json!(minutes);
        let token = sandbox.token("", &body).await;
        assert!(token.starts_with("H4sI") && token.len() > 500);
        let shown = sandbox
            .send(
                sandbox
                    .request(Method::GET, "/sandbox/rows")
                    .header("Authorization", format!("EmbedToken {token}")),
            )
            .await;
        shown.json()["secondsLeft"].as_i64().unwrap()
    };
    assert!((590..=600).contains(&left(10).await));
    assert!((3590..=3599).contains(&left(0).await));
    assert!((3590..=3599).contains(&left(600).await));
    sandbox
        .control(Method::PUT, "/sandbox/entra", json!({"expires_in": 120}))
        .await;
    assert!((110..=120).contains(&left(10).await));
}
