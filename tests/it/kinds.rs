//! What can be embedded, as whom, by which call: every row of `docs/embedding.md`, end to end.
//!
//! A test takes the command from its row, asks the broker as a front end would, and looks at what Power BI was sent, what
//! the page gets, and which rows the token lets through. A row without a test, and a test without a row, fail.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::test_app::Setup;
use crate::support::{Answer, TestApp};

const DOCUMENT: &str = include_str!("../../docs/embedding.md");

const SHARED: &str = "50ace000-0000-4000-8000-000000000003";
const CLASSIC: &str = "50ace000-0000-4000-8000-000000000005";
const PERSONAL: &str = "50ace000-0000-4000-8000-000000000006";
const PRINCIPAL: &str = "0b1ec700-0000-4000-8000-000000000001";
const MASTER: &str = "master@isv.example";

fn dataset(n: u32) -> String {
    format!("da7a5e70-0000-4000-8000-{n:012}")
}

fn report(n: u32) -> String {
    format!("4e904700-0000-4000-8000-{n:012}")
}

// === the document ===

/// The cells of a table's rows, without its head.
fn table(name: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = DOCUMENT.split_once(&format!("<!-- {name} -->\n")).unwrap();
    let (table, _) = rest.split_once(&format!("\n<!-- /{name} -->")).unwrap();
    let cells = |line: &'static str| {
        let line = line.trim_start_matches("| ").trim_end_matches(" |");
        line.split(" | ").map(str::trim).collect()
    };
    table.lines().skip(2).map(cells).collect()
}

/// A command of the document: `ask PERSONA 'BODY' [-H 'NAME: VALUE']`.
struct Command {
    persona: &'static str,
    body: Value,
    header: Option<(&'static str, &'static str)>,
}

impl Command {
    #[track_caller]
    fn of(row: &str) -> Self {
        let rows = table("kinds").into_iter().chain(table("securities"));
        let row = rows.filter(|cells| cells[0] == row).collect::<Vec<_>>();
        let [cells] = &row[..] else {
            panic!("one row, please: {row:?}")
        };
        Self::parse(cells.last().unwrap())
    }

    fn parse(text: &'static str) -> Self {
        let text = text.trim_matches('`').strip_prefix("ask ").unwrap();
        let (persona, rest) = text.split_once(" '").unwrap();
        let (body, rest) = rest.split_once('\'').unwrap();
        let header = rest.strip_prefix(" -H '").map(|rest| {
            let header = rest.strip_suffix('\'').unwrap();
            header.split_once(": ").unwrap()
        });
        assert!(header.is_some() || rest.is_empty(), "{text}");
        Self {
            persona,
            body: serde_json::from_str(body).unwrap(),
            header,
        }
    }

    async fn sent(&self, app: &TestApp) -> Answer {
        let token = app.token(self.persona).await;
        let mut request = app
            .request(Method::POST, "/embed-token")
            .bearer_auth(token)
            .json(&self.body);
        if let Some((name, value)) = self.header {
            request = request.header(name, value);
        }
        Answer::read(request.send().await.unwrap()).await
    }
}

/// What one command came to.
struct Outcome {
    app: TestApp,
    /// The broker's answer.
    answer: Value,
    /// The first item's configuration for the page.
    config: Value,
    /// The path of the call that minted, below the workspace-less root.
    path: String,
    /// Its body.
    body: Value,
    /// What the token lets through.
    tables: Vec<Value>,
}

/// Runs a row's command against the sandbox.
async fn row(name: &str) -> Outcome {
    outcome(TestApp::start().await, &Command::of(name)).await
}

async fn outcome(app: TestApp, command: &Command) -> Outcome {
    let answer = command.sent(&app).await.ok();
    let mints = app.mints().await;
    assert_eq!(mints.len(), 1, "{mints:?}");
    assert_eq!(mints[0]["complaint"], Value::Null);
    // The command's own pipe: the whole answer goes to the page.
    let shown = app
        .control(Method::POST, "/sandbox/rows", answer.clone())
        .await;
    let path = mints[0]["path"].as_str().unwrap();
    Outcome {
        config: answer["items"][0]["embedConfig"].clone(),
        path: path.strip_prefix("/v1.0/myorg/").unwrap().to_owned(),
        body: mints[0]["body"].clone(),
        tables: shown["tables"].as_array().unwrap().clone(),
        answer,
        app,
    }
}

impl Outcome {
    /// Asserts the body but for the lifetime, which every call has.
    #[track_caller]
    fn sends(&self, path: &str, mut body: Value) {
        assert_eq!(self.path, path);
        body["lifetimeInMinutes"] = self.body["lifetimeInMinutes"].clone();
        assert!(body["lifetimeInMinutes"].as_u64() >= Some(1));
        assert_eq!(self.body, body, "{:#}", self.body);
    }

    /// Asserts the configuration's members; the token is the answer's.
    #[track_caller]
    fn shows(&self, members: &Value) {
        for (member, value) in members.as_object().unwrap() {
            assert_eq!(self.config[member], *value, "{member}: {:#}", self.config);
        }
        assert_eq!(self.config["tokenType"], 1);
        assert_eq!(self.config["accessToken"], self.answer["token"]);
        let url = self.config["embedUrl"].as_str().unwrap();
        assert!(url.starts_with("https://app.powerbi.com/"), "{url}");
    }

    /// The distinct values of a column of a dataset's or report's table.
    #[track_caller]
    fn column(&self, of: &str, column: &str) -> Vec<String> {
        let found = self.tables.iter().find(|table| table["dataset"] == of);
        let table = found.unwrap_or_else(|| panic!("no table of {of}: {:?}", self.tables));
        let columns = table["columns"].as_array().unwrap();
        let at = columns.iter().position(|name| name == column).unwrap();
        let mut values: Vec<String> = table["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| match &row[at] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
            .collect();
        values.sort();
        values.dedup();
        values
    }
}

/// One identity of a request.
fn ana(more: &Value) -> Value {
    identity("ana@contoso.example", more)
}

fn identity(username: &str, more: &Value) -> Value {
    let mut identity = json!({"username": username});
    identity
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    identity
}

// === items ===

#[tokio::test]
async fn a_report() {
    let it = row("A report").await;
    let identity = ana(
        &json!({"roles": ["Region EMEA"], "datasets": [dataset(1)], "auditableContext": "u-ana"}),
    );
    it.sends(
        "GenerateToken",
        json!({"datasets": [{"id": dataset(1)}], "reports": [{"id": report(1)}], "identities": [identity]}),
    );
    it.shows(&json!({"type": "report", "id": report(1), "permissions": 0, "viewMode": 0}));
    assert_eq!(it.answer["items"][0]["renewal"], "set_access_token");
    assert_eq!(it.column(&dataset(1), "Region"), ["EMEA"]);
}

#[tokio::test]
async fn a_report_to_edit() {
    let it = row("A report, to edit it").await;
    assert_eq!(
        it.body["reports"],
        json!([{"id": report(1), "allowEdit": true}])
    );
    assert_eq!(it.body["targetWorkspaces"], Value::Null);
    it.shows(&json!({"permissions": 1, "viewMode": 1}));
    // Ben's rule gives less.
    let answer = it
        .app
        .embed("ben", json!({"item": "sales", "access": "edit"}))
        .await;
    answer.problem(403, "not_permitted");
}

#[tokio::test]
async fn a_report_to_save_copies_of() {
    let it = row("A report, to save copies of it").await;
    assert_eq!(it.body["targetWorkspaces"], json!([{"id": SHARED}]));
    assert_eq!(it.body["reports"], json!([{"id": report(11)}]));
    it.shows(&json!({"permissions": 2, "viewMode": 0}));
    let copy = json!({"token": it.answer["token"], "id": report(11), "saveAs": true});
    let saved = it.app.control(Method::POST, "/sandbox/save", copy).await;
    assert_eq!(saved["workspace"], SHARED);
    // Editing the original is another right.
    let answer = it
        .app
        .embed("ben", json!({"item": "benchmarks", "save_as": true}))
        .await;
    answer.problem(403, "not_permitted");
}

#[tokio::test]
async fn any_report_of_the_callers_workspace() {
    let it = row("Any report of the caller's workspace (`report: \"*\"`)").await;
    it.shows(&json!({"type": "report", "id": report(3)}));
    assert_eq!(it.body["datasets"], json!([{"id": dataset(2)}]));
    assert_eq!(it.column(&dataset(2), "Region"), ["EMEA"]);
}

#[tokio::test]
async fn several_reports_and_datasets_under_one_token() {
    let it = row("Several reports and datasets under one token").await;
    let company =
        ana(&json!({"roles": ["Own Company"], "customData": "contoso", "datasets": [dataset(11)]}));
    it.sends(
        "GenerateToken",
        json!({
            "datasets": [{"id": dataset(11), "xmlaPermissions": "ReadOnly"}, {"id": dataset(12)}, {"id": dataset(17), "xmlaPermissions": "ReadOnly"}],
            "reports": [{"id": report(11)}, {"id": report(12)}, {"id": report(17)}],
            "identities": [company],
        }),
    );
    let items: Vec<_> = it.answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["item"])
        .collect();
    assert_eq!(items, ["benchmarks", "price-list", "group-plan"]);
    assert_eq!(it.column(&dataset(11), "Company"), ["contoso"]);
    assert!(it.column(&dataset(12), "Product").len() > 10);
}

#[tokio::test]
async fn fifty_reports_share_a_token_and_fifty_one_do_not() {
    let ids: Vec<String> = (1..=51)
        .map(|n| format!("4e904700-0000-4000-8000-0000000009{n:02}"))
        .collect();
    let item = |(n, id): (usize, &String)| {
        format!(
            "  r{n}: {{ kind: report, workspace: Shared Models, report: {id}, security: none }}\n"
        )
    };
    let items: String = ids.iter().enumerate().map(item).collect();
    let policy = format!("items:\n{items}rules: [{{ name: all, items: ['*'], identity: none }}]\n");
    let app = TestApp::setup().policy(policy).start().await;
    for (n, id) in ids.iter().enumerate() {
        let report = json!({"id": id, "name": format!("R{n}"), "workspace": SHARED, "datasetId": dataset(12)});
        app.control(Method::POST, "/sandbox/reports", report).await;
    }
    let names: Vec<String> = (0..51).map(|n| format!("r{n}")).collect();
    let repeated: Vec<&String> = names[..49].iter().chain([&names[0]]).collect();
    app.embed("ana", json!({"items": repeated})).await.ok();
    app.embed("ana", json!({"items": &names[..50]})).await.ok();
    let mints = app.mints().await;
    let counts: Vec<(usize, usize)> = mints
        .iter()
        .map(|mint| {
            let count = |what: &str| mint["body"][what].as_array().unwrap().len();
            (count("reports"), count("datasets"))
        })
        .collect();
    assert_eq!(counts, [(49, 1), (50, 1)]);
    app.embed("ana", json!({"items": names}))
        .await
        .problem(400, "invalid_request");
}

#[tokio::test]
async fn a_new_report_over_a_dataset() {
    let it = row("A new report over a dataset (`create_report`)").await;
    let identity = ana(
        &json!({"roles": ["Region EMEA"], "datasets": [dataset(1)], "auditableContext": "u-ana"}),
    );
    it.sends(
        "GenerateToken",
        json!({"datasets": [{"id": dataset(1)}], "targetWorkspaces": [{"id": "50ace000-0000-4000-8000-000000000001"}], "identities": [identity]}),
    );
    it.shows(&json!({"type": "create", "datasetId": dataset(1), "id": null}));
    let new = json!({"token": it.answer["token"], "id": dataset(1), "name": "Mine"});
    let saved = it.app.control(Method::POST, "/sandbox/save", new).await;
    assert_eq!(saved["reportName"], "Mine");
}

#[tokio::test]
async fn one_visual_of_a_report() {
    let it = row("One visual of a report (`visual`)").await;
    it.shows(&json!({"type": "visual", "id": report(1), "pageName": "ReportSection1", "visualName": "VisualContainer1"}));
    assert_eq!(it.body["reports"], json!([{"id": report(1)}]));
    assert_eq!(it.column(&dataset(1), "Region"), ["EMEA"]);
}

#[tokio::test]
async fn a_dashboard() {
    const BOARD: &str = "da5b0a4d-0000-4000-8000-000000000001";
    let it = row("A dashboard").await;
    let entry = |n| {
        ana(
            &json!({"roles": ["Region EMEA"], "datasets": [dataset(n)], "auditableContext": "u-ana"}),
        )
    };
    it.sends(
        &format!("groups/50ace000-0000-4000-8000-000000000001/dashboards/{BOARD}/GenerateToken"),
        json!({"accessLevel": "View", "identities": [entry(1), entry(2)]}),
    );
    it.shows(&json!({"type": "dashboard", "id": BOARD, "permissions": null}));
    for n in [1, 2] {
        assert_eq!(it.column(&dataset(n), "Region"), ["EMEA"]);
    }
}

#[tokio::test]
async fn a_dashboard_over_a_model_without_anything_to_filter() {
    let it = row("A dashboard over a model without anything to filter").await;
    let identities = it.body["identities"].as_array().unwrap();
    assert_eq!(identities.len(), 1);
    assert_eq!(identities[0]["datasets"], json!([dataset(11)]));
    assert_eq!(it.column(&dataset(11), "Company"), ["contoso"]);
    assert!(it.column(&dataset(12), "Product").len() > 10);
}

#[tokio::test]
async fn a_tile_of_a_dashboard() {
    let it = row("A tile of a dashboard").await;
    let (board, tile) = (
        "da5b0a4d-0000-4000-8000-000000000001",
        "711e0000-0000-4000-8000-000000000001",
    );
    assert_eq!(
        it.path,
        format!(
            "groups/50ace000-0000-4000-8000-000000000001/dashboards/{board}/tiles/{tile}/GenerateToken"
        )
    );
    assert_eq!(it.body["identities"].as_array().unwrap().len(), 1);
    it.shows(&json!({"type": "tile", "id": tile, "dashboardId": board}));
    assert_eq!(it.column(&dataset(1), "Region"), ["EMEA"]);
}

#[tokio::test]
async fn questions_and_answers_over_a_dataset() {
    let it = row("Questions and answers over a dataset (`qna`)").await;
    it.shows(&json!({"type": "qna", "datasetIds": [dataset(1)], "id": null}));
    assert_eq!(it.body["reports"], Value::Null);
    assert_eq!(it.column(&dataset(1), "Region"), ["EMEA"]);
}

#[tokio::test]
async fn a_paginated_report() {
    let it = row("A paginated report").await;
    it.sends(
        "GenerateToken",
        json!({"reports": [{"id": report(4)}], "identities": [ana(&json!({"reports": [report(4)]}))]}),
    );
    it.shows(&json!({"type": "report", "id": report(4), "permissions": null}));
    assert!(
        it.config["embedUrl"]
            .as_str()
            .unwrap()
            .contains("/rdlEmbed?")
    );
    assert_eq!(it.answer["items"][0]["renewal"], "re_embed");
    assert_eq!(
        it.column(&report(4), "Account Manager"),
        ["ana@contoso.example"]
    );
    let edit = json!({"item": "invoices", "access": "edit"});
    it.app
        .embed("ana", edit)
        .await
        .problem(400, "invalid_request");
    let roles = sandbox_with(
        "items: [invoices, ledger]\n    identity: { username: { cel: claims.email } }",
        "items: [invoices, ledger]\n    identity: { username: { cel: claims.email }, roles: [Sales] }",
    );
    let answer = roles
        .start()
        .await
        .embed("ana", json!({"item": "invoices"}))
        .await;
    answer.problem(422, "security_mismatch");
}

#[tokio::test]
async fn a_paginated_report_by_a_master_user() {
    let app = sandbox_with(
        "    report: 4e904700-0000-4000-8000-000000000021 # Benchmark Ledger\n",
        "    report: 4e904700-0000-4000-8000-000000000021\n    principal: master\n",
    )
    .start()
    .await;
    let answer = app.embed("ana", json!({"item": "benchmark-ledger"})).await;
    answer.problem(422, "security_mismatch");
    assert_eq!(app.mints().await.len(), 0);
}

#[tokio::test]
async fn a_paginated_report_over_a_model() {
    let it = row("A paginated report over a model").await;
    let company =
        ana(&json!({"roles": ["Own Company"], "customData": "contoso", "datasets": [dataset(11)]}));
    it.sends(
        "GenerateToken",
        json!({
            "datasets": [{"id": dataset(11), "xmlaPermissions": "ReadOnly"}],
            "reports": [{"id": report(21)}],
            "identities": [company, ana(&json!({"reports": [report(21)]}))],
        }),
    );
    assert_eq!(it.column(&dataset(11), "Company"), ["contoso"]);
}

#[tokio::test]
async fn an_interactive_report_with_paginated_visuals() {
    let it = row("An interactive report with paginated visuals (`paginated_visuals`)").await;
    it.sends(
        "GenerateToken",
        json!({"datasets": [{"id": dataset(12)}], "reports": [{"id": report(22)}, {"id": report(23)}]}),
    );
    it.shows(&json!({"type": "report", "id": report(23)}));
}

#[tokio::test]
async fn a_composite_model() {
    let it = row("A composite model (DirectQuery to other models)").await;
    let company =
        ana(&json!({"roles": ["Own Company"], "customData": "contoso", "datasets": [dataset(11)]}));
    it.sends(
        "GenerateToken",
        json!({
            "datasets": [{"id": dataset(11), "xmlaPermissions": "ReadOnly"}, {"id": dataset(17), "xmlaPermissions": "ReadOnly"}],
            "reports": [{"id": report(17)}],
            "identities": [company],
        }),
    );
    assert_eq!(it.column(&dataset(11), "Company"), ["contoso"]);
}

#[tokio::test]
async fn a_composite_model_over_single_sign_on() {
    let it = row("A composite model over single sign-on").await;
    let source = json!({"identityBlob": "[removed]", "datasources": [{"datasourceType": "Sql",
        "connectionDetails": {"server": "orders.database.windows.net", "database": "orders"}}]});
    it.sends(
        "GenerateToken",
        json!({
            "datasets": [{"id": dataset(15), "xmlaPermissions": "ReadOnly"}, {"id": dataset(20), "xmlaPermissions": "ReadOnly"}],
            "reports": [{"id": report(20)}],
            "datasourceIdentities": [source],
        }),
    );
    assert_eq!(it.column(&dataset(15), "Owner"), ["ana@contoso.example"]);
}

#[tokio::test]
async fn a_report_shown_over_another_dataset() {
    let it = row("A report shown over another dataset (`dataset_binding`)").await;
    it.shows(
        &json!({"type": "report", "id": report(12), "datasetBinding": {"datasetId": dataset(11)}}),
    );
    assert_eq!(
        it.body["datasets"],
        json!([{"id": dataset(11)}, {"id": dataset(12)}])
    );
    assert_eq!(it.body["identities"][0]["datasets"], json!([dataset(11)]));
    assert_eq!(it.column(&dataset(11), "Company"), ["contoso"]);
}

#[tokio::test]
async fn a_report_whose_dataset_lives_in_another_workspace() {
    let it = row("A report whose dataset lives in another workspace (`dataset_workspace`)").await;
    it.shows(&json!({"type": "report", "id": report(61)}));
    assert_eq!(it.body["datasets"], json!([{"id": dataset(11)}]));
    assert_eq!(it.column(&dataset(11), "Company"), ["contoso"]);
    // What a reply says of other workspaces is not followed: policy must name it.
    let app = sandbox_with(
        "    report: Benchmarks at a Glance\n    dataset_workspace: Shared Models\n",
        "    report: Benchmarks at a Glance\n",
    )
    .start()
    .await;
    let answer = app
        .embed("ana", json!({"item": "benchmarks-at-a-glance"}))
        .await;
    answer.problem(422, "item_unavailable");
}

#[tokio::test]
async fn another_identity_for_one_dataset() {
    let it = row("Another identity for one dataset (`dataset_identities`)").await;
    let ben = "ben@contoso.example";
    let company = identity(
        ben,
        &json!({"roles": ["Own Company"], "customData": "contoso", "datasets": [dataset(11)]}),
    );
    let name = identity(ben, &json!({"reports": [report(21)]}));
    assert_eq!(it.body["identities"], json!([company, name]));
    // For a dashboard: one dataset as somebody else, the other as the rule says.
    let app = sandbox_with(
        "    lifetime: 15m # somebody",
        "    dataset_identities: { da7a5e70-0000-4000-8000-000000000002: { username: planner, roles: [Everything] } }\n    lifetime: 15m # somebody",
    )
    .start()
    .await;
    let command = Command {
        persona: "ana",
        body: json!({"item": "sales-dashboard"}),
        header: None,
    };
    let it = outcome(app, &command).await;
    assert_eq!(
        it.body["identities"][1],
        identity(
            "planner",
            &json!({"roles": ["Everything"], "datasets": [dataset(2)]})
        )
    );
    assert_eq!(it.column(&dataset(1), "Region"), ["EMEA"]);
    assert_eq!(it.column(&dataset(2), "Region"), ["AMER", "APAC", "EMEA"]);
}

#[tokio::test]
async fn something_in_a_classic_workspace() {
    let it = row("Something in a classic workspace (`workspace_version: classic`)").await;
    let identity = ana(
        &json!({"roles": ["Region EMEA"], "datasets": [dataset(41)], "auditableContext": "u-ana"}),
    );
    it.sends(
        &format!("groups/{CLASSIC}/reports/{}/GenerateToken", report(41)),
        json!({"accessLevel": "Edit", "allowSaveAs": true, "identities": [identity]}),
    );
    it.shows(&json!({"type": "report", "permissions": 7, "viewMode": 1}));
    assert_eq!(it.column(&dataset(41), "Region"), ["EMEA"]);
    assert_eq!(it.app.mints().await[0]["principal"], MASTER);
    // View only, without copies.
    it.app.forget_calls().await;
    it.app
        .embed("ben", json!({"item": "classic-sales"}))
        .await
        .ok();
    let mint = &it.app.mints().await[0];
    assert_eq!(
        (&mint["body"]["accessLevel"], &mint["body"]["allowSaveAs"]),
        (&json!("View"), &Value::Null)
    );
    // Not by a service principal, and nothing else beside it.
    let two = json!({"items": ["classic-sales", "price-list"]});
    it.app
        .embed("ana", two)
        .await
        .problem(400, "items_not_combinable");
    let app = sandbox_with(
        "    workspace_version: classic\n    principal: master\n",
        "    workspace_version: classic\n",
    )
    .start()
    .await;
    let answer = app.embed("ana", json!({"item": "classic-sales"})).await;
    answer.problem(422, "item_unavailable");
}

#[tokio::test]
async fn every_other_kind_in_a_classic_workspace() {
    let sales = report(41); // by id: reports may be saved beside it
    let policy = format!(
        "items:
  ask: {{ kind: qna, workspace: Classic, dataset: Classic Sales, workspace_version: classic, principal: master }}
  new: {{ kind: create_report, workspace: Classic, dataset: Classic Sales, target_workspace: Classic, workspace_version: classic, principal: master }}
  one: {{ kind: visual, workspace: Classic, report: {sales}, page: P, visual: V, workspace_version: classic, principal: master }}
  far: {{ kind: create_report, workspace: Classic, dataset: Classic Sales, target_workspace: {SHARED}, workspace_version: classic, principal: master }}
rules:
  - {{ name: all, items: ['*'], access: create, identity: {{ username: {{ cel: claims.email }}, roles: [Region EMEA] }} }}
"
    );
    let app = TestApp::setup().policy(policy).start().await;
    let entry = ana(&json!({"roles": ["Region EMEA"], "datasets": [dataset(41)]}));
    for (item, path, body) in [
        (
            "ask",
            format!("datasets/{}", dataset(41)),
            json!({"accessLevel": "View"}),
        ),
        (
            "new",
            "reports".to_owned(),
            json!({"accessLevel": "Create", "datasetId": dataset(41)}),
        ),
        (
            "one",
            format!("reports/{}", report(41)),
            json!({"accessLevel": "View"}),
        ),
    ] {
        app.forget_calls().await;
        app.embed("ana", json!({"item": item})).await.ok();
        let mint = app.mints().await.remove(0);
        assert_eq!(
            mint["path"],
            format!("/v1.0/myorg/groups/{CLASSIC}/{path}/GenerateToken")
        );
        for (member, value) in body.as_object().unwrap() {
            assert_eq!(mint["body"][member], *value, "{item}: {member}");
        }
        assert_eq!(mint["body"]["identities"], json!([entry]), "{item}");
    }
    app.embed("ana", json!({"item": "far"}))
        .await
        .problem(422, "item_unavailable");
}

#[tokio::test]
async fn settings_for_the_page() {
    let it = row("Settings for the page (`embed`)").await;
    it.shows(&json!({"type": "report", "id": report(1), "pageName": "ReportSection1"}));
    let app = sandbox_with(
        "    embed: { pageName: ReportSection1 }",
        "    embed: { pageName: ReportSection2, settings: { localeSettings: { language: de }, panes: { filters: { visible: false } } }, filters: [] }",
    )
    .start()
    .await;
    let config =
        app.embed("ana", json!({"item": "sales"})).await.ok()["items"][0]["embedConfig"].clone();
    assert_eq!(config["pageName"], "ReportSection2");
    assert_eq!(config["settings"]["localeSettings"]["language"], "de");
    assert_eq!(config["settings"]["panes"]["filters"]["visible"], false);
}

#[tokio::test]
async fn my_workspace_is_never_embedded() {
    for version in ["new", "classic"] {
        let policy = format!(
            "items:\n  drafts: {{ kind: report, workspace: {PERSONAL}, report: Drafts, security: none, principal: master, workspace_version: {version} }}\nrules: [{{ name: all, items: ['*'], identity: none }}]\n"
        );
        let app = TestApp::setup().policy(policy).start().await;
        app.embed("ana", json!({"item": "drafts"}))
            .await
            .problem(422, "item_unavailable");
        assert_eq!(app.mints().await.len(), 0);
    }
}

// === securities ===

fn sandbox_with(from: &str, to: &str) -> Setup {
    TestApp::setup().edit_policy(from, to)
}

#[tokio::test]
async fn roles_of_a_model() {
    let it = row("Roles of a model (`cloud_rls`)").await;
    assert_eq!(
        it.body["identities"][0]["roles"],
        json!(["Region EMEA", "Region APAC"])
    );
    assert_eq!(it.column(&dataset(3), "Region"), ["APAC", "EMEA"]);
}

#[tokio::test]
async fn dynamic_roles_of_a_model() {
    let it = row("Dynamic roles of a model (`cloud_rls`)").await;
    assert_eq!(it.body["identities"][0]["username"], "ana@contoso.example");
    assert_eq!(it.column(&dataset(1), "Seller"), ["ana@contoso.example"]);
}

#[tokio::test]
async fn roles_by_custom_data() {
    let it = row("Roles by custom data (`cloud_rls`)").await;
    assert_eq!(it.body["identities"][0]["customData"], "contoso");
    assert_eq!(it.column(&dataset(11), "Company"), ["contoso"]);
}

#[tokio::test]
async fn all_rows() {
    let it = row("All rows (`cloud_rls`)").await;
    assert_eq!(it.body["identities"][0]["roles"], json!(["Everything"]));
    assert_eq!(it.column(&dataset(1), "Region"), ["AMER", "APAC", "EMEA"]);
}

#[tokio::test]
async fn nothing_to_filter() {
    let it = row("Nothing to filter (`none`, declared)").await;
    assert_eq!(it.body["identities"], Value::Null);
    // An identity without anything that it could filter: the model may have lost its roles.
    let app = sandbox_with(
        "    report: 4e904700-0000-4000-8000-000000000012 # Price List\n    security: none\n\n",
        "    report: 4e904700-0000-4000-8000-000000000012\n\n",
    )
    .edit_policy(
        "items: [price-list, operations, archive]\n    identity: none",
        "items: [price-list, operations, archive]\n    identity: { username: u, roles: [R] }",
    )
    .start()
    .await;
    app.embed("ana", json!({"item": "price-list"}))
        .await
        .problem(422, "rls_missing");
    app.embed("ana", json!({"item": "archive"})).await.ok();
}

#[tokio::test]
async fn filters_of_a_paginated_report() {
    let it = row("Filters of a paginated report (`rdl`)").await;
    assert_eq!(
        it.column(&report(4), "Account Manager"),
        ["ben@contoso.example"]
    );
}

/// Ben's sign-in service lets him choose an address that a database takes for Ana's.
#[tokio::test]
async fn a_look_alike_opens_no_paginated_report() {
    let app = TestApp::start().await;
    for email in [
        "ana@contoso.example ",
        "\u{ff41}na@contoso.example",
        "ana\u{200b}@contoso.example",
    ] {
        let token = app.token_with("ben", json!({"email": email})).await;
        let answer = app.embed_as(&token, json!({"item": "invoices"})).await;
        answer.problem(422, "identity_unmappable");
        assert!(app.mints().await.is_empty(), "nothing was minted");
        let reason = app.last_record()["reason"].to_string();
        assert!(
            reason.contains("username") && !reason.contains("contoso.example"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn analysis_services_on_premises() {
    let it = row("Analysis Services on-premises (`as_on_premises`)").await;
    assert_eq!(
        it.body["identities"],
        json!([ana(&json!({"datasets": [dataset(13)]}))])
    );
    assert_eq!(
        it.column(&dataset(13), "Accountant"),
        ["ana@contoso.example"]
    );
    let ledger = "items: [invoices, ledger]\n    identity: { username: { cel: claims.email } }";
    for (identity, code) in [
        (r"{ username: 'CONTOSO\ana.b_c-d!#^~' }", None),
        ("{ username: 'ana b' }", Some("identity_unmappable")),
        ("{ username: 'ana;b' }", Some("identity_unmappable")),
        (
            "{ username: ana, custom_data: contoso }",
            Some("security_mismatch"),
        ),
    ] {
        let app = sandbox_with(
            ledger,
            &format!("items: [invoices, ledger]\n    identity: {identity}"),
        )
        .start()
        .await;
        let answer = app.embed("ana", json!({"item": "ledger"})).await;
        match code {
            None => drop(answer.ok()),
            Some(code) => drop(answer.problem(422, code)),
        }
    }
}

#[tokio::test]
async fn azure_analysis_services() {
    let it = row("Azure Analysis Services (`as_azure`)").await;
    let own = |custom: &str| {
        identity(
            PRINCIPAL,
            &json!({"roles": ["Own Company"], "customData": custom, "datasets": [dataset(14)]}),
        )
    };
    assert_eq!(it.body["identities"], json!([own("contoso")]));
    assert_eq!(it.column(&dataset(14), "Company"), ["contoso"]);
    let given = "{ username: 0b1ec700-0000-4000-8000-000000000001, roles: [Own Company], custom_data: { cel: claims.tid } }";
    let long = "x".repeat(1_024);
    for (identity, sent) in [
        (
            "{ roles: [Own Company], custom_data: { cel: claims.tid } }".to_owned(),
            Ok("contoso"),
        ),
        (
            format!("{{ roles: [Own Company], custom_data: {long} }}"),
            Ok(long.as_str()),
        ),
        (
            format!("{{ roles: [Own Company], custom_data: {{ cel: \"'{long}' + 'x'\" }} }}"),
            Err("identity_unmappable"),
        ),
        (
            "{ username: { cel: claims.email }, roles: [Own Company] }".to_owned(),
            Err("security_mismatch"),
        ),
        (
            "{ custom_data: contoso }".to_owned(),
            Err("identity_unmappable"),
        ),
    ] {
        let app = sandbox_with(given, &identity).start().await;
        let answer = app.embed("ana", json!({"item": "forecast"})).await;
        match sent {
            Ok(custom) => {
                answer.ok();
                assert_eq!(
                    app.mints().await[0]["body"]["identities"],
                    json!([own(custom)])
                );
            }
            Err(code) => drop(answer.problem(422, code)),
        }
    }
    let app = sandbox_with(given, "{ roles: [Own Company], custom_data: { cel: claims.tid } }")
        .edit("    object_id: 0b1ec700-0000-4000-8000-000000000001 # needed for Azure Analysis Services only\n", "")
        .start()
        .await;
    app.embed("ana", json!({"item": "forecast"}))
        .await
        .problem(422, "identity_unmappable");
}

/// A JWT that nobody signed, for a source that only looks at its user; it expires in `seconds`.
fn blob(user: &str, seconds: i64) -> String {
    let claims = json!({"upn": user, "exp": crate::support::tokens::in_seconds(seconds)});
    crate::support::tokens::unsigned(&json!({"alg": "RS256", "typ": "JWT"}), &claims, b"nothing")
}

async fn with_blob(app: &TestApp, item: &str, blob: Option<&str>) -> Answer {
    let mut request = app
        .request(Method::POST, "/embed-token")
        .bearer_auth(app.token("ana").await)
        .json(&json!({"item": item}));
    if let Some(blob) = blob {
        request = request.header("X-Sql-Token", blob);
    }
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn single_sign_on() {
    let it = row("Single sign-on (`sso`)").await;
    assert_eq!(
        it.body["identities"],
        json!([ana(
            &json!({"datasets": [dataset(15)], "identityBlob": "[removed]"})
        )])
    );
    assert_eq!(it.column(&dataset(15), "Owner"), ["ana@contoso.example"]);
    let app = it.app;
    with_blob(&app, "orders", None)
        .await
        .problem(422, "blob_missing");
    with_blob(&app, "orders", Some(&blob("ana", -60)))
        .await
        .problem(422, "blob_missing");
}

#[tokio::test]
async fn a_callers_own_token_is_part_of_the_key_and_bounds_the_cache() {
    let app = TestApp::start().await;
    let token =
        async |blob: &str| with_blob(&app, "orders", Some(blob)).await.ok()["token"].clone();
    // Opaque: never kept.
    assert_ne!(token("opaque").await, token("opaque").await);
    // A JWT: kept while it is good, for the same one only.
    let (one, other) = (
        blob("ana@contoso.example", 3_600),
        blob("ben@contoso.example", 3_600),
    );
    let first = token(&one).await;
    assert_eq!(first, token(&one).await);
    assert_ne!(first, token(&other).await);
    let brief = blob("ana@contoso.example", 2);
    let kept = token(&brief).await;
    assert_eq!(kept, token(&brief).await);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    with_blob(&app, "orders", Some(&brief))
        .await
        .problem(422, "blob_missing");
    // Nowhere but in the request itself.
    let audit = std::fs::read_to_string(app.audit_file()).unwrap();
    for secret in ["opaque", &one, &other, &brief] {
        assert!(!audit.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn single_sign_on_with_roles() {
    let it = row("Single sign-on with roles (`sso_cloud_rls`)").await;
    let entry = &it.body["identities"][0];
    assert_eq!(
        (&entry["roles"], &entry["identityBlob"]),
        (&json!(["Region EMEA"]), &json!("[removed]"))
    );
    assert_eq!(it.column(&dataset(16), "Owner"), ["ana@contoso.example"]);
    assert_eq!(it.column(&dataset(16), "Region"), ["EMEA"]);
}

#[tokio::test]
async fn single_sign_on_by_data_source() {
    let it = row("Single sign-on by data source (`datasource_identities`)").await;
    assert_eq!(it.body["identities"], Value::Null);
    assert_eq!(it.column(&dataset(15), "Owner"), ["ben@contoso.example"]);
}

// === the matrix ===

/// Item, identity and rows of each security in the sandbox's shared workspace.
const SOURCES: [(&str, &str, &str); 7] = [
    (
        "none",
        "kind: report, report: Price List",
        "username: ana, roles: [R]",
    ),
    (
        "cloud_rls",
        "kind: report, report: Benchmarks",
        "username: ana, roles: [Own Company], custom_data: contoso",
    ),
    (
        "rdl",
        "kind: paginated_report, report: Price Sheet",
        "username: Ana Alvarez",
    ),
    (
        "as_on_premises",
        "kind: report, report: Ledger",
        "username: ana@contoso.example",
    ),
    (
        "as_azure",
        "kind: report, report: Forecast",
        "roles: [Own Company], custom_data: contoso",
    ),
    (
        "sso",
        "kind: report, report: Orders",
        "username: ana, identity_blob: { header: X-Sql-Token }",
    ),
    (
        "sso_cloud_rls",
        "kind: report, report: Orders by Region",
        "username: ana, roles: [Region EMEA], identity_blob: { header: X-Sql-Token }",
    ),
];

#[tokio::test]
async fn every_cell_of_the_matrix_holds_against_power_bi() {
    let (mut items, mut rules) = (Vec::new(), Vec::new());
    for (security, item, identity) in SOURCES {
        for principal in ["default", "master"] {
            for (given, identity) in [
                ("omitted", "none".to_owned()),
                ("given", format!("{{ {identity} }}")),
            ] {
                let name = format!("{security}-{principal}-{given}");
                // A lifetime of its own makes each a plan of its own.
                let minutes = rules.len() + 1;
                items.push(format!("  {name}: {{ {item}, workspace: Shared Models, security: {security}, principal: {principal} }}"));
                rules.push(format!("  - {{ name: {name}, items: [{name}], lifetime: {minutes}m, identity: {identity} }}"));
            }
        }
    }
    let (items, rules) = (items.join("\n"), rules.join("\n"));
    let app = TestApp::setup()
        .policy(format!("items:\n{items}\nrules:\n{rules}\n"))
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    let matrix = table("matrix");
    assert_eq!(matrix.len(), SOURCES.len());
    for cells in matrix {
        let security = cells[0].trim_matches('`');
        for (at, principal, given) in [
            (1, "default", "omitted"),
            (2, "default", "given"),
            (3, "master", "omitted"),
            (4, "master", "given"),
        ] {
            let name = format!("{security}-{principal}-{given}");
            app.forget_calls().await;
            let answer = with_blob(&app, &name, Some("ana@contoso.example")).await;
            if cells[at].starts_with('`') {
                answer.problem(422, cells[at].trim_matches('`'));
                assert_eq!(app.mints().await.len(), 0, "{name}");
                continue;
            }
            let token = answer.ok()["token"].clone();
            let mints = app.mints().await;
            let sent = &mints[0]["body"]["identities"];
            assert_eq!(
                *sent == Value::Null,
                given == "omitted" || security == "none",
                "{name}: {sent}"
            );
            if cells[at] == "served, as itself" {
                let own = if principal == "master" {
                    MASTER
                } else {
                    PRINCIPAL
                };
                assert_eq!(sent[0]["username"], own, "{name}");
            }
            let shown = app.rows(token.as_str().unwrap()).await;
            let filters = given == "given" && !matches!(security, "none" | "rdl");
            for table in shown["tables"].as_array().unwrap() {
                let (rows, all) = (
                    table["rows"].as_array().unwrap().len(),
                    table["totalRows"].as_u64().unwrap(),
                );
                assert_eq!((rows as u64) < all, filters, "{name}: {rows} of {all}");
            }
        }
    }
}

// === the document and this file ===

#[test]
fn every_row_has_its_test() {
    let tests = include_str!("kinds.rs");
    for cells in table("kinds").into_iter().chain(table("securities")) {
        let name = cells[0].replace('"', "\\\"");
        assert!(
            tests.contains(&format!("row(\"{name}\")")),
            "no test of `{name}`"
        );
    }
}

#[test]
fn every_cloud_is_the_configurations() {
    use embed_broker::config::Cloud;
    let quoted = |text: &str| format!("`{text}`");
    let rows: Vec<Vec<String>> = [
        ("public", Cloud::Public),
        ("gcc", Cloud::Gcc),
        ("gcc_high", Cloud::GccHigh),
        ("dod", Cloud::Dod),
        ("china", Cloud::China),
    ]
    .into_iter()
    .map(|(name, cloud)| {
        let hosts = cloud.hosts();
        let embed: Vec<String> = hosts.embed_hosts.iter().map(|host| quoted(host)).collect();
        vec![
            quoted(name),
            quoted(hosts.authority.as_str()),
            quoted(hosts.scope),
            quoted(hosts.api.as_str()),
            embed.join(", "),
        ]
    })
    .collect();
    assert_eq!(table("clouds"), rows);
}

/// The functions of the document and its commands, in a shell, with the ports of this test's sandbox.
#[tokio::test]
async fn the_commands_work_as_they_stand() {
    let app = TestApp::start().await;
    let (_, rest) = DOCUMENT.split_once("```sh\nask()").unwrap();
    let (functions, _) = rest.split_once("```").unwrap();
    let single = table("kinds").into_iter().next().unwrap();
    let header = table("securities")
        .into_iter()
        .find(|cells| cells[0].contains("(`sso`)"))
        .unwrap();
    let script = format!(
        "set -eu\nask(){functions}{} | see\necho\n{} | see\n",
        single.last().unwrap().trim_matches('`'),
        header.last().unwrap().trim_matches('`'),
    )
    .replace("http://127.0.0.1:8080", app.broker())
    .replace("http://127.0.0.1:8090", app.upstream());
    let output = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .await
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "is curl installed? {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let shown: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{out}")))
        .collect();
    assert_eq!(shown[0]["tables"][0]["name"], "Sales");
    assert_eq!(shown[1]["tables"][0]["name"], "Orders");
}
