//! Which rows a token shows.

use super::*;

#[tokio::test]
async fn a_token_shows_the_rows_of_its_identity_and_no_other() {
    let sandbox = Sandbox::start().await;
    let cases = [
        (
            json!({"username": "any", "roles": ["Region EMEA"]}),
            "Region",
            vec!["EMEA"],
        ),
        (
            json!({"username": "any", "roles": ["Region EMEA", "Region APAC"]}),
            "Region",
            vec!["APAC", "EMEA"],
        ),
        (
            json!({"username": "any", "roles": ["Everything"]}),
            "Region",
            vec!["AMER", "APAC", "EMEA"],
        ),
        (
            json!({"username": "ben@contoso.example", "roles": ["Own Sales"]}),
            "Seller",
            vec!["ben@contoso.example"],
        ),
        (
            json!({"username": "nobody", "roles": ["Own Sales"]}),
            "Seller",
            vec![],
        ),
        (
            json!({"username": "any", "roles": ["No such role"]}),
            "Region",
            vec![],
        ),
    ];
    for (identity, column, expected) in cases {
        let token = sandbox.token(PROFILE_CONTOSO, &sales(&identity)).await;
        assert_eq!(sandbox.column(&token, column).await, expected, "{identity}");
    }
    let hidden = sales(&json!({"username": "any", "roles": ["No Margin"]}));
    let token = sandbox.token(PROFILE_CONTOSO, &hidden).await;
    let page = sandbox
        .render(&token, "report", &report(1), json!({}))
        .await
        .is(200, "Sales Overview")
        .json();
    assert!(!page["tables"][0]["columns"].to_string().contains("Margin"));
    assert_eq!(page["identities"][0]["roles"], json!(["No Margin"]));
}

#[tokio::test]
async fn every_kind_of_source_filters_in_its_own_way() {
    let sandbox = Sandbox::start().await;
    let cases = [
        (
            11,
            json!({"username": "u", "roles": ["Own Company"], "customData": "fabrikam"}),
            "Company",
            vec!["fabrikam"],
        ),
        (
            11,
            json!({"username": "u", "roles": ["Own Company"]}),
            "Company",
            vec![],
        ),
        (
            13,
            json!({"username": "ana@contoso.example"}),
            "Accountant",
            vec!["ana@contoso.example"],
        ),
        (
            14,
            json!({"username": OBJECT, "roles": ["Own Company"], "customData": "contoso"}),
            "Company",
            vec!["contoso"],
        ),
        (
            15,
            json!({"identityBlob": {"value": "ben@contoso.example"}}),
            "Owner",
            vec!["ben@contoso.example"],
        ),
        (
            16,
            json!({"username": "u", "roles": ["Region EMEA"], "identityBlob": {"value": "ana@contoso.example"}}),
            "Region",
            vec!["EMEA"],
        ),
    ];
    for (n, identity, column, expected) in cases {
        let token = sandbox.token("", &shared(n, &identity)).await;
        assert_eq!(
            sandbox.column(&token, column).await,
            expected,
            "{n} {identity}"
        );
    }
    let everything = sandbox.token("", &shared(12, &Value::Null)).await;
    assert_eq!(sandbox.column(&everything, "Product").await.len(), 20);
    let jwt = sandbox
        .get("/idp/token?persona=chloe&audience=https://database.windows.net/")
        .await
        .text;
    let source = json!({"datasourceType": "Sql", "connectionDetails": {"server": "orders.database.windows.net", "database": "orders"}});
    let mut newer = shared(15, &Value::Null);
    newer["datasourceIdentities"] = json!([{"identityBlob": jwt, "datasources": [source]}]);
    let token = sandbox.token("", &newer).await;
    assert_eq!(
        sandbox.column(&token, "Owner").await,
        ["chloe@fabrikam.example"]
    );
    newer["datasourceIdentities"][0]["datasources"][0]["connectionDetails"]["database"] =
        json!("other");
    sandbox
        .mint("", &newer)
        .await
        .is(400, "names no data source");
}
