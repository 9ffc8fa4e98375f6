//! The read calls and strictness.

use super::*;

#[tokio::test]
async fn bad_bearers_are_refused_with_403_and_a_header() {
    let sandbox = Sandbox::start().await;
    let none = sandbox.get("/v1.0/myorg/groups").await.is(403, "");
    assert_eq!(
        (none.info.as_str(), none.text.as_str()),
        ("InvalidToken", "")
    );
    let foreign = sandbox.api("eyJ.eyJ.x", "", "groups").await;
    assert_eq!(
        (foreign.status.as_u16(), foreign.info.as_str()),
        (403, "InvalidToken")
    );
    sandbox
        .control(Method::PUT, "/sandbox/entra", json!({"expires_in": 0}))
        .await;
    let expired = sandbox.bearer().await;
    let answer = sandbox
        .api(&expired, "", "groups")
        .await
        .is(403, "resubmit with a new access token");
    assert_eq!(answer.info, "TokenExpired");
}

#[tokio::test]
async fn what_the_documents_do_not_have_is_refused_and_recorded() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    sandbox
        .api(&bearer, "", "gateways")
        .await
        .is(501, "knows no call GET");
    sandbox
        .api(&bearer, "", "groups?$expand=users")
        .await
        .is(400, "no query parameter $expand");
    sandbox
        .api(&bearer, "", &format!("groups/{SHARED}/reports?$top=1"))
        .await
        .is(400, "$top");
    let body = json!({"datasets": [{"id": dataset(12)}], "identity": []});
    sandbox
        .mint_at(&bearer, "", "", &body)
        .await
        .is(400, "unknown field `identity`");
    let request = sandbox.request(Method::POST, "/v1.0/myorg/GenerateToken");
    let plain = request.bearer_auth(&bearer).body("{}");
    sandbox
        .send(plain)
        .await
        .is(415, "application/octet-stream");
    sandbox
        .get("/v1.0/elsewhere")
        .await
        .is(404, "serves nothing");
    let calls = sandbox.get("/sandbox/calls").await.json();
    let complaints = calls
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| !call["complaint"].is_null());
    assert_eq!(complaints.count(), 6);
}

#[tokio::test]
async fn collections_come_in_pages_and_filters_are_strict() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let first = sandbox.api(&bearer, "", "groups?$top=5000").await.json();
    let second = sandbox
        .api(&bearer, "", "groups?$top=5000&$skip=100")
        .await
        .json();
    assert_eq!(first["value"].as_array().unwrap().len(), 100);
    assert!(!first.to_string().contains("Shared Models"));
    assert!(second.to_string().contains("Shared Models"));
    let named = sandbox
        .api(&bearer, "", "groups?$filter=name%20eq%20'Shared%20Models'")
        .await
        .json();
    assert_eq!(named["value"][0]["id"], SHARED);
    sandbox
        .api(&bearer, "", "groups?$filter=name%20eq%20'O'Brien'")
        .await
        .is(400, "Invalid filter");
    let profiles = sandbox
        .api(&bearer, "", "profiles?$filter=displayName%20eq%20'contoso'")
        .await
        .json();
    assert_eq!(profiles["value"][0]["id"], PROFILE_CONTOSO);
    sandbox
        .control(Method::PUT, "/sandbox/power_bi", json!({"page_size": 3}))
        .await
        .is(204, "");
    let short = sandbox.api(&bearer, "", "groups").await.json();
    assert_eq!(short["value"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_profile_sees_its_own_workspaces_only() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let path = format!("groups/{CONTOSO}/reports");
    let own = sandbox
        .api(&bearer, PROFILE_CONTOSO, &path)
        .await
        .is(200, "Sales Overview");
    let own = own.json();
    let paginated = own["value"]
        .as_array()
        .unwrap()
        .iter()
        .find(|report| report["name"] == "Invoices")
        .unwrap();
    assert!(paginated.get("datasetId").is_none());
    assert!(
        paginated["embedUrl"]
            .as_str()
            .unwrap()
            .starts_with("https://app.powerbi.com/rdlEmbed?reportId=")
    );
    for profile in ["", PROFILE_FABRIKAM] {
        let other = sandbox.api(&bearer, profile, &path).await;
        assert_eq!(
            (other.status.as_u16(), other.info.as_str()),
            (401, "GroupNotAccessible")
        );
        sandbox
            .mint(
                profile,
                &sales(&json!({"username": "u", "roles": ["Everything"]})),
            )
            .await
            .is(404, "PowerBIEntityNotFound");
    }
    let groups = sandbox.api(&bearer, PROFILE_CONTOSO, "groups").await.json();
    assert_eq!(groups["value"].as_array().unwrap().len(), 1);
    sandbox
        .api(&bearer, "940f11e0-0000-4000-8000-000000000009", "groups")
        .await
        .is(403, "Profile");
    sandbox
        .api(&bearer, PROFILE_CONTOSO, "profiles")
        .await
        .is(401, "PowerBINotAuthorizedException");
    let archivist = sandbox
        .bearer_of(ARCHIVIST, "archive-secret-not-for-production")
        .await;
    sandbox
        .api(&archivist, PROFILE_CONTOSO, "groups")
        .await
        .is(403, "Profile");
}

#[tokio::test]
async fn read_calls_answer_in_the_documented_shapes() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let (set, report, board) = (dataset(1), report(1), dashboard(1));
    let cases = [
        (
            format!("groups/{CONTOSO}"),
            "/isOnDedicatedCapacity",
            json!(true),
        ),
        (
            format!("groups/{CONTOSO}/users"),
            "/value/0/profile/displayName",
            json!("contoso"),
        ),
        (
            format!("groups/{CONTOSO}/reports/{report}"),
            "/reportType",
            json!("PowerBIReport"),
        ),
        (
            format!("groups/{CONTOSO}/reports/{report}/pages"),
            "/value/1/displayName",
            json!("Details"),
        ),
        (
            format!("groups/{CONTOSO}/datasets/{set}"),
            "/isEffectiveIdentityRolesRequired",
            json!(true),
        ),
        (
            format!("groups/{CONTOSO}/datasets/{set}/datasources"),
            "/value",
            json!([]),
        ),
        (
            format!("groups/{CONTOSO}/dashboards"),
            "/value/0/displayName",
            json!("Sales Dashboard"),
        ),
        (
            format!("groups/{CONTOSO}/dashboards/{board}/tiles"),
            "/value/2/datasetId",
            json!(dataset(2)),
        ),
        ("capacities".to_owned(), "/value/0/sku", json!("F64")),
        (
            "availableFeatures(featureName='embedTrial')".to_owned(),
            "/additionalInfo/usage",
            json!(1),
        ),
    ];
    for (path, pointer, expected) in cases {
        let answer = sandbox
            .api(&bearer, PROFILE_CONTOSO, &path)
            .await
            .is(200, "@odata.context")
            .json();
        assert_eq!(answer.pointer(pointer), Some(&expected), "{path}");
    }
    let missing = format!("groups/{CONTOSO}/reports/{}", self::report(5));
    sandbox
        .api(&bearer, PROFILE_CONTOSO, &missing)
        .await
        .is(404, "PowerBIEntityNotFound");
}

#[tokio::test]
async fn a_gateway_shows_its_users_to_its_administrators_only() {
    const GATEWAY: &str = "6a7e3a70-0000-4000-8000-000000000001";
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let sources = sandbox
        .api(
            &bearer,
            "",
            &format!("groups/{SHARED}/datasets/{}/datasources", dataset(13)),
        )
        .await
        .json();
    assert_eq!(sources["value"][0]["gatewayId"], GATEWAY);
    let source = sources["value"][0]["datasourceId"].as_str().unwrap();
    let gateway = format!("gateways/{GATEWAY}");
    let users = format!("{gateway}/datasources/{source}/users");
    for path in [&gateway, &users] {
        sandbox
            .api(&bearer, "", path)
            .await
            .is(401, "PowerBINotAuthorizedException");
    }
    sandbox
        .control(
            Method::PUT,
            "/sandbox/power_bi",
            json!({"gateway_admins": [OBJECT]}),
        )
        .await;
    sandbox
        .api(&bearer, "", &gateway)
        .await
        .is(200, "Sandbox Gateway");
    let listed = sandbox.api(&bearer, "", &users).await.json();
    assert_eq!(listed["value"][0]["identifier"], OBJECT);
    assert_eq!(
        listed["value"][0]["datasourceAccessRight"],
        "ReadOverrideEffectiveIdentity"
    );
    // A profile is never an administrator.
    sandbox
        .api(&bearer, PROFILE_CONTOSO, &gateway)
        .await
        .is(401, "PowerBINotAuthorizedException");
    // An administrator needs no further right to name somebody else.
    let path = format!("/sandbox/datasets/{}", dataset(13));
    sandbox
        .control(Method::PATCH, &path, json!({"impersonators": []}))
        .await;
    let ledger = shared(13, &json!({"username": "ana@contoso.example"}));
    sandbox.mint("", &ledger).await.is(200, "token");
    sandbox
        .control(
            Method::PUT,
            "/sandbox/power_bi",
            json!({"gateway_admins": []}),
        )
        .await;
    sandbox
        .mint("", &ledger)
        .await
        .is(400, "ReadOverrideEffectiveIdentity");
}

#[tokio::test]
async fn the_tenants_switches_keep_principals_and_profiles_out() {
    const SWITCH: &str = "ServicePrincipalIsNotAllowedByTenantAdminSwitch";
    let sandbox = Sandbox::start().await;
    let (bearer, master) = (sandbox.bearer().await, sandbox.master().await);
    let switch = async |body| {
        let answer = sandbox.control(Method::PUT, "/sandbox/power_bi", body);
        assert_eq!(answer.await.status.as_u16(), 204);
    };
    switch(json!({"profiles": false})).await;
    let refused = sandbox.api(&bearer, PROFILE_CONTOSO, "groups").await;
    assert_eq!(
        (refused.status.as_u16(), refused.info.as_str()),
        (401, SWITCH)
    );
    sandbox.api(&bearer, "", "groups").await.is(200, "value");
    switch(json!({"service_principals": false})).await;
    let refused = sandbox.api(&bearer, "", "groups").await;
    assert_eq!(
        (refused.status.as_u16(), refused.info.as_str()),
        (401, SWITCH)
    );
    sandbox.api(&master, "", "groups").await.is(200, "value");
}

#[tokio::test]
async fn workspaces_and_capacities_follow_the_control_path() {
    let sandbox = Sandbox::start().await;
    let bearer = sandbox.bearer().await;
    let path = format!("/sandbox/workspaces/{SHARED}");
    for (change, status) in [
        (json!({"users": [{"who": OBJECT, "right": "Viewer"}]}), 204),
        (json!({"capacity": null}), 204),
        (json!({"colour": "red"}), 400),
    ] {
        let answer = sandbox.control(Method::PATCH, &path, change).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    }
    let shared = format!("groups/{SHARED}");
    let group = sandbox.api(&bearer, "", &shared).await.json();
    assert_eq!(group["isOnDedicatedCapacity"], false);
    let users = sandbox
        .api(&bearer, "", &format!("{shared}/users"))
        .await
        .json();
    assert_eq!(users["value"][0]["groupUserAccessRight"], "Viewer");
    sandbox
        .control(
            Method::PUT,
            "/sandbox/power_bi",
            json!({"capacity_state": "Suspended"}),
        )
        .await;
    sandbox
        .api(&bearer, "", "capacities")
        .await
        .is(200, "Suspended");
}
