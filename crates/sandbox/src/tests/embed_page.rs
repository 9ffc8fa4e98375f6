//! What the page in the iframe meets.

use super::*;

#[tokio::test]
async fn the_page_meets_the_documented_errors() {
    let sandbox = Sandbox::start().await;
    let token = sandbox.token("", &shared(12, &Value::Null)).await;
    let code = async |kind: &str, id: &str, more: Value| {
        let answer = sandbox.render(&token, kind, id, more).await;
        let error = answer.json()["error"].clone();
        assert_eq!(error["status"], answer.status.as_u16());
        (
            answer.status.as_u16(),
            error["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(
        code("report", &report(11), json!({})).await,
        (403, "LoadReportFailed".into())
    );
    assert_eq!(
        code("report", &report(99), json!({})).await,
        (404, "PowerBIEntityNotFound".into())
    );
    assert_eq!(
        code("report", "no-guid", json!({})).await,
        (500, "LoadReportFailed".into())
    );
    let unauthorized = (403, "PowerBINotAuthorizedException".to_owned());
    assert_eq!(
        code("report", &report(12), json!({"edit": true})).await,
        unauthorized
    );
    assert_eq!(
        code("report", &report(12), json!({"datasetId": dataset(11)})).await,
        unauthorized
    );
    assert_eq!(
        code("create", "", json!({"datasetId": dataset(12)})).await,
        unauthorized
    );
    let visual = json!({"pageName": "ReportSection1", "visualName": "VisualContainer1"});
    sandbox
        .render(&token, "visual", &report(12), visual)
        .await
        .is(200, "Price List");
    sandbox
        .render(&token, "qna", "", json!({"datasetId": dataset(12)}))
        .await
        .is(200, "Ask");
    let age = json!({"token": token, "seconds_left": -1});
    sandbox
        .control(Method::POST, "/sandbox/tokens/age", age)
        .await
        .is(204, "");
    assert_eq!(
        code("report", &report(12), json!({})).await,
        (403, "TokenExpired".into())
    );
    sandbox
        .control(
            Method::POST,
            "/sandbox/rows",
            json!({"token": "H4sIforged"}),
        )
        .await
        .is(403, "LoadReportFailed");
}

#[tokio::test]
async fn a_report_inside_a_report_needs_the_token_as_well() {
    let sandbox = Sandbox::start().await;
    let mut body = json!({"datasets": [{"id": dataset(12)}], "reports": [{"id": report(23)}]});
    let token = sandbox.token("", &body).await;
    sandbox
        .render(&token, "report", &report(23), json!({}))
        .await
        .is(403, "PowerBINotAuthorizedException");
    body["reports"] = json!([{"id": report(23)}, {"id": report(22)}]);
    let token = sandbox.token("", &body).await;
    sandbox
        .render(&token, "report", &report(23), json!({}))
        .await
        .is(200, "Operations");
}

#[tokio::test]
async fn saving_needs_the_right_and_a_target() {
    let sandbox = Sandbox::start().await;
    let mut body = shared(12, &Value::Null);
    let save = async |token: &str, id: &str, save_as: bool| {
        let body = json!({"token": token, "id": id, "saveAs": save_as, "name": "Mine"});
        sandbox.control(Method::POST, "/sandbox/save", body).await
    };
    let view = sandbox.token("", &body).await;
    save(&view, &report(12), false)
        .await
        .is(403, "PowerBINotAuthorizedException");
    save(&view, &report(12), true)
        .await
        .is(403, "PowerBINotAuthorizedException");
    body["reports"][0]["allowEdit"] = json!(true);
    body["targetWorkspaces"] = json!([{"id": SHARED}]);
    let edit = sandbox.token("", &body).await;
    save(&edit, &report(12), false).await.is(200, &report(12));
    let copy = save(&edit, &report(12), true).await.is(200, "Mine").json();
    let id = copy["id"].as_str().unwrap();
    // The copy is not in the old token.
    sandbox
        .render(&edit, "report", id, json!({}))
        .await
        .is(403, "LoadReportFailed");
    let new = json!({"datasets": [{"id": dataset(12)}], "targetWorkspaces": [{"id": SHARED}]});
    let create = sandbox.token("", &new).await;
    sandbox
        .render(
            &create,
            "create",
            "",
            json!({"datasetId": dataset(12), "edit": true}),
        )
        .await
        .is(200, "New report");
    save(&create, &dataset(12), false).await.is(200, "Mine");
}
